/**
 * What goes wrong around consensus and must not end it, or must end this node and nothing else: everybody falls at
 * once, the set of validators changes, one of them lies or talks without end, a block does not hold.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { utf8 } from "../../crypto/base/bytes.ts";
import { assembleBlock, type Block } from "../../chain/block/block.ts";
import { doubleVoteOf } from "../../chain/block/evidence.ts";
import { type Height, heightOf, nextHeight } from "../../chain/block/height.ts";
import { findValidator, proposerAt } from "../../chain/block/validators.ts";
import {
  type Certificate,
  type CertificateSignature,
  proposalSigningBytes,
  type Vote,
  type VoteStep,
  voteSigningBytes,
} from "../../chain/block/vote.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import { type ConsensusMessage, encodeMessage } from "../../consensus/tendermint/message.ts";
import { TENDERMINT_CODEC } from "../../consensus/tendermint/codec.ts";
import { TendermintEngine } from "../../consensus/tendermint/engine.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { PBFT_CODEC } from "../../consensus/pbft/codec.ts";
import { PbftEngine } from "../../consensus/pbft/engine.ts";
import { encodeMessage as encodePbftMessage, type PbftMessage, viewChangeSigningBytes } from "../../consensus/pbft/message.ts";
import { PROTOCOL_DEFAULTS } from "../../chain/block/protocol.ts";
import { verifySignatureAsync } from "../../crypto/sign/key.ts";
import { SYSTEM_CLOCK } from "../ports/clock.ts";
import { ConsensusDriver } from "./driver.ts";
import { EvidencePool } from "./evidence.ts";
import { type Heard, HeardMessages, markOf } from "./heard.ts";
import { KEY_PAIRS, type Member, SILENT, Wire, WIRE_NETWORK } from "./testing/wire.ts";
import { SYSTEM_DISK } from "../ports/disk.ts";
import { WriteAheadLog } from "./wal.ts";
import { withinWork } from "./work.ts";

const ALL = [0, 1, 2, 3];
const keyOf = (index: number) => present(KEY_PAIRS[index], "key pair");
const someHash = (text: string): Hash => hash("header", utf8(text));

/** A vote that validator `index` signs, whatever it signed before. */
function voteOf(index: number, height: Height, round: number, step: VoteStep, blockHash: Hash | undefined): Vote {
  const unsigned = { step, height, round, blockHash, validator: addressOfKey(keyOf(index).publicKey) } as const;
  return { ...unsigned, signature: keyOf(index).sign(voteSigningBytes(WIRE_NETWORK.chainId, unsigned)) };
}

function certificateOf(block: Block, indexes: readonly number[]): Certificate {
  const { height } = block.header;
  const signatures = indexes
    .map((index) => voteOf(index, height, 0, "precommit", block.hash))
    .map(({ validator, signature }) => ({ validator, signature }))
    .toSorted((a, b) => Buffer.compare(a.validator, b.validator));
  return { kind: "quorum", height, round: 0, blockHash: block.hash, signatures };
}

async function startAll(test: Test): Promise<Wire> {
  const wire = new Wire(test);
  wire.isSyncing = true;
  for (const index of ALL) await wire.start(index);
  return wire;
}

t.test("a validator that sits a height out takes part again when the others cannot decide without it", async (t) => {
  const wire = await startAll(t);
  wire.transfer(1n);
  await wire.reach(1n, ALL);
  const { store } = wire.member(3);
  await wire.stop(2);
  await wire.stop(3);
  const { driver, guard, ledger } = await wire.start(3, store, { isStarted: false });
  await wire.until(
    () => [0, 1].every((index) => wire.member(index).ledger.head().height === ledger.head().height),
    () => "they are not at one height",
  );
  const sat = heightOf(ledger.head().height + 1n);
  guard.raiseFloor(sat);
  driver.start();
  wire.transfer(2n);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  t.equal(wire.member(0).ledger.head().height, sat - 1n, "two of four decide nothing");
  guard.liftFloor();
  await driver.retry();
  await wire.reach(sat, [0, 1, 3]);
  t.same(wire.rejected, []);
});

t.test("all validators fall at once, in the middle of a height, and go on from what they wrote down", async (t) => {
  const wire = await startAll(t);
  wire.transfer(1n);
  await wire.reach(1n, ALL);
  for (let fall = 0; fall < 3; fall += 1) {
    const stores = ALL.map((index) => wire.member(index).store);
    const before = Math.max(...ALL.map((index) => Number(wire.member(index).ledger.head().height)));
    wire.transfer(2n);
    // Each time a little later in the height: before the proposal, among the votes, near the commit.
    await new Promise((resolve) => setTimeout(resolve, 15 + fall * 20));
    await Promise.all(ALL.map(async (index) => await wire.stop(index)));
    for (const [index, store] of stores.entries()) await wire.start(index, store);
    await wire.reach(BigInt(before) + 1n, ALL);
  }
  await wire.until(
    () => wire.pool.every(({ id }) => ALL.every((index) => wire.member(index).ledger.findTransaction(id) !== undefined)),
    () => "not everything was included",
  );
  const top = ALL.map((index) => wire.member(index).ledger.head().height).reduce((least, height) =>
    height < least ? height : least,
  );
  for (let height = 1n; height <= top; height += 1n) {
    const headers = new Set(
      ALL.map((index) => Buffer.from(present(wire.member(index).ledger.headerBytes(heightOf(height)), "header")).toString("hex")),
    );
    t.equal(headers.size, 1, `one header at ${height}`);
  }
  t.ok(
    ALL.every((index) => wire.member(index).evidence.reap(() => ({ ok: true, value: undefined })).length === 0),
    "nobody said two things",
  );
  t.same(wire.rejected, []);
});

async function follow({ driver, ledger }: Member, source: Ledger): Promise<void> {
  while (ledger.head().height < source.head().height) {
    const height = nextHeight(ledger.head().height);
    const applied = await driver.apply(
      present(source.block(height), "block"),
      present(source.certificate(height), "certificate"),
    );
    if (!applied.ok) throw new Error(applied.error.code);
  }
}

t.test("a fifth validator comes in and another leaves while the network runs", async (t) => {
  const wire = await startAll(t);
  await wire.start(4);
  const five = [...ALL, 4];
  wire.submit(
    { kind: "validatorSet", key: keyOf(4).publicKey, power: 1n },
    { kind: "validatorSet", key: keyOf(0).publicKey, power: 0n },
  );
  await wire.reach(1n, five);
  for (let count = 0; count < 6; count += 1) {
    const height = wire.member(1).ledger.head().height;
    wire.transfer(BigInt(count + 1));
    await wire.reach(height + 1n, five);
  }
  const { ledger } = wire.member(0);
  const changed = present(ledger.validatorChanges(heightOf(1n), 1)[0], "change").height;
  t.equal(present(ledger.validators(changed), "set").validators.length, 4);
  const set = present(ledger.validators(nextHeight(changed)), "set");
  t.ok(findValidator(set, addressOfKey(keyOf(4).publicKey)) !== undefined, "the fifth is in");
  t.equal(findValidator(set, addressOfKey(keyOf(0).publicKey)), undefined, "the first is out");
  t.ok(wire.member(4).guard.height > changed, "the fifth votes");
  t.ok(wire.member(0).guard.height <= changed, "the first signs no more");
  await wire.stop(1);
  const height = wire.member(2).ledger.head().height;
  wire.transfer(99n);
  await wire.reach(height + 1n, [0, 2, 3, 4]);
  t.same(wire.rejected, [], "nobody was blamed at the change");
});

t.test("a validator that votes twice loses its place, by the evidence in a block", async (t) => {
  const wire = new Wire(t);
  wire.isSyncing = true;
  const honest = [0, 1, 2];
  for (const index of honest) await wire.start(index);
  wire.transfer(1n);
  await wire.reach(1n, honest);
  wire.transfer(2n);
  const height = nextHeight(wire.member(0).ledger.head().height);
  for (const text of ["one", "other"]) {
    const bytes = encodeMessage({ kind: "vote", vote: voteOf(3, height, 0, "prevote", someHash(text)) });
    for (const index of honest) void wire.member(index).driver.receive("3", bytes);
  }
  const liar = addressOfKey(keyOf(3).publicKey);
  await wire.reach(height, honest);
  for (let count = 0; count < 4; count += 1) {
    const { ledger } = wire.member(0);
    const next = ledger.head().height + 1n;
    wire.transfer(3n);
    await wire.reach(next, honest);
  }
  const { ledger } = wire.member(0);
  const heights = Array.from({ length: Number(ledger.head().height) }, (_, index) => heightOf(BigInt(index + 1)));
  t.equal(heights.flatMap((at) => present(ledger.block(at), "block").evidence).length, 1, "one piece in the chain");
  t.equal(findValidator(ledger.validatorsAfterNext(), liar), undefined);
});

t.test("evidence of a height that is still being decided waits for the next one", (t) => {
  const pool = new EvidencePool();
  const height = heightOf(5n);
  const evidence = doubleVoteOf(voteOf(3, height, 0, "prevote", someHash("one")), voteOf(3, height, 0, "prevote", undefined));
  t.ok(pool.add(evidence));
  t.same(
    pool.reap(() => ({ ok: false, error: { code: "evidence_height" } })),
    [],
    "a later round of the same height",
  );
  t.same(
    pool.reap(() => ({ ok: true, value: undefined })),
    [evidence],
  );
  t.same(
    pool.reap(() => ({ ok: false, error: { code: "evidence_repeated" } })),
    [],
  );
  t.same(
    pool.reap(() => ({ ok: true, value: undefined })),
    [],
    "what can never be in a block is forgotten",
  );
  t.end();
});

t.test("a driver that was not started applies blocks and says nothing", async (t) => {
  const wire = new Wire(t);
  for (const index of [0, 1, 2]) await wire.start(index);
  wire.transfer(1n);
  await wire.reach(1n, [0, 1, 2]);
  const late = await wire.start(3, openMemoryStore(), { isStarted: false });
  await follow(late, wire.member(0).ledger);
  // There is work, and peers speak of the height: everything that would make a started driver begin.
  wire.transfer(2n);
  await wire.reach(2n, [0, 1, 2]);
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.equal(late.driver.status(), undefined);
  t.equal(late.guard.height, 0n, "nothing was signed before the floor could be raised");
  await follow(late, wire.member(0).ledger);
  late.driver.start();
  wire.transfer(3n);
  await wire.reach(3n, ALL);
});

t.test("a decided block", async (t) => {
  const wire = new Wire(t);
  const { driver, ledger } = await wire.start(0, openMemoryStore(), { isStarted: false });
  const maker = await Ledger.open({ store: openMemoryStore(), network: WIRE_NETWORK, executor: EXECUTOR });
  const parts = { proposer: addressOfKey(keyOf(1).publicKey), timeMs: WIRE_NETWORK.genesisTimeMs + 1n, evidence: [] };
  const { block } = maker.build({ ...parts, transactions: [wire.transfer(1n)] });
  const certificate = certificateOf(block, [0, 1, 2]);

  await t.test("with another body under its header is refused, also when its own was judged before", async (t) => {
    t.ok((await ledger.judge(block)).ok);
    const gutted = { ...block, transactions: [] };
    t.same(await driver.apply(gutted, certificate), { ok: false, error: { code: "block_root" } });
    t.equal(ledger.head().height, 0n);
  });

  await t.test("that more than 2/3 signed and that does not hold stops the node, and nobody is blamed", async (t) => {
    const { header } = block;
    const forged = assembleBlock({
      ...header,
      stateRoot: someHash("state"),
      transactions: block.transactions,
      results: [{ kind: "applied" }],
      previousCertificate: undefined,
      evidence: [],
    });
    const failed = driver.failed.then(() => "", codeOf);
    t.equal(
      await driver.apply(forged, certificateOf(forged, [0, 1, 2])).then(() => "applied", codeOf),
      "consensus_invalid_block",
    );
    t.equal(await failed, "consensus_invalid_block");
    t.equal(await driver.apply(block, certificate).then(() => "applied", codeOf), "consensus_closed");
  });
});

t.test("an engine that throws stops the node, whoever brought the input", async (t) => {
  class FaultyEngine extends TendermintEngine {
    override step(input: Parameters<TendermintEngine["step"]>[0]): ReturnType<TendermintEngine["step"]> {
      if (input.kind === "message") throw new Error("fault");
      return super.step(input);
    }
  }
  const wire = new Wire(t);
  const self = addressOfKey(keyOf(0).publicKey);
  const { parameters, chainId } = WIRE_NETWORK;
  const { driver } = await wire.start(0, openMemoryStore(), { newEngine: () => new FaultyEngine({ chainId, self, parameters }) });
  const failed = driver.failed.then(
    () => "",
    (error: unknown) => (error as Error).message,
  );
  await driver.receive("1", encodeMessage({ kind: "vote", vote: voteOf(1, heightOf(1n), 0, "prevote", undefined) }));
  t.equal(await failed, "fault");
});

function heardOf(message: ConsensusMessage): Heard<ConsensusMessage> {
  const mark = markOf(TENDERMINT_CODEC.signedParts(WIRE_NETWORK.chainId, message));
  return { from: "relay", message, facts: TENDERMINT_CODEC.describe(message), mark };
}

t.test("what one validator says without end", async (t) => {
  const height = heightOf(7n);
  const vote = (index: number, text: string): ConsensusMessage => ({
    kind: "vote",
    vote: voteOf(index, height, 0, "prevote", someHash(text)),
  });

  await t.test("fills its own place and nobody else's", (t) => {
    const heard = new HeardMessages<ConsensusMessage>();
    for (let count = 0; count < 100; count += 1) {
      const message = vote(0, `${count}`);
      if (!heard.hasRoom(TENDERMINT_CODEC.describe(message), 0)) break;
      heard.note(heardOf(message));
      heard.keep(heardOf(message));
    }
    t.notOk(heard.hasRoom(TENDERMINT_CODEC.describe(vote(0, "one more")), 0));
    t.ok(heard.hasRoom(TENDERMINT_CODEC.describe(vote(0, "one more")), 5), "a later round has more to say");
    const other = vote(1, "honest");
    t.ok(heard.hasRoom(TENDERMINT_CODEC.describe(other), 0));
    heard.keep(heardOf(other));
    const waiting = heard.take();
    t.equal(waiting.length, 8 + 1);
    t.equal(waiting.at(-1)?.message, other);
    t.notOk(heard.isWaiting);
    t.end();
  });

  await t.test("is checked once, and known again only with the very signature that was checked", (t) => {
    const heard = new HeardMessages<ConsensusMessage>();
    const message = vote(0, "block");
    heard.note(heardOf(message));
    t.ok(heard.isKnown(heardOf(message)));
    t.notOk(heard.isKnown(heardOf(vote(0, "other block"))));
    const { vote: given } = message as Extract<ConsensusMessage, { kind: "vote" }>;
    t.notOk(heard.isKnown(heardOf({ kind: "vote", vote: { ...given, signature: keyOf(1).sign(utf8("forged")) } })));
    t.end();
  });

  await t.test("is checked and passed on under a few of its signatures, and under no more", async (t) => {
    // ML-DSA signs one statement in any number of ways. Each is another message for gossip, and all of them would go to everybody.
    const wire = new Wire(t);
    const { driver } = await wire.start(0);
    const again = (): Uint8Array =>
      encodeMessage({ kind: "vote", vote: voteOf(1, heightOf(1n), 0, "prevote", someHash("block")) });
    const first = again();
    const verdicts = [await driver.receive("relay", first)];
    for (let count = 0; count < 20; count += 1) verdicts.push(await driver.receive("relay", again()));
    t.equal(verdicts.filter((verdict) => verdict === "accept").length, 4);
    t.equal(verdicts.filter((verdict) => verdict === "ignore").length, 17, "nobody is blamed: who relays it sees one of them");
    t.equal(await driver.receive("relay", first), "accept", "what was checked is known again");
    const other = voteOf(1, heightOf(1n), 0, "precommit", someHash("block"));
    t.equal(await driver.receive("relay", encodeMessage({ kind: "vote", vote: other })), "accept", "its next word is heard");
  });

  await t.test("is refused as a proposal when its turn has not come", async (t) => {
    const wire = new Wire(t);
    const { driver, ledger } = await wire.start(0);
    const { block } = ledger.build({
      proposer: addressOfKey(keyOf(1).publicKey),
      timeMs: WIRE_NETWORK.genesisTimeMs + 1n,
      transactions: [],
      evidence: [],
    });
    const set = present(ledger.validators(heightOf(1n)), "set");
    const propose = (index: number, round: number): Uint8Array => {
      const unsigned = {
        height: heightOf(1n),
        round,
        blockHash: block.hash,
        validRound: -1,
        validator: addressOfKey(keyOf(index).publicKey),
      };
      const signature = keyOf(index).sign(proposalSigningBytes(WIRE_NETWORK.chainId, unsigned));
      return encodeMessage({ kind: "proposal", proposal: { ...unsigned, signature }, block });
    };
    const turn = ALL.find((index) => Buffer.compare(addressOfKey(keyOf(index).publicKey), proposerAt(set, 1).address) === 0);
    const another = ALL.find((index) => index !== turn);
    t.equal(await driver.receive("p", propose(present(another, "another"), 1)), "reject");
    t.equal(await driver.receive("p", propose(present(turn, "proposer"), 1)), "accept");
    t.equal(await driver.receive("p", propose(present(turn, "proposer"), 2_000_000)), "ignore");
  });
});

const PBFT_NETWORK = { ...WIRE_NETWORK, engine: PROTOCOL_DEFAULTS.pbft };

/** A driver that follows a network of PBFT at its first height, a block of that height, and what proves it prepared in view 0. */
async function followPbft(test: Test): Promise<{
  readonly driver: ConsensusDriver<PbftMessage>;
  readonly block: Block;
  readonly prepares: readonly CertificateSignature[];
}> {
  const directory = mkdtempSync(join(tmpdir(), "pyralog-pbft-"));
  test.teardown(() => rmSync(directory, { recursive: true }));
  const { chainId, engine, genesisTimeMs } = PBFT_NETWORK;
  const ledger = await Ledger.open({ store: openMemoryStore(), network: PBFT_NETWORK, executor: EXECUTOR });
  const nothing = (): undefined => undefined;
  const driver = new ConsensusDriver<PbftMessage>({
    ledger,
    newEngine: () => new PbftEngine({ chainId, self: undefined, protocol: engine }),
    isContinuous: false,
    codec: PBFT_CODEC,
    clock: SYSTEM_CLOCK,
    verify: verifySignatureAsync,
    wal: new WriteAheadLog(directory, SYSTEM_DISK),
    guard: undefined,
    self: undefined,
    broadcast: nothing,
    reap: () => [],
    isVerified: () => false,
    evidence: () => [],
    onEvidence: nothing,
    onDropped: nothing,
    hasWork: () => false,
    onAhead: nothing,
    log: SILENT,
  });
  test.teardown(() => driver[Symbol.asyncDispose]());
  const proposer = addressOfKey(keyOf(0).publicKey);
  const { block } = ledger.build({ proposer, timeMs: genesisTimeMs + 1n, transactions: [], evidence: [] });
  const prepares = [0, 1, 2]
    .map((index) => voteOf(index, heightOf(1n), 0, "prevote", block.hash))
    .map(({ validator, signature }) => ({ validator, signature }))
    .toSorted((a, b) => Buffer.compare(a.validator, b.validator));
  return { driver, block, prepares };
}

/** That validator `index` wants a view, having prepared a block in view 0. */
function viewChangeOf(index: number, view: number, block: Block, prepares: readonly CertificateSignature[]): Uint8Array {
  const validator = addressOfKey(keyOf(index).publicKey);
  const change = { height: heightOf(1n), view, prepared: { view: 0, blockHash: block.hash }, validator };
  const signature = keyOf(index).sign(viewChangeSigningBytes(PBFT_NETWORK.chainId, change));
  return encodePbftMessage({ kind: "viewChange", viewChange: { ...change, signature }, proof: { prepares, block } });
}

t.test("what was checked is known again only with every signature in it, also those of others", async (t) => {
  const { driver, block, prepares } = await followPbft(t);
  const say = async (signatures: typeof prepares): Promise<string> =>
    await driver.receive("relay", viewChangeOf(3, 1, block, signatures));
  t.equal(await say(prepares), "accept");
  const [first, ...others] = prepares;
  const forged = { ...present(first, "prepare"), signature: keyOf(3).sign(utf8("forged")) };
  t.equal(await say([forged, ...others]), "reject", "the signer's own signature is good, and one that proves its claim is not");
  t.equal(await say(prepares), "accept", "the same again");
});

t.test("a relay that puts together proof after proof of one view-change has few of them checked and passed on", async (t) => {
  // Any three of four prepares prove the claim, and of a set of 128 there are more choices than anybody can count.
  const { driver, block, prepares } = await followPbft(t);
  const fourth = voteOf(3, heightOf(1n), 0, "prevote", block.hash);
  const all = [...prepares, fourth].toSorted((a, b) => Buffer.compare(a.validator, b.validator));
  const parsed = PBFT_CODEC.parse(viewChangeOf(3, 1, block, all));
  const said = parsed.ok && parsed.value.kind === "viewChange" ? parsed.value : undefined;
  const verdicts: string[] = [];
  for (const proof of [all, ...all.map((left) => all.filter((each) => each !== left))]) {
    const message = { ...present(said, "view-change"), proof: { prepares: proof, block } };
    verdicts.push(await driver.receive("relay", encodePbftMessage(message)));
  }
  t.same(verdicts, ["accept", "accept", "accept", "accept", "ignore"]);
});

t.test("whoever fell far behind in PBFT is brought along by those who ask for a later view", async (t) => {
  const { driver, block, prepares } = await followPbft(t);
  driver.start();
  for (const index of [1, 2]) t.equal(await driver.receive("relay", viewChangeOf(index, 9, block, prepares)), "accept");
  const deadlineMs = performance.now() + 30_000;
  while (driver.status()?.round !== 9 && performance.now() < deadlineMs) await new Promise((resolve) => setTimeout(resolve, 5));
  t.match(driver.status(), { round: 9, step: "viewChange" });
});

t.test("a word of a far height says what the relay must have decided, not what the speaker has", async (t) => {
  const wire = new Wire(t);
  const { driver } = await wire.start(0, openMemoryStore(), { isStarted: false });
  const hear = async (height: bigint) =>
    await driver.receive("relay", encodeMessage({ kind: "vote", vote: voteOf(1, heightOf(height), 0, "prevote", undefined) }));
  t.equal(await hear(2n), "accept", "the next height is listened to");
  t.same(wire.ahead, []);
  t.equal(await hear(3n), "ignore");
  t.same(wire.ahead, [{ from: "relay", height: 1n }], "who passes on height 3 is at 2 at least, and has decided 1");
});

t.test("an answer to a peer that missed gossip leaves out the blocks that it has", async (t) => {
  const wire = new Wire(t);
  // Two of four: the height begins, a proposal is made sooner or later, and nothing can be decided.
  for (const index of [0, 1]) await wire.start(index);
  wire.transfer(1n);
  const { driver } = wire.member(0);
  await wire.until(
    () => driver.proposalIds().length > 0,
    () => "no proposal",
  );
  const ids = driver.proposalIds().map((id) => Buffer.from(id).toString("hex"));
  const everything = [...driver.knowledge(1n)];
  const news = [...driver.knowledge(1n, (id) => ids.includes(Buffer.from(id).toString("hex")))];
  t.equal(everything.length - news.length, ids.length);
  t.same([...driver.knowledge(2n)], [], "nothing of another height");
});

t.test("an idle network makes empty blocks no faster than its interval lets a busy one make full ones", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "pyralog-idle-"));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const parameters = { ...WIRE_NETWORK.parameters, blockIntervalMsMin: 20_000 };
  const network = { ...WIRE_NETWORK, parameters };
  const ledger = await Ledger.open({ store: openMemoryStore(), network, executor: EXECUTOR });
  const waitsMs: number[] = [];
  const nothing = (): undefined => undefined;
  const driver = new ConsensusDriver<ConsensusMessage>({
    ledger,
    newEngine: () => new TendermintEngine({ chainId: network.chainId, self: undefined, parameters }),
    isContinuous: false,
    codec: TENDERMINT_CODEC,
    clock: {
      ...SYSTEM_CLOCK,
      after: (delayMs, act) => {
        waitsMs.push(delayMs);
        return SYSTEM_CLOCK.after(delayMs, act);
      },
    },
    verify: verifySignatureAsync,
    wal: new WriteAheadLog(directory, SYSTEM_DISK),
    guard: undefined,
    self: undefined,
    broadcast: nothing,
    reap: () => [],
    isVerified: () => false,
    evidence: () => [],
    onEvidence: nothing,
    onDropped: nothing,
    hasWork: () => false,
    onAhead: nothing,
    log: SILENT,
  });
  t.teardown(() => driver[Symbol.asyncDispose]());
  const startedMs = performance.now();
  driver.start();
  while (driver.status() === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
  const proposer = addressOfKey(keyOf(0).publicKey);
  const { block } = ledger.build({ proposer, timeMs: network.genesisTimeMs + 1n, transactions: [], evidence: [] });
  t.same(await driver.apply(block, certificateOf(block, [0, 1, 2])), { ok: true, value: undefined });
  const waitMs = present(waitsMs.at(-1), "wait");
  const tookMs = performance.now() - startedMs;
  t.ok(waitMs >= 20_000 - tookMs && waitMs <= 20_000, `the next height begins in ${waitMs} ms, ${tookMs} ms after the start`);
});

t.test("a proposer leaves work for later blocks when bytes alone would let in too much", (t) => {
  const wire = new Wire(t);
  const records = Array.from({ length: 1_000 }, () => new Uint8Array(1));
  const appends = (count: number) =>
    Array.from({ length: count }, (_, partition) => ({ kind: "logAppend", stream: "s", partition, records }) as const);
  const transactions = [appends(9), appends(9), appends(1), appends(2), appends(1)].map((calls) => wire.submit(...calls));
  t.same(withinWork(transactions), transactions.slice(0, 3), "in order, so that no nonce is skipped");
  t.same(withinWork(transactions.slice(0, 3)), transactions.slice(0, 3));
  const large = wire.submit(...appends(60));
  t.same(withinWork([large, ...transactions]), [large], "one that is valid is included some time");
  t.same(withinWork([]), []);
  t.end();
});

t.test("the log begins a height while fsyncs of the last one are under way", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "pyralog-log-"));
  t.teardown(() => rmSync(directory, { recursive: true }));
  await using log = new WriteAheadLog(directory, SYSTEM_DISK);
  for (let height = 1n; height <= 60n; height += 1n) {
    await log.start(heightOf(height));
    const appended = [1, 2, 3].map(async (byte) => await log.append(heightOf(height), new Uint8Array(64).fill(byte)));
    await log.start(heightOf(height + 1n));
    const settled = await Promise.allSettled(appended);
    t.ok(
      settled.every(({ status }) => status === "fulfilled"),
      `height ${height}`,
    );
  }
});
