/**
 * When a believed header lets us believe another: the rules alone, over facts, without any chain's bytes.
 *
 * ```
 *   adjacent   h -> h + 1    the new header is decided by the very set that the believed one names for h + 1
 *   skipping   h -> h + n    more than the trust level of that set signed the new header: one of them is honest
 *   both                     more than 2/3 of the set that decides the new header signed it; it is later; and what we
 *                            believe is not so old that its validators have left with their stake
 * ```
 *
 * Whoever calls has established the facts: that hashes are of what they should be, and whose signatures are valid.
 * `verifier.ts` applies them to our headers, `testnet/conformance/tendermint` to Tendermint's.
 *
 * Source: the Tendermint light client specification (cometbft, spec/light-client/verification), functions ValidAndVerified
 * and the checks that it names; Braithwaite et al., "A Tendermint light client", 2020 (arXiv:2010.07031).
 */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { isQuorumOf, type QuorumRule } from "../../chain/block/protocol.ts";

/** What the rules know of a header. Times are in any one unit. */
export type HeaderFacts = {
  readonly height: bigint;
  readonly time: bigint;
  readonly validatorsHash: Uint8Array;
  readonly nextValidatorsHash: Uint8Array;
};

/** How much of a set's power signed, each signer counted once, with a valid signature. */
export type Share = { readonly signed: bigint; readonly total: bigint };

/** A fraction of power of which more must have signed. */
export type TrustLevel = { readonly numerator: bigint; readonly denominator: bigint };

/** More than a third holds one honest validator. Less is refused: it would prove nothing. */
export const TRUST_LEVEL_MIN: TrustLevel = { numerator: 1n, denominator: 3n };

/** Our clock, and how far it may be off. */
export type Clock = {
  readonly now: bigint;
  /** How long a header is believed after its time: shorter than validators are held to account. */
  readonly trustingPeriod: bigint;
  readonly driftMax: bigint;
};

/** Why a header is not believed. `trust_insufficient` is no verdict on it: a header in between may lead there. */
export type RuleError = {
  readonly code:
    | "trust_expired"
    | "header_future"
    | "header_height"
    | "header_time"
    | "validators_mismatch"
    | "trust_insufficient"
    | "certificate_power";
};

/** Whether a fraction can be a trust level: from 1/3 to all. */
export function isTrustLevel({ numerator, denominator }: TrustLevel): boolean {
  return denominator > 0n && numerator <= denominator && numerator * 3n >= denominator;
}

/** Of two headers of one chain the second is later, and if it is the very next, decided by the set that the first names. */
export function checkSuccession(before: HeaderFacts, header: HeaderFacts): Result<void, RuleError> {
  if (header.height <= before.height) return fail({ code: "header_height" });
  if (header.time <= before.time) return fail({ code: "header_time" });
  const isDecidedByNamed = !isAdjacent(before, header) || bytesEqual(header.validatorsHash, before.nextValidatorsHash);
  return isDecidedByNamed ? ok(undefined) : fail({ code: "validators_mismatch" });
}

/** What can be said of a header before anything in it is verified: is it in its place, and are we in time? */
export function checkPlace(trusted: HeaderFacts, header: HeaderFacts, clock: Clock): Result<void, RuleError> {
  if (trusted.time + clock.trustingPeriod <= clock.now) return fail({ code: "trust_expired" });
  if (header.time >= clock.now + clock.driftMax) return fail({ code: "header_future" });
  return checkSuccession(trusted, header);
}

/**
 * Whether enough power signed a header that is in its place.
 *
 * @param shares - `trusted`: of the set that the trusted header names for the next height; `own`: of the header's own, of which
 * `rule` (more than 2/3 when absent) must have signed
 */
export function checkShares(
  trusted: HeaderFacts,
  header: HeaderFacts,
  shares: { readonly trusted: Share; readonly own: Share; readonly trustLevel: TrustLevel; readonly rule?: QuorumRule },
): Result<void, RuleError> {
  if (!isAdjacent(trusted, header) && !exceeds(shares.trusted, shares.trustLevel)) return fail({ code: "trust_insufficient" });
  const { rule = "twoThirds", own } = shares;
  return isQuorumOf(rule, own.signed, own.total) ? ok(undefined) : fail({ code: "certificate_power" });
}

function isAdjacent(trusted: HeaderFacts, header: HeaderFacts): boolean {
  return header.height === trusted.height + 1n;
}

/** Strictly more than the fraction. */
function exceeds({ signed, total }: Share, { numerator, denominator }: TrustLevel): boolean {
  return signed * denominator > total * numerator;
}
