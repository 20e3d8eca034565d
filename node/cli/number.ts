/** `pyralog number`: leases of the node numbers that stand in Scarab ids. */

import { TIME_MS_MAX } from "../../chain/block/limits.ts";
import { type NumberLeaseRow, parseNumberLease, parseNumberOf } from "../../chain/state/ids.ts";
import { nodeNumberKey, nodeNumberRange, numberOfKey, parseStateKey } from "../../chain/state/keys.ts";
import { NUMBERS_FOR_VALIDATORS } from "../../contracts/numbers.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { NODE_NUMBER_MAX, type NodeNumber, nodeNumberOf } from "../../crypto/id/scarab.ts";
import { type Address, formatAddress } from "../../crypto/identity/address.ts";
import { UnprovenError } from "../light/errors.ts";
import type { PyralogClient, ReadOptions } from "../rpc/client.ts";
import { obeliskStatus } from "../rpc/methods/obelisk.ts";
import type { Answer } from "./answer.ts";
import { bytesOf } from "./calls.ts";
import { findAddress, openClient, readOptions, timeText } from "./client.ts";
import type { Command } from "./command.ts";
import { tableText } from "./help.ts";
import { type Invocation, parseNumber } from "./invocation.ts";
import { answer, decoded, READ_OPTIONS, rowAt, rowsOf } from "./rows.ts";
import { SEND_OPTIONS, sendCalls } from "./send.ts";

/** `pyralog number claim|renew|release|show|list`. */
export const NUMBER_COMMAND: Command = {
  name: "number",
  summary: "lease a node number, under which a node makes Scarab ids, and see who has which",
  detail: `Numbers go from 0 to ${NODE_NUMBER_MAX}; where voters decide, those below ${NUMBERS_FOR_VALIDATORS} are for validators.\nAn address has one at a time, until the lease ends by block time. A node leases its own when its configuration says so.`,
  examples: ["pyralog number show 700", "pyralog number list --json"],
  subcommands: [
    {
      name: "claim",
      summary: "lease a number that nobody has",
      positionals: ["NUMBER"],
      detail:
        "The ids of a lease are for one data directory, which `pyralog obelisk status` names: a copy of a home may not use it.",
      options: {
        holder: {
          kind: "text",
          value: "HEX",
          description: "the data directory that will use it (default: that of the node asked)",
        },
        ...SEND_OPTIONS,
      },
      examples: [
        "pyralog number claim 700 --from node",
        "pyralog number claim 5 --holder 00112233445566778899aabbccddeeff --from node",
      ],
      run: async (invocation) => {
        const given = invocation.text("holder");
        const holder = given === undefined ? await holderOf(invocation) : bytesOf(given, true, "--holder");
        return sendCalls(invocation, [{ kind: "numberClaim", number: numberGiven(invocation), holder }]);
      },
    },
    {
      name: "renew",
      summary: "make the sender's lease last longer",
      options: {
        epoch: { kind: "text", value: "E", description: "of the lease (default: asked and verified)" },
        ...SEND_OPTIONS,
      },
      examples: ["pyralog number renew --from node"],
      run: async (invocation) => {
        const { number, epoch } = await ownLease(invocation);
        return sendCalls(invocation, [{ kind: "numberRenew", number, epoch }]);
      },
    },
    {
      name: "release",
      summary: "give the sender's number back",
      detail:
        "No id may have been made with a time at or after the end that is named: stop the node first. Without --end-ms the\nlease ends where it would have ended, and is not renewed.",
      options: {
        epoch: { kind: "text", value: "E", description: "of the lease (default: asked and verified)" },
        "end-ms": { kind: "text", value: "MS", description: "end of the lease, milliseconds since 1970 (default: as it is)" },
        ...SEND_OPTIONS,
      },
      examples: ["pyralog number release --end-ms 1800000000000 --from node"],
      run: async (invocation) => {
        const { number, epoch, lease } = await ownLease(invocation);
        const endMs = invocation.bigint("end-ms", { min: 0n, max: TIME_MS_MAX }) ?? lease.endMs;
        return sendCalls(invocation, [{ kind: "numberRelease", number, epoch, endMs }]);
      },
    },
    {
      name: "show",
      summary: "the lease of a number, or of the number of an address; verified",
      positionals: ["NUMBER|ADDRESS"],
      options: READ_OPTIONS,
      examples: ["pyralog number show 700", "pyralog number show node --json"],
      run: show,
    },
    {
      name: "list",
      summary: "every number that was ever leased; verified, and nothing left out",
      options: READ_OPTIONS,
      examples: ["pyralog number list --json"],
      run: list,
    },
  ],
};

function numberGiven(invocation: Invocation): NodeNumber {
  return nodeNumberOf(Number(parseNumber(invocation.positional(0), "NUMBER", { min: 0n, max: BigInt(NODE_NUMBER_MAX) })));
}

async function holderOf(invocation: Invocation): Promise<Uint8Array> {
  const client = await openClient(invocation);
  return (await client.ask(obeliskStatus, {}, { signal: invocation.signal })).incarnation;
}

type Found = { readonly number: NodeNumber; readonly lease: NumberLeaseRow };

/** The lease of the sender, as the network proves it, and the epoch to name. */
async function ownLease(invocation: Invocation): Promise<Found & { readonly epoch: bigint }> {
  const owner = await findAddress(invocation.home, invocation.requireText("from"), "--from");
  const client = await openClient(invocation);
  const found = await leaseOf(client, owner, { signal: invocation.signal });
  if (found === undefined)
    throw new CodedError("number_unleased", { field: "from", message: `${formatAddress(owner)} has leased no number` });
  return { ...found, epoch: invocation.bigint("epoch", { min: 0n, max: (1n << 64n) - 1n }) ?? found.lease.epoch };
}

async function leaseOf(client: PyralogClient, owner: Address, options: ReadOptions): Promise<Found | undefined> {
  const bytes = await rowAt(client, numberOfKey(owner), options);
  if (bytes === undefined) return undefined;
  const number = decoded(parseNumberOf(bytes));
  const row = await rowAt(client, nodeNumberKey(number), options);
  const lease = row === undefined ? undefined : decoded(parseNumberLease(row));
  return lease === undefined || !bytesEqual(lease.owner, owner) ? undefined : { number, lease };
}

async function show(invocation: Invocation): Promise<Answer> {
  const asked = invocation.positional(0);
  const client = await openClient(invocation);
  // The whole table at once: one answer, one height, and a proof that nothing is left out.
  const { rows, verified } = await rowsOf(client, nodeNumberRange(), readOptions(invocation));
  const leases = rows.map(leaseIn);
  const isNumber = /^\d+$/.test(asked);
  const number = isNumber ? numberGiven(invocation) : undefined;
  const owner = isNumber ? undefined : await findAddress(invocation.home, asked, "ADDRESS");
  const found = leases.find((each) => (owner === undefined ? each.number === number : bytesEqual(each.lease.owner, owner)));
  if (found === undefined) return answer({ lease: null }, `${asked}: never leased`, verified);
  return answer({ lease: leaseJson(found) }, leaseText(found, verified.timeMs), verified);
}

async function list(invocation: Invocation): Promise<Answer> {
  const client = await openClient(invocation);
  const { rows, verified } = await rowsOf(client, nodeNumberRange(), readOptions(invocation));
  const leases = rows.map(leaseIn);
  const table = leases.map(({ number, lease }) => [
    `${number}`,
    formatAddress(lease.owner),
    `${lease.epoch}`,
    timeText(lease.startMs),
    timeText(lease.endMs),
    verified.timeMs < lease.endMs ? "leased" : "free",
  ]);
  const text =
    leases.length === 0 ? "No number was ever leased." : tableText(["number", "owner", "epoch", "from", "to", ""], table);
  return answer({ leases: leases.map(leaseJson) }, text, verified);
}

function leaseIn({ key, value }: { readonly key: Uint8Array; readonly value: Uint8Array }): Found {
  const named = parseStateKey(key);
  if (named?.kind !== "nodeNumber") throw new UnprovenError({ code: "answer_malformed", field: "key" });
  return { number: named.number, lease: decoded(parseNumberLease(value)) };
}

function leaseJson({ number, lease }: Found) {
  const { owner, holder, epoch, startMs, endMs } = lease;
  return { number, owner: formatAddress(owner), holder: toHex(holder), epoch, startMs, endMs };
}

function leaseText({ number, lease }: Found, nowMs: bigint): string {
  const { owner, epoch, startMs, endMs } = lease;
  const standing = nowMs < endMs ? "leased" : "free";
  return `number ${number}, ${standing}\n  owner  ${formatAddress(owner)}\n  epoch  ${epoch}\n  ids    from ${timeText(startMs)} to ${timeText(endMs)}`;
}
