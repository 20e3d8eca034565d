/**
 * The log port, and its one adapter (pino: one JSON object a line).
 *
 * Levels: `error` a human must act, `warn` a peer or disk misbehaved, `info` a life event of the node, `debug` per
 * message. Fields first, then a short message that never varies, so that lines can be counted by it.
 */

import { once } from "node:events";
import { pino, type DestinationStream, type Logger } from "pino";
import { CodedError } from "../../crypto/base/error.ts";

/** What a line carries besides its message. Never a secret: no seed, passphrase or key file. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Where every part of the node writes what happened. Engines do not have one: they return effects. */
export interface Log {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  /** A log whose every line also carries `fields`. */
  child(fields: LogFields): Log;
}

export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;

/** From the most talkative to none at all. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Where lines go: a standard stream, a file that is appended to, or a function (a ring buffer, a test). */
export type LogDestination = "stdout" | "stderr" | { readonly file: string } | { readonly write: (line: string) => void };

/** A log that must be closed so that its last lines are on disk. */
export interface OpenLog extends Log, AsyncDisposable {}

/**
 * Opens a log.
 *
 * Lines are written as they are made (no worker, no buffer): a node that is killed has written what it said.
 * @throws CodedError `log_open` when the file cannot be opened
 */
export async function openLog(options: { readonly level: LogLevel; readonly destination: LogDestination }): Promise<OpenLog> {
  const { stream, close } = await openDestination(options.destination);
  const logger = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  );
  return Object.assign(adapt(logger), { [Symbol.asyncDispose]: close });
}

/** Bigints are written as decimal strings and byte arrays as hex: JSON has neither. */
function plain(fields: LogFields): Record<string, unknown> {
  const copy: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields)) {
    if (typeof value === "bigint") copy[key] = value.toString();
    else if (value instanceof Uint8Array)
      copy[key] = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("hex");
    else if (value instanceof Error) copy[key] = pino.stdSerializers.err(value);
    else copy[key] = value;
  }
  return copy;
}

function adapt(logger: Logger): Log {
  return {
    debug: (fields, message) => {
      if (logger.isLevelEnabled("debug")) logger.debug(plain(fields), message);
    },
    info: (fields, message) => logger.info(plain(fields), message),
    warn: (fields, message) => logger.warn(plain(fields), message),
    error: (fields, message) => logger.error(plain(fields), message),
    child: (fields) => adapt(logger.child(plain(fields))),
  };
}

async function openDestination(destination: LogDestination): Promise<{ stream: DestinationStream; close: () => Promise<void> }> {
  if (typeof destination === "object" && "write" in destination) return { stream: destination, close: async () => {} };
  if (typeof destination === "string") {
    const stream = pino.destination({ fd: destination === "stdout" ? 1 : 2, sync: true });
    return { stream, close: async () => stream.flushSync() };
  }
  const stream = await openFile(destination.file);
  return {
    stream,
    close: async () => {
      const closed = once(stream, "close");
      stream.end();
      await closed;
    },
  };
}

async function openFile(file: string): Promise<ReturnType<typeof pino.destination>> {
  try {
    const stream = pino.destination({ dest: file, sync: true, append: true, mkdir: true });
    await once(stream, "ready");
    return stream;
  } catch (cause) {
    throw new CodedError("log_open", { file }, { cause });
  }
}
