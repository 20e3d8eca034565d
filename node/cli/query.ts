/** `pyralog query`: reads of which every answer is verified against the network file, and says how. */

import { headerHash, type Header } from "../../chain/block/block.ts";
import type { StreamRecord } from "../../chain/block/record.ts";
import type { Row } from "../../chain/state/proof.ts";
import { heightOf } from "../../chain/block/height.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { formatAddress } from "../../crypto/identity/address.ts";
import type { Verification, Verified } from "../rpc/client.ts";
import { usageError } from "./usage.ts";
import { bytesJson, bytesOf, bytesText, callJson, callText, rowValueJson } from "./calls.ts";
import { findAddress, openClient, readOptions, requireId, timeText, verificationJson, verificationText } from "./client.ts";
import type { Answer, Json } from "./answer.ts";
import { NODE_OPTIONS, type Command, type OptionTable } from "./command.ts";
import { jsonText } from "./json.ts";
import { type Invocation, parseNumber } from "./invocation.ts";
import { STAKE_QUERIES } from "./stake.ts";
import { transactionAnswer } from "./transaction-text.ts";

const HEIGHT_OPTION: OptionTable = {
  height: { kind: "text", value: "H", description: "read the state after this height (default: the newest)" },
};
const HEX_OPTION: OptionTable = { hex: { kind: "flag", description: "keys are given in hex" } };

/** Rows and records printed at most when nothing else is asked for. */
const LIMIT_DEFAULT = 100;

/** `pyralog query account|row|range|table|record|records|stream|block|header|transaction|stake|validators|supply`. */
export const QUERY_COMMAND: Command = {
  name: "query",
  summary: "read accounts, rows, records, blocks, transactions and stake, verified",
  detail:
    "Every answer is checked against the validator set of the network file, and says what was checked.\nAn answer that is not proven is refused.",
  examples: [
    "pyralog query account alice",
    "pyralog query row shop orders o-1",
    "pyralog query range shop orders --from o-1 --limit 10 --json",
  ],
  subcommands: [
    {
      name: "account",
      summary: "balance and nonce of an address, or of a key of the home",
      positionals: ["ADDRESS"],
      options: { ...HEIGHT_OPTION, ...NODE_OPTIONS },
      examples: ["pyralog query account alice", "pyralog query account alice --height 12 --json"],
      run: queryAccount,
    },
    {
      name: "row",
      summary: "one row of a table, or proof that there is none",
      positionals: ["NAMESPACE", "TABLE", "KEY"],
      options: { ...HEX_OPTION, ...HEIGHT_OPTION, ...NODE_OPTIONS },
      examples: ["pyralog query row shop orders o-1", "pyralog query row shop orders 0001 --hex --json"],
      run: queryRow,
    },
    {
      name: "range",
      summary: "rows of a table in key order, proven to be all there are",
      positionals: ["NAMESPACE", "TABLE"],
      options: {
        from: { kind: "text", value: "KEY", description: "first key (inclusive)" },
        to: { kind: "text", value: "KEY", description: "end key (exclusive)" },
        limit: { kind: "text", value: "N", description: `at most so many rows (default ${LIMIT_DEFAULT})` },
        ...HEX_OPTION,
        ...HEIGHT_OPTION,
        ...NODE_OPTIONS,
      },
      examples: ["pyralog query range shop orders", "pyralog query range shop orders --from o-1 --to o-2 --json"],
      run: queryRange,
    },
    {
      name: "table",
      summary: "the owner of a table",
      positionals: ["NAMESPACE", "TABLE"],
      options: { ...HEIGHT_OPTION, ...NODE_OPTIONS },
      examples: ["pyralog query table shop orders"],
      run: queryTable,
    },
    {
      name: "stream",
      summary: "size and root of one partition of a stream",
      positionals: ["STREAM", "PARTITION"],
      options: { ...HEIGHT_OPTION, ...NODE_OPTIONS },
      examples: ["pyralog query stream events 0"],
      run: queryStream,
    },
    {
      name: "segments",
      summary: "the sealed segments of one partition of a stream, chained to its head",
      positionals: ["STREAM", "PARTITION"],
      options: { ...HEIGHT_OPTION, ...NODE_OPTIONS },
      examples: ["pyralog query segments events 0"],
      run: querySegments,
    },
    {
      name: "record",
      summary: "one record of a partition",
      positionals: ["STREAM", "PARTITION", "INDEX"],
      options: { ...HEIGHT_OPTION, ...NODE_OPTIONS },
      examples: ["pyralog query record events 0 17"],
      run: queryRecord,
    },
    {
      name: "records",
      summary: "consecutive records of a partition",
      positionals: ["STREAM", "PARTITION"],
      options: {
        from: { kind: "text", value: "INDEX", description: "first index (default 0)" },
        limit: { kind: "text", value: "N", description: `at most so many records (default ${LIMIT_DEFAULT})` },
        ...HEIGHT_OPTION,
        ...NODE_OPTIONS,
      },
      examples: ["pyralog query records events 0 --from 10 --limit 5 --json"],
      run: queryRecords,
    },
    {
      name: "block",
      summary: "a whole block with its transactions",
      positionals: ["[HEIGHT]"],
      options: NODE_OPTIONS,
      examples: ["pyralog query block 12", "pyralog query block --json"],
      run: queryBlock,
    },
    {
      name: "header",
      summary: "a header: an old one is proven by the newest",
      positionals: ["[HEIGHT]"],
      options: NODE_OPTIONS,
      examples: ["pyralog query header 1 --json"],
      run: queryHeader,
    },
    {
      name: "transaction",
      summary: "a final transaction and its result, with the proof of both",
      positionals: ["ID"],
      options: NODE_OPTIONS,
      examples: ["pyralog query transaction 5f0e... --json"],
      run: async (invocation) => {
        const client = await openClient(invocation);
        return transactionAnswer(
          await client.transaction(requireId(invocation.positional(0), "ID"), { signal: invocation.signal }),
        );
      },
    },
    ...STAKE_QUERIES,
  ],
};

async function queryAccount(invocation: Invocation): Promise<Answer> {
  const address = await findAddress(invocation.home, invocation.positional(0), "ADDRESS");
  const { value, verified } = await (await openClient(invocation)).account(address, readOptions(invocation));
  const { balance, nonce } = value;
  return answer(
    { address: formatAddress(address), balance, nonce },
    `${formatAddress(address)}\n  balance  ${balance}\n  nonce    ${nonce}`,
    verified,
  );
}

async function queryRow(invocation: Invocation): Promise<Answer> {
  const { namespace, table } = tableOf(invocation);
  const key = bytesOf(invocation.positional(2), invocation.flag("hex"), "KEY");
  const { value, verified } = await (await openClient(invocation)).row(namespace, table, key, readOptions(invocation));
  if (value === undefined)
    return answer(
      { namespace, table, key: bytesJson(key), present: false },
      `${namespace}/${table} ${bytesText(key)}: absent`,
      verified,
    );
  const shown = rowValueJson(value);
  return answer(
    { namespace, table, key: bytesJson(key), present: true, value: shown, encoded: value },
    `${namespace}/${table} ${bytesText(key)} = ${jsonText(shown)}`,
    verified,
  );
}

async function queryRange(invocation: Invocation): Promise<Answer> {
  const { namespace, table } = tableOf(invocation);
  const bound = (name: string): Uint8Array | undefined => {
    const text = invocation.text(name);
    return text === undefined ? undefined : bytesOf(text, invocation.flag("hex"), `--${name}`);
  };
  const limit = limitOf(invocation);
  const pages = (await openClient(invocation)).range(namespace, table, {
    ...readOptions(invocation),
    from: bound("from"),
    to: bound("to"),
    limit,
  });
  const { items: rows, verified } = await gather(pages);
  const isCut = rows.length === limit;
  const note = isCut ? `the first ${limit} rows; there may be more` : "all rows of the range";
  return answer(
    { namespace, table, rows: rows.map(rowJson), complete: !isCut },
    [...rows.map(rowText), `(${note})`].join("\n"),
    verified,
  );
}

async function queryTable(invocation: Invocation): Promise<Answer> {
  const { namespace, table } = tableOf(invocation);
  const { value, verified } = await (await openClient(invocation)).table(namespace, table, readOptions(invocation));
  const owner = value === undefined ? null : formatAddress(value);
  return answer(
    { namespace, table, owner },
    `${namespace}/${table}: ${owner === null ? "absent" : `owned by ${owner}`}`,
    verified,
  );
}

async function queryStream(invocation: Invocation): Promise<Answer> {
  const { stream, partition } = partitionOf(invocation);
  const { value, verified } = await (await openClient(invocation)).partition(stream, partition, readOptions(invocation));
  if (value === undefined) return answer({ stream, partition, head: null }, `${stream}/${partition}: absent`, verified);
  const { owner, size, root } = value;
  const text = `${stream}/${partition}\n  records  ${size}\n  root     ${toHex(root)}\n  owner    ${formatAddress(owner)}`;
  return answer({ stream, partition, head: { owner: formatAddress(owner), size, root } }, text, verified);
}

async function querySegments(invocation: Invocation): Promise<Answer> {
  const { stream, partition } = partitionOf(invocation);
  const { value, verified } = await (await openClient(invocation)).segments(stream, partition, readOptions(invocation));
  const segments = value.map(({ number, firstIndex, count, sizeBytes, firstTimeMs, lastTimeMs, root, previous }) => ({
    number,
    firstIndex,
    count,
    sizeBytes,
    firstTimeMs,
    lastTimeMs,
    root,
    previous,
  }));
  const lines = value.map(
    ({ number, firstIndex, count, sizeBytes, root }) =>
      `  ${number}  records ${firstIndex} to ${firstIndex + count - 1n}, ${sizeBytes} bytes, root ${toHex(root)}`,
  );
  return answer(
    { stream, partition, segments },
    [`${stream}/${partition}: ${value.length} sealed`, ...lines].join("\n"),
    verified,
  );
}

async function queryRecord(invocation: Invocation): Promise<Answer> {
  const { stream, partition } = partitionOf(invocation);
  const index = parseNumber(invocation.positional(2), "INDEX", { min: 0n, max: (1n << 63n) - 1n });
  const { value, verified } = await (await openClient(invocation)).record(stream, partition, index, readOptions(invocation));
  return answer(recordJson(value), recordText(value), verified);
}

async function queryRecords(invocation: Invocation): Promise<Answer> {
  const { stream, partition } = partitionOf(invocation);
  const from = invocation.bigint("from", { min: 0n, max: (1n << 63n) - 1n }) ?? 0n;
  const pages = (await openClient(invocation)).records(stream, partition, {
    ...readOptions(invocation),
    from,
    limit: limitOf(invocation),
  });
  const { items, verified } = await gather(pages);
  return answer({ stream, partition, records: items.map(recordJson) }, items.map(recordText).join("\n"), verified);
}

async function queryBlock(invocation: Invocation): Promise<Answer> {
  const client = await openClient(invocation);
  const { signal } = invocation;
  const height = heightPositional(invocation) ?? (await client.head({ signal })).value.height;
  const { value: block, verified } = await client.block(height, { signal });
  const transactions = block.transactions.map(({ id, body }) => ({
    id: toHex(id),
    sender: formatAddress(body.sender),
    nonce: body.nonce,
    fee: body.fee,
    calls: body.calls.map(callJson),
  }));
  const lines = block.transactions.map(({ id, body }) => `  ${toHex(id)}  ${body.calls.map(callText).join("; ")}`);
  return answer(
    { ...(headerJson(block.header) as object), evidence: block.evidence.length, transactions },
    [headerText(block.header), `transactions     ${transactions.length}`, ...lines].join("\n"),
    verified,
  );
}

async function queryHeader(invocation: Invocation): Promise<Answer> {
  const client = await openClient(invocation);
  const height = heightPositional(invocation);
  const { signal } = invocation;
  const { value, verified } = await (height === undefined ? client.head({ signal }) : client.header(height, { signal }));
  return answer(headerJson(value), headerText(value), verified);
}

function answer(json: Json, text: string, verified: Verification | undefined): Answer {
  if (verified === undefined) return { json: { ...(json as object), verified: null }, text };
  return { json: { ...(json as object), verified: verificationJson(verified) }, text: `${text}\n${verificationText(verified)}` };
}

/** All pages as one list; they are of one height, so the first page's verification speaks for all. */
async function gather<T>(
  pages: AsyncIterable<Verified<readonly T[]>>,
): Promise<{ readonly items: readonly T[]; readonly verified: Verification | undefined }> {
  const items: T[] = [];
  let verified: Verification | undefined;
  for await (const page of pages) {
    items.push(...page.value);
    verified ??= page.verified;
  }
  return { items, verified };
}

function tableOf(invocation: Invocation): { readonly namespace: string; readonly table: string } {
  return { namespace: invocation.positional(0), table: invocation.positional(1) };
}

function partitionOf(invocation: Invocation): { readonly stream: string; readonly partition: number } {
  return {
    stream: invocation.positional(0),
    partition: Number(parseNumber(invocation.positional(1), "PARTITION", { min: 0n, max: 65_535n })),
  };
}

function limitOf(invocation: Invocation): number {
  return invocation.integer("limit", { min: 1, max: 1_000_000 }) ?? LIMIT_DEFAULT;
}

function heightPositional(invocation: Invocation): ReturnType<typeof heightOf> | undefined {
  const text = invocation.positionals[0];
  if (text === undefined) return undefined;
  if (!/^\d{1,18}$/.test(text) || text === "0")
    throw usageError("usage_option_value", `HEIGHT must be 1 or more, not ${text}`, { field: "HEIGHT" });
  return heightOf(BigInt(text));
}

function rowJson({ key, value }: Row): Json {
  return { key: bytesJson(key), value: rowValueJson(value), encoded: value };
}

function rowText({ key, value }: Row): string {
  return `${bytesText(key)} = ${jsonText(rowValueJson(value))}`;
}

/** A record as `query` and `verify` show it. */
export function recordJson(record: StreamRecord): Json {
  const { stream, partition, index, height, timeMs, key, data, isTombstone, headers = [], dropped } = record;
  if (dropped !== undefined) return { stream, partition, index, dropped };
  return {
    stream,
    partition,
    index,
    height,
    timeMs,
    ...(key === undefined ? {} : { key: bytesJson(key) }),
    ...(isTombstone === true ? { tombstone: true } : { data: bytesJson(data) }),
    ...(headers.length === 0 ? {} : { headers: headers.map(({ name, value }) => ({ name, value: bytesJson(value) })) }),
  };
}

/** As `recordJson`, in a line. */
export function recordText({ stream, partition, index, height, key, data, isTombstone, dropped }: StreamRecord): string {
  if (dropped !== undefined) return `${stream}/${partition}[${index}] dropped; its commitment is ${toHex(dropped)}`;
  const about = key === undefined ? "" : ` ${bytesText(key)} =`;
  return `${stream}/${partition}[${index}] height ${height}:${about} ${isTombstone === true ? "(tombstone)" : bytesText(data)}`;
}

function headerJson(header: Header): Json {
  return { ...header, hash: headerHash(header), proposer: formatAddress(header.proposer) };
}

function headerText(header: Header): string {
  const hashes = [
    ["hash", headerHash(header)],
    ["previous", header.previous],
    ["history root", header.historyRoot],
    ["state root", header.stateRoot],
    ["transactions", header.transactionsRoot],
    ["results", header.resultsRoot],
    ["validators", header.validatorsHash],
    ["next validators", header.nextValidatorsHash],
  ] as const;
  const lines = hashes.map(([name, hash]) => `${name.padEnd(15)}  ${toHex(hash)}`);
  return [
    `height           ${header.height}`,
    `time             ${timeText(header.timeMs)}`,
    `proposer         ${formatAddress(header.proposer)}`,
    ...lines,
  ].join("\n");
}
