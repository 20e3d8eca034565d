/**
 * What a chain owes to the clients who submit transactions to it and ask after them: applied once, final for good, and
 * no going back.
 *
 * A client names a transaction by its id and submits the same id again when it hears nothing. Only final answers
 * bind: a receipt in a block that may still be undone (proof of work before its depth) may vanish.
 */

import { describeOperation, type Operation } from "./history.ts";

/** What a client asks a node. */
export type ChainInput =
  /** Take this transaction, perhaps again. */
  | { readonly kind: "submit"; readonly transaction: string; readonly node: string }
  /** What became of it? */
  | { readonly kind: "receipt"; readonly transaction: string; readonly node: string }
  /** How far are you? */
  | { readonly kind: "head"; readonly node: string };

/** What a node answers. */
export type ChainOutput =
  /** Taken into the pool: a promise of nothing. */
  | { readonly kind: "pooled" }
  /** It is in the block of this height. */
  | { readonly kind: "receipt"; readonly height: bigint; readonly isFinal: boolean }
  /** It is in no block up to `finalHeight`, which is final here. */
  | { readonly kind: "absent"; readonly finalHeight: bigint }
  | { readonly kind: "head"; readonly height: bigint; readonly isFinal: boolean };

/** A transaction in a final block. */
export type Applied = { readonly transaction: string; readonly height: bigint };

/** An operation with a chain. */
export type ChainOperation = Operation<ChainInput, ChainOutput>;

/** The checks of this file. */
export type ChainCheck = "exactly_once" | "receipts_stay" | "heights_rise";

/** Whether it held. `comparisons` is how often it could have been broken: 0 says nothing. */
export type ChainVerdict =
  | { readonly kind: "held"; readonly check: ChainCheck; readonly comparisons: number }
  | {
      readonly kind: "violation";
      readonly check: ChainCheck;
      readonly why: string;
      /** Those that contradict each other, in the order of the story; none when the chain contradicts itself. */
      readonly operations: readonly ChainOperation[];
    };

/**
 * A transaction is applied once, however often it was submitted; one with a final receipt is applied where that says;
 * one that was never taken, or never submitted, is not applied.
 *
 * @param applied - the transactions of the final chain that the history's clients could have submitted
 */
export function checkExactlyOnce(operations: readonly ChainOperation[], applied: readonly Applied[]): ChainVerdict {
  const check = "exactly_once";
  const heights = new Map<string, bigint>();
  const submits = operations.filter(({ input }) => input.kind === "submit");
  const byTransaction = Map.groupBy(submits, ({ input }) => transactionOf(input));
  for (const { transaction, height } of applied) {
    const attempts = byTransaction.get(transaction) ?? [];
    const first = heights.get(transaction);
    if (first !== undefined)
      return broken(check, `${transaction} was applied at height ${first} and again at height ${height}`, attempts);
    if (attempts.every(({ outcome }) => outcome.kind === "failed"))
      return broken(check, `${transaction} was applied at height ${height}, though no submission of it was taken`, attempts);
    heights.set(transaction, height);
  }
  let comparisons = applied.length;
  for (const operation of operations) {
    const receipt = finalReceiptOf(operation);
    if (receipt === undefined) continue;
    comparisons += 1;
    const height = heights.get(receipt.transaction);
    if (height === receipt.height) continue;
    const where = height === undefined ? "is not in the chain" : `is at height ${height} of the chain`;
    return broken(check, `${receipt.transaction} has a final receipt for height ${receipt.height}, and ${where}`, [operation]);
  }
  return { kind: "held", check, comparisons };
}

/**
 * A final receipt stays. All final receipts of a transaction name one height; a node that is final up to there knows
 * it; and a node that gave it once gives it to every later question.
 */
export function checkReceiptsStay(operations: readonly ChainOperation[]): ChainVerdict {
  const check = "receipts_stay";
  const receipts = new Map<string, ChainOperation>();
  for (const operation of operations) {
    const receipt = finalReceiptOf(operation);
    if (receipt === undefined) continue;
    const first = receipts.get(receipt.transaction);
    if (first === undefined) receipts.set(receipt.transaction, operation);
    else if (finalReceiptOf(first)?.height !== receipt.height)
      return broken(check, `${receipt.transaction} is final at two heights`, [first, operation]);
  }
  const given = firstGiven(operations);
  let comparisons = 0;
  for (const operation of operations) {
    const { input, outcome } = operation;
    if (input.kind === "head" || outcome.kind !== "returned") continue;
    const first = receipts.get(input.transaction);
    const height = first === undefined ? undefined : finalReceiptOf(first)?.height;
    if (first === undefined || height === undefined) continue;
    comparisons += 1;
    const { output } = outcome;
    if (output.kind === "absent" && output.finalHeight >= height)
      return broken(check, `${input.node} is final up to height ${output.finalHeight} and does not know ${input.transaction}`, [
        first,
        operation,
      ]);
    const before = given.get(JSON.stringify([input.node, input.transaction]));
    if (before === undefined || returnPosition(before) > operation.call.position) continue;
    if (output.kind === "absent" || (output.kind === "receipt" && !output.isFinal))
      return broken(check, `${input.node} gave a final receipt of ${input.transaction}, and takes it back`, [before, operation]);
  }
  return { kind: "held", check, comparisons };
}

/** By node and transaction, the final receipt that came first. */
function firstGiven(operations: readonly ChainOperation[]): ReadonlyMap<string, ChainOperation> {
  const given = new Map<string, ChainOperation>();
  for (const operation of operations.toSorted((a, b) => returnPosition(a) - returnPosition(b))) {
    const receipt = finalReceiptOf(operation);
    if (receipt === undefined) continue;
    const name = JSON.stringify([operation.input.node, receipt.transaction]);
    if (!given.has(name)) given.set(name, operation);
  }
  return given;
}

/** What a client hears one node call final never gets less. Other nodes may be behind, and heads that are not final may sink. */
export function checkHeightsRise(operations: readonly ChainOperation[]): ChainVerdict {
  const check = "heights_rise";
  const highest = new Map<string, { readonly operation: ChainOperation; readonly height: bigint }>();
  let comparisons = 0;
  for (const operation of operations) {
    const height = finalHeightOf(operation);
    if (height === undefined) continue;
    const { client, input } = operation;
    const pair = JSON.stringify([client, input.node]);
    const before = highest.get(pair);
    if (before !== undefined) comparisons += 1;
    if (before !== undefined && height < before.height)
      return broken(check, `${input.node} was final up to height ${before.height}, and then up to ${height}`, [
        before.operation,
        operation,
      ]);
    highest.set(pair, { operation, height });
  }
  return { kind: "held", check, comparisons };
}

/** The verdict for people. */
export function explainChain(verdict: ChainVerdict): string {
  if (verdict.kind === "held") return `${verdict.check} held (${verdict.comparisons} comparisons)`;
  return [`${verdict.check}: ${verdict.why}`, ...verdict.operations.map((one) => `  ${describeOperation(one)}`)].join("\n");
}

function broken(check: ChainCheck, why: string, operations: readonly ChainOperation[]): ChainVerdict {
  return { kind: "violation", check, why, operations };
}

function transactionOf(input: ChainInput): string {
  return input.kind === "head" ? "" : input.transaction;
}

function finalReceiptOf({ input, outcome }: ChainOperation): Applied | undefined {
  if (input.kind === "head" || outcome.kind !== "returned") return undefined;
  const { output } = outcome;
  return output.kind === "receipt" && output.isFinal ? { transaction: input.transaction, height: output.height } : undefined;
}

function returnPosition({ outcome }: ChainOperation): number {
  return outcome.kind === "returned" ? outcome.at.position : Number.MAX_SAFE_INTEGER;
}

/** What the node called final in its answer. */
function finalHeightOf({ outcome }: ChainOperation): bigint | undefined {
  if (outcome.kind !== "returned") return undefined;
  const { output } = outcome;
  switch (output.kind) {
    case "head":
      return output.isFinal ? output.height : undefined;
    case "absent":
      return output.finalHeight;
    case "pooled":
    case "receipt":
      return undefined;
  }
}
