/**
 * Follows a network of proof of work by its headers and their seals, from nothing but its network file.
 *
 * ```
 *   genesis <- header 1, seal <- header 2, seal <- ...    each seal meets the target that the headers before prescribe
 * ```
 *
 * Of two chains the one of more work is followed; a chain of as much changes nothing. What this cannot see: a heavier
 * chain that every node it asks keeps from it.
 *
 * Memory: about 150 bytes a header, for all of them, because any of them may have to be read or forked from.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { headerHash, parseHeader } from "../../chain/block/block.ts";
import { type Finality, finalityOf } from "../../chain/block/finality.ts";
import { type NetworkFile, networkHash } from "../../chain/block/genesis.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import type { PowProtocol } from "../../chain/block/protocol.ts";
import { expectedBits } from "../../chain/block/retarget.ts";
import { parseCertificate, type WorkCertificate } from "../../chain/block/vote.ts";
import { meetsTarget, targetOf, workOf } from "../../chain/block/work.ts";
import type { Unproven } from "./errors.ts";
import type { Anchor } from "./anchor.ts";

type Link = {
  readonly hash: Hash;
  readonly timeMs: bigint;
  readonly seal: WorkCertificate;
};

/** See the file's head. Nothing that it refuses changes it. */
export class WorkChain {
  readonly #network: NetworkFile;
  readonly #protocol: PowProtocol;
  readonly #genesisHash: Hash;
  /** Heights 1 to `height`. */
  readonly #links: Link[] = [];

  constructor(network: NetworkFile) {
    assert(network.engine.name === "pow", "a network of proof of work");
    this.#network = network;
    this.#protocol = network.engine;
    this.#genesisHash = networkHash(network);
  }

  /** The height of the heaviest chain seen. */
  get height(): Height {
    return heightOf(BigInt(this.#links.length));
  }

  /** Expected hashes of the heaviest chain seen. */
  get chainWork(): bigint {
    return this.#links.at(-1)?.seal.chainWork ?? 0n;
  }

  /** The hash of the block of a height on that chain; at height 0, of the network file. */
  hashAt(height: bigint): Hash | undefined {
    return height === 0n ? this.#genesisHash : this.#links[Number(height) - 1]?.hash;
  }

  /** How sure the block of a height on that chain is. */
  finalityAt(height: Height): Finality {
    const link = present(this.#links[Number(height) - 1], "header {}", height);
    const head = present(this.#links.at(-1), "head");
    return finalityOf(this.#protocol, { height, certificate: link.seal }, { height: this.height, certificate: head.seal });
  }

  /**
   * Takes a run of headers, ascending without gaps, that begins on a header of ours or on genesis.
   *
   * @param timeMsMax - no header may be later: whoever lies about the future gets the easiest target for the next block, and then
   * depth for next to nothing
   * @returns the height below which nothing changed; `headers_unknown`: its beginning hangs in the air, ask from lower;
   * `work_less`: what we have is at least as heavy; `reorg_deep`: it would undo more than the network allows; `header_future`
   */
  accept(anchors: readonly Anchor[], timeMsMax: bigint): Result<{ readonly fork: Height }, Unproven> {
    const links: Link[] = [];
    let base: bigint | undefined;
    for (const anchor of anchors) {
      const parsed = parseHeader(anchor.header);
      if (!parsed.ok) return fail({ code: "answer_malformed", field: "anchor.header" });
      const { height, previous, timeMs } = parsed.value;
      base ??= height - 1n;
      if (height !== base + BigInt(links.length) + 1n) return fail({ code: "answer_height", field: "anchors", height });
      const before = links.at(-1)?.hash ?? this.hashAt(base);
      if (before === undefined || !bytesEqual(previous, before)) return fail({ code: "headers_unknown", height });
      const link = this.#check(anchor, { base, links });
      if (!link.ok) return link;
      if (timeMs > timeMsMax) return fail({ code: "header_future", height });
      links.push(link.value);
    }
    if (base === undefined) return ok({ fork: this.height });
    return this.#adopt(base, links);
  }

  /** Everything about one header that follows `links`, which follow our own up to `base`. */
  #check(anchor: Anchor, branch: { readonly base: bigint; readonly links: readonly Link[] }): Result<Link, Unproven> {
    const parsed = parseHeader(anchor.header);
    const certificate = parseCertificate(anchor.certificate);
    if (!parsed.ok) return fail({ code: "answer_malformed", field: "anchor.header" });
    if (!certificate.ok) return fail({ code: "answer_malformed", field: "anchor.certificate" });
    const header = parsed.value;
    const seal = certificate.value;
    const { height } = header;
    if (header.chainId !== this.#network.chainId) return fail({ code: "header_chain", height });
    if (seal.kind !== "work") return fail({ code: "certificate_kind", height });
    const hash = headerHash(header);
    if (seal.height !== height || !bytesEqual(seal.blockHash, hash)) return fail({ code: "certificate_block", height });
    const parent = this.#onBranch(height - 1n, branch);
    if (header.timeMs <= parent.timeMs) return fail({ code: "header_time", height });
    const bits = expectedBits(
      { protocol: this.#protocol, genesisTimeMs: this.#network.genesisTimeMs },
      { height: heightOf(height - 1n), timeMs: parent.timeMs, bits: parent.bits },
      (at) => this.#onBranch(at, branch).timeMs,
    );
    const target = targetOf(bits);
    assert(target.ok, "the expected target");
    // The target is reckoned here and never read from the seal, which may say what it likes.
    if (seal.bits !== bits || !meetsTarget(hash, seal, target.value)) return fail({ code: "work_target", height });
    if (seal.chainWork !== parent.chainWork + workOf(target.value))
      return fail({ code: "work_target", field: "chainWork", height });
    return ok({ hash, timeMs: header.timeMs, seal });
  }

  #onBranch(
    height: bigint,
    { base, links }: { readonly base: bigint; readonly links: readonly Link[] },
  ): { readonly timeMs: bigint; readonly bits: number; readonly chainWork: bigint } {
    if (height === 0n) return { timeMs: this.#network.genesisTimeMs, bits: this.#protocol.targetBitsMax, chainWork: 0n };
    const link = height > base ? links[Number(height - base) - 1] : this.#links[Number(height) - 1];
    const { timeMs, seal } = present(link, "header {}", height);
    return { timeMs, bits: seal.bits, chainWork: seal.chainWork };
  }

  #adopt(base: bigint, links: readonly Link[]): Result<{ readonly fork: Height }, Unproven> {
    const same = links.findIndex(({ hash }, index) => {
      const ours = this.#links[Number(base) + index];
      return ours === undefined || !bytesEqual(ours.hash, hash);
    });
    const height = heightOf(base);
    if (same === -1) return ok({ fork: this.height });
    const fork = base + BigInt(same);
    const work = present(links.at(-1), "header").seal.chainWork;
    if (work <= this.chainWork) return fail({ code: "work_less", height });
    if (this.height - fork > BigInt(this.#protocol.reorgDepthMax)) return fail({ code: "reorg_deep", height });
    this.#links.length = Number(fork);
    for (const link of links.slice(same)) this.#links.push(link);
    return ok({ fork: heightOf(fork) });
  }
}
