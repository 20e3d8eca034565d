/** Proof of work: compact targets, windows, and the tree of headers under true and false headers. */

import { heightOf } from "../../../../chain/block/height.ts";
import { PROTOCOL_DEFAULTS } from "../../../../chain/block/protocol.ts";
import { expectedBits } from "../../../../chain/block/retarget.ts";
import { bitsOf, targetOf } from "../../../../chain/block/work.ts";
import {
  CHAIN_ID,
  EASY,
  type Forged,
  Forge,
  GENESIS_TIME_MS,
  type Lie,
  NETWORK_HASH,
} from "../../../../consensus/pow/testing/forge.ts";
import { HeaderTree } from "../../../../consensus/pow/tree.ts";
import { Random } from "../../../../consensus/testing/random.ts";
import { holds } from "../property.ts";

const WORK_END = 1n << 256n;

/** A compact number is what its definition says: sign, mantissa times a power of 256, and refused when that is no target. */
export function compactTargetsAreExact(seed: number): void {
  const random = new Random(seed);
  for (let tried = 0; tried < 50; tried += 1) {
    const bits = ((random.between(0, 40) << 24) | (random.uint32() & 0xff_ff_ff)) >>> 0;
    const size = BigInt(bits >>> 24);
    const mantissa = BigInt(bits & 0x7f_ff_ff);
    const value = size >= 3n ? mantissa * 256n ** (size - 3n) : mantissa / 256n ** (3n - size);
    const isTarget = value > 0n && value < WORK_END && (bits & 0x80_00_00) === 0;
    const read = targetOf(bits);
    holds(read.ok === isTarget, "what is negative, zero or beyond 256 bits is no target", () => bits.toString(16));
    if (!read.ok) continue;
    holds(read.value === value, "a compact target is mantissa times a power of 256", () => bits.toString(16));
    const again = targetOf(bitsOf(value));
    holds(again.ok && again.value === value, "a target that was compact stays itself", () => bits.toString(16));
  }
}

/**
 * Windows follow one another without a gap: what they measure adds up to the time that the chain took, so no clock can
 * be turned back between two of them. Targets are those reckoned by hand.
 */
export function windowsCoverTheChain(seed: number): void {
  const random = new Random(seed);
  const window = random.between(3, 8);
  const intervalMs = 1000;
  const protocol = {
    ...PROTOCOL_DEFAULTS.pow,
    retarget: "window" as const,
    retargetWindow: window,
    targetIntervalMs: intervalMs,
  };
  const times = [GENESIS_TIME_MS];
  for (let height = 1; height <= window * 4; height += 1)
    times.push((times.at(-1) as bigint) + BigInt(random.pick([1, 300, 1000, 1500, 9000])));
  const start = targetOf(protocol.targetBitsMax);
  let target = start.ok ? start.value / 1_000_000n : 0n;
  const max = start.ok ? start.value : 0n;
  for (let end = window; end < times.length; end += window) {
    const bits = bitsOf(target);
    const parent = { height: heightOf(BigInt(end)), timeMs: times[end] as bigint, bits };
    const got = expectedBits({ protocol, genesisTimeMs: GENESIS_TIME_MS }, parent, (height) => times[Number(height)] as bigint);
    const took = (times[end] as bigint) - (times[end - window] as bigint);
    const due = BigInt(window * intervalMs);
    const held = took < due / 4n ? due / 4n : took > due * 4n ? due * 4n : took;
    const rounded = targetOf(bits);
    const next = ((rounded.ok ? rounded.value : 0n) * held) / due;
    target = next > max ? max : next < 1n ? 1n : next;
    holds(got === bitsOf(target), "a window is measured from the end of the one before", () => `after ${end}`);
  }
}

/** Blocks come faster than they should, so that true targets move away from the easiest one. */
const BRISK = { ...EASY, halfLifeMs: 5_000 };
const WINDOWED = { ...EASY, retarget: "window" as const, retargetWindow: 4 };

/** Only true headers come in, the best tip has the most work, and nothing forks from what is settled. */
export function treeLetsInWhatIsTrue(seed: number): void {
  const random = new Random(seed);
  const protocol = random.pick([BRISK, WINDOWED]);
  const forge = new Forge(protocol, BigInt(random.pick([200, 600, 1500])));
  const tree = new HeaderTree({ chainId: CHAIN_ID, networkHash: NETWORK_HASH, protocol, genesisTimeMs: GENESIS_TIME_MS });
  const known: Forged[] = [];
  let head: Forged | undefined;
  for (let step = 0; step < 30; step += 1) {
    const parent = random.happens(600) ? head : random.pick([undefined, ...known]);
    const lie = someLie(random, forge, parent);
    // Of the next the slower ones get easier targets: more blocks, less work.
    const timeMs = (parent?.block.header.timeMs ?? GENESIS_TIME_MS) + forge.intervalMs * BigInt(random.pick([1, 1, 8]));
    const forged = forge.block(parent, { label: `${step}`, timeMs, ...lie });
    const added = tree.add(forged.sealed, "peer");
    const isDeep = isBelowSettled(tree, parent);
    holds(!added.ok || lie === undefined, "a header that breaks a rule stays out", () => JSON.stringify(Object.keys(lie ?? {})));
    holds(!added.ok || !isDeep, "nothing forks from below what is settled", () => `height ${forged.block.header.height}`);
    holds(added.ok || lie !== undefined || isDeep, "a true header comes in", () => (added.ok ? "" : added.error.code));
    if (!added.ok) continue;
    known.push(forged);
    const most = known.reduce(
      (max, { sealed }) =>
        tree.find(sealed.seal.blockHash) !== undefined && sealed.seal.chainWork > max ? sealed.seal.chainWork : max,
      0n,
    );
    holds(tree.best.chainWork === most, "the best chain is that of the most work", () => `${tree.best.chainWork} of ${most}`);
    head = known.find(({ sealed }) => sealed === tree.best.sealed);
    for (const node of tree.pathTo(tree.best).path) tree.setHead(node);
  }
}

/** The settled height is `reorgDepthMax` below the head; branches from below it are cut. */
function isBelowSettled(tree: HeaderTree, parent: Forged | undefined): boolean {
  if (parent !== undefined && tree.find(parent.block.hash) === undefined) return true;
  return (parent?.block.header.height ?? 0n) < tree.head.height - BigInt(BRISK.reorgDepthMax);
}

function someLie(random: Random, forge: Forge, parent: Forged | undefined): Lie | undefined {
  if (random.happens(700)) return undefined;
  const parentTimeMs = parent?.block.header.timeMs ?? GENESIS_TIME_MS;
  const bits = forge.bitsAfter(parent);
  const lies: readonly Lie[] = [
    { timeMs: parentTimeMs - BigInt(random.between(0, 500)) },
    { isUnsealed: true },
    { chainWork: (parent?.sealed.seal.chainWork ?? 0n) + 1_000_000_000n },
    { chainId: "another-chain" },
    { height: (parent?.block.header.height ?? 0n) + 2n },
  ];
  const easier: readonly Lie[] = bits === BRISK.targetBitsMax ? [] : [{ bits: BRISK.targetBitsMax }];
  return random.pick([...lies, ...easier, ...easier]);
}
