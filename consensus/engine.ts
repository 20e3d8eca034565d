/**
 * The contract that every consensus engine keeps, so that one driver runs any of them and one seed replays a network.
 *
 * An engine does no I/O, owns no clock and holds no key. It is a function from an input to a list of effects:
 *
 * ```
 *   for (const effect of engine.step(input)) switch (effect.kind) {
 *     case "persist": append to the write-ahead log; when it is durable, step({ kind: "persisted", sequence })
 *     case "send":    after `after` is durable, hand the message to the network
 *     case "sign":    ask the double-sign guard and the key; step({ kind: "signed", ... }) with the signature
 *     case "verify":  check a signature (off the main thread if you like); step({ kind: "verified", id, valid })
 *     case "judge":   let the chain check and execute a block; step({ kind: "judged", blockHash, valid })
 *     case "build":   let the chain build a block; step({ kind: "propose", height, round, block })
 *     case "timer":   step({ kind: "tick", atMs }) no earlier than `atMs`
 *     case "final":   commit the block with its certificate, then step({ kind: "start", ... }) for the next height
 *   }
 * ```
 *
 * Order matters in one place: nothing that `persist` records may be visible to a peer before it is durable. The
 * engine says so with `after`, and the simulator sees it when a driver does not obey.
 *
 * Lifetime: an engine decides one height after another, each begun by `start`. Most forget a height when it is decided
 * (a driver may as well make a new one for each); a *continuous* one (Raft) has a log that spans heights, so the driver
 * keeps it, and its write-ahead log, until the process ends. A block that the driver got from elsewhere with a good
 * certificate is committed, and the next `start` tells the engine so.
 *
 * Restart: feed the records of the current height (of a continuous engine: all) back as `restore` right after `start`, in their order, before any
 * other input. Effects that `restore` returns are honoured like any other; sending or signing again is harmless,
 * because the guard returns the signature it has given and refuses every other.
 *
 * `head` and `final` are different effects: a head may be undone (proof of work), a final block never is.
 */

import type { Hash } from "../crypto/hash/hash.ts";
import type { Address } from "../crypto/identity/address.ts";
import type { Coded, Result } from "../crypto/base/result.ts";
import type { Block, Header } from "../chain/block/block.ts";
import type { Transaction } from "../chain/block/transaction.ts";
import type { Certificate, Proposal, Vote } from "../chain/block/vote.ts";
import type { ValidatorSet } from "../chain/block/validators.ts";
import type { Evidence } from "../chain/block/evidence.ts";
import type { Height } from "../chain/block/height.ts";

/** The engines that a genesis can name. */
export type EngineName = "tendermint" | "raft" | "pbft" | "pow" | "pos";

/** What a driver tells an engine. `M` is the engine's wire message. */
export type Input<M> =
  /** Begin a height. `validators` are those that decide it, `parent` is the header before it (height 1 has none). */
  | {
      readonly kind: "start";
      readonly height: Height;
      readonly validators: ValidatorSet;
      readonly parent: Header | undefined;
      readonly atMs: number;
    }
  /** One record of this height's write-ahead log, after a restart. */
  | { readonly kind: "restore"; readonly record: Uint8Array; readonly atMs: number }
  /** Time passed. `atMs` never decreases. */
  | { readonly kind: "tick"; readonly atMs: number }
  /** A decoded message from a peer; its signature is not checked yet. */
  | { readonly kind: "message"; readonly from: string; readonly message: M; readonly atMs: number }
  /** The answer to `build`. */
  | { readonly kind: "propose"; readonly height: Height; readonly round: number; readonly block: Block; readonly atMs: number }
  /** The answer to `persist`: this record and all before it are durable. */
  | { readonly kind: "persisted"; readonly sequence: number; readonly atMs: number }
  /** The answer to `sign`; without a signature when the guard refused. */
  | { readonly kind: "signed"; readonly id: number; readonly signature: Uint8Array | undefined; readonly atMs: number }
  /** The answer to `verify`. */
  | { readonly kind: "verified"; readonly id: number; readonly valid: boolean; readonly atMs: number }
  /** The answer to `judge`, and under proof of work to `head`. */
  | { readonly kind: "judged"; readonly blockHash: Hash; readonly valid: boolean; readonly atMs: number }
  /** The answer to `search`, when it found something. */
  | {
      readonly kind: "found";
      readonly blockHash: Hash;
      readonly extraNonce: bigint;
      readonly nonce: bigint;
      readonly atMs: number;
    };

/** What an engine asks its driver to do, in this order. */
export type Effect<M> =
  /**
   * `replaces`: once this record is durable, none before it is needed any more. Only continuous engines say so. `term`: once it is
   * durable we may speak in this term, which is to be remembered apart from the log: by a node that has lost its log.
   */
  | {
      readonly kind: "persist";
      readonly sequence: number;
      readonly record: Uint8Array;
      readonly replaces?: true;
      readonly term?: bigint;
    }
  /** To everybody, or to one peer; not before record `after` is durable (`undefined`: at once). */
  | {
      readonly kind: "send";
      readonly to: "all" | { readonly peer: string };
      readonly message: M;
      readonly after: number | undefined;
    }
  /**
   * Sign with the validator's own key, through the guard of what it has signed before. A statement that `recalls` its signer's
   * past is signed by nobody who may have forgotten a part of that.
   */
  | { readonly kind: "sign"; readonly id: number; readonly what: Unsigned; readonly recalls?: Recall }
  /** Check every signature in this message (`Codec.signedParts`) against the keys that `validators` gives. */
  | { readonly kind: "verify"; readonly id: number; readonly message: M }
  /** Check and execute this block; it extends the last final one. */
  | { readonly kind: "judge"; readonly block: Block; readonly blockHash: Hash }
  /** Build a block to propose in this round. */
  | { readonly kind: "build"; readonly height: Height; readonly round: number }
  /** Wake the engine at `atMs` (a tick). Earlier requests stand. */
  | { readonly kind: "timer"; readonly atMs: number }
  /**
   * The current tip; may be undone by a later one. Undo whatever stands on its parent, judge it, commit it, and answer
   * with `judged`; of several, in this order.
   */
  | { readonly kind: "head"; readonly block: Block; readonly height: Height; readonly certificate: Certificate }
  /** Look for nonces under which the block's seal meets the target; a new search ends the one before it. */
  | { readonly kind: "search"; readonly block: Block; readonly target: bigint }
  /** End the search. */
  | { readonly kind: "rest" }
  /** Decided, for ever. */
  | { readonly kind: "final"; readonly block: Block; readonly height: Height; readonly certificate: Certificate }
  /** A validator provably broke the protocol. */
  | { readonly kind: "evidence"; readonly evidence: Evidence };

/** What a validator signs. */
export type Unsigned =
  | { readonly kind: "vote"; readonly vote: Omit<Vote, "signature"> }
  | { readonly kind: "proposal"; readonly proposal: Omit<Proposal, "signature"> }
  /** Anything else that an engine says; `bytes` is its hash under the domain `statement`. Signing two binds to nothing. */
  | { readonly kind: "statement"; readonly validator: Address; readonly bytes: Uint8Array };

/** The claim that its signer precommitted nothing at `height` in a later round than `round` (-1: nothing at all). */
export type Recall = { readonly height: Height; readonly round: number };

/** Where an engine stands in the height it decides, for operators. */
export type EngineStatus = {
  readonly height: Height;
  /** Round, view or term. */
  readonly round: number;
  /** The protocol's own word: `propose`, `prevote`, `leader`, `candidate`, `viewChange`, ... */
  readonly step: string;
};

/** A consensus protocol. Deterministic: equal inputs, equal effects. */
export interface Engine<M> {
  readonly name: EngineName;
  step(input: Input<M>): readonly Effect<M>[];
  /** `undefined` before the first `start`. */
  status(): EngineStatus | undefined;
  /** What it would tell a peer that has heard nothing of this height, oldest first; bounded. */
  messages(): readonly M[];
}

/** A signature in a message: `bytes` were signed by `validator`. */
export type SignedPart = { readonly validator: Address; readonly bytes: Uint8Array; readonly signature: Uint8Array };

/** What a message is about, before anybody believes it. */
export type MessageFacts = {
  /** The height it is about. `undefined` in a continuous engine: heard whatever height is under way. */
  readonly height: Height | undefined;
  /** Round, view or term. */
  readonly round: number;
  readonly signer: Address;
  /** What is said, signature aside: two messages of one signer and height with equal statements are repetitions. */
  readonly statement: string;
  /** It carries a block, and few of them are kept. */
  readonly hasBlock: boolean;
  /** It may bring whoever hears it to its round, so it is heard however far ahead that is, with a block or without. */
  readonly leads?: boolean;
};

/** What a driver must know of the messages of an engine, without knowing the protocol. */
export interface Codec<M> {
  encode(message: M): Uint8Array;
  /**
   * Strict; never throws. `known`: transactions of the message's block, by their places, that need not be parsed when these
   * are their bytes.
   */
  parse(bytes: Uint8Array, known?: readonly (Transaction | undefined)[]): Result<M, Coded>;
  /** The block in a message that goes to everybody. */
  blockOf(message: M): Block | undefined;
  /**
   * What a driver bounds by before any signature is checked.
   */
  describe(message: M): MessageFacts;
  /** Every signature that it stands on, its signer's own first. */
  signedParts(chainId: string, message: M): readonly SignedPart[];
  /** What the double-sign guard must know when we hear our own signer say this: the vote or proposal in it. */
  wordOf(message: M): Vote | Proposal | undefined;
  /**
   * Whether `signer` may say this at all in its round: a proposal comes from the round's proposer. `parent` is the
   * header before its height, `undefined` at height 1; where it is not decided yet, whoever may come is let in.
   */
  mayCome(message: M, validators: ValidatorSet, parent: Header | undefined | "undecided"): boolean;
}
