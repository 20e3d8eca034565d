/** What of the benchmarks is no measurement: how others are found and set up, and the page that is made of a run. */

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { fromHex, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { feeOf, PARAMETERS_DEFAULT } from "../../chain/block/genesis.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import { priceOf } from "../../chain/mempool/lane.ts";
import { readManifest } from "../../node/home/manifest.ts";
import { BLOCK_INTERVAL_MS, COMETBFT, withSetting } from "./cometbft.ts";
import { benchCompare } from "./compare.ts";
import { putFrame } from "./etcd.ts";
import { offerLoad, runLoad } from "./load.ts";
import { openBenchNetwork, SENDERS_COUNT, VALUE_SIZE_BYTES } from "./network.ts";
import { findProgram } from "./peer.ts";
import { postJson } from "./post.ts";
import { openTarget, signLoad } from "./pyralog.ts";
import { type BenchLine, pageProblem, parseLines, renderPage } from "./report.ts";
import { TARGETS } from "./targets.ts";

const run = promisify(execFile);

// One test starts four validators.
t.setTimeout(300_000);

const temporary = mkdtempSync(join(tmpdir(), "pyralog-bench-test-"));
t.teardown(() => rmSync(temporary, { recursive: true, force: true }));

t.test("a program is found on PATH by its first name, and only where it may be run", (t) => {
  const [first, second] = [join(temporary, "first"), join(temporary, "second")];
  writeFileSync(first, "");
  writeFileSync(second, "");
  chmodSync(second, 0o755);
  const path = [join(temporary, "nowhere"), temporary].join(delimiter);
  t.equal(findProgram(["first", "second"], path), second, "the first is a file that nobody may run");
  chmodSync(first, 0o755);
  t.equal(findProgram(["first", "second"], path), first);
  mkdirSync(join(temporary, "third"));
  t.equal(findProgram(["third"], path), undefined, "a directory of that name");
  t.equal(findProgram(["fourth"], path), undefined);
  t.end();
});

t.test("a comparison names whom it did not find, and measures nothing alone", async (t) => {
  const { figures, notes } = await benchCompare({ path: temporary });
  t.same(figures, {});
  t.match(notes, [
    /^cometbft: not found on PATH \(looked for cometbft, tendermint\)/,
    /^etcd: not found on PATH \(looked for etcd\)/,
    /nothing was measured/,
  ]);
});

t.test("blocks are as far apart in our network as the comparison says", async (t) => {
  const { parameters } = await readManifest(fileURLToPath(new URL("../launcher/networks/bench.json", import.meta.url)));
  t.equal(parameters?.blockIntervalMsMin, BLOCK_INTERVAL_MS);
});

t.test("what a node refuses is offered again, before what follows it, and all of it becomes final", async (t) => {
  const items = Array.from({ length: 40 }, (_, index) => ({ id: `${index}`, bytes: utf8(`${index}`) }));
  const taken = new Set<number>();
  let [offers, next] = [0, 0];
  const report = await runLoad(
    {
      // A node with few places: it takes what is at most twelve ahead of what is final.
      submit: async (_lane, offered) => {
        offers += 1;
        return offered.map(({ id }) => {
          if (taken.has(Number(id))) t.fail("what was taken is offered again");
          if (Number(id) >= next + 12) return { kind: "refused", code: "mempool_sender_full" };
          taken.add(Number(id));
          return { kind: "waiting" };
        });
      },
      finalized: async () => {
        const ids: string[] = [];
        for (; taken.has(next); next += 1) ids.push(`${next}`);
        return ids.length === 0 ? [] : [{ ids, atMs: performance.now() }];
      },
    },
    { lanes: [items], inFlightMax: 30, batchSize: 20, signal: AbortSignal.timeout(20_000) },
  );
  t.equal(report.finalized, 40);
  t.equal(taken.size, 40);
  t.ok(report.refused > 0 && offers > 2);
  t.equal(report.finalityMs.length, 40);
});

t.test("a sustained run whose load runs out is no measurement", async (t) => {
  const run = async (count: number): Promise<number> => {
    const items = Array.from({ length: count }, (_, index) => ({ id: `${index}`, bytes: utf8(`${index}`) }));
    const waiting: string[] = [];
    const report = await runLoad(
      {
        submit: async (_lane, offered) => offered.map(({ id }) => (waiting.push(id), { kind: "waiting" })),
        finalized: async () => [{ ids: waiting.splice(0), atMs: performance.now() }],
      },
      { lanes: [items], inFlightMax: 10, batchSize: 5, seconds: 0.2, signal: AbortSignal.timeout(20_000) },
    );
    return report.finalized;
  };
  await t.rejects(run(10), { message: /ran out/ });
  const finalized = await run(100_000);
  t.ok(finalized > 0 && finalized < 100_000, `${finalized} were final when time was over`);
});

t.test("all transactions of a load have one price, however long their nonces are", (t) => {
  for (const nonce of [0n, 20n, 250n, 65_530n]) {
    const shared = { chainId: "bench", keyPair: keyPairAt(0), valueSizeBytes: VALUE_SIZE_BYTES };
    const load = signLoad({ ...shared, nonce, count: 11 });
    t.equal(load.length, 12);
    t.same([...new Set(load.map((transaction) => priceOf(transaction)))], [10_000_000n]);
    t.ok(load.every(({ body, bytes }) => body.fee >= feeOf(PARAMETERS_DEFAULT, bytes.length)));
  }
  t.end();
});

t.test("load on validators that run becomes final, and of more than they take nothing that was accepted is lost", async (t) => {
  const signal = AbortSignal.timeout(120_000);
  await using bench = await openBenchNetwork(signal);
  const urls = bench.network.nodes.map(({ rpcUrl }) => rpcUrl);
  const report = await runLoad(await openTarget(urls, signal), {
    lanes: await bench.lanes((lane) => lane + 20),
    inFlightMax: 100,
    signal,
  });
  // Each sender makes its table first.
  const count = SENDERS_COUNT * 21 + (SENDERS_COUNT * (SENDERS_COUNT - 1)) / 2;
  t.equal(report.finalized, count);
  t.equal(report.refused, 0);
  t.ok(report.finalityMs.every((ms) => ms > 0));

  const lanes = await bench.lanes((lane) => (lane === 0 ? 2_400 : 100));
  const target = await openTarget(urls, signal);
  const [late] = await target.submit(0, present(lanes[0], "lane").slice(-1), signal);
  t.same(late, { kind: "refused", code: "mempool_nonce_gap" }, "so far ahead nobody may be");
  const perSecond = lanes.map((_, lane) => (lane === 0 ? 2_000 : 50));
  const offered = await offerLoad(await openTarget(urls, signal), { lanes, perSecond, seconds: 1, signal });
  t.equal(offered.lost, 0);
  t.ok(offered.accepted > SENDERS_COUNT, `${offered.accepted} were accepted`);
  t.equal(offered.finalityMs.length, offered.accepted);
});

t.test("a setting takes another value where the file has it once", (t) => {
  const text = '[consensus]\n# timeout_commit = "5s"\ntimeout_commit = "1s"\ntimeout_commit_extra = 1\n';
  t.equal(
    withSetting(text, "timeout_commit", '"200ms"'),
    '[consensus]\n# timeout_commit = "5s"\ntimeout_commit = "200ms"\ntimeout_commit_extra = 1\n',
  );
  t.throws(() => withSetting(text, "timeout", "1"), { code: "peer_config" }, "a key that is not there");
  t.throws(
    () => withSetting(`${text}timeout_commit=1`, "timeout_commit", "2"),
    { code: "peer_config" },
    "a key that is there twice",
  );
  t.end();
});

t.test("what is posted is asked again when the connection is closed under it, and not for ever", async (t) => {
  let [resets, asked] = [0, 0];
  const server = createServer((request, response) => {
    asked += 1;
    if (resets > 0) {
      resets -= 1;
      request.socket.resetAndDestroy();
      return;
    }
    request.resume().once("end", () => response.end(asked === 1 ? "no JSON" : `{"asked":${asked}}`));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const post = async (): Promise<unknown> =>
    await postJson(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, "[]", AbortSignal.timeout(30_000));
  await t.rejects(post(), { name: "SyntaxError" });
  resets = 2;
  t.same(await post(), { asked: 4 });
  resets = 3;
  await t.rejects(post(), { code: "ECONNRESET" });
  t.equal(asked, 7);
  await t.rejects(postJson("http://127.0.0.1:1/", "[]", AbortSignal.abort()), { name: "AbortError" });
});

t.test("a put to etcd is framed as gRPC and protocol buffers have it", (t) => {
  // gRPC over HTTP2: one byte that says uncompressed, four of length; then fields 1 and 2 of wire type 2.
  t.equal(toHex(putFrame(utf8("k"), utf8("vw"))), toHex(fromHex("00000000070a016b12027677")));
  const long = putFrame(utf8("k"), new Uint8Array(300));
  t.equal(toHex(long.subarray(0, 11)), "00000001320a016b12ac02", "a length of two bytes: 300 is ac 02");
  t.throws(() => putFrame(utf8("k"), new Uint8Array(1 << 14)), /two bytes/, "a length that would take three");
  t.end();
});

t.test("a put to CometBFT has one sign that its application splits at, and a value of the size asked for", (t) => {
  const { id, bytes } = COMETBFT.item(3, 17, 256);
  const parts = Buffer.from(bytes).toString().split(/[=:]/);
  t.same([parts.length, parts[0], parts[1]?.length], [2, id, 256]);
  t.not(Buffer.from(COMETBFT.item(3, 17, 256).bytes).toString(), Buffer.from(bytes).toString(), "drawn anew each time");
  t.end();
});

const LINE: BenchLine = {
  name: "network",
  commit: "0123456789ab",
  machine: "2 x Processor | of a kind, 24 GiB",
  extent: "page",
  startedAt: "2026-11-28T12:00:00.000Z",
  loadBefore: 0.25,
  seconds: 100,
  figures: { sustainedPerSecond: 5_000, sustainedSeconds: 60, finalityMsP50: 300.1, rssBytesPerNode: 299e6 },
  spread: { sustainedPerSecond: [4_000, 5_500], rssBytesPerNode: [250e6, 301e6] },
  notes: ["of the nodes"],
};
const text = (line: object): string => `${JSON.stringify(line)}\n`;

/** The row of the target whose words begin so. */
function row(page: string, words: string): string {
  return page.split("\n").find((line) => line.startsWith(`| ${words}`)) ?? "";
}

t.test("the page in this repository is what its data make", (t) => {
  const checked = pageProblem(readFileSync(new URL("../../PERFORMANCE.md", import.meta.url), "utf8"));
  t.ok(checked.ok, checked.ok ? "it is" : checked.error.message);
  t.end();
});

t.test("a page says of each target whether its bound is kept, exactly at the bound and just beyond it", (t) => {
  const page = renderPage([LINE]);
  t.match(row(page, "finalised puts a second"), /at least 5,000 \/s \| 5,000 \/s \| 4,000 to 5,500 \| met \|$/, "at the bound");
  t.match(row(page, "finality at half load, p50"), /at most 300 ms \| 300 ms \|  \| \*\*not met\*\* \|$/, "a tenth beyond it");
  t.match(row(page, "resident memory"), /\| 301 MB \| 250 to 301 \| \*\*not met\*\* \|$/, "the largest, and not the median");
  t.match(row(page, "the same without the addon"), /\| not measured \|$/, "what is not in the run");
  const short = renderPage([{ ...LINE, extent: "quick", figures: { ...LINE.figures, sustainedSeconds: 59 } }]);
  t.match(
    row(short, "finalised puts a second"),
    /not measured: sustainedSeconds was below 60/,
    "a run that was too short for it",
  );
  t.match(row(short, "finality at half load, p50"), /\*\*not met\*\*, at a glance \|$/);
  t.match(short, /\*\*A short run\*\*.*network/, "which the page says at its head");
  t.notMatch(page, /A short run/);
  t.end();
});

t.test("of several sizes the worst counts", (t) => {
  const figures = { record_verify_us_10000: 20, record_verify_us_100000: 1_001, record_verify_us_1000000: 30 };
  const kept = { ...LINE, name: "proofs", figures: { record_verify_us_10000: 29.2, record_verify_us_100000: 17.1 }, spread: {} };
  t.match(row(renderPage([kept]), "verifying the proof of a record"), /\| 0.0292 ms \|  \| met \|$/);
  t.match(
    row(renderPage([{ ...LINE, name: "proofs", figures, spread: {} }]), "verifying the proof of a record"),
    /1 ms \|  \| \*\*not met/,
  );
  t.equal(new Set(TARGETS.map(({ what }) => what)).size, TARGETS.length, "targets are told apart by their words");
  t.end();
});

t.test("a page names machine, commit, load, what was left out, and whoever was not found", (t) => {
  const page = renderPage([{ ...LINE, commit: "0123456789ab+", notes: ["etcd: not found on PATH"] }]);
  t.match(page, "2 x Processor \\| of a kind, 24 GiB");
  t.match(page, "0123456789ab, with changes that are in no commit");
  t.match(page, "| load of the machine before | 0.25");
  t.match(page, /Not in this run at all: network-portable, compare, write/);
  t.match(page, "- etcd: not found on PATH");
  t.notMatch(page, /one thread of it/, "whose lines do not say what it did");
  const rates = [7_000, 9_000, 8_000].map((rate, index) => ({ ...LINE, name: `n${index}`, ed25519VerifiesPerSecond: rate }));
  t.match(renderPage(rates), "before each section | 8,000 Ed25519 verifications a second by OpenSSL (7,000 to 9,000) |");
  t.end();
});

t.test("a page that was edited by hand is found, wherever that was", (t) => {
  const page = renderPage([LINE, { ...LINE, name: "write", figures: { submitCpuMicroseconds: 12.5 }, spread: {} }]);
  t.ok(pageProblem(page).ok);
  const lines = page.split("\n");
  for (const [index, line] of lines.entries()) {
    const digit = /\d/.exec(line);
    // In the data, whatever decodes makes another page, or no line.
    if (digit === null || line.startsWith("{")) continue;
    const edited = `${line.slice(0, digit.index)}${9 - Number(digit[0])}${line.slice(digit.index + 1)}`;
    const checked = pageProblem(lines.with(index, edited).join("\n"));
    if (checked.ok) t.fail(`an edit of line ${index + 1} was not found: ${edited}`);
  }
  t.match(pageProblem(page.replace("5,000 /s | 4,000", "6,000 /s | 4,000")), { ok: false, error: { code: "report_edited" } });
  t.notOk(pageProblem(page.replace('"sustainedPerSecond":5000', '"sustainedPerSecond":9000')).ok, "in the data alone");
  t.notOk(pageProblem(page.replace("**not met**", "met")).ok);
  t.notOk(pageProblem(page.slice(0, page.indexOf("## Data"))).ok, "without its data");
  t.notOk(pageProblem(`${page}\n`).ok, "one line more");
  t.ok(pageProblem(renderPage(parseLines([page]))).ok, "made again from itself");
  t.end();
});

t.test("lines that a page cannot be made of are refused with a code", (t) => {
  t.same(
    parseLines([text(LINE), text({ ...LINE, name: "write" })]).map(({ name }) => name),
    ["network", "write"],
  );
  for (const [what, given, code] of [
    ["nothing", "\n", "report_line"],
    ["no JSON", "network 5000\n", "report_line"],
    ["a field that is unknown", text({ ...LINE, better: true }), "report_line"],
    ["a field less", text({ ...LINE, startedAt: undefined }), "report_line"],
    ["a figure that is no number", text({ ...LINE, figures: { a: "5000" } }), "report_line"],
    ["a note of two lines", text({ ...LINE, notes: ["a\n```"] }), "report_line"],
    ["a name that would break a table", text({ ...LINE, figures: { "a|b": 1 } }), "report_line"],
    ["another machine", text(LINE) + text({ ...LINE, name: "write", machine: "another" }), "report_mixed"],
    ["another commit", text(LINE) + text({ ...LINE, name: "write", commit: "0123456789ac" }), "report_mixed"],
    ["the same commit with changes", text(LINE) + text({ ...LINE, name: "write", commit: "0123456789ab+" }), "report_mixed"],
    ["one benchmark twice", text(LINE) + text(LINE), "report_twice"],
  ] as const)
    t.throws(() => parseLines([given]), { code }, what);
  t.end();
});

t.test("a command refuses an option that it does not know in a line, and says how it is used when it is asked", async (t) => {
  const main = fileURLToPath(new URL("main.ts", import.meta.url));
  const refused = await run(process.execPath, [main, "--nope"]).catch((error: unknown) => error);
  t.match(refused, { code: 2, stdout: "", stderr: /^Unknown option '--nope'\nnpm run -s bench -- \[NAME/ });
  t.match(await run(process.execPath, [main, "--help"]), { stdout: /^npm run -s bench -- \[NAME/, stderr: "" });
});
