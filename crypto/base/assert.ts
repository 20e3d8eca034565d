/**
 * Assertions: for what only our own fault can break. Bad data from outside is a `Result`, a failed disk or
 * socket is a `CodedError`; a failed assertion means that the process must not go on.
 */

/** Thrown by `assert` and `unreachable`. Nothing catches it but the process boundary. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** Throws `AssertionError` unless `condition` holds. Put the offending value in `message`. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** For the default branch of an exhaustive switch: a new variant then fails to compile. */
export function unreachable(value: never): never {
  throw new AssertionError(
    `unreachable variant: ${JSON.stringify(value, (_, v: unknown) => (typeof v === "bigint" ? `${v}` : v))}`,
  );
}

/** Returns `value`, which the caller knows to be present. `what` names it in the failure. */
export function present<T>(value: T | undefined, what: string): T {
  assert(value !== undefined, `${what} is missing`);
  return value;
}
