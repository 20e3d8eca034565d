/**
 * Audits a network for as long as it is let: every height as it comes, by executing it or by samples, and whether its
 * nodes tell everybody the same.
 *
 * ```
 *   heads of all nodes --higher--> audit the new heights --hold--> compare nodes --same--> samples --> checkpoint, cosigned
 *        | lower than before          | do not                       | another certified header
 *        +--> rollback                +--> alert, ask the next node  +--> split view: fraud proof
 * ```
 *
 * In full, a replica of our own stands behind every comparison, so that a node which tells another story than last week is
 * found out by what was audited last week. By samples nothing is kept but the validator sets.
 */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { headerHash, parseHeader, type Header } from "../../chain/block/block.ts";
import { GENESIS_HEIGHT, type Height, heightOf, nextHeight } from "../../chain/block/height.ts";
import { encodeMembers } from "../../chain/block/validators.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import { proveFork } from "../follower/fork.ts";
import { encodeFraudFile, type ProvenFraud, verifyFraudFile } from "../light/fraud.ts";
import type { Anchor } from "../light/anchor.ts";
import { UnprovenError } from "../light/errors.ts";
import type { PyralogClient } from "../rpc/client.ts";
import { pause } from "../rpc/feed.ts";
import { chainHead, chainHeader } from "../rpc/methods/chain.ts";
import { auditHeights } from "./auditor.ts";
import type { AuditCode } from "./errors.ts";
import { rpcSource } from "./rpc-source.ts";
import { type Draw, sample } from "./sample.ts";

/** What a watch is made from. */
export type WatchOptions = {
  /** Of the nodes: the first is audited, all are compared, and the next takes its place where it fails. At most `NODES_MAX`. */
  readonly clients: readonly PyralogClient[];
  /** Executes everything again; without one, samples are all that is checked. */
  readonly replica: Ledger | undefined;
  /** Random blocks, rows and records of each node after each round. */
  readonly samples: number;
  readonly draw: Draw;
  readonly pollMs: number;
  readonly signal: AbortSignal;
  /** The highest head that each node ever told, by URL: what it must not fall behind. Kept by the caller between runs. */
  readonly heads: Map<string, bigint>;
};

/** What a watch tells. */
export type WatchEvent =
  /** Everything up to this height holds. */
  | {
      readonly kind: "audited";
      readonly height: Height;
      readonly header: Header;
      readonly blocks: number;
      readonly sizeBytes: number;
      readonly seconds: number;
      readonly samples: number;
      /** Nodes that show the same header. */
      readonly agreeing: number;
    }
  | ({ readonly kind: "alert" } & Alert);

/** Something that somebody must look at. */
export type Alert = {
  readonly code: AuditCode;
  readonly url: string;
  readonly height: bigint;
  readonly reason?: string;
  readonly field?: string;
  /** Transferable, where signatures say so. */
  readonly fraud?: { readonly file: Uint8Array; readonly proven: ProvenFraud };
};

/** Nodes of one watch. */
export const NODES_MAX = 16;
/** Heights of one round, so that nodes are compared also on a long way up. */
const HEIGHTS_PER_ROUND = 500n;
/** Different alerts that are remembered, so that each is told once. */
const ALERTS_REMEMBERED_MAX = 1_000;

/** Codes that end a watch: there is no going on after them. */
const FINAL_CODES: readonly AuditCode[] = ["audit_split", "audit_replica"];

type Told = { readonly client: PyralogClient; readonly height: bigint };

/** Runs until `signal` aborts, or until something was found after which nothing can be trusted (`audit_split`). */
export async function* watch(options: WatchOptions): AsyncGenerator<WatchEvent, void, undefined> {
  const { signal, pollMs } = options;
  const round = new Round(options);
  while (!signal.aborted) {
    try {
      for await (const event of round.run()) {
        yield event;
        if (event.kind === "alert" && FINAL_CODES.includes(event.code)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
    if (!round.isBehind) await pause(pollMs, signal);
  }
}

class Round {
  readonly #options: WatchOptions;
  readonly #told = new Set<string>();
  /** The newest height that holds. */
  #height: bigint;
  /** Whether there is more to audit at once. */
  isBehind = false;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#height = options.replica?.head().height ?? 0n;
  }

  async *run(): AsyncGenerator<WatchEvent, void, undefined> {
    const told: Told[] = [];
    for (const client of this.#options.clients) {
      const head = yield* this.#headOf(client);
      if (head !== undefined) told.push({ client, height: head });
    }
    const highest = told.reduce((best, { height }) => (height > best ? height : best), 0n);
    const target = highest < this.#height + HEIGHTS_PER_ROUND ? highest : this.#height + HEIGHTS_PER_ROUND;
    this.isBehind = target < highest;
    if (target <= this.#height) {
      for (const event of await collect(this.#compare(told))) if (event !== "agrees") yield event;
      return;
    }
    const began = performance.now();
    const before = this.#height;
    const header = this.#options.replica === undefined ? yield* this.#follow(told, target) : yield* this.#execute(told, target);
    if (header === undefined) return;
    this.#height = header.height;
    const seconds = (performance.now() - began) / 1000;
    let agreeing = 0;
    for (const event of await collect(this.#compare(told))) {
      if (event === "agrees") agreeing += 1;
      else yield event;
    }
    let samples = 0;
    for (const { client } of told)
      for (let count = 0; count < this.#options.samples; count += 1) {
        const alert = await this.#sample(client);
        if (alert === undefined) samples += 1;
        else yield* this.#alert(alert);
      }
    const blocks = Number(this.#height - before);
    yield { kind: "audited", height: header.height, header, blocks, sizeBytes: this.#sizeOf(before), seconds, samples, agreeing };
  }

  /** What a node says that its head is, and whether it went back. */
  async *#headOf(client: PyralogClient): AsyncGenerator<WatchEvent, bigint | undefined, undefined> {
    const { signal, heads } = this.#options;
    const known = heads.get(client.url) ?? 0n;
    try {
      const { height } = await client.ask(chainHead, {}, { signal });
      if (height > known) heads.set(client.url, height);
      // Under proof of work a heavier chain may be a shorter one.
      if (height < known && client.network.engine.name !== "pow")
        yield* this.#alert({ code: "audit_rollback", url: client.url, height, reason: `it told ${known}` });
      this.#told.delete(`audit_unreadable ${client.url}`);
      return height;
    } catch (error) {
      if (signal.aborted || !(error instanceof CodedError)) throw error;
      yield* this.#alert({ code: "audit_unreadable", url: client.url, height: this.#height, reason: error.code });
      return undefined;
    }
  }

  /** Executes what is new, from whichever node has it right. */
  async *#execute(told: readonly Told[], target: bigint): AsyncGenerator<WatchEvent, Header | undefined, undefined> {
    const { replica, signal } = this.#options;
    if (replica === undefined) return undefined;
    for (const { client, height } of told) {
      if (height <= replica.head().height) continue;
      const to = heightOf(height < target ? height : target);
      const audited = await auditHeights({ source: rpcSource(client, signal), replica, signal }, to);
      if (audited.ok) continue;
      const { code, height: at, field, reason } = audited.error;
      const fork =
        code === "audit_header" && field === "header.previous" ? await this.#forkBelow(client, heightOf(at)) : undefined;
      yield* this.#alert(
        fork ?? {
          code,
          url: client.url,
          height: at,
          ...(field === undefined ? {} : { field }),
          ...(reason === undefined ? {} : { reason }),
        },
      );
    }
    const { height } = replica.head();
    return height > this.#height ? replica.header(height) : undefined;
  }

  /** A block that does not follow ours: is the header before it another certified one? */
  async #forkBelow(client: PyralogClient, height: Height): Promise<Alert | undefined> {
    if (height <= 1n) return undefined;
    const verdict = await this.#against(client, heightOf(height - 1n));
    return verdict === "agrees" ? undefined : verdict;
  }

  /** Follows headers alone. */
  async *#follow(told: readonly Told[], target: bigint): AsyncGenerator<WatchEvent, Header | undefined, undefined> {
    const { signal } = this.#options;
    for (const { client, height } of told) {
      if (height <= this.#height) continue;
      try {
        const { anchor } = await client.ask(chainHeader, { height: heightOf(height < target ? height : target) }, { signal });
        return (await client.believe(anchor, { signal })).header;
      } catch (error) {
        if (signal.aborted || !(error instanceof CodedError)) throw error;
        yield* this.#alert(this.#unproven(client, error, height));
      }
    }
    return undefined;
  }

  /** Whether all nodes that have the newest audited height show the same header of it. */
  async *#compare(told: readonly Told[]): AsyncGenerator<WatchEvent | "agrees", void, undefined> {
    if (this.#height === GENESIS_HEIGHT) return;
    for (const { client, height } of told) {
      if (height < this.#height) continue;
      const verdict = await this.#against(client, heightOf(this.#height));
      if (verdict === "agrees") yield verdict;
      else if (verdict !== undefined) yield* this.#alert(verdict);
    }
  }

  /** What a node shows of a height that was audited, against what was. */
  async #against(client: PyralogClient, height: Height): Promise<"agrees" | Alert | undefined> {
    const { signal, replica } = this.#options;
    const { url } = client;
    try {
      const { anchor } = await client.ask(chainHeader, { height }, { signal });
      const parsed = parseHeader(anchor.header);
      if (!parsed.ok) return { code: "audit_lie", url, height, reason: "answer_malformed" };
      const own = replica === undefined ? (await client.believe(anchor, { signal })).hash : replica.block(height)?.hash;
      if (own !== undefined && bytesEqual(own, headerHash(parsed.value))) return "agrees";
      if (client.network.engine.name === "pow") return { code: "audit_reorganised", url, height };
      return await this.#contradiction(client, anchor, height);
    } catch (error) {
      if (signal.aborted || !(error instanceof CodedError)) throw error;
      if (error.code === "fork_detected") return await this.#splitBetween(client, height);
      // One that has nothing to show is told of when its head is asked for.
      return error instanceof UnprovenError ? this.#unproven(client, error, height) : undefined;
    }
  }

  /** Another header than the replica's: certified, it is a split view with a proof; otherwise a lie. */
  async #contradiction(client: PyralogClient, second: Anchor, height: Height): Promise<Alert> {
    const { url } = client;
    const fraud = await this.#fraudAt(client, second, height);
    if (typeof fraud === "string") return { code: "audit_lie", url, height, reason: fraud };
    // Lower down the same quarrel convicts as well, and says where it began.
    const { height: lowest, anchor } = await this.#lowest(client, height);
    const first = anchor === undefined ? fraud : await this.#fraudAt(client, anchor, lowest);
    return { code: "audit_split", url, height, fraud: typeof first === "string" ? fraud : first };
  }

  /** The lowest height at which a node shows another header than the replica has, by halves and on its own word. */
  async #lowest(
    client: PyralogClient,
    height: Height,
  ): Promise<{ readonly height: Height; readonly anchor: Anchor | undefined }> {
    const { replica, signal } = this.#options;
    let found: { readonly height: Height; readonly anchor: Anchor | undefined } = { height, anchor: undefined };
    let same = 0n;
    while (found.height - same > 1n) {
      const middle = heightOf((found.height + same) / 2n);
      const { anchor } = await client.ask(chainHeader, { height: middle }, { signal });
      const parsed = parseHeader(anchor.header);
      const own = replica?.block(middle)?.hash;
      if (!parsed.ok || own === undefined || bytesEqual(headerHash(parsed.value), own)) same = middle;
      else found = { height: middle, anchor };
    }
    return found;
  }

  /** A fraud proof of the replica's header and another one; or why it proves nothing. */
  async #fraudAt(client: PyralogClient, second: Anchor, height: Height): Promise<NonNullable<Alert["fraud"]> | string> {
    const { replica, signal } = this.#options;
    const [header, certificate] = [replica?.headerBytes(height), replica?.certificateBytes(height)];
    const parsed = parseHeader(second.header);
    const own = replica?.header(height);
    if (replica === undefined || own === undefined || header === undefined || certificate === undefined || !parsed.ok)
      return "answer_malformed";
    const isSameSet = bytesEqual(parsed.value.validatorsHash, own.validatorsHash);
    const file = encodeFraudFile({
      chainId: replica.network.chainId,
      networkHash: replica.networkHash,
      changes: changesBelow(replica, height),
      first: { header, certificate },
      second,
      validators: isSameSet ? undefined : (await client.lightBlock(height, { signal })).validators,
    });
    const proven = await verifyFraudFile(file, replica.network, headerHash(own));
    return proven.ok ? { file, proven: proven.value } : proven.error.code;
  }

  /** By samples there is no replica: the nodes prove it against each other. */
  async #splitBetween(client: PyralogClient, height: Height): Promise<Alert> {
    const { clients, signal } = this.#options;
    for (const other of clients) {
      if (other === client) continue;
      const fork = await proveFork(other, client, { common: 0n, height }, { signal });
      if (fork !== undefined)
        return { code: "audit_split", url: client.url, height, fraud: { file: fork.file, proven: fork.fraud } };
    }
    return { code: "audit_split", url: client.url, height };
  }

  async #sample(client: PyralogClient): Promise<Alert | undefined> {
    const { signal, draw } = this.#options;
    try {
      await sample(client, draw, signal);
      return undefined;
    } catch (error) {
      if (signal.aborted || !(error instanceof CodedError)) throw error;
      if (error.code === "fork_detected") return await this.#splitBetween(client, heightOf(this.#height));
      return this.#unproven(client, error, this.#height);
    }
  }

  #unproven({ url }: PyralogClient, error: CodedError, height: bigint): Alert {
    const field = error.detail["field"];
    const isLie = error instanceof UnprovenError;
    return {
      code: isLie ? "audit_lie" : "audit_unreadable",
      url,
      height,
      reason: codeOf(error),
      ...(typeof field === "string" ? { field } : {}),
    };
  }

  /** Tells an alert once. */
  *#alert(alert: Alert): Generator<WatchEvent, void, undefined> {
    const lasting = alert.code === "audit_unreadable";
    const name = `${alert.code} ${alert.url}${lasting ? "" : ` ${alert.height} ${alert.reason ?? ""} ${alert.field ?? ""}`}`;
    if (this.#told.has(name)) return;
    if (this.#told.size >= ALERTS_REMEMBERED_MAX) this.#told.clear();
    this.#told.add(name);
    yield { kind: "alert", ...alert };
  }

  /** Bytes of the blocks that were executed. */
  #sizeOf(before: bigint): number {
    const { replica } = this.#options;
    let size = 0;
    for (let height = before + 1n; replica !== undefined && height <= this.#height; height += 1n)
      size += replica.blockBytes(heightOf(height))?.length ?? 0;
    return size;
  }
}

async function collect<T>(events: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const event of events) all.push(event);
  return all;
}

/** The certified changes of the set below a height, of a chain that was audited. */
function changesBelow(replica: Ledger, below: Height): { readonly anchor: Anchor; readonly validators: Uint8Array }[] {
  const changes: { readonly anchor: Anchor; readonly validators: Uint8Array }[] = [];
  for (const { height } of replica.validatorChanges(heightOf(1n), Number.MAX_SAFE_INTEGER)) {
    if (height >= below) break;
    const [header, certificate] = [replica.headerBytes(height), replica.certificateBytes(height)];
    const set = replica.validators(nextHeight(height));
    if (header === undefined || certificate === undefined || set === undefined)
      throw new CodedError("audit_replica", { message: "the replica lost a change of the set", height });
    changes.push({ anchor: { header, certificate }, validators: encodeMembers(set) });
  }
  return changes;
}
