/**
 * Where the time of a write goes on one node, stage by stage, without sockets and without votes.
 *
 * Method: two real nodes' parts in one process (intake, mempool, ledger on LevelDB with fsync), a proposer and a
 * follower. Signed puts, each into a row of its own, come to the proposer as a client's, are gossiped to the follower in
 * batches, ordered into a block, sent, judged and committed by both. Each stage is timed over a whole block in CPU time of
 * all threads, which other work on the machine disturbs less than it does the clock; a figure is the median over blocks.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert, present } from "../../crypto/base/assert.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { type KeyPair, keyPairFromSeed, verifySignatures } from "../../crypto/sign/key.ts";
import { type Block, encodeBlock, parseBlock } from "../../chain/block/block.ts";
import { type NetworkFile, PARAMETERS_DEFAULT } from "../../chain/block/genesis.ts";
import { PROTOCOL_DEFAULTS } from "../../chain/block/protocol.ts";
import type { Transaction } from "../../chain/block/transaction.ts";
import { type Certificate, voteSigningBytes } from "../../chain/block/vote.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { Mempool } from "../../chain/mempool/mempool.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { Intake } from "../../node/intake/intake.ts";
import { openMetrics } from "../../node/metrics/metrics.ts";
import { encodeBatch } from "../../node/network/batcher.ts";
import { LIMITS } from "../../node/network/limits.ts";
import { SYSTEM_CLOCK } from "../../node/ports/clock.ts";
import { SILENT } from "../../node/driver/testing/wire.ts";
import { signLoad } from "./pyralog.ts";
import type { Figures } from "./state.ts";

/** What to measure. */
export type WriteBenchOptions = {
  /** Blocks, the first of which creates tables and does not count. */
  readonly blocks?: number;
  /** Of a block, from eight senders. */
  readonly transactions?: number;
};

const SENDERS_COUNT = 8;
const VALUE_SIZE_BYTES = 256;
const BATCH_ITEMS = 64;
const VALIDATOR = keyPairFromSeed("ed25519", new Uint8Array(32).fill(1));
const SENDERS: readonly KeyPair[] = Array.from({ length: SENDERS_COUNT }, (_, index) =>
  keyPairFromSeed("ed25519", new Uint8Array(32).fill(index + 2)),
);
const NETWORK: NetworkFile = {
  version: 1,
  chainId: "bench-write",
  genesisTimeMs: 1_767_225_600_000n,
  engine: PROTOCOL_DEFAULTS.tendermint,
  parameters: { ...PARAMETERS_DEFAULT, dev: true },
  accounts: SENDERS.map(({ publicKey }) => ({ address: addressOfKey(publicKey), amount: 1_000_000_000_000n })),
  validators: [{ key: VALIDATOR.publicKey, power: 1n }],
  bootstrap: [],
};

const STAGES = ["submit", "gossip", "build", "encode", "parse", "judge", "commit"] as const;
type Stage = (typeof STAGES)[number];

/** Runs the stages and leaves no file. */
export async function benchWrite(options: WriteBenchOptions = {}): Promise<Figures> {
  const { blocks = 12, transactions = 2000 } = options;
  const path = await mkdtemp(join(tmpdir(), "pyralog-bench-write-"));
  try {
    await using proposer = await openPart(join(path, "proposer"));
    await using follower = await openPart(join(path, "follower"));
    const perSender = Math.ceil(transactions / SENDERS_COUNT);
    const lanes = SENDERS.map((keyPair) =>
      signLoad({
        chainId: NETWORK.chainId,
        keyPair,
        nonce: 0n,
        count: perSender * blocks - 1,
        valueSizeBytes: VALUE_SIZE_BYTES,
      }),
    );
    const samples = new Map<Stage, number[]>(STAGES.map((stage) => [stage, []]));
    for (let index = 0; index < blocks; index += 1) {
      const load = lanes.flatMap((lane) => lane.slice(index * perSender, (index + 1) * perSender));
      const spent = await runBlock(proposer, follower, load);
      if (index > 0) for (const stage of STAGES) samples.get(stage)?.push(spent[stage]);
    }
    return figuresOf(samples);
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}

type Part = { readonly ledger: Ledger; readonly mempool: Mempool; readonly intake: Intake } & AsyncDisposable;

async function openPart(path: string): Promise<Part> {
  const ledger = await Ledger.open({ store: await openLevelStore({ path }), network: NETWORK, executor: EXECUTOR });
  const mempool = new Mempool({ perSenderMax: 10_000, nonceGapMax: 10_000, perSenderSizeBytesMax: 64 * 1024 * 1024 });
  const intake = new Intake({
    ledger,
    mempool,
    // What it publishes is measured by its receiver, below.
    network: { limits: LIMITS, gossip: () => ({ publish: async () => await Promise.resolve(0) }) },
    clock: SYSTEM_CLOCK,
    verify: verifySignatures,
    log: SILENT,
    metrics: openMetrics({ process: false }),
    onWork: () => undefined,
  });
  ledger.onCommit((commit) => intake.onCommit(commit));
  return {
    ledger,
    mempool,
    intake,
    [Symbol.asyncDispose]: async () => {
      await intake[Symbol.asyncDispose]();
      await ledger[Symbol.asyncDispose]();
    },
  };
}

/** One block from its clients to both disks: microseconds of CPU a transaction and stage. */
async function runBlock(proposer: Part, follower: Part, load: readonly Transaction[]): Promise<Record<Stage, number>> {
  const spent = {} as Record<Stage, number>;
  const timed = async <T>(stage: Stage, work: () => T | Promise<T>): Promise<T> => {
    const before = process.cpuUsage();
    const result = await work();
    const { user, system } = process.cpuUsage(before);
    spent[stage] = (user + system) / load.length;
    return result;
  };
  await timed("submit", async () => {
    const taken = await Promise.all(load.map(async ({ bytes }) => await proposer.intake.submit(bytes)));
    for (const each of taken) assert(each.ok, `refused: ${each.ok ? "" : each.error.code}`);
  });
  const batches: Uint8Array[] = [];
  for (let from = 0; from < load.length; from += BATCH_ITEMS)
    batches.push(encodeBatch(load.slice(from, from + BATCH_ITEMS).map(({ bytes }) => bytes)));
  await timed("gossip", async () => {
    const verdicts = await Promise.all(batches.map(async (batch) => await follower.intake.receive("peer", batch)));
    assert(
      verdicts.every((verdict) => verdict === "accept"),
      "a batch was not accepted",
    );
  });
  const { parameters } = NETWORK;
  const made = await timed("build", () =>
    proposer.ledger.build({
      proposer: addressOfKey(VALIDATOR.publicKey),
      timeMs: proposer.ledger.head().timeMs + 1000n,
      transactions: proposer.intake.reap({
        countMax: parameters.transactionsMax,
        sizeBytesMax: parameters.blockSizeBytesMax - 16 * 1024,
      }),
      evidence: [],
    }),
  );
  assert(made.dropped.length === 0, `dropped: ${made.dropped[0]?.refusal.code}`);
  assert(made.block.transactions.length === load.length, `${made.block.transactions.length} of ${load.length} are in the block`);
  const bytes = await timed("encode", () => encodeBlock(made.block));
  const parsed = await timed("parse", () => parseBlock(bytes));
  assert(parsed.ok, "our own block does not parse");
  const judged = await timed("judge", async () =>
    follower.ledger.judge(parsed.value, { isVerified: (transaction) => follower.intake.isVerified(transaction) }),
  );
  assert(judged.ok, `refused: ${judged.ok ? "" : judged.error.code}`);
  const certificate = certify(made.block);
  // Both nodes do the same: half of it is what one takes.
  await timed("commit", async () => {
    await proposer.ledger.commit(made.block, certificate);
    await follower.ledger.commit(parsed.value, certificate);
  });
  spent.commit /= 2;
  return spent;
}

function certify(block: Block): Certificate {
  const validator = addressOfKey(VALIDATOR.publicKey);
  const vote = { step: "precommit", height: block.header.height, round: 0, blockHash: block.hash, validator } as const;
  const signature = VALIDATOR.sign(voteSigningBytes(NETWORK.chainId, vote));
  return { kind: "quorum", height: vote.height, round: 0, blockHash: block.hash, signatures: [{ validator, signature }] };
}

function figuresOf(samples: ReadonlyMap<Stage, readonly number[]>): Figures {
  const figures: Record<string, number> = {};
  const spread: Record<string, [number, number]> = {};
  const round = (value: number): number => Number(value.toFixed(1));
  let total = 0;
  for (const [stage, values] of samples) {
    const sorted = values.toSorted((a, b) => a - b);
    const median = present(sorted[sorted.length >> 1], "a block");
    figures[`${stage}CpuMicroseconds`] = round(median);
    spread[`${stage}CpuMicroseconds`] = [round(present(sorted[0], "least")), round(present(sorted.at(-1), "greatest"))];
    // A follower neither takes clients' own nor builds: what it does is done once a node.
    if (stage !== "submit" && stage !== "build" && stage !== "encode") total += median;
  }
  figures["followerCpuMicroseconds"] = round(total);
  return { figures, spread };
}
