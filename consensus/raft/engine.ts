/**
 * Raft as an engine: a replicated log of blocks, and the signatures that prove to strangers what it decided.
 *
 * `member.ts` runs the core and says what must be durable; this file speaks, signs, builds and decides. The design and the argument
 * for its safety are in `../decisions/0004-raft-over-blocks.md`; each of its rules stands in one place:
 *
 * - what a validator signs: `isBinding`; in which terms: `#vote`
 * - what is decided: a majority of votes of one term, `Ballots.certificate`
 * - when a leader proposes: `Member.isSettledLeader`, then `#lead`: first the validator set, then a block
 * - what is durable before it shows, and how ledger and log meet: `member.ts`
 *
 * It is continuous: one engine for the life of the process, one log for all heights.
 */

import { assert, present, unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual, EMPTY, readU64 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { type Block, encodeBlock } from "../../chain/block/block.ts";
import { GENESIS_HEIGHT, type Height, heightOf } from "../../chain/block/height.ts";
import type { RaftProtocol } from "../../chain/block/protocol.ts";
import { findValidator, type ValidatorSet, validatorsHash } from "../../chain/block/validators.ts";
import type { Vote } from "../../chain/block/vote.ts";
import type { Effect, Engine, EngineStatus, Input, Unsigned } from "../engine.ts";
import { Ballots } from "./ballots.ts";
import { decodeChange } from "./change-codec.ts";
import { confStateOf } from "./configuration.ts";
import type { RaftStatus } from "./core.ts";
import { OVERHEARD_BLOCKS_MAX, PENDING_BLOCKS_MAX, PENDING_MAX, PENDING_PER_PEER_MAX, SIGNING_MAX } from "./limits.ts";
import { Member, type MemberOutput } from "./member.ts";
import { blockOf, groupNotes, noteSigningBytes, raftIdOf, type RaftWireMessage, type UnsignedNote } from "./message.ts";
import { Journal, type Mark, parseRecord } from "./record.ts";
import type { ChangeStep, Entry, EntryId, RaftMessage } from "./types.ts";

/** What an engine is made with. */
export type RaftOptions = {
  readonly chainId: string;
  /** Whose key signs; `undefined` for an observer. */
  readonly self: Address | undefined;
  readonly protocol: RaftProtocol;
  /** What it may have said, as is remembered apart from its log; absent where nobody remembers. */
  readonly spoken?: Spoken;
};

/** What a node remembers apart from its log, so as to know when that is gone. */
export type Spoken = {
  /** The latest term that it may have spoken in; 0 for none. */
  readonly term: bigint;
  /** The newest vote that it signed: a height, 0 for none, and a term. */
  readonly signed: { readonly height: Height; readonly round: number };
};

const UNSPOKEN: Spoken = { term: 0n, signed: { height: GENESIS_HEIGHT, round: 0 } };

/** What is asked to be signed. */
type Speech =
  | { readonly kind: "vote"; readonly vote: Omit<Vote, "signature"> }
  | { readonly kind: "note"; readonly unsigned: UnsignedNote; readonly after: number };

/** The height under way. */
type Instance = {
  readonly height: Height;
  readonly validators: ValidatorSet;
  /** Whether the same set decided the height before. */
  readonly isSetOfBefore: boolean;
  readonly ballots: Ballots;
  /** The latest term that our vote was asked for in. */
  votedTerm: bigint;
  /** Our latest vote, for those who missed it. */
  vote: Vote | undefined;
  /** The term in which a block was asked for. */
  builtTerm: bigint | undefined;
  isDecided: boolean;
};

type Pending = { readonly from: string; readonly message: RaftWireMessage };

/** Where every log of a network begins: an entry that nobody has, at which the first validators are the configuration. */
const BOOTSTRAP = { term: 1n, index: 1n } as const;

/** No log has as many entries a height: one for the block, and a few for each term and each change of the set. */
const FOUNDER_INDEX_STEP = 1n << 20n;

/**
 * Whether a signature in `term` may say that this entry's block is decided (decision 0004): the entry is of this very term, so that a
 * majority that holds it commits it; or it is known to be committed. An entry of an earlier term that is merely stored is neither,
 * however many hold it (dissertation 3.6.2, figure 3.7).
 */
export function isBinding(entry: EntryId, { term, commit }: { readonly term: bigint; readonly commit: bigint }): boolean {
  return entry.term === term || entry.index <= commit;
}

/** See the file's head. */
export class RaftEngine implements Engine<RaftWireMessage> {
  readonly name = "raft";
  readonly #chainId: string;
  readonly #self: Address | undefined;
  readonly #protocol: RaftProtocol;
  readonly #spoken: Spoken;
  #effects: Effect<RaftWireMessage>[] = [];
  #instance: Instance | undefined;
  /** What the records of the last life add up to, until the member is made of it. */
  #restored: Journal | undefined;
  #isRestoring = true;
  #member: Member | undefined;
  #takesPart = false;
  #nextTickAtMs = 0;
  #ticks = 0;
  #id = 0;
  readonly #speeches = new Map<number, Speech>();
  readonly #pending = new Map<number, Pending>();
  /** Blocks that somebody who is sent no log has overheard, oldest first. */
  #overheard: readonly Block[] = [];

  constructor({ chainId, self, protocol, spoken = UNSPOKEN }: RaftOptions) {
    this.#spoken = spoken;
    this.#chainId = chainId;
    this.#self = self;
    this.#protocol = protocol;
  }

  step(input: Input<RaftWireMessage>): readonly Effect<RaftWireMessage>[] {
    if (input.kind !== "restore" && this.#instance !== undefined) this.#begin();
    this.#take(input);
    this.#settle();
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  status(): EngineStatus | undefined {
    const instance = this.#instance;
    if (instance === undefined) return undefined;
    const { height } = instance;
    if (this.#member === undefined || !this.#takesPart) return { height, round: 0, step: "observer" };
    return { height, round: Number(this.#member.status.hardState.term), step: this.#member.role };
  }

  messages(): readonly RaftWireMessage[] {
    return this.#instance?.ballots.all().map((vote) => ({ kind: "vote", vote })) ?? [];
  }

  /**
   * Asks that another validator lead, for maintenance of the one that does. It comes to nothing when that one is behind or gone.
   * What follows from it is said with the next input.
   */
  transferLeader(to: Address): void {
    if (this.#takesPart) this.#member?.transferLeader(raftIdOf(to));
  }

  // ---- inputs

  #take(input: Input<RaftWireMessage>): void {
    switch (input.kind) {
      case "start":
        this.#start(input);
        return;
      case "restore":
        this.#restore(input.record);
        return;
      case "tick":
        this.#tick(input.atMs);
        return;
      case "message":
        this.#hear(input.from, input.message);
        return;
      case "verified":
        this.#verified(input.id, input.valid);
        return;
      case "signed":
        this.#signed(input.id, input.signature);
        return;
      case "propose":
        this.#propose(input);
        return;
      case "persisted":
        this.#member?.persisted(input.sequence);
        return;
      case "judged":
      case "found":
        return; // Never asked for: the leader's own chain has judged what it proposes, and nobody else may lie.
      default:
        unreachable(input);
    }
  }

  #start({ height, validators, parent, atMs }: Input<RaftWireMessage> & { readonly kind: "start" }): void {
    const ids = new Set(validators.validators.map(({ address }) => raftIdOf(address)));
    assert(ids.size === validators.validators.length && !ids.has(0n), "two validators have one id");
    const before = this.#instance;
    this.#instance = {
      height,
      validators,
      isSetOfBefore: parent !== undefined && bytesEqual(parent.validatorsHash, validatorsHash(validators)),
      ballots: new Ballots(validators),
      votedTerm: 0n,
      vote: undefined,
      builtTerm: undefined,
      isDecided: false,
    };
    this.#overheard = this.#overheard.filter(({ header }) => header.height >= height);
    if (before === undefined) this.#schedule(atMs);
    // Whoever left the set is needed until the others have agreed that it has left, which they do before the next block.
    this.#takesPart = this.#isIn(validators) || (before !== undefined && this.#isIn(before.validators));
    if (this.#takesPart) this.#member?.ledgerAt(height);
  }

  /** All is restored. Who votes in a configuration that was recorded, or would in one that follows, may be needed, though it has left the set. */
  #begin(): void {
    if (!this.#isRestoring) return;
    this.#isRestoring = false;
    if (this.#self !== undefined && this.#restored !== undefined && mayVoteIn(this.#restored, this.#ownId))
      this.#takesPart = true;
  }

  #restore(bytes: Uint8Array): void {
    assert(this.#isRestoring && this.#instance !== undefined, "records come after the first start and before anything else");
    const record = parseRecord(bytes);
    const restored = record.ok ? Journal.after(this.#restored, record.value) : undefined;
    if (restored === undefined) throw new CodedError("wal_record_invalid", { reason: record.ok ? "order" : record.error.code });
    this.#restored = restored;
  }

  #tick(atMs: number): void {
    if (this.#instance === undefined || atMs < this.#nextTickAtMs) return;
    this.#schedule(atMs);
    if (!this.#takesPart) return;
    this.#ticks += 1;
    this.#member?.tick();
    if (this.#ticks % this.#protocol.electionTicks === 0) this.#repeat(this.#instance);
  }

  #propose({ height, round, block }: Input<RaftWireMessage> & { readonly kind: "propose" }): void {
    const instance = this.#instance;
    const member = this.#member;
    if (instance === undefined || member === undefined) return;
    if (height !== instance.height || instance.builtTerm !== BigInt(round) || block.header.height !== height) return;
    // What cannot be proposed now (leadership is being handed over, which may come to nothing) is asked for again.
    if (!this.#mayPropose(member) || !member.propose(encodeBlock(block))) instance.builtTerm = undefined;
  }

  // ---- hearing

  #hear(from: string, message: RaftWireMessage): void {
    if (!this.#concernsUs(message) || !this.#hasRoom(from, message)) return;
    this.#id += 1;
    this.#pending.set(this.#id, { from, message });
    this.#effects.push({ kind: "verify", id: this.#id, message });
  }

  #concernsUs(message: RaftWireMessage): boolean {
    const instance = this.#instance;
    if (instance === undefined) return false;
    if (message.kind === "vote") {
      const { vote } = message;
      return vote.height === instance.height && !instance.isDecided && instance.ballots.wants(vote);
    }
    if (this.#self !== undefined && bytesEqual(message.from, this.#self)) return false;
    return this.#takesPart ? message.to.includes(this.#ownId) : hasBlock(message);
  }

  #hasRoom(from: string, message: RaftWireMessage): boolean {
    const pending = [...this.#pending.values()];
    if (pending.length >= PENDING_MAX) return false;
    if (pending.filter((each) => each.from === from).length >= PENDING_PER_PEER_MAX) return false;
    return !hasBlock(message) || pending.filter((each) => hasBlock(each.message)).length < PENDING_BLOCKS_MAX;
  }

  #verified(id: number, valid: boolean): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (pending === undefined || !valid || !this.#concernsUs(pending.message)) return;
    const { message } = pending;
    if (message.kind === "vote") this.#instance?.ballots.add(message.vote);
    else if (this.#takesPart)
      this.#member?.step({ ...message.note, from: raftIdOf(message.from), to: this.#ownId } as RaftMessage);
    else this.#overhear(message);
  }

  /** Who is sent no log may read what others are sent: it needs the blocks, and believes the certificate alone. */
  #overhear({ note }: RaftWireMessage & { readonly kind: "note" }): void {
    if (note.kind !== "append") return;
    const { height } = present(this.#instance, "instance");
    for (const entry of note.entries) {
      const block = blockOf(entry);
      if (block === undefined || block.header.height < height) continue;
      const others = this.#overheard.filter((known) => !bytesEqual(known.hash, block.hash));
      this.#overheard = [...others, block].slice(-OVERHEARD_BLOCKS_MAX);
    }
  }

  // ---- what follows

  /** After each input: the turns of the member, then whatever can be said, asked for or decided, until nothing changes. */
  #settle(): void {
    const instance = this.#instance;
    if (instance === undefined || this.#isRestoring) return;
    if (this.#takesPart) {
      const member = (this.#member ??= this.#newMember(instance));
      this.#perform(member.turn());
      this.#lead(instance, member);
      this.#perform(member.turn());
      this.#vote(instance, member);
    }
    this.#decide(instance);
  }

  #newMember(instance: Instance): Member {
    const { height } = instance;
    const restored = this.#restored;
    const journal = this.#journalOf(instance);
    const random = drawnFrom(this.#chainId, present(this.#self, "self"), journal.hardState.term);
    return new Member({
      id: this.#ownId,
      protocol: this.#protocol,
      random,
      journal,
      isNew: journal !== restored,
      height,
    });
  }

  /**
   * What it recorded, if that is all. Without records it is a founder at the network's first height if it has never spoken, and so is
   * whoever decides alone and decided alone before; anybody else cannot know what it may have promised before it lost its home, and nor
   * can one whose records say less than it has said. Who is to decide alone from now on gets the log of those who decided until now.
   */
  #journalOf({ validators, height, isSetOfBefore }: Instance): Journal {
    const restored = this.#restored;
    const spoken = this.#spoken;
    const spokenTerm = latestTerm(spoken);
    if (restored !== undefined && isAllOf(restored, spoken)) return restored;
    const isFirst = height === GENESIS_HEIGHT + 1n;
    const isAlone = validators.validators.length === 1 && (isFirst || isSetOfBefore);
    const isFounder = isAlone || (isFirst && spokenTerm === 0n);
    const founder = restored === undefined && isFounder ? founderJournal(validators, heightOf(height - 1n)) : restored;
    if (spokenTerm === 0n) return founder ?? Journal.blank();
    const journal = Journal.afterLoss(founder, spokenTerm);
    return isAlone ? journal.trusted() : journal;
  }

  #perform(outputs: readonly MemberOutput[]): void {
    for (const output of outputs) {
      if (output.kind === "messages") this.#say(output.messages, output.after);
      else {
        const { sequence, record, term } = output;
        const effect = { kind: "persist", sequence, record, term } as const;
        this.#effects.push(output.replaces ? { ...effect, replaces: true } : effect);
      }
    }
  }

  #mayPropose(member: Member): boolean {
    return this.#takesPart && member.isSettledLeader;
  }

  /** A settled leader brings the configuration to the set of this height first, and then asks for its block. */
  #lead(instance: Instance, member: Member): void {
    if (!this.#mayPropose(member)) return;
    const { status } = member;
    const { hardState } = status;
    const steps = nextChange(instance.validators, status);
    if (steps === undefined) return;
    if (steps.length > 0) {
      member.proposeChange({ transition: "auto", steps, context: EMPTY });
      return;
    }
    if (instance.isDecided || instance.builtTerm === hardState.term) return;
    instance.builtTerm = hardState.term;
    this.#effects.push({ kind: "build", height: instance.height, round: Number(hardState.term) });
  }

  /** Signs once a term, in a term that is durable, for a durable entry that this signature may bind to. */
  #vote(instance: Instance, member: Member): void {
    const { height, validators } = instance;
    if (instance.isDecided || !this.#isIn(validators)) return;
    const entry = member.blockEntry(height);
    if (entry === undefined) return;
    const { term, commit } = member.status.hardState;
    if (member.durableTerm !== term || instance.votedTerm >= term || !isBinding(entry, { term, commit })) return;
    instance.votedTerm = term;
    const { hash: blockHash } = present(blockOf(entry), "block");
    const validator = present(this.#self, "self");
    const vote = { step: "precommit", height, round: Number(term), blockHash, validator } as const;
    this.#sign({ kind: "vote", vote }, { kind: "vote", vote });
  }

  #decide(instance: Instance): void {
    if (instance.isDecided) return;
    const certificate = instance.ballots.certificate();
    if (certificate === undefined) return;
    const block = this.#blocks().find((candidate) => bytesEqual(candidate.hash, certificate.blockHash));
    if (block === undefined) return; // Block sync will bring it.
    instance.isDecided = true;
    this.#effects.push({ kind: "final", block, height: instance.height, certificate });
  }

  #blocks(): readonly Block[] {
    return [...(this.#member?.entries ?? []).flatMap((entry) => blockOf(entry) ?? []), ...this.#overheard];
  }

  // ---- speaking

  #say(messages: readonly RaftMessage[], after: number): void {
    const from = present(this.#self, "self");
    for (const { to, note } of groupNotes(messages)) {
      const unsigned = { from, to, number: this.#id + 1, note };
      const bytes = noteSigningBytes(this.#chainId, unsigned);
      this.#sign({ kind: "note", unsigned, after }, { kind: "statement", validator: from, bytes });
    }
  }

  #sign(speech: Speech, what: Unsigned): void {
    if (speech.kind === "note" && this.#speeches.size >= SIGNING_MAX) return;
    this.#id += 1;
    this.#speeches.set(this.#id, speech);
    this.#effects.push({ kind: "sign", id: this.#id, what });
  }

  #signed(id: number, signature: Uint8Array | undefined): void {
    const speech = this.#speeches.get(id);
    this.#speeches.delete(id);
    if (speech === undefined || signature === undefined) return;
    if (speech.kind === "note") {
      const after = speech.after === 0 ? undefined : speech.after;
      this.#effects.push({ kind: "send", to: "all", message: { kind: "note", ...speech.unsigned, signature }, after });
      return;
    }
    const vote = { ...speech.vote, signature };
    const instance = this.#instance;
    if (instance?.height !== vote.height) return; // Decided without it.
    instance.vote = vote;
    instance.ballots.add(vote);
    this.#effects.push({ kind: "send", to: "all", message: { kind: "vote", vote }, after: undefined });
  }

  /** The height still stands: our vote may have been lost. */
  #repeat({ vote, isDecided }: Instance): void {
    if (vote !== undefined && !isDecided)
      this.#effects.push({ kind: "send", to: "all", message: { kind: "vote", vote }, after: undefined });
  }

  #schedule(atMs: number): void {
    this.#nextTickAtMs = atMs + this.#protocol.tickMs;
    this.#effects.push({ kind: "timer", atMs: this.#nextTickAtMs });
  }

  #isIn(validators: ValidatorSet): boolean {
    return this.#self !== undefined && findValidator(validators, this.#self) !== undefined;
  }

  get #ownId(): bigint {
    return raftIdOf(present(this.#self, "self"));
  }
}

function hasBlock(message: RaftWireMessage): boolean {
  return (
    message.kind === "note" &&
    message.note.kind === "append" &&
    message.note.entries.some((entry) => blockOf(entry) !== undefined)
  );
}

/**
 * Whether records say no less than was said. What was signed was in the log, and is there still or in the ledger, unless a later
 * leader overwrote it: then the log ends in a later term.
 */
function isAllOf({ hardState, mark, entries, lastTerm, lost }: Journal, spoken: Spoken): boolean {
  const { signed } = spoken;
  if (hardState.term < latestTerm(spoken)) return false;
  if (mark.height >= signed.height || lastTerm > BigInt(signed.round)) return true;
  if (lost !== undefined && lastTerm <= lost) return true; // Known to be gone already.
  return entries.some((entry) => (blockOf(entry)?.header.height ?? GENESIS_HEIGHT) >= signed.height);
}

/** Whether it votes where the log begins, or an entry makes it a voter. */
function mayVoteIn({ mark: { configuration }, entries }: Journal, id: bigint): boolean {
  const { voters, votersOutgoing } = configuration;
  return voters.includes(id) || votersOutgoing.includes(id) || entries.some((entry) => makesVoter(entry, id));
}

function makesVoter({ kind, data }: Entry, id: bigint): boolean {
  const change = kind === "change" ? decodeChange(data) : undefined;
  return change?.ok === true && change.value.steps.some((step) => step.kind === "voter" && step.node === id);
}

/** Others may have told us of a vote of ours that was signed later than we remember having spoken. */
function latestTerm({ term, signed }: Spoken): bigint {
  const round = BigInt(signed.round);
  return term > round ? term : round;
}

/**
 * A log that begins at a height, where all founders begin alike. Who decides alone at a later height may have no record of the log
 * that came to it: its own begins beyond every index of that, so that no index and term ever name two entries.
 */
function founderJournal(validators: ValidatorSet, height: Height): Journal {
  const configuration = confStateOf(validators.validators.map(({ address }) => raftIdOf(address)));
  const index = BOOTSTRAP.index + height * FOUNDER_INDEX_STEP;
  const mark: Mark = { term: BOOTSTRAP.term, index, configuration, height };
  return new Journal({ hardState: { term: BOOTSTRAP.term, vote: 0n, commit: index }, mark, entries: [] });
}

/**
 * What a settled leader changes next so that the validators of a set, and nobody else, vote: newcomers listen first, and vote once a
 * majority of the set holds the log (dissertation 4.2.1). A newcomer votes for nobody before that, so a set in which too many were new
 * would have no leader and never get one.
 *
 * @returns nothing when all is as it should be, `undefined` to wait
 */
function nextChange(
  validators: ValidatorSet,
  { configuration: { voters, learners }, progress, lastIndex }: RaftStatus,
): readonly ChangeStep[] | undefined {
  const wanted = validators.validators.map(({ address }) => raftIdOf(address));
  const strangers = wanted.filter((id) => !voters.includes(id) && !learners.includes(id));
  if (strangers.length > 0) return strangers.map((node) => ({ kind: "learner", node }));
  const added = wanted.filter((id) => !voters.includes(id)).map((node): ChangeStep => ({ kind: "voter", node }));
  const removed = [...voters, ...learners].filter((id) => !wanted.includes(id));
  const steps = [...added, ...removed.map((node): ChangeStep => ({ kind: "remove", node }))];
  const informed = progress.filter(({ id, match }) => wanted.includes(id) && match === lastIndex);
  return steps.length === 0 || informed.length * 2 > wanted.length ? steps : undefined;
}

/**
 * Lots for election timeouts, from what tells this node and this life from others: equal inputs, equal lots.
 *
 * Source: Sebastiano Vigna, splitmix64, 2015 (public domain).
 */
function drawnFrom(chainId: string, self: Address, term: bigint): (bound: number) => number {
  const seed = hash("seed", new Writer().array(4).text("raft election").text(chainId).bytes(self).uint(term).finish());
  let state = readU64(seed);
  return (bound) => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let mixed = state;
    mixed = BigInt.asUintN(64, (mixed ^ (mixed >> 30n)) * 0xbf58476d1ce4e5b9n);
    mixed = BigInt.asUintN(64, (mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn);
    return Number((mixed ^ (mixed >> 31n)) % BigInt(bound));
  };
}
