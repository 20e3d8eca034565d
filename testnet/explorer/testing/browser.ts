/** A real Chromium with nothing in it: the browser of the tests, the benchmark and the screenshot. */

import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";
import { CodedError } from "../../../crypto/base/error.ts";

/** Where Debian's package puts it. `PYRALOG_CHROMIUM` names another one. */
const EXECUTABLE_DEFAULT = "/usr/bin/chromium";
const LAUNCH_TIMEOUT_MS = 60_000;

/** No sandbox, because build machines run as root; and nothing that calls home. */
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage",
];

/**
 * Starts a browser with a fresh profile, which goes when the browser is closed.
 *
 * @throws CodedError `chromium_missing`, which says how to get one
 */
export async function openBrowser(): Promise<Browser> {
  const executablePath = process.env["PYRALOG_CHROMIUM"] ?? EXECUTABLE_DEFAULT;
  if (!existsSync(executablePath))
    throw new CodedError("chromium_missing", {
      message: `there is no Chromium at ${executablePath}: apt-get install chromium, or name one with PYRALOG_CHROMIUM`,
    });
  return await chromium.launch({ executablePath, headless: true, args: ARGUMENTS, timeout: LAUNCH_TIMEOUT_MS });
}
