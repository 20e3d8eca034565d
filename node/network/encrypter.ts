/**
 * What we add to an encrypter: a bound, and fewer and larger writes.
 *
 * ```
 *   frames of a muxer --gathered until the loop turns, or 64 KiB--> one message --encrypted, joined--> one write
 * ```
 *
 * A multiplexer sends every frame by itself: a message, and room in a window for each message that was read, twelve bytes.
 * Each is encrypted by itself and handed on as two pieces, its length and its bytes, and each piece is a system call and
 * (without Nagle's delay) a packet. Four validators on loopback under heavy load, packets a node and thousand transactions: 2,400
 * without it, 190 when what one piece of code sends is gathered, 110 when the turn of the loop is.
 */

import type { ConnectionEncrypter, MessageStream } from "@libp2p/interface";
import { Uint8ArrayList } from "uint8arraylist";
import { findNoFrameCheaply } from "./cipher.ts";

/** Sent without waiting: who makes more in one turn is told when there is no room. */
const GATHERED_SIZE_BYTES = 64 * 1024;

/** An encrypter with a bound on what waits to be written below the streams, where pings and window updates queue. */
export function thriftyEncrypter(encrypter: ConnectionEncrypter, writeBytesMax: number): ConnectionEncrypter {
  const thrifty = async <Secured extends { readonly connection: MessageStream }>(
    raw: MessageStream,
    secure: () => Promise<Secured>,
  ): Promise<Secured> => {
    raw.maxWriteBufferLength = writeBytesMax;
    joinPieces(raw);
    const secured = await secure();
    secured.connection.maxWriteBufferLength = writeBytesMax;
    findNoFrameCheaply(secured.connection);
    // Whoever ends the connection may end the one or the other.
    gatherFrames(secured.connection, [secured.connection, raw]);
    return secured;
  };
  return {
    protocol: encrypter.protocol,
    secureInbound: async (raw, options) => await thrifty(raw, async () => await encrypter.secureInbound(raw, options)),
    secureOutbound: async (raw, options) => await thrifty(raw, async () => await encrypter.secureOutbound(raw, options)),
  };
}

/** The pieces of what is sent at once are one piece. */
export function joinPieces(stream: Pick<MessageStream, "send">): void {
  const send = stream.send.bind(stream);
  // Of several pieces a copy, of one the piece.
  stream.send = (data) => send(data.subarray());
}

type Endable = Pick<MessageStream, "close" | "abort">;

/**
 * What is sent before the loop turns is sent at once, in its order.
 *
 * @param ends - what ends with the stream, or ends it: what was sent before still goes, such as why somebody is turned away
 */
export function gatherFrames(
  stream: Pick<MessageStream, "send" | "abort" | "status" | "writableNeedsDrain">,
  ends: readonly Endable[],
): void {
  const send = stream.send.bind(stream);
  const abort = stream.abort.bind(stream);
  let waiting: Uint8ArrayList | undefined;
  let turn: NodeJS.Immediate | undefined;
  const flush = (): void => {
    clearImmediate(turn);
    const data = waiting;
    waiting = undefined;
    if (data === undefined || stream.status !== "open") return;
    try {
      send(data);
    } catch (error) {
      // Nobody is there to catch it, and a stream with a hole in it is of no use.
      abort(error instanceof Error ? error : new Error(String(error)));
    }
  };
  stream.send = (data) => {
    // Refused at once, as ever.
    if (stream.status !== "open") return send(data);
    if (waiting === undefined) {
      waiting = new Uint8ArrayList();
      turn = setImmediate(flush);
    }
    waiting.append(data);
    if (waiting.byteLength >= GATHERED_SIZE_BYTES) flush();
    return !stream.writableNeedsDrain;
  };
  for (const end of ends) flushBefore(end, flush);
}

function flushBefore(end: Endable, flush: () => void): void {
  const close = end.close.bind(end);
  const abort = end.abort.bind(end);
  end.close = async (options) => {
    flush();
    await close(options);
  };
  end.abort = (error) => {
    flush();
    abort(error);
  };
}
