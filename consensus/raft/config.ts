/** What a node is made with, and when that is sound. */

import { assert } from "../../crypto/base/assert.ts";
import type { RaftEvent } from "./events.ts";
import { U64_MAX } from "./limits.ts";
import { NOBODY } from "./types.ts";

/** How reads are confirmed: by a round of heartbeats, or by the leader's lease while it lasts (dissertation 6.4 and 6.4.1). */
export type ReadMode = "safe" | "lease";

/** What a node is made with. Times are in ticks. All nodes of a cluster should have the same election timeout. */
export type RaftConfig = {
  readonly id: bigint;
  /** Least silence after which a follower campaigns; each wait is this plus a random part below this. */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** Uniform in `0 <= value < bound`, from a seed: the only randomness of the core. */
  readonly random: (bound: number) => number;
  /** The last index that the state machine has applied, and not less than the snapshot's. */
  readonly applied: bigint;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  /** `lease` asks for `checkQuorum`. */
  readonly readMode: ReadMode;
  readonly asyncStorageWrites: boolean;
  /** Bytes of entries in one message; one entry always fits. */
  readonly messageSizeBytesMax: number;
  /** Bytes of entries in `committed` that are not applied yet; one entry always fits. */
  readonly committedSizeBytesMax: number;
  /** Bytes of a leader's own proposals that are not committed yet; one proposal fits when there are none. */
  readonly uncommittedSizeBytesMax: number;
  /** Appends in flight to one follower. */
  readonly inflightCountMax: number;
  /** Bytes in flight to one follower. */
  readonly inflightSizeBytesMax: number;
  /** Lets changes into the log that do not fit the current configuration; whoever applies them must judge again. */
  readonly disableConfChangeValidation: boolean;
  /** Do not pass proposals on to the leader. */
  readonly disableProposalForwarding: boolean;
  /** A leader that is removed or demoted becomes a follower when it applies that. */
  readonly stepDownOnRemoval: boolean;
  /** Told what happens, for scripts, checkers and logs; it must not call back. */
  readonly observe: ((event: RaftEvent) => void) | undefined;
};

/** A configuration that cannot work is our caller's bug. */
export function assertConfig(config: RaftConfig): void {
  assert(config.id > NOBODY && config.id <= U64_MAX, "id {}", config.id);
  assert(config.heartbeatTicks > 0, "heartbeat every {} ticks", config.heartbeatTicks);
  assert(
    config.electionTicks > config.heartbeatTicks,
    "election after {} ticks, heartbeat every {}",
    config.electionTicks,
    config.heartbeatTicks,
  );
  assert(config.uncommittedSizeBytesMax > 0, "{} uncommitted bytes", config.uncommittedSizeBytesMax);
  assert(config.committedSizeBytesMax > 0, "{} committed bytes", config.committedSizeBytesMax);
  assert(config.readMode === "safe" || config.checkQuorum, "lease reads ask for check-quorum");
}
