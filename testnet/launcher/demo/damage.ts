/** A disk that changes one byte of what a stopped node has stored: found by `pyralog scrub`, and put right from peers. */

import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { present } from "../../../crypto/base/assert.ts";
import type { LocalNode } from "../network.ts";
import type { Fields } from "./program.ts";
import type { Stage } from "./stage.ts";

/**
 * Alters a byte in the middle of the largest file of a stopped node's store, and has it found and repaired.
 *
 * @returns whether it was found, refused until it was repaired, and is not to be found any more
 */
export async function damageAndRepair({ program, network }: Stage, node: LocalNode): Promise<boolean> {
  const home = ["--home", node.home.path];
  const file = await largestFile(node.home.storePath);
  await turnBit(join(node.home.storePath, file));
  const refusal = await program.refusal("scrub", ...home);
  const peers = network.nodes.filter((other) => other !== node).map(({ rpcUrl }) => rpcUrl);
  const { found } = await program.tell("scrub", "--repair", "--rpc", peers.join(","), ...home);
  const isFound = (found as readonly Fields[]).some(({ place }) => String(place).startsWith(file));
  const { found: left } = await program.tell("scrub", ...home);
  return refusal === "scrub_damage" && isFound && (left as readonly Fields[]).length === 0;
}

async function largestFile(directory: string): Promise<string> {
  const names = (await readdir(directory)).filter((name) => /\.(ldb|log)$/.test(name));
  const sizes = await Promise.all(names.map(async (name) => ({ name, size: (await stat(join(directory, name))).size })));
  return present(sizes.toSorted((a, b) => b.size - a.size)[0], "a file of the store").name;
}

async function turnBit(path: string): Promise<void> {
  const handle = await open(path, "r+");
  try {
    const position = (await handle.stat()).size >> 1;
    const { buffer } = await handle.read({ buffer: new Uint8Array(1), position });
    await handle.write(Uint8Array.of((buffer[0] ?? 0) ^ 1), 0, 1, position);
  } finally {
    await handle.close();
  }
}
