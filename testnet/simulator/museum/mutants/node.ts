/** The node around the engines: driver, sync, ledger, light client. Most are hunted through whole networks. */

import type { Mutant } from "../mutant.ts";

/** See the file's head. */
export const NODE_MUTANTS: readonly Mutant[] = [
  {
    name: "synced_without_certificate",
    story: "A node that is behind takes blocks from a peer without checking that anybody decided them.",
    source:
      "no single report: the check that block sync stands on (Tendermint checks each block by the commit that the next one carries)",
    file: "node/driver/driver.ts",
    find: "      if (!certified.ok) return certified;\n",
    replace: "",
    hunt: { kind: "simulator", engine: "tendermint", seeds: 400 },
  },
  {
    name: "copied_guard_not_sat_out",
    story: "A node that finds its record of signatures restored from a backup begins to vote at once.",
    source: "tendermint ADR-051, double signing risk reduction (2019)",
    file: "node/begin.ts",
    find: "    guard.raiseFloor(floor);\n    if (isForgetful) await guard.settle(floor);\n",
    replace: "",
    hunt: { kind: "simulator", engine: "tendermint", seeds: 1000 },
  },
  {
    name: "copied_guard_tires_of_silence",
    story:
      "A validator restored from a backup votes after all when nothing is decided without it, whatever it may have signed before.",
    source: "tendermint ADR-051: the double signing check is a number of blocks, and blocks may stand still",
    file: "node/begin.ts",
    find: "    if (isForgetful) await guard.settle(floor);\n",
    replace: "",
    hunt: { kind: "simulator", engine: "pos", seeds: 1500 },
  },
  {
    name: "reorg_keeps_state",
    story: "A reorganisation undoes blocks and not what they did to the state: the next block is executed on what is left over.",
    source:
      "Nakamoto 2008, section 5; Bitcoin Core DisconnectBlock and its undo data, and the forks of clients that undid too little",
    file: "chain/ledger/ledger.ts",
    find: "    await this.#tree.rollback(to);\n",
    replace: "",
    hunt: { kind: "simulator", engine: "pow", seeds: 200 },
  },
  {
    name: "split_by_headers_alone",
    story:
      "A miner is told to go over to a heavier chain whose headers it has seen and whose blocks nobody hands over: it gives its own up for nothing, again and again.",
    source: "data withholding: Al-Bassam, Sonnino, Buterin 2018 (arXiv:1809.09044), section 1",
    file: "node/driver/mining-split.ts",
    find: "const isShown = missing.length === 0 && chainWork >",
    replace: "const isShown = chainWork >",
    hunt: { kind: "simulator", engine: "pow", seeds: 600 },
  },
  {
    name: "trusting_period_from_new_header",
    story:
      "Whether trust has expired is reckoned by the time that the new header names, not the one that is trusted: an old set of validators dates its forgery today.",
    source:
      "times read from the wrong one of two places, as where a certificate and the block's time disagree (BFT time of Tendermint); cometbft light client specification, trusting period",
    file: "node/light/rules.ts",
    find: "if (trusted.time + clock.trustingPeriod <= clock.now)",
    replace: "if (header.time + clock.trustingPeriod <= clock.now)",
    hunt: { kind: "unit", unit: "light", seeds: 500 },
  },
  {
    name: "skipped_by_any_third",
    story: "A light client skips ahead on the word of exactly a third of the set that it trusts: all of them may lie.",
    source: "cometbft light client specification: the trust level is more than 1/3; Braithwaite et al., arXiv:2010.07031",
    file: "node/light/rules.ts",
    find: "return signed * denominator > total * numerator;",
    replace: "return signed * denominator >= total * numerator;",
    hunt: { kind: "unit", unit: "light", seeds: 500 },
  },
  {
    name: "next_set_not_followed",
    story: "The set that decides the very next height is not compared with the one that the trusted header names for it.",
    source: "cometbft light client specification, adjacent verification: NextValidators; arXiv:2010.07031",
    file: "node/light/rules.ts",
    find: "const isDecidedByNamed = !isAdjacent(before, header) || bytesEqual(header.validatorsHash, before.nextValidatorsHash);",
    replace: "const isDecidedByNamed = before.height < header.height;",
    hunt: { kind: "unit", unit: "light", seeds: 500 },
  },
];
