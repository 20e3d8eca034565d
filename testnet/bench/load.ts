/**
 * Load on a running network or on another database: puts from several senders, timed from submission to when they are
 * final, and load beyond what it takes (`offerLoad`).
 *
 * The generator makes and signs before the clock starts and keeps a bounded number of items in flight; it verifies
 * nothing (the clients of a test do), so that what is measured is the network and not the measuring.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { CodedError } from "../../crypto/base/error.ts";

/** One put as it is sent. */
export type LoadItem = {
  readonly id: string;
  readonly bytes: Uint8Array;
  /** The bytes as they go into a request that is text. */
  readonly text?: string;
};

/** What became of an item that was handed in: it waits, is final already, or was refused with a code. */
export type Taken = { readonly kind: "waiting" | "final" } | { readonly kind: "refused"; readonly code: string };

/** What takes load. */
export type LoadTarget<Item extends LoadItem = LoadItem> = {
  /** Hands in items of one sender, in order. One answer an item. */
  readonly submit: (lane: number, items: readonly Item[], signal: AbortSignal) => Promise<readonly Taken[]>;
  /** What became final since the last call, and when that was seen; empty when nothing did. */
  readonly finalized: (signal: AbortSignal) => Promise<readonly { readonly ids: readonly string[]; readonly atMs: number }[]>;
};

/** What to send. */
export type LoadOptions<Item extends LoadItem = LoadItem> = {
  /** Of each sender, in order. */
  readonly lanes: readonly (readonly Item[])[];
  /** Items submitted and not yet final. */
  readonly inFlightMax: number;
  /** Offered rate; absent: as fast as `inFlightMax` allows. */
  readonly perSecond?: number;
  readonly batchSize?: number;
  /** Nothing is submitted after so long; absent: until the lanes are empty. */
  readonly seconds?: number;
  readonly signal: AbortSignal;
};

/** What happened. */
export type LoadReport = {
  readonly finalized: number;
  /** Answers that were refusals. What was refused is offered again. */
  readonly refused: number;
  /** From the first submission to the last final block. */
  readonly seconds: number;
  readonly finalizedPerSecond: number;
  /** Sorted. */
  readonly finalityMs: readonly number[];
  /** When each became final, from the first submission on, in that order. */
  readonly finalizedAtMs: readonly number[];
  /** Of one processor, by the generator. */
  readonly generatorCpuShare: number;
};

const POLL_INTERVAL_MS = 20;
const PACE_INTERVAL_MS = 2;
/** Between two offers of a sender, so that each holds some items. */
const OFFER_INTERVAL_MS = 20;
const BATCH_SIZE = 50;
/**
 * Of one sender: a node takes 1,000 of one account, and one that is a block or two behind the one that we ask what is final has
 * those of these blocks besides.
 */
const LANE_IN_FLIGHT_MAX = 600;
/** Beyond the time of submitting. */
const TIMEOUT_MS = 120_000;

/**
 * Puts load on a network and waits until all of it is final.
 *
 * @throws AssertionError when a sender has nothing left before `seconds` are over: what is measured then is how much there was
 */
export async function runLoad<Item extends LoadItem>(target: LoadTarget<Item>, options: LoadOptions<Item>): Promise<LoadReport> {
  const { lanes, signal, inFlightMax, seconds: limitSeconds = Number.POSITIVE_INFINITY } = options;
  const batchSize = options.batchSize ?? BATCH_SIZE;
  const sent = new Map<string, { readonly atMs: number; readonly lane: number }>();
  const underWay = lanes.map(() => 0);
  const leave = (lane: number, count: number): void => void (underWay[lane] = present(underWay[lane], "lane") - count);
  const finalityMs: number[] = [];
  const finalizedAtMs: number[] = [];
  let [refused, isSubmitting, hasRunOut] = [0, true, false];
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  const elapsed = (): number => (performance.now() - startMs) / 1000;
  const isLate = (): boolean =>
    elapsed() * 1000 > TIMEOUT_MS + (limitSeconds === Number.POSITIVE_INFINITY ? 0 : limitSeconds * 1000);
  const final = (id: string, atMs: number): void => {
    const item = sent.get(id);
    if (item === undefined) return;
    leave(item.lane, 1);
    finalityMs.push(atMs - item.atMs);
    finalizedAtMs.push(atMs - startMs);
  };
  /** Whether all were taken. What was refused counts as never sent. */
  const submitBatch = async (lane: number, items: readonly Item[]): Promise<boolean> => {
    const atMs = performance.now();
    for (const { id } of items) sent.set(id, { atMs, lane });
    leave(lane, -items.length);
    const answers = await target.submit(lane, items, signal);
    const before = refused;
    for (const [index, answer] of answers.entries()) {
      const { id } = present(items[index], "item");
      if (answer.kind === "final") final(id, performance.now());
      if (answer.kind !== "refused") continue;
      refused += 1;
      sent.delete(id);
      leave(lane, 1);
    }
    return refused === before;
  };
  /** What was not taken and lies before what was. */
  const gapIn = (items: readonly Item[]): readonly Item[] => {
    const last = items.findLastIndex(({ id }) => sent.has(id));
    return items.slice(0, last + 1).filter(({ id }) => !sent.has(id));
  };
  const submitLane = async (items: readonly Item[], lane: number): Promise<void> => {
    for (let index = 0; index < items.length && elapsed() < limitSeconds;) {
      signal.throwIfAborted();
      assert(!isLate(), "the load did not get through in time");
      const isPaced = options.perSecond !== undefined && sent.size >= elapsed() * options.perSecond;
      const isFull = sent.size - finalityMs.length >= inFlightMax || present(underWay[lane], "lane") >= LANE_IN_FLIGHT_MAX;
      if (isFull || isPaced) {
        await pause(PACE_INTERVAL_MS);
        continue;
      }
      const batch: Item[] = [];
      let next = index;
      for (; next < items.length && batch.length < batchSize; next += 1) {
        const item = present(items[next], "item");
        if (!sent.has(item.id)) batch.push(item);
      }
      // What follows a refused one waits for it, so it is offered again as soon as there may be a place, and first.
      if (batch.length === 0 || (await submitBatch(lane, batch))) index = next;
      else await pause(POLL_INTERVAL_MS);
    }
    hasRunOut ||= limitSeconds !== Number.POSITIVE_INFINITY && elapsed() < limitSeconds;
    // Whoever stops at a refused one leaves those behind it waiting for ever.
    for (let gap = gapIn(items); gap.length > 0; gap = gapIn(items)) {
      signal.throwIfAborted();
      assert(!isLate(), "what was refused did not get through in time");
      if (!(await submitBatch(lane, gap.slice(0, batchSize)))) await pause(POLL_INTERVAL_MS);
    }
  };
  const follow = async (): Promise<void> => {
    while (isSubmitting || finalityMs.length < sent.size) {
      signal.throwIfAborted();
      assert(!isLate(), `${finalityMs.length} of ${sent.size} are final, ${refused} refused`);
      const found = await target.finalized(signal);
      if (found.length === 0) await pause(POLL_INTERVAL_MS);
      for (const { ids, atMs } of found) for (const id of ids) final(id, atMs);
    }
  };
  const submitting = Promise.all(lanes.map(submitLane)).finally(() => (isSubmitting = false));
  await Promise.all([submitting, follow()]);
  assert(!hasRunOut, "the load of a sender ran out before {} s were over", limitSeconds);
  const used = process.cpuUsage(cpu);
  const generatorCpuShare = (used.user + used.system) / 1e6 / elapsed();
  const seconds = (finalizedAtMs.at(-1) ?? 0) / 1000;
  return {
    finalized: finalityMs.length,
    refused,
    seconds,
    finalizedPerSecond: finalityMs.length / seconds,
    finalityMs: finalityMs.toSorted((a, b) => a - b),
    finalizedAtMs,
    generatorCpuShare,
  };
}

/** The value below which a share of the sorted values lies. */
export function percentile(sorted: readonly number[], share: number): number {
  return present(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))], "a value");
}

/** What to offer. */
export type OfferOptions<Item extends LoadItem = LoadItem> = {
  readonly lanes: readonly (readonly Item[])[];
  /** Of each lane: offered a second. */
  readonly perSecond: readonly number[];
  readonly seconds: number;
  readonly signal: AbortSignal;
};

/** What became of an offer. */
export type OfferReport = {
  /** A second, refused ones that were offered again each time. */
  readonly offeredPerSecond: number;
  /** A second, while load was offered. */
  readonly finalizedPerSecond: number;
  /** Of what was offered. */
  readonly refusedShare: number;
  readonly refusals: ReadonlyMap<string, number>;
  /** From offering to the refusal; sorted. */
  readonly refusalMs: readonly number[];
  /** Of what was accepted, from the offer that was; sorted. */
  readonly finalityMs: readonly number[];
  readonly accepted: number;
  /** Accepted, and not final long after the last offer. */
  readonly lost: number;
  /** Finalised of each lane while load was offered. */
  readonly finalizedByLane: readonly number[];
};

/** Of one offer. */
const OFFER_ITEMS_MAX = 100;
/** Offers of one sender that wait for their answers. With more, what is measured is the queue of the generator. */
const OFFERS_UNDER_WAY_MAX = 4;

/**
 * Offers load without regard to what is taken: each sender offers its next items as its rate says, and what is refused
 * again with the next. At last closes the gaps that refusals left before what was accepted, and waits until all of that is
 * final, for a bounded time.
 */
export async function offerLoad<Item extends LoadItem>(
  target: LoadTarget<Item>,
  options: OfferOptions<Item>,
): Promise<OfferReport> {
  const { lanes, perSecond, seconds, signal } = options;
  const offeredAtMs = new Map<string, { readonly atMs: number; readonly lane: number }>();
  const acceptedIds = new Set<string>();
  const underWayIds = new Set<string>();
  const refusals = new Map<string, number>();
  const [refusalMs, finalityMs]: [number[], number[]] = [[], []];
  const finalizedByLane = lanes.map(() => 0);
  let [offered, isOffering] = [0, true];
  const startMs = performance.now();
  const elapsed = (): number => (performance.now() - startMs) / 1000;
  const offer = async (lane: number, items: readonly Item[]): Promise<void> => {
    const atMs = performance.now();
    for (const { id } of items) {
      offeredAtMs.set(id, { atMs, lane });
      underWayIds.add(id);
    }
    offered += items.length;
    const answers = await target.submit(lane, items, signal);
    const answeredMs = performance.now();
    for (const [index, answer] of answers.entries()) {
      const { id } = present(items[index], "item");
      underWayIds.delete(id);
      if (answer.kind !== "refused") {
        acceptedIds.add(id);
        continue;
      }
      refusals.set(answer.code, (refusals.get(answer.code) ?? 0) + 1);
      refusalMs.push(answeredMs - atMs);
    }
  };
  const offerLane = async (items: readonly Item[], lane: number): Promise<void> => {
    const rate = present(perSecond[lane], "rate");
    const underWay = new Set<Promise<void>>();
    let [first, made] = [0, 0];
    const next = (count: number): Item[] => {
      while (acceptedIds.has(items[first]?.id ?? "")) first += 1;
      const chosen: Item[] = [];
      for (let index = first; chosen.length < count; index += 1) {
        const item = items[index];
        if (item === undefined)
          throw new CodedError("bench_load_short", { message: `lane ${lane} has only ${items.length} items` });
        if (!acceptedIds.has(item.id) && !underWayIds.has(item.id)) chosen.push(item);
      }
      return chosen;
    };
    while (elapsed() < seconds) {
      signal.throwIfAborted();
      // What was not offered in time, since answers were awaited, is not made up for in one go.
      const wanted = Math.floor(elapsed() * rate);
      made = Math.max(made, wanted - OFFER_ITEMS_MAX);
      const due = wanted - made;
      if (due === 0) {
        await pause(OFFER_INTERVAL_MS);
        continue;
      }
      if (underWay.size >= OFFERS_UNDER_WAY_MAX) {
        await Promise.race(underWay);
        continue;
      }
      made += due;
      const task = offer(lane, next(due)).finally(() => underWay.delete(task));
      underWay.add(task);
      await pause(OFFER_INTERVAL_MS);
    }
    await Promise.all(underWay);
    // What was accepted behind one that was refused waits for that nonce: a client that stops there has left a gap of its own.
    for (;;) {
      const last = items.findLastIndex(({ id }) => acceptedIds.has(id));
      const gaps = items.slice(0, last + 1).filter(({ id }) => !acceptedIds.has(id));
      if (gaps.length === 0 || elapsed() >= seconds + TIMEOUT_MS / 1000) return;
      await offer(lane, gaps.slice(0, OFFER_ITEMS_MAX));
      await pause(OFFER_INTERVAL_MS);
    }
  };
  const follow = async (): Promise<void> => {
    const known = new Set<string>();
    while (isOffering || (known.size < acceptedIds.size && elapsed() < seconds + TIMEOUT_MS / 1000)) {
      signal.throwIfAborted();
      const found = await target.finalized(signal);
      if (found.length === 0) await pause(POLL_INTERVAL_MS);
      for (const { ids, atMs } of found) {
        for (const id of ids) {
          const offer = offeredAtMs.get(id);
          if (offer === undefined) continue;
          known.add(id);
          // A block may come before the answer that it is awaited: it is final, so it was accepted.
          acceptedIds.add(id);
          finalityMs.push(atMs - offer.atMs);
          if (atMs - startMs <= seconds * 1000) finalizedByLane[offer.lane] = (finalizedByLane[offer.lane] ?? 0) + 1;
        }
      }
    }
  };
  const offering = Promise.all(lanes.map(offerLane)).finally(() => (isOffering = false));
  await Promise.all([offering, follow()]);
  const byTime = (a: number, b: number): number => a - b;
  return {
    offeredPerSecond: offered / seconds,
    finalizedPerSecond: finalizedByLane.reduce((sum, count) => sum + count, 0) / seconds,
    refusedShare: refusalMs.length / offered,
    refusals,
    refusalMs: refusalMs.toSorted(byTime),
    finalityMs: finalityMs.toSorted(byTime),
    accepted: acceptedIds.size,
    lost: acceptedIds.size - finalityMs.length,
    finalizedByLane,
  };
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
