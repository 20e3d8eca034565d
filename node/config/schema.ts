/** The whole configuration of one node. Unknown keys are refused; an empty file is a complete configuration. */

import { z } from "zod";
import {
  CLIENT_SECTION,
  KEYS_SECTION,
  LOG_SECTION,
  MEMPOOL_SECTION,
  METRICS_SECTION,
  MINING_SECTION,
  NETWORK_SECTION,
  OBELISK_SECTION,
  RPC_SECTION,
  SNAPSHOTS_SECTION,
  STORAGE_SECTION,
} from "./sections.ts";

/** The sections by their name in `config.toml`, in the order they are written. */
export const SECTIONS = {
  network: NETWORK_SECTION,
  rpc: RPC_SECTION,
  storage: STORAGE_SECTION,
  snapshots: SNAPSHOTS_SECTION,
  log: LOG_SECTION,
  mempool: MEMPOOL_SECTION,
  mining: MINING_SECTION,
  obelisk: OBELISK_SECTION,
  keys: KEYS_SECTION,
  metrics: METRICS_SECTION,
  client: CLIENT_SECTION,
} as const;

/** The schema of `config.toml` after parsing. */
export const CONFIG_SCHEMA = z.strictObject({
  network: NETWORK_SECTION.prefault({}),
  rpc: RPC_SECTION.prefault({}),
  storage: STORAGE_SECTION.prefault({}),
  snapshots: SNAPSHOTS_SECTION.prefault({}),
  log: LOG_SECTION.prefault({}),
  mempool: MEMPOOL_SECTION.prefault({}),
  mining: MINING_SECTION.prefault({}),
  obelisk: OBELISK_SECTION.prefault({}),
  keys: KEYS_SECTION.prefault({}),
  metrics: METRICS_SECTION.prefault({}),
  client: CLIENT_SECTION.prefault({}),
});

/** A complete, checked configuration. */
export type Config = z.output<typeof CONFIG_SCHEMA>;

/** The name of a section. */
export type SectionName = keyof typeof SECTIONS;

/** What a key may be and what it is when absent, for the reference, the default file and the environment. */
export type KeyDescription = {
  readonly section: SectionName;
  readonly key: string;
  readonly kind: "string" | "integer" | "boolean" | "list";
  readonly defaultValue: unknown;
  readonly description: string;
  /** The bounds or choices in words; empty when there are none. */
  readonly allowed: string;
  /** The environment variable that overrides it. */
  readonly environment: string;
};

type JsonSchema = {
  readonly type?: string;
  readonly default?: unknown;
  readonly description?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly enum?: readonly string[];
  readonly properties?: { readonly [key: string]: JsonSchema };
};

/** Every key of every section, read off the schema itself. */
export const KEYS: readonly KeyDescription[] = (Object.keys(SECTIONS) as SectionName[]).flatMap((section) => {
  const schema = z.toJSONSchema(SECTIONS[section], { io: "input" }) as JsonSchema;
  return Object.entries(schema.properties ?? {}).map(([key, property]) => ({
    section,
    key,
    kind: kindOf(property),
    defaultValue: property.default,
    description: property.description ?? "",
    allowed: allowedOf(property),
    environment: environmentName(section, key),
  }));
});

/** The sentence that describes a section. */
export function describeSection(section: SectionName): string {
  return SECTIONS[section].description ?? "";
}

function kindOf(property: JsonSchema): KeyDescription["kind"] {
  if (property.type === "integer" || property.type === "boolean") return property.type;
  return property.type === "array" ? "list" : "string";
}

function allowedOf(property: JsonSchema): string {
  if (property.enum !== undefined) return property.enum.join(", ");
  if (property.type === "integer") return `${property.minimum ?? "-"} to ${property.maximum ?? "-"}`;
  return "";
}

/** `rpc`, `requestSizeBytesMax` -> `PYRALOG_RPC_REQUEST_SIZE_BYTES_MAX`. */
function environmentName(section: string, key: string): string {
  return `PYRALOG_${section}_${key.replaceAll(/[A-Z]/g, (letter) => `_${letter}`)}`.toUpperCase();
}
