/** `pyralog tx`: make, sign, send and explain transactions. */

import { parseTransaction, type Transaction } from "../../chain/block/transaction.ts";
import { AMOUNT_MAX, POWER_TOTAL_MAX } from "../../chain/block/limits.ts";
import { parseHex, parseUtf8, toHex } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { formatAddress } from "../../crypto/identity/address.ts";
import { placeFile, readFileBounded } from "../home/files.ts";
import { usageError } from "./usage.ts";
import { bytesOf, callText, parseCalls } from "./calls.ts";
import { findAddress, openClient, requireId } from "./client.ts";
import type { Answer } from "./answer.ts";
import { NODE_OPTIONS, PASSPHRASE_OPTIONS, type Command, type OptionTable } from "./command.ts";
import { combineDrafts, completeDraft, type Draft, DRAFT_SIZE_BYTES_MAX, encodeDraft, parseDraft } from "./draft.ts";
import { type Invocation, parseNumber } from "./invocation.ts";
import { findPublicKey } from "./keys.ts";
import { APPEND_COMMAND, CREATE_STREAM_COMMAND, ERASE_COMMAND } from "./streams.ts";
import { requireChain, SEND_OPTIONS, sendCalls, signWith, SUBMIT_OPTIONS, submitDraft, submitTransaction } from "./send.ts";
import { explain, transactionAnswer, transactionJson, transactionText } from "./transaction-text.ts";
import { encodeJsonText } from "./value.ts";

const HEX_OPTION: OptionTable = { hex: { kind: "flag", description: "keys, records and encoded values are given in hex" } };
const OUT_OPTION: OptionTable = { out: { kind: "text", value: "FILE", description: "where to write (default: in place)" } };

/** `pyralog tx`. */
export const TX_COMMAND: Command = {
  name: "tx",
  summary: "make, sign, send and explain transactions",
  detail: "A verb that sends waits until the transaction is final and shows its verified inclusion.",
  examples: [
    "pyralog tx transfer bob 1000 --from alice",
    "pyralog tx put shop orders o-1 '{\"total\": 12}' --from alice --json",
    "pyralog tx why 5f0e...",
  ],
  subcommands: [
    {
      name: "transfer",
      summary: "move native tokens",
      positionals: ["TO", "AMOUNT"],
      options: SEND_OPTIONS,
      examples: [
        "pyralog tx transfer bob 1000 --from alice",
        "pyralog tx transfer pyra1... 5 --from board --unsigned draft.json",
      ],
      run: async (invocation) => {
        const to = await findAddress(invocation.home, invocation.positional(0), "TO");
        const amount = parseNumber(invocation.positional(1), "AMOUNT", { min: 1n, max: AMOUNT_MAX });
        return sendCalls(invocation, [{ kind: "transfer", to, amount }]);
      },
    },
    {
      name: "create-table",
      summary: "make a table, which the sender then owns",
      positionals: ["NAMESPACE", "TABLE"],
      options: SEND_OPTIONS,
      examples: ["pyralog tx create-table shop orders --from alice"],
      run: async (invocation) =>
        sendCalls(invocation, [{ kind: "tableCreate", namespace: invocation.positional(0), table: invocation.positional(1) }]),
    },
    {
      name: "put",
      summary: "write a row: the value is JSON, stored as dag-cbor",
      positionals: ["NAMESPACE", "TABLE", "KEY", "VALUE"],
      options: { ...HEX_OPTION, ...SEND_OPTIONS },
      examples: [
        "pyralog tx put shop orders o-1 '{\"total\": 12}' --from alice",
        "pyralog tx put shop orders 0001 f6 --hex --from alice",
      ],
      run: async (invocation) => {
        const isHex = invocation.flag("hex");
        const key = bytesOf(invocation.positional(2), isHex, "KEY");
        const text = invocation.positional(3);
        const value = isHex ? bytesOf(text, true, "VALUE") : encodeJsonText(text, "VALUE");
        return sendCalls(invocation, [
          { kind: "tablePut", namespace: invocation.positional(0), table: invocation.positional(1), key, value },
        ]);
      },
    },
    {
      name: "delete",
      summary: "delete a row, which must exist",
      positionals: ["NAMESPACE", "TABLE", "KEY"],
      options: { ...HEX_OPTION, ...SEND_OPTIONS },
      examples: ["pyralog tx delete shop orders o-1 --from alice"],
      run: async (invocation) => {
        const key = bytesOf(invocation.positional(2), invocation.flag("hex"), "KEY");
        return sendCalls(invocation, [
          { kind: "tableDelete", namespace: invocation.positional(0), table: invocation.positional(1), key },
        ]);
      },
    },
    CREATE_STREAM_COMMAND,
    APPEND_COMMAND,
    ERASE_COMMAND,
    {
      name: "set-validator",
      summary: "set a validator's power, as the network's authority; 0 removes it",
      positionals: ["KEY", "POWER"],
      options: SEND_OPTIONS,
      examples: ["pyralog tx set-validator ./node5.pub 10 --from authority"],
      run: async (invocation) => {
        const key = await findPublicKey(invocation.home, invocation.positional(0), "KEY");
        const power = parseNumber(invocation.positional(1), "POWER", { min: 0n, max: POWER_TOTAL_MAX });
        return sendCalls(invocation, [{ kind: "validatorSet", key, power }]);
      },
    },
    {
      name: "calls",
      summary: "send several calls from a JSON file: all of them happen, or none",
      detail:
        'A list such as [{"kind": "tablePut", "namespace": "shop", "table": "orders", "key": {"text": "o-1"}, "value": {"total": 12}},\n{"kind": "transfer", "to": "pyra1...", "amount": "5"}]. Kinds: transfer tableCreate tablePut tableDelete logAppend streamCreate streamAppend recordErase validatorSet rewardsClaim\nvalidatorDeclare stakeBond stakeUnbond validatorCommission validatorUnjail\nnumberClaim numberRenew numberRelease sessionOpen sessionAppend.',
      positionals: ["FILE"],
      options: SEND_OPTIONS,
      examples: ["pyralog tx calls ./calls.json --from alice --json"],
      run: async (invocation) => sendCalls(invocation, parseCalls(await readText(invocation.positional(0)))),
    },
    {
      name: "raw",
      summary: "hand in a signed transaction: its encoding, in binary or hex",
      positionals: ["FILE"],
      options: SUBMIT_OPTIONS,
      examples: ["pyralog tx raw ./transaction.bin", "pyralog tx raw ./transaction.hex --no-wait --json"],
      run: async (invocation) =>
        submitTransaction(invocation, await openClient(invocation), await readTransaction(invocation.positional(0))),
    },
    {
      name: "sign",
      summary: "sign a draft with a key of the home",
      positionals: ["DRAFT"],
      options: { with: { kind: "text", value: "NAME", description: "key that signs" }, ...OUT_OPTION, ...PASSPHRASE_OPTIONS },
      examples: [
        "pyralog tx sign ./draft.json --with bob",
        "pyralog tx sign ./draft.json --with carol --out ./carol.json --json",
      ],
      run: signCommand,
    },
    {
      name: "combine",
      summary: "put the signatures of several copies of a draft together",
      positionals: ["DRAFT..."],
      options: OUT_OPTION,
      examples: ["pyralog tx combine ./bob.json ./carol.json --out ./draft.json"],
      run: async (invocation) => {
        const drafts: Draft[] = [];
        for (const path of invocation.positionals) drafts.push(await readDraft(path));
        const [first, ...others] = drafts;
        if (first === undefined) throw usageError("usage_missing_argument", "DRAFT is missing");
        return writeDraft(invocation.requireText("out"), combineDrafts([first, ...others]));
      },
    },
    {
      name: "submit",
      summary: "hand in a draft that has enough signatures",
      positionals: ["DRAFT"],
      options: SUBMIT_OPTIONS,
      examples: ["pyralog tx submit ./draft.json"],
      run: async (invocation) => {
        const draft = await readDraft(invocation.positional(0));
        await requireChain(invocation, draft);
        return submitDraft(invocation, draft);
      },
    },
    {
      name: "show",
      summary: "decode a draft or a transaction from a file, offline",
      positionals: ["FILE"],
      examples: ["pyralog tx show ./draft.json", "pyralog tx show ./transaction.bin --json"],
      run: async (invocation) => showFile(invocation.positional(0)),
    },
    {
      name: "why",
      summary: "where a transaction stands, why, and what to do about it",
      positionals: ["ID"],
      options: NODE_OPTIONS,
      examples: ["pyralog tx why 5f0e... --json"],
      run: why,
    },
  ],
};

async function why(invocation: Invocation): Promise<Answer> {
  const id = requireId(invocation.positional(0), "ID");
  const client = await openClient(invocation);
  const status = await client.claimedStatus(id, { signal: invocation.signal });
  switch (status.kind) {
    case "final":
    case "included": {
      const { json, text } = transactionAnswer(await client.transaction(id, { signal: invocation.signal }));
      return { json: { id, status: status.kind, ...(json as object) }, text };
    }
    case "refused": {
      const { code, field } = status;
      const { meaning, action } = explain(code);
      const words = meaning === undefined ? "" : `\n  meaning  ${meaning}\n  do       ${action}`;
      return {
        json: { id, status: "refused", code, field, ...(meaning === undefined ? {} : { meaning, action }), verified: null },
        text: `${toHex(id)}\nrefused by this node (its own word)\n  code     ${code}\n  field    ${field}${words}`,
      };
    }
    case "pending":
      return { json: { id, status: "pending", verified: null }, text: `${toHex(id)}\nwaiting for a block (the node's own word)` };
    case "unknown":
      return {
        json: { id, status: "unknown", verified: null },
        text: `${toHex(id)}\nunknown to this node: never received, or forgotten after a refusal or a restart`,
      };
  }
}

async function signCommand(invocation: Invocation): Promise<Answer> {
  const path = invocation.positional(0);
  const draft = await readDraft(path);
  await requireChain(invocation, draft);
  return writeDraft(invocation.text("out") ?? path, await signWith(invocation, draft, invocation.requireText("with")));
}

async function writeDraft(path: string, draft: Draft): Promise<Answer> {
  await placeFile(path, encodeDraft(draft));
  const count = draft.signatures.length;
  return {
    json: { draft: path, signatures: count },
    text: `Wrote ${path} with ${count} ${count === 1 ? "signature" : "signatures"}\n${draftText(draft)}`,
  };
}

async function showFile(path: string): Promise<Answer> {
  const bytes = await readBytes(path);
  const draft = parseDraft(bytes);
  if (draft.ok) {
    const { chainId, sender, nonce, fee, expiry, calls } = draft.value.body;
    return {
      json: {
        kind: "draft",
        chainId,
        sender: formatAddress(sender),
        nonce,
        fee,
        expiry,
        calls: calls.map(callText),
        signatures: draft.value.signatures.length,
      },
      text: draftText(draft.value),
    };
  }
  const transaction = transactionOf(bytes, path);
  return { json: { kind: "transaction", ...(transactionJson(transaction) as object) }, text: transactionText(transaction) };
}

function draftText({ body, signatures }: Draft): string {
  return [
    `Draft for ${body.chainId} with ${signatures.length} valid signatures`,
    `  sender  ${formatAddress(body.sender)}  nonce ${body.nonce}  fee ${body.fee}  expires after ${body.expiry}`,
    ...body.calls.map((call) => `  call    ${callText(call)}`),
  ].join("\n");
}

async function readDraft(path: string): Promise<Draft> {
  const draft = parseDraft(await readBytes(path));
  if (!draft.ok)
    throw new CodedError(draft.error.code, {
      field: draft.error.field,
      message: `${path} is not a draft, or one whose ${draft.error.field === "" ? "text" : draft.error.field} is wrong`,
    });
  return draft.value;
}

async function readTransaction(path: string): Promise<Transaction> {
  const bytes = await readBytes(path);
  const draft = parseDraft(bytes);
  return draft.ok ? completeDraft(draft.value, []) : transactionOf(bytes, path);
}

/** Binary, or hex with white space around it. */
function transactionOf(bytes: Uint8Array, path: string): Transaction {
  const text = parseUtf8(bytes);
  const hex = text.ok ? parseHex(text.value.trim()) : text;
  const parsed = parseTransaction(hex.ok ? hex.value : bytes);
  if (!parsed.ok)
    throw new CodedError(parsed.error.code, {
      field: parsed.error.field ?? "transaction",
      message: `${path} is not a transaction: ${explain(parsed.error.code).meaning ?? parsed.error.code}`,
    });
  return parsed.value;
}

async function readText(path: string): Promise<string> {
  const text = parseUtf8(await readBytes(path));
  if (!text.ok) throw new CodedError(codeOf(text.error), { path, message: `${path} is not UTF-8` });
  return text.value;
}

async function readBytes(path: string): Promise<Uint8Array> {
  const bytes = await readFileBounded(path, DRAFT_SIZE_BYTES_MAX);
  if (bytes === undefined) throw new CodedError("file_missing", { path, field: "FILE", message: `${path} is not there` });
  return bytes;
}
