/**
 * The Obelisk role of a node: counters and ids of one directory, under one lock.
 *
 * ```
 *   lock/                                    the lock (`lock.ts`)
 *   incarnation                              which directory this is (`incarnation.ts`)
 *   <incarnation>/counters/<name>@...        a file a counter
 *   <incarnation>/scarabs/<space>@...        a file a space of ids: how far its time is reserved
 * ```
 */

import type { ScarabClockOptions } from "../../crypto/id/generator.ts";
import type { Clock } from "../ports/clock.ts";
import type { Disk } from "../ports/disk.ts";
import { Counters } from "./counters.ts";
import { incarnationOf, incarnationPath } from "./incarnation.ts";
import type { TakeLock } from "./lock.ts";
import { Scarabs } from "./scarabs.ts";
import type { Durability } from "./sequencer.ts";

/** What an Obelisk is opened with. */
export type ObeliskOptions = {
  /** The directory, made when it is not there. */
  readonly path: string;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly takeLock: TakeLock;
  readonly durability?: Durability;
  readonly leaseCount?: number;
  readonly countersMax?: number;
  readonly clockOptions?: ScarabClockOptions;
  /** Random bytes for a new incarnation; the platform's when absent. */
  readonly draw?: (size: number) => Uint8Array;
};

/** Counters and ids. */
export class Obelisk implements AsyncDisposable {
  readonly counters: Counters;
  readonly scarabs: Scarabs;
  /** Which directory this is: no copy of it has the same. */
  readonly incarnation: Uint8Array;
  readonly #stack: AsyncDisposableStack;

  private constructor(parts: {
    readonly stack: AsyncDisposableStack;
    readonly counters: Counters;
    readonly scarabs: Scarabs;
    readonly incarnation: Uint8Array;
  }) {
    this.#stack = parts.stack;
    this.counters = parts.counters;
    this.scarabs = parts.scarabs;
    this.incarnation = parts.incarnation;
  }

  /** @throws CodedError `obelisk_locked`, or what the disk throws */
  static async open(options: ObeliskOptions): Promise<Obelisk> {
    await using stack = new AsyncDisposableStack();
    await options.disk.makeDirectory(options.path);
    stack.use(await options.takeLock(options.path));
    const incarnation = await incarnationOf(options.path, options.disk, options.draw);
    const path = incarnationPath(options.path, incarnation);
    const counters = stack.use(await Counters.open({ ...options, path: `${path}/counters` }));
    const scarabs = stack.use(await Scarabs.open({ ...options, path: `${path}/scarabs` }));
    return new Obelisk({ stack: stack.move(), counters, scarabs, incarnation });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
