/** The engine by itself: the stories of consensus/testdata, its codecs under hostile bytes, its bounds, and restarts. */

import fc from "fast-check";
import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { hash } from "../../crypto/hash/hash.ts";
import { checkDecoder } from "../../crypto/testing/property.ts";
import type { Block } from "../../chain/block/block.ts";
import { doubleVoteOf } from "../../chain/block/evidence.ts";
import { heightOf } from "../../chain/block/height.ts";
import { ROUND_MAX } from "../../chain/block/limits.ts";
import type { Proposal, Vote } from "../../chain/block/vote.ts";
import type { Effect, Input } from "../engine.ts";
import { signedChange, TEST_PROTOCOL } from "../testing/pbft-kind.ts";
import { PbftStage } from "../testing/pbft-stage.ts";
import { isUpdating, readScript, scriptsOf, transcriptOf, writeScript } from "../testing/script.ts";
import { CHAIN_ID, testBlock, World } from "../testing/world.ts";
import { ViewChangeKeeper } from "./changes.ts";
import { PBFT_CODEC } from "./codec.ts";
import { PbftEngine } from "./engine.ts";
import {
  PAST_VIEWS_MAX,
  PENDING_BLOCKS_MAX,
  PENDING_BLOCKS_PER_PEER_MAX,
  PENDING_COPIES_MAX,
  PENDING_MAX,
  PENDING_PER_PEER_MAX,
  VIEWS_AHEAD_MAX,
} from "./limits.ts";
import {
  encodeMessage,
  type NewViewMessage,
  parseMessage,
  type PbftMessage,
  type PreparedClaim,
  type PrePrepareMessage,
  type ViewChange,
  type ViewChangeMessage,
} from "./message.ts";
import { primaryOf } from "./primary.ts";
import { encodeRecord, parseRecord, type WalRecord } from "./record.ts";
import { mayCome } from "./rules.ts";
import { INITIAL_VIEW_STATE, onViewEvent, type ViewEvent, type ViewState } from "./views.ts";
import { valueOf, VoteKeeper } from "./votes.ts";

type Fx = Effect<PbftMessage>;

const HEIGHT = heightOf(1n);
const world = new World([1n, 1n, 1n, 1n]);
const block = testBlock({ height: HEIGHT, label: "A", proposer: world.member("v1").address });
const other = testBlock({ height: HEIGHT, label: "B", proposer: world.member("v1").address });

function vote(name: string, fields: Partial<Omit<Vote, "signature" | "validator">> = {}): Vote {
  const validator = world.member(name).address;
  return world.vote({ step: "prevote", height: HEIGHT, round: 0, blockHash: block.hash, validator, ...fields });
}

function proposal(name: string, fields: Partial<Omit<Proposal, "signature" | "validator">> = {}): Proposal {
  const validator = world.member(name).address;
  return world.proposal({ height: HEIGHT, round: 0, blockHash: block.hash, validRound: -1, validator, ...fields });
}

function prePrepare(name = "v1", of: Block = block): PrePrepareMessage {
  return { kind: "prePrepare", proposal: proposal(name, { blockHash: of.hash }), block: of };
}

function change(name: string, view: number, prepared?: PreparedClaim): ViewChange {
  return signedChange(world, { height: HEIGHT, view, prepared, validator: world.member(name).address });
}

function prepares(names: readonly string[], view: number, of: Block = block): NewViewMessage["prepares"] {
  return names.map((name) => {
    const { validator, signature } = vote(name, { round: view, blockHash: of.hash });
    return { validator, signature };
  });
}

function viewChange(name: string, view: number): ViewChangeMessage {
  return { kind: "viewChange", viewChange: change(name, view), proof: undefined };
}

/** With the claim of an earlier view, and its proof. */
function provedChange(name: string, view: number, preparedView: number, of: Block = block): ViewChangeMessage {
  const viewChange = change(name, view, { view: preparedView, blockHash: of.hash });
  return { kind: "viewChange", viewChange, proof: { prepares: prepares(["v1", "v3", "v4"], preparedView, of), block: of } };
}

function newView(name: string, view: number, names: readonly string[], of: Block = block): NewViewMessage {
  const viewChanges = names.map((voter) => change(voter, view));
  return { kind: "newView", proposal: proposal(name, { round: view, blockHash: of.hash }), viewChanges, prepares: [], block: of };
}

function created(self: string | undefined): PbftEngine {
  return new PbftEngine({
    chainId: CHAIN_ID,
    self: self === undefined ? undefined : world.member(self).address,
    protocol: TEST_PROTOCOL,
  });
}

function started(self: string | undefined): PbftEngine {
  const engine = created(self);
  engine.step({ kind: "start", height: HEIGHT, validators: world.set, parent: undefined, atMs: 0 });
  return engine;
}

/** Gives an engine a message and says whether it wants its signatures checked. */
function hears(engine: PbftEngine, message: PbftMessage, from = "peer"): boolean {
  return engine.step({ kind: "message", from, message, atMs: 0 }).some((effect) => effect.kind === "verify");
}

/** Gives an engine an input, answers its questions as a willing driver, and returns all that it did. */
function drive(engine: PbftEngine, input: Input<PbftMessage>): readonly Fx[] {
  const done: Fx[] = [];
  const inputs: Input<PbftMessage>[] = [input];
  for (let next = inputs.shift(); next !== undefined; next = inputs.shift()) {
    const effects = engine.step(next);
    done.push(...effects);
    for (const effect of effects) {
      const answered = answer(effect, input.atMs);
      if (answered !== undefined) inputs.push(answered);
    }
  }
  return done;
}

function accepts(engine: PbftEngine, message: PbftMessage, atMs = 0): readonly Fx[] {
  return drive(engine, { kind: "message", from: "peer", message, atMs });
}

function answer(effect: Fx, atMs: number): Input<PbftMessage> | undefined {
  switch (effect.kind) {
    case "verify": {
      const valid = PBFT_CODEC.signedParts(CHAIN_ID, effect.message).every((part) => world.isSigned(part));
      return { kind: "verified", id: effect.id, valid, atMs };
    }
    case "judge":
      return { kind: "judged", blockHash: effect.blockHash, valid: true, atMs };
    case "sign":
      return { kind: "signed", id: effect.id, signature: world.sign(effect.what), atMs };
    case "persist":
      return { kind: "persisted", sequence: effect.sequence, atMs };
    default:
      return undefined;
  }
}

// ---- stories

t.test("there are stories", (t) => {
  t.ok(scriptsOf("pbft_").length >= 28);
  t.end();
});

for (const name of scriptsOf("pbft_")) {
  t.test(`the story ${name} goes as it is written`, (t) => {
    const cases = readScript(name);
    const stage = new PbftStage();
    const transcripts = cases.map(({ command }) => transcriptOf(stage.run(command)));
    if (isUpdating()) writeScript(name, cases, transcripts);
    else
      for (const [index, { command, expected, line }] of cases.entries())
        t.same(transcripts[index], expected, `${name}:${line}: ${command}`);
    t.end();
  });
}

// ---- codecs

const MESSAGES: readonly PbftMessage[] = [
  { kind: "vote", vote: vote("v1") },
  { kind: "vote", vote: vote("v2", { step: "precommit", round: 300, height: heightOf(1n << 40n) }) },
  prePrepare(),
  viewChange("v3", 1),
  provedChange("v4", 70_000, 12),
  newView("v2", 1, ["v1", "v2", "v3"]),
  {
    kind: "newView",
    proposal: proposal("v3", { round: 2, validRound: 1 }),
    viewChanges: [change("v1", 2), change("v3", 2, { view: 1, blockHash: block.hash }), change("v4", 2)],
    prepares: prepares(["v1", "v3", "v4"], 1),
    block,
  },
];

const RECORDS: readonly WalRecord[] = [
  { kind: "change", height: HEIGHT, view: 7 },
  { kind: "lead", height: HEIGHT, message: prePrepare() },
  { kind: "lead", height: HEIGHT, message: newView("v2", 1, ["v1", "v2", "v3"]) },
  { kind: "prepare", height: HEIGHT, view: 3, blockHash: block.hash },
  { kind: "block", height: HEIGHT, block },
  { kind: "prepared", height: HEIGHT, view: 3, blockHash: block.hash, prepares: prepares(["v1", "v2", "v4"], 3) },
  { kind: "vote", height: HEIGHT, vote: vote("v4", { step: "precommit" }) },
];

t.test("a message decodes to what was encoded, and hostile bytes to a code", async (t) => {
  for (const message of MESSAGES) t.same(parseMessage(encodeMessage(message)), { ok: true, value: message });
  const valid = fc.constantFrom(...MESSAGES.map(encodeMessage));
  await checkDecoder(t, "message", { valid, decode: parseMessage, encode: encodeMessage }, 3000);
});

t.test("a record decodes to what was encoded, and hostile bytes to a code", async (t) => {
  for (const record of RECORDS) t.same(parseRecord(encodeRecord(record)), { ok: true, value: record });
  const valid = fc.constantFrom(...RECORDS.map(encodeRecord));
  await checkDecoder(t, "record", { valid, decode: parseRecord, encode: encodeRecord }, 3000);
});

t.test("a message is refused with another block than it names, and with another body than the header names", (t) => {
  const evidence = [doubleVoteOf(vote("v1"), vote("v1", { blockHash: other.hash }))];
  const carriers: readonly ((carried: Block) => PbftMessage)[] = [
    (carried) => ({ ...prePrepare(), block: carried }),
    (carried) => ({ ...newView("v2", 1, ["v1", "v2", "v3"]), block: carried }),
    (carried) => {
      const message = provedChange("v3", 1, 0);
      return { ...message, proof: { ...present(message.proof, "proof"), block: carried } };
    },
  ];
  for (const carrying of carriers) {
    t.ok(parseMessage(encodeMessage(carrying(block))).ok);
    t.same(parseMessage(encodeMessage(carrying(other))), { ok: false, error: { code: "message_block" } });
    t.same(parseMessage(encodeMessage(carrying({ ...block, evidence }))), { ok: false, error: { code: "message_body" } });
  }
  t.end();
});

t.test("a claim without its proof and a proof without a claim do not decode", (t) => {
  const proved = provedChange("v3", 1, 0);
  t.notOk(parseMessage(encodeMessage({ ...proved, proof: undefined })).ok);
  t.notOk(parseMessage(encodeMessage({ ...viewChange("v3", 1), proof: proved.proof })).ok);
  t.end();
});

t.test("a record whose parts are of different heights is refused, and a damaged log stops the engine", (t) => {
  const later = heightOf(2n);
  t.notOk(parseRecord(encodeRecord({ kind: "vote", height: later, vote: vote("v1") })).ok);
  t.same(parseRecord(encodeRecord({ kind: "lead", height: later, message: prePrepare() })), {
    ok: false,
    error: { code: "record_invalid" },
  });
  t.same(parseRecord(encodeRecord({ kind: "block", height: later, block })), { ok: false, error: { code: "record_invalid" } });
  t.throws(() => started("v1").step({ kind: "restore", record: Uint8Array.of(1, 2, 3), atMs: 0 }), {
    code: "wal_record_invalid",
  });
  t.end();
});

t.test("a driver is told of every signature that a message stands on, the signer's own first", (t) => {
  const [first, ...rest] = PBFT_CODEC.signedParts(CHAIN_ID, present(MESSAGES[6], "new-view"));
  t.ok(bytesEqual(present(first, "part").validator, world.member("v3").address));
  t.equal(rest.length, 3 + 3, "three view-changes and three prepares");
  t.equal(PBFT_CODEC.signedParts(CHAIN_ID, provedChange("v4", 2, 1)).length, 1 + 3);
  for (const message of MESSAGES) {
    for (const part of PBFT_CODEC.signedParts(CHAIN_ID, message)) t.ok(world.isSigned(part), message.kind);
    for (const part of PBFT_CODEC.signedParts("elsewhere", message)) t.notOk(world.isSigned(part), "of another chain");
  }
  t.end();
});

t.test("what differs in what is said differs in its statement", (t) => {
  const statements = [
    ...MESSAGES,
    viewChange("v3", 2),
    viewChange("v4", 1),
    provedChange("v3", 1, 0),
    provedChange("v3", 1, 0, other),
    prePrepare("v1", other),
  ].map((message) => PBFT_CODEC.describe(message).statement);
  t.equal(new Set(statements).size, statements.length);
  t.same(PBFT_CODEC.wordOf(viewChange("v3", 1)), undefined, "a view-change is nothing for the guard");
  t.match(PBFT_CODEC.wordOf(newView("v2", 1, ["v1", "v2", "v3"])), { round: 1, validRound: -1 });
  t.end();
});

// ---- whose turn it is (1999, 4: p = v mod |R|)

t.test("the primary goes round the set, beginning with whoever proposed the block before", (t) => {
  const parent = (name: string): Block["header"] =>
    testBlock({ height: HEIGHT, label: "P", proposer: world.member(name).address }).header;
  const names = (header: Block["header"] | undefined): readonly string[] =>
    [0, 1, 2, 3, 4].map((view) => world.nameOf(primaryOf(world.set, header, view).address));
  t.same(names(undefined), ["v1", "v2", "v3", "v4", "v1"]);
  t.same(names(parent("v3")), ["v3", "v4", "v1", "v2", "v3"]);
  const stranger = present(
    new World([1n, 1n, 1n, 1n, 1n]).members.find(({ address }) => world.nameOf(address) === "nobody"),
    "stranger",
  );
  t.same(names({ ...parent("v1"), proposer: stranger.address }), ["v1", "v2", "v3", "v4", "v1"], "who has left the set");
  t.equal(world.nameOf(primaryOf(world.set, parent("v4"), ROUND_MAX).address), "v3");
  t.notOk(mayCome(prePrepare("v2"), world.set, undefined));
  t.ok(mayCome(prePrepare("v2"), world.set, "undecided"), "as long as nobody knows");
  t.end();
});

// ---- the machine

t.test("every event in every step either does what its rule says or changes nothing", (t) => {
  const events: readonly ViewEvent[] = [
    { kind: "prePrepared", value: "A" },
    { kind: "prepared", value: "A" },
    { kind: "committed", view: 0, value: "A" },
    { kind: "timeout" },
    { kind: "join", view: 3 },
    { kind: "wanted" },
    { kind: "lead", value: "A" },
    { kind: "newView", view: 2 },
  ];
  const at = (step: ViewState["step"]): ViewState => ({
    ...INITIAL_VIEW_STATE,
    view: 2,
    step,
    accepted: step === "prepare" || step === "commit" ? "A" : undefined,
    isTimed: step !== "viewChange",
  });
  const allowed: { readonly [Step in ViewState["step"]]: readonly ViewEvent["kind"][] } = {
    prePrepare: ["prePrepared", "committed", "timeout", "join"],
    prepare: ["prepared", "committed", "timeout", "join"],
    commit: ["committed", "timeout", "join"],
    viewChange: ["committed", "timeout", "join", "wanted", "lead", "newView"],
    decided: [],
  };
  for (const [step, kinds] of Object.entries(allowed)) {
    const state = at(step as ViewState["step"]);
    const moved = events.filter((event) => onViewEvent(state, event).outputs.length > 0).map(({ kind }) => kind);
    t.same(moved, kinds, step);
  }
  t.same(onViewEvent(at("prepare"), { kind: "prepared", value: "B" }).outputs, [], "another block than it accepted");
  t.same(onViewEvent(at("commit"), { kind: "join", view: 2 }).outputs, [], "its own view");
  t.same(onViewEvent({ ...at("commit"), view: ROUND_MAX }, { kind: "timeout" }).outputs, [], "after the last view");
  t.end();
});

t.test("what was prepared stays known through every later view, until something later is prepared", (t) => {
  let state: ViewState = INITIAL_VIEW_STATE;
  const apply = (event: ViewEvent): void => void ({ state } = onViewEvent(state, event));
  for (const event of [
    { kind: "prePrepared", value: "A" },
    { kind: "prepared", value: "A" },
    { kind: "timeout" },
    { kind: "newView", view: 1 },
    { kind: "prePrepared", value: "B" },
    { kind: "timeout" },
    { kind: "join", view: 5 },
  ] as const)
    apply(event);
  t.same(state.prepared, { view: 0, value: "A" });
  for (const event of [
    { kind: "newView", view: 5 },
    { kind: "prePrepared", value: "C" },
    { kind: "prepared", value: "C" },
  ] as const)
    apply(event);
  t.same(state.prepared, { view: 5, value: "C" });
  t.end();
});

// ---- thresholds by power (quorums for any n)

t.test("a quorum is more than 2/3 of the power, for any number of validators", (t) => {
  const cases: readonly { readonly powers: readonly bigint[]; readonly short: number; readonly enough: number }[] = [
    { powers: [7n], short: 0, enough: 1 },
    { powers: [1n, 1n, 1n, 1n], short: 2, enough: 3 },
    { powers: [1n, 1n, 1n, 1n, 1n], short: 3, enough: 4 },
    { powers: [1n, 1n, 1n, 1n, 1n, 1n], short: 4, enough: 5 },
    { powers: [1n, 1n, 1n, 1n, 1n, 1n, 1n], short: 4, enough: 5 },
    { powers: [5n, 2n, 1n, 1n], short: 1, enough: 2 },
    { powers: [1n, 1n, 2n, 5n], short: 3, enough: 4 },
  ];
  for (const { powers, short, enough } of cases) {
    const of = new World(powers);
    const votes = new VoteKeeper(of.set);
    const changes = new ViewChangeKeeper(of.set);
    for (const [index, { address: validator }] of of.members.slice(0, enough).entries()) {
      const label = `${powers.join()}: ${index} of ${enough}`;
      t.notOk(votes.isPrepared(0, valueOf(block.hash)), label);
      t.notOk(votes.isCommitted(0, valueOf(block.hash)), label);
      t.notOk(changes.hasQuorumFor(1), label);
      t.ok(index <= short, label);
      for (const step of ["prevote", "precommit"] as const) {
        const ballot = of.vote({ step, height: HEIGHT, round: 0, blockHash: block.hash, validator });
        // By signer and not by message.
        for (const copy of [ballot, { ...ballot, signature: new Uint8Array(1) }]) votes.add(copy);
      }
      for (const signature of [new Uint8Array(1), new Uint8Array(2)])
        changes.add({ height: HEIGHT, view: 1, prepared: undefined, validator, signature }, []);
    }
    t.ok(votes.isPrepared(0, valueOf(block.hash)));
    t.ok(votes.isCommitted(0, valueOf(block.hash)));
    t.ok(changes.hasQuorumFor(1) && changes.isWanted(1));
    t.notOk(changes.hasQuorumFor(2) || changes.isWanted(2));
    t.equal(votes.signaturesFor("precommit", 0, valueOf(block.hash)).length, enough);
  }
  t.end();
});

t.test("a new-view and a proof need more than 2/3 as well: four of six are exactly that", (t) => {
  const of = new World([1n, 1n, 1n, 1n, 1n, 1n]);
  const madeOf = (voters: number, preparers: number): NewViewMessage => {
    const claim = { view: 0, blockHash: block.hash };
    const validator = of.member("v2").address;
    const signature = new Uint8Array(1);
    const members = of.members.map(({ address }) => ({ validator: address, signature }));
    const viewChanges = members.slice(0, voters).map((each) => ({ height: HEIGHT, view: 1, prepared: claim, ...each }));
    const carried = { height: HEIGHT, round: 1, blockHash: block.hash, validRound: 0, validator, signature };
    return { kind: "newView", proposal: carried, viewChanges, prepares: members.slice(0, preparers), block };
  };
  t.ok(mayCome(madeOf(5, 5), of.set, undefined));
  t.notOk(mayCome(madeOf(4, 5), of.set, undefined), "view-changes of exactly 2/3");
  t.notOk(mayCome(madeOf(5, 4), of.set, undefined), "prepares of exactly 2/3");
  t.end();
});

t.test("one joins later views when more than 1/3 want them, and goes to the least of them", (t) => {
  const of = new World([1n, 1n, 1n, 1n, 1n, 1n]);
  const changes = new ViewChangeKeeper(of.set);
  const wants = (name: string, view: number): void =>
    changes.add(
      { height: HEIGHT, view, prepared: undefined, validator: of.member(name).address, signature: new Uint8Array(1) },
      [],
    );
  wants("v1", 9);
  wants("v2", 4);
  t.equal(changes.viewToJoin(0), undefined, "two of six are exactly 1/3");
  wants("v2", 5);
  t.equal(changes.viewToJoin(0), undefined, "one of them twice");
  wants("v3", 2);
  t.equal(changes.viewToJoin(0), 2);
  t.equal(changes.viewToJoin(1), 2);
  t.equal(changes.viewToJoin(2), undefined, "a view is not later than itself");
  wants("v4", 7);
  t.equal(changes.viewToJoin(2), 5);
  t.end();
});

// ---- what is worth a signature check

t.test("only what could matter is checked", (t) => {
  const engine = started("v4");
  t.ok(hears(engine, { kind: "vote", vote: vote("v1") }), "a vote");
  t.notOk(hears(engine, { kind: "vote", vote: vote("v1") }), "the same of the same peer while it is being checked");
  t.ok(hears(engine, { kind: "vote", vote: vote("v1") }, "other"), "the same of another peer: the first may be forged");
  t.notOk(hears(engine, { kind: "vote", vote: vote("v1", { height: heightOf(2n) }) }), "a vote of another height");
  t.notOk(hears(engine, { kind: "vote", vote: vote("v1", { blockHash: undefined }) }), "a vote for nothing");
  t.ok(hears(engine, { kind: "vote", vote: vote("v1", { round: VIEWS_AHEAD_MAX }) }), "some views ahead");
  t.notOk(hears(engine, { kind: "vote", vote: vote("v1", { round: VIEWS_AHEAD_MAX + 1 }) }), "further ahead");
  const validator = present(
    new World([1n, 1n, 1n, 1n, 1n]).members.find(({ address }) => world.nameOf(address) === "nobody"),
    "stranger",
  ).address;
  t.notOk(hears(engine, { kind: "vote", vote: world.vote({ ...vote("v1"), validator }) }), "a stranger's vote");
  const strangersWish = signedChange(world, { ...change("v1", 1), validator });
  t.notOk(hears(engine, { kind: "viewChange", viewChange: strangersWish, proof: undefined }), "a stranger's wish");

  const elsewhere = { ...block, header: { ...block.header, chainId: "elsewhere" } };
  t.notOk(hears(engine, { ...prePrepare(), block: elsewhere }), "a block of another chain");
  const later = { ...block, header: { ...block.header, height: heightOf(2n) } };
  t.notOk(hears(engine, { ...prePrepare(), block: later }), "a block of another height");
  t.notOk(hears(engine, { ...prePrepare(), block: other }), "another block than it names");
  const proved = provedChange("v3", 1, 0);
  const proof = present(proved.proof, "proof");
  t.notOk(hears(engine, { ...proved, proof: { ...proof, block: other } }), "a proof with another block");
  t.notOk(hears(engine, { ...proved, proof: { ...proof, block: later } }), "a proof with a block of another height");
  t.notOk(hears(engine, { ...proved, proof: undefined }), "a claim without a proof");
  t.ok(hears(engine, proved), "with its proof");
  t.end();
});

t.test("a new-view with one wrong signature anywhere leaves no trace", (t) => {
  const message = present(MESSAGES[6], "new-view") as NewViewMessage;
  const forged = new Uint8Array(32);
  const [one, ...others] = message.viewChanges;
  const [prepare, ...rest] = message.prepares;
  const forgeries: readonly NewViewMessage[] = [
    { ...message, proposal: { ...message.proposal, signature: forged } },
    { ...message, viewChanges: [{ ...present(one, "view-change"), signature: forged }, ...others] },
    { ...message, prepares: [{ ...present(prepare, "prepare"), signature: forged }, ...rest] },
  ];
  for (const forgery of forgeries) {
    const engine = started("v4");
    accepts(engine, forgery);
    t.match(engine.status(), { round: 0, step: "prePrepare" });
    t.same(engine.messages(), []);
    accepts(engine, message);
    t.match(engine.status(), { round: 2, step: "prepare" }, "the real one is still wanted");
  }
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
  let blocks = 0;
  for (let index = 0; index < 100; index += 1) {
    const signature = new Uint8Array(32).fill(index);
    if (hears(engine, { kind: "vote", vote: { ...vote("v3"), signature } }, `forger ${index}`)) copies += 1;
    const big = testBlock({ height: HEIGHT, label: `big ${index}`, proposer: world.member("v1").address });
    if (hears(engine, prePrepare("v1", big), "proposer")) blocks += 1;
  }
  t.equal(copies, PENDING_COPIES_MAX);
  t.equal(blocks, PENDING_BLOCKS_PER_PEER_MAX);
  for (let index = 0; index < 20; index += 1) {
    const big = testBlock({ height: HEIGHT, label: `large ${index}`, proposer: world.member("v1").address });
    if (hears(engine, prePrepare("v1", big), `proposer ${index}`)) blocks += 1;
  }
  t.equal(blocks, PENDING_BLOCKS_MAX);
  let all = PENDING_PER_PEER_MAX + 1 + copies + blocks;
  for (let peer = 0; peer < 20; peer += 1) {
    for (let view = 1; view <= 250; view += 1) if (hears(engine, viewChange("v2", view + peer * 250), `wisher ${peer}`)) all += 1;
  }
  t.equal(all, PENDING_MAX);
  t.end();
});

t.test("of each validator one view-change is kept, the latest, and votes of a window of views", (t) => {
  const changes = new ViewChangeKeeper(world.set);
  for (let view = 1; view < 500; view += 1) changes.add(change("v1", view), []);
  t.same(
    changes.all().map(({ view }) => view),
    [499],
  );
  t.notOk(changes.wants(change("v1", 499)) || changes.wants(change("v1", 3)));
  const votes = new VoteKeeper(world.set);
  for (let view = 0; view <= 40; view += 1) {
    votes.moveTo(view);
    votes.add(vote("v1", { step: "precommit", round: view }));
  }
  t.same(
    votes.views(),
    Array.from({ length: PAST_VIEWS_MAX + 1 }, (_, index) => 40 - PAST_VIEWS_MAX + index),
  );
  t.ok(votes.wants(vote("v2", { step: "precommit", round: 40 - PAST_VIEWS_MAX })), "a late commit");
  t.notOk(votes.wants(vote("v2", { step: "precommit", round: 39 - PAST_VIEWS_MAX })), "too late");
  t.notOk(votes.wants(vote("v2", { round: 39 })), "a prepare of a view that is over");
  t.end();
});

// ---- what a peer can be given

t.test("what one engine knows brings another one where it is", (t) => {
  const ahead = started("v1");
  accepts(ahead, prePrepare());
  for (const name of ["v2", "v3"]) accepts(ahead, { kind: "vote", vote: vote(name) });
  accepts(ahead, newView("v2", 1, ["v2", "v3", "v4"], other));
  for (const name of ["v2", "v3"]) accepts(ahead, { kind: "vote", vote: vote(name, { round: 1, blockHash: other.hash }) });
  accepts(ahead, provedChange("v3", 2, 0));
  accepts(ahead, provedChange("v4", 4, 1, other));
  const { round, step } = present(ahead.status(), "status");
  t.same({ round, step }, { round: 2, step: "viewChange" });

  t.same(
    ahead.messages().map((message) => `${message.kind} ${PBFT_CODEC.describe(message).round}`),
    ["vote 0", "newView 1", "vote 1", "viewChange 2", "viewChange 2", "viewChange 4"],
    "of views that are over the commits",
  );
  const behind = started(undefined);
  for (const message of ahead.messages()) accepts(behind, message);
  const reached = present(behind.status(), "status");
  t.same({ round: reached.round, step: reached.step }, { round, step });
  t.notOk(reached.isValidator);
  t.same(started("v1").messages(), [], "an engine that knows nothing has nothing to give");
  t.end();
});

// ---- restart (1999, 4.4: what was prepared is in every later view-change)

t.test("whatever record was the last to be durable, nothing that others could have heard is forgotten", (t) => {
  // v4 prepares and commits A in view 0, prepares and commits it again in view 2, and then wants view 3.
  const script: readonly Input<PbftMessage>[] = [
    { kind: "message", from: "v1", message: prePrepare(), atMs: 0 },
    ...["v1", "v3"].map((name): Input<PbftMessage> => ({
      kind: "message",
      from: name,
      message: { kind: "vote", vote: vote(name) },
      atMs: 0,
    })),
    { kind: "tick", atMs: 500 },
    {
      kind: "message",
      from: "v3",
      message: {
        kind: "newView",
        proposal: proposal("v3", { round: 2, validRound: 0 }),
        viewChanges: [change("v1", 2), change("v3", 2, { view: 0, blockHash: block.hash }), change("v4", 2)],
        prepares: prepares(["v1", "v3", "v4"], 0),
        block,
      },
      atMs: 600,
    },
    ...["v1", "v3"].map((name): Input<PbftMessage> => ({
      kind: "message",
      from: name,
      message: { kind: "vote", vote: vote(name, { round: 2 }) },
      atMs: 600,
    })),
    { kind: "tick", atMs: 3000 },
  ];
  const engine = started("v4");
  const effects = script.flatMap((input) => drive(engine, input));
  t.match(engine.status(), { round: 3, step: "viewChange", preparedView: 2 });
  const records = effects.flatMap((effect) => (effect.kind === "persist" ? [effect] : []));
  t.ok(records.length >= 10, `${records.length} records`);

  for (let durable = 0; durable <= records.length; durable += 1) {
    const last = records[durable - 1]?.sequence ?? 0;
    // What a peer may hold: sent, after a record that is durable.
    const heard = effects.flatMap((effect) =>
      effect.kind === "send" && (effect.after ?? 0) <= last && effect.after !== undefined ? [effect.message] : [],
    );
    const committedIn = Math.max(
      -1,
      ...heard.map((each) => (each.kind === "vote" && each.vote.step === "precommit" ? each.vote.round : -1)),
    );
    const wantedView = Math.max(0, ...heard.map((each) => (each.kind === "viewChange" ? each.viewChange.view : 0)));

    const again = created("v4");
    again.step({ kind: "start", height: HEIGHT, validators: world.set, parent: undefined, atMs: 5000 });
    for (const { record } of records.slice(0, durable)) again.step({ kind: "restore", record, atMs: 5000 });
    const said = [...drive(again, { kind: "tick", atMs: 5000 }), ...drive(again, { kind: "tick", atMs: 20_000 })];
    const status = present(again.status(), "status");
    t.ok(
      status.preparedView >= committedIn,
      `${durable} records: prepared in ${status.preparedView}, committed in ${committedIn}`,
    );
    t.ok(status.round >= wantedView, `${durable} records: view ${status.round}, wanted ${wantedView}`);
    const wishes = said.flatMap((effect) =>
      effect.kind === "send" && effect.message.kind === "viewChange" ? [effect.message] : [],
    );
    t.ok(wishes.length > 0, `${durable} records: its timer ends, or it says its wish again`);
    for (const wish of wishes) {
      t.ok((wish.viewChange.prepared?.view ?? -1) >= committedIn, `${durable} records: the claim`);
      t.ok(mayCome(wish, world.set, undefined), `${durable} records: the proof`);
      t.ok(wish.viewChange.view >= wantedView, `${durable} records: no earlier view than before`);
    }
    for (const effect of said) {
      if (effect.kind !== "sign" || effect.what.kind !== "vote") continue;
      t.ok(effect.what.vote.round >= wantedView, `${durable} records: no vote in a view that was left`);
    }
  }
  t.end();
});

t.test("a certificate is sent with the view-change that claims it, and with no commit before it is durable", (t) => {
  const engine = started("v4");
  accepts(engine, prePrepare());
  accepts(engine, { kind: "vote", vote: vote("v1") });
  const [check] = engine.step({ kind: "message", from: "v3", message: { kind: "vote", vote: vote("v3") }, atMs: 0 });
  const id = present(check?.kind === "verify" ? check.id : undefined, "check");
  const effects = engine.step({ kind: "verified", id, valid: true, atMs: 0 });
  const kinds = effects.map(({ kind }) => kind);
  t.same(kinds, ["persist", "persist"], "block and certificate are recorded, nothing is signed yet");
  const sequence = present(effects.flatMap((effect) => (effect.kind === "persist" ? [effect.sequence] : [])).at(-1), "record");
  t.same(engine.step({ kind: "persisted", sequence: sequence - 1, atMs: 0 }), [], "the block alone is not enough");
  const [asked] = engine.step({ kind: "persisted", sequence, atMs: 0 });
  t.match(asked, { kind: "sign", what: { kind: "vote", vote: { step: "precommit", round: 0 } } });
  t.end();
});

t.test("a vote of a view that is over is not asked for any more", (t) => {
  const engine = started("v4");
  // The prepare waits for its record; meanwhile the timer ends.
  const [check] = engine.step({ kind: "message", from: "v1", message: prePrepare(), atMs: 0 });
  engine.step({ kind: "verified", id: present(check?.kind === "verify" ? check.id : undefined, "check"), valid: true, atMs: 0 });
  const [persist] = engine.step({ kind: "judged", blockHash: block.hash, valid: true, atMs: 0 });
  t.equal(persist?.kind, "persist");
  engine.step({ kind: "tick", atMs: 500 });
  const signs = engine
    .step({ kind: "persisted", sequence: 2, atMs: 500 })
    .flatMap((effect) => (effect.kind === "sign" ? [effect.what.kind] : []));
  t.same(signs, ["statement"]);
  t.end();
});

t.test("the next word is asked for when the last one is durable, and no view-change goes before its record", (t) => {
  const engine = started("v4");
  for (const name of ["v1", "v2", "v3"]) accepts(engine, { kind: "vote", vote: vote(name) });
  const [check] = engine.step({ kind: "message", from: "v1", message: prePrepare(), atMs: 0 });
  engine.step({ kind: "verified", id: present(check?.kind === "verify" ? check.id : undefined, "check"), valid: true, atMs: 0 });
  const promises = engine.step({ kind: "judged", blockHash: block.hash, valid: true, atMs: 0 });
  t.same(
    promises.flatMap((effect) => (effect.kind === "persist" ? [effect.sequence] : [])),
    [1, 2, 3],
    "prepare, block, prepared",
  );
  const [asked] = engine.step({ kind: "persisted", sequence: 3, atMs: 0 });
  t.match(asked, { kind: "sign", what: { vote: { step: "prevote" } } });
  const id = present(asked?.kind === "sign" ? asked.id : undefined, "signature");
  const said = engine.step({ kind: "signed", id, signature: world.sign({ kind: "vote", vote: vote("v4") }), atMs: 0 });
  t.same(
    said.map(({ kind }) => kind),
    ["persist", "send"],
    "the commit waits: the guard may know the prepare alone",
  );
  t.match(engine.step({ kind: "persisted", sequence: 4, atMs: 0 }), [{ kind: "sign", what: { vote: { step: "precommit" } } }]);

  const leaving = drive(started("v4"), { kind: "tick", atMs: 500 });
  t.match(
    leaving.filter(({ kind }) => kind === "persist" || kind === "send"),
    [
      { kind: "persist", sequence: 1 },
      { kind: "send", message: { kind: "viewChange" }, after: 1 },
    ],
  );
  t.end();
});

t.test("a promise of a view that was left is not taken up again after a restart", (t) => {
  const engine = started("v4");
  const records: readonly WalRecord[] = [
    { kind: "prepare", height: HEIGHT, view: 0, blockHash: block.hash },
    { kind: "change", height: HEIGHT, view: 1 },
  ];
  for (const record of records) engine.step({ kind: "restore", record: encodeRecord(record), atMs: 0 });
  const signs = drive(engine, { kind: "tick", atMs: 0 }).flatMap((effect) => (effect.kind === "sign" ? [effect.what.kind] : []));
  t.same(signs, ["statement"]);
  t.match(engine.status(), { round: 1, step: "viewChange" });
  t.end();
});

t.test("what was being checked when its view ended is not taken in", (t) => {
  const engine = started("v4");
  const checks = [prePrepare(), { kind: "vote", vote: vote("v1") } as const, viewChange("v1", 1)].map((message) => {
    const [check] = engine.step({ kind: "message", from: "peer", message, atMs: 0 });
    return present(check?.kind === "verify" ? check.id : undefined, "check");
  });
  accepts(engine, newView("v3", 2, ["v1", "v2", "v3"], other));
  const before = engine.messages();
  for (const id of checks) t.same(engine.step({ kind: "verified", id, valid: true, atMs: 0 }), []);
  t.same(engine.messages(), before);
  t.end();
});

t.test("a primary that must carry a block proposes no other, whatever is built and whatever the guard says", (t) => {
  const engine = started("v2");
  for (const name of ["v1", "v3"]) accepts(engine, viewChange(name, 1));
  t.match(engine.status(), { round: 1, step: "viewChange" });
  const again = started("v2");
  accepts(again, viewChange("v1", 1));
  const [check] = again.step({ kind: "message", from: "v3", message: provedChange("v3", 1, 0), atMs: 0 });
  const asked = [
    ...again.step({
      kind: "verified",
      id: present(check?.kind === "verify" ? check.id : undefined, "check"),
      valid: true,
      atMs: 0,
    }),
  ];
  let proposed = false;
  for (let effect = asked.shift(); effect !== undefined; effect = asked.shift()) {
    let next = answer(effect, 0);
    if (effect.kind === "sign" && effect.what.kind === "proposal") {
      proposed = true;
      next = { kind: "signed", id: effect.id, signature: undefined, atMs: 0 };
    }
    if (next !== undefined) asked.push(...again.step(next));
  }
  t.ok(proposed, "it asked for a signature, and got none");
  t.same(again.step({ kind: "propose", height: HEIGHT, round: 1, block: other, atMs: 0 }), []);
  t.match(
    engine.step({ kind: "propose", height: HEIGHT, round: 1, block: other, atMs: 0 }),
    [{ kind: "sign", what: { kind: "proposal", proposal: { round: 1, validRound: -1 } } }],
    "with a free choice it proposes",
  );
  t.end();
});

t.test("an engine is told nothing of a height by what it heard of another", (t) => {
  const engine = started("v4");
  accepts(engine, prePrepare());
  for (const name of ["v1", "v3"]) accepts(engine, { kind: "vote", vote: vote(name) });
  t.match(engine.status(), { step: "commit", preparedView: 0 });
  const parent = block.header;
  engine.step({ kind: "start", height: heightOf(2n), validators: world.set, parent, atMs: 10 });
  t.match(engine.status(), { height: 2n, round: 0, step: "prePrepare", preparedView: -1 });
  t.same(engine.messages(), []);
  t.throws(() => engine.step({ kind: "start", height: HEIGHT, validators: world.set, parent: undefined, atMs: 10 }), {
    name: "AssertionError",
  });
  t.equal(toHex(primaryOf(world.set, parent, 0).address), toHex(world.member("v1").address));
  t.end();
});
