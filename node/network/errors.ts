/**
 * Every code that the network throws or answers, with what the caller should do.
 */

/** Codes of `CodedError`s thrown by this folder. */
export const NETWORK_ERRORS = {
  network_address: "a configured address is not a multiaddr, or lacks its /p2p/ part: fix the configuration",
  network_listen: "the listen address cannot be bound: another process has the port, or the address is not ours",
  network_closed: "the network was closed: stop asking",
  peer_cut: "we ended the connection (`why` says for what): nothing, its users are told",
  request_refused: "a handler of ours refuses the request (`refusal` says how): the peer is told",
  peer_unknown: "no greeted connection to that peer: choose another",
  peer_busy: "too many requests of our own wait for that peer: choose another, or ask later",
  peer_refused: "the peer answered with a refusal (`refusal` says which): choose another, or come back later",
  peer_stalled: "the peer stopped in the middle: choose another",
  peer_lost: "the connection or stream ended early: choose another",
  peer_hostile: "the peer broke the framing or a limit and was penalised: choose another",
  gossip_too_large: "the message is over the topic's limit: split it",
} as const satisfies Record<string, string>;

/** A code of the table. */
export type NetworkErrorCode = keyof typeof NETWORK_ERRORS;

/** What a peer may answer instead of an answer. Unknown refusals are shown as they come, cut to 64 characters. */
export const REFUSALS = {
  busy: "too many requests at work: wait a little",
  rate: "too many requests a second: slow down",
  stranger: "greet first",
  malformed: "the request does not parse: a fault of ours",
  unavailable: "that is not, or no longer, kept here: ask another",
  internal: "the peer failed: ask another",
  hello_network: "that peer is of another network",
  hello_version: "that peer speaks another version of the protocol",
} as const satisfies Record<string, string>;

/** A refusal of the table. */
export type Refusal = keyof typeof REFUSALS;
