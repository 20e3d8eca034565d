/** What an audit can find wrong, and what it means for whoever runs or trusts the audited node. */

/**
 * The first thing that does not hold, of one height.
 *
 * `field` names what of it (`header.stateRoot`, `calls[0]`, a row's key in hex); `reason` is the code of the check
 * underneath.
 */
export type AuditFault = {
  readonly code: AuditCode;
  readonly height: bigint;
  readonly field?: string;
  readonly reason?: string;
  /** Who showed it, when it was not the source: whoever has the blocks that the source lacks. */
  readonly holder?: string;
};

/** Every code, with what to do. */
export const AUDIT_CODES = {
  audit_unreadable: "the source failed to give what it should hold: its disk or connection is broken, or its rows were changed",
  audit_missing:
    "a height is not there: a node that began with a snapshot, or forgets old blocks, is audited with the blocks of others (--rpc, --archive) or from a snapshot on (--snapshot; --data takes the node's own state)",
  audit_base: "the snapshot that the audit was to begin with is not proven by the network file, or is not of this chain",
  audit_block: "the bytes of a block do not decode: they were changed",
  audit_header: "a header contradicts the block before it, the network file, or what executing its transactions gives",
  audit_transaction: "a transaction of a block is not valid or not signed",
  audit_reorganised: "the node changed over to a heavier chain meanwhile, as proof of work has it: audit it again",
  audit_certificate:
    "a certificate does not prove that more than 2/3 of its validators decided the block, or a seal that the work was done",
  audit_proposer: "a block names a proposer that is no validator of its height",
  audit_results: "the stored results are not what executing the block gives",
  audit_index: "the transaction index leads elsewhere",
  audit_validators: "the stored validator set of a height is not the one that the chain gives",
  audit_history: "an old header cannot be proven from the newest one",
  audit_state: "a row of the state cannot be proven against the root in the header",
  audit_records: "a record of a partition is missing, differs, or cannot be proven",
  audit_rollback: "a node's head is lower than one that it told before: its operator went back, or its disk did",
  audit_split:
    "a node shows another certified chain: more than a third of the validators are faulty, and the fraud proof says who",
  audit_lie: "a node's answer does not prove what it says",
  audit_damage: "a row of the store is not what the chain commits to, or nothing leads to it: `pyralog scrub --repair`",
  audit_replica: "the replica itself does not hold: a fault of this program, report it",
} as const satisfies Record<string, string>;

/** One of `AUDIT_CODES`. */
export type AuditCode = keyof typeof AUDIT_CODES;

/** What is thrown by what stands around an audit. */
export const AUDITOR_CODES = {
  audit_listen: "the port for metrics cannot be bound: choose another",
  webhook_failed: "the webhook did not take an alert: look at it, and at the alerts themselves",
  witness_key: "cosignatures are made with an Ed25519 key that is used for nothing else: pyralog keys new NAME --type ed25519",
  witness_state: "the file of what was cosigned is damaged: find out what was signed before going on",
  witness_conflict: "what was cosigned before is not the beginning of this history: look for a fork before anything else",
  witness_mode: "only what was executed from genesis is cosigned, and nothing under proof of work",
} as const satisfies Record<string, string>;
