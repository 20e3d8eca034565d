/** Evidence in a decided block names nobody who is honest. */

import { toHex } from "../../../crypto/base/bytes.ts";
import type { Commit } from "../../../chain/ledger/ledger.ts";
import type { Sometimes } from "../sometimes.ts";
import type { Checker, CheckerParts } from "./checker.ts";

/** See the file's head. */
export class Justice implements Checker {
  readonly #parts: CheckerParts & { readonly nodeOf: (validator: Uint8Array) => number; readonly sometimes: Sometimes };

  constructor(parts: CheckerParts & { readonly nodeOf: (validator: Uint8Array) => number; readonly sometimes: Sometimes }) {
    this.#parts = parts;
  }

  onCommit(_index: number, { block }: Commit): void {
    for (const { kind, first } of block.evidence) {
      this.#parts.sometimes.saw("evidence_committed");
      const index = this.#parts.nodeOf(first.validator);
      if (index < 0 || this.#parts.isHonest(index))
        this.#parts.violated("justice", `${kind} at height ${first.height} names ${index} (${toHex(first.validator)})`);
    }
  }
}
