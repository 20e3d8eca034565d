/** Turns two nodes that show different chains into a fraud proof, when what both show is certified. */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { headerHash, parseHeader } from "../../chain/block/block.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { UnprovenError } from "../light/errors.ts";
import { encodeFraudFile, type ProvenFraud, verifyFraudFile } from "../light/fraud.ts";
import type { PyralogClient } from "../rpc/client.ts";
import type { CallOptions } from "../rpc/transport.ts";

/** A fraud proof, and what it was found to prove. */
export type Fork = { readonly file: Uint8Array; readonly fraud: ProvenFraud };

/** Finds the lowest height at which two nodes differ, and proves what their certificates there say. */
export async function proveFork(
  one: PyralogClient,
  other: PyralogClient,
  between: { readonly common: bigint; readonly height: Height },
  options: CallOptions,
): Promise<Fork | undefined> {
  const lowest = await lowestDifference(one, other, between, options);
  for (const height of lowest === between.height ? [lowest] : [lowest, between.height]) {
    for (const [first, second] of [
      [one, other],
      [other, one],
    ] as const) {
      const fork = await attempt(first, second, height, options);
      if (fork !== undefined) return fork;
    }
  }
  return undefined;
}

async function attempt(
  first: PyralogClient,
  second: PyralogClient,
  height: Height,
  options: CallOptions,
): Promise<Fork | undefined> {
  try {
    const [a, b] = [await first.lightBlock(height, options), await second.lightBlock(height, options)];
    const file = encodeFraudFile({
      chainId: first.network.chainId,
      networkHash: first.verifier.networkHash,
      changes: await first.trustPath(height, options),
      first: a.anchor,
      second: b.anchor,
      validators: bytesEqual(a.validators, b.validators) ? undefined : b.validators,
    });
    const proven = await verifyFraudFile(file, first.network);
    return proven.ok ? { file, fraud: proven.value } : undefined;
  } catch (error) {
    // One that keeps what would convict it is no proof of anything; the caller says that there is none.
    if (error instanceof CodedError) return undefined;
    throw error;
  }
}

/** By halves, on the nodes' own word: whatever height comes out, the proof there is checked. */
async function lowestDifference(
  one: PyralogClient,
  other: PyralogClient,
  { common, height }: { readonly common: bigint; readonly height: Height },
  options: CallOptions,
): Promise<Height> {
  let [same, different] = [common, height as bigint];
  try {
    while (different - same > 1n) {
      const middle = heightOf((same + different) / 2n);
      const [a, b] = [await hashAt(one, middle, options), await hashAt(other, middle, options)];
      if (bytesEqual(a, b)) same = middle;
      else different = middle;
    }
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
  }
  return heightOf(different);
}

async function hashAt(client: PyralogClient, height: Height, options: CallOptions): Promise<Hash> {
  const { anchor } = await client.lightBlock(height, options);
  const parsed = parseHeader(anchor.header);
  if (!parsed.ok) throw new UnprovenError({ code: "answer_malformed", field: "anchor.header" });
  return headerHash(parsed.value);
}
