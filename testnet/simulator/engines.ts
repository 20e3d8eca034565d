/** The engines that the simulator runs, and what it must know of each beyond what a node knows. One entry an engine. */

import { type NetworkFile, PARAMETERS_DEFAULT } from "../../chain/block/genesis.ts";
import { type Protocol, PROTOCOL_DEFAULTS } from "../../chain/block/protocol.ts";
import type { Codec } from "../../consensus/engine.ts";
import { TENDERMINT_CODEC } from "../../consensus/tendermint/codec.ts";
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
  /** Whether the faulty may lie; else they only have bad disks. */
  readonly mayLie: boolean;
  /** To look into what nodes say. Its messages are the engine's own. */
  readonly codec: Codec<object>;
};

/** The engines by name. */
export const ENGINES: Readonly<Record<string, EngineEntry>> = {
  tendermint: {
    protocol: () => PROTOCOL_DEFAULTS.tendermint,
    nodes: [4, 4, 4, 5, 7],
    faultyMax: (nodes) => Math.floor((nodes - 1) / 3),
    mayLie: true,
    codec: TENDERMINT_CODEC as Codec<object>,
  },
};

/** How many accounts genesis gives tokens to: the clients'. */
export const CLIENTS_MAX = 4;

/** The network file of a run: short timeouts, so that much happens in little time. */
export function networkOf(engine: EngineEntry, options: { readonly nodes: number; readonly random: Random }): NetworkFile {
  const { nodes, random } = options;
  const timeoutProposeMs = random.pick([150, 300, 600]);
  const accounts = Array.from({ length: CLIENTS_MAX }, (_, index) => ({
    address: addressOf("client", index),
    amount: 1_000_000_000n,
  }));
  const validators = Array.from({ length: nodes }, (_, index) => ({ key: keyPairOf("validator", index).publicKey, power: 1n }));
  return {
    version: 1,
    chainId: "simulation-1",
    genesisTimeMs: BigInt(EPOCH_MS) - 1000n,
    engine: engine.protocol(random),
    parameters: {
      ...PARAMETERS_DEFAULT,
      timeoutProposeMs,
      timeoutPrevoteMs: timeoutProposeMs / 2,
      timeoutPrecommitMs: timeoutProposeMs / 2,
      timeoutGrowthMs: 100,
      blockIntervalMsMin: random.pick([50, 200, 500]),
    },
    authority: addressOf("client", 0),
    accounts,
    validators,
    bootstrap: [],
  };
}
