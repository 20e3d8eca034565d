/**
 * Every key of the state tree, in one table: a first byte that says what the row is, then fields that no other row
 * of that kind shares. Names hold no zero byte (`NAME_PATTERN`), so a zero ends each of them and keys sort by
 * namespace, then table, then row key.
 *
 * ```
 * 01 address(32)                         account       [balance, nonce]
 * 02 namespace 00 table                  table         [owner]
 * 03 namespace 00 table 00 key           row           the value, canonical dag-cbor as the client put it
 * 04 stream 00 partition(4)              partition     its owner, its tree and its segments (`partition.ts`)
 * 05 which(1)                            validators    [[key, power]...]      which: 00 current, 01 next
 * 06 which(1)                            priorities    [priority...]          in the order of that set
 * 07                                     authority     address
 * 08                                     parameters    as the network file has them
 * 09 address(32) height(8)               misbehaviour  [height included]      evidence that was acted on
 * 0a address(32)                         tombstone     [height included]      may never validate again
 * 0b address(32)                         rewards       [amount]               earned and not claimed yet
 * 0c                                     supply        [total, minted, burned]
 * 0d address(32)                         pool          stake with a validator, its terms and earnings (`stake.ts`)
 * 0e address(32)                         stakeKey      the key of that validator
 * 0f validator(32) delegator(32)         delegation    [shares, rewardPerShare]
 * 10                                     stakeTotals   [bonded, unbonding, first, end]
 * 11 index(8)                            unbonding     [validator, delegator, amount, height, time]
 * 12                                     candidates    [[address, power]...]  by power, then address
 * 13                                     voters        [[address, power]...]  who decided the state's own height
 * 14 address(32)                         attendance    [missed, bitmap]
 * 15 height(8)                           blockTime     [time]
 * 16 address(32)                         offence       [at, height, slashBps, reporter]
 * 17                                     offences      [[time, shareBps]...]  of late
 * 18 number(4)                           nodeNumber    [owner, holder, epoch, startMs, endMs]  who may make ids under it, and when
 * 19 address(32)                         numberOf      [number]               the number that an address leased last
 * 1a stream 00 partition(4)              sessions      [floor, [[session, end]...]]  open on a partition
 * 1b stream 00 partition(4) session(8)   session       [next, [[sequence, firstIndex, count, digest]...]]  of late
 * 20 stream 00                           stream        as it was declared (`partition.ts`)
 * 22 stream 00 partition(4) index(8)     erased        [height, address]      who asked, and when
 * 21 stream 00 partition(4) number(8)    segment       the entry of a sealed segment (`chain/block/segment.ts`)
 * ```
 *
 * First bytes are part of the format: never renumber, never reuse.
 */

import { assert } from "../../crypto/base/assert.ts";
import { concatBytes, parseUtf8, readU32, readU64, u32, u64, utf8 } from "../../crypto/base/bytes.ts";
import { Recent } from "../../crypto/base/recent.ts";
import { isNodeNumber, type NodeNumber, nodeNumberOf } from "../../crypto/id/scarab.ts";
import { type Address, ADDRESS_SIZE_BYTES, addressOf } from "../../crypto/identity/address.ts";
import { isName } from "../block/fields.ts";
import { type Height, heightOf, isHeight } from "../block/height.ts";
import { NAME_SIZE_BYTES_MAX, PARTITION_MAX, ROW_KEY_SIZE_BYTES_MAX } from "../block/limits.ts";

const PREFIX = {
  account: 0x01,
  table: 0x02,
  row: 0x03,
  partition: 0x04,
  validators: 0x05,
  priorities: 0x06,
  authority: 0x07,
  parameters: 0x08,
  misbehaviour: 0x09,
  tombstone: 0x0a,
  rewards: 0x0b,
  supply: 0x0c,
  pool: 0x0d,
  stakeKey: 0x0e,
  delegation: 0x0f,
  stakeTotals: 0x10,
  unbonding: 0x11,
  candidates: 0x12,
  voters: 0x13,
  attendance: 0x14,
  blockTime: 0x15,
  offence: 0x16,
  offences: 0x17,
  nodeNumber: 0x18,
  numberOf: 0x19,
  sessions: 0x1a,
  session: 0x1b,
  stream: 0x20,
  segment: 0x21,
  erased: 0x22,
} as const;

/** No state key is longer: a row's, with the longest names. */
export const STATE_KEY_SIZE_BYTES_MAX: number = 1 + NAME_SIZE_BYTES_MAX + 1 + NAME_SIZE_BYTES_MAX + 1 + ROW_KEY_SIZE_BYTES_MAX;

/** The set that decides the height after the state's, or the one after that. */
export type Which = "current" | "next";

const WHICH_BYTE = { current: 0, next: 1 } as const satisfies Record<Which, number>;

/** A range of state keys: `from` inclusive, `to` exclusive. */
export type KeyRange = { readonly from: Uint8Array; readonly to: Uint8Array };

/** What a state key names. */
export type StateKey =
  | { readonly kind: "account"; readonly address: Address }
  | { readonly kind: "table"; readonly namespace: string; readonly table: string }
  | { readonly kind: "row"; readonly namespace: string; readonly table: string; readonly key: Uint8Array }
  | { readonly kind: "partition"; readonly stream: string; readonly partition: number }
  | { readonly kind: "stream"; readonly stream: string }
  | { readonly kind: "segment"; readonly stream: string; readonly partition: number; readonly number: bigint }
  | { readonly kind: "erased"; readonly stream: string; readonly partition: number; readonly index: bigint }
  | { readonly kind: "validators"; readonly which: Which }
  | { readonly kind: "priorities"; readonly which: Which }
  | { readonly kind: "authority" }
  | { readonly kind: "parameters" }
  | { readonly kind: "misbehaviour"; readonly address: Address; readonly height: Height }
  | { readonly kind: "tombstone"; readonly address: Address }
  | { readonly kind: "rewards"; readonly address: Address }
  | { readonly kind: "supply" | "stakeTotals" | "candidates" | "voters" | "offences" }
  | { readonly kind: "pool" | "stakeKey" | "attendance" | "offence" | "numberOf"; readonly address: Address }
  | { readonly kind: "delegation"; readonly validator: Address; readonly delegator: Address }
  | { readonly kind: "unbonding"; readonly index: bigint }
  | { readonly kind: "nodeNumber"; readonly number: NodeNumber }
  | { readonly kind: "sessions"; readonly stream: string; readonly partition: number }
  | { readonly kind: "session"; readonly stream: string; readonly partition: number; readonly session: bigint }
  | { readonly kind: "blockTime"; readonly height: Height };

/** Keys of accounts that were asked for lately. */
const recentAccountKeys = new Recent<Uint8Array>(1024, {
  isOf: (key, address) => {
    for (let index = 0; index < ADDRESS_SIZE_BYTES; index += 1) if (key[index + 1] !== address[index]) return false;
    return true;
  },
  make: (address) => prefixed(PREFIX.account, address),
});

/** The key of an account's row. Whoever asks for one again mostly gets the same array, which nobody changes. */
export function accountKey(address: Address): Uint8Array {
  return recentAccountKeys.of(address);
}

/** Every account. */
export function accountRange(): KeyRange {
  return kindRange(PREFIX.account);
}

/** The key of a table's own row, which names its owner. */
export function tableKey(namespace: string, table: string): Uint8Array {
  return headsOf(namespace, table).table;
}

/** Every table, or every table of one namespace. */
export function tableRange(namespace?: string): KeyRange {
  if (namespace === undefined) return kindRange(PREFIX.table);
  return { from: named(PREFIX.table, namespace, 0), to: named(PREFIX.table, namespace, 1) };
}

/** The key of a row in a table. */
export function rowKey(namespace: string, table: string, key: Uint8Array): Uint8Array {
  const { row } = headsOf(namespace, table);
  const whole = new Uint8Array(row.length + key.length);
  whole.set(row);
  whole.set(key, row.length);
  return whole;
}

/** The key of a table, and what the keys of its rows begin with. */
type Heads = { readonly table: Uint8Array; readonly row: Uint8Array };

const HEADS_KEPT_MAX = 1024;
/** Of tables that were asked for lately: by namespace, then by table. */
const recentHeads = new Map<string, Map<string, Heads>>();
let recentHeadsCount = 0;

function headsOf(namespace: string, table: string): Heads {
  let tables = recentHeads.get(namespace);
  const known = tables?.get(table);
  if (known !== undefined) return known;
  const made = { table: names(PREFIX.table, namespace, table, 0), row: names(PREFIX.row, namespace, table, 1) };
  if (recentHeadsCount === HEADS_KEPT_MAX) {
    recentHeads.clear();
    [tables, recentHeadsCount] = [undefined, 0];
  }
  if (tables === undefined) recentHeads.set(namespace, (tables = new Map()));
  tables.set(table, made);
  recentHeadsCount += 1;
  return made;
}

/** The rows of a table from row key `from` (inclusive) to `to` (exclusive); absent bounds are the table's own. */
export function rowRange(namespace: string, table: string, from?: Uint8Array, to?: Uint8Array): KeyRange {
  const first = rowKey(namespace, table, new Uint8Array(0));
  // The zero byte after the table's name, raised by one: past every row key, before every longer name.
  const end = first.slice();
  end[end.length - 1] = 1;
  return { from: from === undefined ? first : concatBytes(first, from), to: to === undefined ? end : concatBytes(first, to) };
}

/** The key of a partition's head. */
export function partitionKey(stream: string, partition: number): Uint8Array {
  assert(partition >= 0 && partition <= PARTITION_MAX, "partition {}", partition);
  return concatBytes(named(PREFIX.partition, stream, 0), u32(partition));
}

/** The key of a declared stream's row. */
export function streamKey(stream: string): Uint8Array {
  return named(PREFIX.stream, stream, 0);
}

/** The key of the entry of a sealed segment. */
export function segmentKey(stream: string, partition: number, number: bigint): Uint8Array {
  assert(partition >= 0 && partition <= PARTITION_MAX, "partition {}", partition);
  return concatBytes(named(PREFIX.segment, stream, 0), u32(partition), u64(number));
}

/** The key of the row that says that a record was erased. */
export function erasedKey(stream: string, partition: number, index: bigint): Uint8Array {
  assert(partition >= 0 && partition <= PARTITION_MAX, "partition {}", partition);
  return concatBytes(named(PREFIX.erased, stream, 0), u32(partition), u64(index));
}

/** The entries of a partition's sealed segments, in order. */
export function segmentRange(stream: string, partition: number): KeyRange {
  const prefix = concatBytes(named(PREFIX.segment, stream, 0), u32(partition));
  return { from: prefix, to: concatBytes(prefix, u64((1n << 64n) - 1n), Uint8Array.of(0)) };
}

/** Every partition, or every partition of one stream. */
export function partitionRange(stream?: string): KeyRange {
  if (stream === undefined) return kindRange(PREFIX.partition);
  return { from: named(PREFIX.partition, stream, 0), to: named(PREFIX.partition, stream, 1) };
}

/** The key of the keys and powers of a set. */
export function validatorsKey(which: Which): Uint8Array {
  return Uint8Array.of(PREFIX.validators, WHICH_BYTE[which]);
}

/** The key of the proposer priorities of a set. */
export function prioritiesKey(which: Which): Uint8Array {
  return Uint8Array.of(PREFIX.priorities, WHICH_BYTE[which]);
}

/** The key of the row that names who may change validators. */
export function authorityKey(): Uint8Array {
  return Uint8Array.of(PREFIX.authority);
}

/** The key of the parameters that genesis set. */
export function parametersKey(): Uint8Array {
  return Uint8Array.of(PREFIX.parameters);
}

/** The row that says that this validator's misbehaviour at this height was acted on. */
export function misbehaviourKey(address: Address, height: Height): Uint8Array {
  return concatBytes(prefixed(PREFIX.misbehaviour, address), u64(height));
}

/** The row that says that this validator may never validate again. */
export function tombstoneKey(address: Address): Uint8Array {
  return prefixed(PREFIX.tombstone, address);
}

/** What an address has earned and not claimed yet. */
export function rewardsKey(address: Address): Uint8Array {
  return prefixed(PREFIX.rewards, address);
}

/** How many tokens there are. */
export function supplyKey(): Uint8Array {
  return Uint8Array.of(PREFIX.supply);
}

/** What is staked with a validator, and on what terms. */
export function poolKey(validator: Address): Uint8Array {
  return prefixed(PREFIX.pool, validator);
}

/** Every pool. */
export function poolRange(): KeyRange {
  return kindRange(PREFIX.pool);
}

/** The key that a validator of a pool signs with. */
export function stakeKeyKey(validator: Address): Uint8Array {
  return prefixed(PREFIX.stakeKey, validator);
}

/** What one address has staked with one validator. */
export function delegationKey(validator: Address, delegator: Address): Uint8Array {
  return concatBytes(prefixed(PREFIX.delegation, validator), delegator);
}

/** All that is staked with one validator, by delegator. */
export function delegationRange(validator: Address): KeyRange {
  const from = prefixed(PREFIX.delegation, validator);
  return { from, to: concatBytes(from, new Uint8Array(ADDRESS_SIZE_BYTES + 1).fill(0xff)) };
}

/** The sums over all stake, and where the queue of unbonding stands. */
export function stakeTotalsKey(): Uint8Array {
  return Uint8Array.of(PREFIX.stakeTotals);
}

/** One entry of the queue of unbonding, which is numbered in the order of the requests. */
export function unbondingKey(index: bigint): Uint8Array {
  return concatBytes(Uint8Array.of(PREFIX.unbonding), u64(index));
}

/** The whole queue of unbonding. */
export function unbondingRange(): KeyRange {
  return kindRange(PREFIX.unbonding);
}

/** Who may be elected. */
export function candidatesKey(): Uint8Array {
  return Uint8Array.of(PREFIX.candidates);
}

/** Who decided the state's own height, under proof of stake. */
export function votersKey(): Uint8Array {
  return Uint8Array.of(PREFIX.voters);
}

/** Which of the last blocks a validator did not sign. */
export function attendanceKey(validator: Address): Uint8Array {
  return prefixed(PREFIX.attendance, validator);
}

/** When a block of late was made. */
export function blockTimeKey(height: Height): Uint8Array {
  return concatBytes(Uint8Array.of(PREFIX.blockTime), u64(height));
}

/** What a validator was slashed for signing twice. */
export function offenceKey(validator: Address): Uint8Array {
  return prefixed(PREFIX.offence, validator);
}

/** Who signed twice of late, for slashes that grow with their number. */
export function offencesKey(): Uint8Array {
  return Uint8Array.of(PREFIX.offences);
}

/** Who has leased a node number, or had it last. */
export function nodeNumberKey(number: NodeNumber): Uint8Array {
  return concatBytes(Uint8Array.of(PREFIX.nodeNumber), u32(number));
}

/** Every node number that was ever leased. */
export function nodeNumberRange(): KeyRange {
  return kindRange(PREFIX.nodeNumber);
}

/** Which node number an address has leased, or had last. */
export function numberOfKey(owner: Address): Uint8Array {
  return prefixed(PREFIX.numberOf, owner);
}

/** Which sessions are open on a partition. */
export function sessionsKey(stream: string, partition: number): Uint8Array {
  assert(partition >= 0 && partition <= PARTITION_MAX, "partition {}", partition);
  return concatBytes(named(PREFIX.sessions, stream, 0), u32(partition));
}

/** What a session has appended of late. */
export function sessionKey(stream: string, partition: number, session: bigint): Uint8Array {
  assert(partition >= 0 && partition <= PARTITION_MAX, "partition {}", partition);
  return concatBytes(named(PREFIX.session, stream, 0), u32(partition), u64(session));
}

/** What a key from a proof names; `undefined` for bytes that no function above makes. */
export function parseStateKey(bytes: Uint8Array): StateKey | undefined {
  const rest = bytes.subarray(1);
  switch (bytes[0]) {
    case PREFIX.account:
      return rest.length === ADDRESS_SIZE_BYTES ? { kind: "account", address: addressOf(rest) } : undefined;
    case PREFIX.table:
      return parseTableKey(rest);
    case PREFIX.row:
      return parseRowKey(rest);
    case PREFIX.partition:
      return parsePartitionKey(rest);
    case PREFIX.segment:
    case PREFIX.erased: {
      const place = parsePartitionKey(rest.subarray(0, Math.max(0, rest.length - 8)));
      if (place?.kind !== "partition") return undefined;
      if (bytes[0] === PREFIX.erased)
        return { kind: "erased", stream: place.stream, partition: place.partition, index: readU64(rest, rest.length - 8) };
      return { kind: "segment", stream: place.stream, partition: place.partition, number: readU64(rest, rest.length - 8) };
    }
    case PREFIX.stream: {
      const stream = takeName(rest);
      return stream === undefined || rest.length !== stream.length + 1 ? undefined : { kind: "stream", stream };
    }
    case PREFIX.validators:
    case PREFIX.priorities: {
      const which = rest[0] === WHICH_BYTE.current ? "current" : rest[0] === WHICH_BYTE.next ? "next" : undefined;
      if (which === undefined || rest.length !== 1) return undefined;
      return { kind: bytes[0] === PREFIX.validators ? "validators" : "priorities", which };
    }
    case PREFIX.authority:
      return rest.length === 0 ? { kind: "authority" } : undefined;
    case PREFIX.parameters:
      return rest.length === 0 ? { kind: "parameters" } : undefined;
    case PREFIX.misbehaviour:
      return parseMisbehaviourKey(rest);
    case PREFIX.tombstone:
      return rest.length === ADDRESS_SIZE_BYTES ? { kind: "tombstone", address: addressOf(rest) } : undefined;
    case PREFIX.rewards:
      return rest.length === ADDRESS_SIZE_BYTES ? { kind: "rewards", address: addressOf(rest) } : undefined;
    case PREFIX.supply:
      return rest.length === 0 ? { kind: "supply" } : undefined;
    case PREFIX.stakeTotals:
      return rest.length === 0 ? { kind: "stakeTotals" } : undefined;
    case PREFIX.candidates:
      return rest.length === 0 ? { kind: "candidates" } : undefined;
    case PREFIX.voters:
      return rest.length === 0 ? { kind: "voters" } : undefined;
    case PREFIX.offences:
      return rest.length === 0 ? { kind: "offences" } : undefined;
    case PREFIX.pool:
      return rest.length === ADDRESS_SIZE_BYTES ? { kind: "pool", address: addressOf(rest) } : undefined;
    case PREFIX.stakeKey:
      return rest.length === ADDRESS_SIZE_BYTES ? { kind: "stakeKey", address: addressOf(rest) } : undefined;
    case PREFIX.attendance:
      return rest.length === ADDRESS_SIZE_BYTES ? { kind: "attendance", address: addressOf(rest) } : undefined;
    case PREFIX.offence:
      return rest.length === ADDRESS_SIZE_BYTES ? { kind: "offence", address: addressOf(rest) } : undefined;
    case PREFIX.numberOf:
      return rest.length === ADDRESS_SIZE_BYTES ? { kind: "numberOf", address: addressOf(rest) } : undefined;
    case PREFIX.nodeNumber:
      return parseNodeNumberKey(rest);
    case PREFIX.sessions: {
      const named = parsePartitionKey(rest);
      return named && { ...named, kind: "sessions" };
    }
    case PREFIX.session: {
      const named = rest.length < 8 ? undefined : parsePartitionKey(rest.subarray(0, -8));
      return named && { ...named, kind: "session", session: readU64(rest, rest.length - 8) };
    }
    case PREFIX.delegation:
      return parseDelegationKey(rest);
    case PREFIX.unbonding:
      return rest.length === 8 ? { kind: "unbonding", index: readU64(rest) } : undefined;
    case PREFIX.blockTime:
      return parseBlockTimeKey(rest);
    default:
      return undefined;
  }
}

function parseTableKey(rest: Uint8Array): StateKey | undefined {
  const namespace = takeName(rest);
  if (namespace === undefined) return undefined;
  const table = nameIn(rest.subarray(namespace.length + 1));
  return table === undefined ? undefined : { kind: "table", namespace, table };
}

function parseRowKey(rest: Uint8Array): StateKey | undefined {
  const namespace = takeName(rest);
  if (namespace === undefined) return undefined;
  const afterNamespace = rest.subarray(namespace.length + 1);
  const table = takeName(afterNamespace);
  if (table === undefined) return undefined;
  const key = afterNamespace.subarray(table.length + 1);
  return key.length >= 1 && key.length <= ROW_KEY_SIZE_BYTES_MAX ? { kind: "row", namespace, table, key } : undefined;
}

function parsePartitionKey(rest: Uint8Array): Extract<StateKey, { kind: "partition" }> | undefined {
  const stream = takeName(rest);
  if (stream === undefined || rest.length !== stream.length + 5) return undefined;
  const partition = readU32(rest, stream.length + 1);
  return partition <= PARTITION_MAX ? { kind: "partition", stream, partition } : undefined;
}

function parseMisbehaviourKey(rest: Uint8Array): StateKey | undefined {
  if (rest.length !== ADDRESS_SIZE_BYTES + 8) return undefined;
  const height = readU64(rest, ADDRESS_SIZE_BYTES);
  return isHeight(height)
    ? { kind: "misbehaviour", address: addressOf(rest.subarray(0, ADDRESS_SIZE_BYTES)), height: heightOf(height) }
    : undefined;
}

function parseDelegationKey(rest: Uint8Array): StateKey | undefined {
  if (rest.length !== 2 * ADDRESS_SIZE_BYTES) return undefined;
  const validator = addressOf(rest.subarray(0, ADDRESS_SIZE_BYTES));
  return { kind: "delegation", validator, delegator: addressOf(rest.subarray(ADDRESS_SIZE_BYTES)) };
}

function parseNodeNumberKey(rest: Uint8Array): StateKey | undefined {
  if (rest.length !== 4) return undefined;
  const number = readU32(rest);
  return isNodeNumber(number) ? { kind: "nodeNumber", number: nodeNumberOf(number) } : undefined;
}

function parseBlockTimeKey(rest: Uint8Array): StateKey | undefined {
  if (rest.length !== 8) return undefined;
  const height = readU64(rest);
  return isHeight(height) ? { kind: "blockTime", height: heightOf(height) } : undefined;
}

/** The name that a zero byte ends, at the beginning of `bytes`. */
function takeName(bytes: Uint8Array): string | undefined {
  const end = bytes.subarray(0, NAME_SIZE_BYTES_MAX + 1).indexOf(0);
  return end === -1 ? undefined : nameIn(bytes.subarray(0, end));
}

function nameIn(bytes: Uint8Array): string | undefined {
  const text = parseUtf8(bytes);
  return text.ok && isName(text.value) ? text.value : undefined;
}

function prefixed(prefix: number, rest: Uint8Array): Uint8Array {
  const key = new Uint8Array(1 + rest.length);
  key[0] = prefix;
  key.set(rest, 1);
  return key;
}

/** A prefix, one name, and the byte that ends it. */
function named(prefix: number, name: string, end: number): Uint8Array {
  assert(isName(name), "not a name: {}", name);
  const key = new Uint8Array(name.length + 2);
  key[0] = prefix;
  writeAscii(key, 1, name);
  key[key.length - 1] = end;
  return key;
}

/** A prefix, two names with a zero between them, and `zerosAfter` zeros. */
function names(prefix: number, first: string, second: string, zerosAfter: number): Uint8Array {
  assert(
    isName(first) && isName(second),
    "not names: {}, {}",
    first.slice(0, NAME_SIZE_BYTES_MAX),
    second.slice(0, NAME_SIZE_BYTES_MAX),
  );
  const key = new Uint8Array(2 + first.length + second.length + zerosAfter);
  key[0] = prefix;
  writeAscii(key, 1, first);
  writeAscii(key, 2 + first.length, second);
  return key;
}

function writeAscii(target: Uint8Array, offset: number, name: string): void {
  target.set(utf8(name), offset);
}

function kindRange(prefix: number): KeyRange {
  return { from: Uint8Array.of(prefix), to: Uint8Array.of(prefix + 1) };
}
