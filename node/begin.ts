/**
 * How a node joins in: where sync takes blocks from and puts them, and when a validator begins to speak. The same in a
 * node and in a simulated one.
 */

import { present } from "../crypto/base/assert.ts";
import type { Coded, Result } from "../crypto/base/result.ts";
import type { Address } from "../crypto/identity/address.ts";
import { parseBlock } from "../chain/block/block.ts";
import { heightOf, nextHeight } from "../chain/block/height.ts";
import { findValidator, type ValidatorSet } from "../chain/block/validators.ts";
import { parseCertificate } from "../chain/block/vote.ts";
import type { Ledger } from "../chain/ledger/ledger.ts";
import type { Driver } from "./driver/driver.ts";
import type { SignGuard } from "./driver/guard.ts";
import type { Log } from "./log/log.ts";
import type { BlockSink, BlockSource, Synchroniser } from "./network/sync.ts";
import { type Clock, sleep } from "./ports/clock.ts";

/** How long a height may stand still because a returning validator sits it out. */
const SIT_OUT_MS_MAX = 30_000;
/** How long a lone start waits between looks at its peers. */
const LOOK_INTERVAL_MS = 100;

/** Whether `self` is of those that decide the next height. */
export function isMember(ledger: Ledger, self: Address): boolean {
  const set = ledger.validators(nextHeight(ledger.head().height));
  return set !== undefined && findValidator(set, self) !== undefined;
}

/**
 * Waits until this node knows enough to take part, then lets it.
 *
 * A validator that could finish a block alone has nobody to ask. Every other waits for a peer, and until it has what
 * the best peer in good standing claims. If its key's newest signature is from before the height that was decided
 * last, it was away, or restored from an old copy: the height now under way is sat out. So it is, and one more, when the
 * record of what the key signed is a copy (`SignGuard.isCopy`): a backup of moments ago may have forgotten votes of the
 * height under way, and of the next one if those we hear from are behind.
 */
export async function beginConsensus(parts: {
  readonly ledger: Ledger;
  readonly network: { readonly peers: () => readonly unknown[] };
  readonly synchroniser: Pick<Synchroniser, "progress">;
  readonly guard: SignGuard;
  readonly driver: Driver;
  readonly self: Address;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { ledger, network, synchroniser, guard, driver, self, clock, log, signal } = parts;
  const set = present(ledger.validators(nextHeight(ledger.head().height)), "validators of the next height");
  while (!isAlone(set, self) && !signal.aborted) {
    const { height, target } = synchroniser.progress();
    if (network.peers().length > 0 && height >= target) break;
    await sleep(clock, LOOK_INTERVAL_MS, signal);
  }
  if (signal.aborted) return;
  const { height } = ledger.head();
  // Also when the others cannot do without us: a wiped data directory looks like a key that has never signed.
  if ((guard.height < height || guard.isCopy) && isMember(ledger, self) && !isAlone(set, self)) {
    const floor = heightOf(height + (guard.isCopy ? 2n : 1n));
    guard.raiseFloor(floor);
    log.info(
      { height: floor, signed: guard.height, isCopy: guard.isCopy },
      "sitting out heights whose votes this home may not remember",
    );
  }
  driver.start();
  while (!signal.aborted && guard.floor >= driver.height) {
    await sleep(clock, LOOK_INTERVAL_MS, signal);
    if (driver.stalledMs < SIT_OUT_MS_MAX) continue;
    // The others cannot decide without us. They have been asked for what they hold of this height since the first
    // seconds; a vote of ours among it has raised the guard.
    guard.liftFloor();
    log.warn({ height: driver.height, stalledMs: driver.stalledMs }, "taking part in the height that was to be sat out");
    await driver.retry();
  }
}

/** Whether this validator decides without anybody else. */
function isAlone(set: ValidatorSet, self: Address): boolean {
  const power = findValidator(set, self)?.power ?? 0n;
  return power * 3n > set.totalPower * 2n;
}

/** The blocks that this node has, for peers that have not. */
export function blockSource(ledger: Ledger): BlockSource {
  return {
    height: () => ledger.head().height,
    encoded: (height) => {
      const block = ledger.blockBytes(heightOf(height));
      const certificate = ledger.certificateBytes(heightOf(height));
      return block === undefined || certificate === undefined ? undefined : { block, certificate };
    },
  };
}

/** Where blocks of peers go: through the driver, in turn with what consensus decides. */
export function blockSink(ledger: Ledger, driver: Pick<Driver, "apply">): BlockSink {
  return {
    height: () => ledger.head().height,
    apply: async (blockBytes, certificateBytes): Promise<Result<void, Coded>> => {
      const block = parseBlock(blockBytes);
      if (!block.ok) return block;
      const certificate = parseCertificate(certificateBytes);
      if (!certificate.ok) return certificate;
      return await driver.apply(block.value, certificate.value);
    },
  };
}
