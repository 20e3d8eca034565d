/** What a checker is: it watches a run and says what must never be. */

import { heightOf } from "../../../chain/block/height.ts";
import type { Commit, Ledger } from "../../../chain/ledger/ledger.ts";

/** What must never be, and was. */
export type Violation = {
  /** The property that broke, in lower_snake. */
  readonly property: string;
  readonly message: string;
  readonly atMs: number;
};

/** What happens to a node's write-ahead log. */
export type LogEvent =
  /** It was read back, or begun anew. */
  | { readonly kind: "begun"; readonly records: readonly Uint8Array[] }
  /** A record was handed to it. */
  | { readonly kind: "asked"; readonly record: Uint8Array }
  /** So many more of the records handed to it are durable, in their order. */
  | { readonly kind: "durable"; readonly count: number };

/** Watches a run. Of nodes that are not honest a checker is told too, and takes no word for granted. */
export interface Checker {
  /** A node made a block final. */
  onCommit?(index: number, commit: Commit): void;
  /** A node's engine said something. */
  onSaid?(index: number, bytes: Uint8Array): void;
  /** A node's engine is handed this. */
  onHeard?(index: number, bytes: Uint8Array): void;
  /** A node read its ledger back from its disk. */
  onOpened?(index: number, ledger: Ledger): void;
  /** A node's log was read, written, or is durable. */
  onLog?(index: number, event: LogEvent): void;
  /** The node's disk is not the one that it wrote to. */
  forget?(index: number): void;
  /** A node refused to start, or ended itself. */
  onFailed?(index: number, when: "opening" | "running", error: unknown): void;
  /** The run is over. */
  onEnd?(): void | Promise<void>;
}

/** What a ledger made final above a height, as far as it has the blocks. */
export function commitsOf(ledger: Ledger, above: bigint): Pick<Commit, "block" | "certificate">[] {
  const commits: Pick<Commit, "block" | "certificate">[] = [];
  for (let height = above + 1n; height <= ledger.head().height; height += 1n) {
    const block = ledger.block(heightOf(height));
    const certificate = ledger.certificate(heightOf(height));
    if (block === undefined || certificate === undefined) break;
    commits.push({ block, certificate });
  }
  return commits;
}

/** What checkers know of a run. */
export type CheckerParts = {
  /** Whether a node keeps the protocol: its owner is honest, and its disk has not been damaged beyond what it can bear. */
  readonly isHonest: (index: number) => boolean;
  readonly violated: (property: string, message: string) => void;
};
