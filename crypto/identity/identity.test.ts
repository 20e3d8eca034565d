/** Addresses, multisig policies and authorisations: one form each, distinct keys counted, nothing transplanted. */

import { bech32, bech32m } from "@scure/base";
import fc from "fast-check";
import t from "tap";
import { bytesEqual, concatBytes, fromHex, toHex, utf8 } from "../base/bytes.ts";
import { ed25519 } from "@noble/curves/ed25519.js";
import { hash } from "../hash/hash.ts";
import { encodePublicKey, KEY_TYPES, type KeyPair, keyPairFromSeed, type PublicKey, signatureSizeBytes } from "../sign/key.ts";
import { checkDecoder, checkProperty } from "../testing/property.ts";
import {
  type Address,
  ADDRESS_TEXT_LENGTH,
  addressOf,
  addressOfKey,
  addressOfPolicy,
  formatAddress,
  parseAddress,
  parseAddressBytes,
} from "./address.ts";
import {
  type Authorisation,
  authoriserOf,
  authoriseWith,
  encodeAuthorisation,
  gatherAuthorisation,
  parseAuthorisation,
  signatureCount,
  verifyAuthorisation,
  verifyAuthorisationAsync,
  verifyAuthorisations,
} from "./authorisation.ts";
import { encodePolicy, type MultisigPolicy, multisigPolicy, parsePolicy, POLICY_KEYS_MAX } from "./policy.ts";

const MESSAGE = utf8("a message that names its sender");
const seedOf = (index: number): Uint8Array => new Uint8Array(32).fill(index);
const pairs: readonly KeyPair[] = Array.from({ length: 5 }, (_, index) => keyPairFromSeed("ed25519", seedOf(index + 1)));
const hybrid = keyPairFromSeed("hybrid", seedOf(9));
const quantum = keyPairFromSeed("ml-dsa-65", seedOf(8));
const pair = pairs[0] as KeyPair;

/** A policy that the test knows to be valid. */
function policyOf(threshold: number, holders: readonly KeyPair[]): MultisigPolicy {
  const made = multisigPolicy(
    threshold,
    holders.map(({ publicKey }) => publicKey),
  );
  if (!made.ok) throw new Error(made.error.code);
  return made.value;
}

/** An authorisation by these holders, made without any check. */
function signedBy(
  policy: MultisigPolicy,
  holders: readonly KeyPair[],
  message: Uint8Array = MESSAGE,
): Extract<Authorisation, { kind: "multisig" }> {
  const signatures = holders.map((holder) => ({
    keyIndex: policy.keys.findIndex((key) => bytesEqual(key.bytes, holder.publicKey.bytes)),
    signature: holder.sign(message),
  }));
  return { kind: "multisig", policy, signatures: signatures.toSorted((a, b) => a.keyIndex - b.keyIndex) };
}

/** The verdict, which all ways of asking must share, whatever stands beside it in a list. */
async function verdict(authorisation: Authorisation, message: Uint8Array = MESSAGE): Promise<boolean> {
  const valid = verifyAuthorisation(authorisation, message);
  const good = { authorisation: authoriseWith(pair, MESSAGE), message: MESSAGE };
  const listed = await verifyAuthorisations([good, { authorisation, message }, good]);
  if ((await verifyAuthorisationAsync(authorisation, message)) !== valid || listed.join() !== [true, valid, true].join())
    throw new Error("the ways of verifying disagree");
  return valid;
}

t.test("an address is the tagged hash of the encoded key, and its text is what it always was", async (t) => {
  for (const { publicKey } of [pair, quantum, hybrid]) {
    t.equal(toHex(addressOfKey(publicKey)), toHex(hash("address", encodePublicKey(publicKey))));
  }
  // Part of the format: the address of the Ed25519 key of the seed 01 01 ... 01.
  t.equal(formatAddress(addressOfKey(pair.publicKey)), "pyra14utmjr99epyv6un74tx5ymgnelnmm4y2en6umct6xrf04ueyx8zsv2c7mj");
});

t.test("one seed gives different addresses as different key types", async (t) => {
  const addresses = KEY_TYPES.map((type) => formatAddress(addressOfKey(keyPairFromSeed(type, seedOf(1)).publicKey)));
  t.equal(new Set(addresses).size, KEY_TYPES.length);
});

t.test("the text of an address parses in lower or upper case, and never in both", async (t) => {
  const address = addressOfKey(pair.publicKey);
  const text = formatAddress(address);
  t.equal(text.length, ADDRESS_TEXT_LENGTH);
  t.same(parseAddress(text), { ok: true, value: address });
  t.same(parseAddress(text.toUpperCase()), { ok: true, value: address });
  t.same(parseAddress(`${text.slice(0, -1)}${text.slice(-1).toUpperCase()}`.replace("pyra1", "PYRA1")), {
    ok: false,
    error: { code: "address_text" },
  });
});

t.test("what is not an address says why", async (t) => {
  const address = addressOfKey(pair.publicKey);
  const text = formatAddress(address);
  const refused: readonly (readonly [string, string, string])[] = [
    ["nothing", "", "address_text"],
    ["a prefix alone", "pyra1", "address_text"],
    ["a character short", text.slice(0, -1), "address_text"],
    ["a character long", `${text}q`, "address_text"],
    ["a space before", ` ${text}`, "address_text"],
    ["a letter outside the alphabet", text.replace(/.$/, "b"), "address_text"],
    ["another prefix", bech32m.encode("pyro", bech32m.toWords(address)), "address_prefix"],
    ["the old checksum", bech32.encode("pyra", bech32.toWords(address)), "address_text"],
    ["thirty-one bytes", bech32m.encode("pyra", bech32m.toWords(address.subarray(1))), "address_length"],
    ["thirty-three bytes", bech32m.encode("pyra", bech32m.toWords(concatBytes(address, new Uint8Array(1)))), "address_length"],
    [
      "padding that is not zero",
      bech32m.encode(
        "pyra",
        bech32m.toWords(address).map((word, index) => (index === 51 ? word | 1 : word)),
      ),
      "address_text",
    ],
    ["a megabyte", "pyra1".padEnd(1_000_000, "q"), "address_text"],
  ];
  for (const [name, wrong, code] of refused) {
    const parsed = parseAddress(wrong);
    t.equal(parsed.ok ? "accepted" : parsed.error.code, code, name);
  }
  t.same(parseAddressBytes(address), { ok: true, value: address });
  for (const size of [0, 31, 33])
    t.same(parseAddressBytes(new Uint8Array(size)), { ok: false, error: { code: "address_length", gotBytes: size } });
});

t.test("every address has one text, and one wrong character is always noticed", async (t) => {
  const address = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(addressOf);
  await checkProperty(
    t,
    "format and parse",
    fc.property(address, (value: Address) => {
      const parsed = parseAddress(formatAddress(value));
      return parsed.ok && bytesEqual(parsed.value, value);
    }),
  );
  const change = fc.tuple(address, fc.nat(ADDRESS_TEXT_LENGTH - 6), fc.nat(31));
  await checkProperty(
    t,
    "a typing error",
    fc.property(change, ([value, at, letter]) => {
      const text = formatAddress(value);
      const typed = text
        .split("")
        .with(at + 5, "qpzry9x8gf2tvdw0s3jn54khce6mua7l"[letter] as string)
        .join("");
      return parseAddress(typed).ok === (typed === text);
    }),
    500,
  );
  await checkProperty(
    t,
    "any text",
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string({ unit: "binary" }),
        address.map((value) => `${formatAddress(value)}\u0130`),
      ),
      (text) => {
        const parsed = parseAddress(text);
        return parsed.ok ? formatAddress(parsed.value) === text.toLowerCase() : parsed.error.code.startsWith("address_");
      },
    ),
    500,
  );
});

t.test("a policy is its threshold and its distinct keys, in whatever order they were given", async (t) => {
  const keys = pairs.map(({ publicKey }) => publicKey);
  const forwards = multisigPolicy(2, keys);
  const backwards = multisigPolicy(2, keys.toReversed());
  t.same(forwards, backwards);
  if (!forwards.ok) return t.fail("refused");
  const address = formatAddress(addressOfPolicy(forwards.value));
  t.not(address, formatAddress(addressOfPolicy(policyOf(3, pairs))), "another threshold is another address");
  t.not(address, formatAddress(addressOfPolicy(policyOf(2, pairs.slice(1)))), "one key less is another address");
  const first = keys[0] as (typeof keys)[number];
  t.same(multisigPolicy(2, [...keys, first]), { ok: false, error: { code: "policy_key_repeated" } });
  t.same(multisigPolicy(0, keys), { ok: false, error: { code: "policy_threshold", got: 0, keys: 5 } });
  t.same(multisigPolicy(6, keys), { ok: false, error: { code: "policy_threshold", got: 6, keys: 5 } });
  t.same(multisigPolicy(1.5, keys), { ok: false, error: { code: "policy_threshold", got: 1.5, keys: 5 } });
  t.same(multisigPolicy(1, []), { ok: false, error: { code: "policy_keys", got: 0, max: 16 } });
  const many = Array.from({ length: 17 }, (_, index) => ({ type: "ed25519" as const, bytes: seedOf(index) }));
  t.ok(multisigPolicy(16, many.slice(0, POLICY_KEYS_MAX)).ok);
  t.same(multisigPolicy(16, many), { ok: false, error: { code: "policy_keys", got: 17, max: 16 } });
});

t.test("a policy of one key is not that key's own address", async (t) => {
  t.not(formatAddress(addressOfPolicy(policyOf(1, [pair]))), formatAddress(addressOfKey(pair.publicKey)));
});

t.test("a policy has one encoding: unsorted, repeated or impossible ones do not parse", async (t) => {
  const [a, b] = policyOf(1, pairs.slice(0, 2)).keys.map((key) => `5821${toHex(encodePublicKey(key))}`);
  t.ok(parsePolicy(fromHex(`820182${a}${b}`)).ok);
  const refused: readonly (readonly [string, string, string])[] = [
    ["unsorted", `820182${b}${a}`, "encoding_not_canonical"],
    ["repeated", `820182${a}${a}`, "encoding_not_canonical"],
    ["a threshold of nobody", `820082${a}${b}`, "encoding_limit"],
    ["a threshold of three", `820382${a}${b}`, "encoding_limit"],
    ["no keys", "820180", "encoding_limit"],
    ["seventeen keys", `820191${a}`, "encoding_limit"],
    ["a key of type 4", `82018158210${"4".padEnd(65, "0")}`, "encoding_type"],
    ["a key a byte short", `8201815820${(a as string).slice(4, -2)}`, "encoding_limit"],
  ];
  for (const [name, hex, code] of refused) {
    const parsed = parsePolicy(fromHex(hex));
    t.equal(parsed.ok ? "accepted" : parsed.error.code, code, name);
  }
});

t.test("a single key authorises for its own address", async (t) => {
  for (const holder of [pair, quantum, hybrid]) {
    const authorisation = authoriseWith(holder, MESSAGE);
    t.ok(await verdict(authorisation), holder.publicKey.type);
    t.notOk(await verdict(authorisation, utf8("another message")));
    t.same(authoriserOf(authorisation), addressOfKey(holder.publicKey));
    t.equal(signatureCount(authorisation), 1);
    t.same(parseAuthorisation(encodeAuthorisation(authorisation)), { ok: true, value: authorisation });
  }
});

t.test("M of N distinct keys of any types authorise, and one fewer does not", async (t) => {
  const holders = [pair, hybrid, quantum];
  const policy = policyOf(2, holders);
  for (const signers of [
    [pair, hybrid],
    [pair, quantum],
    [hybrid, quantum],
  ]) {
    const authorisation = signedBy(policy, signers);
    t.ok(await verdict(authorisation));
    t.equal(signatureCount(authorisation), 2);
    t.same(authoriserOf(authorisation), addressOfPolicy(policy));
    t.same(parseAuthorisation(encodeAuthorisation(authorisation)), { ok: true, value: authorisation });
  }
  t.notOk(await verdict(signedBy(policy, [pair])), "one signature");
  t.notOk(await verdict(signedBy(policy, holders)), "three signatures: nobody may lengthen an authorisation");
  t.notOk(await verdict(signedBy(policy, [pair, hybrid], utf8("another message"))), "another message");
});

t.test("the same signer twice is one signer", async (t) => {
  const policy = policyOf(2, pairs.slice(0, 3));
  const once = signedBy(policy, [pair]);
  const entry = once.signatures[0] as (typeof once.signatures)[number];
  t.notOk(await verdict({ ...once, signatures: [entry, entry] }), "the same index");
  const elsewhere = { ...entry, keyIndex: (entry.keyIndex + 1) % 3 };
  const both = [entry, elsewhere].toSorted((a, b) => a.keyIndex - b.keyIndex);
  t.notOk(await verdict({ ...once, signatures: both }), "at another key's index");
  t.notOk(await verdict({ ...once, signatures: [entry, { ...entry, keyIndex: 3 }] }), "past the last key");
  t.notOk(
    await verdict({ ...once, signatures: signedBy(policy, pairs.slice(0, 2)).signatures.toReversed() }),
    "in the wrong order",
  );
  t.throws(
    () => encodeAuthorisation({ ...once, signatures: [entry, entry] }),
    { name: "AssertionError" },
    "and it is never written",
  );
});

t.test("an authorisation that breaks the order or the number does not parse", async (t) => {
  const policy = policyOf(2, pairs.slice(0, 3));
  const encoded = encodeAuthorisation(signedBy(policy, pairs.slice(0, 2)));
  const body = toHex(encodePolicy(policy));
  const item = (index: number, size = 64): string =>
    `82${index.toString(16).padStart(2, "0")}58${size.toString(16)}${"00".repeat(size)}`;
  t.ok(parseAuthorisation(encoded).ok);
  t.ok(parseAuthorisation(fromHex(`8302${body}82${item(0)}${item(2)}`)).ok, "valid form, worthless signatures");
  const refused: readonly (readonly [string, string, string])[] = [
    ["too few", `8302${body}81${item(0)}`, "encoding_limit"],
    ["too many", `8302${body}83${item(0)}${item(1)}${item(2)}`, "encoding_limit"],
    ["descending", `8302${body}82${item(1)}${item(0)}`, "encoding_not_canonical"],
    ["repeated", `8302${body}82${item(1)}${item(1)}`, "encoding_not_canonical"],
    ["past the last key", `8302${body}82${item(1)}${item(3)}`, "encoding_limit"],
    ["a signature a byte short", `8302${body}82${item(0)}${item(1, 63)}`, "encoding_limit"],
    ["a signature a byte long", `8302${body}82${item(0)}${item(1, 65)}`, "encoding_limit"],
    ["a third kind", `8303${body}80`, "encoding_limit"],
    ["an item more", `8402${body}82${item(0)}${item(2)}00`, "encoding_limit"],
  ];
  for (const [name, hex, code] of refused) {
    const parsed = parseAuthorisation(fromHex(hex));
    t.equal(parsed.ok ? "accepted" : parsed.error.code, code, name);
  }
});

t.test("signatures that holders made apart are gathered, each checked, extra ones left out", async (t) => {
  const policy = policyOf(2, pairs.slice(0, 4));
  const byHolder = (index: number): { readonly key: PublicKey; readonly signature: Uint8Array } => {
    const holder = pairs[index] as KeyPair;
    return { key: holder.publicKey, signature: holder.sign(MESSAGE) };
  };
  const [first, second, third, stranger] = [byHolder(0), byHolder(1), byHolder(2), byHolder(4)];
  for (const gathered of [
    [first, second],
    [second, first],
    [third, first, second],
  ]) {
    const made = gatherAuthorisation(policy, MESSAGE, gathered);
    t.ok(made.ok && (await verdict(made.value)));
    if (made.ok) t.equal(signatureCount(made.value), 2);
  }
  t.same(gatherAuthorisation(policy, MESSAGE, [first]), {
    ok: false,
    error: { code: "multisig_threshold", got: 1, threshold: 2 },
  });
  t.same(
    gatherAuthorisation(policy, MESSAGE, [first, first]),
    { ok: false, error: { code: "multisig_threshold", got: 1, threshold: 2 } },
    "one signer twice",
  );
  t.same(
    gatherAuthorisation(policy, MESSAGE, [first, stranger]),
    { ok: false, error: { code: "multisig_signature", index: 1 } },
    "not in the policy",
  );
  const swapped = { key: first.key, signature: second.signature };
  t.same(
    gatherAuthorisation(policy, MESSAGE, [swapped]),
    { ok: false, error: { code: "multisig_signature", index: 0 } },
    "another holder's signature",
  );
});

t.test("a signature that only ZIP215 accepts authorises, on the pool as on the calling thread", async (t) => {
  // Key and R are the identity point, S is zero: node:crypto and ZIP215 both accept. With R a point of order 8, only
  // the cofactored equation holds.
  const identity = Uint8Array.of(1, ...new Uint8Array(31));
  const order8 = fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a");
  t.notOk(ed25519.verify(concatBytes(order8, new Uint8Array(32)), MESSAGE, identity, { zip215: false }), "RFC 8032 refuses");
  const key = { type: "ed25519" as const, bytes: identity };
  t.ok(await verdict({ kind: "single", key, signature: concatBytes(order8, new Uint8Array(32)) }));
  t.notOk(await verdict({ kind: "single", key, signature: concatBytes(order8, Uint8Array.of(1), new Uint8Array(31)) }));
});

t.test("hostile policies and authorisations are refused, or are the one encoding of what they say", async (t) => {
  const policies = fc.constantFrom(policyOf(1, [pair]), policyOf(2, pairs), policyOf(2, [pair, quantum, hybrid]));
  await checkDecoder(t, "parsePolicy", { valid: policies.map(encodePolicy), decode: parsePolicy, encode: encodePolicy }, 1500);
  const authorisations = fc.constantFrom(
    authoriseWith(pair, MESSAGE),
    authoriseWith(hybrid, MESSAGE),
    signedBy(policyOf(2, pairs), pairs.slice(1, 3)),
    signedBy(policyOf(1, [pair, hybrid]), [hybrid]),
  );
  await checkDecoder(
    t,
    "parseAuthorisation",
    { valid: authorisations.map(encodeAuthorisation), decode: parseAuthorisation, encode: encodeAuthorisation },
    1500,
  );
  t.equal(signatureSizeBytes("hybrid"), 3373);
});
