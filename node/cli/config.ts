/** `pyralog config`: what is configured, whether it is right, and what could be. */

import { CodedError } from "../../crypto/base/error.ts";
import { CONFIG_SIZE_BYTES_MAX, parseConfig } from "../config/load.ts";
import { configReference, configText, configToml } from "../config/document.ts";
import { KEYS } from "../config/schema.ts";
import { readFileBounded } from "../home/files.ts";
import type { Command } from "./command.ts";

/** `pyralog config show|check|reference|default`. */
export const CONFIG_COMMAND: Command = {
  name: "config",
  summary: "show, check and document the configuration",
  examples: ["pyralog config show --json", "pyralog config check ./config.toml"],
  subcommands: [
    {
      name: "show",
      summary: "the configuration in effect: file, environment and defaults together",
      examples: ["pyralog config show", "PYRALOG_RPC_PORT=8080 pyralog config show --json"],
      run: async (invocation) => {
        const config = await invocation.home.config(invocation.environment);
        return { json: config, text: configToml(config).trimEnd() };
      },
    },
    {
      name: "check",
      summary: "check a configuration file without starting anything",
      positionals: ["[FILE]"],
      examples: ["pyralog config check", "pyralog config check ./config.toml --json"],
      run: async (invocation) => {
        const path = invocation.positionals[0] ?? invocation.home.configPath;
        const bytes = await readFileBounded(path, CONFIG_SIZE_BYTES_MAX);
        if (bytes === undefined) throw new CodedError("config_missing", { path, message: `${path} is not there` });
        const parsed = parseConfig(bytes, invocation.environment);
        if (!parsed.ok) throw new CodedError(parsed.error.code, { ...parsed.error, path });
        return { json: { path, valid: true }, text: `${path} is valid` };
      },
    },
    {
      name: "reference",
      summary: "every key, its default, its bounds and its environment variable",
      examples: ["pyralog config reference > CONFIG.md"],
      run: async () => ({
        json: KEYS.map(({ section, key, kind, defaultValue, allowed, environment, description }) => ({
          section,
          key,
          kind,
          default: defaultValue as string,
          allowed,
          environment,
          description,
        })),
        text: configReference().trimEnd(),
      }),
    },
    {
      name: "default",
      summary: "a configuration file with every key commented out",
      examples: ["pyralog config default > config.toml"],
      run: async () => ({ json: { toml: configText() }, text: configText().trimEnd() }),
    },
  ],
};
