/**
 * Proposals without the bodies that everybody has.
 *
 * A transaction reaches every node by gossip before a block orders it, and would come again with the proposal, once from
 * every neighbour. So what is gossiped of a message with a block is the message with its list of transactions cut
 * out, and in that list's place the ids of those that were sent, and the bodies of those that were sent too lately or not at all.
 * What clients gave to the proposer and no batch has is sent right before it (`prepare`), and so is there before it. How lately is too
 * lately, `spread.ts` finds out.
 *
 * ```
 * message   = prefix ‖ [bytes of each transaction] ‖ suffix          what engines and their codecs know
 * wire      = [99, prefix, [id (32 bytes) or bytes of each transaction], suffix]
 * ```
 *
 * Whoever receives it puts the message together again, byte for byte, from what waits in its mempool, once what came before it is
 * checked; what is missing there it asks of whoever passed the proposal on, then of others. An id says nothing about an
 * authorisation: when a sender has signed one transaction twice the message may come out differently, and its block's root does not
 * fit. Then every body is asked for. When nobody has them the proposal is dropped without blame, and catch-up (`catchup.ts`) brings it
 * whole.
 *
 * Wire of the question: ids, end to end. Of the answer: batches of bodies, as they are gossiped, of those that the peer has.
 *
 * Source: BIP 152 (compact blocks), with the prefilled transactions chosen by age; Tendermint and its kin send whole parts.
 */

import { present } from "../../crypto/base/assert.ts";
import { concatBytes, EMPTY, toHex } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import type { Result } from "../../crypto/base/result.ts";
import { type DecodeError, readWith } from "../../crypto/codec/reader.ts";
import { HEAD_SIZE_BYTES_MAX, Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import type { Block } from "../../chain/block/block.ts";
import { BLOCK_SIZE_BYTES_MAX, TRANSACTION_SIZE_BYTES_MAX, TRANSACTIONS_MAX } from "../../chain/block/limits.ts";
import { parseTransaction, peekTransactionId, type Transaction } from "../../chain/block/transaction.ts";
import type { Log } from "../log/log.ts";
import { encodeBatch, parseBatch } from "../network/batcher.ts";
import type { Network } from "../network/network.ts";
import { type Handler, refuse } from "../network/request.ts";
import { Spread } from "./spread.ts";
import type { Delivery, Verdict } from "./verdict.ts";

/** The protocol. */
export const BODIES_PROTOCOL = "/pyralog/bodies/1";

/** What engines number their messages by stays far below. */
const TAG = 99;
/** `[99, ...` in canonical dag-cbor. */
const MARK = Uint8Array.of(0x84, 0x18, TAG);
/** Everything of a message but its transactions: claims and certificates of a large set with hybrid keys. */
const FRAME_SIZE_BYTES_MAX = 2 * 1024 * 1024;
const IDS_PER_QUESTION_MAX = 1_024;
/** Bodies in one frame of an answer. */
const FRAME_BODIES_BYTES = 128 * 1024;
const ANSWER_TIMEOUT_MS = 2_000;
/** Whom to ask: whoever passed the proposal on, and so many others. */
const PEERS_ASKED_MAX = 3;
/** Proposals of one peer that are being put together; beyond, they are dropped, and catch-up brings them. */
const UNDER_WAY_PER_PEER_MAX = 4;
/** Of the last so many proposals what we had to ask for is kept, for those who ask us. */
const PROPOSALS_KEPT_MAX = 4;

const NONE: ReadonlyMap<string, Transaction> = new Map();

/** What the bodies come from and go to. */
export type BodiesParts = {
  /** What waits in the mempool. */
  readonly waiting: (id: Hash) => Transaction | undefined;
  /** How long ago gossip brought it to peers; `undefined` when it has not. */
  readonly sentAgoMs: (transaction: Transaction) => number | undefined;
  /** Sends what waits here and no peer was sent. */
  readonly flush: () => Promise<void>;
  /** What gossip has brought is taken in or refused. */
  readonly settled: () => Promise<void>;
  readonly network: Pick<Network, "request" | "penalise"> & { readonly peers: () => readonly { readonly id: string }[] };
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Bodies of a proposal were asked for, and the proposal was accepted with them. */
  readonly onFetched?: () => void;
};

/** What became of a transaction of a message: known already, or in the message's bytes alone. */
export type KnownTransactions = readonly (Transaction | undefined)[];

type Deliver = (bytes: Uint8Array, known?: KnownTransactions) => Promise<Delivery>;

/** A message without its bodies: items are ids or transactions. */
export type Compact = { readonly prefix: Uint8Array; readonly items: readonly Uint8Array[]; readonly suffix: Uint8Array };

/** Whether bytes are a message without its bodies. */
export function isCompact(bytes: Uint8Array): boolean {
  return MARK.every((byte, index) => bytes[index] === byte);
}

/** The message without the bodies for which `isYoung` does not hold; the message itself when that would be all of them. */
export function compactMessage(
  bytes: Uint8Array,
  { transactions }: Pick<Block, "transactions">,
  isYoung: (transaction: Transaction) => boolean,
): Uint8Array {
  if (transactions.every(isYoung)) return bytes;
  const list = encodeMessage({ prefix: EMPTY, bodies: transactions.map((transaction) => transaction.bytes), suffix: EMPTY });
  const at = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(list);
  // An engine that writes its block in another way sends all of it.
  if (at < 0) return bytes;
  const items = transactions.map((transaction) => (isYoung(transaction) ? transaction.bytes : transaction.id));
  return encodeCompact({ prefix: bytes.subarray(0, at), items, suffix: bytes.subarray(at + list.length) });
}

/** The one encoding of a message without its bodies. */
export function encodeCompact({ prefix, items, suffix }: Compact): Uint8Array {
  const writer = new Writer().array(4).uint(TAG).bytes(prefix).array(items.length);
  for (const item of items) writer.bytes(item);
  return writer.bytes(suffix).finish();
}

/** Parses what `compactMessage` made. */
export function parseCompact(bytes: Uint8Array): Result<Compact, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("proposal").tuple(4);
    const { offset } = reader;
    if (reader.field("tag").number() !== TAG) reader.refuse("encoding_limit", offset);
    const prefix = reader.field("prefix").bytes(FRAME_SIZE_BYTES_MAX);
    const count = reader.field("items").array(TRANSACTIONS_MAX);
    const items: Uint8Array[] = [];
    for (let index = 0; index < count; index += 1) {
      const item = reader.bytes(TRANSACTION_SIZE_BYTES_MAX);
      if (item.length < HASH_SIZE_BYTES) reader.refuse("encoding_limit");
      items.push(item);
    }
    return { prefix, items, suffix: reader.field("suffix").bytes(FRAME_SIZE_BYTES_MAX) };
  });
}

/** See the file's head. */
export class Bodies {
  readonly #parts: BodiesParts;
  readonly #underWay = new Map<string, number>();
  /** What was fetched for the newest proposals, newest last. */
  readonly #fetched: ReadonlyMap<string, Transaction>[] = [];
  readonly #spread = new Spread();
  #turn = 0;

  constructor(parts: BodiesParts) {
    this.#parts = parts;
  }

  /** What is to be gossiped of a message with this block, now that its transactions are on their way. */
  async prepare(bytes: Uint8Array, block: Block): Promise<Uint8Array> {
    await this.#parts.flush();
    this.#spread.proposed();
    return compactMessage(bytes, block, (transaction) => {
      const agoMs = this.#parts.sentAgoMs(transaction);
      return agoMs === undefined || agoMs < this.#spread.ms;
    });
  }

  /** Hands a gossiped message on as its engine wrote it. */
  async receive(from: string, bytes: Uint8Array, deliver: Deliver): Promise<Verdict> {
    if (!isCompact(bytes)) {
      const verdict = await deliver(bytes);
      return verdict === "otherBody" ? "reject" : verdict;
    }
    const compact = parseCompact(bytes);
    if (!compact.ok) return "reject";
    const underWay = this.#underWay.get(from) ?? 0;
    if (underWay >= UNDER_WAY_PER_PEER_MAX) return "ignore";
    this.#underWay.set(from, underWay + 1);
    try {
      let verdict = await this.#deliver(from, compact.value, deliver, { trustsOwn: true });
      if (verdict === "otherBody") verdict = await this.#deliver(from, compact.value, deliver, { trustsOwn: false });
      // By now it is no copy of ours that does not fit, but it may be one of another peer's.
      return verdict === "otherBody" ? "ignore" : verdict;
    } finally {
      const left = (this.#underWay.get(from) ?? 1) - 1;
      if (left === 0) this.#underWay.delete(from);
      else this.#underWay.set(from, left);
    }
  }

  /** Puts the message together, with or without what our own mempool has, and hands it on. */
  async #deliver(
    from: string,
    { prefix, items, suffix }: Compact,
    deliver: Deliver,
    { trustsOwn }: { readonly trustsOwn: boolean },
  ): Promise<Delivery> {
    // What is young to others may wait here already: it need not be parsed again.
    const known = items.map((item) => {
      const id = !trustsOwn ? undefined : isId(item) ? hashOf(item) : peekTransactionId(item);
      return id === undefined ? undefined : this.#find(id);
    });
    const lacked = (): readonly Uint8Array[] => items.filter((item, index) => isId(item) && known[index] === undefined);
    let missing = lacked();
    if (missing.length > 0 && trustsOwn) {
      await this.#parts.settled();
      for (const [index, item] of items.entries()) if (isId(item)) known[index] ??= this.#find(hashOf(item));
      missing = lacked();
    }
    if (missing.length > 0) this.#spread.lacked();
    const fetched = missing.length === 0 ? NONE : await this.#fetch(from, missing);
    if (fetched.size > 0) {
      for (const [index, item] of items.entries()) if (isId(item)) known[index] ??= fetched.get(toHex(item));
    }
    let sizeBytes = 0;
    const bodies: Uint8Array[] = [];
    for (let index = 0; index < items.length; index += 1) {
      const item = present(items[index], "item");
      const body = isId(item) ? known[index]?.bytes : item;
      if (body === undefined) return "ignore";
      sizeBytes += body.length;
      bodies.push(body);
    }
    if (sizeBytes > BLOCK_SIZE_BYTES_MAX) return "reject";
    const delivery = await deliver(encodeMessage({ prefix, bodies, suffix }), known);
    // What is not in a block that was accepted is anybody's word, and must not go to others.
    if (delivery === "accept" && fetched.size > 0) this.#keep(fetched);
    return delivery;
  }

  #keep(fetched: ReadonlyMap<string, Transaction>): void {
    this.#fetched.push(fetched);
    if (this.#fetched.length > PROPOSALS_KEPT_MAX) this.#fetched.shift();
    this.#parts.onFetched?.();
  }

  /** Answers peers that lack bodies. */
  readonly handler: Handler = ({ bytes }) => this.#serve(bytes);

  async *#serve(question: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
    const ids = idsOf(question);
    if (ids === undefined) throw refuse("malformed");
    this.#spread.lacked();
    let sizeBytes = 0;
    let frame: Uint8Array[] = [];
    for (const id of ids) {
      const found = this.#find(id);
      if (found === undefined) continue;
      // One that is large goes alone: a batch is no larger than what gossip carries.
      if (frame.length > 0 && sizeBytes + found.bytes.length > FRAME_BODIES_BYTES) {
        yield await Promise.resolve(encodeBatch(frame));
        [frame, sizeBytes] = [[], 0];
      }
      frame.push(found.bytes);
      sizeBytes += found.bytes.length;
    }
    if (frame.length > 0) yield encodeBatch(frame);
  }

  /** What was fetched for a proposal is what its block has; what waits may be signed otherwise. */
  #find(id: Hash): Transaction | undefined {
    const key = this.#fetched.length === 0 ? "" : toHex(id);
    return this.#fetched.findLast((proposal) => proposal.has(key))?.get(key) ?? this.#parts.waiting(id);
  }

  async #fetch(from: string, ids: readonly Uint8Array[]): Promise<ReadonlyMap<string, Transaction>> {
    const fetched = new Map<string, Transaction>();
    const others = this.#parts.network.peers().flatMap(({ id }) => (id === from ? [] : [id]));
    this.#turn += 1;
    const turn = this.#turn % Math.max(1, others.length);
    const asked = [from, ...others.slice(turn), ...others.slice(0, turn)].slice(0, PEERS_ASKED_MAX);
    for (const peer of asked) {
      const missing = ids.filter((id) => !fetched.has(toHex(id)));
      for (let at = 0; at < missing.length; at += IDS_PER_QUESTION_MAX) {
        if (!(await this.#ask(peer, missing.slice(at, at + IDS_PER_QUESTION_MAX), fetched))) break;
      }
      if (fetched.size === ids.length) break;
    }
    this.#parts.log.debug({ peer: from, asked: ids.length, fetched: fetched.size }, "bodies of a proposal fetched");
    return fetched;
  }

  /** Asks one peer for bodies; whether it answered in good form, with all of them or not. */
  async #ask(peer: string, ids: readonly Uint8Array[], into: Map<string, Transaction>): Promise<boolean> {
    const { network, log, signal } = this.#parts;
    const wanted = new Set(ids.map(toHex));
    const options = { signal, timeoutMs: ANSWER_TIMEOUT_MS, totalBytesMax: 2 * BLOCK_SIZE_BYTES_MAX };
    try {
      for await (const frame of network.request(peer, BODIES_PROTOCOL, concatBytes(...ids), options)) {
        const batch = parseBatch(frame);
        if (!batch.ok) return this.#blame(peer);
        for (const body of batch.value) {
          const transaction = parseTransaction(body.slice());
          // Each once, and nothing that was not asked for.
          if (!transaction.ok || !wanted.delete(toHex(transaction.value.id))) return this.#blame(peer);
          into.set(toHex(transaction.value.id), transaction.value);
        }
      }
      return true;
    } catch (error) {
      // The request layer has penalised whoever broke the protocol; the next peer is asked.
      log.debug({ peer, code: codeOf(error) }, "bodies not fetched");
      return false;
    }
  }

  #blame(peer: string): false {
    this.#parts.network.penalise(peer, "malformed");
    return false;
  }
}

function isId(item: Uint8Array): boolean {
  return item.length === HASH_SIZE_BYTES;
}

function idsOf(bytes: Uint8Array): readonly Hash[] | undefined {
  const count = bytes.length / HASH_SIZE_BYTES;
  if (!Number.isInteger(count) || count < 1 || count > IDS_PER_QUESTION_MAX) return undefined;
  return Array.from({ length: count }, (_, index) => hashOf(bytes.slice(index * HASH_SIZE_BYTES, (index + 1) * HASH_SIZE_BYTES)));
}

/** The message, with its transactions as a block writes them. */
function encodeMessage(parts: {
  readonly prefix: Uint8Array;
  readonly bodies: readonly Uint8Array[];
  readonly suffix: Uint8Array;
}): Uint8Array {
  const { prefix, bodies, suffix } = parts;
  const sizeBytes = bodies.reduce((size, body) => size + body.length + HEAD_SIZE_BYTES_MAX, prefix.length + suffix.length);
  const writer = new Writer(sizeBytes + HEAD_SIZE_BYTES_MAX).raw(prefix).array(bodies.length);
  for (const body of bodies) writer.bytes(body);
  return writer.raw(suffix).finish();
}
