/**
 * Searching for seals of work, off the main thread.
 *
 * Each worker has an extra nonce of its own, and goes through all nonces under it before it takes the next; so no two
 * try the same, and 2^64 nonces are not the end. A worker looks up from its work after some milliseconds, which is
 * how long a new search or a rest may take to reach it.
 */

import { Worker } from "node:worker_threads";
import { assert } from "../../crypto/base/assert.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Nonces } from "../../chain/block/work.ts";
import type { Clock } from "../ports/clock.ts";

/** What is searched for: nonces under which this header's seal meets the target. */
export type SearchJob = { readonly headerHash: Hash; readonly target: bigint };

/** Looks for seals. */
export interface Searcher extends AsyncDisposable {
  /** Begins a search and ends the one before. `onFound` comes later, at most once, and never for a search that was ended. */
  search(job: SearchJob, onFound: (nonces: Nonces) => void): void;
  /** Ends the search. */
  rest(): void;
  /** Nonces tried in a second of search, over the last whole span of it; 0 at rest. */
  readonly hashesPerSecond: number;
  /** Rejects when it can search no more. */
  readonly failed: Promise<never>;
}

/** To a worker. `id` counts searches. */
export type SearchOrder =
  | { readonly kind: "search"; readonly id: number; readonly job: SearchJob; readonly from: Nonces; readonly stride: bigint }
  | { readonly kind: "rest" };

/** From a worker. */
export type SearchReport =
  | { readonly kind: "found"; readonly id: number; readonly nonces: Nonces }
  | { readonly kind: "tried"; readonly count: number };

/** More workers than this are no machine's cores. */
const WORKERS_MAX = 256;
/** The rate is over so much search. */
const RATE_SPAN_MS = 1_000;
const NONCE_END = 1n << 64n;

/** Where a worker goes on after `count` nonces: under the next extra nonce of its own when these are used up. */
export function nonceAfter({ extraNonce, nonce }: Nonces, count: number, stride: bigint): Nonces {
  const next = nonce + BigInt(count);
  if (next < NONCE_END) return { extraNonce, nonce: next };
  return { extraNonce: BigInt.asUintN(64, extraNonce + stride), nonce: 0n };
}

/** As many nonces as may be tried in one go without passing the last one. */
export function countUpTo({ nonce }: Nonces, countMax: number): number {
  const left = NONCE_END - nonce;
  return left < BigInt(countMax) ? Number(left) : countMax;
}

/** Searches in worker threads. */
export class WorkerSearcher implements Searcher {
  readonly #workers: readonly Worker[];
  readonly #clock: Clock;
  readonly #failed = Promise.withResolvers<never>();
  #id = 0;
  #onFound: ((nonces: Nonces) => void) | undefined;
  /** In the span so far: nonces, milliseconds of search, and when the newest stretch of them began. */
  #tried = 0;
  #busyMs = 0;
  #busySinceMs = 0;
  #rate = 0;
  #isClosed = false;

  constructor(options: { readonly workers: number; readonly clock: Clock }) {
    const { workers, clock } = options;
    assert(Number.isInteger(workers) && workers >= 1 && workers <= WORKERS_MAX, "{} workers", workers);
    this.#clock = clock;
    this.#failed.promise.catch(() => undefined); // Whoever searches awaits it; nobody else must.
    this.#workers = Array.from({ length: workers }, () => this.#start());
  }

  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  get hashesPerSecond(): number {
    return this.#onFound === undefined ? 0 : this.#rate;
  }

  search(job: SearchJob, onFound: (nonces: Nonces) => void): void {
    if (this.#isClosed) return;
    this.#id += 1;
    if (this.#onFound === undefined) this.#busySinceMs = this.#clock.monotonicMs();
    this.#onFound = onFound;
    const stride = BigInt(this.#workers.length);
    for (const [index, worker] of this.#workers.entries()) {
      this.#order(worker, { kind: "search", id: this.#id, job, from: { extraNonce: BigInt(index), nonce: 0n }, stride });
    }
  }

  rest(): void {
    this.#onFound = undefined;
    if (!this.#isClosed) for (const worker of this.#workers) this.#order(worker, { kind: "rest" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#onFound = undefined;
    await Promise.all(this.#workers.map(async (worker) => await worker.terminate()));
  }

  #start(): Worker {
    // Run from source by its own type stripping, from a published package as compiled.
    const name = import.meta.url.endsWith(".ts") ? "./searcher-worker.ts" : "./searcher-worker.js";
    const worker = new Worker(new URL(name, import.meta.url));
    worker.on("message", (report: SearchReport) => this.#hear(report));
    worker.once("error", (error) => this.#fail(error));
    worker.once("exit", (code) => this.#fail(new Error(`exit code ${code}`)));
    return worker;
  }

  #order(worker: Worker, order: SearchOrder): void {
    worker.postMessage(order);
  }

  #hear(report: SearchReport): void {
    if (report.kind === "tried") {
      this.#count(report.count);
      return;
    }
    const onFound = this.#onFound;
    if (report.id !== this.#id || onFound === undefined) return;
    this.rest();
    onFound(report.nonces);
  }

  #count(tried: number): void {
    this.#tried += tried;
    const nowMs = this.#clock.monotonicMs();
    this.#busyMs += nowMs - this.#busySinceMs;
    this.#busySinceMs = nowMs;
    if (this.#busyMs < RATE_SPAN_MS) return;
    this.#rate = Math.round((this.#tried * 1000) / this.#busyMs);
    this.#tried = 0;
    this.#busyMs = 0;
  }

  #fail(cause: unknown): void {
    if (this.#isClosed) return;
    this.#failed.reject(new CodedError("searcher_failed", { message: "a search thread ended" }, { cause }));
  }
}
