/** The rows of producers' sessions: which are open on a partition, and what each has appended of late. */

import type { Result } from "../../crypto/base/result.ts";
import { type DecodeError, type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import { readTimeMs } from "../block/fields.ts";
import { RECORDS_MAX } from "../block/limits.ts";

/** Sessions open on one partition. The row is rewritten whenever one of them appends. */
export const SESSIONS_MAX = 64;
/** Appends of a session that are remembered: so many may be on their way at once, and each is found again when it is repeated. */
export const SESSION_WINDOW = 16;

/** The sessions of a partition. */
export type SessionsRow = {
  /** No session that has ended had a higher id: none of those is ever opened again. */
  readonly floor: bigint;
  /** In the order of their ids; each ends when block time reaches `endMs`. */
  readonly open: readonly { readonly session: bigint; readonly endMs: bigint }[];
};

/** What one append of a session did. */
export type SessionAppend = {
  readonly sequence: bigint;
  /** Where in the partition its records are. */
  readonly firstIndex: bigint;
  readonly count: number;
  /** Of its records, to tell a repetition from another append under the same number. */
  readonly digest: Hash;
};

/** A session: the next sequence, and the newest appends, oldest first. */
export type SessionRow = { readonly next: bigint; readonly appends: readonly SessionAppend[] };

/** Sessions of a partition that had none. */
export const SESSIONS_NONE: SessionsRow = { floor: 0n, open: [] };

/** The one encoding of the sessions of a partition. */
export function encodeSessions({ floor, open }: SessionsRow): Uint8Array {
  const writer = new Writer().array(2).uint(floor).array(open.length);
  for (const { session, endMs } of open) writer.array(2).uint(session).uint(endMs);
  return writer.finish();
}

/** Parses what `encodeSessions` made. */
export function parseSessions(bytes: Uint8Array): Result<SessionsRow, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("sessions").tuple(2);
    const floor = reader.field("floor").uint();
    const count = reader.field("open").array(SESSIONS_MAX);
    const open: SessionsRow["open"][number][] = [];
    for (let index = 0; index < count; index += 1) {
      reader.field(`open.${index}`).tuple(2);
      const session = reader.uint();
      // Ascending, and so each once.
      if (session <= (open.at(-1)?.session ?? -1n)) reader.refuse("encoding_limit");
      open.push({ session, endMs: readTimeMs(reader, `open.${index}.endMs`) });
    }
    return { floor, open };
  });
}

/** The one encoding of a session. */
export function encodeSession({ next, appends }: SessionRow): Uint8Array {
  const writer = new Writer().array(2).uint(next).array(appends.length);
  for (const { sequence, firstIndex, count, digest } of appends)
    writer.array(4).uint(sequence).uint(firstIndex).uint(count).bytes(digest);
  return writer.finish();
}

/** Parses what `encodeSession` made. */
export function parseSession(bytes: Uint8Array): Result<SessionRow, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("session").tuple(2);
    const next = reader.field("next").uint();
    const count = reader.field("appends").array(SESSION_WINDOW);
    const appends: SessionAppend[] = [];
    for (let index = 0; index < count; index += 1) appends.push(readAppend(reader, `appends.${index}`));
    return { next, appends };
  });
}

function readAppend(reader: Reader, field: string): SessionAppend {
  reader.field(field).tuple(4);
  const sequence = reader.uint();
  const firstIndex = reader.uint();
  const count = reader.number(RECORDS_MAX);
  return { sequence, firstIndex, count, digest: hashOf(reader.field(`${field}.digest`).fixed(HASH_SIZE_BYTES).slice()) };
}
