/**
 * What a verb is: a row of a table that says its options, its examples and what runs. Help, parsing and the nearest
 * name for a misspelt one all come from the same row.
 */

import type { Answer } from "./answer.ts";
import type { Invocation } from "./invocation.ts";

/** One option. */
export type OptionSpec = {
  /** `flag` takes no value, `text` one, `texts` may be given several times. */
  readonly kind: "flag" | "text" | "texts";
  /** What stands for the value in help. */
  readonly value?: string;
  readonly description: string;
};

/** Options by name, without the dashes. */
export type OptionTable = { readonly [name: string]: OptionSpec };

/** One verb or subverb. Either it runs, or it has subverbs. */
export type Command = {
  readonly name: string;
  /** Other words for it, which may look like options. */
  readonly aliases?: readonly string[];
  /** One line for the list of verbs. */
  readonly summary: string;
  /** More, for its own help. */
  readonly detail?: string;
  /** The positional arguments as help shows them: `NETWORK.json`, `[NAME]`, `FILE...`. */
  readonly positionals?: readonly string[];
  readonly options?: OptionTable;
  /** Whole command lines. */
  readonly examples: readonly string[];
  /** Exit codes of some refusals of this verb, by code; 1 for all others. */
  readonly exits?: Readonly<Record<string, number>>;
  readonly subcommands?: readonly Command[];
  /** Returns what to print; `undefined` when it has printed already (`Invocation.emit`). */
  readonly run?: (invocation: Invocation) => Promise<Answer | undefined>;
};

/** Options that every verb has. */
export const GLOBAL_OPTIONS: OptionTable = {
  home: {
    kind: "text",
    value: "DIR",
    description: "directory of keys, configuration and data (default: $PYRALOG_HOME, else ~/.pyralog)",
  },
  json: { kind: "flag", description: "print one JSON value on standard output" },
  help: { kind: "flag", description: "show this help" },
};

/** Options of verbs that talk to a node. */
export const NODE_OPTIONS: OptionTable = {
  node: {
    kind: "text",
    value: "URL",
    description: "node to ask (default: the one running in the home, else http://127.0.0.1:26680)",
  },
  network: {
    kind: "text",
    value: "FILE",
    description: "network file to verify answers against (default: the home's network.json)",
  },
};

/** Options of verbs that open a sealed key. */
export const PASSPHRASE_OPTIONS: OptionTable = {
  "passphrase-file": {
    kind: "text",
    value: "FILE",
    description: "file with the passphrase (default: $PYRALOG_PASSPHRASE, keys.passphraseFile, or asked)",
  },
};
