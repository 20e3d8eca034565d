/**
 * How a node joins in: where sync takes blocks from and puts them, and when a validator begins to speak. The same in a
 * node and in a simulated one.
 */

import { present } from "../crypto/base/assert.ts";
import { bytesEqual } from "../crypto/base/bytes.ts";
import type { Coded, Result } from "../crypto/base/result.ts";
import type { Address } from "../crypto/identity/address.ts";
import { parseBlock } from "../chain/block/block.ts";
import { GENESIS_HEIGHT, type Height, heightOf, nextHeight } from "../chain/block/height.ts";
import { findValidator, type ValidatorSet } from "../chain/block/validators.ts";
import { parseCertificate } from "../chain/block/vote.ts";
import type { Ledger } from "../chain/ledger/ledger.ts";
import type { Driver } from "./driver/driver.ts";
import type { SignGuard } from "./driver/guard.ts";
import type { WriteAheadLog } from "./driver/wal.ts";
import type { Log } from "./log/log.ts";
import type { BlockSink, BlockSource, Synchroniser } from "./network/sync.ts";
import { type Clock, sleep } from "./ports/clock.ts";

/** How long a height may stand still because a returning validator sits it out. */
const SIT_OUT_MS_MAX = 30_000;
/** How many of the newest certificates are searched for a signature of ours. */
const CERTIFICATES_SEARCHED_MAX = 1_000n;
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
 * A validator that could finish a block alone has nobody to ask, unless its home is a copy: then those who follow it may
 * have what it decided since, and it waits for one of them for a while. Every other waits for a peer, and until it has what
 * the best peer in good standing claims, and what more than a third of the peers claim whatever became of our
 * questions to them: for a while, or, when its home is a copy, as long as it takes. If its key's newest signature is from before the height that was decided
 * last, it was away, or restored from an old copy: the height now under way is sat out. So it is, and one more, when the
 * record of what the key signed is a copy (`SignGuard.isCopy`): a backup of moments ago may have forgotten votes of the
 * height under way, and of the next one if those we hear from are behind. A copy sits them out also while it is of no set: it
 * may have been of one that it does not know.
 *
 * Who was only away takes part after all when the height stands still. Who has certainly forgotten something (its record is a
 * copy, a certificate of the chain holds a signature of its key that the record does not know, or the record knows of a vote at a
 * height that is not decided and whose log is gone, so that nobody knows any more what it is locked on) does not, now or after a
 * restart, unless it decides alone or its operator vouches that the key has signed nothing else at those heights: a halted network
 * can be set going again, a second signature cannot be taken back.
 */
export async function beginConsensus(parts: {
  readonly ledger: Ledger;
  readonly network: { readonly peers: () => readonly { readonly height: bigint }[] };
  readonly synchroniser: Pick<Synchroniser, "progress">;
  readonly guard: SignGuard;
  readonly driver: Driver;
  readonly wal: Pick<WriteAheadLog, "holds">;
  readonly self: Address;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Nothing is decided without us, and we keep silent up to this height; `undefined`: that is over. */
  readonly onSilence?: ((height: Height | undefined) => void) | undefined;
  /** Up to here the operator vouches that this key has signed nothing that its home does not remember. */
  readonly vouchedHeight?: Height | undefined;
}): Promise<void> {
  const {
    ledger,
    network,
    synchroniser,
    guard,
    driver,
    wal,
    self,
    clock,
    log,
    signal,
    vouchedHeight = GENESIS_HEIGHT,
    onSilence,
  } = parts;
  const set = (): ValidatorSet => present(ledger.validators(nextHeight(ledger.head().height)), "validators of the next height");
  for (let waitedMs = 0; !signal.aborted; waitedMs += LOOK_INTERVAL_MS) {
    const { height, target } = synchroniser.progress();
    const claimed = claimedByAThird(network.peers());
    // A peer that sent no blocks is out of the running for `target`, and may well have them.
    const isPatient = guard.isCopy || waitedMs < SIT_OUT_MS_MAX;
    if (claimed !== undefined && height >= target && (height >= claimed || !isPatient)) break;
    if (isAlone(set(), self) && (!guard.isCopy || waitedMs >= SIT_OUT_MS_MAX)) break;
    if (waitedMs === SIT_OUT_MS_MAX && guard.isCopy)
      log.warn(
        { height, target, claimed },
        "this home is a copy, and takes part once it has what more than a third of its peers say that they have",
      );
    await sleep(clock, LOOK_INTERVAL_MS, signal);
  }
  if (signal.aborted) return;
  const { height } = ledger.head();
  const isLone = isAlone(set(), self);
  // Raft signs nothing by height: what its log and term do not tell is its own matter.
  const isByHeight = !isLone && ledger.network.engine.name !== "raft";
  // Also when the others cannot do without us: a wiped data directory looks like a key that has never signed.
  const wasAway = guard.height < height && isMember(ledger, self) && !isLone;
  const hasLostLog = isByHeight && guard.height > height && guard.isNewestVote && !(await wal.holds(guard.height));
  if (guard.isCopy || wasAway || hasLostLog) {
    const next = heightOf(height + (guard.isCopy ? 2n : 1n));
    const floor = hasLostLog && guard.height > next ? guard.height : next;
    const isForgetful = isByHeight && (guard.isCopy || hasLostLog || hasForgotten(ledger, guard, self));
    log.info(
      { height: floor, signed: guard.height, isCopy: guard.isCopy, hasLostLog },
      "sitting out heights whose votes this home may not remember",
    );
    guard.raiseFloor(floor);
    if (isForgetful) await guard.settle(floor);
  }
  if (guard.unknownHeight > GENESIS_HEIGHT && guard.unknownHeight <= vouchedHeight) {
    log.warn({ height: guard.unknownHeight }, "the operator vouches that nothing was signed that this home does not remember");
    guard.liftFloor();
    await guard.settle(GENESIS_HEIGHT);
  }
  driver.start();
  let toldMs = 0;
  while (!signal.aborted && (guard.floor >= driver.height || guard.unknownHeight >= driver.height)) {
    await sleep(clock, LOOK_INTERVAL_MS, signal);
    // Another height is under way.
    if (driver.stalledMs < toldMs) toldMs = 0;
    if (driver.stalledMs - toldMs < SIT_OUT_MS_MAX || !isMember(ledger, self)) continue;
    toldMs = driver.stalledMs;
    // The others cannot decide without us.
    if (guard.unknownHeight >= driver.height) {
      onSilence?.(guard.unknownHeight);
      log.error(
        { code: "sign_unknown", height: guard.unknownHeight, stalledMs: toldMs },
        "nothing is decided without this validator, whose home may not remember what its key signed at this height: bring back the newest home, or, if you know that nothing else was signed, start with --vouch and this height",
      );
      continue;
    }
    // They have been asked for what they hold of this height since the first seconds; a vote of ours among it has raised the guard.
    guard.liftFloor();
    log.warn({ height: driver.height, stalledMs: driver.stalledMs }, "taking part in the height that was to be sat out");
    await driver.retry();
  }
  onSilence?.(undefined);
  // Whoever decides alone, or signs nothing by height, is over it; for others it was settled.
  if (guard.isCopy && !signal.aborted) await guard.settle(GENESIS_HEIGHT);
}

/** The highest height that more than a third of the peers claim to have: fewer of them may lie. Nothing without peers. */
function claimedByAThird(peers: readonly { readonly height: bigint }[]): bigint | undefined {
  const claims = peers.map(({ height }) => height).toSorted((a, b) => (a === b ? 0 : a > b ? -1 : 1));
  return claims[Math.floor(claims.length / 3)];
}

/**
 * Whether a certificate of the chain holds a signature of ours from after all that the guard remembers; or may hold one: a record
 * that knows of no signature at all, of a validator whose home came by a snapshot and lacks certificates of heights that it could
 * sign, is that of a wiped home as likely as that of a new key. What is known to be unknown is settled: a restart must not have us
 * sit out more for it.
 */
function hasForgotten(ledger: Ledger, guard: SignGuard, self: Address): boolean {
  const head = ledger.head().height;
  const last = head > CERTIFICATES_SEARCHED_MAX ? head - CERTIFICATES_SEARCHED_MAX : 0n;
  for (let height: bigint = head; height > last && height > guard.height && height > guard.unknownHeight; height -= 1n) {
    const certificate = ledger.certificate(heightOf(height));
    if (certificate === undefined) {
      const set = guard.height === GENESIS_HEIGHT ? ledger.validators(heightOf(height)) : undefined;
      if (set !== undefined && findValidator(set, self) !== undefined) return true;
      continue;
    }
    if (certificate.kind !== "quorum") return false;
    if (certificate.signatures.some(({ validator }) => bytesEqual(validator, self))) return true;
  }
  return false;
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
    earliest: () => ledger.oldestBlock(),
    encoded: (height) => {
      if (height < ledger.oldestBlock()) return undefined;
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
