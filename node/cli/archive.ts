/** `pyralog archive`: writes what a node has into plain files that any web server serves and anybody can check. */

import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { heightOf } from "../../chain/block/height.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { ArchiveWriter } from "../archive/writer.ts";
import { chainBlock, chainHead } from "../rpc/methods/chain.ts";
import type { Answer } from "./answer.ts";
import { openClient } from "./client.ts";
import { NODE_OPTIONS, type Command } from "./command.ts";
import type { Invocation } from "./invocation.ts";

/** `pyralog archive`. */
export const ARCHIVE_COMMAND: Command = {
  name: "archive",
  summary: "write blocks, states and records into plain files that prove any old height",
  detail:
    "Executes every block itself in a replica, believes the node nothing, and goes on where it left off. Serve DIR with any web\nserver, or copy it; pyralog export proof ... --archive DIR|URL reads it with no node running.",
  positionals: ["DIR"],
  options: {
    replica: { kind: "text", value: "DIR", description: "where the replica is kept (default: archive-replica in the home)" },
    ...NODE_OPTIONS,
  },
  examples: [
    "pyralog archive ./public/archive",
    "pyralog archive ./public/archive --replica ./replica --node http://127.0.0.1:26680 --network ./network.json --json",
  ],
  run: writeArchive,
};

async function writeArchive(invocation: Invocation): Promise<Answer> {
  const { signal } = invocation;
  const directory = resolve(invocation.positional(0));
  const client = await openClient(invocation);
  const network = await invocation.network();
  const place = invocation.text("replica") ?? join(invocation.home.path, "archive-replica");
  await mkdir(directory, { recursive: true });
  await mkdir(place, { recursive: true });
  using progress = invocation.progress("Archiving");
  const store = await openLevelStore({ path: place });
  await using replica = await Ledger.open({ store, network, executor: EXECUTOR });
  const writer = new ArchiveWriter({ directory, replica, signal });
  const source = {
    head: async () => heightOf((await client.ask(chainHead, {}, { signal })).height),
    block: async (height: ReturnType<typeof heightOf>) => {
      const { block, certificate } = await client.ask(chainBlock, { height }, { signal });
      return { block, certificate };
    },
  };
  const { from, height, files, sizeBytes } = await writer.run(source, (at, target) => progress.update(at, target));
  return {
    json: { directory, from, height, files, sizeBytes },
    text: `Archived heights ${from + 1n} to ${height} in ${directory}: ${files} files, ${sizeBytes} bytes`,
  };
}
