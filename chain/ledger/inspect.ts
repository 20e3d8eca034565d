/**
 * Checking many things of one sender, a few at a time, up to the first that does not hold: a forged signature costs a
 * hundred times an honest one (ZIP215 has its say on the main thread), so nobody gets to have ten thousand looked at.
 */

import type { Coded, Result } from "../../crypto/base/result.ts";
import { ok } from "../../crypto/base/result.ts";

/** Enough for the addon to have many of them in one call, and what forgeries may cost us once. */
const AT_ONCE_MAX = 32;

/** Runs `check` on every item until one refuses, and returns that refusal. */
export async function inspectAll<T, E extends Coded>(
  items: readonly T[],
  check: (item: T, index: number) => Promise<Result<void, E>>,
): Promise<Result<void, E>> {
  const left = items.entries();
  let outcome: Result<void, E> = ok(undefined);
  const inspect = async (): Promise<void> => {
    for (const [index, item] of left) {
      if (!outcome.ok) return;
      const checked = await check(item, index);
      if (!checked.ok && outcome.ok) outcome = checked;
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE_MAX, items.length) }, inspect));
  return outcome;
}
