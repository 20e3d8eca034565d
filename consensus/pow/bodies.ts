/** Bodies of blocks that a reorganisation may need, within a bound. */

import type { Block } from "../../chain/block/block.ts";
import { BODIES_SIZE_BYTES_MAX } from "./limits.ts";
import type { HeaderTree, TreeNode } from "./tree.ts";

/** What a header and its node take beside the transactions, about. */
const FRAME_SIZE_BYTES = 2048;
/** While so few are held nobody looks which of them are of no use any more. */
const HELD_UNSEEN_MAX = 256;

/** See the file's head. */
export class Bodies {
  /** In the order in which they came. */
  readonly #sizes = new Map<TreeNode, number>();
  #sizeBytes = 0;
  /** Of so many it is time to look for those that left the tree: twice as many as were left the last time. */
  #seenNextCount = HELD_UNSEEN_MAX;

  /** How many are held, those among them that left the tree since somebody looked. */
  get count(): number {
    return this.#sizes.size;
  }

  put(node: TreeNode, block: Block): void {
    if (node.block !== undefined) return;
    node.block = block;
    node.isLate = false;
    const sizeBytes = block.transactions.reduce((sum, { bytes }) => sum + bytes.length, FRAME_SIZE_BYTES);
    this.#sizes.set(node, sizeBytes);
    this.#sizeBytes += sizeBytes;
  }

  /**
   * Drops the oldest beyond the bound, but none of those that lead to the best tip. Cost: now and then all that are held,
   * otherwise nothing, until the bound is reached.
   */
  trim(tree: HeaderTree, sizeBytesMax: number = BODIES_SIZE_BYTES_MAX): void {
    if (this.#sizeBytes <= sizeBytesMax && this.#sizes.size < this.#seenNextCount) return;
    const needed = new Set(tree.pathTo(tree.best).path);
    for (const [node, sizeBytes] of this.#sizes) {
      const isGone = node.block === undefined || tree.find(node.hash) !== node;
      if (!isGone && (this.#sizeBytes <= sizeBytesMax || needed.has(node))) continue;
      node.block = undefined;
      this.#sizes.delete(node);
      this.#sizeBytes -= sizeBytes;
    }
    this.#seenNextCount = Math.max(HELD_UNSEEN_MAX, this.#sizes.size * 2);
  }
}
