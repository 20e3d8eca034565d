/**
 * Assertions: for what only our own fault can break. Bad data from outside is a `Result`, a failed disk or
 * socket is a `CodedError`; a failed assertion means that the process must not go on.
 *
 * A message is put together when it is thrown, from the values behind it: most assertions hold a thousand times a second, and a
 * text that nobody reads is made and collected each time all the same. `testnet/checks` refuses templates.
 */

/** Of a value in a message. */
const VALUE_LENGTH_MAX = 100;

/** Thrown by `assert` and `unreachable`. Nothing catches it but the process boundary. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** Throws `AssertionError` unless `condition` holds. Each `{}` in the message stands for the next of the values. */
export function assert(condition: boolean, message: string, a?: unknown, b?: unknown, c?: unknown): asserts condition {
  if (!condition) throw new AssertionError(filled(message, [a, b, c]));
}

/** For the default branch of an exhaustive switch: a new variant then fails to compile. */
export function unreachable(value: never): never {
  throw new AssertionError(
    `unreachable variant: ${JSON.stringify(value, (_, v: unknown) => (typeof v === "bigint" ? `${v}` : v))}`,
  );
}

/** Returns `value`, which the caller knows to be present. `what` names it in the failure, as `assert`'s message does. */
export function present<T>(value: T | undefined, what: string, a?: unknown, b?: unknown): T {
  if (value === undefined) throw new AssertionError(`${filled(what, [a, b])} is missing`);
  return value;
}

function filled(message: string, values: readonly unknown[]): string {
  let next = 0;
  return message.replaceAll("{}", () => String(values[next++]).slice(0, VALUE_LENGTH_MAX));
}
