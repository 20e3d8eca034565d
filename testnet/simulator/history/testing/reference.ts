/**
 * Linearizability by its definition, for tiny histories: every sequence of every choice of operations. Slow on
 * purpose, and with nothing in common with the search that it judges.
 */

import type { Operation } from "../history.ts";
import type { Model } from "../linearizability.ts";

/** Whether one came back before the other was called. */
function precedes<Input, Output>(first: Operation<Input, Output>, second: Operation<Input, Output>): boolean {
  return first.outcome.kind === "returned" && first.outcome.at.position < second.call.position;
}

/** Whether the sequence keeps the order in which things happened, and the object would have answered like that. */
export function isOrder<State, Input, Output>(
  model: Model<State, Input, Output>,
  sequence: readonly Operation<Input, Output>[],
): boolean {
  if (sequence.some((later, index) => sequence.slice(0, index).some((earlier) => precedes(later, earlier)))) return false;
  let state = model.initial;
  for (const { input, outcome } of sequence) {
    if (outcome.kind === "failed") return false;
    const step = model.step(state, input, outcome.kind === "returned" ? outcome.output : undefined);
    if (!step.ok) return false;
    state = step.state;
  }
  return true;
}

/**
 * Whether some sequence has all that is owed, perhaps with others, and is an order.
 *
 * @param isOwed - by default what returned
 */
export function isLinearizableByDefinition<State, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
  isOwed: (operation: Operation<Input, Output>) => boolean = ({ outcome }) => outcome.kind === "returned",
): boolean {
  const owed = operations.filter(isOwed);
  for (const sequence of sequences(operations.filter(({ outcome }) => outcome.kind !== "failed")))
    if (owed.every((operation) => sequence.includes(operation)) && isOrder(model, sequence)) return true;
  return false;
}

/** Every sequence of every subset. */
function* sequences<Item>(items: readonly Item[]): Generator<readonly Item[]> {
  yield [];
  for (const [index, first] of items.entries()) for (const rest of sequences(items.toSpliced(index, 1))) yield [first, ...rest];
}
