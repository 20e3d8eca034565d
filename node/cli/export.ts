/** `pyralog export`: verified data in files, for others to read without a node. */

import { encodeBlock, encodeHeader } from "../../chain/block/block.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { verifyRange } from "../../chain/state/proof.ts";
import { compareBytes, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { placeFile, placeFileWith } from "../home/files.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { Archive } from "../archive/reader.ts";
import { archiveSource } from "../archive/source.ts";
import { encodeNoteKey } from "../light/checkpoint.ts";
import { provenOrThrow, UnprovenError } from "../light/errors.ts";
import { verifyReceipt } from "../light/receipt.ts";
import { PyralogClient } from "../rpc/client.ts";
import { exportLogReceipt } from "../rpc/logreceipt.ts";
import { chainCertificate } from "../rpc/methods/chain.ts";
import { stateProve } from "../rpc/methods/state.ts";
import { bytesOf } from "./calls.ts";
import { findAddress, openClient, readOptions, requireId } from "./client.ts";
import type { Answer, Json } from "./answer.ts";
import { NODE_OPTIONS, type Command, type OptionTable } from "./command.ts";
import { type Invocation, parseNumber } from "./invocation.ts";
import { jsonText } from "./json.ts";
import { urlsOf } from "./light.ts";
import { usageError } from "./usage.ts";

const OUT_OPTION: OptionTable = { out: { kind: "text", value: "FILE", description: "file to write" } };
const HEIGHT_OPTION: OptionTable = {
  height: { kind: "text", value: "H", description: "of the state after this height (default: the newest)" },
};
const ARCHIVE_OPTION: OptionTable = {
  archive: { kind: "text", value: "DIR|URL", description: "read an archive instead of asking a node" },
};
const PROOF_OPTIONS: OptionTable = {
  ...OUT_OPTION,
  hex: { kind: "flag", description: "keys are given in hex" },
  ...HEIGHT_OPTION,
  ...ARCHIVE_OPTION,
  ...NODE_OPTIONS,
};

const ROWS_PER_PAGE = 100;
const INDEX_MAX = (1n << 63n) - 1n;

const RECEIPT_FORMATS = ["pyralog", "tlog", "cose"] as const;

/** `pyralog export receipt`, and `export proof receipt`. */
const RECEIPT_COMMAND: Command = {
  name: "receipt",
  summary: "who appended or erased a record, and when: signature, block time, place; or its place, for foreign tools",
  detail:
    "tlog (c2sp.org/tlog-proof) and cose (RFC 9942) prove that the record is in a log over SHA-256, which the node signs.\nThat is the node's word, and no validator's: whoever checks it needs the node's key, which is printed, from its operator.\nThe default format needs the network file alone, and proves writer and time as well.",
  positionals: ["ID", "[STREAM]", "[PARTITION]", "[INDEX]"],
  options: {
    ...OUT_OPTION,
    format: { kind: "text", value: RECEIPT_FORMATS.join("|"), description: "pyralog (default), or one that foreign tools check" },
    record: {
      kind: "text",
      value: "FILE",
      description: "write the record's bytes there too: the entry, as foreign tools call it",
    },
    operators: { kind: "text", value: "URL[,URL...]", description: "further nodes that must sign the same log (tlog)" },
    ...NODE_OPTIONS,
  },
  examples: [
    "pyralog export receipt 5f0e... --out append.receipt",
    "pyralog export receipt 5f0e... events 0 17 --out erasure.receipt",
    "pyralog export receipt 5f0e... --format tlog --out append.tlog-proof",
    "pyralog export receipt 5f0e... --format cose --out append.cose --record append.record",
  ],
  run: exportReceipt,
};

/** `pyralog export blocks|state|receipt|proof`. */
export const EXPORT_COMMAND: Command = {
  name: "export",
  summary: "write verified blocks, state or proofs to files",
  examples: [
    "pyralog export --proofs row shop orders o-1 --height 100 --out row.proof",
    "pyralog export state --out state.jsonl",
    "pyralog export blocks --out blocks.jsonl",
  ],
  subcommands: [
    {
      name: "blocks",
      summary: "blocks with their certificates, one JSON object a line",
      options: {
        from: { kind: "text", value: "H", description: "first height (default 1)" },
        to: { kind: "text", value: "H", description: "last height (default: the newest)" },
        ...OUT_OPTION,
        ...NODE_OPTIONS,
      },
      examples: ["pyralog export blocks --from 1 --to 100 --out blocks.jsonl --json"],
      run: exportBlocks,
    },
    {
      name: "state",
      summary: "every row of the state, proven complete, one JSON object a line",
      options: { ...HEIGHT_OPTION, ...OUT_OPTION, ...NODE_OPTIONS },
      examples: ["pyralog export state --height 100 --out state.jsonl --json"],
      run: exportState,
    },
    RECEIPT_COMMAND,
    {
      name: "proof",
      aliases: ["--proofs", "proofs"],
      summary: "a file that proves something to whoever has the network file; see pyralog verify",
      examples: ["pyralog export proof account alice --out alice.proof"],
      subcommands: [
        {
          name: "row",
          summary: "a row, or that there is none",
          positionals: ["NAMESPACE", "TABLE", "KEY"],
          options: PROOF_OPTIONS,
          examples: ["pyralog export proof row shop orders o-1 --out row.proof"],
          run: async (invocation) => {
            const key = bytesOf(invocation.positional(2), invocation.flag("hex"), "KEY");
            const prover = await openProver(invocation);
            return writeProof(
              invocation,
              await prover.exportRow(invocation.positional(0), invocation.positional(1), key, readOptions(invocation)),
            );
          },
        },
        {
          name: "range",
          summary: "all rows of a range of a table",
          positionals: ["NAMESPACE", "TABLE"],
          options: {
            from: { kind: "text", value: "KEY", description: "first key" },
            to: { kind: "text", value: "KEY", description: "end key" },
            ...PROOF_OPTIONS,
          },
          examples: ["pyralog export proof range shop orders --out orders.proof"],
          run: async (invocation) => {
            const bound = (name: string): Uint8Array | undefined => {
              const text = invocation.text(name);
              return text === undefined ? undefined : bytesOf(text, invocation.flag("hex"), `--${name}`);
            };
            const options = { ...readOptions(invocation), from: bound("from"), to: bound("to") };
            return writeProof(
              invocation,
              await (await openProver(invocation)).exportRange(invocation.positional(0), invocation.positional(1), options),
            );
          },
        },
        {
          name: "account",
          summary: "balance and nonce of an account",
          positionals: ["ADDRESS"],
          options: PROOF_OPTIONS,
          examples: ["pyralog export proof account alice --out alice.proof"],
          run: async (invocation) => {
            const address = await findAddress(invocation.home, invocation.positional(0), "ADDRESS");
            return writeProof(invocation, await (await openProver(invocation)).exportAccount(address, readOptions(invocation)));
          },
        },
        {
          name: "transaction",
          summary: "a final transaction and what it did",
          positionals: ["ID"],
          options: {
            ...OUT_OPTION,
            height: { kind: "text", value: "H", description: "its block; needed with --archive, which has no index of ids" },
            ...ARCHIVE_OPTION,
            ...NODE_OPTIONS,
          },
          examples: [
            "pyralog export proof transaction 5f0e... --out transaction.proof",
            "pyralog export proof transaction 5f0e... --height 17 --archive ./archive --out transaction.proof",
          ],
          run: async (invocation) => {
            const id = requireId(invocation.positional(0), "ID");
            const { height, signal } = readOptions(invocation);
            if (invocation.text("archive") === undefined)
              return writeProof(invocation, await (await openClient(invocation)).exportTransaction(id, { signal }));
            if (height === undefined)
              throw new CodedError("usage_missing_option", {
                field: "--height",
                message: "--archive needs the --height of the block",
              });
            return writeProof(invocation, await (await openArchive(invocation)).exportTransaction(id, height));
          },
        },
        RECEIPT_COMMAND,
        {
          name: "record",
          summary: "a record of a stream",
          positionals: ["STREAM", "PARTITION", "INDEX"],
          options: { ...OUT_OPTION, ...HEIGHT_OPTION, ...ARCHIVE_OPTION, ...NODE_OPTIONS },
          examples: ["pyralog export proof record events 0 17 --out record.proof"],
          run: async (invocation) => {
            const partition = Number(parseNumber(invocation.positional(1), "PARTITION", { min: 0n, max: 65_535n }));
            const index = parseNumber(invocation.positional(2), "INDEX", { min: 0n, max: INDEX_MAX });
            return writeProof(
              invocation,
              await (
                await openProver(invocation)
              ).exportRecord(invocation.positional(0), partition, index, readOptions(invocation)),
            );
          },
        },
      ],
    },
  ],
};

async function exportReceipt(invocation: Invocation): Promise<Answer> {
  const [id = "", stream, partition, index] = invocation.positionals;
  const at = {
    ...(stream === undefined ? {} : { stream }),
    ...(partition === undefined ? {} : { partition: Number(parseNumber(partition, "PARTITION", { min: 0n, max: 65_535n })) }),
    ...(index === undefined ? {} : { index: parseNumber(index, "INDEX", { min: 0n, max: INDEX_MAX }) }),
  };
  const format = RECEIPT_FORMATS.find((each) => each === (invocation.text("format") ?? "pyralog"));
  if (format === undefined)
    throw usageError("usage_option_value", `--format must be one of ${RECEIPT_FORMATS.join(", ")}`, { field: "--format" });
  const operators = invocation.text("operators") === undefined ? [] : urlsOf(invocation, "operators");
  const path = invocation.text("record");
  if (format !== "tlog" && operators.length > 0)
    throw usageError("usage_option_value", "--operators sign a tlog proof alone", { field: "--operators" });
  if (format === "pyralog" && path !== undefined)
    throw usageError("usage_option_value", "--record is for foreign formats", { field: "--record" });
  const { signal } = invocation;
  const client = await openClient(invocation);
  const file = await client.exportReceipt(requireId(id, "ID"), at, { signal });
  if (format === "pyralog") return await writeProof(invocation, file);
  const { record } = provenOrThrow(await verifyReceipt(file, client.network));
  const { network } = client;
  const others = operators.map((url) => new PyralogClient({ url, network }));
  const exported = await exportLogReceipt(client, record, { format, operators: others, signal });
  if (path !== undefined) await placeFile(path, exported.receipt.entry, { mode: 0o644 });
  const { json, text } = await writeProof(invocation, exported.file);
  const keys = exported.keys.map(encodeNoteKey);
  const { origin, size, root } = exported.receipt;
  return {
    json: { ...(json as { readonly [name: string]: Json }), format, origin, size, root, keys, record: path ?? null },
    text: [
      text,
      `  --key ${keys.join("\n  --key ")}`,
      `The word of ${keys.length === 1 ? "one node" : `${keys.length} nodes`}: that the keys are theirs is for their operators to say`,
    ].join("\n"),
  };
}

/** Who makes proof files: a node that is asked, or an archive that is read. */
async function openProver(invocation: Invocation): Promise<Archive | PyralogClient> {
  return invocation.text("archive") === undefined ? await openClient(invocation) : await openArchive(invocation);
}

async function openArchive(invocation: Invocation): Promise<Archive> {
  const source = archiveSource(invocation.requireText("archive"));
  return await Archive.open(source, await invocation.network(), invocation.signal);
}

async function writeProof(invocation: Invocation, proof: Uint8Array): Promise<Answer> {
  const path = invocation.requireText("out");
  await placeFile(path, proof, { mode: 0o644 });
  return {
    json: { file: path, sizeBytes: proof.length },
    text: `Wrote ${path} (${proof.length} bytes), checked as a stranger would\nSee: pyralog verify ${path}`,
  };
}

async function exportBlocks(invocation: Invocation): Promise<Answer> {
  const { signal } = invocation;
  const client = await openClient(invocation);
  const path = invocation.requireText("out");
  const bounds = { min: 1n, max: INDEX_MAX };
  const head = (await client.head({ signal })).value.height;
  const from = invocation.bigint("from", bounds) ?? 1n;
  const to = invocation.bigint("to", bounds) ?? head;
  if (from > to || to > head)
    throw new CodedError("range_invalid", { field: "--to", message: `heights ${from} to ${to} are not within 1 to ${head}` });
  using progress = invocation.progress("Exporting");
  const lines = await writeLines(path, async (write) => {
    for (let height = from; height <= to; height += 1n) {
      const { value: block } = await client.block(heightOf(height), { signal });
      const { certificate } = await client.ask(chainCertificate, { height: heightOf(height) }, { signal });
      // Asked for apart from the block, so it is checked apart as well.
      await client.believe({ header: encodeHeader(block.header), certificate }, { signal });
      await write({ height, block: encodeBlock(block), certificate });
      progress.update(height - from + 1n, to - from + 1n);
    }
  });
  return {
    json: { file: path, from, to, blocks: lines },
    text: `Wrote ${lines} verified blocks, heights ${from} to ${to}, to ${path}`,
  };
}

async function exportState(invocation: Invocation): Promise<Answer> {
  const { signal } = invocation;
  const client = await openClient(invocation);
  const path = invocation.requireText("out");
  const { height: chosen } = readOptions(invocation);
  const { value: header } = chosen === undefined ? await client.head({ signal }) : await client.header(chosen, { signal });
  using progress = invocation.progress("Exporting rows");
  const lines = await writeLines(path, async (write) => {
    let count = 0;
    for await (const { key, value } of stateRows(client, header.height, header.stateRoot, signal)) {
      await write({ key, value });
      progress.update((count += 1), 0);
    }
  });
  const { height, stateRoot } = header;
  return {
    json: { file: path, height, stateRoot, rows: lines },
    text: `Wrote all ${lines} rows of the state at height ${height} (root ${toHex(stateRoot)}) to ${path}`,
  };
}

/** Every row of a verified state root, page by page, each page proven complete. */
async function* stateRows(
  client: PyralogClient,
  height: Height,
  stateRoot: Hash,
  signal: AbortSignal,
): AsyncGenerator<{ readonly key: Uint8Array; readonly value: Uint8Array }> {
  let from: Uint8Array | undefined = new Uint8Array(0);
  while (from !== undefined) {
    const at: Uint8Array = from;
    const { proof } = await client.ask(stateProve, { from: at, limit: ROWS_PER_PAGE, height, anchor: false }, { signal });
    const page = verifyRange(stateRoot, { from: at }, proof);
    if (!page.ok)
      throw new UnprovenError({
        code: page.error.code === "proof_root_mismatch" ? "root_mismatch" : "proof_malformed",
        field: "proof",
        height,
      });
    yield* page.value.rows;
    const next: Uint8Array | undefined = page.value.continueFrom;
    if (next !== undefined && compareBytes(next, at) <= 0) throw new UnprovenError({ code: "range_incomplete", height });
    from = next;
  }
}

/** Writes JSON lines beside, and puts them in place once all are there. Returns how many. */
async function writeLines(path: string, produce: (write: (line: Json) => Promise<void>) => Promise<void>): Promise<number> {
  return placeFileWith(
    path,
    async (write) => {
      let count = 0;
      await produce(async (line) => {
        await write(`${jsonText(line)}\n`);
        count += 1;
      });
      return count;
    },
    { mode: 0o644 },
  );
}
