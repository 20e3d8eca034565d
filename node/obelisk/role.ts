/**
 * The Obelisk role of a running node: its counters and ids, the keeper of its number, and both sides of serving peers.
 */

import type { KeyPair } from "../../crypto/sign/key.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Result } from "../../crypto/base/result.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import type { Log } from "../log/log.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { Network } from "../network/network.ts";
import type { Clock } from "../ports/clock.ts";
import type { Disk } from "../ports/disk.ts";
import { takeSystemLock } from "./lock.ts";
import { NumberKeeper } from "./number-keeper.ts";
import { Obelisk } from "./obelisk.ts";
import { Pharaoh } from "./pharaoh.ts";
import { pharaohServer } from "./pharaoh-server.ts";
import type { Durability } from "./sequencer.ts";
import { PHARAOH_PROTOCOL } from "./wire.ts";

/** The section `obelisk` of the configuration. */
export type ObeliskConfig = {
  readonly durability: Durability;
  readonly services: readonly string[];
  readonly serve: boolean;
  readonly leaseNumber: boolean;
};

/** What the role is opened with. */
export type RoleParts = {
  readonly path: string;
  readonly config: ObeliskConfig;
  readonly ledger: Ledger;
  readonly network: Network;
  readonly file: NetworkFile;
  readonly keyPair: KeyPair;
  readonly submit: (bytes: Uint8Array) => Promise<Result<Hash>>;
  /** Takes over work that nobody waits for, and joins it before the role closes. */
  readonly own: (task: Promise<void>) => void;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly draw: () => number;
  readonly log: Log;
  readonly metrics: Metrics;
};

/** See the file's head. */
export class ObeliskRole implements AsyncDisposable {
  readonly obelisk: Obelisk;
  readonly pharaoh: Pharaoh;
  readonly services: readonly string[];
  readonly #stack: AsyncDisposableStack;

  private constructor(parts: {
    readonly obelisk: Obelisk;
    readonly pharaoh: Pharaoh;
    readonly services: readonly string[];
    readonly stack: AsyncDisposableStack;
  }) {
    this.obelisk = parts.obelisk;
    this.pharaoh = parts.pharaoh;
    this.services = parts.services;
    this.#stack = parts.stack;
  }

  /** @throws CodedError `obelisk_locked`, or what the disk throws */
  static async open(parts: RoleParts): Promise<ObeliskRole> {
    const { config, ledger, network, clock, disk, log, metrics, own } = parts;
    await using stack = new AsyncDisposableStack();
    const { durability } = config;
    const obelisk = stack.use(await Obelisk.open({ path: parts.path, disk, clock, takeLock: takeSystemLock, durability }));
    if (durability === "none") log.warn({ durability }, "counters are not synced: a power cut repeats their values");
    const services = new Set(config.services);
    const submit = config.leaseNumber ? parts.submit : undefined;
    const keeper = new NumberKeeper({ ...parts, network: parts.file, obelisk, submit });
    const isLeased = keeper.isLeased.bind(keeper);
    const pharaoh = new Pharaoh({ obelisk, network, services, clock, isLeased, log, metrics });
    if (config.serve) await network.handle(PHARAOH_PROTOCOL, pharaohServer({ obelisk, services, clock }));
    let following: Promise<void> | undefined;
    stack.use(
      ledger.onCommit(() => {
        // A block that comes while another is looked at is seen with the next one, at the latest.
        following ??= keeper.follow().finally(() => {
          following = undefined;
        });
        own(following);
      }),
    );
    await keeper.follow();
    metrics.gauge({
      name: "obelisk_counters_count",
      help: "Counters that were ever used",
      read: () => obelisk.counters.counts.counters,
    });
    metrics.gauge({
      name: "obelisk_number_count",
      help: "Whether the node has a number to make ids under",
      read: () => (obelisk.scarabs.lease === undefined ? 0 : 1),
    });
    return new ObeliskRole({ obelisk, pharaoh, services: config.services, stack: stack.move() });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
