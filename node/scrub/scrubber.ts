/**
 * Scrubs a store for as long as its node runs: paced, resumed after a restart, and repairing what it can.
 *
 * ```
 *   files -> rows, step by step -> repair from what is good and from peers -> rest -> files -> ...
 *               | every so often, and when the node closes: the cursor, in a file of its own
 * ```
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import * as z from "zod";
import { CodedError } from "../../crypto/base/error.ts";
import { placeFile, readFileBounded } from "../home/files.ts";
import type { Log } from "../log/log.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { SyncNetwork } from "../network/sync.ts";
import { encodeSyncRequest, parseBlockAnswer, SYNC_PROTOCOL } from "../network/sync.ts";
import { type Clock, sleep } from "../ports/clock.ts";
import { checkFile, dataFiles } from "./leveldb.ts";
import { type BlockCopies, repairRows } from "./repair.ts";
import { CURSOR_FIRST, type Cursor, type Damage, scrubRows, type Subject } from "./rows.ts";

/** What a scrubber works with. */
export type ScrubberParts = {
  readonly subject: Subject;
  readonly storePath: string;
  /** Where it is noted how far a pass has come. */
  readonly cursorPath: string;
  readonly copies: BlockCopies;
  readonly bytesPerSecondMax: number;
  readonly intervalMs: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
};

/** How often the cursor is written, and no file is larger. */
const CURSOR_INTERVAL_MS = 30_000;
const CURSOR_SIZE_BYTES_MAX = 4_096;
/** Damages of one repair. */
const DAMAGES_PER_REPAIR_MAX = 10_000;
/** Peers that are asked for one block. */
const PEERS_ASKED_MAX = 8;

const number = z
  .string()
  .regex(/^\d{1,19}$/)
  .transform(BigInt);
const cursorSchema = z.discriminatedUnion("phase", [
  z.strictObject({ phase: z.literal("facts") }),
  z.strictObject({ phase: z.literal("heights"), height: number.refine((height) => height >= 1n) }),
  z.strictObject({ phase: z.literal("records"), after: z.string().max(1_024), index: number }),
  z.strictObject({ phase: z.literal("states"), below: number }),
  z.strictObject({ phase: z.literal("strays") }),
]);

/** See the file's head. */
export class Scrubber {
  readonly #parts: ScrubberParts;
  readonly #log: Log;
  #cursorAtMs: number;

  constructor(parts: ScrubberParts) {
    this.#parts = parts;
    this.#log = parts.log.child({ part: "scrub" });
    this.#cursorAtMs = parts.clock.monotonicMs();
  }

  /** Runs until `signal` aborts. Rejects when the store fails in a way that is no damage. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, intervalMs } = this.#parts;
    let from = await this.#load();
    while (!signal.aborted) {
      const isWhole = await this.pass(from, signal);
      from = CURSOR_FIRST;
      if (isWhole) await sleep(clock, intervalMs, signal);
    }
  }

  /** One pass, from a cursor. Returns whether it came to its end. */
  async pass(from: Cursor, signal: AbortSignal): Promise<boolean> {
    const { subject, metrics, clock } = this.#parts;
    const bytes = metrics.counter({ name: "scrub_checked_bytes_total", help: "Bytes of rows and files that were checked" });
    const damages: Damage[] = [];
    if (from.phase === CURSOR_FIRST.phase) damages.push(...(await this.#files(signal)));
    for await (const step of scrubRows(subject, from)) {
      damages.push(...step.damages.slice(0, DAMAGES_PER_REPAIR_MAX - damages.length));
      bytes.add(step.sizeBytes);
      if (clock.monotonicMs() - this.#cursorAtMs >= CURSOR_INTERVAL_MS) await this.#keep(step.cursor);
      if (signal.aborted) {
        await this.#keep(step.cursor);
        break;
      }
      await this.#rest(step.sizeBytes, signal);
    }
    // Also when it was cut short: what was found is not forgotten.
    const left = await this.#repair(damages);
    metrics.gauge({ name: "scrub_damages_count", help: "Damage that the last pass found and could not repair" }).set(left.length);
    if (signal.aborted) return false;
    await this.#keep(CURSOR_FIRST);
    metrics.counter({ name: "scrub_passes_total", help: "Whole passes over the store" }).add();
    this.#log.info({ found: damages.length, left: left.length }, "scrub pass done");
    return true;
  }

  async #files(signal: AbortSignal): Promise<Damage[]> {
    const { storePath, metrics } = this.#parts;
    const bytes = metrics.counter({ name: "scrub_checked_bytes_total", help: "Bytes of rows and files that were checked" });
    const damages: Damage[] = [];
    for (const file of await dataFiles(storePath)) {
      if (signal.aborted) return damages;
      const { sizeBytes, faults } = await checkFile(storePath, file, true);
      bytes.add(sizeBytes);
      for (const { code, offset } of faults)
        damages.push({ code, kind: "file", place: `${file} at ${offset}`, key: undefined, height: undefined, repair: undefined });
      await this.#rest(sizeBytes, signal);
    }
    return damages;
  }

  async #repair(damages: readonly Damage[]): Promise<readonly Damage[]> {
    if (damages.length === 0) return [];
    for (const { code, kind, place } of damages) this.#log.warn({ code, kind, place }, "the disk changed what was stored");
    const { repaired, left } = await repairRows(this.#parts.subject, damages, this.#parts.copies);
    for (const { code, kind, place } of repaired) this.#log.info({ code, kind, place }, "repaired");
    if (left.length > 0)
      this.#log.error(
        { code: "scrub_damage", count: left.length, places: left.slice(0, 16).map(({ kind, place }) => `${kind} ${place}`) },
        "damage that is not served, and not repaired while the node runs: stop it and run pyralog scrub --repair",
      );
    return left;
  }

  /** Leaves the thread to others, and the disk to itself for as long as the pace asks for. */
  async #rest(sizeBytes: number, signal: AbortSignal): Promise<void> {
    await nextTurn();
    const waitMs = (sizeBytes * 1000) / this.#parts.bytesPerSecondMax;
    if (waitMs >= 1) await sleep(this.#parts.clock, waitMs, signal);
  }

  async #load(): Promise<Cursor> {
    const bytes = await readFileBounded(this.#parts.cursorPath, CURSOR_SIZE_BYTES_MAX);
    try {
      const parsed = cursorSchema.safeParse(JSON.parse(new TextDecoder().decode(bytes)));
      // A cursor that does not parse only costs the way up to it.
      return parsed.success ? parsed.data : CURSOR_FIRST;
    } catch (error) {
      if (error instanceof SyntaxError) return CURSOR_FIRST;
      throw error;
    }
  }

  async #keep(cursor: Cursor): Promise<void> {
    this.#cursorAtMs = this.#parts.clock.monotonicMs();
    const text = JSON.stringify(cursor, (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value));
    await placeFile(this.#parts.cursorPath, `${text}\n`);
  }
}

/** Copies of blocks from the peers of a running node. */
export function peerCopies(network: SyncNetwork, signal: AbortSignal): BlockCopies {
  return async function* copies(height) {
    const able = network.peers().filter((peer) => peer.height >= height);
    for (const { id } of able.slice(0, PEERS_ASKED_MAX)) {
      if (signal.aborted) return;
      try {
        const request = encodeSyncRequest({ kind: "blocks", from: height, count: 1 });
        const options = { signal, timeoutMs: network.limits.syncWindowTimeoutMs };
        for await (const frame of network.request(id, SYNC_PROTOCOL, request, options)) {
          const answer = parseBlockAnswer(frame);
          if (answer.ok) yield answer.value;
          break;
        }
      } catch (error) {
        // Whatever is wrong with this peer, another may have it; the request has told on it where it deserves that.
        if (!(error instanceof CodedError)) throw error;
      }
    }
  };
}
