/**
 * Is there an order of the operations that one client alone could have seen, in which each operation takes place
 * between its call and its return? (Herlihy and Wing 1990.)
 *
 * Sources:
 * - Wing, Gong, "Testing and Verifying Concurrent Objects", J. Parallel and Distributed Computing 17 (1993): the
 *   search. Take an operation that no other must precede, apply it to the sequential object, go on; else go back.
 * - Lowe, "Testing for linearizability", Concurrency and Computation 29(4) (2017): remember configurations already
 *   searched, and linearise just in time. A configuration is the next return that the order must account for, the
 *   operations taken ahead of their own returns, and the object's state: what came before cannot matter.
 * - Horn, Kroening, "Faster linearizability checking via P-compositionality", FORTE 2015: a history of independent
 *   parts is linearizable when each part is.
 *
 * Where we differ. An observation (a read, a comparison that failed) that fits is taken at once, with no other choice:
 * whatever order completes the history from here also does so with this operation in front, because it was open, it
 * changes nothing here and changed nothing there, and going earlier puts it before more of what it must precede. That
 * does not hold for an operation that happens to change nothing here: a write of what is held may be needed later. An operation of unknown outcome is never
 * owed: it is taken only where it changes something that the operation after it needs, and the search ends when all
 * that returned are in order. (Of the orders that complete the history one has the fewest such operations, and it has
 * none that can be left out.) And a configuration is left when one like it was searched that had spent fewer such
 * operations, or the same ones by input: whatever can follow the spender could follow the other. Without these two each
 * lost call doubles the work of a refutation.
 *
 * The problem is NP-complete (Gibbons, Korach 1997), so the search has a budget and may answer `unknown`.
 */

import { isDeepStrictEqual } from "node:util";
import { assert, present } from "../../../crypto/base/assert.ts";
import { describeOperation, describeValue, type Operation } from "./history.ts";

/** Whether an operation can take place in a state, and the state after it. */
export type Step<State> = { readonly ok: true; readonly state: State } | { readonly ok: false };

/** A sequential object: what one client alone would see. All of it pure. */
export type Model<State, Input, Output> = {
  readonly name: string;
  readonly initial: State;
  /** Applies an operation. `output` is `undefined` when nobody knows it: any answer would do, but the effect is certain. */
  readonly step: (state: State, input: Input, output: Output | undefined) => Step<State>;
  /** True only for operations that, with this answer, change no state that they fit. It spares work, and nothing else. */
  readonly isObservation: (input: Input, output: Output) => boolean;
  /** Equal for states that no sequence of operations can tell apart, and different for others. */
  readonly key: (state: State) => string;
  /** Operations of different parts never see each other's effects. Each part starts from `initial`. */
  readonly partition?: (input: Input) => string;
};

/**
 * What was found out, and in how many steps: one for each time that an operation was tried in a state, or a
 * configuration compared with one like it.
 */
export type Verdict<Input, Output> =
  /** `orders` has, for each part, an order that explains it. */
  | {
      readonly kind: "linearizable";
      readonly steps: number;
      readonly orders: ReadonlyMap<string, readonly Operation<Input, Output>[]>;
    }
  /**
   * No order explains the history up to the return of `misfit`. `prefix` is the longest that there is: an order of
   * all that returned before it in this part, with some that were open then.
   */
  | {
      readonly kind: "violation";
      readonly steps: number;
      readonly part: string;
      readonly prefix: readonly Operation<Input, Output>[];
      readonly misfit: Operation<Input, Output>;
    }
  /** The budget ended while these parts were searched. It says nothing about the history. */
  | { readonly kind: "unknown"; readonly steps: number; readonly parts: readonly string[] };

/** Enough for thousands of operations of dozens of clients. A configuration is remembered for each few steps. */
export const STEPS_MAX = 4_000_000;

/** Parts take turns of so many steps, so that a hard part does not hide the violation in an easy one. */
const TURN_STEPS = 2_000;

/** Configurations and states are remembered as text: so many UTF-16 units in all, half a gigabyte, and the answer is `unknown`. */
const REMEMBERED_SIZE_MAX = 1 << 28;

/**
 * Checks a history against a model.
 *
 * @param options - `stepsMax` bounds the work on all parts together, to within a turn of one
 * Cost: for a part with c operations open at once, at most (returns * 2^c * states) configurations, seldom near it.
 */
export function checkLinearizability<State, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
  options: { readonly stepsMax: number } = { stepsMax: STEPS_MAX },
): Verdict<Input, Output> {
  const orders = new Map<string, readonly Operation<Input, Output>[]>();
  let left = partsOf(model, operations).map(([part, members]) => ({ part, search: new Search(model, members) }));
  let steps = 0;
  while (left.length > 0) {
    const undecided: typeof left = [];
    let rememberedSize = 0;
    for (const { part, search } of left) {
      const stepsBefore = search.steps;
      const found = search.run(stepsBefore + TURN_STEPS);
      steps += search.steps - stepsBefore;
      if (found.kind === "misfit") return { kind: "violation", steps, part, prefix: found.prefix, misfit: found.misfit };
      if (found.kind === "order") orders.set(part, found.order);
      else undecided.push({ part, search });
      rememberedSize += search.rememberedSize;
      if (undecided.length > 0 && (steps >= options.stepsMax || rememberedSize >= REMEMBERED_SIZE_MAX))
        return { kind: "unknown", steps, parts: undecided.map((one) => one.part) };
    }
    left = undecided;
  }
  return { kind: "linearizable", steps, orders };
}

/** The verdict for people: for a violation the end of the longest order, and what does not fit after it. */
export function explainVerdict<Input, Output>(verdict: Verdict<Input, Output>): string {
  switch (verdict.kind) {
    case "linearizable":
      return `linearizable (${verdict.steps} steps)`;
    case "unknown":
      return `unknown: the budget ended after ${verdict.steps} steps${verdict.parts.map(inPart).join(",")}`;
    case "violation": {
      const shown = verdict.prefix.slice(-PREFIX_SHOWN).map((operation) => `  ${describeOperation(operation)}`);
      const left = verdict.prefix.length - shown.length;
      return [
        `not linearizable${inPart(verdict.part)}: the longest order has ${verdict.prefix.length} operations`,
        ...(left > 0 ? [`  (${left} more)`] : []),
        ...shown,
        "and nowhere after its call does this fit before it returns:",
        `  ${describeOperation(verdict.misfit)}`,
      ].join("\n");
    }
  }
}

/** So much of an order fits on a screen. */
const PREFIX_SHOWN = 20;

function inPart(part: string): string {
  return part === "" ? "" : ` in part ${JSON.stringify(part)}`;
}

/** The parts of a history, small ones first, without the operations that never happened. */
function partsOf<State, Input, Output>(
  { partition }: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
): readonly (readonly [string, readonly Operation<Input, Output>[]])[] {
  const parts = new Map<string, Operation<Input, Output>[]>();
  for (const operation of operations) {
    if (operation.outcome.kind === "failed") continue;
    const part = partition === undefined ? "" : partition(operation.input);
    const members = parts.get(part);
    if (members === undefined) parts.set(part, [operation]);
    else members.push(operation);
  }
  return [...parts].toSorted(([, a], [, b]) => a.length - b.length);
}

/** An operation to take next, and the state it leads to. */
type Alternative<State> = { readonly rank: number; readonly state: State; readonly stateId: number };

/** A configuration on the way from the beginning, with what is left to try from it. */
type Frame<State> = {
  /** The operation that led here; -1 at the beginning. */
  readonly taken: number;
  /** The rank of the first return that is not accounted for. */
  readonly next: number;
  /** Ranks above `next` of operations that return, and were taken already, in order. */
  readonly ahead: readonly number[];
  /** Classes of the operations of unknown outcome that were taken, in order; a class as often as it was. */
  readonly spent: readonly number[];
  readonly state: State;
  readonly stateId: number;
  readonly alternatives: readonly Alternative<State>[];
  tried: number;
};

type Found<Input, Output> =
  | { readonly kind: "order"; readonly order: readonly Operation<Input, Output>[] }
  | { readonly kind: "misfit"; readonly prefix: readonly Operation<Input, Output>[]; readonly misfit: Operation<Input, Output> }
  | { readonly kind: "undecided" };

/**
 * The search in one part. Operations go by rank: those that returned in the order of their returns, then those of
 * unknown outcome in the order of their calls.
 */
class Search<State, Input, Output> {
  readonly #model: Model<State, Input, Output>;
  readonly #operations: readonly Operation<Input, Output>[];
  readonly #returnedCount: number;
  /** Ranks not taken yet in the order of their calls, as a list that gives back in reverse what it was taken from. */
  readonly #nextCall: Int32Array;
  readonly #previousCall: Int32Array;
  readonly #isTaken: Uint8Array;
  readonly #stateIds = new Map<string, number>();
  /** By next return, operations ahead and state: what was spent on the ways there, without what others did for less. */
  readonly #seen = new Map<string, (readonly number[])[]>();
  /** By rank less those that returned: operations of one class were asked the same. */
  readonly #classes: readonly number[];
  readonly #path: Frame<State>[] = [];
  #steps = 0;
  #rememberedSize = 0;
  #best: { readonly next: number; readonly order: readonly Operation<Input, Output>[] } = { next: -1, order: [] };

  constructor(model: Model<State, Input, Output>, operations: readonly Operation<Input, Output>[]) {
    this.#model = model;
    this.#operations = operations.toSorted((a, b) => returnPosition(a) - returnPosition(b) || a.call.position - b.call.position);
    this.#returnedCount = operations.filter(({ outcome }) => outcome.kind === "returned").length;
    this.#classes = classesOf(this.#operations.slice(this.#returnedCount));
    this.#isTaken = new Uint8Array(operations.length);
    // Place 0 is the head of the list, place rank + 1 an operation.
    const ranks = [...this.#operations.keys()].toSorted((a, b) => this.#callPosition(a) - this.#callPosition(b));
    this.#nextCall = new Int32Array(operations.length + 1);
    this.#previousCall = new Int32Array(operations.length + 1);
    let last = 0;
    for (const rank of ranks) {
      this.#nextCall[last] = rank + 1;
      this.#previousCall[rank + 1] = last;
      last = rank + 1;
    }
    this.#previousCall[0] = last;
  }

  /** How often an operation was tried in a state. */
  get steps(): number {
    return this.#steps;
  }

  /** UTF-16 units of text that are remembered. */
  get rememberedSize(): number {
    return this.#rememberedSize;
  }

  /** Searches until it knows, or until there were `stepsMax` steps in all; then a later call goes on. */
  run(stepsMax: number): Found<Input, Output> {
    const { initial } = this.#model;
    if (this.#seen.size === 0)
      this.#arrive({ taken: -1, ahead: [], spent: [], state: initial, stateId: this.#stateId(initial), from: 0 });
    for (let frame = this.#path.at(-1); frame !== undefined; frame = this.#path.at(-1)) {
      if (frame.next === this.#returnedCount) return { kind: "order", order: this.#order() };
      if (this.#steps >= stepsMax) return { kind: "undecided" };
      const alternative = frame.alternatives[frame.tried];
      frame.tried += 1;
      if (alternative === undefined) this.#retreat(frame);
      else this.#advance(frame, alternative);
    }
    return { kind: "misfit", prefix: this.#best.order, misfit: this.#operation(this.#best.next) };
  }

  #advance(frame: Frame<State>, { rank, state, stateId }: Alternative<State>): void {
    this.#take(rank);
    const isOwed = rank < this.#returnedCount;
    const ahead = isOwed && rank !== frame.next ? inserted(frame.ahead, rank) : frame.ahead;
    const spent = isOwed ? frame.spent : inserted(frame.spent, present(this.#classes[rank - this.#returnedCount], "class"));
    if (!this.#arrive({ taken: rank, ahead, spent, state, stateId, from: frame.next })) this.#giveBack(rank);
  }

  /** Goes on from a configuration, unless one at least as good was tried before: then it leads nowhere. */
  #arrive(to: Pick<Frame<State>, "taken" | "ahead" | "spent" | "state" | "stateId"> & { readonly from: number }): boolean {
    const { taken, spent, state, stateId } = to;
    let next = to.from;
    while (next < this.#returnedCount && this.#isTaken[next] === 1) next += 1;
    const ahead = to.ahead.filter((rank) => rank > next);
    if (!this.#isNews(`${stateId};${next};${ahead.join(",")}`, spent)) return false;
    const alternatives = next === this.#returnedCount ? [] : this.#alternatives({ taken, next, state, stateId });
    this.#path.push({ taken, next, ahead, spent, state, stateId, alternatives, tried: 0 });
    return true;
  }

  /** Whether no way to this configuration spent as little, or less. Remembers it then, in place of those that spent more. */
  #isNews(configuration: string, spent: readonly number[]): boolean {
    const known = this.#seen.get(configuration);
    if (known === undefined) {
      this.#seen.set(configuration, [spent]);
      this.#rememberedSize += configuration.length + spent.length;
      return true;
    }
    this.#steps += known.length;
    if (known.some((other) => isContained(other, spent))) return false;
    const kept = known.filter((other) => !isContained(spent, other));
    this.#seen.set(configuration, [...kept, spent]);
    this.#rememberedSize += spent.length;
    return true;
  }

  /**
   * What can come next: called before the return that is due, and fits the state. The one that is due is first, then
   * those that return sooner: nothing is taken ahead of its time but to make another fit.
   */
  #alternatives({
    taken,
    next,
    state,
    stateId,
  }: Pick<Frame<State>, "taken" | "next" | "state" | "stateId">): readonly Alternative<State>[] {
    const before = taken >= this.#returnedCount ? this.#path.at(-1) : undefined;
    const due = returnPosition(this.#operation(next));
    const found: Alternative<State>[] = [];
    for (let place = this.#following(0); place !== 0; place = this.#following(place)) {
      const rank = place - 1;
      if (this.#callPosition(rank) > due) break;
      const alternative = this.#try(rank, state);
      if (alternative === undefined) continue;
      if (this.#isObservation(rank)) return [alternative];
      // Unknown, and without effect: it need not have happened.
      if (alternative.stateId === stateId && rank >= this.#returnedCount) continue;
      // What was taken last is owed by nobody: when this comes to the same without it, it was not needed.
      if (before === undefined || this.#try(rank, before.state)?.stateId !== alternative.stateId) found.push(alternative);
    }
    return found.toSorted((a, b) => a.rank - b.rank);
  }

  #try(rank: number, from: State): Alternative<State> | undefined {
    const { input, outcome } = this.#operation(rank);
    this.#steps += 1;
    const step = this.#model.step(from, input, outcome.kind === "returned" ? outcome.output : undefined);
    return step.ok ? { rank, state: step.state, stateId: this.#stateId(step.state) } : undefined;
  }

  #isObservation(rank: number): boolean {
    const { input, outcome } = this.#operation(rank);
    return outcome.kind === "returned" && this.#model.isObservation(input, outcome.output);
  }

  #retreat(frame: Frame<State>): void {
    if (frame.next > this.#best.next) this.#best = { next: frame.next, order: this.#order() };
    this.#path.pop();
    if (frame.taken >= 0) this.#giveBack(frame.taken);
  }

  #take(rank: number): void {
    assert(this.#isTaken[rank] === 0, `operation ${rank} was taken before`);
    this.#isTaken[rank] = 1;
    const next = this.#following(rank + 1);
    const previous = this.#preceding(rank + 1);
    this.#nextCall[previous] = next;
    this.#previousCall[next] = previous;
  }

  /** The last one taken is given back first: its neighbours are those that it had. */
  #giveBack(rank: number): void {
    this.#isTaken[rank] = 0;
    this.#nextCall[this.#preceding(rank + 1)] = rank + 1;
    this.#previousCall[this.#following(rank + 1)] = rank + 1;
  }

  #order(): readonly Operation<Input, Output>[] {
    return this.#path.slice(1).map(({ taken }) => this.#operation(taken));
  }

  /** A number for each state that was met, so that large states are kept once. */
  #stateId(state: State): number {
    const key = this.#model.key(state);
    const known = this.#stateIds.get(key);
    if (known !== undefined) return known;
    const id = this.#stateIds.size;
    this.#stateIds.set(key, id);
    this.#rememberedSize += key.length;
    return id;
  }

  #operation(rank: number): Operation<Input, Output> {
    return present(this.#operations[rank], `operation ${rank}`);
  }

  #callPosition(rank: number): number {
    return this.#operation(rank).call.position;
  }

  #following(place: number): number {
    return present(this.#nextCall[place], `place ${place}`);
  }

  #preceding(place: number): number {
    return present(this.#previousCall[place], `place ${place}`);
  }
}

/** An operation of unknown outcome returns after everything else. */
function returnPosition<Input, Output>({ outcome }: Operation<Input, Output>): number {
  return outcome.kind === "returned" ? outcome.at.position : Number.MAX_SAFE_INTEGER;
}

function inserted(sorted: readonly number[], value: number): readonly number[] {
  const at = sorted.findIndex((other) => other > value);
  return at < 0 ? [...sorted, value] : sorted.toSpliced(at, 0, value);
}

/** Whether `few`, with its repetitions, is among `many`; both in order. */
function isContained(few: readonly number[], many: readonly number[]): boolean {
  let found = 0;
  for (const value of many) if (found < few.length && few[found] === value) found += 1;
  return found === few.length;
}

/** A number for each operation, the same for those that were asked the same. */
function classesOf<Input, Output>(operations: readonly Operation<Input, Output>[]): readonly number[] {
  // The description only sorts them into heaps: different inputs may look alike.
  const heaps = new Map<string, { readonly input: Input; readonly id: number }[]>();
  let count = 0;
  return operations.map(({ input }) => {
    const text = describeValue(input);
    const heap = heaps.get(text) ?? [];
    heaps.set(text, heap);
    const known = heap.find((other) => isDeepStrictEqual(other.input, input));
    if (known !== undefined) return known.id;
    heap.push({ input, id: count });
    count += 1;
    return count - 1;
  });
}
