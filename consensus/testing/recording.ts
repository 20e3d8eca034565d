/** Questions about what went into an engine and came out, which every engine answers alike (`consensus/engine.ts`). */

import type { Test } from "tap";
import { toHex } from "../../crypto/base/bytes.ts";
import { ZERO_HASH } from "../../crypto/hash/hash.ts";
import type { Block } from "../../chain/block/block.ts";
import { heightOf } from "../../chain/block/height.ts";
import type { Effect, Engine, Input } from "../engine.ts";

/** One step of one engine, as it was taken. */
export type Step<M> = { readonly input: Input<M>; readonly effects: readonly Effect<M>[] };

/** A value as text that differs when the value does. */
export function shown(value: unknown): string {
  return JSON.stringify(value, (_, entry: unknown) =>
    typeof entry === "bigint" ? `${entry}n` : entry instanceof Uint8Array ? toHex(entry) : entry,
  );
}

/** Nothing happens before the first height begins. */
export function checkSilentBeforeStart<M>(t: Test, engine: Engine<M>): void {
  t.same(engine.step({ kind: "tick", atMs: 1 }), []);
  t.same(engine.step({ kind: "verified", id: 1, valid: true, atMs: 2 }), []);
  t.same(engine.step({ kind: "judged", blockHash: ZERO_HASH, valid: true, atMs: 3 }), []);
}

/** A timer is never for a time that has passed. */
export function checkTimers<M>(t: Test, steps: readonly Step<M>[]): void {
  const early = steps.filter(({ input, effects }) =>
    effects.some((effect) => effect.kind === "timer" && effect.atMs < input.atMs),
  );
  t.same(
    early.map(({ input }) => shown(input)),
    [],
    `${steps.length} steps`,
  );
}

/**
 * Equal inputs give equal effects, and answers to questions that were never asked change nothing: they are put in after
 * each step, and what follows must be the same.
 *
 * @param engine - a new one, made as the recorded one was
 * @param stale - a block of height 99 that nobody asked about
 */
export function checkReplay<M>(t: Test, engine: Engine<M>, steps: readonly Step<M>[], stale: Block): void {
  for (const [index, { input, effects }] of steps.entries()) {
    t.equal(shown(engine.step(input)), shown(effects));
    // The records of a restart come one right after another.
    const next = steps[index + 1]?.input.kind;
    if (input.kind === "start" || next === "restore") continue;
    const { atMs } = input;
    const nothing = [
      ...engine.step({ kind: "verified", id: 1_000_000_000, valid: true, atMs }),
      ...engine.step({ kind: "signed", id: 1_000_000_000, signature: new Uint8Array(32), atMs }),
      ...engine.step({ kind: "judged", blockHash: stale.hash, valid: true, atMs }),
      ...engine.step({ kind: "propose", height: heightOf(99n), round: 0, block: stale, atMs }),
      ...engine.step({ kind: "propose", height: heightOf(1n), round: 99, block: stale, atMs }),
      ...engine.step({ kind: "found", blockHash: stale.hash, extraNonce: 0n, nonce: 0n, atMs }),
    ];
    t.same(nothing, []);
  }
}
