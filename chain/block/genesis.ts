/**
 * Network files: everything that must be known to join a network, and nothing else.
 *
 * The file is JSON with sorted keys, indented by two spaces, integers that can pass 2^53 as decimal strings, keys in
 * hex and addresses in their text form. There is one text for one network file: any other text is refused, so that
 * what was read is what was hashed. The `hash` in it is the network's own: BLAKE3 over the canonical dag-cbor tuple
 * of everything but the bootstrap addresses, which may change while the network stays the same.
 */

import { z } from "zod";
import { assert, unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual, compareBytes, parseHex, toHex } from "../../crypto/base/bytes.ts";
import { type Coded, fail, ok, type Result } from "../../crypto/base/result.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, hash, parseHash } from "../../crypto/hash/hash.ts";
import { type Address, addressOfKey, formatAddress, parseAddress } from "../../crypto/identity/address.ts";
import { encodePublicKey, parsePublicKey, type PublicKey, writePublicKey } from "../../crypto/sign/key.ts";
import { isName } from "./fields.ts";
import { type Height, heightOf, isHeight } from "./height.ts";
import {
  AMOUNT_MAX,
  BLOCK_FRAME_SIZE_BYTES_MAX,
  BLOCK_SIZE_BYTES_MAX,
  BOOTSTRAP_MAX,
  BOOTSTRAP_SIZE_BYTES_MAX,
  FORMAT_VERSION,
  GENESIS_ACCOUNTS_MAX,
  NETWORK_FILE_SIZE_BYTES_MAX,
  POWER_TOTAL_MAX,
  RAFT_VALIDATORS_MIN,
  TIME_MS_MAX,
  TRANSACTION_SIZE_BYTES_MAX,
  TRANSACTIONS_MAX,
  VALIDATORS_MAX,
  VALIDATORS_MIN,
} from "./limits.ts";
import { encodeProtocol, type Protocol, PROTOCOL_SCHEMA, protocolFault, type ProtocolOf, protocolToJson } from "./protocol.ts";
import { type ValidatorSet, validatorSetOf } from "./validators.ts";

/** A change made at height h decides from height h + 2: the set of h + 1 is already in the header of h. */
export const VALIDATOR_DELAY = 2;

/** The rules that every node of a network must share. They live here and in no configuration. */
export type Parameters = {
  /** At least `transactionSizeBytesMax + BLOCK_FRAME_SIZE_BYTES_MAX`. */
  readonly blockSizeBytesMax: number;
  readonly transactionSizeBytesMax: number;
  /** Transactions of one block. */
  readonly transactionsMax: number;
  /** Heights after which evidence is too old to be included. */
  readonly evidenceAgeMax: number;
  /** Heights from a change of the validator set until the new set decides. */
  readonly validatorDelay: typeof VALIDATOR_DELAY;
  /** How long round 0 waits for each step; every later round waits `timeoutGrowthMs` longer. */
  readonly timeoutProposeMs: number;
  readonly timeoutPrevoteMs: number;
  readonly timeoutPrecommitMs: number;
  readonly timeoutGrowthMs: number;
  /** A proposer leaves at least so much block time between blocks. */
  readonly blockIntervalMsMin: number;
  /** How far ahead of a validator's clock a block's time may be. */
  readonly blockTimeDriftMsMax: number;
  /** The least fee of a transaction: `feeMin + feePerByte * size`. */
  readonly feeMin: bigint;
  readonly feePerByte: bigint;
  /** Whether fewer than four validators are allowed. Never on a network that holds value. */
  readonly dev: boolean;
};

/** A network at height 0. */
export type NetworkFile = {
  readonly version: typeof FORMAT_VERSION;
  readonly chainId: string;
  readonly genesisTimeMs: bigint;
  /** How blocks are agreed on. */
  readonly engine: Protocol;
  readonly parameters: Parameters;
  /** Who may change the validator set; without one it never changes but for misbehaviour. */
  readonly authority?: Address;
  /** Sorted by address, distinct; amounts at least 1, below 2^64 together. */
  readonly accounts: readonly { readonly address: Address; readonly amount: bigint }[];
  /** Sorted by address, distinct. */
  readonly validators: readonly { readonly key: PublicKey; readonly power: bigint }[];
  /** Multiaddresses of peers to begin with. Not part of the hash. */
  readonly bootstrap: readonly string[];
  /** A block that whoever gave out this file vouches for, and for how long. Not part of the hash: a newer one is the same network. */
  readonly checkpoint?: {
    /** At least 1. */
    readonly height: Height;
    readonly hash: Hash;
    readonly timeMs: bigint;
    /** How long after `timeMs` a client may start from it. At least 1. */
    readonly trustingPeriodMs: bigint;
  };
};

/**
 * Why a text is not a network file. `field` is a path such as `validators.0.power`.
 *
 * - `network_size`: larger than `NETWORK_FILE_SIZE_BYTES_MAX`
 * - `network_json`: not JSON
 * - `network_invalid`: a field is missing, unknown, of another type, out of range or contradicts another
 * - `network_not_canonical`: says a valid thing in another way than `encodeNetworkFile`
 * - `network_hash`: `hash` is not the hash of the rest
 */
export type NetworkError = {
  readonly code: "network_size" | "network_json" | "network_invalid" | "network_not_canonical" | "network_hash";
  readonly field: string;
  /** Of `network_invalid`: why no such network is safe, where the field alone does not tell. */
  readonly reason?: string;
};

/** What a public network starts from; a local one shortens the timeouts. */
export const PARAMETERS_DEFAULT: Parameters = {
  blockSizeBytesMax: 2 * 1024 * 1024,
  transactionSizeBytesMax: 256 * 1024,
  transactionsMax: 10_000,
  evidenceAgeMax: 100_000,
  validatorDelay: VALIDATOR_DELAY,
  // The timeouts of the Tendermint paper's reference implementation.
  timeoutProposeMs: 3000,
  timeoutPrevoteMs: 1000,
  timeoutPrecommitMs: 1000,
  timeoutGrowthMs: 500,
  blockIntervalMsMin: 500,
  blockTimeDriftMsMax: 10_000,
  feeMin: 100n,
  feePerByte: 1n,
  dev: false,
};

/** The least fee that a transaction of this size may offer. */
export function feeOf(parameters: Parameters, sizeBytes: number): bigint {
  assert(Number.isInteger(sizeBytes) && sizeBytes >= 0, "size of {} bytes", sizeBytes);
  return parameters.feeMin + parameters.feePerByte * BigInt(sizeBytes);
}

/** The set that decides height 1. */
export function genesisValidators(network: NetworkFile): ValidatorSet {
  return validatorSetOf(network.validators);
}

/** The tokens that validators of a network file have staked with themselves at genesis: their powers, in tokens. */
export function genesisStake(engine: ProtocolOf<"pos">, validators: NetworkFile["validators"]): bigint {
  return engine.powerUnit * sum(validators.map(({ power }) => power));
}

/** What names a network: every header chain begins with it. */
export function networkHash(network: NetworkFile): Hash {
  const { accounts, validators } = ordered(network);
  const writer = new Writer()
    .array(8)
    .uint(network.version)
    .text(network.chainId)
    .uint(network.genesisTimeMs)
    .raw(encodeProtocol(network.engine));
  writer.raw(encodeParameters(network.parameters));
  if (network.authority === undefined) writer.null();
  else writer.bytes(network.authority);
  writer.array(accounts.length);
  for (const { address, amount } of accounts) writer.array(2).bytes(address).uint(amount);
  writer.array(validators.length);
  for (const { key, power } of validators) {
    writePublicKey(writer.array(2), key);
    writer.uint(power);
  }
  return hash("network", writer.finish());
}

/** The parameters as one dag-cbor tuple, in the order of the type. */
export function encodeParameters(parameters: Parameters): Uint8Array {
  const writer = new Writer().array(14).uint(parameters.blockSizeBytesMax).uint(parameters.transactionSizeBytesMax);
  writer.uint(parameters.transactionsMax).uint(parameters.evidenceAgeMax).uint(parameters.validatorDelay);
  writer.uint(parameters.timeoutProposeMs).uint(parameters.timeoutPrevoteMs).uint(parameters.timeoutPrecommitMs);
  writer.uint(parameters.timeoutGrowthMs).uint(parameters.blockIntervalMsMin).uint(parameters.blockTimeDriftMsMax);
  return writer.uint(parameters.feeMin).uint(parameters.feePerByte).bool(parameters.dev).finish();
}

/** The one text of a network file, with its hash. Sorts accounts and validators; everything else must be valid. */
export function encodeNetworkFile(network: NetworkFile): string {
  const { accounts, validators } = ordered(network);
  const { parameters, checkpoint } = network;
  const document = {
    accounts: accounts.map(({ address, amount }) => ({ address: formatAddress(address), amount: `${amount}` })),
    ...(network.authority === undefined ? {} : { authority: formatAddress(network.authority) }),
    bootstrap: network.bootstrap,
    chainId: network.chainId,
    ...(checkpoint === undefined ? {} : { checkpoint: checkpointToJson(checkpoint) }),
    engine: protocolToJson(network.engine),
    genesisTimeMs: `${network.genesisTimeMs}`,
    hash: toHex(networkHash(network)),
    parameters: { ...parameters, feeMin: `${parameters.feeMin}`, feePerByte: `${parameters.feePerByte}` },
    validators: validators.map(({ key, power }) => ({ key: toHex(encodePublicKey(key)), power: `${power}` })),
    version: network.version,
  };
  return `${JSON.stringify(sortKeys(document), undefined, 2)}\n`;
}

/** Parses a network file strictly. Never throws. */
export function parseNetworkFile(text: string): Result<NetworkFile, NetworkError> {
  if (text.length > NETWORK_FILE_SIZE_BYTES_MAX) return fail({ code: "network_size", field: "" });
  const json = parseJson(text);
  if (!json.ok) return fail({ code: "network_json", field: "" });
  const shaped = documentSchema.safeParse(json.value);
  if (!shaped.success) return fail({ code: "network_invalid", field: (shaped.error.issues[0]?.path ?? []).join(".") });
  const { hash: claimed, authority, checkpoint, ...rest } = shaped.data;
  const network: NetworkFile = {
    ...rest,
    ...(authority === undefined ? {} : { authority }),
    ...(checkpoint === undefined ? {} : { checkpoint }),
  };
  const fault = contradiction(network);
  if (fault !== undefined) return fail({ code: "network_invalid", ...fault });
  if (!bytesEqual(claimed, networkHash(network))) return fail({ code: "network_hash", field: "hash" });
  if (encodeNetworkFile(network) !== text) return fail({ code: "network_not_canonical", field: "" });
  return ok(network);
}

/** What is wrong with an otherwise well-formed network: a field, and why, where the field alone does not tell. */
type NetworkFault = { readonly field: string; readonly reason?: string };

/** The first field that contradicts another, is out of bounds, or makes a network that cannot be safe. */
function contradiction(network: NetworkFile): NetworkFault | undefined {
  const { accounts, validators, parameters } = network;
  if (!isName(network.chainId)) return { field: "chainId" };
  if (network.genesisTimeMs < 0n || network.genesisTimeMs > TIME_MS_MAX) return { field: "genesisTimeMs" };
  if (parameters.transactionSizeBytesMax + BLOCK_FRAME_SIZE_BYTES_MAX > parameters.blockSizeBytesMax)
    return { field: "parameters.blockSizeBytesMax" };
  if (accounts.length > GENESIS_ACCOUNTS_MAX || hasRepeated(accounts.map(({ address }) => address))) return { field: "accounts" };
  if (accounts.some(({ amount }) => amount < 1n) || sum(accounts.map(({ amount }) => amount)) > AMOUNT_MAX)
    return { field: "accounts" };
  if (hasRepeated(validators.map(({ key }) => addressOfKey(key)))) return { field: "validators" };
  if (validators.some(({ power }) => power < 1n) || sum(validators.map(({ power }) => power)) > POWER_TOTAL_MAX)
    return { field: "validators" };
  const fault = protocolFault(network.engine);
  if (fault !== undefined) return { field: `engine.${fault.field}`, reason: fault.reason };
  return validatorsFault(network);
}

/** Why these validators cannot run this protocol safely. */
function validatorsFault(network: NetworkFile): NetworkFault | undefined {
  const { engine, validators, parameters } = network;
  if (validators.length > VALIDATORS_MAX) return refuse(`more than ${VALIDATORS_MAX}`);
  switch (engine.name) {
    case "pow":
      return validators.length === 0 ? undefined : refuse("under proof of work nobody validates but by work");
    case "raft":
      if (validators.length === 0) return refuse("none");
      if (validators.length < RAFT_VALIDATORS_MIN && !parameters.dev)
        return refuse(`fewer than ${RAFT_VALIDATORS_MIN} stop when one does; for a lab, set parameters.dev`);
      return validators.every(({ power }) => power === 1n) ? undefined : refuse("Raft counts heads: every power must be 1");
    case "pbft":
    case "tendermint":
      return toleranceFault(network);
    case "pos":
      return toleranceFault(network) ?? stakeFault(network, engine);
    default:
      return unreachable(engine);
  }
}

/** Why the validators could not stand the fault of one of them. */
function toleranceFault({ validators, parameters }: NetworkFile): NetworkFault | undefined {
  if (validators.length === 0) return refuse("none");
  return validators.length >= VALIDATORS_MIN || parameters.dev
    ? undefined
    : refuse(`fewer than ${VALIDATORS_MIN} tolerate no fault; for a lab, set parameters.dev`);
}

/** Why the validators' powers cannot be what they staked at genesis. */
function stakeFault({ accounts, validators }: NetworkFile, engine: ProtocolOf<"pos">): NetworkFault | undefined {
  if (validators.length > engine.activeMax) return refuse("more than engine.activeMax");
  if (validators.some(({ power }) => power * engine.powerUnit < engine.selfBondMin))
    return refuse("power times engine.powerUnit, a validator's own stake, is less than engine.selfBondMin");
  const funded = sum(accounts.map(({ amount }) => amount));
  return funded + genesisStake(engine, validators) <= AMOUNT_MAX ? undefined : refuse("accounts and stake pass 2^64 - 1 tokens");
}

function refuse(reason: string): NetworkFault {
  return { field: "validators", reason };
}

// The shape of the JSON.

/** A decimal string of at most 20 digits, without leading zeros. */
const decimal = z
  .string()
  .regex(/^(0|[1-9][0-9]{0,19})$/)
  .transform(BigInt)
  .refine((value) => value <= AMOUNT_MAX);

const addressText = z.string().transform((text, context) => valueOrIssue(parseAddress(text), context));
const keyText = z.string().transform((text, context) => {
  const bytes = valueOrIssue(parseHex(text), context);
  return bytes === z.NEVER ? z.NEVER : valueOrIssue(parsePublicKey(bytes), context);
});
const hashText = z.string().transform((text, context) => valueOrIssue(parseHex(text), context));

/** Up to a day: longer is a mistake of units. */
const milliseconds = z.int().min(0).max(86_400_000);
const waitMs = z.int().min(1).max(86_400_000);

const parametersSchema = z.strictObject({
  blockSizeBytesMax: z.int().min(1).max(BLOCK_SIZE_BYTES_MAX),
  transactionSizeBytesMax: z.int().min(512).max(TRANSACTION_SIZE_BYTES_MAX),
  transactionsMax: z.int().min(1).max(TRANSACTIONS_MAX),
  evidenceAgeMax: z.int().min(1).max(1_000_000_000),
  validatorDelay: z.literal(VALIDATOR_DELAY),
  timeoutProposeMs: waitMs,
  timeoutPrevoteMs: waitMs,
  timeoutPrecommitMs: waitMs,
  timeoutGrowthMs: waitMs,
  blockIntervalMsMin: milliseconds,
  blockTimeDriftMsMax: milliseconds,
  feeMin: decimal,
  feePerByte: decimal,
  dev: z.boolean(),
});

const checkpointSchema = z.strictObject({
  height: decimal.refine((height) => height >= 1n && isHeight(height)).transform(heightOf),
  hash: hashText.transform((bytes, context) => valueOrIssue(parseHash(bytes), context)),
  timeMs: decimal.refine((timeMs) => timeMs <= TIME_MS_MAX),
  trustingPeriodMs: decimal.refine((periodMs) => periodMs >= 1n && periodMs <= TIME_MS_MAX),
});

const documentSchema = z.strictObject({
  accounts: z.array(z.strictObject({ address: addressText, amount: decimal })).max(GENESIS_ACCOUNTS_MAX),
  authority: addressText.optional(),
  bootstrap: z.array(z.string().max(BOOTSTRAP_SIZE_BYTES_MAX)).max(BOOTSTRAP_MAX),
  chainId: z.string(),
  checkpoint: checkpointSchema.optional(),
  engine: PROTOCOL_SCHEMA,
  genesisTimeMs: decimal,
  hash: hashText,
  parameters: parametersSchema,
  validators: z.array(z.strictObject({ key: keyText, power: decimal })).max(VALIDATORS_MAX),
  version: z.literal(FORMAT_VERSION),
});

function checkpointToJson({ height, hash: hashed, timeMs, trustingPeriodMs }: NonNullable<NetworkFile["checkpoint"]>): object {
  return { height: `${height}`, hash: toHex(hashed), timeMs: `${timeMs}`, trustingPeriodMs: `${trustingPeriodMs}` };
}

function valueOrIssue<T>(parsed: Result<T, Coded>, context: { addIssue(message: string): void }): T | typeof z.NEVER {
  if (parsed.ok) return parsed.value;
  context.addIssue(parsed.error.code);
  return z.NEVER;
}

function parseJson(text: string): Result<unknown, { readonly code: "network_json" }> {
  try {
    return ok(JSON.parse(text) as unknown);
  } catch {
    return fail({ code: "network_json" });
  }
}

/** The same network with accounts and validators in their one order. */
function ordered(network: NetworkFile): Pick<NetworkFile, "accounts" | "validators"> {
  const accounts = [...network.accounts].sort((a, b) => compareBytes(a.address, b.address));
  const validators = network.validators.map((validator) => ({ validator, address: addressOfKey(validator.key) }));
  validators.sort((a, b) => compareBytes(a.address, b.address));
  return { accounts, validators: validators.map(({ validator }) => validator) };
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, sortKeys(item)]));
}

function hasRepeated(keys: readonly Uint8Array[]): boolean {
  return new Set(keys.map(toHex)).size !== keys.length;
}

function sum(values: readonly bigint[]): bigint {
  return values.reduce((total, value) => total + value, 0n);
}
