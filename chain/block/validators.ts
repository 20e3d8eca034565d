/** Validator sets: who votes on a height, with what power, and whose turn it is to propose. */

import type { Address } from "../../crypto/identity/address.ts";
import type { PublicKey } from "../../crypto/sign/key.ts";

/** One voter. */
export type Validator = {
  readonly address: Address;
  readonly key: PublicKey;
  /** `1 <= power <= POWER_MAX`. */
  readonly power: bigint;
  /** Proposer priority before round 0 of the set's height; see `proposerAt`. */
  readonly priority: bigint;
};

/** Sorted by address, addresses distinct, never empty. */
export type ValidatorSet = { readonly validators: readonly Validator[]; readonly totalPower: bigint };
