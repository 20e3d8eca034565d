/** Nodes of a log in memory, for tests. */

import { present } from "../../../crypto/base/assert.ts";
import type { Hash } from "../../../crypto/hash/hash.ts";
import { appendLeaf, EMPTY_FRONTIER, type Frontier, type ReadNode, type TreeHasher } from "../log.ts";

/** A growing log that keeps every complete node. */
export class MemoryLog {
  readonly #hasher: TreeHasher;
  readonly #nodes = new Map<string, Hash>();
  frontier: Frontier = EMPTY_FRONTIER;

  constructor(hasher: TreeHasher) {
    this.#hasher = hasher;
  }

  append(entry: Uint8Array): void {
    this.frontier = appendLeaf(this.#hasher, this.frontier, this.#hasher.leaf(entry), (level, index, hash) => {
      this.#nodes.set(`${level}/${index}`, hash);
    });
  }

  readonly readNode: ReadNode = (level, index) => present(this.#nodes.get(`${level}/${index}`), `node ${level}/${index}`);
}

/** A log of any length in which every entry is the same but one: so large indexes cost nothing. */
export class SparseLog {
  readonly #hasher: TreeHasher;
  readonly #marked: { readonly index: bigint; readonly hash: Hash };
  /** The root of a perfect subtree without the marked entry, by level. */
  readonly #plain: Hash[];

  constructor(
    hasher: TreeHasher,
    entries: { readonly index: bigint; readonly entry: Uint8Array; readonly otherwise: Uint8Array },
  ) {
    this.#hasher = hasher;
    this.#marked = { index: entries.index, hash: hasher.leaf(entries.entry) };
    this.#plain = [hasher.leaf(entries.otherwise)];
    for (let level = 1; level < 64; level += 1) {
      const below = present(this.#plain[level - 1], `level ${level - 1}`);
      this.#plain.push(hasher.node(below, below));
    }
  }

  readonly readNode: ReadNode = (level, index) => {
    if (this.#marked.index >> BigInt(level) !== index) return present(this.#plain[level], `level ${level}`);
    if (level === 0) return this.#marked.hash;
    return this.#hasher.node(this.readNode(level - 1, index * 2n), this.readNode(level - 1, index * 2n + 1n));
  };
}
