/** Homes: nothing half written, nothing readable by others, nothing believed that is damaged. */

import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import type { ReadStream } from "node:tty";
import fc from "fast-check";
import t from "tap";
import { encodeNetworkFile, parseNetworkFile } from "../../chain/block/genesis.ts";
import { utf8 } from "../../crypto/base/bytes.ts";
import { KEY_FILE_LOG_N_MIN } from "../../crypto/identity/keyfile.ts";
import { multisigPolicy } from "../../crypto/identity/policy.ts";
import { verifySignature } from "../../crypto/sign/key.ts";
import { placeFile, readFileBounded } from "./files.ts";
import { Home } from "./home.ts";
import { initialiseHome } from "./initialise.ts";
import {
  createKey,
  createPolicy,
  listKeys,
  openKey,
  parsePolicyText,
  parsePublicKeyText,
  policyText,
  readPolicy,
} from "./keys.ts";
import { createLocalHomes, openLocalHomes, parseManifest, portsOf } from "./manifest.ts";
import { findPassphrase } from "./passphrase.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const SEED = drawnSeed();
const SIGNAL = new AbortController().signal;
const CHEAP = { logN: KEY_FILE_LOG_N_MIN } as const;

async function temporary(test: { teardown(run: () => Promise<void>): void }): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "pyralog-home-"));
  test.teardown(() => rm(path, { recursive: true }));
  return path;
}

t.test("a file is placed whole, with its rights, and nothing is left beside it", async (t) => {
  const directory = await temporary(t);
  const path = join(directory, "file");
  await placeFile(path, "first");
  await placeFile(path, "second");
  t.equal(await readFile(path, "utf8"), "second");
  t.equal((await stat(path)).mode & 0o777, 0o600);
  t.strictSame(await readdir(directory), ["file"]);
});

t.test("a file that must not be replaced stays as it is, also with two writers at once", async (t) => {
  const directory = await temporary(t);
  const path = join(directory, "file");
  const writers = await Promise.allSettled(["a", "b", "c"].map((text) => placeFile(path, text, { replace: false })));
  t.equal(writers.filter(({ status }) => status === "fulfilled").length, 1);
  t.ok(writers.every((writer) => writer.status === "fulfilled" || writer.reason.code === "file_exists"));
  t.strictSame(await readdir(directory), ["file"]);
});

t.test("a file is read up to its bound and not a byte more", async (t) => {
  const path = join(await temporary(t), "file");
  t.equal(await readFileBounded(path, 4), undefined);
  await writeFile(path, "1234");
  t.strictSame(await readFileBounded(path, 4), utf8("1234"));
  await t.rejects(readFileBounded(path, 3), { code: "file_size" });
  // A device has size 0 and no end.
  await t.rejects(readFileBounded("/dev/zero", 1000), { code: "file_size" });
});

t.test("a new home is closed to others and opens with its own passphrase alone", async (t) => {
  const home = new Home(join(await temporary(t), "deep", "home"));
  t.notOk(await home.exists());
  await t.rejects(home.require(), { code: "home_missing" });
  const made = await initialiseHome(home, {
    keyType: "hybrid",
    passphrase: undefined,
    config: { rpc: { port: 1234 } },
    ...CHEAP,
  });
  for (const path of [home.path, home.keysPath, home.dataPath]) t.equal((await stat(path)).mode & 0o777, 0o700, path);
  for (const path of [home.configPath, home.passphrasePath, join(home.keysPath, "node.key")])
    t.equal((await stat(path)).mode & 0o777, 0o600, path);
  const config = await home.config({});
  t.equal(config.rpc.port, 1234);
  const passphrase = await findPassphrase({ configuredFile: home.configuredPassphraseFile(config) }, SIGNAL);
  const opened = await openKey(home, "node", passphrase);
  t.strictSame(opened.publicKey, made.nodeKey.publicKey);
  t.ok(verifySignature(opened.publicKey, utf8("message"), opened.keyPair.sign(utf8("message"))));
  await t.rejects(openKey(home, "node", `${passphrase}x`), { code: "keyfile_passphrase" });
  await t.rejects(initialiseHome(home, { keyType: "hybrid", passphrase, config: {} }), { code: "home_exists" });
});

t.test("keys are made once, listed without a passphrase, and refused when others can read them", async (t) => {
  const home = new Home(await temporary(t));
  await home.create();
  const alice = await createKey(home, { name: "alice", type: "ed25519", passphrase: "p", ...CHEAP });
  await t.rejects(createKey(home, { name: "alice", type: "ed25519", passphrase: "p", ...CHEAP }), { code: "key_exists" });
  await t.rejects(createKey(home, { name: "../alice", type: "ed25519", passphrase: "p" }), { code: "key_name" });
  await t.rejects(createKey(home, { name: "node", type: "ml-dsa-65", passphrase: "p" }), { code: "key_type_node" });
  await t.rejects(openKey(home, "bob", "p"), { code: "key_missing" });
  t.strictSame(
    (await listKeys(home)).map(({ name, address }) => ({ name, address })),
    [{ name: "alice", address: alice.address }],
  );
  await chmod(join(home.keysPath, "alice.key"), 0o640);
  await t.rejects(openKey(home, "alice", "p"), { code: "key_permissions" });
});

t.test("a damaged key file is refused with a code", async (t) => {
  const home = new Home(await temporary(t));
  await home.create();
  await createKey(home, { name: "alice", type: "ed25519", passphrase: "p", ...CHEAP });
  const path = join(home.keysPath, "alice.key");
  const bytes = await readFile(path);
  bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
  await writeFile(path, bytes);
  await t.rejects(openKey(home, "alice", "p"), { code: "keyfile_passphrase" });
  await writeFile(path, bytes.subarray(1));
  await t.rejects(openKey(home, "alice", "p"), { code: "keyfile_malformed" });
});

t.test("a policy reads back as itself, and its keys count once", async (t) => {
  const home = new Home(await temporary(t));
  await home.create();
  const keys = await Promise.all(["a", "b"].map((name) => createKey(home, { name, type: "hybrid", passphrase: "p", ...CHEAP })));
  const policy = multisigPolicy(
    2,
    keys.map(({ publicKey }) => publicKey),
  );
  t.ok(policy.ok);
  if (!policy.ok) return;
  const created = await createPolicy(home, "board", policy.value);
  t.strictSame(await readPolicy(home, "board"), created);
  t.equal(await readPolicy(home, "nobody"), undefined);
  await t.rejects(createPolicy(home, "a", policy.value), { code: "key_exists" });
  await t.rejects(createPolicy(home, "board", policy.value), { code: "key_exists" });
  const text = policyText(policy.value);
  const twice = JSON.parse(text) as { keys: string[] };
  twice.keys[1] = twice.keys[0] as string;
  t.match(parsePolicyText(utf8(JSON.stringify(twice))), { ok: false, error: { code: "policy_key_repeated" } });
  t.match(parsePolicyText(utf8(text.replace('"threshold": 2', '"threshold": 3'))), {
    ok: false,
    error: { code: "policy_threshold" },
  });
  t.match(parsePolicyText(utf8(text.replace("threshold", "treshold"))), { ok: false, error: { code: "policy_text" } });
  t.match(parsePublicKeyText("zz"), { ok: false, error: { code: "key_text" } });
  t.match(parsePublicKeyText("09"), { ok: false, error: { code: "key_type" } });
  t.match(parsePublicKeyText("0102"), { ok: false, error: { code: "key_length" } });
});

t.test("a passphrase comes from the option, the variable, the file, and never from nowhere", async (t) => {
  const directory = await temporary(t);
  const file = join(directory, "passphrase");
  await writeFile(file, "from the file\n", { mode: 0o600 });
  t.equal(await findPassphrase({ file, variable: "variable" }, SIGNAL), "from the file");
  t.equal(await findPassphrase({ variable: "variable", configuredFile: file }, SIGNAL), "variable");
  t.equal(await findPassphrase({ configuredFile: file }, SIGNAL), "from the file");
  await t.rejects(findPassphrase({}, SIGNAL), { code: "passphrase_missing" });
  await t.rejects(findPassphrase({ variable: "" }, SIGNAL), { code: "passphrase_empty" });
  await t.rejects(findPassphrase({ file: `${file}x` }, SIGNAL), { code: "passphrase_file" });
  await chmod(file, 0o644);
  await t.rejects(findPassphrase({ file }, SIGNAL), { code: "passphrase_permissions" });
});

/** A terminal whose keys are pressed by the test, and which shows what is written to it. */
class Terminal extends PassThrough {
  readonly screen = new PassThrough();
  isRaw = false;
  setRawMode(isRaw: boolean): void {
    this.isRaw = isRaw;
  }
}

async function typedOn(terminal: Terminal, keys: readonly string[], confirm: boolean): Promise<string> {
  for (const key of keys) terminal.write(key);
  const input = terminal as unknown as ReadStream;
  return findPassphrase({ terminal: { input, output: terminal.screen }, prompt: "Passphrase", confirm }, SIGNAL);
}

t.test("a typed passphrase is not shown, can be corrected, and is typed twice when nothing can check it", async (t) => {
  const terminal = new Terminal();
  t.equal(await typedOn(terminal, ["secrex", "\u007f", "t", "\r"], false), "secret");
  t.equal(String(terminal.screen.read()), "Passphrase: \n");
  t.notOk(terminal.isRaw, "the terminal is given back");
  t.equal(await typedOn(new Terminal(), ["one\r", "one\r"], true), "one");
  t.equal(await typedOn(new Terminal(), ["one\rone\r"], true), "one", "pasted at once");
  await t.rejects(typedOn(new Terminal(), ["one\r", "two\r"], true), { code: "passphrase_mismatch" });
  await t.rejects(typedOn(new Terminal(), ["one", "\u0003"], false), { code: "passphrase_missing" });
  await t.rejects(typedOn(new Terminal(), ["\r"], false), { code: "passphrase_empty" });
});

t.test("a run file names a live process, and one left by a crash is stale", async (t) => {
  const home = new Home(await temporary(t));
  const run = { startedAtMs: 1, rpcUrl: "http://127.0.0.1:1", peerId: "peer", listen: [] };
  t.strictSame(await home.runState(), { kind: "none" });
  await home.writeRun(run);
  t.match(await home.runState(), { kind: "running", run: { ...run, pid: process.pid } });
  await t.rejects(home.requireStopped(), { code: "node_running" });
  const text = await readFile(home.runPath, "utf8");
  // The same number, another process: it began at another moment.
  await writeFile(home.runPath, text.replace(/"processStart": "\d+"/, '"processStart": "1"'));
  t.match(await home.runState(), { kind: "stale" });
  await writeFile(home.runPath, text.replace(/"pid": \d+/, '"pid": 2147483646'));
  t.match(await home.runState(), { kind: "stale" });
  await home.requireStopped();
  await writeFile(home.runPath, "{}");
  await t.rejects(home.runState(), { code: "run_file" });
  await home.removeRun();
  t.strictSame(await home.runState(), { kind: "none" });
});

const MANIFEST = {
  name: "try",
  engine: "tendermint",
  parameters: { dev: true },
  validators: [{ name: "v0", keyType: "ed25519", power: "1" }],
  authority: "root",
  accounts: [{ name: "root", keyType: "ed25519", amount: "100" }],
};

t.test("a manifest becomes homes that agree on one network, once", async (t) => {
  const directory = await temporary(t);
  const manifest = parseManifest(utf8(JSON.stringify(MANIFEST)));
  t.ok(manifest.ok);
  if (!manifest.ok) return;
  const options = { directory, manifest: manifest.value, basePort: 30_000, genesisTimeMs: 1n };
  t.equal(await openLocalHomes(directory), undefined);
  const made = await createLocalHomes(options);
  t.match(await openLocalHomes(directory), { basePort: 30_000, validators: [{ name: "v0", rpcUrl: "http://127.0.0.1:30080" }] });
  t.strictSame(await made.validators[0]?.home.network(), made.network);
  t.strictSame(parseNetworkFile(await readFile(made.networkPath, "utf8")), { ok: true, value: made.network });
  t.match(made.network, {
    authority: (await listKeys(made.accounts)).find(({ name }) => name === "root")?.address,
    bootstrap: [/^\/ip4\/127.0.0.1\/tcp\/30000\/p2p\/12D3/],
  });
  await t.rejects(createLocalHomes(options), { code: "home_exists" });
  t.strictSame(portsOf(26_600, 0), { p2p: 26_600, rpc: 26_680 });
});

t.test("a changed network file is refused by the home that has it", async (t) => {
  const directory = await temporary(t);
  const manifest = parseManifest(utf8(JSON.stringify(MANIFEST)));
  if (!manifest.ok) return t.fail("manifest");
  const { validators, network } = await createLocalHomes({
    directory,
    manifest: manifest.value,
    basePort: 30_000,
    genesisTimeMs: 1n,
  });
  const home = validators[0]?.home as Home;
  await home.writeNetwork(encodeNetworkFile(network).replace('"dev": true', '"dev": false'));
  await t.rejects(home.network(), { code: "network_invalid" });
  await home.writeNetwork(encodeNetworkFile(network).replace('"feePerByte": "1"', '"feePerByte": "2"'));
  await t.rejects(home.network(), { code: "network_hash" });
  await rm(home.networkPath);
  await t.rejects(home.network(), { code: "network_missing" });
});

t.test("a manifest with an unknown key, a repeated name or a stranger as authority is refused", async (t) => {
  const parse = (change: object): unknown => parseManifest(utf8(JSON.stringify({ ...MANIFEST, ...change })));
  t.match(parse({ valdators: [] }), { ok: false, error: { code: "manifest_unknown_key", message: /did you mean validators\?/ } });
  t.match(parse({ validators: [{ ...MANIFEST.validators[0], pwer: "1" }] }), {
    ok: false,
    error: { field: "validators.0.pwer", message: /power/ },
  });
  t.match(parse({ authority: "nobody" }), { ok: false, error: { code: "manifest_value", field: "authority" } });
  t.match(parse({ accounts: [...MANIFEST.accounts, ...MANIFEST.accounts] }), {
    ok: false,
    error: { code: "manifest_value", field: "name" },
  });
  t.match(parse({ validators: [] }), { ok: false, error: { code: "manifest_value", field: "validators" } });
  t.match(parseManifest(utf8("{")), { ok: false, error: { code: "manifest_syntax" } });
});

t.test(`mutated manifests and policies are refused or read, and never thrown on (seed ${SEED})`, async () => {
  const texts = [utf8(JSON.stringify(MANIFEST)), utf8('{"threshold":1,"keys":["01"]}')];
  fc.assert(
    fc.property(fc.nat(1), fc.nat(10_000), fc.nat(255), (which, at, byte) => {
      const mutated = (texts[which] as Uint8Array).slice();
      mutated[at % mutated.length] = byte;
      return typeof parseManifest(mutated).ok === "boolean" && typeof parsePolicyText(mutated).ok === "boolean";
    }),
    { seed: SEED, numRuns: 1000 },
  );
});
