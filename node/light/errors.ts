/** Every reason for which an answer is not believed. */

import { CodedError } from "../../crypto/base/error.ts";
import type { Coded } from "../../crypto/base/result.ts";

/** What each code means and what the caller should do about it. */
export const UNPROVEN_CODES = {
  proof_missing: "The answer lacks its header, certificate or proof. Ask another node.",
  answer_malformed: "The answer does not decode. Ask another node.",
  answer_mismatch: "The answer says one thing and its proof another. The node is faulty or lying.",
  answer_height: "The answer is for another height than was asked. The node is faulty or lying.",
  header_chain: "The header is of another network. Check the address of the node and the network file.",
  header_network: "The first header does not begin at the network file. Check the network file.",
  header_height: "The header is not above the one that it is to follow. The node is faulty or lying.",
  header_future: "The header's time is ahead of our clock by more than clocks differ. Check the clock, or ask another node.",
  header_time: "The header's time is not after that of an earlier header. The node is faulty or lying.",
  certificate_kind: "The certificate is not of the kind that this network's protocol makes. The node is faulty or lying.",
  certificate_block: "The certificate is for another block. The node is faulty or lying.",
  certificate_order: "The certificate's signers repeat or are out of order. The node is faulty or lying.",
  certificate_signer: "Somebody outside the validator set signed. The node is faulty or lying.",
  certificate_power: "The signers hold no more than 2/3 of the power. The node is faulty or lying.",
  certificate_signature: "A signature in the certificate is not valid. The node is faulty or lying.",
  headers_unknown: "The header follows none that is known here. Follow the headers before it first.",
  work_target: "The header's seal is not of the work that the headers before it prescribe. The node is faulty or lying.",
  work_less: "The chain has no more work than the one that is known here. The node is behind; ask another.",
  block_undone: "A heavier chain has taken the place of the block that the answer stands on. Ask again.",
  reorg_deep: "The chain would undo more blocks than the network allows. Stop and tell people.",
  finality_unknown: "A proof file cannot carry the work behind a block. Ask a node, and follow its headers.",
  validators_unknown: "The header names a validator set that no accepted header leads to. Follow the changes first.",
  validators_mismatch: "The given validator set is not the one that the header names. The node is faulty or lying.",
  root_mismatch: "The proof leads to another root than the header's. The node is faulty or lying.",
  proof_malformed: "The proof does not decode, or cannot lead anywhere. The node is faulty or lying.",
  proof_incomplete: "The proof hides something that may be part of the answer. The node is faulty or lying.",
  range_incomplete: "A page does not begin where the one before ended, or never ends. The node is faulty or lying.",
  trust_expired: "What we believe is too old to lead anywhere. Start from a header that somebody you trust vouches for.",
  trust_insufficient: "Too few of the validators that we believe in signed the header. Ask for one in between.",
  checkpoint_mismatch:
    "The block is not the one that the checkpoint vouches for. The node is lying, or whoever made the checkpoint.",
  bisection_long: "Too many headers were needed on the way to a far one. Ask again: what was reached is kept.",
  stale_head: "The node's head is behind one that was proven before. Ask another node, or wait.",
  old_head: "The newest block is older than is allowed. The network stands still, or the node hides its progress.",
  fork_detected: "Two certified headers contradict each other: more than 1/3 of the validators are faulty. Stop and tell people.",
  log_forked:
    "A stream no longer begins with the records that it had. More than 1/3 of the validators are faulty. Stop and tell people.",
  segments_broken: "A stream's sealed segments do not follow each other to the last one. The validators are faulty.",
  log_shrank: "A stream has fewer records than it had. More than 1/3 of the validators are faulty. Stop and tell people.",
  fraud_none: "The two headers do not contradict each other, or nobody who is known signed both sides. It proves nothing.",
  network_mismatch: "The proof is for another network than the given network file.",
  file_malformed: "Not a proof file.",
  file_version: "A proof file of a version that is not known here. Use a newer program.",
  file_spare: "The proof file holds something that nothing in it needs. Export it again.",
  record_withheld: "The node gives a commitment where nothing allows it to have dropped the record. Ask another node.",
  receipt_mismatch: "The two halves of the receipt are not about one act, or its commitment is to something else.",
  receipt_signature: "The writer did not sign the transaction of the receipt.",
  file_size: "The proof file is too large to be one.",
  logreceipt_malformed: "Neither a tlog proof nor a COSE receipt of a record log. Export it again.",
  logreceipt_unsigned: "A key that was given signed nothing here, or is of another log. Check the key.",
  logreceipt_signature: "What the key signed is not this log at this size. The file was changed, or its maker lies.",
  logreceipt_record: "The receipt's record is not there, or not the one of this place in this log. Give the record's bytes.",
  logreceipt_dropped: "A record that is needed for it was dropped from the chain. Of the log there is the signer's word alone.",
  logreceipt_root: "The root that was signed is not that of the chain's records. Whoever signed it lied: keep the file.",
} as const satisfies Record<string, string>;

/** A code of the table above. */
export type UnprovenCode = keyof typeof UNPROVEN_CODES;

/** Why something is not proven. */
export type Unproven = Coded & { readonly code: UnprovenCode; readonly field?: string; readonly height?: bigint };

/** Thrown by the client when an answer is not proven. */
export class UnprovenError extends CodedError {
  constructor(reason: Unproven) {
    super(reason.code, { message: UNPROVEN_CODES[reason.code], ...reason });
  }
}

/** The value, or `UnprovenError`. */
export function provenOrThrow<T>(
  result: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: Unproven },
): T {
  if (!result.ok) throw new UnprovenError(result.error);
  return result.value;
}
