/**
 * The options of the repository's own commands. What a command does not know is refused in a line, with how it is used and exit
 * code 2; `--help` says how it is used, and nothing else happens.
 */

import { parseArgs, type ParseArgsConfig } from "node:util";

type Options = NonNullable<ParseArgsConfig["options"]>;
type Parsed<O extends Options> = ReturnType<typeof parseArgs<{ options: O; allowPositionals: true }>>;

/**
 * Reads this process's options, or ends it.
 *
 * @param usage - one line or more; `more` is shown below it by `--help` alone
 */
export function readOptions<const O extends Options>(
  usage: string,
  options: O,
  { allowPositionals = false, more = "" }: { readonly allowPositionals?: boolean; readonly more?: string } = {},
): Parsed<O> {
  try {
    const parsed = parseArgs({ options: { ...options, help: { type: "boolean", short: "h" } }, allowPositionals });
    const { help } = parsed.values as { readonly help?: boolean };
    if (help !== true) return parsed as unknown as Parsed<O>;
    process.stdout.write(`${usage.trimEnd()}\n${more}`);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    // Node's second sentence is about writing options that begin with a dash.
    process.stderr.write(`${error.message.split(". To specify")[0]}\n${usage.trimEnd()}\n`);
    process.exit(2);
  }
  return process.exit(0);
}
