/**
 * The view-changes of one height: of each validator the latest, and the proofs of what they claim.
 *
 * They come in with all signatures checked, those of the proof too. A proof is as good as any other of the same claim,
 * so one of each claim is kept, and its block with the other blocks (`../proposals/candidates.ts`).
 */

import { toHex } from "../../crypto/base/bytes.ts";
import type { Validator, ValidatorSet } from "../../chain/block/validators.ts";
import type { CertificateSignature } from "../../chain/block/vote.ts";
import { isHonestShare, isQuorum } from "../quorum/threshold.ts";
import type { PreparedClaim, ViewChange } from "./message.ts";
import { valueOf } from "./votes.ts";

/** The view-changes of one height. */
export class ViewChangeKeeper {
  readonly #validators: ValidatorSet;
  readonly #latest = new Map<string, ViewChange>();
  readonly #proofs = new Map<string, readonly CertificateSignature[]>();

  constructor(validators: ValidatorSet) {
    this.#validators = validators;
  }

  /** Whether this is a later one of its validator than we have. Two of one validator and view: the first counts. */
  wants({ view, validator }: ViewChange): boolean {
    const known = this.#latest.get(toHex(validator));
    return known === undefined || view > known.view;
  }

  /** Keeps a checked view-change that is wanted, with the prepares that prove its claim. */
  add(change: ViewChange, prepares: readonly CertificateSignature[]): void {
    if (!this.wants(change)) return;
    this.#latest.set(toHex(change.validator), change);
    if (change.prepared !== undefined) this.#proofs.set(claimKey(change.prepared), prepares);
    this.#forgetProofs();
  }

  /** Forgets those for earlier views. */
  moveTo(view: number): void {
    for (const [signer, change] of this.#latest) if (change.view < view) this.#latest.delete(signer);
    this.#forgetProofs();
  }

  /** The view-changes for just this view, in the order of the set. */
  of(view: number): readonly ViewChange[] {
    return this.all().filter((change) => change.view === view);
  }

  /** Every view-change kept, in the order of the set. */
  all(): readonly ViewChange[] {
    return this.#members((change) => change !== undefined).map(({ address }) => this.#latest.get(toHex(address)) as ViewChange);
  }

  /** The prepares that prove a claim of a kept view-change. */
  proofOf(claim: PreparedClaim): readonly CertificateSignature[] | undefined {
    return this.#proofs.get(claimKey(claim));
  }

  /** More than 2/3 want just this view: its new-view can be made. */
  hasQuorumFor(view: number): boolean {
    return isQuorum(
      this.#powerOf((change) => change.view === view),
      this.#validators.totalPower,
    );
  }

  /**
   * More than 2/3 want this view or a later one: its timer runs. The paper counts this view alone; who has gone on
   * repeats only its latest word here, and must not keep those behind from following.
   */
  isWanted(view: number): boolean {
    return isQuorum(
      this.#powerOf((change) => change.view >= view),
      this.#validators.totalPower,
    );
  }

  /** The least of the views after `view` that are wanted, once more than 1/3 want such views. TOCS 2002, 4.5.2. */
  viewToJoin(view: number): number | undefined {
    if (
      !isHonestShare(
        this.#powerOf((change) => change.view > view),
        this.#validators.totalPower,
      )
    )
      return undefined;
    const later = this.all().flatMap((change) => (change.view > view ? [change.view] : []));
    return Math.min(...later);
  }

  #powerOf(isCounted: (change: ViewChange) => boolean): bigint {
    const counted = this.#members((change) => change !== undefined && isCounted(change));
    return counted.reduce((sum, { power }) => sum + power, 0n);
  }

  #members(isCounted: (change: ViewChange | undefined) => boolean): readonly Validator[] {
    return this.#validators.validators.filter(({ address }) => isCounted(this.#latest.get(toHex(address))));
  }

  #forgetProofs(): void {
    const claimed = new Set<string>();
    for (const { prepared } of this.#latest.values()) if (prepared !== undefined) claimed.add(claimKey(prepared));
    for (const key of this.#proofs.keys()) if (!claimed.has(key)) this.#proofs.delete(key);
  }
}

function claimKey({ view, blockHash }: PreparedClaim): string {
  return `${view}/${valueOf(blockHash)}`;
}
