/**
 * What a node that has pruned a state asks instead: the archives that its configuration names, one after another. What they
 * give is checked against the node's own header, so a wrong archive costs time and nothing else.
 */

import { codeOf } from "../../crypto/base/error.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import type { Height } from "../../chain/block/height.ts";
import { verifyRange } from "../../chain/state/proof.ts";
import type { Log } from "../log/log.ts";
import type { OldStates, StateRange } from "../rpc/backend.ts";
import { Archive } from "./reader.ts";
import { archiveSource } from "./source.ts";

/** Reads of archives at a time. Beyond, the node says that the height is pruned, as it would without archives. */
const IN_FLIGHT_MAX = 8;
/** A head is read again when a height is above it, once in so long. */
const REOPEN_MS = 30_000;

/** See the file's head. */
export class Archives implements OldStates {
  readonly #places: readonly string[];
  readonly #network: NetworkFile;
  readonly #log: Log;
  readonly #signal: AbortSignal;
  readonly #open = new Map<string, { readonly archive: Archive; readonly atMs: number }>();
  #inFlight = 0;

  constructor(options: {
    readonly places: readonly string[];
    readonly network: NetworkFile;
    readonly log: Log;
    readonly signal: AbortSignal;
  }) {
    this.#places = options.places;
    this.#network = options.network;
    this.#log = options.log;
    this.#signal = options.signal;
  }

  /** A proof of a range under `root`, which is that of `height`; `undefined` when no archive has it right. */
  async proveState(height: Height, root: Hash, range: StateRange): Promise<Uint8Array | undefined> {
    if (this.#inFlight >= IN_FLIGHT_MAX) return undefined;
    this.#inFlight += 1;
    try {
      for (const place of this.#places) {
        try {
          const { proof } = await (await this.#archive(place, height)).proveState(range, height);
          const checked = verifyRange(root, range, proof);
          if (checked.ok) return proof;
          this.#log.warn({ place, height, code: checked.error.code }, "an archive is of another chain");
        } catch (error) {
          // An archive is a stranger: whatever is wrong with it, another one may have it right.
          if (this.#signal.aborted) return undefined;
          this.#log.warn({ place, height, code: codeOf(error) }, "an archive does not answer");
        }
      }
      return undefined;
    } finally {
      this.#inFlight -= 1;
    }
  }

  async #archive(place: string, height: Height): Promise<Archive> {
    const known = this.#open.get(place);
    const nowMs = performance.now();
    if (known !== undefined && (known.archive.height >= height || nowMs - known.atMs < REOPEN_MS)) return known.archive;
    const archive = await Archive.open(archiveSource(place), this.#network, this.#signal);
    this.#open.set(place, { archive, atMs: nowMs });
    return archive;
  }
}
