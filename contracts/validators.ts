/**
 * The validator sets in the state.
 *
 * The state after height h holds two sets: `current` decides h + 1 and `next` decides h + 2. Executing a block first
 * moves them on (`next` becomes `current`, and a copy with the turns advanced by one becomes `next`); changes in the
 * block then go into `next`. So what block h changes decides from h + 2, and everybody who holds the header of h
 * knows the set of h + 1 already.
 */

import { bytesEqual } from "../crypto/base/bytes.ts";
import { CodedError } from "../crypto/base/error.ts";
import { fail, ok, type Result } from "../crypto/base/result.ts";
import { type Address, addressOfKey } from "../crypto/identity/address.ts";
import type { Evidence } from "../chain/block/evidence.ts";
import type { Height } from "../chain/block/height.ts";
import { RAFT_VALIDATORS_MIN, VALIDATORS_MIN } from "../chain/block/limits.ts";
import type { Call } from "../chain/block/call.ts";
import {
  advancePriorities,
  encodeMembers,
  encodePriorities,
  findValidator,
  parseMembers,
  parsePriorities,
  updateValidators,
  type ValidatorSet,
} from "../chain/block/validators.ts";
import type { BlockContext, StateView, TransactionRefusal } from "../chain/state/executor.ts";
import { authorityKey, misbehaviourKey, prioritiesKey, tombstoneKey, validatorsKey, type Which } from "../chain/state/keys.ts";
import type { Overlay } from "../chain/state/overlay.ts";
import { encodeActedAt, ownRow, parseAuthority } from "../chain/state/rows.ts";
import type { CallFault, CallScope } from "./scope.ts";
import { isWithinUnbonding } from "./staking/times.ts";

/** The set that decides the height after the state's (`current`), or the one after that (`next`). */
export function validatorsAt(view: StateView, which: Which): ValidatorSet {
  const members = membersAt(view, which);
  return ownRow(parsePriorities(ownBytes(view, prioritiesKey(which)), members), "priorities");
}

/**
 * Sets by the very bytes of their rows, which nobody changes. Reading one costs a hash a member, with hybrid keys over a
 * millisecond in all, and a block may ask for one with each of its calls, whatever little those pay.
 */
const membersOfRow = new WeakMap<Uint8Array, ValidatorSet>();

/** As `validatorsAt`, for whoever does not ask whose turn it is: priorities are zero. Of one block's state it is read once. */
export function membersAt(view: StateView, which: Which): ValidatorSet {
  const bytes = ownBytes(view, validatorsKey(which));
  const known = membersOfRow.get(bytes);
  if (known !== undefined) return known;
  const members = ownRow(parseMembers(bytes), "validators");
  membersOfRow.set(bytes, members);
  return members;
}

/** Writes a set. Members change rarely and are large; they are written only when they differ. */
export function putValidators(state: Overlay, which: Which, set: ValidatorSet): void {
  const key = validatorsKey(which);
  const members = encodeMembers(set);
  const known = state.get(key);
  if (known === undefined || !bytesEqual(known, members)) state.put(key, members);
  state.put(prioritiesKey(which), encodePriorities(set));
}

/** Moves the sets on by one height. */
export function shiftValidators(state: Overlay): void {
  const next = validatorsAt(state, "next");
  putValidators(state, "current", next);
  putValidators(state, "next", advancePriorities(next, 1));
}

/** A change by the authority, into the set that will decide two heights on. */
export function changeValidator(
  { state, sender, context }: CallScope,
  call: Extract<Call, { kind: "validatorSet" }>,
): CallFault | undefined {
  if (context.engine.name === "pos") return { code: "validators_elected", field: "key" };
  if (context.engine.name === "pow") return { code: "validators_work", field: "key" };
  const authority = state.get(authorityKey());
  if (authority === undefined || !bytesEqual(ownRow(parseAuthority(authority), "authority"), sender))
    return { code: "authority_required", field: "key" };
  if (call.power > 0n && state.get(tombstoneKey(addressOfKey(call.key))) !== undefined)
    return { code: "validator_tombstoned", field: "key" };
  // Its certificates count power and its configuration heads; with other powers, some that are no majority of one would be of the other.
  if (context.engine.name === "raft" && call.power > 1n) return { code: "validator_power", field: "power" };
  const set = validatorsAt(state, "next");
  const updated = updateValidators(set, [{ key: call.key, power: call.power }]);
  if (!updated.ok) return { code: updated.error.code, field: updated.error.code === "validators_power_total" ? "power" : "key" };
  const count = updated.value.validators.length;
  // A set that misbehaviour has made small may still grow: only getting smaller is refused.
  const countMin = context.engine.name === "raft" ? RAFT_VALIDATORS_MIN : VALIDATORS_MIN;
  if (!context.parameters.dev && count < countMin && count < set.validators.length)
    return { code: "validators_few", field: "power" };
  putValidators(state, "next", updated.value);
  return undefined;
}

/** Whether evidence that is known to be true may be acted on in this block. */
export function admitEvidence(view: StateView, evidence: Evidence, context: BlockContext): Result<void, TransactionRefusal> {
  const { height, validator } = evidence.first;
  const { engine } = context;
  if (height < 1n || height >= context.height) return fail({ code: "evidence_height", field: "first.height" });
  if (context.height - height > BigInt(context.parameters.evidenceAgeMax))
    return fail({ code: "evidence_old", field: "first.height" });
  if (engine.name === "pos" && !isWithinUnbonding(view, engine, context, height))
    return fail({ code: "evidence_old", field: "first.height" });
  if (view.get(misbehaviourKey(validator, height)) !== undefined)
    return fail({ code: "evidence_repeated", field: "first.validator" });
  return ok(undefined);
}

/** Notes that evidence was acted on, so that it is not a second time. */
export function noteMisbehaviour(state: Overlay, { first }: Evidence, at: Height): void {
  state.put(misbehaviourKey(first.validator, first.height), encodeActedAt(at));
}

/** Notes that a validator may never validate again. */
export function putTombstone(state: Overlay, validator: Address, at: Height): void {
  state.put(tombstoneKey(validator), encodeActedAt(at));
}

/**
 * Acts on evidence that was admitted: the validator leaves the set at the usual delay and may never come back. One
 * that is the last of its set stays, because nobody could decide anything without it.
 */
export function punish(state: Overlay, evidence: Evidence, at: Height): void {
  const { validator } = evidence.first;
  const set = validatorsAt(state, "next");
  const member = findValidator(set, validator);
  if (member !== undefined) {
    const updated = updateValidators(set, [{ key: member.key, power: 0n }]);
    if (!updated.ok) return;
    putValidators(state, "next", updated.value);
  }
  putTombstone(state, validator, at);
}

function ownBytes(view: StateView, key: Uint8Array): Uint8Array {
  const bytes = view.get(key);
  if (bytes === undefined) throw new CodedError("state_corrupt", { message: "the state has no validators" });
  return bytes;
}
