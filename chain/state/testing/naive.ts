/**
 * The state tree as its definition says it, without any cleverness: bit strings as text, recursion, no storage.
 * The oracle of the tests.
 */

import { compareBytes, concatBytes } from "../../../crypto/base/bytes.ts";
import { type Hash, hash, hashParts } from "../../../crypto/hash/hash.ts";
import type { Row } from "../proof.ts";
import type { StateUpdate } from "../update.ts";

/** Nine binary digits a byte and the end, as bits.ts defines them. */
export function bitString(key: Uint8Array): string {
  return `${[...key].map((byte) => `1${byte.toString(2).padStart(8, "0")}`).join("")}0`;
}

/** The root of some rows, in key order. */
export function naiveRoot(rows: readonly Row[]): Hash {
  if (rows.length === 0) return hash("stateEmpty", new Uint8Array(0));
  return subtree(rows.map(({ key, value }) => ({ key, value, digits: bitString(key) })));
}

function subtree(rows: readonly (Row & { readonly digits: string })[]): Hash {
  const first = rows[0] as Row & { readonly digits: string };
  if (rows.length === 1) return hashParts("stateLeaf", u16(first.key.length), first.key, hash("stateValue", first.value));
  const last = rows[rows.length - 1] as { readonly digits: string };
  let bit = 0;
  while (first.digits[bit] === last.digits[bit]) bit += 1;
  const left = subtree(rows.filter(({ digits }) => digits[bit] === "0"));
  const right = subtree(rows.filter(({ digits }) => digits[bit] === "1"));
  return hashParts("stateNode", u16(bit), concatBytes(left, right));
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}

/** An ordered map as a sorted list. */
export class NaiveMap {
  #rows: readonly Row[];

  constructor(rows: readonly Row[] = []) {
    this.#rows = rows;
  }

  rows({ from, to }: { readonly from?: Uint8Array | undefined; readonly to?: Uint8Array | undefined } = {}): readonly Row[] {
    return this.#rows.filter(
      ({ key }) => (from === undefined || compareBytes(key, from) >= 0) && (to === undefined || compareBytes(key, to) < 0),
    );
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#rows.find((row) => compareBytes(row.key, key) === 0)?.value;
  }

  /** The map after some updates; this one stays as it is. */
  with(updates: readonly StateUpdate[]): NaiveMap {
    const untouched = this.#rows.filter(({ key }) => !updates.some((update) => compareBytes(update.key, key) === 0));
    const written = updates.flatMap(({ key, value }) => (value === undefined ? [] : [{ key, value }]));
    return new NaiveMap([...untouched, ...written].toSorted((a, b) => compareBytes(a.key, b.key)));
  }

  root(): Hash {
    return naiveRoot(this.#rows);
  }
}
