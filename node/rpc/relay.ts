/**
 * Questions that a node cannot answer yet, asked of its peers: `/pyralog/rpc/1`, one JSON-RPC request a stream, one
 * answer as one frame.
 *
 * ```
 *   client --JSON-RPC--> joining node --libp2p--> a peer's methods
 *                             |  <--answer, proof, certificate--
 *                             +-- checks them against the network file, as any client would --> client
 * ```
 *
 * What is not proven is not handed on, and whoever sent it is penalised; then the next peer is asked. One peer is asked
 * as long as it answers, since another may be a block behind. The client gets the proofs as well, and checks for itself.
 */

import { isDeepStrictEqual } from "node:util";
import type * as z from "zod";
import { bytesEqual, utf8 } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { encodeHeader, parseBlock } from "../../chain/block/block.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { hash } from "../../crypto/hash/hash.ts";
import { parseStateKey, rowKey, rowRange, tableRange, tableKey } from "../../chain/state/keys.ts";
import { successor } from "../../chain/state/range.ts";
import { ownRow, parseTable } from "../../chain/state/rows.ts";
import type { Anchor } from "../light/anchor.ts";
import { provenOrThrow, UnprovenError } from "../light/errors.ts";
import {
  provenAccount,
  provenBlock,
  provenPartition,
  provenRange,
  provenRecord,
  provenRow,
  provenTable,
  provenTransaction,
} from "../light/statement.ts";
import type { VerifiedHeader } from "../light/verifier.ts";
import type { Log } from "../log/log.ts";
import type { Network } from "../network/network.ts";
import { type Handler, refuse } from "../network/request.ts";
import type { NodeBackend } from "./backend.ts";
import { PyralogClient } from "./client.ts";
import { Dispatcher, type Relay } from "./dispatcher.ts";
import type { Refusal } from "./errors.ts";
import { limitsWith } from "./limits.ts";
import type { AnyMethod } from "./method.ts";
import { accountGet } from "./methods/account.ts";
import { chainBlock, chainHead, chainHeader, chainHistoryProof } from "./methods/chain.ts";
import { stateProve } from "./methods/state.ts";
import { streamConsistency, streamHead, streamRecords } from "./methods/stream.ts";
import { tableGet, tableList, tableRangeRead, tableRow } from "./methods/table.ts";
import { transactionProof, transactionStatus, transactionSubmit, transactionWait } from "./methods/transaction.ts";
import { validatorsChanges } from "./methods/validators.ts";
import { answerMessage } from "./protocol.ts";
import { Rates } from "./rates.ts";

/** The protocol. */
export const RELAY_PROTOCOL = "/pyralog/rpc/1";

/** An answer is one frame. */
const ANSWER_SIZE_BYTES_MAX = 7 * 1024 * 1024;
/** Questions of one peer a second: a node that joins has few clients. */
const REQUESTS_PER_SECOND_MAX = 50;
const TIMEOUT_MS = 10_000;
/** `transaction.wait` holds its answer for so long. */
const WAIT_TIMEOUT_MS = 25_000;
/** So many peers are asked before a question is given up. */
const PEERS_ASKED_MAX = 4;

type Params<M extends { readonly params: z.ZodObject }> = z.output<M["params"]>;
type Value<M extends { readonly result: z.ZodType }> = z.output<M["result"]>;

/** Throws `UnprovenError` unless the answer follows from a header that the client believes. */
type Check = (client: PyralogClient, params: never, answer: never) => Promise<void>;

async function believe(
  client: PyralogClient,
  answer: { readonly anchor?: Anchor | undefined; readonly height: bigint },
): Promise<VerifiedHeader> {
  if (answer.anchor === undefined) throw new UnprovenError({ code: "proof_missing", field: "anchor" });
  const at = await client.believe(answer.anchor);
  if (at.header.height !== answer.height) throw new UnprovenError({ code: "answer_height", field: "height" });
  return at;
}

/** Refuses an answer that says more than, or something else than, its proof. */
function agree(told: unknown, proven: unknown, field: string): void {
  if (!isDeepStrictEqual(told, proven)) throw new UnprovenError({ code: "answer_mismatch", field });
}

/** What may be relayed, and what makes each answer true. `undefined`: the peer's own word, or proven by the client alone. */
const CHECKS: ReadonlyMap<AnyMethod, Check | undefined> = new Map<AnyMethod, Check | undefined>([
  [
    chainHead,
    async (client, _, answer: Value<typeof chainHead>) => {
      const { header, hash: proven } = await believe(client, answer);
      const { hash: told, timeMs, stateRoot } = answer;
      agree([told, timeMs, stateRoot], [proven, header.timeMs, header.stateRoot], "hash");
    },
  ],
  [chainHeader, async (client, _, answer: Value<typeof chainHeader>) => void (await believe(client, answer))],
  [
    chainBlock,
    async (client, _, { block, certificate, height }: Value<typeof chainBlock>) => {
      const parsed = parseBlock(block);
      if (!parsed.ok) throw new UnprovenError({ code: "answer_malformed", field: "block" });
      const at = await believe(client, { anchor: { header: encodeHeader(parsed.value.header), certificate }, height });
      provenOrThrow(provenBlock(at, block));
    },
  ],
  [
    accountGet,
    async (client, { address }: Params<typeof accountGet>, answer: Value<typeof accountGet>) => {
      const { balance, nonce } = provenOrThrow(provenAccount(await believe(client, answer), address, answer.proof));
      agree([answer.balance, answer.nonce], [balance, nonce], "balance");
    },
  ],
  [
    tableGet,
    async (client, { namespace, table }: Params<typeof tableGet>, answer: Value<typeof tableGet>) => {
      const owner = provenOrThrow(provenTable(await believe(client, answer), { namespace, table }, answer.proof));
      agree(answer.owner, owner ?? null, "owner");
    },
  ],
  [
    tableList,
    async (client, { namespace, after, limit }: Params<typeof tableList>, answer: Value<typeof tableList>) => {
      const { from, to } = tableRange(namespace);
      const range = { from: after === undefined ? from : successor(tableKey(namespace, after)), to, limit };
      const { rows, continueFrom } = provenOrThrow(provenRange(await believe(client, answer), range, answer.proof));
      const tables = rows.flatMap(({ key, value }) => {
        const named = parseStateKey(key);
        return named?.kind === "table" ? [{ table: named.table, owner: ownRow(parseTable(value), "table").owner }] : [];
      });
      agree([answer.tables, answer.more], [tables, continueFrom !== undefined], "tables");
    },
  ],
  [
    tableRow,
    async (client, { namespace, table, key }: Params<typeof tableRow>, answer: Value<typeof tableRow>) => {
      const value = provenOrThrow(provenRow(await believe(client, answer), rowKey(namespace, table, key), answer.proof));
      agree(answer.value, value ?? null, "value");
    },
  ],
  [
    tableRangeRead,
    async (client, params: Params<typeof tableRangeRead>, answer: Value<typeof tableRangeRead>) => {
      const { namespace, table, from, to, limit } = params;
      const range = { ...rowRange(namespace, table, from, to), limit };
      const { rows, continueFrom } = provenOrThrow(provenRange(await believe(client, answer), range, answer.proof));
      const prefixSize = rowKey(namespace, table, new Uint8Array(0)).length;
      const named = rows.map(({ key, value }) => ({ key: key.subarray(prefixSize), value }));
      agree(answer.rows, params.values ? named : undefined, "rows");
      agree(answer.continueFrom, continueFrom?.subarray(prefixSize), "continueFrom");
    },
  ],
  [
    stateProve,
    async (client, { from, to, limit }: Params<typeof stateProve>, answer: Value<typeof stateProve>) => {
      const proven = provenOrThrow(provenRange(await believe(client, answer), { from, to, limit }, answer.proof));
      agree([answer.count, answer.continueFrom], [proven.rows.length, proven.continueFrom], "count");
    },
  ],
  [
    streamHead,
    async (client, { stream, partition }: Params<typeof streamHead>, answer: Value<typeof streamHead>) => {
      const head = provenOrThrow(provenPartition(await believe(client, answer), { stream, partition }, answer.proof));
      agree(answer.head, head ?? null, "head");
    },
  ],
  [
    streamRecords,
    async (client, { stream, partition, from }: Params<typeof streamRecords>, answer: Value<typeof streamRecords>) => {
      const name = { stream, partition };
      const head = provenOrThrow(provenPartition(await believe(client, answer), name, answer.proof));
      agree(answer.size, head?.size ?? 0n, "size");
      for (const [at, record] of answer.records.entries()) {
        agree(record.index, from + BigInt(at), "records");
        if (head === undefined) throw new UnprovenError({ code: "answer_mismatch", field: "records" });
        provenOrThrow(provenRecord(head, { ...name, ...record }));
      }
    },
  ],
  [
    transactionProof,
    async (client, { id }: Params<typeof transactionProof>, answer: Value<typeof transactionProof>) => {
      const { transaction } = provenOrThrow(provenTransaction(await believe(client, answer), answer));
      agree(transaction.id, id, "transaction");
    },
  ],
  [
    validatorsChanges,
    async (client, _, { changes }: Value<typeof validatorsChanges>) => {
      for (const { height, anchor, validators } of changes) {
        const { header } = await believe(client, { anchor, height });
        if (!bytesEqual(hash("validators", validators), header.nextValidatorsHash))
          throw new UnprovenError({ code: "validators_mismatch", height });
      }
    },
  ],
  [chainHistoryProof, undefined],
  [streamConsistency, undefined],
  [transactionSubmit, undefined],
  [transactionStatus, undefined],
  [transactionWait, undefined],
] as readonly (readonly [AnyMethod, Check | undefined])[]);

/** Answers peers that join: `network.handle(RELAY_PROTOCOL, relayServer(...))`. */
export function relayServer(parts: { readonly backend: NodeBackend; readonly log: Log }): Handler {
  const limits = limitsWith({
    answerSizeBytesMax: ANSWER_SIZE_BYTES_MAX,
    requestsPerSecondMax: REQUESTS_PER_SECOND_MAX,
    batchMax: 1,
  });
  const dispatcher = new Dispatcher({
    ...parts,
    methods: [...CHECKS.keys()],
    limits,
    rates: new Rates(limits, () => performance.now()),
    metrics: undefined,
    isBusy: () => false,
  });
  return async function* serve({ peer, bytes, signal }) {
    const caller = { address: peer, signal, subscriptions: undefined, inFlight: 0 };
    const answer = await answerMessage(bytes, {
      limits,
      hold: () => undefined,
      dispatch: async (request) => await dispatcher.dispatch(request, caller),
    });
    if (answer === undefined) throw refuse("malformed");
    const frame = utf8(answer);
    if (frame.length > ANSWER_SIZE_BYTES_MAX) throw refuse("unavailable");
    yield frame;
  };
}

/** What a relay needs of the network. */
export type RelayNetwork = Pick<Network, "request" | "penalise" | "peers" | "limits">;

/** Asks peers in the place of a node that has no state yet, and checks what they answer. */
export function peerRelay(parts: { readonly network: RelayNetwork; readonly file: NetworkFile; readonly log: Log }): Relay {
  const { network, file } = parts;
  const log = parts.log.child({ part: "relay" });
  const clients = new Map<string, PyralogClient>();
  let preferred: string | undefined;

  const clientOf = (peer: string): PyralogClient => {
    const known = clients.get(peer);
    if (known !== undefined) return known;
    const made = new PyralogClient({
      url: "http://peer.invalid/",
      network: file,
      fetch: peerFetch(network, peer),
      timeoutMs: WAIT_TIMEOUT_MS,
    });
    const present = new Set(network.peers().map(({ id }) => id));
    for (const id of clients.keys()) if (!present.has(id)) clients.delete(id);
    clients.set(peer, made);
    return made;
  };

  /** Who to ask next: the one that answered last, then the highest, then whoever has least against it. */
  const choose = (tried: ReadonlySet<string>): string | undefined => {
    const left = network.peers().filter(({ id, height }) => !tried.has(id) && height > 0n);
    if (left.some(({ id }) => id === preferred)) return preferred;
    return left.toSorted((a, b) => Number(b.height - a.height) || b.score - a.score)[0]?.id;
  };

  return async (declared, params, signal) => {
    if (!CHECKS.has(declared)) return undefined;
    const tried = new Set<string>();
    let refused: Result<unknown, Refusal> | undefined;
    while (tried.size < PEERS_ASKED_MAX) {
      signal.throwIfAborted();
      const peer = choose(tried);
      if (peer === undefined) break;
      tried.add(peer);
      try {
        const answer = await ask(clientOf(peer), declared, params, signal);
        if (answer.ok) {
          preferred = peer;
          return answer;
        }
        // Nothing proves a refusal: whoever refuses everything must not be the one that is asked.
        refused ??= answer;
      } catch (error) {
        signal.throwIfAborted();
        const code = codeOf(error);
        if (error instanceof UnprovenError) {
          log.warn({ peer, method: declared.name, code }, "peer answered what it cannot prove");
          network.penalise(peer, "snapshot_lie");
        } else if (!(error instanceof CodedError)) throw error;
        else log.debug({ peer, method: declared.name, code }, "peer did not answer");
      }
    }
    return refused ?? fail({ code: "relay_unavailable" });
  };
}

/** One question of one peer. What it refuses may be an answer too; what fails underway is thrown. */
async function ask(
  client: PyralogClient,
  declared: AnyMethod,
  params: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<Result<unknown, Refusal>> {
  // With header and certificate, or there is nothing to check.
  const asked = "anchor" in declared.params.shape ? { ...params, anchor: true } : params;
  let answer: unknown;
  try {
    answer = await client.ask(declared as never, asked as never, { signal });
  } catch (error) {
    if (error instanceof UnprovenError || !(error instanceof CodedError) || /^(rpc|peer|network)_/.test(error.code)) throw error;
    const { message: _message, method: _method, number: _number, ...detail } = error.detail;
    return fail({ code: error.code, ...detail });
  }
  const { height } = asked as { readonly height?: unknown };
  // Of another height it may be as true, and is no answer.
  if (height !== undefined && "height" in declared.params.shape)
    agree((answer as { readonly height?: unknown }).height, height, "height");
  await CHECKS.get(declared)?.(client, asked as never, answer as never);
  return ok(answer);
}

/** `fetch` over one peer, as far as the client uses it. */
function peerFetch(network: RelayNetwork, peer: string): typeof globalThis.fetch {
  return async (_, init) => {
    const body = init?.body;
    const signal = init?.signal ?? AbortSignal.timeout(TIMEOUT_MS);
    const frames: Uint8Array[] = [];
    const request = typeof body === "string" ? utf8(body) : new Uint8Array(0);
    // A peer takes no larger question, and would hold it against us.
    if (request.length > network.limits.requestBytesMax) throw new CodedError("peer_refused", { peer, refusal: "oversized" });
    const options = { signal, timeoutMs: WAIT_TIMEOUT_MS, stallMs: WAIT_TIMEOUT_MS, totalBytesMax: ANSWER_SIZE_BYTES_MAX + 1024 };
    for await (const frame of network.request(peer, RELAY_PROTOCOL, request, options)) frames.push(frame);
    const [answer] = frames;
    return new Response(answer === undefined || frames.length > 1 ? "" : answer.slice());
  };
}
