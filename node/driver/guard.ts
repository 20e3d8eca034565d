/**
 * The double-sign guard: the last thing between a validator's key and two signatures for one step.
 *
 * It keeps (height, round, step) of the newest signature with the bytes that were signed, durably, before the
 * signature leaves. It signs only forward; asked again for exactly the same bytes it returns the same signature.
 *
 * What it survives:
 * - a crash at any point: the file is replaced whole and its directory fsynced before the signature is returned;
 * - a torn or damaged file: it has a checksum, and a file that does not check stops the validator instead of
 *   starting it from nothing;
 * - a lost file: one must exist once a key has been used (`open` makes it only for a node that has no blocks);
 * - an old file (a restored backup): the file says which file it is (its number and when it was made), which a copy is
 *   not, so `isCopy` tells; `raiseFloor` forbids all heights that others may have seen us in, and `witness` learns from
 *   our own votes when peers send them back. A whole disk that is set back (a snapshot of a machine) looks like itself:
 *   then only the other two help.
 *
 * Beside that it remembers the latest term that an engine with a log of its own (Raft) has spoken in: who finds no record
 * of that term has lost its log, with votes and acknowledgements that others count on.
 *
 * Source: the state file of CometBFT's private validator, and the ways it has failed (rolled back by a rename
 * without a directory sync; restored from a backup while the chain stood still).
 */

import { assert } from "../../crypto/base/assert.ts";
import { bytesEqual, concatBytes, EMPTY } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";
import { readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import type { KeyPair } from "../../crypto/sign/key.ts";
import { GENESIS_HEIGHT, type Height, heightOf } from "../../chain/block/height.ts";
import type { Recall } from "../../consensus/engine.ts";
import { type Disk, directoryOf, replaceFile } from "../ports/disk.ts";

/** The order of what a validator signs in a round. */
export const STEP = { proposal: 1, prevote: 2, precommit: 3 } as const;
/** One of the three things that a validator signs in a round. */
export type Step = keyof typeof STEP;

/** What is about to be signed. */
export type SignRequest = { readonly height: Height; readonly round: number; readonly step: Step; readonly bytes: Uint8Array };

/**
 * Why the guard refused:
 * - `sign_regression`: this step is before one that was signed already
 * - `sign_conflict`: this step was signed, with other bytes
 * - `sign_floor`: others may hold, or do hold, a signature of ours at this height that this home does not remember
 */
export type SignRefusal = { readonly code: "sign_regression" | "sign_conflict" | "sign_floor" };

type State = {
  readonly height: Height;
  readonly round: number;
  readonly step: number;
  readonly bytes: Uint8Array;
  readonly signature: Uint8Array;
  /** The newest height at which others held a signature of ours that this home did not remember. */
  readonly forgottenHeight: Height;
  /** The latest term spoken in; 0 for none. */
  readonly term: bigint;
  /** This home is known to have forgotten something, and nobody has settled what is to follow from that. */
  readonly isUnsettled: boolean;
  /** At this height and below this home may have signed anything. */
  readonly unknownHeight: Height;
};

const CHECKSUM_SIZE_BYTES = 16;
const FIELD_SIZE_BYTES_MAX = 16 * 1024;
const IDENTITY_SIZE_BYTES_MAX = 128;
const STATE_SIZE_BYTES_MAX = 64 * 1024;
const INITIAL: State = {
  height: GENESIS_HEIGHT,
  round: 0,
  step: 0,
  bytes: EMPTY,
  signature: EMPTY,
  forgottenHeight: GENESIS_HEIGHT,
  term: 0n,
  isUnsettled: false,
  unknownHeight: GENESIS_HEIGHT,
};

/** Signs for one validator key, never twice for one step. */
export class SignGuard {
  readonly #path: string;
  readonly #disk: Disk;
  readonly #keyPair: KeyPair;
  #state: State;
  #floor: Height = GENESIS_HEIGHT;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(
    file: { readonly path: string; readonly disk: Disk; readonly isCopy: boolean },
    keyPair: KeyPair,
    state: State,
  ) {
    this.#path = file.path;
    this.#disk = file.disk;
    this.#keyPair = keyPair;
    // The next write makes the file its own again, and must not make that forgotten.
    this.#state = { ...state, isUnsettled: state.isUnsettled || file.isCopy };
  }

  /**
   * Opens the state file, or makes it when `isNew` says that this home has never held a block.
   *
   * @throws `sign_state_missing`, `sign_state_corrupt`: the operator must find out what was signed before going on
   */
  static async open(options: {
    readonly path: string;
    readonly disk: Disk;
    readonly keyPair: KeyPair;
    readonly isNew: boolean;
  }): Promise<SignGuard> {
    const { path, disk, keyPair, isNew } = options;
    let bytes = await disk.read(path, STATE_SIZE_BYTES_MAX);
    if (bytes === undefined) {
      if (!isNew)
        throw new CodedError("sign_state_missing", {
          path,
          message: "this home has blocks but no record of what its key signed",
        });
      await replaceFile(disk, path, (identity) => (bytes = encodeState(INITIAL, identity)));
      assert(bytes !== undefined, "state that was just written");
    }
    const state = parseState(bytes);
    if (!state.ok) throw new CodedError("sign_state_corrupt", { path, message: "the record of what this key signed is damaged" });
    // Whoever wrote it may have been killed between the rename and the sync of the directory: what was read must stay.
    await disk.syncDirectory(directoryOf(path));
    const isCopy = (await disk.identityOf(path)) !== state.value.identity;
    return new SignGuard({ path, disk, isCopy }, keyPair, state.value.state);
  }

  /** Whether the file is, or was until `settle`, a copy of the one that was written: it may be older than what the key signed. */
  get isCopy(): boolean {
    return this.#state.isUnsettled;
  }

  /**
   * From now on, and after every restart, sign nothing at or below `height`, at which this home may have signed what it does
   * not remember. Genesis: nothing is unknown.
   */
  async settle(height: Height): Promise<void> {
    await this.#inTurn(async () => await this.#store({ isUnsettled: false, unknownHeight: height }));
  }

  /** The height at and below which this home may have signed anything. */
  get unknownHeight(): Height {
    return this.#state.unknownHeight;
  }

  /** The newest height that this key is known to have signed at. */
  get height(): Height {
    return this.#state.height;
  }

  /** The height and round of its newest signature. */
  get newest(): { readonly height: Height; readonly round: number } {
    return { height: this.#state.height, round: this.#state.round };
  }

  /** Whether its newest signature is of a vote, which engines write down before it is signed; a proposal they write down after it. */
  get isNewestVote(): boolean {
    return this.#state.step > STEP.proposal;
  }

  /** From now on sign nothing at or below `height`. */
  raiseFloor(height: Height): void {
    if (height > this.#floor) this.#floor = height;
  }

  /** The height that is sat out, with all below it. */
  get floor(): Height {
    return this.#floor;
  }

  /** Nothing is forbidden any longer but what this home remembers or knows not to, and what `witness` has learnt meanwhile. */
  liftFloor(): void {
    this.#floor = GENESIS_HEIGHT;
  }

  /** Someone holds a signature of ours from this step: never sign at or before it again. */
  async witness(seen: { readonly height: Height; readonly round: number; readonly step: Step }): Promise<void> {
    await this.#inTurn(async () => {
      if (compareSteps(seen.height, seen.round, STEP[seen.step], this.#state) <= 0) return;
      const { height, round } = seen;
      await this.#store({ height, round, step: STEP[seen.step], bytes: EMPTY, signature: EMPTY, forgottenHeight: height });
    });
  }

  /** The latest term that was spoken in; 0 for none. */
  get term(): bigint {
    return this.#state.term;
  }

  /** Remembers a term, durably before it resolves: nothing is said in it before. */
  async raiseTerm(term: bigint): Promise<void> {
    if (term <= this.#state.term) return;
    await this.#inTurn(async () => {
      if (term <= this.#state.term) return;
      await this.#store({ term });
    });
  }

  /** Signs, durably remembered before it resolves, or says why not. Requests are answered in order. */
  async sign(request: SignRequest): Promise<Result<Uint8Array, SignRefusal>> {
    return await this.#inTurn(async () => {
      const step = STEP[request.step];
      const order = compareSteps(request.height, request.round, step, this.#state);
      if (order < 0) return fail({ code: "sign_regression" });
      if (order === 0) {
        const isSame = this.#state.signature.length > 0 && bytesEqual(request.bytes, this.#state.bytes);
        return isSame ? ok(this.#state.signature) : fail({ code: "sign_conflict" });
      }
      if (request.height <= this.#floor || request.height <= this.#state.unknownHeight) return fail({ code: "sign_floor" });
      const signature = this.#keyPair.sign(request.bytes);
      await this.#store({ height: request.height, round: request.round, step, bytes: request.bytes, signature });
      return ok(signature);
    });
  }

  /**
   * Signs what binds to nothing: two different statements of one validator are no offence, so nothing is remembered. But
   * one that `recalls` what was signed before is refused to a home that may not remember it: a view-change that claims less
   * than its sender committed lets others decide a second block.
   */
  async signStatement(bytes: Uint8Array, recalls: Recall | undefined): Promise<Result<Uint8Array, SignRefusal>> {
    return await this.#inTurn(async () => {
      const refusal = recalls === undefined ? undefined : this.#refusalOf(recalls);
      return await Promise.resolve(refusal === undefined ? ok(this.#keyPair.sign(bytes)) : fail({ code: refusal }));
    });
  }

  #refusalOf({ height, round }: Recall): SignRefusal["code"] | undefined {
    const { forgottenHeight, unknownHeight } = this.#state;
    if (height <= this.#floor || height <= forgottenHeight || height <= unknownHeight) return "sign_floor";
    if (height < this.#state.height) return "sign_regression";
    const isLess = height === this.#state.height && this.#state.step === STEP.precommit && round < this.#state.round;
    return isLess ? "sign_conflict" : undefined;
  }

  async #store(changes: Partial<State>): Promise<void> {
    const state = { ...this.#state, ...changes };
    await replaceFile(this.#disk, this.#path, (identity) => encodeState(state, identity));
    this.#state = state;
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined); // The caller sees its failure; the queue only keeps the order.
    return await turn;
  }
}

function compareSteps(height: Height, round: number, step: number, state: State): number {
  if (height !== state.height) return height < state.height ? -1 : 1;
  return round - state.round || step - state.step;
}

function encodeState(state: State, identity: string): Uint8Array {
  const body = new Writer()
    .array(10)
    .text(identity)
    .uint(state.height)
    .uint(state.round)
    .uint(state.step)
    .bytes(state.bytes)
    .bytes(state.signature)
    .uint(state.forgottenHeight)
    .uint(state.term)
    .bool(state.isUnsettled)
    .uint(state.unknownHeight)
    .finish();
  return concatBytes(blake3(body).subarray(0, CHECKSUM_SIZE_BYTES), body);
}

type StateFile = { readonly identity: string; readonly state: State };

function parseState(bytes: Uint8Array): Result<StateFile, { readonly code: "sign_state_corrupt" }> {
  const body = bytes.subarray(CHECKSUM_SIZE_BYTES);
  if (!bytesEqual(bytes.subarray(0, CHECKSUM_SIZE_BYTES), blake3(body).subarray(0, CHECKSUM_SIZE_BYTES))) {
    return fail({ code: "sign_state_corrupt" });
  }
  const parsed = readWith(body, (reader): StateFile => {
    // Files of before have fewer fields: what they do not say was not remembered.
    const { offset } = reader;
    const length = reader.array(10);
    if (length < 6 || length === 9) reader.refuse("encoding_limit", offset);
    const identity = reader.text(IDENTITY_SIZE_BYTES_MAX);
    const state = {
      height: heightOf(BigInt(reader.number())),
      round: reader.number(),
      step: reader.number(STEP.precommit),
      bytes: reader.bytes(FIELD_SIZE_BYTES_MAX).slice(),
      signature: reader.bytes(FIELD_SIZE_BYTES_MAX).slice(),
      forgottenHeight: length > 6 ? heightOf(BigInt(reader.number())) : GENESIS_HEIGHT,
      term: length > 7 ? reader.uint() : 0n,
      isUnsettled: length > 8 && reader.bool(),
      unknownHeight: length > 8 ? heightOf(reader.uint()) : GENESIS_HEIGHT,
    };
    return { identity, state };
  });
  return parsed.ok ? parsed : fail({ code: "sign_state_corrupt" });
}
