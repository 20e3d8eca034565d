/**
 * Puts right what a scrub found, from what is good beside it and from peers: nothing is written that was not checked
 * against the chain.
 *
 * ```
 *   index, history nodes, record nodes, strays      from our own good rows
 *   header, body, certificate                       from whoever has the block of the settled hash
 *   results, records, sets, states                  by executing the chain again beside (rebuildStore), and taking its place
 * ```
 */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { encodeHeader, encodeResult, hasOwnBody, parseBlock } from "../../chain/block/block.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { type Height, heightOf, nextHeight } from "../../chain/block/height.ts";
import { certificateHash, parseCertificate } from "../../chain/block/vote.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { LedgerRows } from "../../chain/ledger/rows.ts";
import { logRoot } from "../../chain/merkle/log.ts";
import type { Executor } from "../../chain/state/executor.ts";
import { heightKey } from "../../chain/store/keyspace.ts";
import type { Store, StoreOperation } from "../../chain/store/store.ts";
import type { EncodedBlock } from "../network/sync.ts";
import { directoryOf } from "../ports/disk.ts";
import { discardStore, isThere, type Stores, SYSTEM_STORES } from "../ports/stores.ts";
import { SCRUB_CODES } from "./errors.ts";
import { type Damage, settledHash, type Subject } from "./rows.ts";

/** Copies of a height from elsewhere, one after another, none of them believed. */
export type BlockCopies = (height: Height) => AsyncIterable<EncodedBlock>;

/** What could be put right while the store is in use, and what is left for a rebuild. */
export type Repaired = { readonly repaired: readonly Damage[]; readonly left: readonly Damage[] };

const BLOCK_KINDS: readonly Damage["kind"][] = ["header", "block", "certificate"];

/** Repairs row by row, with the node running. */
export async function repairRows(subject: Subject, damages: readonly Damage[], copies: BlockCopies): Promise<Repaired> {
  const repaired: Damage[] = [];
  const left: Damage[] = [];
  const { store } = subject.ledger;
  for (const damage of damages) {
    const operations =
      damage.repair === undefined
        ? await blockOperations(subject, damage, copies)
        : ([damage.repair] as readonly StoreOperation[]);
    if (operations.length > 0) await store.write(operations, { sync: true });
    (operations.length > 0 ? repaired : left).push(damage);
  }
  return { repaired, left };
}

/** What of a block is damaged, from the first good copy; none when there is no such copy. */
async function blockOperations(subject: Subject, damage: Damage, copies: BlockCopies): Promise<readonly StoreOperation[]> {
  const { height, kind } = damage;
  if (height === undefined || !BLOCK_KINDS.includes(kind)) return [];
  const settled = settledHash(subject, height);
  if (settled === undefined) return [];
  if (kind === "certificate") return await certificateOperations(subject, height, copies);
  for await (const copy of copies(height)) {
    const block = parseBlock(copy.block);
    if (!block.ok || !bytesEqual(block.value.hash, settled) || !hasOwnBody(block.value)) continue;
    const key = heightKey("header", height);
    const header: StoreOperation = { kind: "put", key, value: encodeHeader(block.value.header) };
    if (kind === "header") return [header];
    const results = quietly(() => subject.ledger.results(height));
    // A body goes with its results; when those are damaged too, both come from a rebuild.
    if (results === undefined || !bytesEqual(logRoot(results.map(encodeResult)), block.value.header.resultsRoot)) continue;
    const own = new LedgerRows(subject.ledger.store).blockOperations(block.value, results);
    // The certificate of the height before is that height's own.
    return own.filter((operation) => !bytesEqual(operation.key, heightKey("certificate", height - 1n)));
  }
  return [];
}

async function certificateOperations(subject: Subject, height: Height, copies: BlockCopies): Promise<readonly StoreOperation[]> {
  const { ledger } = subject;
  const after = height < ledger.head().height ? quietly(() => ledger.header(nextHeight(height))) : undefined;
  for await (const copy of copies(height)) {
    const certificate = parseCertificate(copy.certificate);
    const block = parseBlock(copy.block);
    if (!certificate.ok || !block.ok || certificate.value.height !== height) continue;
    const isIt =
      after === undefined
        ? bytesEqual(block.value.hash, ledger.head().hash) && (await ledger.checkCertificate(block.value, certificate.value)).ok
        : bytesEqual(certificateHash(certificate.value), after.certificateHash);
    if (isIt) return [{ kind: "put", key: heightKey("certificate", height), value: copy.certificate }];
  }
  return [];
}

/** How a store is made anew. */
export type RebuildOptions = {
  readonly network: NetworkFile;
  readonly executor: Executor;
  /** Where the store is: the new one grows beside it and takes its place. */
  readonly path: string;
  readonly copies: BlockCopies;
  readonly signal: AbortSignal;
  readonly onProgress?: (height: Height) => void;
  /** The disk that the store is on: the machine's own, unless a simulation has another. */
  readonly stores?: Stores;
};

const REBUILT = ".rebuild";
const DAMAGED = ".damaged";

/**
 * Executes the whole chain again in a store beside the damaged one, from its own good blocks and copies of the others, and
 * puts it in its place. Every block is checked as a joining node checks it. May be cut short anywhere and goes on.
 *
 * @returns the height reached
 * @throws CodedError `scrub_unrepaired`: of some height there is no good copy; the damaged store stays as it was
 */
export async function rebuildStore(options: RebuildOptions): Promise<Height> {
  const { path, network, executor, stores = SYSTEM_STORES } = options;
  const { disk } = stores;
  await settleStore(path, stores);
  const rebuilt = `${path}${REBUILT}`;
  await disk.makeDirectory(rebuilt);
  let reached: Height;
  {
    // Of a store that cannot be opened at all, all blocks come from elsewhere.
    const damaged = await openQuietly(stores, path);
    await using stack = new AsyncDisposableStack();
    if (damaged !== undefined) stack.use(damaged);
    await using replica = await Ledger.open({ store: await stores.open(rebuilt), network, executor });
    reached = await execute(replica, damaged, options);
  }
  await disk.rename(path, `${path}${DAMAGED}`);
  await disk.rename(rebuilt, path);
  await disk.syncDirectory(directoryOf(path));
  await discardStore(stores, `${path}${DAMAGED}`);
  return reached;
}

/**
 * Puts back what a rebuild set aside that ended between its two renames, which left both stores beside an empty place. For
 * whoever is about to look whether there is a store, or to open it: it would find none, and begin another chain in its place.
 */
export async function settleStore(path: string, stores: Stores = SYSTEM_STORES): Promise<void> {
  const [isPlaced, isAside] = [await isThere(stores, path), await isThere(stores, `${path}${DAMAGED}`)];
  if (isPlaced) return await discardStore(stores, `${path}${DAMAGED}`);
  if (!isAside || !(await isThere(stores, `${path}${REBUILT}`))) return;
  await stores.disk.rename(`${path}${DAMAGED}`, path);
  await stores.disk.syncDirectory(directoryOf(path));
}

async function execute(replica: Ledger, damaged: Store | undefined, options: RebuildOptions): Promise<Height> {
  const rows = damaged === undefined ? undefined : new LedgerRows(damaged);
  const known = rows === undefined ? undefined : quietly(() => rows.headHeight());
  for (;;) {
    options.signal.throwIfAborted();
    const height = nextHeight(replica.head().height);
    let isDone = false;
    for await (const copy of copiesOf(rows, height, options.copies)) {
      isDone = await apply(replica, copy);
      if (isDone) break;
    }
    if (!isDone) {
      if (known === undefined || height <= known) {
        // Without its head nobody knows how far it went; what no copy shows was not there.
        if (known === undefined && replica.head().height > 0n) return replica.head().height;
        throw new CodedError("scrub_unrepaired", {
          message: `${SCRUB_CODES.scrub_unrepaired} Missing: height ${height}`,
          height,
        });
      }
      return replica.head().height;
    }
    options.onProgress?.(height);
  }
}

async function* copiesOf(rows: LedgerRows | undefined, height: Height, copies: BlockCopies): AsyncGenerator<EncodedBlock> {
  const own = rows === undefined ? undefined : ownCopy(rows, height);
  if (own !== undefined) yield own;
  yield* copies(height);
}

function ownCopy(rows: LedgerRows, height: Height): EncodedBlock | undefined {
  return quietly(() => {
    if (height > 1n && rows.certificate(heightOf(height - 1n)) === undefined) return undefined;
    const block = rows.block(height);
    const certificate = rows.certificate(height);
    return block === undefined || certificate === undefined ? undefined : { block, certificate };
  });
}

/** Whether a copy is the next block of the replica; then it is executed and committed. */
async function apply(replica: Ledger, copy: EncodedBlock): Promise<boolean> {
  const block = parseBlock(copy.block);
  const certificate = parseCertificate(copy.certificate);
  if (!block.ok || !certificate.ok || block.value.header.height !== replica.head().height + 1n) return false;
  if (!(await replica.checkCertificate(block.value, certificate.value)).ok) return false;
  if (!(await replica.judge(block.value)).ok) return false;
  await replica.commit(block.value, certificate.value);
  return true;
}

async function openQuietly(stores: Stores, path: string): Promise<Store | undefined> {
  try {
    return await stores.open(path);
  } catch (error) {
    if (error instanceof CodedError && error.code !== "store_locked") return undefined;
    throw error;
  }
}

/** What is damaged says nothing. */
function quietly<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof CodedError) return undefined;
    throw error;
  }
}
