/**
 * The consensus protocols that a network file can name, each with its parameters, and what kind of finality it gives.
 *
 * Parameters of consensus live here, in genesis, and in no configuration: a node that read another value would follow
 * other rules. In the network file's JSON the protocol is one object, `{"name": "raft", "tickMs": 100, ...}`; the
 * canonical form that the network's hash is taken of is a tuple of the name and the parameters in the order of the type.
 */

import { z } from "zod";
import { unreachable } from "../../crypto/base/assert.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { AMOUNT_MAX, VALIDATORS_MAX } from "./limits.ts";
import { bitsOf, targetOf } from "./work.ts";

/** The protocols that a network file can name. */
export const ENGINE_NAMES = ["tendermint", "raft", "pbft", "pow", "pos"] as const;

/** One of `ENGINE_NAMES`. */
export type NetworkEngine = (typeof ENGINE_NAMES)[number];

/** Tendermint over a set of validators that the network's authority keeps. Its timeouts are in `Parameters`. */
export type TendermintProtocol = { readonly name: "tendermint" };

/** Raft among validators that crash and never lie. All have power 1: its quorums count heads. */
export type RaftProtocol = {
  readonly name: "raft";
  /** The unit of its clock. */
  readonly tickMs: number;
  /** A leader is heard from once in so many ticks. */
  readonly heartbeatTicks: number;
  /** Without a word of the leader for so many ticks, and up to as many again by lot, a follower stands for election. */
  readonly electionTicks: number;
};

/** PBFT: a primary that stays until it fails. */
export type PbftProtocol = {
  readonly name: "pbft";
  /** How long view 0 of a height may take; each later view takes twice as long, up to `viewTimeoutMsMax`. */
  readonly viewTimeoutMs: number;
  readonly viewTimeoutMsMax: number;
};

/** Proof of work, for networks where nobody is known. Off unless a network file asks for it. */
export type PowProtocol = {
  readonly name: "pow";
  /** The aim: one block in so much time. */
  readonly targetIntervalMs: number;
  /** `asert`: exponential, every block; `window`: once in `retargetWindow` blocks, by at most a factor of four. */
  readonly retarget: "asert" | "window";
  /** `asert`: the time ahead or behind of schedule that halves or doubles the target. */
  readonly halfLifeMs: number;
  /** `window`: blocks between two changes of the target. */
  readonly retargetWindow: number;
  /** The easiest target and the first one, in compact form. */
  readonly targetBitsMax: number;
  /** Blocks on top of one until reads and receipts call it settled. */
  readonly finalityDepth: number;
  /** No reorganisation undoes more blocks than this. At least `finalityDepth`. */
  readonly reorgDepthMax: number;
  /** New tokens for the miner of a block, halved never. */
  readonly blockReward: bigint;
};

/** Tendermint over a set of validators elected by stake. Shares are in basis points (1/10,000). */
export type PosProtocol = {
  readonly name: "pos";
  /** Tokens of stake that make one unit of power, so that large supplies stay within the largest total power. */
  readonly powerUnit: bigint;
  /** From the request to leave until the tokens are free; evidence of that time still slashes them. */
  readonly unbondingMs: number;
  /** The least stake of a validator's own, in tokens. */
  readonly selfBondMin: bigint;
  /** How many validators, those of most stake, decide. */
  readonly activeMax: number;
  /** New tokens in each block, shared by stake. */
  readonly blockReward: bigint;
  /** Of the fees and new tokens of a block, what its proposer gets before the rest is shared by stake. */
  readonly proposerRewardBps: number;
  /** Taken of all stake of a validator that signed twice; at least this, at most all of it when many do at once. */
  readonly doubleSignSlashBps: number;
  /** Taken of all stake of a validator that missed too many votes. */
  readonly downtimeSlashBps: number;
  /** Of what a slash takes, what whoever reported it gets; the rest is burned. */
  readonly reporterRewardBps: number;
  /** Of the last `signedWindow` blocks a validator must have signed this share. */
  readonly signedWindow: number;
  readonly signedMinBps: number;
  /** How long after being jailed for missed votes a validator may ask to come back. */
  readonly jailMs: number;
};

/** A protocol with its parameters. */
export type Protocol = TendermintProtocol | RaftProtocol | PbftProtocol | PowProtocol | PosProtocol;

/** The protocol of one name. */
export type ProtocolOf<Name extends NetworkEngine> = Extract<Protocol, { readonly name: Name }>;

/** What a network starts from that names a protocol and nothing else. */
export const PROTOCOL_DEFAULTS = {
  tendermint: { name: "tendermint" },
  raft: { name: "raft", tickMs: 100, heartbeatTicks: 1, electionTicks: 3 },
  pbft: { name: "pbft", viewTimeoutMs: 4_000, viewTimeoutMsMax: 60_000 },
  pow: {
    name: "pow",
    targetIntervalMs: 600_000,
    retarget: "asert",
    halfLifeMs: 2 * 86_400_000,
    retargetWindow: 2_016,
    targetBitsMax: 0x1f_00_ff_ff,
    finalityDepth: 6,
    reorgDepthMax: 100,
    blockReward: 0n,
  },
  pos: {
    name: "pos",
    powerUnit: 1_000n,
    unbondingMs: 21 * 86_400_000,
    selfBondMin: 1_000n,
    activeMax: 100,
    blockReward: 0n,
    proposerRewardBps: 500,
    doubleSignSlashBps: 500,
    downtimeSlashBps: 100,
    reporterRewardBps: 500,
    signedWindow: 100,
    signedMinBps: 5_000,
    jailMs: 600_000,
  },
} as const satisfies { readonly [Name in NetworkEngine]: ProtocolOf<Name> };

/** How much of the power of a set makes a certificate: more than 2/3 of it, or more than half where nobody lies. */
export type QuorumRule = "twoThirds" | "majority";

/** The rule of the networks whose blocks voters make final; `undefined` where work does. */
export function quorumRuleOf(engine: NetworkEngine): QuorumRule | undefined {
  switch (engine) {
    case "tendermint":
    case "pbft":
    case "pos":
      return "twoThirds";
    case "raft":
      return "majority";
    case "pow":
      return undefined;
    default:
      return unreachable(engine);
  }
}

/** Whether `part` of `total` is a quorum. */
export function isQuorumOf(rule: QuorumRule, part: bigint, total: bigint): boolean {
  return rule === "twoThirds" ? part * 3n > total * 2n : part * 2n > total;
}

/** The protocol as one dag-cbor tuple. */
export function encodeProtocol(protocol: Protocol): Uint8Array {
  switch (protocol.name) {
    case "tendermint":
      return new Writer().array(1).text(protocol.name).finish();
    case "raft": {
      const writer = new Writer().array(4).text(protocol.name).uint(protocol.tickMs);
      return writer.uint(protocol.heartbeatTicks).uint(protocol.electionTicks).finish();
    }
    case "pbft":
      return new Writer().array(3).text(protocol.name).uint(protocol.viewTimeoutMs).uint(protocol.viewTimeoutMsMax).finish();
    case "pow": {
      const writer = new Writer().array(9).text(protocol.name).uint(protocol.targetIntervalMs).text(protocol.retarget);
      writer.uint(protocol.halfLifeMs).uint(protocol.retargetWindow).uint(protocol.targetBitsMax);
      return writer.uint(protocol.finalityDepth).uint(protocol.reorgDepthMax).uint(protocol.blockReward).finish();
    }
    case "pos": {
      const writer = new Writer().array(13).text(protocol.name).uint(protocol.powerUnit).uint(protocol.unbondingMs);
      writer.uint(protocol.selfBondMin).uint(protocol.activeMax).uint(protocol.blockReward);
      writer.uint(protocol.proposerRewardBps).uint(protocol.doubleSignSlashBps);
      writer.uint(protocol.downtimeSlashBps).uint(protocol.reporterRewardBps).uint(protocol.signedWindow);
      return writer.uint(protocol.signedMinBps).uint(protocol.jailMs).finish();
    }
    default:
      return unreachable(protocol);
  }
}

/** The protocol as the network file's JSON has it. */
export function protocolToJson(protocol: Protocol): Readonly<Record<string, string | number>> {
  return Object.fromEntries(
    Object.entries(protocol).map(([key, value]) => [key, typeof value === "bigint" ? `${value}` : (value as string | number)]),
  );
}

/**
 * The first parameter that makes a protocol unsafe or senseless, with the reason; `undefined` when there is none.
 * What concerns the validators as well is for `genesis.ts`.
 */
export function protocolFault(protocol: Protocol): { readonly field: string; readonly reason: string } | undefined {
  switch (protocol.name) {
    case "tendermint":
      return undefined;
    case "raft":
      return protocol.electionTicks > protocol.heartbeatTicks
        ? undefined
        : { field: "electionTicks", reason: "an election must wait for more than one heartbeat" };
    case "pbft":
      return protocol.viewTimeoutMsMax >= protocol.viewTimeoutMs
        ? undefined
        : { field: "viewTimeoutMsMax", reason: "is less than viewTimeoutMs" };
    case "pow":
      if (!isCanonicalTarget(protocol.targetBitsMax))
        return { field: "targetBitsMax", reason: "is not the compact form of a target" };
      return protocol.reorgDepthMax >= protocol.finalityDepth
        ? undefined
        : { field: "reorgDepthMax", reason: "is less than finalityDepth: what is called settled could not be undone any more" };
    case "pos":
      return undefined;
    default:
      return unreachable(protocol);
  }
}

/** A number has one meaning as a target, and a target has one number: two of them would be two networks of one rule. */
function isCanonicalTarget(bits: number): boolean {
  const target = targetOf(bits);
  return target.ok && bitsOf(target.value) === bits;
}

// The shape of the JSON.

const tokens = z
  .string()
  .regex(/^(0|[1-9][0-9]{0,19})$/)
  .transform(BigInt)
  .refine((value) => value <= AMOUNT_MAX);
const waitMs = z.int().min(1).max(86_400_000);
/** Up to ten years. */
const spanMs = z
  .int()
  .min(1)
  .max(3_650 * 86_400_000);
const bps = z.int().min(0).max(10_000);

/** Reads what `protocolToJson` made, strictly. */
export const PROTOCOL_SCHEMA = z.discriminatedUnion("name", [
  z.strictObject({ name: z.literal("tendermint") }),
  z.strictObject({
    name: z.literal("raft"),
    tickMs: waitMs,
    heartbeatTicks: z.int().min(1).max(1_000),
    electionTicks: z.int().min(2).max(10_000),
  }),
  z.strictObject({ name: z.literal("pbft"), viewTimeoutMs: waitMs, viewTimeoutMsMax: waitMs }),
  z.strictObject({
    name: z.literal("pow"),
    targetIntervalMs: waitMs,
    retarget: z.enum(["asert", "window"]),
    halfLifeMs: spanMs,
    retargetWindow: z.int().min(2).max(1_000_000),
    targetBitsMax: z.int().min(0).max(0x20_7f_ff_ff),
    finalityDepth: z.int().min(1).max(10_000),
    reorgDepthMax: z.int().min(1).max(10_000),
    blockReward: tokens,
  }),
  z.strictObject({
    name: z.literal("pos"),
    powerUnit: tokens.refine((value) => value >= 1n),
    unbondingMs: spanMs,
    selfBondMin: tokens,
    activeMax: z.int().min(1).max(VALIDATORS_MAX),
    blockReward: tokens,
    proposerRewardBps: bps,
    doubleSignSlashBps: bps,
    downtimeSlashBps: bps,
    reporterRewardBps: bps,
    signedWindow: z.int().min(1).max(10_000),
    signedMinBps: bps,
    jailMs: spanMs,
  }),
]);
