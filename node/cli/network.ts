/** `pyralog network`: what a network file says, and whether it holds. */

import { multiaddr } from "@multiformats/multiaddr";
import { encodeNetworkFile, networkHash, type NetworkFile } from "../../chain/block/genesis.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { addressOfKey, formatAddress } from "../../crypto/identity/address.ts";
import { readNetworkFile } from "../home/home.ts";
import { headerHash } from "../../chain/block/block.ts";
import { placeFile } from "../home/files.ts";
import { checkpointOf, trustPolicyOf } from "../light/trust.ts";
import { openClient, readOptions, timeText } from "./client.ts";
import type { Answer, Json } from "./answer.ts";
import { type Command, NODE_OPTIONS } from "./command.ts";
import type { Invocation } from "./invocation.ts";

/** `pyralog network show|hash|check`. */
export const NETWORK_COMMAND: Command = {
  name: "network",
  summary: "show, hash and check network files, and vouch for a block in one",
  examples: ["pyralog network show", "pyralog network check ./network.json --json"],
  subcommands: [
    {
      name: "show",
      summary: "the network that the home has joined, or that of a file",
      positionals: ["[FILE]"],
      examples: ["pyralog network show", "pyralog network show ./network.json --json"],
      run: async (invocation) => {
        const network = await networkOf(invocation);
        return { json: networkJson(network), text: networkText(network) };
      },
    },
    {
      name: "hash",
      summary: "the hash that names the network; compare it with the one you were told",
      positionals: ["[FILE]"],
      examples: ["pyralog network hash ./network.json"],
      run: async (invocation) => {
        const hash = toHex(networkHash(await networkOf(invocation)));
        return { json: { hash }, text: hash };
      },
    },
    {
      name: "check",
      summary: "check a network file: shape, bounds, hash and bootstrap addresses",
      positionals: ["[FILE]"],
      examples: ["pyralog network check ./network.json"],
      run: async (invocation) => {
        const network = await networkOf(invocation);
        for (const [index, address] of network.bootstrap.entries()) checkBootstrap(address, `bootstrap.${index}`);
        const hash = toHex(networkHash(network));
        return { json: { valid: true, chainId: network.chainId, hash }, text: `${network.chainId} is valid\n  hash  ${hash}` };
      },
    },
    {
      name: "checkpoint",
      summary: "write the network file with a checkpoint: a block that you vouch for, of a node that you trust",
      detail:
        "A light client that begins with the file begins with that block, as long as it is not older than the trusting\nperiod. Everything is verified on the way, so the node can only withhold; that its chain is the right one is yours to say.\nThe file still has the same hash: it is the same network.",
      options: {
        height: { kind: "text", value: "H", description: "block to vouch for (default: the newest)" },
        "trusting-days": { kind: "text", value: "N", description: "for how long (default: the network's own period)" },
        out: { kind: "text", value: "FILE", description: "file to write" },
        ...NODE_OPTIONS,
      },
      examples: [
        "pyralog network checkpoint --out network.json",
        "pyralog network checkpoint --height 1000 --out network.json --json",
      ],
      run: vouch,
    },
  ],
};

async function vouch(invocation: Invocation): Promise<Answer> {
  const path = invocation.requireText("out");
  const client = await openClient(invocation);
  const { height: chosen, signal } = readOptions(invocation);
  const { value: header } = chosen === undefined ? await client.head({ signal }) : await client.header(chosen, { signal });
  if (client.network.engine.name === "pow")
    throw new CodedError("checkpoint_work", { message: "under proof of work no block is vouched for: the work is" });
  const days = invocation.bigint("trusting-days", { min: 1n, max: 36_500n });
  const periodMs = days === undefined ? trustPolicyOf(client.network, Date.now).trustingPeriodMs : days * 86_400_000n;
  const checkpoint = checkpointOf({ header, hash: headerHash(header) }, periodMs);
  await placeFile(path, encodeNetworkFile({ ...client.network, checkpoint }), { mode: 0o644 });
  const { height, hash, timeMs, trustingPeriodMs } = checkpoint;
  return {
    json: { file: path, checkpoint: { height, hash, timeMs, trustingPeriodMs } },
    text: `Wrote ${path}, vouching for height ${height}\n  hash   ${toHex(hash)}\n  until  ${timeText(timeMs + trustingPeriodMs)}`,
  };
}

async function networkOf(invocation: Invocation): Promise<NetworkFile> {
  const path = invocation.positionals[0];
  if (path === undefined) return invocation.home.network();
  const network = await readNetworkFile(path);
  if (network === undefined) throw new CodedError("network_missing", { path, field: "FILE", message: `${path} is not there` });
  return network;
}

function checkBootstrap(address: string, field: string): void {
  try {
    if (
      multiaddr(address)
        .getComponents()
        .some(({ name }) => name === "p2p")
    )
      return;
  } catch (error) {
    throw new CodedError("network_bootstrap", { field, message: `${address} is not a multiaddr` }, { cause: error });
  }
  throw new CodedError("network_bootstrap", {
    field,
    message: `${address} does not name a peer: it must end with /p2p/<peer id>`,
  });
}

/** The document itself: what a network file says is JSON already. */
function networkJson(network: NetworkFile): Json {
  return JSON.parse(encodeNetworkFile(network)) as Json;
}

function networkText(network: NetworkFile): string {
  const total = network.validators.reduce((sum, { power }) => sum + power, 0n);
  const validators = network.validators.map(
    ({ key, power }) => `  ${formatAddress(addressOfKey(key))}  ${key.type}  power ${power} of ${total}`,
  );
  const accounts = network.accounts.map(({ address, amount }) => `  ${formatAddress(address)}  ${amount}`);
  return [
    `chain id   ${network.chainId}`,
    `hash       ${toHex(networkHash(network))}`,
    `engine     ${network.engine.name}`,
    ...(network.checkpoint === undefined ? [] : [`checkpoint ${network.checkpoint.height} ${toHex(network.checkpoint.hash)}`]),
    `authority  ${network.authority === undefined ? "none: the validator set is fixed" : formatAddress(network.authority)}`,
    "validators",
    ...validators,
    "accounts",
    ...accounts,
    "bootstrap",
    ...network.bootstrap.map((address) => `  ${address}`),
  ].join("\n");
}
