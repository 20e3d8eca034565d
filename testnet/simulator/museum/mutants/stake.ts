/** Proof of stake. */

import type { Mutant } from "../mutant.ts";

/** See the file's head. */
export const STAKE_MUTANTS: readonly Mutant[] = [
  {
    name: "evidence_applied_twice",
    story:
      "One offence is punished as often as there is evidence of it: the same validator is slashed again for another height of the same fault.",
    source: "cosmos-sdk x/slashing specification, staking tombstone: one slash for all double signs of one fault",
    file: "contracts/staking/slashing.ts",
    find: "  if (punished !== undefined) {\n",
    replace: "  if (punished !== undefined && punished.height === height) {\n",
    hunt: { kind: "unit", unit: "stake", seeds: 1000 },
  },
  {
    name: "evidence_repeated",
    story: "That evidence was acted on is not remembered, and the same piece goes into block after block.",
    source: "tendermint/tendermint pulls 4839 (2020, the same evidence proposed twice) and 5574 (evidence that was committed)",
    file: "contracts/validators.ts",
    find: "  if (view.get(misbehaviourKey(validator, height)) !== undefined)\n",
    replace: "  if (view.get(misbehaviourKey(validator, height)) !== undefined && height > context.height)\n",
    hunt: { kind: "unit", unit: "stake", seeds: 1000 },
  },
  {
    name: "slash_spares_unbonding",
    story:
      "A slash takes from what is staked and not from what was asked back and still waits: to unbond before the evidence comes saves everything.",
    source:
      "cosmos/cosmos-sdk pull 1278 (slashing v2, 2018), before which unbonding stake was not slashed; Gravity-Bridge issue 13 (2022)",
    file: "contracts/staking/unbonding.ts",
    find: "offence !== undefined && reaches(offence, entry) ? partUpOf(entry.amount, offence.slashBps) : 0n;",
    replace: "offence !== undefined && entry.amount < 0n ? 1n : 0n;",
    hunt: { kind: "unit", unit: "stake", seeds: 1000 },
  },
  {
    name: "slash_reaches_the_innocent",
    story: "What was asked back long before the offence, and stood behind nothing any more, is slashed with the rest.",
    source: "cosmos/interchain-security issue 643 (2023): delegators slashed for what their stake did not stand behind",
    file: "contracts/staking/unbonding.ts",
    find: "return entry.height < offence.at && entry.height + 1n >= offence.height;",
    replace: "return entry.height < offence.at;",
    hunt: { kind: "unit", unit: "stake", seeds: 1000 },
  },
  {
    name: "expired_evidence_accepted",
    story: "Evidence older than the unbonding time is acted on: it slashes those who came later, and old keys become a weapon.",
    source: "tendermint/tendermint pull 4667 (2020): when evidence has expired, by blocks and by time; cosmos-sdk issue 1378",
    file: "contracts/validators.ts",
    find: 'engine.name === "pos" && !isWithinUnbonding(view, engine, context, height))',
    replace: 'engine.name === "pos" && height > context.height)',
    hunt: { kind: "unit", unit: "stake", seeds: 1000 },
  },
  {
    name: "unbonding_rounds_up",
    story:
      "Whoever asks back gives one share less than the tokens are worth, and by many small steps takes out what others put in.",
    source: "EIP-4626, security considerations: round against the caller, or many small withdrawals take what others put in",
    file: "contracts/staking/shares.ts",
    find: "return amount === worth ? held : divideUp(amount * pool.shares, pool.tokens);",
    replace: "return amount === worth ? held : (amount * pool.shares) / pool.tokens;",
    hunt: { kind: "unit", unit: "stake", seeds: 1000 },
  },
  {
    name: "slash_burns_nothing",
    story: "What a slash takes leaves the pool and is not taken off the supply.",
    source: "the supply invariants of cosmos-sdk x/bank and x/staking, which crash a chain whose slash does not burn",
    file: "contracts/staking/slashing.ts",
    find: "  burn(state, taken - bounty);",
    replace: "  if (taken < bounty) burn(state, taken - bounty);",
    hunt: { kind: "unit", unit: "stake", seeds: 1000 },
  },
  {
    name: "jailed_stays_in_set",
    story: "A validator that was jailed keeps its seat, and goes on to vote with stake that it has lost.",
    source:
      "crypto-com/thaler issue 1034 (2020): a jailed node remains, or returns as, an active validator; cosmos-sdk issue 1974",
    file: "contracts/staking/declarations.ts",
    find: "if (pool === undefined || pool.jailedUntilMs !== undefined) return 0n;",
    replace: "if (pool === undefined) return 0n;",
    hunt: { kind: "unit", unit: "stake", seeds: 1000 },
  },
  {
    name: "last_validator_removed",
    story: "When all candidates are jailed the set becomes empty, and nobody can decide anything ever again.",
    source: "tendermint/tendermint issue 1649 (2018): clearing the sole validator; penumbra issue 743: halted by an empty set",
    file: "contracts/staking/elections.ts",
    find: "  if (elected.length === 0) return;\n",
    replace: "",
    hunt: { kind: "unit", unit: "stake", seeds: 2000 },
  },
];
