/** When the blocks of late were made, and so whether evidence is younger than the unbonding time. */

import { type Height, heightOf } from "../../chain/block/height.ts";
import type { PosProtocol } from "../../chain/block/protocol.ts";
import type { BlockContext, StateView } from "../../chain/state/executor.ts";
import { blockTimeKey } from "../../chain/state/keys.ts";
import type { Overlay } from "../../chain/state/overlay.ts";
import { ownRow } from "../../chain/state/rows.ts";
import { encodeBlockTime, parseBlockTime } from "../../chain/state/stake.ts";

/** Notes when a block was made, and forgets the one that is too old for any evidence. */
export function noteTime(
  state: Overlay,
  { height, timeMs, parameters }: Pick<BlockContext, "height" | "timeMs" | "parameters">,
): void {
  state.put(blockTimeKey(height), encodeBlockTime(timeMs));
  // Evidence of height h asks for the block before it, and h may be `evidenceAgeMax` behind.
  const forgotten = height - BigInt(parameters.evidenceAgeMax) - 2n;
  if (forgotten >= 0n) state.delete(blockTimeKey(heightOf(forgotten)));
}

/**
 * Whether the stake behind a height is still within reach: what was asked back in the block before it, the latest that
 * does not count there any more, is released as soon as this no longer holds.
 */
export function isWithinUnbonding(view: StateView, engine: PosProtocol, context: BlockContext, height: Height): boolean {
  const bytes = view.get(blockTimeKey(heightOf(height - 1n)));
  if (bytes === undefined) return false;
  return context.timeMs <= ownRow(parseBlockTime(bytes), "blockTime") + BigInt(engine.unbondingMs);
}
