/** The engine by itself: the stories of consensus/testdata, its codecs under hostile bytes, and its bounds under floods. */

import fc from "fast-check";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import type { Result } from "../../crypto/base/result.ts";
import { hash } from "../../crypto/hash/hash.ts";
import { doubleVoteOf } from "../../chain/block/evidence.ts";
import { heightOf } from "../../chain/block/height.ts";
import { ROUND_MAX } from "../../chain/block/limits.ts";
import type { Proposal, Vote } from "../../chain/block/vote.ts";
import type { Effect } from "../engine.ts";
import { isUpdating, readScript, scriptsOf, transcriptOf, writeScript } from "../testing/script.ts";
import { TEST_PARAMETERS } from "../testing/tendermint-kind.ts";
import { TendermintStage } from "../testing/tendermint-stage.ts";
import { CHAIN_ID, testBlock, World } from "../testing/world.ts";
import { TendermintEngine } from "./engine.ts";
import {
  FUTURE_ROUNDS_PER_VALIDATOR_MAX,
  PAST_ROUNDS_MAX,
  PENDING_COPIES_MAX,
  PENDING_MAX,
  PENDING_PER_PEER_MAX,
  PENDING_PROPOSALS_PER_PEER_MAX,
  ROUNDS_SKIPPED_MAX,
} from "./limits.ts";
import { type ConsensusMessage, encodeMessage, parseMessage, type ProposalMessage } from "./message.ts";
import { encodeRecord, parseRecord, type WalRecord } from "./record.ts";
import { initialRoundState, onRoundEvent } from "./rounds.ts";
import { VoteKeeper } from "./votes.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const SEED = drawnSeed();
const HEIGHT = heightOf(1n);
const world = new World([1n, 1n, 1n, 1n]);
const block = testBlock({ height: HEIGHT, label: "A", proposer: world.member("v1").address });

function vote(name: string, fields: Partial<Omit<Vote, "signature" | "validator">> = {}): Vote {
  return world.vote({
    step: "prevote",
    height: HEIGHT,
    round: 0,
    blockHash: block.hash,
    validator: world.member(name).address,
    ...fields,
  });
}

function proposal(name: string, fields: Partial<Omit<Proposal, "signature" | "validator">> = {}): ProposalMessage {
  return {
    kind: "proposal",
    proposal: world.proposal({
      height: HEIGHT,
      round: 0,
      blockHash: block.hash,
      validRound: -1,
      validator: world.member(name).address,
      ...fields,
    }),
    block,
  };
}

function started(self: string | undefined): TendermintEngine {
  const engine = new TendermintEngine({
    chainId: CHAIN_ID,
    self: self === undefined ? undefined : world.member(self).address,
    parameters: TEST_PARAMETERS,
  });
  engine.step({ kind: "start", height: HEIGHT, validators: world.set, parent: undefined, atMs: 0 });
  return engine;
}

/** Gives an engine a message and says whether it wants its signature checked. */
function hears(engine: TendermintEngine, message: ConsensusMessage, from = "peer"): boolean {
  return engine.step({ kind: "message", from, message, atMs: 0 }).some((effect) => effect.kind === "verify");
}

/** Gives an engine a message, vouches for it, and answers its questions as a willing driver. */
function accepts(engine: TendermintEngine, message: ConsensusMessage): void {
  const effects = [...engine.step({ kind: "message", from: "peer", message, atMs: 0 })];
  for (let effect = effects.shift(); effect !== undefined; effect = effects.shift())
    effects.push(...engine.step(present(answer(effect), effect.kind)));
}

function answer(effect: Effect<ConsensusMessage>): Parameters<TendermintEngine["step"]>[0] | undefined {
  switch (effect.kind) {
    case "verify":
      return { kind: "verified", id: effect.id, valid: true, atMs: 0 };
    case "judge":
      return { kind: "judged", blockHash: effect.blockHash, valid: true, atMs: 0 };
    case "sign":
      return { kind: "signed", id: effect.id, signature: world.sign(effect.what), atMs: 0 };
    case "persist":
      return { kind: "persisted", sequence: effect.sequence, atMs: 0 };
    default:
      return { kind: "tick", atMs: 0 };
  }
}

// ---- stories

t.test("there are stories", (t) => {
  t.ok(scriptsOf("tendermint_").length >= 14);
  t.end();
});

for (const name of scriptsOf("tendermint_")) {
  t.test(`the story ${name} goes as it is written`, (t) => {
    const cases = readScript(name);
    const stage = new TendermintStage();
    const transcripts = cases.map(({ command }) => transcriptOf(stage.run(command)));
    if (isUpdating()) writeScript(name, cases, transcripts);
    else
      for (const [index, { command, expected, line }] of cases.entries())
        t.same(transcripts[index], expected, `${name}:${line}: ${command}`);
    t.end();
  });
}

// ---- codecs

const MESSAGES: readonly ConsensusMessage[] = [
  { kind: "vote", vote: vote("v1") },
  { kind: "vote", vote: vote("v2", { step: "precommit", blockHash: undefined, round: 300, height: heightOf(1n << 40n) }) },
  proposal("v1"),
  proposal("v2", { round: 70_000, validRound: 12 }),
];

const RECORDS: readonly WalRecord[] = [
  { kind: "round", height: HEIGHT, round: 7 },
  { kind: "proposal", height: HEIGHT, message: proposal("v1") },
  { kind: "polka", height: HEIGHT, votes: [vote("v1"), vote("v2"), vote("v3")] },
  { kind: "promise", height: HEIGHT, step: "prevote", round: 3, blockHash: undefined },
  { kind: "promise", height: HEIGHT, step: "precommit", round: 0, blockHash: block.hash },
  { kind: "vote", height: HEIGHT, vote: vote("v4", { step: "precommit" }) },
];

/** Every mutation is refused, or is itself the one encoding of what it decodes to. */
function survives<T>(
  t: Test,
  encodings: readonly Uint8Array[],
  parse: (bytes: Uint8Array) => Result<T>,
  encode: (value: T) => Uint8Array,
): void {
  const edit = fc.record({
    at: fc.nat(),
    kind: fc.constantFrom("flip" as const, "insert" as const, "remove" as const, "cut" as const),
    byte: fc.integer({ min: 0, max: 255 }),
  });
  let refused = 0;
  const property = fc.property(fc.constantFrom(...encodings), fc.array(edit, { minLength: 1, maxLength: 3 }), (valid, edits) => {
    let bytes = [...valid];
    for (const { at, kind, byte } of edits) {
      const index = bytes.length === 0 ? 0 : at % bytes.length;
      if (kind === "flip") bytes[index] = byte;
      else if (kind === "insert") bytes.splice(index, 0, byte);
      else if (kind === "remove") bytes.splice(index, 1);
      else bytes = bytes.slice(0, index);
    }
    const mutated = Uint8Array.from(bytes);
    const parsed = parse(mutated);
    if (!parsed.ok) refused += 1;
    else if (!bytesEqual(encode(parsed.value), mutated)) t.fail("two encodings of one value");
  });
  fc.assert(property, { seed: SEED, numRuns: 4000 });
  t.ok(refused > 2000, `${refused} of 4000 refused, seed ${SEED}`);
}

t.test("a message decodes to what was encoded, and no other bytes decode to it", (t) => {
  for (const message of MESSAGES) t.same(parseMessage(encodeMessage(message)), { ok: true, value: message });
  survives(t, MESSAGES.map(encodeMessage), parseMessage, encodeMessage);
  t.end();
});

t.test("a record decodes to what was encoded, and no other bytes decode to it", (t) => {
  for (const record of RECORDS) t.same(parseRecord(encodeRecord(record)), { ok: true, value: record });
  survives(t, RECORDS.map(encodeRecord), parseRecord, encodeRecord);
  t.end();
});

t.test("a proposal is refused with another block than it names, and with another body than the header names", (t) => {
  const other = testBlock({ height: HEIGHT, label: "B", proposer: world.member("v1").address });
  const { proposal: named } = proposal("v1");
  t.same(parseMessage(encodeMessage({ kind: "proposal", proposal: named, block: other })), {
    ok: false,
    error: { code: "proposal_block" },
  });
  const evidence = [doubleVoteOf(vote("v1"), vote("v1", { blockHash: undefined }))];
  t.same(parseMessage(encodeMessage({ kind: "proposal", proposal: named, block: { ...block, evidence } })), {
    ok: false,
    error: { code: "proposal_body" },
  });
  const previousCertificate = { kind: "quorum" as const, height: HEIGHT, round: 0, blockHash: block.hash, signatures: [] };
  t.same(parseMessage(encodeMessage({ kind: "proposal", proposal: named, block: { ...block, previousCertificate } })), {
    ok: false,
    error: { code: "proposal_body" },
  });
  t.end();
});

t.test("a record whose parts are of different heights is refused, and a damaged log stops the engine", (t) => {
  const later = heightOf(2n);
  t.notOk(parseRecord(encodeRecord({ kind: "vote", height: later, vote: vote("v1") })).ok);
  t.notOk(parseRecord(encodeRecord({ kind: "polka", height: later, votes: [vote("v1")] })).ok);
  t.notOk(parseRecord(encodeRecord({ kind: "polka", height: HEIGHT, votes: [] })).ok);
  t.same(parseRecord(encodeRecord({ kind: "proposal", height: later, message: proposal("v1") })), {
    ok: false,
    error: { code: "record_invalid" },
  });
  t.throws(() => started("v1").step({ kind: "restore", record: Uint8Array.of(1, 2, 3), atMs: 0 }), {
    code: "wal_record_invalid",
  });
  t.end();
});

t.test("a restart many rounds after the block was proposed finds the block that a later polka was for", (t) => {
  const engine = started("v2");
  const polka = ["v1", "v3", "v4"].map((name) => vote(name, { round: 9 }));
  const records: readonly WalRecord[] = [
    { kind: "proposal", height: HEIGHT, message: proposal("v1") },
    { kind: "round", height: HEIGHT, round: 9 },
    { kind: "polka", height: HEIGHT, votes: polka },
  ];
  for (const record of records) engine.step({ kind: "restore", record: encodeRecord(record), atMs: 0 });
  t.match(engine.status(), { round: 9, validRound: 9 });
  t.end();
});

// ---- what is worth a signature check

t.test("only what could matter is checked", (t) => {
  const engine = started("v4");
  t.ok(hears(engine, { kind: "vote", vote: vote("v1") }), "a vote");
  t.notOk(hears(engine, { kind: "vote", vote: vote("v1") }, "other"), "the same vote while it is being checked");
  t.notOk(hears(engine, { kind: "vote", vote: vote("v1", { height: heightOf(2n) }) }), "a vote of another height");
  const stranger = new World([1n, 1n, 1n, 1n, 1n]).members.find(
    ({ address }) => !world.members.some((member) => bytesEqual(member.address, address)),
  );
  t.notOk(
    hears(engine, { kind: "vote", vote: world.vote({ ...vote("v1"), validator: present(stranger, "stranger").address }) }),
    "a stranger's vote",
  );

  t.ok(hears(engine, proposal("v1")), "the proposer's proposal");
  t.notOk(hears(engine, proposal("v2")), "a proposal out of turn");
  t.ok(hears(engine, proposal("v3", { round: 2 }), "third"), "a proposal two rounds ahead");
  t.notOk(hears(engine, proposal("v4", { round: 3 }), "fourth"), "a proposal further ahead");
  t.notOk(hears(engine, proposal("v2", { round: 1, validRound: 1 }), "fourth"), "a proof of its own round");
  t.notOk(hears(engine, proposal("v2", { round: 1, validRound: -2 }), "fourth"), "a round that cannot be");
  const { proposal: named } = proposal("v2", { round: 1 });
  t.notOk(
    hears(engine, { kind: "proposal", proposal: { ...named, blockHash: hash("header", new Uint8Array(1)) }, block }, "fourth"),
    "another block",
  );
  const elsewhere = { ...block, header: { ...block.header, chainId: "elsewhere" } };
  t.notOk(hears(engine, { kind: "proposal", proposal: named, block: elsewhere }, "fourth"), "a block of another chain");
  const later = { ...block, header: { ...block.header, height: heightOf(2n) } };
  t.notOk(hears(engine, { kind: "proposal", proposal: named, block: later }, "fourth"), "a block of another height");
  t.end();
});

t.test("a forged signature leaves no trace", (t) => {
  const engine = started("v4");
  const message = { kind: "vote", vote: { ...vote("v1"), signature: new Uint8Array(32) } } as const;
  const [effect] = engine.step({ kind: "message", from: "peer", message, atMs: 0 });
  t.same(
    engine.step({
      kind: "verified",
      id: present(effect?.kind === "verify" ? effect.id : undefined, "id"),
      valid: false,
      atMs: 0,
    }),
    [],
  );
  t.same(engine.messages(), []);
  t.ok(hears(engine, { kind: "vote", vote: vote("v1") }), "the real one is still wanted");
  t.end();
});

t.test("one peer cannot use up what is kept for checking, nor can all of them together grow it", (t) => {
  const engine = started("v4");
  const flood = (from: string, count: number): number => {
    let taken = 0;
    for (let index = 0; index < count; index += 1) {
      const blockHash = hash("header", Uint8Array.of(index & 255, index >> 8));
      if (hears(engine, { kind: "vote", vote: vote("v1", { blockHash }) }, from)) taken += 1;
    }
    return taken;
  };
  t.equal(flood("flooder", 1000), PENDING_PER_PEER_MAX);
  t.ok(hears(engine, { kind: "vote", vote: vote("v2") }, "honest"), "another peer is heard");
  let copies = 0;
  for (let index = 0; index < 100; index += 1) {
    const forged = { ...vote("v3"), signature: new Uint8Array(32).fill(index) };
    if (hears(engine, { kind: "vote", vote: forged }, "forger")) copies += 1;
  }
  t.equal(copies, PENDING_COPIES_MAX);
  let proposals = 0;
  for (let index = 0; index < 10; index += 1) {
    const candidate = proposal("v1");
    if (
      hears(engine, { ...candidate, proposal: { ...candidate.proposal, signature: new Uint8Array(32).fill(index) } }, "proposer")
    )
      proposals += 1;
  }
  t.equal(proposals, PENDING_PROPOSALS_PER_PEER_MAX);
  let all = PENDING_PER_PEER_MAX + 1 + copies + proposals;
  for (let peer = 0; peer < 40; peer += 1) {
    for (let round = 0; round < 300; round += 1)
      if (hears(engine, { kind: "vote", vote: vote("v2", { round: 1 + round + peer * 300 }) }, `peer ${peer}`)) all += 1;
  }
  t.equal(all, PENDING_MAX);
  t.end();
});

t.test("votes of rounds without end are kept in bounded room", (t) => {
  const keeper = new VoteKeeper(world.set);
  for (let round = 1; round < 5000; round += 1) for (const name of ["v1"]) keeper.add(vote(name, { round }));
  t.same(keeper.rounds(), [4998, 4999], `the ${FUTURE_ROUNDS_PER_VALIDATOR_MAX} highest of one validator`);
  t.same(keeper.add(vote("v1", { round: 17 })), { kind: "refused" });
  t.equal(keeper.roundToSkipTo(), undefined);
  keeper.add(vote("v2", { round: 4998 }));
  t.equal(keeper.roundToSkipTo(), 4998);
  for (const [round, skipped] of [
    [ROUNDS_SKIPPED_MAX, ROUNDS_SKIPPED_MAX],
    [ROUNDS_SKIPPED_MAX + 1, undefined],
    [ROUND_MAX, undefined],
  ] as const) {
    const far = new VoteKeeper(world.set);
    for (const name of ["v1", "v2"]) far.add(vote(name, { round }));
    t.equal(far.roundToSkipTo(), skipped, `round ${round}, whoever names it`);
  }
  t.end();
});

t.test("earlier rounds are forgotten, but for a window and those that are pinned", (t) => {
  const keeper = new VoteKeeper(world.set);
  keeper.add(vote("v1", { round: 0 }));
  for (let round = 1; round <= 40; round += 1) {
    keeper.moveTo(round, new Set([3]));
    keeper.add(vote("v1", { round }));
  }
  t.same(keeper.rounds(), [3, ...Array.from({ length: PAST_ROUNDS_MAX + 1 }, (_, index) => 40 - PAST_ROUNDS_MAX + index)]);
  t.notOk(keeper.wants(vote("v2", { round: 4 })));
  t.ok(keeper.wants(vote("v2", { round: 3 })), "a pinned round takes votes still");
  t.end();
});

t.test("the votes of a forgotten round are taken again when a proposal names it as its proof", (t) => {
  const engine = started("v4");
  for (const name of ["v2", "v3"]) accepts(engine, { kind: "vote", vote: vote(name, { round: 20, blockHash: undefined }) });
  t.equal(engine.status()?.round, 20);
  t.notOk(hears(engine, { kind: "vote", vote: vote("v1", { round: 1 }) }), "round 1 is long past");
  accepts(engine, proposal("v1", { round: 20, validRound: 1 }));
  t.equal(engine.status()?.step, "propose", "there is no proof yet");
  for (const name of ["v1", "v2", "v3"]) accepts(engine, { kind: "vote", vote: vote(name, { round: 1 }) });
  t.equal(engine.status()?.step, "prevote", "there is");
  t.end();
});

t.test("a proof of lock of this round or a later one is none", (t) => {
  const { state } = onRoundEvent(initialRoundState(HEIGHT), { kind: "newRound", round: 2, isProposer: false });
  for (const validRound of [-1, 2, 3]) {
    t.same(onRoundEvent(state, { kind: "proposalAndPolka", value: "A", validRound, valid: true }), { state, outputs: [] });
  }
  t.equal(onRoundEvent(state, { kind: "proposalAndPolka", value: "A", validRound: 1, valid: true }).state.step, "prevote");
  t.end();
});

// ---- what a peer can be given

t.test("what one engine knows brings another one where it is", (t) => {
  const ahead = started("v1");
  for (const name of ["v2", "v3", "v4"]) accepts(ahead, { kind: "vote", vote: vote(name, { blockHash: undefined }) });
  accepts(ahead, proposal("v1"));
  for (const name of ["v2", "v3"]) accepts(ahead, { kind: "vote", vote: vote(name, { round: 1 }) });
  accepts(ahead, proposal("v2", { round: 1 }));
  accepts(ahead, { kind: "vote", vote: vote("v4", { round: 1 }) });
  const { round, step, lockedRound } = present(ahead.status(), "status");
  t.same({ round, step, lockedRound }, { round: 1, step: "precommit", lockedRound: 1 });

  const behind = started(undefined);
  for (const message of ahead.messages()) accepts(behind, present(roundTrip(message), "message"));
  const reached = present(behind.status(), "status");
  t.same({ round: reached.round, step: reached.step, lockedRound: reached.lockedRound }, { round, step, lockedRound });
  t.notOk(reached.isValidator);
  t.same(started("v1").messages(), [], "an engine that knows nothing has nothing to give");
  t.end();
});

function roundTrip(message: ConsensusMessage): ConsensusMessage | undefined {
  const parsed = parseMessage(encodeMessage(message));
  return parsed.ok ? parsed.value : undefined;
}
