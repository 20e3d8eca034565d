/** The command line as a process: exit codes, JSON, help, and refusals that say what to do. */

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import t from "tap";
import { heightOf } from "../../chain/block/height.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import { encodeTransactionBody, transactionId } from "../../chain/block/transaction.ts";
import { utf8 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { decodeValue, encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { verifySignature } from "../../crypto/sign/key.ts";
import { callJson, parseCalls } from "./calls.ts";
import { encodeDraft, parseDraft, signDraft } from "./draft.ts";
import { jsonText } from "./json.ts";
import { encodeJsonText, jsonOf } from "./value.ts";
import { parseArguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { ROOT } from "./commands.ts";
import { helpText } from "./help.ts";
import { runCommandLine } from "./main.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const SEED = drawnSeed();
const BIN = fileURLToPath(new URL("../bin.mjs", import.meta.url));

type Ran = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** Runs the real program with an empty environment but for what is given. */
function run(argv: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Ran> {
  return new Promise((resolve) => {
    const env = { PATH: process.env["PATH"] ?? "", HOME: "/nonexistent", ...environment };
    execFile(process.execPath, [BIN, ...argv], { env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

/** One command line in this process, as JSON: the same code as the program, without a start-up for each. */
async function json(
  argv: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<{ readonly code: number; readonly value: Record<string, unknown> }> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  stderr.resume();
  const surroundings = { environment, stdin: new PassThrough(), stdout, stderr };
  const code = await runCommandLine([...argv, "--json"], surroundings, new AbortController().signal);
  stdout.end();
  return { code, value: JSON.parse((await stdout.toArray()).join("")) as Record<string, unknown> };
}

async function temporary(test: { teardown(run: () => Promise<void>): void }): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "pyralog-cli-"));
  test.teardown(() => rm(path, { recursive: true }));
  return path;
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}

function everyCommand(command: Command, path: readonly Command[] = []): readonly (readonly Command[])[] {
  const here = [...path, command];
  return [here, ...(command.subcommands ?? []).flatMap((each) => everyCommand(each, here))];
}

t.test("an id is decoded from its text and from its number, and nothing else passes for one", async (t) => {
  const value = { id: "504806297812639821", text: "0e0bemwyr182d", timeMs: 1_795_867_200_123, node: 5, sequence: 77 };
  t.match(await json(["id", "decode", "0e0bemwyr182d"]), { code: 0, value });
  t.match(await json(["id", "decode", "504806297812639821"]), { code: 0, value });
  for (const wrong of ["0E0BEMWYR182D", "18446744073709551616", "0e0bemwyr182", "x"])
    t.match(await json(["id", "decode", wrong]), { code: 1, value: { error: { code: "scarab_text" } } }, wrong);
});

t.test("every verb has a summary, examples that parse, and described options", async (t) => {
  for (const path of everyCommand(ROOT)) {
    const command = path.at(-1) as Command;
    const title = path.map(({ name }) => name).join(" ");
    t.ok(command.summary.length > 10 && command.examples.length > 0, title);
    t.not(command.run === undefined, command.subcommands === undefined, `${title} either runs or has verbs`);
    for (const example of command.examples) {
      const [line] = example.split(/ [>|&] | && /) as [string];
      const words = line.replace(/^([A-Z_]+=\S+ )*/, "").match(/'[^']*'|"[^"]*"|\S+/g) ?? [];
      t.equal(words[0], "pyralog", example);
      t.doesNotThrow(
        () =>
          parseArguments(
            ROOT,
            words.slice(1).map((word) => word.replaceAll(/^['"]|['"]$/g, "")),
          ),
        example,
      );
    }
    for (const spec of Object.values(command.options ?? {})) t.ok(spec.description.length > 5);
    t.match(helpText(path), /Examples:/);
  }
});

t.test("help is an answer, of any verb, wherever it is asked for", async (t) => {
  t.match(await run(["--help"]), { code: 0, stdout: /^Usage: pyralog VERB/ });
  t.match(await run(["keys", "new", "--help"]), { code: 0, stdout: /^Usage: pyralog keys new NAME/ });
  t.match(await run(["--help", "keys"]), { code: 0, stdout: /multisig/ });
});

t.test("wrong usage exits with 2 and names the nearest right one", async (t) => {
  const cases = [
    [["confg", "show"], "usage_unknown_verb", "config"],
    [["keys", "lst"], "usage_unknown_verb", "list"],
    [["config", "show", "--hme", "x"], "usage_unknown_option", "--home"],
    [["config"], "usage_missing_verb", undefined],
    [["config", "show", "extra"], "usage_extra_argument", undefined],
    [["keys", "new"], "usage_missing_argument", undefined],
    [["config", "show", "--home"], "usage_option_value", undefined],
    [["config", "show", "--home", "a", "--home", "b"], "usage_option_repeated", undefined],
    [["keys", "new", "x", "--type", "rsa"], "usage_option_value", undefined],
  ] as const;
  for (const [argv, code, nearest] of cases) {
    const { code: exit, value } = await json(argv);
    t.match(
      { exit, ...(value["error"] as object) },
      { exit: 2, code, ...(nearest === undefined ? {} : { nearest }) },
      argv.join(" "),
    );
  }
  t.match(await run(["confg"]), { code: 2, stdout: "", stderr: /did you mean config\?/ });
});

t.test("a refusal exits with 1, and says its code on standard error or as JSON", async (t) => {
  const home = await temporary(t);
  t.match(await json(["keys", "list", "--home", join(home, "none")]), {
    code: 1,
    value: { error: { code: "home_missing", message: /pyralog init/ } },
  });
  t.match(await run(["keys", "list", "--home", join(home, "none")]), { code: 1, stdout: "", stderr: /^home_missing: / });
  t.match(await json(["init", "--home", home]), { code: 1, value: { error: { code: "passphrase_missing" } } });
  t.match(await json(["network", "show", "--home", home]), { code: 1, value: { error: { code: "network_missing" } } });
});

t.test("init makes a home, keys live in it, and a second init changes nothing", async (t) => {
  const home = join(await temporary(t), "home");
  const secret = { PYRALOG_PASSPHRASE: "correct horse" };
  const made = await json(["init", "--home", home, "--rpc-port", "1234"], secret);
  t.match(made, { code: 0, value: { home, address: /^pyra1/, peerId: /^12D3/, keyType: "hybrid" } });
  t.match(await json(["init", "--home", home], secret), { code: 1, value: { error: { code: "home_exists" } } });
  t.match(await json(["config", "show", "--home", home]), { code: 0, value: { rpc: { port: 1234 } } });
  const alice = await json(["keys", "new", "alice", "--type", "ed25519"], { ...secret, PYRALOG_HOME: home });
  t.match(alice, { code: 0, value: { name: "alice", type: "ed25519", publicKey: /^01[0-9a-f]{64}$/ } });
  t.match(await json(["keys", "show", "alice", "--home", home]), { code: 0, value: alice.value });
  const file = join(home, "node.pub");
  await writeFile(file, (await run(["keys", "export-public", "node", "--home", home])).stdout);
  const board = await json([
    "keys",
    "multisig",
    "new",
    "board",
    "--threshold",
    "2",
    "--key",
    "alice",
    "--key",
    file,
    "--home",
    home,
  ]);
  t.match(board, { code: 0, value: { threshold: 2, address: /^pyra1/ } });
  t.match(await json(["keys", "list", "--home", home]), {
    code: 0,
    value: { keys: [{ name: "alice" }, { name: "node" }], policies: [{ name: "board" }] },
  });
  const repeated = await json([
    "keys",
    "multisig",
    "new",
    "other",
    "--threshold",
    "1",
    "--key",
    "alice",
    "--key",
    "alice",
    "--home",
    home,
  ]);
  t.match(repeated, { code: 1, value: { error: { code: "policy_key_repeated", field: "--key" } } });
});

t.test("the program prints what its parts say: one JSON value, and the exit code", async (t) => {
  t.match(await run(["config", "show", "--json"]), { code: 0, stdout: /^\{.*\}\n$/, stderr: "" });
  t.match(await run(["config", "shw", "--json"]), {
    code: 2,
    stdout: /^\{"error":\{"code":"usage_unknown_verb".*\}\n$/,
    stderr: "",
  });
  t.match(await run(["keys", "list"]), { code: 1, stdout: "", stderr: /^home_missing: / });
});

t.test(
  `mutated drafts, calls and values are refused with a code or read, and never thrown on otherwise (seed ${SEED})`,
  async (t) => {
    const keyPair = keyPairAt(1);
    const body = {
      chainId: "try",
      sender: addressOfKey(keyPair.publicKey),
      nonce: 1n,
      fee: 500n,
      expiry: heightOf(9n),
      calls: [{ kind: "tablePut", namespace: "a", table: "b", key: utf8("k"), value: encodeValue(1) }],
    } as const;
    const draft = utf8(encodeDraft(signDraft({ body, signatures: [] }, keyPair)));
    const calls = utf8(jsonText(body.calls.map(callJson)));
    const value = utf8('{"a": [1, 2.5, {"/": {"bytes": "AAEC"}}, null, "text"]}');
    t.match(parseDraft(draft), { ok: true, value: { body: { nonce: 1n }, signatures: [{}] } });
    t.match(parseCalls(text(calls)), body.calls);
    const decoded = decodeValue(encodeJsonText(text(value), "VALUE"));
    t.strictSame(decoded.ok ? JSON.parse(jsonText(jsonOf(decoded.value))) : decoded, JSON.parse(text(value)));
    const isCoded = (read: () => unknown): boolean => {
      try {
        read();
        return true;
      } catch (error) {
        return error instanceof CodedError;
      }
    };
    fc.assert(
      fc.property(fc.nat(100_000), fc.nat(127), (at, byte) => {
        const mutated = (bytes: Uint8Array): Uint8Array => bytes.map((old, index) => (index === at % bytes.length ? byte : old));
        const parsed = parseDraft(mutated(draft));
        const isRead =
          !parsed.ok ||
          parsed.value.signatures.every(({ key, signature }) =>
            verifySignature(key, transactionId(encodeTransactionBody(parsed.value.body)), signature),
          );
        return (
          isRead &&
          isCoded(() => parseCalls(text(mutated(calls)))) &&
          isCoded(() => encodeJsonText(text(mutated(value)), "VALUE"))
        );
      }),
      { seed: SEED, numRuns: 1000 },
    );
  },
);

t.test("a passphrase on the command line is not an option that exists", async (t) => {
  t.match(await json(["init", "--passphrase", "secret"]), { code: 2, value: { error: { code: "usage_unknown_option" } } });
});

t.test("the configuration is checked, shown and documented", async (t) => {
  const home = await temporary(t);
  const file = join(home, "config.toml");
  await writeFile(file, "[rpc]\nprot = 1\n");
  t.match(await json(["config", "check", file]), {
    code: 1,
    value: { error: { code: "config_unknown_key", field: "rpc.prot", nearest: "rpc.port" } },
  });
  await writeFile(file, (await run(["config", "default"])).stdout);
  t.match(await json(["config", "check", file]), { code: 0, value: { valid: true } });
  t.match(await json(["config", "show", "--home", home], { PYRALOG_RPC_PORT: "77" }), { code: 0, value: { rpc: { port: 77 } } });
  t.match(await run(["config", "reference"]), { code: 0, stdout: /\| `port` \| integer/ });
});

t.test("a testnet is made from a manifest, and its network file is checked byte for byte", async (t) => {
  const directory = join(await temporary(t), "net");
  const made = await json(["testnet", "init", "--home", directory, "--base-port", "31000"]);
  t.match(made, { code: 0, value: { validators: [{ rpcUrl: "http://127.0.0.1:31080" }, {}, {}, {}] } });
  const file = join(directory, "network.json");
  const { hash } = made.value as { readonly hash: string };
  t.match(await run(["network", "hash", file]), { code: 0, stdout: `${hash}\n` });
  t.match(await json(["network", "check", file]), { code: 0, value: { valid: true, hash } });
  t.match(await json(["network", "show", "--home", join(directory, "validator-2")]), { code: 0, value: { hash } });
  await writeFile(file, (await readFile(file, "utf8")).replace('"timeoutGrowthMs": 250', '"timeoutGrowthMs": 251'));
  t.match(await json(["network", "check", file]), { code: 1, value: { error: { code: "network_hash", field: "hash" } } });
});
