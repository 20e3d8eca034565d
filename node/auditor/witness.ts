/**
 * A witness: cosigns checkpoints of the history log that it audited, never one that takes back what it signed before.
 *
 * What it signed last is on disk before the signature leaves. Under proof of work a history may be left for another, so
 * there is nothing to cosign.
 *
 * Source: c2sp.org/tlog-cosignature and c2sp.org/tlog-witness: the witness keeps the newest size and root of a log.
 */

import { bytesEqual, utf8 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { KeyPair } from "../../crypto/sign/key.ts";
import type { Header } from "../../chain/block/block.ts";
import { placeFile, readFileBounded } from "../home/files.ts";
import {
  cosignCheckpoint,
  encodeCheckpoint,
  encodeNote,
  encodeNoteKey,
  historyCheckpoint,
  NOTE_SIZE_BYTES_MAX,
  parseCheckpoint,
  parseNote,
} from "../light/checkpoint.ts";

/** Who cosigns, and where the newest cosigned checkpoint is kept. */
export type WitnessOptions = {
  /** As verifiers know it, such as `witness.example/w1`. */
  readonly name: string;
  /** Ed25519, and used for nothing else. */
  readonly keyPair: KeyPair;
  readonly path: string;
  readonly networkHash: Hash;
  readonly nowMs: () => number;
};

/** See the file's head. */
export class Witness {
  readonly #options: WitnessOptions;
  #newest: string | undefined;

  private constructor(options: WitnessOptions, newest: string | undefined) {
    this.#options = options;
    this.#newest = newest;
  }

  /** @throws CodedError `witness_state` when the file is not what a witness wrote; `witness_key` when the key cannot cosign */
  static async open(options: WitnessOptions): Promise<Witness> {
    const { type } = options.keyPair.publicKey;
    if (type !== "ed25519")
      throw new CodedError("witness_key", { message: `cosignatures are made with Ed25519 keys, not ${type}` });
    const bytes = await readFileBounded(options.path, NOTE_SIZE_BYTES_MAX);
    if (bytes === undefined) return new Witness(options, undefined);
    const note = parseNote(bytes);
    if (!note.ok || !parseCheckpoint(note.value.text).ok)
      throw new CodedError("witness_state", {
        message: "the file of what was cosigned is damaged: find out what was signed before going on",
      });
    return new Witness(options, new TextDecoder().decode(bytes));
  }

  /** The newest cosigned checkpoint, as a signed note. */
  get newest(): string | undefined {
    return this.#newest;
  }

  /** What verifiers are configured with. */
  get verifierKey(): string {
    const { name, keyPair } = this.#options;
    return encodeNoteKey({ name, algorithm: "cosignature", key: keyPair.publicKey });
  }

  /**
   * Cosigns the history that an audited header commits to.
   *
   * @param rootAt - the root of that history at a smaller size, from what was audited
   * @returns the note; `undefined` when there is nothing new
   * @throws CodedError `witness_conflict`: it would contradict what was cosigned before
   */
  async cosign(header: Header, rootAt: (size: bigint) => Hash | undefined): Promise<string | undefined> {
    const { name, keyPair, path, networkHash, nowMs } = this.#options;
    const checkpoint = historyCheckpoint(networkHash, header);
    const before = this.#newest === undefined ? undefined : parseNote(utf8(this.#newest));
    const last = before?.ok === true ? parseCheckpoint(before.value.text) : undefined;
    if (last?.ok === true) {
      const { origin, size, root } = last.value;
      if (checkpoint.size <= size && origin === checkpoint.origin) return undefined;
      const then = rootAt(size);
      if (origin !== checkpoint.origin || then === undefined || !bytesEqual(then, root))
        throw new CodedError("witness_conflict", {
          message: "what was cosigned before is not the beginning of this history",
          size,
          origin,
        });
    }
    const text = encodeCheckpoint(checkpoint);
    const note = encodeNote({ text, signatures: [cosignCheckpoint(text, name, keyPair, BigInt(Math.floor(nowMs() / 1000)))] });
    await placeFile(path, note, { mode: 0o644 });
    this.#newest = note;
    return note;
  }
}
