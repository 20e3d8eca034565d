/** What signatures and certificates prove: one chain, one height, distinct members, a quorum; and both halves of a hybrid key. */

import { verifySignature } from "../../../../crypto/sign/key.ts";
import { certificateOf, CHAIN_ID, keyPairAt, setOf, voteOf } from "../../../../chain/block/testing/fixtures.ts";
import { quorumRuleOf } from "../../../../chain/block/protocol.ts";
import { verifyCertificate, voteSigningBytes } from "../../../../chain/block/vote.ts";
import { Random } from "../../../../consensus/testing/random.ts";
import { present } from "../../../../crypto/base/assert.ts";
import { utf8 } from "../../../../crypto/base/bytes.ts";
import { holds } from "../property.ts";

const RULE = present(quorumRuleOf("tendermint"), "rule");

/** See the file's head. */
export function signaturesSayWhatTheySay(seed: number): void {
  const random = new Random(seed);
  const vote = voteOf(random.between(0, 3), { round: random.between(0, 3) });
  const elsewhere = voteSigningBytes("another-chain", vote);
  const isReplayed = [0, 1, 2, 3].some((index) => verifySignature(keyPairAt(index).publicKey, elsewhere, vote.signature));
  holds(!isReplayed, "a vote on one chain is none on another");
  checkCertificate(random);
  const keyPair = keyPairAt(random.between(0, 1), "hybrid");
  const message = utf8(`message ${seed}`);
  const signature = keyPair.sign(message);
  holds(verifySignature(keyPair.publicKey, message, signature), "a hybrid signature verifies");
  for (const at of [random.between(0, 63), random.between(64, signature.length - 1)]) {
    const broken = signature.slice();
    broken[at] = (broken[at] as number) ^ 1;
    holds(!verifySignature(keyPair.publicKey, message, broken), "both halves of a hybrid signature count", () => `byte ${at}`);
  }
}

/** Signers drawn with repetition, in order, against a count by hand. */
function checkCertificate(random: Random): void {
  const powers = Array.from({ length: 4 }, () => BigInt(random.between(1, 5)));
  const set = setOf(powers);
  const total = powers.reduce((sum, power) => sum + power, 0n);
  const signers = random.shuffle([0, 1, 2, 3]).slice(0, random.between(1, 4));
  const honest = certificateOf(set, signers);
  const repeated = honest.signatures.flatMap((one) => (random.happens(400) ? [one, one] : [one]));
  const power = signers.reduce((sum, signer) => sum + (powers[signer] as bigint), 0n);
  const isProof = verifyCertificate({ chainId: CHAIN_ID, rule: RULE, set }, { ...honest, signatures: repeated }).ok;
  const isTrue = repeated.length === signers.length && power * 3n > total * 2n;
  holds(
    isProof === isTrue,
    "a certificate is a quorum of distinct members",
    () => `${power} of ${total}, ${repeated.length} signatures`,
  );
}
