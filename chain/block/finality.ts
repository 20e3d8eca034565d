/**
 * How sure it is that a block stays: what reads, receipts and the SDK say beside every value.
 *
 * Where voters decide, a block with its certificate is final. Under proof of work nothing ever is: a block is as sure
 * as the work that would have to be done again to replace it, and that is what is told, with the depth that the
 * network file calls settled.
 */

import { assert } from "../../crypto/base/assert.ts";
import type { Height } from "./height.ts";
import type { Protocol } from "./protocol.ts";
import type { Certificate } from "./vote.ts";
import { targetOf, workOf } from "./work.ts";

/** See the file's head. */
export type Finality =
  | { readonly kind: "final" }
  | {
      readonly kind: "probabilistic";
      /** Blocks from this one to the head, both counted: what others call confirmations. */
      readonly depth: number;
      /** Hashes that are expected to be needed to do these blocks again. */
      readonly work: bigint;
      /** Whether the depth is at least the network's `finalityDepth`. */
      readonly isSettled: boolean;
    };

/** A decided block's height and certificate. */
export type Sealed = { readonly height: Height; readonly certificate: Certificate };

const FINAL: Finality = { kind: "final" };

/** How sure `block` is when `head` is the newest of its chain, `block.height <= head.height`. */
export function finalityOf(engine: Protocol, block: Sealed, head: Sealed): Finality {
  if (engine.name !== "pow") return FINAL;
  const [seal, newest] = [block.certificate, head.certificate];
  assert(seal.kind === "work" && newest.kind === "work", "seals of work");
  assert(block.height <= head.height, "block {} above head {}", block.height, head.height);
  const target = targetOf(seal.bits);
  assert(target.ok, "the target of a block of the chain");
  const depth = Number(head.height - block.height) + 1;
  const work = newest.chainWork - seal.chainWork + workOf(target.value);
  return { kind: "probabilistic", depth, work, isSettled: depth >= engine.finalityDepth };
}

/** Whether whoever waits for a block may stop waiting. */
export function isSettled(finality: Finality): boolean {
  return finality.kind === "final" || finality.isSettled;
}
