/**
 * Keeps a node's number: reads its lease from the chain after every block, tells the ids which window they may use, and,
 * when it may send transactions, claims a number and renews its lease at half.
 *
 * Under proof of work a block can be undone, so what counts is the state as far down as the network lets nobody go back.
 *
 * A lease is used when its owner is this node's key and its holder this data directory. One that another directory of the
 * same key holds is left alone until it ends.
 */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import type { Result } from "../../crypto/base/result.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { NODE_NUMBER_MAX, nodeNumberOf, type ScarabFields, SCARAB_EPOCH_MS, SCARAB_TIME_MS_END } from "../../crypto/id/scarab.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import type { KeyPair } from "../../crypto/sign/key.ts";
import { feeOf, type NetworkFile } from "../../chain/block/genesis.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { AMOUNT_MAX } from "../../chain/block/limits.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import { findValidator } from "../../chain/block/validators.ts";
import type { StateView } from "../../chain/state/executor.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import { accountAt } from "../../contracts/accounts.ts";
import { NUMBER_LEASE_MS, numberLeaseAt, numberOf, NUMBERS_FOR_VALIDATORS } from "../../contracts/numbers.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import type { Log } from "../log/log.ts";
import type { Obelisk } from "./obelisk.ts";

/** A transaction of ours that is not in a block after so many heights is given up, and another one made. */
const VALID_FOR_HEIGHTS = 50n;

/** What the keeper is made from. */
export type KeeperParts = {
  readonly ledger: Pick<Ledger, "head" | "state">;
  readonly network: NetworkFile;
  readonly obelisk: Obelisk;
  readonly keyPair: KeyPair;
  /** Hands a transaction in; `undefined` when the node may send none. */
  readonly submit: ((bytes: Uint8Array) => Promise<Result<Hash>>) | undefined;
  /** A fraction, `0 <= fraction < 1`, by which the search for a free number begins somewhere. */
  readonly draw: () => number;
  readonly log: Log;
};

/** See the file's head. */
export class NumberKeeper {
  readonly #parts: KeeperParts;
  /** What was sent, under this nonce, may be in a block until this height. */
  #pending: { readonly nonce: bigint; readonly until: Height } | undefined;
  #epoch: bigint | undefined;

  constructor(parts: KeeperParts) {
    this.#parts = parts;
  }

  /** Looks at the chain; call it at the start and after each block. Sending is not waited for by the chain. */
  async follow(): Promise<void> {
    const { ledger, obelisk, keyPair, network } = this.#parts;
    const { height, timeMs } = ledger.head();
    const view = this.#settled(height);
    if (view === undefined) return;
    const self = addressOfKey(keyPair.publicKey);
    const found = numberOf(view, self);
    const isOurs = found !== undefined && bytesEqual(found.lease.holder, obelisk.incarnation);
    if (found !== undefined && isOurs) {
      const { lease, number } = found;
      this.#noteEpoch(lease.epoch, number);
      obelisk.scarabs.use({ node: number, window: { startMs: Number(lease.startMs), endMs: Number(lease.endMs) } });
    } else {
      this.#epoch = undefined;
      obelisk.scarabs.use(undefined);
    }
    const { submit } = this.#parts;
    const newest = ledger.state(height);
    if (submit === undefined || newest === undefined || this.#isPending(newest, height)) return;
    const isLive = found !== undefined && timeMs < found.lease.endMs;
    // Claimed by another directory of this key: nothing to do until that lease ends.
    if (isLive && !isOurs) return;
    if (found !== undefined && isLive && found.lease.endMs - timeMs > NUMBER_LEASE_MS / 2n) return;
    const call: Call | undefined =
      found !== undefined && isLive
        ? { kind: "numberRenew", number: found.number, epoch: found.lease.epoch }
        : this.#claim(newest, timeMs);
    if (call !== undefined) await this.#send(submit, call, newest, { height, network });
  }

  /** Whether the chain has a lease that such an id may be made under. */
  isLeased({ node, timeMs }: ScarabFields): boolean {
    const { ledger } = this.#parts;
    const view = ledger.state(ledger.head().height);
    const lease = view === undefined ? undefined : numberLeaseAt(view, node);
    return lease !== undefined && BigInt(timeMs) >= lease.startMs && BigInt(timeMs) < lease.endMs;
  }

  /** The state that nobody can undo any more. */
  #settled(height: Height): StateView | undefined {
    const { ledger, network } = this.#parts;
    const depth = network.engine.name === "pow" ? BigInt(network.engine.reorgDepthMax) : 0n;
    return height < depth ? undefined : ledger.state(heightOf(height - depth));
  }

  #noteEpoch(epoch: bigint, number: number): void {
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    this.#parts.log.info({ number, epoch }, "node number leased");
  }

  #isPending(view: StateView, height: Height): boolean {
    if (this.#pending === undefined) return false;
    const isOver = accountAt(view, addressOfKey(this.#parts.keyPair.publicKey)).nonce > this.#pending.nonce;
    if (isOver || height > this.#pending.until) this.#pending = undefined;
    return this.#pending !== undefined;
  }

  /** A number that is free by the newest state, of the half that this node may claim. */
  #claim(view: StateView, timeMs: bigint): Call | undefined {
    const { keyPair, network, obelisk, draw } = this.#parts;
    if (timeMs < BigInt(SCARAB_EPOCH_MS) || timeMs >= BigInt(SCARAB_TIME_MS_END)) return undefined;
    const isValidator =
      network.engine.name === "pow" ||
      findValidator(EXECUTOR.validatorsAt(view, "current"), addressOfKey(keyPair.publicKey)) !== undefined;
    const [low, count] = isValidator
      ? [0, NUMBERS_FOR_VALIDATORS]
      : [NUMBERS_FOR_VALIDATORS, NODE_NUMBER_MAX + 1 - NUMBERS_FOR_VALIDATORS];
    const start = Math.floor(draw() * count);
    for (let index = 0; index < count; index += 1) {
      const number = nodeNumberOf(low + ((start + index) % count));
      const lease = numberLeaseAt(view, number);
      if (lease === undefined || timeMs >= lease.endMs) return { kind: "numberClaim", number, holder: obelisk.incarnation };
    }
    return undefined;
  }

  async #send(
    submit: (bytes: Uint8Array) => Promise<Result<Hash>>,
    call: Call,
    view: StateView,
    { height, network }: { readonly height: Height; readonly network: NetworkFile },
  ): Promise<void> {
    const { keyPair, log } = this.#parts;
    const sender = addressOfKey(keyPair.publicKey);
    const { nonce, balance } = accountAt(view, sender);
    const expiry = heightOf(height + VALID_FOR_HEIGHTS);
    const body = { chainId: network.chainId, sender, nonce, fee: AMOUNT_MAX, expiry, calls: [call] };
    // Reckoned with the longest fee there is: a few bytes too many at most.
    const fee = feeOf(network.parameters, signTransaction(body, keyPair).bytes.length);
    if (balance < fee) {
      log.debug({ fee, balance }, "no node number: the node's account cannot pay for a lease");
      return;
    }
    this.#pending = { nonce, until: expiry };
    const submitted = await submit(signTransaction({ ...body, fee }, keyPair).bytes);
    if (submitted.ok) return;
    log.debug({ code: submitted.error.code, call: call.kind }, "lease not sent");
  }
}
