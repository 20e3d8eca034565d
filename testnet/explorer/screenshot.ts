/**
 * `npm run screenshot`: the README's picture of the explorer, from a network that really runs.
 *
 * Four validators start as processes and order some hundred transactions of every kind; a browser opens the page that one
 * of them serves, with the others as witnesses, and waits until it has verified the head and the blocks around it. `--out FILE`, `--dark`, `--narrow`
 * and `--view PATH` are for looking at others than the README's.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensurePage } from "./build.ts";
import { openBrowser } from "./testing/browser.ts";
import { openBusyNetwork } from "./testing/network.ts";
import { readOptions } from "../options.ts";

const OUT_DEFAULT = fileURLToPath(new URL("./screenshot.png", import.meta.url));
const TIMEOUT_MS = 300_000;
const READY_TIMEOUT_MS = 30_000;

const USAGE = "npm run screenshot -- [--out FILE] [--view VIEW]... [--dark] [--narrow]";

const { values } = readOptions(USAGE, {
  out: { type: "string" },
  view: { type: "string", multiple: true },
  dark: { type: "boolean" },
  narrow: { type: "boolean" },
});

// The page that one validator serves may ask the others as well.
process.env["PYRALOG_RPC_CORS"] = "*";
const directory = await mkdtemp(join(tmpdir(), "pyralog-screenshot-"));
try {
  await ensurePage();
  await using network = await openBusyNetwork({
    directory,
    transactions: 400,
    blocks: 45,
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  await using browser = await openBrowser();
  const page = await browser.newPage({
    colorScheme: values.dark === true ? "dark" : "light",
    viewport: values.narrow === true ? { width: 390, height: 1400 } : { width: 1280, height: 1210 },
  });
  // The network goes on while it is looked at.
  const traffic = network.send(200, 25);
  const views = values.view ?? [""];
  for (const [index, view] of views.entries()) {
    // The hash is pinned, as by somebody who got it from a friend, and the other validators witness.
    const query = new URLSearchParams([
      ["network", network.networkHash],
      ...network.network.nodes.slice(1).map(({ rpcUrl }) => ["witness", rpcUrl]),
    ]);
    await page.goto(`${network.url}explorer/?${query.toString()}#/${view}`);
    await page.waitForFunction(() => document.querySelectorAll("[aria-busy=true]").length === 0, undefined, {
      timeout: READY_TIMEOUT_MS,
    });
    if (view === "")
      await page.waitForFunction(() => document.querySelectorAll(".plot rect").length >= 20, undefined, {
        timeout: READY_TIMEOUT_MS,
      });
    // What was checked of the head, as whoever opens its badge sees it.
    if (view === "") await page.locator(".head .proof summary").click();
    await page.waitForTimeout(700);
    const out = values.out ?? OUT_DEFAULT;
    const path = index === 0 ? out : out.replace(/\.png$/, `-${index}.png`);
    await page.screenshot({ path });
    process.stdout.write(`${path}: ${view === "" ? "overview" : view}\n`);
  }
  await traffic;
} finally {
  await rm(directory, { recursive: true, force: true });
}
