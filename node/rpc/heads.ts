/**
 * Which headers a client believes, and how it comes to: the newest head, the validator sets or the chain of work that
 * lead there, and what a question about a height hangs from.
 *
 * A head is never behind one that was seen, of the heaviest chain that was seen. What a reorganisation of the node
 * overtakes is asked again, a few times.
 *
 * Whatever asks throws `UnprovenError` for what is not proven, with its code, and what `ask` throws: the node's own refusals
 * and `CLIENT_CODES`.
 */

import type * as z from "zod";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { ok } from "../../crypto/base/result.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { parseHeader } from "../../chain/block/block.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { GENESIS_HEIGHT, type Height, heightOf } from "../../chain/block/height.ts";
import type { Anchor } from "../light/anchor.ts";
import { Bisection } from "../light/bisection.ts";
import { provenOrThrow, UnprovenError } from "../light/errors.ts";
import { CHANGES_MAX, type HistoryLink } from "../light/prooffile.ts";
import type { LightBlock } from "../light/trust.ts";
import type { LightVerifier, SetChange, VerifiedHeader } from "../light/verifier.ts";
import type { WorkChain } from "../light/work.ts";
import { pause } from "./feed.ts";
import type { Method } from "./method.ts";
import { chainHead, chainHeaders, chainHistoryProof, chainLightBlock } from "./methods/chain.ts";
import { validatorsChanges } from "./methods/validators.ts";
import type { CallOptions } from "./transport.ts";
import type { ReadOptions, Verified } from "./verified.ts";

/** How long to let pass before a question whose answer a reorganisation got in the way of is asked again. */
export const RETRY_MS = 250;
const HEADERS_PER_PAGE = 500;
/** How far our own clock may be behind, beside what the network lets miners be ahead. */
const CLOCK_BEHIND_MS_MAX = 60_000n;
/** How often a question is asked whose answer a reorganisation overtakes. */
const TRIES_MAX = 3;
/** What comes of the answer of a node that is going over to another chain: at first it has what both share, maybe nothing. */
const OVERTAKEN: ReadonlySet<string> = new Set(["headers_unknown", "height_none", "stale_head", "work_less"]);
/** What is read of a branch that is not heavier yet. */
const HEADERS_PER_BRANCH_MAX = 20_000;

/** Calls a method and decodes its result, which is not verified. */
export type Ask = <Params extends z.ZodObject, Value extends z.ZodType>(
  method: Method<Params, Value>,
  params: z.output<Params>,
  options: CallOptions,
) => Promise<z.output<Value>>;

/** What headers are believed with. */
export type HeadsParts = {
  readonly ask: Ask;
  readonly network: NetworkFile;
  readonly verifier: LightVerifier;
  readonly headAgeMsMax: number | undefined;
  /** Milliseconds since 1970 UTC. */
  readonly nowMs: () => number;
};

/** The head that a node names, and what proves it. */
type HeadAnswer = { readonly height: Height; readonly anchor?: Anchor | undefined };

/** A header that a node must have reached. */
type Floor = { readonly height: Height; readonly hash: Hash };

/** See the file's head. */
export class Heads {
  readonly #parts: HeadsParts;
  readonly #verifier: LightVerifier;
  #head: VerifiedHeader | undefined;
  /** The last round of following the validator sets; the next begins after it. */
  #following: Promise<void> = Promise.resolve();

  constructor(parts: HeadsParts) {
    this.#parts = parts;
    this.#verifier = parts.verifier;
  }

  /** The highest head that was believed so far, of the heaviest chain. */
  get newest(): VerifiedHeader | undefined {
    return this.#head;
  }

  /** Checks any header against its certificate, following the validator sets as far as needed. */
  async believe(anchor: Anchor, options: CallOptions = {}): Promise<VerifiedHeader> {
    let accepted = await this.#verifier.acceptHeader(anchor);
    if (!accepted.ok && (accepted.error.code === "validators_unknown" || accepted.error.code === "headers_unknown")) {
      if (this.#verifier.isSkipping) await this.#reach(anchor, options);
      else await this.#follow(options);
      accepted = await this.#verifier.acceptHeader(anchor);
    }
    const at = provenOrThrow(accepted);
    // Under proof of work a heavier chain takes the head with it.
    const isLeft = this.#head !== undefined && this.#verifier.finalityOf(this.#head) === undefined;
    if (this.#head === undefined || isLeft || at.header.height > this.#head.header.height) this.#head = at;
    return at;
  }

  /** A value that was checked against a header that was believed, with what was checked in words. */
  verified<T>(value: T, at: VerifiedHeader, ...how: readonly string[]): Verified<T> {
    const { height, timeMs } = at.header;
    const finality = this.#verifier.finalityOf(at);
    // Somebody else's question may have brought a heavier chain meanwhile.
    if (finality === undefined) throw new UnprovenError({ code: "block_undone", height });
    return { value, verified: { height, timeMs, finality, how } };
  }

  /** What no head may be behind, as long as it is on the chain: under proof of work all headers that were followed count. */
  floor(): Floor | undefined {
    const { work } = this.#verifier;
    const tip = work?.hashAt(work.height);
    if (work !== undefined && tip !== undefined) return work.height === 0n ? undefined : { height: work.height, hash: tip };
    return this.#head === undefined ? undefined : { height: this.#head.header.height, hash: this.#head.hash };
  }

  /** Asks for the newest head. */
  async refresh(options: CallOptions): Promise<VerifiedHeader> {
    return await this.settled(async () => {
      const floor = this.floor();
      return await this.believeHead(await this.#parts.ask(chainHead, {}, options), floor, options);
    }, options);
  }

  /**
   * Asks again what a reorganisation of the node overtook: under proof of work it may go over to another chain between its
   * answer and the headers that are to lead there, and then what it answered is on neither; or it is on its way there, block
   * by block, and has fewer than it will have in a moment, or none where the chains part at the first.
   */
  async settled<T>(ask: () => Promise<T>, { signal }: CallOptions): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await ask();
      } catch (error) {
        // Before a first block was seen, that there is none is nothing to wait for.
        const hasFloor = this.floor() !== undefined;
        const isOvertaken =
          error instanceof CodedError && OVERTAKEN.has(error.code) && (hasFloor || error.code !== "height_none");
        if (this.#verifier.work === undefined || !isOvertaken || tries >= TRIES_MAX) throw error;
      }
      await pause(RETRY_MS, signal);
    }
  }

  /** Asks, and believes the header that the answer hangs from: of the height that was asked for, or a head. */
  async read<Answer extends { readonly height: Height; readonly anchor?: Anchor | undefined }>(
    ask: (height: Height | undefined) => Promise<Answer>,
    options: ReadOptions,
  ): Promise<{ readonly answer: Answer; readonly at: VerifiedHeader; readonly anchor: Anchor }> {
    return await this.settled(async () => {
      const floor = this.floor();
      const answer = await ask(options.height);
      const at =
        options.height === undefined
          ? await this.believeHead(answer, floor, options)
          : await this.believeAt(answer.anchor, options.height, options);
      if (answer.height !== at.header.height) throw new UnprovenError({ code: "answer_mismatch", field: "height" });
      return { answer, at, anchor: presentAnchor(answer.anchor) };
    }, options);
  }

  /**
   * `floor` is the head as it was when the question was sent: answers may overtake each other. That there is no block yet
   * is believed of a node as long as none was seen, as `height_none`.
   */
  async believeHead(answer: HeadAnswer, floor: Floor | undefined, options: CallOptions): Promise<VerifiedHeader> {
    if (answer.height === GENESIS_HEIGHT) {
      if (floor === undefined) throw new CodedError("height_none", { message: "no block is final yet" });
      throw new UnprovenError({ code: "stale_head", height: answer.height });
    }
    const at = await this.believe(presentAnchor(answer.anchor), options);
    const { height, timeMs } = at.header;
    const { work } = this.#verifier;
    const isFloor = floor !== undefined && (work === undefined || sameBytes(work.hashAt(floor.height), floor.hash));
    if (isFloor && height < floor.height) throw new UnprovenError({ code: "stale_head", height });
    const { headAgeMsMax, nowMs } = this.#parts;
    if (headAgeMsMax !== undefined && nowMs() - Number(timeMs) > headAgeMsMax)
      throw new UnprovenError({ code: "old_head", height });
    return at;
  }

  /** Believes the header of one height. */
  async believeAt(anchor: Anchor | undefined, height: Height, options: CallOptions): Promise<VerifiedHeader> {
    const at = await this.believe(presentAnchor(anchor), options);
    if (at.header.height !== height) throw new UnprovenError({ code: "answer_height", height });
    return at;
  }

  /** Takes over the changes of the validator set that the node can prove, one caller after another. */
  #follow(options: CallOptions): Promise<void> {
    const round = this.#following.then(() => this.#followOnce(options));
    // A failed round is its caller's to hear of, and no reason not to begin the next.
    this.#following = round.catch(() => undefined);
    return round;
  }

  /** Skips to a header that is above what is trusted, or proves one below by the history log, one caller after another. */
  #reach(anchor: Anchor, options: CallOptions): Promise<void> {
    const round = this.#following.then(async () => {
      const parsed = parseHeader(anchor.header);
      if (!parsed.ok) throw new UnprovenError({ code: "answer_malformed", field: "anchor.header" });
      const { height } = parsed.value;
      const { trustedHeader: at } = this.#verifier;
      if (at === undefined || height > at.header.height) return await this.skipTo(height, options);
      if (height === at.header.height) return;
      const answer = await this.#parts.ask(chainHistoryProof, { of: height, at: at.header.height }, options);
      provenOrThrow(this.#verifier.acceptHistory(answer, at));
    });
    this.#following = round.catch(() => undefined);
    return round;
  }

  /** Goes to a header above what is trusted, half way first where that is too far. Only with a verifier that skips. */
  async skipTo(height: Height, options: CallOptions = {}): Promise<void> {
    if (height <= this.#verifier.trustedHeight) return;
    const way = new Bisection<bigint>(this.#verifier.trustedHeight, height, (trusted) => trusted);
    for (let isThere = false; !isThere;) {
      const block = await this.lightBlock(heightOf(way.wanted), options);
      const accepted = await this.#verifier.acceptLightBlock(block);
      isThere = provenOrThrow(way.take(accepted.ok ? ok(accepted.value.header.height) : accepted));
    }
  }

  /** What a node gives for a light block: not proven. */
  async lightBlock(height: Height, options: CallOptions = {}): Promise<LightBlock> {
    const { anchor, validators, nextValidators = validators } = await this.#parts.ask(chainLightBlock, { height }, options);
    const parsed = parseHeader(anchor.header);
    if (!parsed.ok) throw new UnprovenError({ code: "answer_malformed", field: "anchor.header" });
    if (parsed.value.height !== height) throw new UnprovenError({ code: "answer_height", field: "anchor.header", height });
    return { anchor, validators, nextValidators };
  }

  async #followOnce(options: CallOptions): Promise<void> {
    if (this.#verifier.work !== undefined) return await this.#followWork(this.#verifier.work, options);
    for (;;) {
      const { from } = this.#verifier.newest;
      const { changes } = await this.#parts.ask(validatorsChanges, { from, limit: 32 }, options);
      for (const change of changes) provenOrThrow(await this.#verifier.acceptChange(change));
      // Nothing new: the node has no more, or repeats itself.
      if (this.#verifier.newest.from === from) return;
    }
  }

  /**
   * Follows the node's chain of sealed headers: from ours upwards, or from where they part. A branch is taken over as
   * soon as what was read of it is heavier.
   */
  async #followWork(work: WorkChain, options: CallOptions): Promise<void> {
    let from: bigint = work.height + 1n;
    let back = 1n;
    let branch: Anchor[] = [];
    const goBack = (below: bigint): void => {
      from = below > back ? below - back : 1n;
      back *= 4n;
      branch = [];
    };
    for (;;) {
      const { head, anchors } = await this.#parts.ask(chainHeaders, { from: heightOf(from), limit: HEADERS_PER_PAGE }, options);
      // Otherwise it could go on for ever with headers that we have.
      const first = anchors[0] === undefined ? undefined : parseHeader(anchors[0].header);
      if (first?.ok === true && first.value.height !== from) throw new UnprovenError({ code: "answer_height", field: "anchors" });
      branch.push(...anchors);
      if (branch.length > HEADERS_PER_BRANCH_MAX) throw new UnprovenError({ code: "reorg_deep" });
      if (branch.length === 0) {
        // It has nothing above ours: its head, if it is another, parts from ours further down.
        if (head === 0n || head >= from) throw new UnprovenError({ code: "headers_unknown", height: head });
        goBack(head + 1n);
        continue;
      }
      const accepted = this.#verifier.acceptWork(branch, this.#timeMsMax());
      const next = from + BigInt(anchors.length);
      const hasMore = anchors.length > 0 && next <= head;
      if (accepted.ok) {
        if (!hasMore) return;
        [branch, from] = [[], next];
      } else if (accepted.error.code === "headers_unknown" && from > 1n) goBack(from);
      else if (accepted.error.code === "work_less" && hasMore) from = next;
      else throw new UnprovenError(accepted.error);
    }
  }

  /** The latest time that a header may have now. */
  #timeMsMax(): bigint {
    return (
      BigInt(Math.floor(this.#parts.nowMs())) + BigInt(this.#parts.network.parameters.blockTimeDriftMsMax) + CLOCK_BEHIND_MS_MAX
    );
  }

  /**
   * What leads from the genesis set to the set that decides `height`, for somebody who has only the network file. A
   * verifier that skips never saw it: then it is asked for, and not proven.
   */
  async trustPath(height: Height, options: CallOptions = {}): Promise<readonly SetChange[]> {
    if (!this.#verifier.isSkipping) return this.#verifier.trustPath(height);
    const path: SetChange[] = [];
    for (let from = 1n; path.length < CHANGES_MAX;) {
      const { changes } = await this.#parts.ask(validatorsChanges, { from: heightOf(from), limit: 32 }, options);
      const before = changes.filter((change) => change.height >= from && change.height < height);
      path.push(...before.map(({ anchor, validators }) => ({ anchor, validators })));
      const last = before.at(-1);
      if (last === undefined || before.length < changes.length) return path;
      from = last.height + 1n;
    }
    throw new UnprovenError({ code: "file_size", field: "changes" });
  }

  /** The newest certified header, and the way from it to `at` when that is an older one. */
  async linkToNewest(
    at: VerifiedHeader,
    anchor: Anchor,
    options: CallOptions,
  ): Promise<{ readonly at: VerifiedHeader; readonly anchor: Anchor; readonly history: HistoryLink | undefined }> {
    return await this.settled(async () => {
      const answer = await this.#parts.ask(chainHead, {}, options);
      if (answer.height <= at.header.height) return { at, anchor, history: undefined };
      const head = await this.believeAt(answer.anchor, answer.height, options);
      const of = at.header.height;
      const { header, siblings } = await this.#parts.ask(chainHistoryProof, { of, at: head.header.height }, options);
      const linked = provenOrThrow(this.#verifier.acceptHistory({ header, siblings }, head));
      if (!bytesEqual(linked.hash, at.hash)) throw new UnprovenError({ code: "answer_mismatch", field: "header", height: of });
      return { at: head, anchor: presentAnchor(answer.anchor), history: { header, siblings } };
    }, options);
  }
}

/** What an answer hangs from, which the node was asked to say. */
export function presentAnchor(anchor: Anchor | undefined): Anchor {
  if (anchor === undefined) throw new UnprovenError({ code: "proof_missing", field: "anchor" });
  return anchor;
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : bytesEqual(a, b);
}
