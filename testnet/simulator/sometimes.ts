/**
 * "Sometimes" assertions: rare events that a campaign of runs must have met, or it has not tested what it claims to.
 *
 * A name stands in the table with what it means; counting a name that is not there does not compile.
 */

/** What should happen sometimes. */
export const SOMETIMES = {
  // Network.
  packet_lost: "a packet was lost",
  packet_doubled: "a packet arrived twice",
  packet_cut: "a packet met a partition",
  packet_filtered: "a packet of one kind was dropped",
  packet_clogged: "a packet waited on a clogged link",
  answer_stalled: "an answer stopped in the middle",
  gossip_rejected: "a node refused a message that no honest node relays",
  peer_penalised: "a node held something against a peer",
  peer_banned: "a node cut a peer off",
  // Process.
  process_killed: "a process ended and its machine went on",
  power_cut: "a machine lost its power",
  process_paused: "a process stood still for a while",
  crash_at_write: "a process ended at a write",
  crash_at_sync: "a process ended at a sync",
  crash_at_name_change: "a process ended at a rename, creation, removal or sync of a directory",
  crash_at_send: "a process ended as it was about to send",
  restarted: "a node came back",
  clock_jumped_back: "a wall clock jumped back",
  clock_jumped_ahead: "a wall clock jumped ahead",
  start_refused: "a node refused to start, and said why",
  operator_rolled_back: "an operator took a node back to where its chain and a heavier one fork",
  operator_rebuilt: "an operator wiped a damaged home and let it join anew",
  node_failed: "a node ended itself because its disk failed",
  old_backup_restored: "a node came back with a disk of an earlier time",
  // Disk.
  unsynced_lost: "a power cut took what was not synced",
  unsynced_torn: "a power cut left a part of what was not synced",
  unsynced_scattered: "a power cut left sectors out of order",
  unsynced_kept: "a power cut left everything",
  bit_flipped: "a bit flipped at rest",
  write_misdirected: "a write went into another file",
  sync_failed: "a sync failed and dropped the pages",
  disk_full: "a write found no room",
  disk_hung: "a sync took very long",
  log_damage_refused: "a node would not start with a log whose durable records were damaged",
  // Consensus.
  round_beyond_first: "a block was decided in a round after the first",
  round_beyond_third: "a block was decided in a round after the third",
  height_by_sync: "a node got a decided block from a peer and not by its own engine",
  height_with_transactions: "a block carried a transaction",
  evidence_found: "a node saw a validator sign twice",
  evidence_committed: "a block carried evidence",
  sat_out: "a returning validator sat a height out",
  proposal_without_bodies: "a proposal was gossiped with ids in place of bodies that everybody should have",
  bodies_fetched: "bodies of a proposal were asked for, and came",
  sat_out_for_good: "nothing moved without a validator that may have forgotten what it signed, and it kept silent",
  sat_out_ended_early: "a validator took part in a height that it was to sit out, because nothing moved",
  sign_refused: "the guard refused a signature",
  block_from_future: "a block's time was ahead of a node's clock",
  locked_on_nil_poll: "a validator prevoted nil although it had a proposal",
  lock_released: "a locked validator prevoted another block, because a later round had",
  lock_renewed: "a locked validator precommitted its block again in a later round",
  proof_of_lock_proposed: "a proposer proposed again what an earlier round had prevoted",
  certificates_differ: "two nodes proved one height by different certificates",
  history_replayed: "a restarted node replayed its log",
  block_undone: "a block was undone for a chain of more work",
  set_changed_by_authority: "the authority changed who validates, or by how much power",
  set_change_refused: "a change of the set by the authority was refused",
  // Raft.
  raft_leader_changed: "another node leads than before",
  raft_election_lost: "a term ended without a leader",
  raft_vote_split: "two nodes asked for votes in one term",
  raft_vote_refused: "a node refused a vote",
  raft_pre_vote_refused: "a node would not vote for one who asked beforehand",
  raft_append_refused: "a follower's log was not equal where its leader thought it was",
  raft_log_truncated: "entries of a leader of the past were overwritten",
  raft_old_entry_carried: "a leader replicated an entry of an earlier term",
  raft_snapshot_sent: "a follower was too far behind to be sent entries",
  raft_snapshot_installed: "a follower's log began anew at a snapshot",
  raft_configuration_changed: "a leader replicated a change of who votes",
  raft_joint_entered: "a leader replicated a change of more than one voter",
  raft_learner_added: "a leader began to feed one who is to vote",
  raft_log_lost: "a voter began with less than it had said, and kept out of elections",
  raft_log_regained: "one that had lost its log was told all by a leader of a later term",
  raft_leader_removed: "a leader replicated its own leave",
  // PBFT.
  pbft_view_changed: "a validator asked for another view",
  pbft_view_changed_prepared: "a validator asked for another view, and claimed a prepared block",
  pbft_new_view_free: "a new view began with a block of its primary's choice",
  pbft_new_view_carried: "a new view carried a prepared block on",
  pbft_lower_claim_overruled: "a new view chose between prepared blocks of two views",
  pbft_new_view_unsound: "a primary sent a new-view that does not follow from its view-changes",
  // Work.
  pow_reorganised: "a node left a branch for another",
  pow_settled_undone: "a split lasted so long that more was undone than what clients are told is settled",
  pow_split_told: "a node said that a heavier chain forks deeper than it may go back",
  pow_crashed_in_reorganisation: "a node crashed between undoing and following",
  pow_branch_weighed: "a branch that a node was handed whole was held against the one it follows",
  pow_block_held: "a miner kept a block of its own back",
  pow_branch_released: "a miner let a branch go that it had kept back",
  pow_body_kept: "a miner announced a block and handed it to nobody",
  pow_bits_forged: "a header came with a target of its own",
  pow_work_forged: "a header came with more work than there is under it",
  pow_from_future: "a header came from the future",
  pow_bad_branch: "a branch of most work began with a block that is not valid",
  pow_headers_flooded: "cheap headers came upon a block of long ago",
  pow_orphan_forged: "a header came upon a block that there is not",
  // Byzantine.
  fork_made: "more than a third lied, and two blocks of a height were final",
  fork_proved_by_evidence: "evidence as the chain takes it named a third of the power after a fork",
  fork_proved_by_view_changes: "after a fork only view-changes convicted a third of the power",
  byzantine_equivocated: "a validator signed two words for one step",
  byzantine_withheld: "a validator kept a word from some",
  byzantine_mutated: "a validator sent a word with one field changed",
  byzantine_replayed: "a validator sent an old word again",
  byzantine_lied_height: "a node claimed a height that it has not",
  byzantine_forgot_lock: "a validator prevoted against its lock",
  byzantine_spoke_ahead: "a validator spoke in a round far ahead",
  byzantine_served_garbage: "a node served a bad block or proof",
  byzantine_censored: "a proposer left transactions out",
  byzantine_made_up_view_change: "a validator claimed in a view-change what is not so",
  byzantine_made_up_new_view: "a primary made a new-view up",
  byzantine_withheld_new_view: "a primary kept its new-view to itself",
  twins_active: "two instances had one key",
  // Clients.
  client_retried: "a client gave its transaction to another node",
  client_unsure: "a client heard nothing of its transaction in time",
  client_refused: "a node refused a client's transaction",
  race_won: "a session's transaction was included before those of the others, and applied",
  race_won_in_vain: "a session's transaction was included, and failed by what it found",
  race_lost: "a session's transaction was never included, because another's was",
  race_explained: "an order was found for all that racing sessions were told",
  race_undecided: "no order was found within the budget, nor that there is none",
  // Stake.
  stake_bonded: "stake was bonded",
  stake_asked_back: "stake was asked back",
  stake_call_failed: "a call about stake failed",
  validator_declared: "a validator was declared",
  validator_jailed: "a validator was jailed for absence",
  validator_unjailed: "a validator came out of jail",
  unjail_refused: "a validator was refused to come out of jail",
  validator_outbid: "a validator left the set for others with more stake",
  commission_changed: "a commission was changed",
  rewards_claimed: "rewards were claimed",
  offender_slashed: "a validator was slashed and tombstoned for signing twice",
  offence_shown_again: "evidence named a validator that had been punished",
  unbonding_matured: "stake that was asked back was released",
  unbonding_slashed: "stake that was asked back was slashed when it was released",
  set_changed_by_stake: "somebody joined or left the set by an election",
  power_changed_by_stake: "powers in the set changed by an election, and nobody joined or left",
  nobody_electable: "the set stayed because nobody could be elected",
  stake_moot: "a third of the stake came to those who lie, and nothing was promised any more",
} as const satisfies Record<string, string>;

/** A name of the table. */
export type SometimesName = keyof typeof SOMETIMES;

/** Counts them. */
export class Sometimes {
  readonly #counts = new Map<SometimesName, number>();

  /** It happened. */
  saw(name: SometimesName): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  /** How often each happened, in the order of the table; 0 where never. */
  counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(Object.keys(SOMETIMES).map((name) => [name, this.#counts.get(name as SometimesName) ?? 0]));
  }
}
