/** Runs one command line: parse, run the verb, print its answer or its refusal, and say so in the exit code. */

import { AssertionError, present } from "../../crypto/base/assert.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { parseArguments, titleOf } from "./arguments.ts";
import { usageError } from "./usage.ts";
import type { Answer, Json } from "./answer.ts";
import type { Command } from "./command.ts";
import { ROOT } from "./commands.ts";
import { helpText } from "./help.ts";
import { jsonText } from "./json.ts";
import { Invocation, type Surroundings } from "./invocation.ts";

/** Exit codes that scripts rely on; a verb may have more (`Command.exits`). */
export const EXIT = { done: 0, refused: 1, usage: 2 } as const;

/** One of `EXIT`, or of the verb's own. */
export type ExitCode = number;

/** Runs the arguments after the program's name. Aborting `signal` asks the verb to stop in order. */
export async function runCommandLine(
  argv: readonly string[],
  surroundings: Surroundings,
  signal: AbortSignal,
): Promise<ExitCode> {
  // Before parsing has succeeded, whether the caller is a program can only be guessed from the arguments.
  let asJson = argv.includes("--json");
  let exits: Command["exits"];
  try {
    const { path, values, positionals } = parseArguments(ROOT, argv);
    asJson = values["json"] === true;
    const command = present(path.at(-1), "command");
    exits = command.exits;
    if (values["help"] === true) {
      print(surroundings, { json: { help: helpText(path) }, text: helpText(path).trimEnd() }, asJson);
      return EXIT.done;
    }
    if (command.run === undefined) {
      throw usageError(
        "usage_missing_verb",
        `${titleOf(path)} needs a verb: ${(command.subcommands ?? []).map((each) => each.name).join(", ")}`,
      );
    }
    const emit = (answer: Answer): void => print(surroundings, answer, asJson);
    const answer = await command.run(new Invocation({ values, positionals, surroundings, signal, emit }));
    if (answer !== undefined) emit(answer);
    return EXIT.done;
  } catch (error) {
    return refuse(surroundings, error, { asJson, exits });
  }
}

function print(surroundings: Surroundings, answer: Answer, asJson: boolean): void {
  surroundings.stdout.write(`${asJson ? jsonText(answer.json) : answer.text}\n`);
}

function refuse(
  surroundings: Surroundings,
  error: unknown,
  { asJson, exits }: { readonly asJson: boolean; readonly exits: Command["exits"] },
): ExitCode {
  const refusal = refusalOf(error);
  if (asJson) surroundings.stdout.write(`${jsonText({ error: refusal })}\n`);
  else surroundings.stderr.write(`${refusal.code}: ${refusal.message}\n`);
  if (refusal.code === "internal" && error instanceof Error) surroundings.stderr.write(`${error.stack ?? error.message}\n`);
  const isUsage = refusal.code.startsWith("usage_");
  if (isUsage && !asJson) surroundings.stderr.write("See: pyralog --help\n");
  return isUsage ? EXIT.usage : (exits?.[refusal.code] ?? EXIT.refused);
}

type Refusal = { readonly code: string; readonly message: string; readonly field?: string; readonly nearest?: string };

/** What a thrown value says to the caller. Anything without a code is our own fault and says `internal`. */
function refusalOf(error: unknown): Refusal {
  if (!(error instanceof CodedError)) {
    if (error instanceof Error && error.name === "AbortError") return { code: "interrupted", message: "interrupted" };
    return {
      code: "internal",
      message: error instanceof AssertionError || error instanceof Error ? error.message : "unknown failure",
    };
  }
  const { message, field, nearest } = error.detail;
  return {
    code: error.code,
    message: typeof message === "string" ? message : messageOf(error),
    ...(typeof field === "string" ? { field } : {}),
    ...(typeof nearest === "string" ? { nearest } : {}),
  };
}

/** A refusal without a sentence of its own still has its facts. */
function messageOf(error: CodedError): string {
  const facts = Object.entries(error.detail).map(([key, value]) => `${key} ${jsonText((value ?? null) as Json)}`);
  return facts.length === 0 ? error.code.replaceAll("_", " ") : facts.join(", ");
}
