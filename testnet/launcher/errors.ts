/** What can go wrong with a network on one machine, and what to look at. */

export const LAUNCHER_CODES = {
  node_exited: "a node's process is gone; the end of its log is in the message",
  node_timeout: "a node did not come that far in time; the end of its log is in the message",
  ports_taken: "no free block of ports: name one with --port",
  engine_unknown: "--engine names no protocol",
  home_engine: "the directory holds a network of another protocol",
  validators_invalid: "--validators is out of range",
  transactions_invalid: "--transactions is out of range",
  port_invalid: "--port is out of range",
  transaction_not_applied: "a transaction that should have worked did not; the message has its status",
  program_output: "the program printed something else than JSON, or not what was waited for",
  program_refused: "the program refused what should have worked; the message has its answer",
} as const satisfies Record<string, string>;
