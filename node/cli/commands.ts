/** Every verb, in the order that help shows them. */

import type { Command } from "./command.ts";
import { ARCHIVE_COMMAND } from "./archive.ts";
import { AUDIT_COMMAND } from "./audit.ts";
import { CONFIG_COMMAND } from "./config.ts";
import { ROLLBACK_COMMAND, SNAPSHOT_COMMAND } from "./data.ts";
import { EXPORT_COMMAND } from "./export.ts";
import { INIT_COMMAND } from "./init.ts";
import { KEYS_COMMAND } from "./keys.ts";
import { NOTARIZE_COMMAND } from "./notarize.ts";
import { LIGHT_COMMAND } from "./light.ts";
import { NETWORK_COMMAND } from "./network.ts";
import { NUMBER_COMMAND } from "./number.ts";
import { ID_COMMAND, OBELISK_COMMAND } from "./obelisk.ts";
import { QUERY_COMMAND } from "./query.ts";
import { SCRUB_COMMAND } from "./scrub.ts";
import { JOIN_COMMAND, START_COMMAND } from "./start.ts";
import { STAKE_COMMAND } from "./stake.ts";
import { STATUS_COMMAND } from "./status.ts";
import { TESTNET_COMMAND } from "./testnet.ts";
import { TX_COMMAND } from "./tx.ts";
import { VALIDATOR_COMMAND } from "./validator.ts";
import { VERIFY_COMMAND } from "./verify.ts";

/** The program. */
export const ROOT: Command = {
  name: "pyralog",
  summary: "A decentralised database whose every answer carries a proof.",
  examples: ["pyralog init", "pyralog join network.json", "pyralog query account pyra1... --json", "pyralog keys new --help"],
  subcommands: [
    INIT_COMMAND,
    KEYS_COMMAND,
    START_COMMAND,
    JOIN_COMMAND,
    STATUS_COMMAND,
    TX_COMMAND,
    QUERY_COMMAND,
    VERIFY_COMMAND,
    LIGHT_COMMAND,
    AUDIT_COMMAND,
    SCRUB_COMMAND,
    VALIDATOR_COMMAND,
    STAKE_COMMAND,
    NUMBER_COMMAND,
    OBELISK_COMMAND,
    ID_COMMAND,
    TESTNET_COMMAND,
    NETWORK_COMMAND,
    EXPORT_COMMAND,
    ARCHIVE_COMMAND,
    NOTARIZE_COMMAND,
    SNAPSHOT_COMMAND,
    ROLLBACK_COMMAND,
    CONFIG_COMMAND,
  ],
};
