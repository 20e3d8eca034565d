/**
 * Every decided block, executed afresh by a ledger that no fault touches, has the roots that its header claims; every
 * node's certificate for it holds; and the ledger's sets are what other checkers know of who may vote.
 */

import { bytesEqual, toHex } from "../../../crypto/base/bytes.ts";
import type { NetworkFile } from "../../../chain/block/genesis.ts";
import { heightOf } from "../../../chain/block/height.ts";
import type { ValidatorSet } from "../../../chain/block/validators.ts";
import { encodeCertificate } from "../../../chain/block/vote.ts";
import { type Commit, Ledger } from "../../../chain/ledger/ledger.ts";
import { openMemoryStore } from "../../../chain/store/memory.ts";
import { EXECUTOR } from "../../../contracts/executor.ts";
import type { Signatures } from "../signatures.ts";
import type { Sometimes } from "../sometimes.ts";
import { type Checker, type CheckerParts, commitsOf } from "./checker.ts";

/** See the file's head. */
export class Replay implements Checker {
  readonly ledger: Ledger;
  readonly #parts: CheckerParts & { readonly sometimes: Sometimes };
  readonly #certificates = new Map<bigint, Uint8Array>();
  readonly #sets = new Map<bigint, ValidatorSet>();
  /** The highest that an honest node made final. */
  #seen = 0n;
  #queue: Promise<void> = Promise.resolve();

  private constructor(ledger: Ledger, parts: CheckerParts & { readonly sometimes: Sometimes }) {
    this.ledger = ledger;
    this.#parts = parts;
  }

  static async open(
    options: { readonly network: NetworkFile; readonly signatures: Signatures },
    parts: CheckerParts & { readonly sometimes: Sometimes },
  ): Promise<Replay> {
    const { network, signatures } = options;
    const store = openMemoryStore();
    return new Replay(await Ledger.open({ store, network, executor: EXECUTOR, verify: signatures.verify }), parts);
  }

  /** Who decides a height that the chain has come to. */
  setOf(height: bigint): ValidatorSet | undefined {
    const known = this.#sets.get(height);
    if (known !== undefined) return known;
    const set = this.ledger.validators(heightOf(height));
    if (set !== undefined) this.#sets.set(height, set);
    return set;
  }

  /** As `Agreement.onOpened`. */
  onOpened(index: number, ledger: Ledger): void {
    for (const commit of commitsOf(ledger, this.#seen)) this.onCommit(index, commit);
  }

  onCommit(index: number, commit: Pick<Commit, "block" | "certificate">): void {
    if (!this.#parts.isHonest(index)) return;
    const { height } = commit.block.header;
    if (height > this.#seen) this.#seen = height;
    this.#queue = this.#queue.then(async () => await this.#check(index, commit));
  }

  async #check(index: number, { block, certificate }: Pick<Commit, "block" | "certificate">): Promise<void> {
    const { height } = block.header;
    const bytes = encodeCertificate(certificate);
    const known = this.#certificates.get(height);
    // One that was checked already proves the same again.
    if (known !== undefined && bytesEqual(known, bytes)) return;
    if (known !== undefined) this.#parts.sometimes.saw("certificates_differ");
    const certified = await this.ledger.checkCertificate(block, certificate);
    if (!certified.ok) {
      this.#parts.violated("certificate", `node ${index} made height ${height} final by ${certified.error.code}`);
      return;
    }
    this.#certificates.set(height, bytes);
    if (this.ledger.head().height + 1n !== height) return;
    const judged = await this.ledger.judge(block);
    if (!judged.ok) {
      const { code, field } = judged.error;
      const name = toHex(block.hash).slice(0, 8);
      this.#parts.violated("replay", `node ${index} made ${name} of height ${height} final, and a replay says ${code} ${field}`);
      return;
    }
    await this.ledger.commit(block, certificate);
  }
}
