/**
 * Validator sets: who votes on a height, with what power, and whose turn it is to propose.
 *
 * Turns are weighted round robin. Each step adds its power to every validator's priority; the highest priority
 * proposes and pays the total power. Over many steps each proposes in proportion to its power.
 *
 * Source: the Tendermint proposer selection procedure (cometbft, spec/consensus/proposer-selection.md): priorities
 * are scaled into a window of twice the total power, centred on zero, and a new validator starts at -1.125 of the
 * total so that leaving and coming back gains nothing. Integers only; a tie goes to the lower address. Where we
 * differ: a set carries the priorities *before* round 0 of its height, so that round `r` is step `r + 1`.
 *
 * Bounds: after scaling and centring a priority is within twice the total of zero, and each step keeps it within
 * four times of it (`POWER_TOTAL_MAX` says what that is for).
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual, compareBytes } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type DecodeError, type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import { type Address, addressOfKey } from "../../crypto/identity/address.ts";
import { type PublicKey, readPublicKey, writePublicKey } from "../../crypto/sign/key.ts";
import { POWER_TOTAL_MAX, ROUND_MAX, VALIDATORS_MAX } from "./limits.ts";

/** One voter. */
export type Validator = {
  readonly address: Address;
  readonly key: PublicKey;
  /** `1 <= power <= POWER_TOTAL_MAX`. */
  readonly power: bigint;
  /** Proposer priority before round 0 of the set's height; see `proposerAt`. */
  readonly priority: bigint;
};

/** Sorted by address, addresses distinct; empty under proof of work, and nowhere else. */
export type ValidatorSet = { readonly validators: readonly Validator[]; readonly totalPower: bigint };

/** A validator's new power; 0 removes it. */
export type ValidatorChange = { readonly key: PublicKey; readonly power: bigint };

/** Why a change of a set was refused; `errors.ts` says what to do about each. */
export type ValidatorsError = {
  readonly code:
    | "validator_repeated"
    | "validator_unknown"
    | "validator_power"
    | "validators_power_total"
    | "validators_none"
    | "validators_many";
};

const WINDOW_FACTOR = 2n;

/** A set from keys and powers that the caller knows to be distinct and within bounds. Priorities default to zero. */
export function validatorSetOf(
  members: readonly { readonly key: PublicKey; readonly power: bigint; readonly priority?: bigint }[],
): ValidatorSet {
  const validators = members.map(({ key, power, priority }) => ({
    address: addressOfKey(key),
    key,
    power,
    priority: priority ?? 0n,
  }));
  return sortedSet(validators);
}

/** The member with this address. Cost: a binary search. */
export function findValidator(set: ValidatorSet, address: Address): Validator | undefined {
  const index = indexOfValidator(set, address);
  return index === -1 ? undefined : set.validators[index];
}

/** The position of the member with this address, or -1. */
export function indexOfValidator(set: ValidatorSet, address: Address): number {
  let low = 0;
  let high = set.validators.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const order = compareBytes(present(set.validators[middle], "validator").address, address);
    if (order === 0) return middle;
    if (order < 0) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

// Turns.

/** Proposers by round that were worked out for a set, and the priorities after the last of them. */
type Turns = { readonly proposers: number[]; priorities: bigint[] };

/** Sets are values, so what was worked out for one stays true; the cache dies with the set. */
const turnsOf = new WeakMap<ValidatorSet, Turns>();

/**
 * The validator whose turn it is in a round of the set's height.
 *
 * @param round - `0 <= round <= ROUND_MAX`. A caller bounds rounds from peers first.
 * Cost: one pass over the set for each round not asked for before, so that round after round is linear.
 */
export function proposerAt(set: ValidatorSet, round: number): Validator {
  assert(Number.isInteger(round) && round >= 0 && round <= ROUND_MAX, "not a round: {}", round);
  let turns = turnsOf.get(set);
  if (turns === undefined) {
    turns = { proposers: [], priorities: normalised(set) };
    turnsOf.set(set, turns);
  }
  while (turns.proposers.length <= round) turns.proposers.push(step(set, turns.priorities));
  return present(set.validators[present(turns.proposers[round], "proposer")], "proposer");
}

/** The set for `times` heights later: same members, priorities moved on by one turn a height, whatever rounds it took. */
export function advancePriorities(set: ValidatorSet, times: number): ValidatorSet {
  if (set.validators.length === 0) return set;
  let validators = set.validators;
  for (let time = 0; time < times; time += 1) {
    const current = { validators, totalPower: set.totalPower };
    const priorities = normalised(current);
    step(current, priorities);
    validators = withPriorities(validators, priorities);
  }
  return { validators, totalPower: set.totalPower };
}

/**
 * Applies changes of power. Members that stay keep their priority; new ones start at -1.125 of the total power.
 *
 * @returns `validator_repeated` a key twice, `validator_unknown` removing one that is not there, `validator_power`,
 * `validators_power_total` or `validators_many` out of bounds, `validators_none` when nobody would be left
 */
export function updateValidators(set: ValidatorSet, changes: readonly ValidatorChange[]): Result<ValidatorSet, ValidatorsError> {
  const addressed = changes.map(({ key, power }) => ({ address: addressOfKey(key), key, power }));
  addressed.sort((a, b) => compareBytes(a.address, b.address));
  // The newcomers' debt counts the total before anyone leaves, as the source has it.
  let totalBeforeRemovals = set.totalPower;
  for (const [index, { address, power }] of addressed.entries()) {
    const next = addressed[index + 1];
    if (next !== undefined && bytesEqual(next.address, address)) return fail({ code: "validator_repeated" });
    if (power < 0n || power > POWER_TOTAL_MAX) return fail({ code: "validator_power" });
    const known = findValidator(set, address);
    if (power === 0n && known === undefined) return fail({ code: "validator_unknown" });
    if (power > 0n) totalBeforeRemovals += power - (known?.power ?? 0n);
  }
  const debt = -(totalBeforeRemovals + (totalBeforeRemovals >> 3n));
  const changed = new Map(addressed.map((change) => [indexOfValidator(set, change.address), change.power]));
  const kept = set.validators.map((validator, index) => ({ ...validator, power: changed.get(index) ?? validator.power }));
  const added = addressed
    .filter(({ address }) => indexOfValidator(set, address) === -1)
    .map((change) => ({ ...change, priority: debt }));
  const validators = [...kept.filter(({ power }) => power > 0n), ...added];
  const totalPower = sum(validators.map(({ power }) => power));
  if (validators.length === 0) return fail({ code: "validators_none" });
  if (validators.length > VALIDATORS_MAX) return fail({ code: "validators_many" });
  if (totalPower > POWER_TOTAL_MAX) return fail({ code: "validators_power_total" });
  const updated = sortedSet(validators);
  return ok({ validators: withPriorities(updated.validators, normalised(updated)), totalPower });
}

/** Priorities scaled into the window and centred on zero. */
function normalised(set: ValidatorSet): bigint[] {
  const priorities = set.validators.map(({ priority }) => priority);
  const window = WINDOW_FACTOR * set.totalPower;
  let low = present(priorities[0], "priority");
  let high = low;
  for (const priority of priorities) {
    if (priority < low) low = priority;
    if (priority > high) high = priority;
  }
  const spread = high - low;
  const ratio = spread > window ? (spread + window - 1n) / window : 1n;
  const scaled = priorities.map((priority) => priority / ratio);
  const mean = floorDivide(sum(scaled), BigInt(scaled.length));
  return scaled.map((priority) => priority - mean);
}

/** One turn, in place: everybody gains its power, the highest pays the total. Returns who that was. */
function step(set: ValidatorSet, priorities: bigint[]): number {
  let proposer = 0;
  for (const [index, { power }] of set.validators.entries()) {
    const raised = present(priorities[index], "priority") + power;
    priorities[index] = raised;
    // Strictly greater: the set is sorted, so a tie stays with the lower address.
    if (raised > present(priorities[proposer], "priority")) proposer = index;
  }
  priorities[proposer] = present(priorities[proposer], "priority") - set.totalPower;
  return proposer;
}

function withPriorities(validators: readonly Validator[], priorities: readonly bigint[]): Validator[] {
  return validators.map((validator, index) => ({ ...validator, priority: present(priorities[index], "priority") }));
}

// Encoding.

/** The set as one item: `[[key, power, priority]...]` in the order of the set. */
export function writeValidators(writer: Writer, set: ValidatorSet): void {
  writer.array(set.validators.length);
  for (const { key, power, priority } of set.validators) {
    writePublicKey(writer.array(3), key);
    writer.uint(power).int(priority);
  }
}

/** Reads what `writeValidators` wrote; order, bounds and distinctness are checked. Cost: one hash a member. */
export function readValidators(reader: Reader): ValidatorSet {
  const offset = reader.field("validators").offset;
  const count = reader.array(VALIDATORS_MAX);
  const validators: Validator[] = [];
  for (let index = 0; index < count; index += 1) {
    reader.field("validators").tuple(3);
    const key = readPublicKey(reader.field("key"));
    const power = readPower(reader);
    validators.push({ address: addressOfKey(key), key, power, priority: readPriority(reader) });
  }
  return checkedSet(reader, validators, offset);
}

/** The one encoding of a set on its own, priorities included. */
export function encodeValidators(set: ValidatorSet): Uint8Array {
  const writer = new Writer();
  writeValidators(writer, set);
  return writer.finish();
}

/** Parses what `encodeValidators` made. */
export function parseValidators(bytes: Uint8Array): Result<ValidatorSet, DecodeError> {
  return readWith(bytes, readValidators);
}

/** What headers name a set by: keys and powers in order. Priorities change every height and are left out. */
export function validatorsHash(set: ValidatorSet): Hash {
  return hash("validators", encodeMembers(set));
}

/** Keys and powers alone: `[[key, power]...]`. */
export function encodeMembers(set: ValidatorSet): Uint8Array {
  const writer = new Writer().array(set.validators.length);
  for (const { key, power } of set.validators) {
    writePublicKey(writer.array(2), key);
    writer.uint(power);
  }
  return writer.finish();
}

/** Reads what `encodeMembers` made; priorities are zero. */
export function parseMembers(bytes: Uint8Array): Result<ValidatorSet, DecodeError> {
  return readWith(bytes, (reader) => {
    const offset = reader.field("validators").offset;
    const count = reader.array(VALIDATORS_MAX);
    const validators: Validator[] = [];
    for (let index = 0; index < count; index += 1) {
      reader.field("validators").tuple(2);
      const key = readPublicKey(reader.field("key"));
      validators.push({ address: addressOfKey(key), key, power: readPower(reader), priority: 0n });
    }
    return checkedSet(reader, validators, offset);
  });
}

/** Priorities alone, in the order of the set. */
export function encodePriorities(set: ValidatorSet): Uint8Array {
  const writer = new Writer().array(set.validators.length);
  for (const { priority } of set.validators) writer.int(priority);
  return writer.finish();
}

/** Reads what `encodePriorities` made of a set with these members. */
export function parsePriorities(bytes: Uint8Array, members: ValidatorSet): Result<ValidatorSet, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("priorities").tuple(members.validators.length);
    const validators = members.validators.map((validator) => ({ ...validator, priority: readPriority(reader) }));
    return { validators, totalPower: members.totalPower };
  });
}

function readPower(reader: Reader): bigint {
  const offset = reader.field("power").offset;
  const power = reader.uint();
  return power >= 1n && power <= POWER_TOTAL_MAX ? power : reader.refuse("encoding_limit", offset);
}

function readPriority(reader: Reader): bigint {
  const offset = reader.field("priority").offset;
  const priority = reader.int();
  const bound = 4n * POWER_TOTAL_MAX;
  return priority >= -bound && priority <= bound ? priority : reader.refuse("encoding_limit", offset);
}

function checkedSet(reader: Reader, validators: readonly Validator[], offset: number): ValidatorSet {
  const totalPower = sum(validators.map(({ power }) => power));
  if (totalPower > POWER_TOTAL_MAX) reader.refuse("encoding_limit", offset);
  if (!isSorted(validators)) reader.refuse("encoding_not_canonical", offset);
  return { validators, totalPower };
}

function sortedSet(members: readonly Validator[]): ValidatorSet {
  const validators = [...members].sort((a, b) => compareBytes(a.address, b.address));
  const totalPower = sum(validators.map(({ power }) => power));
  assert(validators.length <= VALIDATORS_MAX, "a set of {} validators", validators.length);
  assert(isSorted(validators), "a validator stands twice in its set");
  assert(validators.every(({ power }) => power >= 1n) && totalPower <= POWER_TOTAL_MAX, "total power {}", totalPower);
  return { validators, totalPower };
}

function isSorted(validators: readonly Validator[]): boolean {
  return validators.every((validator, index) => {
    const previous = validators[index - 1];
    return previous === undefined || compareBytes(previous.address, validator.address) < 0;
  });
}

function sum(values: readonly bigint[]): bigint {
  return values.reduce((total, value) => total + value, 0n);
}

/** Rounds towards minus infinity, where `/` rounds towards zero. `divisor > 0`. */
function floorDivide(value: bigint, divisor: bigint): bigint {
  const quotient = value / divisor;
  return value < 0n && quotient * divisor !== value ? quotient - 1n : quotient;
}
