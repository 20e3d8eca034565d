/** `pyralog obelisk` and `pyralog id`: counters and ids of a running node, and what an id says. */

import { toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { formatScarab, parseScarab, scarabFields, type ScarabId, scarabIdOf, scarabIds } from "../../crypto/id/scarab.ts";
import { PHARAOH_COUNT_MAX } from "../obelisk/limits.ts";
import { obeliskIds, obeliskSequence, obeliskSession, obeliskStatus } from "../rpc/methods/obelisk.ts";
import type { Answer } from "./answer.ts";
import { openClient, timeText } from "./client.ts";
import { NODE_OPTIONS, type Command, type OptionTable } from "./command.ts";
import type { Invocation } from "./invocation.ts";

/** The service whose ids `pyralog id new` makes when nobody says. */
const SERVICE_DEFAULT = "event";
const ID_MAX = (1n << 64n) - 1n;

const COUNT_OPTIONS: OptionTable = {
  count: { kind: "text", value: "N", description: `how many (default 1, at most ${PHARAOH_COUNT_MAX})` },
  ...NODE_OPTIONS,
};

/** `pyralog obelisk status|next|session`. */
export const OBELISK_COMMAND: Command = {
  name: "obelisk",
  summary: "counters that survive crashes, sessions, and the state of a node's Obelisk role",
  detail: "What a node gives out is its own word: nothing here is proven. Leases of node numbers are: see `pyralog number`.",
  examples: ["pyralog obelisk status --json", "pyralog obelisk next event orders --count 10"],
  subcommands: [
    {
      name: "status",
      summary: "durability, services, counters, and the number that ids are made under",
      options: NODE_OPTIONS,
      examples: ["pyralog obelisk status --json"],
      run: showStatus,
    },
    {
      name: "next",
      summary: "values of a counter that nobody has had: new together with their issuer",
      positionals: ["SERVICE", "COUNTER"],
      options: COUNT_OPTIONS,
      examples: ["pyralog obelisk next event orders", "pyralog obelisk next event orders --count 10 --json"],
      run: async (invocation) => {
        const client = await openClient(invocation);
        const [service, counter] = [invocation.positional(0), invocation.positional(1)];
        const answer = await client.ask(
          obeliskSequence,
          { service, counter, count: countOf(invocation) },
          { signal: invocation.signal },
        );
        const last = answer.first + BigInt(answer.count) - 1n;
        return {
          json: { ...answer },
          text: `${answer.first}${last === answer.first ? "" : ` to ${last}`}\n  issuer  ${answer.issuer}`,
        };
      },
    },
    {
      name: "session",
      summary: "an id for a producer's session, to open with the call sessionOpen",
      options: NODE_OPTIONS,
      examples: ["pyralog obelisk session"],
      run: async (invocation) => {
        const client = await openClient(invocation);
        const { session } = await client.ask(obeliskSession, {}, { signal: invocation.signal });
        return { json: { session }, text: `${session}` };
      },
    },
  ],
};

/** `pyralog id new|decode`. */
export const ID_COMMAND: Command = {
  name: "id",
  summary: "make Scarab ids, and show what one says",
  examples: ["pyralog id new --count 5", "pyralog id decode 0e0bemwyr182d"],
  subcommands: [
    {
      name: "new",
      summary: "ids that are new in the whole network, ascending",
      options: {
        service: { kind: "text", value: "NAME", description: `whose ids (default ${SERVICE_DEFAULT})` },
        ...COUNT_OPTIONS,
      },
      examples: ["pyralog id new", "pyralog id new --service record --count 5 --json"],
      run: async (invocation) => {
        const client = await openClient(invocation);
        const service = invocation.text("service") ?? SERVICE_DEFAULT;
        const { runs } = await client.ask(obeliskIds, { service, count: countOf(invocation) }, { signal: invocation.signal });
        const ids = runs.flatMap(({ first, count }) => [...scarabIds({ first: scarabIdOf(first), count })]);
        return {
          json: { service, ids: ids.map((id) => ({ id, text: formatScarab(id) })) },
          text: ids.map((id) => `${formatScarab(id)}  ${id}`).join("\n"),
        };
      },
    },
    {
      name: "decode",
      summary: "time, node number and sequence of an id, given as its text or as a number",
      positionals: ["ID"],
      examples: ["pyralog id decode 0e0bemwyr182d", "pyralog id decode 504806297812639821 --json"],
      run: async (invocation) => Promise.resolve(decoded(idOf(invocation.positional(0)))),
    },
  ],
};

function countOf(invocation: Invocation): number {
  return invocation.integer("count", { min: 1, max: PHARAOH_COUNT_MAX }) ?? 1;
}

/** Thirteen characters are the text of an id, of which some are digits alone; anything else must be a number. */
function idOf(text: string): ScarabId {
  const parsed = parseScarab(text);
  if (parsed.ok) return parsed.value;
  const value = /^\d{1,20}$/.test(text) ? BigInt(text) : undefined;
  if (value === undefined || value > ID_MAX)
    throw new CodedError("scarab_text", {
      field: "ID",
      message: `${text.slice(0, 64)} is neither the text of an id (thirteen characters) nor a number below 2^64`,
    });
  return scarabIdOf(value);
}

function decoded(id: ScarabId): Answer {
  const { timeMs, node, sequence } = scarabFields(id);
  const text = formatScarab(id);
  return {
    json: { id, text, timeMs, node, sequence },
    text: `${text}  ${id}\n  time      ${timeText(BigInt(timeMs))}\n  node      ${node}\n  sequence  ${sequence}`,
  };
}

async function showStatus(invocation: Invocation): Promise<Answer> {
  const client = await openClient(invocation);
  const status = await client.ask(obeliskStatus, {}, { signal: invocation.signal });
  const { number } = status;
  const incarnation = toHex(status.incarnation);
  return {
    json: { ...status, incarnation },
    text: [
      `${client.url}, by its own word:`,
      `  directory   ${incarnation}`,
      `  durability  ${status.durability}`,
      `  services    ${status.services.join(" ")}`,
      `  counters    ${status.counters}, ${status.open} open`,
      number === null
        ? "  number      none: no ids are made here (pyralog number claim)"
        : `  number      ${number.number}, for ids from ${timeText(BigInt(number.startMs))} to ${timeText(BigInt(number.endMs))}`,
    ].join("\n"),
  };
}
