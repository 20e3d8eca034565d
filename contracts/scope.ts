/** What the calls of one transaction work on, and how one of them fails. */

import type { Address } from "../crypto/identity/address.ts";
import type { RefusalCode } from "../chain/block/errors.ts";
import type { BlockContext } from "../chain/state/executor.ts";
import type { Overlay } from "../chain/state/overlay.ts";
import type { Appends } from "./appends.ts";
import type { Touched } from "./staking/pools.ts";

/** What a call works on. */
export type CallScope = {
  readonly state: Overlay;
  readonly appends: Appends;
  readonly sender: Address;
  readonly context: BlockContext;
  /** Validators whose standing the block may have changed; used under proof of stake alone. */
  readonly touched: Touched;
};

/** Why a call failed, and the field of the call at fault. */
export type CallFault = { readonly code: RefusalCode; readonly field: string };
