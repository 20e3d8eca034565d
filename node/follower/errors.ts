/** What following can fail with, beside the codes of `node/light/errors.ts` and of the nodes. */

export const FOLLOWER_CODES = {
  gateways_none: "No node is left to ask: each failed or lied. Name others.",
  gateway_behind: "The node stands still while others go on. Another one is asked.",
  witness_missing: "Too few other nodes confirmed the head. Name more, or wait until they have it.",
} as const satisfies Record<string, string>;
