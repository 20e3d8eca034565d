/**
 * A network of engines in memory, under one seed: clocks, packets, disks, crashes and lies.
 *
 * Each node is a real engine with a small honest driver: it obeys `after`, keeps the double-sign guard and the
 * write-ahead log, commits what is final and brings peers up that are heights behind. Faults are drawn from the seed
 * until the network heals; then packets arrive and the network must move on.
 *
 * The checkers run all the time and throw `Violation`: one chain for all; only valid blocks, with certificates that
 * prove them; one word of an honest node for each slot, on the wire and towards its guard; no accusation of the honest.
 */

import { assert, present, unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import type { Result } from "../../crypto/base/result.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { Block } from "../../chain/block/block.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import type { QuorumRule } from "../../chain/block/protocol.ts";
import { type Certificate, proposalSigningBytes, voteSigningBytes } from "../../chain/block/vote.ts";
import type { Effect, Engine, Input, SignedPart, Unsigned } from "../engine.ts";
import { Random } from "./random.ts";
import { CHAIN_ID, judge, testBlock, type World } from "./world.ts";

/** What the network needs to know of an engine. `M` is its wire message. */
export type EngineKind<M> = {
  create(self: Address | undefined): Engine<M>;
  encode(message: M): Uint8Array;
  parse(bytes: Uint8Array): Result<M>;
  /** `undefined` for what a continuous engine hears whatever height is under way. */
  heightOf(message: M): Height | undefined;
  /** What was signed, and with what signature. */
  statementOf(message: M): { readonly what: Unsigned; readonly signature: Uint8Array };
  /** Where a message stands on more than its signer's own signature: all of them. */
  signedParts?(message: M): readonly SignedPart[];
  /** Another word of the same signer in the same slot: what an equivocator tells the others. */
  twist(world: World, message: M, random: Random): M;
  /** One log over all heights, in which some records replace all before them. */
  readonly isContinuous?: true;
  /** What makes a certificate; `twoThirds` unless it is said. */
  readonly rule?: QuorumRule;
  /** It is for nodes that crash and do not lie: no test makes one equivocate. */
  readonly isForHonest?: true;
};

/** How a node behaves. A silent one runs and is never heard; an equivocator tells peers different things. */
export type Conduct = "honest" | "silent" | "equivocator";

/** What can go wrong until the network heals. Rates are per thousand. */
export type Faults = {
  readonly lossRate: number;
  readonly duplicateRate: number;
  readonly delayMsMax: number;
  /** A packet that takes ten times as long: it overtakes nothing and is overtaken by all. */
  readonly slowRate: number;
  /** Each second, for each running node. */
  readonly crashRate: number;
  /** For each record that is written: power is cut while it is on its way to the disk. */
  readonly recordCrashRate: number;
  /** Each second, for all nodes at once. */
  readonly blackoutRate: number;
  /** Each second. */
  readonly partitionRate: number;
  readonly syncMsMax: number;
};

/** One run. */
export type NetworkOptions = {
  readonly seed: number;
  readonly world: World;
  /** By name; the rest is honest. */
  readonly conducts: ReadonlyMap<string, Conduct>;
  readonly observers: number;
  readonly faults: Faults;
  readonly healAtMs: number;
  /** Heights that every honest node must decide after healing, and how long it may take. */
  readonly heightsAfterHealing: number;
  readonly boundMs: number;
};

/** What happened. */
export type NetworkReport<M> = {
  readonly steps: number;
  readonly heights: number;
  readonly roundMax: number;
  readonly crashes: number;
  readonly recordsLost: number;
  readonly evidence: number;
  readonly healingMs: number;
  /** Every message that was put on the wire, once for each time, with its sender. */
  readonly wire: readonly { readonly from: string; readonly message: M }[];
};

/** A property did not hold. The message names the seed. */
export class Violation extends Error {
  override readonly name = "Violation";
}

type Decided = { readonly block: Block; readonly certificate: Certificate };
type Packet<M> =
  | { readonly kind: "message"; readonly message: M }
  | { readonly kind: "ask"; readonly height: Height }
  | { readonly kind: "blocks"; readonly blocks: readonly Decided[] };
type WalEntry = { readonly record: Uint8Array; readonly sequence: number; readonly replaces: boolean };

/** A word and its slot: heights, then rounds, then proposal, prevote, precommit. */
export type Word = {
  readonly slot: string;
  readonly order: readonly [bigint, bigint, bigint];
  readonly word: string;
  readonly isProposal: boolean;
};

type SimulatedNode<M> = {
  readonly name: string;
  readonly self: Address | undefined;
  readonly conduct: Conduct;
  readonly clockOffsetMs: number;
  engine: Engine<M> | undefined;
  /** Counts the engine's lives: what was asked in one is not answered in the next. */
  life: number;
  started: bigint;
  readonly chain: Decided[];
  log: WalEntry[];
  durable: number;
  outbox: (Effect<M> & { readonly kind: "send" })[];
  /** The newest word that was signed: like the real guard, it remembers no other, and it survives crashes. */
  guard: Word | undefined;
  readonly said: Map<string, string>;
  /** For the next height: neighbours finish one moments apart. */
  early: { readonly from: string; readonly message: M }[];
  partition: number;
  askedAtMs: number;
};

const BLOCKS_PER_ANSWER_MAX = 8;
const ASK_PERIOD_MS = 50;
const EARLY_MESSAGES_MAX = 256;

/** Runs one network to its end. Throws `Violation`. */
export function runNetwork<M extends object>(kind: EngineKind<M>, options: NetworkOptions): NetworkReport<M> {
  return new Network(kind, options).run();
}

class Network<M extends object> {
  readonly #kind: EngineKind<M>;
  readonly #options: NetworkOptions;
  readonly #world: World;
  readonly #random: Random;
  readonly #nodes: SimulatedNode<M>[];
  readonly #agenda = new Agenda();
  readonly #signed = new WeakMap<object, boolean>();
  readonly #decided: Decided[] = [];
  readonly #wire: { from: string; message: M }[] = [];
  #nowMs = 0;
  #isHealed = false;
  #steps = 0;
  #roundMax = 0;
  #crashes = 0;
  #recordsLost = 0;
  #evidence = 0;

  constructor(kind: EngineKind<M>, options: NetworkOptions) {
    this.#kind = kind;
    this.#options = options;
    this.#world = options.world;
    this.#random = new Random(options.seed);
    const names = [
      ...options.world.members.map(({ name }) => name),
      ...Array.from({ length: options.observers }, (_, index) => `observer${index + 1}`),
    ];
    this.#nodes = names.map((name) => this.#newNode(name));
  }

  run(): NetworkReport<M> {
    for (const node of this.#nodes) this.#boot(node);
    this.#every(1000, () => this.#stir());
    this.#agenda.add(this.#options.healAtMs, () => this.#heal());
    const targets = (): bigint => BigInt(this.#decided.length);
    let target: bigint | undefined;
    for (;;) {
      const next = this.#agenda.take();
      if (next === undefined) this.#violated("nothing is left to do");
      this.#nowMs = next.atMs;
      next.act();
      if (!this.#isHealed) continue;
      target ??= targets() + BigInt(this.#options.heightsAfterHealing);
      const healingMs = this.#nowMs - this.#options.healAtMs;
      if (this.#nodes.every((node) => node.conduct !== "honest" || BigInt(node.chain.length) >= (target as bigint)))
        return this.#report(healingMs);
      if (healingMs > this.#options.boundMs)
        this.#violated(
          `no progress to height ${target}: ${this.#nodes.map((node) => `${node.name} ${node.chain.length}`).join(", ")}`,
        );
    }
  }

  #report(healingMs: number): NetworkReport<M> {
    return {
      steps: this.#steps,
      heights: this.#decided.length,
      roundMax: this.#roundMax,
      crashes: this.#crashes,
      recordsLost: this.#recordsLost,
      evidence: this.#evidence,
      healingMs,
      wire: this.#wire,
    };
  }

  #newNode(name: string): SimulatedNode<M> {
    const member = this.#world.members.find((candidate) => candidate.name === name);
    return {
      name,
      self: member?.address,
      conduct: this.#options.conducts.get(name) ?? "honest",
      clockOffsetMs: this.#random.between(0, 100_000),
      engine: undefined,
      life: 0,
      started: 0n,
      chain: [],
      log: [],
      durable: 0,
      outbox: [],
      guard: undefined,
      said: new Map(),
      early: [],
      partition: 0,
      askedAtMs: -ASK_PERIOD_MS,
    };
  }

  // ---- faults

  #stir(): void {
    if (this.#isHealed) return;
    const { crashRate, blackoutRate, partitionRate } = this.#options.faults;
    const isBlackout = this.#random.happens(blackoutRate);
    for (const node of this.#nodes) {
      if (isBlackout || this.#random.happens(crashRate)) this.#crash(node);
    }
    if (!this.#random.happens(partitionRate)) return;
    for (const node of this.#nodes) node.partition = this.#random.between(0, 1);
    this.#agenda.add(this.#nowMs + this.#random.between(500, 8000), () => this.#join());
  }

  #join(): void {
    for (const node of this.#nodes) node.partition = 0;
  }

  #heal(): void {
    this.#isHealed = true;
    this.#join();
    for (const node of this.#nodes) this.#boot(node);
  }

  /** Power is cut. Of the records that were not synced a part may have reached the disk all the same. */
  #crash(node: SimulatedNode<M>): void {
    if (node.engine === undefined) return;
    this.#crashes += 1;
    this.#agenda.add(this.#nowMs + this.#random.between(1, 3000), () => this.#boot(node));
    node.engine = undefined;
    node.life += 1;
    node.outbox = [];
    node.early = [];
    const synced = node.log.filter(({ sequence }) => sequence <= node.durable).length;
    const kept = this.#random.between(synced, node.log.length);
    this.#recordsLost += node.log.length - kept;
    node.log = node.log.slice(0, kept);
    node.log = node.log.slice(
      Math.max(
        0,
        node.log.findLastIndex(({ replaces }) => replaces),
      ),
    );
  }

  #boot(node: SimulatedNode<M>): void {
    if (node.engine !== undefined) return;
    node.engine = this.#kind.create(node.self);
    node.life += 1;
    const records = node.log.map(({ record }) => record);
    // What was read back from the disk is durable, in whatever numbers the new engine counts.
    node.log = node.log.map((entry) => ({ ...entry, sequence: 0 }));
    node.durable = 0;
    this.#start(node);
    for (const record of records) this.#step(node, (atMs) => ({ kind: "restore", record, atMs }));
    this.#hearEarly(node);
  }

  #start(node: SimulatedNode<M>): void {
    const height = heightOf(BigInt(node.chain.length) + 1n);
    node.started = height;
    const parent = node.chain.at(-1)?.block.header;
    this.#step(node, (atMs) => ({ kind: "start", height, validators: this.#world.set, parent, atMs }));
  }

  #startNext(node: SimulatedNode<M>): void {
    this.#start(node);
    this.#hearEarly(node);
  }

  #hearEarly(node: SimulatedNode<M>): void {
    const early = node.early.filter(({ message }) => this.#kind.heightOf(message) === node.started);
    node.early = [];
    for (const { from, message } of early) this.#step(node, (atMs) => ({ kind: "message", from, message, atMs }));
  }

  // ---- a node's driver

  #step(node: SimulatedNode<M>, inputAt: (atMs: number) => Input<M>): void {
    if (node.engine === undefined) return;
    this.#steps += 1;
    for (const effect of node.engine.step(inputAt(this.#nowMs + node.clockOffsetMs))) this.#do(node, effect);
  }

  /** Does something later, unless the node has crashed by then. */
  #later(node: SimulatedNode<M>, delayMs: number, act: () => void): void {
    const { life } = node;
    this.#agenda.add(this.#nowMs + delayMs, () => {
      if (node.life === life) act();
    });
  }

  #every(periodMs: number, act: () => void): void {
    this.#agenda.add(this.#nowMs + periodMs, () => {
      act();
      this.#every(periodMs, act);
    });
  }

  #do(node: SimulatedNode<M>, effect: Effect<M>): void {
    const random = this.#random;
    switch (effect.kind) {
      case "persist": {
        if (node.self === undefined) this.#violated(`${node.name} records, and is an observer`);
        if (effect.replaces === true && this.#kind.isContinuous !== true)
          this.#violated(`${node.name} replaces records of a log that ends with its height`);
        node.log.push({ record: effect.record, sequence: effect.sequence, replaces: effect.replaces === true });
        const { syncMsMax, recordCrashRate } = this.#options.faults;
        this.#later(node, random.between(0, syncMsMax), () => this.#synced(node, effect.sequence));
        if (!this.#isHealed && random.happens(recordCrashRate))
          this.#later(node, random.between(0, syncMsMax), () => this.#crash(node));
        return;
      }
      case "send":
        if (effect.after === undefined || effect.after <= node.durable) this.#send(node, effect);
        else node.outbox.push(effect);
        return;
      case "sign": {
        const signature = this.#sign(node, effect.what);
        this.#later(node, random.between(0, 2), () =>
          this.#step(node, (atMs) => ({ kind: "signed", id: effect.id, signature, atMs })),
        );
        return;
      }
      case "verify": {
        const valid = this.#isSigned(effect.message);
        this.#later(node, random.between(0, 2), () =>
          this.#step(node, (atMs) => ({ kind: "verified", id: effect.id, valid, atMs })),
        );
        return;
      }
      case "judge": {
        const valid = judge(effect.block, node.chain.at(-1)?.block);
        this.#later(node, random.between(0, 5), () =>
          this.#step(node, (atMs) => ({ kind: "judged", blockHash: effect.blockHash, valid, atMs })),
        );
        return;
      }
      case "build":
        this.#later(node, random.between(0, 5), () => this.#build(node, effect.height, effect.round));
        return;
      case "timer":
        this.#later(node, Math.max(0, effect.atMs - node.clockOffsetMs - this.#nowMs), () =>
          this.#step(node, (atMs) => ({ kind: "tick", atMs })),
        );
        return;
      case "head":
      case "search":
      case "rest":
        return this.#violated(`${node.name} asks for ${effect.kind}, and has no work to do`);
      case "final":
        this.#final(node, effect.block, effect.certificate);
        return;
      case "evidence":
        this.#accused(effect.evidence.first.validator);
        return;
      default:
        return unreachable(effect);
    }
  }

  #synced(node: SimulatedNode<M>, sequence: number): void {
    // Syncs overlap, and one covers all that was written before it.
    if (sequence <= node.durable) return;
    node.durable = sequence;
    this.#step(node, (atMs) => ({ kind: "persisted", sequence, atMs }));
    const ready = node.outbox.filter(({ after }) => after !== undefined && after <= sequence);
    node.outbox = node.outbox.filter(({ after }) => after !== undefined && after > sequence);
    for (const effect of ready) this.#send(node, effect);
  }

  /** The guard: durable before it answers, and it signs only forward. An equivocator has none. */
  #sign(node: SimulatedNode<M>, what: Unsigned): Uint8Array | undefined {
    if (node.self === undefined) this.#violated(`${node.name} signs, and is an observer`);
    if (node.conduct === "equivocator" || what.kind === "statement") return this.#world.sign(what);
    const word = wordOf(what);
    this.#roundMax = Math.max(this.#roundMax, Number(word.order[1]));
    const order = node.guard === undefined ? 1 : compareOrders(word.order, node.guard.order);
    if (order < 0 || (order === 0 && node.guard?.word !== word.word)) {
      // A vote is promised before it is signed, so no crash can make an engine ask for another one. A proposal is not:
      // one that was lost is built anew, and the round goes without.
      if (!word.isProposal || node.life === 1)
        this.#violated(`${node.name} asks for ${word.slot} after it had ${node.guard?.slot} signed`);
      return undefined;
    }
    node.guard = word;
    return this.#world.sign(what);
  }

  #isSigned(message: M): boolean {
    const known = this.#signed.get(message);
    if (known !== undefined) return known;
    const { what, signature } = this.#kind.statementOf(message);
    const parts = this.#kind.signedParts?.(message) ?? [];
    const valid = bytesEqual(signature, this.#world.sign(what)) && parts.every((part) => this.#world.isSigned(part));
    this.#signed.set(message, valid);
    return valid;
  }

  #build(node: SimulatedNode<M>, height: Height, round: number): void {
    if (height !== BigInt(node.chain.length) + 1n) return;
    const block = testBlock({
      height,
      label: `${node.name} ${round} ${node.life}`,
      proposer: present(node.self, "builder"),
      previous: node.chain.at(-1)?.block,
      isInvalid: node.conduct === "equivocator" && this.#random.happens(300),
    });
    this.#step(node, (atMs) => ({ kind: "propose", height, round, block, atMs }));
  }

  #final(node: SimulatedNode<M>, block: Block, certificate: Certificate): void {
    if (block.header.height !== BigInt(node.chain.length) + 1n)
      this.#violated(`${node.name} decided height ${block.header.height} after ${node.chain.length}`);
    this.#commit(node, { block, certificate });
    this.#later(node, this.#random.between(0, 10), () => {
      if (node.started <= BigInt(node.chain.length)) this.#startNext(node);
    });
  }

  #commit(node: SimulatedNode<M>, decided: Decided): void {
    const { block, certificate } = decided;
    const why = this.#world.whyNot(certificate, this.#kind.rule);
    if (why !== undefined) this.#violated(`${node.name} has a certificate that proves nothing: ${why}`);
    if (!bytesEqual(certificate.blockHash, block.hash) || certificate.height !== block.header.height)
      this.#violated(`${node.name} has the certificate of another block`);
    const index = Number(block.header.height) - 1;
    const first = (this.#decided[index] ??= decided);
    if (node.conduct === "honest") {
      if (!bytesEqual(first.block.hash, block.hash)) this.#violated(`two blocks at height ${block.header.height}`);
      if (!judge(block, node.chain.at(-1)?.block))
        this.#violated(`${node.name} decided an invalid block at height ${block.header.height}`);
    }
    node.chain.push(decided);
    if (this.#kind.isContinuous === true) return;
    node.log = [];
    node.outbox = [];
  }

  #accused(validator: Address): void {
    this.#evidence += 1;
    const name = this.#world.nameOf(validator);
    const node = present(
      this.#nodes.find((candidate) => candidate.name === name),
      name,
    );
    if (node.conduct !== "equivocator") this.#violated(`${name} is honest and was accused`);
  }

  // ---- the wire

  #send(node: SimulatedNode<M>, effect: Effect<M> & { readonly kind: "send" }): void {
    if (node.self === undefined) this.#violated(`${node.name} sends, and is an observer`);
    if (node.conduct === "silent") return;
    this.#spoken(node, effect.message);
    const bytes = this.#kind.encode(effect.message);
    const parsed = this.#kind.parse(bytes);
    if (!parsed.ok) this.#violated(`${node.name} sends what cannot be parsed: ${parsed.error.code}`);
    for (const peer of this.#nodes) {
      if (peer === node || (effect.to !== "all" && effect.to.peer !== peer.name)) continue;
      const isTwisted = node.conduct === "equivocator" && this.#random.happens(500) && this.#isOwn(node, parsed.value);
      const message = isTwisted ? this.#kind.twist(this.#world, parsed.value, this.#random) : parsed.value;
      if (isTwisted) this.#wire.push({ from: node.name, message });
      this.#packet(node, peer, { kind: "message", message });
    }
  }

  /** One word for each slot, whatever the guard says: this looks at the wire alone. */
  #spoken(node: SimulatedNode<M>, message: M): void {
    this.#wire.push({ from: node.name, message });
    if (!this.#isOwn(node, message) || node.conduct === "equivocator") return;
    const { slot, word } = wordOf(this.#kind.statementOf(message).what);
    const before = node.said.get(slot);
    if (before !== undefined && before !== word) this.#violated(`${node.name} said two things at ${slot}`);
    node.said.set(slot, word);
  }

  #isOwn(node: SimulatedNode<M>, message: M): boolean {
    const { what } = this.#kind.statementOf(message);
    const signer = signerOf(what);
    return node.self !== undefined && bytesEqual(signer, node.self);
  }

  #packet(from: SimulatedNode<M>, to: SimulatedNode<M>, packet: Packet<M>): void {
    const { lossRate, duplicateRate, delayMsMax, slowRate } = this.#options.faults;
    if (from.partition !== to.partition || (!this.#isHealed && this.#random.happens(lossRate))) return;
    const copies = this.#random.happens(duplicateRate) ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      const delayMs = this.#random.between(1, delayMsMax) * (this.#random.happens(slowRate) ? 10 : 1);
      this.#agenda.add(this.#nowMs + delayMs, () => this.#receive(from, to, packet));
    }
  }

  #receive(from: SimulatedNode<M>, to: SimulatedNode<M>, packet: Packet<M>): void {
    if (to.engine === undefined) return;
    switch (packet.kind) {
      case "message": {
        const { message } = packet;
        const height = this.#kind.heightOf(message);
        if (height !== undefined && height <= BigInt(to.chain.length)) this.#answer(to, from, height);
        if (height !== undefined && height > to.started) this.#ask(to, from);
        if (height === to.started + 1n && to.early.length < EARLY_MESSAGES_MAX) to.early.push({ from: from.name, message });
        this.#step(to, (atMs) => ({ kind: "message", from: from.name, message, atMs }));
        return;
      }
      case "ask":
        this.#answer(to, from, packet.height);
        return;
      case "blocks":
        this.#sync(to, packet.blocks);
        return;
      default:
        unreachable(packet);
    }
  }

  /** A peer speaks of a height to come: it may know blocks that we lack. */
  #ask(node: SimulatedNode<M>, peer: SimulatedNode<M>): void {
    if (node.askedAtMs + ASK_PERIOD_MS > this.#nowMs) return;
    node.askedAtMs = this.#nowMs;
    this.#packet(node, peer, { kind: "ask", height: heightOf(BigInt(node.chain.length) + 1n) });
  }

  /** A peer speaks of a height that is decided here: it gets the blocks it lacks. */
  #answer(node: SimulatedNode<M>, peer: SimulatedNode<M>, height: Height): void {
    const first = Number(height) - 1;
    const blocks = node.chain.slice(first, first + BLOCKS_PER_ANSWER_MAX);
    if (blocks.length > 0 && node.conduct !== "silent") this.#packet(node, peer, { kind: "blocks", blocks });
  }

  #sync(node: SimulatedNode<M>, blocks: readonly Decided[]): void {
    let moved = false;
    for (const decided of blocks) {
      if (decided.block.header.height !== BigInt(node.chain.length) + 1n) continue;
      this.#commit(node, decided);
      moved = true;
    }
    if (moved) this.#startNext(node);
  }

  #violated(what: string): never {
    throw new Violation(`seed ${this.#options.seed}, at ${this.#nowMs} ms: ${what}`);
  }
}

/** Who signs. */
export function signerOf(what: Unsigned): Address {
  if (what.kind === "statement") return what.validator;
  return what.kind === "vote" ? what.vote.validator : what.proposal.validator;
}

/** The slot that a signature fills, and the word in it. A statement binds to nothing and has a slot of its own. */
export function wordOf(what: Unsigned): Word {
  if (what.kind === "statement") {
    const word = toHex(what.bytes);
    return { slot: `statement/${word}`, order: [0n, 0n, 0n], word, isProposal: false };
  }
  if (what.kind === "vote") {
    const { height, round, step } = what.vote;
    const order = [height, BigInt(round), step === "prevote" ? 1n : 2n] as const;
    return { slot: `${height}/${round}/${step}`, order, word: toHex(voteSigningBytes(CHAIN_ID, what.vote)), isProposal: false };
  }
  const { height, round } = what.proposal;
  return {
    slot: `${height}/${round}/proposal`,
    order: [height, BigInt(round), 0n],
    word: toHex(proposalSigningBytes(CHAIN_ID, what.proposal)),
    isProposal: true,
  };
}

function compareOrders(a: Word["order"], b: Word["order"]): number {
  for (const [index, value] of a.entries()) {
    const other = b[index] as bigint;
    if (value !== other) return value < other ? -1 : 1;
  }
  return 0;
}

type Entry = { readonly atMs: number; readonly order: number; readonly act: () => void };

/** What is to happen, earliest first, and first come first served: a binary heap. */
class Agenda {
  readonly #heap: Entry[] = [];
  #order = 0;

  add(atMs: number, act: () => void): void {
    this.#order += 1;
    const heap = this.#heap;
    heap.push({ atMs, order: this.#order, act });
    for (let index = heap.length - 1; index > 0;) {
      const parent = (index - 1) >> 1;
      if (!isBefore(heap[index] as Entry, heap[parent] as Entry)) return;
      this.#swap(index, parent);
      index = parent;
    }
  }

  take(): Entry | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    heap[0] = last;
    for (let index = 0; ;) {
      const left = index * 2 + 1;
      if (left >= heap.length) return first;
      const right = left + 1;
      const child = right < heap.length && isBefore(heap[right] as Entry, heap[left] as Entry) ? right : left;
      if (!isBefore(heap[child] as Entry, heap[index] as Entry)) return first;
      this.#swap(index, child);
      index = child;
    }
  }

  #swap(a: number, b: number): void {
    const entry = this.#heap[a] as Entry;
    this.#heap[a] = this.#heap[b] as Entry;
    this.#heap[b] = entry;
    assert(a !== b, "an entry swapped with itself");
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
