/** `pyralog init`: a home with a node key. */

import { KEY_TYPES, type KeyType } from "../../crypto/sign/key.ts";
import { formatAddress } from "../../crypto/identity/address.ts";
import type { Overrides } from "../config/document.ts";
import type { Home } from "../home/home.ts";
import { initialiseHome, type CreatedHome } from "../home/initialise.ts";
import { peerIdOf } from "../home/keys.ts";
import { usageError } from "./usage.ts";
import { PASSPHRASE_OPTIONS, type Command, type OptionTable } from "./command.ts";
import type { Invocation } from "./invocation.ts";

/** Options of verbs that may make a home. */
export const NEW_HOME_OPTIONS: OptionTable = {
  "key-type": { kind: "text", value: "TYPE", description: "node key: hybrid (default) or ed25519" },
  "p2p-port": { kind: "text", value: "PORT", description: "TCP port for peers, on 127.0.0.1 (default 26600)" },
  "rpc-port": { kind: "text", value: "PORT", description: "TCP port for JSON-RPC, on 127.0.0.1 (default 26680)" },
  "generate-passphrase": {
    kind: "flag",
    description: "make a random passphrase and keep it in the home, for nodes that start unattended",
  },
  ...PASSPHRASE_OPTIONS,
};

/** `pyralog init`. */
export const INIT_COMMAND: Command = {
  name: "init",
  summary: "make a home: a sealed node key and a configuration",
  options: NEW_HOME_OPTIONS,
  examples: [
    "pyralog init",
    "pyralog init --home ./node1 --generate-passphrase",
    "PYRALOG_PASSPHRASE=... pyralog init --home ./node1 --rpc-port 26690 --json",
  ],
  run: async (invocation) => {
    const { home } = invocation;
    const { nodeKey } = await createHome(invocation, home);
    const peerId = peerIdOf(nodeKey.publicKey);
    const address = formatAddress(nodeKey.address);
    return {
      json: { home: home.path, address, peerId, keyType: nodeKey.type },
      text: `Made ${home.path}\n  peer id  ${peerId}\n  address  ${address}\nNext: pyralog join NETWORK.json --home ${home.path}`,
    };
  },
};

/** Makes a home as the options say; asks for a passphrase unless one is to be made. */
export async function createHome(invocation: Invocation, home: Home, networkText?: string): Promise<CreatedHome> {
  const keyType = parseKeyType(invocation.text("key-type") ?? "hybrid", "--key-type");
  const config = portOverrides(invocation);
  const passphrase = invocation.flag("generate-passphrase") ? undefined : await invocation.passphrase(home, { confirm: true });
  return initialiseHome(home, { keyType, passphrase, config, ...(networkText === undefined ? {} : { networkText }) });
}

/** A key type by its name. */
export function parseKeyType(text: string, field: string): KeyType {
  const type = KEY_TYPES.find((each) => each === text);
  if (type === undefined)
    throw usageError("usage_option_value", `${field} must be one of ${KEY_TYPES.join(", ")}, not ${text}`, { field });
  return type;
}

function portOverrides(invocation: Invocation): Overrides {
  const bounds = { min: 0, max: 65_535 };
  const p2pPort = invocation.integer("p2p-port", bounds);
  const rpcPort = invocation.integer("rpc-port", bounds);
  return {
    ...(p2pPort === undefined ? {} : { network: { listen: [`/ip4/127.0.0.1/tcp/${p2pPort}`] } }),
    ...(rpcPort === undefined ? {} : { rpc: { port: rpcPort } }),
  };
}
