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
  store_damaged: "What was asked for is damaged on this node's disk, and not served. Ask another node.",
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
  relay_unavailable: "This node is joining, and no peer answers for it right now. Try again, or another node.",
  obelisk_off: "This node gives out no counters and ids. Ask another one.",
  obelisk_name: "Not the name of a counter.",
  obelisk_count: "More values, or fewer, than may be asked for at once. Ask in parts.",
  obelisk_busy: "Too many wait for the node's counters, or it has too many. Ask again in a moment, or another node.",
  pharaoh_service: "The node does not serve this service. obelisk.status names those it serves.",
  pharaoh_unavailable: "Neither this node nor its peers can issue now. Ask again later, or another node.",
  pharaoh_answer: "A peer answered wrongly, and was penalised. Ask again.",
  recordlog_off: "This node signs no record logs. Ask another one.",
  recordlog_work: "Under proof of work records may be undone, so no log of them is signed.",
  recordlog_busy: "Too many ask for record logs at once. Ask again in a moment, or another node.",
  recordlog_building: "The node hashed `done` of `size` records. Ask again: it goes on from there.",
  recordlog_dropped: "The record at `index` was dropped before this node hashed it, so it cannot make the log. Ask another node.",
  recordlog_conflict: "What this node signed before is not the beginning of this log, so it signs no more. Tell its operator.",
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
  stream_unknown: "Nobody declared this stream, so there is no count of partitions to route by. Declare it, or name a partition.",
  rpc_unreachable: "The node could not be reached. Check its address, or try another one.",
  rpc_timeout: "The node did not answer in time. Try again, or another one.",
  rpc_answer: "What answered does not speak JSON-RPC 2.0. Check the address.",
  rpc_answer_size: "The answer is larger than is allowed. Ask for less, or raise the limit.",
  rpc_error: "The node refused without a code of ours. See the message.",
  producer_stopped:
    "It is not known whether an append before this one was made (see the cause). Look, then open another producer.",
  transaction_timeout:
    "The transaction was neither final nor refused in time. Wait again: it may still become final until it expires.",
} as const satisfies Record<string, string>;

/** What the server throws when it cannot open. */
export const SERVER_CODES = {
  rpc_listen: "The address cannot be bound. Choose another host or port, or stop what uses it.",
  page_too_large: "The explorer's directory holds more than its page. Build it again with npm run explorer.",
} as const satisfies Record<string, string>;

/** Why a method refused: goes to the caller as `error.data`. */
export type Refusal = Coded & { readonly field?: string; readonly [detail: string]: unknown };

/** Reasons in WebSocket close frames, with the codes of RFC 6455 (4000 and up are ours). */
export const CLOSE = {
  goingAway: { number: 1001, reason: "shutting_down" },
  binary: { number: 1003, reason: "binary_frame" },
  tooSlow: { number: 4008, reason: "slow_subscriber" },
} as const;
