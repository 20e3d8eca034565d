/**
 * Who did not sign. Each block carries the certificate of the one before; a member of that block's set whose signature
 * is not in it missed a vote. Of the last `signedWindow` blocks a validator must have signed `signedMinBps`.
 *
 * The bit of height h is number `h mod signedWindow`, so a validator that always signs costs no write. A validator
 * begins, and comes back, as if it had signed all.
 */

import { toHex } from "../../crypto/base/bytes.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { BPS_WHOLE } from "../../chain/block/limits.ts";
import type { PosProtocol } from "../../chain/block/protocol.ts";
import type { BlockContext, StateView } from "../../chain/state/executor.ts";
import { attendanceKey } from "../../chain/state/keys.ts";
import type { Overlay } from "../../chain/state/overlay.ts";
import { ownRow } from "../../chain/state/rows.ts";
import { type Attendance, encodeAttendance, parseAttendance, type Standing } from "../../chain/state/stake.ts";
import { declaredPoolAt, type Touched } from "./pools.ts";
import { punishAbsence } from "./slashing.ts";

/** Those of a set who signed the certificate of their block. */
export function signersOf(voters: readonly Standing[], { previousCertificate }: BlockContext): readonly Standing[] {
  if (previousCertificate?.kind !== "quorum") return [];
  const signed = new Set(previousCertificate.signatures.map(({ validator }) => toHex(validator)));
  return voters.filter(({ address }) => signed.has(toHex(address)));
}

/** Notes who of the set of the block before did not sign it, and punishes who missed too many. */
export function noteAttendance(run: {
  readonly state: Overlay;
  readonly engine: PosProtocol;
  readonly context: BlockContext;
  readonly voters: readonly Standing[];
  readonly touched: Touched;
}): void {
  const { state, engine, context, voters, touched } = run;
  if (context.previousCertificate === undefined) return;
  const signers = new Set(signersOf(voters, context));
  const position = Number((context.height - 1n) % BigInt(engine.signedWindow));
  for (const voter of voters) {
    // One that is jailed has been told to go, and votes for as long as the delay of the set takes, or not.
    if (declaredPoolAt(state, voter.address).jailedUntilMs !== undefined) continue;
    const before = attendanceAt(state, engine, voter.address);
    const after = withVote(before, position, !signers.has(voter));
    if (after === before) continue;
    const isEnough = BigInt(engine.signedWindow - after.missed) * BigInt(BPS_WHOLE) >= minimum(engine);
    if (isEnough) state.put(attendanceKey(voter.address), encodeAttendance(after));
    else {
      forgetAttendance(state, voter.address);
      punishAbsence(state, engine, context, { validator: voter.address, touched });
    }
  }
}

/** Lets a validator begin anew. */
export function forgetAttendance(state: Overlay, validator: Address): void {
  state.delete(attendanceKey(validator));
}

function minimum(engine: PosProtocol): bigint {
  return BigInt(engine.signedWindow) * BigInt(engine.signedMinBps);
}

function attendanceAt(view: StateView, engine: PosProtocol, validator: Address): Attendance {
  const bytes = view.get(attendanceKey(validator));
  if (bytes !== undefined) return ownRow(parseAttendance(bytes), "attendance");
  return { missed: 0, bitmap: new Uint8Array((engine.signedWindow + 7) >> 3) };
}

/** The attendance with one more vote, which takes the place of the one a window ago. The same one when nothing changed. */
function withVote(attendance: Attendance, position: number, isMissed: boolean): Attendance {
  const bit = 1 << (position & 7);
  const byte = attendance.bitmap[position >> 3] ?? 0;
  const wasMissed = (byte & bit) !== 0;
  if (wasMissed === isMissed) return attendance;
  const bitmap = attendance.bitmap.slice();
  bitmap[position >> 3] = byte ^ bit;
  return { missed: attendance.missed + (isMissed ? 1 : -1), bitmap };
}
