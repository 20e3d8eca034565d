/**
 * Memory for pages: views of a few large buffers instead of a buffer each.
 *
 * A buffer of its own takes 650 bytes beyond a page's own, a view 270; and a hundred thousand buffers keep the garbage
 * collector so busy that with 10^6 rows an update took a quarter more of the main thread. Views are never given out twice and buffers never reused: who still holds a page
 * that everybody else forgot holds its buffer, and reads what it always read.
 */

/** Small enough that a few pages do not hold much, large enough for a hundred of them. */
export const SEGMENT_SIZE_BYTES = 64 * 1024;

/** What lives about equally long: rows' pages are replaced seldom, higher pages with nearly every version. */
export type PageKind = "lowest" | "higher";

/** Cuts buffers into views, front to back; those of one kind from the same buffers, so that whole buffers become free. */
export class Arena {
  readonly #open = {
    lowest: { segment: new Uint8Array(0), used: 0 },
    higher: { segment: new Uint8Array(0), used: 0 },
  } satisfies Record<PageKind, { segment: Uint8Array; used: number }>;

  /** Fresh zero bytes, for the taker alone. */
  take(kind: PageKind, sizeBytes: number): Uint8Array {
    const open = this.#open[kind];
    if (open.used + sizeBytes > open.segment.length) {
      open.segment = new Uint8Array(Math.max(SEGMENT_SIZE_BYTES, sizeBytes));
      open.used = 0;
    }
    open.used += sizeBytes;
    return open.segment.subarray(open.used - sizeBytes, open.used);
  }

  /** Whether views are still being cut from this buffer. */
  isOpen(buffer: ArrayBufferLike): boolean {
    return buffer === this.#open.lowest.segment.buffer || buffer === this.#open.higher.segment.buffer;
  }
}
