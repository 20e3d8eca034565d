/**
 * The form of messages from other nodes, before anything acts on them. What passes cannot make the core throw; whether it is true is
 * another question, which Raft does not ask.
 */

import { fail } from "../../crypto/base/result.ts";
import { decodeChange } from "./change-codec.ts";
import { fromConfState } from "./configuration.ts";
import { ENTRIES_PER_MESSAGE_MAX, READ_CONTEXT_SIZE_BYTES_MAX, U64_MAX } from "./limits.ts";
import { checkProposals, DONE } from "./proposals.ts";
import type { Outcome } from "./proposals.ts";
import { NOBODY } from "./types.ts";
import type { Append, EntryId, RaftMessage, Snapshot } from "./types.ts";

/** Checks the form of a message to node `self`. */
export function checkMessage(message: RaftMessage, self: bigint): Outcome {
  if (message.to !== self) return fail({ code: "message_misrouted", detail: `to ${message.to}, this is ${self}` });
  if (message.from === self || !isId(message.from)) return fail({ code: "sender_invalid", detail: `from ${message.from}` });
  const belongsToTerm = message.kind !== "propose" && message.kind !== "readIndex";
  if (belongsToTerm ? message.term < 1n || message.term >= U64_MAX : message.term !== 0n)
    return malformed(`${message.kind} of term ${message.term}`);
  switch (message.kind) {
    case "append":
      return checkAppend(message);
    case "appendResponse":
      return isU64(message.index) && (message.hint === undefined || isEntryId(message.hint)) ? DONE : malformed("index");
    case "vote":
    case "preVote":
      return isEntryId(message.last) && message.last.term <= message.term ? DONE : malformed("last entry");
    case "heartbeat":
      return isU64(message.commit) && isU64(message.round) ? DONE : malformed("commit or round");
    case "heartbeatResponse":
      return isU64(message.round) ? DONE : malformed("round");
    case "snapshot":
      return checkSnapshot(message.snapshot, message.term);
    case "transferLeader":
      return isId(message.transferee) ? DONE : malformed("transferee");
    case "propose":
      return checkProposals(message.proposals);
    case "readIndex":
      return checkContext(message.context);
    case "readIndexResponse":
      return isU64(message.index) ? checkContext(message.context) : malformed("index");
    default:
      return DONE;
  }
}

/** A read's context, our caller's or a peer's. */
export function checkContext(context: Uint8Array): Outcome {
  return context.length <= READ_CONTEXT_SIZE_BYTES_MAX ? DONE : malformed(`context of ${context.length} bytes`);
}

/** Entries follow each other without a gap, and their terms never fall and are none of the future. */
function checkAppend({ term, previous, entries, commit }: Append): Outcome {
  if (!isEntryId(previous) || !isU64(commit)) return malformed("previous or commit");
  if (entries.length > ENTRIES_PER_MESSAGE_MAX) return malformed(`${entries.length} entries`);
  let last = previous;
  for (const entry of entries) {
    if (entry.index !== last.index + 1n || !isU64(entry.index)) return malformed(`entry ${entry.index} after ${last.index}`);
    if (entry.term < 1n || entry.term < last.term || entry.term > term)
      return malformed(`entry ${entry.index} of term ${entry.term}`);
    const change = entry.kind === "change" ? decodeChange(entry.data) : undefined;
    if (change?.ok === false) return change;
    last = entry;
  }
  return last.term <= term ? DONE : malformed(`entry of term ${last.term} in term ${term}`);
}

function checkSnapshot(snapshot: Snapshot, term: bigint): Outcome {
  if (!isEntryId(snapshot) || snapshot.index === 0n || snapshot.term < 1n || snapshot.term > term) return malformed("snapshot");
  // One below the end of u64, so that an entry can follow it.
  if (snapshot.index === U64_MAX) return malformed("snapshot at the end of all indexes");
  return fromConfState(snapshot.configuration) === undefined ? malformed("configuration") : DONE;
}

function isU64(value: bigint): boolean {
  return value >= 0n && value <= U64_MAX;
}

function isId(value: bigint): boolean {
  return value > NOBODY && value <= U64_MAX;
}

/** Any pair: a hint may name an index whose term is not known, as term 0. */
function isEntryId({ term, index }: EntryId): boolean {
  return isU64(term) && isU64(index);
}

function malformed(detail: string): Outcome {
  return fail({ code: "message_malformed", detail });
}
