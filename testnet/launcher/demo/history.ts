/** A row as it was before it changed, proven from plain files with no node asked, to two verifiers that share no code. */

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bytesEqual, utf8 } from "../../../crypto/base/bytes.ts";
import { encodeValue } from "../../../crypto/codec/value.ts";
import type { NetworkJson } from "../../verifier/corpus.ts";
import { secondVerdict } from "../../verifier/second.ts";
import type { Fields } from "./program.ts";
import { from, homeOf, offline, type Stage } from "./stage.ts";

const [NAMESPACE, TABLE, KEY] = ["demo.shop", "prices", "tea"];

/** The row that is written. */
export const ROW = { namespace: NAMESPACE, table: TABLE, key: utf8(KEY) } as const;

/** Writes a row twice, archives the chain, and proves the first value at its height from the archive alone. */
export async function proveOldRow(stage: Stage, owner: string): Promise<boolean> {
  const { program, directory } = stage;
  const [archive, replica, file, cut] = ["archive", "archive-replica", "old.proof", "cut.proof"].map((name) =>
    join(directory, name),
  ) as [string, string, string, string];
  await program.tell("tx", "create-table", NAMESPACE, TABLE, ...from(stage, owner));
  const first = await program.tell("tx", "put", NAMESPACE, TABLE, KEY, '"12.50"', ...from(stage, owner));
  const second = await program.tell("tx", "put", NAMESPACE, TABLE, KEY, '"13.00"', ...from(stage, owner));
  const height = String(first["height"]);
  await program.tell("archive", archive, "--replica", replica, ...homeOf(stage));
  const now = await program.tell("query", "row", NAMESPACE, TABLE, KEY, ...homeOf(stage));
  const row = ["export", "--proofs", "row", NAMESPACE, TABLE, KEY];
  await program.tell(...row, "--height", height, "--archive", archive, "--out", file, ...offline(stage));
  const bytes = new Uint8Array(await readFile(file));
  await writeFile(cut, bytes.subarray(0, -1));
  const [{ statement, height: provenAt }, refusal] = await Promise.all([
    program.tell("verify", file, ...offline(stage)),
    program.refusal("verify", cut, ...offline(stage)),
  ]);
  const isOld = (statement as Fields)["value"] === "12.50" && provenAt === height && now["value"] === "13.00";
  return second["height"] !== height && isOld && refusal !== undefined && (await secondAgrees(stage, bytes, height));
}

/** The second verifier says the same of the file, and refuses it with one bit turned over. */
async function secondAgrees({ network }: Stage, bytes: Uint8Array, height: string): Promise<boolean> {
  const trusted = JSON.parse(await readFile(network.homes.networkPath, "utf8")) as NetworkJson;
  const verdict = secondVerdict(bytes, trusted);
  const forged = bytes.slice();
  const middle = forged.length >> 1;
  forged[middle] = (forged[middle] ?? 0) ^ 1;
  if (!verdict.ok || secondVerdict(forged, trusted).ok) return false;
  const { kind, key, value, height: provenAt } = verdict.proven;
  return (
    kind === "row" &&
    bytesEqual(key as Uint8Array, utf8(KEY)) &&
    bytesEqual(value as Uint8Array, encodeValue("12.50")) &&
    provenAt === BigInt(height)
  );
}
