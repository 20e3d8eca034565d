/**
 * Validators with real keys, ledgers, logs and guards in one process, joined by a wire that the test can cut. What is
 * sent while nobody listens is lost, as on a real network; catch-up brings it again.
 */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Test } from "tap";
import { present } from "../../../crypto/base/assert.ts";
import { addressOfKey } from "../../../crypto/identity/address.ts";
import { type KeyPair, keyPairFromSeed, verifySignatureAsync } from "../../../crypto/sign/key.ts";
import { type NetworkFile, PARAMETERS_DEFAULT } from "../../../chain/block/genesis.ts";
import { heightOf, nextHeight } from "../../../chain/block/height.ts";
import { PROTOCOL_DEFAULTS } from "../../../chain/block/protocol.ts";
import type { Call } from "../../../chain/block/call.ts";
import { signTransaction, type Transaction } from "../../../chain/block/transaction.ts";
import { Ledger } from "../../../chain/ledger/ledger.ts";
import { openMemoryStore } from "../../../chain/store/memory.ts";
import type { Store } from "../../../chain/store/store.ts";
import { TENDERMINT_CODEC } from "../../../consensus/tendermint/codec.ts";
import { TendermintEngine } from "../../../consensus/tendermint/engine.ts";
import type { ConsensusMessage } from "../../../consensus/tendermint/message.ts";
import { EXECUTOR } from "../../../contracts/executor.ts";
import type { Log } from "../../log/log.ts";
import { catchUp, type CatchUpNetwork, catchUpServer } from "../catchup.ts";
import { ConsensusDriver } from "../driver.ts";
import { EvidencePool } from "../evidence.ts";
import { SignGuard } from "../guard.ts";
import { WriteAheadLog } from "../wal.ts";
import { SYSTEM_CLOCK, sleep } from "../../ports/clock.ts";
import { SYSTEM_DISK } from "../../ports/disk.ts";

export const SILENT: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => SILENT };
function nothing(): void {}

/** The keys of the members; the first four are the validators of genesis. */
export const KEY_PAIRS: readonly KeyPair[] = [1, 2, 3, 4, 5].map((byte) =>
  keyPairFromSeed("hybrid", new Uint8Array(32).fill(byte)),
);
/** Who has tokens, and the authority. */
export const ALICE = keyPairFromSeed("ed25519", new Uint8Array(32).fill(50));
export const BOB = addressOfKey(keyPairFromSeed("ml-dsa-65", new Uint8Array(32).fill(51)).publicKey);

/** The network of four. */
export const WIRE_NETWORK: NetworkFile = {
  version: 1,
  chainId: "test-1",
  genesisTimeMs: 1_767_225_600_000n,
  engine: PROTOCOL_DEFAULTS.tendermint,
  parameters: {
    ...PARAMETERS_DEFAULT,
    timeoutProposeMs: 400,
    timeoutPrevoteMs: 200,
    timeoutPrecommitMs: 200,
    timeoutGrowthMs: 100,
    blockIntervalMsMin: 10,
  },
  authority: addressOfKey(ALICE.publicKey),
  accounts: [{ address: addressOfKey(ALICE.publicKey), amount: 1_000_000_000n }],
  validators: KEY_PAIRS.slice(0, 4).map(({ publicKey }) => ({ key: publicKey, power: 1n })),
  bootstrap: [],
};

/** One node's share. */
export type Member = {
  readonly ledger: Ledger;
  readonly driver: ConsensusDriver<ConsensusMessage>;
  readonly guard: SignGuard;
  readonly evidence: EvidencePool;
  readonly store: Store;
  readonly stop: () => Promise<void>;
};

/** How a member is started. */
export type StartOptions = {
  /** When false, the driver is made and not started. */
  readonly isStarted?: boolean;
  readonly newEngine?: () => TendermintEngine;
};

/** How long a busy machine may take for what takes moments. */
const BOUND_MS = 60_000;

/** How often a member looks whether others have blocks that it has not. */
const SYNC_INTERVAL_MS = 200;

/** A network in memory: delivers to every member that is there and not cut off, a moment later. */
export class Wire {
  readonly members = new Map<number, Member>();
  readonly cut = new Set<number>();
  readonly pool: Transaction[] = [];
  /** What members called bad, and from whom: must stay empty among honest ones. */
  readonly rejected: string[] = [];
  /** What members were told of heights beyond the next one. */
  readonly ahead: { readonly from: string; readonly height: bigint }[] = [];
  /** Whether members fetch blocks from those that are ahead. */
  isSyncing = false;
  readonly directory = mkdtempSync(join(tmpdir(), "pyralog-wire-"));
  #nonce = 0n;

  constructor(test: Test) {
    test.teardown(async () => {
      await Promise.all([...this.members.keys()].map(async (index) => await this.stop(index)));
      rmSync(this.directory, { recursive: true });
    });
  }

  /** Starts a member over its store; its log and its signing record are in the wire's directory. */
  async start(index: number, store: Store = openMemoryStore(), options: StartOptions = {}): Promise<Member> {
    const keyPair = present(KEY_PAIRS[index], "key pair");
    const directory = join(this.directory, `${index}`);
    const wal = new WriteAheadLog(join(directory, "wal"), SYSTEM_DISK);
    const ledger = await Ledger.open({ store, network: WIRE_NETWORK, executor: EXECUTOR });
    mkdirSync(directory, { recursive: true });
    const guard = await SignGuard.open({
      path: join(directory, "sign-state"),
      disk: SYSTEM_DISK,
      keyPair,
      isNew: ledger.head().height === 0n,
    });
    const self = addressOfKey(keyPair.publicKey);
    const evidence = new EvidencePool();
    const waiting = (): Transaction[] => this.pool.filter(({ id }) => ledger.findTransaction(id) === undefined);
    const driver = new ConsensusDriver({
      ledger,
      newEngine:
        options.newEngine ??
        (() => new TendermintEngine({ chainId: WIRE_NETWORK.chainId, self, parameters: WIRE_NETWORK.parameters })),
      isContinuous: false,
      codec: TENDERMINT_CODEC,
      clock: SYSTEM_CLOCK,
      verify: verifySignatureAsync,
      wal,
      guard,
      self,
      broadcast: (bytes) => this.#broadcast(index, bytes),
      reap: waiting,
      isVerified: () => false,
      evidence: () => evidence.reap((piece) => ledger.admitEvidence(piece)),
      onEvidence: (piece) => void evidence.add(piece),
      onDropped: (_, { code }) => this.rejected.push(`transaction: ${code}`),
      hasWork: () => waiting().length > 0,
      onAhead: (from, height) => this.ahead.push({ from, height }),
      log: SILENT,
    });
    const closing = new AbortController();
    ledger.onCommit(({ block }) => evidence.remove(block.evidence));
    const asking = catchUp({ driver, network: this.#networkOf(index), clock: SYSTEM_CLOCK, log: SILENT, signal: closing.signal });
    const syncing = this.#sync(index, { driver, ledger }, closing.signal);
    const stop = async (): Promise<void> => {
      closing.abort();
      await Promise.all([asking, syncing]);
      await driver[Symbol.asyncDispose]();
    };
    const member = { ledger, driver, guard, evidence, store, stop };
    this.members.set(index, member);
    if (options.isStarted !== false) driver.start();
    return member;
  }

  /** Ends a member as a crash would: whatever it holds in memory is gone, its files and its store stay. */
  async stop(index: number): Promise<void> {
    const member = this.members.get(index);
    this.members.delete(index);
    await member?.stop();
  }

  member(index: number): Member {
    return present(this.members.get(index), `member ${index}`);
  }

  /** Signs a transaction of Alice, and gives it to everybody. */
  submit(...calls: readonly Call[]): Transaction {
    const body = {
      chainId: WIRE_NETWORK.chainId,
      sender: addressOfKey(ALICE.publicKey),
      nonce: this.#nonce,
      fee: 10_000n,
      expiry: heightOf(1_000_000n),
      calls,
    };
    this.#nonce += 1n;
    const transaction = signTransaction(body, ALICE);
    this.pool.push(transaction);
    for (const { driver } of this.members.values()) driver.wake();
    return transaction;
  }

  transfer(amount: bigint): Transaction {
    return this.submit({ kind: "transfer", to: BOB, amount });
  }

  /** Waits until these members have a height, and fails after a bound. */
  async reach(height: bigint, indexes: readonly number[], boundMs = BOUND_MS): Promise<void> {
    const heightAt = (index: number): bigint => this.members.get(index)?.ledger.head().height ?? 0n;
    const where = (): string =>
      indexes
        .map((index) => `${index} at ${heightAt(index)}, round ${this.members.get(index)?.driver.status()?.round}`)
        .join("; ");
    await this.until(
      () => indexes.every((index) => heightAt(index) >= height),
      () => `height ${height} not reached: ${where()}`,
      boundMs,
    );
  }

  async until(holds: () => boolean, what: () => string, boundMs = BOUND_MS): Promise<void> {
    const untilMs = performance.now() + boundMs;
    while (!holds()) {
      if (performance.now() > untilMs) throw new Error(what());
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Applies the blocks of whoever is ahead, as block sync does. */
  async #sync(self: number, { driver, ledger }: Pick<Member, "driver" | "ledger">, signal: AbortSignal): Promise<void> {
    for (;;) {
      await sleep(SYSTEM_CLOCK, SYNC_INTERVAL_MS, signal);
      if (signal.aborted) return;
      if (!this.isSyncing) continue;
      const others = [...this.members].filter(([index]) => index !== self && !this.cut.has(index) && !this.cut.has(self));
      for (const [index, other] of others) {
        while (ledger.head().height < other.ledger.head().height) {
          const height = nextHeight(ledger.head().height);
          const block = present(other.ledger.block(height), "block");
          const applied = await driver.apply(block, present(other.ledger.certificate(height), "certificate"));
          if (applied.ok) continue;
          this.rejected.push(`block of ${index}: ${applied.error.code}`);
          break;
        }
      }
    }
  }

  #broadcast(from: number, bytes: Uint8Array): void {
    if (this.cut.has(from)) return;
    for (const [index, { driver }] of this.members) {
      if (index === from || this.cut.has(index)) continue;
      setTimeout(() => void this.#deliver(driver, from, bytes), 1);
    }
  }

  async #deliver(driver: ConsensusDriver<ConsensusMessage>, from: number, bytes: Uint8Array): Promise<void> {
    if ((await driver.receive(`${from}`, bytes)) === "reject") this.rejected.push(`message of ${from}`);
  }

  /** The other members, for catch-up. */
  #networkOf(self: number): CatchUpNetwork {
    const { members, cut } = this;
    return {
      peers: () =>
        [...members]
          .filter(([index]) => index !== self && !cut.has(index) && !cut.has(self))
          .map(([index, { ledger }]) => ({ id: `${index}`, height: ledger.head().height })),
      request: async function* request(peer, _protocol, bytes, { signal }) {
        const member = members.get(Number(peer));
        if (member !== undefined) yield* catchUpServer(member.driver)({ peer: `${self}`, bytes, signal });
      },
      penalise: (peer) => void this.rejected.push(`answer of ${peer}`),
    };
  }
}
