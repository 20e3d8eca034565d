/** The rules of a block and of a seal that its place in the chain decides, without executing anything. */

import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { type Coded, fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Block, encodeBlock, evidenceRoot, type Header, transactionsRoot } from "../block/block.ts";
import type { NetworkFile } from "../block/genesis.ts";
import { GENESIS_HEIGHT, type Height, heightOf } from "../block/height.ts";
import { BLOCK_OPERATIONS_MAX } from "../block/limits.ts";
import { expectedBits, firstTarget } from "../block/retarget.ts";
import { operationsOf } from "../block/transaction.ts";
import { findValidator, type ValidatorSet } from "../block/validators.ts";
import type { Certificate } from "../block/vote.ts";
import { bitsOf, meetsTarget, targetOf, workOf } from "../block/work.ts";
import type { Head } from "./opening.ts";

/** Why a block was refused; `code` is of the rule it broke. */
export type BlockRefusal = Coded & { readonly field?: string | undefined; readonly transactionIndex?: number | undefined };

/** The headers and seals of the chain below a seal. */
type Below = {
  readonly header: (height: Height) => Header | undefined;
  readonly certificate: (height: Height) => Certificate | undefined;
};

/** What needs neither execution nor signatures: whether a block can stand on `head`, whose next height `set` decides. */
export function checkFrame(
  block: Block,
  { network, head, set }: { readonly network: NetworkFile; readonly head: Head; readonly set: ValidatorSet },
): Result<void, BlockRefusal> {
  const { header } = block;
  const { parameters } = network;
  const refuse = (code: string, field: string) => fail({ code, field } as BlockRefusal);
  if (header.chainId !== network.chainId) return refuse("block_chain", "header.chainId");
  if (header.height !== head.height + 1n) return refuse("block_height", "header.height");
  if (!bytesEqual(header.previous, head.hash)) return refuse("block_previous", "header.previous");
  if (header.timeMs <= head.timeMs) return refuse("block_time", "header.timeMs");
  if (block.transactions.length > parameters.transactionsMax) return refuse("block_transactions", "transactions");
  const operations = block.transactions.reduce((count, transaction) => count + operationsOf(transaction), 0);
  if (operations > BLOCK_OPERATIONS_MAX) return refuse("block_operations", "transactions");
  if (encodeBlock(block).length > parameters.blockSizeBytesMax) return refuse("block_size", "transactions");
  if (!bytesEqual(transactionsRoot(block.transactions), header.transactionsRoot))
    return refuse("block_root", "header.transactionsRoot");
  if (!bytesEqual(evidenceRoot(block.evidence), header.evidenceRoot)) return refuse("block_root", "header.evidenceRoot");
  // Under proof of work anybody may: whoever found the seal.
  if (network.engine.name !== "pow" && findValidator(set, header.proposer) === undefined)
    return refuse("block_proposer", "header.proposer");
  const previous = block.previousCertificate;
  if ((previous === undefined) !== (header.height === 1n)) return refuse("block_certificate", "previousCertificate");
  if (previous !== undefined && (previous.height !== head.height || !bytesEqual(previous.blockHash, head.hash))) {
    return refuse("block_certificate", "previousCertificate");
  }
  return ok(undefined);
}

/** Whether a seal is of the work that the headers below its height prescribe. What it says of that is compared only. */
export function checkSeal(certificate: Certificate, below: Below & { readonly network: NetworkFile }): Result<void, Coded> {
  const { network } = below;
  const { engine, genesisTimeMs } = network;
  if (engine.name !== "pow" || certificate.kind !== "work") return fail({ code: "certificate_kind" });
  const timeAt = (height: Height): bigint =>
    height === GENESIS_HEIGHT ? genesisTimeMs : present(below.header(height), "header {}", height).timeMs;
  const height = heightOf(certificate.height - 1n);
  const previous = height === GENESIS_HEIGHT ? undefined : present(below.certificate(height), "seal {}", height);
  if (previous?.kind === "quorum") return fail({ code: "certificate_kind" });
  const { bits, chainWork } = previous ?? { bits: bitsOf(firstTarget(engine)), chainWork: 0n };
  const expected = expectedBits({ protocol: engine, genesisTimeMs }, { height, timeMs: timeAt(height), bits }, timeAt);
  const target = targetOf(expected);
  assert(target.ok, "a target that we reckoned");
  if (certificate.bits !== expected) return fail({ code: "work_bits" });
  if (certificate.chainWork !== chainWork + workOf(target.value)) return fail({ code: "work_sum" });
  return meetsTarget(certificate.blockHash, certificate, target.value) ? ok(undefined) : fail({ code: "work_target" });
}

/** The first field that execution gave otherwise than a header claims. */
export function firstDifference(made: Header, given: Header): string {
  for (const field of [
    "validatorsHash",
    "nextValidatorsHash",
    "historyRoot",
    "certificateHash",
    "resultsRoot",
    "stateRoot",
  ] as const) {
    if (!bytesEqual(made[field], given[field])) return field;
  }
  return "hash";
}
