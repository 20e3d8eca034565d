/**
 * Checks every row of a ledger's store against what the chain commits to, in steps that can be paced, stopped and resumed.
 *
 * ```
 *   facts -> heights (headers, bodies, certificates, results, index, sets, history nodes) -> records -> states -> strays
 * ```
 *
 * What a height's header is, is settled by a majority of those who say so: the header itself, the header after it, its
 * leaf in the history log and its certificate. So one changed row is named, and not the rows that contradict it.
 *
 * A row that a disk changed may decode, fail to decode, be gone or make the store itself fail: each is damage with a code.
 */

import { bytesEqual, concatBytes, EMPTY, readU32, readU64, toHex, u32, u64 } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { type Hash, hash, hashOf, HASH_SIZE_BYTES, parseHash } from "../../crypto/hash/hash.ts";
import {
  type Block,
  encodeResult,
  evidenceRoot,
  type Header,
  headerHash,
  parseHeader,
  transactionsRoot,
} from "../../chain/block/block.ts";
import { GENESIS_HEIGHT, type Height, heightOf } from "../../chain/block/height.ts";
import { storedLeaf } from "../../chain/block/record.ts";
import { parseCertificate } from "../../chain/block/vote.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import {
  appendLeaf,
  type Frontier,
  frontierAt,
  frontierRoot,
  LOG_HASHER,
  logRoot,
  verifyInclusion,
} from "../../chain/merkle/log.ts";
import { readRecords, recordProof } from "../../chain/segment/partition.ts";
import { parseStateKey, partitionRange } from "../../chain/state/keys.ts";
import { rangeOf, versionOfKey } from "../../chain/state/layout.ts";
import { parseRoot, parseStale, parseWorn } from "../../chain/state/record.ts";
import { successor } from "../../chain/state/range.ts";
import type { KeepRules } from "../../chain/state/partition.ts";
import { parsePartitionHead } from "../../chain/state/rows.ts";
import { type Row, type SeenPages, StateTree } from "../../chain/state/tree.ts";
import {
  heightKey,
  heightOfKey,
  historyNodeKey,
  type Kind,
  kindRange,
  metadataKey,
  type PartitionId,
  recordKey,
  recordNodeKey,
  transactionKey,
  validatorsKey,
} from "../../chain/store/keyspace.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import type { StoreOperation } from "../../chain/store/store.ts";
import type { Executor } from "../../chain/state/executor.ts";
import type { DamageCode } from "./errors.ts";
import { checkKeepRows, isKeepStray } from "./kept.ts";

/** One thing that does not hold. */
export type Damage = {
  readonly code: DamageCode;
  readonly kind: Kind | "file";
  /** For people: a height, a partition and an index, a file and an offset. */
  readonly place: string;
  /** Of the row. */
  readonly key: Uint8Array | undefined;
  /** The height that it belongs to, when it belongs to one. */
  readonly height: Height | undefined;
  /** What puts it right, when what is good beside it says so. */
  readonly repair: StoreOperation | undefined;
};

/** Where a scrub stands: enough to go on from. */
export type Cursor =
  | { readonly phase: "facts" }
  | { readonly phase: "heights"; readonly height: bigint }
  | { readonly phase: "records"; readonly after: string; readonly index: bigint }
  | { readonly phase: "states"; readonly below: bigint }
  | { readonly phase: "strays" };

/** A small piece of work that was done. `cursor` is where to go on after it. */
export type Step = { readonly cursor: Cursor; readonly sizeBytes: number; readonly damages: readonly Damage[] };

/** Where every scrub begins. */
export const CURSOR_FIRST: Cursor = { phase: "facts" };

/** Damaged rows that are remembered during a scrub. */
const NOTED_MAX = 100_000;
/** Partitions that are read at once. */
const PARTITIONS_PER_PAGE = 256;
/** Records of one step. */
const RECORDS_PER_STEP = 256;
/** Pages of one step. */
const PAGES_PER_STEP = 64;
/** Kinds of rows that say themselves where they belong. */
const STRAY_KINDS = [
  "header",
  "block",
  "certificate",
  "results",
  "validatorChange",
  "validators",
  "record",
  "recordNode",
  "recordDue",
  "recordLatest",
  "recordBefore",
] as const;
/** Rows of one step of the last phase. */
const STRAYS_PER_STEP = 1_000;
/** Pages that are remembered as good, about 60 bytes each; beyond it they are audited again for each version. */
const PAGES_SEEN_MAX = 2_000_000;

/** A ledger and what gives its genesis. */
export type Subject = { readonly ledger: Ledger; readonly executor: Executor };

/** Scrubs from a cursor to the end. Reads alone. */
export async function* scrubRows(
  { ledger, executor }: Subject,
  from: Cursor = CURSOR_FIRST,
): AsyncGenerator<Step, void, undefined> {
  const rows = new Rows(ledger, executor);
  const order: readonly Cursor["phase"][] = ["facts", "heights", "records", "states", "strays"];
  for (const phase of order.slice(order.indexOf(from.phase))) {
    const at = from.phase === phase ? from : undefined;
    switch (phase) {
      case "facts":
        yield rows.facts();
        break;
      case "heights":
        yield* rows.heights(at?.phase === "heights" ? at.height : 1n);
        break;
      case "records":
        yield* rows.records(at?.phase === "records" ? at : undefined);
        break;
      case "states":
        yield* rows.states(at?.phase === "states" ? at.below : undefined);
        break;
      case "strays":
        yield* rows.strays();
        break;
    }
  }
}

/** The hash of a height's header as most of those say who know it; `undefined` when too few agree. */
export function settledHash(subject: Subject, height: Height): Hash | undefined {
  return new Rows(subject.ledger, subject.executor).settle(height).hash;
}

/** What those who know it say of the header of a height. */
type Settled = { readonly hash: Hash | undefined; readonly header: Header | undefined };

class Rows {
  readonly #ledger: Ledger;
  readonly #executor: Executor;
  #damages: Damage[] = [];
  /** Keys of rows in which something was found, so that one fault has one name. */
  readonly #noted = new Set<string>();
  #sizeBytes = 0;
  /** The history log up to the height before, and that height's hash. */
  #history: { readonly frontier: Frontier; readonly hash: Hash } | undefined;

  constructor(ledger: Ledger, executor: Executor) {
    this.#ledger = ledger;
    this.#executor = executor;
  }

  facts(): Step {
    const network = this.#read("metadata", metadataKey("network"), "network", undefined, this.#ledger.networkHash);
    if (network !== undefined && !bytesEqual(network, this.#ledger.networkHash))
      this.#note("row_mismatch", "metadata", "network", metadataKey("network"), undefined, this.#ledger.networkHash);
    const height = this.#ledger.head().height;
    const head = this.#read("metadata", metadataKey("head"), "head");
    // The row is there a moment before the head that it tells of.
    if (head !== undefined && (head.length !== 8 || readU64(head) < height || readU64(head) > height + 1n))
      this.#note("row_mismatch", "metadata", "head", metadataKey("head"));
    return this.#step({ phase: "heights", height: 1n });
  }

  async *heights(from: bigint): AsyncGenerator<Step, void, undefined> {
    for (let height = await this.#lowest(from); height <= this.#ledger.head().height; height += 1n) {
      await this.#guarded("block", `height ${height}`, async () => await this.#height(heightOf(height)));
      yield this.#step({ phase: "heights", height: height + 1n });
    }
    yield this.#step({ phase: "records", after: "", index: 0n });
  }

  /** A store that began with a snapshot, or forgot old blocks, holds nothing below some height. */
  async #lowest(from: bigint): Promise<bigint> {
    if (from > 1n) return from;
    for await (const { key } of this.#ledger.store.entries({ ...kindRange("header"), limit: 1 })) {
      const first = key.length === 9 ? heightOfKey(key) : 1n;
      // Of a chain that begins at 1, one missing row is damage and no snapshot.
      return first > 1n && this.#ledger.store.get(heightKey("block", first - 1n)) === undefined && first > 2n ? first : 1n;
    }
    return 1n;
  }

  async #height(height: Height): Promise<void> {
    const ledger = this.#ledger;
    const place = `height ${height}`;
    const { hash: settled, header } = this.settle(height);
    const headerBytes = this.#read("header", heightKey("header", height), place, height);
    if (settled === undefined) return this.#note("row_mismatch", "header", place, heightKey("header", height), height);
    if (headerBytes !== undefined && header === undefined)
      this.#note(
        parseHeader(headerBytes).ok ? "row_mismatch" : "row_malformed",
        "header",
        place,
        heightKey("header", height),
        height,
      );
    this.#historyNodes(height, settled, header);
    if (header === undefined) return;
    // Of blocks that were forgotten, or never there, only certificates are kept, and not all of them. One that was lost has
    // left its results.
    const isKept = height >= ledger.oldestBlock() || ledger.store.get(heightKey("results", height)) !== undefined;
    if (isKept || ledger.store.get(heightKey("certificate", height)) !== undefined) await this.#certificate(height, settled);
    if (isKept) this.#body(height, header);
    this.#sets(height, header);
    const isChange = ledger.store.get(heightKey("validatorChange", height));
    const changes = !bytesEqual(header.validatorsHash, header.nextValidatorsHash);
    if (changes !== (isChange !== undefined) || (isChange !== undefined && !bytesEqual(isChange, EMPTY)))
      this.#note(
        isChange === undefined ? "row_missing" : changes ? "row_mismatch" : "row_orphan",
        "validatorChange",
        place,
        heightKey("validatorChange", height),
        height,
        changes ? EMPTY : "none",
      );
  }

  /** The hash that most of those who know it agree on, and the header if it is that one. */
  settle(height: Height): Settled {
    const header = this.#header(height);
    const own = header === undefined ? undefined : headerHash(header);
    const after = this.#header(heightOf(height + 1n))?.previous;
    const certificate = this.#quietly(() => this.#ledger.certificate(height)?.blockHash);
    const leaf = this.#quietly(() => this.#ledger.store.get(historyNodeKey(0, height - 1n)));
    let best: { readonly hash: Hash; readonly votes: number } | undefined;
    for (const candidate of [own, after, certificate]) {
      if (candidate === undefined) continue;
      const says = (other: Uint8Array | undefined): number => Number(other !== undefined && bytesEqual(other, candidate));
      const says0 = Number(leaf !== undefined && bytesEqual(leaf, LOG_HASHER.leaf(candidate)));
      const votes = says(own) + says(after) + says(certificate) + says0;
      if (best === undefined || votes > best.votes) best = { hash: candidate, votes };
    }
    if (best === undefined || best.votes < 2) return { hash: undefined, header: undefined };
    return { hash: best.hash, header: own !== undefined && bytesEqual(own, best.hash) ? header : undefined };
  }

  #header(height: Height): Header | undefined {
    if (height > this.#ledger.head().height) return undefined;
    const bytes = this.#quietly(() => this.#ledger.headerBytes(height));
    const parsed = bytes === undefined ? undefined : parseHeader(bytes);
    return parsed?.ok === true && parsed.value.height === height ? parsed.value : undefined;
  }

  /** The nodes that this header completes, and the root that it commits to itself. */
  #historyNodes(height: Height, settled: Hash, header: Header | undefined): void {
    const { store } = this.#ledger;
    const isNext =
      this.#history !== undefined &&
      this.#history.frontier.size === height - 1n &&
      header !== undefined &&
      bytesEqual(this.#history.hash, header.previous);
    const before = isNext
      ? this.#history?.frontier
      : this.#quietly(() =>
          frontierAt(height - 1n, (level, index) => {
            const bytes = store.get(historyNodeKey(level, index));
            if (bytes?.length !== HASH_SIZE_BYTES)
              throw new CodedError("ledger_corrupt", { message: "history node", level, index });
            return hashOf(bytes);
          }),
        );
    if (before === undefined) return;
    if (header !== undefined && !bytesEqual(frontierRoot(LOG_HASHER, before), header.historyRoot))
      this.#note("row_mismatch", "historyNode", `below height ${height}`, historyNodeKey(0, height - 1n), height);
    const frontier = appendLeaf(LOG_HASHER, before, LOG_HASHER.leaf(settled), (level, index, node) => {
      const key = historyNodeKey(level, index);
      const stored = this.#read("historyNode", key, `level ${level}, index ${index}`, height, node);
      if (stored !== undefined && !bytesEqual(stored, node))
        this.#note("row_mismatch", "historyNode", `level ${level}, index ${index}`, key, height, node);
    });
    this.#history = { frontier, hash: settled };
  }

  async #certificate(height: Height, settled: Hash): Promise<void> {
    const key = heightKey("certificate", height);
    const place = `height ${height}`;
    const bytes = this.#read("certificate", key, place, height);
    if (bytes === undefined) return;
    const certificate = parseCertificate(bytes);
    if (!certificate.ok) return this.#note("row_malformed", "certificate", place, key, height);
    if (certificate.value.height !== height || !bytesEqual(certificate.value.blockHash, settled))
      return this.#note("row_mismatch", "certificate", place, key, height);
    const after = height < this.#ledger.head().height ? this.settle(heightOf(height + 1n)).header : undefined;
    if (after !== undefined) {
      if (!bytesEqual(hash("certificate", bytes), after.certificateHash))
        this.#note("row_mismatch", "certificate", place, key, height);
      return;
    }
    // Nothing commits to the newest one yet: its signatures are what it has.
    const block = this.#block(height);
    if (block === undefined) return;
    const checked = await this.#ledger.checkCertificate(block, certificate.value);
    if (!checked.ok && checked.error.code !== "block_root") this.#note("row_mismatch", "certificate", place, key, height);
  }

  #body(height: Height, header: Header): void {
    const place = `height ${height}`;
    const key = heightKey("block", height);
    if (this.#read("block", key, place, height) === undefined) return;
    const block = this.#block(height);
    if (block === undefined) {
      if (height === 1n || this.#quietly(() => this.#ledger.certificateBytes(heightOf(height - 1n))) !== undefined)
        this.#note("row_malformed", "block", place, key, height);
      return;
    }
    if (
      !bytesEqual(transactionsRoot(block.transactions), header.transactionsRoot) ||
      !bytesEqual(evidenceRoot(block.evidence), header.evidenceRoot)
    )
      return this.#note("row_mismatch", "block", place, key, height);
    const resultsKey = heightKey("results", height);
    if (this.#read("results", resultsKey, place, height) !== undefined) {
      const results = this.#quietly(() => this.#ledger.results(height));
      if (results === undefined) this.#note("row_malformed", "results", place, resultsKey, height);
      else if (!bytesEqual(logRoot(results.map(encodeResult)), header.resultsRoot))
        this.#note("row_mismatch", "results", place, resultsKey, height);
    }
    for (const [index, { id }] of block.transactions.entries()) {
      const right = concatBytes(u64(height), u32(index));
      const found = this.#read("transaction", transactionKey(id), `${place}, transaction ${index}`, height, right);
      if (found === undefined) continue;
      if (found.length !== 12 || readU64(found) !== height || readU32(found, 8) !== index)
        this.#note("row_mismatch", "transaction", `${place}, transaction ${index}`, transactionKey(id), height, right);
    }
  }

  #sets(height: Height, { validatorsHash: own, nextValidatorsHash: next }: Header): void {
    for (const each of bytesEqual(own, next) && height > 1n ? [] : [own, next]) {
      const bytes = this.#read("validators", validatorsKey(each), `set ${toHex(each).slice(0, 16)}`, height);
      if (bytes !== undefined && !bytesEqual(hash("validators", bytes), each))
        this.#note("row_mismatch", "validators", `set ${toHex(each).slice(0, 16)}`, validatorsKey(each), height);
    }
  }

  // Records.

  async *records(from: Extract<Cursor, { readonly phase: "records" }> | undefined): AsyncGenerator<Step, void, undefined> {
    let after = from?.after ?? "";
    let isResumed = from !== undefined && from.index > 0n;
    let isSkipping = after !== "";
    for (const { key, value } of this.#partitionRows()) {
      const name = parseStateKey(key);
      const head = parsePartitionHead(value);
      // What of the state does not decode is found where states are.
      if (name?.kind !== "partition" || !head.ok) continue;
      const place = `${name.stream}/${name.partition}`;
      // Partitions come in the order of their keys, which is not that of their names; none of them ever goes.
      if (isSkipping) {
        isSkipping = place !== after;
        if (isSkipping || !isResumed) continue;
      }
      const id = { stream: name.stream, partition: name.partition };
      const { frontier } = head.value;
      const isRight = yield* this.#partition(
        id,
        { size: frontier.size, root: frontierRoot(LOG_HASHER, frontier) },
        isResumed && place === after ? (from?.index ?? 0n) : 0n,
      );
      // What follows from records that are not right says nothing.
      if (isRight) yield* this.#keepRows(id, frontier.size);
      isResumed = false;
      after = place;
      yield this.#step({ phase: "records", after, index: 0n });
    }
    yield this.#step({ phase: "states", below: this.#ledger.head().height + 1n });
  }

  /** The rows of all partitions, a page at a time, each as of then: partitions come and grow, and never go. */
  *#partitionRows(): Generator<Row, void, undefined> {
    const whole = partitionRange();
    for (let from: Uint8Array | undefined = whole.from; from !== undefined;) {
      const range: { readonly from: Uint8Array; readonly to?: Uint8Array; readonly limit: number } = {
        ...whole,
        from,
        limit: PARTITIONS_PER_PAGE,
      };
      const page: readonly Row[] = this.#quietly(() => [...this.#ledger.stateEntries(this.#ledger.head().height, range)]) ?? [];
      yield* page;
      const last: Row | undefined = page.at(-1);
      from = last === undefined || page.length < PARTITIONS_PER_PAGE ? undefined : successor(last.key);
    }
  }

  /** What says which records of a partition may be dropped when. */
  *#keepRows(id: PartitionId, size: bigint): Generator<Step, void, undefined> {
    const rules = this.#keepRules(id.stream);
    if (rules === undefined) return;
    const place = `${id.stream}/${id.partition}`;
    for (const fault of checkKeepRows(this.#ledger.store, id, size, rules)) {
      if (fault === undefined) yield this.#step({ phase: "records", after: place, index: size });
      else this.#note(fault.code, fault.kind, `${place}[${fault.index}]`, fault.key, undefined, fault.right);
    }
  }

  #keepRules(stream: string): KeepRules | undefined {
    return this.#quietly(() => {
      const view = this.#ledger.state(this.#ledger.head().height);
      return view === undefined ? undefined : this.#executor.keepRules(view, stream);
    });
  }

  /**
   * Builds the tree of a partition again from its records, and compares every node on the way and the root at the end.
   * Returns whether the records are those of the root.
   */
  async *#partition(
    id: PartitionId,
    head: { readonly size: bigint; readonly root: Hash },
    start: bigint,
  ): AsyncGenerator<Step, boolean, undefined> {
    const { store } = this.#ledger;
    const place = `${id.stream}/${id.partition}`;
    let frontier = start === 0n ? frontierAt(0n, neverRead) : this.#quietly(() => this.#frontierOf(id, start));
    if (frontier === undefined) [frontier, start] = [frontierAt(0n, neverRead), 0n];
    const wrong: { readonly index: bigint; readonly key: Uint8Array; readonly right: Uint8Array }[] = [];
    let lost = false;
    for (let index = start; index < head.size;) {
      const count = head.size - index < BigInt(RECORDS_PER_STEP) ? Number(head.size - index) : RECORDS_PER_STEP;
      const records = this.#quietly(() => readRecords(store, id, index, count)) ?? [];
      for (const { bytes } of records) {
        this.#sizeBytes += bytes.length;
        const at = frontier.size;
        const nodes: Hash[] = [];
        frontier = appendLeaf(LOG_HASHER, frontier, storedLeaf(bytes), (level, _, node) => {
          if (level > 0) nodes.push(node);
        });
        const key = recordNodeKey(id, at);
        const stored = this.#quietly(() => store.get(key));
        if (!isRowOf(stored, nodes)) wrong.push({ index: at, key, right: concatBytes(...nodes) });
      }
      index += BigInt(records.length);
      if (records.length < count) {
        this.#note("row_missing", "record", `${place}[${index}]`, recordKey(id, index));
        lost = true;
        break;
      }
      yield this.#step({ phase: "records", after: place, index });
    }
    if (lost) return false;
    // When the records give the root, they are right and the nodes are not; otherwise some record is wrong.
    if (bytesEqual(frontierRoot(LOG_HASHER, frontier), head.root))
      for (const { index, key, right } of wrong)
        this.#note("row_mismatch", "recordNode", `${place}[${index}]`, key, undefined, right.length === 0 ? "none" : right);
    else {
      yield* this.#wrongRecords(id, head);
      return false;
    }
    return true;
  }

  /** Which records are not under the root, by the stored nodes. */
  async *#wrongRecords(
    id: PartitionId,
    head: { readonly size: bigint; readonly root: Hash },
  ): AsyncGenerator<Step, void, undefined> {
    const place = `${id.stream}/${id.partition}`;
    let found = 0;
    for (let index = 0n; index < head.size; index += 1n) {
      const bytes = this.#quietly(() => this.#ledger.store.get(recordKey(id, index)));
      const siblings = this.#quietly(() => recordProof(this.#ledger.store, id, index, head.size));
      const claim = { leafHash: storedLeaf(bytes ?? EMPTY), index, siblings: siblings ?? [], ...head };
      if (bytes === undefined || siblings === undefined || !verifyInclusion(LOG_HASHER, claim).ok) {
        this.#note("row_mismatch", "record", `${place}[${index}]`, recordKey(id, index));
        found += 1;
      }
      if (index % BigInt(RECORDS_PER_STEP) === 0n) yield this.#step({ phase: "records", after: place, index: 0n });
    }
    // A start from a node that is wrong itself gives another root over records that are right.
    if (found === 0) this.#note("row_mismatch", "recordNode", place, undefined);
  }

  #frontierOf(id: PartitionId, size: bigint): Frontier {
    return frontierAt(size, (level, index) => {
      if (level === 0) return storedLeaf(this.#ledger.store.get(recordKey(id, index)) ?? EMPTY);
      const row = this.#ledger.store.get(recordNodeKey(id, ((index + 1n) << BigInt(level)) - 1n)) ?? EMPTY;
      return hashOf(row.slice((level - 1) * HASH_SIZE_BYTES, level * HASH_SIZE_BYTES));
    });
  }

  // States.

  async *states(below: bigint | undefined): AsyncGenerator<Step, void, undefined> {
    const { store, tree } = this.#ledger;
    const seen: SeenPages = new Map();
    const { to } = rangeOf("root");
    for await (const { key, value } of store.entries({ from: rangeOf("root").from, to, reverse: true })) {
      const version = key.length === 9 ? versionOfKey(key) : undefined;
      if (version === undefined || (below !== undefined && version >= below) || version > this.#ledger.head().height) continue;
      this.#sizeBytes += value.length;
      const place = `state of height ${version}`;
      const record = parseRoot(value);
      const expected = await this.#stateRoot(version);
      if (!record.ok) this.#note("row_malformed", "stateRoot", place, key, version);
      else if (expected !== undefined && !bytesEqual(record.value.hash, expected))
        this.#note("row_mismatch", "stateRoot", place, key, version);
      else yield* this.#pages(tree, version, seen);
      if (seen.size > PAGES_SEEN_MAX) seen.clear();
      yield this.#step({ phase: "states", below: version });
    }
    for (const kind of ["stale", "worn"] as const) {
      for await (const { key, value } of store.entries(rangeOf(kind))) {
        this.#sizeBytes += value.length;
        const isGood = kind === "stale" ? parseStale(value).ok : parseWorn(value).ok;
        if (!isGood) this.#note("row_malformed", kind === "stale" ? "stateStale" : "stateWorn", toHex(key), key);
      }
    }
    yield this.#step({ phase: "strays" });
  }

  /** The root of the state after a height, as its header has it; at genesis, as the network file gives it. */
  async #stateRoot(version: Height): Promise<Hash | undefined> {
    if (version > GENESIS_HEIGHT) return this.#header(version)?.stateRoot;
    await using store = openMemoryStore();
    const tree = await StateTree.open(store);
    return tree.stage(undefined, GENESIS_HEIGHT, this.#executor.genesis(this.#ledger.network)).root;
  }

  async *#pages(tree: StateTree, version: Height, seen: SeenPages): AsyncGenerator<Step, void, undefined> {
    const place = `state of height ${version}`;
    try {
      const steps = tree.auditSteps(version, seen);
      for (let pages = 1; ; pages += 1) {
        const { done, value } = steps.next();
        if (done === true) {
          if (value !== undefined)
            this.#note("row_mismatch", "stateChunk", `${place}, at key ${toHex(value.key)}`, undefined, version);
          return;
        }
        this.#sizeBytes += value;
        if (pages % PAGES_PER_STEP === 0) yield this.#step({ phase: "states", below: BigInt(version) + 1n });
      }
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      // Forgotten while it was looked at.
      if (tree.rootAt(version) === undefined) return;
      this.#note("row_unreadable", "stateChunk", `${place} (${codeOf(error)})`, undefined, version);
    }
  }

  // Strays.

  /** Rows that no height and no partition leads to. */
  async *strays(): AsyncGenerator<Step, void, undefined> {
    const suspects: { readonly kind: Kind; readonly key: Uint8Array }[] = [];
    let count = 0;
    for (const kind of STRAY_KINDS)
      for await (const { key, value } of this.#ledger.store.entries(kindRange(kind))) {
        if (this.#isStray(kind, key, value)) suspects.push({ kind, key: key.slice() });
        count += 1;
        if (count % STRAYS_PER_STEP === 0) yield this.#step({ phase: "strays" });
      }
    for await (const suspect of this.#strayTransactions()) {
      if (suspect === undefined) yield this.#step({ phase: "strays" });
      else suspects.push({ kind: "transaction", key: suspect });
    }
    // A block that was being written is in the store a moment before it is the head: look again.
    for (const { kind, key } of suspects) {
      const value = this.#quietly(() => this.#ledger.store.get(key));
      // What leads to a row may have been found wrong before: then it is no stray.
      if (value !== undefined && !this.#noted.has(toHex(key)) && this.#isStray(kind, key, value))
        this.#note("row_orphan", kind, toHex(key), key, undefined, isKept(kind) ? undefined : "none");
    }
    yield this.#step({ phase: "strays" });
  }

  /**
   * Where transactions are said to be, when more of them are said to be somewhere than there are: each that is in a block was
   * found at its place before, so that as many rows as transactions are no strays. `undefined` between steps.
   */
  async *#strayTransactions(): AsyncGenerator<Uint8Array | undefined, void, undefined> {
    const { height } = this.#ledger.head();
    let expected = 0;
    for (let at = await this.#lowest(1n); at <= height; at += 1n) {
      expected += this.#block(heightOf(at))?.transactions.length ?? 0;
      yield undefined;
    }
    for (const isCounting of [true, false]) {
      let count = 0;
      for await (const { key, value } of this.#ledger.store.entries(kindRange("transaction"))) {
        const isAbove = value.length === 12 && readU64(value) > height;
        if (!isAbove) count += 1;
        if (!isCounting && !isAbove && this.#isStray("transaction", key, value)) yield key.slice();
        else if (isAbove && this.#isStray("transaction", key, value)) yield key.slice();
        if (count % STRAYS_PER_STEP === 0) yield undefined;
      }
      if (count <= expected) return;
    }
  }

  #isStray(kind: Kind, key: Uint8Array, value: Uint8Array): boolean {
    const { height } = this.#ledger.head();
    switch (kind) {
      case "transaction": {
        const id = parseHash(key.slice(1));
        if (!id.ok || value.length !== 12) return true;
        const at = readU64(value);
        if (at < 1n || at > height) return at !== height + 1n;
        const block = this.#block(heightOf(at));
        const found = block?.transactions[readU32(value, 8)];
        return block !== undefined && (found === undefined || !bytesEqual(found.id, id.value));
      }
      case "validators":
        return !bytesEqual(hash("validators", value), key.subarray(1));
      case "recordDue":
      case "recordLatest":
      case "recordBefore": {
        const state = {
          rulesOf: (stream: string) => this.#keepRules(stream),
          sizeOf: (id: PartitionId) => this.#partitionSize(id),
        };
        return this.#quietly(() => isKeepStray(this.#ledger.store, { kind, key, value }, state)) ?? false;
      }
      case "record":
      case "recordNode": {
        const id = partitionOf(key);
        const size = id === undefined ? undefined : this.#partitionSize(id);
        return id === undefined || id.index >= (size ?? 0n);
      }
      default:
        return key.length !== 9 || heightOfKey(key) < 1n || heightOfKey(key) > height + 1n;
    }
  }

  #partitionSize({ stream, partition }: PartitionId): bigint | undefined {
    return this.#quietly(() => {
      const view = this.#ledger.state(this.#ledger.head().height);
      return view === undefined ? undefined : this.#executor.partitionSize(view, stream, partition);
    });
  }

  // Inside.

  /** A block from its parts, when all of them are there: the certificate before is a row of its own, looked at on its own. */
  #block(height: Height): Block | undefined {
    if (height > 1n && this.#quietly(() => this.#ledger.certificateBytes(heightOf(height - 1n))) === undefined) return undefined;
    return this.#quietly(() => this.#ledger.block(height));
  }

  #step(cursor: Cursor): Step {
    const step = { cursor, sizeBytes: this.#sizeBytes, damages: this.#damages };
    this.#damages = [];
    this.#sizeBytes = 0;
    return step;
  }

  #note(
    code: DamageCode,
    kind: Damage["kind"],
    place: string,
    key: Uint8Array | undefined,
    height?: Height,
    right?: Uint8Array | "none",
  ): void {
    const repair: StoreOperation | undefined =
      key === undefined || right === undefined
        ? undefined
        : right === "none"
          ? { kind: "delete", key }
          : { kind: "put", key, value: right };
    if (key !== undefined && this.#noted.size < NOTED_MAX) this.#noted.add(toHex(key));
    this.#damages.push({ code, kind, place, key, height, repair });
  }

  /** A row that must be there; what is wrong with its absence is noted. */
  #read(kind: Kind, key: Uint8Array, place: string, height?: Height, right?: Uint8Array): Uint8Array | undefined {
    try {
      const bytes = this.#ledger.store.get(key);
      if (bytes === undefined) this.#note("row_missing", kind, place, key, height, right);
      else this.#sizeBytes += bytes.length;
      return bytes;
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      this.#note("row_unreadable", kind, place, key, height, right);
      return undefined;
    }
  }

  /** A read whose failure says something about a row that is looked at elsewhere. */
  #quietly<T>(read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (error instanceof CodedError) return undefined;
      throw error;
    }
  }

  async #guarded(kind: Kind, place: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      this.#note("row_unreadable", kind, `${place} (${codeOf(error)})`, undefined);
    }
  }
}

/** Whether rows of a kind hang from records that may have been dropped: then what accounts for one may be gone, not the row. */
function isKept(kind: Kind): boolean {
  return kind === "recordDue" || kind === "recordLatest" || kind === "recordBefore";
}

function neverRead(): never {
  throw new CodedError("ledger_corrupt", { message: "an empty log has no nodes" });
}

/** Whether a row holds exactly these nodes; none is no row. */
function isRowOf(row: Uint8Array | undefined, nodes: readonly Hash[]): boolean {
  if (nodes.length === 0) return row === undefined;
  return (
    row?.length === nodes.length * HASH_SIZE_BYTES &&
    nodes.every((node, index) => bytesEqual(row.subarray(index * HASH_SIZE_BYTES, (index + 1) * HASH_SIZE_BYTES), node))
  );
}

/** The partition and index in a key of a record or of its nodes. */
function partitionOf(key: Uint8Array): (PartitionId & { readonly index: bigint }) | undefined {
  const size = key[1] ?? 0;
  if (key.length !== 2 + size + 4 + 8) return undefined;
  const stream = new TextDecoder().decode(key.subarray(2, 2 + size));
  return { stream, partition: readU32(key, 2 + size), index: readU64(key, 2 + size + 4) };
}
