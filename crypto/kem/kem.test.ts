/** ML-KEM: FIPS 203 by its public vectors, on both back ends, and what a wrong key or ciphertext does. */

import { ml_kem1024, ml_kem768 } from "@noble/post-quantum/ml-kem.js";
import fc from "fast-check";
import t from "tap";
import { concatBytes, fromHex, toHex } from "../base/bytes.ts";
import { encapsulateNoble, nobleKems } from "../backend/noble-kems.ts";
import { nodeKems } from "../backend/node-kems.ts";
import type { KemBackend } from "../backend/kems.ts";
import { checkProperty } from "../testing/property.ts";
import { type AcvpGroup, acvpGroups } from "../testing/vectors.ts";
import { encapsulate, KEM_SEED_SIZE_BYTES, KEM_TYPES, kemKeyPairFromSeed, kemSizesBytes, type KemType } from "./kem.ts";

const native = nodeKems as KemBackend;
const BACKENDS: readonly KemBackend[] = [native, nobleKems];
const SEED = new Uint8Array(KEM_SEED_SIZE_BYTES).map((_, index) => index);

/** The groups of the two parameter sets that we use. */
function groupsOf<Test>(name: string, want?: string): readonly { readonly type: KemType; readonly group: AcvpGroup<Test> }[] {
  return acvpGroups<Test>(name).flatMap((group) => {
    const type = KEM_TYPES.find((each) => each.toUpperCase() === group.parameterSet);
    return type !== undefined && (want === undefined || group.function === want) ? [{ type, group }] : [];
  });
}

t.test("the public ACVP seeds make the keys of FIPS 203", async (t) => {
  const groups = groupsOf<{ readonly d: string; readonly z: string; readonly ek: string }>("ML-KEM-keyGen-FIPS203");
  t.equal(groups.length, 2);
  for (const { type, group } of groups) {
    t.equal(group.tests.length, 25);
    for (const backend of BACKENDS) {
      const wrong = group.tests.filter(
        ({ d, z, ek }) => toHex(kemKeyPairFromSeed(type, fromHex(d + z), backend).publicKey.bytes) !== ek.toLowerCase(),
      );
      t.same(wrong, [], `${type} by ${backend.name}`);
    }
  }
});

t.test("the public ACVP encapsulations come out, and the public decapsulations, with implicit rejection", async (t) => {
  // Only the portable back end takes the randomness and the expanded keys that these vectors fix.
  const expanded = { "ml-kem-768": ml_kem768, "ml-kem-1024": ml_kem1024 } as const;
  type Test = {
    readonly ek: string;
    readonly dk: string;
    readonly c: string;
    readonly k: string;
    readonly m: string;
    readonly reason?: string;
  };
  const made = groupsOf<Test>("ML-KEM-encapDecap-FIPS203", "encapsulation");
  t.equal(made.length, 2);
  for (const { type, group } of made) {
    for (const { ek, dk, c, k, m } of group.tests) {
      const result = encapsulateNoble(type, fromHex(ek), fromHex(m));
      t.ok(
        result !== undefined && toHex(result.ciphertext) === c.toLowerCase() && toHex(result.sharedSecret) === k.toLowerCase(),
        type,
      );
      t.equal(toHex(expanded[type].decapsulate(fromHex(c), fromHex(dk))), k.toLowerCase());
    }
  }
  const opened = groupsOf<Test>("ML-KEM-encapDecap-FIPS203", "decapsulation");
  t.equal(opened.length, 2);
  for (const { type, group } of opened) {
    t.ok(group.tests.some(({ reason }) => reason === "modified ciphertext"));
    for (const { dk, c, k, reason } of group.tests)
      t.equal(toHex(expanded[type].decapsulate(fromHex(c), fromHex(dk))), k.toLowerCase(), `${type}: ${reason}`);
  }
});

t.test("a public key that FIPS 203 refuses is refused by both back ends", async (t) => {
  // Section 7.2: the encoded coefficients must be below q = 3329.
  const groups = groupsOf<{ readonly ek: string; readonly testPassed: boolean }>(
    "ML-KEM-encapDecap-FIPS203",
    "encapsulationKeyCheck",
  );
  t.equal(groups.length, 2);
  for (const { type, group } of groups) {
    t.ok(group.tests.some(({ testPassed }) => !testPassed) && group.tests.some(({ testPassed }) => testPassed));
    for (const { ek, testPassed } of group.tests) {
      for (const backend of BACKENDS)
        t.equal(encapsulate({ type, bytes: fromHex(ek) }, backend).ok, testPassed, `${type} by ${backend.name}`);
    }
  }
});

t.test("each back end opens what the other encapsulates", async (t) => {
  for (const type of KEM_TYPES) {
    for (const sender of BACKENDS) {
      for (const receiver of BACKENDS) {
        const pair = kemKeyPairFromSeed(type, SEED, receiver);
        const made = encapsulate(pair.publicKey, sender);
        t.ok(made.ok);
        if (!made.ok) continue;
        t.equal(made.value.ciphertext.length, kemSizesBytes(type).ciphertext);
        t.equal(pair.publicKey.bytes.length, kemSizesBytes(type).publicKey);
        t.same(
          pair.decapsulate(made.value.ciphertext),
          { ok: true, value: made.value.sharedSecret },
          `${type}: ${sender.name} to ${receiver.name}`,
        );
        const other = kemKeyPairFromSeed(type, SEED.toReversed(), receiver).decapsulate(made.value.ciphertext);
        t.ok(other.ok && toHex(other.value) !== toHex(made.value.sharedSecret), "another key gives another secret");
      }
    }
  }
});

t.test("wrong sizes are refused with a code, one byte short or long", async (t) => {
  for (const type of KEM_TYPES) {
    for (const backend of BACKENDS) {
      const pair = kemKeyPairFromSeed(type, SEED, backend);
      const made = encapsulate(pair.publicKey, backend);
      if (!made.ok) return t.fail("a valid key was refused");
      const { ciphertext } = made.value;
      for (const wrong of [new Uint8Array(0), ciphertext.subarray(1), concatBytes(ciphertext, new Uint8Array(1))]) {
        t.same(pair.decapsulate(wrong), { ok: false, error: { code: "kem_ciphertext", gotBytes: wrong.length } });
      }
      const { bytes } = pair.publicKey;
      for (const wrong of [new Uint8Array(0), bytes.subarray(1), concatBytes(bytes, new Uint8Array(1))]) {
        t.same(encapsulate({ type, bytes: wrong }, backend), {
          ok: false,
          error: { code: "kem_public_key", gotBytes: wrong.length },
        });
      }
    }
  }
});

t.test("the back ends agree on every damaged ciphertext and every damaged key", async (t) => {
  for (const type of KEM_TYPES) {
    const [ours, theirs] = BACKENDS.map((backend) => kemKeyPairFromSeed(type, SEED, backend));
    if (ours === undefined || theirs === undefined) return;
    const made = encapsulate(ours.publicKey);
    if (!made.ok) return t.fail("a valid key was refused");
    const { ciphertext, sharedSecret } = made.value;
    const change = fc.array(fc.tuple(fc.nat(0xffff), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 4 });
    const damage = (bytes: Uint8Array, changes: readonly (readonly [number, number])[]): Uint8Array => {
      const damaged = bytes.slice();
      for (const [at, mask] of changes) damaged[at % bytes.length] = (damaged[at % bytes.length] as number) ^ mask;
      return damaged;
    };
    await checkProperty(
      t,
      `${type}: ciphertext`,
      fc.property(change, (changes) => {
        const damaged = damage(ciphertext, changes);
        const [first, second] = [ours.decapsulate(damaged), theirs.decapsulate(damaged)];
        if (!first.ok || !second.ok) return false;
        const unchanged = toHex(damaged) === toHex(ciphertext);
        return toHex(first.value) === toHex(second.value) && (toHex(first.value) === toHex(sharedSecret)) === unchanged;
      }),
      60,
    );
    await checkProperty(
      t,
      `${type}: public key`,
      fc.property(change, (changes) => {
        const bytes = damage(ours.publicKey.bytes, changes);
        return encapsulate({ type, bytes }, native).ok === encapsulate({ type, bytes }, nobleKems).ok;
      }),
      60,
    );
  }
});
