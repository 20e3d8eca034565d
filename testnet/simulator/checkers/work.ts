/**
 * Proof of work: honest nodes end on one chain, the one of most work that any of them followed; and a fresh replay of it
 * has every root, target and seal that its headers claim, however often blocks were undone on the way.
 */

import { bytesEqual } from "../../../crypto/base/bytes.ts";
import type { NetworkFile } from "../../../chain/block/genesis.ts";
import { heightOf } from "../../../chain/block/height.ts";
import { type Commit, Ledger } from "../../../chain/ledger/ledger.ts";
import { openMemoryStore } from "../../../chain/store/memory.ts";
import { EXECUTOR } from "../../../contracts/executor.ts";
import type { Machine } from "../node.ts";
import type { Signatures } from "../signatures.ts";
import type { Checker, CheckerParts } from "./checker.ts";

/** What the checker is given. */
export type WorkParts = CheckerParts & {
  readonly network: NetworkFile;
  readonly signatures: Signatures;
  readonly machines: readonly Machine[];
};

/** See the file's head. */
export class Work implements Checker {
  readonly #parts: WorkParts;
  /** Of each node: the most work that it followed with the disk that it has. */
  readonly #most = new Map<number, bigint>();

  constructor(parts: WorkParts) {
    this.#parts = parts;
  }

  onCommit(index: number, { certificate }: Commit): void {
    if (!this.#parts.isHonest(index) || certificate.kind !== "work") return;
    if (certificate.chainWork > (this.#most.get(index) ?? 0n)) this.#most.set(index, certificate.chainWork);
  }

  /** What only a lost disk had is lost with it. */
  forget(index: number): void {
    this.#most.delete(index);
  }

  async onEnd(): Promise<void> {
    const { network, signatures, machines, violated, isHonest } = this.#parts;
    const chain = machines.find(({ index, running }) => running !== undefined && isHonest(index))?.running?.ledger;
    if (chain === undefined) return;
    const head = chain.certificate(chain.head().height);
    for (const [index, most] of this.#most)
      if (head?.kind === "work" && head.chainWork < most)
        violated("most_work", `the chain has work ${head.chainWork}, and node ${index} followed one of ${most}`);
    const store = openMemoryStore();
    const replay = await Ledger.open({ store, network, executor: EXECUTOR, verify: signatures.verify });
    for (let height = 1n; height <= chain.head().height; height += 1n) {
      const [block, certificate] = [chain.block(heightOf(height)), chain.certificate(heightOf(height))];
      if (block === undefined || certificate === undefined) {
        violated("replay", `height ${height} is missing`);
        return;
      }
      const certified = await replay.checkCertificate(block, certificate);
      const judged = certified.ok ? await replay.judge(block) : certified;
      if (!judged.ok) {
        violated("replay", `a fresh replay refuses height ${height}: ${judged.error.code}`);
        return;
      }
      await replay.commit(block, certificate);
    }
    if (!bytesEqual(replay.head().stateRoot, chain.head().stateRoot))
      violated("replay", "the state after all is not that of a replay");
  }
}
