/** `pyralog export`: verified data in files, for others to read without a node. */

import { encodeBlock, encodeHeader } from "../../chain/block/block.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { verifyRange } from "../../chain/state/proof.ts";
import { compareBytes, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { placeFile, placeFileWith } from "../home/files.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { UnprovenError } from "../light/errors.ts";
import type { PyralogClient } from "../rpc/client.ts";
import { chainCertificate } from "../rpc/methods/chain.ts";
import { stateProve } from "../rpc/methods/state.ts";
import { bytesOf } from "./calls.ts";
import { findAddress, openClient, readOptions, requireId } from "./client.ts";
import type { Answer, Json } from "./answer.ts";
import { NODE_OPTIONS, type Command, type OptionTable } from "./command.ts";
import { type Invocation, parseNumber } from "./invocation.ts";
import { jsonText } from "./json.ts";

const OUT_OPTION: OptionTable = { out: { kind: "text", value: "FILE", description: "file to write" } };
const HEIGHT_OPTION: OptionTable = {
  height: { kind: "text", value: "H", description: "of the state after this height (default: the newest)" },
};
const PROOF_OPTIONS: OptionTable = {
  ...OUT_OPTION,
  hex: { kind: "flag", description: "keys are given in hex" },
  ...HEIGHT_OPTION,
  ...NODE_OPTIONS,
};

const ROWS_PER_PAGE = 100;
const INDEX_MAX = (1n << 63n) - 1n;

/** `pyralog export blocks|state|proof`. */
export const EXPORT_COMMAND: Command = {
  name: "export",
  summary: "write verified blocks, state or proofs to files",
  examples: [
    "pyralog export proof row shop orders o-1 --out row.proof",
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
    {
      name: "proof",
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
            return writeProof(
              invocation,
              await (
                await openClient(invocation)
              ).exportRow(invocation.positional(0), invocation.positional(1), key, readOptions(invocation)),
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
              await (await openClient(invocation)).exportRange(invocation.positional(0), invocation.positional(1), options),
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
            return writeProof(invocation, await (await openClient(invocation)).exportAccount(address, readOptions(invocation)));
          },
        },
        {
          name: "transaction",
          summary: "a final transaction and what it did",
          positionals: ["ID"],
          options: { ...OUT_OPTION, ...NODE_OPTIONS },
          examples: ["pyralog export proof transaction 5f0e... --out transaction.proof"],
          run: async (invocation) => {
            const client = await openClient(invocation);
            return writeProof(
              invocation,
              await client.exportTransaction(requireId(invocation.positional(0), "ID"), { signal: invocation.signal }),
            );
          },
        },
        {
          name: "record",
          summary: "a record of a stream",
          positionals: ["STREAM", "PARTITION", "INDEX"],
          options: { ...OUT_OPTION, ...HEIGHT_OPTION, ...NODE_OPTIONS },
          examples: ["pyralog export proof record events 0 17 --out record.proof"],
          run: async (invocation) => {
            const partition = Number(parseNumber(invocation.positional(1), "PARTITION", { min: 0n, max: 65_535n }));
            const index = parseNumber(invocation.positional(2), "INDEX", { min: 0n, max: INDEX_MAX });
            return writeProof(
              invocation,
              await (
                await openClient(invocation)
              ).exportRecord(invocation.positional(0), partition, index, readOptions(invocation)),
            );
          },
        },
      ],
    },
  ],
};

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
