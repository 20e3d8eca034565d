/**
 * `npm run -s conformance`: reads NDJSON `{id, op, input}` on standard input and answers each line with `{id, output}` or
 * `{id, error: {code}}`, in order. `--help` lists the operations.
 *
 * It ends when its input does: with 0, or with 1 when production code threw, which nothing on a line may make it do.
 */

import { once } from "node:events";
import { PORT_CODES } from "./errors.ts";
import { splitLines } from "./lines.ts";
import { LINE_SIZE_BYTES_MAX, Port } from "./port.ts";
import { OPERATIONS } from "./table.ts";

const HELP = `npm run -s conformance < REQUESTS > ANSWERS

One JSON object a line, {"id", "op", "input"}; one answer a line, {"id", "output"} or {"id", "error": {"code", ...}}, in the
same order. Bytes are lower-case hex, integers decimal strings (in inputs also JSON numbers that are exact). A line has at
most ${LINE_SIZE_BYTES_MAX} bytes.

Operations:
${OPERATIONS.map(({ name, help }) => `  ${name.padEnd(24)} ${help}`).join("\n")}

Codes of the port; production code has its own:
${Object.entries(PORT_CODES)
  .map(([code, meaning]) => `  ${code.padEnd(24)} ${meaning}`)
  .join("\n")}
`;

async function serve(): Promise<void> {
  const port = new Port(OPERATIONS, (error) => {
    process.exitCode = 1;
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  });
  // Whoever reads our answers may go away before the last one.
  process.stdout.on("error", () => process.exit(1));
  for await (const line of splitLines(process.stdin, LINE_SIZE_BYTES_MAX)) {
    if (!process.stdout.write(`${await port.answer(line)}\n`)) await once(process.stdout, "drain");
  }
}

const [argument] = process.argv.slice(2);
if (argument === undefined) await serve();
else {
  process.exitCode = argument === "--help" ? 0 : 2;
  (process.exitCode === 0 ? process.stdout : process.stderr).write(HELP);
}
