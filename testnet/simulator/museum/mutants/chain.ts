/** Trees, turns, the state machine and the mempool. */

import type { Mutant } from "../mutant.ts";

/** See the file's head. */
export const CHAIN_MUTANTS: readonly Mutant[] = [
  {
    name: "last_leaf_doubled",
    story:
      "A tree whose last node has no sibling pairs it with itself, so a list and the list with its end repeated share a root.",
    source: "CVE-2012-2459, Bitcoin: a block with transactions repeated made nodes refuse the true one",
    file: "chain/merkle/log.ts",
    find: "  return frontier.hashes.reduceRight((right, left) => hasher.node(left, right));",
    replace: [
      "  let at = frontier.hashes.length - 1;",
      '  let root = present(frontier.hashes[at], "last node");',
      "  for (let level = trailingZeros(frontier.size); (frontier.size - 1n) >> BigInt(level) > 0n; level += 1) {",
      "    const isRight = (((frontier.size - 1n) >> BigInt(level)) & 1n) === 1n;",
      "    if (isRight) at -= 1;",
      '    root = isRight ? hasher.node(present(frontier.hashes[at], "left node"), root) : hasher.node(root, root);',
      "  }",
      "  return root;",
    ].join("\n"),
    hunt: { kind: "unit", unit: "log-tree", seeds: 500 },
  },
  {
    name: "leaf_hashed_like_node",
    story: "Leaves and nodes are hashed alike, so the two hashes under a node can be passed off as an entry of the list.",
    source: "RFC 6962, 2.1 (domain separation); CVE-2017-12842, Bitcoin: a transaction of 64 bytes read as an inner node",
    file: "chain/merkle/log.ts",
    find: 'leaf: (entry) => hash("logLeaf", entry),',
    replace: 'leaf: (entry) => hash("logNode", entry),',
    hunt: { kind: "unit", unit: "log-tree", seeds: 500 },
  },
  {
    name: "proof_length_unchecked",
    story: "The verifier takes as many siblings as the proof has, so a shorter proof of an inner node passes for one of a leaf.",
    source: "the forged IAVL proof behind the BNB bridge theft, October 2022, and the Dragonberry advisory of ICS-23 after it",
    file: "chain/merkle/log.ts",
    find: "  if (siblings.length !== inner + border) return fail({",
    replace: "  if (siblings.length > inner + border) return fail({",
    hunt: { kind: "unit", unit: "log-tree", seeds: 500 },
  },
  {
    name: "priorities_not_scaled",
    story:
      "When a validator with most of the power leaves, the priorities of the rest stay as far apart as they were, and one of them proposes hundreds of blocks in a row.",
    source: "tendermint/tendermint issue 2960 (2018), fixed in 3049",
    file: "chain/block/validators.ts",
    find: "const ratio = spread > window ? (spread + window - 1n) / window : 1n;",
    replace: "const ratio = 1n;",
    hunt: { kind: "unit", unit: "turns", seeds: 500 },
  },
  {
    name: "priorities_not_centred",
    story:
      "Each newcomer's debt lowers the sum of all priorities, and nothing lifts it again: who has been there longest drifts to the top.",
    source: "tendermint/tendermint issues 2718, 2785 and 2960 (2018)",
    file: "chain/block/validators.ts",
    find: "  return scaled.map((priority) => priority - mean);",
    replace: "  return mean === 0n ? scaled : scaled.map((priority) => priority);",
    hunt: { kind: "unit", unit: "turns", seeds: 500 },
  },
  {
    name: "newcomer_without_debt",
    story: "A new validator begins at zero, so whoever leaves and comes back loses no turn, and proposes more than its share.",
    source:
      "cometbft spec/consensus/proposer-selection.md: the penalty of 1.125 of the total power, against unbonding and bonding again",
    file: "chain/block/validators.ts",
    find: "const debt = -(totalBeforeRemovals + (totalBeforeRemovals >> 3n));",
    replace: "const debt = totalBeforeRemovals - totalBeforeRemovals;",
    hunt: { kind: "unit", unit: "turns", seeds: 500 },
  },
  {
    name: "nonce_not_checked",
    story: "A transaction that was executed can be executed again.",
    source:
      "replays as between Ethereum and Ethereum Classic, 2016; the account nonce is what stands against them within a chain",
    file: "contracts/executor.ts",
    find: '  if (body.nonce < account.nonce) return fail({ code: "nonce_used", field: "nonce" });',
    replace: "",
    hunt: { kind: "unit", unit: "executor", seeds: 500 },
  },
  {
    name: "transaction_of_another_chain",
    story: "A transaction signed for one network is executed on another where the signer has an account too.",
    source: "EIP-155 (2016), after the split of Ethereum and Ethereum Classic",
    file: "contracts/executor.ts",
    find: '  if (body.chainId !== context.chainId) return fail({ code: "chain_mismatch", field: "chainId" });',
    replace: "",
    hunt: { kind: "unit", unit: "executor", seeds: 500 },
  },
  {
    name: "failed_transaction_half_done",
    story: "When a later call of a transaction fails, what the earlier ones wrote stays.",
    source: "Atzei, Bartoletti and Cimoli, A Survey of Attacks on Ethereum Smart Contracts, POST 2017 (exception disorder)",
    file: "contracts/executor.ts",
    find: "    scope.state.revert(stateBefore);",
    replace: "    void stateBefore;",
    hunt: { kind: "unit", unit: "executor", seeds: 500 },
  },
  {
    name: "fee_paid_to_nobody",
    story: "Fees are taken from the sender and given to nobody, and the supply row does not know that they are gone.",
    source: "the total-supply invariant of x/bank in cosmos-sdk; Bitcoin block 124724, whose fees nobody ever got",
    file: "contracts/executor.ts",
    find: "    reward(state, context.proposer, fees + minted);",
    replace: "    reward(state, context.proposer, minted);",
    hunt: { kind: "unit", unit: "executor", seeds: 500 },
  },
  {
    name: "mempool_keeps_used_nonces",
    story: "Transactions whose nonce a block has used by another one stay in the mempool, and are proposed in block after block.",
    source:
      "stacks-network/stacks-core issue 4129 and starkware-libs/mempool pull 482 (2024); tendermint/tendermint issue 2846 on blocks with repeats",
    file: "chain/mempool/mempool.ts",
    find: "      if (lane !== undefined) this.#follow(lane, accountOf(sender));",
    replace: "      if (lane !== undefined) accountOf(sender);",
    hunt: { kind: "unit", unit: "mempool", seeds: 1000 },
  },
  {
    name: "mempool_reaps_beyond_gaps",
    story: "What waits behind a missing nonce is offered to the proposer as if it were ready.",
    source: "sikkalabs/sikka issue 5 (2026): transactions behind a gap proposed and refused in every block",
    file: "chain/mempool/mempool.ts",
    find: "pushCursor(heads, lane, 0, lane.readyCount());",
    replace: "pushCursor(heads, lane, 0, lane.entries.length);",
    hunt: { kind: "unit", unit: "mempool", seeds: 1000 },
  },
];
