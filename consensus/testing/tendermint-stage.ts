/**
 * The stage for scripts about Tendermint: one real engine, and the words of all other validators put in by hand.
 *
 * The stage answers as an honest driver: it checks signatures, asks the chain of `world.ts`, keeps the double-sign
 * guard and the write-ahead log, and prints what it was asked to do. `hold` makes it wait with an answer.
 */

import { assert, present, unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import type { Block } from "../../chain/block/block.ts";
import { heightOf, type Height } from "../../chain/block/height.ts";
import { quorumOf } from "../../chain/block/testing/fixtures.ts";
import type { Proposal, Vote, VoteStep } from "../../chain/block/vote.ts";
import type { Effect, Input, Unsigned } from "../engine.ts";
import { TendermintEngine } from "../tendermint/engine.ts";
import { type ConsensusMessage, encodeMessage, parseMessage } from "../tendermint/message.ts";
import { parseRecord } from "../tendermint/record.ts";
import { valueOf } from "../tendermint/votes.ts";
import { parseCommand } from "./script.ts";
import { CHAIN_ID, judge, type Member, testBlock, World } from "./world.ts";

const PARAMETERS = { timeoutProposeMs: 3000, timeoutPrevoteMs: 1000, timeoutPrecommitMs: 1000, timeoutGrowthMs: 500 };

type Fx = Effect<ConsensusMessage>;
type Held = "persist" | "judge" | "sign";

/** Runs the commands of one script. */
export class TendermintStage {
  #world = new World([1n, 1n, 1n, 1n]);
  #self: Member | undefined;
  #engine: TendermintEngine | undefined;
  #nowMs = 0;
  #height: Height = heightOf(1n);
  #lines: string[] = [];
  readonly #blocks = new Map<string, Block>();
  readonly #held = new Map<Held, Fx[]>();
  readonly #guard = new Map<string, Uint8Array>();
  #log: { readonly record: Uint8Array; readonly sequence: number }[] = [];
  #durable = 0;
  #outbox: (Fx & { readonly kind: "send" })[] = [];
  readonly #inputs: Input<ConsensusMessage>[] = [];
  #shown = "";

  /** Runs one command and returns what it printed. */
  run(line: string): readonly string[] {
    const { verb, words, options } = parseCommand(line);
    this.#lines = [];
    switch (verb) {
      case "node":
      case "observer":
        this.#cast(verb === "observer" ? undefined : words[0], options.get("powers") ?? "1,1,1,1");
        break;
      case "start":
        this.#height = heightOf(BigInt(options.get("height") ?? "1"));
        this.#boot();
        break;
      case "proposal":
        this.#propose(present(words[0], "proposer"), present(words[1], "block"), options);
        break;
      case "prevote":
      case "precommit":
        this.#vote(verb, words.slice(0, -1), present(words.at(-1), "block"), options);
        break;
      case "built": {
        const round = Number(options.get("round") ?? this.#running().status()?.round);
        this.#input({
          kind: "propose",
          height: this.#height,
          round,
          block: this.#block(present(words[0], "block")),
          atMs: this.#nowMs,
        });
        break;
      }
      case "pass":
        this.#nowMs += Number(words[0]);
        this.#input({ kind: "tick", atMs: this.#nowMs });
        break;
      case "hold":
        this.#held.set(words[0] as Held, []);
        break;
      case "release":
        this.#release(words[0] as Held);
        break;
      case "crash":
        this.#crash(options.get("log") === "lost");
        break;
      case "restart":
        this.#restart();
        break;
      case "messages":
        for (const message of this.#running().messages()) this.#lines.push(this.#told(message));
        break;
      default:
        throw new Error(`unknown command: ${line}`);
    }
    this.#showState();
    return this.#lines;
  }

  // ---- commands

  #cast(self: string | undefined, powers: string): void {
    this.#world = new World(powers.split(",").map(BigInt));
    this.#self = self === undefined ? undefined : this.#world.member(self);
  }

  #boot(): void {
    this.#engine = new TendermintEngine({ chainId: CHAIN_ID, self: this.#self?.address, parameters: PARAMETERS });
    this.#input({ kind: "start", height: this.#height, validators: this.#world.set, parent: undefined, atMs: this.#nowMs });
  }

  #propose(proposer: string, label: string, options: ReadonlyMap<string, string>): void {
    const block = this.#block(label);
    const unsigned = {
      height: this.#height,
      round: Number(options.get("round") ?? 0),
      blockHash: block.hash,
      validRound: Number(options.get("valid-round") ?? -1),
      validator: this.#world.member(proposer).address,
    };
    const proposal: Proposal = { ...unsigned, signature: this.#signature({ kind: "proposal", proposal: unsigned }, options) };
    this.#receive(proposer, { kind: "proposal", proposal, block });
  }

  #vote(step: VoteStep, voters: readonly string[], label: string, options: ReadonlyMap<string, string>): void {
    for (const voter of voters) {
      const unsigned = {
        step,
        height: heightOf(BigInt(options.get("height") ?? this.#height)),
        round: Number(options.get("round") ?? 0),
        blockHash: label === "nil" ? undefined : this.#block(label).hash,
        validator: this.#world.member(voter).address,
      };
      const vote: Vote = { ...unsigned, signature: this.#signature({ kind: "vote", vote: unsigned }, options) };
      this.#receive(voter, { kind: "vote", vote });
    }
  }

  #signature(what: Unsigned, options: ReadonlyMap<string, string>): Uint8Array {
    const signature = this.#world.sign(what);
    return options.get("forged") === "yes" ? signature.toReversed() : signature;
  }

  /** Everything goes over the wire: what cannot be encoded and parsed back cannot be received. */
  #receive(from: string, message: ConsensusMessage): void {
    const parsed = parseMessage(encodeMessage(message));
    assert(parsed.ok, "our own encoding parses");
    this.#input({ kind: "message", from, message: parsed.value, atMs: this.#nowMs });
  }

  #release(held: Held): void {
    const effects = present(this.#held.get(held), `held ${held}`);
    this.#held.delete(held);
    for (const effect of effects) this.#answer(effect);
  }

  /** Power is cut: the engine, what waits to be sent and every record that is not durable are gone; or the whole log. */
  #crash(isLogLost: boolean): void {
    this.#engine = undefined;
    this.#outbox = [];
    const lost = isLogLost ? this.#log.length : this.#log.filter(({ sequence }) => sequence > this.#durable).length;
    this.#log = this.#log.slice(0, this.#log.length - lost);
    this.#held.clear();
    this.#lines.push(`lost ${lost} of ${this.#log.length + lost} records`);
  }

  #restart(): void {
    const records = this.#log.map(({ record }) => record);
    this.#log = [];
    this.#durable = 0;
    this.#boot();
    this.#log = records.map((record) => ({ record, sequence: 0 }));
    for (const record of records) this.#input({ kind: "restore", record, atMs: this.#nowMs });
  }

  // ---- the driver's part

  #running(): TendermintEngine {
    return present(this.#engine, "running engine");
  }

  /** Answers wait until all effects of the step that asked for them are done. */
  #input(input: Input<ConsensusMessage>): void {
    this.#inputs.push(input);
    if (this.#inputs.length > 1) return;
    for (let next = this.#inputs[0]; next !== undefined; next = this.#inputs[0]) {
      for (const effect of this.#running().step(next)) this.#do(effect);
      this.#inputs.shift();
    }
  }

  #do(effect: Fx): void {
    this.#print(effect);
    if (effect.kind === "persist") this.#log.push({ record: effect.record, sequence: effect.sequence });
    const held = this.#held.get(effect.kind as Held);
    if (held === undefined) this.#answer(effect);
    else held.push(effect);
  }

  #answer(effect: Fx): void {
    const atMs = this.#nowMs;
    switch (effect.kind) {
      case "persist":
        this.#durable = effect.sequence;
        this.#input({ kind: "persisted", sequence: effect.sequence, atMs });
        this.#flush();
        return;
      case "sign":
        this.#input({ kind: "signed", id: effect.id, signature: this.#sign(effect.what), atMs });
        return;
      case "verify": {
        const { message } = effect;
        const valid = message.kind === "vote" ? this.#world.isVote(message.vote) : this.#world.isProposal(message.proposal);
        this.#input({ kind: "verified", id: effect.id, valid, atMs });
        return;
      }
      case "judge":
        this.#input({ kind: "judged", blockHash: effect.blockHash, valid: judge(effect.block, undefined), atMs });
        return;
      case "send":
        this.#outbox.push(effect);
        this.#flush();
        return;
      case "build":
      case "timer":
      case "head":
      case "final":
      case "evidence":
      case "search":
      case "rest":
        return;
      default:
        return unreachable(effect);
    }
  }

  /** The guard of the stage: one word for each height, round and step, whatever happens to the engine. */
  #sign(what: Unsigned): Uint8Array | undefined {
    assert(what.kind !== "statement", "Tendermint signs nothing but votes and proposals");
    const slot = what.kind === "vote" ? `${what.vote.step} ${what.vote.round}` : `proposal ${what.proposal.round}`;
    const signature = this.#world.sign(what);
    const given = this.#guard.get(slot);
    if (given !== undefined && !bytesEqual(given, signature)) {
      this.#lines.push("guard refuses: it has signed another word here");
      return undefined;
    }
    this.#guard.set(slot, signature);
    return signature;
  }

  #flush(): void {
    const ready = this.#outbox.filter(({ after }) => after === undefined || after <= this.#durable);
    this.#outbox = this.#outbox.filter(({ after }) => after !== undefined && after > this.#durable);
    for (const { message } of ready) this.#lines.push(`send ${this.#told(message)}`);
  }

  // ---- words

  #block(label: string): Block {
    const known = this.#blocks.get(label);
    if (known !== undefined) return known;
    const proposer = present(this.#world.members[0], "member").address;
    const block = testBlock({ height: this.#height, label, proposer, isInvalid: label.startsWith("Bad") });
    this.#blocks.set(label, block);
    return block;
  }

  #labelOf(value: string): string {
    for (const [label, block] of this.#blocks) if (valueOf(block.hash) === value) return label;
    return value === "" ? "nil" : "unknown";
  }

  #told(message: ConsensusMessage): string {
    return message.kind === "vote" ? this.#toldVote(message.vote) : this.#toldProposal(message.proposal);
  }

  #toldVote({ step, round, blockHash, validator }: Omit<Vote, "signature">): string {
    return `${step} ${this.#labelOf(valueOf(blockHash))} of ${this.#world.nameOf(validator)}, round ${round}`;
  }

  #toldProposal({ round, blockHash, validRound, validator }: Omit<Proposal, "signature">): string {
    const proof = validRound < 0 ? "" : `, proved by round ${validRound}`;
    return `proposal ${this.#labelOf(valueOf(blockHash))} of ${this.#world.nameOf(validator)}, round ${round}${proof}`;
  }

  #print(effect: Fx): void {
    switch (effect.kind) {
      case "persist":
        this.#lines.push(`record ${this.#toldRecord(effect.record)}`);
        return;
      case "sign":
        assert(effect.what.kind !== "statement", "Tendermint signs nothing but votes and proposals");
        this.#lines.push(
          `sign ${effect.what.kind === "vote" ? this.#toldVote(effect.what.vote) : this.#toldProposal(effect.what.proposal)}`,
        );
        return;
      case "judge":
        this.#lines.push(
          `judge ${this.#labelOf(valueOf(effect.blockHash))}: ${judge(effect.block, undefined) ? "valid" : "invalid"}`,
        );
        return;
      case "build":
        this.#lines.push(`build for round ${effect.round}`);
        return;
      case "timer":
        this.#lines.push(`timer at ${effect.atMs} ms`);
        return;
      case "final": {
        const why = this.#world.whyNot(effect.certificate);
        const certificate = quorumOf(effect.certificate);
        const names = certificate.signatures.map(({ validator }) => this.#world.nameOf(validator));
        this.#lines.push(
          `final ${this.#labelOf(valueOf(effect.block.hash))}, round ${certificate.round}, signed by ${names.join(" ")}`,
        );
        if (why !== undefined) this.#lines.push(`THE CERTIFICATE IS WRONG: ${why}`);
        return;
      }
      case "evidence":
        this.#lines.push(
          `evidence ${effect.evidence.kind} by ${this.#world.nameOf(effect.evidence.first.validator)}, round ${effect.evidence.first.round}`,
        );
        return;
      case "send":
      case "verify":
      case "head":
      case "search":
      case "rest":
        return;
      default:
        return unreachable(effect);
    }
  }

  #toldRecord(bytes: Uint8Array): string {
    const record = parseRecord(bytes);
    assert(record.ok, "our own record parses");
    switch (record.value.kind) {
      case "round":
        return `round ${record.value.round}`;
      case "proposal":
        return this.#toldProposal(record.value.message.proposal);
      case "polka": {
        const [first] = record.value.votes;
        const { round, blockHash } = present(first, "vote");
        return `polka for ${this.#labelOf(valueOf(blockHash))}, round ${round}: ${record.value.votes
          .map(({ validator }) => this.#world.nameOf(validator))
          .toSorted()
          .join(" ")}`;
      }
      case "promise": {
        const { step, round, blockHash } = record.value;
        return `promise to ${step} ${this.#labelOf(valueOf(blockHash))}, round ${round}`;
      }
      case "vote":
        return this.#toldVote(record.value.vote);
      default:
        return unreachable(record.value);
    }
  }

  #showState(): void {
    const status = this.#engine?.status();
    if (status === undefined) return;
    const pins = [`locked ${status.lockedRound}`, `valid ${status.validRound}`].filter((pin) => !pin.endsWith("-1"));
    const shown = [`round ${status.round} ${status.step}`, ...pins].join(", ");
    if (shown !== this.#shown) this.#lines.push(`= ${shown}`);
    this.#shown = shown;
  }
}
