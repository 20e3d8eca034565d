/**
 * Validators that run Raft, with real keys, ledgers, logs and guards in one process: they decide blocks, come back after a crash, and
 * hand their network over to others, a majority at once.
 */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { keyPairFromSeed, verifySignatureAsync } from "../../crypto/sign/key.ts";
import { type NetworkFile, PARAMETERS_DEFAULT } from "../../chain/block/genesis.ts";
import { heightOf, nextHeight } from "../../chain/block/height.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction, type Transaction } from "../../chain/block/transaction.ts";
import { findValidator } from "../../chain/block/validators.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import type { Store } from "../../chain/store/store.ts";
import { RAFT_CODEC } from "../../consensus/raft/codec.ts";
import { RaftEngine } from "../../consensus/raft/engine.ts";
import type { RaftWireMessage } from "../../consensus/raft/message.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { SYSTEM_CLOCK } from "../ports/clock.ts";
import { SYSTEM_DISK } from "../ports/disk.ts";
import { ConsensusDriver } from "./driver.ts";
import { SignGuard } from "./guard.ts";
import { SILENT } from "./testing/wire.ts";
import { WriteAheadLog } from "./wal.ts";

const KEY_PAIRS = [1, 2, 3, 4, 5, 6, 7].map((byte) => keyPairFromSeed("ed25519", new Uint8Array(32).fill(byte)));
const AUTHORITY = keyPairFromSeed("ed25519", new Uint8Array(32).fill(50));
const PROTOCOL = { name: "raft", tickMs: 40, heartbeatTicks: 1, electionTicks: 5 } as const;
const NETWORK: NetworkFile = {
  version: 1,
  chainId: "test-raft",
  genesisTimeMs: 1_767_225_600_000n,
  engine: PROTOCOL,
  parameters: { ...PARAMETERS_DEFAULT, blockIntervalMsMin: 10 },
  authority: addressOfKey(AUTHORITY.publicKey),
  accounts: [{ address: addressOfKey(AUTHORITY.publicKey), amount: 1_000_000_000n }],
  validators: KEY_PAIRS.slice(0, 4).map(({ publicKey }) => ({ key: publicKey, power: 1n })),
  bootstrap: [],
};

type Member = { readonly ledger: Ledger; readonly driver: ConsensusDriver<RaftWireMessage>; readonly store: Store };

t.test("validators that run Raft", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "pyralog-raft-"));
  const members = new Map<number, Member>();
  const pool: Transaction[] = [];
  const rejected: string[] = [];
  let nonce = 0n;
  t.teardown(async () => {
    await Promise.all([...members.values()].map(async ({ driver }) => await driver[Symbol.asyncDispose]()));
    rmSync(directory, { recursive: true });
  });

  async function start(index: number, store: Store = openMemoryStore()): Promise<void> {
    const keyPair = present(KEY_PAIRS[index], "key pair");
    const self = addressOfKey(keyPair.publicKey);
    const home = join(directory, `${index}`);
    mkdirSync(home, { recursive: true });
    const ledger = await Ledger.open({ store, network: NETWORK, executor: EXECUTOR });
    const isNew = ledger.head().height === 0n;
    const guard = await SignGuard.open({ path: join(home, "sign-state"), disk: SYSTEM_DISK, keyPair, isNew });
    const waiting = (): Transaction[] => pool.filter(({ id }) => ledger.findTransaction(id) === undefined);
    const driver = new ConsensusDriver<RaftWireMessage>({
      ledger,
      newEngine: () => new RaftEngine({ chainId: NETWORK.chainId, self, protocol: PROTOCOL }),
      isContinuous: true,
      codec: RAFT_CODEC,
      clock: SYSTEM_CLOCK,
      verify: verifySignatureAsync,
      wal: new WriteAheadLog(join(home, "wal"), SYSTEM_DISK),
      guard,
      self,
      broadcast: (bytes) => {
        for (const [other, { driver: peer }] of members) {
          if (other === index) continue;
          setTimeout(() => {
            void peer.receive(`${index}`, bytes).then((verdict) => verdict === "reject" && rejected.push(`${other} of ${index}`));
          }, 1);
        }
      },
      reap: waiting,
      isVerified: () => false,
      evidence: () => [],
      onEvidence: () => undefined,
      onDropped: (_, { code }) => rejected.push(`transaction: ${code}`),
      hasWork: () => waiting().length > 0,
      onAhead: () => undefined,
      log: SILENT,
    });
    members.set(index, { ledger, driver, store });
    driver.start();
  }

  async function stop(index: number): Promise<Store> {
    const { driver, store } = present(members.get(index), "member");
    members.delete(index);
    await driver[Symbol.asyncDispose]();
    return store;
  }

  function submit(...calls: readonly Call[]): void {
    const sender = addressOfKey(AUTHORITY.publicKey);
    const body = { chainId: NETWORK.chainId, sender, nonce, fee: 10_000n, expiry: heightOf(1_000_000n), calls };
    nonce += 1n;
    pool.push(signTransaction(body, AUTHORITY));
    for (const { driver } of members.values()) driver.wake();
  }

  /** Block sync: whoever is behind takes the blocks of whoever is ahead. */
  async function sync(): Promise<void> {
    const heightAt = ({ ledger }: Member): bigint => ledger.head().height;
    const [best] = [...members.values()].toSorted((a, b) => Number(heightAt(b) - heightAt(a)));
    const { ledger: from } = present(best, "member");
    for (const { ledger, driver } of members.values()) {
      while (ledger.head().height < from.head().height) {
        const height = nextHeight(ledger.head().height);
        const applied = await driver.apply(
          present(from.block(height), "block"),
          present(from.certificate(height), "certificate"),
        );
        if (!applied.ok) throw new Error(applied.error.code);
      }
    }
  }

  /** Submits and waits, with block sync every second, until all of these members have all that was submitted. */
  async function order(indexes: readonly number[], ...calls: readonly Call[]): Promise<void> {
    submit(...calls);
    const isThere = (index: number): boolean =>
      pool.every(({ id }) => members.get(index)?.ledger.findTransaction(id) !== undefined);
    for (let rounds = 0; !indexes.every(isThere); rounds += 1) {
      const where = [...members].map(([index, { ledger, driver }]) => {
        const status = driver.status();
        return `${index} ${status?.step} ${status?.round} at ${ledger.head().height}`;
      });
      if (rounds > 6_000) throw new Error(`not ordered: ${where.join(", ")}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
      if (rounds % 100 === 99) await sync();
    }
  }

  const transfer: Call = { kind: "transfer", to: addressOfKey(present(KEY_PAIRS[6], "key").publicKey), amount: 1n };
  const setPower = (index: number, power: bigint): Call => ({
    kind: "validatorSet",
    key: present(KEY_PAIRS[index], "key").publicKey,
    power,
  });

  await t.test("decide blocks with certificates of a majority", async (t) => {
    for (const index of [0, 1, 2, 3]) await start(index);
    for (let count = 0; count < 3; count += 1) await order([0, 1, 2, 3], transfer);
    const { ledger } = present(members.get(0), "member");
    const height = heightOf(1n);
    const block = present(ledger.block(height), "block");
    const checked = await present(members.get(3), "member").ledger.checkCertificate(
      block,
      present(ledger.certificate(height), "certificate"),
    );
    t.ok(checked.ok);
    t.same(rejected, []);
  });

  await t.test("go on without one of them, and with it when it is back", async () => {
    const store = await stop(0);
    await order([1, 2, 3], transfer);
    await start(0, store);
    await order([0, 1, 2, 3], transfer);
  });

  await t.test("all at once lose power, and go on from their logs", async () => {
    const stores = new Map<number, Store>();
    for (const index of [0, 1, 2, 3]) stores.set(index, await stop(index));
    for (const [index, store] of stores) await start(index, store);
    await order([0, 1, 2, 3], transfer);
  });

  await t.test("hand over to others, a majority of them at once", async (t) => {
    for (const index of [4, 5, 6]) await start(index);
    await order([3], ...[4, 5, 6].map((index) => setPower(index, 1n)), ...[0, 1, 2].map((index) => setPower(index, 0n)));
    for (let count = 0; count < 3; count += 1) await order([3, 4, 5, 6], transfer);
    const { ledger } = present(members.get(3), "member");
    const set = present(ledger.validators(ledger.head().height), "set");
    t.equal(set.validators.length, 4);
    t.equal(findValidator(set, addressOfKey(present(KEY_PAIRS[0], "key").publicKey)), undefined);
    for (const index of [0, 1, 2]) await stop(index);
    await order([3, 4, 5, 6], transfer);
  });
});
