/** The verbs of light clients and auditors, against real ledgers behind real servers. */

import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { PassThrough } from "node:stream";
import t, { type Test } from "tap";
import { assert, present } from "../../crypto/base/assert.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { encodeNetworkFile, type NetworkFile } from "../../chain/block/genesis.ts";
import { heightOf } from "../../chain/block/height.ts";
import { keyPairAt, networkOf } from "../../chain/block/testing/fixtures.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { heightKey } from "../../chain/store/keyspace.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { utf8 } from "../../crypto/base/bytes.ts";
import { parseNote, parseNoteKey, verifyNote } from "../light/checkpoint.ts";
import { openLog } from "../log/log.ts";
import { SYSTEM_DISK } from "../ports/disk.ts";
import { RpcServer } from "../rpc/server.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import { installSnapshot, sourceOf } from "../snapshot/install.ts";
import { makeSnapshot } from "../snapshot/make.ts";
import { Shelf } from "../snapshot/shelf.ts";
import { runCommandLine } from "./main.ts";

type Run = { readonly code: number; readonly lines: readonly Record<string, unknown>[] };

/** A network that began a minute ago, in a home of its own. */
class Stage {
  readonly home: string;
  readonly network: NetworkFile;
  readonly #test: Test;

  private constructor(test: Test, home: string, network: NetworkFile) {
    this.#test = test;
    this.home = home;
    this.network = network;
  }

  static async open(t: Test, more: Partial<NetworkFile> = {}): Promise<Stage> {
    const home = await mkdtemp(join(tmpdir(), "pyralog-light-"));
    t.teardown(() => rm(home, { recursive: true }));
    const base = networkOf({ powers: [1n, 1n, 1n, 1n], amounts: [1_000_000_000_000n, 1n] });
    const network = { ...base, genesisTimeMs: BigInt(Date.now()) - 60_000n, ...more };
    await writeFile(join(home, "network.json"), encodeNetworkFile(network));
    return new Stage(t, home, network);
  }

  path(name: string): string {
    return join(this.home, name);
  }

  /** A node of it at some height; two of them are one chain unless one of them spends. */
  async node(heights: bigint, spends = false): Promise<{ readonly net: DevNet; readonly url: string }> {
    const net = await DevNet.open({ network: this.network });
    const keyPair = keyPairAt(100);
    const call = { kind: "transfer" as const, to: addressOfKey(keyPairAt(101).publicKey), amount: 1n };
    const body = { chainId: this.network.chainId, sender: addressOfKey(keyPair.publicKey), nonce: 0n, fee: 1_000_000n };
    if (spends) await net.commit([signTransaction({ ...body, expiry: heightOf(1_000n), calls: [call] }, keyPair)]);
    await net.commitUntil(heights);
    const log = await openLog({ level: "silent", destination: "stderr" });
    const server = await RpcServer.open({ host: "127.0.0.1", port: 0, cors: [] }, { backend: net.backend, log });
    this.#test.teardown(async () => {
      await server[Symbol.asyncDispose]();
      await net[Symbol.asyncDispose]();
    });
    return { net, url: server.url };
  }

  async run(...argv: readonly string[]): Promise<Run> {
    return await this.runUntil(() => undefined, ...argv);
  }

  /** Runs a verb that goes on, until `onLine` stops it. */
  async runUntil(
    onLine: (line: Record<string, unknown>, stop: () => void) => Promise<void> | undefined,
    ...argv: readonly string[]
  ): Promise<Run> {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    stderr.resume();
    const stopping = new AbortController();
    const surroundings = { environment: { PYRALOG_HOME: this.home }, stdin: new PassThrough(), stdout, stderr };
    const lines: Record<string, unknown>[] = [];
    const reading = (async () => {
      for await (const line of createInterface({ input: stdout })) {
        const parsed = JSON.parse(line) as Record<string, unknown>;
        lines.push(parsed);
        await onLine(parsed, () => stopping.abort());
      }
    })();
    const code = await runCommandLine([...argv, "--json"], surroundings, stopping.signal);
    stdout.end();
    await reading;
    return { code, lines };
  }
}

t.test("light tells a verified head that others confirm, keeps its trust, and says by its exit code why not", async (t) => {
  const stage = await Stage.open(t);
  const [one, other] = [await stage.node(5n), await stage.node(5n)];
  const rpc = `${one.url},${other.url}`;
  const light = async (...argv: readonly string[]): Promise<Run> => await stage.run("light", "--once", ...argv);
  t.match(await light("--rpc", rpc, "--witnesses", "1"), {
    code: 0,
    lines: [{ event: "head", height: "5", gateway: one.url, witnesses: [{ says: "agrees" }], how: ["certificate"] }],
  });
  await one.net.commit();
  t.match(await light("--rpc", rpc, "--witnesses", "1"), { code: 6, lines: [{ error: { code: "witness_missing" } }] });
  t.match(await light("--rpc", rpc), { code: 0, lines: [{ height: "6", witnesses: [{ says: "behind" }] }] });
  t.match(await light("--node", one.url), { code: 0, lines: [{ height: "6", witnesses: [] }] });
  t.match(await light("--rpc", "ftp://127.0.0.1"), { code: 2, lines: [{ error: { code: "usage_option_value" } }] });
  const old = await Stage.open(t, { genesisTimeMs: BigInt(Date.now()) - 30n * 86_400_000n });
  const { url } = await old.node(3n);
  t.match(await old.run("light", "--once", "--rpc", url), { code: 4, lines: [{ error: { code: "trust_expired" } }] });
  t.match(await old.run("light", "--once", "--rpc", url, "--trusting-days", "60"), { code: 0, lines: [{ height: "3" }] });
  t.match(await old.run("light", "--once", "--rpc", url, "--trusting-days", "3", "--allow-old-genesis"), { code: 0 });
});

t.test("two certified chains end light with a fraud proof, which verify checks offline", async (t) => {
  const stage = await Stage.open(t);
  const [one, other] = [await stage.node(5n), await stage.node(5n, true)];
  const file = stage.path("fraud.proof");
  const { code, lines } = await stage.run("light", "--rpc", `${one.url},${other.url}`, "--fraud", file);
  t.equal(code, 3);
  t.match(lines, [{ event: "fork", file, fraud: { offence: "doubleVote", height: "1" } }, { error: { code: "fork_detected" } }]);
  const verified = await stage.run("verify", file);
  t.match(verified, { code: 0, lines: [{ valid: true, fraud: { offence: "doubleVote", totalPower: "4" } }] });
  const fraud = present(verified.lines[0], "line")["fraud"] as { readonly convicts: readonly unknown[] };
  t.equal(fraud.convicts.length, 4);
  const bytes = await readFile(file);
  bytes[bytes.length - 40] = present(bytes[bytes.length - 40], "byte") ^ 1;
  await writeFile(file, bytes);
  t.match(await stage.run("verify", file), { code: 1, lines: [{ error: { code: "certificate_signature" } }] });
});

t.test("a checkpoint that somebody vouches for starts light clients when genesis is too old", async (t) => {
  const stage = await Stage.open(t, { genesisTimeMs: BigInt(Date.now()) - 30n * 86_400_000n });
  const { net, url } = await stage.node(9n);
  const file = stage.path("vouched.json");
  t.match(await stage.run("network", "checkpoint", "--height", "7", "--trusting-days", "40", "--out", file, "--node", url), {
    code: 0,
    lines: [{ checkpoint: { height: "7", trustingPeriodMs: `${40 * 86_400_000}` } }],
  });
  const hashes = [await stage.run("network", "hash"), await stage.run("network", "hash", file)].map(({ lines }) => lines[0]);
  t.same(hashes[0], hashes[1], "it is the same network");
  const light = ["light", "--once", "--rpc", url, "--network", file];
  t.match(await stage.run(...light), { code: 0, lines: [{ event: "head", height: "9" }] });
  await net.commit();
  t.match(await stage.run(...light), { code: 0, lines: [{ height: "10" }] }, "and goes on from what it kept");
  const wrong = (await readFile(file, "utf8")).replace(/"height": "7"/, '"height": "6"');
  await writeFile(file, wrong);
  t.match(await stage.run(...light, "--trust", stage.path("fresh")), {
    code: 4,
    lines: [{ error: { code: "checkpoint_mismatch" } }],
  });
});

/** Puts the blocks of a network that the home's own store lacks into it. */
async function fillHome(stage: Stage, net: DevNet): Promise<void> {
  await mkdir(stage.path("data"), { recursive: true });
  await mkdir(stage.path("keys"), { recursive: true });
  const store = await openLevelStore({ path: stage.path("data/store") });
  await using ledger = await Ledger.open({ store, network: stage.network, executor: EXECUTOR });
  for (let height = heightOf(ledger.head().height + 1n); height <= net.ledger.head().height; height = heightOf(height + 1n)) {
    const block = present(net.ledger.block(height), "block");
    assert((await ledger.judge(block)).ok, `block ${height}`);
    await ledger.commit(block, present(net.ledger.certificate(height), "certificate"));
  }
}

/** Changes a byte in the middle of a row that is there. */
async function damage(stage: Stage, key: Uint8Array): Promise<void> {
  await using store = await openLevelStore({ path: stage.path("data/store") });
  const value = present(store.get(key), "row").slice();
  value[value.length >> 1] = present(value[value.length >> 1], "byte") ^ 1;
  await store.write([{ kind: "put", key, value }], { sync: true });
}

/** Writes a row as it is once more, which stands in the log until the store is opened again. */
async function rewrite(stage: Stage, key: Uint8Array): Promise<void> {
  await using store = await openLevelStore({ path: stage.path("data/store") });
  await store.write([{ kind: "put", key, value: present(store.get(key), "row") }], { sync: true });
}

/** Takes the last byte from the log that is not empty, as a crash in the middle of a write does. */
async function tear(stage: Stage): Promise<void> {
  const names = (await readdir(stage.path("data/store"))).filter((name) => name.endsWith(".log"));
  for (const name of names) {
    const bytes = await readFile(stage.path(`data/store/${name}`));
    if (bytes.length > 0) await writeFile(stage.path(`data/store/${name}`), bytes.subarray(0, -1));
  }
}

/** Turns a bit in the middle of the largest file of a kind; which one it was. */
async function damageFile(stage: Stage, kind: RegExp): Promise<string> {
  const names = (await readdir(stage.path("data/store"))).filter((name) => kind.test(name));
  const files = await Promise.all(names.map(async (name) => ({ name, bytes: await readFile(stage.path(`data/store/${name}`)) })));
  const { name, bytes } = present(files.toSorted((a, b) => b.bytes.length - a.bytes.length)[0], "file");
  const middle = bytes.length >> 1;
  bytes[middle] = present(bytes[middle], "byte") ^ 1;
  await writeFile(stage.path(`data/store/${name}`), bytes);
  return name;
}

t.test("scrub finds what the disk changed in a stopped home, and repairs it from another node", async (t) => {
  const stage = await Stage.open(t);
  const { net, url } = await stage.node(6n, true);
  await fillHome(stage, net);
  t.match(await stage.run("scrub"), { code: 0, lines: [{ checked: "store", found: [] }] });
  for (const [kind, isRebuilt] of [
    ["header", false],
    ["certificate", false],
    ["results", true],
  ] as const) {
    await damage(stage, heightKey(kind, kind === "results" ? 1n : 3n));
    t.match(await stage.run("scrub"), { code: 1, lines: [{ error: { code: "scrub_damage" } }] }, kind);
    const repaired = await stage.run("scrub", "--repair", "--rpc", url);
    t.match(repaired, { code: 0, lines: [{ found: [{ kind }], ...(isRebuilt ? { rebuilt: "6" } : {}) }] }, kind);
    t.match(await stage.run("scrub"), { code: 0 });
  }
  await damage(stage, heightKey("block", 1n));
  t.match(await stage.run("scrub", "--repair"), { code: 1, lines: [{ error: { code: "scrub_unrepaired" } }] });
  await rewrite(stage, heightKey("block", 3n));
  await tear(stage);
  t.match(
    await stage.run("scrub"),
    { code: 1, lines: [{ error: { code: "scrub_damage", field: "height 1", message: /^1 damaged/ } }] },
    "the row is damaged, and the torn tail is not",
  );
  t.match(await stage.run("scrub", "--repair", "--rpc", url), { code: 0 });
  await rewrite(stage, heightKey("block", 3n));
  await tear(stage);
  t.match(await stage.run("scrub"), { code: 0, lines: [{ found: [] }] }, "a tail that a crash cut off is no damage");
  const secret = stage.path("secret");
  await writeFile(secret, "a passphrase for a test\n", { mode: 0o600 });
  t.equal((await stage.run("keys", "new", "node", "--passphrase-file", secret)).code, 0);
  const start = ["start", "--passphrase-file", secret];
  for (const kind of [/^MANIFEST/, /\.log$/, /\.ldb$/]) {
    if (kind.test("1.log")) await rewrite(stage, heightKey("block", 3n));
    const file = await damageFile(stage, kind);
    for (const time of ["first", "second"])
      t.match(
        await stage.run("scrub"),
        { code: 1, lines: [{ error: { code: "scrub_damage", field: new RegExp(file) } }] },
        `${file}, the ${time} time: looking at it does not make it go away`,
      );
    if (!file.endsWith(".ldb"))
      for (const verb of [start, ["audit", "--data"]])
        t.match(
          await stage.run(...verb),
          { code: 1, lines: [{ error: { code: "store_file_damaged", field: file, message: /scrub --repair/ } }] },
          `${verb.join(" ")} drops nothing of ${file}`,
        );
    t.match(
      await stage.run("scrub", "--repair", "--rpc", url),
      { code: 0, lines: [{ found: [{ kind: "file", place: new RegExp(file) }], rebuilt: "6" }] },
      "all of it from the other node",
    );
    t.match(await stage.run("scrub"), { code: 0, lines: [{ found: [] }] });
  }
  for (const verb of [["scrub"], ["scrub", "--repair"], ["audit", "--data"], ["snapshot", "create", stage.path("backup")]]) {
    // Power went between the two renames of a repair.
    await rename(stage.path("data/store"), stage.path("data/store.damaged"));
    await mkdir(stage.path("data/store.rebuild"), { recursive: true });
    t.match(await stage.run(...verb), { code: 0 }, verb.join(" "));
    t.match(await stage.run("scrub"), { code: 0, lines: [{ checked: "store", found: [] }] }, "the same chain as before");
  }
});

t.test(
  "a home that began with a snapshot is audited from there, or from genesis with others' blocks, and says which",
  async (t) => {
    const stage = await Stage.open(t);
    const { net, url } = await stage.node(6n, true);
    const backup = stage.path("backup");
    const shelf = await Shelf.open(backup, SYSTEM_DISK);
    const made = await makeSnapshot(net.ledger, heightOf(3n), { shelf, signal: AbortSignal.timeout(60_000) });
    await mkdir(stage.path("data"), { recursive: true });
    await mkdir(stage.path("keys"), { recursive: true });
    const home = { storePath: stage.path("data/store"), dataPath: stage.path("data") };
    await installSnapshot(home, sourceOf(shelf, made), { network: stage.network, signal: AbortSignal.timeout(60_000) });
    await fillHome(stage, net);
    t.match(await stage.run("audit", "--data"), {
      code: 0,
      lines: [{ valid: true, from: "4", height: "6", headers: 3, headersBefore: 3, blocksElsewhere: 0 }],
    });
    const archive = stage.path("archive");
    t.match(await stage.run("archive", archive, "--node", url), { code: 0 });
    for (const [option, value] of [
      ["--rpc", url],
      ["--archive", archive],
    ] as const)
      t.match(
        await stage.run("audit", "--data", option, value),
        { code: 0, lines: [{ from: "1", height: "6", headers: 6, headersBefore: 0, blocksElsewhere: 2 }] },
        option,
      );
    t.match(await stage.run("audit", "--node", url, "--snapshot", backup), { code: 0, lines: [{ from: "4", headers: 3 }] });
    t.match(await stage.run("audit", "--node", url), { code: 0, lines: [{ from: "1" }] });
    await net.ledger.pruneBlocks(heightOf(3n), AbortSignal.timeout(60_000));
    t.match(await stage.run("audit", "--node", url), {
      code: 1,
      lines: [{ error: { code: "audit_missing", field: "height 1", message: /--rpc, --archive.*--snapshot/ } }],
    });
    t.match(await stage.run("audit", "--node", url, "--archive", archive), {
      code: 0,
      lines: [{ from: "1", blocksElsewhere: 2 }],
    });
    t.match(await stage.run("audit", "--node", url, "--snapshot", stage.path("data")), {
      code: 1,
      lines: [{ error: { code: "snapshot_missing" } }],
    });
    const follow = ["audit", "--follow", "--state", stage.path("audit"), "--rpc", url];
    const untilAudited = async (...argv: readonly string[]): Promise<Run> =>
      await stage.runUntil(
        async (line, stop) => {
          if (line["event"] === "audited") stop();
        },
        ...follow,
        ...argv,
      );
    t.match(await untilAudited("--snapshot", backup), {
      code: 0,
      lines: [
        { event: "begun", from: "4" },
        { event: "audited", height: "6", blocks: 3, agreeing: 1 },
      ],
    });
    await net.commit();
    t.match(
      await untilAudited(),
      {
        code: 0,
        lines: [
          { event: "begun", from: "4" },
          { event: "audited", height: "7", blocks: 1 },
        ],
      },
      "goes on where it was, and still says where it began",
    );
    t.match(
      await stage.run(...follow, "--cosign", "witness"),
      { code: 1, lines: [{ event: "begun" }, { error: { code: "witness_mode" } }] },
      "only what was executed is cosigned",
    );
  },
);

t.test("audit follows, compares, cosigns and serves its figures, goes on where it was, and ends at a split", async (t) => {
  const stage = await Stage.open(t);
  const [one, other] = [await stage.node(4n), await stage.node(5n, true)];
  const secret = stage.path("secret");
  await writeFile(secret, "a passphrase for a test\n", { mode: 0o600 });
  const passphrase = ["--passphrase-file", secret];
  t.equal((await stage.run("keys", "new", "witness", "--type", "ed25519", ...passphrase)).code, 0);
  const follow = [
    "audit",
    "--follow",
    "--state",
    stage.path("audit"),
    "--metrics-port",
    "0",
    "--cosign",
    "witness",
    ...passphrase,
  ];
  let url = "";
  let note = "";
  const first = await stage.runUntil(
    async (line, stop) => {
      if (line["event"] === "listening") url = String(line["url"]);
      if (line["event"] !== "audited") return;
      note = await (await fetch(`${url}/checkpoint`)).text();
      t.match(await (await fetch(`${url}/metrics`)).text(), /^auditor_height_count 4$/m);
      stop();
    },
    ...follow,
    "--rpc",
    one.url,
  );
  t.match(first, { code: 0, lines: [{ event: "listening" }, { event: "audited", height: "4", agreeing: 1 }] });
  const key = parseNoteKey(String(present(first.lines[0], "line")["verifierKey"]));
  const parsed = parseNote(utf8(note));
  t.ok(key.ok && parsed.ok && verifyNote(parsed.value, key.value).ok);
  const second = await stage.run(...follow, "--rpc", other.url);
  const file = stage.path("audit/fraud-1.proof");
  t.match(second, {
    code: 3,
    lines: [
      { event: "listening" },
      { event: "alert", code: "audit_split", file, fraud: { offence: "doubleVote" } },
      { error: { code: "audit_split" } },
    ],
  });
  t.match(await stage.run("verify", file), { code: 0, lines: [{ valid: true }] });
  t.match(await stage.run("audit", "--sample", "6", "--rpc", one.url), { code: 0, lines: [{ valid: true, samples: 6 }] });
  t.match(await stage.run("audit", "--follow", "--sample", "2", "--cosign", "witness", ...passphrase, "--rpc", one.url), {
    code: 1,
    lines: [{ error: { code: "witness_mode" } }],
  });
});
