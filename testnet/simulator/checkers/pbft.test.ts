/** PBFT's invariants, and the conviction of who forks, are seen to break where they are broken, and hold where they nearly do. */

import t from "tap";
import { present } from "../../../crypto/base/assert.ts";
import { bytesEqual } from "../../../crypto/base/bytes.ts";
import type { Block } from "../../../chain/block/block.ts";
import { heightOf } from "../../../chain/block/height.ts";
import { indexOfValidator, validatorSetOf } from "../../../chain/block/validators.ts";
import { type CertificateSignature, proposalSigningBytes, type Vote, voteSigningBytes } from "../../../chain/block/vote.ts";
import type { Codec } from "../../../consensus/engine.ts";
import { PBFT_CODEC } from "../../../consensus/pbft/codec.ts";
import {
  type NewViewMessage,
  type PbftMessage,
  type PreparedClaim,
  type ViewChange,
  viewChangeSigningBytes,
} from "../../../consensus/pbft/message.ts";
import { testBlock } from "../../../consensus/testing/world.ts";
import { addressOf, keyPairOf, Signatures } from "../signatures.ts";
import { Sometimes } from "../sometimes.ts";
import { Accountability } from "./accountability.ts";
import { Pbft } from "./pbft.ts";

const CHAIN = "checked-1";
const HEIGHT = heightOf(1n);
const set = validatorSetOf([0, 1, 2, 3].map((index) => ({ key: keyPairOf("validator", index).publicKey, power: 1n })));
const placeOf = (key: number): number => indexOfValidator(set, addressOf("validator", key));
/** Nodes are numbered by the order of the set: the primary of view v is node v. The last one lies. */
const order = [0, 1, 2, 3].sort((a, b) => placeOf(a) - placeOf(b));
const LIAR = 3;
const keyOf = (node: number) => keyPairOf("validator", present(order[node], "node"));
const addressAt = (node: number) => addressOf("validator", present(order[node], "node"));
const nodeOf = (name: Uint8Array): number => set.validators.findIndex(({ address }) => bytesEqual(address, name));
const block = testBlock({ height: HEIGHT, label: "A", proposer: addressAt(0) });
const other = testBlock({ height: HEIGHT, label: "B", proposer: addressAt(1) });
const claimOf = (of: Block, view = 0): PreparedClaim => ({ view, blockHash: of.hash });

function vote(node: number, step: Vote["step"], round: number, of: Block): Vote {
  const unsigned = { step, height: HEIGHT, round, blockHash: of.hash, validator: addressAt(node) };
  return { ...unsigned, signature: keyOf(node).sign(voteSigningBytes(CHAIN, unsigned)) };
}

function proposal(node: number, round: number, of: Block, validRound = -1) {
  const unsigned = { height: HEIGHT, round, blockHash: of.hash, validRound, validator: addressAt(node) };
  return { ...unsigned, signature: keyOf(node).sign(proposalSigningBytes(CHAIN, unsigned)) };
}

function prepares(nodes: readonly number[], view: number, of: Block): readonly CertificateSignature[] {
  return nodes.map((node) => {
    const { validator, signature } = vote(node, "prevote", view, of);
    return { validator, signature };
  });
}

function change(node: number, view: number, prepared?: PreparedClaim, height = HEIGHT): ViewChange {
  const unsigned = { height, view, prepared, validator: addressAt(node) };
  return { ...unsigned, signature: keyOf(node).sign(viewChangeSigningBytes(CHAIN, unsigned)) };
}

function newView(of: Block, viewChanges: readonly ViewChange[], fields: Partial<NewViewMessage> = {}): NewViewMessage {
  const validRound = Math.max(-1, ...viewChanges.map(({ prepared }) => prepared?.view ?? -1));
  return { kind: "newView", proposal: proposal(1, 1, of, validRound), viewChanges, prepares: [], block: of, ...fields };
}

const votes = (nodes: readonly number[], step: Vote["step"], round: number, of: Block): readonly PbftMessage[] =>
  nodes.map((node) => ({ kind: "vote", vote: vote(node, step, round, of) }));
const prePrepared: PbftMessage = { kind: "prePrepare", proposal: proposal(0, 0, block), block };
const asked = (viewChange: ViewChange, proved?: readonly CertificateSignature[]): PbftMessage => ({
  kind: "viewChange",
  viewChange,
  proof: proved === undefined ? undefined : { prepares: proved, block },
});

/** Which properties break when all of this is said. */
function broken(messages: readonly PbftMessage[]): readonly string[] {
  const found: string[] = [];
  const checker = new Pbft({
    chainId: CHAIN,
    signatures: new Signatures(),
    sometimes: new Sometimes(),
    isHonest: (index) => index !== LIAR,
    violated: (property) => void found.push(property),
    setOf: () => set,
    headerOf: () => undefined,
    nodeOf,
  });
  for (const message of messages) checker.hear(message);
  return found;
}

t.test("commits of more than 2/3 for two blocks of one height are seen, in whatever views", (t) => {
  const first = [prePrepared, ...votes([0, 1, 2, 3], "prevote", 0, block), ...votes([0, 1, 3], "precommit", 0, block)];
  t.same(broken(first), []);
  const free = newView(other, [change(1, 1), change(2, 1), change(3, 1)]);
  const second = [free, ...votes([1, 2, 3], "prevote", 1, other), ...votes([1, 2, 3], "precommit", 1, other)];
  t.same(broken([...first, ...second.slice(0, -1)]), []);
  t.same(broken([...first, ...second]), ["two_digests"]);
  t.end();
});

t.test("an honest prepare stands on a pre-prepare of view 0, or on a new-view that holds", (t) => {
  const changes = [change(1, 1), change(2, 1), change(3, 1)];
  const prepare = votes([2], "prevote", 1, other);
  t.same(broken(votes([2], "prevote", 0, block)), ["new_view"]);
  t.same(broken([prePrepared, ...votes([2], "prevote", 0, block)]), []);
  t.same(broken([newView(other, changes), ...prepare]), []);
  const proved = [change(1, 1, claimOf(block)), change(2, 1), change(3, 1)];
  const bad: Readonly<Record<string, NewViewMessage>> = {
    "too few": newView(other, changes.slice(1)),
    "one signer three times": newView(other, [change(1, 1), change(1, 1), change(1, 1)]),
    "of another height": newView(other, [change(1, 1), change(2, 1), change(3, 1, undefined, heightOf(2n))]),
    "of another view": newView(other, [change(1, 1), change(2, 1), change(3, 2)]),
    "a changed word": newView(other, [change(1, 1), { ...change(2, 1), signature: change(2, 2).signature }, change(3, 1)]),
    "not what was prepared": newView(other, proved, { proposal: proposal(1, 1, other), prepares: prepares([0, 1, 2], 0, block) }),
    "not of the primary": newView(other, changes, { proposal: proposal(3, 1, other) }),
  };
  for (const [name, message] of Object.entries(bad)) t.ok(broken([message, ...prepare]).includes("new_view"), name);
  const carried = votes([2], "prevote", 1, block);
  t.same(broken([newView(block, proved, { prepares: prepares([0, 1, 2], 0, block) }), ...carried]), []);
  t.ok(broken([newView(block, proved, { prepares: prepares([0, 1], 0, block) }), ...carried]).includes("new_view"));
  t.end();
});

t.test("an honest commit follows prepares of more than 2/3", (t) => {
  const commit = votes([0], "precommit", 0, block);
  t.same(broken([prePrepared, ...votes([0, 1, 2], "prevote", 0, block), ...commit]), []);
  t.same(broken([prePrepared, ...votes([0, 1], "prevote", 0, block), ...commit]), ["prepared"]);
  t.end();
});

t.test("an honest view-change claims what was prepared, all of what its sender committed, and one thing", (t) => {
  const proved = prepares([0, 1, 2], 0, block);
  t.same(broken([asked(change(0, 1, claimOf(block)), proved)]), []);
  t.same(broken([asked(change(0, 1, claimOf(block)), proved.slice(1))]), ["view_change_claim"]);
  t.same(broken([asked(change(0, 1, claimOf(block, 1)), prepares([0, 1, 2], 1, block))]), ["view_change_claim"]);
  t.same(broken([asked(change(LIAR, 1, claimOf(block)), proved.slice(1))]), [], "a liar may claim anything");
  const committed = [prePrepared, ...votes([0, 1, 2], "prevote", 0, block), ...votes([0], "precommit", 0, block)];
  t.same(broken([...committed, asked(change(0, 1, claimOf(block)), proved)]), []);
  t.same(broken([...committed, asked(change(0, 1))]), ["view_change_claim"]);
  t.same(broken([asked(change(0, 1)), ...committed]), ["view_change_claim"], "in whatever order it is heard");
  t.same(broken([asked(change(1, 1)), asked(change(1, 1, claimOf(block)), proved)]), ["view_change_claim"]);
  t.end();
});

/** What comes of a fork when all of this was said: nodes 0 and 1 are honest, and decided one block each. */
function judged(messages: readonly PbftMessage[], isHonest = (index: number): boolean => index < 2) {
  const found: string[] = [];
  const sometimes = new Sometimes();
  const codec = PBFT_CODEC as unknown as Codec<object>;
  const violated = (property: string): void => void found.push(property);
  const parts = { chainId: CHAIN, codec, hasViews: true, sometimes, isHonest, violated, setOf: () => set, nodeOf };
  const checker = new Accountability(parts);
  for (const message of messages) checker.onSaid(0, codec.encode(message));
  for (const [index, decided] of [block, other].entries()) {
    const certificate = { kind: "quorum", height: HEIGHT, round: 0, blockHash: decided.hash, signatures: [] } as const;
    checker.onCommit(index, { block: decided, certificate, results: [] } as unknown as Parameters<typeof checker.onCommit>[1]);
  }
  checker.onEnd();
  const counts = sometimes.counts();
  return { found, byEvidence: counts["fork_proved_by_evidence"], byViewChanges: counts["fork_proved_by_view_changes"] };
}

t.test("who forks is convicted by two words for one step, or by a view-change that hides a commit", (t) => {
  const twice = [...votes([0, 2, 3], "precommit", 0, block), ...votes([1, 2, 3], "precommit", 0, other)];
  t.match(judged(twice), { found: [], byEvidence: 1, byViewChanges: 0 });
  // Each speaks once a view: only what they said of view 0 in between convicts them.
  const apart = [...votes([0, 2, 3], "precommit", 0, block), ...votes([1, 2, 3], "precommit", 1, other)];
  const hidden = [asked(change(2, 1)), asked(change(3, 1))];
  t.match(judged([...apart, ...hidden]), { found: [], byEvidence: 0, byViewChanges: 1 });
  t.same(judged([...apart, ...hidden.slice(1)]).found, ["accountability"], "a quarter is not a third");
  t.same(judged(apart).found, ["accountability"]);
  t.same(judged(twice, (index) => index !== 3).found, ["accountability"], "nobody honest is convicted");
  t.end();
});
