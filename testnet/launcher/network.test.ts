/**
 * Real processes: a network of one development validator, the command line against it, a node that joins, kill -9,
 * and what is left behind. The four-validator network is the demo's matter.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { utf8 } from "../../crypto/base/bytes.ts";
import { runCommandLine } from "../../node/cli/main.ts";
import { Home } from "../../node/home/home.ts";
import { parseManifest, portsOf } from "../../node/home/manifest.ts";
import { proveOldRow } from "./demo/history.ts";
import { Program } from "./demo/program.ts";
import { offline, type Stage } from "./demo/stage.ts";
import { eraseRecord, fillStream, notarise } from "./demo/streams.ts";
import { startAuditor, stopAuditor } from "./demo/watching.ts";
import { freeBasePort, LocalNetwork, LocalNode, sleep } from "./network.ts";

const WAIT = { timeoutMs: 120_000 };
const MANIFEST = {
  name: "try",
  engine: "tendermint",
  parameters: { dev: true, blockIntervalMsMin: 50, timeoutProposeMs: 300, timeoutPrevoteMs: 300, timeoutPrecommitMs: 300 },
  validators: [{ name: "validator-0", keyType: "hybrid", power: "10" }],
  authority: "authority",
  accounts: ["authority", "alice", "bob", "carol"].map((name) => ({ name, keyType: "ed25519", amount: "1000000000" })),
};

type Told = { readonly code: number; readonly value: { readonly [key: string]: unknown } };

/** One command line, in this process: the same code as the program, without a start-up for each. */
async function tell(...argv: readonly string[]): Promise<Told> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  stderr.resume();
  const surroundings = { environment: {}, stdin: new PassThrough(), stdout, stderr };
  const code = await runCommandLine([...argv, "--json"], surroundings, new AbortController().signal);
  stdout.end();
  const text = (await stdout.toArray()).join("");
  return { code, value: JSON.parse(text) as Told["value"] };
}

// Starting processes takes seconds, and more on a busy machine: the tests share one network, and the last one stops it.
t.setTimeout(600_000);
const network = await startNetwork(t);

async function startNetwork(t: Test): Promise<LocalNetwork> {
  const directory = await mkdtemp(join(tmpdir(), "pyralog-launcher-"));
  const manifest = parseManifest(utf8(JSON.stringify(MANIFEST)));
  if (!manifest.ok) throw new Error(manifest.error.message);
  const network = await LocalNetwork.open({
    directory,
    manifest: manifest.value,
    basePort: await freeBasePort(),
    signal: new AbortController().signal,
  });
  t.teardown(async () => {
    await network.stop();
    await rm(directory, { recursive: true });
  });
  await network.start(WAIT);
  return network;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    // Signal 0 fails for one reason only: nobody has that number.
    return false;
  }
}

t.test("the command line writes, reads, proves and audits on a running network", async (t) => {
  const accounts = network.homes.accounts.path;
  const from = (name: string): readonly string[] => ["--from", name, "--home", accounts];
  const home = ["--home", accounts];

  t.match(await tell("status", ...home), {
    code: 0,
    value: { head: { verified: { how: ["certificate"] } }, claimed: { validator: /^pyra1/ } },
  });
  const sent = await tell("tx", "transfer", "bob", "5", ...from("alice"));
  t.match(sent, {
    code: 0,
    value: {
      result: { kind: "applied" },
      calls: [{ kind: "transfer", amount: "5" }],
      verified: { how: ["certificate", /inclusion/, /inclusion/] },
    },
  });
  t.match(await tell("query", "account", "bob", ...home), {
    code: 0,
    value: { balance: "1000000005", verified: { how: ["certificate", "state proof"] } },
  });
  t.match(await tell("tx", "why", String(sent.value["id"]), ...home), { code: 0, value: { status: "final" } });
  t.match(await tell("tx", "why", "00".repeat(32), ...home), { code: 0, value: { status: "unknown" } });

  t.match(
    await tell("tx", "put", "shop", "orders", "o-1", "{}", ...from("alice")),
    { code: 1, value: { error: { code: "table_unknown", field: /calls/ } } },
    "included, and failed",
  );
  t.match(await tell("tx", "create-table", "shop", "orders", ...from("alice")), { code: 0 });
  t.match(await tell("tx", "put", "shop", "orders", "o-1", '{"total": 12, "note": "x"}', ...from("alice")), { code: 0 });
  t.match(await tell("tx", "put", "shop", "orders", "o-1", "not json", ...from("alice")), {
    code: 1,
    value: { error: { code: "value_json", field: "VALUE" } },
  });
  t.match(await tell("tx", "put", "shop", "orders", "o-2", "2", ...from("bob")), {
    code: 1,
    value: { error: { code: "table_not_owner" } },
  });
  t.match(await tell("query", "row", "shop", "orders", "o-1", ...home), {
    code: 0,
    value: { present: true, value: { total: 12, note: "x" } },
  });
  t.match(await tell("query", "row", "shop", "orders", "o-9", ...home), {
    code: 0,
    value: { present: false, verified: { how: ["certificate", /absence/] } },
  });
  t.match(await tell("query", "range", "shop", "orders", ...home), {
    code: 0,
    value: { rows: [{ key: { text: "o-1" } }], complete: true },
  });

  const appended = await tell("tx", "append", "events", "one", "two", ...from("bob"));
  t.match(appended, { code: 0 });
  t.match(await tell("query", "records", "events", "0", ...home), {
    code: 0,
    value: { records: [{ index: "0", data: { text: "one" } }, { index: "1" }] },
  });
  t.match(await tell("query", "record", "events", "0", "2", ...home), { code: 1, value: { error: { code: "record_unknown" } } });
  t.match(await tell("query", "stream", "events", "0", ...home), { code: 0, value: { head: { size: "2" } } });
  t.match(await tell("query", "block", "1", ...home), { code: 0, value: { height: "1" } });

  const status = await tell("obelisk", "status", ...home);
  t.match(status, { code: 0, value: { durability: "lease", counters: 0, number: null } });
  t.match(await tell("obelisk", "next", "event", "orders", "--count", "3", ...home), {
    code: 0,
    value: { first: "0", count: 3 },
  });
  t.match(await tell("obelisk", "next", "event", "orders", ...home), { code: 0, value: { first: "3", count: 1 } });
  t.match(await tell("obelisk", "next", "unknown", "orders", ...home), {
    code: 1,
    value: { error: { code: "pharaoh_service" } },
  });
  t.match(await tell("id", "new", ...home), { code: 1, value: { error: { code: "pharaoh_unavailable" } } }, "without a number");
  const validator = present(network.homes.validators[0], "validator").home.path;
  const self = String((await tell("validator", "keys", "--home", validator)).value["address"]);
  t.match(await tell("tx", "transfer", self, "1000000", ...from("alice")), { code: 0 });
  t.match(await tell("number", "claim", "5", "--from", "node", "--home", validator), {
    code: 0,
    value: { result: { kind: "applied" } },
  });
  t.match(await tell("number", "show", "5", ...home), {
    code: 0,
    value: {
      lease: { owner: self, holder: status.value["incarnation"], epoch: "1" },
      verified: { how: ["certificate", /range/] },
    },
  });
  t.match(await tell("number", "list", ...home), { code: 0, value: { leases: [{ number: 5 }] } });
  const made = await tell("id", "new", "--count", "2", ...home);
  const [id] = made.value["ids"] as { text: string }[];
  t.match(await tell("id", "decode", String(id?.text)), { code: 0, value: { node: 5, text: id?.text } });
  t.match(await tell("number", "renew", "--from", "node", "--home", validator), {
    code: 0,
    value: { result: { kind: "applied" } },
  });
  t.match(await tell("obelisk", "session", ...home), { code: 0, value: { session: /^\d+$/ } });
  t.match(await tell("query", "header", "1", ...home), { code: 0, value: { height: "1", verified: { how: [/history log/] } } });

  const calls = join(accounts, "calls.json");
  await writeFile(
    calls,
    JSON.stringify([
      { kind: "tableDelete", namespace: "shop", table: "orders", key: { text: "o-1" } },
      { kind: "tableDelete", namespace: "shop", table: "orders", key: { text: "o-1" } },
    ]),
  );
  t.match(
    await tell("tx", "calls", calls, ...from("alice")),
    { code: 1, value: { error: { code: "row_unknown", field: /calls\[1\]/ } } },
    "all of them or none",
  );
  t.match(await tell("query", "row", "shop", "orders", "o-1", ...home), { code: 0, value: { present: true } });

  const proof = join(accounts, "row.proof");
  t.match(await tell("export", "proof", "row", "shop", "orders", "o-1", "--out", proof, ...home), { code: 0 });
  t.match(await tell("verify", proof, ...home), {
    code: 0,
    value: { valid: true, statement: { kind: "row", present: true, value: { total: 12 } } },
  });
  const bytes = await readFile(proof);
  bytes[bytes.length - 5] = present(bytes.at(-5), "byte") ^ 1;
  await writeFile(proof, bytes);
  t.match(await tell("verify", proof, ...home), { code: 1 });
  const foreign = join(accounts, "events.tlog-proof");
  const append = String(appended.value["id"]);
  const exported = await tell("export", "receipt", append, "--format", "tlog", "--out", foreign, ...home);
  t.match(exported, { code: 0, value: { size: "2" } });
  const [key = ""] = exported.value["keys"] as readonly string[];
  t.match(await tell("verify", foreign, "--key", key, "--recompute", ...home), { code: 0, value: { recomputed: true } });
  t.match(await tell("export", "state", "--out", join(accounts, "state.jsonl"), ...home), { code: 0 });
  t.match(await tell("export", "blocks", "--out", join(accounts, "blocks.jsonl"), ...home), { code: 0, value: { from: "1" } });

  t.match(await tell("audit", "--node", network.node(0).rpcUrl, ...home), { code: 0, value: { valid: true, records: 2 } });
  t.match(await tell("status", "--node", "http://127.0.0.1:1", ...home), {
    code: 1,
    value: { error: { code: "rpc_unreachable" } },
  });
});

t.test("two of three holders move what is theirs, apart from one another, and one alone does not", async (t) => {
  const home = ["--home", network.homes.accounts.path];
  const draft = join(network.homes.accounts.path, "draft.json");
  const copies = ["alice", "bob"].map((name) => join(network.homes.accounts.path, `${name}.json`));
  const [first, second] = copies as [string, string];
  t.match(
    await tell(
      "keys",
      "multisig",
      "new",
      "board",
      "--threshold",
      "2",
      "--key",
      "alice",
      "--key",
      "bob",
      "--key",
      "carol",
      ...home,
    ),
    { code: 0 },
  );
  t.match(await tell("tx", "transfer", "board", "100000", "--from", "alice", ...home), { code: 0 });
  t.match(await tell("tx", "transfer", "carol", "7", "--from", "board", "--unsigned", draft, ...home), {
    code: 0,
    value: { draft },
  });
  t.match(await tell("tx", "sign", draft, "--with", "alice", "--out", first, ...home), { code: 0, value: { signatures: 1 } });
  t.match(await tell("tx", "submit", first, ...home), { code: 1, value: { error: { code: "multisig_threshold" } } });
  t.match(
    await tell("tx", "combine", first, first, "--out", second, ...home),
    { code: 0, value: { signatures: 1 } },
    "the same signer twice counts once",
  );
  t.match(await tell("tx", "sign", draft, "--with", "bob", "--out", second, ...home), { code: 0 });
  t.match(await tell("tx", "combine", first, second, "--out", draft, ...home), { code: 0, value: { signatures: 2 } });
  t.match(await tell("tx", "show", draft, ...home), { code: 0, value: { kind: "draft", signatures: 2 } });
  t.match(await tell("tx", "submit", draft, ...home), {
    code: 0,
    value: { result: { kind: "applied" }, authorisation: "multisig" },
  });
  t.match(await tell("tx", "submit", draft, ...home), { code: 1, value: { error: { code: "nonce_used" } } });
  t.match(await tell("query", "account", "carol", ...home), { code: 0, value: { balance: "1000000007" } });
  t.match(
    await tell("tx", "transfer", "carol", "1", "--from", "board", ...home),
    { code: 0 },
    "a home with enough of the keys signs at once",
  );
});

t.test("a node joins by the file alone, is killed, comes back, and its data is audited, rolled back and restored", async (t) => {
  const accounts = ["--home", network.homes.accounts.path];
  const node = await network.join("node-1");
  const signal = new AbortController().signal;
  await node.waitForHeight(1n, { ...WAIT, signal });
  t.match(await tell("tx", "append", "joined", "one", "--from", "alice", ...accounts), { code: 0 });
  await node.waitForHeight(await network.highest(), { ...WAIT, signal });
  const home = ["--home", node.home.path];
  t.match(await tell("audit", "--data", ...home), { code: 1, value: { error: { code: "node_running" } } });
  t.match(await tell("validator", "status", ...home), {
    code: 0,
    value: { self: { member: false }, validators: [{ signed: true }] },
  });

  // Becomes a validator: the node prints the call, the authority sends it, and it decides two heights later.
  const calls = join(node.home.path, "calls.json");
  const applied = await tell("validator", "apply", "--power", "1", ...home);
  t.match(applied, { code: 0, value: [{ kind: "validatorSet", power: "1" }] });
  await writeFile(calls, JSON.stringify(applied.value));
  t.match(await tell("tx", "calls", calls, "--from", "alice", ...accounts), {
    code: 1,
    value: { error: { code: "authority_required" } },
  });
  t.match(await tell("tx", "calls", calls, "--from", "authority", ...accounts), { code: 0 });
  // An empty block takes seconds, one with something in it does not.
  for (const amount of ["1", "2"])
    t.match(await tell("tx", "transfer", "bob", amount, "--from", "alice", ...accounts), { code: 0 });
  await node.waitForHeight(await network.highest(), { ...WAIT, signal });
  t.match(await tell("validator", "status", ...home), { code: 0, value: { totalPower: "11", self: { member: true } } });

  const pid = present(node.pid, "pid");
  await node.kill("SIGKILL");
  t.notOk(isAlive(pid));
  t.match(await node.home.runState(), { kind: "stale" });
  t.match(await tell("audit", ...home), { code: 0, value: { valid: true, records: 3 } });
  const snapshot = join(node.home.path, "snapshot");
  const made = await tell("snapshot", "create", snapshot, ...home);
  t.match(made, { code: 0 });
  const height = BigInt(String(made.value["height"]));
  const signState = await readFile(node.home.signStatePath);
  t.match(await tell("rollback", "--to", "1", ...home), { code: 0, value: { from: `${height}`, to: "1" } });
  t.strictSame(await readFile(node.home.signStatePath), signState, "what was signed is remembered");
  t.match(await tell("rollback", "--to", `${height}`, ...home), { code: 1, value: { error: { code: "rollback_height" } } });
  t.match(await tell("audit", ...home), { code: 0, value: { height: "1" } });

  node.start();
  t.match(await tell("tx", "append", "joined", "two", "--from", "alice", ...accounts), { code: 0 });
  // The block that it stands in, and not the empty ones before.
  await node.waitForHeight(await network.highest(), { ...WAIT, signal });
  await node.stop();
  t.match(await node.home.runState(), { kind: "none" });
  t.match(await tell("audit", ...home), { code: 0, value: { valid: true, records: 4 } });

  const restored = new Home(join(node.home.path, "..", "node-2"));
  const ports = portsOf(network.homes.basePort, 2);
  const options = ["--generate-passphrase", "--p2p-port", `${ports.p2p}`, "--rpc-port", `${ports.rpc}`, "--home", restored.path];
  const restore = ["snapshot", "restore", snapshot, "--network", network.homes.networkPath, ...options];
  t.match(await tell(...restore), { code: 0, value: { height: `${height}`, records: 3 } });
  t.match(await tell(...restore), { code: 1, value: { error: { code: "snapshot_data" } } });
  const third = new LocalNode({
    name: "node-2",
    home: restored,
    rpcUrl: `http://127.0.0.1:${ports.rpc}`,
    network: network.network,
  });
  third.start();
  t.teardown(() => third.stop());
  await third.waitForHeight(await network.highest(), { ...WAIT, signal });
  t.match(await tell("query", "records", "joined", "0", "--node", third.rpcUrl, ...accounts), {
    code: 0,
    value: { records: [{ data: { text: "one" } }, { data: { text: "two" } }] },
  });
});

t.test("what the demo does on the command line holds with one validator, and what must be refused is", async (t) => {
  const signal = new AbortController().signal;
  const program = new Program(signal);
  const stage: Stage = { network, program, directory: t.testdir(), signal };
  const [stream, ...held] = await Promise.all([fillStream(stage, "alice"), notarise(stage, "bob"), proveOldRow(stage, "carol")]);
  t.same(held, [true, true], "a notarisation, and a row of long ago");
  t.same(stream, { records: 9, segments: 2 });
  t.ok(await eraseRecord(stage, "alice"));
  await t.rejects(eraseRecord(stage, "bob"), { code: "program_refused" }, "of a stream that is another's");
  t.equal(await program.refusal("verify", join(stage.directory, "erasure.receipt"), ...offline(stage)), undefined);
  await writeFile(join(stage.directory, "erasure.receipt"), "no receipt");
  t.type(await program.refusal("verify", join(stage.directory, "erasure.receipt"), ...offline(stage)), "string");
  const auditor = startAuditor(stage, [network.node(0)]);
  const height = await network.highest();
  t.ok((await stopAuditor(auditor, height)) >= height, "whoever follows has executed every block, and nothing to tell");
});

t.test("stopping leaves no process, and the same directory goes on where it was", async (t) => {
  const before = await network.highest();
  const pid = present(network.node(0).pid, "pid");
  await network.stop();
  t.notOk(isAlive(pid));
  network.restart(0);
  const signal = new AbortController().signal;
  await network.node(0).waitForHeight(before, { ...WAIT, signal });
  t.match(await tell("tx", "transfer", "bob", "1", "--from", "alice", "--home", network.homes.accounts.path), { code: 0 });
  t.ok((await network.highest()) > before);
});

const START = fileURLToPath(new URL("./start.ts", import.meta.url));

/** `npm start` as a process of its own; resolves with what it printed once the network finalises. */
async function startProcess(
  t: Test,
  directory: string,
  name: string,
): Promise<{ readonly child: ChildProcess; readonly pids: readonly number[] }> {
  const manifest = join(directory, "manifest.json");
  await writeFile(manifest, JSON.stringify(MANIFEST));
  const port = await freeBasePort();
  const argv = ["--home", join(directory, name), "--port", `${port}`, "--manifest", manifest, "--json"];
  const child = spawn(process.execPath, [START, ...argv], { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => void child.kill("SIGKILL"));
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const { nodes } = JSON.parse(line.toString()) as { readonly nodes: readonly { readonly pid: number }[] };
  return { child, pids: nodes.map(({ pid }) => pid) };
}

async function waitUntilGone(pids: readonly number[]): Promise<boolean> {
  for (let attempt = 0; attempt < 600; attempt += 1) {
    if (!pids.some(isAlive)) return true;
    await sleep(100, new AbortController().signal);
  }
  return false;
}

t.test("npm start ends in order at Ctrl-C, and takes its nodes along when it is killed itself", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "pyralog-start-"));
  t.teardown(() => rm(directory, { recursive: true }));
  const first = await startProcess(t, directory, "first");
  first.child.kill("SIGINT");
  t.strictSame(await once(first.child, "exit"), [0, null]);
  t.ok(await waitUntilGone(first.pids));
  const second = await startProcess(t, directory, "second");
  second.child.kill("SIGKILL");
  t.ok(await waitUntilGone(second.pids), "nobody holds the other end of their standard input any more");
});
