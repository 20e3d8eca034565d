/**
 * Every code with which a transaction, a block or a part of one is refused, in one table: what it means, and what
 * whoever sent it should do. RPC, the command line and `tx why` show these; the code branches on the codes alone.
 *
 * Codes are part of the interface: never rename, never give an old one a new meaning.
 */

type Entry = { readonly meaning: string; readonly action: string };

/** The table. The first words of a code say which part refuses. */
export const REFUSALS = {
  // Encodings (crypto/codec).
  encoding_truncated: { meaning: "the bytes end inside an item", action: "send all of them" },
  encoding_trailing: { meaning: "bytes follow the last item", action: "send one item and nothing after it" },
  encoding_not_canonical: {
    meaning: "the same thing has another, canonical encoding",
    action: "encode with this library, or follow the dag-cbor specification to the letter",
  },
  encoding_type: {
    meaning: "an item of another type stands where this one belongs",
    action: "compare the encoding with the format of this version",
  },
  encoding_limit: {
    meaning: "a length, count or number is outside what the format allows",
    action: "stay within chain/block/limits.ts",
  },
  encoding_depth: { meaning: "the value is nested too deeply", action: "flatten it" },
  encoding_text: { meaning: "a string is not UTF-8", action: "encode text as UTF-8, other bytes as a byte string" },

  // Transactions, whatever the state.
  transaction_size: {
    meaning: "the transaction is larger than the network allows",
    action: "split it; keep large things outside and store their CID",
  },
  sender_mismatch: {
    meaning: "the authorisation speaks for another address than the sender",
    action: "sign with the sender's key, or name the signer as sender",
  },
  signature_invalid: {
    meaning: "a signature is not valid over the transaction's id",
    action: "sign the id of exactly these body bytes, for this chain id",
  },
  name_invalid: { meaning: "a name is not [a-z0-9][a-z0-9_.-]{0,63}", action: "choose another name" },
  nonce_range: { meaning: "the nonce is not a number below 2^64", action: "use the sender's next nonce" },
  expiry_range: { meaning: "the expiry is not a height below 2^63", action: "use a height a little above the current one" },
  amount_range: { meaning: "an amount is zero, negative, or 2^64 or more", action: "send between 1 and 2^64 - 1 base units" },
  calls_count: { meaning: "a transaction has no call, or more than 64", action: "put 1 to 64 calls in one transaction" },
  row_key_size: { meaning: "a row key is empty or longer than 256 bytes", action: "shorten the key; hash long ones" },
  row_value_size: { meaning: "a row value is larger than 64 KiB", action: "split it over rows, or append it as records" },
  row_value_encoding: { meaning: "a row value is not one canonical dag-cbor item", action: "encode it with encodeValue" },
  partition_range: { meaning: "a partition number is not between 0 and 65535", action: "choose another partition" },
  records_count: { meaning: "an append has no record, or more than 1024", action: "split it over calls" },
  record_key_size: {
    meaning: "a record's key is empty or over 256 bytes, or a record has neither key nor value",
    action: "choose a key",
  },
  record_headers: {
    meaning: "a record has more than 16 headers, or one whose name or size is not allowed",
    action: "leave some out",
  },
  stream_rules: {
    meaning: "a stream's partitions, segments or spans are outside what the format allows",
    action: "stay within chain/block/limits.ts",
  },
  record_size: { meaning: "a record is larger than 64 KiB", action: "split it, or keep it outside and append its CID" },
  commission_range: { meaning: "a commission is not between 0 and 10000 basis points", action: "name a share of the whole" },
  number_range: {
    meaning: "a node number is over 1023, or its holder, epoch or time is out of range",
    action: "take a number from 0 to 1023, and the epoch from the lease's row",
  },
  session_range: { meaning: "a session or a sequence is not a number below 2^64", action: "use an id, and count from 0" },
  power_range: { meaning: "a validator's power is negative or over 2^56", action: "use a smaller unit of power" },

  // Transactions, in the state of now.
  chain_mismatch: { meaning: "the transaction is for another network", action: "sign for this network's chain id" },
  transaction_expired: { meaning: "the expiry height has passed", action: "sign again with a later expiry" },
  nonce_used: {
    meaning: "the sender has had a transaction with this nonce included",
    action: "if it was not this one, sign again with the next nonce",
  },
  nonce_ahead: { meaning: "transactions with lower nonces are missing", action: "send those first" },
  fee_low: { meaning: "the fee is below feeMin + feePerByte * size", action: "sign again with a higher fee" },
  balance_insufficient: {
    meaning: "the sender's balance does not cover the fee or the amount",
    action: "lower the amount, or fund the account",
  },

  // Calls that failed: the transaction is included and charged, and did nothing.
  table_exists: { meaning: "the namespace has a table of this name", action: "use it if it is yours, else choose another name" },
  table_unknown: { meaning: "there is no such table", action: "create it first" },
  table_not_owner: { meaning: "the table belongs to another account", action: "send as its owner, or make your own table" },
  row_unknown: { meaning: "there is no such row to delete", action: "nothing: it is gone" },
  partition_not_owner: {
    meaning: "the partition belongs to whoever wrote to it first",
    action: "append to a partition of your own",
  },
  stream_exists: { meaning: "a stream of this name is declared already", action: "use it, or choose another name" },
  stream_not_owner: { meaning: "only the stream's owner may append to it", action: "send as its owner, or make your own stream" },
  record_absent: { meaning: "the partition has no record at that index", action: "erase one that is there" },
  record_erased: { meaning: "the record was erased before", action: "nothing: it is gone" },
  stream_partition: {
    meaning: "the stream was declared with fewer partitions",
    action: "route over the partitions that it has",
  },
  authority_required: {
    meaning: "only the network's authority may change validators",
    action: "send as the authority named in the network file",
  },
  validator_unknown: { meaning: "removing a validator that the next set does not have", action: "nothing: it is gone" },
  validator_tombstoned: {
    meaning: "this key signed two conflicting statements and may never validate again",
    action: "add the operator under a new key",
  },
  validator_repeated: { meaning: "one change names a key twice", action: "name it once" },
  validator_power: {
    meaning: "a validator's power is negative, over 2^56, or other than 1 where heads are counted (Raft)",
    action: "use a smaller unit of power; under Raft, 1 or 0",
  },
  validators_power_total: { meaning: "the total power would pass 2^56", action: "use a smaller unit of power" },
  validators_none: { meaning: "no validator would be left", action: "add another one first" },
  validators_few: {
    meaning: "fewer than four validators (under Raft, three) would be left, which no fault may hit",
    action: "add another one first",
  },
  validators_many: { meaning: "there would be more than 128 validators", action: "remove one first" },
  rewards_none: { meaning: "the sender has nothing to claim", action: "nothing, until it has earned something" },
  stake_engine: {
    meaning: "the call is for networks under proof of stake, and this is none",
    action: "leave it out; a proposer claims its fees without naming a validator",
  },
  validators_work: {
    meaning: "under proof of work nobody validates but by work",
    action: "mine; nobody need be let in",
  },
  validators_elected: {
    meaning: "under proof of stake no authority changes validators: stake elects them",
    action: "stake with the validator, or ask stake back",
  },
  validator_key: {
    meaning: "the key declared is not the sender's own",
    action: "sign with the key that will validate, and name another account as operator",
  },
  validator_declared: { meaning: "the validator was declared before", action: "stake with it" },
  validator_undeclared: { meaning: "nobody declared a validator of this address", action: "check the address, or declare it" },
  validator_operator: { meaning: "only the validator's operator may do this", action: "send as its operator" },
  commission_step: { meaning: "the commission would change by more than its declared step", action: "go in smaller steps" },
  commission_early: { meaning: "the commission changed less than a day ago", action: "wait a day of block time" },
  stake_small: { meaning: "the amount does not buy a single share", action: "stake more" },
  stake_insufficient: { meaning: "the sender has less staked with this validator", action: "ask less back" },
  stake_total: { meaning: "all stake together would pass the largest total power", action: "stake less" },
  pool_worn: {
    meaning: "slashes left the validator's shares too little worth to add to them",
    action: "stake with another validator",
  },
  jail_none: { meaning: "the validator is not jailed", action: "nothing" },
  jail_early: { meaning: "the validator's time in jail is not over", action: "wait until the time in its pool" },
  session_many: {
    meaning: "the partition has as many sessions open as one may",
    action: "use one of them, or wait until some have ended",
  },
  session_spent: {
    meaning: "the session's id is not above those of all sessions that have ended here",
    action: "open a session with a newer id",
  },
  session_unknown: {
    meaning: "no such session is open on the partition: it was never, or it has ended",
    action: "open a session; what was sent in the old one may have been appended: look before sending it again",
  },
  session_gap: { meaning: "appends of the session before this one are missing", action: "send those first" },
  session_old: {
    meaning: "it was appended, so long ago in the session that nobody remembers where",
    action: "nothing: it is there",
  },
  session_conflict: {
    meaning: "this sequence was used for other records",
    action: "count on; a sequence is for one append and its repetitions",
  },
  number_taken: { meaning: "somebody has leased this node number", action: "claim another one, or wait until the lease ends" },
  number_held: {
    meaning: "the sender has leased a number already, and an address has one",
    action: "use that one, or give it back first",
  },
  number_validators: {
    meaning: "numbers below 512 are for validators of the current set where voters decide",
    action: "claim a number from 512 to 1023",
  },
  number_unleased: { meaning: "the sender has no lease of this number", action: "claim a number" },
  number_epoch: {
    meaning: "the lease of this number has another epoch: it was claimed anew since",
    action: "make no more ids under it; claim a number",
  },
  number_ended: { meaning: "the lease has ended", action: "make no more ids under it; claim a number" },
  number_window: {
    meaning: "the time at which the number is given back is outside its lease",
    action: "name a time from its start to its end, after that of the last id made",
  },
  self_bond_low: {
    meaning: "the operator has less staked with the validator than the network asks for",
    action: "stake more as its operator first",
  },

  // Certificates.
  certificate_order: {
    meaning: "signatures are not in the order of the set, or one stands twice",
    action: "drop the certificate; whoever sent it is at fault",
  },
  certificate_signer: {
    meaning: "a signer is not in the set that decides this height",
    action: "drop it; check that the set is that of the height",
  },
  certificate_power: {
    meaning: "the signers do not hold more than two thirds of the power",
    action: "drop it; ask another peer",
  },
  certificate_signature: {
    meaning: "a signature is not valid for this chain, height, round and block",
    action: "drop it; ask another peer",
  },

  // Work.
  target_zero: { meaning: "a compact target is zero, which nothing meets", action: "drop it; name a target that can be met" },
  target_negative: { meaning: "a compact target is negative", action: "drop it; name a target that can be met" },
  target_overflow: { meaning: "a compact target passes 256 bits", action: "drop it; name a target that can be met" },
  work_bits: {
    meaning: "a seal names another target than the headers before it prescribe",
    action: "drop the block; whoever made it is at fault",
  },
  work_sum: {
    meaning: "a seal claims another sum of work than its chain has",
    action: "drop the block; whoever made it is at fault",
  },
  work_target: { meaning: "a seal does not meet its target", action: "drop the block; whoever made it is at fault" },

  // Evidence.
  evidence_mismatch: { meaning: "the two statements do not contradict each other", action: "drop it; it proves nothing" },
  evidence_order: { meaning: "the statements stand in the wrong order", action: "make it with doubleVoteOf or doubleProposalOf" },
  evidence_signer: { meaning: "the signer was no validator of that height", action: "drop it" },
  evidence_signature: { meaning: "a statement is not signed by the validator", action: "drop it; whoever sent it is at fault" },
  evidence_height: { meaning: "the evidence is not of an earlier height", action: "include it in a later block" },
  evidence_old: { meaning: "the evidence is older than evidenceAgeMax heights", action: "drop it" },
  evidence_repeated: { meaning: "this validator's misbehaviour at this height was acted on already", action: "drop it" },
  evidence_count: { meaning: "more than 16 pieces of evidence in one block", action: "leave the rest for later blocks" },

  // Blocks and network files.
  block_chain: { meaning: "the block is of another network", action: "drop it; whoever sent it is at fault" },
  block_height: { meaning: "the block is not the next one", action: "fetch the blocks between first" },
  block_previous: { meaning: "the block does not follow the newest final one", action: "drop it; whoever sent it is at fault" },
  block_time: {
    meaning: "the block's time is not after the one before, or too far ahead of the clock",
    action: "check the clocks of the validators",
  },
  block_transactions: {
    meaning: "the block has more transactions than the network allows",
    action: "drop it; whoever sent it is at fault",
  },
  block_operations: {
    meaning: "the block's calls write more rows and records than a block may",
    action: "drop it; whoever sent it is at fault",
  },
  block_proposer: { meaning: "the proposer named is no validator of the height", action: "drop it; whoever sent it is at fault" },
  block_certificate: {
    meaning: "the block does not carry the certificate of the one before",
    action: "drop it; whoever sent it is at fault",
  },
  block_root: {
    meaning: "a commitment of the header is not that of what it commits to",
    action: "drop it; if it is final, this node's state is damaged or its version differs",
  },
  block_size: { meaning: "the block is larger than the format allows", action: "drop it; whoever sent it is at fault" },
  network_size: { meaning: "the network file is larger than 8 MiB", action: "fund fewer accounts at genesis" },
  network_json: { meaning: "the network file is not JSON", action: "fetch it again" },
  network_invalid: {
    meaning: "a field is missing, unknown, out of range, or contradicts another",
    action: "correct the field that is named",
  },
  network_not_canonical: {
    meaning: "the text is not the one that encodeNetworkFile makes",
    action: "fetch it again unchanged, or write it with the network command",
  },
  network_hash: {
    meaning: "the hash in the file is not that of its content",
    action: "the file was changed: fetch it again from someone you trust",
  },

  // The mempool.
  mempool_busy: {
    meaning: "the node checks as many signatures as it may at once",
    action: "try again in a moment, or another node",
  },
  mempool_known: { meaning: "the transaction is waiting already", action: "nothing: wait for it" },
  mempool_nonce_gap: {
    meaning: "the nonce is too far ahead of the sender's next one",
    action: "send the transactions before it first",
  },
  mempool_sender_full: {
    meaning: "the sender has as many transactions waiting as one may",
    action: "wait until some are included",
  },
  mempool_replacement_fee: {
    meaning: "another transaction waits under this nonce, and the fee is not a tenth higher",
    action: "raise the fee, or wait for the other one",
  },
  mempool_full: {
    meaning: "the mempool is full of transactions that pay at least as much a byte",
    action: "raise the fee, or try later",
  },
  mempool_replaced: { meaning: "the sender replaced it by one with a higher fee", action: "follow the other one" },
  mempool_evicted: {
    meaning: "transactions with higher fees took its place",
    action: "send it again, or sign again with a higher fee",
  },
} as const satisfies Record<string, Entry>;

/** A code of the table. */
export type RefusalCode = keyof typeof REFUSALS;

/** Whether a code from elsewhere is one of the table's. */
export function isRefusalCode(code: string): code is RefusalCode {
  return Object.hasOwn(REFUSALS, code);
}
