/**
 * Reads the two log formats of the public linearizability vectors (github.com/anishathalye/porcupine, `test_data`),
 * and judges them. Jepsen's words: `:invoke` calls, `:ok` returns, `:fail` says that it did not happen, `:info` that
 * nobody knows, after which the process never calls again.
 *
 * - Register logs of etcd tests: `INFO  jepsen.util - 0<tab>:invoke<tab>:cas<tab>[1 2]`. A failed compare and swap that
 *   names its values is an answer: what was compared was different.
 * - Key-value logs: `{:process 0, :type :invoke, :f :append, :key "0", :value "x"}`. Keys hold the empty text at first.
 *
 * The values that a `:write`, `:cas`, `:put` or `:append` repeats when it returns are not compared with its call.
 */

import { fail, ok, type Result } from "../../../crypto/base/result.ts";
import { History, type Handle, type Operation } from "./history.ts";
import { checkLinearizability, STEPS_MAX, type Verdict } from "./linearizability.ts";
import {
  keyValueModel,
  REGISTER,
  type KeyValueInput,
  type KeyValueOutput,
  type RegisterInput,
  type RegisterOutput,
} from "./models.ts";

/** The vectors have at most 2,024. */
const OPERATIONS_MAX = 100_000;

/** Why a log was not read. `line` counts from 1. */
export type LogError =
  | { readonly code: "history_log_invalid"; readonly line: number }
  | { readonly code: "history_log_too_long"; readonly operationsMax: number };

/** Why a log was not judged. */
export type LogCheckError = LogError | { readonly code: "history_undecided"; readonly steps: number };

/** What a line says, when its process has an operation open that was asked `input`. */
type Line<Input, Output> =
  | { readonly kind: "call"; readonly input: Input }
  | { readonly kind: "return"; readonly output: Output }
  | { readonly kind: "fail" }
  | { readonly kind: "info" };

type ParsedLine<Input, Output> = { readonly process: string; readonly line: Line<Input, Output> };

/**
 * Judges a log of either format.
 *
 * @param stepsMax - the budget of the search
 */
export function checkPorcupineLog(
  log: string,
  stepsMax: number = STEPS_MAX,
): Result<{ readonly isLinearizable: boolean; readonly steps: number }, LogCheckError> {
  const verdict = judgeLog(log, stepsMax);
  if (!verdict.ok) return verdict;
  const { kind, steps } = verdict.value;
  return kind === "unknown" ? fail({ code: "history_undecided", steps }) : ok({ isLinearizable: kind === "linearizable", steps });
}

function judgeLog(log: string, stepsMax: number): Result<Verdict<unknown, unknown>, LogError> {
  if (log.trimStart().startsWith("{")) {
    const parsed = parseKeyValueLog(log);
    return parsed.ok ? ok(checkLinearizability(keyValueModel(""), parsed.value, { stepsMax })) : parsed;
  }
  const parsed = parseRegisterLog(log);
  return parsed.ok ? ok(checkLinearizability(REGISTER, parsed.value, { stepsMax })) : parsed;
}

/** Reads a register log of Jepsen's etcd test. */
export function parseRegisterLog(log: string): Result<readonly Operation<RegisterInput, RegisterOutput>[], LogError> {
  return parseLog(log, parseRegisterLine);
}

/** Reads a key-value log. */
export function parseKeyValueLog(log: string): Result<readonly Operation<KeyValueInput, KeyValueOutput>[], LogError> {
  return parseLog(log, parseKeyValueLine);
}

/** The events of a log happened in the order of its lines; it has no clock, so the line's number stands for the time. */
function parseLog<Input, Output>(
  log: string,
  parseLine: (text: string) => ParsedLine<Input, Output> | undefined,
): Result<readonly Operation<Input, Output>[], LogError> {
  const history = new History<Input, Output>({ operationsMax: OPERATIONS_MAX });
  const open = new Map<string, Handle>();
  for (const [index, text] of log.split(/\r?\n/).entries()) {
    if (text.trim() === "") continue;
    const parsed = parseLine(text);
    const handle = parsed === undefined ? undefined : open.get(parsed.process);
    // A process does one thing at a time: it calls when nothing is open, and everything else ends what is open.
    if (parsed === undefined || (parsed.line.kind === "call") !== (handle === undefined))
      return fail({ code: "history_log_invalid", line: index + 1 });
    const { process, line } = parsed;
    if (line.kind === "call" && history.isFull) return fail({ code: "history_log_too_long", operationsMax: OPERATIONS_MAX });
    if (line.kind === "call") open.set(process, history.begin(process, line.input, index));
    else if (handle !== undefined) close(history, handle, line, index);
    if (line.kind !== "call") open.delete(process);
  }
  return ok(history.operations());
}

function close<Input, Output>(
  history: History<Input, Output>,
  handle: Handle,
  line: Exclude<Line<Input, Output>, { readonly kind: "call" }>,
  atMs: number,
): void {
  switch (line.kind) {
    case "return":
      return history.end(handle, line.output, atMs);
    case "fail":
      return history.fail(handle, atMs);
    case "info":
      return history.info(handle, atMs);
  }
}

function parseRegisterLine(text: string): ParsedLine<RegisterInput, RegisterOutput> | undefined {
  const fields = /^INFO {2}jepsen\.util - (\d+)\t:(invoke|ok|fail|info)\t:(read|write|cas)\t(.*)$/.exec(text);
  if (fields === null) return undefined;
  const [, process = "", type = "", name = "", value = ""] = fields;
  const line = registerLine(type, name, value);
  return line === undefined ? undefined : { process, line };
}

function registerLine(type: string, name: string, value: string): Line<RegisterInput, RegisterOutput> | undefined {
  const one = /^(nil|-?\d+)$/.exec(value);
  const two = /^\[(-?\d+) (-?\d+)\]$/.exec(value);
  switch (`${type} ${name}`) {
    case "invoke read":
      return { kind: "call", input: { kind: "read" } };
    case "invoke write":
      return one === null || value === "nil" ? undefined : { kind: "call", input: { kind: "write", value } };
    case "invoke cas":
      return two === null ? undefined : { kind: "call", input: { kind: "swap", expected: two[1] ?? "", value: two[2] ?? "" } };
    case "ok read":
      return one === null ? undefined : { kind: "return", output: { kind: "value", value: value === "nil" ? undefined : value } };
    case "ok write":
      return { kind: "return", output: { kind: "written" } };
    case "ok cas":
      return { kind: "return", output: { kind: "swapped", isSwapped: true } };
    case "fail cas":
      return two === null ? { kind: "fail" } : { kind: "return", output: { kind: "swapped", isSwapped: false } };
    default:
      return type === "fail" ? { kind: "fail" } : { kind: "info" };
  }
}

function parseKeyValueLine(text: string): ParsedLine<KeyValueInput, KeyValueOutput> | undefined {
  const fields =
    /^\{:process (\d+), :type :(invoke|ok|fail|info), :f :(get|put|append), :key "([^"\\]*)", :value (?:nil|"([^"\\]*)")\}$/.exec(
      text,
    );
  if (fields === null) return undefined;
  const [, process = "", type = "", name = "", key = "", value] = fields;
  const line = keyValueLine(type, name, key, value);
  return line === undefined ? undefined : { process, line };
}

function keyValueLine(
  type: string,
  name: string,
  key: string,
  value: string | undefined,
): Line<KeyValueInput, KeyValueOutput> | undefined {
  switch (`${type} ${name}`) {
    case "invoke get":
      return { kind: "call", input: { kind: "get", key } };
    case "invoke put":
      return value === undefined ? undefined : { kind: "call", input: { kind: "put", key, value } };
    case "invoke append":
      return value === undefined ? undefined : { kind: "call", input: { kind: "append", key, value } };
    case "ok get":
      return value === undefined ? undefined : { kind: "return", output: { kind: "value", value } };
    case "ok put":
    case "ok append":
      return { kind: "return", output: { kind: "written" } };
    default:
      return type === "fail" ? { kind: "fail" } : { kind: "info" };
  }
}
