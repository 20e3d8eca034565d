/**
 * Damages receipts of record logs, in both formats that foreign tools read, and asks `node/light` what it makes of them.
 *
 * No second verifier of ours stands beside it: foreign code does, in `node/light/receipt.test.ts`. Here a truth stands beside
 * it: what is accepted must be a record that lies in its log at that place, under a root that its operator has signed.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual, concatBytes, parseUtf8, utf8 } from "../../crypto/base/bytes.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { type NetworkFile, networkHash } from "../../chain/block/genesis.ts";
import { heightOf } from "../../chain/block/height.ts";
import { encodeRecord } from "../../chain/block/record.ts";
import { keyPairAt, networkOf } from "../../chain/block/testing/fixtures.ts";
import { appendLeaf, EMPTY_FRONTIER, inclusionProof, rootAt } from "../../chain/merkle/log.ts";
import { encodeCheckpoint, encodeNote, signNote } from "../../node/light/checkpoint.ts";
import { signCoseReceipt, verifyCoseReceipt, withEntry } from "../../node/light/cose.ts";
import {
  encodeTlogProof,
  type LogReceipt,
  RECORD_LOG_HASHER,
  recordLogOrigin,
  verifyTlogProof,
} from "../../node/light/recordlog.ts";
import type { Random } from "../simulator/random.ts";
import { damaged, note, pick, type Tally } from "./mutate.ts";

const OPERATOR = keyPairAt(60);
/** Partitions of two streams, and sizes at which the operator signed their roots. */
const PARTITIONS = [
  { stream: "orders", partition: 0 },
  { stream: "orders", partition: 1 },
  { stream: "audit", partition: 0 },
] as const;
const SIZES = [1n, 2n, 6n, 7n, 40n] as const;
const RECORDS = 40;

/** Honest receipts, and the logs that they are of. */
export type LogCorpus = {
  readonly network: NetworkFile;
  readonly files: readonly { readonly name: string; readonly format: "tlog" | "cose"; readonly bytes: Uint8Array }[];
  /** Whether what a receipt says is so. */
  isTrue(receipt: LogReceipt): boolean;
};

/** Makes them. */
export function openLogCorpus(): LogCorpus {
  const network = networkOf({ powers: [1n] });
  const hash = networkHash(network);
  const signed = new Map<string, { readonly root: Hash; readonly entries: readonly Uint8Array[] }>();
  const files: { name: string; format: "tlog" | "cose"; bytes: Uint8Array }[] = [];
  for (const place of PARTITIONS) {
    const origin = recordLogOrigin({ chainId: network.chainId, hash }, place);
    const entries = Array.from({ length: RECORDS }, (_, index) =>
      encodeRecord({
        ...place,
        index: BigInt(index),
        height: heightOf(BigInt(1 + (index >> 3))),
        timeMs: BigInt(1000 * index),
        key: index % 3 === 0 ? utf8("key") : undefined,
        data: utf8(`record ${index}`),
      }),
    );
    const nodes = new Map<string, Hash>();
    let frontier = EMPTY_FRONTIER;
    for (const entry of entries)
      frontier = appendLeaf(RECORD_LOG_HASHER, frontier, RECORD_LOG_HASHER.leaf(entry), (level, index, node) =>
        nodes.set(`${level}/${index}`, node),
      );
    const readNode = (level: number, index: bigint): Hash => present(nodes.get(`${level}/${index}`), "node");
    for (const size of SIZES) {
      const root = rootAt(RECORD_LOG_HASHER, size, readNode);
      signed.set(`${origin} ${size}`, { root, entries });
      const text = encodeCheckpoint({ origin, size, root });
      const checkpoint = encodeNote({ text, signatures: [signNote(text, origin, OPERATOR)] });
      for (const index of new Set([0n, size / 2n, size - 1n])) {
        const siblings = inclusionProof(RECORD_LOG_HASHER, { index, size }, readNode);
        const entry = present(entries[Number(index)], "entry");
        const name = `${place.stream}/${place.partition} ${index} of ${size}`;
        files.push({ name, format: "tlog", bytes: encodeTlogProof({ index, siblings }, { checkpoint, entry }) });
        const bare = signCoseReceipt({ origin, root, place, index, size, siblings }, OPERATOR);
        files.push({ name, format: "cose", bytes: present(withEntry(bare, entry), "own receipt") });
      }
    }
  }
  return {
    network,
    files,
    isTrue({ origin, size, index, root, entry }) {
      const log = signed.get(`${origin} ${size}`);
      const stored = log?.entries[Number(index)];
      return log !== undefined && stored !== undefined && index < size && bytesEqual(log.root, root) && bytesEqual(stored, entry);
    },
  };
}

/** What the verifier of a format says of bytes. */
export function verifyLogFile(corpus: LogCorpus, format: "tlog" | "cose", bytes: Uint8Array): ReturnType<typeof verifyTlogProof> {
  const check = { network: corpus.network, keys: [OPERATOR.publicKey] };
  return format === "tlog" ? verifyTlogProof(bytes, check) : verifyCoseReceipt(bytes, check);
}

/** Mutates one receipt and adds to the tally what is said of it. */
export function tryOneLog(corpus: LogCorpus, random: Random, tally: Tally): void {
  const original = pick(corpus.files, random);
  const donors = corpus.files.filter(({ format }) => format === original.format);
  const donor = pick(donors, random).bytes;
  const isText = original.format === "tlog" && random.happens(600);
  const bytes = isText
    ? relined(original.bytes, donor, random)
    : random.happens(500)
      ? damaged(original.bytes, random)
      : spliced(original.bytes, donor, random);
  if (donors.some((file) => bytesEqual(file.bytes, bytes))) return;
  const said = verifyLogFile(corpus, original.format, bytes);
  tally.mutated += 1;
  if (!said.ok) tally.refused += 1;
  else if (corpus.isTrue(said.value)) tally.acceptedTrue += 1;
  else {
    tally.acceptedFalse += 1;
    note(tally, `${original.format} ${original.name}`, "a forgery", bytes);
  }
}

/** A piece of another receipt in the place of one of this one: the same piece mostly, or one from elsewhere. */
function spliced(bytes: Uint8Array, donor: Uint8Array, random: Random): Uint8Array {
  const from = random.between(0, Math.min(bytes.length, donor.length) - 1);
  const count = random.between(1, Math.max(1, Math.min(bytes.length, donor.length) - from));
  const at = random.happens(800) ? from : random.between(0, bytes.length - 1);
  return concatBytes(bytes.subarray(0, at), donor.subarray(from, from + count), bytes.subarray(at + count));
}

/** One or two changes of lines: left out, said twice, changed places, taken from another receipt, or one number changed. */
function relined(bytes: Uint8Array, donor: Uint8Array, random: Random): Uint8Array {
  const lines = linesOf(bytes);
  const theirs = linesOf(donor);
  for (let left = random.happens(700) ? 1 : 2; left > 0; left -= 1) {
    const at = random.between(0, lines.length - 1);
    const line = lines[at] ?? "";
    switch (random.between(0, 4)) {
      case 0:
        lines.splice(at, 1);
        break;
      case 1:
        lines.splice(at, 0, line);
        break;
      case 2: {
        const other = random.between(0, lines.length - 1);
        [lines[at], lines[other]] = [lines[other] ?? "", line];
        break;
      }
      case 3:
        lines[at] = theirs[random.happens(500) ? Math.min(at, theirs.length - 1) : random.between(0, theirs.length - 1)] ?? "";
        break;
      default:
        lines[at] = line.replace(/\d+/, (digits) => `${BigInt(digits) + BigInt(random.between(1, 3))}`);
    }
  }
  return utf8(lines.join("\n"));
}

function linesOf(bytes: Uint8Array): string[] {
  const text = parseUtf8(bytes);
  assert(text.ok, "an honest receipt is text");
  return text.value.split("\n");
}
