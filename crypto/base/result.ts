/** The outcome of parsing or checking data from outside: expected to fail, so a value and not an exception. */

/** An error is data: a stable `code` in lower_snake and the fields that explain it. */
export type Coded = { readonly code: string };

/** Either the value or a coded error. Branch on `ok`, then on `error.code`, never on a message. */
export type Result<T, E extends Coded = Coded> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: E };

/** A success. */
export function ok<T>(value: T): { readonly ok: true; readonly value: T } {
  return { ok: true, value };
}

/** A refusal. */
export function fail<const E extends Coded>(error: E): { readonly ok: false; readonly error: E } {
  return { ok: false, error };
}
