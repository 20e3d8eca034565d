/** `pyralog tx create-stream` and `pyralog tx append`: streams, their partitions, and what is appended to them. */

import {
  SEGMENT_AGE_MS_DEFAULT,
  SEGMENT_AGE_MS_MIN,
  SEGMENT_SIZE_BYTES_DEFAULT,
  SEGMENT_SIZE_BYTES_MAX,
  SEGMENT_SIZE_BYTES_MIN,
  STREAM_PARTITIONS_MAX,
  STREAM_SPAN_MS_MAX,
} from "../../chain/block/limits.ts";
import type { RecordBody, RecordHeader } from "../../chain/block/record.ts";
import type { Call } from "../../chain/block/call.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { utf8 } from "../../crypto/base/bytes.ts";
import { type Route, routedCalls } from "../rpc/routing.ts";
import { bytesOf } from "./calls.ts";
import { openClient } from "./client.ts";
import type { Command } from "./command.ts";
import { type Invocation, parseNumber } from "./invocation.ts";
import { SEND_OPTIONS, sendCalls } from "./send.ts";
import { usageError } from "./usage.ts";

/** `pyralog tx create-stream`. */
export const CREATE_STREAM_COMMAND: Command = {
  name: "create-stream",
  summary: "declare a stream: its partitions, its segments, how long records are kept",
  positionals: ["STREAM"],
  options: {
    partitions: { kind: "text", value: "N", description: "how many, for good (default 1)" },
    open: { kind: "flag", description: "anybody may append, not the sender alone" },
    "segment-bytes": { kind: "text", value: "N", description: "a segment is sealed at this size (default 16 MiB)" },
    "segment-age-ms": { kind: "text", value: "MS", description: "and at this age of its first record (default a day)" },
    "retention-ms": { kind: "text", value: "MS", description: "records are dropped so long after their block (default never)" },
    "compaction-ms": {
      kind: "text",
      value: "MS",
      description: "a record is dropped so long after another of its key came (default never)",
    },
    ...SEND_OPTIONS,
  },
  examples: [
    "pyralog tx create-stream clicks --partitions 16 --open --from alice",
    "pyralog tx create-stream prices --compaction-ms 60000 --from alice",
  ],
  run: async (invocation) => sendCalls(invocation, [declaration(invocation)]),
};

function declaration(invocation: Invocation): Call {
  const span = (name: string): number | undefined => invocation.integer(name, { min: 1, max: STREAM_SPAN_MS_MAX });
  const size = { min: SEGMENT_SIZE_BYTES_MIN, max: SEGMENT_SIZE_BYTES_MAX };
  const age = { min: SEGMENT_AGE_MS_MIN, max: STREAM_SPAN_MS_MAX };
  const [retentionMs, compactionMs] = [span("retention-ms"), span("compaction-ms")];
  return {
    kind: "streamCreate",
    stream: invocation.positional(0),
    partitions: invocation.integer("partitions", { min: 1, max: STREAM_PARTITIONS_MAX }) ?? 1,
    isOpen: invocation.flag("open"),
    segmentSizeBytes: invocation.integer("segment-bytes", size) ?? SEGMENT_SIZE_BYTES_DEFAULT,
    segmentAgeMs: invocation.integer("segment-age-ms", age) ?? SEGMENT_AGE_MS_DEFAULT,
    ...(retentionMs === undefined ? {} : { retentionMs }),
    ...(compactionMs === undefined ? {} : { compactionMs }),
  };
}

/** `pyralog tx append`. */
export const APPEND_COMMAND: Command = {
  name: "append",
  summary: "append records to a stream: to one partition, or to where they belong",
  detail:
    "--route key|round-robin|counter asks the stream for its count of partitions. A counter is the sender's own number: record v\ngoes to partition v mod P under the key of its eight big-endian bytes.",
  positionals: ["STREAM", "[RECORD...]"],
  options: {
    partition: { kind: "text", value: "N", description: "which partition (default 0)" },
    route: { kind: "text", value: "HOW", description: "key, round-robin or counter" },
    "route-from": { kind: "text", value: "N", description: "first partition of round-robin, or first counter (default 0)" },
    key: { kind: "text", value: "KEY", description: "key of every record" },
    header: { kind: "texts", value: "NAME=VALUE", description: "a header of every record; may be given several times" },
    tombstone: { kind: "flag", description: "a record without a value: nothing is left of --key" },
    hex: { kind: "flag", description: "keys and records are given in hex" },
    ...SEND_OPTIONS,
  },
  examples: [
    "pyralog tx append events 'door opened' 'door closed' --from alice",
    "pyralog tx append events 00ff --hex --partition 3 --from alice",
    "pyralog tx append prices 12.50 --key tea --header currency=eur --route key --from alice",
    "pyralog tx append prices --key tea --tombstone --route key --from alice",
  ],
  run: async (invocation) => sendCalls(invocation, await appends(invocation)),
};

async function appends(invocation: Invocation): Promise<readonly Call[]> {
  const [stream = "", ...texts] = invocation.positionals;
  const isHex = invocation.flag("hex");
  const keyText = invocation.text("key");
  const key = keyText === undefined ? undefined : bytesOf(keyText, isHex, "--key");
  const headers = invocation.texts("header").map(headerOf);
  const isTombstone = invocation.flag("tombstone");
  if (isTombstone === texts.length > 0)
    throw usageError("usage_missing_argument", isTombstone ? "a tombstone has no RECORD" : "RECORD is missing", {
      field: "RECORD",
    });
  const values = isTombstone ? [undefined] : texts.map((text) => bytesOf(text, isHex, "RECORD"));
  const records = values.map((value): RecordBody => ({ key, value, headers }));
  const route = routeOf(invocation);
  if (route !== undefined) {
    if (route.kind === "key" && key === undefined)
      throw usageError("usage_missing_option", "--route key needs --key", { field: "--key" });
    const { value: declared } = await (await openClient(invocation)).stream(stream, { signal: invocation.signal });
    if (declared === undefined)
      throw new CodedError("stream_unknown", {
        field: "STREAM",
        message: `nobody declared ${stream}: there is no count to route by`,
      });
    return routedCalls(stream, records, declared.partitions, route);
  }
  const partition = invocation.integer("partition", { min: 0, max: 65_535 }) ?? 0;
  const plain = values.flatMap((value) => (value === undefined ? [] : [value]));
  return key === undefined && headers.length === 0 && !isTombstone
    ? [{ kind: "logAppend", stream, partition, records: plain }]
    : [{ kind: "streamAppend", stream, partition, records }];
}

function headerOf(text: string): RecordHeader {
  const at = text.indexOf("=");
  if (at < 1) throw usageError("usage_option_value", `--header must be NAME=VALUE, not ${text}`, { field: "--header" });
  return { name: text.slice(0, at), value: utf8(text.slice(at + 1)) };
}

function routeOf(invocation: Invocation): Route | undefined {
  const from = invocation.bigint("route-from", { min: 0n, max: (1n << 63n) - 1n }) ?? 0n;
  const text = invocation.text("route");
  switch (text) {
    case undefined:
      return undefined;
    case "key":
      return { kind: "key" };
    case "round-robin":
      return { kind: "roundRobin", from: Number(from % BigInt(STREAM_PARTITIONS_MAX)) };
    case "counter":
      return { kind: "counter", from };
    default:
      throw usageError("usage_option_value", `--route must be key, round-robin or counter, not ${text}`, { field: "--route" });
  }
}

/** `pyralog tx erase`. */
export const ERASE_COMMAND: Command = {
  name: "erase",
  summary: "have every node drop a record to its commitment, as the stream's owner",
  detail:
    "Proofs of all other records stay what they are. The transaction is the receipt of who asked and when: see pyralog export proof\nreceipt. Blocks keep what was appended for as long as nodes keep blocks; what must go for good is appended encrypted.",
  positionals: ["STREAM", "PARTITION", "INDEX"],
  options: SEND_OPTIONS,
  examples: ["pyralog tx erase events 0 17 --from alice"],
  run: async (invocation) => {
    const partition = Number(parseNumber(invocation.positional(1), "PARTITION", { min: 0n, max: 65_535n }));
    const index = parseNumber(invocation.positional(2), "INDEX", { min: 0n, max: (1n << 63n) - 1n });
    return sendCalls(invocation, [{ kind: "recordErase", stream: invocation.positional(0), partition, index }]);
  },
};
