/** Bodies of blocks that a reorganisation may need, within a bound. */

import type { Block } from "../../chain/block/block.ts";
import { BODIES_SIZE_BYTES_MAX } from "./limits.ts";
import type { HeaderTree, TreeNode } from "./tree.ts";

/** What a header and its node take beside the transactions, about. */
const FRAME_SIZE_BYTES = 2048;

/** See the file's head. */
export class Bodies {
  /** In the order in which they came. */
  readonly #sizes = new Map<TreeNode, number>();
  #sizeBytes = 0;

  put(node: TreeNode, block: Block): void {
    if (node.block !== undefined) return;
    node.block = block;
    const sizeBytes = block.transactions.reduce((sum, { bytes }) => sum + bytes.length, FRAME_SIZE_BYTES);
    this.#sizes.set(node, sizeBytes);
    this.#sizeBytes += sizeBytes;
  }

  /** Drops the oldest beyond the bound, but none of those that lead to the best tip. */
  trim(tree: HeaderTree, sizeBytesMax: number = BODIES_SIZE_BYTES_MAX): void {
    const needed = new Set(tree.pathTo(tree.best).path);
    for (const [node, sizeBytes] of this.#sizes) {
      const isGone = node.block === undefined || tree.find(node.hash) !== node;
      if (!isGone && (this.#sizeBytes <= sizeBytesMax || needed.has(node))) continue;
      node.block = undefined;
      this.#sizes.delete(node);
      this.#sizeBytes -= sizeBytes;
    }
  }
}
