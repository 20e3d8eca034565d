/**
 * Traces of Malachite's specification of Tendermint, given to our round machine (`...CInput`), our vote keeper (`WV`) or a
 * whole engine (`...DInput`): which of them is seen from the first input. Inputs are the trace's own, in ITF.
 */

import * as z from "zod";
import { type Coded, fail, ok, type Result } from "../../../crypto/base/result.ts";
import { type Height, heightOf } from "../../../chain/block/height.ts";
import { ROUND_MAX } from "../../../chain/block/limits.ts";
import { ItfShapeError, type ItfValue, readItf, variantOf } from "../../../consensus/testing/itf.ts";
import { EngineTrace, KeeperTrace, type Powers, RoundTrace, type TraceStep } from "../../../consensus/testing/malachite.ts";
import { invalid, type Operation, operation } from "../operation.ts";

const POWER_MAX = 1_000_000n;
const VALIDATORS_MAX = 100;

const power = z
  .union([z.string().regex(/^[0-9]{1,9}$/, "not a power"), z.int()])
  .transform((value) => BigInt(value))
  .refine((value) => value >= 1n && value <= POWER_MAX, "not a power");

const Trace = z.strictObject({
  steps: z.array(z.json()).max(10_000),
  height: z.int().min(0).max(ROUND_MAX).default(1),
  validators: z
    .array(z.strictObject({ name: z.string().min(1).max(64), power }))
    .min(1)
    .max(VALIDATORS_MAX)
    .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, "a name twice")
    .optional(),
  self: z.string().optional(),
});

type Machine = { readonly take: (input: ItfValue) => unknown };

/** Rounds and heights of a trace are small, and -1 is none: what is not could only break our own bounds. */
function isBounded(value: ItfValue): boolean {
  if (typeof value === "bigint") return value >= -1n && value <= BigInt(ROUND_MAX);
  if (typeof value !== "object") return true;
  if (value instanceof Map) return [...value].every(([key, entry]) => isBounded(key) && isBounded(entry));
  return Object.values(value).every((entry: ItfValue) => isBounded(entry));
}

function machineFor(first: ItfValue, input: z.output<typeof Trace>): Machine | string {
  const { tag } = variantOf(first);
  const height: Height = heightOf(BigInt(input.height));
  if (tag.endsWith("CInput") || tag.endsWith("ConsensusInput")) {
    const machine = new RoundTrace(height);
    return { take: (step) => shown(machine.take(step)) };
  }
  if (input.validators === undefined) return "validators are wanted";
  const powers: Powers = input.validators.map((one) => [one.name, one.power] as const);
  if (tag === "WV" || tag === "NoWeightedVote") {
    const machine = new KeeperTrace(powers);
    return { take: (step) => machine.take(step) };
  }
  const { self } = input;
  if (self === undefined || !powers.some(([name]) => name === self)) return "self is one of the validators";
  const machine = new EngineTrace({ powers, self, height });
  return { take: (step) => shown(machine.take(step)) };
}

/** Nothing locked, valid or decided is null, and so is the value of a vote for nil. */
function shown({ outputs, round, step, locked, valid, decision }: TraceStep): unknown {
  return {
    outputs: outputs.map((output) => (output.kind === "vote" ? { ...output, value: output.value ?? null } : output)),
    round,
    step,
    locked: locked ?? null,
    valid: valid ?? null,
    decision: decision ?? null,
  };
}

function trace(input: z.output<typeof Trace>): Result<unknown, Coded> {
  try {
    const inputs = input.steps.map((step) => readItf(step));
    const [first] = inputs;
    if (first === undefined) return ok({ steps: [] });
    if (!inputs.every(isBounded)) return invalid("a number is out of range", "steps");
    const machine = machineFor(first, input);
    if (typeof machine === "string") return invalid(machine);
    return ok({ steps: inputs.map((step) => machine.take(step)) });
  } catch (error) {
    if (error instanceof ItfShapeError) return fail({ code: "input_invalid", path: "steps", reason: error.message });
    throw error;
  }
}

/** The operations of this file. */
export const TENDERMINT: readonly Operation[] = [
  operation("tendermint.trace", {
    help: "{steps: [ITF input], height?, validators?: [{name, power}], self?} -> {steps: [{outputs, round, step, ...}]}",
    input: Trace,
    answer: trace,
  }),
];
