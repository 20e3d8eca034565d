/**
 * A process that makes ids while its clock steps, and writes them to a file, eight bytes each.
 *
 * Arguments: directory, node number, file to append to, how many ids, seed. Its clock is a made-up one: a millisecond goes
 * by at each reading and as long as somebody sleeps, and every so often it steps by five seconds, either way.
 */

import { appendFileSync } from "node:fs";
import { codeOf } from "../../../crypto/base/error.ts";
import { SCARAB_WINDOW_ALWAYS } from "../../../crypto/id/generator.ts";
import { nodeNumberOf, SCARAB_SIZE_BYTES, writeScarabRun } from "../../../crypto/id/scarab.ts";
import { takeSystemLock } from "../../../node/obelisk/lock.ts";
import { Obelisk } from "../../../node/obelisk/obelisk.ts";
import type { Clock } from "../../../node/ports/clock.ts";
import { SYSTEM_DISK } from "../../../node/ports/disk.ts";
import { Random } from "../../simulator/random.ts";

const [path = "", node = "", file = "", wanted = "", seed = ""] = process.argv.slice(2);
const random = new Random(seed);
let nowMs = 1_800_000_000_000 + random.between(-5000, 5000);
const clock: Clock = {
  wallMs: () => (nowMs += 1),
  monotonicMs: () => performance.now(),
  after(delayMs, act) {
    nowMs += Math.ceil(delayMs);
    const timer = setImmediate(act);
    return { cancel: () => clearImmediate(timer) };
  },
};
const obelisk = await Obelisk.open({ path, disk: SYSTEM_DISK, clock, takeLock: takeSystemLock });
obelisk.scarabs.use({ node: nodeNumberOf(Number(node)), window: SCARAB_WINDOW_ALWAYS });
const never = new AbortController().signal;
const bytes = new Uint8Array(SCARAB_SIZE_BYTES * 20_000);
for (let left = Number(wanted); left > 0;) {
  if (random.happens(100)) nowMs += random.happens(500) ? 5000 : -5000;
  const count = Math.min(left, random.between(1, 20_000));
  try {
    let made = 0;
    for (const run of await obelisk.scarabs.take("ids", count, never)) {
      writeScarabRun(run, bytes, made * SCARAB_SIZE_BYTES);
      made += run.count;
    }
    appendFileSync(file, bytes.subarray(0, made * SCARAB_SIZE_BYTES));
    left -= made;
  } catch (error) {
    // The clock went back too often in a row: whoever runs a node waits until it has caught up.
    if (codeOf(error) !== "clock_behind") throw error;
    nowMs += 1000;
  }
}
await obelisk[Symbol.asyncDispose]();
