/** All mutants, by subject. */

import { CodedError } from "../../../crypto/base/error.ts";
import type { Mutant } from "./mutant.ts";
import { CHAIN_MUTANTS } from "./mutants/chain.ts";
import { DISK_MUTANTS } from "./mutants/disk.ts";
import { NODE_MUTANTS } from "./mutants/node.ts";
import { PBFT_MUTANTS } from "./mutants/pbft.ts";
import { RAFT_MUTANTS } from "./mutants/raft.ts";
import { STAKE_MUTANTS } from "./mutants/stake.ts";
import { TENDERMINT_MUTANTS } from "./mutants/tendermint.ts";
import { WORK_MUTANTS } from "./mutants/work.ts";

/** In the order of the table. */
export const MUTANTS: readonly Mutant[] = [
  ...RAFT_MUTANTS,
  ...TENDERMINT_MUTANTS,
  ...PBFT_MUTANTS,
  ...DISK_MUTANTS,
  ...NODE_MUTANTS,
  ...CHAIN_MUTANTS,
  ...WORK_MUTANTS,
  ...STAKE_MUTANTS,
];

/** The mutant of this name. Throws `mutant_unknown`. */
export function mutantOf(name: string): Mutant {
  const found = MUTANTS.find((mutant) => mutant.name === name);
  if (found === undefined) throw new CodedError("mutant_unknown", { message: name });
  return found;
}
