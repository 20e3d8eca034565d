/** What the network owes its clients: each transaction once, final for good, and sessions that never go back. */

import { parseUtf8, toHex } from "../../../crypto/base/bytes.ts";
import { readWith } from "../../../crypto/codec/reader.ts";
import { heightOf } from "../../../chain/block/height.ts";
import type { Ledger } from "../../../chain/ledger/ledger.ts";
import {
  type Applied,
  type ChainOperation,
  type ChainVerdict,
  checkExactlyOnce,
  checkHeightsRise,
  checkReceiptsStay,
  explainChain,
} from "../history/chain.ts";
import { checkSessions, explainSession, keyValueSessions } from "../history/sessions.ts";
import { NAMESPACE, type Workload } from "../workload.ts";
import type { Checker, CheckerParts } from "./checker.ts";

/** What the checker is given. */
export type ClientsParts = CheckerParts & {
  readonly workload: Workload;
  readonly ledger: () => Ledger;
  readonly hasSessions: boolean;
  /** Whether blocks were undone that clients had been told are settled: then no receipt says anything. */
  readonly hasUndoneSettled: () => boolean;
};

/** See the file's head. */
export class Clients implements Checker {
  readonly #parts: ClientsParts;

  constructor(parts: ClientsParts) {
    this.#parts = parts;
  }

  onEnd(): void {
    const { workload, violated, hasSessions } = this.#parts;
    const ledger = this.#parts.ledger();
    const operations = workload.chain.operations();
    const { applied, order } = chainOf(ledger, workload);
    // Where blocks may be undone, a node in the middle of that is lower than it was, and so may be a client's own row.
    const verdicts = hasSessions
      ? [checkExactlyOnce(operations, applied), checkReceiptsStay(operations), checkHeightsRise(operations)]
      : settledVerdicts(operations, applied, this.#parts.hasUndoneSettled());
    for (const verdict of verdicts) if (verdict.kind === "violation") violated(verdict.check, explainChain(verdict));
    if (!hasSessions) return;
    const view = keyValueSessions(order, ({ index }) => workload.answeredBy.get(index) ?? "?");
    for (const verdict of checkSessions(workload.rows.operations(), view))
      if (verdict.kind === "violation") violated(verdict.guarantee, explainSession(verdict));
  }
}

/** What holds where blocks may be undone: what was settled stays, unless a split lasted for longer than that takes. */
function settledVerdicts(
  operations: readonly ChainOperation[],
  applied: readonly Applied[],
  hasUndoneSettled: boolean,
): readonly ChainVerdict[] {
  const settled = operations.filter(
    ({ outcome }) => outcome.kind !== "returned" || outcome.output.kind !== "receipt" || outcome.output.isFinal,
  );
  if (!hasUndoneSettled) return [checkExactlyOnce(settled, applied), checkReceiptsStay(settled)];
  return [
    checkExactlyOnce(
      operations.filter(({ input }) => input.kind === "submit"),
      applied,
    ),
  ];
}

/** What the decided chain holds of the clients' transactions, and the rows that they wrote, in its order. */
function chainOf(ledger: Ledger, workload: Workload) {
  const applied: { readonly transaction: string; readonly height: bigint }[] = [];
  const order: { readonly key: string; readonly value: string }[] = [];
  for (let height = 1n; height <= ledger.head().height; height += 1n) {
    for (const { id, body } of ledger.block(heightOf(height))?.transactions ?? []) {
      const transaction = toHex(id);
      if (workload.submitted.has(transaction)) applied.push({ transaction, height });
      for (const call of body.calls) {
        if (call.kind !== "tablePut" || call.namespace !== NAMESPACE) continue;
        const key = parseUtf8(call.key);
        const value = readWith(call.value, (reader) => reader.text(1000));
        if (key.ok && value.ok) order.push({ key: `${call.table}/${key.value}`, value: value.value });
      }
    }
  }
  return { applied, order };
}
