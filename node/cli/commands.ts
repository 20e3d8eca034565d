/** Every verb, in the order that help shows them. */

import type { Command } from "./command.ts";
import { CONFIG_COMMAND } from "./config.ts";
import { INIT_COMMAND } from "./init.ts";
import { KEYS_COMMAND } from "./keys.ts";
import { NETWORK_COMMAND } from "./network.ts";
import { JOIN_COMMAND, START_COMMAND } from "./start.ts";
import { TESTNET_COMMAND } from "./testnet.ts";

/** The program. */
export const ROOT: Command = {
  name: "pyralog",
  summary: "A decentralised database whose every answer carries a proof.",
  examples: ["pyralog init", "pyralog join network.json", "pyralog query account pyra1... --json", "pyralog keys new --help"],
  subcommands: [INIT_COMMAND, KEYS_COMMAND, START_COMMAND, JOIN_COMMAND, TESTNET_COMMAND, NETWORK_COMMAND, CONFIG_COMMAND],
};
