/**
 * Every refusal that the RPC server has of its own, and the JSON-RPC numbers. Codes of transactions come from the
 * chain and are passed on as they are, with the field at fault.
 */

import type { Coded } from "../../crypto/base/result.ts";

/** JSON-RPC 2.0, section 5.1. `coded` is ours: the reason is in `data.code`. */
export const RPC_ERROR = {
  parse: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internal: -32603,
  coded: -32000,
} as const;

/** What each code means and what the caller should do about it. */
export const RPC_CODES = {
  json_invalid: "The body is not JSON in UTF-8. Fix the request.",
  json_depth: "The JSON is nested too deeply. Fix the request.",
  request_invalid: "Not a JSON-RPC 2.0 request. Fix the request.",
  request_size: "The request is too large. Split it.",
  batch_size: "The batch holds too many requests. Split it.",
  batch_empty: "A batch holds at least one request.",
  method_unknown: "No such method. rpc.discover lists them.",
  params_invalid: "A parameter is missing, unknown or malformed; see `issues`.",
  rate_limited: "Too many requests from this address. Wait `retryAfterMs`.",
  in_flight: "Too many unanswered requests on this connection. Wait for answers.",
  busy: "Too many answers wait to be read by their callers. Try again later, or another node.",
  answer_size: "The answer would be too large. Ask for less at once.",
  internal: "The node failed. Try another one, and tell its operator.",
  shutting_down: "The node is closing. Try another one.",
  height_none: "Nothing is final yet, so nothing can be proven. Wait for the first block.",
  height_future: "That height is not final yet. Wait, or ask without a height.",
  height_pruned: "This node no longer holds the state of that height. Ask for a newer height or another node.",
  height_order: "The heights are in the wrong order.",
  block_unknown: "This node holds no such block.",
  transaction_unknown: "No transaction with that id is final here. Ask transaction.status.",
  record_unknown: "The partition holds no record at that index.",
  partition_unknown: "Nothing was ever appended to that partition.",
  range_invalid: "The end of the range lies before its beginning.",
  subscription_transport: "Subscriptions need a WebSocket connection.",
  subscription_limit: "Too many subscriptions on this connection. End some.",
  subscription_unknown: "This connection has no subscription of that id.",
} as const satisfies Record<string, string>;

/** A code of the table above. */
export type RpcCode = keyof typeof RPC_CODES;

/**
 * What the client throws besides `UnprovenError` and the refusals of the node, which keep the node's own code: such as
 * `height_pruned`, or `nonce_used` of the chain.
 */
export const CLIENT_CODES = {
  rpc_unreachable: "The node could not be reached. Check its address, or try another one.",
  rpc_timeout: "The node did not answer in time. Try again, or another one.",
  rpc_answer: "What answered does not speak JSON-RPC 2.0. Check the address.",
  rpc_answer_size: "The answer is larger than is allowed. Ask for less, or raise the limit.",
  rpc_error: "The node refused without a code of ours. See the message.",
  transaction_timeout:
    "The transaction was neither final nor refused in time. Wait again: it may still become final until it expires.",
} as const satisfies Record<string, string>;

/** What the server throws when it cannot open. */
export const SERVER_CODES = {
  rpc_listen: "The address cannot be bound. Choose another host or port, or stop what uses it.",
} as const satisfies Record<string, string>;

/** Why a method refused: goes to the caller as `error.data`. */
export type Refusal = Coded & { readonly field?: string; readonly [detail: string]: unknown };

/** Reasons in WebSocket close frames, with the codes of RFC 6455 (4000 and up are ours). */
export const CLOSE = {
  goingAway: { number: 1001, reason: "shutting_down" },
  binary: { number: 1003, reason: "binary_frame" },
  tooSlow: { number: 4008, reason: "slow_subscriber" },
} as const;
