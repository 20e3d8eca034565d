/**
 * Manifests: what a whole network on one machine should be, and the homes made from it.
 *
 * ```
 *   DIR/network.json      what join needs
 *   DIR/validator-0 ...   one home a validator
 *   DIR/accounts          a home with the keys of the authority and of the accounts that genesis pays
 * ```
 *
 * Keys are new each time and sealed with a random passphrase that lies beside them: such a network is for trying
 * things, and its chain id is its own, so that nothing signed for it means anything on another.
 */

import { join } from "node:path";
import { z } from "zod";
import { encodeNetworkFile, type NetworkFile, PARAMETERS_DEFAULT, parseNetworkFile } from "../../chain/block/genesis.ts";
import { ENGINE_NAMES, PROTOCOL_DEFAULTS, PROTOCOL_SCHEMA, protocolToJson } from "../../chain/block/protocol.ts";
import { assert, present } from "../../crypto/base/assert.ts";
import { parseUtf8, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { KEY_FILE_LOG_N_MIN } from "../../crypto/identity/keyfile.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { generateSeed, keyPairFromSeed } from "../../crypto/sign/key.ts";
import { nearestName } from "../config/nearest.ts";
import { placeFile, readFileBounded } from "./files.ts";
import { Home } from "./home.ts";
import { initialiseHome } from "./initialise.ts";
import { createKey, type OpenKey, peerIdOf } from "./keys.ts";

/** Largest manifest that is read. */
export const MANIFEST_SIZE_BYTES_MAX = 256 * 1024;

/** JSON-RPC ports begin so far after the peers' ports: with base 26600, the first node has both default ports. */
export const RPC_PORT_OFFSET = 80;

/** Ports that one network may take, from its base on. */
export const PORTS_COUNT = RPC_PORT_OFFSET * 2;

const NAME = z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/);
const KEY_TYPE = z.enum(["hybrid", "ed25519", "ml-dsa-65"]);
const AMOUNT = z
  .string()
  .regex(/^[1-9]\d{0,19}$/)
  .transform(BigInt);
const MILLISECONDS = z.int().min(0).max(86_400_000);

const MANIFEST_SCHEMA = z.strictObject({
  /** The chain id is this and eight hex digits. */
  name: NAME,
  /** The protocol by name, with its defaults, or with parameters that replace some of them. */
  engine: z.union([z.enum(ENGINE_NAMES), z.looseObject({ name: z.enum(ENGINE_NAMES) })]).transform((chosen, context) => {
    const name = typeof chosen === "string" ? chosen : chosen.name;
    const given = typeof chosen === "string" ? {} : chosen;
    const parsed = PROTOCOL_SCHEMA.safeParse({ ...protocolToJson(PROTOCOL_DEFAULTS[name]), ...given });
    if (parsed.success) return parsed.data;
    for (const issue of parsed.error.issues)
      context.addIssue({ code: "custom", message: issue.message, path: issue.path.map(String) });
    return z.NEVER;
  }),
  /** Replaces those of `PARAMETERS_DEFAULT`. */
  parameters: z
    .strictObject({
      blockSizeBytesMax: z.int().min(1024),
      transactionSizeBytesMax: z.int().min(512),
      transactionsMax: z.int().min(1),
      evidenceAgeMax: z.int().min(1),
      timeoutProposeMs: MILLISECONDS,
      timeoutPrevoteMs: MILLISECONDS,
      timeoutPrecommitMs: MILLISECONDS,
      timeoutGrowthMs: MILLISECONDS,
      blockIntervalMsMin: MILLISECONDS,
      blockTimeDriftMsMax: MILLISECONDS,
      feeMin: z
        .string()
        .regex(/^\d{1,20}$/)
        .transform(BigInt),
      feePerByte: z
        .string()
        .regex(/^\d{1,20}$/)
        .transform(BigInt),
      dev: z.boolean(),
    })
    .partial()
    .prefault({}),
  validators: z
    .array(z.strictObject({ name: NAME, keyType: z.enum(["hybrid", "ed25519"]), power: AMOUNT }))
    .min(1)
    .max(RPC_PORT_OFFSET - 8),
  /** The account that may change the validator set; also one of `accounts`. */
  authority: NAME.optional(),
  accounts: z.array(z.strictObject({ name: NAME, keyType: KEY_TYPE, amount: AMOUNT })).max(64),
});

/** A checked manifest. */
export type Manifest = z.output<typeof MANIFEST_SCHEMA>;

/**
 * Why a manifest was refused. `manifest_unknown_key` carries the nearest name; `manifest_value` names the field;
 * `manifest_syntax` is not JSON or not UTF-8; `manifest_size` is larger than `MANIFEST_SIZE_BYTES_MAX`.
 */
export type ManifestError = {
  readonly code: "manifest_size" | "manifest_syntax" | "manifest_unknown_key" | "manifest_value";
  readonly message: string;
  readonly field?: string;
};

/** Parses the text of a manifest. Never throws on hostile bytes. */
export function parseManifest(bytes: Uint8Array): Result<Manifest, ManifestError> {
  if (bytes.length > MANIFEST_SIZE_BYTES_MAX)
    return fail({ code: "manifest_size", message: `larger than ${MANIFEST_SIZE_BYTES_MAX} bytes` });
  const text = parseUtf8(bytes);
  const json = text.ok ? parseJson(text.value) : text;
  if (!json.ok) return fail({ code: "manifest_syntax", message: "not JSON" });
  const checked = MANIFEST_SCHEMA.safeParse(json.value);
  if (!checked.success) return fail(explain(checked.error.issues));
  const names = [...checked.data.validators, ...checked.data.accounts].map(({ name }) => name);
  const repeated = names.find((name, index) => names.indexOf(name) !== index || name === "node" || name === "accounts");
  if (repeated !== undefined) return fail({ code: "manifest_value", message: `the name ${repeated} is taken`, field: "name" });
  const { authority, accounts } = checked.data;
  if (authority !== undefined && !accounts.some(({ name }) => name === authority)) {
    return fail({ code: "manifest_value", message: `authority ${authority} is no account`, field: "authority" });
  }
  return ok(checked.data);
}

/** Reads a manifest from a file. */
export async function readManifest(path: string): Promise<Manifest> {
  const bytes = await readFileBounded(path, MANIFEST_SIZE_BYTES_MAX);
  if (bytes === undefined) throw new CodedError("manifest_missing", { path, message: `${path} is not there` });
  const manifest = parseManifest(bytes);
  if (!manifest.ok)
    throw new CodedError(manifest.error.code, { ...manifest.error, message: `${path}: ${manifest.error.message}`, path });
  return manifest.value;
}

/** One validator of a network made from a manifest. */
export type LocalValidator = { readonly name: string; readonly home: Home; readonly rpcUrl: string };

/** A network made from a manifest. */
export type LocalHomes = {
  readonly network: NetworkFile;
  readonly networkPath: string;
  readonly basePort: number;
  readonly validators: readonly LocalValidator[];
  readonly accounts: Home;
};

/** Where node `index` of a network listens: peers on `p2p`, JSON-RPC on `rpc`. */
export function portsOf(basePort: number, index: number): { readonly p2p: number; readonly rpc: number } {
  assert(index >= 0 && index < RPC_PORT_OFFSET, "node {} of a local network", index);
  assert(basePort >= 1 && basePort + PORTS_COUNT <= 65_536, "base port {}", basePort);
  return { p2p: basePort + index, rpc: basePort + RPC_PORT_OFFSET + index };
}

type NewValidator = { readonly name: string; readonly key: OpenKey; readonly power: bigint; readonly address: string };

/**
 * Makes every home of a local network under `directory`.
 *
 * @throws CodedError `home_exists` when there are homes already, `manifest_value` when it makes no valid network
 */
export async function createLocalHomes(options: {
  readonly directory: string;
  readonly manifest: Manifest;
  readonly basePort: number;
  readonly genesisTimeMs: bigint;
  /** Seeds of accounts by name, for a network whose accounts are those of another; the rest are new. */
  readonly seeds?: ReadonlyMap<string, Uint8Array>;
}): Promise<LocalHomes> {
  const { directory, manifest, basePort, genesisTimeMs, seeds = new Map() } = options;
  requireValid(manifest, genesisTimeMs);
  const validators: NewValidator[] = [];
  for (const index of manifest.validators.keys()) validators.push(await createValidator(directory, manifest, basePort, index));
  const { paid, home } = await createAccounts(directory, { manifest, basePort, seeds });
  const authority = paid.find(({ key }) => key.name === manifest.authority)?.key.address;
  const text = networkText(manifest, {
    genesisTimeMs,
    ...(authority === undefined ? {} : { authority }),
    accounts: paid.map(({ key, amount }) => ({ address: key.address, amount })),
    validators: validators.map(({ key, power }) => ({ key: key.publicKey, power })),
    bootstrap: validators.map(({ address }) => address),
  });
  for (const { name } of validators) await new Home(join(directory, name)).writeNetwork(text);
  await home.writeNetwork(text);
  await placeFile(join(directory, "network.json"), text, { mode: 0o644 });
  // Last: a directory that has it is whole.
  await placeFile(
    join(directory, LOCAL_FILE),
    `${JSON.stringify({ basePort, validators: validators.map(({ name }) => name) })}\n`,
  );
  return present(await openLocalHomes(directory), "local network just made");
}

type NetworkParts = Pick<NetworkFile, "genesisTimeMs" | "authority" | "accounts" | "validators" | "bootstrap">;

/** The text of the manifest's network. Throws `manifest_value` with the reason when no such network is allowed. */
function networkText(manifest: Manifest, parts: NetworkParts): string {
  const text = encodeNetworkFile({
    version: 1,
    chainId: `${manifest.name}-${toHex(generateSeed()).slice(0, 8)}`,
    engine: manifest.engine,
    parameters: { ...PARAMETERS_DEFAULT, ...given(manifest.parameters) },
    ...parts,
    // Under proof of work they are only the first nodes.
    validators: manifest.engine.name === "pow" ? [] : parts.validators,
  });
  const parsed = parseNetworkFile(text);
  if (parsed.ok) return text;
  const { field, reason } = parsed.error;
  throw new CodedError("manifest_value", {
    field,
    message: `the manifest makes no valid network: ${field}${reason === undefined ? "" : `: ${reason}`}`,
  });
}

/** Refuses what makes no network before any home is made, with keys that are thrown away. */
function requireValid(manifest: Manifest, genesisTimeMs: bigint): void {
  const keyOf = () => keyPairFromSeed("ed25519", generateSeed()).publicKey;
  networkText(manifest, {
    genesisTimeMs,
    accounts: manifest.accounts.map(({ amount }) => ({ address: addressOfKey(keyOf()), amount })),
    validators: manifest.validators.map(({ power }) => ({ key: keyOf(), power })),
    bootstrap: [],
  });
}

/** The file in a local network's directory that says what is in it. */
const LOCAL_FILE = "local.json";

const LOCAL_SCHEMA = z.strictObject({
  basePort: z.int().min(1).max(65_535),
  validators: z.array(NAME).min(1).max(RPC_PORT_OFFSET),
});

/** The network that `createLocalHomes` made in a directory, or `undefined` when there is none. */
export async function openLocalHomes(directory: string): Promise<LocalHomes | undefined> {
  const bytes = await readFileBounded(join(directory, LOCAL_FILE), MANIFEST_SIZE_BYTES_MAX);
  if (bytes === undefined) return undefined;
  const text = parseUtf8(bytes);
  const json = text.ok ? parseJson(text.value) : text;
  const checked = json.ok ? LOCAL_SCHEMA.safeParse(json.value) : undefined;
  if (checked?.success !== true) throw new CodedError("local_file", { message: `${join(directory, LOCAL_FILE)} is damaged` });
  const { basePort, validators } = checked.data;
  const accounts = new Home(join(directory, "accounts"));
  return {
    network: await accounts.network(),
    networkPath: join(directory, "network.json"),
    basePort,
    accounts,
    validators: validators.map((name, index) => ({
      name,
      home: new Home(join(directory, name)),
      rpcUrl: `http://127.0.0.1:${portsOf(basePort, index).rpc}`,
    })),
  };
}

async function createValidator(directory: string, manifest: Manifest, basePort: number, index: number): Promise<NewValidator> {
  const { name, keyType, power } = present(manifest.validators[index], "validator of the manifest");
  const ports = portsOf(basePort, index);
  const listen = `/ip4/127.0.0.1/tcp/${ports.p2p}`;
  const { nodeKey } = await initialiseHome(new Home(join(directory, name)), {
    keyType,
    passphrase: undefined,
    config: {
      network: { listen: [listen] },
      rpc: { port: ports.rpc },
      mining: { threads: manifest.engine.name === "pow" ? 1 : 0 },
    },
    logN: KEY_FILE_LOG_N_MIN,
  });
  return { name, key: nodeKey, power, address: `${listen}/p2p/${peerIdOf(nodeKey.publicKey)}` };
}

async function createAccounts(
  directory: string,
  {
    manifest,
    basePort,
    seeds,
  }: Pick<Parameters<typeof createLocalHomes>[0], "manifest" | "basePort"> & {
    readonly seeds: ReadonlyMap<string, Uint8Array>;
  },
): Promise<{ readonly home: Home; readonly paid: readonly { readonly key: OpenKey; readonly amount: bigint }[] }> {
  const home = new Home(join(directory, "accounts"));
  const { passphrase } = await initialiseHome(home, {
    keyType: "hybrid",
    passphrase: undefined,
    config: { client: { nodeUrl: `http://127.0.0.1:${portsOf(basePort, 0).rpc}` } },
    logN: KEY_FILE_LOG_N_MIN,
  });
  const paid: { key: OpenKey; amount: bigint }[] = [];
  for (const { name, keyType, amount } of manifest.accounts) {
    const seed = seeds.get(name);
    const options = { name, type: keyType, passphrase, logN: KEY_FILE_LOG_N_MIN, ...(seed === undefined ? {} : { seed }) };
    paid.push({ key: await createKey(home, options), amount });
  }
  return { home, paid };
}

function explain(issues: readonly z.core.$ZodIssue[]): ManifestError {
  const issue = issues.find((each) => each.code === "unrecognized_keys") ?? present(issues[0], "issue");
  const path = issue.path.map(String);
  if (issue.code !== "unrecognized_keys") {
    const field = path.join(".");
    return { code: "manifest_value", message: `${field}: ${issue.message}`, field };
  }
  const key = issue.keys[0] ?? "";
  const nearest = nearestName(key, namesAt(path));
  const field = [...path, key].join(".");
  return {
    code: "manifest_unknown_key",
    message: `${field} does not exist${nearest === undefined ? "" : `; did you mean ${nearest}?`}`,
    field,
  };
}

/** The keys that an object at this path may have. */
function namesAt(path: readonly string[]): readonly string[] {
  const schema = z.toJSONSchema(MANIFEST_SCHEMA, { io: "input", unrepresentable: "any" }) as JsonShape;
  const found = path.reduce<JsonShape | undefined>(
    (shape, name) => (shape?.items === undefined ? shape?.properties?.[name] : shape.items),
    schema,
  );
  return Object.keys(found?.properties ?? {});
}

type JsonShape = { readonly properties?: { readonly [key: string]: JsonShape }; readonly items?: JsonShape };

function parseJson(text: string): Result<unknown, { readonly code: "manifest_syntax" }> {
  try {
    return ok(JSON.parse(text) as unknown);
  } catch {
    return fail({ code: "manifest_syntax" });
  }
}

/** What was given of an object whose every key is optional. */
function given<T extends object>(value: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as {
    [Key in keyof T]?: Exclude<T[Key], undefined>;
  };
}
