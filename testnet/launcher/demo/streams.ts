/**
 * A stream as its owner uses it from the command line: declared, appended to, sealed into segments, and a record of it
 * erased; and a document whose commitment is notarised in another one.
 */

import { appendFile, copyFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Height, heightOf } from "../../../chain/block/height.ts";
import { assert } from "../../../crypto/base/assert.ts";
import { bytesEqual, utf8 } from "../../../crypto/base/bytes.ts";
import type { LocalNode } from "../network.ts";
import type { Fields } from "./program.ts";
import { from, homeOf, offline, type Stage } from "./stage.ts";

const STREAM = "demo.readings";
const PARTITION = "0";
/** The least that a stream may ask for: four records of this size fill one. */
const SEGMENT_SIZE_BYTES = 4_096;
const RECORDS_COUNT = 9;
const RECORD_SIZE_BYTES = 1_200;
/** Of the record that is erased; those beside it stay what they are. */
const ERASED_INDEX = 1;

const CATCH_UP_TIMEOUT_MS = 60_000;

function recordText(index: number): string {
  return `reading ${index} `.padEnd(RECORD_SIZE_BYTES, "x");
}

/** Declares a stream and fills it until segments are sealed. */
export async function fillStream(stage: Stage, owner: string): Promise<{ readonly records: number; readonly segments: number }> {
  const { program } = stage;
  await program.tell("tx", "create-stream", STREAM, "--segment-bytes", `${SEGMENT_SIZE_BYTES}`, ...from(stage, owner));
  const texts = Array.from({ length: RECORDS_COUNT }, (_, index) => recordText(index));
  // In two blocks, so that a segment is sealed while the next one grows.
  for (const part of [texts.slice(0, 5), texts.slice(5)])
    await program.tell("tx", "append", STREAM, ...part, ...from(stage, owner));
  const home = homeOf(stage);
  const [{ records }, { segments }] = await Promise.all([
    program.tell("query", "records", STREAM, PARTITION, ...home),
    program.tell("query", "segments", STREAM, PARTITION, ...home),
  ]);
  const read = (records as readonly Fields[]).map(({ data }) => (data as Fields)["text"]);
  assert(read.join() === texts.join(), "the records that were appended, in order, are those that are proven");
  return { records: read.length, segments: (segments as readonly Fields[]).length };
}

/** Notarises a document, and verifies that offline; the document with a byte more is refused. */
export async function notarise(stage: Stage, notary: string): Promise<boolean> {
  const { program, directory } = stage;
  const [document, changed, file] = [
    join(directory, "contract.txt"),
    join(directory, "changed.txt"),
    join(directory, "contract.notarisation"),
  ];
  await writeFile(document, "The parties agree that this was written before it was doubted.\n");
  await copyFile(document, changed);
  await appendFile(changed, ".");
  await program.tell("notarize", document, "--out", file, ...from(stage, notary));
  const [verified, refusal] = await Promise.all([
    program.tell("verify", file, "--document", document, ...offline(stage)),
    program.refusal("verify", file, "--document", changed, ...offline(stage)),
  ]);
  return verified["valid"] === true && verified["act"] === "appended" && refusal === "receipt_mismatch";
}

/** Erases a record of the stream: no node that runs serves it any more, the receipt says who asked, and its neighbours still verify. */
export async function eraseRecord(stage: Stage, owner: string): Promise<boolean> {
  const { program, directory, network, signal } = stage;
  const neighbour = `${ERASED_INDEX + 1}`;
  const home = homeOf(stage);
  const [before, after, receipt] = [
    join(directory, "neighbour-before.proof"),
    join(directory, "neighbour-after.proof"),
    join(directory, "erasure.receipt"),
  ];
  const proof = ["export", "--proofs", "record", STREAM, PARTITION, neighbour];
  await program.tell(...proof, "--out", before, ...home);
  const erased = await program.tell("tx", "erase", STREAM, PARTITION, `${ERASED_INDEX}`, ...from(stage, owner));
  const id = String(erased["id"]);
  await Promise.all([
    program.tell("export", "--proofs", "receipt", id, STREAM, PARTITION, `${ERASED_INDEX}`, "--out", receipt, ...home),
    program.tell(...proof, "--out", after, ...home),
  ]);
  const verified = await Promise.all([receipt, before, after].map((file) => program.tell("verify", file, ...offline(stage))));
  const [ofErasure, ...ofNeighbour] = verified;
  const isNeighbourProven = ofNeighbour.every(({ statement }) => {
    const { kind, data } = statement as Fields;
    return kind === "record" && (data as Fields)["text"] === recordText(ERASED_INDEX + 1);
  });
  const height = heightOf(BigInt(String(erased["height"])));
  const running = network.nodes.filter(({ isRunning }) => isRunning);
  const gone = await Promise.all(running.map((node) => isGone(node, height, signal)));
  return ofErasure?.["act"] === "erased" && ofErasure["transaction"] === id && isNeighbourProven && gone.every(Boolean);
}

/** Whether a node proves that the erased record is gone, and shows the one beside it. */
async function isGone(node: LocalNode, height: Height, signal: AbortSignal): Promise<boolean> {
  await node.waitForHeight(height, { timeoutMs: CATCH_UP_TIMEOUT_MS, signal });
  const { value: erased } = await node.client.record(STREAM, 0, BigInt(ERASED_INDEX), { signal });
  const { value: kept } = await node.client.record(STREAM, 0, BigInt(ERASED_INDEX + 1), { signal });
  return erased.dropped !== undefined && bytesEqual(kept.data, utf8(recordText(ERASED_INDEX + 1)));
}
