/**
 * Sessions: each append of a producer once, however often it is sent, and by whichever node.
 *
 * A producer that lost an answer cannot know whether its append is in the log, and a new transaction is not held back by the
 * nonce of the old one. So it opens a session on the partition and numbers its appends from 0; what the state remembers of a
 * session decides, on every validator alike:
 *
 * ```
 *   sequence = next                    appended; remembered with where it went
 *   one of the last SESSION_WINDOW     applied, and nothing appended: the row says where the first one went
 *      ... with other records          session_conflict
 *   before those                       session_old: appended, and forgotten where
 *   sequence > next                    session_gap
 * ```
 *
 * A session ends when block time has gone by for SESSION_MS since its last append. Its id is spent then: no session whose id
 * is not above all that ended is opened, so what was sent in one is never taken for the beginning of another.
 */

import { bytesEqual } from "../crypto/base/bytes.ts";
import { Writer } from "../crypto/codec/writer.ts";
import { type Hash, hash } from "../crypto/hash/hash.ts";
import type { Address } from "../crypto/identity/address.ts";
import type { Call } from "../chain/block/call.ts";
import type { StateView } from "../chain/state/executor.ts";
import { partitionKey, sessionKey, sessionsKey } from "../chain/state/keys.ts";
import { emptyPartition, encodePartitionHead, parsePartitionHead } from "../chain/state/partition.ts";
import { ownRow } from "../chain/state/rows.ts";
import {
  encodeSession,
  encodeSessions,
  parseSession,
  parseSessions,
  SESSION_WINDOW,
  SESSIONS_MAX,
  SESSIONS_NONE,
  type SessionRow,
  type SessionsRow,
} from "../chain/state/sessions.ts";
import { appendToPartition, partitionSize } from "./partitions.ts";
import type { CallFault, CallScope } from "./scope.ts";
import { appendRefused, streamOf } from "./streams.ts";

/** From the last append of a session, or from its opening, to its end: an hour. */
export const SESSION_MS = 3_600_000n;

/** Opens a session as the partition's owner, or makes an open one last longer. */
export function openSession(scope: CallScope, call: Extract<Call, { kind: "sessionOpen" }>): CallFault | undefined {
  const { state, sender, context } = scope;
  const { stream, partition, session } = call;
  const owner = ownerOf(state, call);
  if (owner !== undefined && !bytesEqual(owner, sender)) return { code: "partition_not_owner", field: "partition" };
  const declared = streamOf(state, stream, partition);
  const refused = declared === undefined ? undefined : appendRefused(declared, sender, partition);
  if (refused !== undefined) return refused;
  if (partitionSize(state, stream, partition) === undefined)
    state.put(partitionKey(stream, partition), encodePartitionHead(emptyPartition(sender)));
  const sessions = withoutEnded(scope, call);
  const isOpen = sessions.open.some((each) => each.session === session);
  if (!isOpen) {
    if (session <= sessions.floor) return { code: "session_spent", field: "session" };
    if (sessions.open.length >= SESSIONS_MAX) return { code: "session_many", field: "session" };
    state.put(sessionKey(stream, partition, session), encodeSession({ next: 0n, appends: [] }));
  }
  putSessions(scope, call, lasting(sessions, session, context.timeMs + SESSION_MS));
  return undefined;
}

/** Appends in a session, unless this sequence was appended already. */
export function appendInSession(scope: CallScope, call: Extract<Call, { kind: "sessionAppend" }>): CallFault | undefined {
  const { state, sender, context } = scope;
  const { stream, partition, session, sequence, records } = call;
  const owner = ownerOf(state, call);
  // Also of a repetition, which would append nothing: a stranger is told so.
  if (owner !== undefined && !bytesEqual(owner, sender)) return { code: "partition_not_owner", field: "partition" };
  const sessions = sessionsAt(state, call);
  const open = sessions.open.find((each) => each.session === session);
  if (open === undefined || context.timeMs >= open.endMs) return { code: "session_unknown", field: "session" };
  const row = sessionAt(state, call);
  const digest = digestOf(records);
  if (sequence > row.next) return { code: "session_gap", field: "sequence" };
  if (sequence < row.next) return repeated(row, sequence, digest);
  const firstIndex = partitionSize(state, stream, partition) ?? 0n;
  const fault = appendToPartition(scope, {
    stream,
    partition,
    records: records.map((value) => ({ key: undefined, value, headers: [] })),
  });
  if (fault !== undefined) return fault;
  const appends = [...row.appends, { sequence, firstIndex, count: records.length, digest }].slice(-SESSION_WINDOW);
  state.put(sessionKey(stream, partition, session), encodeSession({ next: sequence + 1n, appends }));
  putSessions(scope, call, lasting(sessions, session, context.timeMs + SESSION_MS));
  return undefined;
}

/** What a repetition comes to. */
function repeated({ appends }: SessionRow, sequence: bigint, digest: Hash): CallFault | undefined {
  const first = appends.find((each) => each.sequence === sequence);
  if (first === undefined) return { code: "session_old", field: "sequence" };
  return bytesEqual(first.digest, digest) ? undefined : { code: "session_conflict", field: "records" };
}

type Place = { readonly stream: string; readonly partition: number };

/** Whose a partition is: of a declared stream its owner's, also when others may append; `undefined` when nobody has made it. */
function ownerOf(view: StateView, { stream, partition }: Place): Address | undefined {
  const declared = streamOf(view, stream, partition);
  if (declared !== undefined) return declared.owner;
  const head = view.get(partitionKey(stream, partition));
  return head === undefined ? undefined : ownRow(parsePartitionHead(head), "partition").owner;
}

function sessionsAt(view: StateView, { stream, partition }: Place): SessionsRow {
  const bytes = view.get(sessionsKey(stream, partition));
  return bytes === undefined ? SESSIONS_NONE : ownRow(parseSessions(bytes), "sessions");
}

/** A session that the partition's row says to be open. */
function sessionAt(view: StateView, { stream, partition, session }: Place & { readonly session: bigint }): SessionRow {
  return ownRow(parseSession(view.get(sessionKey(stream, partition, session)) ?? new Uint8Array(0)), "session");
}

/** The sessions of a partition that have not ended. The rows of the others go, and their ids are spent. */
function withoutEnded({ state, context }: CallScope, place: Place): SessionsRow {
  const { floor, open } = sessionsAt(state, place);
  const ended = open.filter(({ endMs }) => context.timeMs >= endMs);
  for (const { session } of ended) state.delete(sessionKey(place.stream, place.partition, session));
  return {
    floor: ended.reduce((highest, { session }) => (session > highest ? session : highest), floor),
    open: open.filter(({ endMs }) => context.timeMs < endMs),
  };
}

/** With a session that lasts until then; it may be a new one. */
function lasting({ floor, open }: SessionsRow, session: bigint, endMs: bigint): SessionsRow {
  const others = open.filter((each) => each.session !== session);
  return { floor, open: [...others, { session, endMs }].sort((a, b) => (a.session < b.session ? -1 : 1)) };
}

function putSessions({ state }: CallScope, { stream, partition }: Place, sessions: SessionsRow): void {
  state.put(sessionsKey(stream, partition), encodeSessions(sessions));
}

function digestOf(records: readonly Uint8Array[]): Hash {
  const writer = new Writer().array(records.length);
  for (const record of records) writer.bytes(record);
  return hash("sessionAppend", writer.finish());
}
