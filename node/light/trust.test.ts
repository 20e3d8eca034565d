/** Skipping, checkpoints and fraud proofs, on chains of real headers, sets and signatures. */

import fc from "fast-check";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import type { Result } from "../../crypto/base/result.ts";
import { encodeNetworkFile, type NetworkFile, networkHash, parseNetworkFile } from "../../chain/block/genesis.ts";
import { verifyEvidence } from "../../chain/block/evidence.ts";
import { PROTOCOL_DEFAULTS } from "../../chain/block/protocol.ts";
import { headerHash } from "../../chain/block/block.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { heightOf } from "../../chain/block/height.ts";
import { hashAt, keyPairAt } from "../../chain/block/testing/fixtures.ts";
import { encodeMembers, validatorsHash } from "../../chain/block/validators.ts";
import { checkProperty } from "../../crypto/testing/property.ts";
import { Bisection, BISECTION_HEADERS_MAX } from "./bisection.ts";
import { encodeFraudFile, type FraudFile, isFraudFile, type ProvenFraud, verifyFraudFile } from "./fraud.ts";
import { anchorOf, HeaderChain, membersOf } from "./testing/chain.ts";
import { checkpointOf, decodeLightBlock, encodeLightBlock, type LightBlock, trustPolicyOf, type TrustPolicy } from "./trust.ts";
import { LightVerifier } from "./verifier.ts";

const FIRST = [0, 1, 2, 3];
/** From height 11 on one of four is another, and from 21 on all are. */
const CHAIN = new HeaderChain((height) => (height <= 10n ? FIRST : height <= 20n ? [1, 2, 3, 4] : [5, 6, 7, 8]));
const GENESIS_MS = Number(CHAIN.network.genesisTimeMs);

function policy(nowMs: number, network: NetworkFile = CHAIN.network): TrustPolicy {
  return { ...trustPolicyOf(network, () => nowMs), trustingPeriodMs: 100_000n, driftMsMax: 5_000n };
}

function codeOf(result: Result<unknown>): string {
  return result.ok ? "ok" : result.error.code;
}

function value<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(JSON.stringify(result.error, (_, v) => (typeof v === "bigint" ? `${v}` : v)));
  return result.value;
}

/** That `refuses` holds for any one changed byte. */
async function everyFlip(
  t: Test,
  name: string,
  bytes: Uint8Array,
  refuses: (changed: Uint8Array) => Promise<boolean>,
): Promise<void> {
  const place = fc.nat({ max: bytes.length - 1 });
  await checkProperty(
    t,
    `a changed byte of a ${name}`,
    fc.asyncProperty(place, fc.integer({ min: 1, max: 255 }), async (at, mask) => {
      const changed = bytes.slice();
      changed[at] = present(changed[at], "byte") ^ mask;
      return await refuses(changed);
    }),
  );
}

/** Goes to a height as a client does, and says which headers it asked for. */
async function reach(verifier: LightVerifier, height: bigint, chain = CHAIN): Promise<bigint[]> {
  const asked: bigint[] = [];
  const way = new Bisection<bigint>(verifier.trustedHeight, height, (trusted) => trusted);
  for (let isThere = false; !isThere;) {
    asked.push(way.wanted);
    const accepted = await verifier.acceptLightBlock(chain.lightBlock(way.wanted));
    isThere = value(way.take(accepted.ok ? { ok: true, value: accepted.value.header.height } : accepted));
  }
  return asked;
}

t.test("a header far above is believed at once while more than a third of the known set signed it", async (t) => {
  const verifier = LightVerifier.fromGenesis(CHAIN.network, policy(GENESIS_MS + 40_000));
  t.ok(verifier.isSkipping);
  t.strictSame(await reach(verifier, 10n), [10n]);
  t.strictSame(await reach(verifier, 20n), [20n], "three of four are the same");
  t.equal(
    codeOf(await LightVerifier.fromGenesis(CHAIN.network, policy(GENESIS_MS)).acceptLightBlock(CHAIN.lightBlock(7n))),
    "header_future",
  );
  t.equal(verifier.trustedHeight, 20n);
  t.equal(codeOf(await verifier.acceptHeader(CHAIN.anchor(21n))), "ok", "and the set that it names decides the next");
  t.equal(codeOf(await verifier.acceptHeader(CHAIN.anchor(30n))), "ok");
  t.equal(verifier.trustedHeight, 30n, "a header that changes no set leads further by itself");
});

t.test("where the sets have nothing in common the way is halved until they have", async (t) => {
  const verifier = LightVerifier.fromGenesis(CHAIN.network, policy(GENESIS_MS + 40_000));
  t.equal(codeOf(await verifier.acceptLightBlock(CHAIN.lightBlock(40n))), "trust_insufficient");
  t.equal(verifier.trustedHeight, 0n, "what is refused changes nothing");
  // 40 and 20: 20 names the set of 21 and is signed by three of the first four.
  t.strictSame(await reach(verifier, 40n), [40n, 20n, 40n]);
});

t.test("a way has an end, and a header too far is the only thing that shortens a step", async (t) => {
  const way = new Bisection<bigint>(0n, 1_000_000n, (trusted) => trusted);
  t.equal(codeOf(way.take({ ok: false, error: { code: "certificate_power" } })), "certificate_power");
  let [code, asked] = ["ok", 1];
  for (; code === "ok" && asked <= BISECTION_HEADERS_MAX; asked += 1) {
    const isNear = way.wanted === way.trusted + 1n;
    code = codeOf(way.take(isNear ? { ok: true, value: way.wanted } : { ok: false, error: { code: "trust_insufficient" } }));
  }
  t.equal(code, "bisection_long");
  t.equal(asked, BISECTION_HEADERS_MAX);
  t.ok(way.trusted > 0n, "and keeps what it reached");
});

t.test("what was believed leads nowhere once its period is over, and to another chain never", async (t) => {
  let nowMs = GENESIS_MS + 99_999;
  const verifier = LightVerifier.fromGenesis(CHAIN.network, { ...policy(0), nowMs: () => nowMs });
  nowMs += 1;
  t.equal(codeOf(await verifier.acceptLightBlock(CHAIN.lightBlock(20n))), "trust_expired");
  nowMs -= 1;
  t.equal(codeOf(await verifier.acceptLightBlock(CHAIN.lightBlock(20n))), "ok");
  nowMs = GENESIS_MS + 20_000 + 100_000;
  t.equal(codeOf(await verifier.acceptHeader(CHAIN.anchor(21n))), "trust_expired");
  t.equal(codeOf(await verifier.acceptLightBlock(CHAIN.lightBlock(30n))), "trust_expired");
  const kept = present(verifier.trustedBlock(), "trusted block");
  t.equal(codeOf(await LightVerifier.fromTrusted(CHAIN.network, kept, policy(nowMs))), "trust_expired");
  t.equal(codeOf(await LightVerifier.fromTrusted(CHAIN.network, kept, policy(nowMs - 1))), "ok");
});

t.test("what is kept of a verifier is enough to go on, and a changed byte of it is refused", async (t) => {
  const verifier = LightVerifier.fromGenesis(CHAIN.network, policy(GENESIS_MS + 40_000));
  await reach(verifier, 15n);
  const bytes = encodeLightBlock(present(verifier.trustedBlock(), "trusted block"));
  const again = value(
    await LightVerifier.fromTrusted(CHAIN.network, value(decodeLightBlock(bytes)), policy(GENESIS_MS + 40_000)),
  );
  t.equal(again.trustedHeight, 15n);
  t.strictSame(await reach(again, 40n), [40n, 27n, 21n, 18n, 40n, 29n, 23n, 20n, 40n]);
  await everyFlip(t, "kept block", bytes, async (changed) => {
    const block = decodeLightBlock(changed);
    return !block.ok || !(await LightVerifier.fromTrusted(CHAIN.network, block.value, policy(GENESIS_MS + 40_000))).ok;
  });
});

t.test("a header whose certificate falls short is refused, whatever the known set signed", async (t) => {
  const start = (): LightVerifier => LightVerifier.fromGenesis(CHAIN.network, policy(GENESIS_MS + 40_000));
  const honest = CHAIN.lightBlock(9n);
  const signedBy = (signers: readonly number[]): LightBlock => ({ ...honest, anchor: anchorOf(CHAIN.header(9n), signers) });
  t.equal(codeOf(await start().acceptLightBlock(signedBy([0, 1, 2]))), "ok");
  t.equal(codeOf(await start().acceptLightBlock(signedBy([0, 1]))), "certificate_power");
  t.equal(codeOf(await start().acceptLightBlock(signedBy([0]))), "trust_insufficient", "one of four is not more than a third");
  t.equal(codeOf(await start().acceptLightBlock(signedBy([0, 1, 2, 9]))), "certificate_signer");
  t.equal(
    codeOf(await start().acceptLightBlock({ ...honest, nextValidators: encodeMembers(membersOf([1, 2, 3, 4])) })),
    "validators_mismatch",
  );
  t.equal(codeOf(await start().acceptLightBlock({ ...honest, validators: honest.validators.slice(1) })), "answer_malformed");
});

t.test("a checkpoint is a block or it is nothing, and it is no part of the network's name", async (t) => {
  const at = { header: CHAIN.header(15n), hash: headerHash(CHAIN.header(15n)) };
  const network: NetworkFile = { ...CHAIN.network, checkpoint: checkpointOf(at, 100_000n) };
  t.same(networkHash(network), networkHash(CHAIN.network));
  const text = encodeNetworkFile(network);
  t.same(value(parseNetworkFile(text)).checkpoint, network.checkpoint);
  for (const [from, to] of [
    [/"height": "15"/, '"height": "0"'],
    [/"trustingPeriodMs": "100000"/, '"trustingPeriodMs": "0"'],
    [/"timeMs": "/, '"time": "'],
    [/"checkpoint": \{\n {4}"hash": "../, '"checkpoint": {\n    "hash": "'],
  ] as const)
    t.equal(codeOf(parseNetworkFile(text.replace(from, to))), "network_invalid", `${from}`);
  t.equal(trustPolicyOf(network, Date.now).trustingPeriodMs, 100_000n, "the checkpoint says for how long");
  const start = async (block: LightBlock, nowMs: number): Promise<string> =>
    codeOf(await LightVerifier.fromTrusted(network, block, policy(nowMs), network.checkpoint));
  t.equal(await start(CHAIN.lightBlock(15n), GENESIS_MS + 40_000), "ok");
  t.equal(await start(CHAIN.lightBlock(14n), GENESIS_MS + 40_000), "checkpoint_mismatch");
  const forged = { ...CHAIN.header(15n), stateRoot: hashAt(3) };
  t.equal(
    await start({ ...CHAIN.lightBlock(15n), anchor: anchorOf(forged, [1, 2, 3, 4]) }, GENESIS_MS + 40_000),
    "checkpoint_mismatch",
  );
  t.equal(await start(CHAIN.lightBlock(15n), GENESIS_MS + 115_000), "trust_expired");
});

t.test("under proof of stake no checkpoint makes headers lead on for longer than their stake is held", (t) => {
  const engine = { ...PROTOCOL_DEFAULTS.pos, unbondingMs: 300_000 };
  const at = { header: CHAIN.header(15n), hash: headerHash(CHAIN.header(15n)) };
  const periodOf = (checkpointMs?: bigint): bigint => {
    const network: NetworkFile = { ...CHAIN.network, engine };
    const told = checkpointMs === undefined ? network : { ...network, checkpoint: checkpointOf(at, checkpointMs) };
    return trustPolicyOf(told, Date.now).trustingPeriodMs;
  };
  t.same([undefined, 199_999n, 200_000n, 200_001n].map(periodOf), [200_000n, 199_999n, 200_000n, 200_000n]);
  t.end();
});

t.test("a header that was asked about before another question led past a change of sets leads nowhere", async (t) => {
  // The first set comes back to office.
  const chain = new HeaderChain((height) => (height > 10n && height <= 20n ? [1, 2, 3, 4] : FIRST));
  const verifier = LightVerifier.fromGenesis(chain.network, policy(GENESIS_MS + 40_000));
  const [, nearer] = [verifier.acceptLightBlock(chain.lightBlock(15n)), verifier.acceptHeader(chain.anchor(30n))];
  t.equal(codeOf(await nearer), "ok", "by the set that was known when it was asked about");
  const kept = present(verifier.trustedBlock(), "trusted block");
  t.equal(codeOf(await LightVerifier.fromTrusted(chain.network, kept, policy(GENESIS_MS + 40_000))), "ok");
  await reach(verifier, 35n, chain);
  t.equal(codeOf(await verifier.acceptHeader(chain.anchor(36n))), "ok");
});

t.test("of changes that are asked about at once, none is taken that does not follow the newest", async (t) => {
  const chain = new HeaderChain((height) =>
    height <= 10n ? FIRST : height <= 20n ? [1, 2, 3, 4] : height <= 30n ? FIRST : [5, 6, 7, 8],
  );
  const verifier = LightVerifier.fromGenesis(chain.network);
  const [first, , third] = chain.changes(40n);
  const asked = [first, third].map(async (change) => codeOf(await verifier.acceptChange(present(change, "change"))));
  t.same(await Promise.all(asked), ["ok", "validators_unknown"]);
  for (const change of chain.changes(40n)) t.equal(codeOf(await verifier.acceptChange(change)), "ok");
  const again = LightVerifier.fromGenesis(chain.network);
  for (const change of verifier.trustPath(heightOf(35n))) t.equal(codeOf(await again.acceptChange(change)), "ok");
});

// Fraud proofs.

function fraudOf(height: bigint, second: FraudFile["second"], rest: Partial<FraudFile> = {}): FraudFile {
  return {
    chainId: CHAIN.network.chainId,
    networkHash: networkHash(CHAIN.network),
    changes: CHAIN.changes(height),
    first: CHAIN.anchor(height),
    second,
    validators: undefined,
    ...rest,
  };
}

async function judged(file: FraudFile, ours?: Hash): Promise<Result<ProvenFraud>> {
  return await verifyFraudFile(encodeFraudFile(file), CHAIN.network, ours);
}

const address = (index: number): string => addressOfKey(keyPairAt(index).publicKey).join();

t.test("two headers of one height, set and round convict whoever signed both, with evidence that the chain takes", async (t) => {
  const forged = { ...CHAIN.header(12n), stateRoot: hashAt(9) };
  const proven = value(await judged(fraudOf(12n, anchorOf(forged, [2, 3, 4]))));
  t.match(proven, { offence: "doubleVote", height: 12n, totalPower: 4n, suspects: [] });
  t.strictSame(proven.convicts.map(({ validator }) => validator.join()).toSorted(), [2, 3, 4].map(address).toSorted());
  for (const { evidence } of proven.convicts)
    t.ok(verifyEvidence(CHAIN.network.chainId, membersOf([1, 2, 3, 4]), present(evidence, "evidence")).ok);
  t.ok(isFraudFile(encodeFraudFile(fraudOf(12n, anchorOf(forged, [2, 3, 4])))));
  t.equal(codeOf(await judged(fraudOf(12n, CHAIN.anchor(12n)))), "fraud_none", "the same header twice");
  t.equal(codeOf(await judged(fraudOf(12n, anchorOf(forged, [3, 4])))), "certificate_power");
  t.equal(codeOf(await judged(fraudOf(12n, anchorOf(forged, [2, 3, 4]), { changes: [] }))), "validators_unknown");
  t.equal(codeOf(await judged(fraudOf(12n, CHAIN.anchor(13n)))), "fraud_none", "the next header, which follows");
});

t.test("in two rounds nobody is convicted alone", async (t) => {
  const forged = { ...CHAIN.header(12n), stateRoot: hashAt(9) };
  const proven = value(await judged(fraudOf(12n, anchorOf(forged, [1, 2, 3], 1))));
  t.match(proven, { offence: "amnesia", convicts: [] });
  t.strictSame(proven.suspects.map((each) => each.join()).toSorted(), [1, 2, 3].map(address).toSorted());
});

t.test("a header with an invented set convicts those of the chain's own validators who signed it", async (t) => {
  const invented = membersOf([3, 4, 13, 14]);
  const forged = { ...CHAIN.header(12n), validatorsHash: validatorsHash(invented), stateRoot: hashAt(9) };
  const validators = encodeMembers(invented);
  const file = fraudOf(12n, anchorOf(forged, [3, 13, 14]), { validators });
  const proven = value(await judged(file, headerHash(CHAIN.header(12n))));
  t.match(proven, { offence: "lunatic", height: 12n, suspects: [] });
  t.strictSame(
    proven.convicts.map(({ validator }) => validator.join()),
    [address(3)],
  );
  for (const ours of [undefined, headerHash(forged)]) {
    const alone = value(await judged(file, ours));
    t.match(alone, { offence: "lunatic", convicts: [] }, "to whoever does not follow that chain they are suspects");
    t.strictSame(
      alone.suspects.map((each) => each.join()),
      [address(3)],
    );
  }
  const strangers = membersOf([13, 14, 15]);
  const alien = { ...forged, validatorsHash: validatorsHash(strangers) };
  t.equal(
    codeOf(await judged(fraudOf(12n, anchorOf(alien, [13, 14, 15]), { validators: encodeMembers(strangers) }))),
    "fraud_none",
    "strangers are nobody's fault",
  );
});

t.test("a header that follows another and is not later convicts its signers", async (t) => {
  const late = { ...CHAIN.header(13n), timeMs: CHAIN.header(12n).timeMs };
  const proven = value(await judged(fraudOf(12n, anchorOf(late, [1, 2, 3]))));
  t.match(proven, { offence: "invalid", height: 13n });
  t.equal(proven.convicts.length, 3);
});

t.test("a second header of height 0, which nobody decides, is refused and brings nobody down", async (t) => {
  const nothing = { ...CHAIN.header(12n), height: heightOf(0n) };
  t.equal(codeOf(await judged(fraudOf(12n, anchorOf(nothing, [1, 2, 3])))), "validators_unknown");
  t.equal(
    codeOf(await judged(fraudOf(12n, anchorOf(nothing, [1, 2, 3]), { validators: encodeMembers(membersOf([1, 2, 3, 4])) }))),
    "fraud_none",
  );
});

t.test("validators that left office long ago convict none that stayed", async (t) => {
  // 3 stays for ever; 0, 1 and 2 leave at height 11, and sell their keys.
  const chain = new HeaderChain((height) => (height <= 10n ? FIRST : [3, 5, 6, 7]));
  const old = validatorsHash(membersOf(FIRST));
  const forged = { ...chain.header(25n), stateRoot: hashAt(9), validatorsHash: old, nextValidatorsHash: old };
  const file = encodeFraudFile({
    chainId: chain.network.chainId,
    networkHash: networkHash(chain.network),
    changes: [],
    first: anchorOf(forged, [0, 1, 2]),
    second: chain.anchor(25n),
    validators: encodeMembers(membersOf([3, 5, 6, 7])),
  });
  for (const ours of [undefined, headerHash(chain.header(25n))])
    t.match(await verifyFraudFile(file, chain.network, ours), { ok: true, value: { offence: "lunatic", convicts: [] } });
});

t.test("no changed byte of a fraud proof leaves a verdict that differs", async (t) => {
  const forged = { ...CHAIN.header(12n), stateRoot: hashAt(9) };
  const bytes = encodeFraudFile(fraudOf(12n, anchorOf(forged, [2, 3, 4])));
  const verdict = async (changed: Uint8Array): Promise<string> => {
    const proven = await verifyFraudFile(changed, CHAIN.network);
    return proven.ok ? proven.value.convicts.map(({ validator }) => validator.join()).join(" ") : "refused";
  };
  const honest = await verdict(bytes);
  t.not(honest, "refused");
  await everyFlip(t, "fraud proof", bytes, async (changed) => (await verdict(changed)) === "refused");
  t.equal(await verdict(bytes.subarray(0, -1)), "refused");
});
