/**
 * Where the passphrase of sealed keys comes from. Never an argument: every user of the machine can read those.
 *
 * In order: the option `--passphrase-file`, `PYRALOG_PASSPHRASE`, the configuration's `keys.passphraseFile`, and then
 * the person at the terminal, without echo.
 */

import { randomBytes } from "node:crypto";
import { stat } from "node:fs/promises";
import type { ReadStream } from "node:tty";
import { parseUtf8 } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { placeFile, readFileBounded } from "./files.ts";

/** Longest passphrase: longer ones are a wrong file. */
export const PASSPHRASE_SIZE_BYTES_MAX = 1024;

/** Entropy of a generated passphrase. */
const PASSPHRASE_ENTROPY_BYTES = 32;

/** What may hold a passphrase. */
export type PassphraseSources = {
  /** From `--passphrase-file`. */
  readonly file?: string | undefined;
  /** From `PYRALOG_PASSPHRASE`. */
  readonly variable?: string | undefined;
  /** From the configuration, resolved against the home. */
  readonly configuredFile?: string | undefined;
  /** The terminal to ask on; absent when there is none. */
  readonly terminal?: { readonly input: ReadStream; readonly output: NodeJS.WritableStream } | undefined;
  /** What to ask for, and whether to ask twice because nothing can check it yet. */
  readonly prompt?: string;
  readonly confirm?: boolean;
};

/**
 * The passphrase.
 *
 * @throws CodedError `passphrase_missing` when nothing holds one, `passphrase_empty`, `passphrase_permissions` (others
 *   may read the file), `passphrase_mismatch` (typed differently the second time), `passphrase_file` (not there)
 */
export async function findPassphrase(sources: PassphraseSources, signal: AbortSignal): Promise<string> {
  if (sources.file !== undefined) return readPassphraseFile(sources.file);
  if (sources.variable !== undefined) return checkPassphrase(sources.variable, "PYRALOG_PASSPHRASE");
  if (sources.configuredFile !== undefined) return readPassphraseFile(sources.configuredFile);
  if (sources.terminal === undefined) {
    throw new CodedError("passphrase_missing", {
      message: "set PYRALOG_PASSPHRASE, or name a file with --passphrase-file or keys.passphraseFile",
    });
  }
  const prompt = sources.prompt ?? "Passphrase";
  const typed = await ask(sources.terminal, `${prompt}: `, signal);
  if (sources.confirm === true && (await ask(sources.terminal, `${prompt} again: `, signal)) !== typed) {
    throw new CodedError("passphrase_mismatch", { message: "the two differ" });
  }
  return checkPassphrase(typed, "terminal");
}

/** Reads a passphrase file: one line, readable by its owner alone. */
export async function readPassphraseFile(path: string): Promise<string> {
  const bytes = await readFileBounded(path, PASSPHRASE_SIZE_BYTES_MAX + 2);
  if (bytes === undefined) throw new CodedError("passphrase_file", { path, message: `${path} is not there` });
  await refuseShared(path, "passphrase_permissions");
  const text = parseUtf8(bytes);
  if (!text.ok) throw new CodedError("passphrase_file", { path, message: `${path} is not UTF-8` });
  return checkPassphrase(text.value.replace(/\r?\n$/, ""), path);
}

/** Makes a passphrase file with 256 random bits, and returns the passphrase. An existing file is `file_exists`. */
export async function generatePassphraseFile(path: string): Promise<string> {
  const passphrase = randomBytes(PASSPHRASE_ENTROPY_BYTES).toString("base64url");
  await placeFile(path, `${passphrase}\n`, { replace: false });
  return passphrase;
}

/** Throws `code` when anybody but the owner may read or write a file. */
export async function refuseShared(path: string, code: string): Promise<void> {
  try {
    const { mode, isFile } = await stat(path).then((found) => ({ mode: found.mode, isFile: found.isFile() }));
    if (isFile && (mode & 0o077) !== 0) {
      throw new CodedError(code, { path, message: `${path} can be read by others; run: chmod 600 ${path}` });
    }
  } catch (error) {
    if (error instanceof CodedError) throw error;
    throw new CodedError("file_io", { path, message: `cannot inspect ${path} (${codeOf(error)})` }, { cause: error });
  }
}

function checkPassphrase(passphrase: string, source: string): string {
  if (passphrase === "") throw new CodedError("passphrase_empty", { source, message: `the passphrase from ${source} is empty` });
  if (Buffer.byteLength(passphrase) > PASSPHRASE_SIZE_BYTES_MAX) {
    throw new CodedError("passphrase_file", {
      source,
      message: `the passphrase from ${source} is longer than ${PASSPHRASE_SIZE_BYTES_MAX} bytes`,
    });
  }
  return passphrase;
}

const CONTROL = { enter: ["\r", "\n"], interrupt: "\u0003", end: "\u0004", erase: ["\u007f", "\b"] } as const;

/** Reads one line in raw mode, showing nothing. */
async function ask(terminal: NonNullable<PassphraseSources["terminal"]>, prompt: string, signal: AbortSignal): Promise<string> {
  const { input, output } = terminal;
  output.write(prompt);
  input.setRawMode(true);
  input.setEncoding("utf8");
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const typed: string[] = [];
  const onData = (chunk: string): void => {
    const characters = Array.from(chunk);
    for (const [index, character] of characters.entries()) {
      if (CONTROL.enter.some((key) => key === character)) {
        // What was pasted behind it is the next line's: given back before anybody else can hear it.
        input.off("data", onData);
        input.pause();
        const rest = characters.slice(index + 1).join("");
        if (rest !== "") input.unshift(rest, "utf8");
        return resolve(typed.join(""));
      }
      if (character === CONTROL.interrupt || character === CONTROL.end) {
        return reject(new CodedError("passphrase_missing", { message: "interrupted" }));
      }
      if (CONTROL.erase.some((key) => key === character)) typed.pop();
      else typed.push(character);
    }
  };
  const onAbort = (): void => reject(new CodedError("passphrase_missing", { message: "interrupted" }));
  input.on("data", onData);
  signal.addEventListener("abort", onAbort, { once: true });
  input.resume();
  try {
    return await promise;
  } finally {
    input.off("data", onData);
    signal.removeEventListener("abort", onAbort);
    input.setRawMode(false);
    input.pause();
    output.write("\n");
  }
}
