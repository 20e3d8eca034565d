/** JSON-RPC over HTTP, as a client: one request, one answer, bounded in time and size. Runs in a browser. */

import * as z from "zod";
import { CodedError, codeOf } from "../../crypto/base/error.ts";
import { CLIENT_CODES } from "./errors.ts";
import { parseUtf8 } from "../../crypto/base/bytes.ts";

/** Where a node is, and what is expected of it. */
export type TransportOptions = {
  readonly url: string;
  /** The platform's `fetch` when absent. */
  readonly fetch?: typeof globalThis.fetch | undefined;
  readonly timeoutMs: number;
  readonly answerSizeBytesMax: number;
};

/** What a caller may say of one call. */
export type CallOptions = { readonly signal?: AbortSignal | undefined; readonly timeoutMs?: number | undefined };

/** What Node's `fetch` calls an end of the connection. */
const CLOSED: ReadonlySet<string> = new Set(["UND_ERR_SOCKET", "ECONNRESET", "EPIPE"]);

/** The error of an answer. `data.code` is the node's coded reason. */
export const errorSchema = z.object({
  code: z.int(),
  message: z.string().max(4096),
  data: z
    .object({ code: z.string().max(128), field: z.string().max(256).optional() })
    .loose()
    .optional(),
});

const answerSchema = z.union([
  z.object({ jsonrpc: z.literal("2.0"), id: z.int(), result: z.unknown() }).refine((answer) => answer.result !== undefined),
  z.object({ jsonrpc: z.literal("2.0"), id: z.int().nullable(), error: errorSchema }),
]);

/** The thrown form of a node's refusal. */
export function refusedByNode(method: string, error: z.output<typeof errorSchema>): CodedError {
  const { code = "rpc_error", ...detail } = error.data ?? {};
  return new CodedError(code, { message: error.message, method, number: error.code, ...detail });
}

/** One node, over HTTP. */
export class HttpTransport {
  readonly #options: TransportOptions;
  #count = 0;

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  /**
   * Calls a method and gives the result as JSON. Once more, when the connection ended before its answer.
   *
   * @throws CodedError of `CLIENT_CODES`, or the node's refusal; the reason of `signal` when that aborts
   */
  async call(
    method: string,
    params: unknown,
    { signal, timeoutMs = this.#options.timeoutMs }: CallOptions = {},
  ): Promise<unknown> {
    signal?.throwIfAborted();
    this.#count += 1;
    const id = this.#count;
    const timeout = AbortSignal.timeout(timeoutMs);
    const combined = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
    const body = JSON.stringify({ jsonrpc: "2.0", id, method, params });
    let bytes: Uint8Array;
    try {
      bytes = await this.#post(body, combined).catch(async (error: unknown) => {
        if (!isClosed(error)) throw error;
        return await this.#post(body, combined);
      });
    } catch (cause) {
      signal?.throwIfAborted();
      if (cause instanceof CodedError) throw cause;
      if (timeout.aborted)
        throw new CodedError("rpc_timeout", { message: CLIENT_CODES.rpc_timeout, method, timeoutMs }, { cause });
      throw new CodedError(
        "rpc_unreachable",
        { message: CLIENT_CODES.rpc_unreachable, url: this.#options.url, reason: codeOf(cause) },
        { cause },
      );
    }
    const answer = parseAnswer(bytes);
    if (answer === undefined || (answer.id !== id && !("error" in answer && answer.id === null))) {
      throw new CodedError("rpc_answer", { message: CLIENT_CODES.rpc_answer, url: this.#options.url });
    }
    if ("error" in answer) throw refusedByNode(method, answer.error);
    return answer.result;
  }

  async #post(body: string, signal: AbortSignal): Promise<Uint8Array> {
    const { url, answerSizeBytesMax } = this.#options;
    const send = this.#options.fetch ?? globalThis.fetch;
    const response = await send(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body,
      signal,
      redirect: "error",
    });
    if (response.body === null) return new Uint8Array(0);
    const chunks: Uint8Array[] = [];
    let size = 0;
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      if (size > answerSizeBytesMax) {
        await reader.cancel();
        throw new CodedError("rpc_answer_size", { message: CLIENT_CODES.rpc_answer_size, answerSizeBytesMax });
      }
      chunks.push(value);
    }
    return joined(chunks, size);
  }
}

/**
 * Whether a connection ended before its answer. A node closes one that has been idle for seconds, maybe as we write on it, and a
 * platform's `fetch` does not ask again when the method is POST. Our methods may be repeated: what is handed in twice is known
 * by its id, and numbers that went with a lost answer are a gap.
 */
function isClosed(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) if (CLOSED.has(codeOf(cause))) return true;
  return false;
}

function parseAnswer(bytes: Uint8Array): z.output<typeof answerSchema> | undefined {
  const text = parseUtf8(bytes);
  if (!text.ok) return undefined;
  try {
    return answerSchema.safeParse(JSON.parse(text.value)).data;
  } catch {
    // JSON.parse has no other way to say no; the caller says that this is not JSON-RPC.
    return undefined;
  }
}

/** Not `concatBytes(...chunks)`: a peer chooses how many chunks there are, and arguments have a limit. */
function joined(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
