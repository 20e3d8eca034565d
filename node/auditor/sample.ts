/** One random question to a node, whose answer must prove itself. */

import { provenOrThrow, UnprovenError } from "../light/errors.ts";
import { provenRange } from "../light/statement.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { heightOf } from "../../chain/block/height.ts";
import { parseStateKey, partitionRange } from "../../chain/state/keys.ts";
import { parsePartitionHead } from "../../chain/state/rows.ts";
import type { PyralogClient } from "../rpc/client.ts";
import { stateProve } from "../rpc/methods/state.ts";

/** A whole number below a bound, that the node cannot foresee. */
export type Draw = (below: number) => number;

/** Codes with which a node says that it does not keep something, which is its right. */
const ABSENT_CODES = ["height_pruned", "block_unknown", "height_none", "record_unknown", "partition_unknown", "height_future"];

/**
 * Asks for an old header, a whole block with a transaction of it, a row of the state, or a record.
 *
 * @throws UnprovenError when the answer does not hold; CodedError when the node cannot be asked
 */
export async function sample(client: PyralogClient, draw: Draw, signal: AbortSignal): Promise<void> {
  try {
    const head = (await client.head({ signal })).value;
    const height = heightOf(1n + BigInt(draw(Number(head.height))));
    switch (draw(4)) {
      case 0:
        await client.header(height, { signal });
        return;
      case 1: {
        const { value: block } = await client.block(height, { signal });
        const transaction = block.transactions[draw(Math.max(1, block.transactions.length))];
        if (transaction !== undefined) await client.transaction(transaction.id, { signal });
        return;
      }
      case 2:
        await row(
          client,
          Uint8Array.from({ length: 8 }, () => draw(256)),
          signal,
        );
        return;
      default:
        await record(client, draw, signal);
    }
  } catch (error) {
    if (!(error instanceof CodedError) || error instanceof UnprovenError || !ABSENT_CODES.includes(error.code)) throw error;
  }
}

/** The first row at or after a key, proven to be that. */
async function row(
  client: PyralogClient,
  from: Uint8Array,
  signal: AbortSignal,
): Promise<{ readonly key: Uint8Array; readonly value: Uint8Array } | undefined> {
  const answer = await client.ask(stateProve, { from, limit: 1, anchor: true }, { signal });
  if (answer.anchor === undefined) throw new UnprovenError({ code: "proof_missing", field: "anchor" });
  const at = await client.believe(answer.anchor, { signal });
  return provenOrThrow(provenRange(at, { from, limit: 1 }, answer.proof)).rows[0];
}

async function record(client: PyralogClient, draw: Draw, signal: AbortSignal): Promise<void> {
  const { from } = partitionRange();
  const far = Uint8Array.from([...from, ...Array.from({ length: 4 }, () => draw(256))]);
  // Beyond the last partition there is none; then the first.
  for (const start of [far, from]) {
    const found = await row(client, start, signal);
    const name = found === undefined ? undefined : parseStateKey(found.key);
    if (found === undefined || name?.kind !== "partition") continue;
    const head = parsePartitionHead(found.value);
    if (!head.ok) throw new UnprovenError({ code: "answer_malformed", field: "partition" });
    const { size } = head.value.frontier;
    if (size === 0n) return;
    await client.record(name.stream, name.partition, BigInt(draw(Number(size))), { signal });
    return;
  }
}
