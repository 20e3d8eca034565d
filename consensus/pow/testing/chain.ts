/**
 * A chain of one node under test: obeys `head` as a driver does, and answers. Whoever tests looks at what was sent, built
 * and searched. The chain is a list of blocks; the engine is the real one.
 */

import { assert, present } from "../../../crypto/base/assert.ts";
import { bytesEqual } from "../../../crypto/base/bytes.ts";
import type { Hash } from "../../../crypto/hash/hash.ts";
import type { Block } from "../../../chain/block/block.ts";
import { type Height, heightOf } from "../../../chain/block/height.ts";
import type { WorkCertificate } from "../../../chain/block/vote.ts";
import type { Effect, Input } from "../../engine.ts";
import { PowEngine, type PowOptions, restoreFrom } from "../engine.ts";
import { encodePowRecord, type PowMessage, type SealedHeader } from "../message.ts";
import type { ChainSource } from "../serve.ts";
import { isValid, NETWORK_HASH } from "./forge.ts";

/** A committed block and its seal. */
export type Committed = { readonly block: Block; readonly seal: WorkCertificate };

type EffectOf<Kind extends Effect<PowMessage>["kind"]> = Extract<Effect<PowMessage>, { readonly kind: Kind }>;

/** See the file's head. */
export class TestNode implements ChainSource {
  readonly options: PowOptions;
  engine: PowEngine;
  /** Heights 1 and on. */
  readonly blocks: Committed[];
  /** Every step that was taken, for replaying. */
  steps: { readonly input: Input<PowMessage>; readonly effects: readonly Effect<PowMessage>[] }[] = [];
  /** Heads in the order in which they were asked for, and how many blocks were undone for each. */
  readonly heads: { readonly block: Block; readonly undone: number; readonly valid: boolean }[] = [];
  readonly finals: Height[] = [];
  /** Since they were last taken. */
  #sent: EffectOf<"send">[] = [];
  search: EffectOf<"search"> | undefined;
  build: EffectOf<"build"> | undefined;
  atMs = 0;

  constructor(options: PowOptions, blocks: readonly Committed[] = []) {
    this.options = options;
    this.engine = new PowEngine(options);
    this.blocks = [...blocks];
  }

  /** Starts the engine with what the chain remembers. */
  start(): this {
    const head = this.blocks.at(-1)?.block.header;
    const height = heightOf(BigInt(this.blocks.length) + 1n);
    const validators = { validators: [], totalPower: 0n };
    this.take({ kind: "start", height, validators, parent: head, atMs: this.atMs });
    const first = restoreFrom(this.options.protocol, this.headHeight());
    for (const { block, seal } of this.blocks.slice(Number(first) - 1)) {
      const isOld = block.header.height < this.headHeight() - BigInt(this.options.protocol.reorgDepthMax);
      this.take({ kind: "restore", record: encodePowRecord(seal, isOld ? block.header : block), atMs: this.atMs });
    }
    this.tick(0);
    return this;
  }

  /** Hands an input to the engine, and obeys. */
  take(input: Input<PowMessage>): void {
    const effects = this.engine.step(input);
    this.steps.push({ input, effects });
    for (const effect of effects) this.#obey(effect);
  }

  hear(message: PowMessage, from = "peer"): this {
    this.take({ kind: "message", from, message, atMs: this.atMs });
    return this;
  }

  tick(ms: number): this {
    this.atMs += ms;
    this.take({ kind: "tick", atMs: this.atMs });
    return this;
  }

  /** What was sent since this was last asked. */
  sent(): readonly EffectOf<"send">[] {
    const sent = this.#sent;
    this.#sent = [];
    return sent;
  }

  /** The block to build that was asked for since this was last asked. */
  takeBuild(): EffectOf<"build"> | undefined {
    const { build } = this;
    this.build = undefined;
    return build;
  }

  get head(): Hash {
    return this.blocks.at(-1)?.block.hash ?? NETWORK_HASH;
  }

  headHeight(): Height {
    return heightOf(BigInt(this.blocks.length));
  }

  hashAt(height: Height): Hash | undefined {
    return height === 0n ? NETWORK_HASH : this.blocks[Number(height) - 1]?.block.hash;
  }

  sealedAt(height: Height): SealedHeader | undefined {
    const at = this.blocks[Number(height) - 1];
    return at === undefined ? undefined : { header: at.block.header, seal: at.seal };
  }

  blockAt(height: Height): Block | undefined {
    return this.blocks[Number(height) - 1]?.block;
  }

  #obey(effect: Effect<PowMessage>): void {
    switch (effect.kind) {
      case "head":
        this.#commit(effect);
        return;
      case "send":
        this.#sent.push(effect);
        return;
      case "search":
        this.search = effect;
        return;
      case "rest":
        this.search = undefined;
        return;
      case "build":
        this.build = effect;
        return;
      case "final":
        this.finals.push(effect.height);
        return;
      default:
        assert(effect.kind === "timer", `proof of work asks for no ${effect.kind}`);
    }
  }

  #commit({ block, certificate }: EffectOf<"head">): void {
    assert(certificate.kind === "work" && bytesEqual(certificate.blockHash, block.hash), "a seal of the block");
    let undone = 0;
    while (!bytesEqual(this.head, block.header.previous)) {
      present(this.blocks.pop(), "a block to undo");
      undone += 1;
    }
    assert(undone <= this.options.protocol.reorgDepthMax, `${undone} blocks undone`);
    const seal = this.blocks.at(-1)?.seal;
    const carried = block.previousCertificate;
    const isLinked =
      seal === undefined ? carried === undefined : carried?.kind === "work" && bytesEqual(carried.blockHash, seal.blockHash);
    const valid = isLinked && isValid(block);
    if (valid) this.blocks.push({ block, seal: certificate });
    this.heads.push({ block, undone, valid });
    this.take({ kind: "judged", blockHash: block.hash, valid, atMs: this.atMs });
  }
}
