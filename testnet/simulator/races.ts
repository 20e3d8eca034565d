/**
 * What racers do: several sessions of one account, which do not know of each other. A transaction names how many its
 * sender had included before it, so of all that name the same number one is included and the others never are: compare
 * and swap. And its result tells what it found: a table that was there already, a row that was not.
 *
 * Every answer is taken from a decided block, so an order must explain all of them, in real time: linearizability.
 */

import type { Model, Step } from "./history/linearizability.ts";

/** Where the racers' table is. */
export const RACE_NAMESPACE = "race";

/** What a racer's transaction does, when `expected` of its account's were included before it. */
export type RaceInput = { readonly expected: bigint; readonly what: "create" | "put" | "delete" };

/** What became of it. */
export type RaceOutput =
  /** Another one was included in its place. */
  { readonly kind: "stale" } | { readonly kind: "included"; readonly isApplied: boolean };

/** The account, its table and the one row of it. */
export type RaceState = { readonly nonce: bigint; readonly hasTable: boolean; readonly hasRow: boolean };

/** See the file's head. */
export const RACE: Model<RaceState, RaceInput, RaceOutput> = {
  name: "race",
  initial: { nonce: 0n, hasTable: false, hasRow: false },
  step: (state, input, output): Step<RaceState> => {
    if (state.nonce !== input.expected)
      return output === undefined || output.kind === "stale" ? { ok: true, state } : { ok: false };
    const nonce = state.nonce + 1n;
    const isApplied = { create: !state.hasTable, put: state.hasTable, delete: state.hasRow }[input.what];
    if (output !== undefined && (output.kind === "stale" || output.isApplied !== isApplied)) return { ok: false };
    if (!isApplied) return { ok: true, state: { ...state, nonce } };
    const hasRow = input.what === "put" || (input.what === "create" && state.hasRow);
    return { ok: true, state: { nonce, hasTable: true, hasRow } };
  },
  isObservation: (_, output) => output.kind === "stale",
  key: ({ nonce, hasTable, hasRow }) => `${nonce}/${hasTable}/${hasRow}`,
};
