/** `pyralog testnet`: homes for a whole network on one machine. */

import { fileURLToPath } from "node:url";
import { networkHash } from "../../chain/block/genesis.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { createLocalHomes, PORTS_COUNT, readManifest } from "../home/manifest.ts";
import type { Command } from "./command.ts";

/** The manifest taken when none is named. Data beside the code: nothing of `testnet/` is imported. */
export const MANIFEST_PATH_DEFAULT: string = fileURLToPath(
  new URL("../../testnet/launcher/networks/local.json", import.meta.url),
);

/** Where a local network listens when nobody says: its first node then has the default ports. */
export const BASE_PORT_DEFAULT = 26_600;

/** `pyralog testnet init`. */
export const TESTNET_COMMAND: Command = {
  name: "testnet",
  summary: "make the homes of a whole network on this machine",
  examples: ["pyralog testnet init --home ./testnet"],
  subcommands: [
    {
      name: "init",
      summary: "make keys, configurations and the network file from a manifest",
      detail:
        "Makes one home a validator, a home `accounts` with the keys of the paid accounts, and network.json.\nKeys are sealed with a random passphrase kept beside them: this is for trying things.",
      positionals: ["[MANIFEST]"],
      options: {
        "base-port": {
          kind: "text",
          value: "PORT",
          description: `first of ${PORTS_COUNT} ports: peers from here, JSON-RPC 80 above (default ${BASE_PORT_DEFAULT})`,
        },
      },
      examples: [
        "pyralog testnet init --home ./testnet",
        "pyralog testnet init testnet/launcher/networks/local.json --home ./testnet --base-port 30000 --json",
      ],
      run: async (invocation) => {
        const manifest = await readManifest(invocation.positionals[0] ?? MANIFEST_PATH_DEFAULT);
        const basePort = invocation.integer("base-port", { min: 1, max: 65_536 - PORTS_COUNT }) ?? BASE_PORT_DEFAULT;
        const local = await createLocalHomes({
          directory: invocation.home.path,
          manifest,
          basePort,
          genesisTimeMs: BigInt(Date.now()),
        });
        const hash = toHex(networkHash(local.network));
        const validators = local.validators.map(({ name, home, rpcUrl }) => ({ name, home: home.path, rpcUrl }));
        return {
          json: { chainId: local.network.chainId, hash, network: local.networkPath, accounts: local.accounts.path, validators },
          text: [
            `Made ${local.network.chainId} (${hash})`,
            ...validators.map(({ home, rpcUrl }) => `  ${home}  ${rpcUrl}`),
            `  ${local.accounts.path}  keys of ${manifest.accounts.map(({ name }) => name).join(", ")}`,
            `Start each validator: pyralog start --home ${validators[0]?.home}`,
          ].join("\n"),
        };
      },
    },
  ],
};
