/**
 * What each consensus protocol is given for a network on one machine: shorter waits than on the internet, and under
 * proof of work a target that a few threads of one machine meet in about a second.
 */

import { ENGINE_NAMES, type NetworkEngine, PROTOCOL_DEFAULTS, type ProtocolOf } from "../../chain/block/protocol.ts";
import { present } from "../../crypto/base/assert.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Manifest } from "../../node/home/manifest.ts";

const LOCAL_PROTOCOLS: { readonly [Name in NetworkEngine]: ProtocolOf<Name> } = {
  tendermint: PROTOCOL_DEFAULTS.tendermint,
  raft: { ...PROTOCOL_DEFAULTS.raft, tickMs: 100, heartbeatTicks: 2, electionTicks: 10 },
  pbft: { ...PROTOCOL_DEFAULTS.pbft, viewTimeoutMs: 2_000 },
  pow: {
    ...PROTOCOL_DEFAULTS.pow,
    targetIntervalMs: 1_000,
    halfLifeMs: 30_000,
    // One hash in 2^16 at the easiest.
    targetBitsMax: 0x1f_00_ff_ff,
    finalityDepth: 3,
  },
  pos: { ...PROTOCOL_DEFAULTS.pos, unbondingMs: 60_000, jailMs: 10_000 },
};

/** The manifest with another protocol, its validators as that protocol wants them. */
export function withProtocol(manifest: Manifest, name: NetworkEngine): Manifest {
  const engine = LOCAL_PROTOCOLS[name];
  if (name !== "raft") return { ...manifest, engine };
  return { ...manifest, engine, validators: manifest.validators.map((validator) => ({ ...validator, power: 1n })) };
}

/** The manifest with so many validators: fewer of its own, or more of the same kind. */
export function withValidators(manifest: Manifest, count: number): Manifest {
  const sample = present(manifest.validators[0], "validator of the manifest");
  const validators = Array.from(
    { length: count },
    (_, index) => manifest.validators[index] ?? { ...sample, name: `validator-${index}` },
  );
  return { ...manifest, validators };
}

/** The protocol that a command line names. Throws `engine_unknown`. */
export function readEngineName(text: string): NetworkEngine {
  const found = ENGINE_NAMES.find((name) => name === text);
  if (found === undefined)
    throw new CodedError("engine_unknown", { engine: text, message: `--engine must be one of ${ENGINE_NAMES.join(", ")}` });
  return found;
}
