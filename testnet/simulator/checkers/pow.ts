/**
 * Proof of work, node by node: blocks stand on each other, under targets and sums of work that are reckoned here anew;
 * what is buried deeper than a reorganisation may go is never undone; a node comes back from a crash with the chain that
 * it had, but for the block at which it was; and in the end each follows the most work that it was handed.
 */

import { toHex } from "../../../crypto/base/bytes.ts";
import type { Hash } from "../../../crypto/hash/hash.ts";
import type { NetworkFile } from "../../../chain/block/genesis.ts";
import type { PowProtocol } from "../../../chain/block/protocol.ts";
import type { Commit, Ledger } from "../../../chain/ledger/ledger.ts";
import { parsePowMessage } from "../../../consensus/pow/message.ts";
import type { Sometimes } from "../sometimes.ts";
import type { Checker, CheckerParts } from "./checker.ts";

/** What the checker is given. */
export type ForksParts = CheckerParts & {
  readonly network: NetworkFile;
  readonly protocol: PowProtocol;
  readonly sometimes: Sometimes;
  readonly nowMs: () => number;
  readonly isRunning: (index: number) => boolean;
};

/** One block, as the checker remembers it. */
type Link = {
  readonly hash: string;
  readonly previous: string;
  readonly height: bigint;
  readonly timeMs: bigint;
  readonly bits: number;
  readonly chainWork: bigint;
};

/** What is known of a node. */
type Sight = {
  /** Its chain: the block of height h at h - 1. */
  chain: Link[];
  /** The highest that it was in this life. */
  highest: bigint;
  /** Bodies that it was handed in this life, and when. */
  handed: Map<string, number>;
  /** How deep the reorganisation under way has gone. */
  undone: bigint;
};

/** In so much time a node follows what it was handed, also when its disk hung. */
const FOLLOWED_WITHIN_MS = 8_000;
/** The naive target is reckoned with floating point: a compact form keeps 16 bits at least, and the rule's cubic is off by 0.013 %. */
const TOLERANCE = 0.0005;

/** See the file's head. */
export class Forks implements Checker {
  readonly #parts: ForksParts;
  readonly #sights = new Map<number, Sight>();
  /** Blocks that an honest node found valid. */
  readonly #valid = new Map<string, Link>();
  /** Of disks that are no more. */
  readonly #lost: (readonly Link[])[] = [];
  /** Whether more was undone than what clients are told is settled: a split lasted for longer than that. */
  hasUndoneSettled = false;

  constructor(parts: ForksParts) {
    this.#parts = parts;
  }

  onOpened(index: number, ledger: Ledger): void {
    const known = this.#sights.get(index);
    if (known !== undefined && this.#parts.isHonest(index)) this.#checkOpened(index, known, ledger);
    const chain = chainOf(ledger);
    // What was undone before a crash is part of what is undone after it.
    this.#sights.set(index, { chain, highest: BigInt(chain.length), handed: new Map(), undone: known?.undone ?? 0n });
    ledger.onRollback(({ hash }) => this.#undone(index, hash));
  }

  /** The head of before, or one block more that nobody was told of, or one less where a reorganisation began. */
  #checkOpened(index: number, { chain, undone }: Sight, ledger: Ledger): void {
    const { violated, sometimes } = this.#parts;
    const { height, hash } = ledger.head();
    const top = BigInt(chain.length);
    if (undone > 0n) sometimes.saw("pow_crashed_in_reorganisation");
    if (height > top + 1n || height + 1n < top) violated("durable", `node ${index} had height ${top} and opens at ${height}`);
    const known = chain[Number(height) - 1];
    if (height > 0n && known !== undefined && known.hash !== toHex(hash))
      violated("durable", `node ${index} had ${known.hash} at height ${height} and opens with ${toHex(hash)}`);
  }

  #undone(index: number, hash: Hash): void {
    const sight = this.#sights.get(index);
    if (sight === undefined) return;
    const top = sight.chain.pop();
    sight.undone += 1n;
    if (this.#parts.isHonest(index) && top?.hash !== toHex(hash))
      this.#parts.violated("undo", `node ${index} undoes ${toHex(hash)}, which is not its head`);
  }

  onCommit(index: number, { block, certificate }: Commit): void {
    const sight = this.#sights.get(index);
    if (sight === undefined) return;
    const { violated, isHonest } = this.#parts;
    const { height, timeMs, previous } = block.header;
    if (certificate.kind !== "work") {
      if (isHonest(index)) violated("seal", `node ${index} took height ${height} without work`);
      return;
    }
    const { bits, chainWork } = certificate;
    const link: Link = { hash: toHex(block.hash), previous: toHex(previous), height, timeMs, bits, chainWork };
    this.#countUndone(index, sight);
    if (isHonest(index)) {
      if (height !== BigInt(sight.chain.length) + 1n || (height > 1n && link.previous !== sight.chain.at(-1)?.hash)) {
        violated("linked", `node ${index} put height ${height} upon another block than its head of height ${sight.chain.length}`);
        return;
      }
      this.#checkTarget(index, sight.chain, link);
      this.#valid.set(link.hash, link);
    }
    sight.chain.push(link);
    if (height > sight.highest) sight.highest = height;
  }

  /** A reorganisation has come to its fork. */
  #countUndone(index: number, sight: Sight): void {
    if (sight.undone === 0n) return;
    const { violated, isHonest, sometimes, protocol } = this.#parts;
    sometimes.saw("pow_reorganised");
    if (sight.undone > BigInt(protocol.finalityDepth)) {
      sometimes.saw("pow_settled_undone");
      this.hasUndoneSettled = true;
    }
    const depth = sight.highest - BigInt(sight.chain.length);
    if (isHonest(index) && depth > BigInt(protocol.reorgDepthMax))
      violated("buried", `node ${index} was at height ${sight.highest} and changed height ${sight.chain.length + 1}`);
    sight.undone = 0n;
  }

  /** Reckons target and work anew, by the definition of each rule and not by its integer form. */
  #checkTarget(index: number, chain: readonly Link[], link: Link): void {
    const { violated } = this.#parts;
    const expected = this.#naiveTarget(chain);
    const target = Number(targetOfBits(link.bits));
    if (Math.abs(target / expected - 1) > TOLERANCE)
      violated("target", `node ${index}: height ${link.height} has target ${target}, and the chain before it says ${expected}`);
    const work = (1n << 256n) / (targetOfBits(link.bits) + 1n) + (chain.at(-1)?.chainWork ?? 0n);
    if (work !== link.chainWork)
      violated("target", `node ${index}: height ${link.height} says work ${link.chainWork}, and it is ${work}`);
    if (link.timeMs <= (chain.at(-1)?.timeMs ?? this.#parts.network.genesisTimeMs))
      violated("target", `node ${index}: height ${link.height} is not after its parent`);
  }

  #naiveTarget(chain: readonly Link[]): number {
    const { protocol, network } = this.#parts;
    const easiest = Number(targetOfBits(protocol.targetBitsMax));
    const parent = chain.at(-1);
    const height = chain.length;
    if (protocol.retarget === "asert") {
      const passedMs = Number((parent?.timeMs ?? network.genesisTimeMs) - network.genesisTimeMs);
      return Math.min(easiest, easiest * 2 ** ((passedMs - height * protocol.targetIntervalMs) / protocol.halfLifeMs));
    }
    if (parent === undefined) return easiest;
    const before = Number(targetOfBits(parent.bits));
    if (height % protocol.retargetWindow !== 0) return before;
    const first = chain[height - protocol.retargetWindow - 1]?.timeMs ?? network.genesisTimeMs;
    const ratio = Number(parent.timeMs - first) / (protocol.retargetWindow * protocol.targetIntervalMs);
    return Math.min(easiest, before * Math.min(4, Math.max(0.25, ratio)));
  }

  onHeard(index: number, bytes: Uint8Array): void {
    const handed = this.#sights.get(index)?.handed;
    const message = handed === undefined ? undefined : parsePowMessage(bytes);
    if (handed === undefined || message?.ok !== true) return;
    const { value } = message;
    const blocks =
      value.kind === "blocks" ? value.blocks : value.kind === "announce" && value.block !== undefined ? [value.block] : [];
    for (const { hash } of blocks) {
      const name = toHex(hash);
      if (!handed.has(name)) handed.set(name, this.#parts.nowMs());
    }
  }

  /** A node says so only when it is so: a chain of more work forks there, and it may not go back so far. */
  checkSplit(index: number, forkHeight: bigint): void {
    const { violated, isHonest, protocol, sometimes } = this.#parts;
    const sight = this.#sights.get(index);
    if (sight === undefined || !isHonest(index)) return;
    sometimes.saw("pow_split_told");
    const { chain, highest } = sight;
    const own = chain.at(-1)?.chainWork ?? 0n;
    if (highest - forkHeight <= BigInt(protocol.reorgDepthMax))
      violated("split", `node ${index} was at height ${highest}, and says that it cannot go back to ${forkHeight}`);
    const chains = [...[...this.#sights.values()].map((other) => other.chain), ...this.#lost];
    const isOf = (other: readonly Link[]): boolean =>
      (other.at(-1)?.chainWork ?? 0n) > own && BigInt(forkOf(chain, other)) === forkHeight;
    if (!chains.some(isOf)) violated("split", `node ${index} says that a heavier chain forks at ${forkHeight}, and none does`);
  }

  forget(index: number): void {
    const sight = this.#sights.get(index);
    if (sight !== undefined) this.#lost.push(sight.chain);
    this.#sights.delete(index);
  }

  /** Nobody stands on less work than what he was handed whole, and could reach, a while ago. */
  onEnd(): void {
    const { isHonest, isRunning, violated, protocol, sometimes, nowMs } = this.#parts;
    this.#compareSettled();
    for (const [index, { chain, handed, highest }] of this.#sights) {
      const head = chain.at(-1);
      if (!isHonest(index) || !isRunning(index) || head === undefined) continue;
      const main = new Set(chain.map(({ hash }) => hash));
      const lowest = highest - BigInt(protocol.reorgDepthMax);
      const isHanded = (hash: string): boolean => (handed.get(hash) ?? Number.POSITIVE_INFINITY) <= nowMs() - FOLLOWED_WITHIN_MS;
      for (const link of this.#valid.values()) {
        let at: Link | undefined = link;
        while (at !== undefined && !main.has(at.hash) && isHanded(at.hash)) at = this.#valid.get(at.previous);
        if (at === undefined || at === link || !main.has(at.hash) || at.height < lowest) continue;
        sometimes.saw("pow_branch_weighed");
        if (link.chainWork > head.chainWork)
          violated(
            "most_work",
            `node ${index} stands on work ${head.chainWork} and was handed ${link.hash} of ${link.chainWork}`,
          );
      }
    }
  }

  /** A node that lies or was lost, or is down, may have told clients that its own branch is settled, and undone nothing. */
  #compareSettled(): void {
    const { isHonest, isRunning, protocol, sometimes } = this.#parts;
    const reference = [...this.#sights].find(([index]) => isHonest(index) && isRunning(index))?.[1].chain;
    if (reference === undefined) return;
    for (const chain of [...[...this.#sights.values()].map((sight) => sight.chain), ...this.#lost]) {
      if (chain.length - forkOf(chain, reference) <= protocol.finalityDepth) continue;
      sometimes.saw("pow_settled_undone");
      this.hasUndoneSettled = true;
    }
  }
}

function forkOf(one: readonly Link[], other: readonly Link[]): number {
  const fork = one.findIndex(({ hash }, index) => other[index]?.hash !== hash);
  return fork === -1 ? one.length : fork;
}

function chainOf(ledger: Ledger): Link[] {
  const chain: Link[] = [];
  for (let height = 1n; height <= ledger.head().height; height += 1n) {
    const at = height as ReturnType<typeof ledger.head>["height"];
    const [header, certificate, hash] = [ledger.header(at), ledger.certificate(at), ledger.header(at) && ledger.block(at)?.hash];
    if (header === undefined || certificate?.kind !== "work" || hash === undefined) break;
    const { bits, chainWork } = certificate;
    chain.push({ hash: toHex(hash), previous: toHex(header.previous), height, timeMs: header.timeMs, bits, chainWork });
  }
  return chain;
}

/** Of a compact form that an honest node took: an exponent of base 256 before a mantissa of three bytes. */
function targetOfBits(bits: number): bigint {
  const size = bits >>> 24;
  const mantissa = BigInt(bits & 0x7f_ff_ff);
  return size <= 3 ? mantissa >> BigInt(8 * (3 - size)) : mantissa << BigInt(8 * (size - 3));
}
