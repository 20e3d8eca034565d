import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { CodedError } from "../../crypto/base/error.ts";
import { openLog } from "./log.ts";

t.test("a line carries level, fields, the children's fields and the message, with bigints and bytes made readable", async (t) => {
  const lines: string[] = [];
  await using log = await openLog({ level: "info", destination: { write: (line) => void lines.push(line) } });
  const child = log.child({ part: "network", node: 3 });
  child.info({ height: 5n, hash: Uint8Array.of(1, 255), peer: undefined }, "peer joined");
  child.debug({ hidden: true }, "below the level");
  log.error({ error: new CodedError("disk_full", { path: "x" }) }, "cannot write");
  t.equal(lines.length, 2);
  t.match(JSON.parse(lines[0] ?? ""), { level: "info", part: "network", node: 3, height: "5", hash: "01ff", msg: "peer joined" });
  t.match(JSON.parse(lines[1] ?? ""), { level: "error", error: { type: "CodedError", code: "disk_full" }, msg: "cannot write" });
});

t.test("a file is appended to, line by line, and one that cannot be opened has a code", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "pyralog-log-"));
  t.teardown(async () => rm(folder, { recursive: true }));
  const file = join(folder, "deep", "node.log");
  for (const turn of [1, 2]) {
    await using log = await openLog({ level: "debug", destination: { file } });
    log.debug({ turn }, "opened");
    t.equal((await readFile(file, "utf8")).trim().split("\n").length, turn, "on disk before the log is closed");
  }
  await t.rejects(openLog({ level: "info", destination: { file: folder } }), { code: "log_open" });
});
