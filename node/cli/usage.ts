/** What a command line gave, and how it is refused. */

import { CodedError } from "../../crypto/base/error.ts";

/** The values of the options that were given. */
export type OptionValues = { readonly [name: string]: true | string | readonly string[] };

/** A fault of the command line: exit code 2. */
export function usageError(code: `usage_${string}`, message: string, detail: Readonly<Record<string, unknown>> = {}): CodedError {
  return new CodedError(code, { message, ...detail });
}
