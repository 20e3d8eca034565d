/** `pyralog scrub`: reads a home's store through for bytes that the disk changed, and repairs it. */

import { Ledger } from "../../chain/ledger/ledger.ts";
import type { Height } from "../../chain/block/height.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { PyralogClient } from "../rpc/client.ts";
import { chainBlock } from "../rpc/methods/chain.ts";
import { SCRUB_CODES } from "../scrub/errors.ts";
import { openingFault } from "../scrub/files.ts";
import { checkFile, dataFiles, type FileFault } from "../scrub/leveldb.ts";
import { type BlockCopies, rebuildStore, type Repaired, repairRows, settleStore } from "../scrub/repair.ts";
import { type Damage, scrubRows } from "../scrub/rows.ts";
import type { Answer, Json } from "./answer.ts";
import type { Command } from "./command.ts";
import { RPC_OPTION, rpcUrls } from "./light.ts";
import type { Invocation } from "./invocation.ts";

/** Damages that are shown one by one. */
const SHOWN_MAX = 1_000;

/** `pyralog scrub`. */
export const SCRUB_COMMAND: Command = {
  name: "scrub",
  summary: "read the store of the home through for bytes that the disk changed, and repair it",
  detail:
    "Checks every file of the store by its checksums and every row against what the chain commits to. A running node does\nthe same by itself, without haste, so of its home only the files are checked.\nWith --repair, rows are put right from what is good beside them and from the nodes of --rpc; when that is not enough the\nchain is executed again beside, and takes the store's place. Nothing is written that was not checked.",
  options: {
    repair: { kind: "flag", description: "repair what is found; the node must be stopped" },
    rpc: { ...RPC_OPTION["rpc"], kind: "text", description: "nodes that good copies of blocks are taken from" },
  },
  examples: ["pyralog scrub", "pyralog scrub --repair --rpc http://127.0.0.1:26681 --home ./testnet/validator-0 --json"],
  run: scrub,
};

async function scrub(invocation: Invocation): Promise<Answer> {
  const { home } = invocation;
  await home.require();
  const isRunning = (await home.runState()).kind === "running";
  if (invocation.flag("repair")) await home.requireStopped();
  if (!isRunning) await settleStore(home.storePath);
  const files = await checkFiles(home.storePath, isRunning);
  if (isRunning) return report({ found: files, repaired: [], left: files, rebuilt: undefined }, "files");
  // To open a store whose files are damaged is to have LevelDB drop what it cannot read and forget that it was there: what
  // was found would not be found again. All of it is in a rebuild anyway.
  if (files.length > 0 && !invocation.flag("repair"))
    return report({ found: files, repaired: [], left: files, rebuilt: undefined }, "files");
  const copies = await copiesOf(invocation);
  const { found, repaired, left } = files.length > 0 ? NOTHING : await checkRows(invocation, copies);
  const all = [...files, ...found];
  if (!invocation.flag("repair") || all.length === 0)
    return report({ found: all, repaired: [], left: all, rebuilt: undefined }, "store");
  if (left.length + files.length === 0) return report({ found: all, repaired, left, rebuilt: undefined }, "store");
  using progress = invocation.progress("Executing the chain again");
  const rebuilt = await rebuildStore({
    network: await invocation.network(),
    executor: EXECUTOR,
    path: home.storePath,
    copies,
    signal: invocation.signal,
    onProgress: (height) => progress.update(height, 0n),
  });
  return report({ found: all, repaired: all, left: [], rebuilt }, "store");
}

const NOTHING: Repaired & { readonly found: readonly Damage[] } = { found: [], repaired: [], left: [] };

/** Of a stopped store, what is not a table is read as a start reads it: a tail that a crash cut off is no damage. */
async function checkFiles(path: string, isLive: boolean): Promise<Damage[]> {
  const faults: FileFault[] = [];
  const opening = isLive ? undefined : await openingFault(path);
  if (opening !== undefined) faults.push(opening);
  for (const file of await dataFiles(path))
    if (isLive || /\.(ldb|sst)$/.test(file)) faults.push(...(await checkFile(path, file, isLive)).faults);
  return faults.map(({ file, offset, code }) => ({
    code,
    kind: "file",
    place: `${file} at ${offset}`,
    key: undefined,
    height: undefined,
    repair: undefined,
  }));
}

/** Rows, when the store opens at all; what keeps it closed is the finding otherwise. */
async function checkRows(invocation: Invocation, copies: BlockCopies): Promise<Repaired & { readonly found: readonly Damage[] }> {
  const { home, signal } = invocation;
  const network = await invocation.network();
  try {
    const store = await openLevelStore({ path: home.storePath });
    await using stack = new AsyncDisposableStack();
    stack.use(store);
    const ledger = await Ledger.open({ store, network, executor: EXECUTOR });
    const subject = { ledger, executor: EXECUTOR };
    const found: Damage[] = [];
    using progress = invocation.progress("Reading through");
    for await (const { cursor, damages } of scrubRows(subject)) {
      signal.throwIfAborted();
      found.push(...damages);
      if (cursor.phase === "heights") progress.update(cursor.height, ledger.head().height);
    }
    if (!invocation.flag("repair")) return { found, repaired: [], left: found };
    return { found, ...(await repairRows(subject, found, copies)) };
  } catch (error) {
    const code = codeOf(error);
    if (!(error instanceof CodedError) || !/^(store|ledger|state)_(corrupt|io)$/.test(code)) throw error;
    const damage: Damage = {
      code: "row_unreadable",
      kind: "metadata",
      place: `the store does not open (${code})`,
      key: undefined,
      height: undefined,
      repair: undefined,
    };
    return { found: [damage], repaired: [], left: [damage] };
  }
}

/** Blocks of the nodes that --rpc names; they are checked before anything is done with them. */
async function copiesOf(invocation: Invocation): Promise<BlockCopies> {
  const urls = invocation.text("rpc") === undefined ? [] : await rpcUrls(invocation);
  const network = await invocation.network();
  const clients = urls.map((url) => new PyralogClient({ url, network }));
  return async function* copies(height: Height) {
    for (const client of clients) {
      try {
        yield await client.ask(chainBlock, { height }, { signal: invocation.signal });
      } catch (error) {
        invocation.signal.throwIfAborted();
        if (!(error instanceof CodedError)) throw error;
        // Another one may have it.
      }
    }
  };
}

type Outcome = {
  readonly found: readonly Damage[];
  readonly repaired: readonly Damage[];
  readonly left: readonly Damage[];
  /** The height up to which the chain was executed again. */
  readonly rebuilt: Height | undefined;
};

function report({ found, repaired, left, rebuilt }: Outcome, what: "files" | "store"): Answer {
  if (left.length > 0)
    throw new CodedError("scrub_damage", {
      field: left[0]?.place ?? "",
      message: [`${left.length} damaged: ${SCRUB_CODES.scrub_damage}`, ...left.slice(0, SHOWN_MAX).map(lineOf)].join("\n"),
    });
  const repairs = rebuilt === undefined ? `${repaired.length} put right` : `the chain executed again to height ${rebuilt}`;
  return {
    json: {
      checked: what,
      found: found.slice(0, SHOWN_MAX).map(damageJson),
      repaired: repaired.length,
      ...(rebuilt === undefined ? {} : { rebuilt }),
    },
    text:
      found.length === 0
        ? `The ${what === "files" ? "files hold" : "store holds"}: nothing was changed`
        : [`${found.length} found, ${repairs}`, ...found.slice(0, SHOWN_MAX).map(lineOf)].join("\n"),
  };
}

function damageJson({ code, kind, place, key, height }: Damage): Json {
  return { code, kind, place, ...(key === undefined ? {} : { key }), ...(height === undefined ? {} : { height }) };
}

function lineOf({ code, kind, place, key }: Damage): string {
  return `  ${kind}  ${place}  ${code}${key === undefined ? "" : `  ${toHex(key)}`}`;
}
