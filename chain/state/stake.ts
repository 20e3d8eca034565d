/**
 * The values of the rows of proof of stake, as canonical tuples: as `rows.ts`, which has those of every network.
 *
 * ```
 * pool       [operator, commissionBps, commissionStepBpsMax, commissionChangedMs, jailedUntilMs | null,
 *             tokens, shares, unbonding, rewards, commission, rewardPerShare (32 bytes)]
 * delegation [shares, rewardPerShare (32 bytes)]
 * offence    [at, height, slashBps, reporter | null]
 * ```
 *
 * The others stand in the table of `keys.ts`.
 */

import { readU256, u256 } from "../../crypto/base/bytes.ts";
import type { Result } from "../../crypto/base/result.ts";
import { type DecodeError, type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { type PublicKey, readPublicKey, writePublicKey } from "../../crypto/sign/key.ts";
import { readAddress, readHeight, readTimeMs } from "../block/fields.ts";
import type { Height } from "../block/height.ts";
import { BPS_WHOLE } from "../block/limits.ts";

/** Most candidates that the state ranks: twice the largest set. The rest must outbid the last of them. */
export const CANDIDATES_MAX = 256;
/** Offences of late that are told apart; more of them are counted together with the ones before. */
export const OFFENCES_MAX = 256;
/** The widest bitmap: one bit a block of the largest `signedWindow`. */
const BITMAP_SIZE_BYTES_MAX = 1_250;

/** What is staked with one validator, and on what terms. */
export type Pool = {
  /** Who earns the commission, whose stake is the validator's own, and who may change and unjail it. */
  readonly operator: Address;
  readonly commissionBps: number;
  readonly commissionStepBpsMax: number;
  readonly commissionChangedMs: bigint;
  /** Until when it may not be elected, and after which its operator may ask for it again. */
  readonly jailedUntilMs: bigint | undefined;
  /** Staked now. */
  readonly tokens: bigint;
  /** Of all delegations together. A share is worth `tokens / shares`, which only slashes lower. */
  readonly shares: bigint;
  /** Asked back and not released yet, before any slash of it. */
  readonly unbonding: bigint;
  /** Earned by delegators and not claimed. */
  readonly rewards: bigint;
  /** Earned by the operator and not claimed. */
  readonly commission: bigint;
  /** Tokens that one share has ever earned, times 2^64. */
  readonly rewardPerShare: bigint;
};

/** What one address has staked with one validator. */
export type Delegation = {
  readonly shares: bigint;
  /** The pool's when this delegation was last paid. */
  readonly rewardPerShare: bigint;
};

/** The sums over all stake; entries `first <= index < end` of the queue of unbonding are waiting. */
export type StakeTotals = {
  readonly bonded: bigint;
  readonly unbonding: bigint;
  readonly first: bigint;
  readonly end: bigint;
};

/** Stake that was asked back. */
export type Unbonding = {
  readonly validator: Address;
  readonly delegator: Address;
  readonly amount: bigint;
  /** Of the block with the request. */
  readonly height: Height;
  readonly timeMs: bigint;
};

/** An address with its power. */
export type Standing = { readonly address: Address; readonly power: bigint };

/** Which of the last `signedWindow` blocks a validator missed: bit `height mod signedWindow`. */
export type Attendance = { readonly missed: number; readonly bitmap: Uint8Array };

/** The one punishment of a validator that signed twice. */
export type Offence = {
  /** The block that punished it. */
  readonly at: Height;
  /** The earliest height of which there is evidence: stake asked back from the block before it on is slashed too. */
  readonly height: Height;
  readonly slashBps: number;
  /** Who has a part of every slash of it. */
  readonly reporter: Address | undefined;
};

/** When a validator was punished, and what part of all power it had. */
export type RecentOffence = { readonly timeMs: bigint; readonly shareBps: number };

/** The one encoding of a pool. */
export function encodePool(pool: Pool): Uint8Array {
  const writer = new Writer().array(11).bytes(pool.operator).uint(pool.commissionBps).uint(pool.commissionStepBpsMax);
  writer.uint(pool.commissionChangedMs);
  if (pool.jailedUntilMs === undefined) writer.null();
  else writer.uint(pool.jailedUntilMs);
  writer.uint(pool.tokens).uint(pool.shares).uint(pool.unbonding).uint(pool.rewards).uint(pool.commission);
  return writer.bytes(u256(pool.rewardPerShare)).finish();
}

/** Parses what `encodePool` made. */
export function parsePool(bytes: Uint8Array): Result<Pool, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("pool").tuple(11);
    return {
      operator: readAddress(reader, "operator"),
      commissionBps: readBps(reader, "commissionBps"),
      commissionStepBpsMax: readBps(reader, "commissionStepBpsMax"),
      commissionChangedMs: readTimeMs(reader, "commissionChangedMs"),
      jailedUntilMs: reader.field("jailedUntilMs").skipNull() ? undefined : readTimeMs(reader, "jailedUntilMs"),
      tokens: reader.field("tokens").uint(),
      shares: reader.field("shares").uint(),
      unbonding: reader.field("unbonding").uint(),
      rewards: reader.field("rewards").uint(),
      commission: reader.field("commission").uint(),
      rewardPerShare: readRewardPerShare(reader),
    };
  });
}

/** The one encoding of the key of a validator. */
export function encodeStakeKey(key: PublicKey): Uint8Array {
  const writer = new Writer();
  writePublicKey(writer, key);
  return writer.finish();
}

/** Parses what `encodeStakeKey` made. */
export function parseStakeKey(bytes: Uint8Array): Result<PublicKey, DecodeError> {
  return readWith(bytes, (reader) => readPublicKey(reader.field("key")));
}

/** The one encoding of a delegation. */
export function encodeDelegation({ shares, rewardPerShare }: Delegation): Uint8Array {
  return new Writer().array(2).uint(shares).bytes(u256(rewardPerShare)).finish();
}

/** Parses what `encodeDelegation` made. */
export function parseDelegation(bytes: Uint8Array): Result<Delegation, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("delegation").tuple(2);
    return { shares: reader.field("shares").uint(), rewardPerShare: readRewardPerShare(reader) };
  });
}

/** The one encoding of the totals. */
export function encodeStakeTotals({ bonded, unbonding, first, end }: StakeTotals): Uint8Array {
  return new Writer().array(4).uint(bonded).uint(unbonding).uint(first).uint(end).finish();
}

/** Parses what `encodeStakeTotals` made. */
export function parseStakeTotals(bytes: Uint8Array): Result<StakeTotals, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("stakeTotals").tuple(4);
    return {
      bonded: reader.field("bonded").uint(),
      unbonding: reader.field("unbonding").uint(),
      first: reader.field("first").uint(),
      end: reader.field("end").uint(),
    };
  });
}

/** The one encoding of an entry of the queue of unbonding. */
export function encodeUnbonding({ validator, delegator, amount, height, timeMs }: Unbonding): Uint8Array {
  return new Writer().array(5).bytes(validator).bytes(delegator).uint(amount).uint(height).uint(timeMs).finish();
}

/** Parses what `encodeUnbonding` made. */
export function parseUnbonding(bytes: Uint8Array): Result<Unbonding, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("unbonding").tuple(5);
    return {
      validator: readAddress(reader, "validator"),
      delegator: readAddress(reader, "delegator"),
      amount: reader.field("amount").uint(),
      height: readHeight(reader, "height"),
      timeMs: readTimeMs(reader, "timeMs"),
    };
  });
}

/** The one encoding of addresses with their powers, in the order given: candidates, voters. */
export function encodeStandings(standings: readonly Standing[]): Uint8Array {
  const writer = new Writer().array(standings.length);
  for (const { address, power } of standings) writer.array(2).bytes(address).uint(power);
  return writer.finish();
}

/** Parses what `encodeStandings` made. */
export function parseStandings(bytes: Uint8Array): Result<readonly Standing[], DecodeError> {
  return readWith(bytes, (reader) => {
    const count = reader.field("standings").array(CANDIDATES_MAX);
    const standings: Standing[] = [];
    for (let index = 0; index < count; index += 1) {
      reader.field("standings").tuple(2);
      standings.push({ address: readAddress(reader, "address"), power: reader.field("power").uint() });
    }
    return standings;
  });
}

/** The one encoding of who was absent. */
export function encodeAttendance({ missed, bitmap }: Attendance): Uint8Array {
  return new Writer().array(2).uint(missed).bytes(bitmap).finish();
}

/** Parses what `encodeAttendance` made. */
export function parseAttendance(bytes: Uint8Array): Result<Attendance, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("attendance").tuple(2);
    return { missed: reader.field("missed").number(), bitmap: reader.field("bitmap").bytes(BITMAP_SIZE_BYTES_MAX) };
  });
}

/** The one encoding of when a block was made. */
export function encodeBlockTime(timeMs: bigint): Uint8Array {
  return new Writer().array(1).uint(timeMs).finish();
}

/** Parses what `encodeBlockTime` made. */
export function parseBlockTime(bytes: Uint8Array): Result<bigint, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("blockTime").tuple(1);
    return readTimeMs(reader, "timeMs");
  });
}

/** The one encoding of an offence. */
export function encodeOffence({ at, height, slashBps, reporter }: Offence): Uint8Array {
  const writer = new Writer().array(4).uint(at).uint(height).uint(slashBps);
  return (reporter === undefined ? writer.null() : writer.bytes(reporter)).finish();
}

/** Parses what `encodeOffence` made. */
export function parseOffence(bytes: Uint8Array): Result<Offence, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("offence").tuple(4);
    return {
      at: readHeight(reader, "at"),
      height: readHeight(reader, "height"),
      slashBps: readBps(reader, "slashBps"),
      reporter: reader.field("reporter").skipNull() ? undefined : readAddress(reader, "reporter"),
    };
  });
}

/** The one encoding of the offences of late, oldest first. */
export function encodeOffences(offences: readonly RecentOffence[]): Uint8Array {
  const writer = new Writer().array(offences.length);
  for (const { timeMs, shareBps } of offences) writer.array(2).uint(timeMs).uint(shareBps);
  return writer.finish();
}

/** Parses what `encodeOffences` made. */
export function parseOffences(bytes: Uint8Array): Result<readonly RecentOffence[], DecodeError> {
  return readWith(bytes, (reader) => {
    const count = reader.field("offences").array(OFFENCES_MAX);
    const offences: RecentOffence[] = [];
    for (let index = 0; index < count; index += 1) {
      reader.field("offences").tuple(2);
      offences.push({ timeMs: readTimeMs(reader, "timeMs"), shareBps: readBps(reader, "shareBps") });
    }
    return offences;
  });
}

function readBps(reader: Reader, field: string): number {
  return reader.field(field).number(BPS_WHOLE);
}

function readRewardPerShare(reader: Reader): bigint {
  return readU256(reader.field("rewardPerShare").fixed(32));
}
