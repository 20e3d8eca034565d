/** From bytes and environment to a checked configuration, or to what is wrong with them and where. */

import { parse as parseToml, TomlError } from "smol-toml";
import type { z } from "zod";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { parseUtf8 } from "../../crypto/base/bytes.ts";
import { nearestName } from "./nearest.ts";
import { CONFIG_SCHEMA, KEYS, SECTIONS, type Config, type KeyDescription } from "./schema.ts";

/** Largest `config.toml` that is read. */
export const CONFIG_SIZE_BYTES_MAX = 256 * 1024;

/**
 * Why a configuration was refused.
 *
 * - `config_size`: the file is larger than `CONFIG_SIZE_BYTES_MAX`; it is not a configuration
 * - `config_syntax`: not UTF-8 or not TOML; correct the line that `message` shows
 * - `config_unknown_key`: `field` does not exist; `nearest` is the name that was probably meant
 * - `config_value`: the value of `field` is not allowed; `message` says what is
 * - `config_environment`: the variable `variable` does not parse as its key's kind of value
 */
export type ConfigError =
  | { readonly code: "config_size"; readonly message: string }
  | { readonly code: "config_syntax"; readonly message: string; readonly line: number; readonly column: number }
  | { readonly code: "config_unknown_key"; readonly message: string; readonly field: string; readonly nearest?: string }
  | { readonly code: "config_value"; readonly message: string; readonly field: string }
  | { readonly code: "config_environment"; readonly message: string; readonly field: string; readonly variable: string };

/** Environment variables, as `process.env`. */
export type Environment = { readonly [name: string]: string | undefined };

/** Parses the text of `config.toml` and lays the environment over it. Never throws on hostile input. */
export function parseConfig(bytes: Uint8Array, environment: Environment = {}): Result<Config, ConfigError> {
  if (bytes.length > CONFIG_SIZE_BYTES_MAX)
    return fail({ code: "config_size", message: `larger than ${CONFIG_SIZE_BYTES_MAX} bytes` });
  const text = parseUtf8(bytes);
  if (!text.ok) return fail({ code: "config_syntax", message: "not UTF-8", line: 1, column: 1 });
  const parsed = parseText(text.value);
  if (!parsed.ok) return parsed;
  const overrides = readEnvironment(environment);
  if (!overrides.ok) return overrides;
  return checkConfig(overlay(parsed.value, overrides.value));
}

/** The configuration of an empty file and an empty environment. */
export const CONFIG_DEFAULT: Config = CONFIG_SCHEMA.parse({});

/** Checks parsed data against the schema; the first fault is reported. */
export function checkConfig(data: unknown): Result<Config, ConfigError> {
  const checked = CONFIG_SCHEMA.safeParse(data);
  if (checked.success) return ok(checked.data);
  // An unknown name explains a bad value more often than the other way round, so it is reported first.
  const issues = checked.error.issues;
  const issue = issues.find((each) => each.code === "unrecognized_keys") ?? (issues[0] as z.core.$ZodIssue);
  return fail(explain(issue));
}

function parseText(text: string): Result<Record<string, unknown>, ConfigError> {
  try {
    return ok(parseToml(text, { maxDepth: 16 }));
  } catch (error) {
    if (error instanceof TomlError)
      return fail({ code: "config_syntax", message: error.message.trimEnd(), line: error.line, column: error.column });
    throw error;
  }
}

type Override = { readonly description: KeyDescription; readonly value: unknown };

function readEnvironment(environment: Environment): Result<readonly Override[], ConfigError> {
  const overrides: Override[] = [];
  const byVariable = new Map(KEYS.map((description) => [description.environment, description]));
  for (const variable of Object.keys(environment).toSorted()) {
    const text = environment[variable];
    if (text === undefined) continue;
    const description = byVariable.get(variable);
    if (description === undefined) {
      if (!namesSection(variable)) continue;
      return fail(unknownKey(variable, nearestName(variable, [...byVariable.keys()])));
    }
    const value = parseVariable(description, text);
    if (!value.ok)
      return fail({
        code: "config_environment",
        message: `${variable} ${value.error.message}`,
        field: fieldOf(description),
        variable,
      });
    overrides.push({ description, value: value.value });
  }
  return ok(overrides);
}

/** A misspelt `PYRALOG_RPC_PROT` must not pass in silence; a `PYRALOG_HOME` is not ours to judge. */
function namesSection(variable: string): boolean {
  return Object.keys(SECTIONS).some((section) => variable.startsWith(`PYRALOG_${section.toUpperCase()}_`));
}

function parseVariable(
  description: KeyDescription,
  text: string,
): Result<unknown, { readonly code: "variable"; readonly message: string }> {
  switch (description.kind) {
    case "integer":
      return /^-?\d{1,15}$/.test(text) ? ok(Number(text)) : fail({ code: "variable", message: "must be an integer" });
    case "boolean":
      return text === "true" || text === "false"
        ? ok(text === "true")
        : fail({ code: "variable", message: "must be true or false" });
    case "list":
      return ok(text === "" ? [] : text.split(",").map((item) => item.trim()));
    default:
      return ok(text);
  }
}

function overlay(data: Record<string, unknown>, overrides: readonly Override[]): unknown {
  const merged: Record<string, unknown> = Object.assign(Object.create(null), data);
  for (const { description, value } of overrides) {
    const section = merged[description.section];
    // A section that is no table at all is the schema's to refuse.
    if (section !== undefined && (typeof section !== "object" || section === null || Array.isArray(section))) continue;
    merged[description.section] = { ...section, [description.key]: value };
  }
  return merged;
}

function explain(issue: z.core.$ZodIssue): ConfigError {
  const path = issue.path.map(String);
  if (issue.code === "unrecognized_keys") {
    const key = issue.keys[0] as string;
    return unknownKey([...path, key].join("."), nearestKey(path, key));
  }
  return { code: "config_value", message: `${path.join(".")}: ${issue.message}`, field: path.join(".") };
}

/** A key may stand in the wrong section as well as be misspelt. */
function nearestKey(path: readonly string[], key: string): string | undefined {
  if (path.length === 0) {
    return nearestName(key, Object.keys(SECTIONS)) ?? elsewhere(key);
  }
  const siblings = KEYS.filter(({ section }) => section === path[0]).map((description) => description.key);
  const sibling = nearestName(key, siblings);
  return sibling === undefined ? elsewhere(key) : `${path[0]}.${sibling}`;
}

function elsewhere(key: string): string | undefined {
  const name = nearestName(
    key,
    KEYS.map((description) => description.key),
  );
  const description = KEYS.find((each) => each.key === name);
  return description === undefined ? undefined : fieldOf(description);
}

function unknownKey(field: string, nearest: string | undefined): ConfigError {
  if (nearest === undefined) return { code: "config_unknown_key", message: `${field} does not exist`, field };
  return { code: "config_unknown_key", message: `${field} does not exist; did you mean ${nearest}?`, field, nearest };
}

function fieldOf(description: KeyDescription): string {
  return `${description.section}.${description.key}`;
}
