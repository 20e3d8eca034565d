/**
 * The history log: an RFC 9162 tree over the hashes of all headers, leaf `height - 1` for `height`.
 *
 * Each header carries the root over those before it, so that the newest header proves any old one, also after the
 * old block is pruned. Nodes of perfect subtrees are stored as they complete; the frontier is rebuilt from them.
 */

import { assert } from "../../crypto/base/assert.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Height } from "../block/height.ts";
import { appendLeaf, type Frontier, frontierRoot, frontierAt, inclusionProof, LOG_HASHER } from "../merkle/log.ts";
import type { StoreOperation } from "../store/store.ts";
import type { LedgerRows } from "./rows.ts";

/** The history log at the head of one ledger. */
export class HistoryLog {
  readonly #rows: LedgerRows;
  #frontier: Frontier;

  private constructor(rows: LedgerRows, frontier: Frontier) {
    this.#rows = rows;
    this.#frontier = frontier;
  }

  /** The log over headers 1 to `head`. Reads one node a level. */
  static open(rows: LedgerRows, head: Height): HistoryLog {
    return new HistoryLog(
      rows,
      frontierAt(head, (level, index) => rows.historyNode(level, index)),
    );
  }

  /** The root over all headers so far: what the next header carries. */
  root(): Hash {
    return frontierRoot(LOG_HASHER, this.#frontier);
  }

  /** The store operations that append one header. Changes nothing until `adopt`. */
  operations(headerHash: Hash): StoreOperation[] {
    const operations: StoreOperation[] = [];
    this.#append(headerHash, (level, index, hash) => operations.push(this.#rows.historyNodeOperation(level, index, hash)));
    return operations;
  }

  /** The operations for this header are durable. */
  adopt(headerHash: Hash): void {
    this.#frontier = this.#append(headerHash, () => undefined);
  }

  /** The store operations that take out the nodes which header `height` completed. */
  undoOperations(height: Height): StoreOperation[] {
    const operations: StoreOperation[] = [];
    // Leaf `height - 1` completes one node a trailing 1 of its index, and itself.
    let index = height - 1n;
    for (let level = 0; ; level += 1) {
      operations.push(this.#rows.historyNodeDeletion(level, index));
      if ((index & 1n) === 0n) return operations;
      index >>= 1n;
    }
  }

  /** Headers beyond `head` are gone from the store. */
  rollback(head: Height): void {
    this.#frontier = frontierAt(head, (level, index) => this.#rows.historyNode(level, index));
  }

  /** Siblings for header `of` under the root in header `at`, `1 <= of < at <= head + 1`. */
  prove(of: Height, at: Height): readonly Hash[] {
    assert(
      of >= 1n && of < at && at <= this.#frontier.size + 1n,
      "history of {} at {} with {} headers",
      of,
      at,
      this.#frontier.size,
    );
    return inclusionProof(LOG_HASHER, { index: of - 1n, size: at - 1n }, (level, index) => this.#rows.historyNode(level, index));
  }

  #append(headerHash: Hash, onNode: (level: number, index: bigint, hash: Hash) => void): Frontier {
    return appendLeaf(LOG_HASHER, this.#frontier, LOG_HASHER.leaf(headerHash), onNode);
  }
}
