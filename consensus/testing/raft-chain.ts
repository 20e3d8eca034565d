/**
 * Raft engines on a stage: a few nodes whose time, packets, disks and ledgers the test moves by hand, so that a story can be told.
 *
 * Whatever is due happens at once and in order (`settle`), unless the test holds it: `isCut` loses packets, `heldDisks` keeps records
 * from becoming durable, and no block is built above `heightMax`. Time passes in `tick` alone.
 */

import { assert, present, unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import type { Block } from "../../chain/block/block.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { findValidator, type ValidatorSet, validatorSetOf } from "../../chain/block/validators.ts";
import type { QuorumCertificate, Vote } from "../../chain/block/vote.ts";
import type { Effect, Input, Unsigned } from "../engine.ts";
import { RaftEngine } from "../raft/engine.ts";
import { noteSigningBytes, type RaftWireMessage, type UnsignedNote } from "../raft/message.ts";
import { TEST_PROTOCOL } from "./raft-kind.ts";
import { CHAIN_ID, testBlock, World } from "./world.ts";

/** A note on the wire. */
export type WireNote = RaftWireMessage & { readonly kind: "note" };

/** One node of the stage. */
export type StageNode = {
  readonly name: string;
  engine: RaftEngine | undefined;
  /** Decided blocks, from height 1. */
  readonly chain: { readonly block: Block; readonly certificate: QuorumCertificate }[];
  /** What its disk holds: durable first, then what a crash loses. */
  disk: { readonly record: Uint8Array; readonly sequence: number; readonly replaces: boolean; readonly term: bigint }[];
  /** What is remembered apart from the disk: the latest term that it could speak in. */
  spokenTerm: bigint;
  durable: number;
  outbox: { readonly message: RaftWireMessage; readonly after: number }[];
  readonly builds: { readonly height: Height; readonly round: number }[];
  /** Every vote that it was asked to sign, in order. */
  readonly votes: Omit<Vote, "signature">[];
};

type Due = { readonly node: StageNode; readonly life: RaftEngine; readonly input: Input<RaftWireMessage> };

/** After so many ticks without a new height a node asks for blocks. */
const STALLED_TICKS = 20;

/** What a stage is set with. */
export type ChainOptions = {
  /** Nodes `v1`, `v2`, ... */
  readonly count: number;
  /** The names that decide a height; everybody unless it is said. */
  readonly setAt?: (height: bigint) => readonly string[];
  /** Not started yet. */
  readonly absent?: readonly string[];
};

/** See the file's head. */
export class RaftChain {
  readonly world: World;
  readonly nodes: readonly StageNode[];
  /** Everything that was put on the wire. */
  readonly wire: { readonly from: string; readonly message: RaftWireMessage }[] = [];
  readonly heldDisks = new Set<string>();
  /** Leaders that ask for a block of a greater height get none yet. */
  #heightMax = 0n;
  /** Which packets are lost. */
  isCut: (from: string, to: string, message: RaftWireMessage) => boolean = () => false;
  #candidate: string | undefined;
  readonly #setAt: (height: bigint) => readonly string[];
  readonly #due: Due[] = [];
  #nowMs = 0;

  constructor({ count, setAt, absent = [] }: ChainOptions) {
    this.world = new World(Array.from({ length: count }, () => 1n));
    this.#setAt = setAt ?? (() => this.world.members.map(({ name }) => name));
    this.nodes = this.world.members.map(({ name }) => ({
      name,
      engine: undefined,
      chain: [],
      disk: [],
      spokenTerm: 0n,
      durable: 0,
      outbox: [],
      builds: [],
      votes: [],
    }));
    for (const { name } of this.nodes) if (!absent.includes(name)) this.boot(name);
  }

  node(name: string): StageNode {
    return present(
      this.nodes.find((node) => node.name === name),
      name,
    );
  }

  engine(name: string): RaftEngine {
    return present(this.node(name).engine, `engine of ${name}`);
  }

  /** The validators of a height. */
  set(height: bigint): ValidatorSet {
    return validatorSetOf(this.#setAt(height).map((name) => this.world.member(name)));
  }

  /** The node that leads the latest term. */
  get leader(): string | undefined {
    const leaders = this.nodes.filter(({ engine }) => engine?.status()?.step === "leader");
    const roundOf = ({ engine }: StageNode): number => engine?.status()?.round ?? -1;
    return leaders.toSorted((a, b) => roundOf(b) - roundOf(a))[0]?.name;
  }

  // ---- what the test does

  /** Starts a node from what its disk holds. */
  boot(name: string): void {
    const node = this.node(name);
    assert(node.engine === undefined, `${name} runs`);
    const self = this.world.member(name).address;
    const { height, round } = node.votes.at(-1) ?? { height: heightOf(0n), round: 0 };
    const spoken = { term: node.spokenTerm, signed: { height, round } };
    node.engine = new RaftEngine({ chainId: CHAIN_ID, self, protocol: TEST_PROTOCOL, spoken });
    node.durable = 0;
    node.disk = node.disk.map((entry) => ({ ...entry, sequence: 0 }));
    this.#step(node, this.#startOf(node));
    for (const { record } of node.disk) this.#step(node, { kind: "restore", record, atMs: this.#nowMs });
  }

  /** Cuts its power: what is not durable is gone. */
  crash(name: string): void {
    const node = this.node(name);
    node.engine = undefined;
    node.outbox = [];
    node.disk = node.disk.filter(({ sequence }) => sequence <= node.durable);
    node.disk = node.disk.slice(
      Math.max(
        0,
        node.disk.findLastIndex(({ replaces }) => replaces),
      ),
    );
  }

  /** As `crash`, and everything that it ever recorded is lost. Its ledger stays, as though it had been synced anew. */
  wipe(name: string): void {
    this.crash(name);
    this.node(name).disk = [];
  }

  /** Lets time pass for these nodes (all of them), with whatever follows from it after each tick. */
  tick(ticks: number, names: readonly string[] = this.nodes.map(({ name }) => name)): void {
    for (let tick = 0; tick < ticks; tick += 1) {
      this.#nowMs += TEST_PROTOCOL.tickMs;
      for (const name of names) this.#step(this.node(name), { kind: "tick", atMs: this.#nowMs });
      this.settle();
    }
  }

  /** Ticks until something holds. */
  tickUntil(what: string, holds: () => boolean, names?: readonly string[]): void {
    for (let ticks = 0; !holds(); ticks += 1) {
      assert(ticks < 400, `waited for ${what} in vain: ${this.describe()}`);
      this.tick(1, names);
    }
  }

  /** Lets time pass until this node leads; nobody else's campaign is heard meanwhile. */
  elect(name: string): void {
    this.#candidate = name;
    this.tickUntil(`${name} leads`, () => this.leader === name);
    this.#candidate = undefined;
  }

  /** Nothing passes but between these. */
  connect(...names: readonly string[]): void {
    this.isCut = (from, to) => !(names.includes(from) && names.includes(to));
  }

  /** Everything passes. */
  heal(): void {
    this.isCut = () => false;
  }

  /** Makes durable what a held disk kept. */
  release(name: string): void {
    this.heldDisks.delete(name);
    const node = this.node(name);
    const last = node.disk.at(-1)?.sequence ?? 0;
    if (last > node.durable) this.#persisted(node, last);
    this.settle();
  }

  /** From now on blocks are built up to this height, and whatever waits for it. */
  growTo(height: bigint): void {
    this.#heightMax = height;
    for (const node of this.nodes) {
      const asked = node.builds.at(-1);
      if (node.engine !== undefined && asked !== undefined && asked.height <= height) this.#build(node, asked);
    }
    this.settle();
  }

  /**
   * Lets blocks be built up to this height, and time pass until these nodes (all that run) have decided it. Who has fallen behind and
   * does not move is brought up by block sync, as its driver would.
   */
  decide(height: bigint, names: readonly string[] = this.running): void {
    this.growTo(height);
    const isThere = (name: string): boolean => BigInt(this.node(name).chain.length) >= height;
    for (let ticks = 1; !names.every(isThere); ticks += 1) {
      assert(ticks < 400, `waited for height ${height} in vain: ${this.describe()}`);
      this.tick(1);
      if (ticks % STALLED_TICKS !== 0) continue;
      const [best] = names.toSorted((a, b) => this.node(b).chain.length - this.node(a).chain.length);
      for (const name of names) this.sync(name, present(best, "a node"));
    }
  }

  /** The nodes that run. */
  get running(): readonly string[] {
    return this.nodes.flatMap(({ name, engine }) => (engine === undefined ? [] : [name]));
  }

  /** Block sync: a node gets the blocks it lacks from another. */
  sync(to: string, from: string): void {
    const node = this.node(to);
    for (const decided of this.node(from).chain.slice(node.chain.length)) {
      node.chain.push(decided);
      this.#step(node, this.#startOf(node));
    }
    this.settle();
  }

  /** Hands a message to a node, as though the network had brought it. */
  inject(to: string, message: RaftWireMessage): void {
    this.#enqueue(this.node(to), { kind: "message", from: "injected", message, atMs: this.#nowMs });
    this.settle();
  }

  /** A note as its sender would sign it. */
  signed(unsigned: UnsignedNote): WireNote {
    const bytes = noteSigningBytes(CHAIN_ID, unsigned);
    const { from, to, number, note } = unsigned;
    const signature = this.world.sign({ kind: "statement", validator: from, bytes });
    return { kind: "note", from, to, number, note, signature };
  }

  /** Whatever is due, until nothing is. */
  settle(): void {
    for (let due = this.#due.shift(), steps = 0; due !== undefined; due = this.#due.shift(), steps += 1) {
      assert(steps < 100_000, "it never settles");
      if (due.node.engine === due.life) this.#step(due.node, due.input);
    }
  }

  /** The notes of a kind that were on the wire. */
  notes(kind: WireNote["note"]["kind"]): readonly { readonly from: string; readonly message: WireNote }[] {
    return this.wire.flatMap(({ from, message }) =>
      message.kind === "note" && message.note.kind === kind ? [{ from, message }] : [],
    );
  }

  /** One line for a failure. */
  describe(): string {
    return this.nodes
      .map(({ name, engine, chain }) => {
        const status = engine?.status();
        return `${name} ${status === undefined ? "down" : `${status.step} ${status.round}`} at ${chain.length}`;
      })
      .join(", ");
  }

  // ---- a node's driver

  #startOf(node: StageNode): Input<RaftWireMessage> {
    const height = heightOf(BigInt(node.chain.length) + 1n);
    const parent = node.chain.at(-1)?.block.header;
    return { kind: "start", height, validators: this.set(height), parent, atMs: this.#nowMs };
  }

  #enqueue(node: StageNode, input: Input<RaftWireMessage>): void {
    if (node.engine !== undefined) this.#due.push({ node, life: node.engine, input });
  }

  #step(node: StageNode, input: Input<RaftWireMessage>): void {
    for (const effect of node.engine?.step(input) ?? []) this.#perform(node, effect);
  }

  #perform(node: StageNode, effect: Effect<RaftWireMessage>): void {
    const atMs = this.#nowMs;
    switch (effect.kind) {
      case "persist": {
        const { record, sequence, replaces, term = 0n } = effect;
        node.disk.push({ record, sequence, replaces: replaces === true, term });
        if (!this.heldDisks.has(node.name)) this.#persisted(node, sequence);
        return;
      }
      case "send":
        if ((effect.after ?? 0) > node.durable) node.outbox.push({ message: effect.message, after: effect.after ?? 0 });
        else this.#send(node, effect.message);
        return;
      case "sign":
        if (effect.what.kind === "vote") node.votes.push(effect.what.vote);
        this.#enqueue(node, { kind: "signed", id: effect.id, signature: this.world.sign(effect.what), atMs });
        return;
      case "verify":
        this.#enqueue(node, { kind: "verified", id: effect.id, valid: this.isSigned(effect.message), atMs });
        return;
      case "build":
        node.builds.push({ height: effect.height, round: effect.round });
        if (effect.height <= this.#heightMax) this.#build(node, effect);
        return;
      case "final":
        this.#commit(node, effect);
        return;
      case "timer":
        return;
      case "judge":
      case "head":
      case "search":
      case "rest":
      case "evidence":
        return assert(false, `${node.name} asks for ${effect.kind}`);
      default:
        return unreachable(effect);
    }
  }

  #persisted(node: StageNode, sequence: number): void {
    node.durable = sequence;
    for (const { term, sequence: place } of node.disk) if (place <= sequence && term > node.spokenTerm) node.spokenTerm = term;
    this.#enqueue(node, { kind: "persisted", sequence, atMs: this.#nowMs });
    for (const { message, after } of node.outbox) if (after <= sequence) this.#send(node, message);
    node.outbox = node.outbox.filter(({ after }) => after > sequence);
  }

  #send(node: StageNode, message: RaftWireMessage): void {
    this.wire.push({ from: node.name, message });
    const isCampaign = message.kind === "note" && (message.note.kind === "vote" || message.note.kind === "preVote");
    if (isCampaign && this.#candidate !== undefined && this.#candidate !== node.name) return;
    for (const peer of this.nodes) {
      if (peer === node || this.isCut(node.name, peer.name, message)) continue;
      this.#enqueue(peer, { kind: "message", from: node.name, message, atMs: this.#nowMs });
    }
  }

  /** Whether the signature is the named signer's. */
  isSigned(message: RaftWireMessage): boolean {
    const what: Unsigned =
      message.kind === "vote"
        ? { kind: "vote", vote: message.vote }
        : { kind: "statement", validator: message.from, bytes: noteSigningBytes(CHAIN_ID, message) };
    const signature = message.kind === "vote" ? message.vote.signature : message.signature;
    return bytesEqual(signature, this.world.sign(what));
  }

  #build(node: StageNode, { height, round }: { readonly height: Height; readonly round: number }): void {
    if (BigInt(node.chain.length) + 1n !== height) return;
    const proposer = this.world.member(node.name).address;
    const previous = node.chain.at(-1)?.block;
    const block = testBlock({ height, label: `${node.name} ${round}`, proposer, previous, validators: this.set(height) });
    this.#enqueue(node, { kind: "propose", height, round, block, atMs: this.#nowMs });
  }

  #commit(node: StageNode, { block, certificate, height }: Effect<RaftWireMessage> & { readonly kind: "final" }): void {
    assert(height === BigInt(node.chain.length) + 1n, `${node.name} decides ${height} after ${node.chain.length}`);
    assert(certificate.kind === "quorum", "a quorum decides");
    this.#checkCertificate(certificate);
    for (const other of this.nodes) {
      const decided = other.chain[Number(height) - 1];
      const same = decided === undefined || bytesEqual(decided.block.hash, block.hash);
      assert(same, `${node.name} and ${other.name} decide different blocks at ${height}`);
    }
    node.chain.push({ block, certificate });
    this.#enqueue(node, this.#startOf(node));
  }

  #checkCertificate({ height, round, blockHash, signatures }: QuorumCertificate): void {
    const set = this.set(height);
    const signers = new Set(signatures.map(({ validator }) => toHex(validator)));
    assert(signers.size === signatures.length && signers.size * 2 > set.validators.length, `${signers.size} signers`);
    for (const { validator, signature } of signatures) {
      assert(findValidator(set, validator) !== undefined, "a stranger signed");
      assert(this.world.isVote({ step: "precommit", height, round, blockHash, validator, signature }), "a signature is wrong");
    }
  }
}
