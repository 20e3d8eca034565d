/** The Rust addon's pages of a state tree. What they are for is said where they are used: `chain/state/native-pages.ts`. */

import type { NativeStatePages } from "../../native/addon.ts";
import { EMPTY } from "../base/bytes.ts";
import { native, pack } from "./native.ts";

export type { NativeStatePages } from "../../native/addon.ts";

/** The length that says of a value that there is none. */
const NO_VALUE = 0xffff_ffff;

/** Pages that take at most `sizeBytesMax` of memory, or `undefined` where there is no addon. */
export function openNativeStatePages(sizeBytesMax: number): NativeStatePages | undefined {
  return native === undefined ? undefined : new native.StatePages(sizeBytesMax);
}

/** Updates as the addon takes them. */
export function packUpdates(updates: readonly { readonly key: Uint8Array; readonly value: Uint8Array | undefined }[]): {
  readonly keys: Uint8Array;
  readonly keyLengths: Uint32Array;
  readonly values: Uint8Array;
  readonly valueLengths: Uint32Array;
} {
  const keys = pack(updates, ({ key }) => key);
  const values = pack(updates, ({ value }) => value ?? EMPTY);
  for (let index = 0; index < updates.length; index += 1)
    if (updates[index]?.value === undefined) values.lengths[index] = NO_VALUE;
  return { keys: keys.bytes, keyLengths: keys.lengths, values: values.bytes, valueLengths: values.lengths };
}
