/**
 * Receipts and notarisations over a real server: who wrote or erased what, when, and the nearest thing that is not so; and
 * receipts in foreign formats, which a verifier checks that has none of our code.
 */

import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import fc from "fast-check";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { bytesEqual, concatBytes, utf8 } from "../../crypto/base/bytes.ts";
import type { Result } from "../../crypto/base/result.ts";
import { addressOfKey, parseAddress } from "../../crypto/identity/address.ts";
import { keyPairFromSeed, noteSeedOf } from "../../crypto/sign/key.ts";
import { checkProperty } from "../../crypto/testing/property.ts";
import { encodeNetworkFile } from "../../chain/block/genesis.ts";
import { encodeRecord, isDropped } from "../../chain/block/record.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import { assembleTransaction } from "../../chain/block/transaction.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import { runCommandLine } from "../cli/main.ts";
import { openLog } from "../log/log.ts";
import { RecordLogs } from "../recordlog/recordlog.ts";
import type { NodeBackend } from "../rpc/backend.ts";
import { PyralogClient } from "../rpc/client.ts";
import { type ExportedLogReceipt, exportLogReceipt, recordLogRootByChain } from "../rpc/logreceipt.ts";
import { RpcServer } from "../rpc/server.ts";
import { partitionOfKey } from "../rpc/routing.ts";
import { AccountSession } from "../rpc/session.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import {
  cosignCheckpoint,
  encodeCheckpoint,
  encodeNote,
  encodeNoteKey,
  type NoteKey,
  parseNote,
  signNote,
} from "./checkpoint.ts";
import { signCoseReceipt, verifyCoseReceipt, withEntry } from "./cose.ts";
import type { Unproven } from "./errors.ts";
import { verifyProofFile } from "./prooffile.ts";
import {
  encodeNotarisation,
  encodeReceipt,
  notarisationCommitment,
  notarisationRecord,
  verifyNotarisation,
  verifyReceipt,
} from "./receipt.ts";
import {
  encodeTlogProof,
  type LogReceipt,
  type LogReceiptCheck,
  RECORD_LOG_HASHER,
  recordLogOrigin,
  verifyTlogProof,
} from "./recordlog.ts";
import { foreignCose, foreignTlog } from "./testing/foreign.ts";

const ALICE = keyPairAt(100);
const alice = addressOfKey(ALICE.publicKey);
const SALT = new Uint8Array(32).fill(7);
const DOCUMENT = utf8("the contract");
const DIGEST = { algorithm: "sha2-256", digest: new Uint8Array(createHash("sha256").update(DOCUMENT).digest()) };

type Served = { readonly net: DevNet; readonly client: PyralogClient; readonly session: AccountSession; readonly url: string };

async function serve(test: Test): Promise<Served> {
  const net = await DevNet.open({ powers: [1n, 1n, 1n, 1n] });
  net.automatic = true;
  const log = await openLog({ level: "silent", destination: "stderr" });
  const server = await RpcServer.open(
    { host: "127.0.0.1", port: 0, cors: [] },
    { backend: { ...net.backend, recordLogs: await operator(net, 1) }, log },
  );
  test.teardown(async () => {
    await server[Symbol.asyncDispose]();
    await net[Symbol.asyncDispose]();
  });
  await net.commit();
  const client = new PyralogClient({ url: server.url, network: net.network });
  return { net, client, session: new AccountSession({ client, keyPair: ALICE }), url: server.url };
}

/** A node's record logs, by its key. */
async function operator({ ledger, network }: DevNet, seed: number): Promise<RecordLogs> {
  const keyPair = keyPairFromSeed("ed25519", noteSeedOf(new Uint8Array(32).fill(seed)));
  const log = await openLog({ level: "silent", destination: "stderr" });
  return new RecordLogs({ ledger, network, keyPair, log, follow: [], open: () => Promise.resolve(openMemoryStore()) });
}

/** Another node, or one that answers for record logs as it pleases. */
async function serveWith(test: Test, net: DevNet, recordLogs: NodeBackend["recordLogs"]): Promise<PyralogClient> {
  const log = await openLog({ level: "silent", destination: "stderr" });
  const backend = { ...net.backend, recordLogs };
  const server = await RpcServer.open({ host: "127.0.0.1", port: 0, cors: [] }, { backend, log });
  test.teardown(async () => await server[Symbol.asyncDispose]());
  return new PyralogClient({ url: server.url, network: net.network });
}

function codeOf(result: Result<unknown, Unproven>): string {
  return result.ok ? "ok" : result.error.code;
}

t.test("a receipt says who wrote which record and when, and two halves of different acts make none", async (t) => {
  const { net, client, session } = await serve(t);
  const first = await session.append("events", 0, [utf8("a"), utf8("b")]);
  const second = await session.append("events", 0, [utf8("a"), utf8("c")]);
  const [one, two] = [first.value.transaction.id, second.value.transaction.id];
  const receipt = await client.exportReceipt(one);
  const proven = await verifyReceipt(receipt, net.network);
  t.match(proven, {
    ok: true,
    value: {
      act: "appended",
      record: { index: 1n, data: utf8("b") },
      transaction: { body: { sender: alice } },
      timeMs: first.verified.timeMs,
    },
  });
  t.match(await verifyReceipt(await client.exportReceipt(one, { index: 0n }), net.network), { value: { record: { index: 0n } } });
  await t.rejects(
    client.exportReceipt(two, { index: 0n }),
    { code: "record_unknown" },
    "an equal record, but of another transaction",
  );
  const producer = { stream: "events", partition: 0, session: 1n };
  await session.send([{ kind: "sessionOpen", ...producer }]);
  const sent = await session.send([{ kind: "sessionAppend", ...producer, sequence: 0n, records: [utf8("d")] }]);
  t.match(
    await verifyReceipt(await client.exportReceipt(sent.value.transaction.id), net.network),
    { value: { act: "appended", record: { index: 4n, data: utf8("d") } } },
    "a producer's session appends like any other call",
  );
  const { height } = second.verified;
  const transaction = await client.exportTransaction(two);
  const halves = async (index: bigint, at = height): Promise<string> => {
    const record = await client.exportRecord("events", 0, index, { height: at });
    return codeOf(await verifyReceipt(encodeReceipt({ transaction, record }), net.network));
  };
  t.equal(await halves(3n), "ok");
  t.equal(await halves(2n), "ok");
  t.equal(await halves(1n), "receipt_mismatch", "written before");
  await net.commit();
  t.equal(await halves(3n, net.ledger.head().height), "receipt_mismatch", "shown at another height");
  t.equal(codeOf(await verifyReceipt(encodeReceipt({ transaction, record: transaction }), net.network)), "receipt_mismatch");
  t.equal(codeOf(await verifyReceipt(transaction, net.network)), "file_malformed");
  const failed = await session.send([
    { kind: "logAppend", stream: "events", partition: 0, records: [utf8("x")] },
    { kind: "tableDelete", namespace: "n", table: "none", key: utf8("k") },
  ]);
  await t.rejects(
    client.exportReceipt(failed.value.transaction.id),
    { code: "record_unknown" },
    "a transaction that did nothing",
  );
});

t.test("a block that validators signed over a transaction that nobody signed gives no receipt", async (t) => {
  const { net, client, session } = await serve(t);
  await session.append("events", 0, [utf8("a")]);
  // Faulty validators: the commit does not check signatures, the judging before it does.
  const { chainId } = net.network;
  const calls = [{ kind: "logAppend" as const, stream: "events", partition: 0, records: [utf8("forged")] }];
  const body = { chainId, sender: alice, nonce: 1n, fee: 100_000n, expiry: net.ledger.head().height, calls };
  const forged = assembleTransaction(
    { ...body, expiry: (body.expiry + 9n) as typeof body.expiry },
    {
      kind: "single",
      key: ALICE.publicKey,
      signature: new Uint8Array(64),
    },
  );
  await net.commit([forged]);
  const { height } = net.ledger.head();
  const transaction = await client.exportTransaction(forged.id);
  t.ok((await verifyProofFile(transaction, net.network)).ok, "it is in the block");
  const record = await client.exportRecord("events", 0, 1n, { height });
  t.equal(codeOf(await verifyReceipt(encodeReceipt({ transaction, record }), net.network)), "receipt_signature");
});

t.test("an erased record is gone from the node, is proven to have been there, and its neighbours still are", async (t) => {
  const { net, client, session } = await serve(t);
  const wrote = await session.append("events", 0, ["a", "secret", "c"].map(utf8));
  const before = await client.exportRecord("events", 0, 1n);
  const written = await client.exportReceipt(wrote.value.transaction.id, { index: 1n });
  const done = await session.send([{ kind: "recordErase", stream: "events", partition: 0, index: 1n }]);
  t.ok(isDropped(present(net.ledger.records("events", 0, 1n, 1)[0], "record").bytes), "in the store");
  const erased = await client.record("events", 0, 1n);
  t.match(erased.value, { dropped: /./, data: new Uint8Array(0) });
  for (const index of [0n, 2n]) t.equal((await client.record("events", 0, index)).value.dropped, undefined);
  t.match(await verifyReceipt(await client.exportReceipt(done.value.transaction.id), net.network), {
    ok: true,
    value: { act: "erased", record: { index: 1n, dropped: erased.value.dropped }, transaction: { body: { sender: alice } } },
  });
  // What was proven before still is, to whoever kept it; and a new receipt of the writing holds it against the commitment.
  t.ok((await verifyProofFile(before, net.network)).ok && (await verifyReceipt(written, net.network)).ok);
  const again = await client.exportReceipt(wrote.value.transaction.id, { index: 1n });
  t.match(await verifyReceipt(again, net.network), {
    ok: true,
    value: { act: "appended", record: { dropped: erased.value.dropped } },
  });
});

t.test("a notarisation opens its commitment with the right document and salt alone", async (t) => {
  const { net, client, session } = await serve(t);
  const body = notarisationRecord(notarisationCommitment(DIGEST, SALT));
  const sent = await session.send([{ kind: "streamAppend", stream: "notary", partition: 0, records: [body] }]);
  const receipt = await client.exportReceipt(sent.value.transaction.id);
  const check = async (digest: typeof DIGEST, salt: Uint8Array): Promise<string> =>
    codeOf(await verifyNotarisation(encodeNotarisation(digest, salt, receipt), net.network));
  t.equal(await check(DIGEST, SALT), "ok");
  t.equal(await check({ ...DIGEST, digest: DIGEST.digest.map((byte) => byte ^ 1) }, SALT), "receipt_mismatch");
  t.equal(
    await check(
      DIGEST,
      SALT.map((byte) => byte ^ 1),
    ),
    "receipt_mismatch",
  );
  t.equal(await check({ ...DIGEST, algorithm: "sha3-256" }, SALT), "receipt_mismatch");
  t.equal(await check(DIGEST, SALT.slice(1)), "file_malformed");
  const file = encodeNotarisation(DIGEST, SALT, receipt);
  await checkProperty(
    t,
    "mutated notarisations",
    fc.asyncProperty(fc.nat(file.length - 1), fc.integer({ min: 1, max: 255 }), fc.boolean(), async (at, xor, isCut) => {
      const mutated = isCut ? file.slice(0, at) : file.map((byte, index) => (index === at ? byte ^ xor : byte));
      const proven = await verifyNotarisation(mutated, net.network);
      return !proven.ok || bytesEqual(mutated, file);
    }),
    150,
  );
});

t.test("foreign code checks tlog proofs and COSE receipts, and ours refuses whatever is not one", async (t) => {
  const { net, client, session } = await serve(t);
  await session.append("events", 0, [utf8("only")]);
  const single = await exportLogReceipt(client, { stream: "events", partition: 0, index: 0n }, { format: "cose" });
  t.equal(foreignCose(single.file, single.receipt.entry, encodeNoteKey(present(single.keys[0], "key"))).size, 1n);
  for (let block = 0; block < 3; block += 1)
    await session.append(
      "events",
      0,
      Array.from({ length: 90 }, (_, at) => utf8(`${block} ${at}`)),
    );
  const { network } = net;
  const noteKey = (receipt: ExportedLogReceipt): string => encodeNoteKey(present(receipt.keys[0], "key"));
  const verifiers = { tlog: verifyTlogProof, cose: verifyCoseReceipt };
  const foreign = { tlog: foreignTlog, cose: foreignCose };
  for (const format of ["tlog", "cose"] as const) {
    const at = async (index: bigint) => await exportLogReceipt(client, { stream: "events", partition: 0, index }, { format });
    for (const index of [0n, 1n, 255n, 256n, 270n]) {
      const made = await at(index);
      const { origin, size, root, entry } = made.receipt;
      t.match(foreign[format](made.file, entry, noteKey(made)), { origin, size: 271n, index, root: Buffer.from(root) });
      t.equal(size, 271n);
    }
    const [made, other] = [await at(100n), await at(101n)];
    const { entry } = made.receipt;
    t.throws(() => foreign[format](made.file, other.receipt.entry, noteKey(made)), "another record");
    const [key] = made.keys;
    const check = { network, keys: [present(key, "key")] };
    const verify = (file: Uint8Array, more: Partial<LogReceiptCheck> = {}): string =>
      codeOf(verifiers[format](file, { ...check, ...more }));
    t.equal(verify(made.file), "ok");
    t.equal(verify(made.file, { keys: [present(key, "key").key] }), "ok", "a bare key");
    t.equal(verify(made.file, { entry }), "ok");
    t.equal(verify(made.file, { entry: other.receipt.entry }), "logreceipt_record");
    const stranger = keyPairAt(5).publicKey;
    t.equal(verify(made.file, { keys: [stranger] }), "logreceipt_unsigned");
    t.equal(verify(made.file, { keys: [...check.keys, stranger] }), "logreceipt_unsigned", "each must have signed");
    const renamed = { ...present(key, "key"), name: `${present(key, "key").name}1` };
    t.equal(verify(made.file, { keys: [renamed] }), "logreceipt_unsigned", "the same key under the name of another log");
    t.equal(verify(made.file, { network: { ...network, chainId: "other" } }), "network_mismatch");
    await checkProperty(
      t,
      `mutated ${format} receipts`,
      fc.property(fc.nat(made.file.length - 1), fc.integer({ min: 1, max: 255 }), fc.boolean(), (place, xor, isCut) => {
        const mutated = isCut ? made.file.slice(0, place) : made.file.map((byte, i) => (i === place ? byte ^ xor : byte));
        return verify(mutated) !== "ok";
      }),
      1000,
    );
    t.equal(verify(concatBytes(made.file, Uint8Array.of(0x0a))), "logreceipt_malformed", "trailing bytes");
  }
});

t.test("a proof with another order, length, index or size is refused, though its parts are well-formed", async (t) => {
  const { net, client, session } = await serve(t);
  await session.append("events", 0, ["a", "b", "c", "d", "e", "f"].map(utf8));
  const place = { stream: "events", partition: 0, index: 2n };
  const tlog = await exportLogReceipt(client, place, { format: "tlog" });
  const { siblings, entry, index } = tlog.receipt;
  const checkpoint = new TextDecoder().decode(tlog.file).split("\n\n").slice(1).join("\n\n");
  const check = { network: net.network, keys: tlog.keys };
  const codes = (at: Pick<LogReceipt, "index" | "siblings">, note = checkpoint, own: Uint8Array | undefined = entry): string =>
    codeOf(verifyTlogProof(encodeTlogProof(at, { checkpoint: note, entry: own }), check));
  t.equal(codes({ index, siblings }), "ok");
  t.equal(codes({ index, siblings: siblings.toReversed() }), "root_mismatch");
  t.equal(codes({ index, siblings: siblings.slice(1) }), "proof_malformed");
  t.equal(codes({ index, siblings: [...siblings, present(siblings[0], "sibling")] }), "proof_malformed");
  t.equal(codes({ index: 3n, siblings }), "logreceipt_record", "the record says its place itself");
  t.equal(codes({ index, siblings }, checkpoint.replace("\n6\n", "\n7\n")), "logreceipt_signature", "another size");
  t.equal(codes({ index, siblings }, checkpoint.replace("/events/0\n", "/events/1\n")), "logreceipt_unsigned", "another log");
  t.equal(codeOf(verifyTlogProof(encodeTlogProof({ index, siblings }, { checkpoint }), check)), "logreceipt_record", "no record");
  t.equal(codeOf(verifyTlogProof(encodeTlogProof({ index, siblings }, { checkpoint }), { ...check, entry })), "ok");
  const text = new TextDecoder().decode(tlog.file);
  for (const [from, to] of [
    ["@v1", "@v2"],
    ["index 2", "index 02"],
    ["index 2", "indexes 2"],
    ["extra ", "extras "],
    ["\n\n", "\n"],
  ] as const)
    t.equal(codeOf(verifyTlogProof(utf8(text.replace(from, to)), check)), "logreceipt_malformed", `${from} is ${to}`);
});

t.test(
  "a COSE receipt passed on with another size of the tree, at which its path leads to the same root, is refused",
  async (t) => {
    const { net, client, session } = await serve(t);
    await session.append(
      "events",
      0,
      Array.from({ length: 271 }, (_, at) => utf8(`${at}`)),
    );
    const place = { stream: "events", partition: 0, index: 100n };
    const { file, receipt, keys } = await exportLogReceipt(client, place, { format: "cose" });
    const at = Buffer.from(file).lastIndexOf(Buffer.from([0x19, 271 >> 8, 271 & 255]));
    const passedOn = file.map((byte, index) => (index === at + 2 ? 270 & 255 : byte));
    const taken = foreignCose(passedOn, receipt.entry, encodeNoteKey(present(keys[0], "key")));
    t.match(taken, { size: 270n, root: Buffer.from(receipt.root) }, "RFC 9942 alone does not tell");
    t.equal(codeOf(verifyCoseReceipt(file, { network: net.network, keys })), "ok");
    t.equal(codeOf(verifyCoseReceipt(passedOn, { network: net.network, keys })), "logreceipt_signature");
  },
);

t.test("several operators sign one log, and one that signs another root is named", async (t) => {
  const { net, client, session } = await serve(t);
  await session.append("events", 0, [utf8("a"), utf8("b")]);
  const [honest, liar] = [await operator(net, 2), await operator(net, 3)];
  const second = await serveWith(t, net, honest);
  const place = { stream: "events", partition: 0, index: 0n };
  const both = await exportLogReceipt(client, place, { format: "tlog", operators: [second] });
  t.equal(both.receipt.signers.length, 2);
  for (const key of both.keys) t.equal(foreignTlog(both.file, both.receipt.entry, encodeNoteKey(key)).size, 2n, "each by itself");
  // A witness adds to the checkpoint what it saw, and when.
  const note = parseNote(utf8(new TextDecoder().decode(both.file).split("\n\n").slice(1).join("\n\n")));
  if (!note.ok) throw new Error("note");
  const seen = cosignCheckpoint(note.value.text, "w.example/w1", keyPairAt(7), 1_700_000_000n);
  const cosigned = encodeNote({ ...note.value, signatures: [...note.value.signatures, seen] });
  const witness: NoteKey = { name: "w.example/w1", algorithm: "cosignature", key: keyPairAt(7).publicKey };
  const { index, siblings, entry } = both.receipt;
  const check = { network: net.network, keys: [...both.keys, witness] };
  const witnessed = verifyTlogProof(encodeTlogProof({ index, siblings }, { checkpoint: cosigned, entry }), check);
  t.match(witnessed, { ok: true, value: { signers: [{}, {}, { timeS: 1_700_000_000n }] } });
  t.equal(codeOf(verifyTlogProof(both.file, check)), "logreceipt_unsigned", "without the witness");
  const { hash } = net.ledger.head();
  const lying = keyPairFromSeed("ed25519", noteSeedOf(new Uint8Array(32).fill(3)));
  const lie = await serveWith(t, net, {
    receipt: async (question, signal) => {
      const answered = await liar.receipt(question, signal);
      if (!answered.ok) return answered;
      const origin = recordLogOrigin({ chainId: net.network.chainId, hash: net.ledger.networkHash }, question);
      const lied = encodeCheckpoint({ origin, size: answered.value.size, root: hash });
      return {
        ok: true,
        value: { ...answered.value, checkpoint: encodeNote({ text: lied, signatures: [signNote(lied, origin, lying)] }) },
      };
    },
  });
  await t.rejects(exportLogReceipt(client, place, { format: "tlog", operators: [lie] }), {
    code: "logreceipt_root",
    detail: { field: "operators.0" },
  });
  await t.rejects(
    exportLogReceipt(lie, place, { format: "tlog" }),
    { code: "root_mismatch" },
    "alone it has no path to its root",
  );
  const silent = await serveWith(t, net, undefined);
  await t.rejects(exportLogReceipt(silent, place, { format: "cose" }), { code: "recordlog_off" });
  // A log of lies is well-formed, and only the chain tells.
  const forged = encodeRecord({ ...(await client.record("events", 0, 0n)).value, data: utf8("forged") });
  const origin = both.receipt.origin;
  const root = RECORD_LOG_HASHER.leaf(forged);
  const inclusion = { origin, root, size: 1n, index: 0n, siblings: [], place };
  const file = present(withEntry(signCoseReceipt(inclusion, lying), forged), "receipt");
  const proven = verifyCoseReceipt(file, { network: net.network, keys: [lying.publicKey] });
  t.match(proven, { ok: true, value: { record: { data: utf8("forged") } } });
  t.notSame(await recordLogRootByChain(client, { ...place, size: 1n }, {}), root);
  t.same(await recordLogRootByChain(client, { ...place, size: 2n }, {}), both.receipt.root);
  await t.rejects(recordLogRootByChain(client, { ...place, size: 3n }, {}), { code: "logreceipt_root" });
  await session.send([{ kind: "recordErase", stream: "events", partition: 0, index: 1n }]);
  await t.rejects(recordLogRootByChain(client, { ...place, size: 2n }, {}), { code: "logreceipt_dropped" });
  await t.rejects(exportLogReceipt(client, { ...place, index: 1n }, { format: "cose" }), { code: "logreceipt_dropped" });
  t.equal((await exportLogReceipt(client, place, { format: "cose" })).receipt.size, 2n, "its neighbour's was hashed in time");
});

t.test("the command line notarises a file and verifies it offline, and no other file", async (t) => {
  const { net, url } = await serve(t);
  const home = mkdtempSync(join(tmpdir(), "pyralog-notarize-"));
  t.teardown(() => rmSync(home, { recursive: true }));
  const at = (name: string): string => join(home, name);
  writeFileSync(at("network.json"), encodeNetworkFile(net.network));
  writeFileSync(at("contract.txt"), DOCUMENT);
  writeFileSync(at("other.txt"), utf8("another contract"));
  const run = async (...argv: readonly string[]): Promise<Record<string, unknown>> => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    stderr.resume();
    const surroundings = {
      environment: { PYRALOG_PASSPHRASE: "a passphrase for the test" },
      stdin: new PassThrough(),
      stdout,
      stderr,
    };
    await runCommandLine([...argv, "--home", at("home"), "--json"], surroundings, new AbortController().signal);
    stdout.end();
    return JSON.parse((await stdout.toArray()).join("")) as Record<string, unknown>;
  };
  await run("init");
  const made = await run("keys", "new", "writer");
  const network = ["--network", at("network.json")];
  // The new key needs something to pay the fee from.
  const session = new AccountSession({ client: new PyralogClient({ url, network: net.network }), keyPair: ALICE });
  const to = parseAddress(`${made["address"] as string}`);
  if (!to.ok) throw new Error("address");
  await session.transfer(to.value, 10_000_000n);
  const common = ["--from", "writer", "--node", url, ...network];
  const notarised = await run("notarize", at("contract.txt"), "--out", at("contract.notarisation"), ...common);
  t.match(notarised, { algorithm: "sha2-256", digest: Buffer.from(DIGEST.digest).toString("hex") });
  const verify = (...more: readonly string[]) => run("verify", at("contract.notarisation"), ...network, ...more);
  t.match(await verify(), { valid: true, act: "appended", writer: made["address"], document: null });
  t.match(await verify("--document", at("contract.txt")), { valid: true });
  t.match(await verify("--document", at("other.txt")), { error: { code: "receipt_mismatch" } });
  t.match(await run("notarize", "--out", at("x"), ...common), { error: { code: "usage_missing_argument" } });
  // In foreign formats.
  const export_ = (...more: readonly string[]) =>
    run("export", "receipt", `${notarised["id"] as string}`, ...more, "--node", url, ...network);
  t.match(await export_("--out", at("own.receipt")), { file: at("own.receipt") });
  t.match(await run("verify", at("own.receipt"), ...network), { valid: true, act: "appended" });
  for (const format of ["tlog", "cose"]) {
    const file = at(`contract.${format}`);
    const made = await export_("--format", format, "--out", file, "--record", at("contract.record"));
    const [key = ""] = made["keys"] as readonly string[];
    t.match(made, { format, size: "1", origin: key.split("+")[0] });
    const entry = readFileSync(at("contract.record"));
    t.equal((format === "tlog" ? foreignTlog : foreignCose)(readFileSync(file), entry, key).index, 0n);
    const check = (...more: readonly string[]) => run("verify", file, ...more, ...network);
    t.match(await check("--key", key), { valid: true, format, record: { stream: "notary" }, recomputed: false });
    t.match(await check("--key", key, "--recompute", "--node", url), { valid: true, recomputed: true });
    t.match(await check("--recompute", "--node", url), { valid: true, signers: [] });
    t.match(await check(), { error: { code: "usage_missing_option", field: "--key" } });
    t.match(await check("--key", "00".repeat(32)), { error: { code: "logreceipt_unsigned" } });
    t.match(await check("--key", "no key"), { error: { code: "usage_option_value", field: "--key" } });
    t.match(await check("--key", key, "--record", at("contract.txt")), { error: { code: "logreceipt_record" } });
  }
  t.match(await export_("--format", "asn1", "--out", at("x")), { error: { code: "usage_option_value", field: "--format" } });
  const several = await export_("--format", "cose", "--operators", url, "--out", at("x"));
  t.match(several, { error: { code: "usage_option_value", field: "--operators" } });
  // Streams, by the same key.
  const rules = ["--partitions", "3", "--segment-bytes", "4096", "--segment-age-ms", "1000"];
  t.match(await run("tx", "create-stream", "prices", ...rules, ...common), { result: { kind: "applied" } });
  const append = (...more: readonly string[]) => run("tx", "append", "prices", ...more, ...common);
  const partition = `${partitionOfKey(utf8("tea"), 3)}`;
  t.match(await append("9", "--key", "tea", "--header", "currency=eur", "--route", "key"), { result: { kind: "applied" } });
  t.match(await append("--key", "tea", "--tombstone", "--partition", partition), { result: { kind: "applied" } });
  t.match(await append("10", "--route", "key"), { error: { code: "usage_missing_option" } });
  t.match(await run("query", "records", "prices", partition, "--node", url, ...network), {
    records: [
      { key: { text: "tea" }, data: { text: "9" }, headers: [{ name: "currency", value: { text: "eur" } }] },
      { key: { text: "tea" }, tombstone: true },
    ],
  });
  const segments = await run("query", "segments", "prices", partition, "--node", url, ...network);
  t.match(segments, { segments: [{ number: "0", firstIndex: "0", count: "1" }] });
});
