/**
 * Snapshots on the wire, `/pyralog/snapshot/1`, all canonical dag-cbor:
 * ```
 *   asked  [0]                       answered  one frame  [[height, root]...]      what is offered, newest first
 *   asked  [1, height, [hash...]]    answered  a frame a hash, in their order: the bytes of an index, page or chunk
 * ```
 * The second answer holds at least one frame or is a refusal (`unavailable`), and ends early when it is large or the
 * next is not there. What the bytes mean is no matter of the network.
 */

import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type DecodeError, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import { readHeight } from "../../chain/block/fields.ts";
import type { Height } from "../../chain/block/height.ts";
import type { Limits } from "./limits.ts";
import { type Handler, refuse } from "./request.ts";

/** The protocol of snapshots. */
export const CHUNKS_PROTOCOL = "/pyralog/snapshot/1";

/** A snapshot that a peer says it has. */
export type Offer = { readonly height: Height; readonly root: Hash };

/** Where the serving side gets chunks. */
export interface ChunkShelf {
  /** Newest first. */
  offers(): readonly Offer[];
  /** The bytes of an index, page or chunk of the snapshot of a height. */
  serve(height: Height, hash: Hash): Promise<Uint8Array | undefined>;
}

/** A question. */
export type ChunksRequest =
  | { readonly kind: "offers" }
  | { readonly kind: "chunks"; readonly height: Height; readonly hashes: readonly Hash[] };

/** The one encoding of a question. */
export function encodeChunksRequest(request: ChunksRequest): Uint8Array {
  if (request.kind === "offers") return new Writer().array(1).uint(0).finish();
  const writer = new Writer().array(3).uint(1).uint(request.height).array(request.hashes.length);
  for (const hash of request.hashes) writer.bytes(hash);
  return writer.finish();
}

/** Parses a question from a peer. */
export function parseChunksRequest(bytes: Uint8Array, limits: Limits): Result<ChunksRequest, DecodeError> {
  return readWith(bytes, (reader): ChunksRequest => {
    const length = reader.array(3);
    const kind = reader.field("kind").number(1);
    if (length !== (kind === 0 ? 1 : 3)) reader.refuse("encoding_limit");
    if (kind === 0) return { kind: "offers" };
    const height = readHeight(reader, "height");
    const count = reader.field("hashes").array(limits.snapshotBatchChunksMax);
    if (count === 0) reader.refuse("encoding_limit");
    return { kind: "chunks", height, hashes: Array.from({ length: count }, () => hashOf(reader.fixed(HASH_SIZE_BYTES))) };
  });
}

/** The one encoding of what is offered. */
export function encodeOffers(offers: readonly Offer[]): Uint8Array {
  const writer = new Writer().array(offers.length);
  for (const { height, root } of offers) writer.array(2).uint(height).bytes(root);
  return writer.finish();
}

/** Parses what a peer offers. */
export function parseOffers(bytes: Uint8Array, limits: Limits): Result<readonly Offer[], DecodeError> {
  return readWith(bytes, (reader) => {
    const count = reader.field("offers").array(limits.snapshotOffersMax);
    return Array.from({ length: count }, () => {
      reader.tuple(2);
      return { height: readHeight(reader, "height"), root: hashOf(reader.field("root").fixed(HASH_SIZE_BYTES).slice()) };
    });
  });
}

/** Serves snapshots: `network.handle(CHUNKS_PROTOCOL, chunkServer(shelf, network.limits))`. */
export function chunkServer(shelf: ChunkShelf, limits: Limits): Handler {
  return async function* serve(asked) {
    const request = parseChunksRequest(asked.bytes, limits);
    if (!request.ok) throw refuse("malformed");
    if (request.value.kind === "offers") {
      yield encodeOffers(shelf.offers().slice(0, limits.snapshotOffersMax));
      return;
    }
    const { height, hashes } = request.value;
    let sizeBytes = 0;
    for (const [index, hash] of hashes.entries()) {
      if (sizeBytes >= limits.syncAnswerBytesMax) return;
      const bytes = await shelf.serve(height, hash);
      if (bytes === undefined) {
        if (index === 0) throw refuse("unavailable");
        return;
      }
      sizeBytes += bytes.length;
      yield bytes;
    }
  };
}

/** How a peer answered a question for what it offers. */
export function oneFrame(frames: readonly Uint8Array[]): Result<Uint8Array, { readonly code: "answer_malformed" }> {
  const [frame] = frames;
  return frame !== undefined && frames.length === 1 ? ok(frame) : fail({ code: "answer_malformed" });
}
