/**
 * The rounds of one height: what a validator does upon each event, as a pure function of its state.
 *
 * Source: Buchman, Kwon, Milosevic, "The latest gossip on BFT consensus", 2018 (arXiv:1807.04938), Algorithm 1.
 * "line N" below is a line of that algorithm. The machine knows no message, signature, clock or block: values are
 * opaque strings (the engine uses the hex of a block hash), and whoever calls it has established each event's
 * condition (which votes are there, whether a block is valid) and answers its outputs.
 *
 * Where we differ: the propose timeout is scheduled for the proposer too (line 20 has it for the others only), since
 * a proposer whose block cannot be built or signed must not wait for ever; and "decided" is a step, so that nothing
 * follows a decision.
 */

import { unreachable } from "../../crypto/base/assert.ts";
import type { Height } from "../../chain/block/height.ts";
import type { VoteStep } from "../../chain/block/vote.ts";

/** Where in a round a validator is; `unstarted` between two rounds. */
export type RoundStep = "unstarted" | "propose" | "prevote" | "precommit" | "decided";

/** A value, and the round in which more than 2/3 prevoted for it. */
export type Pin = { readonly round: number; readonly value: string };

/** The variables of lines 1 to 9, and which "first time" rules have fired in this round. */
export type RoundState = {
  readonly height: Height;
  /** -1 before the first round. */
  readonly round: number;
  readonly step: RoundStep;
  /** What we precommitted last: we prevote for nothing else, unless a later polka frees us. */
  readonly locked: Pin | undefined;
  /** What we saw a polka for last: what we propose. */
  readonly valid: Pin | undefined;
  readonly prevoteTimeoutScheduled: boolean;
  readonly precommitTimeoutScheduled: boolean;
};

/** The three things that a round waits for. */
export type Timeout = "propose" | "prevote" | "precommit";

/** What has come about. A polka is more than 2/3 of prevotes; they are of the current round unless a round is named. */
export type RoundEvent =
  | { readonly kind: "newRound"; readonly round: number; readonly isProposer: boolean }
  /** Our own new block for this round, after `build`. */
  | { readonly kind: "built"; readonly value: string }
  /** The proposer's new block. */
  | { readonly kind: "proposal"; readonly value: string; readonly valid: boolean }
  /** The proposer's block of an earlier round, and the polka of that round. */
  | { readonly kind: "proposalAndPolka"; readonly value: string; readonly validRound: number; readonly valid: boolean }
  | { readonly kind: "polkaAny" }
  | { readonly kind: "polkaNil" }
  /** A polka for a block that is here and is valid. */
  | { readonly kind: "polkaValue"; readonly value: string }
  | { readonly kind: "precommitAny" }
  /** More than 2/3 of precommits, of any round, for a block that is here and is valid. */
  | { readonly kind: "precommitValue"; readonly round: number; readonly value: string }
  /** More than 1/3 have voted in a later round. */
  | { readonly kind: "skip"; readonly round: number }
  | { readonly kind: "timeout"; readonly timeout: Timeout; readonly round: number };

/** What is to be done. */
export type RoundOutput =
  | { readonly kind: "build"; readonly round: number }
  | { readonly kind: "propose"; readonly round: number; readonly value: string; readonly validRound: number }
  | { readonly kind: "vote"; readonly step: VoteStep; readonly round: number; readonly value: string | undefined }
  | { readonly kind: "schedule"; readonly timeout: Timeout; readonly round: number }
  /** Go on with a `newRound` event for this round. */
  | { readonly kind: "enter"; readonly round: number }
  | { readonly kind: "decide"; readonly round: number; readonly value: string };

/** The next state, and what to do, in order. An event that does not apply changes nothing and asks for nothing. */
export type Transition = { readonly state: RoundState; readonly outputs: readonly RoundOutput[] };

/** The state before the first round of a height. */
export function initialRoundState(height: Height): RoundState {
  return {
    height,
    round: -1,
    step: "unstarted",
    locked: undefined,
    valid: undefined,
    prevoteTimeoutScheduled: false,
    precommitTimeoutScheduled: false,
  };
}

/** Applies one event. */
export function onRoundEvent(state: RoundState, event: RoundEvent): Transition {
  switch (event.kind) {
    case "newRound":
      return onNewRound(state, event.round, event.isProposer);
    case "built":
      if (state.step !== "propose") return ignore(state);
      return { state, outputs: [{ kind: "propose", round: state.round, value: event.value, validRound: -1 }] }; // line 19
    case "proposal":
      return onProposal(state, event.value, event.valid);
    case "proposalAndPolka":
      return onProposalAndPolka(state, event);
    case "polkaAny":
      if (state.step !== "prevote" || state.prevoteTimeoutScheduled) return ignore(state);
      return {
        state: { ...state, prevoteTimeoutScheduled: true }, // line 34, "for the first time"
        outputs: [{ kind: "schedule", timeout: "prevote", round: state.round }], // line 35
      };
    case "polkaNil":
      return state.step === "prevote" ? precommit(state, undefined) : ignore(state); // lines 44 to 46
    case "polkaValue":
      return onPolkaValue(state, event.value);
    case "precommitAny":
      if (!isStarted(state) || state.precommitTimeoutScheduled) return ignore(state);
      return {
        state: { ...state, precommitTimeoutScheduled: true }, // line 47, "for the first time"
        outputs: [{ kind: "schedule", timeout: "precommit", round: state.round }], // line 48
      };
    case "precommitValue":
      if (state.step === "decided") return ignore(state);
      // Lines 49 to 51: of any round, also an earlier one.
      return { state: { ...state, step: "decided" }, outputs: [{ kind: "decide", round: event.round, value: event.value }] };
    case "skip":
      if (state.step === "decided" || event.round <= state.round) return ignore(state);
      return leave(state, event.round); // lines 55 and 56
    case "timeout":
      return onTimeout(state, event.timeout, event.round);
    default:
      return unreachable(event);
  }
}

/** After a restart: what we voted. A precommit for a value is a lock on it. */
export function restoreVote(state: RoundState, step: VoteStep, round: number, value: string | undefined): RoundState {
  const isLock = step === "precommit" && value !== undefined && round > (state.locked?.round ?? -1);
  const locked: Pin | undefined = isLock ? { round, value } : state.locked;
  if (round !== state.round || state.step === "precommit" || state.step === "decided") return { ...state, locked };
  return { ...state, locked, step };
}

/** After a restart: what we saw a polka for. */
export function restorePin(state: RoundState, valid: Pin): RoundState {
  return valid.round > (state.valid?.round ?? -1) ? { ...state, valid } : state;
}

/** Lines 11 to 21, StartRound. */
function onNewRound(state: RoundState, round: number, isProposer: boolean): Transition {
  if (state.step !== "unstarted" || round <= state.round) return ignore(state);
  const next: RoundState = { ...state, round, step: "propose", prevoteTimeoutScheduled: false, precommitTimeoutScheduled: false };
  const outputs: RoundOutput[] = [{ kind: "schedule", timeout: "propose", round }]; // line 21
  if (isProposer && state.valid !== undefined) {
    outputs.push({ kind: "propose", round, value: state.valid.value, validRound: state.valid.round }); // lines 16 and 19
  } else if (isProposer) {
    outputs.push({ kind: "build", round }); // line 18
  }
  return { state: next, outputs };
}

/** Lines 22 to 27. */
function onProposal(state: RoundState, value: string, valid: boolean): Transition {
  if (state.step !== "propose") return ignore(state);
  const free = state.locked === undefined || state.locked.value === value; // line 23
  return prevote(state, valid && free ? value : undefined);
}

/** Lines 28 to 33. */
function onProposalAndPolka(state: RoundState, event: RoundEvent & { readonly kind: "proposalAndPolka" }): Transition {
  const { value, validRound, valid } = event;
  if (state.step !== "propose" || validRound < 0 || validRound >= state.round) return ignore(state);
  // Line 29: the polka is as new as our lock, so no block can have been decided that it contradicts.
  const free = state.locked === undefined || state.locked.round <= validRound || state.locked.value === value;
  return prevote(state, valid && free ? value : undefined);
}

/** Lines 36 to 43. */
function onPolkaValue(state: RoundState, value: string): Transition {
  const pin: Pin = { round: state.round, value };
  if (state.step === "prevote") return precommit({ ...state, locked: pin, valid: pin }, value);
  // Too late to precommit (we precommitted nil): the value is still what we shall propose.
  if (state.step === "precommit") return { state: { ...state, valid: pin }, outputs: [] };
  return ignore(state);
}

/** Lines 57 to 67. */
function onTimeout(state: RoundState, timeout: Timeout, round: number): Transition {
  if (round !== state.round || !isStarted(state)) return ignore(state);
  switch (timeout) {
    case "propose":
      return state.step === "propose" ? prevote(state, undefined) : ignore(state);
    case "prevote":
      return state.step === "prevote" ? precommit(state, undefined) : ignore(state);
    case "precommit":
      return leave(state, round + 1);
    default:
      return unreachable(timeout);
  }
}

function prevote(state: RoundState, value: string | undefined): Transition {
  return { state: { ...state, step: "prevote" }, outputs: [{ kind: "vote", step: "prevote", round: state.round, value }] };
}

function precommit(state: RoundState, value: string | undefined): Transition {
  return { state: { ...state, step: "precommit" }, outputs: [{ kind: "vote", step: "precommit", round: state.round, value }] };
}

function leave(state: RoundState, round: number): Transition {
  return { state: { ...state, step: "unstarted" }, outputs: [{ kind: "enter", round }] };
}

function isStarted(state: RoundState): boolean {
  return state.step === "propose" || state.step === "prevote" || state.step === "precommit";
}

function ignore(state: RoundState): Transition {
  return { state, outputs: [] };
}
