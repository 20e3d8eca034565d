/** `pyralog notarize`: a commitment to a document on the chain, and a file that proves when it was there at the latest. */

import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { placeFile } from "../home/files.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import {
  type Digest,
  encodeNotarisation,
  notarisationCommitment,
  notarisationRecord,
  SALT_SIZE_BYTES,
} from "../light/receipt.ts";
import { partitionOfKey } from "../rpc/routing.ts";
import type { Answer } from "./answer.ts";
import { bytesOf } from "./calls.ts";
import { openClient } from "./client.ts";
import type { Command } from "./command.ts";
import type { Invocation } from "./invocation.ts";
import { SEND_OPTIONS, sendFinal } from "./send.ts";
import { usageError } from "./usage.ts";

const STREAM_DEFAULT = "notary";
const ALGORITHM = "sha2-256";
const DIGEST_SIZE_BYTES = 32;

/** `pyralog notarize`. */
export const NOTARIZE_COMMAND: Command = {
  name: "notarize",
  summary: "put a salted commitment to a document on the chain, and write the file that proves it",
  detail:
    "The chain sees a hash of the document's hash and a random salt, from which nobody can guess the document. The file proves,\noffline, that the document existed no later than the block, and who signed for it: not when it was made, nor by whom.",
  positionals: ["[FILE]"],
  options: {
    hash: { kind: "text", value: "HEX", description: "SHA-256 of the document, in place of FILE" },
    stream: { kind: "text", value: "NAME", description: `stream to append to (default ${STREAM_DEFAULT})` },
    out: { kind: "text", value: "FILE", description: "where to write the notarisation" },
    ...SEND_OPTIONS,
  },
  examples: [
    "pyralog notarize contract.pdf --from alice --out contract.notarisation",
    "pyralog verify contract.notarisation --document contract.pdf",
  ],
  run: notarize,
};

async function notarize(invocation: Invocation): Promise<Answer> {
  const out = invocation.requireText("out");
  const digest = await digestOf(invocation);
  const salt = new Uint8Array(randomBytes(SALT_SIZE_BYTES));
  const commitment = notarisationCommitment(digest, salt);
  const stream = invocation.text("stream") ?? STREAM_DEFAULT;
  const { value: declared } = await (await openClient(invocation)).stream(stream, { signal: invocation.signal });
  const partition = declared === undefined ? 0 : partitionOfKey(commitment, declared.partitions);
  const records = [notarisationRecord(commitment)];
  const { client, id } = await sendFinal(invocation, [{ kind: "streamAppend", stream, partition, records }]);
  const receipt = await client.exportReceipt(id, { stream, partition }, { signal: invocation.signal });
  const file = encodeNotarisation(digest, salt, receipt);
  await placeFile(out, file, { mode: 0o644 });
  return {
    json: {
      file: out,
      id,
      algorithm: digest.algorithm,
      digest: digest.digest,
      commitment,
      stream,
      partition,
      sizeBytes: file.length,
    },
    text: `Wrote ${out} (${file.length} bytes)\n  ${digest.algorithm} ${toHex(digest.digest)}\nSee: pyralog verify ${out}`,
  };
}

async function digestOf(invocation: Invocation): Promise<Digest> {
  const hex = invocation.text("hash");
  const [path] = invocation.positionals;
  if ((hex === undefined) === (path === undefined))
    throw usageError("usage_missing_argument", "name either FILE or --hash", { field: "FILE" });
  if (path !== undefined) return { algorithm: ALGORITHM, digest: await fileDigest(path) };
  const digest = bytesOf(hex ?? "", true, "--hash");
  if (digest.length !== DIGEST_SIZE_BYTES)
    throw usageError("usage_option_value", "--hash must be 64 hex digits", { field: "--hash" });
  return { algorithm: ALGORITHM, digest };
}

/** SHA-256 of a file of any size. */
export async function fileDigest(path: string): Promise<Uint8Array> {
  const hash = createHash("sha256");
  try {
    for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  } catch (error) {
    throw new CodedError(
      "file_missing",
      { path, field: "FILE", message: `${path} cannot be read`, reason: codeOf(error) },
      { cause: error },
    );
  }
  return new Uint8Array(hash.digest());
}
