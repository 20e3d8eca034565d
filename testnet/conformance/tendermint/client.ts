/**
 * A light client for Tendermint's blocks: our rules (`node/light/rules.ts`) over that chain's bytes, one step at a time
 * or bisecting, with witnesses.
 */

import { bytesEqual } from "../../../crypto/base/bytes.ts";
import { type Coded, fail, ok, type Result } from "../../../crypto/base/result.ts";
import { isQuorum } from "../../../consensus/quorum/threshold.ts";
import { Bisection } from "../../../node/light/bisection.ts";
import { checkPlace, checkShares, type Clock, type HeaderFacts, type TrustLevel } from "../../../node/light/rules.ts";
import { checkBlock, type CheckedBlock, factsOf, type LightBlock, type ValidatorSet } from "./block.ts";

/** What is believed: a header, its chain, and the set that it names for the next height. */
export type Trusted = { readonly facts: HeaderFacts; readonly chainId: string; readonly next: ValidatorSet };

/** What a step is judged by. */
export type Judgement = { readonly clock: Clock; readonly trustLevel: TrustLevel };

/** Whether to believe a block, and then what it leads to. What is cheap comes first. */
export function believe(trusted: Trusted, block: LightBlock, { clock, trustLevel }: Judgement): Result<CheckedBlock, Coded> {
  if (block.signed_header.header.chain_id !== trusted.chainId) return fail({ code: "header_chain" });
  const facts = factsOf(block.signed_header);
  const placed = checkPlace(trusted.facts, facts, clock);
  if (!placed.ok) return placed;
  const checked = checkBlock(block);
  if (!checked.ok) return checked;
  const { own, shareOf } = checked.value;
  const signed = checkShares(trusted.facts, facts, { trusted: shareOf(trusted.next), own, trustLevel });
  return signed.ok ? checked : signed;
}

/** Somebody who shows light blocks. */
export type Provider = ReadonlyMap<bigint, LightBlock>;

/** What a bisection came to: the block, and how many headers were believed on the way, itself included. */
type Bisected = { readonly block: CheckedBlock; readonly steps: number };

/** Goes from a trusted header to `height`, and half way whenever that is too far. */
function bisect(provider: Provider, trusted: Trusted, height: bigint, judgement: Judgement): Result<Bisected, Coded> {
  const way = new Bisection<Trusted | CheckedBlock>(trusted, height, ({ facts }) => facts.height);
  for (;;) {
    const block = provider.get(way.wanted);
    if (block === undefined) return fail({ code: "header_missing", height: way.wanted });
    const believed = believe(way.trusted, block, judgement);
    const isThere = way.take(believed);
    if (!isThere.ok) return isThere;
    if (isThere.value && believed.ok) return ok({ block: believed.value, steps: way.steps });
  }
}

/** What is trusted from the start: a height with a hash, for a while. */
export type TrustOptions = { readonly height: bigint; readonly hash: Uint8Array };

/**
 * Verifies a height from a header that is trusted by its hash, at a primary and then at witnesses.
 *
 * @returns `fork_detected` when a witness proves another header, `witness_missing` when none proves the same one
 */
export function verifyToHeight(
  of: {
    readonly primary: Provider;
    readonly witnesses: readonly Provider[];
    readonly trust: TrustOptions;
    readonly height: bigint;
  },
  judgement: Judgement,
): Result<{ readonly hash: Uint8Array; readonly steps: number }, Coded> {
  const { primary, witnesses, trust, height } = of;
  const first = primary.get(trust.height);
  if (first === undefined) return fail({ code: "header_missing", height: trust.height });
  const trusted = checkBlock(first);
  if (!trusted.ok) return trusted;
  if (!bytesEqual(trusted.value.hash, trust.hash)) return fail({ code: "header_hash" });
  const { signed, total } = trusted.value.own;
  if (!isQuorum(signed, total)) return fail({ code: "certificate_power" });

  const found = bisect(primary, trusted.value, height, judgement);
  if (!found.ok) return found;
  const { block, steps } = found.value;
  let agreeing = 0;
  for (const witness of witnesses) {
    const other = bisect(witness, trusted.value, height, judgement);
    // A witness that proves nothing says nothing.
    if (!other.ok) continue;
    if (!bytesEqual(other.value.block.hash, block.hash)) return fail({ code: "fork_detected", height });
    agreeing += 1;
  }
  return agreeing > 0 ? ok({ hash: block.hash, steps }) : fail({ code: "witness_missing", height });
}
