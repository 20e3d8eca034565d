/**
 * The program `pyralog`: looks at the Node it runs on, then hands the arguments to the command line.
 *
 * SIGINT and SIGTERM ask the verb to stop in order; one that comes a second or more after the first does not ask.
 * (Ctrl-C reaches us from the terminal and, a moment later, again from npm or npx.)
 */

const NODE_MAJOR_MIN = 24;
const REPEATED_SIGNAL_MS = 1000;

if (Number(process.versions.node.split(".")[0]) < NODE_MAJOR_MIN) {
  process.stderr.write(
    `pyralog needs Node ${NODE_MAJOR_MIN} or newer and runs on ${process.versions.node}.\n` +
      "Start it with npx pyralog or an npm script: they use the Node that npm ci installed beside it.\n",
  );
  process.exit(1);
}

const { runCommandLine } = await import("./cli/main.ts");
const stopping = new AbortController();

let stoppingSinceMs = 0;

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    if (!stopping.signal.aborted) {
      stoppingSinceMs = performance.now();
      stopping.abort();
    } else if (performance.now() - stoppingSinceMs >= REPEATED_SIGNAL_MS) {
      process.exit(128 + (signal === "SIGINT" ? 2 : 15));
    }
  });
}

// A reader that has seen enough (`pyralog ... | head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
});

const exitCode = await runCommandLine(
  process.argv.slice(2),
  { environment: process.env, stdin: process.stdin, stdout: process.stdout, stderr: process.stderr },
  stopping.signal,
);

// Everything that was opened is closed by now. What may linger is a library's timer, for which nobody needs to wait.
await new Promise<void>((resolve) => process.stdout.write("", () => resolve()));
process.exit(exitCode);
