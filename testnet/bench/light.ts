/**
 * What a light client costs: one certificate of 100 validators, and 10,000 heights by skipping.
 *
 * Method: chains of real headers, sets and signatures (`node/light/testing/chain.ts`), made and signed before the clock
 * starts. A run skips from genesis to the last height with a verifier of its own; light blocks are served from memory,
 * so that the network is not in the figure. Three kinds of chain: one set for ever, one that changes a tenth of its
 * validators every 250 heights, and one whose validators are all others every 2,000.
 */

import { performance } from "node:perf_hooks";
import { assert, present } from "../../crypto/base/assert.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { heightOf } from "../../chain/block/height.ts";
import { encodeLightBlock, type LightBlock, trustPolicyOf } from "../../node/light/trust.ts";
import { Bisection } from "../../node/light/bisection.ts";
import { HeaderChain, type Members } from "../../node/light/testing/chain.ts";
import { LightVerifier } from "../../node/light/verifier.ts";
import type { Figures } from "./state.ts";

const VALIDATORS = 100;

/** What to measure. */
export type LightBenchOptions = { readonly heights?: bigint; readonly runs?: number };

/** See the file's head. */
export async function benchLight(options: LightBenchOptions = {}): Promise<Figures> {
  const { heights = 10_000n, runs = 9 } = options;
  const into: Figures = { figures: {}, spread: {} };
  const still = new HeaderChain(membersBy(() => 0));
  await measure(into, "certificate100VerifyMs", runs * 5, async () => {
    const verifier = LightVerifier.fromGenesis(still.network);
    const anchor = anchorOnce(still);
    const start = performance.now();
    const accepted = await verifier.acceptHeader(anchor);
    if (!accepted.ok) throw new CodedError(accepted.error.code, {});
    return performance.now() - start;
  });
  into.figures["certificate100Bytes"] = anchorOnce(still).certificate.length;
  for (const [name, members] of [
    ["still", membersBy(() => 0)],
    ["tenthEvery250", membersBy((height) => Number((height - 1n) / 250n) * (VALIDATORS / 10))],
    ["allEvery2000", membersBy((height) => Number((height - 1n) / 2_000n) * VALIDATORS)],
  ] as const) {
    const chain = new HeaderChain(members);
    const served = new Map<bigint, LightBlock>();
    // Signs whatever the way asks for, before anything is timed.
    const asked = await skip(chain, heights, served);
    await measure(into, `${name}SkipMs`, runs, async () => {
      const start = performance.now();
      await skip(chain, heights, served);
      return performance.now() - start;
    });
    into.figures[`${name}LightBlocks`] = asked;
    const sizeBytes = [...served.values()].reduce((sum, block) => sum + encodeLightBlock(block).length, 0);
    into.figures[`${name}Kilobytes`] = Math.round(sizeBytes / 1000);
  }
  return into;
}

/** A hundred validators from a first one on, the same array for the same first one. */
function membersBy(first: (height: bigint) => number): Members {
  const known = new Map<number, readonly number[]>();
  return (height) => {
    const from = first(height);
    let members = known.get(from);
    if (members === undefined) {
      members = Array.from({ length: VALIDATORS }, (_, index) => from + index);
      known.set(from, members);
    }
    return members;
  };
}

const anchors = new WeakMap<HeaderChain, LightBlock["anchor"]>();

function anchorOnce(chain: HeaderChain): LightBlock["anchor"] {
  const anchor = anchors.get(chain) ?? chain.anchor(1n);
  anchors.set(chain, anchor);
  return anchor;
}

/** From genesis to a height; how many light blocks that took. */
async function skip(chain: HeaderChain, height: bigint, served: Map<bigint, LightBlock>): Promise<number> {
  const nowMs = Number(chain.header(height).timeMs) + 1_000;
  const verifier = LightVerifier.fromGenesis(
    chain.network,
    trustPolicyOf(chain.network, () => nowMs),
  );
  const way = new Bisection<bigint>(0n, height, (trusted) => trusted);
  let asked = 0;
  for (let isThere = false; !isThere;) {
    const block = served.get(way.wanted) ?? chain.lightBlock(way.wanted);
    served.set(way.wanted, block);
    asked += 1;
    const accepted = await verifier.acceptLightBlock(block);
    const taken = way.take(accepted.ok ? { ok: true, value: accepted.value.header.height } : accepted);
    if (!taken.ok) throw new CodedError(taken.error.code, {});
    isThere = taken.value;
  }
  assert(verifier.trustedHeight === heightOf(height), `trusted is height ${verifier.trustedHeight}`);
  return asked;
}

async function measure(into: Figures, name: string, runs: number, run: () => Promise<number>): Promise<void> {
  await run();
  const samples: number[] = [];
  for (let count = 0; count < runs; count += 1) samples.push(await run());
  samples.sort((a, b) => a - b);
  const round = (value: number): number => Number(value.toFixed(2));
  into.figures[name] = round(present(samples[samples.length >> 1], "median"));
  into.spread[name] = [round(present(samples[0], "least")), round(present(samples.at(-1), "greatest"))];
}
