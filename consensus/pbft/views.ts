/**
 * The views of one height as a pure function: state and event to state and outputs.
 *
 * Source: Castro and Liskov, Practical Byzantine Fault Tolerance, OSDI 1999, sections 4.2 (normal case) and 4.4 (view
 * changes), and Practical Byzantine Fault Tolerance and Proactive Recovery, TOCS 2002, section 4.5. One sequence
 * number: the height. Events are facts that the engine has checked (`engine.ts`, "the rules"); values are block hashes
 * in hex.
 */

import { unreachable } from "../../crypto/base/assert.ts";
import { ROUND_MAX } from "../../chain/block/limits.ts";

/** What a validator waits for: a pre-prepare, prepares, commits, a new-view, or nothing any more. */
export type ViewStep = "prePrepare" | "prepare" | "commit" | "viewChange" | "decided";

/** A block that was prepared, and in which view. */
export type Prepared = { readonly view: number; readonly value: string };

/** Where a validator stands in one height. */
export type ViewState = {
  /** The view it is in, or (`viewChange`) the view it wants to be in. */
  readonly view: number;
  readonly step: ViewStep;
  /** The block whose pre-prepare it accepted in this view: it prepared this one and prepares no other. */
  readonly accepted: string | undefined;
  /** What it prepared in the highest view so far. Never forgotten while the height lasts. */
  readonly prepared: Prepared | undefined;
  /** Whether this view's timer was started. */
  readonly isTimed: boolean;
  /** As the primary of a view to come: whether the new-view is on its way. */
  readonly isLeading: boolean;
};

/** A fact. */
export type ViewEvent =
  /** The primary of this view pre-prepared a block that the chain holds valid. 4.2. */
  | { readonly kind: "prePrepared"; readonly value: string }
  /** More than 2/3 prepared the accepted block in this view. 4.2. */
  | { readonly kind: "prepared"; readonly value: string }
  /** More than 2/3 committed a block in some view. 4.2. */
  | { readonly kind: "committed"; readonly view: number; readonly value: string }
  /** This view's timer ended. 4.4. */
  | { readonly kind: "timeout" }
  /** More than 1/3 want views later than ours, this one the least. 4.5.2. */
  | { readonly kind: "join"; readonly view: number }
  /** More than 2/3 want this view or a later one. 4.5.2. */
  | { readonly kind: "wanted" }
  /** We are its primary, and more than 2/3 have given us their view-changes: this block follows, or a free choice. 4.4. */
  | { readonly kind: "lead"; readonly value: string | undefined }
  /** The new-view of this view is here, and follows from its view-changes. 4.4. */
  | { readonly kind: "newView"; readonly view: number };

/** What is to be done. */
export type ViewOutput =
  | { readonly kind: "prepare"; readonly view: number; readonly value: string }
  | { readonly kind: "commit"; readonly view: number; readonly value: string }
  | { readonly kind: "changeView"; readonly view: number }
  | { readonly kind: "enterView"; readonly view: number }
  | { readonly kind: "startTimer"; readonly view: number }
  | { readonly kind: "propose"; readonly view: number; readonly value: string }
  | { readonly kind: "build"; readonly view: number }
  | { readonly kind: "decide"; readonly view: number; readonly value: string };

/** A step of the machine. */
export type ViewTransition = { readonly state: ViewState; readonly outputs: readonly ViewOutput[] };

/** A height begins in view 0, which needs no new-view; its timer runs. */
export const INITIAL_VIEW_STATE: ViewState = {
  view: 0,
  step: "prePrepare",
  accepted: undefined,
  prepared: undefined,
  isTimed: true,
  isLeading: false,
};

/** Applies a fact. One that does not concern the state changes nothing. */
export function onViewEvent(state: ViewState, event: ViewEvent): ViewTransition {
  const unchanged = { state, outputs: [] };
  if (state.step === "decided") return unchanged;
  const { view, step } = state;
  switch (event.kind) {
    case "prePrepared": {
      if (step !== "prePrepare") return unchanged;
      const { value } = event;
      return { state: { ...state, step: "prepare", accepted: value }, outputs: [{ kind: "prepare", view, value }] };
    }
    case "prepared": {
      const { value } = event;
      // In view change nothing of the old view is accepted any more: what our view-change says would not be true.
      if (step !== "prepare" || state.accepted !== value) return unchanged;
      return { state: { ...state, step: "commit", prepared: { view, value } }, outputs: [{ kind: "commit", view, value }] };
    }
    case "committed":
      return { state: { ...state, step: "decided" }, outputs: [{ ...event, kind: "decide" }] };
    case "timeout":
      return view === ROUND_MAX ? unchanged : changeTo(state, view + 1);
    case "join":
      return event.view > view ? changeTo(state, event.view) : unchanged;
    case "wanted":
      if (step !== "viewChange" || state.isTimed) return unchanged;
      return { state: { ...state, isTimed: true }, outputs: [{ kind: "startTimer", view }] };
    case "lead": {
      if (step !== "viewChange" || state.isLeading) return unchanged;
      const { value } = event;
      const output: ViewOutput = value === undefined ? { kind: "build", view } : { kind: "propose", view, value };
      return { state: { ...state, isLeading: true }, outputs: [output] };
    }
    case "newView":
      if (event.view < view || (event.view === view && step !== "viewChange")) return unchanged;
      return enter(state, event.view);
    default:
      return unreachable(event);
  }
}

/** From now on the old view is over; the new one begins with its new-view. */
function changeTo(state: ViewState, view: number): ViewTransition {
  const changed: ViewState = { ...state, view, step: "viewChange", accepted: undefined, isTimed: false, isLeading: false };
  return { state: changed, outputs: [{ kind: "changeView", view }] };
}

/** One timer for a view, from the moment that it is wanted until it has decided. 4.5.2. */
function enter(state: ViewState, view: number): ViewTransition {
  const isTimed = state.view === view && state.isTimed;
  const entered: ViewState = { ...state, view, step: "prePrepare", accepted: undefined, isTimed: true, isLeading: false };
  const outputs: ViewOutput[] = [{ kind: "enterView", view }];
  return { state: entered, outputs: isTimed ? outputs : [...outputs, { kind: "startTimer", view }] };
}

// After a restart: what a record says of where we stood. Records come in the order in which they were written.

/** We wanted this view, and said so or were about to. */
export function restoreChange(state: ViewState, view: number): ViewState {
  return changeTo(state, view).state;
}

/** We pre-prepared in this view, as its primary. */
export function restoreLead(state: ViewState, view: number): ViewState {
  return enter(state, view).state;
}

/** We prepared this block, or were about to. */
export function restorePrepare(state: ViewState, view: number, value: string): ViewState {
  return { ...enter(state, view).state, step: "prepare", accepted: value };
}

/** We committed this block, or were about to: it was prepared. */
export function restorePrepared(state: ViewState, view: number, value: string): ViewState {
  return { ...enter(state, view).state, step: "commit", accepted: value, prepared: { view, value } };
}
