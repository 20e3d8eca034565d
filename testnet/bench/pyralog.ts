/** Load for a Pyralog network: signed puts, handed in through JSON-RPC, seen final by the nonces in one node's state. */

import { randomBytes } from "node:crypto";
import { assert, present } from "../../crypto/base/assert.ts";
import { concatBytes, toHex, u32, utf8 } from "../../crypto/base/bytes.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey, formatAddress } from "../../crypto/identity/address.ts";
import type { Authorisation } from "../../crypto/identity/authorisation.ts";
import type { KeyPair } from "../../crypto/sign/key.ts";
import { heightOf } from "../../chain/block/height.ts";
import type { Call } from "../../chain/block/call.ts";
import { signedSizeBytes, signTransaction, type Transaction } from "../../chain/block/transaction.ts";
import type { LoadItem, LoadTarget } from "./load.ts";
import { getJson, postJson } from "./post.ts";

/** Whose puts, into a table of their own. */
export type SignedLoad = {
  readonly chainId: string;
  readonly keyPair: KeyPair;
  readonly nonce: bigint;
  readonly count: number;
  readonly valueSizeBytes: number;
};

const NAMESPACE = "bench";
/**
 * Fee a byte, of each transaction exactly: blocks go by price, and at one price senders take turns. With one fee for all, a sender whose
 * nonce had come to 65,536, which takes two bytes more, waited under overload until the others' had.
 */
const PRICE = 10n;
/** As long as a fee is encoded in as many bytes as this, its transaction's size does not depend on it. */
const FEE_TYPICAL = 5_000n;

/** The transactions of one sender, at one price: a table of its own, then puts into it. */
export function signLoad({ chainId, keyPair, nonce, count, valueSizeBytes }: SignedLoad): readonly Transaction[] {
  const sender = addressOfKey(keyPair.publicKey);
  const table = `t${toHex(sender).slice(0, 12)}`;
  let authorisation: Authorisation | undefined;
  const sign = (index: number, call: Call): Transaction => {
    const body = { chainId, sender, nonce: nonce + BigInt(index), fee: FEE_TYPICAL, expiry: heightOf(1_000_000n), calls: [call] };
    authorisation ??= signTransaction(body, keyPair).authorisation;
    const sizeBytes = signedSizeBytes(body, authorisation);
    const signed = signTransaction({ ...body, fee: PRICE * BigInt(sizeBytes) }, keyPair);
    assert(signed.bytes.length === sizeBytes, "{} bytes instead of {}", signed.bytes.length, sizeBytes);
    return signed;
  };
  const created = sign(0, { kind: "tableCreate", namespace: NAMESPACE, table });
  const puts = Array.from({ length: count }, (_, index) => {
    const key = concatBytes(utf8("row-"), u32(index));
    // Random, so that the store cannot compress it; a byte string of this size takes three bytes of head at most.
    const value = encodeValue(new Uint8Array(randomBytes(valueSizeBytes - 3)));
    return sign(index + 1, { kind: "tablePut", namespace: NAMESPACE, table, key, value });
  });
  return [created, ...puts];
}

/** A signed put, and its place among those of its sender. */
export type PyralogItem = LoadItem & { readonly text: string; readonly sender: string; readonly nonce: bigint };

/** What of a transaction is sent. */
export function loadItems(transactions: readonly Transaction[]): PyralogItem[] {
  return transactions.map(({ id, bytes, body }) => ({
    id: toHex(id),
    bytes,
    text: toHex(bytes),
    sender: formatAddress(body.sender),
    nonce: body.nonce,
  }));
}

/** Items of a sender that were handed in and are not final, by nonce; and the first nonce that is not final. */
type Waiting = { readonly ids: Map<bigint, string>; nonce: bigint };

/**
 * Nodes as takers of load. What is final is asked of the first: once it has a new head, the nonces of all senders, which say of
 * each how many of its transactions are included.
 */
export async function openTarget(urls: readonly string[], signal: AbortSignal): Promise<LoadTarget<PyralogItem>> {
  const first = present(urls[0], "a node");
  const senders = new Map<string, Waiting>();
  let height = await headHeight(first, signal);
  return {
    submit: async (lane, items, signal) => {
      for (const { id, sender, nonce } of items) {
        let waiting = senders.get(sender);
        if (waiting === undefined) senders.set(sender, (waiting = { ids: new Map(), nonce }));
        waiting.ids.set(nonce, id);
      }
      const calls = items.map(({ text }) => callOf("transaction.submit", `{"transaction":"${text}"}`));
      const answers = await ask(present(urls[lane % urls.length], "a node"), calls, signal);
      return answers.map(({ error }) =>
        error === undefined ? { kind: "waiting" } : { kind: "refused", code: error.data?.code ?? error.message },
      );
    },
    finalized: async (signal) => {
      const head = await headHeight(first, signal);
      if (head === height) return [];
      const atMs = performance.now();
      height = head;
      const asked = [...senders].filter(([, { ids }]) => ids.size > 0);
      const calls = asked.map(([address]) => callOf("account.get", JSON.stringify({ address, anchor: false })));
      const answers = await ask(first, calls, signal);
      const ids: string[] = [];
      for (const [index, [, waiting]] of asked.entries()) {
        const { nonce } = present(answers[index], "answer").result as { readonly nonce: string };
        for (; waiting.nonce < BigInt(nonce); waiting.nonce += 1n) {
          const id = waiting.ids.get(waiting.nonce);
          if (id !== undefined) ids.push(id);
          waiting.ids.delete(waiting.nonce);
        }
      }
      return [{ ids, atMs }];
    },
  };
}

type Answer = {
  readonly result?: unknown;
  readonly error?: { readonly message: string; readonly data?: { readonly code?: string } };
};

/** The head's height by the node's word: the cheapest question there is. */
async function headHeight(url: string, signal: AbortSignal): Promise<bigint> {
  const { height } = (await getJson(new URL("health", url).href, signal)) as { readonly height?: string };
  return BigInt(present(height, "height of the head"));
}

/** A call of a batch, but for its number. */
function callOf(method: string, params: string): string {
  return `"method":"${method}","params":${params}}`;
}

/** A batch. Answers come in the order of the questions. */
async function ask(url: string, calls: readonly string[], signal: AbortSignal): Promise<readonly Answer[]> {
  if (calls.length === 0) return [];
  const body = `[${calls.map((call, id) => `{"jsonrpc":"2.0","id":${id},${call}`).join(",")}]`;
  const answers = (await postJson(url, body, signal)) as readonly Answer[] | Answer;
  // A batch that is refused as a whole has one answer.
  return Array.isArray(answers) ? (answers as readonly Answer[]) : calls.map(() => answers as Answer);
}
