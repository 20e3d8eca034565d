/**
 * Answers from the chain of committed blocks: what a peer that is behind, or on another branch, asks for.
 *
 * Not part of the engine, which remembers the newest blocks only: whoever drives it has the whole chain.
 */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { type Block, encodeBlock } from "../../chain/block/block.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { BLOCKS_SIZE_BYTES_MAX, HEADERS_PER_MESSAGE_MAX, LOCATOR_MAX } from "./limits.ts";
import type { Place, PowMessage, SealedHeader } from "./message.ts";

/** The chain that is served. Height 0 is genesis, whose hash is the network's. */
export interface ChainSource {
  headHeight(): Height;
  hashAt(height: Height): Hash | undefined;
  sealedAt(height: Height): SealedHeader | undefined;
  blockAt(height: Height): Block | undefined;
}

/**
 * The answer to a question about the chain; `undefined` when there is nothing to say, or it was no question. A place
 * that is not on this chain is passed over: whoever asked has heard of another branch, and asks somebody else.
 */
export function answerFrom(source: ChainSource, message: PowMessage): PowMessage | undefined {
  if (message.kind === "getHeaders") {
    const shared = message.locator.find((place) => isOn(source, place));
    if (shared === undefined) return undefined;
    const entries = sealedAfter(source, shared.height);
    return entries.length === 0 ? undefined : { kind: "headers", entries };
  }
  if (message.kind !== "getBlocks") return undefined;
  const blocks: Block[] = [];
  let sizeBytes = 0;
  for (const place of message.places) {
    const block = isOn(source, place) ? source.blockAt(place.height) : undefined;
    if (block === undefined) continue;
    sizeBytes += encodeBlock(block).length;
    if (blocks.length > 0 && sizeBytes > BLOCKS_SIZE_BYTES_MAX) break;
    blocks.push(block);
  }
  return blocks.length === 0 ? undefined : { kind: "blocks", blocks };
}

/**
 * An engine's locator with places of the chain below what the engine remembers, each twice as far from the head as the one before:
 * whoever forked long ago answers from near the fork, and not from genesis.
 */
export function deepened(source: ChainSource, locator: readonly Place[]): readonly Place[] {
  const genesis = locator.at(-1);
  const oldest = locator.at(-2);
  if (genesis === undefined || oldest === undefined) return locator;
  const places = locator.slice(0, -1);
  const head = source.headHeight();
  for (let depth = (head - oldest.height) * 2n; depth > 0n && depth < head && places.length < LOCATOR_MAX - 1; depth *= 2n) {
    const height = heightOf(head - depth);
    const hash = source.hashAt(height);
    if (hash === undefined) break;
    places.push({ height, hash });
  }
  return [...places, genesis];
}

/** Whether a place is on this chain. */
export function isOn(source: ChainSource, { height, hash }: Place): boolean {
  if (height > source.headHeight()) return false;
  const ours = source.hashAt(height);
  return ours !== undefined && bytesEqual(ours, hash);
}

function sealedAfter(source: ChainSource, after: Height): readonly SealedHeader[] {
  const entries: SealedHeader[] = [];
  const last = source.headHeight();
  for (let height = after + 1n; height <= last && entries.length < HEADERS_PER_MESSAGE_MAX; height += 1n) {
    const sealed = source.sealedAt(heightOf(height));
    if (sealed === undefined) break;
    entries.push(sealed);
  }
  return entries;
}
