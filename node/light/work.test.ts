/**
 * Following sealed headers from a network file: real seals under an easy target, and what a node could try to pass off
 * as a chain.
 */

import t from "tap";
import { assert, present } from "../../crypto/base/assert.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { assembleBlock, encodeHeader, parseHeader } from "../../chain/block/block.ts";
import { type NetworkFile, networkHash } from "../../chain/block/genesis.ts";
import { heightOf } from "../../chain/block/height.ts";
import { PROTOCOL_DEFAULTS } from "../../chain/block/protocol.ts";
import { expectedBits } from "../../chain/block/retarget.ts";
import { keyPairAt, networkOf } from "../../chain/block/testing/fixtures.ts";
import { encodeCertificate, parseCertificate, type WorkCertificate } from "../../chain/block/vote.ts";
import { searchSeal, targetOf, workOf } from "../../chain/block/work.ts";
import { LOG_HASHER } from "../../chain/merkle/log.ts";
import type { Anchor } from "./anchor.ts";
import { LightVerifier } from "./verifier.ts";
import { WorkChain } from "./work.ts";

const PROTOCOL = {
  ...PROTOCOL_DEFAULTS.pow,
  targetIntervalMs: 1_000,
  halfLifeMs: 60_000,
  // One hash in sixteen.
  targetBitsMax: 0x20_0f_ff_ff,
  finalityDepth: 3,
  reorgDepthMax: 5,
};
const NETWORK: NetworkFile = { ...networkOf({ powers: [] }), engine: PROTOCOL };
/** When these tests are. */
const NOW = NETWORK.genesisTimeMs + 3_600_000n;
const RULES = { protocol: PROTOCOL, genesisTimeMs: NETWORK.genesisTimeMs };

type Mined = { readonly anchor: Anchor; readonly timeMs: bigint; readonly bits: number; readonly work: bigint };

/** Mines `intervals.length` headers on top of `chain`, one every so many milliseconds. */
function mine(chain: readonly Mined[], intervals: readonly bigint[], label: string): readonly Mined[] {
  const mined = [...chain];
  for (const interval of intervals) {
    const parent = mined.at(-1);
    const height = heightOf(BigInt(mined.length) + 1n);
    const parentTime = parent?.timeMs ?? NETWORK.genesisTimeMs;
    const bits = expectedBits(
      RULES,
      { height: heightOf(height - 1n), timeMs: parentTime, bits: parent?.bits ?? PROTOCOL.targetBitsMax },
      () => NETWORK.genesisTimeMs,
    );
    mined.push(seal({ height, timeMs: parentTime + interval, bits, label, parent }));
  }
  return mined;
}

function seal(options: {
  readonly height: ReturnType<typeof heightOf>;
  readonly timeMs: bigint;
  readonly bits: number;
  readonly label: string;
  readonly parent: Mined | undefined;
  readonly historyRoot?: Hash;
}): Mined {
  const { height, timeMs, bits, label, parent } = options;
  const some = hash("stateValue", new TextEncoder().encode(label));
  const parentHeader = parent === undefined ? undefined : parseHeader(parent.anchor.header);
  assert(parentHeader === undefined || parentHeader.ok, "own header");
  const previous = parent === undefined ? networkHash(NETWORK) : hash("header", parent.anchor.header);
  const { header, hash: blockHash } = assembleBlock({
    chainId: NETWORK.chainId,
    height,
    timeMs,
    previous,
    historyRoot: options.historyRoot ?? some,
    stateRoot: some,
    validatorsHash: some,
    nextValidatorsHash: some,
    proposer: addressOfKey(keyPairAt(1).publicKey),
    transactions: [],
    results: [],
    previousCertificate: undefined,
    evidence: [],
  });
  const target = targetOf(bits);
  assert(target.ok, "target");
  const span = { headerHash: blockHash, target: target.value, extraNonce: 0n, nonce: 0n, count: 1_000_000 };
  const nonce = present(searchSeal(span), "nonce");
  const work = (parent?.work ?? 0n) + workOf(target.value);
  const certificate = encodeCertificate({ kind: "work", height, blockHash, bits, extraNonce: 0n, nonce, chainWork: work });
  return { anchor: { header: encodeHeader(header), certificate }, timeMs, bits, work };
}

function times(count: number, interval: bigint): readonly bigint[] {
  return Array.from({ length: count }, () => interval);
}

function anchorsOf(chain: readonly Mined[], from = 1): readonly Anchor[] {
  return chain.slice(from - 1).map(({ anchor }) => anchor);
}

function resealed(mined: Mined, changed: Partial<WorkCertificate>): Anchor {
  const parsed = parseCertificate(mined.anchor.certificate);
  assert(parsed.ok && parsed.value.kind === "work", "own seal");
  return { header: mined.anchor.header, certificate: encodeCertificate({ ...parsed.value, ...changed }) };
}

function acceptWork(verifier: LightVerifier, anchors: readonly Anchor[]): ReturnType<LightVerifier["acceptWork"]> {
  return verifier.acceptWork(anchors, NOW);
}

function codeOf(result: { readonly ok: true } | { readonly ok: false; readonly error: { readonly code: string } }): string {
  return result.ok ? "ok" : result.error.code;
}

t.test("sealed headers are followed, and a header says how deep it lies", async (t) => {
  const chain = mine([], times(6, 1_000n), "a");
  const verifier = LightVerifier.fromGenesis(NETWORK);
  const third = present(chain[2], "header").anchor;
  t.equal(codeOf(await verifier.acceptHeader(third)), "headers_unknown", "nothing leads to it yet");
  t.equal(codeOf(acceptWork(verifier, anchorsOf(chain))), "ok");
  const accepted = await verifier.acceptHeader(third);
  assert(accepted.ok, "third header");
  t.match(verifier.finalityOf(accepted.value), { kind: "probabilistic", depth: 4, isSettled: true });
  const fifth = await verifier.acceptHeader(present(chain[4], "header").anchor);
  assert(fifth.ok, "fifth header");
  t.match(verifier.finalityOf(fifth.value), { depth: 2, isSettled: false });
  const work = present(chain[5], "header").work - present(chain[3], "header").work;
  t.equal((verifier.finalityOf(fifth.value) as { readonly work: bigint }).work, work, "the work of two blocks");
});

t.test("a seal must be of exactly the work that the headers before it prescribe", (t) => {
  const chain = mine([], times(3, 1_000n), "a");
  const last = present(chain[2], "header");
  const accept = (anchor: Anchor): string =>
    codeOf(new WorkChain(NETWORK).accept([...anchorsOf(chain.slice(0, 2)), anchor], NOW));
  t.equal(accept(last.anchor), "ok");
  t.equal(accept(resealed(last, { bits: 0x20_7f_ff_ff })), "work_target", "an easier target of its own choice");
  t.equal(accept(resealed(last, { nonce: 1n << 60n })), "work_target", "nonces that nobody found");
  t.equal(accept(resealed(last, { chainWork: last.work + 1n })), "work_target", "more work than was done");
  t.equal(accept(resealed(last, { height: heightOf(4n) })), "certificate_block");
  const early = seal({ height: heightOf(3n), timeMs: 0n, bits: last.bits, label: "a", parent: chain[1] });
  t.equal(accept(early.anchor), "header_time");
  t.end();
});

t.test("of two chains the heavier is followed, and what it leaves is believed no longer", async (t) => {
  const trunk = mine([], times(3, 1_000n), "trunk");
  const ours = mine(trunk, times(2, 1_000n), "ours");
  const theirs = mine(trunk, times(3, 1_000n), "theirs");
  const verifier = LightVerifier.fromGenesis(NETWORK);
  t.equal(codeOf(acceptWork(verifier, anchorsOf(ours))), "ok");
  const left = present(ours[4], "header").anchor;
  t.equal(codeOf(await verifier.acceptHeader(left)), "ok");
  t.equal(codeOf(acceptWork(verifier, anchorsOf(theirs.slice(0, 5), 4))), "work_less", "as heavy is not heavier");
  t.equal(codeOf(acceptWork(verifier, anchorsOf(theirs, 5))), "headers_unknown", "its beginning hangs in the air");
  t.equal(codeOf(acceptWork(verifier, anchorsOf(theirs, 4))), "ok");
  t.equal(codeOf(await verifier.acceptHeader(left)), "headers_unknown");
  t.equal(codeOf(await verifier.acceptHeader(present(theirs[5], "header").anchor)), "ok");
  t.equal(codeOf(acceptWork(verifier, anchorsOf(theirs, 2))), "ok", "the same again changes nothing");
});

t.test("no chain undoes more blocks than the network allows, however heavy", (t) => {
  const ours = mine([], times(7, 1_000n), "ours");
  const deep = mine(ours.slice(0, 1), times(9, 1_000n), "theirs");
  const chain = new WorkChain(NETWORK);
  t.equal(codeOf(chain.accept(anchorsOf(ours), NOW)), "ok");
  t.equal(codeOf(chain.accept(anchorsOf(deep, 2), NOW)), "reorg_deep", "six of ours");
  const allowed = mine(ours.slice(0, 2), times(9, 1_000n), "theirs");
  t.equal(codeOf(chain.accept(anchorsOf(allowed, 3), NOW)), "ok", "five of ours");
  t.equal(chain.height, 11n);
  t.end();
});

t.test("a header from the future makes the work after it no cheaper", (t) => {
  const chain = mine([], times(12, 200n), "a");
  const hard = present(chain.at(-1), "header").work - present(chain.at(-2), "header").work;
  const later = NOW - present(chain.at(-1), "header").timeMs;
  const lies = mine(chain, [later + 1n, 1n, 1n, 1n], "lies");
  const easy = present(lies.at(-1), "header").work - present(lies.at(-2), "header").work;
  t.ok(easy < hard, "three blocks for less than one was worth");
  const follower = new WorkChain(NETWORK);
  t.equal(codeOf(follower.accept(anchorsOf(chain), NOW)), "ok");
  t.equal(codeOf(follower.accept(anchorsOf(lies, 13), NOW)), "header_future");
  t.equal(follower.height, 12n, "nothing that was refused changed anything");
  t.equal(codeOf(follower.accept(anchorsOf(mine(chain, [later], "now"), 13), NOW)), "ok", "at the very limit");
  t.end();
});

t.test("whoever finds one seal cannot vouch for an old header that is not on the chain", async (t) => {
  const trunk = mine([], times(2, 1_000n), "trunk");
  const [invented] = mine([], times(1, 500n), "invented");
  const leafOf = ({ anchor }: Mined): Hash => LOG_HASHER.leaf(hash("header", anchor.header));
  const second = leafOf(present(trunk[1], "header"));
  const grow = (first: Mined): readonly Mined[] => {
    const historyRoot = LOG_HASHER.node(leafOf(first), second);
    const parent = present(trunk[1], "header");
    const next = { height: heightOf(3n), timeMs: parent.timeMs + 1_000n, bits: parent.bits, label: "third" };
    return [
      ...trunk,
      seal({
        ...next,
        bits: expectedBits(RULES, { ...next, height: heightOf(2n), timeMs: parent.timeMs }, () => 0n),
        parent,
        historyRoot,
      }),
    ];
  };
  const claim = async (first: Mined): Promise<string> => {
    const verifier = LightVerifier.fromGenesis(NETWORK);
    const chain = grow(first);
    t.equal(codeOf(acceptWork(verifier, anchorsOf(chain))), "ok");
    const at = await verifier.acceptHeader(present(chain[2], "header").anchor);
    assert(at.ok, "head");
    return codeOf(verifier.acceptHistory({ header: first.anchor.header, siblings: [second] }, at.value));
  };
  t.equal(await claim(present(trunk[0], "header")), "ok");
  t.equal(await claim(present(invented, "header")), "headers_unknown");
});

t.test("a header that was left for a heavier chain has no depth any more", async (t) => {
  const trunk = mine([], times(2, 1_000n), "trunk");
  const ours = mine(trunk, times(2, 20_000n), "ours");
  // Fewer blocks and yet more work: they came faster.
  const theirs = mine(trunk, times(3, 1n), "theirs");
  const verifier = LightVerifier.fromGenesis(NETWORK);
  t.equal(codeOf(acceptWork(verifier, anchorsOf(ours))), "ok");
  const at = await verifier.acceptHeader(present(ours[3], "header").anchor);
  const kept = await verifier.acceptHeader(present(ours[1], "header").anchor);
  assert(at.ok && kept.ok, "headers");
  t.match(verifier.finalityOf(at.value), { depth: 1 });
  t.equal(codeOf(acceptWork(verifier, anchorsOf(theirs, 3))), "ok");
  t.equal(verifier.finalityOf(at.value), undefined);
  t.match(verifier.finalityOf(kept.value), { depth: 4 });
});
