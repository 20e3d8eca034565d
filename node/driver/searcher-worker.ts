/** One thread of a search: tries nonces, and looks for new orders every few milliseconds. See `searcher.ts`. */

import { constants, setPriority } from "node:os";
import { setImmediate } from "node:timers/promises";
import { parentPort } from "node:worker_threads";
import { present } from "../../crypto/base/assert.ts";
import { hashOf } from "../../crypto/hash/hash.ts";
import { searchSeal } from "../../chain/block/work.ts";
import { countUpTo, nonceAfter, type SearchOrder, type SearchReport } from "./searcher.ts";

/** Between two looks for orders: some two milliseconds. */
const NONCES_PER_LOOK = 4_096;
/** How many looks go by between two reports of what was tried. */
const LOOKS_PER_REPORT = 32;

// Of this thread alone, on Linux: whatever else the machine has to do comes first.
setPriority(constants.priority.PRIORITY_LOW);

const port = present(parentPort ?? undefined, "port to the main thread");
let order: SearchOrder = { kind: "rest" };
let isRunning = false;

port.on("message", (next: SearchOrder) => {
  order = next;
  if (!isRunning) void run();
});

async function run(): Promise<void> {
  isRunning = true;
  while (order.kind === "search") {
    if (await searchUnder(order)) break;
  }
  isRunning = false;
}

/** Tries nonces until the order changes, or one is found. */
async function searchUnder(current: SearchOrder & { readonly kind: "search" }): Promise<boolean> {
  const { id, job, stride } = current;
  const headerHash = hashOf(job.headerHash);
  let from = current.from;
  let tried = 0;
  for (let look = 1; order === current; look += 1) {
    const count = countUpTo(from, NONCES_PER_LOOK);
    const nonce = searchSeal({ headerHash, target: job.target, ...from, count });
    tried += count;
    if (nonce !== undefined || look % LOOKS_PER_REPORT === 0) {
      report({ kind: "tried", count: tried });
      tried = 0;
    }
    if (nonce !== undefined) {
      report({ kind: "found", id, nonces: { extraNonce: from.extraNonce, nonce } });
      return order === current;
    }
    from = nonceAfter(from, count, stride);
    await setImmediate();
  }
  return false;
}

function report(said: SearchReport): void {
  port.postMessage(said);
}
