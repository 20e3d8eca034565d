/**
 * Elections: at the end of a block whose calls or punishments changed somebody's standing, the candidates of most
 * stake become the next set.
 *
 * The state ranks `CANDIDATES_MAX` candidates. A validator that stake does not carry among them stands again with the
 * next call that touches it. The set never becomes empty: where nobody may be elected, it stays as it is.
 */

import { assert } from "../../crypto/base/assert.ts";
import { bytesEqual, compareBytes, toHex } from "../../crypto/base/bytes.ts";
import type { PosProtocol } from "../../chain/block/protocol.ts";
import { findValidator, updateValidators, type ValidatorChange, type ValidatorSet } from "../../chain/block/validators.ts";
import type { StateView } from "../../chain/state/executor.ts";
import { candidatesKey } from "../../chain/state/keys.ts";
import type { Overlay } from "../../chain/state/overlay.ts";
import { ownRow } from "../../chain/state/rows.ts";
import { encodeStandings, parseStandings, type Standing } from "../../chain/state/stake.ts";
import { putValidators, validatorsAt } from "../validators.ts";
import { forgetAttendance } from "./attendance.ts";
import { stakeKeyAt, standingOf } from "./declarations.ts";
import { CANDIDATES_MAX } from "./limits.ts";
import type { Touched } from "./pools.ts";

/** Ranks again whoever was touched, and makes the first of all candidates the next set. */
export function elect(state: Overlay, engine: PosProtocol, touched: Touched): void {
  if (touched.size === 0) return;
  const others = candidatesAt(state).filter(({ address }) => !touched.has(toHex(address)));
  const standing = [...touched.values()].map((address) => ({ address, power: standingOf(state, engine, address) }));
  const candidates = ranked([...others, ...standing.filter(({ power }) => power > 0n)]);
  state.put(candidatesKey(), encodeStandings(candidates));
  const elected = candidates.slice(0, engine.activeMax);
  if (elected.length === 0) return;
  const set = validatorsAt(state, "next");
  const changes = changesTo(state, set, elected);
  if (changes.length === 0) return;
  const updated = updateValidators(set, changes);
  assert(updated.ok, "an election: {}", updated.ok ? "" : updated.error.code);
  putValidators(state, "next", updated.value);
}

/** Most power first; of equals the lower address. At most `CANDIDATES_MAX`. */
export function ranked(standings: readonly Standing[]): readonly Standing[] {
  const order = (a: Standing, b: Standing): number =>
    a.power === b.power ? compareBytes(a.address, b.address) : a.power > b.power ? -1 : 1;
  return [...standings].sort(order).slice(0, CANDIDATES_MAX);
}

/** What turns a set into the elected one. Whoever is new to it begins with a clean attendance. */
function changesTo(state: Overlay, set: ValidatorSet, elected: readonly Standing[]): readonly ValidatorChange[] {
  const changes: ValidatorChange[] = [];
  for (const { address, power } of elected) {
    const member = findValidator(set, address);
    if (member?.power === power) continue;
    if (member === undefined) forgetAttendance(state, address);
    changes.push({ key: member?.key ?? stakeKeyAt(state, address), power });
  }
  for (const { address, key } of set.validators) {
    if (!elected.some((standing) => bytesEqual(standing.address, address))) changes.push({ key, power: 0n });
  }
  return changes;
}

function candidatesAt(view: StateView): readonly Standing[] {
  const bytes = view.get(candidatesKey());
  return bytes === undefined ? [] : ownRow(parseStandings(bytes), "candidates");
}
