/** What a method is, and the helpers that methods of several nouns share. Nothing here needs a server. */

import type * as z from "zod";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { type Height, GENESIS_HEIGHT } from "../../chain/block/height.ts";
import { parseHeader } from "../../chain/block/block.ts";
import { verifyRange } from "../../chain/state/proof.ts";
import { successor } from "../../chain/state/range.ts";
import type { NodeBackend } from "./backend.ts";
import type { Refusal, RpcCode } from "./errors.ts";
import type { Limits } from "./limits.ts";

/** What a method may use besides its parameters. */
export type MethodContext = {
  readonly backend: NodeBackend;
  readonly limits: Limits;
  /** Aborted when the connection or the server closes. */
  readonly signal: AbortSignal;
  /** Absent over HTTP. */
  readonly subscriptions: SubscriptionPort | undefined;
};

/** The subscriptions of one connection. */
export interface SubscriptionPort {
  /** Begins with the events of the height after `height`. */
  add(topic: Topic, height: Height): Result<string, Refusal>;
  delete(id: string): boolean;
}

/** What can be subscribed to. */
export type Topic =
  | { readonly kind: "blocks" }
  | { readonly kind: "transactions"; readonly id?: Hash | undefined; readonly sender?: Address | undefined }
  | { readonly kind: "keys"; readonly namespace: string; readonly table: string };

/** A method as its noun's file declares it. `Params` and `Value` are what code sees, not what JSON holds. */
export type Method<Params extends z.ZodObject = z.ZodObject, Value extends z.ZodType = z.ZodType> = {
  readonly name: string;
  readonly summary: string;
  /** In the order of positional parameters. */
  readonly params: Params;
  readonly result: Value;
  /** Codes of its own refusals, beyond those that any request can meet. */
  readonly errors: readonly RpcCode[];
  /** Whether several of one batch may be under way: their answers are small, and together they cost less. */
  readonly runsTogether?: boolean;
  handle(
    params: z.output<Params>,
    context: MethodContext,
  ): Result<z.output<Value>, Refusal> | Promise<Result<z.output<Value>, Refusal>>;
};

/** A method whose types the server need not know. */
export type AnyMethod = {
  readonly name: string;
  readonly summary: string;
  readonly params: z.ZodObject;
  readonly result: z.ZodType;
  readonly errors: readonly RpcCode[];
  readonly runsTogether?: boolean;
  handle(params: never, context: MethodContext): Result<unknown, Refusal> | Promise<Result<unknown, Refusal>>;
};

/** Declares a method; only ties its types together. */
export function method<Params extends z.ZodObject, Value extends z.ZodType>(
  declared: Method<Params, Value>,
): Method<Params, Value> {
  return declared;
}

/** The height that a read is for: what was asked, or the newest. */
export function readHeight(asked: Height | undefined, { backend }: MethodContext): Result<Height, Refusal> {
  const head = backend.ledger.head().height;
  if (head === GENESIS_HEIGHT || asked === GENESIS_HEIGHT) return fail({ code: "height_none", field: "height" });
  const height = asked ?? head;
  if (height > head) return fail({ code: "height_future", field: "height", head: `${head}` });
  return ok(height);
}

/** Header and certificate of a final height. */
export type Anchor = { readonly header: Uint8Array; readonly certificate: Uint8Array };

/** The anchor of a final height, as bytes; `undefined` when this node does not hold it. */
export function anchorAt(height: Height, { backend }: MethodContext): Anchor | undefined {
  const header = backend.ledger.headerBytes(height);
  const certificate = backend.ledger.certificateBytes(height);
  return header === undefined || certificate === undefined ? undefined : { header, certificate };
}

/** What an anchor comes to: a certificate of many validators is larger than most of what it proves. */
export function anchorSizeBytes({ header, certificate }: Anchor): number {
  return header.length + certificate.length;
}

/** `anchor` of a result, present when it was wanted and is there. */
export function anchorField(wanted: boolean, height: Height, context: MethodContext): { readonly anchor?: Anchor } {
  const anchor = wanted ? anchorAt(height, context) : undefined;
  return anchor === undefined ? {} : { anchor };
}

/** What every read of the state takes and gives. */
export type ReadOptions = { readonly height?: Height | undefined; readonly anchor: boolean };
type Proven = { readonly height: Height; readonly proof: Uint8Array; readonly anchor?: Anchor };

/** One state row, or its absence, with the proof. */
export async function proveKey(
  key: Uint8Array,
  read: ReadOptions,
  context: MethodContext,
): Promise<Result<Proven & { readonly value: Uint8Array | undefined }, Refusal>> {
  const page = await provePage({ ...read, range: { from: key, to: successor(key) }, limit: 1 }, context);
  if (!page.ok) return page;
  const { height, proof, rows } = page.value;
  return ok({ value: rows[0]?.value, height, proof, ...anchorField(read.anchor, height, context) });
}

type StateRow = { readonly key: Uint8Array; readonly value: Uint8Array };
type Page = Proven & { readonly rows: readonly StateRow[]; readonly next: Uint8Array | undefined };
type PageOptions = ReadOptions & {
  readonly range: { readonly from: Uint8Array; readonly to?: Uint8Array };
  readonly limit: number;
};

/**
 * One page of state rows with a proof that none was left out. `next` is where to go on. A state that this node has pruned
 * comes from an archive, if it knows one.
 */
export async function provePage(read: PageOptions, context: MethodContext): Promise<Result<Page, Refusal>> {
  const height = readHeight(read.height, context);
  if (!height.ok) return height;
  const { ledger } = context.backend;
  if (ledger.state(height.value) === undefined) return await oldPage(read, height.value, context);
  const { rangeRowsMax, rangeBytesMax } = context.limits;
  const limit = Math.min(read.limit, rangeRowsMax);
  const rows: StateRow[] = [];
  let next: Uint8Array | undefined;
  let sizeBytes = 0;
  for (const row of ledger.stateEntries(height.value, { ...read.range, limit: limit + 1 })) {
    sizeBytes += row.key.length + row.value.length;
    if (rows.length === limit || (rows.length > 0 && sizeBytes > rangeBytesMax)) {
      next = row.key;
      break;
    }
    rows.push(row);
  }
  const proof = ledger.proveState(height.value, next === undefined ? read.range : { ...read.range, limit: rows.length });
  if (proof === undefined) return pruned(context);
  return ok({ rows, next, height: height.value, proof, ...anchorField(read.anchor, height.value, context) });
}

async function oldPage(read: PageOptions, height: Height, context: MethodContext): Promise<Result<Page, Refusal>> {
  const { ledger, oldStates } = context.backend;
  const header = ledger.headerBytes(height);
  const parsed = header === undefined ? undefined : parseHeader(header);
  if (oldStates === undefined || parsed?.ok !== true) return pruned(context);
  const range = { ...read.range, limit: Math.min(read.limit, context.limits.rangeRowsMax) };
  const proof = await oldStates.proveState(height, parsed.value.stateRoot, range);
  const answer = proof === undefined ? undefined : verifyRange(parsed.value.stateRoot, range, proof);
  if (proof === undefined || answer?.ok !== true) return pruned(context);
  const { rows, continueFrom: next } = answer.value;
  return ok({ rows, next, height, proof, ...anchorField(read.anchor, height, context) });
}

function pruned({ backend }: MethodContext): Result<never, Refusal> {
  return fail({ code: "height_pruned", field: "height", oldest: `${backend.ledger.oldestState()}` });
}
