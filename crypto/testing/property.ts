/** Properties with a printed seed, and the one that every decoder keeps. */

import fc from "fast-check";
import { bytesEqual } from "../base/bytes.ts";
import type { Coded, Result } from "../base/result.ts";

/** The part of a tap test that this needs. */
type Reporter = { comment(text: string): unknown; pass(text: string): unknown };

/** What a test's random choices are drawn from, below 2^31: `PYRALOG_SEED`, or a new one. Whoever draws it prints it. */
export function drawnSeed(): number {
  return Number(process.env["PYRALOG_SEED"] ?? Math.floor(Math.random() * 0x7fff_ffff));
}

/**
 * Checks a property, printing its seed. `PYRALOG_SEED` replays one.
 *
 * @param runs - how many examples, by default 200
 */
export async function checkProperty<T>(t: Reporter, name: string, property: fc.IRawProperty<T>, runs = 200): Promise<void> {
  const seed = drawnSeed();
  t.comment(`${name}: seed ${seed}, ${runs} runs`);
  await fc.assert(property, { seed, numRuns: runs });
  t.pass(name);
}

/**
 * As `checkProperty`, after as many runs under a seed that is always the same: what the property has to have seen is
 * asked of those (`seen`), so that no seed which happens to see less fails.
 */
export async function checkSeeing<T>(
  t: Reporter,
  name: string,
  property: fc.IRawProperty<T>,
  { runs = 200, seen }: { readonly runs?: number; readonly seen: () => void },
): Promise<void> {
  await fc.assert(property, { seed: 1, numRuns: runs });
  seen();
  await checkProperty(t, name, property, runs);
}

/** One way of damaging an encoding. Positions are fractions, so that they fit any length. */
type Mutation = {
  readonly kind: "flip" | "set" | "insert" | "remove" | "cut" | "append" | "repeat";
  readonly at: number;
  readonly byte: number;
  readonly length: number;
};

const mutationArbitrary: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.constantFrom("flip", "set", "insert", "remove", "cut", "append", "repeat"),
  at: fc.nat(0xffff_ffff),
  // Heads of every major type and length, and anything else.
  byte: fc.oneof(
    fc.nat(255),
    fc.constantFrom(0x00, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x3b, 0x5f, 0x9b, 0xa1, 0xbf, 0xd8, 0xf6, 0xf7, 0xfb, 0xff),
  ),
  length: fc.integer({ min: 1, max: 9 }),
});

function mutate(bytes: Uint8Array, { kind, at, byte, length }: Mutation): Uint8Array {
  const position = bytes.length === 0 ? 0 : at % bytes.length;
  const changed = [...bytes];
  switch (kind) {
    case "flip":
      changed[position] = (changed[position] ?? 0) ^ (1 << (byte & 7));
      break;
    case "set":
      changed[position] = byte;
      break;
    case "insert":
      changed.splice(position, 0, ...Array.from({ length }, () => byte));
      break;
    case "remove":
      changed.splice(position, length);
      break;
    case "cut":
      changed.length = position;
      break;
    case "append":
      changed.push(byte);
      break;
    case "repeat":
      changed.splice(position, 0, ...changed.slice(position, position + length));
      break;
  }
  return Uint8Array.from(changed);
}

/** A valid encoding, or one damaged up to three times. */
export function mutated(valid: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  return fc
    .tuple(valid, fc.array(mutationArbitrary, { maxLength: 3 }))
    .map(([bytes, mutations]) => mutations.reduce(mutate, bytes));
}

/**
 * Checks that a decoder takes hostile bytes: whatever it is given, it refuses with a code or gives a value whose
 * encoding is those very bytes. It never throws.
 */
export async function checkDecoder<T>(
  t: Reporter,
  name: string,
  decoder: {
    readonly valid: fc.Arbitrary<Uint8Array>;
    readonly decode: (bytes: Uint8Array) => Result<T, Coded>;
    readonly encode: (value: T) => Uint8Array;
  },
  runs = 500,
): Promise<void> {
  const hostile = fc.oneof(
    { arbitrary: mutated(decoder.valid), weight: 9 },
    { arbitrary: fc.uint8Array({ maxLength: 80 }), weight: 1 },
  );
  let refused = 0;
  let accepted = 0;
  const property = fc.property(hostile, (bytes) => {
    const decoded = decoder.decode(bytes);
    if (!decoded.ok) {
      refused += 1;
      return typeof decoded.error.code === "string" && /^[a-z]+(_[a-z0-9]+)*$/.test(decoded.error.code);
    }
    accepted += 1;
    return bytesEqual(decoder.encode(decoded.value), bytes);
  });
  await checkProperty(t, name, property, runs);
  t.comment(`${name}: ${refused} refused, ${accepted} accepted`);
  // Both must have happened, or the property says nothing.
  if (refused === 0 || accepted === 0) throw new Error(`${name}: ${refused} refused, ${accepted} accepted`);
}
