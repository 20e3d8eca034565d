/** The Rust addon's pages of a state tree. What they are for is said where they are used: `chain/state/native-pages.ts`. */

import type { NativeStatePages } from "../../native/addon.ts";
import { EMPTY } from "../base/bytes.ts";
import { native, type PackedList, withPacked } from "./native.ts";

export type { NativeStatePages } from "../../native/addon.ts";

/** The length that says of a value that there is none. */
const NO_VALUE = 0xffff_ffff;

/** Pages that take at most `sizeBytesMax` of memory, or `undefined` where there is no addon. */
export function openNativeStatePages(sizeBytesMax: number): NativeStatePages | undefined {
  return native === undefined ? undefined : new native.StatePages(sizeBytesMax);
}

type Update = { readonly key: Uint8Array; readonly value: Uint8Array | undefined };

/** Calls `use` with updates as the addon takes them; they are there until it returns. */
export function withUpdates<R>(updates: readonly Update[], use: (keys: PackedList, values: PackedList) => R): R {
  return withPacked(
    updates,
    ({ key }) => key,
    (keys) =>
      withPacked(
        updates,
        ({ value }) => value ?? EMPTY,
        (values) => {
          for (let index = 0; index < updates.length; index += 1)
            if (updates[index]?.value === undefined) values.lengths[index] = NO_VALUE;
          return use(keys, values);
        },
      ),
  );
}
