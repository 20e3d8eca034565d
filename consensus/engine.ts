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
 * Restart: feed the records of the current height back as `restore` right after `start`, in their order, before any
 * other input. Effects that `restore` returns are honoured like any other; sending or signing again is harmless,
 * because the guard returns the signature it has given and refuses every other.
 *
 * `head` and `final` are different effects: a head may be undone (proof of work), a final block never is.
 */

import type { Hash } from "../crypto/hash/hash.ts";
import type { Block } from "../chain/block/block.ts";
import type { Certificate, Proposal, Vote } from "../chain/block/vote.ts";
import type { ValidatorSet } from "../chain/block/validators.ts";
import type { Evidence } from "../chain/block/evidence.ts";
import type { Height } from "../chain/block/height.ts";

/** The engines that a genesis can name. */
export type EngineName = "tendermint" | "raft" | "pbft" | "pow" | "pos";

/** What a driver tells an engine. `M` is the engine's wire message. */
export type Input<M> =
  /** Begin a height. `validators` are those that decide it. */
  | { readonly kind: "start"; readonly height: Height; readonly validators: ValidatorSet; readonly atMs: number }
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
  /** The answer to `judge`. */
  | { readonly kind: "judged"; readonly blockHash: Hash; readonly valid: boolean; readonly atMs: number };

/** What an engine asks its driver to do, in this order. */
export type Effect<M> =
  | { readonly kind: "persist"; readonly sequence: number; readonly record: Uint8Array }
  /** To everybody, or to one peer; not before record `after` is durable (`undefined`: at once). */
  | {
      readonly kind: "send";
      readonly to: "all" | { readonly peer: string };
      readonly message: M;
      readonly after: number | undefined;
    }
  /** Sign this vote or proposal with the validator's own key. */
  | { readonly kind: "sign"; readonly id: number; readonly what: Unsigned }
  /** Check the signature of this message against the key that `validators` gives for its signer. */
  | { readonly kind: "verify"; readonly id: number; readonly message: M }
  /** Check and execute this block; it extends the last final one. */
  | { readonly kind: "judge"; readonly block: Block; readonly blockHash: Hash }
  /** Build a block to propose in this round. */
  | { readonly kind: "build"; readonly height: Height; readonly round: number }
  /** Wake the engine at `atMs` (a tick). Earlier requests stand. */
  | { readonly kind: "timer"; readonly atMs: number }
  /** The current tip; may be undone by a later one. */
  | { readonly kind: "head"; readonly block: Block; readonly height: Height }
  /** Decided, for ever. */
  | { readonly kind: "final"; readonly block: Block; readonly height: Height; readonly certificate: Certificate }
  /** A validator provably broke the protocol. */
  | { readonly kind: "evidence"; readonly evidence: Evidence };

/** What a validator signs. */
export type Unsigned =
  | { readonly kind: "vote"; readonly vote: Omit<Vote, "signature"> }
  | { readonly kind: "proposal"; readonly proposal: Omit<Proposal, "signature"> };

/** A consensus protocol. Deterministic: equal inputs, equal effects. */
export interface Engine<M> {
  readonly name: EngineName;
  step(input: Input<M>): readonly Effect<M>[];
}
