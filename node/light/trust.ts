/**
 * What a client that skips trusts, and for how long: a policy, and the one block that everything above is reached from.
 *
 * Wire form of a light block, canonical dag-cbor: `[header, certificate, validators, nextValidators]`, each a byte string.
 */

import type { Brand } from "../../crypto/base/brand.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type DecodeError, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import { type Header, headerHash, parseHeader } from "../../chain/block/block.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { parseMembers, type ValidatorSet } from "../../chain/block/validators.ts";
import type { Certificate } from "../../chain/block/vote.ts";
import type { Anchor } from "./anchor.ts";
import type { Unproven } from "./errors.ts";
import { type Clock, type HeaderFacts, type Share, TRUST_LEVEL_MIN, type TrustLevel } from "./rules.ts";

/** A header, its certificate, the set that decided it and the set that it names for the next height. */
export type LightBlock = { readonly anchor: Anchor; readonly validators: Uint8Array; readonly nextValidators: Uint8Array };

/** By what a header far above a believed one is judged. */
export type TrustPolicy = {
  /** How long a header leads to others after its time. Shorter than its validators are held to account. */
  readonly trustingPeriodMs: bigint;
  /** How far ahead of our clock a header's time may be. */
  readonly driftMsMax: bigint;
  readonly trustLevel: TrustLevel;
  /** Milliseconds since 1970 UTC. */
  readonly nowMs: () => number;
};

/** Without stake nothing holds validators to account, and a period is a matter of habit: two weeks. */
const TRUSTING_PERIOD_MS_DEFAULT = 14n * 86_400_000n;
/** How far our own clock may be behind, beside what the network lets proposers be ahead. */
const CLOCK_BEHIND_MS_MAX = 60_000n;

/**
 * The policy for a network: its checkpoint's period, but under proof of stake no more than 2/3 of the time that leaving stake can
 * still be slashed. The period goes for every header that is reached from the checkpoint, which nobody vouches for.
 */
export function trustPolicyOf(network: NetworkFile, nowMs: () => number): TrustPolicy {
  const { engine, checkpoint, parameters } = network;
  const held = engine.name === "pos" ? (BigInt(engine.unbondingMs) * 2n) / 3n : undefined;
  const wanted = checkpoint?.trustingPeriodMs ?? held ?? TRUSTING_PERIOD_MS_DEFAULT;
  return {
    trustingPeriodMs: held !== undefined && wanted > held ? held : wanted,
    driftMsMax: BigInt(parameters.blockTimeDriftMsMax) + CLOCK_BEHIND_MS_MAX,
    trustLevel: TRUST_LEVEL_MIN,
    nowMs,
  };
}

/** The clock of a policy, now. */
export function clockOf({ trustingPeriodMs, driftMsMax, nowMs }: TrustPolicy): Clock {
  return { now: BigInt(Math.floor(nowMs())), trustingPeriod: trustingPeriodMs, driftMax: driftMsMax };
}

/** A light block whose parts belong together. That anybody signed it is another matter. */
export type ParsedLightBlock = Brand<
  {
    readonly header: Header;
    readonly hash: Hash;
    readonly own: ValidatorSet;
    readonly next: ValidatorSet;
    readonly anchor: Anchor;
  },
  "ParsedLightBlock"
>;

/** Decodes a light block and checks that its sets are those that its header names. */
export function parseLightBlock({ anchor, validators, nextValidators }: LightBlock): Result<ParsedLightBlock, Unproven> {
  const parsed = parseHeader(anchor.header);
  if (!parsed.ok) return fail({ code: "answer_malformed", field: "anchor.header" });
  const header = parsed.value;
  const { height } = header;
  const own = parseMembers(validators);
  if (!own.ok) return fail({ code: "answer_malformed", field: "validators", height });
  const next = parseMembers(nextValidators);
  if (!next.ok) return fail({ code: "answer_malformed", field: "nextValidators", height });
  if (!bytesEqual(hash("validators", validators), header.validatorsHash))
    return fail({ code: "validators_mismatch", field: "validators", height });
  if (!bytesEqual(hash("validators", nextValidators), header.nextValidatorsHash))
    return fail({ code: "validators_mismatch", field: "nextValidators", height });
  // Only this function makes the brand.
  return ok({ header, hash: headerHash(header), own: own.value, next: next.value, anchor } as ParsedLightBlock);
}

/** What the rules know of a header. */
export function factsOf({ height, timeMs, validatorsHash, nextValidatorsHash }: Header): HeaderFacts {
  return { height, time: BigInt(timeMs), validatorsHash, nextValidatorsHash };
}

/** How much of a set is among the signers of a certificate, whose signatures are for the caller to check. */
export function shareOf(set: ValidatorSet, certificate: Extract<Certificate, { readonly kind: "quorum" }>): Share {
  const signers = new Set(certificate.signatures.map(({ validator }) => String.fromCharCode(...validator)));
  const signed = set.validators.reduce(
    (sum, { address, power }) => (signers.has(String.fromCharCode(...address)) ? sum + power : sum),
    0n,
  );
  return { signed, total: set.totalPower };
}

/** The one encoding of a light block. */
export function encodeLightBlock({ anchor, validators, nextValidators }: LightBlock): Uint8Array {
  const writer = new Writer().array(4).bytes(anchor.header).bytes(anchor.certificate);
  return writer.bytes(validators).bytes(nextValidators).finish();
}

/** Decodes what `encodeLightBlock` made; nothing in it is checked. */
export function decodeLightBlock(bytes: Uint8Array): Result<LightBlock, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.tuple(4);
    const part = (field: string): Uint8Array => reader.field(field).bytes(bytes.length);
    const anchor = { header: part("header"), certificate: part("certificate") };
    return { anchor, validators: part("validators"), nextValidators: part("nextValidators") };
  });
}

/** A header that a network file, or somebody, vouches for. */
export type Checkpoint = NonNullable<NetworkFile["checkpoint"]>;

/** Whether a light block is what a checkpoint says. */
export function isCheckpoint({ header, hash: hashed }: ParsedLightBlock, checkpoint: Checkpoint): boolean {
  return header.height === checkpoint.height && header.timeMs === checkpoint.timeMs && bytesEqual(hashed, checkpoint.hash);
}

/** The checkpoint of a believed header. */
export function checkpointOf(at: { readonly header: Header; readonly hash: Hash }, trustingPeriodMs: bigint): Checkpoint {
  const { height, timeMs } = at.header;
  return { height: heightOf(height) satisfies Height, hash: at.hash, timeMs, trustingPeriodMs };
}
