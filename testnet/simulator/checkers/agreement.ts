/** No two honest nodes make different blocks final at one height, and none skips a height. */

import { bytesEqual, toHex } from "../../../crypto/base/bytes.ts";
import type { Hash } from "../../../crypto/hash/hash.ts";
import type { Commit, Ledger } from "../../../chain/ledger/ledger.ts";
import type { Sometimes } from "../sometimes.ts";
import { type Checker, type CheckerParts, commitsOf } from "./checker.ts";

/** See the file's head. */
export class Agreement implements Checker {
  readonly #parts: CheckerParts & { readonly sometimes: Sometimes };
  /** What was decided, by height, and by whom first. */
  readonly #decided = new Map<bigint, { readonly hash: Hash; readonly index: number; readonly certificate: unknown }>();

  constructor(parts: CheckerParts & { readonly sometimes: Sometimes }) {
    this.#parts = parts;
  }

  /** The highest height that an honest node made final. */
  get height(): bigint {
    return BigInt(this.#decided.size);
  }

  /** A block that was made final with a process's last breath is seen when the next one opens. */
  onOpened(index: number, ledger: Ledger): void {
    for (const commit of commitsOf(ledger, this.height)) this.onCommit(index, commit);
  }

  onCommit(index: number, { block, certificate }: Pick<Commit, "block" | "certificate">): void {
    if (!this.#parts.isHonest(index)) return;
    const { height } = block.header;
    const known = this.#decided.get(height);
    if (known === undefined) {
      if (height !== this.height + 1n)
        this.#parts.violated("agreement", `node ${index} made height ${height} final after ${this.height}`);
      this.#decided.set(height, { hash: block.hash, index, certificate });
      return;
    }
    if (!bytesEqual(known.hash, block.hash)) {
      const [one, other] = [toHex(known.hash).slice(0, 8), toHex(block.hash).slice(0, 8)];
      this.#parts.violated("agreement", `height ${height}: node ${known.index} has ${one}, node ${index} has ${other}`);
    }
  }
}
