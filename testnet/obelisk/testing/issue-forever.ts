/** A process that waits for a line, opens the Obelisk in its argument, and prints each range that it was given. */

import { writeSync } from "node:fs";
import { present } from "../../../crypto/base/assert.ts";
import { SCARAB_WINDOW_ALWAYS } from "../../../crypto/id/generator.ts";
import { nodeNumberOf } from "../../../crypto/id/scarab.ts";
import { takeSystemLock } from "../../../node/obelisk/lock.ts";
import { Obelisk } from "../../../node/obelisk/obelisk.ts";
import { SYSTEM_CLOCK } from "../../../node/ports/clock.ts";
import { SYSTEM_DISK } from "../../../node/ports/disk.ts";

const path = present(process.argv[2], "path");
const durability = process.argv[3] === "sync" ? "sync" : "lease";
await new Promise((resolve) => process.stdin.once("data", resolve));
const obelisk = await Obelisk.open({
  path,
  disk: SYSTEM_DISK,
  clock: SYSTEM_CLOCK,
  takeLock: takeSystemLock,
  durability,
  leaseCount: 100,
});
obelisk.scarabs.use({ node: nodeNumberOf(1), window: SCARAB_WINDOW_ALWAYS });
const never = new AbortController().signal;
for (let round = 0; ; round += 1) {
  const name = ["a", "b", "c"][round % 3] ?? "a";
  const { first, count } = await obelisk.counters.next(name, 1 + (round % 30));
  // Written before anything else happens: a kill leaves whole lines of what callers had.
  writeSync(1, `counter-${name} ${first} ${count}\n`);
  for (const run of await obelisk.scarabs.take("ids", 1 + (round % 1000), never)) writeSync(1, `ids ${run.first} ${run.count}\n`);
}
