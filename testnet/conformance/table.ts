/** Every operation of the port. */

import type { Operation } from "./operation.ts";
import { ENCODING } from "./ops/encoding.ts";
import { HASHES } from "./ops/hashes.ts";
import { HISTORIES } from "./ops/history.ts";
import { KEMS } from "./ops/kems.ts";
import { LIGHT } from "./ops/light.ts";
import { POW } from "./ops/pow.ts";
import { RAFT } from "./ops/raft.ts";
import { SIGNATURES } from "./ops/signatures.ts";
import { TENDERMINT } from "./ops/tendermint.ts";
import { TREES } from "./ops/trees.ts";

/** The operations, a group after the other. */
export const OPERATIONS: readonly Operation[] = [
  ...HASHES,
  ...SIGNATURES,
  ...KEMS,
  ...TREES,
  ...ENCODING,
  ...POW,
  ...RAFT,
  ...TENDERMINT,
  ...LIGHT,
  ...HISTORIES,
];
