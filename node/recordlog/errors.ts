/** What a node's record logs throw; what callers are refused with is in `node/rpc/errors.ts`. */

export const RECORDLOG_CODES = {
  recordlog_damaged: "a row of the tiles is missing or changed: the log is made again from the records",
} as const satisfies Record<string, string>;
