/**
 * Follows the head of a network live, through several nodes of which none is believed. Runs in Node and in a browser.
 *
 * ```
 *   kept trust | checkpoint | genesis --skip--> head --compare with witnesses--> told, kept
 *                                                 |              |
 *     primary failed, lied or stands still: next <+              +--> another certified header: fork, proof, the end
 * ```
 *
 * One verifier serves all nodes, so that what contradicts what any of them proved is noticed. It stands on one block and
 * remembers a few headers, however long the chain is.
 *
 * What it cannot see: a network whose every node that it asks hides the same thing. Name nodes of different people.
 */

import { CodedError } from "../../crypto/base/error.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { type Header, headerHash, parseHeader } from "../../chain/block/block.ts";
import { type NetworkFile } from "../../chain/block/genesis.ts";
import type { Height } from "../../chain/block/height.ts";
import { type Unproven, UnprovenError } from "../light/errors.ts";
import { clockOf, isCheckpoint, parseLightBlock, trustPolicyOf, type TrustPolicy } from "../light/trust.ts";
import { LightVerifier } from "../light/verifier.ts";
import { PyralogClient, type Verified } from "../rpc/client.ts";
import { pause } from "../rpc/feed.ts";
import { chainHeader, chainHistoryProof } from "../rpc/methods/chain.ts";
import { FOLLOWER_CODES } from "./errors.ts";
import { type Fork, proveFork } from "./fork.ts";
import { decodeTrust, encodeTrust, type TrustStore } from "./store.ts";

/** How a follower is made. */
export type FollowerOptions = {
  readonly network: NetworkFile;
  /** Of nodes: the first is asked, the others are its witnesses and take its place. At most `GATEWAYS_MAX`. */
  readonly urls: readonly string[];
  /** Where trust is kept; not kept when absent. */
  readonly store?: TrustStore | undefined;
  /** How many others must confirm a head before it is told: 0 when absent. */
  readonly witnessesMin?: number | undefined;
  /** Instead of the period of the checkpoint or of the network. */
  readonly trustingPeriodMs?: bigint | undefined;
  /** Follow from a genesis that is older than the trusting period, set by set: whoever held the keys of that time can lie. */
  readonly allowOldGenesis?: boolean | undefined;
  /**
   * Follow set by set from the network file instead of skipping, and keep no trust: for who shows where its belief comes from.
   * Knows no trusting period, as `allowOldGenesis`; a checkpoint must lie on the chain that it comes to.
   */
  readonly setBySet?: boolean | undefined;
  readonly pollMs?: number | undefined;
  /** A primary that tells nothing for so long is compared with the others. */
  readonly quietMsMax?: number | undefined;
  readonly timeoutMs?: number | undefined;
  /** How long a head waits for what a witness says of it; one that takes longer is silent. `timeoutMs` when absent. */
  readonly witnessTimeoutMs?: number | undefined;
  readonly headAgeMsMax?: number | undefined;
  /** Never subscribe: ask again and again. */
  readonly poll?: boolean | undefined;
  readonly fetch?: typeof globalThis.fetch | undefined;
  readonly nowMs?: (() => number) | undefined;
};

/** What a witness says of a head. */
export type Witness = { readonly url: string; readonly says: "agrees" | "behind" | "silent" | "lies" };

/** What following tells. */
export type FollowEvent =
  | {
      readonly kind: "head";
      readonly head: Verified<Header>;
      readonly hash: Hash;
      readonly gateway: string;
      readonly witnesses: readonly Witness[];
    }
  /** A heavier chain has taken the place of this height and all above it. Under proof of work alone. */
  | { readonly kind: "undone"; readonly from: Height }
  /** A node is set aside: for a while when it failed, for good when it lied. */
  | {
      readonly kind: "aside";
      readonly url: string;
      readonly code: string;
      readonly lied: boolean;
      readonly error: CodedError;
    }
  /** Two certified chains: the last event. Without a proof when a node keeps what would convict it. */
  | { readonly kind: "fork"; readonly height: Height; readonly urls: readonly string[]; readonly fork: Fork | undefined };

/** Nodes that one follower asks. */
export const GATEWAYS_MAX = 16;
const POLL_MS_DEFAULT = 2_000;
const QUIET_MS_MAX_DEFAULT = 30_000;
const TIMEOUT_MS_DEFAULT = 10_000;
/** Without a word from a subscription for so many polls' time, the node is asked. */
const POLLS_QUIET = 5;
/** After so many polls subscribing is tried again. */
const POLLS_PER_ATTEMPT = 30;
/** How often witnesses are asked for a head before too few of them have it. */
const WITNESS_ATTEMPTS_MAX = 5;
const ASIDE_MS_MIN = 1_000;
const ASIDE_MS_MAX = 20_000;

/** What one node tells while it is followed. */
type Told = { readonly kind: "head"; readonly head: Verified<Header> } | { readonly kind: "undone"; readonly from: Height };

type Gateway = {
  readonly url: string;
  readonly client: PyralogClient;
  failures: number;
  asideUntilMs: number;
  lied: boolean;
};

/** Codes that say nothing bad about the node that was asked: our own trust or clock ends the matter. */
const OWN_CODES: readonly string[] = ["trust_expired", "fork_detected"];
/** Codes of nodes that are behind, or whose answers were overtaken. */
const BEHIND_CODES: readonly string[] = [
  "stale_head",
  "old_head",
  "block_undone",
  "headers_unknown",
  "work_less",
  "bisection_long",
  "header_future",
];

/** See the file's head. */
export class LightFollower {
  readonly verifier: LightVerifier;
  /** Where its trust comes from. */
  readonly origin: "kept" | "checkpoint" | "genesis";
  readonly #options: FollowerOptions;
  readonly #gateways: readonly Gateway[];
  #primary: Gateway;
  /** The newest head that was told. */
  #told: { readonly height: bigint; readonly hash: Hash } | undefined;

  #isPolling = false;
  #hasCheckpoint = false;
  /** Who shows another chain than the primary, when that is known. */
  #opponents: readonly Gateway[] | undefined;

  private constructor(options: FollowerOptions, verifier: LightVerifier, origin: LightFollower["origin"]) {
    this.#options = options;
    this.verifier = verifier;
    this.origin = origin;
    this.#gateways = options.urls.map((url) => ({
      url,
      client: clientOf(options, url, verifier),
      failures: 0,
      asideUntilMs: 0,
      lied: false,
    }));
    const [first] = this.#gateways;
    if (first === undefined || this.#gateways.length > GATEWAYS_MAX)
      throw new CodedError("gateways_none", { message: `from 1 to ${GATEWAYS_MAX} nodes, not ${options.urls.length}` });
    this.#primary = first;
  }

  /**
   * Finds what to trust: what was kept, else the checkpoint of the network file, else its validators.
   *
   * @throws UnprovenError `trust_expired` when all of that is too old, `checkpoint_mismatch`; CodedError `gateways_none` when
   * nobody shows the checkpoint's block
   */
  static async open(options: FollowerOptions, signal: AbortSignal): Promise<LightFollower> {
    const { network, nowMs = Date.now } = options;
    const made = trustPolicyOf(network, nowMs);
    const policy = { ...made, trustingPeriodMs: options.trustingPeriodMs ?? made.trustingPeriodMs };
    if (network.engine.name === "pow" || options.setBySet === true)
      return new LightFollower(options, LightVerifier.fromGenesis(network), "genesis");
    const kept = await keptVerifier(options, policy);
    if (kept !== undefined) {
      const follower = new LightFollower(options, kept, "kept");
      await follower.#checkCheckpoint(signal);
      return follower;
    }
    if (network.checkpoint !== undefined)
      return new LightFollower(options, await checkpointVerifier(options, policy, signal), "checkpoint");
    const { now, trustingPeriod } = clockOf(policy);
    if (network.genesisTimeMs + trustingPeriod > now)
      return new LightFollower(options, LightVerifier.fromGenesis(network, policy), "genesis");
    if (options.allowOldGenesis === true) return new LightFollower(options, LightVerifier.fromGenesis(network), "genesis");
    throw new UnprovenError({ code: "trust_expired", field: "genesisTimeMs" });
  }

  /** The client of the node that is asked now: whatever it answers is verified by the same trust. */
  get client(): PyralogClient {
    return this.#primary.client;
  }

  /** Whether the node that is asked now must be asked again and again, because it takes no subscription. */
  get isPolling(): boolean {
    return this.#isPolling;
  }

  /** Lets those that lied be asked again, for who has nobody else to ask. What they say is checked as before. */
  forgive(): void {
    for (const gateway of this.#gateways) gateway.lied = false;
  }

  /**
   * Tells heads as they become final, newest only, until `signal` aborts.
   *
   * @throws UnprovenError `fork_detected` after its event, `trust_expired`; CodedError `gateways_none` when every node lied
   */
  async *follow(signal: AbortSignal): AsyncGenerator<FollowEvent, void, undefined> {
    while (!signal.aborted) {
      const gateway = await this.#choose(signal);
      if (gateway === undefined) return;
      this.#primary = gateway;
      try {
        for await (const told of this.#headsOf(gateway, signal)) {
          if (told.kind === "undone") {
            yield told;
            continue;
          }
          const { head } = told;
          gateway.failures = 0;
          if (head.value.height <= (this.#told?.height ?? 0n) && this.verifier.work === undefined) continue;
          yield* this.#tell(gateway, head, signal);
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof CodedError)) throw error;
        if (error.code === "fork_detected") {
          yield await this.#forkBetween(gateway, this.#opponents ?? this.#others(gateway), heightIn(error), signal);
          throw error;
        }
        if (OWN_CODES.includes(error.code) || error.code === "witness_missing") throw error;
        yield this.#setAside(gateway, error);
      }
    }
  }

  /** Compares a head with the witnesses, keeps it, and tells it. */
  async *#tell(gateway: Gateway, head: Verified<Header>, signal: AbortSignal): AsyncGenerator<FollowEvent, void, undefined> {
    const { height } = head.value;
    const hash = headerHash(head.value);
    if (this.#told !== undefined && bytesEqual(this.#told.hash, hash)) return;
    await this.#requireCheckpoint(gateway, height, signal);
    const wanted = this.#options.witnessesMin ?? 0;
    let witnesses: Witness[] = [];
    let agreeing = 0;
    for (let attempt = 0; attempt === 0 || (agreeing < wanted && attempt < WITNESS_ATTEMPTS_MAX); attempt += 1) {
      // The others may have it in a moment.
      if (attempt > 0) await pause(this.#pollMs(), signal);
      witnesses = [];
      const asked = this.#others(gateway).filter(({ lied, asideUntilMs }) => !lied && asideUntilMs <= this.#now());
      const answers = await Promise.all(asked.map(async (witness) => await this.#compare(witness, { height, hash }, signal)));
      for (const [index, witness] of asked.entries()) {
        const answer = answers[index];
        if (answer === undefined) continue;
        if (answer === "forks") {
          this.#opponents = [witness];
          throw new UnprovenError({ code: "fork_detected", height });
        }
        if (answer instanceof CodedError) yield this.#setAside(witness, answer);
        const says = answer instanceof CodedError ? (witness.lied ? "lies" : "silent") : answer;
        witnesses.push({ url: witness.url, says });
      }
      agreeing = witnesses.filter(({ says }) => says === "agrees").length;
    }
    if (agreeing < wanted) {
      if (this.#told === undefined)
        throw new CodedError("witness_missing", { message: FOLLOWER_CODES.witness_missing, height, agreeing });
      // The next head brings this one with it.
      return;
    }
    this.#told = { height, hash };
    await this.#keep();
    yield { kind: "head", head, hash, gateway: gateway.url, witnesses };
  }

  /** What a witness says of a height: it shows the same header, has none yet, shows a certified other one, or fails. */
  async #compare(
    witness: Gateway,
    { height, hash }: { readonly height: Height; readonly hash: Hash },
    signal: AbortSignal,
  ): Promise<"agrees" | "behind" | "forks" | CodedError> {
    const timeoutMs = this.#options.witnessTimeoutMs ?? this.#timeoutMs();
    try {
      const { anchor } = await witness.client.ask(chainHeader, { height }, { signal, timeoutMs });
      const parsed = parseHeader(anchor.header);
      if (!parsed.ok) return new UnprovenError({ code: "answer_malformed", field: "anchor.header" });
      if (bytesEqual(headerHash(parsed.value), hash)) return "agrees";
      // Under proof of work another block of a height is no fork: the heavier chain decides, and the next head tells.
      if (this.verifier.work !== undefined) return "behind";
      if (parsed.value.height !== height) return new UnprovenError({ code: "answer_height", height });
      return await this.#isCertified(witness, height, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof CodedError)) throw error;
      return error.code === "height_future" || error.code === "height_none" ? "behind" : error;
    }
  }

  /** Whether another header than ours can be reached from what was told last: then two chains are certified. */
  async #isCertified(witness: Gateway, height: Height, signal: AbortSignal): Promise<"forks" | CodedError> {
    const { network } = this.#options;
    const policy = trustPolicyOf(network, this.#options.nowMs ?? Date.now);
    const kept = await keptVerifier(this.#options, policy);
    const probe = clientOf(this.#options, witness.url, kept ?? LightVerifier.fromGenesis(network));
    const { anchor } = await probe.lightBlock(height, { signal, timeoutMs: this.#timeoutMs() });
    try {
      await probe.believe(anchor, { signal, timeoutMs: this.#timeoutMs() });
      return "forks";
    } catch (error) {
      if (!(error instanceof UnprovenError)) throw error;
      return error.code === "fork_detected" ? "forks" : error;
    }
  }

  async #forkBetween(
    gateway: Gateway,
    others: readonly Gateway[],
    height: Height,
    signal: AbortSignal,
  ): Promise<Extract<FollowEvent, { readonly kind: "fork" }>> {
    for (const other of others) {
      const fork = await proveFork(
        gateway.client,
        other.client,
        { common: 0n, height },
        { signal, timeoutMs: this.#timeoutMs() },
      );
      if (fork !== undefined) return { kind: "fork", height, urls: [gateway.url, other.url], fork };
    }
    return { kind: "fork", height, urls: [gateway, ...others].map(({ url }) => url), fork: undefined };
  }

  /** The heads of one node, by subscription, else by asking. Fails when it fails, lies, or stands still while others go on. */
  async *#headsOf(gateway: Gateway, signal: AbortSignal): AsyncGenerator<Told, void, undefined> {
    const ending = new AbortController();
    const bounded = AbortSignal.any([signal, ending.signal]);
    const heads = this.#rawHeadsOf(gateway, bounded);
    try {
      const ask = (): ReturnType<typeof heads.next> => {
        const asked = heads.next();
        // Whoever leaves first does not wait for it.
        asked.catch(() => undefined);
        return asked;
      };
      let next = ask();
      let quietSinceMs = this.#now();
      while (!signal.aborted) {
        const waiting = new AbortController();
        const idle = pause(this.#pollMs() * POLLS_QUIET, AbortSignal.any([signal, waiting.signal])).then(() => undefined);
        const won = await Promise.race([next, idle]);
        waiting.abort();
        if (won?.done === true) return;
        // A subscription says nothing of a block that came while it was made, and nothing makes a node report all of them.
        const told = won?.value ?? (await this.#askedHeadOf(gateway, signal));
        if (won !== undefined) next = ask();
        if (told?.kind === "head" && told.head.value.height > (this.#told?.height ?? 0n)) quietSinceMs = this.#now();
        else if (this.#now() - quietSinceMs >= (this.#options.quietMsMax ?? QUIET_MS_MAX_DEFAULT))
          await this.#requireFresh(gateway, signal);
        if (told !== undefined) yield told;
      }
    } finally {
      ending.abort();
      // Nobody reads on; what it was waiting for ends with the signal.
      await heads.return().catch(() => undefined);
    }
  }

  async *#rawHeadsOf(gateway: Gateway, signal: AbortSignal): AsyncGenerator<Told, void, undefined> {
    const { poll = false } = this.#options;
    this.#isPolling = poll;
    for (let polls = 0; !signal.aborted; polls += 1) {
      const asked = await this.#askedHeadOf(gateway, signal);
      if (asked !== undefined) yield asked;
      if (!poll && polls % POLLS_PER_ATTEMPT === 0) {
        try {
          for await (const event of gateway.client.subscribe({ kind: "blocks" }, { signal, attemptsMax: 1 })) {
            this.#isPolling = false;
            if (event.kind === "block") yield { kind: "head", head: event.block };
            else if (event.kind === "undone") yield event;
          }
        } catch (error) {
          // No WebSocket between here and the node; asking may still do.
          if (!(error instanceof CodedError) || error.code !== "rpc_unreachable") throw error;
          this.#isPolling = true;
        }
      }
      await pause(this.#pollMs(), signal);
    }
  }

  /** The head that a node proves; `undefined` while there is no first block, which is nobody's fault. */
  async #askedHeadOf({ client }: Gateway, signal: AbortSignal): Promise<Told | undefined> {
    try {
      return { kind: "head", head: await client.head({ signal, timeoutMs: this.#timeoutMs() }) };
    } catch (error) {
      if (error instanceof CodedError && error.code === "height_none") return undefined;
      throw error;
    }
  }

  /** The primary tells nothing: is that the network, or the node? */
  async #requireFresh(gateway: Gateway, signal: AbortSignal): Promise<void> {
    const told = this.#told?.height ?? 0n;
    for (const witness of this.#others(gateway).filter(({ lied }) => !lied)) {
      try {
        const head = await witness.client.head({ signal, timeoutMs: this.#timeoutMs() });
        if (head.value.height > told + 1n)
          throw new CodedError("gateway_behind", { message: FOLLOWER_CODES.gateway_behind, url: gateway.url, height: told });
      } catch (error) {
        if (!(error instanceof CodedError) || error.code === "gateway_behind" || OWN_CODES.includes(error.code)) throw error;
        // What a witness fails with is compared at the next head.
      }
    }
  }

  /** What was kept lies above the checkpoint: then it must contain it. */
  async #checkCheckpoint(signal: AbortSignal): Promise<void> {
    const { checkpoint } = this.#options.network;
    const { trustedHeader: at } = this.verifier;
    if (checkpoint === undefined || at === undefined || checkpoint.height > at.header.height) return;
    if (checkpoint.height === at.header.height) {
      if (!bytesEqual(checkpoint.hash, at.hash))
        throw new UnprovenError({ code: "checkpoint_mismatch", height: at.header.height });
      return;
    }
    for (const { client } of this.#gateways) {
      try {
        const question = { of: checkpoint.height, at: at.header.height };
        const old = this.verifier.acceptHistory(
          await client.ask(chainHistoryProof, question, { signal, timeoutMs: this.#timeoutMs() }),
          at,
        );
        if (!old.ok) continue;
        if (!bytesEqual(old.value.hash, checkpoint.hash))
          throw new UnprovenError({ code: "checkpoint_mismatch", height: checkpoint.height });
        return;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof CodedError) || error.code === "checkpoint_mismatch") throw error;
        // The next one may show it. If none does, nothing was found against it, and following asks them all again.
      }
    }
  }

  /**
   * What was followed from genesis must contain the checkpoint once it is that high: whoever holds keys of long ago, or
   * more work than the network had then, can show a chain that does not.
   */
  async #requireCheckpoint({ client }: Gateway, height: Height, signal: AbortSignal): Promise<void> {
    const { checkpoint } = this.#options.network;
    if (this.origin !== "genesis" || checkpoint === undefined || height < checkpoint.height) return;
    const { work } = this.verifier;
    // Without work a chain stays the one that it was, or `fork_detected`.
    if (work === undefined && this.#hasCheckpoint) return;
    const options = { signal, timeoutMs: this.#timeoutMs() };
    const found = work?.hashAt(checkpoint.height) ?? headerHash((await client.header(checkpoint.height, options)).value);
    if (!bytesEqual(found, checkpoint.hash)) throw new UnprovenError({ code: "checkpoint_mismatch", height: checkpoint.height });
    this.#hasCheckpoint = true;
  }

  /** The node to ask next: of those that did not lie, the one that failed least. Waits until one may be asked. */
  async #choose(signal: AbortSignal): Promise<Gateway | undefined> {
    while (!signal.aborted) {
      const left = this.#gateways.filter(({ lied }) => !lied);
      if (left.length === 0) throw new CodedError("gateways_none", { message: FOLLOWER_CODES.gateways_none });
      const ready = left.filter(({ asideUntilMs }) => asideUntilMs <= this.#now());
      const best = ready.toSorted((a, b) => a.failures - b.failures)[0];
      if (best !== undefined) return best;
      const soonest = Math.min(...left.map(({ asideUntilMs }) => asideUntilMs));
      await pause(Math.max(1, soonest - this.#now()), signal);
    }
    return undefined;
  }

  #setAside(gateway: Gateway, error: CodedError): Extract<FollowEvent, { readonly kind: "aside" }> {
    gateway.failures += 1;
    gateway.lied = error instanceof UnprovenError && !BEHIND_CODES.includes(error.code);
    gateway.asideUntilMs = this.#now() + Math.min(ASIDE_MS_MAX, ASIDE_MS_MIN * 2 ** Math.min(gateway.failures, 10));
    return { kind: "aside", url: gateway.url, code: error.code, lied: gateway.lied, error };
  }

  async #keep(): Promise<void> {
    const block = this.verifier.isSkipping ? this.verifier.trustedBlock() : undefined;
    if (block !== undefined) await this.#options.store?.save(encodeTrust(this.verifier.networkHash, block));
  }

  #others(gateway: Gateway): readonly Gateway[] {
    return this.#gateways.filter((other) => other !== gateway);
  }

  #pollMs(): number {
    return this.#options.pollMs ?? POLL_MS_DEFAULT;
  }

  #timeoutMs(): number {
    return this.#options.timeoutMs ?? TIMEOUT_MS_DEFAULT;
  }

  /** Monotonic milliseconds: how long something took, never what time it is. */
  #now(): number {
    return performance.now();
  }
}

function clientOf(options: FollowerOptions, url: string, verifier: LightVerifier): PyralogClient {
  const { network, fetch, nowMs, timeoutMs, headAgeMsMax } = options;
  return new PyralogClient({ url, network, fetch, nowMs, timeoutMs, headAgeMsMax, verifier });
}

/** From what a store kept; `undefined` when there is nothing, or nothing that can be started from any more. */
async function keptVerifier(options: FollowerOptions, policy: TrustPolicy): Promise<LightVerifier | undefined> {
  const bytes = await options.store?.load();
  const { networkHash } = LightVerifier.fromGenesis(options.network);
  const block = bytes === undefined ? undefined : decodeTrust(networkHash, bytes);
  const verifier = block === undefined ? undefined : await LightVerifier.fromTrusted(options.network, block, policy);
  return verifier?.ok === true ? verifier.value : undefined;
}

/** From the block of the checkpoint, from whoever shows it first. */
async function checkpointVerifier(options: FollowerOptions, policy: TrustPolicy, signal: AbortSignal): Promise<LightVerifier> {
  const { network, timeoutMs = TIMEOUT_MS_DEFAULT } = options;
  const checkpoint = network.checkpoint;
  if (checkpoint === undefined) throw new CodedError("gateways_none", { message: "no checkpoint" });
  let refusal: Unproven | undefined;
  const reasons: string[] = [];
  for (const url of options.urls) {
    try {
      const client = new PyralogClient({ url, network, fetch: options.fetch });
      const block = await client.lightBlock(checkpoint.height, { signal, timeoutMs });
      const verifier = await LightVerifier.fromTrusted(network, block, policy, checkpoint);
      if (verifier.ok) return verifier.value;
      const parsed = parseLightBlock(block);
      // Of the very block that it vouches for nothing another node says can change the verdict.
      if (parsed.ok && isCheckpoint(parsed.value, checkpoint)) throw new UnprovenError(verifier.error);
      refusal = verifier.error;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof CodedError)) throw error;
      if (error.code === "trust_expired") throw error;
      reasons.push(`${url}: ${error.code}`);
    }
  }
  if (refusal !== undefined) throw new UnprovenError(refusal);
  throw new CodedError("gateways_none", {
    message: `nobody shows the checkpoint's block ${toHex(checkpoint.hash)}: ${reasons.join(", ")}`,
  });
}

function heightIn(error: CodedError): Height {
  return error.detail["height"] as Height;
}
