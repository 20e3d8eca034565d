/**
 * The engines by the name that a network's genesis gives: the one place that knows all of them.
 *
 * Stake-weighted Tendermint is the Tendermint engine over the set that the staking contracts elect.
 */

import type { Address } from "../crypto/identity/address.ts";
import type { NetworkFile } from "../chain/block/genesis.ts";
import type { Height } from "../chain/block/height.ts";
import { unreachable } from "../crypto/base/assert.ts";
import { PBFT_CODEC } from "../consensus/pbft/codec.ts";
import { PbftEngine } from "../consensus/pbft/engine.ts";
import type { PbftMessage } from "../consensus/pbft/message.ts";
import { RAFT_CODEC } from "../consensus/raft/codec.ts";
import { RaftEngine } from "../consensus/raft/engine.ts";
import type { RaftWireMessage } from "../consensus/raft/message.ts";
import { TENDERMINT_CODEC } from "../consensus/tendermint/codec.ts";
import { TendermintEngine } from "../consensus/tendermint/engine.ts";
import type { ConsensusMessage } from "../consensus/tendermint/message.ts";
import { ConsensusDriver, type Driver, type DriverParts } from "./driver/driver.ts";
import { MiningDriver } from "./driver/mining.ts";
import type { Searcher } from "./driver/searcher.ts";

/** What a driver is made from, whatever engine it runs. */
export type EngineParts = Omit<DriverParts<object>, "codec" | "newEngine" | "isContinuous"> & {
  readonly network: NetworkFile;
  readonly self: Address | undefined;
  readonly sendTo: (peer: string, bytes: Uint8Array) => void;
  /** Looks for seals under proof of work; without it the node follows. */
  readonly searcher: Searcher | undefined;
  /** See `MiningParts`. */
  readonly onSplit?: ((forkHeight: Height) => void) | undefined;
};

/** The driver of the network's engine. */
export function openDriver(parts: EngineParts): Driver {
  const { network, self } = parts;
  const { chainId, parameters, engine } = network;
  switch (engine.name) {
    case "tendermint":
    case "pos":
      return new ConsensusDriver<ConsensusMessage>({
        ...parts,
        codec: TENDERMINT_CODEC,
        isContinuous: false,
        newEngine: () => new TendermintEngine({ chainId, self, parameters }),
      });
    case "pbft":
      return new ConsensusDriver<PbftMessage>({
        ...parts,
        codec: PBFT_CODEC,
        isContinuous: false,
        newEngine: () => new PbftEngine({ chainId, self, protocol: engine }),
      });
    case "raft":
      return new ConsensusDriver<RaftWireMessage>({
        ...parts,
        codec: RAFT_CODEC,
        isContinuous: true,
        newEngine: () => {
          const { guard } = parts;
          const spoken = guard === undefined ? {} : { spoken: { term: guard.term, signed: guard.newest } };
          return new RaftEngine({ chainId, self, protocol: engine, ...spoken });
        },
      });
    case "pow":
      return new MiningDriver(parts);
    default:
      return unreachable(engine);
  }
}
