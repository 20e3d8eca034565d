/** The rules of belief: each alone, at its boundary, and as the verifier applies them. */

import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { encodeHeader, type Header, headerHash } from "../../chain/block/block.ts";
import { heightOf } from "../../chain/block/height.ts";
import { certificateOf, keyPairAt, setOf } from "../../chain/block/testing/fixtures.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import { encodeCertificate } from "../../chain/block/vote.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import {
  checkPlace,
  checkShares,
  checkSuccession,
  type Clock,
  type HeaderFacts,
  isTrustLevel,
  type RuleError,
  TRUST_LEVEL_MIN,
} from "./rules.ts";
import type { Result } from "../../crypto/base/result.ts";
import { LightVerifier } from "./verifier.ts";

const SET = Uint8Array.of(1);
const OTHER_SET = Uint8Array.of(2);
const TRUSTED: HeaderFacts = { height: 10n, time: 1_000n, validatorsHash: SET, nextValidatorsHash: SET };
const NEXT: HeaderFacts = { ...TRUSTED, height: 11n, time: 1_001n };
const CLOCK: Clock = { now: 1_500n, trustingPeriod: 1_000n, driftMax: 10n };

function codeOf(result: Result<void, RuleError>): string {
  return result.ok ? "ok" : result.error.code;
}

t.test("a header comes after another when its height and its time are greater, not when they are equal", async (t) => {
  t.equal(codeOf(checkSuccession(TRUSTED, NEXT)), "ok");
  t.equal(codeOf(checkSuccession(TRUSTED, { ...NEXT, height: 10n })), "header_height");
  t.equal(codeOf(checkSuccession(TRUSTED, { ...NEXT, time: 1_000n })), "header_time");
});

t.test("the very next header is decided by the set that was named; a later one may have another", async (t) => {
  const changed = { ...NEXT, validatorsHash: OTHER_SET };
  t.equal(codeOf(checkSuccession(TRUSTED, changed)), "validators_mismatch");
  t.equal(codeOf(checkSuccession({ ...TRUSTED, nextValidatorsHash: OTHER_SET }, changed)), "ok");
  t.equal(codeOf(checkSuccession(TRUSTED, { ...changed, height: 12n })), "ok");
});

t.test(
  "what is believed expires at the end of the trusting period, and a header may be ahead by less than the drift",
  async (t) => {
    t.equal(codeOf(checkPlace(TRUSTED, NEXT, { ...CLOCK, now: 1_999n })), "ok");
    t.equal(codeOf(checkPlace(TRUSTED, NEXT, { ...CLOCK, now: 2_000n })), "trust_expired");
    t.equal(codeOf(checkPlace(TRUSTED, { ...NEXT, time: 1_509n }, CLOCK)), "ok");
    t.equal(codeOf(checkPlace(TRUSTED, { ...NEXT, time: 1_510n }, CLOCK)), "header_future");
  },
);

t.test("power counts strictly: more than the trust level of the believed set, more than 2/3 of the header's own", async (t) => {
  const far = { ...NEXT, height: 12n };
  const shares = (trusted: bigint, own: bigint): Parameters<typeof checkShares>[2] => ({
    trusted: { signed: trusted, total: 9n },
    own: { signed: own, total: 9n },
    trustLevel: TRUST_LEVEL_MIN,
  });
  t.equal(codeOf(checkShares(TRUSTED, far, shares(4n, 7n))), "ok");
  t.equal(codeOf(checkShares(TRUSTED, far, shares(3n, 7n))), "trust_insufficient", "a third is not more than a third");
  t.equal(codeOf(checkShares(TRUSTED, far, shares(4n, 6n))), "certificate_power", "two thirds are not more than two thirds");
  t.equal(codeOf(checkShares(TRUSTED, NEXT, shares(0n, 7n))), "ok", "the next header needs its own set only");
  t.ok(isTrustLevel(TRUST_LEVEL_MIN) && isTrustLevel({ numerator: 1n, denominator: 1n }));
  for (const [numerator, denominator] of [
    [1n, 4n],
    [2n, 1n],
    [0n, 0n],
    [-1n, -3n],
  ] as const)
    t.notOk(isTrustLevel({ numerator, denominator }), `${numerator}/${denominator}`);
});

t.test("a believed header that names another set is not followed by one that the old set decides", async (t) => {
  await using net = await DevNet.open({ powers: [1n, 1n, 1n, 1n] });
  const sender = keyPairAt(100);
  const calls = [{ kind: "validatorSet" as const, key: keyPairAt(4).publicKey, power: 1n }];
  const body = { chainId: net.network.chainId, sender: addressOfKey(sender.publicKey), nonce: 0n, fee: 1_000_000n };
  await net.commit([signTransaction({ ...body, expiry: heightOf(1000n), calls }, sender)]);
  await net.commitUntil(4n);
  const { height } = present(net.ledger.validatorChanges(heightOf(1n), 1)[0], "change");
  const verifier = LightVerifier.fromGenesis(net.network);
  const anchor = {
    header: present(net.ledger.headerBytes(height), "header"),
    certificate: present(net.ledger.certificateBytes(height), "certificate"),
  };
  const naming = await verifier.acceptHeader(anchor);
  if (!naming.ok) return t.fail(naming.error.code);
  const { header } = naming.value;
  // Whoever only accepted the header, and did not follow its change yet, still asks the old set about the next height.
  const next = heightOf(height + 1n);
  const forged: Header = { ...header, height: next, timeMs: header.timeMs + 1n, previous: naming.value.hash };
  const certificate = certificateOf(setOf([1n, 1n, 1n, 1n]), [0, 1, 2, 3], { height: next, blockHash: headerHash(forged) });
  t.match(await verifier.acceptHeader({ header: encodeHeader(forged), certificate: encodeCertificate(certificate) }), {
    ok: false,
    error: { code: "validators_mismatch" },
  });
});
