/** `pyralog network`: what a network file says, and whether it holds. */

import { multiaddr } from "@multiformats/multiaddr";
import { encodeNetworkFile, networkHash, type NetworkFile } from "../../chain/block/genesis.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { addressOfKey, formatAddress } from "../../crypto/identity/address.ts";
import { readNetworkFile } from "../home/home.ts";
import type { Json } from "./answer.ts";
import type { Command } from "./command.ts";
import type { Invocation } from "./invocation.ts";

/** `pyralog network show|hash|check`. */
export const NETWORK_COMMAND: Command = {
  name: "network",
  summary: "show, hash and check network files",
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
  ],
};

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
    `authority  ${network.authority === undefined ? "none: the validator set is fixed" : formatAddress(network.authority)}`,
    "validators",
    ...validators,
    "accounts",
    ...accounts,
    "bootstrap",
    ...network.bootstrap.map((address) => `  ${address}`),
  ].join("\n");
}
