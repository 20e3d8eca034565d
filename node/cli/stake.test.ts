/** `pyralog stake` and its queries, against a real ledger behind a real server. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import t from "tap";
import { encodeNetworkFile, type NetworkFile } from "../../chain/block/genesis.ts";
import { PROTOCOL_DEFAULTS } from "../../chain/block/protocol.ts";
import { networkOf } from "../../chain/block/testing/fixtures.ts";
import { Home } from "../home/home.ts";
import { readKey } from "../home/keys.ts";
import { openLog } from "../log/log.ts";
import { RpcServer } from "../rpc/server.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import { runCommandLine } from "./main.ts";

const UNIT = 1_000_000n;
const FUNDS = 10_000_000n;

t.test("stake is declared, bonded, asked back and shown by the verbs, and what cannot be is refused", async (t) => {
  const home = await mkdtemp(join(tmpdir(), "pyralog-stake-"));
  t.teardown(() => rm(home, { recursive: true }));
  const secret = join(home, "secret");
  await writeFile(secret, "a passphrase for a test\n", { mode: 0o600 });
  let node = "";
  const json = async (...argv: readonly string[]): Promise<{ code: number; value: Record<string, unknown> }> => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    stderr.resume();
    const environment = { PYRALOG_HOME: home };
    const sends = argv[0] === "stake" ? ["--passphrase-file", secret] : [];
    const asks = argv[0] === "keys" ? ["--passphrase-file", secret] : ["--node", node];
    const surroundings = { environment, stdin: new PassThrough(), stdout, stderr };
    const code = await runCommandLine([...argv, ...sends, ...asks, "--json"], surroundings, new AbortController().signal);
    stdout.end();
    return { code, value: JSON.parse((await stdout.toArray()).join("")) as Record<string, unknown> };
  };
  for (const name of ["alice", "runner"]) t.equal((await json("keys", "new", name, "--type", "ed25519")).code, 0);
  const [alice, runner] = [await readKey(new Home(home), "alice"), await readKey(new Home(home), "runner")];
  const base = networkOf({ powers: [1n, 1n, 1n, 1n] });
  const network: NetworkFile = {
    ...base,
    engine: { ...PROTOCOL_DEFAULTS.pos, powerUnit: UNIT, selfBondMin: UNIT },
    accounts: [alice, runner].map(({ address }) => ({ address, amount: FUNDS })),
  };
  await writeFile(join(home, "network.json"), encodeNetworkFile(network));
  await using net = await DevNet.open({ network });
  net.automatic = true;
  const log = await openLog({ level: "silent", destination: "stderr" });
  await using server = await RpcServer.open({ host: "127.0.0.1", port: 0, cors: [] }, { backend: net.backend, log });
  node = server.url;

  const applied = { code: 0, value: { result: { kind: "applied" } } };
  t.match(await json("stake", "declare", "--operator", "alice", "--commission", "500", "--from", "runner"), applied);
  t.match(await json("stake", "bond", "runner", "5000", "--from", "alice"), applied);
  const validators = await json("query", "validators");
  t.equal((validators.value["validators"] as readonly unknown[]).length, 5);
  t.match((validators.value["validators"] as readonly unknown[]).at(-1), {
    tokens: "5000",
    commissionBps: 500,
    jailedUntilMs: null,
    elected: false,
  });
  t.match((validators.value["validators"] as readonly unknown[])[0], { tokens: `${UNIT}`, elected: true });
  t.match(await json("stake", "unbond", "runner", "2000", "--from", "alice"), applied);
  t.match(await json("stake", "unbond", "runner", "3001", "--from", "alice"), {
    value: { error: { code: "stake_insufficient" } },
  });
  t.match(await json("query", "stake", "alice"), {
    code: 0,
    value: {
      rewards: "0",
      staked: [{ tokens: "3000", earned: "0", commission: "0" }],
      unbonding: [{ amount: "2000" }],
      verified: { how: ["certificate", "state proof of a complete range"] },
    },
  });
  t.match(await json("query", "stake", "runner"), { value: { staked: [], unbonding: [] } });
  t.match(await json("stake", "claim", "runner", "--from", "alice"), { value: { error: { code: "rewards_none" } } });
  t.match(await json("stake", "commission", "runner", "10001", "--from", "alice"), { code: 2 });
  t.match(await json("stake", "bond", "nobody", "1", "--from", "alice"), { code: 1 });
  t.match(await json("validator", "apply", "--power", "1"), { code: 1, value: { error: { code: "validators_elected" } } });
  t.match(await json("query", "supply"), {
    code: 0,
    value: { total: `${2n * FUNDS + 4n * UNIT}`, minted: "0", burned: "0" },
  });
});
