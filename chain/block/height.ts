/** Heights count blocks from 1; height 0 is genesis, which has a state and no block. */

import { assert } from "../../crypto/base/assert.ts";
import type { Brand } from "../../crypto/base/brand.ts";

/** `0 <= height < 2^63`. */
export type Height = Brand<bigint, "Height">;

const HEIGHT_END = 1n << 63n;

/** For numbers we made or have range-checked. */
export function heightOf(value: bigint): Height {
  assert(value >= 0n && value < HEIGHT_END, "not a height: {}", value);
  return value as Height;
}

/** Whether a number from outside is a height. */
export function isHeight(value: bigint): value is Height {
  return value >= 0n && value < HEIGHT_END;
}

/** The height after this one. */
export function nextHeight(height: Height): Height {
  return heightOf(height + 1n);
}

/** The height of the genesis state. */
export const GENESIS_HEIGHT: Height = heightOf(0n);
