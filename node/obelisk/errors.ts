/** What the Obelisk role throws (`CodedError`), and what a caller should do. */

export const OBELISK_CODES = {
  obelisk_locked: "another process has this directory's counters: stop that one, or take another directory",
  obelisk_disk: "the disk failed while a counter was made durable: nothing more is issued; look at the disk, then restart",
  obelisk_full: "the disk has no room, or a file may not grow: nothing was issued; make room and ask again",
  obelisk_corrupt: "a counter's file is longer than any counter makes it: restore nothing, look at the disk",
  obelisk_writer: "a counter's file changed under its only writer: nothing more is issued; find who else writes there",
  obelisk_name: "a name is lower-case letters, digits, _, . and -, at most 64, the first a letter or a digit",
  obelisk_count: "a request takes at least one and at most COUNT_MAX values: ask in parts",
  obelisk_busy: "more callers wait than may: ask again in a moment, or another node",
  obelisk_counters: "the node has as many counters as it keeps: use one that is there, or another node",
  obelisk_exhausted: "the counter has passed 2^64: take another name",
  obelisk_spaces: "the node keeps as many spaces of ids as it may: use one that is there",
  obelisk_number:
    "the node has no number, or its lease is over: lease one (`pyralog number claim`, or obelisk.leaseNumber), or ask another node",
  pharaoh_service: "the node does not serve this service: use one of `obelisk.services`, or configure it on every node",
  pharaoh_unavailable: "no peer answers, and this node cannot issue either: see the cause, and ask again later",
  pharaoh_answer: "a peer answered with values that it may not give; it was penalised: ask again",
  obelisk_closed: "the counters were closed: a fault in the order of closing",
} as const satisfies Record<string, string>;

/** One of `OBELISK_CODES`. */
export type ObeliskCode = keyof typeof OBELISK_CODES;
