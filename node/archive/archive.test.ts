/** Archives against the ledger that they were written from: every old height, from plain files, and nothing else. */

import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { type FileHandle, open as openFile, readlink } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { PassThrough } from "node:stream";
import fc from "fast-check";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { bytesEqual, compareBytes, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { checkProperty } from "../../crypto/testing/property.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { verifyRange } from "../../chain/state/proof.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { encodeNetworkFile } from "../../chain/block/genesis.ts";
import { runCommandLine } from "../cli/main.ts";
import { openLog } from "../log/log.ts";
import { verifyProofFile } from "../light/prooffile.ts";
import { PyralogClient } from "../rpc/client.ts";
import { RpcServer } from "../rpc/server.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import { Archives } from "./fallback.ts";
import { Archive } from "./reader.ts";
import { type ArchiveSource, archiveSource, directorySource } from "./source.ts";
import { ArchiveWriter, type BlockSource } from "./writer.ts";

const HEIGHTS = 110n;
const CUT = 43n;
const ALICE = keyPairAt(100);
const alice = addressOfKey(ALICE.publicKey);
const bob = addressOfKey(keyPairAt(101).publicKey);
const SIGNAL = new AbortController().signal;

/** Rows that come, change and go, in two tables; records in three partitions; validators that change. */
function callsOf(height: bigint): Call[] {
  const key = utf8(`key ${(height * 7n) % 40n}`);
  const put: Call = { kind: "tablePut", namespace: "n", table: "a", key, value: encodeValue(Number(height)) };
  const calls: Call[] = [put, { kind: "transfer", to: bob, amount: height }];
  calls.push({ kind: "logAppend", stream: "s", partition: 0, records: ["x", "y", `${height}`].map(utf8) });
  calls.push({ kind: "logAppend", stream: "s", partition: 1, records: [utf8(`${height}`), utf8("z")] });
  if (height % 3n === 0n) calls.push({ kind: "tableDelete", namespace: "n", table: "a", key });
  if (height === 30n) calls.push({ kind: "validatorSet", key: keyPairAt(4).publicKey, power: 1n });
  if (height === 1n) return [{ kind: "tableCreate", namespace: "n", table: "a" }, ...calls];
  return calls;
}

async function chainOf(): Promise<DevNet> {
  const net = await DevNet.open({ powers: [1n, 1n, 1n, 1n] });
  for (let height = 1n; height <= HEIGHTS; height += 1n) {
    // Every fifth block is empty, but for what its proposer earns.
    const body = { chainId: net.network.chainId, sender: alice, nonce: 0n, fee: 100_000n, expiry: heightOf(100_000n), calls: [] };
    const nonce = height - 1n - (height - 1n) / 5n;
    const isEmpty = height % 5n === 0n;
    await net.commit(isEmpty ? [] : [signTransaction({ ...body, nonce, calls: callsOf(height) }, ALICE)]);
  }
  return net;
}

function blocksOf({ ledger }: DevNet, head: bigint = HEIGHTS): BlockSource {
  return {
    head: async () => heightOf(head),
    block: async (height) => ({
      block: present(ledger.blockBytes(height), "block"),
      certificate: present(ledger.certificateBytes(height), "certificate"),
    }),
  };
}

function temporary(): string {
  const path = mkdtempSync(join(tmpdir(), "pyralog-archive-"));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function replicaOf(net: DevNet): Promise<Ledger> {
  return await Ledger.open({ store: openMemoryStore(), network: net.network, executor: EXECUTOR });
}

function filesIn(directory: string): Map<string, string> {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(
    files
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [relative(directory, path), createHash("sha256").update(readFileSync(path)).digest("hex")] as const)
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
}

const net = await chainOf();
t.teardown(() => net[Symbol.asyncDispose]());
const directory = temporary();
const replica = await replicaOf(net);
const report = await new ArchiveWriter({ directory, replica, signal: SIGNAL }).run(blocksOf(net));
const open = (source: ArchiveSource = directorySource(directory)): Promise<Archive> => Archive.open(source, net.network, SIGNAL);

t.test("an archive holds every height, in one file each for block and state, and tiles", async (t) => {
  t.match(report, { from: 0n, height: HEIGHTS });
  t.equal((await open()).height, HEIGHTS);
  const names = [...filesIn(directory).keys()];
  for (const name of [
    "head",
    "block/110",
    "state/000",
    "state/110",
    "history/tile/0/000.p/110",
    "history/tile/entries/000.p/110",
  ])
    t.ok(names.includes(name), name);
  const streamFiles = names.filter((name) => name.startsWith("stream/s/0/"));
  const tiles = ["0/000", "0/001.p/8", "1/000.p/1", "entries/000", "entries/001.p/8"].map((name) => `stream/s/0/tile/${name}`);
  t.same(streamFiles, tiles, "264 records: a full tile, its root in the level above, and what is left");
});

t.test("the name of every directory is durable before the head speaks of what is in it", async (t) => {
  // What is synced, in order, by the paths that the system has for the open files.
  const synced: string[] = [];
  const handle = await openFile(directory);
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  const sync = Reflect.get(prototype, "sync") as (this: FileHandle) => Promise<void>;
  prototype.sync = async function noted(this: FileHandle) {
    synced.push(await readlink(`/proc/self/fd/${this.fd}`));
    return await sync.call(this);
  };
  const path = temporary();
  try {
    await new ArchiveWriter({ directory: path, replica: await replicaOf(net), signal: SIGNAL }).run(blocksOf(net));
  } finally {
    prototype.sync = sync;
  }
  const head = synced.findIndex((each) => each.startsWith(join(path, ".head")));
  t.ok(head > 0);
  const before = new Set(synced.slice(0, head));
  const made = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isDirectory());
  for (const { parentPath, name } of made) t.ok(before.has(parentPath), relative(path, join(parentPath, name)));
});

t.test("whatever range is asked of whatever height, the files prove what the ledger says", async (t) => {
  const archive = await open();
  const bound = fc.option(
    fc.oneof(
      fc.nat(45).map((number) => utf8(`\u0003n\0a\0key ${number}`)),
      fc.uint8Array({ minLength: 1, maxLength: 3 }),
    ),
    { nil: undefined },
  );
  const limit = fc.option(fc.integer({ min: 1, max: 30 }), { nil: undefined });
  await checkProperty(
    t,
    "ranges of old heights",
    fc.asyncProperty(fc.bigInt(1n, HEIGHTS), bound, bound, limit, async (number, from, to, limit) => {
      const height = heightOf(number);
      const range = { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) };
      const { at, proof } = await archive.proveState({ ...range, limit }, height);
      const answer = verifyRange(at.header.stateRoot, { ...range, limit }, proof);
      if (!answer.ok) throw new Error(answer.error.code);
      const isEmpty = to !== undefined && compareBytes(from ?? new Uint8Array(0), to) >= 0;
      const all = isEmpty ? [] : [...net.ledger.stateEntries(height, range)];
      const expected = all.slice(0, limit);
      const { rows, isComplete } = answer.value;
      const isSame = rows.every(({ key, value }, index) => {
        const row = present(expected[index], "row");
        return bytesEqual(key, row.key) && bytesEqual(value, row.value);
      });
      // A page that is full may not know that nothing comes after it.
      const isEnd = isComplete || rows.length === limit;
      return rows.length === expected.length && isSame && (all.length > expected.length ? !isComplete : isEnd);
    }),
    300,
  );
});

t.test("proof files of every kind and of any height come from the files alone, and hold", async (t) => {
  const archive = await open();
  for (const number of [1n, 31n, 32n, 77n, HEIGHTS - 1n, HEIGHTS]) {
    const height = heightOf(number);
    const row = net.ledger.block(height)?.transactions[0];
    const files: readonly (readonly [string, Uint8Array])[] = [
      ["row", await archive.exportRow("n", "a", utf8("key 7"), { height })],
      ["row", await archive.exportRow("n", "a", utf8("no key"), { height })],
      ["range", await archive.exportRange("n", "a", { height })],
      ["account", await archive.exportAccount(bob, { height })],
      ["record", await archive.exportRecord("s", 1, 1n, { height })],
      ...(row === undefined ? [] : [["transaction", await archive.exportTransaction(row.id, height)] as const]),
    ];
    for (const [kind, file] of files) {
      const proven = await verifyProofFile(file, net.network);
      t.match(proven, { ok: true, value: { height, certifiedHeight: HEIGHTS, statement: { kind } } }, `${kind} at ${height}`);
    }
  }
  const outside = (height: Height): Promise<Uint8Array> => archive.exportAccount(bob, { height });
  await t.rejects(outside(heightOf(HEIGHTS + 1n)), { code: "archive_height" });
  await t.rejects(outside(heightOf(0n)), { code: "archive_height" });
  await t.rejects(archive.exportRecord("s", 1, 2n, { height: heightOf(1n) }), { code: "record_unknown" }, "not there yet");
});

t.test("a run that goes on where one was cut short leaves the files of one run", async (t) => {
  const other = temporary();
  const ours = await replicaOf(net);
  const abort = new AbortController();
  await new ArchiveWriter({ directory: other, replica: ours, signal: SIGNAL }).run(blocksOf(net, CUT));
  const before = await Archive.open(directorySource(other), net.network, SIGNAL);
  const cut = new ArchiveWriter({ directory: other, replica: ours, signal: abort.signal });
  await t.rejects(
    cut.run(blocksOf(net), (height) => {
      if (height === CUT + 50n) abort.abort();
    }),
    { name: "AbortError" },
  );
  // What was there before is there still, and no more is promised.
  t.equal((await Archive.open(directorySource(other), net.network, SIGNAL)).height, CUT);
  t.ok((await before.exportRecord("s", 1, 3n)).length > 0);
  await new ArchiveWriter({ directory: other, replica: ours, signal: SIGNAL }).run(blocksOf(net));
  t.same([...filesIn(other)], [...filesIn(directory)]);
});

/** A static web server of a directory. */
async function serve(test: Test, root: string): Promise<string> {
  const server = createServer((request, response) => {
    const path = join(root, request.url ?? "");
    const isThere = statSync(path, { throwIfNoEntry: false })?.isFile() === true;
    response.writeHead(isThere ? 200 : 404).end(isThere ? readFileSync(path) : undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  test.teardown(() => new Promise<void>((resolve) => void server.close(() => resolve())));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

t.test("any static web server will do", async (t) => {
  const archive = await open(archiveSource(await serve(t, directory)));
  const here = await open();
  const height = heightOf(77n);
  t.same(await archive.exportRange("n", "a", { height }), await here.exportRange("n", "a", { height }));
  t.same(await archive.exportRecord("s", 0, 5n, { height }), await here.exportRecord("s", 0, 5n, { height }));
  await t.rejects(open(archiveSource(await serve(t, temporary()))), { code: "archive_missing" });
});

t.test(
  "a byte changed in any file that is read is found, and so is a file that is gone, of another height or network",
  async (t) => {
    const height = heightOf(89n);
    const read = new Set<string>();
    const spying = (alter: (path: string, bytes: Uint8Array | undefined) => Uint8Array | undefined): ArchiveSource => ({
      name: directory,
      read: async (path, signal) => {
        read.add(path);
        return alter(path, await directorySource(directory).read(path, signal));
      },
    });
    const id = present(net.ledger.block(heightOf(91n))?.transactions[0], "transaction").id;
    const ask = async (source: ArchiveSource): Promise<string> => {
      try {
        const archive = await open(source);
        const files = [
          await archive.exportRow("n", "a", utf8("key 7"), { height }),
          await archive.exportRecord("s", 1, 20n, { height }),
          await archive.exportTransaction(id, heightOf(91n)),
        ];
        return toHex(createHash("sha256").update(Buffer.concat(files)).digest());
      } catch (error) {
        return codeOf(error);
      }
    };
    const honest = await ask(spying((_, bytes) => bytes));
    const paths = [...read];
    t.ok(paths.length >= 8, `${paths.length} files: ${paths.join(" ")}`);
    const codes = new Set<string>();
    for (const path of paths) {
      const size = present(await directorySource(directory).read(path, SIGNAL), path).length;
      // Not everything in a file is used for every answer, so what is not used may change; what is said may not.
      for (const at of new Set([0, 1, 5, size >> 2, size >> 1, size - 40, size - 1].filter((each) => each >= 0 && each < size))) {
        const code = await ask(
          spying((each, bytes) => (each === path ? bytes?.map((byte, index) => (index === at ? byte ^ 0x11 : byte)) : bytes)),
        );
        if (code !== honest) codes.add(code);
        t.ok(code === honest || /^[a-z_]+$/.test(code), `${path}[${at}]: ${code}`);
      }
      t.match(await ask(spying((each, bytes) => (each === path ? undefined : bytes))), /^archive_missing$/, `${path} gone`);
      t.match(
        await ask(spying((each, bytes) => (each === path ? bytes?.slice(0, -1) : bytes))),
        /^[a-z_]+$/,
        `${path} cut short`,
      );
    }
    t.comment([...codes].join(" "));
    t.ok(codes.has("archive_damaged"));
    const mixed = await ask(
      spying((path, bytes) => (path === "state/089" ? new Uint8Array(readFileSync(join(directory, "state/088"))) : bytes)),
    );
    t.equal(mixed, "archive_damaged", "the state of another height");
    const elsewhere = { ...net.network, genesisTimeMs: net.network.genesisTimeMs + 1n };
    await t.rejects(Archive.open(directorySource(directory), elsewhere, SIGNAL), { code: "archive_network" });
  },
);

t.test("a node that hands out a wrong block stops the archive, which stays as it was", async (t) => {
  const other = temporary();
  const honest = blocksOf(net, 20n);
  const lying: BlockSource = {
    head: () => honest.head(),
    block: async (height) => {
      const { block, certificate } = await honest.block(height === 15n ? heightOf(14n) : height);
      return { block, certificate };
    },
  };
  await new ArchiveWriter({ directory: other, replica: await replicaOf(net), signal: SIGNAL }).run(blocksOf(net, 10n));
  const ours = await replicaOf(net);
  await t.rejects(new ArchiveWriter({ directory: other, replica: ours, signal: SIGNAL }).run(lying), { code: "archive_replica" });
  const fresh = temporary();
  await t.rejects(new ArchiveWriter({ directory: fresh, replica: ours, signal: SIGNAL }).run(lying), { code: "archive_refused" });
  await t.rejects(Archive.open(directorySource(fresh), net.network, SIGNAL), { code: "archive_missing" });
  writeFileSync(join(other, "head"), "not a head");
  await t.rejects(Archive.open(directorySource(other), net.network, SIGNAL), { code: "archive_damaged" });
});

t.test("the command line writes an archive from a node, and exports and verifies with the node gone", async (t) => {
  const home = temporary();
  const file = join(home, "network.json");
  writeFileSync(file, encodeNetworkFile(net.network));
  const log = await openLog({ level: "silent", destination: "stderr" });
  const server = await RpcServer.open({ host: "127.0.0.1", port: 0, cors: [] }, { backend: net.backend, log });
  const commandLine = async (...argv: readonly string[]): Promise<Record<string, unknown>> => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    stderr.resume();
    const surroundings = { environment: {}, stdin: new PassThrough(), stdout, stderr };
    await runCommandLine([...argv, "--network", file, "--json"], surroundings, SIGNAL);
    stdout.end();
    return JSON.parse((await stdout.toArray()).join("")) as Record<string, unknown>;
  };
  const [out, kept] = [join(home, "archive"), join(home, "replica")];
  const written = await commandLine("archive", out, "--replica", kept, "--node", server.url);
  await server[Symbol.asyncDispose]();
  t.match(written, { from: "0", height: `${HEIGHTS}` });
  t.same([...filesIn(out)], [...filesIn(directory)]);
  const proof = join(home, "row.proof");
  await commandLine("export", "--proofs", "row", "n", "a", "key 7", "--height", "41", "--archive", out, "--out", proof);
  t.match(await commandLine("verify", proof), {
    valid: true,
    height: "41",
    certifiedHeight: `${HEIGHTS}`,
    statement: { value: 41 },
  });
  const none = await commandLine(
    "export",
    "--proofs",
    "row",
    "n",
    "a",
    "key 7",
    "--height",
    "999",
    "--archive",
    out,
    "--out",
    proof,
  );
  t.match(none, { error: { code: "archive_height" } });
});

t.test("a node that has pruned a height answers from an archive, checked, and says so when none has it right", async (t) => {
  // The last test: it takes the states away that the others compare with.
  await net.ledger.tree.prune(heightOf(100n), SIGNAL);
  const log = await openLog({ level: "silent", destination: "stderr" });
  const spoilt = temporary();
  cpSync(directory, spoilt, { recursive: true });
  writeFileSync(join(spoilt, "state/041"), readFileSync(join(spoilt, "state/040")));
  const clientOver = async (...places: readonly string[]): Promise<PyralogClient> => {
    const oldStates = places.length === 0 ? undefined : new Archives({ places, network: net.network, log, signal: SIGNAL });
    const backend = { ...net.backend, oldStates };
    const server = await RpcServer.open({ host: "127.0.0.1", port: 0, cors: [] }, { backend, log });
    t.teardown(() => server[Symbol.asyncDispose]());
    return new PyralogClient({ url: server.url, network: net.network });
  };
  const height = heightOf(41n);
  const without = await clientOver();
  await t.rejects(without.row("n", "a", utf8("key 7"), { height }), { code: "height_pruned" });
  await t.rejects((await clientOver(spoilt)).row("n", "a", utf8("key 7"), { height }), { code: "height_pruned" });
  const client = await clientOver(spoilt, join(spoilt, "nowhere"), directory);
  t.match(await client.row("n", "a", utf8("key 7"), { height }), { value: encodeValue(41), verified: { height: 41n } });
  t.equal((await client.row("n", "a", utf8("none"), { height })).value, undefined);
  t.match((await client.record("s", 1, 5n, { height })).value, { index: 5n, data: utf8("z") });
  let rows = 0;
  for await (const page of client.range("n", "a", { height })) rows += page.value.length;
  t.ok(rows > 5, `${rows} rows`);
  const proven = await verifyProofFile(await client.exportAccount(bob, { height }), net.network);
  t.match(proven, { ok: true, value: { height, certifiedHeight: HEIGHTS } });
});
