/**
 * Memory for pages: views of a few large buffers instead of a buffer each.
 *
 * A buffer of its own takes 650 bytes beyond a page's own, a view 270; and a hundred thousand buffers keep the garbage
 * collector so busy that with 10^6 rows an update took a quarter more of the main thread. Views are never given out twice and buffers never reused: who still holds a page
 * that everybody else forgot holds its buffer, and reads what it always read.
 */

/** Small enough that a few pages do not hold much, large enough for a hundred of them. */
export const SEGMENT_SIZE_BYTES = 64 * 1024;

/** Cuts buffers into views, front to back. */
export class Arena {
  #segment = new Uint8Array(0);
  #used = 0;

  /** Fresh zero bytes, for the taker alone. */
  take(sizeBytes: number): Uint8Array {
    if (this.#used + sizeBytes > this.#segment.length) {
      this.#segment = new Uint8Array(Math.max(SEGMENT_SIZE_BYTES, sizeBytes));
      this.#used = 0;
    }
    this.#used += sizeBytes;
    return this.#segment.subarray(this.#used - sizeBytes, this.#used);
  }

  /** Whether views are still being cut from this buffer. */
  isOpen(buffer: ArrayBufferLike): boolean {
    return buffer === this.#segment.buffer;
  }
}
