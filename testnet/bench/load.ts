/**
 * Load on a running network: signed 256-byte puts from several senders, through JSON-RPC, timed from submission to
 * the block that holds them.
 *
 * The generator signs before the clock starts, keeps a bounded number of transactions in flight, and learns of
 * finality from one node's block subscription; it verifies nothing (the clients of a test do), so that what is
 * measured is the network and not the measuring.
 */

import { randomBytes } from "node:crypto";
import { assert, present } from "../../crypto/base/assert.ts";
import { concatBytes, fromHex, toHex, u32, utf8 } from "../../crypto/base/bytes.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import type { KeyPair } from "../../crypto/sign/key.ts";
import { parseBlock } from "../../chain/block/block.ts";
import { PARAMETERS_DEFAULT } from "../../chain/block/genesis.ts";
import { heightOf } from "../../chain/block/height.ts";
import { type Call, signTransaction, type Transaction } from "../../chain/block/transaction.ts";

/** What to send. */
export type LoadOptions = {
  readonly urls: readonly string[];
  readonly chainId: string;
  readonly senders: readonly { readonly keyPair: KeyPair; readonly nonce: bigint }[];
  readonly transactions: number;
  readonly valueSizeBytes: number;
  /** Transactions submitted and not yet final. */
  readonly inFlightMax: number;
  /** Offered rate; absent: as fast as `inFlightMax` allows. */
  readonly perSecond?: number;
  readonly batchSize?: number;
  readonly signal: AbortSignal;
};

/** What happened. */
export type LoadReport = {
  readonly finalized: number;
  readonly refused: number;
  /** From the first submission to the last final block. */
  readonly seconds: number;
  readonly finalizedPerSecond: number;
  readonly finalityMs: readonly number[];
  readonly blocks: number;
};

const NAMESPACE = "bench";
const FEE = PARAMETERS_DEFAULT.feeMin + PARAMETERS_DEFAULT.feePerByte * 4_096n;
const POLL_INTERVAL_MS = 20;
const BATCH_SIZE = 50;
const TIMEOUT_MS = 120_000;

/** The transactions of one sender: a table of its own, then puts into it. */
export function signLoad(options: {
  readonly chainId: string;
  readonly keyPair: KeyPair;
  readonly nonce: bigint;
  readonly count: number;
  readonly valueSizeBytes: number;
}): readonly Transaction[] {
  const { chainId, keyPair, count, valueSizeBytes } = options;
  const sender = addressOfKey(keyPair.publicKey);
  const table = `t${toHex(sender).slice(0, 12)}`;
  const sign = (index: number, call: Call): Transaction =>
    signTransaction(
      { chainId, sender, nonce: options.nonce + BigInt(index), fee: FEE, expiry: heightOf(1_000_000n), calls: [call] },
      keyPair,
    );
  const created = sign(0, { kind: "tableCreate", namespace: NAMESPACE, table });
  const puts = Array.from({ length: count }, (_, index) => {
    const key = concatBytes(utf8("row-"), u32(index));
    // Random, so that the store cannot compress it; a byte string of this size takes three bytes of head at most.
    const value = encodeValue(new Uint8Array(randomBytes(valueSizeBytes - 3)));
    return sign(index + 1, { kind: "tablePut", namespace: NAMESPACE, table, key, value });
  });
  return [created, ...puts];
}

/** Puts load on a network and waits until all of it is final. */
export async function runLoad(options: LoadOptions): Promise<LoadReport> {
  const { urls, senders, signal, inFlightMax } = options;
  const perSender = Math.ceil(options.transactions / senders.length);
  const lanes = senders.map(({ keyPair, nonce }) =>
    signLoad({ chainId: options.chainId, keyPair, nonce, count: perSender, valueSizeBytes: options.valueSizeBytes }),
  );
  const first = present(urls[0], "a node");
  let height = await headHeight(first, signal);
  const sentAtMs = new Map<string, number>();
  const finalityMs: number[] = [];
  let [finalized, refused, blocks, lastMs] = [0, 0, 0, 0];
  const startMs = performance.now();
  const deadlineMs = startMs + TIMEOUT_MS;
  const total = lanes.reduce((sum, lane) => sum + lane.length, 0);

  const submitLane = async (lane: readonly Transaction[], url: string): Promise<void> => {
    for (let index = 0; index < lane.length;) {
      signal.throwIfAborted();
      assert(performance.now() < deadlineMs, "the load did not get through in time");
      const isPaced =
        options.perSecond !== undefined && sentAtMs.size >= ((performance.now() - startMs) / 1000) * options.perSecond;
      if (sentAtMs.size - finalized - refused >= inFlightMax || isPaced) {
        await pause(2);
        continue;
      }
      const batch = lane.slice(index, index + (options.batchSize ?? BATCH_SIZE));
      index += batch.length;
      const nowMs = performance.now();
      for (const { id } of batch) sentAtMs.set(toHex(id), nowMs);
      const answers = await call(
        url,
        batch.map(({ bytes }) => ({ method: "transaction.submit", params: { transaction: toHex(bytes) } })),
        signal,
      );
      for (const answer of answers) if (answer.error !== undefined) refused += 1;
    }
  };
  const follow = async (): Promise<void> => {
    while (finalized + refused < total) {
      signal.throwIfAborted();
      assert(performance.now() < deadlineMs, `${finalized} of ${total} are final, ${refused} refused`);
      const head = await headHeight(first, signal);
      if (head === height) await pause(POLL_INTERVAL_MS);
      const atMs = performance.now();
      for (; height < head; height += 1n) {
        const [answer] = await call(first, [{ method: "chain.block", params: { height: `${height + 1n}` } }], signal);
        const bytes = (answer?.result as { readonly block?: string } | undefined)?.block;
        const block = parseBlock(fromHex(present(bytes, "block")));
        assert(block.ok, "a block of the chain does not decode");
        if (block.value.transactions.length > 0) blocks += 1;
        for (const { id } of block.value.transactions) {
          const sentMs = sentAtMs.get(toHex(id));
          if (sentMs === undefined) continue;
          finalized += 1;
          lastMs = atMs;
          finalityMs.push(atMs - sentMs);
        }
      }
    }
  };
  await Promise.all([
    follow(),
    ...lanes.map(async (lane, index) => await submitLane(lane, present(urls[index % urls.length], "a node"))),
  ]);
  const seconds = (lastMs - startMs) / 1000;
  return {
    finalized,
    refused,
    seconds,
    finalizedPerSecond: finalized / seconds,
    finalityMs: finalityMs.toSorted((a, b) => a - b),
    blocks,
  };
}

/** The value below which a share of the sorted values lies. */
export function percentile(sorted: readonly number[], share: number): number {
  return present(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))], "a value");
}

type Answer = { readonly result?: unknown; readonly error?: { readonly message: string } };

/** The head's height by the node's word: the cheapest question there is. */
async function headHeight(url: string, signal: AbortSignal): Promise<bigint> {
  const response = await fetch(new URL("health", url), { signal });
  const { height } = (await response.json()) as { readonly height?: string };
  return BigInt(present(height, "height of the head"));
}

async function call(
  url: string,
  calls: readonly { readonly method: string; readonly params: unknown }[],
  signal: AbortSignal,
): Promise<readonly Answer[]> {
  const body = JSON.stringify(calls.map(({ method, params }, id) => ({ jsonrpc: "2.0", id, method, params })));
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body, signal });
  return (await response.json()) as readonly Answer[];
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
