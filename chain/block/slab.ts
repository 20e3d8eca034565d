/**
 * Copies of small byte strings that live about equally long, several to a buffer.
 *
 * To V8 a buffer is an object, an entry in a list that every collection goes through, and memory of the C library's: some
 * 400 bytes beside a view on one that is there. Who holds a copy holds the buffer that it is in: at most `SLAB_SIZE_BYTES`.
 */

/** Of one buffer. */
export const SLAB_SIZE_BYTES = 4096;

/** What is longer gets a buffer of its own, so that a buffer is at least three quarters full. */
const SHARED_SIZE_BYTES_MAX = SLAB_SIZE_BYTES / 4;

/** See the file's head. */
export class Slab {
  #buffer = new ArrayBuffer(0);
  #used = 0;

  /** A copy that nobody else writes to. */
  copy(bytes: Uint8Array): Uint8Array {
    if (bytes.length > SHARED_SIZE_BYTES_MAX) return new Uint8Array(bytes);
    if (this.#used + bytes.length > this.#buffer.byteLength) {
      this.#buffer = new ArrayBuffer(SLAB_SIZE_BYTES);
      this.#used = 0;
    }
    const copied = new Uint8Array(this.#buffer, this.#used, bytes.length);
    copied.set(bytes);
    this.#used += bytes.length;
    return copied;
  }
}
