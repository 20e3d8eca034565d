/** `pyralog start` and `pyralog join`: run the node of a home. */

import { heightOf } from "../../chain/block/height.ts";
import { encodeNetworkFile, networkHash, type NetworkFile } from "../../chain/block/genesis.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { type Home, readNetworkFile } from "../home/home.ts";
import { NODE_KEY_NAME } from "../home/keys.ts";
import type { Answer } from "./answer.ts";
import { HEIGHT_MAX } from "./client.ts";
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
    "Validates when the home's node key is in the validator set, and follows the network otherwise.\nUnder --json, one value is printed when the node answers.\nA validator whose home was restored, copied or wiped sits out the heights at which it may have signed what it does not\nremember. When nothing is decided without it, it says so, and --vouch ends that.",
  options: {
    vouch: {
      kind: "text",
      value: "H",
      description:
        "up to this height the validator's key has signed nothing but what this home remembers: a false word can be slashed",
    },
    ...RUN_OPTIONS,
  },
  examples: ["pyralog start", "pyralog start --home ./testnet/validator-0 --json", "pyralog start --vouch 1200"],
  run: async (invocation) => {
    const vouched = invocation.bigint("vouch", { min: 1n, max: HEIGHT_MAX });
    return runNode(invocation, invocation.home, {
      joins: "resume",
      vouchedHeight: vouched === undefined ? undefined : heightOf(vouched),
    });
  },
};

/** `pyralog join`. */
export const JOIN_COMMAND: Command = {
  name: "join",
  summary: "join a network by its file: make the home if need be, take the file in, and start",
  detail:
    "The network file is all that is needed. Compare its hash (`pyralog network hash`) with one from somebody you trust.\nThe state comes from snapshots of peers, each chunk proven against certified headers, or, where there are none, from\nexecuting every block. Killed at any moment, the same command goes on where it was. Meanwhile the node answers: what it\nhas not got yet, it asks its peers for and checks.",
  positionals: ["NETWORK.json"],
  options: {
    blocks: { kind: "flag", description: "execute every block from genesis, take no snapshot: for archives and auditors" },
    "no-start": { kind: "flag", description: "only take the file in" },
    ...NEW_HOME_OPTIONS,
    ...RUN_OPTIONS,
  },
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
  if (!invocation.flag("no-start"))
    return runNode(invocation, home, { passphrase, joins: invocation.flag("blocks") ? "blocks" : "snapshot" });
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
