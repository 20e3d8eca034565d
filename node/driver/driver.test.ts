/**
 * Four validators with real keys, ledgers, logs and guards in one process, joined by a wire that the test can cut:
 * they decide blocks, survive the loss of one, bring it back, and keep one history. Sockets are `node/network`'s
 * tests, processes the launcher's.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { type KeyPair, keyPairFromSeed } from "../../crypto/sign/key.ts";
import { type NetworkFile, PARAMETERS_DEFAULT } from "../../chain/block/genesis.ts";
import { heightOf } from "../../chain/block/height.ts";
import { signTransaction, type Transaction } from "../../chain/block/transaction.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import type { Store } from "../../chain/store/store.ts";
import { TendermintEngine } from "../../consensus/tendermint/engine.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import type { Log } from "../log/log.ts";
import { ConsensusDriver } from "./driver.ts";
import { SignGuard } from "./guard.ts";
import { WriteAheadLog } from "./wal.ts";

const SILENT: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => SILENT };
function nothing(): void {}

const VALIDATORS = [1, 2, 3, 4].map((byte) => keyPairFromSeed("hybrid", new Uint8Array(32).fill(byte)));
const ALICE = keyPairFromSeed("ed25519", new Uint8Array(32).fill(50));
const BOB = addressOfKey(keyPairFromSeed("ml-dsa-65", new Uint8Array(32).fill(51)).publicKey);

const NETWORK: NetworkFile = {
  version: 1,
  chainId: "test-1",
  genesisTimeMs: 1_767_225_600_000n,
  engine: "tendermint",
  parameters: { ...PARAMETERS_DEFAULT, timeoutProposeMs: 400, timeoutPrevoteMs: 200, timeoutPrecommitMs: 200, timeoutGrowthMs: 100, blockIntervalMsMin: 10 },
  authority: addressOfKey(ALICE.publicKey),
  accounts: [{ address: addressOfKey(ALICE.publicKey), amount: 1_000_000_000n }],
  validators: VALIDATORS.map(({ publicKey }) => ({ key: publicKey, power: 1n })),
  bootstrap: [],
};

type Member = { readonly ledger: Ledger; readonly driver: ConsensusDriver; readonly store: Store; readonly directory: string };

/** A network in memory: delivers to every member that is there and not cut off, a moment later. */
class Wire {
  readonly members = new Map<number, Member>();
  readonly cut = new Set<number>();
  readonly pool: Transaction[] = [];
  readonly directory: string;

  constructor(test: Test) {
    this.directory = mkdtempSync(join(tmpdir(), "pyralog-wire-"));
    test.teardown(async () => {
      for (const index of this.members.keys()) await this.stop(index);
      rmSync(this.directory, { recursive: true });
    });
  }

  async start(index: number, store: Store = openMemoryStore()): Promise<Member> {
    const keyPair: KeyPair = present(VALIDATORS[index], "validator");
    const directory = join(this.directory, `${index}`);
    const wal = new WriteAheadLog(join(directory, "wal"));
    const ledger = await Ledger.open({ store, network: NETWORK, executor: EXECUTOR });
    const guard = await SignGuard.open({ path: join(directory, "sign-state"), keyPair, isNew: ledger.head().height === 0n });
    const self = addressOfKey(keyPair.publicKey);
    const driver = new ConsensusDriver({
      ledger,
      newEngine: () => new TendermintEngine({ chainId: NETWORK.chainId, self, parameters: NETWORK.parameters }),
      wal,
      guard,
      self,
      broadcast: (bytes) => this.#broadcast(index, bytes),
      reap: () => this.pool.filter((transaction) => ledger.findTransaction(transaction.id) === undefined),
      isVerified: () => false,
      evidence: () => [],
      onEvidence: nothing,
      onDropped: (_, refusal) => t.fail(`dropped: ${refusal.code}`),
      hasWork: () => this.pool.some((transaction) => ledger.findTransaction(transaction.id) === undefined),
      onAhead: nothing,
      log: SILENT,
    });
    const member = { ledger, driver, store, directory };
    this.members.set(index, member);
    driver.start();
    return member;
  }

  /** Ends a member as a crash would: whatever it holds in memory is gone, its files and its store stay. */
  async stop(index: number): Promise<void> {
    const member = this.members.get(index);
    this.members.delete(index);
    await member?.driver[Symbol.asyncDispose]();
  }

  submit(transaction: Transaction): void {
    this.pool.push(transaction);
    for (const { driver } of this.members.values()) driver.wake();
  }

  /** Waits until these members have a height, and fails after a bound. */
  async reach(height: bigint, indexes: readonly number[], boundMs = 15_000): Promise<void> {
    const untilMs = performance.now() + boundMs;
    const isThere = (): boolean => indexes.every((index) => (this.members.get(index)?.ledger.head().height ?? 0n) >= height);
    while (!isThere()) {
      if (performance.now() > untilMs) {
        throw new Error(`height ${height} not reached: ${indexes.map((index) => `${index} at ${this.members.get(index)?.ledger.head().height} ${JSON.stringify(this.members.get(index)?.driver.status(), (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value))}`).join(", ")}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  #broadcast(from: number, bytes: Uint8Array): void {
    if (this.cut.has(from)) return;
    for (const [index, { driver }] of this.members) {
      if (index === from || this.cut.has(index)) continue;
      setTimeout(() => void driver.receive(`peer-${from}`, bytes).then((verdict) => t.not(verdict, "reject")), 1);
    }
  }
}

let nonce = 0n;
function transfer(amount: bigint): Transaction {
  const body = {
    chainId: NETWORK.chainId,
    sender: addressOfKey(ALICE.publicKey),
    nonce,
    fee: 10_000n,
    expiry: heightOf(1_000_000n),
    calls: [{ kind: "transfer", to: BOB, amount } as const],
  };
  nonce += 1n;
  return signTransaction(body, ALICE);
}

t.test("four validators", async (t) => {
  nonce = 0n;
  const wire = new Wire(t);
  const stores = VALIDATORS.map(() => openMemoryStore());
  for (const [index, store] of stores.entries()) await wire.start(index, store);
  const all = [0, 1, 2, 3];
  const member = (index: number): Member => present(wire.members.get(index), `member ${index}`);

  await t.test("decide the same blocks with certificates that check", async (t) => {
    wire.submit(transfer(5n));
    await wire.reach(1n, all);
    wire.submit(transfer(7n));
    await wire.reach(2n, all);
    const { ledger } = member(0);
    for (const index of all) {
      const other = member(index).ledger;
      t.same(other.headerBytes(heightOf(2n)), ledger.headerBytes(heightOf(2n)), `validator ${index} has the same header`);
      const block = present(other.block(heightOf(2n)), "block");
      t.ok((await other.checkCertificate(block, present(other.certificate(heightOf(2n)), "certificate"))).ok);
      t.same(block.hash, member(0).ledger.head().height === 2n ? ledger.head().hash : block.hash);
    }
  });

  await t.test("read back the decided block byte for byte, with the certificate that the chain committed to", async (t) => {
    for (const height of [1n, 2n].map(heightOf)) {
      t.same(member(1).ledger.blockBytes(height), member(0).ledger.blockBytes(height));
    }
  });

  await t.test("go on when one of them is gone", async (t) => {
    await wire.stop(3);
    const height = member(0).ledger.head().height;
    wire.submit(transfer(11n));
    await wire.reach(height + 1n, [0, 1, 2]);
    t.ok(wire.pool.every(({ id }) => member(0).ledger.findTransaction(id) !== undefined));
  });

  await t.test("take it back once it has the blocks that it missed", async (t) => {
    const behind = await Ledger.open({ store: present(stores[3], "store"), network: NETWORK, executor: EXECUTOR });
    const before = behind.head().height;
    const { driver, ledger } = await wire.start(3, present(stores[3], "store"));
    t.equal(ledger.head().height, before, "it opens at the height that it had acknowledged");
    const source = member(0).ledger;
    for (let height = before + 1n; height <= source.head().height; height += 1n) {
      const block = present(source.block(heightOf(height)), "block");
      const certificate = present(source.certificate(heightOf(height)), "certificate");
      t.match(await driver.apply(block, { ...certificate, signatures: certificate.signatures.slice(0, 2) }), { ok: false, error: { code: "certificate_power" } });
      t.ok((await driver.apply(block, certificate)).ok);
    }
    const height = source.head().height;
    wire.submit(transfer(13n));
    await wire.reach(height + 1n, all);
    t.same(member(3).ledger.headerBytes(heightOf(height + 1n)), member(0).ledger.headerBytes(heightOf(height + 1n)));
  });

  await t.test("decide nothing while half of them cannot hear the rest, and go on when they can", async (t) => {
    wire.cut.add(2).add(3);
    const before = Math.max(...all.map((index) => Number(member(index).ledger.head().height)));
    wire.submit(transfer(17n));
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    for (const index of all) t.ok(member(index).ledger.head().height <= BigInt(before) + 1n, `validator ${index} is not ahead`);
    wire.cut.clear();
    await wire.reach(BigInt(before) + 1n, all, 20_000);
    const hashes = new Set(all.map((index) => toHex(present(member(index).ledger.headerBytes(heightOf(BigInt(before) + 1n)), "header"))));
    t.equal(hashes.size, 1);
  });

  await t.test("prove any earlier header from the newest one", async (t) => {
    const { ledger } = member(0);
    const { height } = ledger.head();
    t.ok(ledger.proveHistory(heightOf(1n), height).length >= 1);
  });
});
