/**
 * What we add to a multiplexer: a bound on what it keeps of a frame that is not whole.
 *
 * yamux (8.0.3) reads a whole frame before it looks whether the stream's window has room for it, and a header may announce
 * 4 GiB: so a stranger who has not even greeted could fill the memory. An honest sender keeps to the window.
 *
 * ```
 *   header  version ‖ type ‖ flags (2) ‖ stream (4) ‖ length (4)        length bytes follow if the type is 0, data
 * ```
 */

import type { MessageStream, StreamMuxerFactory } from "@libp2p/interface";
import { CodedError } from "../../crypto/base/error.ts";
import { readU32 } from "../../crypto/base/bytes.ts";

const HEADER_SIZE_BYTES = 12;
const TYPE_AT = 1;
const LENGTH_AT = 8;
const TYPE_DATA = 0;

/** A multiplexer that ends a connection on which a larger frame begins. */
export function boundFrames(factory: StreamMuxerFactory, frameBytesMax: number): StreamMuxerFactory {
  const create = factory.createStreamMuxer.bind(factory);
  factory.createStreamMuxer = (connection) => {
    watch(connection, frameBytesMax);
    return create(connection);
  };
  return factory;
}

function watch(connection: MessageStream, frameBytesMax: number): void {
  const headers = new HeaderWalk(frameBytesMax);
  let isOver = false;
  connection.addEventListener("message", ({ data }) => {
    if (isOver) return;
    for (const piece of data instanceof Uint8Array ? [data] : data) isOver ||= !headers.walk(piece);
    if (!isOver) return;
    // In the next turn, as `Network` cuts connections: yamux does not survive an end in the middle of what it does now.
    setImmediate(() => connection.abort(new CodedError("peer_hostile", { offence: "oversized", frameBytesMax })));
  });
}

/** Walks the headers of frames as they stream by. */
export class HeaderWalk {
  readonly #frameBytesMax: number;
  readonly #header = new Uint8Array(HEADER_SIZE_BYTES);
  #count = 0;
  #skip = 0;

  constructor(frameBytesMax: number) {
    this.#frameBytesMax = frameBytesMax;
  }

  /** Whether no frame that begins in this chunk is over the bound. */
  walk(chunk: Uint8Array): boolean {
    for (let offset = 0; offset < chunk.length;) {
      const skipped = Math.min(this.#skip, chunk.length - offset);
      this.#skip -= skipped;
      offset += skipped;
      const taken = chunk.subarray(offset, offset + HEADER_SIZE_BYTES - this.#count);
      this.#header.set(taken, this.#count);
      this.#count += taken.length;
      offset += taken.length;
      if (this.#count < HEADER_SIZE_BYTES) continue;
      this.#count = 0;
      this.#skip = this.#header[TYPE_AT] === TYPE_DATA ? readU32(this.#header, LENGTH_AT) : 0;
      if (this.#skip > this.#frameBytesMax) return false;
    }
    return true;
  }
}
