/** `pyralog start` and `pyralog join`: run the node of a home. */

import { encodeNetworkFile, networkHash, type NetworkFile } from "../../chain/block/genesis.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { type Home, readNetworkFile } from "../home/home.ts";
import { NODE_KEY_NAME } from "../home/keys.ts";
import type { Answer } from "./answer.ts";
import { PASSPHRASE_OPTIONS, type Command, type OptionTable } from "./command.ts";
import { createHome, NEW_HOME_OPTIONS } from "./init.ts";
import type { Invocation } from "./invocation.ts";
import { runNode } from "./run-node.ts";

const RUN_OPTIONS: OptionTable = {
  "stop-with-stdin": { kind: "flag", description: "stop when standard input ends, for supervisors that may die" },
  ...PASSPHRASE_OPTIONS,
};

/** `pyralog start`. */
export const START_COMMAND: Command = {
  name: "start",
  summary: "run the node of the home until it is interrupted",
  detail:
    "Validates when the home's node key is in the validator set, and follows the network otherwise.\nUnder --json, one value is printed when the node answers.",
  options: RUN_OPTIONS,
  examples: ["pyralog start", "pyralog start --home ./testnet/validator-0 --json"],
  run: async (invocation) => runNode(invocation, invocation.home),
};

/** `pyralog join`. */
export const JOIN_COMMAND: Command = {
  name: "join",
  summary: "join a network by its file: make the home if need be, take the file in, and start",
  detail: "The network file is all that is needed. Compare its hash (`pyralog network hash`) with one from somebody you trust.",
  positionals: ["NETWORK.json"],
  options: { "no-start": { kind: "flag", description: "only take the file in" }, ...NEW_HOME_OPTIONS, ...RUN_OPTIONS },
  examples: [
    "pyralog join network.json --home ./node5 --generate-passphrase --p2p-port 26610 --rpc-port 26690",
    "pyralog join network.json --home ./node5 --no-start --json",
  ],
  run: join,
};

async function join(invocation: Invocation): Promise<Answer | undefined> {
  const { home } = invocation;
  const path = invocation.positional(0);
  const network = await readNetworkFile(path);
  if (network === undefined)
    throw new CodedError("network_missing", { path, field: "NETWORK.json", message: `${path} is not there` });
  const passphrase = await takeIn(invocation, home, network);
  if (!invocation.flag("no-start")) return runNode(invocation, home, passphrase);
  const hash = toHex(networkHash(network));
  return {
    json: { home: home.path, chainId: network.chainId, networkHash: hash },
    text: `${home.path} has joined ${network.chainId} (${hash})\nNext: pyralog start --home ${home.path}`,
  };
}

/** Makes the home, or gives the network file to the one there is. Returns the passphrase of a home just made. */
async function takeIn(invocation: Invocation, home: Home, network: NetworkFile): Promise<string | undefined> {
  const text = encodeNetworkFile(network);
  if (!(await home.keyNames(".key")).includes(NODE_KEY_NAME)) return (await createHome(invocation, home, text)).passphrase;
  await home.requireStopped();
  if (await home.hasNetwork()) {
    const joined = await home.network();
    if (!bytesEqual(networkHash(joined), networkHash(network))) {
      throw new CodedError("network_differs", {
        field: "NETWORK.json",
        message: `${home.path} has joined ${joined.chainId}; take another home for ${network.chainId}`,
      });
    }
  }
  // The same network may have new bootstrap addresses.
  await home.writeNetwork(text);
  return undefined;
}
