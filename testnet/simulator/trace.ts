/**
 * The running hash over everything that happened: two runs with equal traces were the same run.
 *
 * An event is `time (float64) | node u8 | other u8 | kind length u8 | kind | detail length u16 | detail`, big-endian; the hash is
 * BLAKE3 over the hash so far and the next stretch of events.
 */

import { assert } from "../../crypto/base/assert.ts";
import { concatBytes, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";

const STRETCH_SIZE_BYTES = 64 * 1024;
const DETAIL_SIZE_BYTES_MAX = 1024;
/** The node of an event that is nobody's. */
const NOBODY = 255;

/** One event, for people. */
export type TraceEvent = {
  readonly atMs: number;
  readonly node: number;
  readonly kind: string;
  readonly detail: Uint8Array;
  readonly other: number;
};

/** See the file's head. */
export class Trace {
  readonly #stretch = new Uint8Array(STRETCH_SIZE_BYTES);
  readonly #view = new DataView(this.#stretch.buffer);
  readonly #kinds = new Map<string, Uint8Array>();
  readonly #listener: ((event: TraceEvent) => void) | undefined;
  #length = 0;
  #state: Uint8Array = new Uint8Array(32);
  #events = 0;

  /** @param listener - is told of every event too, for people who look for a fault */
  constructor(listener?: (event: TraceEvent) => void) {
    this.#listener = listener;
  }

  /** How many events there were. */
  get events(): number {
    return this.#events;
  }

  /** Something happened; `other` is the node that had a part in it. */
  note(atMs: number, node: number, kind: string, detail: Uint8Array, other = NOBODY): void {
    assert(detail.length <= DETAIL_SIZE_BYTES_MAX, `a detail of ${detail.length} bytes`);
    const name = this.#kindOf(kind);
    if (this.#length + name.length + detail.length + 13 > STRETCH_SIZE_BYTES) this.#flush();
    this.#view.setFloat64(this.#length, atMs);
    this.#stretch[this.#length + 8] = node;
    this.#stretch[this.#length + 9] = other;
    this.#stretch[this.#length + 10] = name.length;
    this.#stretch.set(name, this.#length + 11);
    const at = this.#length + 11 + name.length;
    this.#view.setUint16(at, detail.length);
    this.#stretch.set(detail, at + 2);
    this.#length = at + 2 + detail.length;
    this.#events += 1;
    this.#listener?.({ atMs, node, kind, detail, other });
  }

  /** The hash over everything so far, in hex. */
  hash(): string {
    this.#flush();
    return toHex(this.#state);
  }

  #kindOf(kind: string): Uint8Array {
    const known = this.#kinds.get(kind);
    if (known !== undefined) return known;
    const made = utf8(kind);
    this.#kinds.set(kind, made);
    return made;
  }

  #flush(): void {
    if (this.#length === 0) return;
    this.#state = blake3(concatBytes(this.#state, this.#stretch.subarray(0, this.#length)));
    this.#length = 0;
  }
}
