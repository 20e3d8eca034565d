/** Sequential objects to hold histories against. An answer that is `undefined` is one that nobody saw. */

import type { Model, Step } from "./linearizability.ts";

const REFUSED = { ok: false } as const;

function fits<State>(fitsState: boolean, state: State): Step<State> {
  return fitsState ? { ok: true, state } : REFUSED;
}

/** What a register is asked. */
export type RegisterInput =
  | { readonly kind: "read" }
  | { readonly kind: "write"; readonly value: string }
  /** Writes `value` when the register holds `expected`. */
  | { readonly kind: "swap"; readonly expected: string; readonly value: string };

/** What a register answers. */
export type RegisterOutput =
  | { readonly kind: "value"; readonly value: string | undefined }
  | { readonly kind: "written" }
  | { readonly kind: "swapped"; readonly isSwapped: boolean };

/** A register, empty at first, with compare and swap. */
export const REGISTER: Model<string | undefined, RegisterInput, RegisterOutput> = {
  name: "register",
  initial: undefined,
  step: (state, input, output) => {
    switch (input.kind) {
      case "read":
        return fits(output === undefined || (output.kind === "value" && output.value === state), state);
      case "write":
        return fits(output === undefined || output.kind === "written", input.value);
      case "swap": {
        const isSwapped = state === input.expected;
        const isAnswer = output === undefined || (output.kind === "swapped" && output.isSwapped === isSwapped);
        return fits(isAnswer, isSwapped ? input.value : state);
      }
    }
  },
  isObservation: (input, output) => input.kind === "read" || (output.kind === "swapped" && !output.isSwapped),
  key: keyOfText,
};

/** What a key-value store is asked. */
export type KeyValueInput =
  | { readonly kind: "get"; readonly key: string }
  | { readonly kind: "put"; readonly key: string; readonly value: string }
  /** Puts `value` behind what is there. */
  | { readonly kind: "append"; readonly key: string; readonly value: string };

/** What a key-value store answers. */
export type KeyValueOutput = { readonly kind: "value"; readonly value: string | undefined } | { readonly kind: "written" };

/**
 * A key-value store, one part a key.
 *
 * @param initial - what a key holds that nobody wrote: `undefined`, or the empty text in stores that know no absence
 */
export function keyValueModel(initial: string | undefined): Model<string | undefined, KeyValueInput, KeyValueOutput> {
  return {
    name: "key-value",
    initial,
    step: (state, input, output) => {
      switch (input.kind) {
        case "get":
          return fits(output === undefined || (output.kind === "value" && output.value === state), state);
        case "put":
          return fits(output === undefined || output.kind === "written", input.value);
        case "append":
          return fits(output === undefined || output.kind === "written", `${state ?? ""}${input.value}`);
      }
    },
    isObservation: ({ kind }) => kind === "get",
    key: keyOfText,
    partition: ({ key }) => key,
  };
}

function keyOfText(state: string | undefined): string {
  return state === undefined ? "absent" : `=${state}`;
}

/** What an append-only log is asked. */
export type LogInput =
  | { readonly kind: "append"; readonly entry: string }
  /** All entries from this index on. */
  | { readonly kind: "read"; readonly from: number };

/** What an append-only log answers. */
export type LogOutput =
  /** Where the entry stands. */
  { readonly kind: "appended"; readonly index: number } | { readonly kind: "entries"; readonly entries: readonly string[] };

/** An append-only log, empty at first. */
export const APPEND_LOG: Model<readonly string[], LogInput, LogOutput> = {
  name: "append-log",
  initial: [],
  step: (state, input, output) => {
    switch (input.kind) {
      case "append": {
        const isAnswer = output === undefined || (output.kind === "appended" && output.index === state.length);
        return isAnswer ? { ok: true, state: [...state, input.entry] } : REFUSED;
      }
      case "read":
        return fits(output === undefined || (output.kind === "entries" && isTail(state, input.from, output.entries)), state);
    }
  },
  isObservation: ({ kind }) => kind === "read",
  key: (state) => JSON.stringify(state),
};

function isTail(all: readonly string[], from: number, tail: readonly string[]): boolean {
  return tail.length === Math.max(0, all.length - from) && tail.every((entry, index) => entry === all[from + index]);
}

/** What a counter is asked. */
export type CounterInput = { readonly kind: "add"; readonly amount: bigint } | { readonly kind: "read" };

/** What a counter answers. */
export type CounterOutput = { readonly kind: "added" } | { readonly kind: "count"; readonly count: bigint };

/** A counter, 0 at first; amounts may be negative. */
export const COUNTER: Model<bigint, CounterInput, CounterOutput> = {
  name: "counter",
  initial: 0n,
  step: (state, input, output) => {
    switch (input.kind) {
      case "add":
        return fits(output === undefined || output.kind === "added", state + input.amount);
      case "read":
        return fits(output === undefined || (output.kind === "count" && output.count === state), state);
    }
  },
  isObservation: ({ kind }) => kind === "read",
  key: (state) => `${state}`,
};
