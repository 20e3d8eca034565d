/**
 * `npm test`: runs all tests, or the files given. The last line is `N passed, N failed`; the exit code is tap's.
 */

import { createInterface } from "node:readline";
import { PassThrough } from "node:stream";
import { Digest } from "./digest.ts";
import { runTool } from "./run.ts";

// A reader that has seen enough (`npm test | head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
});

const digest = new Digest();
const output = new PassThrough();
const printed = (async () => {
  for await (const line of createInterface({ input: output })) {
    const shown = digest.line(line);
    if (shown !== undefined) process.stdout.write(`${shown}\n`);
  }
})();

const outcome = await runTool({
  script: "tap/dist/esm/run.mjs",
  arguments: ["--reporter=tap", ...process.argv.slice(2)],
  onOutput: (piece) => output.write(piece),
  stderr: "inherit",
});
output.end();
await printed;

// Without totals tap itself fell over: that is a failure, whatever it exited with.
const { passed, failed } = digest.totals ?? { passed: 0, failed: 1 };
const code = outcome.code === 0 && (failed > 0 || digest.totals === undefined) ? 1 : outcome.code;
process.stdout.write(`${passed} passed, ${code !== 0 && failed === 0 ? 1 : failed} failed\n`);
process.exitCode = code;
