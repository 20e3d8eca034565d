/**
 * Where an audit reads from: the data directory of a stopped node, or a running node that is believed nothing
 * (`rpc-source.ts`). Both answer the same questions; a local one also shows its indexes.
 */

import type { TransactionResult } from "../../chain/block/block.ts";
import type { Height } from "../../chain/block/height.ts";
import { nextHeight } from "../../chain/block/height.ts";
import { encodeMembers } from "../../chain/block/validators.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import type { Executor } from "../../chain/state/executor.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { type Damage, scrubRows } from "../scrub/rows.ts";

/** A block and the certificate of its own height, as bytes. `holder`: who has it, when it is not the source. */
export type EncodedHeight = { readonly block: Uint8Array; readonly certificate: Uint8Array; readonly holder?: string };

/** Who may have blocks that a source has forgotten, or never had. Believed no more than the source. */
export type BlockHolder = {
  /** For people: a path or a URL. */
  readonly name: string;
  /** `undefined` when it does not have it. @throws CodedError when it does not answer */
  readonly height: (height: Height) => Promise<EncodedHeight | undefined>;
};

/** A record and its path to the root of its partition. */
export type EncodedRecord = {
  readonly index: bigint;
  readonly bytes: Uint8Array;
  readonly siblings: readonly Hash[] | undefined;
};

/** What an audit asks. Absence is `undefined`; a source that fails throws `CodedError`. */
export interface AuditSource {
  /** For people: a path or a URL. */
  readonly name: string;
  /** The newest final height. */
  readonly head: () => Promise<Height>;
  readonly height: (height: Height) => Promise<EncodedHeight | undefined>;
  /** Siblings of header `of` under the history root in header `at`; with indexes, also in the header after the newest. */
  readonly history: (of: Height, at: Height) => Promise<readonly Hash[] | undefined>;
  /** A proof of a page of the state after `height`, from key `from` on. */
  readonly state: (height: Height, from: Uint8Array, limit: number) => Promise<Uint8Array | undefined>;
  /** Records of a partition, each proven against its head in the state after `height`. */
  readonly records: (
    height: Height,
    stream: string,
    partition: number,
    from: bigint,
    count: number,
  ) => Promise<readonly EncodedRecord[]>;
  /** What only a data directory has. */
  readonly indexes?: {
    header(height: Height): Uint8Array | undefined;
    results(height: Height): readonly TransactionResult[] | undefined;
    validators(height: Height): Uint8Array | undefined;
    find(id: Hash): { readonly height: Height; readonly index: number } | undefined;
    /** The root of the state that is kept for a height; `undefined` when it was pruned. */
    stateRoot(height: Height): Hash | undefined;
    /** Recomputes every hash of a kept state; the key at fault, or `undefined`. */
    stateFault(height: Height): Uint8Array | undefined;
    /** What a scrub finds: rows that no proof of the newest state goes through, and rows that nothing leads to. */
    damages(): AsyncIterable<Damage>;
  };
}

/**
 * A source whose missing blocks come from others, in order. One that fails is passed over while another has the block; when none
 * has, its failure is what is told.
 */
export function withHolders(source: AuditSource, holders: readonly BlockHolder[]): AuditSource {
  return {
    ...source,
    height: async (height) => {
      const own = await source.height(height);
      let failure: CodedError | undefined;
      for (const { name, height: ask } of own === undefined ? holders : []) {
        try {
          const found = await ask(height);
          if (found !== undefined) return { ...found, holder: name };
        } catch (error) {
          if (!(error instanceof CodedError)) throw error;
          failure ??= error;
        }
      }
      if (own === undefined && failure !== undefined) throw failure;
      return own;
    },
  };
}

/** The source over an opened ledger. Reads alone. */
export function ledgerSource(ledger: Ledger, executor: Executor, name: string): AuditSource {
  return {
    name,
    head: async () => ledger.head().height,
    height: async (height) => {
      const block = ledger.blockBytes(height);
      const certificate = ledger.certificateBytes(height);
      return block === undefined || certificate === undefined ? undefined : { block, certificate };
    },
    history: async (of, at) => ledger.proveHistory(of, at),
    state: async (height, from, limit) => ledger.proveState(height, { from, limit }),
    records: async (height, stream, partition, from, count) =>
      ledger
        .records(stream, partition, from, count)
        .map(({ index, bytes }) => ({ index, bytes, siblings: ledger.proveRecord(height, stream, partition, index) })),
    indexes: {
      header: (height) => ledger.headerBytes(height),
      results: (height) => ledger.results(height),
      validators: (height) => {
        const set = ledger.validators(nextHeight(height));
        return set === undefined ? undefined : encodeMembers(set);
      },
      find: (id) => ledger.findTransaction(id),
      stateRoot: (height) => ledger.tree.rootAt(height),
      stateFault: (height) => ledger.tree.audit(height)?.key,
      async *damages() {
        for await (const step of scrubRows({ ledger, executor })) yield* step.damages;
      },
    },
  };
}
