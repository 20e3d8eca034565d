/**
 * How much the explorer's page weighs, and how long it takes from opening it to a head that it has verified itself.
 *
 * Method: four validators with hybrid keys as processes, a Chromium whose every run is a new profile's: nothing is
 * cached, the script is parsed and compiled anew. The clock is the page's own and begins with the navigation. Validators,
 * browser and this process share the machine.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { present } from "../../crypto/base/assert.ts";
import { buildPage } from "../explorer/build.ts";
import { openBrowser } from "../explorer/testing/browser.ts";
import { openBusyNetwork } from "../explorer/testing/network.ts";
import { percentile } from "./load.ts";
import type { Figures } from "./state.ts";

/** What to measure. */
export type ExplorerBenchOptions = { readonly runs?: number };

const RUNS_DEFAULT = 15;
const TRANSACTIONS = 60;
const BLOCKS = 10;
const TIMEOUT_MS = 300_000;
const HEAD_TIMEOUT_MS = 60_000;

/** Builds the page, runs a network, and opens the page again and again. Leaves no process and no file. */
export async function benchExplorer({ runs = RUNS_DEFAULT }: ExplorerBenchOptions = {}): Promise<Figures> {
  const startedMs = performance.now();
  const built = await buildPage();
  const buildMs = performance.now() - startedMs;
  const directory = await mkdtemp(join(tmpdir(), "pyralog-bench-explorer-"));
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    await using network = await openBusyNetwork({ directory, transactions: TRANSACTIONS, blocks: BLOCKS, signal });
    const browser = await openBrowser();
    try {
      const heads: number[] = [];
      let transferredBytes = 0;
      for (let run = 0; run < runs; run += 1) {
        const context = await browser.newContext();
        const page = await context.newPage();
        await page.goto(`${network.url}explorer/?network=${network.networkHash}`);
        await page.locator("html[data-verified-head-ms]").waitFor({ state: "attached", timeout: HEAD_TIMEOUT_MS });
        heads.push(
          Number(present((await page.locator("html").getAttribute("data-verified-head-ms")) ?? undefined, "time of the head")),
        );
        transferredBytes = await page.evaluate(() =>
          performance
            .getEntries()
            .filter((entry): entry is PerformanceResourceTiming => entry instanceof PerformanceResourceTiming)
            .filter(({ name }) => name.includes("/explorer/"))
            .reduce((sum, { transferSize }) => sum + transferSize, 0),
        );
        await context.close();
      }
      const sorted = heads.toSorted((a, b) => a - b);
      return {
        figures: {
          pageBytesCompressed: built.compressedBytes,
          pageBytes: built.sizeBytes,
          transferredBytes,
          verifiedHeadMsP50: percentile(sorted, 0.5),
          verifiedHeadMsMax: percentile(sorted, 1),
          buildMs: Math.round(buildMs),
        },
        spread: { verifiedHeadMsP50: [percentile(sorted, 0), percentile(sorted, 1)] },
      };
    } finally {
      await browser.close();
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
