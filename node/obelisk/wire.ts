/**
 * What peers ask each other for, `/pyralog/pharaoh/1`, canonical dag-cbor:
 *
 * ```
 *   asked  [0, service, counter, count]    answered  one frame  [0, incarnation, first, count]
 *   asked  [1, service, count]             answered  one frame  [1, incarnation, [[first, count]...]]
 * ```
 *
 * A value of a counter is new among those of one issuer, incarnation, service and counter; an id is new among those of one
 * service in the whole network, as long as its issuer keeps to the lease of its number.
 */

import type { Result } from "../../crypto/base/result.ts";
import { type DecodeError, type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { SCARAB_SEQUENCE_COUNT, type ScarabRun, scarabFields, scarabIdOf } from "../../crypto/id/scarab.ts";
import { NUMBER_HOLDER_SIZE_BYTES } from "../../chain/block/limits.ts";
import { PHARAOH_COUNT_MAX, PHARAOH_RUNS_MAX, VALUE_END } from "./limits.ts";
import type { SequenceRange } from "./sequencer.ts";

/** The protocol. */
export const PHARAOH_PROTOCOL = "/pyralog/pharaoh/1";

/** The service whose ids are sessions of producers. */
export const SESSION_SERVICE = "session";

const SERVICE = /^[a-z][a-z0-9]{0,15}$/;
const COUNTER = /^[a-z0-9][a-z0-9_.-]{0,46}$/;
const NAME_SIZE_BYTES_MAX = 64;

/** A question. */
export type PharaohRequest =
  | { readonly kind: "sequence"; readonly service: string; readonly counter: string; readonly count: number }
  | { readonly kind: "ids"; readonly service: string; readonly count: number };

/** An answer; `incarnation` is of the issuer's data directory. */
export type PharaohAnswer =
  | { readonly kind: "sequence"; readonly incarnation: Uint8Array; readonly range: SequenceRange }
  | { readonly kind: "ids"; readonly incarnation: Uint8Array; readonly runs: readonly ScarabRun[] };

/** Whether a text can name a service: a lower-case letter, then letters and digits, at most 16. */
export function isService(text: string): boolean {
  return SERVICE.test(text);
}

/** Whether a text can name a counter of a service: as names of marks, at most 47 long. */
export function isCounter(text: string): boolean {
  return COUNTER.test(text);
}

/** The name under which a service's counter lies on the disk; no two have the same, a service having no dot in it. */
export function counterName(service: string, counter: string): string {
  return `${service}.${counter}`;
}

/** The one encoding of a question. */
export function encodePharaohRequest(request: PharaohRequest): Uint8Array {
  if (request.kind === "ids") return new Writer().array(3).uint(1).text(request.service).uint(request.count).finish();
  return new Writer().array(4).uint(0).text(request.service).text(request.counter).uint(request.count).finish();
}

/** Parses what `encodePharaohRequest` made. */
export function parsePharaohRequest(bytes: Uint8Array): Result<PharaohRequest, DecodeError> {
  return readWith(bytes, (reader) => {
    const length = reader.field("request").array(4);
    const kind = reader.field("kind").number(1);
    if (length !== (kind === 0 ? 4 : 3)) reader.refuse("encoding_limit");
    const service = name(reader, "service", isService);
    if (kind === 1) return { kind: "ids", service, count: countOf(reader, PHARAOH_COUNT_MAX) };
    return { kind: "sequence", service, counter: name(reader, "counter", isCounter), count: countOf(reader, PHARAOH_COUNT_MAX) };
  });
}

/** The one encoding of an answer. */
export function encodePharaohAnswer(answer: PharaohAnswer): Uint8Array {
  if (answer.kind === "sequence") {
    const { first, count } = answer.range;
    return new Writer().array(4).uint(0).bytes(answer.incarnation).uint(first).uint(count).finish();
  }
  const writer = new Writer().array(3).uint(1).bytes(answer.incarnation).array(answer.runs.length);
  for (const { first, count } of answer.runs) writer.array(2).uint(first).uint(count);
  return writer.finish();
}

/** Parses what `encodePharaohAnswer` made: values below 2^64, ids in runs that ascend. */
export function parsePharaohAnswer(bytes: Uint8Array): Result<PharaohAnswer, DecodeError> {
  return readWith(bytes, (reader) => {
    const length = reader.field("answer").array(4);
    const kind = reader.field("kind").number(1);
    if (length !== (kind === 0 ? 4 : 3)) reader.refuse("encoding_limit");
    const incarnation = reader.field("incarnation").fixed(NUMBER_HOLDER_SIZE_BYTES).slice();
    if (kind === 0) {
      const first = reader.field("first").uint();
      const count = countOf(reader, PHARAOH_COUNT_MAX);
      if (first + BigInt(count) > VALUE_END) reader.refuse("encoding_limit");
      return { kind: "sequence", incarnation, range: { first, count } };
    }
    return { kind: "ids", incarnation, runs: readRuns(reader) };
  });
}

function readRuns(reader: Reader): ScarabRun[] {
  const length = reader.field("runs").array(PHARAOH_RUNS_MAX);
  const runs: ScarabRun[] = [];
  let next = 0n;
  for (let index = 0; index < length; index += 1) {
    reader.field(`runs.${index}`).tuple(2);
    const first = scarabIdOf(reader.uint());
    const count = countOf(reader, SCARAB_SEQUENCE_COUNT);
    // A run is of one millisecond: its sequence does not carry over.
    if (first < next || scarabFields(first).sequence + count > SCARAB_SEQUENCE_COUNT) reader.refuse("encoding_limit");
    next = first + BigInt(count);
    runs.push({ first, count });
  }
  if (runs.length === 0) reader.refuse("encoding_limit");
  return runs;
}

function countOf(reader: Reader, countMax: number): number {
  const count = reader.field("count").number(countMax);
  return count >= 1 ? count : reader.refuse("encoding_limit");
}

function name(reader: Reader, field: string, isName: (text: string) => boolean): string {
  const text = reader.field(field).text(NAME_SIZE_BYTES_MAX);
  return isName(text) ? text : reader.refuse("encoding_limit");
}
