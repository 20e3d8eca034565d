/**
 * Follows a network by certificates alone, from nothing but its network file.
 *
 * ```
 *   genesis set --(certified header h1 names another set for h1 + 1)--> set 2 --(certified header h2 ...)--> set 3
 *   [1, h1]                                                            [h1 + 1, h2]                        [h2 + 1, ...)
 * ```
 *
 * A header is believed when more than 2/3 of the power of the set that decides its height precommitted its hash. A set
 * is believed when it is the genesis one, or when a believed header names it by `nextValidatorsHash`. Headers in
 * between need not be seen, because a set stays in office until a header names another.
 *
 * With a `TrustPolicy` it skips instead: from one trusted block it goes straight to headers far above, by the rules of
 * `rules.ts`, keeps the sets of that block alone, and believes what is below by the history log. What it starts from and
 * what it stands on must be within the trusting period.
 *
 * ```
 *   trusted block --more than 1/3 of its next set, more than 2/3 of its own--> trusted block, far above
 *        |
 *        +-- history root --> every header below
 * ```
 *
 * Under proof of work there are no sets: a header is believed when it is on the heaviest chain of sealed headers that was
 * seen (`work.ts`), and forgotten when a heavier one leaves it.
 *
 * What this cannot see without a policy: validators that left office long ago and sell their keys can certify another
 * history from that height on (a long-range attack). A client that keeps its verifier between uses, or starts from a
 * network file as new as it can get, narrows that; `headAgeMsMax` of the client refuses heads that have stood still.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import { type Header, headerHash, parseHeader } from "../../chain/block/block.ts";
import type { Finality } from "../../chain/block/finality.ts";
import { genesisValidators, type NetworkFile, networkHash } from "../../chain/block/genesis.ts";
import { type Height, heightOf, nextHeight } from "../../chain/block/height.ts";
import { encodeMembers, parseMembers, type ValidatorSet, validatorsHash } from "../../chain/block/validators.ts";
import { quorumRuleOf } from "../../chain/block/protocol.ts";
import { parseCertificate, verifyCertificateAsync } from "../../chain/block/vote.ts";
import { LOG_HASHER, verifyInclusion } from "../../chain/merkle/log.ts";
import type { Brand } from "../../crypto/base/brand.ts";
import type { Anchor } from "./anchor.ts";
import type { Unproven } from "./errors.ts";
import { WorkChain } from "./work.ts";
import { checkPlace, checkShares, checkSuccession, type HeaderFacts, type RuleError } from "./rules.ts";
import {
  clockOf,
  factsOf,
  isCheckpoint,
  type LightBlock,
  type ParsedLightBlock,
  parseLightBlock,
  shareOf,
  type TrustPolicy,
} from "./trust.ts";

/** A header whose certificate names another set for the next height, and that set. */
export type SetChange = { readonly anchor: Anchor; readonly validators: Uint8Array };

/** A header that this verifier believes. */
export type VerifiedHeader = Brand<{ readonly header: Header; readonly hash: Hash }, "VerifiedHeader">;

/** A validator set and the first height that it decides. */
type Epoch = {
  readonly from: Height;
  readonly set: ValidatorSet;
  readonly setHash: Hash;
  readonly change: SetChange | undefined;
};

/** What a verifier that skips stands on. */
type Trusted = {
  readonly policy: TrustPolicy;
  readonly facts: HeaderFacts;
  /** Absent at genesis. */
  readonly block: { readonly at: VerifiedHeader; readonly anchor: Anchor; readonly own: ValidatorSet } | undefined;
};

/** Verified headers that a verifier that skips remembers. */
const HEADERS_SKIPPED_MAX = 256;
/** Verified headers that are remembered, to notice contradictions and to check each certificate once. */
const HEADERS_REMEMBERED_MAX = 4_096;

/** See the file's head. Nothing that it refuses changes it. */
export class LightVerifier {
  readonly network: NetworkFile;
  readonly networkHash: Hash;
  #epochs: Epoch[];
  #trusted: Trusted | undefined;
  readonly #work: WorkChain | undefined;
  readonly #headers = new Map<Height, VerifiedHeader>();

  private constructor(network: NetworkFile, epoch: Epoch, trusted?: Trusted) {
    this.#trusted = trusted;
    this.network = network;
    this.networkHash = networkHash(network);
    this.#epochs = [epoch];
    this.#work = network.engine.name === "pow" ? new WorkChain(network) : undefined;
  }

  /** Trusts the validators of the network file; with a policy (which proof of work has no use for) it skips from there. */
  static fromGenesis(network: NetworkFile, policy?: TrustPolicy): LightVerifier {
    const set = genesisValidators(network);
    const setHash = validatorsHash(set);
    const facts = { height: 0n, time: network.genesisTimeMs, validatorsHash: setHash, nextValidatorsHash: setHash };
    const isSkipping = policy !== undefined && network.engine.name !== "pow";
    return new LightVerifier(
      network,
      { from: heightOf(1n), set, setHash, change: undefined },
      isSkipping ? { policy, facts, block: undefined } : undefined,
    );
  }

  /**
   * Trusts a block, and skips from there: one that was believed before, or the one that `checkpoint` vouches for.
   *
   * @returns `checkpoint_mismatch` when it is not that one; `trust_expired`; or what is wrong with its certificate
   */
  static async fromTrusted(
    network: NetworkFile,
    block: LightBlock,
    policy: TrustPolicy,
    checkpoint?: NonNullable<NetworkFile["checkpoint"]>,
  ): Promise<Result<LightVerifier, Unproven>> {
    const parsed = parseLightBlock(block);
    if (!parsed.ok) return parsed;
    const { header, hash: hashed, own } = parsed.value;
    const { height } = header;
    if (checkpoint !== undefined && !isCheckpoint(parsed.value, checkpoint)) return fail({ code: "checkpoint_mismatch", height });
    if (header.chainId !== network.chainId) return fail({ code: "header_chain", height });
    const facts = factsOf(header);
    const { now, trustingPeriod, driftMax } = clockOf(policy);
    if (facts.time + trustingPeriod <= now) return fail({ code: "trust_expired", height });
    if (facts.time >= now + driftMax) return fail({ code: "header_future", height });
    const verifier = new LightVerifier(
      network,
      { from: heightOf(1n), set: own, setHash: hash("validators", block.validators), change: undefined },
      { policy, facts, block: undefined },
    );
    const certified = await verifier.#checkCertificate(height, hashed, own, block.anchor.certificate);
    if (!certified.ok) return certified;
    const trusted = verifier.#trust(parsed.value);
    return trusted.ok ? ok(verifier) : trusted;
  }

  /** Whether it skips: then `acceptLightBlock` leads further, and `acceptChange` does not. */
  get isSkipping(): boolean {
    return this.#trusted !== undefined;
  }

  /** What a verifier that skips stands on, 0 for genesis. What is above is reached from here, what is below by the history log. */
  get trustedHeight(): Height {
    return heightOf(present(this.#trusted, "a verifier that skips").facts.height);
  }

  /** The header of `trustedHeight`; `undefined` at genesis. */
  get trustedHeader(): VerifiedHeader | undefined {
    return this.#trusted?.block?.at;
  }

  /** What to keep, for `fromTrusted` another day; `undefined` at genesis. */
  trustedBlock(): LightBlock | undefined {
    const block = this.#trusted?.block;
    if (block === undefined) return undefined;
    return {
      anchor: block.anchor,
      validators: encodeMembers(block.own),
      nextValidators: encodeMembers(this.#newest().set),
    };
  }

  /** The chain of sealed headers, under proof of work. */
  get work(): WorkChain | undefined {
    return this.#work;
  }

  /** Takes sealed headers; see `WorkChain.accept`. What a heavier chain leaves is believed no longer. */
  acceptWork(anchors: readonly Anchor[], timeMsMax: bigint): Result<void, Unproven> {
    const accepted = present(this.#work, "a network of proof of work").accept(anchors, timeMsMax);
    if (!accepted.ok) return accepted;
    for (const height of this.#headers.keys()) if (height > accepted.value.fork) this.#headers.delete(height);
    return ok(undefined);
  }

  /** How sure a believed header is; `undefined` when it was left for a heavier chain since. */
  finalityOf({ header, hash: hashed }: VerifiedHeader): Finality | undefined {
    if (this.#work === undefined) return { kind: "final" };
    return this.#isOnChain(header.height, hashed) ? this.#work.finalityAt(header.height) : undefined;
  }

  /** The newest set, and the first height that it decides. */
  get newest(): { readonly from: Height; readonly validators: ValidatorSet } {
    const { from, set } = this.#newest();
    return { from, validators: set };
  }

  /** What leads from the genesis set to the set that decides `height`, for somebody who has only the network file. */
  trustPath(height: Height): readonly SetChange[] {
    return this.#epochs
      .filter((epoch) => epoch.from <= height)
      .flatMap((epoch) => (epoch.change === undefined ? [] : [epoch.change]));
  }

  /** The set that decides a height, as far as is known, `height >= 1`. */
  deciding(height: Height): ValidatorSet {
    return present(this.#epochAt(height), "a set for height {}", height).set;
  }

  /** Every set that is believed, oldest first. */
  get sets(): readonly ValidatorSet[] {
    return this.#epochs.map(({ set }) => set);
  }

  /** The remembered header of a height. */
  known(height: Height): VerifiedHeader | undefined {
    return this.#headers.get(height);
  }

  /** Checks a header against its certificate and the set that decides its height. `validators_unknown`: follow first. */
  async acceptHeader(anchor: Anchor): Promise<Result<VerifiedHeader, Unproven>> {
    return await this.#accept(anchor, { again: false });
  }

  /** With `again`, the certificate is checked even if the header is known already. */
  async #accept(anchor: Anchor, { again }: { readonly again: boolean }): Promise<Result<VerifiedHeader, Unproven>> {
    const parsed = parseHeader(anchor.header);
    if (!parsed.ok) return fail({ code: "answer_malformed", field: "anchor.header" });
    const header = parsed.value;
    const { height } = header;
    if (header.chainId !== this.network.chainId) return fail({ code: "header_chain", height });
    const hashed = headerHash(header);
    const known = this.#headers.get(height);
    if (!again && known !== undefined && bytesEqual(known.hash, hashed)) return ok(known);
    if (this.#work !== undefined)
      return this.#isOnChain(height, hashed) ? this.#adopt(header, hashed) : fail({ code: "headers_unknown", height });
    const trusted = this.#trusted;
    if (trusted !== undefined && height < trusted.facts.height)
      return known === undefined ? fail({ code: "headers_unknown", height }) : fail({ code: "root_mismatch", height });
    const epoch = this.#epochAt(height);
    if (epoch === undefined || !bytesEqual(epoch.setHash, header.validatorsHash))
      return fail({ code: "validators_unknown", height });
    if (trusted !== undefined && height > trusted.facts.height) {
      const placed = checkPlace(trusted.facts, factsOf(header), clockOf(trusted.policy));
      if (!placed.ok) return fail({ code: placed.error.code, height });
    }
    const certified = await this.#checkCertificate(height, hashed, epoch.set, anchor.certificate);
    if (!certified.ok) return certified;
    const adopted = this.#adopt(header, hashed);
    const isLeading = bytesEqual(header.nextValidatorsHash, epoch.setHash) && height > (this.#trusted?.facts.height ?? height);
    // Its next set is the one in office, so that it leads as far as a whole light block: unless somebody else's question has led to
    // another set while the signatures were checked.
    if (adopted.ok && trusted !== undefined && isLeading && this.#newest() === epoch)
      this.#trusted = { ...trusted, facts: factsOf(header), block: { at: adopted.value, anchor, own: epoch.set } };
    return adopted;
  }

  /**
   * Skips to a header above the trusted one.
   *
   * @returns `trust_insufficient`: too far, ask for one in between (`Bisection`); else why it is not believed
   */
  async acceptLightBlock(block: LightBlock): Promise<Result<VerifiedHeader, Unproven>> {
    const { policy, facts } = present(this.#trusted, "a verifier that skips");
    const parsed = parseLightBlock(block);
    if (!parsed.ok) return parsed;
    const { header, hash: hashed, own } = parsed.value;
    const { height } = header;
    if (header.chainId !== this.network.chainId) return fail({ code: "header_chain", height });
    const refuse = ({ code }: RuleError): Result<never, Unproven> => fail({ code, height });
    const placed = checkPlace(facts, factsOf(header), clockOf(policy));
    if (!placed.ok) return refuse(placed.error);
    const certificate = parseCertificate(block.anchor.certificate);
    if (!certificate.ok) return fail({ code: "answer_malformed", field: "anchor.certificate", height });
    const rule = quorumRuleOf(this.network.engine.name);
    if (rule === undefined || certificate.value.kind !== "quorum") return fail({ code: "certificate_kind", height });
    // Counted before any signature is checked, which takes a thousand times as long: too few stay too few.
    const shares = {
      trusted: shareOf(this.#newest().set, certificate.value),
      own: shareOf(own, certificate.value),
      trustLevel: policy.trustLevel,
      rule,
    };
    const reached = checkShares(facts, factsOf(header), shares);
    if (!reached.ok) return refuse(reached.error);
    const certified = await this.#checkCertificate(height, hashed, own, block.anchor.certificate);
    if (!certified.ok) return certified;
    // Somebody else's question may have led further while the signatures were checked.
    if (height <= this.trustedHeight) return this.#adopt(header, hashed);
    return this.#trust(parsed.value);
  }

  /** Stands on a block from now on. */
  #trust({ header, hash: hashed, own, next, anchor }: ParsedLightBlock): Result<VerifiedHeader, Unproven> {
    const adopted = this.#adopt(header, hashed);
    if (!adopted.ok) return adopted;
    const { height, validatorsHash: ownHash, nextValidatorsHash: nextHash } = header;
    const { policy } = present(this.#trusted, "a verifier that skips");
    this.#epochs = [
      { from: height, set: own, setHash: ownHash, change: undefined },
      { from: nextHeight(height), set: next, setHash: nextHash, change: undefined },
    ];
    this.#trusted = { policy, facts: factsOf(header), block: { at: adopted.value, anchor, own } };
    return adopted;
  }

  /** Accepts a change of the newest set: a believed header that names `validators` for the height after it. */
  async acceptChange(change: SetChange): Promise<Result<VerifiedHeader, Unproven>> {
    assert(this.#trusted === undefined, "a verifier that skips takes light blocks");
    // This very certificate is what `trustPath` hands on, so it is not enough that another one was good.
    const verified = await this.#accept(change.anchor, { again: true });
    if (!verified.ok) return verified;
    const { header } = verified.value;
    const { height } = header;
    const newest = this.#newest();
    // Heights before the newest set's first are decided by sets whose end is known already.
    if (height < newest.from) return verified;
    // Another change may have come while the signatures were checked, which this one does not follow.
    if (!bytesEqual(newest.setHash, header.validatorsHash)) return fail({ code: "validators_unknown", height });
    const parsed = parseMembers(change.validators);
    if (!parsed.ok) return fail({ code: "answer_malformed", field: "validators", height });
    const setHash = hash("validators", change.validators);
    if (!bytesEqual(setHash, header.nextValidatorsHash))
      return fail({ code: "validators_mismatch", field: "validators", height });
    if (bytesEqual(setHash, newest.setHash))
      return fail({ code: "validators_mismatch", field: "header.nextValidatorsHash", height });
    this.#epochs.push({ from: nextHeight(height), set: parsed.value, setHash, change });
    return verified;
  }

  /**
   * Believes an old header because a believed newer one commits to it in its `historyRoot`. Under proof of work that is one
   * miner's word and no more, so the old one must be on the chain as well.
   */
  acceptHistory(
    of: { readonly header: Uint8Array; readonly siblings: readonly Hash[] },
    at: VerifiedHeader,
  ): Result<VerifiedHeader, Unproven> {
    const parsed = parseHeader(of.header);
    if (!parsed.ok) return fail({ code: "answer_malformed", field: "header" });
    const header = parsed.value;
    const { height } = header;
    if (height < 1n || height >= at.header.height) return fail({ code: "answer_height", field: "of", height });
    const hashed = headerHash(header);
    const claim = {
      leafHash: LOG_HASHER.leaf(hashed),
      index: height - 1n,
      size: at.header.height - 1n,
      siblings: of.siblings,
      root: at.header.historyRoot,
    };
    const included = verifyInclusion(LOG_HASHER, claim);
    if (!included.ok)
      return fail({
        code: included.error.code === "root_mismatch" ? "root_mismatch" : "proof_malformed",
        field: "siblings",
        height,
      });
    if (this.#work !== undefined && !this.#isOnChain(height, hashed)) return fail({ code: "headers_unknown", height });
    return this.#adopt(header, hashed);
  }

  /** Whether this is the block of its height on the heaviest chain seen. */
  #isOnChain(height: Height, hashed: Hash): boolean {
    const onChain = this.#work?.hashAt(height);
    return onChain !== undefined && bytesEqual(onChain, hashed);
  }

  #newest(): Epoch {
    // The genesis epoch is never taken away.
    return this.#epochs.at(-1) as Epoch;
  }

  #epochAt(height: Height): Epoch | undefined {
    return this.#epochs.findLast((epoch) => epoch.from <= height);
  }

  async #checkCertificate(height: Height, hashed: Hash, set: ValidatorSet, bytes: Uint8Array): Promise<Result<void, Unproven>> {
    const parsed = parseCertificate(bytes);
    if (!parsed.ok) return fail({ code: "answer_malformed", field: "anchor.certificate", height });
    const certificate = parsed.value;
    if (certificate.height !== height || !bytesEqual(certificate.blockHash, hashed))
      return fail({ code: "certificate_block", height });
    const rule = quorumRuleOf(this.network.engine.name);
    if (rule === undefined || certificate.kind !== "quorum") return fail({ code: "certificate_kind", height });
    const verified = await verifyCertificateAsync({ chainId: this.network.chainId, rule, set }, certificate);
    return verified.ok ? ok(undefined) : fail({ ...verified.error, height });
  }

  /** Remembers a proven header, unless it contradicts one that was proven before. */
  #adopt(header: Header, hashed: Hash): Result<VerifiedHeader, Unproven> {
    const { height } = header;
    if (height === 1n && !bytesEqual(header.previous, this.networkHash)) return fail({ code: "header_network", height });
    const same = this.#headers.get(height);
    const before = height === 0n ? undefined : this.#headers.get(heightOf(height - 1n));
    const after = this.#headers.get(nextHeight(height));
    if (
      (same !== undefined && !bytesEqual(same.hash, hashed)) ||
      (before !== undefined && !bytesEqual(header.previous, before.hash)) ||
      (after !== undefined && !bytesEqual(after.header.previous, hashed))
    ) {
      return fail({ code: "fork_detected", height });
    }
    for (const [first, second] of [
      [before?.header, header],
      [header, after?.header],
    ]) {
      if (first === undefined || second === undefined) continue;
      const succeeds = checkSuccession(factsOf(first), factsOf(second));
      if (!succeeds.ok) return fail({ code: succeeds.error.code, height });
    }
    // Only this class makes the brand.
    const verified = { header, hash: hashed } as VerifiedHeader;
    this.#headers.delete(height);
    this.#headers.set(height, verified);
    if (this.#headers.size > (this.#trusted === undefined ? HEADERS_REMEMBERED_MAX : HEADERS_SKIPPED_MAX)) {
      const [oldest] = this.#headers.keys();
      if (oldest !== undefined) this.#headers.delete(oldest);
    }
    return ok(verified);
  }
}
