/** A validator whose home was wiped: what it cannot see that its key signed, it must not take for unsigned. */

import t, { type Test } from "tap";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { present } from "../crypto/base/assert.ts";
import { addressOfKey } from "../crypto/identity/address.ts";
import { GENESIS_HEIGHT, type Height, nextHeight } from "../chain/block/height.ts";
import { openMemoryStore } from "../chain/store/memory.ts";
import { beginConsensus } from "./begin.ts";
import { KEY_PAIRS, SILENT, Wire } from "./driver/testing/wire.ts";
import { WriteAheadLog } from "./driver/wal.ts";
import { SYSTEM_CLOCK } from "./ports/clock.ts";
import { SYSTEM_DISK } from "./ports/disk.ts";

/** Begins validator 3 anew from an empty home, with all blocks or, as after a snapshot, the newest alone. @returns what it holds for unknown */
async function beginAnew(wire: Wire, options: { readonly isPruned: boolean }): Promise<{ head: Height; unknown: Height }> {
  rmSync(join(wire.directory, "3"), { recursive: true, force: true });
  const { driver, guard, ledger } = await wire.start(3, openMemoryStore(), { isStarted: false });
  const source = wire.member(0).ledger;
  while (ledger.head().height < source.head().height) {
    const height = nextHeight(ledger.head().height);
    await driver.apply(present(source.block(height), "block"), present(source.certificate(height), "certificate"));
  }
  const head = ledger.head().height;
  if (options.isPruned) await ledger.pruneBlocks(head);
  const closing = new AbortController();
  const parts = {
    ledger,
    network: { peers: () => [{ height: head }] },
    synchroniser: { progress: () => ({ height: head, target: head, peers: 1 }) },
    guard,
    driver,
    wal: new WriteAheadLog(join(wire.directory, "3", "wal"), SYSTEM_DISK),
    self: addressOfKey(present(KEY_PAIRS[3], "key pair").publicKey),
    clock: SYSTEM_CLOCK,
    log: SILENT,
    signal: closing.signal,
  };
  // What it holds for unknown is settled before it says anything.
  const started = Promise.withResolvers<void>();
  const start = driver.start.bind(driver);
  driver.start = () => {
    start();
    started.resolve();
  };
  const begun = beginConsensus(parts);
  await wire.until(
    () => guard.floor > head,
    () => "it sits no height out",
  );
  await started.promise;
  const unknown = guard.unknownHeight;
  closing.abort();
  await begun;
  await wire.stop(3);
  return { head, unknown };
}

/** Validators of which all but the last decide some heights more. */
async function decideWithout3(test: Test, { isThereBefore }: { readonly isThereBefore: boolean }): Promise<Wire> {
  const wire = new Wire(test);
  wire.isSyncing = true;
  for (const index of isThereBefore ? [0, 1, 2, 3] : [0, 1, 2]) await wire.start(index);
  for (let count = 0; count < 4; count += 1) {
    if (count === 1) await wire.stop(3);
    const height = wire.member(0).ledger.head().height + 1n;
    wire.transfer(BigInt(count + 1));
    await wire.reach(height, [0, 1, 2]);
  }
  // Nothing is decided any more, as when they cannot do without the one that is gone.
  await wire.stop(1);
  return wire;
}

t.test("a wiped home that has no certificates of heights that its key could sign keeps silent for good", async (t) => {
  // It may have voted at the height under way, and nobody need have the vote any more: half a minute later it would vote again.
  const wire = await decideWithout3(t, { isThereBefore: true });
  const { head, unknown } = await beginAnew(wire, { isPruned: true });
  t.equal(unknown, nextHeight(head));
});

t.test("a key that has signed nothing, as all certificates show, is only new", async (t) => {
  const wire = await decideWithout3(t, { isThereBefore: false });
  t.equal((await beginAnew(wire, { isPruned: false })).unknown, GENESIS_HEIGHT);
});
