/** The source over a running node: asks it everything, and believes nothing of what it says. */

import { type Height, heightOf } from "../../chain/block/height.ts";
import { codeOf } from "../../crypto/base/error.ts";
import type { PyralogClient } from "../rpc/client.ts";
import { chainBlock, chainHead, chainHistoryProof } from "../rpc/methods/chain.ts";
import { stateProve } from "../rpc/methods/state.ts";
import { streamRecords } from "../rpc/methods/stream.ts";
import type { AuditSource } from "./source.ts";

/** Codes with which a node says that it does not have what was asked for: a finding of the audit, not a failure. */
const ABSENT_CODES = ["block_unknown", "height_future", "height_none", "height_pruned", "partition_unknown", "record_unknown"];

/** A node as an audit source. Uses the client's transport alone, and none of its verification. */
export function rpcSource(client: PyralogClient, signal: AbortSignal): AuditSource {
  // The head moves on while it is audited: proofs are asked for at the height that the audit ends at.
  return {
    name: client.url,
    head: async () => heightOf((await client.ask(chainHead, {}, { signal })).height),
    height: (height) =>
      present(async () => {
        const { block, certificate } = await client.ask(chainBlock, { height }, { signal });
        return { block, certificate };
      }),
    history: (of: Height, at: Height) =>
      present(async () => (await client.ask(chainHistoryProof, { of, at }, { signal })).siblings),
    state: (height, from, limit) =>
      present(async () => (await client.ask(stateProve, { from, limit, height, anchor: false }, { signal })).proof),
    records: async (height, stream, partition, from, count) => {
      const answer = await present(() =>
        client.ask(streamRecords, { stream, partition, from, limit: count, height, anchor: false }, { signal }),
      );
      return (answer?.records ?? []).map(({ index, record, siblings }) => ({ index, bytes: record, siblings }));
    },
  };
}

async function present<T>(question: () => Promise<T>): Promise<T | undefined> {
  try {
    return await question();
  } catch (error) {
    if (ABSENT_CODES.includes(codeOf(error))) return undefined;
    throw error;
  }
}
