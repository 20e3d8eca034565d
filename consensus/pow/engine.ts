/**
 * Proof of work, after Nakamoto 2008: headers first, the chain with the most work, blocks that can be undone.
 *
 * ```
 *            announce, headers                     bodies up to more work than ours
 *   peers ---------------------> header tree -----------------------------------------> head, head, ...
 *                                    |  best branch                                       |  judged
 *                                    |                                                    v
 *                 getBlocks <--------+          build -> propose -> search -> found     the chain
 * ```
 *
 * One block is judged at a time. A branch is begun only when its bodies are at hand up to one with more work than our
 * head has: whoever announces work and withholds blocks moves nobody. When the chain refuses a block, the branch is
 * condemned from there, and what is best of the rest is followed, back to where we came from if need be.
 *
 * What has been said of the own chain at a restart is fed back as `restore`, in order and by `encodePowRecord`: blocks
 * from `restoreFrom` on. The engine writes no log: the chain is its memory.
 *
 * Time: `atMs` only paces requests. That no header is from the future is for whoever has a clock to see to
 * (`withinTime`), before the engine hears of it.
 */

import { assert, present, unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { type Block, encodeBlock, type Header, headerHash } from "../../chain/block/block.ts";
import type { Parameters } from "../../chain/block/genesis.ts";
import { type Height, heightOf, nextHeight } from "../../chain/block/height.ts";
import type { PowProtocol } from "../../chain/block/protocol.ts";
import type { WorkCertificate } from "../../chain/block/vote.ts";
import { meetsTarget, targetOf } from "../../chain/block/work.ts";
import type { Effect, Engine, EngineStatus, Input } from "../engine.ts";
import { Bodies } from "./bodies.ts";
import {
  ANNOUNCED_BLOCK_SIZE_BYTES_MAX,
  ANSWER_TIMEOUT_MS,
  ASKS_MAX,
  BLOCKS_PER_MESSAGE_MAX,
  CANDIDATE_AGE_MS,
  HEADERS_AHEAD_MAX,
  HEADERS_PER_MESSAGE_MAX,
  REPEAT_MS,
  WAYS_MAX,
} from "./limits.ts";
import { parsePowRecord, type PowMessage, type SealedHeader } from "./message.ts";
import { Requests } from "./requests.ts";
import { HeaderTree, sealOf, type TreeNode } from "./tree.ts";

/** What an engine is made with. */
export type PowOptions = {
  readonly chainId: string;
  readonly networkHash: Hash;
  readonly protocol: PowProtocol;
  readonly parameters: Parameters;
  readonly genesisTimeMs: bigint;
  /** Whether it builds and searches. Without, it follows. */
  readonly isMiner: boolean;
};

/** How long a miner rests for blocks that it has the headers of, after the last one that came. */
const HOPE_MS_MAX = 2_000;
/** How long a block waits that would cut a heavier branch off for good, after the last block of that branch that came. */
const HOLD_MS_MAX = ASKS_MAX * ANSWER_TIMEOUT_MS;

/** What is being searched under. */
type Candidate = {
  readonly block: Block;
  readonly bits: number;
  readonly target: bigint;
  readonly chainWork: bigint;
  readonly atMs: number;
};

/** The first height whose block an engine wants to be told of when it begins again at `head`; genesis needs none. */
export function restoreFrom(protocol: PowProtocol, head: Height): Height {
  const window = protocol.retarget === "window" ? protocol.retargetWindow : 0;
  const first = head - BigInt(protocol.reorgDepthMax + window);
  return heightOf(first < 1n ? 1n : first);
}

/** See the file's head. */
export class PowEngine implements Engine<PowMessage> {
  readonly name = "pow";
  readonly #options: PowOptions;
  readonly #tree: HeaderTree;
  readonly #bodies = new Bodies();
  readonly #requests = new Requests();
  #effects: Effect<PowMessage>[] = [];
  #atMs = 0;
  /** The newest block when we were started. */
  #parent: Header | undefined;
  #phase: "new" | "restoring" | "running" = "new";
  /** With the chain, to be judged. */
  #pending: TreeNode | undefined;
  #round = 0;
  #isBuilding = false;
  #buildAtMs = 0;
  #candidate: Candidate | undefined;
  #saidAtMs = 0;
  /** While we are blocks behind: when that began, or when the last block came that brings us nearer. */
  #hopedAtMs: number | undefined;
  /** While the next block would cut the best branch off: when that began, or when the last block came that brings us nearer. */
  #heldAtMs: number | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;
  /** Who has more headers than we may keep now. */
  #later: string | undefined;

  constructor(options: PowOptions) {
    this.#options = options;
    const { chainId, networkHash, protocol, genesisTimeMs } = options;
    this.#tree = new HeaderTree({ chainId, networkHash, protocol, genesisTimeMs });
  }

  step(input: Input<PowMessage>): readonly Effect<PowMessage>[] {
    if (this.#phase === "new" && input.kind !== "start") return [];
    this.#effects = [];
    this.#atMs = input.atMs;
    if (input.kind === "start") this.#start(input.parent);
    else if (input.kind === "restore") this.#restore(input.record);
    else {
      this.#run();
      this.#take(input);
      this.#proceed();
    }
    return this.#effects;
  }

  status(): EngineStatus | undefined {
    if (this.#phase === "new") return undefined;
    const isBehind = this.#tree.best !== this.#tree.head;
    const step = this.#pending !== undefined ? "judge" : isBehind ? "fetch" : this.#candidate === undefined ? "follow" : "search";
    return { height: nextHeight(this.#tree.head.height), round: this.#round, step };
  }

  /** The height of the best tip whose headers we have: where we are going. */
  get targetHeight(): Height {
    return this.#tree.best.height;
  }

  /** The newest block, whole where it is small. */
  messages(): readonly PowMessage[] {
    const { head } = this.#tree;
    return head.sealed === undefined ? [] : [announcementOf(head.sealed, head.block)];
  }

  /** Whether a header is in the tree: what an announcement is worth passing on for. */
  knows(hash: Hash): boolean {
    const node = this.#tree.find(hash);
    return node !== undefined && !node.isCondemned;
  }

  // Beginning.

  #start(parent: Header | undefined): void {
    // Later ones only repeat what `judged` has said.
    if (this.#phase !== "new") return;
    this.#phase = "restoring";
    this.#parent = parent;
    this.#wakeAt(this.#atMs);
  }

  #restore(record: Uint8Array): void {
    assert(this.#phase === "restoring", "records come right after start");
    const parsed = parsePowRecord(record);
    if (!parsed.ok) throw new CodedError("pow_record", { reason: parsed.error.code });
    const { sealed, block } = parsed.value;
    const node = this.#tree.graft(sealed);
    if (node === undefined)
      throw new CodedError("pow_record", { message: "does not follow the one before", height: sealed.header.height });
    if (block !== undefined) this.#bodies.put(node, block);
  }

  /** The first input after the records: what they said must lead to where the chain is. */
  #run(): void {
    if (this.#phase !== "restoring") return;
    const expected = this.#parent === undefined ? this.#options.networkHash : headerHash(this.#parent);
    if (!bytesEqual(expected, this.#tree.head.hash)) {
      throw new CodedError("pow_record", { message: "records end at another block", height: this.#tree.head.height });
    }
    this.#phase = "running";
    this.#saidAtMs = this.#atMs;
  }

  // Inputs.

  #take(input: Exclude<Input<PowMessage>, { readonly kind: "start" | "restore" }>): void {
    switch (input.kind) {
      case "tick":
        if (this.#timerAtMs <= this.#atMs) this.#timerAtMs = Number.POSITIVE_INFINITY;
        return;
      case "message":
        this.#hear(input.from, input.message);
        return;
      case "propose":
        this.#propose(input.height, input.round, input.block);
        return;
      case "judged":
        this.#judged(input.blockHash, input.valid);
        return;
      case "found":
        this.#found(input);
        return;
      // Answers to what this engine never asks for.
      case "persisted":
      case "signed":
      case "verified":
        return;
      default:
        unreachable(input);
    }
  }

  #hear(from: string, message: PowMessage): void {
    switch (message.kind) {
      case "announce": {
        const added = this.#tree.add(message.sealed, from);
        if (added.ok) {
          if (message.block !== undefined && this.#isWanted(added.value)) this.#bodies.put(added.value, message.block);
        } else if (added.error.code === "header_orphan" || added.error.code === "header_ahead") this.#askHeaders(from);
        this.#tree.trim(this.#pending);
        this.#bodies.trim(this.#tree);
        return;
      }
      case "headers":
        this.#hearHeaders(from, message.entries);
        return;
      case "blocks":
        for (const block of message.blocks) {
          const node = this.#tree.find(block.hash);
          if (node === undefined || !this.#isWanted(node)) continue;
          this.#requests.received(node);
          if (this.#hopedAtMs !== undefined) this.#hopedAtMs = this.#atMs;
          if (this.#heldAtMs !== undefined) this.#heldAtMs = this.#atMs;
          this.#bodies.put(node, block);
          this.#tree.unshun(node);
        }
        return;
      // Answered from the chain by whoever drives us: `serve.ts`.
      case "getHeaders":
      case "getBlocks":
        return;
      default:
        unreachable(message);
    }
  }

  #hearHeaders(from: string, entries: readonly SealedHeader[]): void {
    this.#requests.answered(from);
    let isGood = entries.length > 0;
    let isAhead = false;
    for (const sealed of entries) {
      const added = this.#tree.add(sealed, from);
      if (added.ok) continue;
      isAhead = added.error.code === "header_ahead";
      // It is of a chain that may not be followed, or of none: every new block of it would have us ask again.
      if (!isAhead) this.#requests.ledNowhere(from, this.#atMs);
      isGood = false;
      break;
    }
    this.#tree.trim(this.#pending);
    if (isAhead) this.#later = from;
    else if (isGood && entries.length === HEADERS_PER_MESSAGE_MAX) this.#askHeaders(from);
  }

  #judged(blockHash: Hash, valid: boolean): void {
    const node = this.#pending;
    if (node === undefined || !bytesEqual(node.hash, blockHash)) return;
    this.#pending = undefined;
    this.#heldAtMs = undefined;
    // Whatever stood on its parent is undone, also when it was refused.
    const settled = this.#tree.setHead(valid ? node : present(node.parent, "parent of a judged block"));
    if (!valid) this.#tree.condemn(node);
    else this.#saidAtMs = this.#atMs;
    for (const old of settled) this.#final(old);
    this.#bodies.trim(this.#tree);
    this.#isBuilding = false;
    this.#round = 0;
  }

  #final(node: TreeNode): void {
    // A body that was dropped for room is in the chain; who counts finality by depth misses nothing.
    if (node.block !== undefined)
      this.#emit({ kind: "final", block: node.block, height: node.height, certificate: sealOf(node) });
  }

  // Following.

  /** Whatever is due now. */
  #proceed(): void {
    if (this.#pending === undefined) this.#follow();
    if (this.#pending === undefined) this.#mine();
    if (this.#later !== undefined && this.#tree.best.height < this.#tree.head.height + BigInt(HEADERS_AHEAD_MAX / 2)) {
      const from = this.#later;
      this.#later = undefined;
      this.#askHeaders(from);
    }
    this.#repeat();
  }

  /** Moves by one block towards more work, and asks for the bodies that are missing on the way to the most. */
  #follow(): void {
    while (this.#tree.best !== this.#tree.head) {
      const { head, best } = this.#tree;
      const goal = best.block === undefined || best.parent !== head ? this.#tree.reachable() : best;
      const [first] = this.#tree.pathTo(goal).path;
      if (first !== undefined && !this.#isHeld(first.height, first)) {
        this.#rest();
        this.#pending = first;
        const block = present(first.block, "body of a block on the way");
        this.#emit({ kind: "head", block, height: first.height, certificate: sealOf(first) });
        return;
      }
      const shunned = this.#requests.ask(this.#ways(), this.#atMs, (effect) => this.#emit(effect));
      if (shunned === undefined) {
        this.#wakeAt(this.#requests.nextMs(this.#atMs));
        return;
      }
      this.#tree.shun(shunned);
    }
  }

  /**
   * Where bodies are fetched: on the way to the most work, and while one of them is late also on the way to the most that
   * needs none of those, and so on. So whoever keeps a block back, and goes on to announce what stands on it, has nobody
   * wait with the branches of others. The last such way comes first: what is late is likely not to come.
   */
  #ways(): readonly (readonly TreeNode[])[] {
    this.#requests.markLate(this.#atMs);
    const { head, best } = this.#tree;
    const ways: (readonly TreeNode[])[] = [];
    const missing = new Set<TreeNode>();
    for (let tip = best; tip !== head && ways.length < WAYS_MAX; tip = this.#tree.bestWithout(missing)) {
      const way = windowOf(this.#tree.pathTo(tip).path, head);
      ways.unshift(way);
      const lacking = way.filter(({ block }) => block === undefined);
      if (lacking.every(({ isLate }) => !isLate)) break;
      for (const node of lacking) missing.add(node);
    }
    return ways;
  }

  /**
   * Whether a block of this height has to wait: it would settle what the best branch forks from, and that branch, which
   * has more work and whose blocks are being fetched, could never be followed any more.
   */
  #isHeld(height: Height, block?: TreeNode): boolean {
    const { head, best } = this.#tree;
    if (best === head) this.#heldAtMs = undefined;
    const { fork, path } = this.#tree.pathTo(best);
    const isCut = fork.height < height - BigInt(this.#options.protocol.reorgDepthMax);
    if (best === head || !isCut || (block !== undefined && path.includes(block))) return false;
    this.#heldAtMs ??= this.#atMs;
    const holdEndMs = this.#heldAtMs + HOLD_MS_MAX;
    if (this.#atMs >= holdEndMs) return false;
    this.#wakeAt(holdEndMs);
    return true;
  }

  /**
   * Whether the body of this block is worth keeping: it is asked for, or it is the next one of the best branch or of one
   * whose bodies we have. So what is announced whole is followed, whatever else was announced and is being withheld.
   */
  #isWanted(node: TreeNode): boolean {
    if (node.block !== undefined || node.isMain || node.isCondemned) return false;
    const { best, head } = this.#tree;
    const { parent } = node;
    return this.#requests.isAsked(node) || node === best || parent === head || (parent?.block !== undefined && !parent.isMain);
  }

  #askHeaders(peer: string): void {
    if (this.#requests.question(peer, this.#atMs)) this.#send({ peer }, { kind: "getHeaders", locator: this.#tree.locator() });
  }

  /** A tip that nobody heard of is no tip. */
  #repeat(): void {
    const { head } = this.#tree;
    if (head.sealed === undefined) return;
    if (this.#atMs >= this.#saidAtMs + REPEAT_MS) {
      this.#saidAtMs = this.#atMs;
      this.#send("all", announcementOf(head.sealed, undefined));
    }
    this.#wakeAt(this.#saidAtMs + REPEAT_MS);
  }

  // Mining.

  #mine(): void {
    if (!this.#options.isMiner) return;
    const { head, best } = this.#tree;
    // Further behind than the work of a block, what we could find is worth nothing; unless blocks are being withheld, and
    // whoever rests for their headers lets the withholder alone mine.
    if (best !== head && best.chainWork > this.#tree.workAfter(head, this.#tree.bitsAfter(head))) {
      this.#hopedAtMs ??= this.#atMs;
      const hopeEndMs = this.#hopedAtMs + Math.min(HOPE_MS_MAX, this.#options.protocol.targetIntervalMs);
      if (this.#atMs < hopeEndMs) {
        this.#rest();
        this.#wakeAt(hopeEndMs);
        return;
      }
    } else this.#hopedAtMs = undefined;
    if (this.#isHeld(nextHeight(head.height))) {
      this.#rest();
      return;
    }
    const candidate = this.#candidate;
    if (candidate !== undefined && !bytesEqual(candidate.block.header.previous, head.hash)) this.#rest();
    const ageMs = Math.min(CANDIDATE_AGE_MS, this.#options.protocol.targetIntervalMs);
    const dueMs = this.#isBuilding ? this.#buildAtMs + REPEAT_MS : candidate === undefined ? this.#atMs : candidate.atMs + ageMs;
    if (this.#atMs >= dueMs) {
      this.#round += 1;
      this.#isBuilding = true;
      this.#buildAtMs = this.#atMs;
      this.#emit({ kind: "build", height: nextHeight(head.height), round: this.#round });
      this.#wakeAt(this.#atMs + REPEAT_MS);
    } else this.#wakeAt(dueMs);
  }

  #propose(height: Height, round: number, block: Block): void {
    const { head } = this.#tree;
    if (!this.#isBuilding || round !== this.#round || height !== head.height + 1n) return;
    this.#isBuilding = false;
    if (this.#pending !== undefined || !bytesEqual(block.header.previous, head.hash)) return;
    const bits = this.#tree.bitsAfter(head);
    const target = targetOf(bits);
    assert(target.ok, "a target that we reckoned");
    this.#candidate = {
      block,
      bits,
      target: target.value,
      chainWork: this.#tree.workAfter(head, bits),
      atMs: this.#atMs,
    };
    this.#emit({ kind: "search", block, target: target.value });
  }

  #found({ blockHash, extraNonce, nonce }: Input<PowMessage> & { readonly kind: "found" }): void {
    const candidate = this.#candidate;
    if (candidate === undefined || !bytesEqual(candidate.block.hash, blockHash)) return;
    if (!meetsTarget(blockHash, { extraNonce, nonce }, candidate.target)) return;
    const { block, bits, chainWork } = candidate;
    const { height } = block.header;
    const seal: WorkCertificate = { kind: "work", height, blockHash, bits, extraNonce, nonce, chainWork };
    const added = this.#tree.add({ header: block.header, seal }, undefined);
    // Built on a clock that stood still, it may not be after its parent: nothing to say then.
    this.#rest();
    if (!added.ok) return;
    this.#bodies.put(added.value, block);
    this.#send("all", announcementOf({ header: block.header, seal }, block));
  }

  #rest(): void {
    if (this.#candidate === undefined) return;
    this.#candidate = undefined;
    this.#emit({ kind: "rest" });
  }

  // Effects.

  #emit(effect: Effect<PowMessage>): void {
    this.#effects.push(effect);
  }

  #send(to: "all" | { readonly peer: string }, message: PowMessage): void {
    this.#emit({ kind: "send", to, message, after: undefined });
  }

  /** Asks for a tick, unless an earlier one was asked for, which asks again. */
  #wakeAt(atMs: number): void {
    if (atMs >= this.#timerAtMs) return;
    this.#timerAtMs = Math.max(atMs, this.#atMs);
    this.#emit({ kind: "timer", atMs: this.#timerAtMs });
  }
}

/** As much of the way to the best tip as bodies are fetched for: past the work of our head, and some more. */
function windowOf(path: readonly TreeNode[], head: TreeNode): readonly TreeNode[] {
  const enough = path.findIndex(({ chainWork }) => chainWork > head.chainWork);
  return path.slice(0, enough + BLOCKS_PER_MESSAGE_MAX);
}

/** The announcement of a tip: whole where it is small. */
function announcementOf(sealed: SealedHeader, block: Block | undefined): PowMessage {
  const isSmall = block !== undefined && encodeBlock(block).length <= ANNOUNCED_BLOCK_SIZE_BYTES_MAX;
  return { kind: "announce", sealed, block: isSmall ? block : undefined };
}
