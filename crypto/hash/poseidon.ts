/**
 * Poseidon over the scalar field of BN254, with the parameters of circomlib: the hash of what circuits must open.
 *
 * One permutation of `[0, ...inputs]`, of which the first element is the digest. Nothing separates domains here: a
 * commitment that circuits use says itself what it is, by its first input, and is bound to a BLAKE3 one.
 *
 * Source: Grassi, Khovratovich, Rechberger, Roy, Schofnegger, "Poseidon" (USENIX Security 2021): S-box x^5, eight full
 * rounds, partial rounds by width as in circomlib; constants and matrix from the Grain LFSR of its appendix F, drawn when
 * a width is first used (a tenth of a second for the widest).
 */

import { Field } from "@noble/curves/abstract/modular.js";
import { grainGenConstants, poseidon } from "@noble/curves/abstract/poseidon.js";
import { assert, present } from "../base/assert.ts";
import { poseidonBackend } from "../backend/poseidon.ts";

/** The order of the scalar field of BN254: inputs and digests are below it. EIP-197. */
export const POSEIDON_FIELD_ORDER = 21888242871839275222246405745257275088548364400416034343698204186575808495617n;

/** Partial rounds for one input, two inputs, and so on: the security margin of the paper, rounded as circomlib did. */
const ROUNDS_PARTIAL = [56, 57, 56, 60, 60, 63, 64, 63, 60, 66, 60, 65, 70, 60, 64, 68] as const;
const ROUNDS_FULL = 8;

/** No more inputs than this have parameters. */
export const POSEIDON_INPUTS_MAX: number = ROUNDS_PARTIAL.length;

const FIELD = Field(POSEIDON_FIELD_ORDER);
const permutations = new Map<number, (state: bigint[]) => bigint[]>();

/** The digest of 1 to 16 field elements. Which number it is depends on how many they are: `[1]` is not `[1, 0]`. */
export function poseidonHash(inputs: readonly bigint[]): bigint {
  assertInputs(inputs);
  return poseidonBackend === undefined ? digestOf(inputs) : present(poseidonBackend.hash([inputs])[0], "digest");
}

/** The digests of groups of 1 to 16 field elements, in order; each group has as many. */
export function poseidonHashMany(groups: readonly (readonly bigint[])[]): bigint[] {
  assertGroups(groups);
  return poseidonBackend === undefined ? groups.map(digestOf) : poseidonBackend.hash(groups);
}

/** As `poseidonHashMany`, away from the calling thread where the platform can. */
export async function poseidonHashManyAsync(groups: readonly (readonly bigint[])[]): Promise<bigint[]> {
  assertGroups(groups);
  return poseidonBackend === undefined ? groups.map(digestOf) : await poseidonBackend.hashAsync(groups);
}

/** `poseidonHash` in plain JavaScript. */
export function poseidonHashPortable(inputs: readonly bigint[]): bigint {
  assertInputs(inputs);
  return digestOf(inputs);
}

function assertInputs(inputs: readonly bigint[]): void {
  assert(inputs.length >= 1 && inputs.length <= POSEIDON_INPUTS_MAX, "{} inputs", inputs.length);
  for (const input of inputs) assert(input >= 0n && input < POSEIDON_FIELD_ORDER, "not a field element: {}", input);
}

function assertGroups(groups: readonly (readonly bigint[])[]): void {
  for (const group of groups) {
    assertInputs(group);
    assert(group.length === groups[0]?.length, "a group of {} inputs among groups of {}", group.length, groups[0]?.length);
  }
}

function digestOf(inputs: readonly bigint[]): bigint {
  return present(permutationOf(inputs.length)([0n, ...inputs])[0], "digest");
}

function permutationOf(inputCount: number): (state: bigint[]) => bigint[] {
  const known = permutations.get(inputCount);
  if (known !== undefined) return known;
  const roundsPartial = present(ROUNDS_PARTIAL[inputCount - 1], "partial rounds");
  const shape = { Fp: FIELD, t: inputCount + 1, roundsFull: ROUNDS_FULL, roundsPartial };
  const made = poseidon({ ...shape, ...grainGenConstants(shape), sboxPower: 5 });
  permutations.set(inputCount, made);
  return made;
}
