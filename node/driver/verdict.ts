/** What a gossiped message turned out to be. */

/** Pass on, drop silently, or drop and blame the sender. */
export type Verdict = "accept" | "ignore" | "reject";

/** `otherBody`: the message is of good form, but its block is not of the transactions that it was put together from. */
export type Delivery = Verdict | "otherBody";
