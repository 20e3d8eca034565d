/**
 * The tree of headers: every branch that could still become the chain, and which of them has the most work.
 *
 * A header enters only when it connects, carries exactly the target and the sum of work that the headers before it
 * prescribe, and its seal meets that target: nothing that a header or a seal says of itself is read where it can be
 * reckoned (the target of a block taken from that block is the classic way to lose a chain). The **head** is the block
 * that the chain committed last; headers from genesis to it are the **main chain**. What lies more than `reorgDepthMax`
 * below the highest head there was is **settled**: no branch from below it is let in, and what hangs there is cut.
 *
 * Source: Nakamoto 2008, sections 4 and 5; Bitcoin Core's headers-first download. Where we differ: work decides between
 * *known* headers, but a branch whose blocks nobody hands over is passed over (`shun`), and block times strictly ascend,
 * which is stricter than being after the median of the eleven before and is what contracts and clients count on.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Block } from "../../chain/block/block.ts";
import { GENESIS_HEIGHT, type Height, heightOf } from "../../chain/block/height.ts";
import { expectedBits, firstTarget, type RetargetRules } from "../../chain/block/retarget.ts";
import type { PowProtocol } from "../../chain/block/protocol.ts";
import type { WorkCertificate } from "../../chain/block/vote.ts";
import { bitsOf, meetsTarget, targetOf, workOf } from "../../chain/block/work.ts";
import type { PowErrorCode } from "./errors.ts";
import { HEADERS_AHEAD_MAX, LOCATOR_CLOSE, LOCATOR_MAX, SIDE_HEADERS_MAX, SOURCES_MAX } from "./limits.ts";
import type { Place, SealedHeader } from "./message.ts";

/** What a tree goes by. */
export type TreeRules = RetargetRules & {
  readonly chainId: string;
  readonly networkHash: Hash;
  readonly protocol: PowProtocol;
};

/** A header's place in the tree. Only the tree writes what is not about its body. */
export type TreeNode = {
  readonly hash: Hash;
  readonly height: Height;
  readonly timeMs: bigint;
  readonly bits: number;
  /** Of the whole chain up to this block. */
  readonly chainWork: bigint;
  /** The how-manieth header this is: of equal work, the first seen. */
  readonly order: number;
  /** Absent for genesis. */
  readonly sealed: SealedHeader | undefined;
  /** `undefined`: genesis, or so old that nobody looks behind it. */
  parent: TreeNode | undefined;
  readonly children: Set<TreeNode>;
  /** Peers that said they have it, at most `SOURCES_MAX`. */
  readonly sources: string[];
  isMain: boolean;
  /** The chain refused it, or one before it. */
  isCondemned: boolean;
  /** Nobody hands over its block. */
  isShunned: boolean;
  /** It was asked for, and did not come in time. */
  isLate: boolean;
  block: Block | undefined;
};

/** See the file's head. */
export class HeaderTree {
  readonly #rules: TreeRules;
  readonly #targetMax: bigint;
  readonly #nodes = new Map<string, TreeNode>();
  /** The settled block: a head may fork from it, and from none below. */
  #settled: TreeNode;
  #head: TreeNode;
  #best: TreeNode;
  #oldest: TreeNode;
  #count = 0;
  #sides = 0;

  constructor(rules: TreeRules) {
    this.#rules = rules;
    this.#targetMax = firstTarget(rules.protocol);
    const genesis: TreeNode = {
      hash: rules.networkHash,
      height: GENESIS_HEIGHT,
      timeMs: rules.genesisTimeMs,
      bits: bitsOf(this.#targetMax),
      chainWork: 0n,
      order: 0,
      sealed: undefined,
      parent: undefined,
      children: new Set(),
      sources: [],
      isMain: true,
      isCondemned: false,
      isShunned: false,
      isLate: false,
      block: undefined,
    };
    this.#nodes.set(toHex(genesis.hash), genesis);
    this.#settled = genesis;
    this.#head = genesis;
    this.#best = genesis;
    this.#oldest = genesis;
  }

  /** The newest committed block, or genesis. */
  get head(): TreeNode {
    return this.#head;
  }

  /** The tip with the most work that is neither condemned nor shunned; the head, unless another has more. */
  get best(): TreeNode {
    return this.#best;
  }

  /** Headers off the main chain. */
  get sideCount(): number {
    return this.#sides;
  }

  find(hash: Hash): TreeNode | undefined {
    return this.#nodes.get(toHex(hash));
  }

  /** The compact target of the block after `parent`. */
  bitsAfter(parent: TreeNode): number {
    return expectedBits(this.#rules, parent, (height) => {
      let node = parent;
      while (node.height > height) node = present(node.parent, "header {} below {}", height, node.height);
      return node.timeMs;
    });
  }

  /** The sum of work of a block with this target on top of `parent`. */
  workAfter(parent: TreeNode, bits: number): bigint {
    const target = targetOf(bits);
    assert(target.ok, "a target that we reckoned");
    return parent.chainWork + workOf(target.value);
  }

  /**
   * Lets a header in, or names the rule that it breaks. One that is known already is returned as it is.
   *
   * @param from - who has it
   */
  add(sealed: SealedHeader, from: string | undefined): Result<TreeNode, { readonly code: PowErrorCode }> {
    const known = this.find(sealed.seal.blockHash);
    const node = known === undefined ? this.#enter(sealed) : ok(known);
    if (node.ok) this.#source(node.value, from);
    return node;
  }

  /**
   * Cuts the least of the branches when more headers are kept than may be, and some more: whoever sends one cheap header
   * after the other to a full tree has all of it looked at once in hundreds of them. Call after the last of a batch.
   *
   * @param judged - what the chain is judging: it may be the head any moment, whatever has more work
   */
  trim(judged?: TreeNode): void {
    const countMax = SIDE_HEADERS_MAX + HEADERS_AHEAD_MAX + this.#rules.protocol.reorgDepthMax;
    if (this.#sides <= countMax) return;
    const countLeft = countMax - SIDE_HEADERS_MAX / 8;
    while (this.#sides > countLeft) {
      const kept = new Set(this.pathTo(this.#best).path);
      if (judged !== undefined) kept.add(judged);
      const leaves = [...this.#nodes.values()].filter((node) => node.children.size === 0 && !node.isMain && !kept.has(node));
      leaves.sort((a, b) => (a.chainWork === b.chainWork ? b.order - a.order : a.chainWork < b.chainWork ? -1 : 1));
      for (const leaf of leaves) if (this.#sides > countLeft) this.#cut(leaf);
    }
  }

  /** The last common block of the head's chain and `node`'s, and what leads from it to `node`. */
  pathTo(node: TreeNode): { readonly fork: TreeNode; readonly path: readonly TreeNode[] } {
    const path: TreeNode[] = [];
    let fork = node;
    while (!fork.isMain) {
      path.push(fork);
      fork = present(fork.parent, "parent of a side header");
    }
    return { fork, path: path.toReversed() };
  }

  /**
   * The chain committed this block, or went back to it.
   *
   * @returns blocks that are settled by it, oldest first
   */
  setHead(node: TreeNode): readonly TreeNode[] {
    const base = node.isMain ? node : present(node.parent, "parent of a new head");
    assert(base.isMain, "a head stands on the main chain");
    assert(base.height >= this.#settled.height, "settled at {}, back to {}", this.#settled.height, base.height);
    for (let undone = this.#head; undone !== base; undone = present(undone.parent, "parent of an undone block")) {
      undone.isMain = false;
      this.#sides += 1;
    }
    if (!node.isMain) {
      node.isMain = true;
      this.#sides -= 1;
    }
    this.#head = node;
    const settled = this.#settle();
    if (!this.#isOpen(this.#best) || this.#best.chainWork <= node.chainWork) this.#choose();
    return settled;
  }

  /** The chain refused this block: neither it nor what stands on it is ever the best. */
  condemn(node: TreeNode): void {
    assert(!node.isMain, "a committed block is valid");
    for (const below of this.#subtree(node)) {
      below.isCondemned = true;
      below.block = undefined;
    }
    this.#choose();
  }

  /** None of its sources hands over this block: look at other branches until somebody says that he has it. */
  shun(node: TreeNode): void {
    node.isShunned = true;
    for (const below of this.#subtree(node)) below.sources.length = 0;
    this.#choose();
  }

  /** Somebody has it after all. */
  unshun(node: TreeNode): void {
    if (!node.isShunned) return;
    node.isShunned = false;
    this.#choose();
  }

  /**
   * The block with the most work that can be reached from the main chain with the bodies at hand; the head, when none has
   * more. Cost: every header off the main chain.
   */
  reachable(): TreeNode {
    return this.#heaviest(({ block }) => block !== undefined);
  }

  /** The tip with the most work on whose way none of these blocks lies; the head, when none has more. Cost: as `reachable`. */
  bestWithout(blocks: ReadonlySet<TreeNode>): TreeNode {
    return this.#heaviest((node) => isOpen(node) && !blocks.has(node));
  }

  /** Places on the way down from the best tip, ever further apart, the oldest and genesis last. */
  locator(): readonly Place[] {
    const places: Place[] = [];
    let step = 1n;
    let next = this.#best.height;
    for (let node: TreeNode | undefined = this.#best; node !== undefined; node = node.parent) {
      if (node.height > next && node.parent !== undefined) continue;
      places.push({ height: node.height, hash: node.hash });
      if (places.length > LOCATOR_CLOSE) step *= 2n;
      next = heightOf(node.height > step ? node.height - step : 0n);
      if (places.length >= LOCATOR_MAX - 1) break;
    }
    if (places.at(-1)?.height !== GENESIS_HEIGHT) places.push({ height: GENESIS_HEIGHT, hash: this.#rules.networkHash });
    return places;
  }

  /**
   * After a restart: the next block of our own chain, which was checked before it was committed. The first may be of
   * any height; nothing below it is looked at again, so it lies far enough below the head.
   *
   * @returns `undefined` when it does not stand on the head
   */
  graft(sealed: SealedHeader): TreeNode | undefined {
    const { header, seal } = sealed;
    const isFirst = this.#head.sealed === undefined;
    if (!isFirst && !bytesEqual(header.previous, this.#head.hash)) return undefined;
    const isAlone = isFirst && header.height > 1n;
    if (isAlone) this.#nodes.clear();
    else if (isFirst && !bytesEqual(header.previous, this.#head.hash)) return undefined;
    const node = this.#node(sealed, isAlone ? undefined : this.#head, seal.bits, seal.chainWork);
    if (isAlone) {
      node.isMain = true;
      this.#sides -= 1;
      this.#settled = node;
      this.#oldest = node;
      this.#head = node;
      this.#best = node;
    } else this.setHead(node);
    return node;
  }

  #enter(sealed: SealedHeader): Result<TreeNode, { readonly code: PowErrorCode }> {
    const { header, seal } = sealed;
    const parent = this.find(header.previous);
    if (header.chainId !== this.#rules.chainId) return fail({ code: "header_chain" });
    if (parent === undefined) return fail({ code: "header_orphan" });
    if (parent.isCondemned) return fail({ code: "header_condemned" });
    if (header.height !== parent.height + 1n) return fail({ code: "header_height" });
    if (header.timeMs <= parent.timeMs) return fail({ code: "header_time" });
    if (parent.height < this.#settled.height) return fail({ code: "header_deep" });
    if (header.height > this.#head.height + BigInt(HEADERS_AHEAD_MAX)) return fail({ code: "header_ahead" });
    const bits = this.bitsAfter(parent);
    const target = targetOf(bits);
    assert(target.ok && target.value <= this.#targetMax, "a target that we reckoned");
    const chainWork = parent.chainWork + workOf(target.value);
    if (seal.bits !== bits) return fail({ code: "seal_bits" });
    if (seal.chainWork !== chainWork) return fail({ code: "seal_work" });
    if (!meetsTarget(seal.blockHash, seal, target.value)) return fail({ code: "seal_target" });
    const node = this.#node(sealed, parent, bits, chainWork);
    if (this.#isOpen(node) && chainWork > this.#best.chainWork) this.#best = node;
    return ok(node);
  }

  #node(sealed: SealedHeader, parent: TreeNode | undefined, bits: number, chainWork: bigint): TreeNode {
    const { header, seal } = sealed;
    this.#count += 1;
    const node: TreeNode = {
      hash: seal.blockHash,
      height: header.height,
      timeMs: header.timeMs,
      bits,
      chainWork,
      order: this.#count,
      sealed,
      parent,
      children: new Set(),
      sources: [],
      isMain: false,
      isCondemned: false,
      isShunned: false,
      isLate: false,
      block: undefined,
    };
    parent?.children.add(node);
    this.#nodes.set(toHex(node.hash), node);
    this.#sides += 1;
    return node;
  }

  #source(node: TreeNode, from: string | undefined): void {
    if (from === undefined || node.sources.includes(from)) return;
    remember(node.sources, from);
    // Who has a block has those before it, whoever announced them: its maker may keep a body back, and others have it.
    for (let below: TreeNode | undefined = node; below !== undefined && !below.isMain; below = below.parent) {
      if (below.block === undefined) remember(below.sources, from);
      this.unshun(below);
    }
  }

  /** Whether it is in the tree, and nothing on the way to it is refused or withheld. Cost: the way. */
  #isOpen(node: TreeNode): boolean {
    // What is taken off takes what stands on it along, so that whatever is here has its whole way here.
    if (!this.#nodes.has(toHex(node.hash))) return false;
    for (let below: TreeNode | undefined = node; below !== undefined && !below.isMain; below = below.parent)
      if (!isOpen(below)) return false;
    return true;
  }

  /** Looks for the best tip anew. Cost: every header off the main chain. */
  #choose(): void {
    this.#best = this.#heaviest(isOpen);
  }

  /**
   * The block with the most work, of equal work the first seen, with none on its way off the main chain that is not
   * `fit`; the head, when none has more. Cost: every header off the main chain, once: peers may fill the tree with cheap ones.
   */
  #heaviest(fit: (node: TreeNode) => boolean): TreeNode {
    const left: TreeNode[] = [];
    const branch = (node: TreeNode): void => {
      for (const child of node.children) if (!child.isMain) left.push(child);
    };
    for (let main = this.#head; main !== this.#settled; main = present(main.parent, "parent of a main block")) branch(main);
    branch(this.#settled);
    let best = this.#head;
    for (let node = left.pop(); node !== undefined; node = left.pop()) {
      if (!fit(node)) continue;
      branch(node);
      const isEarlier = best !== this.#head && node.chainWork === best.chainWork && node.order < best.order;
      if (isEarlier || node.chainWork > best.chainWork) best = node;
    }
    return best;
  }

  /** Moves the settled block up behind the head, and cuts what hangs below it. */
  #settle(): readonly TreeNode[] {
    const { reorgDepthMax, retarget, retargetWindow } = this.#rules.protocol;
    const height = this.#head.height - BigInt(reorgDepthMax);
    const settled: TreeNode[] = [];
    for (let node = this.#head; node !== this.#settled; node = present(node.parent, "parent of a main block")) {
      if (node.height <= height) settled.unshift(node);
    }
    for (const node of settled) {
      const below = present(node.parent, "parent of a settled block");
      for (const child of below.children) if (child !== node) for (const cut of this.#subtree(child)) this.#forget(cut);
      this.#settled = node;
    }
    // The window rule looks back one window from any block that a branch may fork from.
    const kept = this.#settled.height - (retarget === "window" ? BigInt(retargetWindow) : 0n);
    while (this.#oldest.height < kept) {
      const [next] = this.#oldest.children;
      this.#nodes.delete(toHex(this.#oldest.hash));
      this.#oldest = present(next, "block after the oldest");
      this.#oldest.parent = undefined;
    }
    return settled;
  }

  /** Takes a leaf off. */
  #cut(leaf: TreeNode): void {
    leaf.parent?.children.delete(leaf);
    this.#forget(leaf);
  }

  #forget(node: TreeNode): void {
    node.parent?.children.delete(node);
    if (this.#nodes.delete(toHex(node.hash))) this.#sides -= 1;
    node.block = undefined;
  }

  #subtree(node: TreeNode): readonly TreeNode[] {
    const found = [node];
    for (const each of found) found.push(...each.children);
    return found;
  }
}

/** Whether it is neither refused nor withheld. */
function isOpen(node: TreeNode): boolean {
  return !node.isCondemned && !node.isShunned;
}

/** At most so many, the newest to say so last: who has it now is likelier to have it still. */
function remember(sources: string[], from: string): void {
  if (sources.includes(from)) return;
  if (sources.length >= SOURCES_MAX) sources.shift();
  sources.push(from);
}

/** The seal of a block that is not genesis, as its child carries it. */
export function sealOf(node: TreeNode): WorkCertificate {
  return present(node.sealed, "seal of block {}", node.height).seal;
}
