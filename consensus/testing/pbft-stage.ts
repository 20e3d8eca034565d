/**
 * The stage for scripts about PBFT: one real engine, and the words of all other validators put in by hand.
 *
 * The stage answers as an honest driver: it checks every signature, asks the chain of `world.ts`, keeps the double-sign
 * guard and the write-ahead log, and prints what it was asked to do. `hold` makes it wait with an answer.
 */

import { assert, present, unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Block } from "../../chain/block/block.ts";
import { heightOf, type Height } from "../../chain/block/height.ts";
import { quorumOf } from "../../chain/block/testing/fixtures.ts";
import type { CertificateSignature, VoteStep } from "../../chain/block/vote.ts";
import type { Effect, Input, Unsigned } from "../engine.ts";
import { PBFT_CODEC } from "../pbft/codec.ts";
import { PbftEngine } from "../pbft/engine.ts";
import {
  encodeMessage,
  parseMessage,
  type PbftMessage,
  type PreparedClaim,
  preparesOf,
  type PreparedProof,
  type ViewChange,
} from "../pbft/message.ts";
import { parseRecord } from "../pbft/record.ts";
import { signedChange } from "./pbft-kind.ts";
import { parseCommand } from "./script.ts";
import { CHAIN_ID, judge, type Member, testBlock, World } from "./world.ts";

const PROTOCOL = { name: "pbft", viewTimeoutMs: 4000, viewTimeoutMsMax: 10_000 } as const;
const HEIGHT: Height = heightOf(1n);

type Fx = Effect<PbftMessage>;
type Held = "persist" | "judge" | "sign";
type Options = ReadonlyMap<string, string>;

/** Runs the commands of one script. */
export class PbftStage {
  #world = new World([1n, 1n, 1n, 1n]);
  #self: Member | undefined;
  #parent: string | undefined;
  #engine: PbftEngine | undefined;
  #nowMs = 0;
  #lines: string[] = [];
  readonly #blocks = new Map<string, Block>();
  readonly #held = new Map<Held, Fx[]>();
  readonly #guard = new Map<string, Uint8Array>();
  #log: { readonly record: Uint8Array; readonly sequence: number }[] = [];
  #durable = 0;
  #outbox: (Fx & { readonly kind: "send" })[] = [];
  readonly #inputs: Input<PbftMessage>[] = [];
  #shown = "";

  /** Runs one command and returns what it printed. */
  run(line: string): readonly string[] {
    const { verb, words, options } = parseCommand(line);
    this.#lines = [];
    switch (verb) {
      case "node":
      case "observer":
        this.#world = new World((options.get("powers") ?? "1,1,1,1").split(",").map(BigInt));
        this.#self = verb === "observer" ? undefined : this.#world.member(present(words[0], "validator"));
        this.#parent = options.get("after");
        break;
      case "start":
        this.#boot();
        break;
      case "pre-prepare":
        this.#prePrepare(present(words[0], "primary"), present(words[1], "block"), options);
        break;
      case "prepare":
        this.#vote("prevote", words, options);
        break;
      case "commit":
        this.#vote("precommit", words, options);
        break;
      case "view-change":
        for (const voter of words) this.#viewChange(voter, options);
        break;
      case "new-view":
        this.#newView(present(words[0], "primary"), present(words[1], "block"), options);
        break;
      case "built": {
        const round = present(this.#running().status(), "status").round;
        const block = this.#block(present(words[0], "block"));
        this.#input({ kind: "propose", height: HEIGHT, round, block, atMs: this.#nowMs });
        break;
      }
      case "pass":
        this.#nowMs += Number(words[0]);
        this.#input({ kind: "tick", atMs: this.#nowMs });
        break;
      case "hold":
        this.#held.set(words[0] as Held, []);
        break;
      case "release": {
        const effects = present(this.#held.get(words[0] as Held), "held effects");
        this.#held.delete(words[0] as Held);
        for (const effect of effects) this.#answer(effect);
        break;
      }
      case "crash":
        this.#crash();
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

  #boot(): void {
    this.#engine = new PbftEngine({ chainId: CHAIN_ID, self: this.#self?.address, protocol: PROTOCOL });
    // Only who proposed it matters of the block before.
    const parent =
      this.#parent === undefined
        ? undefined
        : testBlock({ height: HEIGHT, label: "parent", proposer: this.#world.member(this.#parent).address }).header;
    this.#input({ kind: "start", height: HEIGHT, validators: this.#world.set, parent, atMs: this.#nowMs });
  }

  #prePrepare(primary: string, label: string, options: Options): void {
    const block = this.#block(label);
    const round = Number(options.get("view") ?? 0);
    const proposal = { height: HEIGHT, round, blockHash: block.hash, validRound: -1, validator: this.#addressOf(primary) };
    const signature = this.#signature({ kind: "proposal", proposal }, options);
    this.#receive(primary, { kind: "prePrepare", proposal: { ...proposal, signature }, block });
  }

  #vote(step: VoteStep, words: readonly string[], options: Options): void {
    const label = present(words.at(-1), "block");
    for (const voter of words.slice(0, -1)) {
      const round = Number(options.get("view") ?? 0);
      const vote = { step, height: HEIGHT, round, blockHash: this.#block(label).hash, validator: this.#addressOf(voter) };
      this.#receive(voter, { kind: "vote", vote: { ...vote, signature: this.#signature({ kind: "vote", vote }, options) } });
    }
  }

  #viewChange(voter: string, options: Options): void {
    const prepared = this.#claim(options.get("prepared"));
    const viewChange = this.#change(voter, Number(options.get("view")), prepared);
    const proof: PreparedProof | undefined =
      prepared === undefined
        ? undefined
        : { prepares: this.#prepares(prepared, options), block: this.#named(prepared.blockHash) };
    this.#receive(voter, { kind: "viewChange", viewChange, proof });
  }

  /** `from` are those whose view-changes it holds; `claims` what some of them claim: `v3:0:A/v4:1:B`. */
  #newView(primary: string, label: string, options: Options): void {
    const view = Number(options.get("view"));
    const claims = new Map((options.get("claims") ?? "").split("/").map((claim) => [claim.slice(0, claim.indexOf(":")), claim]));
    const viewChanges = listOf(options.get("from")).map((voter) => {
      const claim = claims.get(voter);
      return this.#change(voter, Number(options.get("wanted") ?? view), this.#claim(claim?.slice(claim.indexOf(":") + 1)));
    });
    const block = this.#block(label);
    const validRound = Number(options.get("carries") ?? -1);
    const proposal = { height: HEIGHT, round: view, blockHash: block.hash, validRound, validator: this.#addressOf(primary) };
    const signature = this.#signature({ kind: "proposal", proposal }, new Map());
    const prepares = validRound < 0 ? [] : this.#prepares({ view: validRound, blockHash: block.hash }, options);
    this.#receive(primary, { kind: "newView", proposal: { ...proposal, signature }, viewChanges, prepares, block });
  }

  #change(voter: string, view: number, prepared: PreparedClaim | undefined): ViewChange {
    return signedChange(this.#world, { height: HEIGHT, view, prepared, validator: this.#addressOf(voter) });
  }

  /** `0:A`: block A was prepared in view 0. */
  #claim(text: string | undefined): PreparedClaim | undefined {
    if (text === undefined) return undefined;
    const [view, label] = text.split(":");
    return { view: Number(view), blockHash: this.#block(present(label, "block")).hash };
  }

  /** Prepares of those in `by`. `forged`: none of them is signed. */
  #prepares(claim: PreparedClaim, options: Options): readonly CertificateSignature[] {
    const unsigned = listOf(options.get("by")).map((voter) => ({
      validator: this.#addressOf(voter),
      signature: new Uint8Array(0),
    }));
    return preparesOf(HEIGHT, claim, unsigned).map((vote) => ({
      validator: vote.validator,
      signature: this.#signature({ kind: "vote", vote }, options),
    }));
  }

  #signature(what: Unsigned, options: Options): Uint8Array {
    const signature = this.#world.sign(what);
    return options.get("forged") === "yes" ? signature.toReversed() : signature;
  }

  /** Everything goes over the wire: what cannot be encoded and parsed back cannot be received. */
  #receive(from: string, message: PbftMessage): void {
    const parsed = parseMessage(encodeMessage(message));
    assert(parsed.ok, "our own encoding parses");
    let isChecked = false;
    this.#input({ kind: "message", from, message: parsed.value, atMs: this.#nowMs }, (effect) => {
      isChecked ||= effect.kind === "verify";
    });
    if (!isChecked) this.#lines.push("not worth checking");
  }

  /** Power is cut: the engine, what waits to be sent and every record that is not durable are gone. */
  #crash(): void {
    this.#engine = undefined;
    this.#outbox = [];
    const kept = this.#log.filter(({ sequence }) => sequence <= this.#durable);
    this.#lines.push(`lost ${this.#log.length - kept.length} of ${this.#log.length} records`);
    this.#log = kept;
    this.#held.clear();
  }

  #restart(): void {
    const records = this.#log.map(({ record }) => record);
    this.#durable = 0;
    this.#log = records.map((record) => ({ record, sequence: 0 }));
    this.#boot();
    for (const record of records) this.#input({ kind: "restore", record, atMs: this.#nowMs });
    this.#input({ kind: "tick", atMs: this.#nowMs });
  }

  // ---- the driver's part

  #running(): PbftEngine {
    return present(this.#engine, "running engine");
  }

  /** Answers wait until all effects of the step that asked for them are done. */
  #input(input: Input<PbftMessage>, onEffect: (effect: Fx) => void = () => undefined): void {
    this.#inputs.push(input);
    if (this.#inputs.length > 1) return;
    for (let next = this.#inputs[0]; next !== undefined; next = this.#inputs[0]) {
      for (const effect of this.#running().step(next)) {
        onEffect(effect);
        this.#do(effect);
      }
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
        const valid = PBFT_CODEC.signedParts(CHAIN_ID, effect.message).every((part) => this.#world.isSigned(part));
        if (!valid) this.#lines.push("a signature is wrong");
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

  /** The guard of the stage: one word for each view and step, whatever happens to the engine. */
  #sign(what: Unsigned): Uint8Array | undefined {
    const signature = this.#world.sign(what);
    if (what.kind === "statement") return signature;
    const slot = what.kind === "vote" ? `${what.vote.step} ${what.vote.round}` : `proposal ${what.proposal.round}`;
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

  #addressOf(name: string): Member["address"] {
    return this.#world.member(name).address;
  }

  #block(label: string): Block {
    const known = this.#blocks.get(label);
    if (known !== undefined) return known;
    const proposer = present(this.#world.members[0], "member").address;
    const block = testBlock({ height: HEIGHT, label, proposer, isInvalid: label.startsWith("Bad") });
    this.#blocks.set(label, block);
    return block;
  }

  #named(blockHash: Hash): Block {
    return this.#block(this.#labelOf(blockHash));
  }

  #labelOf(blockHash: Hash | undefined): string {
    for (const [label, block] of this.#blocks) if (blockHash !== undefined && bytesEqual(block.hash, blockHash)) return label;
    return "unknown";
  }

  #namesOf(signed: readonly { readonly validator: Member["address"] }[]): string {
    return signed.map(({ validator }) => this.#world.nameOf(validator)).join(" ");
  }

  #told(message: PbftMessage): string {
    switch (message.kind) {
      case "vote": {
        const { step, round, blockHash, validator } = message.vote;
        return `${step === "prevote" ? "prepare" : "commit"} ${this.#labelOf(blockHash)} of ${this.#world.nameOf(validator)}, view ${round}`;
      }
      case "prePrepare":
        return `pre-prepare ${this.#labelOf(message.block.hash)} of ${this.#world.nameOf(message.proposal.validator)}`;
      case "viewChange": {
        const { view, prepared, validator } = message.viewChange;
        const claim =
          prepared === undefined
            ? ""
            : `, ${this.#labelOf(prepared.blockHash)} prepared in view ${prepared.view} by ${this.#namesOf(message.proof?.prepares ?? [])}`;
        return `view-change of ${this.#world.nameOf(validator)} to view ${view}${claim}`;
      }
      case "newView": {
        const { round, validRound, validator } = message.proposal;
        const carried = validRound < 0 ? "" : `, prepared in view ${validRound}`;
        const from = this.#namesOf(message.viewChanges);
        return `new-view ${round} of ${this.#world.nameOf(validator)}: ${this.#labelOf(message.block.hash)}${carried}, from ${from}`;
      }
      default:
        return unreachable(message);
    }
  }

  #toldUnsigned(what: Unsigned): string {
    switch (what.kind) {
      case "vote":
        return this.#told({ kind: "vote", vote: { ...what.vote, signature: new Uint8Array(0) } });
      case "proposal":
        return `pre-prepare ${this.#labelOf(what.proposal.blockHash)}, view ${what.proposal.round}`;
      case "statement":
        return "view-change";
      default:
        return unreachable(what);
    }
  }

  #print(effect: Fx): void {
    switch (effect.kind) {
      case "persist":
        this.#lines.push(`record ${this.#toldRecord(effect.record)}`);
        return;
      case "sign":
        this.#lines.push(`sign ${this.#toldUnsigned(effect.what)}`);
        return;
      case "judge": {
        const verdict = judge(effect.block, undefined) ? "valid" : "invalid";
        this.#lines.push(`judge ${this.#labelOf(effect.blockHash)}: ${verdict}`);
        return;
      }
      case "build":
        this.#lines.push(`build for view ${effect.round}`);
        return;
      case "timer":
        this.#lines.push(`timer at ${effect.atMs} ms`);
        return;
      case "final": {
        const why = this.#world.whyNot(effect.certificate);
        const certificate = quorumOf(effect.certificate);
        const names = this.#namesOf(certificate.signatures);
        this.#lines.push(`final ${this.#labelOf(effect.block.hash)}, view ${certificate.round}, signed by ${names}`);
        if (why !== undefined) this.#lines.push(`THE CERTIFICATE IS WRONG: ${why}`);
        return;
      }
      case "evidence": {
        const { kind, first } = effect.evidence;
        this.#lines.push(`evidence ${kind} by ${this.#world.nameOf(first.validator)}, view ${first.round}`);
        return;
      }
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
    const { value } = record;
    switch (value.kind) {
      case "change":
        return `change to view ${value.view}`;
      case "lead":
        return this.#told(value.message);
      case "prepare":
        return `about to prepare ${this.#labelOf(value.blockHash)}, view ${value.view}`;
      case "block":
        return `block ${this.#labelOf(value.block.hash)}`;
      case "prepared":
        return `prepared ${this.#labelOf(value.blockHash)}, view ${value.view}, by ${this.#namesOf(value.prepares)}`;
      case "vote":
        return this.#told({ kind: "vote", vote: value.vote });
      default:
        return unreachable(value);
    }
  }

  #showState(): void {
    const status = this.#engine?.status();
    if (status === undefined) return;
    const prepared = status.preparedView < 0 ? "" : `, prepared in ${status.preparedView}`;
    const shown = `view ${status.round} ${status.step}${prepared}`;
    if (shown !== this.#shown) this.#lines.push(`= ${shown}`);
    this.#shown = shown;
  }
}

function listOf(names: string | undefined): readonly string[] {
  return (names ?? "").split(",").filter((name) => name !== "");
}
