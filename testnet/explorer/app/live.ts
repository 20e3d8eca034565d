/**
 * The newest blocks as the page has verified them: the heads that `node/follower` tells, of one gateway and compared with the
 * others, filled with their bodies one at a time, so that a busy network or many validators' signatures never hold the page up.
 *
 * A body tells more than its own block: it holds the certificate of the block before, which the header commits to, so
 * that the round and the signers of every block but the newest are proven too.
 */

import { bytesEqual, toHex } from "../../../crypto/base/bytes.ts";
import { CodedError } from "../../../crypto/base/error.ts";
import { type Block, type Header, headerHash } from "../../../chain/block/block.ts";
import { type Height, heightOf } from "../../../chain/block/height.ts";
import { UnprovenError } from "../../../node/light/errors.ts";
import type { FollowEvent, LightFollower, Witness } from "../../../node/follower/follower.ts";
import type { Verified } from "../../../node/rpc/client.ts";
import { isInPassing, pause } from "../../../node/rpc/feed.ts";

/** Who signed a block, in which round. */
export type Decision = { readonly round: number; readonly signers: ReadonlySet<string> };

/** One block of late. */
export type LiveBlock = {
  readonly height: Height;
  readonly header: Verified<Header>;
  /** By this computer's clock; `undefined` for blocks from before the page was opened. */
  readonly seenAtMs: number | undefined;
  /** Verified against the header; `undefined` until it was fetched. */
  readonly block: Block | undefined;
  /** From the body of the block after it. */
  readonly decision: Decision | undefined;
};

/** Blocks that are remembered, and how many from before the page was opened are fetched. */
const BLOCKS_MAX = 120;
const BLOCKS_BEFORE_MAX = 40;
/** What a gateway may well answer the next time. */
const PASSING = new Set(["rpc_unreachable", "rpc_timeout", "rate_limited", "in_flight", "busy", "shutting_down"]);
/** Before gateways that all lied are asked again. */
const RETRY_MS = 1000;
/** Listeners hear of changes at most this often. */
const NOTIFY_INTERVAL_MS = 80;

/** What became of the connection to the gateway. `split`: two gateways show two certified chains, and nothing is followed. */
export type Following = "connecting" | "following" | "polling" | "failing" | "split";

/** Two certified chains, with the proof where the gateways give it. */
export type Split = Extract<FollowEvent, { readonly kind: "fork" }>;

/** What a gateway was last: the one that tells heads, or what it said of the newest one, or the code it failed with. */
export type Standing = { readonly says: "tells" | Witness["says"]; readonly code: string | undefined };

/** What the page is told of by the chain that it follows. */
export type LiveReport = {
  /** An answer that does not hold, about `what`, of a gateway. */
  readonly unproven: (error: UnprovenError, what: string, gateway: string) => void;
  readonly split: (split: Split) => void;
};

/** See the file's head. */
export class LiveChain {
  readonly #follower: LightFollower;
  readonly #report: LiveReport;
  readonly #signal: AbortSignal;
  readonly #blocks = new Map<Height, LiveBlock>();
  readonly #decisions = new Map<Height, Decision>();
  readonly #refused = new Set<Height>();
  readonly #listeners = new Set<() => void>();
  /** By URL. */
  readonly #standings = new Map<string, Standing>();
  #following: Following = "connecting";
  #isDisputed = false;
  #failure: CodedError | undefined;
  #newest: Height | undefined;
  #first: Height | undefined;
  #isFilling = false;
  #isNotifying = false;

  constructor(options: { readonly follower: LightFollower; readonly report: LiveReport; readonly signal: AbortSignal }) {
    this.#follower = options.follower;
    this.#report = options.report;
    this.#signal = options.signal;
  }

  get following(): Following {
    return this.#isDisputed ? "split" : this.#following;
  }

  /** Whether two certified chains were seen. From then on nothing is called verified: any value may be of the one alone. */
  get isDisputed(): boolean {
    return this.#isDisputed;
  }

  /** Says that two certified chains were seen, in whichever answer. */
  dispute(): void {
    if (this.#isDisputed) return;
    this.#isDisputed = true;
    this.#notify();
  }

  /** Why the gateway could not be followed the last time. */
  get failure(): CodedError | undefined {
    return this.#failure;
  }

  /** What each gateway was last, by its URL; those that were not asked yet are absent. */
  get standings(): ReadonlyMap<string, Standing> {
    return this.#standings;
  }

  /** The newest verified block. */
  get head(): LiveBlock | undefined {
    return this.#newest === undefined ? undefined : this.#blocks.get(this.#newest);
  }

  /** Newest first. */
  get blocks(): readonly LiveBlock[] {
    return [...this.#blocks.values()].toSorted((a, b) => (a.height < b.height ? 1 : -1));
  }

  /** Calls `listener` after changes, until `signal` aborts. */
  onChange(listener: () => void, signal: AbortSignal): void {
    this.#listeners.add(listener);
    signal.addEventListener("abort", () => this.#listeners.delete(listener), { once: true });
  }

  /** Follows until the signal given at the beginning aborts, or until two gateways show two certified chains. */
  async run(): Promise<void> {
    while (!this.#signal.aborted) {
      try {
        for await (const event of this.#follower.follow(this.#signal)) this.#take(event);
        return;
      } catch (error) {
        if (this.#signal.aborted || this.#isDisputed) return;
        if (!(error instanceof CodedError)) throw error;
        // What was refused has been told of. Whoever has no honest gateway left goes on asking those that there are.
        if (error.code !== "gateways_none") this.#fail(error);
        this.#follower.forgive();
        await pause(RETRY_MS, this.#signal);
      }
    }
  }

  #take(event: FollowEvent): void {
    switch (event.kind) {
      case "head":
        this.#standings.set(event.gateway, { says: "tells", code: undefined });
        for (const { url, says } of event.witnesses) {
          const code = says === "lies" || says === "silent" ? this.#standings.get(url)?.code : undefined;
          this.#standings.set(url, { says, code });
        }
        this.#following = this.#follower.isPolling ? "polling" : "following";
        this.#failure = undefined;
        this.#add(event.head);
        break;
      case "undone":
        this.#undo(event.from);
        break;
      case "aside":
        this.#setAside(event);
        break;
      case "fork":
        this.dispute();
        this.#report.split(event);
        break;
    }
    this.#notify();
  }

  #setAside({ url, lied, error }: Extract<FollowEvent, { readonly kind: "aside" }>): void {
    // Under proof of work the newest block may just be leaving.
    const isPassing = this.#follower.verifier.work !== undefined && isInPassing(error);
    if (error instanceof UnprovenError && !isPassing) this.#report.unproven(error, "the newest block", url);
    this.#standings.set(url, { says: lied ? "lies" : "silent", code: error.code });
    if (url === this.#follower.client.url && !isPassing) this.#fail(error);
  }

  #fail(error: CodedError): void {
    this.#following = "failing";
    this.#failure = error;
    this.#notify();
  }

  #add(header: Verified<Header>): void {
    const { height } = header.value;
    const known = this.#blocks.get(height);
    if (known !== undefined && bytesEqual(headerHash(known.header.value), headerHash(header.value))) return;
    // Under proof of work, and told by asking: what stood here was left for a heavier chain.
    if (known !== undefined) this.#undo(height);
    this.#unlink(header.value);
    const isNewest = this.#newest === undefined || height > this.#newest;
    const seenAtMs = this.#first === undefined || !isNewest ? undefined : Date.now();
    this.#first ??= height;
    this.#blocks.set(height, { height, header, seenAtMs, block: undefined, decision: this.#decisions.get(height) });
    if (isNewest) this.#newest = height;
    for (const each of this.#blocks.keys()) if (each + BigInt(BLOCKS_MAX) <= (this.#newest ?? 0n)) this.#forget(each);
    this.#notify();
    void this.#fill();
  }

  /** Forgets the block below when this one does not follow it; it is fetched again. */
  #unlink({ height, previous }: Header): void {
    const below = height > 1n ? this.#blocks.get(heightOf(height - 1n)) : undefined;
    if (below !== undefined && !bytesEqual(headerHash(below.header.value), previous)) this.#forget(below.height);
  }

  #undo(from: Height): void {
    for (const height of this.#blocks.keys()) if (height >= from) this.#forget(height);
    this.#newest = [...this.#blocks.keys()].reduce<Height | undefined>(
      (most, height) => (most === undefined || height > most ? height : most),
      undefined,
    );
    this.#notify();
  }

  #forget(height: Height): void {
    this.#blocks.delete(height);
    this.#decisions.delete(height);
    this.#refused.delete(height);
  }

  /** Fetches one body after another, the newest first, and then those from before the page was opened. */
  async #fill(): Promise<void> {
    if (this.#isFilling) return;
    this.#isFilling = true;
    try {
      for (let height = this.#wanted(); height !== undefined && !this.#signal.aborted; height = this.#wanted()) {
        if ((await this.#fillOne(height)) === "later") return;
        // Signatures take their time on this thread: let the page breathe between two blocks.
        await pause(document.hidden ? 500 : 4, this.#signal);
      }
    } finally {
      this.#isFilling = false;
    }
  }

  /** The next height whose body is wanted. */
  #wanted(): Height | undefined {
    const [newest, first] = [this.#newest, this.#first];
    if (newest === undefined || first === undefined) return undefined;
    const oldest = first > BigInt(BLOCKS_BEFORE_MAX) ? first - BigInt(BLOCKS_BEFORE_MAX) : 1n;
    const end = newest > BigInt(BLOCKS_MAX) && newest - BigInt(BLOCKS_MAX) > oldest ? newest - BigInt(BLOCKS_MAX) + 1n : oldest;
    for (let height: bigint = newest; height >= end && height > 0n; height -= 1n) {
      const at = heightOf(height);
      if (this.#blocks.get(at)?.block === undefined && !this.#refused.has(at)) return at;
    }
    return undefined;
  }

  /** `later` when the gateway did not answer: the next block is the next occasion. */
  async #fillOne(height: Height): Promise<"done" | "later"> {
    try {
      const { value: block, verified } = await this.#follower.client.block(height, { signal: this.#signal });
      const known = this.#blocks.get(height);
      const header = known?.header ?? { value: block.header, verified: { ...verified, how: ["certificate"] } };
      this.#blocks.set(height, {
        height,
        header,
        seenAtMs: known?.seenAtMs,
        block,
        decision: this.#decisions.get(height),
      });
      this.#unlink(block.header);
      this.#decide(block);
      this.#notify();
    } catch (error) {
      if (this.#signal.aborted) return "later";
      if (!(error instanceof CodedError)) throw error;
      if (PASSING.has(error.code)) return "later";
      // Asked for once: what is refused is not shown, and the head goes on.
      this.#refused.add(height);
      if (error instanceof UnprovenError) this.#report.unproven(error, `block ${height}`, this.#follower.client.url);
    }
    return "done";
  }

  /** Takes over what a body proves of the block before it. */
  #decide({ header, previousCertificate: certificate }: Block): void {
    if (certificate?.kind !== "quorum" || header.height < 2n) return;
    const height = heightOf(header.height - 1n);
    const decision = {
      round: certificate.round,
      signers: new Set(certificate.signatures.map(({ validator }) => toHex(validator))),
    };
    this.#decisions.set(height, decision);
    const known = this.#blocks.get(height);
    if (known !== undefined) this.#blocks.set(height, { ...known, decision });
  }

  #notify(): void {
    if (this.#isNotifying) return;
    this.#isNotifying = true;
    setTimeout(() => {
      this.#isNotifying = false;
      for (const listener of this.#listeners) listener();
    }, NOTIFY_INTERVAL_MS);
  }
}
