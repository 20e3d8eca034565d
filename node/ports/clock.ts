/**
 * The clock port: the only time that the driver, sync, catch-up and intake know. The system's clock keeps it in a
 * node; in a simulation one seed does.
 */

/** Time and timers. */
export interface Clock {
  /** Milliseconds since 1970 UTC; may jump both ways. */
  wallMs(): number;
  /** Milliseconds since some moment; never decreases. */
  monotonicMs(): number;
  /** Calls `act` once, no earlier than `delayMs` from now, unless it is cancelled. */
  after(delayMs: number, act: () => void): Timer;
}

/** A call that is to come. Cancelling it twice, or after it has come, does nothing. */
export type Timer = { readonly cancel: () => void };

/** The machine's own. */
export const SYSTEM_CLOCK: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, act) {
    const timer = setTimeout(act, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Resolves after a while, or as soon as `signal` aborts. */
export async function sleep(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = clock.after(delayMs, resolve);
  const stop = (): void => resolve();
  signal.addEventListener("abort", stop, { once: true });
  await promise;
  timer.cancel();
  signal.removeEventListener("abort", stop);
}
