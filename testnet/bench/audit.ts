/**
 * How fast a chain is audited by executing it again, and how fast a store is scrubbed.
 *
 * Method: a ledger on disk of blocks of 100 signed puts of 200 bytes by four validators, with a record a block. An audit
 * walks it with a replica on disk of its own, fsync and all, as `pyralog audit --data` does; the figure is of its
 * heights alone. A scrub reads the same store through without a pace.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert, present } from "../../crypto/base/assert.ts";
import { utf8 } from "../../crypto/base/bytes.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { heightOf } from "../../chain/block/height.ts";
import { keyPairAt, networkOf, voteOf } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { auditHeights } from "../../node/auditor/auditor.ts";
import { ledgerSource } from "../../node/auditor/source.ts";
import { checkFile, dataFiles } from "../../node/scrub/leveldb.ts";
import { scrubRows } from "../../node/scrub/rows.ts";
import type { Figures } from "./state.ts";

const TRANSACTIONS_PER_BLOCK = 100;
const VALUE_SIZE_BYTES = 200;
const VALIDATORS = [0, 1, 2, 3];

/** What to measure. */
export type AuditBenchOptions = { readonly blocks?: number };

/** See the file's head. */
export async function benchAudit({ blocks = 300 }: AuditBenchOptions = {}): Promise<Figures> {
  const directory = await mkdtemp(join(tmpdir(), "pyralog-bench-audit-"));
  const figures: Record<string, number> = {};
  try {
    const path = join(directory, "store");
    const network = networkOf({ powers: VALIDATORS.map(() => 1n), amounts: [1_000_000_000_000_000n] });
    const ledger = await Ledger.open({ store: await openLevelStore({ path }), network, executor: EXECUTOR });
    await using stack = new AsyncDisposableStack();
    stack.use(ledger);
    let sizeBytes = 0;
    for (let index = 0; index < blocks; index += 1) sizeBytes += await makeBlock(ledger, index);

    const store = await openLevelStore({ path: join(directory, "replica") });
    await using replica = await Ledger.open({ store, network, executor: EXECUTOR });
    const { signal } = new AbortController();
    const start = performance.now();
    const cpu = process.cpuUsage();
    const audited = await auditHeights({ source: ledgerSource(ledger, EXECUTOR, path), replica, signal }, ledger.head().height);
    if (!audited.ok) throw new CodedError(audited.error.code, {});
    const seconds = (performance.now() - start) / 1000;
    const used = process.cpuUsage(cpu);
    note(figures, "auditBlocksPerSecond", blocks / seconds);
    note(figures, "auditMegabytesPerSecond", sizeBytes / 1e6 / seconds);
    note(figures, "auditTransactionsPerSecond", audited.value.transactions / seconds);
    note(figures, "auditTransactionsPerCpuSecond", (audited.value.transactions * 1e6) / (used.user + used.system));

    const scrubStart = performance.now();
    let scrubbed = 0;
    for await (const step of scrubRows({ ledger, executor: EXECUTOR })) {
      assert(step.damages.length === 0, `${step.damages.length} damages in a store that nobody touched`);
      scrubbed += step.sizeBytes;
    }
    note(figures, "scrubRowMegabytesPerSecond", scrubbed / 1e3 / (performance.now() - scrubStart));
    const fileStart = performance.now();
    let files = 0;
    for (const file of await dataFiles(path)) files += (await checkFile(path, file, true)).sizeBytes;
    note(figures, "scrubFileMegabytesPerSecond", files / 1e3 / (performance.now() - fileStart));
    figures["blocks"] = blocks;
    figures["blockBytes"] = Math.round(sizeBytes / blocks);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return { figures, spread: {} };
}

function note(figures: Record<string, number>, name: string, value: number): void {
  figures[name] = Number(value.toFixed(1));
}

/** Builds, certifies and commits the next block; its size. */
async function makeBlock(ledger: Ledger, index: number): Promise<number> {
  const keyPair = keyPairAt(100);
  const { chainId } = ledger.network;
  const table = { namespace: "bench", table: "rows" };
  const transactions = Array.from({ length: TRANSACTIONS_PER_BLOCK }, (_, position) => {
    const nonce = BigInt(index * TRANSACTIONS_PER_BLOCK + position);
    const value = encodeValue("v".repeat(VALUE_SIZE_BYTES));
    const put: Call = { kind: "tablePut", ...table, key: utf8(`row ${nonce}`), value };
    const create: readonly Call[] = nonce === 0n ? [{ kind: "tableCreate", ...table }] : [];
    const append: Call = { kind: "logAppend", stream: "bench", partition: 0, records: [utf8(`record ${index}`)] };
    const body = { chainId, sender: addressOfKey(keyPair.publicKey), nonce, fee: 100_000n, expiry: heightOf(1_000_000n) };
    return signTransaction({ ...body, calls: [...create, put, ...(position === 0 ? [append] : [])] }, keyPair);
  });
  const head = ledger.head();
  const height = heightOf(head.height + 1n);
  const set = present(ledger.validators(height), "validators");
  const proposer = present(set.validators[0], "validator").address;
  const { block } = ledger.build({ proposer, timeMs: head.timeMs + 1_000n, transactions, evidence: [] });
  assert(block.transactions.length === transactions.length, `${block.transactions.length} of ${transactions.length} were taken`);
  const votes = VALIDATORS.map((signer) => voteOf(signer, { height, blockHash: block.hash }, chainId));
  const signatures = set.validators.map(({ address }) => {
    const { validator, signature } = present(
      votes.find((vote) => vote.validator.every((byte, at) => byte === address[at])),
      "vote",
    );
    return { validator, signature };
  });
  await ledger.commit(block, { kind: "quorum", height, round: 0, blockHash: block.hash, signatures });
  return ledger.blockBytes(height)?.length ?? 0;
}
