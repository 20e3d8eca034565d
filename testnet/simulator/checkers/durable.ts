/**
 * What a node acknowledged as final it still has whenever it opens its ledger again, unless its disk was damaged beyond
 * what a disk is asked to bear, or replaced.
 */

import { bytesEqual, toHex } from "../../../crypto/base/bytes.ts";
import type { Hash } from "../../../crypto/hash/hash.ts";
import type { Commit, Ledger } from "../../../chain/ledger/ledger.ts";
import type { Checker, CheckerParts } from "./checker.ts";

/** See the file's head. */
export class Durable implements Checker {
  readonly #parts: CheckerParts;
  readonly #heads = new Map<number, { readonly height: bigint; readonly hash: Hash }>();

  constructor(parts: CheckerParts) {
    this.#parts = parts;
  }

  onCommit(index: number, { block }: Commit): void {
    this.#heads.set(index, { height: block.header.height, hash: block.hash });
  }

  onOpened(index: number, ledger: Ledger): void {
    const head = this.#heads.get(index);
    if (head === undefined || !this.#parts.isHonest(index)) return;
    const opened = ledger.head();
    if (opened.height < head.height)
      this.#parts.violated("durable", `node ${index} had height ${head.height} and opens at ${opened.height}`);
    else if (opened.height === head.height && !bytesEqual(opened.hash, head.hash))
      this.#parts.violated("durable", `node ${index} had ${toHex(head.hash)} at height ${head.height} and opens with another`);
  }

  /** The node's disk is not the one that it wrote to. */
  forget(index: number): void {
    this.#heads.delete(index);
  }
}
