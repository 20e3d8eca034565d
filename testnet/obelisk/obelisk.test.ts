/** Small versions of what `npm run -s obelisk` does at length, and counters on a disk that fails. */

import t from "tap";
import { settled, Agenda } from "../simulator/agenda.ts";
import { DiskImage } from "../simulator/disk.ts";
import { Random } from "../simulator/random.ts";
import { Counters } from "../../node/obelisk/counters.ts";
import { FILE_VALUES } from "../../node/obelisk/limits.ts";
import { MarkDirectory } from "../../node/obelisk/mark.ts";
import { clockSteps } from "./clocks.ts";
import { cutCycles } from "./cuts.ts";
import { killCycles } from "./kills.ts";
import { Ledger } from "./ledger.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const SEED = `${drawnSeed()}`;
t.comment(`seed ${SEED}`);

t.test("the record sees what comes twice, in a life and across lives", (t) => {
  const ledger = new Ledger();
  ledger.add("counter a", { first: 0n, count: 10 });
  ledger.add("counter a", { first: 15n, count: 5 });
  ledger.add("b", { first: 0n, count: 10 });
  ledger.endLife();
  t.equal(ledger.duplicates, 0n);
  ledger.add("counter a", { first: 30n, count: 5 });
  ledger.add("counter a", { first: 34n, count: 5 });
  ledger.add("b", { first: 8n, count: 10 });
  ledger.endLife();
  t.equal(ledger.duplicates, 3n);
  t.equal(ledger.skipped, 10n);
  t.end();
});

t.test("no power cut, kill or failing disk makes a value or an id come twice, unless syncs are left out", async (t) => {
  for (const durability of ["sync", "lease", "none"] as const) {
    const report = await cutCycles({ seed: `${SEED}/${durability}`, lives: 80, durability });
    t.comment(durability, report);
    if (durability === "none") t.ok(report.duplicates > 0n, "the unsafe one repeats itself: these cuts do cut");
    else t.equal(report.duplicates, 0n, durability);
    t.ok(report.cuts > 30 && report.kills > 8 && report.given > 10_000n, "something has happened");
    t.ok(report.rolled > 0n, `${durability} went on in a second file`);
    for (const code of ["obelisk_disk", "obelisk_full"]) t.ok((report.refusals[code] ?? 0) > 0, `${durability} met ${code}`);
  }
});

t.test("no SIGKILL makes one come twice", async (t) => {
  for (const durability of ["sync", "lease"] as const) {
    const report = await killCycles({ seed: `${SEED}/${durability}`, lives: 2, durability });
    t.equal(report.duplicates, 0n, durability);
    t.equal(report.lives, 2);
  }
});

t.test("processes whose clocks step, and that are killed, make each id once and in order", async (t) => {
  const report = await clockSteps({ seed: SEED, processes: 2, ids: 200_000 });
  t.match(report, { kills: 4, duplicates: 0, disorders: 0 });
  t.ok(report.ids >= 200_000);
});

t.test("after a sync that failed nothing is issued any more, and after a full disk the next caller is served", async (t) => {
  const agenda = new Agenda();
  const image = new DiskImage({ agenda, random: new Random("failing"), syncMsMean: 1 });
  const disk = image.mount({ isAlive: true, pausedUntilMs: 0 }, () => undefined);
  const during = async <T>(work: Promise<T>): Promise<T> => {
    let isDone = false;
    const done = work.finally(() => {
      isDone = true;
    });
    done.catch(() => undefined); // Awaited below.
    await settled();
    while (!isDone && agenda.step(Number.MAX_SAFE_INTEGER)) await settled();
    return await done;
  };
  const counters = await during(Counters.open({ path: "/c", disk, leaseCount: 10 }));
  t.same(await during(counters.next("a", 1)), { first: 0n, count: 1 });
  image.fillUntil(agenda.nowMs + 10);
  await t.rejects(during(counters.next("a", 20)), { code: "obelisk_full" });
  agenda.step(agenda.nowMs + 10);
  t.same(await during(counters.next("a", 20)), { first: 1n, count: 20 }, "nothing was lost of what was refused");
  // The same where a new file begins: that one is made, and cannot grow.
  const marks = await during(MarkDirectory.open("/r", disk));
  const mark = await during(marks.mark("a"));
  await during(mark.raise(FILE_VALUES - 5n, true));
  mark.close();
  const rolling = await during(Counters.open({ path: "/r", disk, durability: "sync" }));
  image.fillUntil(agenda.nowMs + 10);
  await t.rejects(during(rolling.next("a", 20)), { code: "obelisk_full" });
  agenda.step(agenda.nowMs + 10);
  t.same(await during(rolling.next("a", 3)), { first: FILE_VALUES - 5n, count: 3 });
  t.same(await during(rolling.next("a", 20)), { first: FILE_VALUES - 2n, count: 20 });

  image.failSyncs(1);
  await t.rejects(during(counters.next("a", 25)), { code: "obelisk_disk" });
  await t.rejects(during(counters.next("a", 1)), { code: "obelisk_disk" }, "what a lease had left is not given out either");
  t.equal(counters.tryNext("a", 1), undefined);
  t.same(await during(counters.next("b", 1)), { first: 0n, count: 1 }, "other counters go on");
  image.cut("lost");
  const again = image.mount({ isAlive: true, pausedUntilMs: 0 }, () => undefined);
  const reopened = await during(Counters.open({ path: "/c", disk: again, leaseCount: 10 }));
  t.ok((await during(reopened.next("a", 1))).first >= 21n);
});
