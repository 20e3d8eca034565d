/** Tendermint. "Line" is one of Algorithm 1 in Buchman, Kwon and Milosevic, arXiv:1807.04938. */

import type { Mutant } from "../mutant.ts";

/** See the file's head. */
export const TENDERMINT_MUTANTS: readonly Mutant[] = [
  {
    name: "lock_released_on_nil",
    story:
      "A validator that sees more than 2/3 prevote nil lets go of its lock, though the locked block may have been decided elsewhere.",
    source: "tendermint/tendermint issue 6849, removed in 6954 (2021); lines 44 to 46 keep the lock",
    file: "consensus/tendermint/rounds.ts",
    find: 'return state.step === "prevote" ? precommit(state, undefined) : ignore(state); // lines 44 to 46',
    replace: 'return state.step === "prevote" ? precommit({ ...state, locked: undefined }, undefined) : ignore(state);',
    hunt: { kind: "unit", unit: "tendermint", seeds: 4000 },
  },
  {
    name: "precommit_without_polka",
    story: "A validator precommits the proposal once more than 2/3 have prevoted anything, not this block.",
    source: "line 36 asks for 2f + 1 prevotes for id(v); line 34 alone for any",
    file: "consensus/tendermint/engine.ts",
    find: 'for (const value of instance.votes.quorumsOf("prevote", round)) {',
    replace:
      "for (const value of instance.votes.hasPolkaOfAny(round) ? instance.candidates.of(round).map(({ proposal }) => valueOf(proposal.blockHash)) : []) {",
    hunt: { kind: "unit", unit: "tendermint", seeds: 1000 },
  },
  {
    name: "lock_older_than_proof_unchecked",
    story: "A proposal with the polka of any earlier round frees a locked validator, also when the polka is older than the lock.",
    source:
      "line 29, lockedRound <= vr; Amoussou-Guenou et al., Dissecting Tendermint, NETYS 2019, on an earlier version without it",
    file: "consensus/tendermint/rounds.ts",
    find: "state.locked.round <= validRound",
    replace: "validRound >= 0",
    hunt: { kind: "unit", unit: "tendermint", seeds: 6000 },
  },
  {
    name: "lock_forgotten_on_restart",
    story: "A validator comes back from a crash without the lock that its precommit promised (amnesia).",
    source:
      "tendermint/spec, consensus/light-client/accountability: the amnesia attack; Cachin and Vukolic, Blockchain Consensus Protocols in the Wild, DISC 2017",
    file: "consensus/tendermint/rounds.ts",
    find: 'const isLock = step === "precommit" && value !== undefined && round > (state.locked?.round ?? -1);',
    replace: "const isLock = false;",
    hunt: { kind: "unit", unit: "tendermint", seeds: 4000 },
  },
  {
    name: "polka_forgotten_on_restart",
    story: "After the lights go out everywhere nobody can prove the lock that some hold, and the network stands still for ever.",
    source:
      "line 28 asks for the prevotes of the valid round; the paper's processes do not lose them, ours do unless they are recorded",
    file: "consensus/tendermint/engine.ts",
    find: "        for (const vote of record.votes) instance.votes.add(vote);",
    replace: "",
    hunt: { kind: "unit", unit: "tendermint", seeds: 4000 },
  },
  {
    name: "signed_before_promise_durable",
    story:
      "A vote is signed and sent while the record of it is still on its way to the disk; after a crash another one is asked for.",
    source: "tendermint/tendermint issue 573 (2017): sync the write-ahead log before our own messages are sent",
    file: "consensus/tendermint/engine.ts",
    find: "instance.asked !== undefined || Math.max(speech.after, instance.spoken) > this.#durable) return;",
    replace: "instance.asked !== undefined) return;",
    hunt: { kind: "unit", unit: "tendermint", seeds: 1000 },
  },
  {
    name: "quorum_of_exactly_two_thirds",
    story: "Two thirds of the power count as a quorum; with a third faulty, two quorums then share nobody honest.",
    source: "arXiv:1807.04938, section 2: n > 3f; the strictness that the comparison is so easily written without",
    file: "consensus/quorum/threshold.ts",
    find: "return 3n * power > 2n * totalPower;",
    replace: "return 3n * power >= 2n * totalPower;",
    hunt: { kind: "unit", unit: "quorums", seeds: 500 },
  },
  {
    name: "quarter_counts_as_honest_share",
    story:
      "A quarter of the power is believed to hold somebody honest: fewer liars than f + 1 bring everybody along to a round of their choice.",
    source: "line 55: f + 1 messages; arXiv:1807.04938, section 2",
    file: "consensus/quorum/threshold.ts",
    find: "return 3n * power > totalPower;",
    replace: "return 4n * power > totalPower;",
    hunt: { kind: "unit", unit: "quorums", seeds: 500 },
  },
  {
    name: "votes_counted_by_message",
    story: "A vote that comes twice counts twice, so one signer who repeats itself is a quorum.",
    source:
      "Castro and Liskov 1999, 4.2: 2f + 1 matching messages from different replicas; Tendermint counts by a bit array for this",
    file: "consensus/quorum/tally.ts",
    find: '    if (known.values.has(value)) return { kind: "known" };',
    replace: "    if (known.values.has(value)) this.#count(signer, power, value, ballot);",
    hunt: { kind: "unit", unit: "quorums", seeds: 500 },
  },
  {
    name: "certificate_of_one_signer",
    story: "The signers of a certificate need not be distinct: one validator's signature, repeated, has the power of a quorum.",
    source:
      "the power of a commit is of distinct validators; CVE-2020-15091 (GHSA-6jqj-f58p-mrw3) is of this kind: signatures that do not count are carried",
    file: "chain/block/vote.ts",
    find: 'compareBytes(previous, validator) >= 0) return fail({ code: "certificate_order", field });',
    replace: 'compareBytes(previous, validator) > 0) return fail({ code: "certificate_order", field });',
    hunt: { kind: "unit", unit: "signatures", seeds: 500 },
  },
  {
    name: "vote_without_chain_id",
    story: "What validators sign does not name the chain, so votes of a test network are votes of the real one.",
    source:
      "EIP-155 (2016), replays between Ethereum and Ethereum Classic; Tendermint's canonical vote carries chain_id for this",
    file: "chain/block/vote.ts",
    find: "const writer = new Writer().array(6).text(chainId).uint(STEP_NUMBER[vote.step])",
    replace: 'const writer = new Writer().array(6).text("").uint(STEP_NUMBER[vote.step])',
    hunt: { kind: "unit", unit: "signatures", seeds: 500 },
  },
];
