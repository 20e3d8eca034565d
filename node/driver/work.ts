/**
 * How much work a proposed block may ask of everybody.
 *
 * Bytes do not say it: an appended record of one byte takes three of them in a block and some 20 us of every
 * validator, so that a block filled with such records (700,000 of them) takes longer to execute than rounds wait.
 * This is the proposer's own restraint, well below the rule of the chain (`BLOCK_OPERATIONS_MAX` of chain/block).
 */

import { operationsOf, type Transaction } from "../../chain/block/transaction.ts";

/** Rows and records that a block may write, fees aside: about a second of one core. */
const PROPOSED_OPERATIONS_MAX = 20_000;

/** The first of these transactions that together stay within the bound; one alone may be over it. */
export function withinWork(
  transactions: readonly Transaction[],
  operationsMax = PROPOSED_OPERATIONS_MAX,
): readonly Transaction[] {
  let operations = 0;
  const end = transactions.findIndex((transaction, index) => {
    operations += operationsOf(transaction);
    return index > 0 && operations > operationsMax;
  });
  return end < 0 ? transactions : transactions.slice(0, end);
}
