/**
 * The way from a header that is believed to one far above it: straight there, and half way whenever that is too far.
 *
 * ```
 *   trusted ------------------------------------------> height      more than the trust level signed: done
 *   trusted ------------------> half way                            too few did: try nearer
 *                               trusted ---------------> height     and on from there
 * ```
 *
 * Sans I/O: `wanted` says which header to get, and whoever gets it says what came of it. Of whose chain the headers are
 * does not matter.
 *
 * Source: the Tendermint light client specification (cometbft, spec/light-client/verification), VerifyToTarget and Schedule.
 */

import { assert } from "../../crypto/base/assert.ts";
import { type Coded, fail, ok, type Result } from "../../crypto/base/result.ts";

/** Headers that one way may ask for. An honest node needs two for each height at worst; what was reached is kept, so ask again. */
export const BISECTION_HEADERS_MAX = 10_000;

/** One way. See the file's head. */
export class Bisection<Trusted> {
  readonly #heightOf: (trusted: Trusted) => bigint;
  readonly #height: bigint;
  #trusted: Trusted;
  #wanted: bigint;
  #asked = 0;
  #steps = 0;

  /** @param height - above that of `trusted` */
  constructor(trusted: Trusted, height: bigint, of: (trusted: Trusted) => bigint) {
    assert(height > of(trusted), "from {} to {}", of(trusted), height);
    this.#heightOf = of;
    this.#height = height;
    this.#trusted = trusted;
    this.#wanted = height;
  }

  /** The height of the header to judge next, from `trusted`. */
  get wanted(): bigint {
    return this.#wanted;
  }

  /** What is believed so far. */
  get trusted(): Trusted {
    return this.#trusted;
  }

  /** Headers that were believed on the way. */
  get steps(): number {
    return this.#steps;
  }

  /**
   * Takes what came of judging the header of `wanted` from `trusted`.
   *
   * @returns whether the end is reached; `bisection_long` after `BISECTION_HEADERS_MAX`; or the verdict's own error, unless
   * that is `trust_insufficient`, which leads nearer
   */
  take<E extends Coded>(
    verdict: Result<Trusted, E>,
  ): Result<boolean, E | { readonly code: "bisection_long"; readonly height: bigint }> {
    this.#asked += 1;
    if (verdict.ok) {
      assert(this.#heightOf(verdict.value) === this.#wanted, "judged {}, not {}", this.#heightOf(verdict.value), this.#wanted);
      this.#trusted = verdict.value;
      this.#steps += 1;
      if (this.#wanted === this.#height) return ok(true);
      this.#wanted = this.#height;
    } else if (verdict.error.code === "trust_insufficient") {
      // The very next header needs no trust of this kind, so a skip is of two heights at least, and this is above `trusted`.
      this.#wanted = (this.#heightOf(this.#trusted) + this.#wanted) / 2n;
      assert(this.#wanted > this.#heightOf(this.#trusted), "a step that needs no trust was refused for lack of it");
    } else return verdict;
    return this.#asked < BISECTION_HEADERS_MAX ? ok(false) : fail({ code: "bisection_long", height: this.#wanted });
  }
}
