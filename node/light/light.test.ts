/** The light verifier and proof files, on real headers, certificates and proofs of a ledger in memory. */

import fc from "fast-check";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { bytesEqual, utf8 } from "../../crypto/base/bytes.ts";
import type { Result } from "../../crypto/base/result.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { encodeBlock, encodeHeader, type Header, headerHash } from "../../chain/block/block.ts";
import { type NetworkFile, networkHash } from "../../chain/block/genesis.ts";
import { heightOf } from "../../chain/block/height.ts";
import { certificateOf, hashAt, keyPairAt, quorumOf, setOf } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction, type Transaction } from "../../chain/block/transaction.ts";
import { encodeMembers } from "../../chain/block/validators.ts";
import { encodeCertificate, parseCertificate } from "../../chain/block/vote.ts";
import { accountKey, partitionKey, rowKey, rowRange } from "../../chain/state/keys.ts";
import { successor } from "../../chain/state/range.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import type { Unproven } from "./errors.ts";
import {
  encodeProofFile,
  parseProofFile,
  type ProofFile,
  type Statement,
  trimmedProofFile,
  verifyProofFile,
} from "./prooffile.ts";
import { provenBlock, provenExtension, provenRange, provenRow, provenTransaction } from "./statement.ts";
import type { Anchor } from "./anchor.ts";
import { LightVerifier, type SetChange, type VerifiedHeader } from "./verifier.ts";

const ALICE = keyPairAt(100);
const alice = addressOfKey(ALICE.publicKey);

async function netOf(test: Test, powers: readonly bigint[]): Promise<DevNet> {
  const net = await DevNet.open({ powers });
  test.teardown(() => net[Symbol.asyncDispose]());
  return net;
}

function signed(net: DevNet, nonce: bigint, calls: readonly Call[]): Transaction {
  return signTransaction(
    { chainId: net.network.chainId, sender: alice, nonce, fee: 1_000_000n, expiry: heightOf(1000n), calls },
    ALICE,
  );
}

function anchorAt({ ledger }: DevNet, height: bigint): Anchor {
  const at = heightOf(height);
  return { header: present(ledger.headerBytes(at), "header"), certificate: present(ledger.certificateBytes(at), "certificate") };
}

/** The change that the header of `height` makes. */
function changeAt(net: DevNet, height: bigint): SetChange {
  return {
    anchor: anchorAt(net, height),
    validators: encodeMembers(present(net.ledger.validators(heightOf(height + 1n)), "validators")),
  };
}

async function believed(net: DevNet, height: bigint): Promise<VerifiedHeader> {
  return value(await LightVerifier.fromGenesis(net.network).acceptHeader(anchorAt(net, height)));
}

function value<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(JSON.stringify(result.error, (_, v) => (typeof v === "bigint" ? `${v}` : v)));
  return result.value;
}

function codeOf(result: Result<unknown, Unproven>): string {
  return result.ok ? "ok" : result.error.code;
}

/** Another set in two heights: validators `from` to `to` with power 1, all others out. */
const setCalls = (add: readonly number[], remove: readonly number[]): Call[] => [
  ...add.map((index): Call => ({ kind: "validatorSet", key: keyPairAt(index).publicKey, power: 1n })),
  ...remove.map((index): Call => ({ kind: "validatorSet", key: keyPairAt(index).publicKey, power: 0n })),
];

t.test("a header is believed when more than 2/3 of the genesis set certified it, and not with one signature less", async (t) => {
  const net = await netOf(t, [1n, 1n, 1n, 1n]);
  await net.commitUntil(3n);
  const anchor = anchorAt(net, 3n);
  const certificate = quorumOf(value(parseCertificate(anchor.certificate)));
  const withSignatures = (count: number): Anchor => ({
    header: anchor.header,
    certificate: encodeCertificate({ ...certificate, signatures: certificate.signatures.slice(0, count) }),
  });
  const verifier = LightVerifier.fromGenesis(net.network);
  t.equal(codeOf(await verifier.acceptHeader(withSignatures(2))), "certificate_power");
  t.equal(verifier.known(heightOf(3n)), undefined, "what is refused is not remembered");
  t.equal(codeOf(await verifier.acceptHeader(withSignatures(3))), "ok");
  t.equal(codeOf(await LightVerifier.fromGenesis(net.network).acceptHeader(anchor)), "ok");
});

t.test("a certificate of another block, height, chain or validator proves nothing", async (t) => {
  const net = await netOf(t, [1n, 1n, 1n, 1n]);
  await net.commitUntil(2n);
  const { header, certificate } = anchorAt(net, 2n);
  const set = setOf([1n, 1n, 1n, 1n]);
  const accept = async (anchor: Anchor): Promise<string> =>
    codeOf(await LightVerifier.fromGenesis(net.network).acceptHeader(anchor));
  t.equal(await accept({ header, certificate: anchorAt(net, 1n).certificate }), "certificate_block");
  t.equal(
    await accept({
      header,
      certificate: encodeCertificate(certificateOf(set, [0, 1, 2, 3], { height: heightOf(2n), blockHash: hashAt(7) })),
    }),
    "certificate_block",
  );
  const parsed = quorumOf(value(parseCertificate(certificate)));
  const swapped = parsed.signatures.map((entry, index) => ({
    ...entry,
    signature: present(parsed.signatures[(index + 1) % 4], "signature").signature,
  }));
  t.equal(await accept({ header, certificate: encodeCertificate({ ...parsed, signatures: swapped }) }), "certificate_signature");
  t.equal(
    await accept({ header, certificate: encodeCertificate({ ...parsed, signatures: parsed.signatures.toReversed() }) }),
    "certificate_order",
  );
  t.equal(await accept({ header, certificate: certificate.slice(1) }), "answer_malformed");
  t.equal(await accept({ header: header.slice(1), certificate }), "answer_malformed");
  const elsewhere = LightVerifier.fromGenesis({ ...net.network, chainId: "pyra-other" });
  t.equal(codeOf(await elsewhere.acceptHeader({ header, certificate })), "header_chain");
});

t.test("the first header must begin at the very network file", async (t) => {
  const net = await netOf(t, [1n]);
  await net.commitUntil(1n);
  const other: NetworkFile = { ...net.network, genesisTimeMs: net.network.genesisTimeMs - 1n };
  t.equal(codeOf(await LightVerifier.fromGenesis(other).acceptHeader(anchorAt(net, 1n))), "header_network");
});

t.test("validator sets are followed from header to header, and only along certified ones", async (t) => {
  const net = await netOf(t, [1n, 1n, 1n, 1n]);
  await net.commit([signed(net, 0n, setCalls([4, 5, 6, 7], [0, 1, 2, 3]))]);
  await net.commitUntil(6n);
  const [change, ...more] = net.ledger.validatorChanges(heightOf(1n), 10);
  const at = present(change, "change").height;
  t.equal(more.length, 0);
  const verifier = LightVerifier.fromGenesis(net.network);
  t.equal(codeOf(await verifier.acceptHeader(anchorAt(net, 6n))), "validators_unknown");
  const honest = changeAt(net, at);
  t.equal(
    codeOf(await verifier.acceptChange({ ...honest, validators: encodeMembers(setOf([1n, 1n, 1n, 1n])) })),
    "validators_mismatch",
    "another set than the header names",
  );
  t.equal(codeOf(await verifier.acceptChange(changeAt(net, 1n))), "validators_mismatch", "a header that changes nothing");
  t.equal(
    codeOf(await verifier.acceptChange({ ...honest, anchor: { ...honest.anchor, certificate: anchorAt(net, 6n).certificate } })),
    "certificate_block",
  );
  t.equal(verifier.newest.from, 1n);
  t.equal(codeOf(await verifier.acceptChange(honest)), "ok");
  t.equal(verifier.newest.from, at + 1n);
  t.equal(codeOf(await verifier.acceptHeader(anchorAt(net, 6n))), "ok");
  t.equal(codeOf(await verifier.acceptHeader(anchorAt(net, 1n))), "ok", "earlier heights are still judged by the earlier set");
  t.equal(verifier.trustPath(heightOf(6n)).length, 1);
  t.equal(verifier.trustPath(at).length, 0);
});

t.test("a set that left office cannot certify a header of a later height", async (t) => {
  const net = await netOf(t, [1n, 1n, 1n, 1n]);
  await net.commit([signed(net, 0n, setCalls([4, 5, 6, 7], [0, 1, 2, 3]))]);
  await net.commitUntil(6n);
  const verifier = LightVerifier.fromGenesis(net.network);
  value(await verifier.acceptChange(changeAt(net, present(net.ledger.validatorChanges(heightOf(1n), 1)[0], "change").height)));
  const real = value(await verifier.acceptHeader(anchorAt(net, 5n)));
  const genesis = setOf([1n, 1n, 1n, 1n]);
  const { validatorsHash } = value(await verifier.acceptHeader(anchorAt(net, 1n))).header;
  const forged: Header = { ...real.header, height: heightOf(6n), validatorsHash, stateRoot: hashAt(1) };
  const blockHash = headerHash(forged);
  const certificate = encodeCertificate(certificateOf(genesis, [0, 1, 2, 3], { height: heightOf(6n), blockHash }));
  t.equal(codeOf(await verifier.acceptHeader({ header: encodeHeader(forged), certificate })), "validators_unknown");
});

t.test("two certified headers that contradict each other are reported as a fork", async (t) => {
  const [one, other] = [await netOf(t, [1n]), await netOf(t, [1n])];
  await one.commitUntil(3n);
  await other.commit([signed(other, 0n, [{ kind: "transfer", to: alice, amount: 1n }])]);
  await other.commitUntil(3n);
  const verifier = LightVerifier.fromGenesis(one.network);
  t.equal(codeOf(await verifier.acceptHeader(anchorAt(one, 2n))), "ok");
  t.equal(codeOf(await verifier.acceptHeader(anchorAt(other, 2n))), "fork_detected", "at the same height");
  t.equal(codeOf(await verifier.acceptHeader(anchorAt(other, 3n))), "fork_detected", "after it");
  t.equal(codeOf(await verifier.acceptHeader(anchorAt(other, 1n))), "fork_detected", "before it");
  t.equal(codeOf(await verifier.acceptHeader(anchorAt(one, 3n))), "ok", "and the first chain goes on");
});

t.test("an old header is believed by the history root of a new one, and no other header is", async (t) => {
  const net = await netOf(t, [1n]);
  await net.commitUntil(9n);
  const verifier = LightVerifier.fromGenesis(net.network);
  const head = value(await verifier.acceptHeader(anchorAt(net, 9n)));
  for (let height = 1n; height < 9n; height += 1n) {
    const of = { header: anchorAt(net, height).header, siblings: net.ledger.proveHistory(heightOf(height), heightOf(9n)) };
    t.equal(codeOf(verifier.acceptHistory(of, head)), "ok", `height ${height}`);
    const fresh = LightVerifier.fromGenesis(net.network);
    const wrong = net.ledger.proveHistory(heightOf(height === 8n ? 1n : height + 1n), heightOf(9n));
    t.not(
      codeOf(fresh.acceptHistory({ header: of.header, siblings: wrong }, head)),
      "ok",
      `with the path of another height than ${height}`,
    );
  }
  t.equal(
    codeOf(verifier.acceptHistory({ header: anchorAt(net, 9n).header, siblings: [] }, head)),
    "answer_height",
    "a header does not contain itself",
  );
});

t.test("a block is believed with every part that its header commits to, and with no other part", async (t) => {
  const net = await netOf(t, [1n]);
  const { block } = await net.commit([signed(net, 0n, [{ kind: "transfer", to: alice, amount: 1n }])]);
  await net.commit();
  const at = await believed(net, 1n);
  const bytes = present(net.ledger.blockBytes(heightOf(1n)), "block");
  t.equal(value(provenBlock(at, bytes)).transactions.length, 1);
  t.equal(codeOf(provenBlock(await believed(net, 2n), bytes)), "answer_mismatch");
  t.equal(codeOf(provenBlock(at, encodeBlock({ ...block, transactions: [] }))), "root_mismatch", "a transaction left out");
  t.equal(
    codeOf(
      provenBlock(at, encodeBlock({ ...block, previousCertificate: value(parseCertificate(anchorAt(net, 1n).certificate)) })),
    ),
    "root_mismatch",
  );
});

t.test("a transaction's result cannot be exchanged for that of another", async (t) => {
  const net = await netOf(t, [1n]);
  await net.commit([
    signed(net, 0n, [{ kind: "transfer", to: alice, amount: 1n }]),
    signed(net, 1n, [{ kind: "tableDelete", namespace: "a", table: "b", key: utf8("c") }]),
    signed(net, 2n, [{ kind: "transfer", to: alice, amount: 1n }]),
  ]);
  const at = await believed(net, 1n);
  const claimOf = (index: number) => {
    const { bytes, ...proof } = present(net.ledger.proveTransaction(heightOf(1n), index), "proof");
    return { ...proof, transaction: bytes, index };
  };
  t.same(value(provenTransaction(at, claimOf(0))).result, { kind: "applied" });
  t.match(value(provenTransaction(at, claimOf(1))).result, { kind: "failed", code: "table_unknown" });
  const [first, second] = [claimOf(0), claimOf(1)];
  t.equal(codeOf(provenTransaction(at, { ...second, result: first.result })), "root_mismatch");
  t.equal(
    codeOf(provenTransaction(at, { ...second, result: first.result, resultSiblings: first.resultSiblings })),
    "root_mismatch",
  );
  t.equal(codeOf(provenTransaction(at, { ...first, index: 1 })), "root_mismatch");
  t.equal(codeOf(provenTransaction(at, { ...first, count: 1 })), "proof_malformed");
});

t.test("a partition that shrinks or changes is told apart from one that grows", (t) => {
  const root = hashAt(1);
  const owner = alice;
  t.equal(codeOf(provenExtension({ owner, size: 3n, root }, { owner, size: 3n, root }, [])), "ok");
  t.equal(codeOf(provenExtension({ owner, size: 3n, root }, { owner, size: 3n, root: hashAt(2) }, [])), "log_forked");
  t.equal(codeOf(provenExtension({ owner, size: 3n, root }, { owner, size: 2n, root }, [])), "log_shrank");
  t.equal(codeOf(provenExtension({ owner, size: 3n, root }, { owner, size: 4n, root }, [hashAt(3)])), "proof_malformed");
  t.end();
});

/** A network with one of everything, a set change, and a proof file of each kind at its head. */
async function filesOf(test: Test): Promise<{ readonly net: DevNet; readonly files: readonly ProofFile[] }> {
  const net = await netOf(test, [1n, 1n, 1n, 1n]);
  const rows = [1, 2, 3, 4, 5].map((number): Call => ({
    kind: "tablePut",
    namespace: "shop",
    table: "stock",
    key: Uint8Array.of(number),
    value: encodeValue(number),
  }));
  const records = [utf8("one"), utf8("two"), utf8("three")];
  await net.commit([signed(net, 0n, setCalls([4], [0]))]);
  await net.commitUntil(4n);
  const transaction = signed(net, 1n, [
    { kind: "tableCreate", namespace: "shop", table: "stock" },
    ...rows,
    { kind: "logAppend", stream: "orders", partition: 2, records },
  ]);
  await net.commit([transaction]);
  const { ledger } = net;
  const height = ledger.head().height;
  const prove = (key: Uint8Array): Uint8Array => present(ledger.proveState(height, { from: key, to: successor(key) }), "proof");
  const table = { namespace: "shop", table: "stock" };
  const range = rowRange("shop", "stock");
  const pages = [present(ledger.proveState(height, { ...range, limit: 3 }), "page")];
  pages.push(
    present(ledger.proveState(height, { from: successor(rowKey("shop", "stock", Uint8Array.of(3))), to: range.to }), "page"),
  );
  const proof = present(ledger.proveTransaction(height, 0), "transaction proof");
  const record = present(ledger.records("orders", 2, 1n, 1)[0], "record").bytes;
  const statements: Statement[] = [
    { kind: "row", ...table, key: Uint8Array.of(3), proof: prove(rowKey("shop", "stock", Uint8Array.of(3))) },
    { kind: "row", ...table, key: Uint8Array.of(9), proof: prove(rowKey("shop", "stock", Uint8Array.of(9))) },
    { kind: "range", ...table, from: undefined, to: undefined, proofs: pages },
    { kind: "account", address: alice, proof: prove(accountKey(alice)) },
    {
      kind: "transaction",
      transaction: proof.bytes,
      path: 1,
      siblings: proof.siblings,
      result: proof.result,
      resultSiblings: proof.resultSiblings,
    },
    {
      kind: "record",
      stream: "orders",
      partition: 2,
      index: 1n,
      record,
      siblings: present(ledger.proveRecord(height, "orders", 2, 1n), "siblings"),
      proof: prove(partitionKey("orders", 2)),
    },
  ];
  const changes = ledger.validatorChanges(heightOf(1n), 10).map((change) => changeAt(net, change.height));
  const common = { chainId: net.network.chainId, networkHash: networkHash(net.network), changes, anchor: anchorAt(net, height) };
  return { net, files: statements.map((statement) => trimmedProofFile({ ...common, statement }, net.network)) };
}

t.test("a proof file proves its statement to whoever has the network file", async (t) => {
  const { net, files } = await filesOf(t);
  const proven = [];
  for (const file of files) proven.push(value(await verifyProofFile(encodeProofFile(file), net.network)));
  t.match(
    proven.map(({ statement }) => statement),
    [
      { kind: "row", value: encodeValue(3) },
      { kind: "row", value: undefined },
      { kind: "range", rows: [1, 2, 3, 4, 5].map((number) => ({ key: Uint8Array.of(number), value: encodeValue(number) })) },
      { kind: "account", account: { nonce: 2n } },
      { kind: "transaction", result: { kind: "applied" } },
      { kind: "record", record: { stream: "orders", partition: 2, index: 1n, data: utf8("two") } },
    ],
  );
  for (const { height, timeMs, how } of proven) {
    t.equal(height, net.ledger.head().height);
    t.equal(timeMs, net.ledger.head().timeMs);
    t.match(how, [/1 certified changes/, /proven/]);
  }
});

t.test("a proof file that leaves something out is refused", async (t) => {
  const { net, files } = await filesOf(t);
  const check = async (file: ProofFile, network: NetworkFile = net.network): Promise<string> =>
    codeOf(await verifyProofFile(encodeProofFile(file), network));
  const [row, , range, , , record] = files;
  if (
    row === undefined ||
    range === undefined ||
    range.statement.kind !== "range" ||
    record === undefined ||
    record.statement.kind !== "record"
  )
    throw new Error("files");
  const { proofs } = range.statement;
  t.equal(await check({ ...row, changes: [] }), "validators_unknown", "the way to the set");
  t.equal(
    await check({ ...range, statement: { ...range.statement, proofs: proofs.slice(0, 1) } }),
    "range_incomplete",
    "the last page",
  );
  t.not(await check({ ...range, statement: { ...range.statement, proofs: proofs.slice(1) } }), "ok", "the first page");
  t.equal(
    await check({ ...range, statement: { ...range.statement, proofs: [...proofs, ...proofs.slice(1)] } }),
    "range_incomplete",
    "a page too many",
  );
  t.equal(await check({ ...range, statement: { ...range.statement, proofs: [] } }), "range_incomplete");
  t.equal(await check({ ...record, statement: { ...record.statement, index: 2n } }), "proof_malformed", "the right index");
  t.equal(await check({ ...record, statement: { ...record.statement, index: 0n } }), "root_mismatch");
  t.not(await check({ ...record, statement: { ...record.statement, partition: 3 } }), "ok", "the right partition");
  const [change] = row.changes;
  t.equal(
    await check({ ...row, changes: [present(change, "change"), present(change, "change")] }),
    "file_spare",
    "a change twice",
  );
  const whole = anchorAt(net, net.ledger.head().height);
  t.equal(await check({ ...row, anchor: whole }), "file_spare", "a signature more than the quorum");
  t.equal(await check(row, { ...net.network, genesisTimeMs: 1n }), "network_mismatch");
  t.equal(codeOf(await verifyProofFile(utf8("not a proof file"), net.network)), "file_malformed");
  t.equal(codeOf(await verifyProofFile(new Uint8Array(0), net.network)), "file_malformed");
  const newer = encodeProofFile(row);
  newer[1 + 1 + "pyralog-proof".length] = 3;
  t.equal(codeOf(parseProofFile(newer)), "file_version");
});

t.test("a proof file with any byte changed is refused, or still says what it said", async (t) => {
  const { net, files } = await filesOf(t);
  const encodings = files.map(encodeProofFile);
  const seed = Number(process.env["SEED"] ?? 20_260_102);
  const mutation = fc.record({
    file: fc.nat(encodings.length - 1),
    at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    xor: fc.integer({ min: 1, max: 255 }),
    cut: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(mutation, async ({ file, at, xor, cut }) => {
      const original = present(encodings[file], "file");
      const index = Math.floor(at * original.length);
      const mutated = cut ? original.slice(0, index) : original.slice();
      if (!cut) mutated[index] = (mutated[index] ?? 0) ^ xor;
      const parsed = parseProofFile(mutated);
      if (parsed.ok && !bytesEqual(encodeProofFile(parsed.value), mutated))
        throw new Error(`another encoding of the same, byte ${index}`);
      const proven = await verifyProofFile(mutated, net.network);
      if (!proven.ok) return;
      const honest = value(await verifyProofFile(original, net.network));
      t.same(proven.value.statement, honest.statement, `byte ${index}`);
    }),
    { seed, numRuns: 400 },
  );
  t.pass(`seed ${seed}`);
});

t.test("a state proof proves nothing about another key, another range or another height", async (t) => {
  const net = await netOf(t, [1n]);
  const puts = [1, 2, 3].map((number): Call => ({
    kind: "tablePut",
    namespace: "a",
    table: "b",
    key: Uint8Array.of(number),
    value: encodeValue(number),
  }));
  await net.commit([signed(net, 0n, [{ kind: "tableCreate", namespace: "a", table: "b" }, ...puts])]);
  await net.commit([signed(net, 1n, [{ kind: "tableDelete", namespace: "a", table: "b", key: Uint8Array.of(2) }])]);
  const [one, two] = [await believed(net, 1n), await believed(net, 2n)];
  const key = rowKey("a", "b", Uint8Array.of(2));
  const then = present(net.ledger.proveState(heightOf(1n), { from: key, to: successor(key) }), "proof");
  const now = present(net.ledger.proveState(heightOf(2n), { from: key, to: successor(key) }), "proof");
  t.same(value(provenRow(one, key, then)), encodeValue(2));
  t.equal(value(provenRow(two, key, now)), undefined);
  t.equal(codeOf(provenRow(two, key, then)), "root_mismatch");
  t.not(codeOf(provenRow(one, rowKey("a", "b", Uint8Array.of(1)), then)), "ok");
  const range = rowRange("a", "b");
  t.equal(value(provenRange(two, range, present(net.ledger.proveState(heightOf(2n), range), "proof"))).rows.length, 2);
  t.not(codeOf(provenRange(two, range, now)), "ok");
});
