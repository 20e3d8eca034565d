/**
 * Node numbers: leases of the numbers that stand in Scarab ids (`crypto/id`).
 *
 * ```
 *              claim: epoch + 1, [block time, block time + LEASE_MS)
 *   nobody's ---------------------------------------------------------> leased ---.
 *      ^                                                                 |  ^     | renew: to block time + LEASE_MS
 *      `----- block time reaches the end, or release names an earlier ---'  `-----'
 * ```
 *
 * What keeps two holders of a number apart is the time *in* their ids: a claim is possible only when block time has reached
 * the end of the lease before, and the new lease starts at that block's time. A holder whose clock is wrong, or who never
 * hears that its lease is over, makes ids of its own window or none.
 *
 * The epoch fences what a holder sends: a home that was restored from an old copy renews and releases under the epoch that it
 * remembers, and is refused when the number was claimed anew since. The holder is for the ids: two copies of a home have one
 * key, and only the one whose directory the claim named may make them.
 *
 * Squatting: an address has one number, and where voters decide the lower half is for the validators of the current set.
 */

import { bytesEqual } from "../crypto/base/bytes.ts";
import { type NodeNumber, nodeNumberOf, SCARAB_EPOCH_MS, SCARAB_TIME_MS_END } from "../crypto/id/scarab.ts";
import type { Address } from "../crypto/identity/address.ts";
import type { Call } from "../chain/block/call.ts";
import { findValidator } from "../chain/block/validators.ts";
import { encodeNumberLease, encodeNumberOf, type NumberLeaseRow, parseNumberLease, parseNumberOf } from "../chain/state/ids.ts";
import { nodeNumberKey, numberOfKey } from "../chain/state/keys.ts";
import type { StateView } from "../chain/state/executor.ts";
import { ownRow } from "../chain/state/rows.ts";
import type { CallFault, CallScope } from "./scope.ts";
import { membersAt } from "./validators.ts";

/**
 * From one claim or renewal to the end: six hours. A node that is cut off from the network goes on for at least half of it
 * when it renews at half; one that is gone for good keeps its number from others for so long.
 */
export const NUMBER_LEASE_MS = 21_600_000n;
/** Numbers below it are for validators. */
export const NUMBERS_FOR_VALIDATORS = 512;

const START_MS = BigInt(SCARAB_EPOCH_MS);
const END_MS = BigInt(SCARAB_TIME_MS_END);

/** The newest lease of a number; `undefined` when it was never claimed. */
export function numberLeaseAt(view: StateView, number: NodeNumber): NumberLeaseRow | undefined {
  const bytes = view.get(nodeNumberKey(number));
  return bytes === undefined ? undefined : ownRow(parseNumberLease(bytes), "nodeNumber");
}

/** The number that an address leased last, and its lease; the lease may have ended, or be another's by now. */
export function numberOf(
  view: StateView,
  owner: Address,
): { readonly number: NodeNumber; readonly lease: NumberLeaseRow } | undefined {
  const bytes = view.get(numberOfKey(owner));
  if (bytes === undefined) return undefined;
  const number = ownRow(parseNumberOf(bytes), "numberOf");
  const lease = numberLeaseAt(view, number);
  return lease === undefined || !bytesEqual(lease.owner, owner) ? undefined : { number, lease };
}

/** Leases a number that is nobody's to the sender. */
export function claimNumber(
  { state, sender, context }: CallScope,
  call: Extract<Call, { kind: "numberClaim" }>,
): CallFault | undefined {
  const number = nodeNumberOf(call.number);
  const { timeMs } = context;
  const before = numberLeaseAt(state, number);
  if (before !== undefined && timeMs < before.endMs) return { code: "number_taken", field: "number" };
  const held = numberOf(state, sender);
  if (held !== undefined && timeMs < held.lease.endMs) return { code: "number_held", field: "number" };
  const isElective = context.engine.name !== "pow";
  if (isElective && number < NUMBERS_FOR_VALIDATORS && findValidator(membersAt(state, "current"), sender) === undefined)
    return { code: "number_validators", field: "number" };
  const startMs = timeMs > START_MS ? timeMs : START_MS;
  // The years that ids can tell are over.
  if (startMs >= END_MS) return { code: "number_ended", field: "number" };
  // Whoever had it last has another by now, or none: what points here is removed, unless it points elsewhere.
  if (before !== undefined && numberOf(state, before.owner)?.number === number) state.delete(numberOfKey(before.owner));
  state.put(
    nodeNumberKey(number),
    encodeNumberLease({ owner: sender, holder: call.holder, epoch: (before?.epoch ?? 0n) + 1n, startMs, endMs: endOf(startMs) }),
  );
  state.put(numberOfKey(sender), encodeNumberOf(number));
  return undefined;
}

/** Makes the sender's lease last from this block on as long as a new one would. */
export function renewNumber(
  { state, sender, context }: CallScope,
  call: Extract<Call, { kind: "numberRenew" }>,
): CallFault | undefined {
  const number = nodeNumberOf(call.number);
  const lease = heldLease(state, sender, context.timeMs, { ...call, number });
  if ("code" in lease) return lease;
  const endMs = endOf(context.timeMs);
  // Never shorter: ids up to the end that was promised may have been made.
  state.put(nodeNumberKey(number), encodeNumberLease({ ...lease, endMs: endMs > lease.endMs ? endMs : lease.endMs }));
  return undefined;
}

/** Ends the sender's lease at a time that it names; the number is free when block time has reached it. */
export function releaseNumber(
  { state, sender, context }: CallScope,
  call: Extract<Call, { kind: "numberRelease" }>,
): CallFault | undefined {
  const number = nodeNumberOf(call.number);
  const lease = heldLease(state, sender, context.timeMs, { ...call, number });
  if ("code" in lease) return lease;
  if (call.endMs < lease.startMs || call.endMs > lease.endMs) return { code: "number_window", field: "endMs" };
  state.put(nodeNumberKey(number), encodeNumberLease({ ...lease, endMs: call.endMs }));
  return undefined;
}

/** The sender's lease of a number, or why it has none. */
function heldLease(
  view: StateView,
  sender: Address,
  timeMs: bigint,
  { number, epoch }: { readonly number: NodeNumber; readonly epoch: bigint },
): NumberLeaseRow | CallFault {
  const lease = numberLeaseAt(view, number);
  if (lease === undefined || !bytesEqual(lease.owner, sender)) return { code: "number_unleased", field: "number" };
  if (lease.epoch !== epoch) return { code: "number_epoch", field: "epoch" };
  return timeMs < lease.endMs ? lease : { code: "number_ended", field: "number" };
}

function endOf(startMs: bigint): bigint {
  const endMs = startMs + NUMBER_LEASE_MS;
  return endMs < END_MS ? endMs : END_MS;
}
