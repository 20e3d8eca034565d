/** The engines that the simulator runs, and what it must know of each beyond what a node knows. One entry an engine. */

import { type NetworkFile, PARAMETERS_DEFAULT } from "../../chain/block/genesis.ts";
import { type Protocol, PROTOCOL_DEFAULTS } from "../../chain/block/protocol.ts";
import type { Block } from "../../chain/block/block.ts";
import type { Proposal, Vote } from "../../chain/block/vote.ts";
import type { Codec } from "../../consensus/engine.ts";
import { PBFT_CODEC } from "../../consensus/pbft/codec.ts";
import type { PbftMessage } from "../../consensus/pbft/message.ts";
import { POW_CODEC, type PowMessage } from "../../consensus/pow/message.ts";
import { RAFT_CODEC } from "../../consensus/raft/codec.ts";
import type { RaftWireMessage } from "../../consensus/raft/message.ts";
import { TENDERMINT_CODEC } from "../../consensus/tendermint/codec.ts";
import type { ConsensusMessage } from "../../consensus/tendermint/message.ts";
import { type MadeUp, type MakeUpParts, makeUpPbft } from "./byzantine-pbft.ts";
import type { Tongue } from "./byzantine.ts";
import { EPOCH_MS } from "./clock.ts";
import type { Random } from "./random.ts";
import { addressOf, keyPairOf } from "./signatures.ts";

/** What the simulator must know of an engine. */
export type EngineEntry = {
  readonly protocol: (random: Random) => Protocol;
  /** Sizes of network to draw from. */
  readonly nodes: readonly number[];
  /** How many of so many nodes may do anything at all. */
  readonly faultyMax: (nodes: number) => number;
  /** Where an authority keeps the set: whether a set of so much power bears so much of it in those. */
  readonly bears?: (faulty: bigint, total: bigint) => boolean;
  /** What the authority draws powers from; some it may not give. */
  readonly powers?: readonly bigint[];
  /** Of each validator at genesis. */
  readonly power: bigint;
  /** Whether it is drawn that more lie than it bears, and those who do so can be convicted. */
  readonly mayFork?: boolean;
  /** Whether the faulty may lie; else they only have bad disks. */
  readonly mayLie: boolean;
  /** Of proof of work: how fast each node searches. */
  readonly hashesPerSecond?: number;
  /** Whether votes keep the rules of Tendermint's lock. */
  readonly hasLocks: boolean;
  /** To look into what nodes say, and to make up what liars say. */
  readonly tongue: Tongue;
};

const third = (nodes: number): number => Math.floor((nodes - 1) / 3);

const TENDERMINT_TONGUE = tongueOf<ConsensusMessage>({
  codec: TENDERMINT_CODEC,
  ofVote: (vote) => ({ kind: "vote", vote }),
  proposalIn: (message) => (message.kind === "proposal" ? message : undefined),
  ofProposal: (proposal, block) => ({ kind: "proposal", proposal, block }),
});

/** The engines by name. */
export const ENGINES: Readonly<Record<string, EngineEntry>> = {
  tendermint: {
    protocol: () => PROTOCOL_DEFAULTS.tendermint,
    nodes: [4, 4, 4, 5, 7],
    faultyMax: third,
    bears: (faulty, total) => faulty * 3n < total,
    powers: [1n, 1n, 1n, 2n, 3n],
    power: 1n,
    mayFork: true,
    mayLie: true,
    hasLocks: true,
    tongue: TENDERMINT_TONGUE,
  },
  pos: {
    protocol: (random) => ({
      ...PROTOCOL_DEFAULTS.pos,
      unbondingMs: random.pick([3_000, 10_000]),
      blockReward: random.pick([0n, 1_000n]),
      signedWindow: random.pick([5, 10, 50]),
      jailMs: 2_000,
    }),
    nodes: [4, 4, 4, 5, 7],
    faultyMax: third,
    power: 1_000_000n,
    mayFork: true,
    mayLie: true,
    hasLocks: true,
    tongue: TENDERMINT_TONGUE,
  },
  pbft: {
    protocol: (random) => ({ name: "pbft", viewTimeoutMs: random.pick([400, 800, 1500]), viewTimeoutMsMax: 6_000 }),
    nodes: [4, 4, 4, 5, 7],
    faultyMax: third,
    bears: (faulty, total) => faulty * 3n < total,
    powers: [1n, 1n, 1n, 2n, 3n],
    power: 1n,
    mayFork: true,
    mayLie: true,
    hasLocks: false,
    tongue: tongueOf<PbftMessage>({
      codec: PBFT_CODEC,
      ofVote: (vote) => ({ kind: "vote", vote }),
      proposalIn: (message) => (message.kind === "prePrepare" ? message : undefined),
      ofProposal: (proposal, block) => ({ kind: "prePrepare", proposal, block }),
      makeUp: makeUpPbft,
    }),
  },
  raft: {
    protocol: (random) => ({ name: "raft", tickMs: random.pick([20, 50]), heartbeatTicks: 2, electionTicks: 10 }),
    nodes: [3, 3, 5],
    // Raft's voters crash and never lie; of a minority the disks do.
    faultyMax: (nodes) => Math.floor((nodes - 1) / 2),
    bears: (faulty, total) => faulty * 2n < total,
    powers: [1n, 1n, 1n, 1n, 1n, 1n, 1n, 1n, 1n, 3n],
    power: 1n,
    mayLie: false,
    hasLocks: false,
    tongue: tongueOf<RaftWireMessage>({
      codec: RAFT_CODEC,
      ofVote: (vote) => ({ kind: "vote", vote }),
      proposalIn: () => undefined,
      ofProposal: unsaid,
    }),
  },
  pow: {
    protocol: (random) => {
      const protocol = {
        ...PROTOCOL_DEFAULTS.pow,
        targetIntervalMs: random.pick([300, 600]),
        retarget: random.pick(["asert", "window"] as const),
        halfLifeMs: 5_000,
        retargetWindow: 16,
        // One hash in 2^8 at the easiest.
        targetBitsMax: 0x20_00_ff_ff,
        // Sometimes less deep than the branches that partitions of some seconds grow.
        finalityDepth: random.pick([3, 6, 20]),
        // Deeper than they ever get.
        reorgDepthMax: random.pick([60, 400]),
        blockReward: 50n,
      };
      // Less deep than they get: then an operator has to take the part with less work back.
      const isShallow = random.fork("shallow").happens(250);
      return isShallow ? { ...protocol, finalityDepth: Math.min(protocol.finalityDepth, 6), reorgDepthMax: 10 } : protocol;
    },
    nodes: [3, 4, 5],
    faultyMax: () => 1,
    power: 0n,
    mayLie: true,
    hashesPerSecond: 500,
    hasLocks: false,
    tongue: tongueOf<PowMessage>({
      // Nobody signs under proof of work; what is said is looked into by its bytes alone.
      codec: { ...POW_CODEC, describe: unsaid, signedParts: unsaid, wordOf: unsaid, mayCome: unsaid, blockOf: unsaid },
      ofVote: unsaid,
      proposalIn: unsaid,
      ofProposal: unsaid,
    }),
  },
};

function unsaid(): never {
  throw new Error("proof of work has no such messages");
}

/** The same for messages of any kind: each tongue is only given what its own codec made. */
function tongueOf<M extends object>(tongue: {
  readonly codec: Codec<M>;
  readonly ofVote: (vote: Vote) => M;
  readonly proposalIn: (message: M) => { readonly proposal: Proposal; readonly block: Block } | undefined;
  readonly ofProposal: (proposal: Proposal, block: Block) => M;
  readonly makeUp?: (parts: MakeUpParts, message: M) => MadeUp;
}): Tongue {
  return tongue as unknown as Tongue;
}

/** How many accounts genesis gives tokens to: the clients'. */
export const CLIENTS_MAX = 4;
/** The number of the authority's account, where it acts: after the clients' and the one that racers share. */
export const AUTHORITY_ACCOUNT = CLIENTS_MAX + 1;

/** The network file of a run: short timeouts, so that much happens in little time. */
export function networkOf(
  engine: EngineEntry,
  options: { readonly nodes: number; readonly random: Random; readonly changesSet: boolean },
): NetworkFile {
  const { nodes, random, changesSet } = options;
  const timeoutProposeMs = random.pick([150, 300, 600]);
  const protocol = engine.protocol(random);
  // The clients', and one that racers share.
  const clients = Array.from({ length: CLIENTS_MAX + 1 }, (_, index) => addressOf("client", index));
  // Who stakes has to pay for it.
  const owners = protocol.name === "pos" ? Array.from({ length: nodes }, (_, index) => addressOf("validator", index)) : [];
  const authority = addressOf("client", changesSet ? AUTHORITY_ACCOUNT : 0);
  const accounts = [...clients, ...(changesSet ? [authority] : []), ...owners].map((address) => ({
    address,
    amount: 1_000_000_000n,
  }));
  const voters = engine.hashesPerSecond === undefined ? nodes : 0;
  const validators = Array.from({ length: voters }, (_, index) => ({
    key: keyPairOf("validator", index).publicKey,
    power: engine.power,
  }));
  return {
    version: 1,
    chainId: "simulation-1",
    genesisTimeMs: BigInt(EPOCH_MS) - 1000n,
    // Room for some of those whom clients declare, or for all.
    engine: protocol.name === "pos" && random.happens(500) ? { ...protocol, activeMax: nodes + 1 } : protocol,
    parameters: {
      ...PARAMETERS_DEFAULT,
      timeoutProposeMs,
      timeoutPrevoteMs: timeoutProposeMs / 2,
      timeoutPrecommitMs: timeoutProposeMs / 2,
      timeoutGrowthMs: 100,
      blockIntervalMsMin: random.pick([50, 200, 500]),
      // Some sets become as small as there are.
      dev: changesSet && random.fork("dev").happens(500),
    },
    authority,
    accounts,
    validators,
    bootstrap: [],
  };
}
