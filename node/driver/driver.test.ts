/**
 * Four validators with real keys, ledgers, logs and guards in one process, joined by a wire that the test can cut:
 * they decide blocks, survive the loss of one, bring it back, and keep one history. Sockets are `node/network`'s
 * tests, processes the launcher's.
 */

import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { heightOf } from "../../chain/block/height.ts";
import { quorumOf } from "../../chain/block/testing/fixtures.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { type Member, Wire, WIRE_NETWORK } from "./testing/wire.ts";

t.test("four validators", async (t) => {
  const wire = new Wire(t);
  // A member that comes late on a busy machine finds the others a height ahead.
  wire.isSyncing = true;
  const stores = [0, 1, 2, 3].map(() => openMemoryStore());
  for (const [index, store] of stores.entries()) await wire.start(index, store);
  const all = [0, 1, 2, 3];
  const member = (index: number): Member => wire.member(index);

  await t.test("decide the same blocks with certificates that check", async (t) => {
    wire.transfer(5n);
    await wire.reach(1n, all);
    wire.transfer(7n);
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
    const { id } = wire.transfer(11n);
    // A block that was being decided already may not hold it; then the next one does.
    const isEverywhere = (): boolean => [0, 1, 2].every((index) => member(index).ledger.findTransaction(id) !== undefined);
    await wire.until(isEverywhere, () => "the transaction is in no block");
    t.ok(wire.pool.every((each) => member(0).ledger.findTransaction(each.id) !== undefined));
  });

  await t.test("take it back once it has the blocks that it missed", async (t) => {
    const behind = await Ledger.open({ store: present(stores[3], "store"), network: WIRE_NETWORK, executor: EXECUTOR });
    const before = behind.head().height;
    wire.isSyncing = false;
    const { driver, ledger } = await wire.start(3, present(stores[3], "store"));
    t.equal(ledger.head().height, before, "it opens at the height that it had acknowledged");
    const source = member(0).ledger;
    for (let height = before + 1n; height <= source.head().height; height += 1n) {
      const block = present(source.block(heightOf(height)), "block");
      const certificate = present(source.certificate(heightOf(height)), "certificate");
      t.match(await driver.apply(block, { ...quorumOf(certificate), signatures: quorumOf(certificate).signatures.slice(0, 2) }), {
        ok: false,
        error: { code: "certificate_power" },
      });
      t.ok((await driver.apply(block, certificate)).ok);
    }
    wire.isSyncing = true;
    const height = source.head().height;
    wire.transfer(13n);
    await wire.reach(height + 1n, all);
    t.same(member(3).ledger.headerBytes(heightOf(height + 1n)), member(0).ledger.headerBytes(heightOf(height + 1n)));
  });

  await t.test("decide nothing while half of them cannot hear the rest, and go on when they can", async (t) => {
    wire.cut.add(2).add(3);
    const before = Math.max(...all.map((index) => Number(member(index).ledger.head().height)));
    wire.transfer(17n);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    for (const index of all) t.ok(member(index).ledger.head().height <= BigInt(before) + 1n, `validator ${index} is not ahead`);
    wire.cut.clear();
    await wire.reach(BigInt(before) + 1n, all, 20_000);
    const hashes = new Set(
      all.map((index) => toHex(present(member(index).ledger.headerBytes(heightOf(BigInt(before) + 1n)), "header"))),
    );
    t.equal(hashes.size, 1);
  });

  await t.test("prove any earlier header from the newest one", async (t) => {
    const { ledger } = member(0);
    const { height } = ledger.head();
    t.ok(ledger.proveHistory(heightOf(1n), height).length >= 1);
  });

  await t.test("said nothing that another called bad", (t) => {
    t.same(wire.rejected, []);
    t.end();
  });
});
