/** From a well-formed request to its outcome: rate, method, parameters, the method itself, and its result as JSON. */

import { setImmediate as nextTurn } from "node:timers/promises";
import * as z from "zod";
import { codeOf } from "../../crypto/base/error.ts";
import type { Result } from "../../crypto/base/result.ts";
import type { Log } from "../log/log.ts";
import type { Counter, Histogram, Metrics } from "../metrics/metrics.ts";
import type { NodeBackend } from "./backend.ts";
import { RPC_ERROR, type Refusal } from "./errors.ts";
import type { Limits } from "./limits.ts";
import type { AnyMethod, SubscriptionPort } from "./method.ts";
import { type ErrorObject, refusalError, type Request, rpcError } from "./protocol.ts";
import type { Rates } from "./rates.ts";

/** Who asks: one per connection. */
export type Caller = {
  readonly address: string;
  readonly signal: AbortSignal;
  readonly subscriptions: SubscriptionPort | undefined;
  /** Requests of this connection that wait for their answer. */
  inFlight: number;
};

/** What a dispatcher works with. */
export type DispatcherParts = {
  readonly methods: readonly AnyMethod[];
  readonly backend: NodeBackend;
  readonly limits: Limits;
  readonly rates: Rates;
  readonly log: Log;
  readonly metrics: Metrics | undefined;
  /** Answers in the place of this node, which has no state of its own yet; `undefined` leaves a method to the node. */
  readonly relay?: Relay | undefined;
  /** Whether so many answers wait to be sent that no more may be made. */
  readonly isBusy: () => boolean;
};

/** Somebody else who answers: `params` are checked, and the answer is of the method's result. */
export type Relay = (
  declared: AnyMethod,
  params: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
) => Promise<Result<unknown, Refusal> | undefined>;

type Outcome = { readonly result: unknown } | { readonly error: ErrorObject };

/** Each begins in the same turn of the loop: some milliseconds of the thread. */
const TOGETHER_MAX = 32;
const SECONDS_BUCKETS = [0.0005, 0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60];

/** See the file's head. */
export class Dispatcher {
  readonly #parts: DispatcherParts;
  readonly #methods: ReadonlyMap<string, AnyMethod>;
  readonly #answered: Counter | undefined;
  readonly #seconds: Histogram | undefined;

  constructor(parts: DispatcherParts) {
    this.#parts = parts;
    this.#methods = new Map(parts.methods.map((declared) => [declared.name, declared]));
    const { metrics } = parts;
    this.#answered = metrics?.counter({ name: "rpc_requests_total", help: "Requests answered.", labels: ["method", "outcome"] });
    this.#seconds = metrics?.histogram({
      name: "rpc_request_seconds",
      help: "From reading a request to its outcome.",
      buckets: SECONDS_BUCKETS,
    });
  }

  /** How many neighbours of one batch may run together now. Half of what the caller may have under way is left to its others. */
  together(method: string, caller: Caller): number {
    if (this.#methods.get(method)?.runsTogether !== true) return 1;
    return Math.max(1, Math.min(TOGETHER_MAX, Math.floor((this.#parts.limits.inFlightMax - caller.inFlight) / 2)));
  }

  /** Runs one request. Never throws. */
  async dispatch(request: Request, caller: Caller): Promise<Outcome> {
    const { limits, rates } = this.#parts;
    const startedAtMs = performance.now();
    if (!rates.take(caller.address)) {
      return { error: refusalError({ code: "rate_limited", retryAfterMs: Math.ceil(1000 / limits.requestsPerSecondMax) }) };
    }
    if (caller.inFlight >= limits.inFlightMax)
      return { error: refusalError({ code: "in_flight", inFlightMax: limits.inFlightMax }) };
    caller.inFlight += 1;
    try {
      const outcome = await this.#run(request, caller);
      const labels = {
        method: this.#methods.has(request.method) ? request.method : "unknown",
        outcome: "error" in outcome ? "error" : "result",
      };
      this.#answered?.add(1, labels);
      this.#seconds?.observe((performance.now() - startedAtMs) / 1000);
      return outcome;
    } finally {
      caller.inFlight -= 1;
    }
  }

  async #run(request: Request, caller: Caller): Promise<Outcome> {
    // A batch must not keep the thread from the chain: each request begins in a turn of its own.
    await nextTurn();
    if (caller.signal.aborted) return { error: refusalError({ code: "shutting_down" }) };
    if (this.#parts.isBusy()) return { error: refusalError({ code: "busy" }) };
    const declared = this.#methods.get(request.method);
    if (declared === undefined) return { error: rpcError(RPC_ERROR.methodNotFound, "method_unknown") };
    const params = decodeParams(declared.params, request.params);
    if (!params.success)
      return { error: rpcError(RPC_ERROR.invalidParams, "params_invalid", { issues: issuesOf(params.error) }) };
    try {
      const { backend, limits, relay } = this.#parts;
      const relayed = await relay?.(declared, params.data, caller.signal);
      // The parameters are the output of this very method's schema.
      const handled =
        relayed ??
        (await declared.handle(params.data as never, {
          backend,
          limits,
          signal: caller.signal,
          subscriptions: caller.subscriptions,
        }));
      if (!handled.ok) return { error: refusalError(handled.error) };
      return { result: z.encode(declared.result, handled.value) };
    } catch (error) {
      if (caller.signal.aborted) return { error: refusalError({ code: "shutting_down" }) };
      // Not an answer that another node could not give: the caller is to ask one.
      if (codeOf(error) === "store_damaged") return { error: refusalError({ code: "store_damaged" }) };
      // The caller learns that we failed and nothing of how; the operator finds the cause in the log.
      this.#parts.log.error({ method: request.method, code: codeOf(error), error }, "rpc method failed");
      return { error: rpcError(RPC_ERROR.internal, "internal") };
    }
  }
}

/** Parameters by name, by position (in the schema's order), or none at all. */
function decodeParams(schema: z.ZodObject, given: unknown): z.ZodSafeParseResult<Record<string, unknown>> {
  if (!Array.isArray(given)) return schema.safeParse(given ?? {});
  const names = Object.keys(schema.shape);
  // One past the end becomes a member that the strict schema does not know, and refuses.
  const named: [string, unknown][] = given.map((value: unknown, index) => [names[index] ?? `${index}`, value]);
  return schema.safeParse(Object.fromEntries(named));
}

const ISSUES_MAX = 8;

function issuesOf(error: z.ZodError): readonly { readonly field: string; readonly message: string }[] {
  return error.issues.slice(0, ISSUES_MAX).map((issue) => ({
    field: (issue.code === "unrecognized_keys" ? [...issue.path, issue.keys[0] ?? ""] : issue.path).join(".").slice(0, 128),
    message: issue.code === "unrecognized_keys" ? "unknown parameter" : issue.message.slice(0, 256),
  }));
}
