/**
 * `npm run demo -- --json`: the main job, end to end, without anybody's help.
 *
 * Four validators start as processes. A thousand signed transactions of every kind become final, and each is proven to
 * a client that trusts the network file alone. One validator is killed with SIGKILL on the way, and comes back. A
 * fifth node joins by the network file. All five then hold the same state, and the audit of each finds nothing.
 *
 * The last line on standard output is one JSON value; the exit code is 0 only if all of it held.
 */

import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { heightOf } from "../../chain/block/height.ts";
import type { Call } from "../../chain/block/transaction.ts";
import { present } from "../../crypto/base/assert.ts";
import { bytesEqual, utf8 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { addressOfPolicy } from "../../crypto/identity/address.ts";
import { gatherAuthorisation, multisigPolicy } from "../../crypto/identity/authorisation.ts";
import { openKey, type OpenKey } from "../../node/home/keys.ts";
import { readManifest } from "../../node/home/manifest.ts";
import { readPassphraseFile } from "../../node/home/passphrase.ts";
import type { PyralogClient } from "../../node/rpc/client.ts";
import { BIN_PATH, freeBasePort, LocalNetwork, type LocalNode } from "./network.ts";
import { accountOf, NAMESPACE, plan } from "./plan.ts";
import { type Account, type Finalised, percentile, Sender } from "./sender.ts";

const MANIFEST_PATH = fileURLToPath(new URL("./networks/local.json", import.meta.url));
const KILLED_INDEX = 3;
const START_TIMEOUT_MS = 60_000;
const CATCH_UP_TIMEOUT_MS = 60_000;
const AUDIT_TIMEOUT_MS = 300_000;
/** How many transactions: half before one validator is killed, the rest while it is down and coming back. */
const TRANSACTIONS_DEFAULT = 1000;
/** Proofs asked for at once. */
const PROOFS_UNDER_WAY_MAX = 16;

/** What the last line says. Later versions add fields. */
type Report = {
  readonly ok: boolean;
  readonly engine: string;
  readonly validators: number;
  readonly transactions: number;
  readonly proofsVerified: number;
  readonly finalizedPerSecond: number;
  readonly p50FinalityMs: number;
  readonly p99FinalityMs: number;
  readonly killedAndCaughtUp: boolean;
  readonly joined: boolean;
  readonly sameStateRoot: boolean;
  readonly audits: number;
  readonly seconds: number;
};

type Options = {
  readonly transactions: number;
  readonly port: number | undefined;
  readonly home: string | undefined;
  readonly say: (line: string) => void;
};

async function demo(options: Options, signal: AbortSignal): Promise<Report> {
  const startedMs = performance.now();
  const directory = options.home ?? (await mkdtemp(join(tmpdir(), "pyralog-demo-")));
  const basePort = options.port ?? (await freeBasePort());
  const manifest = await readManifest(MANIFEST_PATH);
  await using network = await LocalNetwork.open({ directory, manifest, basePort, signal });
  await network.start({ timeoutMs: START_TIMEOUT_MS });
  options.say(`${network.nodes.length} validators finalise`);

  const work = await Workload.open(network, options.transactions, signal);
  await work.run(0.5);
  options.say(`${work.finalised.length} transactions are final`);

  await network.kill(KILLED_INDEX, "SIGKILL");
  const deadAt = await network.highest();
  options.say(`killed ${network.node(KILLED_INDEX).name} at height ${deadAt}`);
  await work.run(0.75);
  const survivedAt = await network.highest();
  options.say(`${work.finalised.length} transactions are final, one validator down`);

  network.restart(KILLED_INDEX);
  const fifth = await network.join("node-4");
  await work.run(1);
  await network.node(KILLED_INDEX).waitForHeight(survivedAt, { timeoutMs: CATCH_UP_TIMEOUT_MS, signal });
  const killedAndCaughtUp = survivedAt > deadAt;
  options.say(`${network.node(KILLED_INDEX).name} has caught up`);
  await fifth.waitForHeight(survivedAt, { timeoutMs: CATCH_UP_TIMEOUT_MS, signal });
  const joined = true;
  options.say(`${fifth.name} has joined`);

  await alignNodes(network, signal);
  const proofsVerified = await work.prove();
  options.say(`${proofsVerified} proofs verified`);
  const sameStateRoot = await holdsSameState(network, work.accounts, signal);
  const audits = await auditAll(network.nodes, network.homes.networkPath, signal);
  options.say(`${audits} audits found nothing`);
  const latencies = work.finalised.map(({ latencyMs }) => latencyMs);
  const validators = network.homes.validators.length;
  const isWhole =
    work.finalised.length === options.transactions && proofsVerified >= options.transactions && audits === network.nodes.length;
  await network.stop();
  if (options.home === undefined) await rm(directory, { recursive: true });
  return {
    ok: isWhole && killedAndCaughtUp && joined && sameStateRoot,
    engine: network.network.engine.name,
    validators,
    transactions: work.finalised.length,
    proofsVerified,
    finalizedPerSecond: round(work.finalised.length / work.sendingSeconds),
    p50FinalityMs: round(percentile(latencies, 0.5)),
    p99FinalityMs: round(percentile(latencies, 0.99)),
    killedAndCaughtUp,
    joined,
    sameStateRoot,
    audits,
    seconds: round((performance.now() - startedMs) / 1000),
  };
}

/** What one account sends. */
type Plan = { readonly sender: Sender; readonly transactions: readonly (readonly Call[])[] };

/** Transactions of every kind, by several accounts and a multisig. */
class Workload {
  readonly accounts: readonly Account[];
  readonly #network: LocalNetwork;
  readonly #plans: readonly Plan[];
  readonly #prelude: readonly Finalised[];
  readonly #signal: AbortSignal;
  #done = 0;
  #sendingMs = 0;

  private constructor(network: LocalNetwork, plans: readonly Plan[], prelude: readonly Finalised[], signal: AbortSignal) {
    this.#prelude = prelude;
    this.accounts = plans.map(({ sender }) => sender.account);
    this.#network = network;
    this.#plans = plans;
    this.#signal = signal;
  }

  static async open(network: LocalNetwork, count: number, signal: AbortSignal): Promise<Workload> {
    const { accounts: home } = network.homes;
    const passphrase = await readPassphraseFile(home.passphrasePath);
    const keys = await Promise.all(["alice", "bob", "carol", "dave"].map((name) => openKey(home, name, passphrase)));
    const authority = accountOf(await openKey(home, "authority", passphrase));
    const board = boardOf(keys.slice(0, 3));
    const accounts = [...keys.map(accountOf), board];
    const bystander = present(network.network.validators[KILLED_INDEX], "validator");
    // What the others build on comes first and counts as well: money for the board, and a change of the validator set.
    const prelude: (readonly Call[])[] = [
      [{ kind: "transfer", to: board.address, amount: 1_000_000_000n }],
      [{ kind: "validatorSet", key: bystander.key, power: bystander.power + 1n }],
    ];
    const senderOf = (account: Account, index: number): Sender =>
      new Sender({ account, network: network.network, nonce: 0n, node: () => readyNode(network, index), signal });
    const first = senderOf(authority, 0);
    await first.sendAll(prelude);
    const left = count - prelude.length;
    const plans = accounts.map((account, index) => {
      const share = Math.floor(left / accounts.length) + (index < left % accounts.length ? 1 : 0);
      return {
        sender: senderOf(account, index),
        transactions: plan(account, present(accounts[(index + 1) % accounts.length], "neighbour"), share),
      };
    });
    return new Workload(network, plans, first.finalised, signal);
  }

  get finalised(): readonly Finalised[] {
    return [...this.#prelude, ...this.#plans.flatMap(({ sender }) => sender.finalised)];
  }

  get sendingSeconds(): number {
    return this.#sendingMs / 1000;
  }

  /** Goes on until this share of the plan is final. */
  async run(share: number): Promise<void> {
    const startedMs = performance.now();
    const from = this.#done;
    await Promise.all(
      this.#plans.map(({ sender, transactions }) =>
        sender.sendAll(transactions.slice(Math.floor(transactions.length * from), Math.floor(transactions.length * share))),
      ),
    );
    this.#done = share;
    this.#sendingMs += performance.now() - startedMs;
  }

  /** Proves every transaction with its result, and a row of every account. Each node is asked for its part. */
  async prove(): Promise<number> {
    let proven = 0;
    const queue = [...this.finalised.entries()];
    const prover = async (): Promise<void> => {
      for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
        const [index, { transaction, height }] = next;
        const { value, verified } = await clientAt(this.#network, index).transaction(transaction.id, { signal: this.#signal });
        if (verified.height === height && value.result.kind === "applied") proven += 1;
      }
    };
    await Promise.all(Array.from({ length: PROOFS_UNDER_WAY_MAX }, prover));
    for (const [index, account] of this.accounts.entries()) {
      const { value } = await clientAt(this.#network, index).row(NAMESPACE, account.name, utf8("row-0"), {
        signal: this.#signal,
      });
      if (value !== undefined) proven += 1;
    }
    return proven;
  }
}

/** Two of three holders, of different key types. */
function boardOf(keys: readonly OpenKey[]): Account {
  const policy = multisigPolicy(
    2,
    keys.map(({ publicKey }) => publicKey),
  );
  if (!policy.ok) throw new CodedError(policy.error.code, {});
  const signers = keys.slice(0, 2);
  return {
    name: "board",
    address: addressOfPolicy(policy.value),
    authorise: (id) => {
      const gathered = gatherAuthorisation(
        policy.value,
        id,
        signers.map(({ publicKey, keyPair }) => ({ key: publicKey, signature: keyPair.sign(id) })),
      );
      if (!gathered.ok) throw new CodedError(gathered.error.code, {});
      return gathered.value;
    },
  };
}

function readyNode(network: LocalNetwork, index: number): PyralogClient {
  const validators = network.nodes.slice(0, network.homes.validators.length).filter(({ isReady }) => isReady);
  return present(validators[index % validators.length], "node that is ready").client;
}

function clientAt(network: LocalNetwork, index: number): PyralogClient {
  return network.node(index % network.nodes.length).client;
}

/** Waits until every node is where the newest is; which height that was. */
async function alignNodes(network: LocalNetwork, signal: AbortSignal): Promise<bigint> {
  const height = await network.highest();
  await Promise.all(network.nodes.map((node) => node.waitForHeight(height, { timeoutMs: CATCH_UP_TIMEOUT_MS, signal })));
  return height;
}

/** Every node proves the same rows against the same root at one height. */
async function holdsSameState(network: LocalNetwork, accounts: readonly Account[], signal: AbortSignal): Promise<boolean> {
  const height = await alignNodes(network, signal);
  const { address } = present(accounts[0], "account");
  const held = await Promise.all(
    network.nodes.map(async ({ client }) => {
      const header = await client.header(heightOf(height), { signal });
      const account = await client.account(address, { signal, height: heightOf(height) });
      return { stateRoot: header.value.stateRoot, balance: account.value.balance };
    }),
  );
  const first = present(held[0], "node");
  return held.every(({ stateRoot, balance }) => bytesEqual(stateRoot, first.stateRoot) && balance === first.balance);
}

/** Runs `pyralog audit` on each node, two at a time; how many found nothing. */
async function auditAll(nodes: readonly LocalNode[], networkPath: string, signal: AbortSignal): Promise<number> {
  const queue = [...nodes];
  let passed = 0;
  const auditor = async (): Promise<void> => {
    for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
      const { rpcUrl, name } = node;
      const answer = await runProgram(["audit", "--node", rpcUrl, "--network", networkPath, "--json"], signal);
      if (answer["valid"] === true) passed += 1;
      else process.stderr.write(`audit of ${name}: ${JSON.stringify(answer)}\n`);
    }
  };
  await Promise.all([auditor(), auditor()]);
  return passed;
}

/** Runs the program as a user would, and gives its JSON. */
function runProgram(argv: readonly string[], signal: AbortSignal): Promise<{ readonly [key: string]: unknown }> {
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      [BIN_PATH, ...argv],
      { signal, timeout: AUDIT_TIMEOUT_MS, maxBuffer: 1024 * 1024 },
      (error, stdout) => {
        try {
          resolve(JSON.parse(stdout) as { readonly [key: string]: unknown });
        } catch {
          // No JSON: it was killed, or broke; the cause is in the error of the process.
          reject(new CodedError("program_output", { message: stdout.slice(0, 200) }, { cause: error }));
        }
      },
    );
  });
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

const HELP = `Usage: npm run demo -- [--json] [--transactions N] [--port BASE] [--home DIR]

Runs the whole of it on this machine and prints a report; exit code 0 only if all held.

  --json            only the last line, one JSON value, goes to standard output
  --transactions N  how many (default: ${TRANSACTIONS_DEFAULT})
  --port BASE       first port of the network (default: a free block)
  --home DIR        where the network is, and is left afterwards (default: a temporary directory, removed)
`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      json: { type: "boolean" },
      transactions: { type: "string" },
      port: { type: "string" },
      home: { type: "string" },
      help: { type: "boolean" },
    },
  });
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const startedMs = performance.now();
  const say = (line: string): void =>
    void process.stderr.write(`${((performance.now() - startedMs) / 1000).toFixed(1).padStart(6)} s  ${line}\n`);
  const stopping = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stopping.abort());
  try {
    const report = await demo(
      {
        transactions: Number(values.transactions ?? TRANSACTIONS_DEFAULT),
        port: values.port === undefined ? undefined : Number(values.port),
        home: values.home,
        say,
      },
      stopping.signal,
    );
    if (values.json !== true) process.stdout.write(`${report.ok ? "All of it held." : "Something did not hold."}\n`);
    process.stdout.write(`${JSON.stringify(report)}\n`);
    return report.ok ? 0 : 1;
  } catch (error) {
    const { message, stack } = error instanceof Error ? error : { message: String(error), stack: undefined };
    process.stderr.write(`${error instanceof CodedError ? message : (stack ?? message)}\n`);
    process.stdout.write(
      `${JSON.stringify({ ok: false, error: { code: error instanceof CodedError ? error.code : "internal", message } })}\n`,
    );
    return 1;
  }
}

process.exitCode = await main();
