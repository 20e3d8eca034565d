/** Proof of work. */

import type { Mutant } from "../mutant.ts";

/** See the file's head. */
export const WORK_MUTANTS: readonly Mutant[] = [
  {
    name: "target_taken_from_block",
    story: "The target that a block must meet is read from the block, so its maker chooses how little work it has done.",
    source: "Bitcoin Core compares nBits with GetNextWorkRequired (bad-diffbits): the header is where the attacker writes",
    file: "consensus/pow/tree.ts",
    find: "    const bits = this.bitsAfter(parent);\n",
    replace: "    const { bits } = seal;\n",
    hunt: { kind: "unit", unit: "header-tree", seeds: 500 },
  },
  {
    name: "compact_target_overflows",
    story: "A compact target whose exponent shifts it beyond 256 bits wraps round, or counts as the easiest of all.",
    source: "Bitcoin Core, arith_uint256::SetCompact: pfOverflow, which CheckProofOfWork refuses",
    file: "chain/block/work.ts",
    find: 'return target < WORK_END ? ok(target) : fail({ code: "target_overflow" });',
    replace: "return ok(target % WORK_END);",
    hunt: { kind: "unit", unit: "compact", seeds: 500 },
  },
  {
    name: "compact_sign_ignored",
    story: "The sign bit of a compact target is read as part of its mantissa.",
    source: "Bitcoin Core, SetCompact and GetCompact: 0x00800000 is a sign, and negative targets are refused",
    file: "chain/block/work.ts",
    find: '  if ((bits & SIGN_BIT) !== 0) return fail({ code: "target_negative" });\n',
    replace: "",
    hunt: { kind: "unit", unit: "compact", seeds: 500 },
  },
  {
    name: "retarget_windows_apart",
    story:
      "A window is measured from its own first block: the interval between two windows belongs to none, and a majority of miners turns time back there.",
    source: "the time warp attack, ArtForz on bitcointalk, 2011; used against Verge in April 2018; BIP 54",
    file: "chain/block/retarget.ts",
    find: "timeOf(heightOf(parent.height - window))",
    replace: "timeOf(heightOf(parent.height - window + 1n))",
    hunt: { kind: "unit", unit: "retarget", seeds: 500 },
  },
  {
    name: "block_time_unchecked",
    story: "A block may say that it was made before the one it stands on, and so move the difficulty as its maker likes.",
    source:
      "Bitcoin's median-time-past rule (time-too-old); Verge, April 2018, where blocks with old times lowered the difficulty",
    file: "consensus/pow/tree.ts",
    find: '    if (header.timeMs <= parent.timeMs) return fail({ code: "header_time" });\n',
    replace: "",
    hunt: { kind: "unit", unit: "header-tree", seeds: 500 },
  },
  {
    name: "longest_chain_by_height",
    story: "The chain with the most blocks wins, not the one with the most work: many easy blocks beat a few hard ones.",
    source: "Bitcoin before 0.3.3 (July 2010) compared heights; Nakamoto 2008, section 4, means work",
    file: "consensus/pow/tree.ts",
    find: "if (this.#isOpen(node) && chainWork > this.#best.chainWork) this.#best = node;",
    replace: "if (this.#isOpen(node) && node.height > this.#best.height) this.#best = node;",
    hunt: { kind: "unit", unit: "header-tree", seeds: 1000 },
  },
  {
    name: "deep_forks_kept",
    story: "Headers of low work that fork off deep below the head are kept, and memory is whatever an attacker makes of it.",
    source: "CVE-2019-25220, Bitcoin Core: memory exhausted by low-difficulty headers, fixed by headers presync in 24.0.1",
    file: "consensus/pow/tree.ts",
    find: '    if (parent.height < this.#settled.height) return fail({ code: "header_deep" });\n',
    replace: "",
    hunt: { kind: "unit", unit: "header-tree", seeds: 1000 },
  },
  {
    name: "claimed_work_believed",
    story: "The sum of work is what the seal says, so a branch of a few cheap blocks claims more than the chain has.",
    source: "Bitcoin Core reckons nChainWork itself and never takes it from a peer; Nakamoto 2008, section 4",
    file: "consensus/pow/tree.ts",
    find: '    if (seal.chainWork !== chainWork) return fail({ code: "seal_work" });\n',
    replace: "",
    hunt: { kind: "unit", unit: "header-tree", seeds: 500 },
  },
];
