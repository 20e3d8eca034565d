/** What a client gives back: a value together with what was checked of it. */

import type { Finality } from "../../chain/block/finality.ts";
import type { Height } from "../../chain/block/height.ts";
import type { CallOptions } from "./transport.ts";

/** What was checked. */
export type Verification = {
  /** The height that the value holds for. */
  readonly height: Height;
  /** That block's time. */
  readonly timeMs: bigint;
  /** How sure that block is, as far as this client has seen the chain. */
  readonly finality: Finality;
  /** The checks that were made, in words. */
  readonly how: readonly string[];
};

/** A value that was checked. */
export type Verified<T> = { readonly value: T; readonly verified: Verification };

/** What a read may say: at which height (the newest when absent), how long to wait, when to give up. */
export type ReadOptions = CallOptions & { readonly height?: Height | undefined };
