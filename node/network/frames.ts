/**
 * Length-prefixed frames on a libp2p stream, with backpressure both ways: `u32 big-endian length ‖ body`.
 *
 * libp2p 3 gives no backpressure unless asked. `for await (const chunk of stream)` buffers without bound, and
 * `onDrain()` resolves at once after its first use; so reading pauses the stream whenever a whole frame waits, which
 * stops yamux from granting more window, and writing waits for the `drain` event itself.
 */

import type { Stream } from "@libp2p/interface";
import { CodedError } from "../../crypto/base/error.ts";
import { readU32, u32 } from "../../crypto/base/bytes.ts";

const HEAD_SIZE_BYTES = 4;

/** Written at once at most, so that a slow reader leaves no more than this in our write buffer. */
const CHUNK_SIZE_BYTES = 256 * 1024;

/** A timer that fires this late tells that our own event loop was blocked: the peer gets another chance. */
const LATE_MS = 500;

/** What a reader accepts. */
export type FrameBounds = {
  readonly frameBytesMax: number;
  readonly totalBytesMax: number;
  /** How long the peer may send nothing at all while we wait for it. */
  readonly stallMs: number;
};

/** Calls `onStall` once nothing touched it for `ms`, unless it was we who slept. */
class Watch {
  readonly #ms: number;
  readonly #onStall: () => void;
  #timer: NodeJS.Timeout;
  #dueMs: number;

  constructor(ms: number, onStall: () => void) {
    this.#ms = ms;
    this.#onStall = onStall;
    this.#dueMs = performance.now() + ms;
    this.#timer = setTimeout(() => this.#fire(), ms);
  }

  touch(): void {
    clearTimeout(this.#timer);
    this.#dueMs = performance.now() + this.#ms;
    this.#timer = setTimeout(() => this.#fire(), this.#ms);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #fire(): void {
    if (performance.now() - this.#dueMs > LATE_MS) this.touch();
    else this.#onStall();
  }
}

/**
 * Reads frames. At most one frame and one yamux window are in memory.
 *
 * A peer chooses into how many pieces it cuts a frame, down to its bytes: each is copied to its place as it comes, and none
 * is kept by itself.
 */
export class FrameReader {
  readonly #stream: Stream;
  readonly #bounds: FrameBounds;
  readonly #head = new Uint8Array(HEAD_SIZE_BYTES);
  #headCount = 0;
  /** As long as the head says, once that is there and within the limit. */
  #body: Uint8Array | undefined;
  #bodyCount = 0;
  /** What came with the end of the frame. */
  #later: Uint8Array[] = [];
  #received = 0;
  #isEnded = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(stream: Stream, bounds: FrameBounds) {
    this.#stream = stream;
    this.#bounds = bounds;
    stream.addEventListener("message", (event) => {
      this.#received += event.data.byteLength;
      this.#fill(event.data.subarray());
      if (this.#isReady() && stream.readStatus === "readable") stream.pause();
      this.#wake?.();
    });
    stream.addEventListener("end", () => {
      this.#isEnded = true;
      this.#wake?.();
    });
    stream.addEventListener("close", (event) => {
      this.#isEnded = true;
      this.#failure = event.error;
      this.#wake?.();
    });
  }

  /**
   * The next frame, or `undefined` when the peer closed its side between two frames.
   *
   * @throws CodedError `peer_hostile` (a length over a limit), `peer_stalled`, `peer_lost` (ended inside a frame, or
   * reset); the signal's reason when that aborts
   */
  async next(signal: AbortSignal): Promise<Uint8Array | undefined> {
    if (!this.#isReady()) await this.#wait(signal);
    const violation = this.#violation();
    if (violation !== undefined) throw violation;
    if (this.#headCount === 0 && this.#failure === undefined) return undefined;
    const frame = this.#body;
    if (frame === undefined || !this.#isReady()) throw new CodedError("peer_lost", {}, { cause: this.#failure });
    this.#headCount = 0;
    this.#body = undefined;
    this.#bodyCount = 0;
    for (const piece of this.#later.splice(0)) this.#fill(piece);
    return frame;
  }

  /** Puts bytes where they belong in the frame, and keeps what is beyond it for later. */
  #fill(bytes: Uint8Array): void {
    let offset = 0;
    if (this.#body === undefined) {
      offset = Math.min(bytes.length, HEAD_SIZE_BYTES - this.#headCount);
      this.#head.set(bytes.subarray(0, offset), this.#headCount);
      this.#headCount += offset;
      const size = this.#frameSize();
      // One that is too large is refused, and never read.
      if (size === undefined || size > this.#bounds.frameBytesMax) return;
      this.#body = new Uint8Array(size);
    }
    const count = Math.min(bytes.length - offset, this.#body.length - this.#bodyCount);
    this.#body.set(bytes.subarray(offset, offset + count), this.#bodyCount);
    this.#bodyCount += count;
    if (offset + count < bytes.length) this.#later.push(bytes.subarray(offset + count));
  }

  async #wait(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#isEnded) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const watch = new Watch(this.#bounds.stallMs, () =>
      reject(new CodedError("peer_stalled", { stallMs: this.#bounds.stallMs })),
    );
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    this.#wake = () => {
      watch.touch();
      if (this.#isEnded || this.#isReady()) resolve();
    };
    try {
      if (this.#stream.readStatus === "paused") this.#stream.resume();
      await promise;
    } finally {
      this.#wake = undefined;
      watch.stop();
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** The size that the head announces, once it is there. */
  #frameSize(): number | undefined {
    return this.#headCount < HEAD_SIZE_BYTES ? undefined : readU32(this.#head);
  }

  /** Whether there is something for `next` to return or to throw. */
  #isReady(): boolean {
    if (this.#violation() !== undefined) return true;
    return this.#body !== undefined && this.#bodyCount === this.#body.length;
  }

  /** A limit that the peer broke. A head alone is enough: its body is not waited for. */
  #violation(): CodedError | undefined {
    const size = this.#frameSize();
    if (size !== undefined && size > this.#bounds.frameBytesMax)
      return new CodedError("peer_hostile", { offence: "oversized", frameBytes: size });
    if (this.#received > this.#bounds.totalBytesMax)
      return new CodedError("peer_hostile", { offence: "oversized", totalBytes: this.#received });
    return undefined;
  }
}

/**
 * Writes one frame and returns when the stream can take more.
 *
 * @throws CodedError `peer_stalled` (the peer does not read), `peer_lost`; the signal's reason when that aborts
 */
export async function writeFrame(
  stream: Stream,
  body: Uint8Array,
  options: { readonly stallMs: number; readonly signal: AbortSignal },
): Promise<void> {
  await writeBytes(stream, u32(body.length), options);
  for (let offset = 0; offset < body.length; offset += CHUNK_SIZE_BYTES) {
    await writeBytes(stream, body.subarray(offset, offset + CHUNK_SIZE_BYTES), options);
  }
}

async function writeBytes(
  stream: Stream,
  bytes: Uint8Array,
  options: { readonly stallMs: number; readonly signal: AbortSignal },
): Promise<void> {
  options.signal.throwIfAborted();
  try {
    stream.send(bytes);
  } catch (cause) {
    throw new CodedError("peer_lost", {}, { cause });
  }
  while (stream.writableNeedsDrain) await drained(stream, options);
}

async function drained(stream: Stream, options: { readonly stallMs: number; readonly signal: AbortSignal }): Promise<void> {
  if (stream.status !== "open") throw new CodedError("peer_lost", {});
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const watch = new Watch(options.stallMs, () => reject(new CodedError("peer_stalled", { stallMs: options.stallMs })));
  const onDrain = (): void => resolve();
  const onClose = (event: { readonly error?: Error }): void => reject(new CodedError("peer_lost", {}, { cause: event.error }));
  const onAbort = (): void => reject(options.signal.reason);
  stream.addEventListener("drain", onDrain);
  stream.addEventListener("close", onClose);
  options.signal.addEventListener("abort", onAbort);
  try {
    await promise;
  } finally {
    watch.stop();
    stream.removeEventListener("drain", onDrain);
    stream.removeEventListener("close", onClose);
    options.signal.removeEventListener("abort", onAbort);
  }
}
