/**
 * JSON-RPC 2.0, apart from any transport: a message in, the answer out. Source: the specification of 2013-01-04
 * (jsonrpc.org); section numbers below are its.
 *
 * Where the specification leaves room: parameters may be given by name or by position; an id that a JavaScript number
 * cannot hold exactly is refused, because echoing it would change it; unknown members of a request are ignored.
 */

import { parseUtf8 } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { REFUSALS } from "../../chain/block/errors.ts";
import { RPC_CODES, RPC_ERROR, type Refusal, type RpcCode } from "./errors.ts";
import type { Limits } from "./limits.ts";

/** What tells requests of one connection apart. */
export type RequestId = string | number | null;

/** A request that has the right shape. Without an id it is a notification (section 4.1). */
export type Request = { readonly id: RequestId | undefined; readonly method: string; readonly params: unknown };

/** `error` of an answer (section 5.1). */
export type ErrorObject = { readonly code: number; readonly message: string; readonly data?: Refusal };

/** One answer (section 5). */
export type Answer =
  | { readonly jsonrpc: "2.0"; readonly id: RequestId; readonly result: unknown }
  | { readonly jsonrpc: "2.0"; readonly id: RequestId; readonly error: ErrorObject };

/** Runs one request. Must not throw: what it cannot do is an error object. */
export type Dispatch = (request: Request) => Promise<{ readonly result: unknown } | { readonly error: ErrorObject }>;

/** An error object for a code of the table. */
export function rpcError(number: number, code: RpcCode, detail: Readonly<Record<string, unknown>> = {}): ErrorObject {
  return { code: number, message: RPC_CODES[code], data: { code, ...detail } };
}

/** An error object for a refusal of a method, with number -32000. */
export function refusalError(refusal: Refusal): ErrorObject {
  return { code: RPC_ERROR.coded, message: meaningOf(refusal.code), data: refusal };
}

function meaningOf(code: string): string {
  if (Object.hasOwn(RPC_CODES, code)) return RPC_CODES[code as RpcCode];
  return Object.hasOwn(REFUSALS, code) ? REFUSALS[code as keyof typeof REFUSALS].meaning : code;
}

/** An answer that carries an error ; without an id where the request's could not be read. */
export function errorAnswer(error: ErrorObject, id: RequestId = null): Answer {
  return { jsonrpc: "2.0", id, error };
}

/**
 * Answers one message, which is a request or a batch of them (section 6), as JSON text. `undefined` when nothing is to
 * be sent: every request in it was a notification. Requests of a batch run one after another, so that one message
 * holds one answer in the making, but for neighbours that may run together; all their answers stay below `answerSizeBytesMax`.
 */
export async function answerMessage(bytes: Uint8Array, options: AnswerOptions): Promise<string | undefined> {
  const { limits } = options;
  // A batch is kept until the last of it is answered, and a request may wait for a minute.
  options.hold(bytes.length);
  const parsed = parseMessage(bytes, limits);
  if (!parsed.ok) return JSON.stringify(errorAnswer(rpcError(RPC_ERROR.parse, parsed.error.code, { depthMax: limits.depthMax })));
  if (!Array.isArray(parsed.value)) {
    const answer = await answerOne(parsed.value, limits.answerSizeBytesMax, options);
    if (answer !== undefined) options.hold(answer.length);
    return answer;
  }
  if (parsed.value.length === 0) return JSON.stringify(errorAnswer(rpcError(RPC_ERROR.invalidRequest, "batch_empty")));
  if (parsed.value.length > limits.batchMax) {
    return JSON.stringify(errorAnswer(rpcError(RPC_ERROR.invalidRequest, "batch_size", { batchMax: limits.batchMax })));
  }
  const answers: string[] = [];
  let left = limits.answerSizeBytesMax;
  const requests = (parsed.value as readonly unknown[]).map((item) => parseRequest(item, limits));
  for (let at = 0; at < requests.length;) {
    const group = requests.slice(at, at + groupSize(requests, at, options));
    at += group.length;
    for (const outcome of await Promise.all(group.map(async (request) => await outcomeOf(request, options)))) {
      const answer = answerText(outcome, left, limits);
      if (answer === undefined) continue;
      answers.push(answer);
      options.hold(answer.length);
      left -= answer.length;
    }
  }
  return answers.length === 0 ? undefined : `[${answers.join(",")}]`;
}

/** What answering needs. */
export type AnswerOptions = {
  readonly limits: Limits;
  readonly dispatch: Dispatch;
  /** How many neighbours of one batch that ask for this method may be under way together; one unless said. */
  readonly together?: (method: string) => number;
  /** Hears the size of the message and of each answer as it is made, so that whoever sends them knows what is held in memory. */
  readonly hold: (size: number) => void;
};

type ParsedRequest = ReturnType<typeof parseRequest>;

/** How many from `at` on run together: neighbours that ask for the same. */
function groupSize(requests: readonly ParsedRequest[], at: number, { together }: AnswerOptions): number {
  const methodOf = (request: ParsedRequest | undefined): string | undefined =>
    request?.ok === true ? request.value.method : undefined;
  const method = methodOf(requests[at]);
  const sizeMax = method === undefined ? 1 : (together?.(method) ?? 1);
  let size = 1;
  while (size < sizeMax && at + size < requests.length && methodOf(requests[at + size]) === method) size += 1;
  return size;
}

async function answerOne(value: unknown, sizeMax: number, options: AnswerOptions): Promise<string | undefined> {
  return answerText(await outcomeOf(parseRequest(value, options.limits), options), sizeMax, options.limits);
}

/** What came of one request; `undefined` of a notification, which is not answered. */
async function outcomeOf(request: ParsedRequest, { dispatch }: AnswerOptions): Promise<Answer | undefined> {
  if (!request.ok) {
    return errorAnswer(rpcError(RPC_ERROR.invalidRequest, "request_invalid", { field: request.error.field }), request.error.id);
  }
  const outcome = await dispatch(request.value);
  const { id } = request.value;
  return id === undefined ? undefined : { jsonrpc: "2.0", id, ...outcome };
}

function answerText(answer: Answer | undefined, sizeMax: number, limits: Limits): string | undefined {
  if (answer === undefined) return undefined;
  const text = JSON.stringify(answer);
  if (text.length <= sizeMax) return text;
  return JSON.stringify(
    errorAnswer(rpcError(RPC_ERROR.coded, "answer_size", { answerSizeBytesMax: limits.answerSizeBytesMax }), answer.id),
  );
}

function parseMessage(bytes: Uint8Array, limits: Limits): Result<unknown, { readonly code: "json_invalid" | "json_depth" }> {
  const text = parseUtf8(bytes);
  if (!text.ok) return fail({ code: "json_invalid" });
  if (jsonDepth(text.value) > limits.depthMax) return fail({ code: "json_depth" });
  try {
    return ok(JSON.parse(text.value));
  } catch {
    // JSON.parse has no other way to say no; the answer is its code.
    return fail({ code: "json_invalid" });
  }
}

/** How deeply arrays and objects nest in `text`, whether or not it is JSON. One pass, nothing built. */
export function jsonDepth(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    if (inString) {
      if (unit === 0x5c) index += 1;
      else if (unit === 0x22) inString = false;
    } else if (unit === 0x22) inString = true;
    else if (unit === 0x5b || unit === 0x7b) {
      depth += 1;
      if (depth > deepest) deepest = depth;
    } else if (unit === 0x5d || unit === 0x7d) depth -= 1;
  }
  return deepest;
}

/** Checks the shape of one request (section 4). `id` of the refusal is the request's own where it could be read. */
export function parseRequest(
  value: unknown,
  limits: Limits,
): Result<Request, { readonly code: "request_invalid"; readonly field: string; readonly id: RequestId }> {
  const refuse = (field: string, id: RequestId) => fail({ code: "request_invalid", field, id });
  if (typeof value !== "object" || value === null || Array.isArray(value)) return refuse("request", null);
  const { jsonrpc, method, params, id } = value as { readonly [member: string]: unknown };
  const hasId = Object.hasOwn(value, "id");
  if (hasId && !isRequestId(id, limits)) return refuse("id", null);
  const known = hasId ? (id as RequestId) : null;
  if (!Object.hasOwn(value, "jsonrpc") || jsonrpc !== "2.0") return refuse("jsonrpc", known);
  if (!Object.hasOwn(value, "method") || typeof method !== "string") return refuse("method", known);
  const given = Object.hasOwn(value, "params");
  if (given && (typeof params !== "object" || params === null)) return refuse("params", known);
  return ok({ id: hasId ? (id as RequestId) : undefined, method, params: given ? params : undefined });
}

function isRequestId(id: unknown, limits: Limits): id is RequestId {
  if (id === null) return true;
  if (typeof id === "string") return id.length <= limits.idCharactersMax;
  return typeof id === "number" && (Number.isSafeInteger(id) || (Number.isFinite(id) && !Number.isInteger(id)));
}
