/** Load for a Pyralog network: signed puts, handed in through JSON-RPC, seen final by one node's blocks. */

import { randomBytes } from "node:crypto";
import { assert, present } from "../../crypto/base/assert.ts";
import { concatBytes, fromHex, toHex, u32, utf8 } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import type { KeyPair } from "../../crypto/sign/key.ts";
import { parseBlock } from "../../chain/block/block.ts";
import { PARAMETERS_DEFAULT } from "../../chain/block/genesis.ts";
import { heightOf } from "../../chain/block/height.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction, type Transaction } from "../../chain/block/transaction.ts";
import type { LoadItem, LoadTarget } from "./load.ts";

/** Whose puts, into a table of their own. */
export type SignedLoad = {
  readonly chainId: string;
  readonly keyPair: KeyPair;
  readonly nonce: bigint;
  readonly count: number;
  readonly valueSizeBytes: number;
};

const NAMESPACE = "bench";
const ATTEMPTS_MAX = 3;
const FEE = PARAMETERS_DEFAULT.feeMin + PARAMETERS_DEFAULT.feePerByte * 4_096n;

/** The transactions of one sender: a table of its own, then puts into it. */
export function signLoad({ chainId, keyPair, nonce, count, valueSizeBytes }: SignedLoad): readonly Transaction[] {
  const sender = addressOfKey(keyPair.publicKey);
  const table = `t${toHex(sender).slice(0, 12)}`;
  const sign = (index: number, call: Call): Transaction =>
    signTransaction(
      { chainId, sender, nonce: nonce + BigInt(index), fee: FEE, expiry: heightOf(1_000_000n), calls: [call] },
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

/** What of a transaction is sent. */
export function loadItems(transactions: readonly Transaction[]): LoadItem[] {
  return transactions.map(({ id, bytes }) => ({ id: toHex(id), bytes }));
}

/** Nodes as takers of load; what is final is asked of the first, from the block after its head on. */
export async function openTarget(urls: readonly string[], signal: AbortSignal): Promise<LoadTarget> {
  const first = present(urls[0], "a node");
  let height = await headHeight(first, signal);
  return {
    submit: async (lane, items, signal) => {
      const calls = items.map(({ bytes }) => ({ method: "transaction.submit", params: { transaction: toHex(bytes) } }));
      const answers = await ask(present(urls[lane % urls.length], "a node"), calls, signal);
      return answers.map(({ error }) =>
        error === undefined ? { kind: "waiting" } : { kind: "refused", code: error.data?.code ?? error.message },
      );
    },
    finalized: async (signal) => {
      const head = await headHeight(first, signal);
      const atMs = performance.now();
      const found: { ids: readonly string[]; atMs: number }[] = [];
      for (; height < head; height += 1n) {
        const [answer] = await ask(first, [{ method: "chain.block", params: { height: `${height + 1n}` } }], signal);
        const bytes = (answer?.result as { readonly block?: string } | undefined)?.block;
        const block = parseBlock(fromHex(present(bytes, "block")));
        assert(block.ok, "a block of the chain does not decode");
        found.push({ ids: block.value.transactions.map(({ id }) => toHex(id)), atMs });
      }
      return found;
    },
  };
}

type Answer = {
  readonly result?: unknown;
  readonly error?: { readonly message: string; readonly data?: { readonly code?: string } };
};

/** The head's height by the node's word: the cheapest question there is. */
async function headHeight(url: string, signal: AbortSignal): Promise<bigint> {
  const response = await reach(() => fetch(new URL("health", url), { signal }));
  const { height } = (await response.json()) as { readonly height?: string };
  return BigInt(present(height, "height of the head"));
}

/** A batch. Answers come in the order of the questions. */
async function ask(
  url: string,
  calls: readonly { readonly method: string; readonly params: unknown }[],
  signal: AbortSignal,
): Promise<readonly Answer[]> {
  const body = JSON.stringify(calls.map(({ method, params }, id) => ({ jsonrpc: "2.0", id, method, params })));
  const headers = { "content-type": "application/json" };
  const response = await reach(() => fetch(url, { method: "POST", headers, body, signal }));
  const answers = (await response.json()) as readonly Answer[] | Answer;
  // A batch that is refused as a whole has one answer.
  return Array.isArray(answers) ? (answers as readonly Answer[]) : calls.map(() => answers as Answer);
}

/** A busy server may close a connection that it takes for idle just as we send: what is asked here may be asked twice. */
async function reach(ask: () => Promise<Response>): Promise<Response> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask();
    } catch (error) {
      const cause: unknown = error instanceof TypeError ? error.cause : undefined;
      const isClosed = cause instanceof Error && ["UND_ERR_SOCKET", "ECONNRESET"].includes(codeOf(cause));
      if (!isClosed || attempt === ATTEMPTS_MAX) throw error;
    }
  }
}
