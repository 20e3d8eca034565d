/**
 * Chunks: what the store holds. One version's pages and values, a few thousand bytes together, because LevelDB costs
 * more for a record than for the bytes in it (about 4 us for each of 3,500 records of 500 bytes, 1.5 us for the same
 * bytes in records of 4 KB).
 *
 * ```
 * u16 slots ‖ slots × u32 end of slot ‖ slots
 * ```
 *
 * A slot that no kept version can reach is *worn*. Its number stays, its bytes go when half of its chunk is worn
 * (`hollow`), and the chunk goes when all of it is. Values, rows' pages, higher pages and deltas are kept in chunks
 * apart: what is replaced about equally often is worn at about the same time.
 */

import { assert } from "../../crypto/base/assert.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { chunkKey, type Location, locationOf, SLOTS_MAX } from "./layout.ts";
import type { StoreOperation } from "../store/store.ts";

/** What a chunk holds, by how long it tends to live. */
export type ChunkKind = "value" | "lowest" | "higher" | "delta";

/** A chunk is closed when its slots have this many bytes: from there on the store keeps a value outside of LevelDB. */
export const CHUNK_SIZE_BYTES = 4096;

const HEADER_SIZE_BYTES = 2;
const END_SIZE_BYTES = 4;

/** Collects what one version writes and cuts it into chunks. */
export class ChunkWriter {
  #next: number;
  readonly #open = new Map<ChunkKind, { readonly chunk: number; readonly slots: Uint8Array[]; sizeBytes: number }>();
  readonly #closed: { readonly chunk: number; readonly slots: readonly Uint8Array[] }[] = [];

  /** `next`: the first chunk number that is free. */
  constructor(next: number) {
    this.#next = next;
  }

  /** Adds a slot and says where it will be. The bytes must not change until `finish`. */
  add(kind: ChunkKind, bytes: Uint8Array): Location {
    // What would fill a chunk alone gets one alone, so that small neighbours do not keep it alive.
    if (bytes.length >= CHUNK_SIZE_BYTES / 2) {
      const chunk = this.#take();
      this.#closed.push({ chunk, slots: [bytes] });
      return locationOf(chunk, 0);
    }
    let open = this.#open.get(kind);
    if (open === undefined) {
      open = { chunk: this.#take(), slots: [], sizeBytes: 0 };
      this.#open.set(kind, open);
    }
    const location = locationOf(open.chunk, open.slots.length);
    open.slots.push(bytes);
    open.sizeBytes += bytes.length;
    if (open.sizeBytes >= CHUNK_SIZE_BYTES || open.slots.length === SLOTS_MAX) {
      this.#closed.push(open);
      this.#open.delete(kind);
    }
    return location;
  }

  /** Closes all chunks. `next` is the first chunk number that is free afterwards. */
  finish(): { readonly operations: readonly StoreOperation[]; readonly next: number } {
    for (const { chunk, slots } of this.#open.values()) this.#closed.push({ chunk, slots });
    this.#open.clear();
    // One buffer for all: hundreds of small ones a version keep the garbage collector busy.
    const bytes = new Uint8Array(this.#closed.reduce((size, { slots }) => size + encodedSizeBytes(slots), 0));
    let at = 0;
    const operations = this.#closed.map(({ chunk, slots }) => {
      const from = at;
      at = encodeInto(bytes, from, slots);
      return { kind: "put" as const, key: chunkKey(chunk), value: bytes.subarray(from, at) };
    });
    return { operations, next: this.#next };
  }

  #take(): number {
    this.#next += 1;
    return this.#next - 1;
  }
}

/** Encodes a chunk of 1 to `SLOTS_MAX` slots. */
export function encodeChunk(slots: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(encodedSizeBytes(slots));
  encodeInto(bytes, 0, slots);
  return bytes;
}

function encodedSizeBytes(slots: readonly Uint8Array[]): number {
  assert(slots.length > 0 && slots.length <= SLOTS_MAX, "{} slots", slots.length);
  let size = HEADER_SIZE_BYTES + slots.length * END_SIZE_BYTES;
  for (const slot of slots) size += slot.length;
  return size;
}

/** Writes a chunk at `at`, and says where it ends. */
function encodeInto(bytes: Uint8Array, at: number, slots: readonly Uint8Array[]): number {
  const view = new DataView(bytes.buffer);
  view.setUint16(at, slots.length);
  let end = HEADER_SIZE_BYTES + slots.length * END_SIZE_BYTES;
  for (const [index, slot] of slots.entries()) {
    bytes.set(slot, at + end);
    end += slot.length;
    view.setUint32(at + HEADER_SIZE_BYTES + index * END_SIZE_BYTES, end);
  }
  return at + end;
}

/** How many slots a chunk has, worn ones included. */
export function slotCount(chunk: Uint8Array): number {
  if (chunk.length < HEADER_SIZE_BYTES) return 0;
  return ((chunk[0] as number) << 8) | (chunk[1] as number);
}

/** One slot of a chunk, as a view on it. */
export function readSlot(chunk: Uint8Array, slot: number): Result<Uint8Array, { readonly code: "chunk_malformed" }> {
  const count = slotCount(chunk);
  const bodies = HEADER_SIZE_BYTES + count * END_SIZE_BYTES;
  if (slot >= count || bodies > chunk.length) return fail({ code: "chunk_malformed" });
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
  const from = slot === 0 ? bodies : view.getUint32(HEADER_SIZE_BYTES + (slot - 1) * END_SIZE_BYTES);
  const to = view.getUint32(HEADER_SIZE_BYTES + slot * END_SIZE_BYTES);
  if (from < bodies || to < from || to > chunk.length) return fail({ code: "chunk_malformed" });
  return ok(chunk.subarray(from, to));
}

/** The chunk with the bytes of its worn slots left out. */
export function hollow(
  chunk: Uint8Array,
  isWorn: (slot: number) => boolean,
): Result<Uint8Array, { readonly code: "chunk_malformed" }> {
  const slots: Uint8Array[] = [];
  const count = slotCount(chunk);
  if (count === 0 || count > SLOTS_MAX) return fail({ code: "chunk_malformed" });
  for (let slot = 0; slot < count; slot += 1) {
    const bytes = readSlot(chunk, slot);
    if (!bytes.ok) return bytes;
    slots.push(isWorn(slot) ? new Uint8Array(0) : bytes.value);
  }
  return ok(encodeChunk(slots));
}
