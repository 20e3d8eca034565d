/** Proof of work as stories: what is let in, which branch is followed, what is undone, and what floods cost. */

import fc from "fast-check";
import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { checkDecoder, checkProperty } from "../../crypto/testing/property.ts";
import { heightOf } from "../../chain/block/height.ts";
import { firstTarget, medianTimePast } from "../../chain/block/retarget.ts";
import { searchSeal, targetOf } from "../../chain/block/work.ts";
import type { Effect } from "../engine.ts";
import { checkReplay, checkSilentBeforeStart, checkTimers } from "../testing/recording.ts";
import { Bodies } from "./bodies.ts";
import { PowEngine, restoreFrom } from "./engine.ts";
import {
  ANSWER_TIMEOUT_MS,
  ASKS_MAX,
  ASKS_PER_PEER_MAX,
  BLOCKS_PER_MESSAGE_MAX,
  HEADERS_AHEAD_MAX,
  HEADERS_PER_MESSAGE_MAX,
  REPEAT_MS,
  SIDE_HEADERS_MAX,
} from "./limits.ts";
import {
  encodePowMessage,
  headersOf,
  isWorked,
  parsePowMessage,
  parsePowRecord,
  type PowMessage,
  withinTime,
} from "./message.ts";
import { Requests } from "./requests.ts";
import { answerFrom } from "./serve.ts";
import { TestNode } from "./testing/chain.ts";
import {
  announce,
  CHAIN_ID,
  EASY,
  type Forged,
  Forge,
  GENESIS_TIME_MS,
  type Lie,
  NETWORK_HASH,
  optionsOf,
  testBlock,
} from "./testing/forge.ts";
import { HeaderTree, type TreeNode } from "./tree.ts";

const forge = new Forge();
/** How long a block waits that would cut off a heavier branch. */
const HOLD_MS = ASKS_MAX * ANSWER_TIMEOUT_MS;

function follower(protocol = EASY): TestNode {
  return new TestNode(optionsOf(protocol)).start();
}

function treeOf(protocol = EASY): HeaderTree {
  return new HeaderTree({ chainId: CHAIN_ID, networkHash: NETWORK_HASH, protocol, genesisTimeMs: GENESIS_TIME_MS });
}

function last<T>(items: readonly T[]): T {
  return present(items.at(-1), "last one");
}

function at<T>(items: readonly T[], index: number): T {
  return present(items[index], `item ${index}`);
}

/** Whether a node's head is this block. */
function isHead(node: TestNode, { block }: Forged): boolean {
  return bytesEqual(node.head, block.hash);
}

/** Requests for blocks, as the heights asked for. */
function asksOf(sent: readonly Extract<Effect<PowMessage>, { readonly kind: "send" }>[]): readonly string[] {
  return sent.flatMap(({ to, message }) =>
    message.kind === "getBlocks"
      ? [`${to === "all" ? to : to.peer}: ${message.places.map(({ height }) => height).join(" ")}`]
      : [],
  );
}

// Following.

t.test("announced blocks become the head one after another, each judged", (t) => {
  const node = follower();
  for (const forged of forge.chain(undefined, 5)) {
    node.hear(announce(forged));
    t.ok(isHead(node, forged), `height ${forged.block.header.height}`);
  }
  t.equal(node.engine.status()?.height, 6n);
  t.equal(node.engine.status()?.step, "follow");
  t.same(
    node.heads.map(({ undone }) => undone),
    [0, 0, 0, 0, 0],
  );
  t.end();
});

t.test("of two blocks of equal work the first seen stays, and the next block decides", (t) => {
  const [a] = forge.chain(undefined, 1, "a");
  const b = forge.chain(undefined, 2, "b");
  const node = follower();
  node.hear(announce(at([a], 0) as Forged)).hear(announce(at(b, 0)));
  t.ok(isHead(node, a as Forged), "the second of equal work changes nothing");
  const other = follower();
  other.hear(announce(at(b, 0))).hear(announce(a as Forged));
  t.ok(isHead(other, at(b, 0)), "and whoever heard it first keeps it");
  node.hear(announce(at(b, 1)));
  // The first block of the branch was let go: it has to be asked for.
  t.same(asksOf(node.sent()), ["peer: 1"]);
  node.hear({ kind: "blocks", blocks: [at(b, 0).block] });
  t.ok(isHead(node, at(b, 1)));
  t.same(
    node.heads.map(({ block, undone }) => `${block.header.height} undid ${undone}`),
    ["1 undid 0", "1 undid 1", "2 undid 0"],
  );
  t.end();
});

t.test("work decides and not length: fewer blocks under a harder target win", (t) => {
  // The window rule: a branch whose first window was fast gets a harder target than one that was slow.
  const protocol = { ...EASY, retarget: "window" as const, retargetWindow: 3, reorgDepthMax: 20 };
  const slow = new Forge(protocol, 4_000n).chain(undefined, 8, "slow");
  const quick = new Forge(protocol, 1n).chain(undefined, 6, "quick");
  t.ok(last(quick).sealed.seal.chainWork > last(slow).sealed.seal.chainWork);
  const node = follower(protocol);
  for (const forged of slow) node.hear(announce(forged));
  t.equal(node.headHeight(), 8n);
  node.hear({ kind: "headers", entries: quick.map(({ sealed }) => sealed) });
  node.hear({ kind: "blocks", blocks: quick.map(({ block }) => block) });
  t.equal(node.headHeight(), 6n);
  t.ok(isHead(node, last(quick)));
  t.equal(node.engine.status()?.height, 7n);
  t.end();
});

t.test("a node that is behind asks for headers, then for the blocks of the best branch alone", (t) => {
  const server = new TestNode(
    optionsOf(),
    forge.chain(undefined, 40).map(({ block, sealed }) => ({ block, seal: sealed.seal })),
  );
  const stray = forge.chain(undefined, 3, "stray");
  const node = follower();
  node.hear({ kind: "headers", entries: stray.map(({ sealed }) => sealed) }, "stray");
  t.same(asksOf(node.sent()), ["stray: 1 2 3"]);
  node.hear({ kind: "announce", sealed: present(server.sealedAt(heightOf(40n)), "tip"), block: undefined }, "server");
  const questions: PowMessage[] = [];
  for (let turn = 0; turn < 20 && node.headHeight() < 40n; turn += 1) {
    for (const { to, message } of node.sent()) {
      if (to === "all" || to.peer !== "server") continue;
      questions.push(message);
      const answer = answerFrom(server, message);
      if (answer !== undefined) node.hear(answer, "server");
    }
  }
  t.equal(node.headHeight(), 40n);
  t.equal(questions.filter(({ kind }) => kind === "getHeaders").length, 1);
  const asked = questions.flatMap((question) =>
    question.kind === "getBlocks" ? question.places.map(({ height }) => height) : [],
  );
  t.same(
    asked,
    Array.from({ length: 40 }, (_, index) => BigInt(index + 1)),
    "each block once",
  );
  t.end();
});

t.test("more headers than one answer holds are asked for until all are there", (t) => {
  const count = HEADERS_PER_MESSAGE_MAX + 10;
  const server = new TestNode(
    optionsOf(),
    forge.chain(undefined, count).map(({ block, sealed }) => ({ block, seal: sealed.seal })),
  );
  const node = follower();
  node.hear({ kind: "announce", sealed: present(server.sealedAt(heightOf(BigInt(count))), "tip"), block: undefined }, "server");
  for (let turn = 0; turn < 60 && node.headHeight() < count; turn += 1) {
    for (const { message } of node.sent()) {
      const answer = answerFrom(server, message);
      if (answer !== undefined) node.hear(answer, "server");
    }
  }
  t.equal(node.headHeight(), BigInt(count));
  t.end();
});

// What is let in.

t.test("a header is let in under every rule, and each broken one names itself", (t) => {
  const two = forge.chain(undefined, 2);
  const tip = last(two);
  const node = treeOf();
  for (const { sealed } of two) t.ok(node.add(sealed, "peer").ok);
  const lies: readonly (readonly [Lie, string])[] = [
    [{ chainId: "another" }, "header_chain"],
    [{ height: 5n }, "header_height"],
    [{ timeMs: tip.block.header.timeMs }, "header_time"],
    [{ bits: 0x20_7f_ff_fe }, "seal_bits"],
    [{ bits: 0x20_3f_ff_ff }, "seal_bits"],
    [{ chainWork: 1n << 200n }, "seal_work"],
    [{ isUnsealed: true }, "seal_target"],
  ];
  for (const [lie, code] of lies) t.same(node.add(forge.block(tip, lie).sealed, "peer"), { ok: false, error: { code } }, code);
  t.same(node.add(forge.block(forge.block(tip, { label: "unknown" })).sealed, "peer"), {
    ok: false,
    error: { code: "header_orphan" },
  });
  t.equal(node.best.height, 2n, "none of them counts");
  t.ok(node.add(forge.block(tip, { timeMs: tip.block.header.timeMs + 1n }).sealed, "peer").ok, "the honest one beside them");
  t.end();
});

t.test("U16: a block that declares its own easy target is refused, however much work it claims", (t) => {
  const protocol = { ...EASY, targetBitsMax: 0x1f_7f_ff_ff };
  const hard = new Forge(protocol);
  const node = follower(protocol);
  const [first] = hard.chain(undefined, 1);
  node.hear(announce(present(first, "block")));
  t.equal(node.headHeight(), 1n);
  const trivial = hard.block(first, { bits: 0x20_7f_ff_ff, chainWork: 1n << 250n });
  node.hear(announce(trivial));
  t.equal(node.headHeight(), 1n);
  t.notOk(node.engine.knows(trivial.block.hash));
  t.notOk(isWorked(announce(trivial), firstTarget(protocol)), "and no driver lets it through");
  t.ok(isWorked(announce(hard.block(first)), firstTarget(protocol)));
  t.notOk(isWorked(announce(hard.block(first, { isUnsealed: true })), firstTarget(protocol)));
  t.notOk(
    isWorked(
      announce({ ...trivial, sealed: { ...trivial.sealed, seal: { ...trivial.sealed.seal, bits: 0xff_ff_ff_ff } } }),
      1n << 255n,
    ),
  );
  t.end();
});

t.test("times ascend strictly, so every header is after the median of the eleven before", async (t) => {
  await checkProperty(
    t,
    "median-time-past",
    fc.property(fc.array(fc.integer({ min: -3_000, max: 5_000 }), { minLength: 5, maxLength: 25 }), (steps) => {
      const tree = treeOf();
      const times = [GENESIS_TIME_MS];
      let tip: Forged | undefined;
      for (const step of steps) {
        const timeMs = last(times) + BigInt(step);
        const next = forge.block(tip, { timeMs });
        const added = tree.add(next.sealed, undefined);
        if (timeMs <= medianTimePast(times) && added.ok) return false;
        if (added.ok !== timeMs > last(times)) return false;
        if (!added.ok) continue;
        tip = next;
        times.push(timeMs);
      }
      return true;
    }),
    50,
  );
});

t.test("headers from the future wait with whoever has a clock, and nothing is condemned for them", (t) => {
  const chain = forge.chain(undefined, 3);
  const limit = at(chain, 1).block.header.timeMs;
  const headers: PowMessage = { kind: "headers", entries: chain.map(({ sealed }) => sealed) };
  const cut = present(withinTime(headers, limit), "part");
  t.equal(headersOf(cut).length, 2, "up to the first that is too early");
  t.equal(withinTime(announce(at(chain, 2)), limit), undefined);
  t.equal(withinTime(announce(at(chain, 1)), limit)?.kind, "announce", "exactly at the limit");
  t.equal(withinTime({ kind: "getHeaders", locator: [] }, 0n)?.kind, "getHeaders");
  const node = follower()
    .hear(cut)
    .hear({ kind: "blocks", blocks: chain.slice(0, 2).map(({ block }) => block) });
  t.equal(node.headHeight(), 2n);
  node.hear(announce(at(chain, 2)));
  t.equal(node.headHeight(), 3n, "later, it is a block like any other");
  t.end();
});

// Reorganisation.

t.test("a branch with more work is followed block by block, never deeper than allowed", (t) => {
  const shared = forge.chain(undefined, 10);
  const node = follower();
  for (const forged of shared) node.hear(announce(forged));
  // Six may be undone: from height 4 on.
  for (const [fork, isFollowed] of [
    [3, true],
    [2, false],
  ] as const) {
    const victim = follower();
    for (const forged of shared) victim.hear(announce(forged));
    const branch = forge.chain(at(shared, fork), 12, `from ${fork}`);
    victim.hear({ kind: "headers", entries: branch.map(({ sealed }) => sealed) });
    victim.hear({ kind: "blocks", blocks: branch.map(({ block }) => block) });
    t.equal(isHead(victim, last(branch)), isFollowed, `a fork after ${fork + 1}`);
    if (isFollowed) t.equal(victim.heads[10]?.undone, 6);
    else {
      t.ok(isHead(victim, last(shared)));
      t.equal(victim.sent().filter(({ message }) => message.kind === "getBlocks").length, 0);
    }
  }
  t.end();
});

t.test("a block buried as deep as reorganisations go is final, once", (t) => {
  const node = follower();
  const chain = forge.chain(undefined, 12);
  for (const forged of chain) node.hear(announce(forged));
  t.same(node.finals, [1n, 2n, 3n, 4n, 5n, 6n]);
  const branch = forge.chain(at(chain, 6), 8, "branch");
  node.hear({ kind: "headers", entries: branch.map(({ sealed }) => sealed) });
  node.hear({ kind: "blocks", blocks: branch.map(({ block }) => block) });
  t.ok(isHead(node, last(branch)));
  t.same(node.finals, [1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n], "no height twice");
  t.end();
});

t.test("an invalid block condemns its branch, and the best of the rest is followed: back to our own if need be", (t) => {
  const shared = forge.chain(undefined, 3);
  const ours = forge.chain(last(shared), 2, "ours");
  const node = follower();
  for (const forged of [...shared, ...ours]) node.hear(announce(forged));
  // Four blocks more, of which the second is invalid: only judging it can tell.
  const first = forge.block(last(shared), { label: "theirs" });
  const bad = forge.block(first, { label: "theirs", isInvalid: true });
  const rest = forge.chain(bad, 2, "theirs");
  const theirs = [first, bad, ...rest];
  node.hear({ kind: "headers", entries: theirs.map(({ sealed }) => sealed) }, "liar");
  node.hear({ kind: "blocks", blocks: theirs.map(({ block }) => block) }, "liar");
  t.ok(isHead(node, last(ours)), "back where we came from");
  t.same(
    node.heads
      .slice(5)
      .map(({ block, valid, undone }) => `${block.header.height} ${valid ? "valid" : "invalid"} undid ${undone}`),
    ["4 valid undid 2", "5 invalid undid 0", "4 valid undid 1", "5 valid undid 0"],
  );
  t.notOk(node.engine.knows(bad.block.hash));
  t.notOk(node.engine.knows(last(rest).block.hash), "nor what stands on it");
  node.sent();
  node.hear(announce(forge.block(last(rest), { label: "more" })), "liar");
  t.same(node.sent(), [], "and nobody asks for more of it");
  // The good part of it may still win, on a branch of its own.
  const good = forge.chain(first, 3, "good");
  for (const forged of good) node.hear(announce(forged), "honest");
  node.hear({ kind: "blocks", blocks: [first, ...good].map(({ block }) => block) }, "honest");
  t.ok(isHead(node, last(good)));
  t.end();
});

t.test("whoever announces work and keeps the blocks moves nobody, and is left alone after a while", (t) => {
  const shared = forge.chain(undefined, 3);
  const node = follower();
  for (const forged of shared) node.hear(announce(forged));
  const withheld = forge.chain(at(shared, 0), 4, "withheld");
  const honest = forge.chain(at(shared, 1), 2, "honest");
  node.sent();
  node.hear({ kind: "headers", entries: withheld.map(({ sealed }) => sealed) }, "keeper");
  t.same(asksOf(node.sent()), ["keeper: 2 3 4 5"]);
  node.hear({ kind: "blocks", blocks: withheld.slice(0, 2).map(({ block }) => block) }, "keeper");
  t.ok(isHead(node, last(shared)), "two blocks of four are not more work than ours");
  node.hear({ kind: "headers", entries: honest.map(({ sealed }) => sealed) }, "honest");
  t.same(asksOf(node.sent()), [], "less work than what was announced");
  for (let ask = 1; ask < ASKS_MAX; ask += 1) {
    node.tick(ANSWER_TIMEOUT_MS);
    t.same(asksOf(node.sent()), ["honest: 3 4", "keeper: 4 5"], `asked again, ${ask}, and the next best branch`);
  }
  node.tick(ANSWER_TIMEOUT_MS);
  t.same(asksOf(node.sent()), ["honest: 3 4"], "then that alone");
  node.hear({ kind: "blocks", blocks: honest.map(({ block }) => block) }, "honest");
  t.ok(isHead(node, last(honest)));
  // Somebody else has them after all.
  node.hear({ kind: "headers", entries: withheld.map(({ sealed }) => sealed) }, "friend");
  t.same(asksOf(node.sent()), ["friend: 4 5"]);
  node.hear({ kind: "blocks", blocks: withheld.slice(2).map(({ block }) => block) }, "friend");
  t.ok(isHead(node, last(withheld)));
  t.end();
});

t.test("a heavier branch that is withheld keeps nobody from the one that is announced whole", (t) => {
  const shared = forge.chain(undefined, 2);
  const node = follower();
  for (const forged of shared) node.hear(announce(forged));
  const withheld = forge.chain(last(shared), 5, "withheld");
  node.hear({ kind: "headers", entries: withheld.map(({ sealed }) => sealed) }, "keeper");
  for (const forged of forge.chain(last(shared), 3, "honest")) {
    node.hear({ kind: "headers", entries: withheld.map(({ sealed }) => sealed) }, "keeper");
    node.hear(announce(forged), "honest");
    t.ok(isHead(node, forged), `height ${forged.block.header.height}`);
  }
  node.hear({ kind: "blocks", blocks: withheld.map(({ block }) => block) }, "keeper");
  t.ok(isHead(node, last(withheld)), "and once the blocks are there the most work wins");
  t.end();
});

t.test("whoever keeps a block back and goes on to announce has nobody wait with the blocks of another branch", (t) => {
  const shared = forge.chain(undefined, 2);
  const node = follower();
  for (const forged of shared) node.hear(announce(forged));
  const withheld = forge.chain(last(shared), 12, "withheld");
  const honest = forge.chain(last(shared), 3, "honest");
  node.sent();
  node.hear({ kind: "headers", entries: withheld.slice(0, 4).map(({ sealed }) => sealed) }, "keeper");
  node.hear({ kind: "headers", entries: honest.map(({ sealed }) => sealed) }, "honest");
  t.same(asksOf(node.sent()), ["keeper: 3 4 5 6"]);
  const asked: string[] = [];
  for (const forged of withheld.slice(4)) {
    node.tick(1_000);
    node.hear(announce(forged, false), "keeper");
    asked.push(...asksOf(node.sent()));
  }
  t.ok(asked.includes("honest: 3 4 5"), asked.join("; "));
  node.hear({ kind: "blocks", blocks: honest.map(({ block }) => block) }, "honest");
  t.ok(isHead(node, last(honest)));
  node.hear({ kind: "blocks", blocks: withheld.map(({ block }) => block) }, "keeper");
  t.ok(isHead(node, last(withheld)), "and the most work wins, should it come");
  t.end();
});

t.test("another peer is asked when one does not answer", (t) => {
  const one = forge.block(undefined);
  const node = follower();
  node.hear(announce(one, false), "first").hear(announce(one, false), "second");
  t.same(asksOf(node.sent()), ["first: 1"]);
  node.tick(ANSWER_TIMEOUT_MS - 1);
  t.same(asksOf(node.sent()), [], "a moment too early");
  node.tick(1);
  t.same(asksOf(node.sent()), ["second: 1"]);
  t.end();
});

t.test("whoever announces a block has those before it, and is asked for one that its maker keeps back", (t) => {
  const [kept, child] = forge.chain(undefined, 2, "kept");
  const node = follower();
  node.hear(announce(present(kept, "first"), false), "keeper");
  node.hear(announce(present(child, "second")), "friend");
  t.same(asksOf(node.sent()), ["keeper: 1"]);
  node.tick(ANSWER_TIMEOUT_MS);
  t.same(asksOf(node.sent()), ["friend: 1"], "not the one who keeps it, again and again");
  node.hear({ kind: "blocks", blocks: [present(kept, "first").block] }, "friend");
  t.ok(isHead(node, present(child, "second")));
  t.end();
});

t.test("a peer that answers slowly is asked for little at once, another that has the blocks for the rest", (t) => {
  const chain = forge.chain(undefined, 60);
  const node = follower();
  const unanswered: { readonly peer: string; readonly heights: Set<bigint> }[] = [];
  const note = (): void => {
    for (const { to, message } of node.sent()) {
      if (message.kind !== "getBlocks" || to === "all") continue;
      unanswered.push({ peer: to.peer, heights: new Set(message.places.map(({ height }) => height)) });
    }
  };
  const countOf = (name: string): number => unanswered.filter(({ peer, heights }) => peer === name && heights.size > 0).length;
  for (const peer of ["one", "other"]) node.hear({ kind: "headers", entries: chain.map(({ sealed }) => sealed) }, peer);
  note();
  t.equal(unanswered[0]?.heights.size, BLOCKS_PER_MESSAGE_MAX);
  // Block by block: each makes room for one more, which must not be one message more.
  let most = 0;
  for (const forged of chain) {
    t.ok(
      unanswered.some(({ heights }) => heights.has(forged.block.header.height)),
      `asked for ${forged.block.header.height}`,
    );
    for (const { heights } of unanswered) heights.delete(forged.block.header.height);
    node.hear({ kind: "blocks", blocks: [forged.block] }, "one");
    note();
    most = Math.max(most, countOf("one"), countOf("other"));
  }
  t.equal(most, ASKS_PER_PEER_MAX);
  t.ok(isHead(node, last(chain)));
  t.end();
});

t.test("a block that can be asked of nobody now waits until one of the answers is overdue", (t) => {
  const tree = treeOf();
  const requests = new Requests();
  const asked: string[] = [];
  const nodeOf = (label: string, from: string): TreeNode => {
    const added = tree.add(forge.block(undefined, { label }).sealed, from);
    return present(added.ok ? added.value : undefined, label);
  };
  const ask = (wanted: readonly TreeNode[], atMs: number): void => {
    const emit = (effect: Effect<PowMessage>): void => {
      if (effect.kind === "send" && effect.to !== "all") asked.push(effect.to.peer);
    };
    t.equal(requests.ask([wanted], atMs, emit), undefined);
  };
  const [a, b, c] = [nodeOf("a", "one"), nodeOf("b", "other"), nodeOf("c", "other")];
  ask([a], 0);
  ask([a, b], 4_000);
  ask([a, b, c], 4_001);
  t.same(asked, ["one", "other", "other"]);
  a.sources.splice(0, 1, "other"); // Whoever had it is not heard of any more.
  ask([a, b, c], ANSWER_TIMEOUT_MS);
  t.equal(asked.length, ASKS_PER_PEER_MAX + 1, "the other has enough to answer");
  t.equal(requests.nextMs(ANSWER_TIMEOUT_MS), 4_000 + ANSWER_TIMEOUT_MS);
  ask([a, b, c], 4_000 + ANSWER_TIMEOUT_MS);
  t.same(asked.slice(3), ["other"]);
  t.end();
});

t.test("while two branches take turns at being the best, what was asked for of both is asked for once", (t) => {
  const node = follower();
  const one = forge.chain(undefined, 6, "one");
  const other = forge.chain(undefined, 7, "other");
  node.hear({ kind: "headers", entries: one.slice(0, 5).map(({ sealed }) => sealed) }, "peer");
  t.same(asksOf(node.sent()), ["peer: 1 2 3 4 5"]);
  node.hear({ kind: "headers", entries: other.slice(0, 6).map(({ sealed }) => sealed) }, "peer");
  t.same(asksOf(node.sent()), ["peer: 1 2 3 4 5 6"]);
  node.hear({ kind: "announce", sealed: at(one, 5).sealed, block: undefined }, "peer");
  node.hear({ kind: "announce", sealed: at(other, 6).sealed, block: undefined }, "peer");
  t.same(asksOf(node.sent()), [], "it has enough to answer");
  node.hear({ kind: "blocks", blocks: one.slice(0, 5).map(({ block }) => block) }, "peer");
  t.ok(isHead(node, at(one, 4)), "what comes of the branch that is not the best any more is of use too");
  t.same(asksOf(node.sent()), ["peer: 7"]);
  node.hear({ kind: "blocks", blocks: other.map(({ block }) => block) }, "peer");
  t.ok(isHead(node, last(other)));
  t.end();
});

t.test("a heavier branch that is being fetched is not cut off by what lengthens our own", (t) => {
  const shared = forge.chain(undefined, 4);
  const ours = forge.chain(last(shared), 7, "ours");
  const theirs = forge.chain(last(shared), 9, "theirs");
  const miner = (): TestNode => {
    const node = new TestNode(optionsOf(EASY, true)).start();
    for (const forged of [...shared, ...ours.slice(0, 6)]) node.hear(announce(forged), "near");
    t.equal(node.takeBuild()?.height, 11n);
    node.hear({ kind: "headers", entries: theirs.map(({ sealed }) => sealed) }, "far");
    // Six blocks may be undone. With the seventh nobody could ever go over.
    node.hear(announce(last(ours)), "near");
    t.ok(isHead(node, at(ours, 5)), "it waits");
    node.tick(HOLD_MS - 1);
    t.equal(node.takeBuild(), undefined, "and nothing is mined that would do the same");
    return node;
  };
  const node = miner();
  node.hear({ kind: "blocks", blocks: theirs.slice(0, 8).map(({ block }) => block) }, "far");
  t.ok(isHead(node, at(theirs, 7)));
  const other = miner();
  other.hear({ kind: "blocks", blocks: theirs.slice(0, 3).map(({ block }) => block) }, "far");
  other.tick(HOLD_MS - 1);
  t.ok(isHead(other, at(ours, 5)), "while blocks of it come");
  other.tick(1);
  t.ok(isHead(other, last(ours)), "and once they do not, our own branch goes on");
  t.equal(other.takeBuild()?.height, 12n);
  other.hear({ kind: "blocks", blocks: theirs.slice(3).map(({ block }) => block) }, "far");
  t.ok(isHead(other, last(ours)), "for good");
  t.end();
});

// Floods.

t.test("a flood of cheap headers is bounded, and the best branch outlives it", (t) => {
  const protocol = { ...EASY, reorgDepthMax: 4 };
  const node = treeOf(protocol);
  const chain = forge.chain(undefined, 6);
  const honest = forge.chain(last(chain), 3, "honest");
  for (const forged of chain) {
    const added = node.add(forged.sealed, undefined);
    if (added.ok) node.setHead(added.value);
  }
  for (const forged of honest) node.add(forged.sealed, "honest");
  const bound = SIDE_HEADERS_MAX + HEADERS_AHEAD_MAX + protocol.reorgDepthMax;
  let most = 0;
  let trims = 0;
  // Each stands on the deepest block that a branch may begin from.
  for (let index = 0; index < bound + 1200; index += 1) {
    node.add(forge.block(at(chain, 1), { label: `flood ${index}` }).sealed, "flood");
    const before = node.sideCount;
    node.trim();
    if (node.sideCount < before) trims += 1;
    most = Math.max(most, node.sideCount);
  }
  t.equal(most, bound);
  // A trim looks at the whole tree: were there one for each header, a full tree would cost seconds for each thousand.
  t.equal(trims, 3, "it is not gone through for each header");
  t.equal(toHex(node.best.hash), toHex(last(honest).block.hash));
  for (const forged of honest) t.ok(node.find(forged.block.hash), "not one of the honest went");
  t.end();
});

t.test("a block that the chain is judging outlives a flood of branches with more work", (t) => {
  const node = new PowEngine({ ...optionsOf(EASY), isMiner: false });
  node.step({ kind: "start", height: heightOf(1n), validators: { validators: [], totalPower: 0n }, parent: undefined, atMs: 0 });
  const hear = (message: PowMessage) => node.step({ kind: "message", from: "peer", message, atMs: 0 });
  const judged = forge.block(undefined, { label: "judged" });
  t.match(hear(announce(judged, true)), [{ kind: "head" }]);
  const trunk = forge.block(undefined, { label: "trunk" });
  hear(announce(trunk, false));
  for (let index = 0; index < SIDE_HEADERS_MAX + HEADERS_AHEAD_MAX + EASY.reorgDepthMax; index += 1) {
    hear(announce(forge.block(trunk, { label: `flood ${index}` }), false));
  }
  t.ok(node.knows(judged.block.hash));
  node.step({ kind: "judged", blockHash: judged.block.hash, valid: true, atMs: 0 });
  const next = forge.block(judged, { label: "next" });
  hear(announce(next, false));
  t.ok(node.knows(next.block.hash), "and what stands on it is let in");
  t.end();
});

t.test("bodies beyond the bound go, the oldest first, but none on the way to the best tip", (t) => {
  const tree = treeOf();
  const bodies = new Bodies();
  const hold = (forged: Forged): TreeNode => {
    const added = tree.add(forged.sealed, undefined);
    t.ok(added.ok);
    const node = present(added.ok ? added.value : undefined, "node");
    bodies.put(node, forged.block);
    return node;
  };
  const best = forge.chain(undefined, 5, "best").map(hold);
  const side = forge.chain(undefined, 4, "side").map(hold);
  const heldOf = (nodes: readonly TreeNode[]): number => nodes.filter(({ block }) => block !== undefined).length;
  bodies.trim(tree);
  t.equal(heldOf([...best, ...side]), 9, "far below it");
  const each = 2048;
  bodies.trim(tree, each * 7);
  t.same([heldOf(best), heldOf(side)], [5, 2]);
  t.equal(side[0]?.block, undefined);
  bodies.trim(tree, 0);
  t.same([heldOf(best), heldOf(side)], [5, 0]);
  // What has left the tree makes room, however little is held.
  for (const node of best) tree.setHead(node);
  for (const node of forge.chain(undefined, 300, "many").map(hold)) if (node.parent?.height === 299n) tree.condemn(node);
  bodies.trim(tree);
  t.equal(bodies.count, 5 + 299);
  t.end();
});

t.test("headers further ahead than are kept are asked for once we are nearer", (t) => {
  const tree = treeOf();
  const chain = forge.chain(undefined, HEADERS_AHEAD_MAX + 1);
  t.equal(chain.filter(({ sealed }) => tree.add(sealed, undefined).ok).length, HEADERS_AHEAD_MAX);
  t.same(tree.add(last(chain).sealed, undefined), { ok: false, error: { code: "header_ahead" } });
  tree.setHead(present(tree.find(at(chain, 0).block.hash), "first"));
  t.ok(tree.add(last(chain).sealed, undefined).ok);
  t.end();
});

t.test("orphans are not kept: each peer is asked once at a time for what is between", (t) => {
  const far = forge.chain(undefined, 5);
  const node = follower();
  const questions = (): number => node.sent().filter(({ message }) => message.kind === "getHeaders").length;
  for (const forged of far.slice(1)) node.hear(announce(forged), "a");
  t.equal(questions(), 1);
  node.hear(announce(last(far)), "b");
  t.equal(questions(), 1);
  for (const forged of far.slice(1)) t.notOk(node.engine.knows(forged.block.hash));
  node.tick(ANSWER_TIMEOUT_MS).hear(announce(last(far)), "a");
  t.equal(questions(), 1, "again, when there was no answer");
  for (let index = 0; index < 1000; index += 1) node.hear(announce(last(far)), `peer ${index}`);
  t.ok(questions() < 100, "however many they are");
  t.end();
});

t.test("whoever is on a chain that may not be followed is asked now and then, not at each of its blocks", (t) => {
  const shared = forge.chain(undefined, 20);
  // Remembering more than may be undone, and not.
  for (const protocol of [EASY, { ...EASY, retarget: "window" as const, retargetWindow: 200 }]) {
    const node = follower(protocol);
    for (const forged of shared) node.hear(announce(forged));
    t.equal(node.headHeight(), 20n);
    node.sent();
    const deep = forge.chain(at(shared, 5), 30, "deep");
    const questions = (): number => node.sent().filter(({ message }) => message.kind === "getHeaders").length;
    node.hear(announce(at(deep, 20)), "far");
    t.equal(questions(), 1);
    node.hear({ kind: "headers", entries: [...shared, ...deep.slice(0, 21)].map(({ sealed }) => sealed) }, "far");
    for (const forged of deep.slice(21)) node.hear(announce(forged), "far");
    t.equal(questions(), 0);
    node.hear(announce(at(deep, 29)), "near");
    t.equal(questions(), 1, "another may know better");
    node.tick(REPEAT_MS);
    node.hear(announce(at(deep, 29)), "far");
    t.equal(questions(), 1, "it may have come over");
  }
  t.end();
});

t.test("what hangs below a settled block is cut, and what nobody looks back at is forgotten", (t) => {
  const tree = treeOf();
  const side = forge.chain(undefined, 3, "side");
  for (const { sealed } of side) tree.add(sealed, undefined);
  const chain = forge.chain(undefined, 20);
  for (const { sealed } of chain) {
    const added = tree.add(sealed, undefined);
    t.ok(added.ok);
    if (added.ok) tree.setHead(added.value);
  }
  t.equal(tree.sideCount, 0);
  for (const forged of side) t.equal(tree.find(forged.block.hash), undefined);
  t.equal(tree.find(at(chain, 12).block.hash), undefined, "below what may be undone");
  t.ok(tree.find(at(chain, 13).block.hash), "what a branch may begin from");
  t.end();
});

// Mining.

t.test("a miner builds on its head, searches, and says what it found", (t) => {
  const node = new TestNode(optionsOf(EASY, true)).start();
  t.same([node.build?.height, node.build?.round], [1n, 1]);
  const block = forge.block(undefined).block;
  node.take({ kind: "propose", height: heightOf(1n), round: 1, block, atMs: node.atMs });
  const search = present(node.search, "search");
  t.equal(search.target, firstTarget(EASY));
  const nonce = present(
    searchSeal({ headerHash: block.hash, target: search.target, extraNonce: 7n, nonce: 0n, count: 1000 }),
    "nonce",
  );
  const other = forge.block(undefined, { label: "other" }).block;
  node.take({ kind: "found", blockHash: other.hash, extraNonce: 7n, nonce, atMs: node.atMs });
  t.equal(node.headHeight(), 0n, "of another block");
  node.sent();
  node.take({ kind: "found", blockHash: block.hash, extraNonce: 7n, nonce, atMs: node.atMs });
  t.equal(node.headHeight(), 1n);
  const [said] = node.sent();
  t.equal(said?.to, "all");
  t.ok(said?.message.kind === "announce" && said.message.block !== undefined, "the whole block");
  const listener = follower().hear(present(said, "announcement").message);
  t.equal(listener.headHeight(), 1n, "and whoever hears it follows");
  t.equal(node.takeBuild()?.height, 2n, "on to the next");
  t.equal(node.search, undefined);
  t.end();
});

t.test("nonces that seal nothing are not believed, not even of our own searcher", (t) => {
  const protocol = { ...EASY, targetBitsMax: 0x1f_7f_ff_ff };
  const node = new TestNode(optionsOf(protocol, true)).start();
  const { block } = new Forge(protocol).block(undefined);
  node.take({ kind: "propose", height: heightOf(1n), round: 1, block, atMs: 0 });
  const target = present(node.search, "search").target;
  const wrong = Array.from({ length: 50 }, (_, nonce) => BigInt(nonce)).find(
    (nonce) => searchSeal({ headerHash: block.hash, target, extraNonce: 0n, nonce, count: 1 }) === undefined,
  );
  node.take({ kind: "found", blockHash: block.hash, extraNonce: 0n, nonce: present(wrong, "miss"), atMs: 0 });
  t.equal(node.headHeight(), 0n);
  t.ok(node.search, "still searching");
  t.end();
});

t.test("a block of somebody else ends the search, and what was built for the old head is not searched under", (t) => {
  const node = new TestNode(optionsOf(EASY, true)).start();
  const mine = forge.block(undefined, { label: "mine" }).block;
  node.take({ kind: "propose", height: heightOf(1n), round: 1, block: mine, atMs: 0 });
  t.ok(node.search);
  node.hear(announce(forge.block(undefined, { label: "theirs" })));
  t.equal(node.headHeight(), 1n);
  t.equal(node.search, undefined);
  t.same([node.build?.height, node.build?.round], [2n, 1]);
  node.take({ kind: "propose", height: heightOf(2n), round: 1, block: forge.block(forge.block(undefined)).block, atMs: 0 });
  t.equal(node.search, undefined, "it stands on another block");
  t.end();
});

t.test("a candidate takes up what has arrived meanwhile, and the search goes on until the new one is there", (t) => {
  const node = new TestNode(optionsOf(EASY, true)).start();
  const first = forge.block(undefined, { label: "first" }).block;
  node.take({ kind: "propose", height: heightOf(1n), round: 1, block: first, atMs: 0 });
  node.tick(EASY.targetIntervalMs - 1);
  t.equal(node.build?.round, 1, "a moment too early");
  node.tick(1);
  t.equal(node.build?.round, 2);
  t.equal(toHex(present(node.search, "search").block.hash), toHex(first.hash));
  const second = forge.block(undefined, { label: "second" }).block;
  node.take({ kind: "propose", height: heightOf(1n), round: 2, block: second, atMs: node.atMs });
  t.equal(toHex(present(node.search, "search").block.hash), toHex(second.hash));
  t.end();
});

t.test("a miner that is behind fetches and does not search, and one that follows only never builds", (t) => {
  const chain = forge.chain(undefined, 4);
  const node = new TestNode(optionsOf(EASY, true)).start();
  t.equal(node.takeBuild()?.height, 1n);
  node.take({ kind: "propose", height: heightOf(1n), round: 1, block: forge.block(undefined).block, atMs: 0 });
  t.ok(node.search);
  node.hear({ kind: "headers", entries: chain.map(({ sealed }) => sealed) });
  t.equal(node.search, undefined);
  t.equal(node.takeBuild(), undefined);
  node.hear({ kind: "blocks", blocks: chain.map(({ block }) => block) });
  t.equal(node.takeBuild()?.height, 5n);
  const plain = follower();
  for (const forged of chain) plain.hear(announce(forged));
  plain.tick(60_000);
  t.equal(plain.build, undefined);
  t.end();
});

t.test("a miner does not rest for headers whose blocks are withheld", (t) => {
  const withheld = forge.chain(undefined, 6, "withheld");
  const node = new TestNode(optionsOf(EASY, true)).start();
  node.takeBuild();
  node.take({ kind: "propose", height: heightOf(1n), round: 1, block: forge.block(undefined).block, atMs: 0 });
  node.hear({ kind: "headers", entries: withheld.slice(0, 4).map(({ sealed }) => sealed) }, "keeper");
  node.tick(900);
  t.equal(node.takeBuild(), undefined, "they may come yet");
  node.tick(1_200);
  t.equal(node.takeBuild()?.height, 1n, "they do not");
  node.hear({ kind: "headers", entries: withheld.map(({ sealed }) => sealed) }, "keeper");
  node.tick(10);
  const ours = forge.block(undefined, { label: "ours" }).block;
  node.take({ kind: "propose", height: heightOf(1n), round: 2, block: ours, atMs: node.atMs });
  t.ok(node.search, "and more such headers change nothing");
  node.hear({ kind: "blocks", blocks: withheld.slice(0, 2).map(({ block }) => block) }, "keeper");
  t.equal(node.search, undefined, "blocks that do come are waited for");
  t.end();
});

t.test("a tip that stays is said again", (t) => {
  const node = follower();
  node.hear(announce(forge.block(undefined)));
  node.sent();
  node.tick(REPEAT_MS - 1);
  t.same(node.sent(), []);
  node.tick(1);
  t.match(node.sent(), [{ to: "all", message: { kind: "announce" } }]);
  t.end();
});

// Restart.

t.test("after a restart an engine goes on as if it had never stopped", (t) => {
  const windowed = { ...EASY, retarget: "window" as const, retargetWindow: 5 };
  for (const protocol of [EASY, windowed]) {
    const maker = new Forge(protocol, 700n);
    const chain = maker.chain(undefined, 23);
    const before = follower(protocol);
    for (const forged of chain) before.hear(announce(forged));
    const after = new TestNode(optionsOf(protocol), before.blocks).start();
    t.equal(after.engine.status()?.height, 24n);
    const restored = after.steps.filter(({ input }) => input.kind === "restore").length;
    t.equal(restored, 23 - Number(restoreFrom(protocol, heightOf(23n))) + 1);
    // A reorganisation as deep as any, beginning right after the restart, past a change of the target.
    const branch = maker.chain(at(chain, 16), 9, "branch");
    for (const node of [before, after]) {
      node.hear({ kind: "headers", entries: branch.map(({ sealed }) => sealed) });
      node.hear({ kind: "blocks", blocks: branch.map(({ block }) => block) });
      t.ok(isHead(node, last(branch)), protocol.retarget);
      t.equal(node.heads.at(-9)?.undone, 6);
    }
    // And back, which needs the bodies that were restored and undone.
    const undone = new TestNode(
      optionsOf(protocol),
      chain.map(({ block, sealed }) => ({ block, seal: sealed.seal })),
    ).start();
    for (const tips of [maker.chain(at(chain, 19), 4, "short"), maker.chain(last(chain), 2, "back")]) {
      undone.sent();
      undone.hear({ kind: "headers", entries: tips.map(({ sealed }) => sealed) });
      const asked = [`peer: ${tips.map(({ block }) => block.header.height).join(" ")}`];
      t.same(asksOf(undone.sent()), asked, "the new ones alone are asked for");
      undone.hear({ kind: "blocks", blocks: tips.map(({ block }) => block) });
      t.ok(isHead(undone, last(tips)));
    }
    t.equal(undone.headHeight(), 25n);
  }
  t.end();
});

t.test("records that are damaged, out of order or too few end the engine", (t) => {
  const chain = forge.chain(undefined, 3).map(({ block, sealed }) => ({ block, seal: sealed.seal }));
  const [one, , three] = chain;
  const gap = new TestNode(optionsOf(), [present(one, "block"), present(three, "block")]);
  t.throws(() => gap.start(), { code: "pow_record" });
  const engine = new PowEngine(optionsOf());
  const validators = { validators: [], totalPower: 0n };
  engine.step({ kind: "start", height: heightOf(4n), validators, parent: present(three, "head").block.header, atMs: 0 });
  t.throws(() => engine.step({ kind: "restore", record: Uint8Array.of(1, 2, 3), atMs: 0 }), { code: "pow_record" });
  const short = new PowEngine(optionsOf());
  short.step({ kind: "start", height: heightOf(4n), validators, parent: present(three, "head").block.header, atMs: 0 });
  t.throws(() => short.step({ kind: "tick", atMs: 0 }), { code: "pow_record" });
  t.end();
});

// The wire.

t.test("hostile bytes are no message, or are the one encoding of what they say", async (t) => {
  const [one, two, three] = forge.chain(undefined, 3);
  const all = [one, two, three].map((forged) => present(forged, "block"));
  const places = all.map(({ block }) => ({ height: block.header.height, hash: block.hash }));
  const messages: readonly PowMessage[] = [
    announce(at(all, 0)),
    announce(at(all, 1), false),
    { kind: "getHeaders", locator: places },
    { kind: "headers", entries: all.map(({ sealed }) => sealed) },
    { kind: "getBlocks", places },
    { kind: "blocks", blocks: all.map(({ block }) => block) },
    { kind: "headers", entries: [] },
  ];
  for (const message of messages) {
    const bytes = encodePowMessage(message);
    const parsed = parsePowMessage(bytes);
    t.ok(parsed.ok && bytesEqual(encodePowMessage(parsed.value), bytes), message.kind);
  }
  const valid = fc.constantFrom(...messages.map(encodePowMessage));
  await checkDecoder(t, "parsePowMessage", { valid, decode: parsePowMessage, encode: encodePowMessage }, 3000);
});

t.test("a seal of another block and a body of another header are refused where they are read", (t) => {
  const [one, two] = forge.chain(undefined, 2).map((forged) => forged);
  const first = present(one, "block");
  const second = present(two, "block");
  const crossed: PowMessage = { kind: "announce", sealed: { ...first.sealed, seal: second.sealed.seal }, block: undefined };
  t.same(parsePowMessage(encodePowMessage(crossed)), { ok: false, error: { code: "seal_block" } });
  const whole: PowMessage = { kind: "announce", sealed: { ...first.sealed, seal: second.sealed.seal }, block: first.block };
  t.same(parsePowMessage(encodePowMessage(whole)), { ok: false, error: { code: "seal_block" } });
  const body = { ...second.block, previousCertificate: second.sealed.seal };
  t.same(parsePowMessage(encodePowMessage({ kind: "blocks", blocks: [body] })), { ok: false, error: { code: "block_body" } });
  t.same(parsePowRecord(encodePowMessage({ kind: "headers", entries: [] })), { ok: false, error: { code: "encoding_type" } });
  t.end();
});

// What every engine keeps (consensus/engine.ts).

t.test("the contract: silent before start, deterministic, timers ahead, deaf to stale answers", (t) => {
  const node = new TestNode(optionsOf(EASY, true)).start();
  const chain = forge.chain(undefined, 4);
  const branch = forge.chain(at(chain, 0), 5, "branch");
  node.take({ kind: "propose", height: heightOf(1n), round: 1, block: forge.block(undefined, { label: "own" }).block, atMs: 1 });
  node.atMs = 1;
  for (const forged of chain) node.hear(announce(forged)).tick(300);
  node.hear({ kind: "headers", entries: branch.map(({ sealed }) => sealed) }).tick(ANSWER_TIMEOUT_MS);
  node.hear({ kind: "blocks", blocks: branch.map(({ block }) => block) }).tick(REPEAT_MS);
  t.ok(isHead(node, last(branch)));
  const create = (): PowEngine => new PowEngine(optionsOf(EASY, true));
  checkSilentBeforeStart(t, create());
  checkTimers(t, node.steps);
  const stale = testBlock({
    chainId: CHAIN_ID,
    height: heightOf(99n),
    timeMs: 99n,
    previous: NETWORK_HASH,
    previousSeal: undefined,
    label: "stale",
    isInvalid: false,
  });
  checkReplay(t, create(), node.steps, stale);
  t.end();
});

t.test("through seeded delays, splits and restarts every node ends on the one chain with the most work", (t) => {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    const report = runMiners(seed);
    t.equal(
      report.heads,
      1,
      `seed ${seed}: ${report.height} blocks, ${report.reorganisations} reorganisations of up to ${report.deepest}`,
    );
    t.ok(report.height > 10);
    t.ok(report.reorganisations > 0, "or the network was too kind");
  }
  t.end();
});

/** Miners of equal strength under one seed: messages take time, links split, nodes restart from their chains. */
function runMiners(seed: number): {
  readonly heads: number;
  readonly height: bigint;
  readonly reorganisations: number;
  readonly deepest: number;
} {
  let state = BigInt(seed) * 0x9e37_79b9_7f4a_7c15n;
  const draw = (count: number): number => {
    // xorshift64*, Vigna 2016.
    state = BigInt.asUintN(64, state ^ (state >> 12n));
    state = BigInt.asUintN(64, state ^ (state << 25n));
    state = BigInt.asUintN(64, state ^ (state >> 27n));
    return Number(BigInt.asUintN(64, state * 0x2545_f491_4f6c_dd1dn) >> 40n) % count;
  };
  const protocol = { ...EASY, reorgDepthMax: 40 };
  const nodes = Array.from({ length: 4 }, () => new TestNode(optionsOf(protocol, true)).start());
  const mail: { readonly atMs: number; readonly to: number; readonly from: number; readonly bytes: Uint8Array }[] = [];
  const endMs = 60_000;
  const healMs = 40_000;
  const isSplit = (a: number, b: number, atMs: number): boolean =>
    atMs < healMs && Math.floor(atMs / 8_000) % 2 === 1 && a % 2 !== b % 2;
  let reorganisations = 0;
  for (let nowMs = 100; nowMs < endMs; nowMs += 100) {
    for (const [index, node] of nodes.entries()) {
      node.tick(nowMs - node.atMs);
      const build = node.takeBuild();
      if (build !== undefined) {
        const { height, round } = build;
        const seal = node.blocks.at(-1)?.seal;
        const nowBlockMs = GENESIS_TIME_MS + BigInt(nowMs);
        const parentMs = node.blocks.at(-1)?.block.header.timeMs ?? GENESIS_TIME_MS;
        const timeMs = nowBlockMs > parentMs ? nowBlockMs : parentMs + 1n;
        const parts = { chainId: CHAIN_ID, height, timeMs, previous: node.head, previousSeal: seal, isInvalid: false };
        node.take({ kind: "propose", height, round, block: testBlock({ ...parts, label: `${index} ${nowMs}` }), atMs: nowMs });
      }
      // In the last seconds nobody finds anything, but one of them once: what is equal has to be decided.
      const isLucky = nowMs < endMs - 10_000 ? draw(40) === 0 : nowMs === endMs - 8_000 && index === 0;
      if (node.search !== undefined && isLucky) {
        const { block, target } = node.search;
        const nonce = searchSeal({ headerHash: block.hash, target, extraNonce: 0n, nonce: 0n, count: 10_000_000 });
        node.take({ kind: "found", blockHash: block.hash, extraNonce: 0n, nonce: present(nonce, "nonce"), atMs: nowMs });
      }
      const questions = mail.filter(({ to, atMs }) => to === index && atMs <= nowMs);
      for (const { from, bytes } of questions) {
        const parsed = parsePowMessage(bytes);
        if (!parsed.ok) throw new Error(parsed.error.code);
        const answer = answerFrom(node, parsed.value);
        if (answer !== undefined) post(index, { peer: `${from}` }, answer, nowMs);
        node.hear(parsed.value, `${from}`);
      }
      for (const done of questions) mail.splice(mail.indexOf(done), 1);
      for (const { to, message } of node.sent()) post(index, to, message, nowMs);
      if (nowMs < healMs && draw(300) === 0) {
        const again = new TestNode(node.options, node.blocks);
        reorganisations += node.heads.filter(({ undone }) => undone > 0).length;
        again.atMs = nowMs;
        nodes[index] = again.start();
      }
    }
  }
  function post(from: number, to: "all" | { readonly peer: string }, message: PowMessage, nowMs: number): void {
    for (let target = 0; target < nodes.length; target += 1) {
      if (target === from || (to !== "all" && to.peer !== `${target}`)) continue;
      if (isSplit(from, target, nowMs) || (nowMs < healMs && draw(10) === 0)) continue;
      mail.push({ atMs: nowMs + draw(600), to: target, from, bytes: encodePowMessage(message) });
    }
  }
  const all = nodes.flatMap(({ heads }) => heads.map(({ undone }) => undone));
  return {
    heads: new Set(nodes.map(({ head }) => toHex(head))).size,
    height: present(nodes[0], "node").headHeight(),
    reorganisations: reorganisations + all.filter((undone) => undone > 0).length,
    deepest: Math.max(0, ...all),
  };
}

t.test("the target that a tree reckons is the one of the blocks alone", (t) => {
  for (const retarget of ["asert", "window"] as const) {
    const protocol = { ...EASY, retarget, retargetWindow: 4, halfLifeMs: 20_000 };
    const maker = new Forge(protocol, 400n);
    const tree = treeOf(protocol);
    let changes = 0;
    for (const forged of maker.chain(undefined, 12)) {
      const added = tree.add(forged.sealed, undefined);
      t.ok(added.ok);
      if (!added.ok) break;
      tree.setHead(added.value);
      t.equal(tree.bitsAfter(added.value), maker.bitsAfter(forged));
      if (tree.bitsAfter(added.value) !== forged.sealed.seal.bits) changes += 1;
      t.ok(targetOf(forged.sealed.seal.bits).ok);
    }
    t.ok(changes > 1, `${retarget} moved ${changes} times`);
  }
  t.end();
});
