/**
 * A change of the configuration as bytes of an entry. Empty bytes are the change without steps that leaves a joint configuration:
 * a leader proposes it by itself, and no limit of size may stand in its way.
 */

import { EMPTY } from "../../crypto/base/bytes.ts";
import { fail, ok } from "../../crypto/base/result.ts";
import type { Result } from "../../crypto/base/result.ts";
import { readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import type { RaftError } from "./errors.ts";
import { CHANGE_CONTEXT_SIZE_BYTES_MAX, CHANGE_STEPS_MAX } from "./limits.ts";
import type { ChangeStep, ConfChange } from "./types.ts";

const TRANSITIONS = ["auto", "implicit", "explicit"] as const satisfies readonly ConfChange["transition"][];
const STEPS = ["voter", "learner", "remove", "update"] as const satisfies readonly ChangeStep["kind"][];

/** The change that leaves a joint configuration. */
export const LEAVE_JOINT: ConfChange = { transition: "auto", steps: [], context: EMPTY };

/** `[transition, [[kind, node], ...], context]`, or nothing at all for `LEAVE_JOINT`. */
export function encodeChange(change: ConfChange): Uint8Array {
  if (change.transition === "auto" && change.steps.length === 0 && change.context.length === 0) return EMPTY;
  const writer = new Writer();
  writer
    .array(3)
    .uint(BigInt(TRANSITIONS.indexOf(change.transition)))
    .array(change.steps.length);
  for (const step of change.steps)
    writer
      .array(2)
      .uint(BigInt(STEPS.indexOf(step.kind)))
      .uint(step.node);
  return writer.bytes(change.context).finish();
}

/** The inverse, strict: one encoding a change. */
export function decodeChange(bytes: Uint8Array): Result<ConfChange, RaftError> {
  if (bytes.length === 0) return ok(LEAVE_JOINT);
  const read = readWith(bytes, (reader) => {
    reader.tuple(3);
    const transition = TRANSITIONS[reader.number(TRANSITIONS.length - 1)] ?? "auto";
    const count = reader.array(CHANGE_STEPS_MAX);
    const steps: ChangeStep[] = [];
    for (let index = 0; index < count; index += 1) {
      reader.tuple(2);
      const kind = STEPS[reader.number(STEPS.length - 1)] ?? "update";
      steps.push({ kind, node: reader.uint() });
    }
    return { transition, steps, context: reader.bytes(CHANGE_CONTEXT_SIZE_BYTES_MAX) };
  });
  if (!read.ok) return fail({ code: "change_invalid", detail: read.error.code });
  if (encodeChange(read.value).length === 0) return fail({ code: "change_invalid", detail: "leaving is written as nothing" });
  return ok(read.value);
}
