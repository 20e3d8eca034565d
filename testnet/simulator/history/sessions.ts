/**
 * What one client may rely on although it talks to many servers.
 *
 * Source: Terry, Demers, Petersen, Spreitzer, Theimer, Welch, "Session Guarantees for Weakly Consistent Replicated
 * Data", PDIS 1994, section 3. A session is here all that one client of the history does.
 *
 * The paper speaks of the writes in a server's database, which a client cannot see. What it can see: which write a
 * read saw, and the place of that write in the order that the store decided. So a server has a write when a read from
 * it saw that very write, and lacks it when a read of its key sees an earlier one. Every violation found is one by the
 * paper's words; a server that nobody reads from is not judged.
 *
 * Where a write goes unacknowledged the session has no claim on it, but who sees it may claim what it follows.
 */

import { assert } from "../../../crypto/base/assert.ts";
import { describeOperation, type Operation } from "./history.ts";
import type { KeyValueInput, KeyValueOutput } from "./models.ts";

/**
 * What an operation means to a session. A version is a place in the one order that the store decided for all writes,
 * from 1; 0 is the state before the first. `undefined` is a write with no place in it: acknowledged and lost, or read
 * and never made.
 */
export type SessionStep =
  | { readonly kind: "write"; readonly key: string; readonly version: bigint | undefined }
  | { readonly kind: "read"; readonly key: string; readonly version: bigint | undefined; readonly node: string };

/** Sees an operation as a session's step; `undefined` for one that says nothing, as a read without an answer. */
export type SessionView<Input, Output> = (operation: Operation<Input, Output>) => SessionStep | undefined;

/** The four of the paper. */
export type Guarantee = "read_your_writes" | "monotonic_reads" | "monotonic_writes" | "writes_follow_reads";

/** Whether the guarantee held. `comparisons` is how often it could have been broken: 0 says nothing. */
export type SessionVerdict<Input, Output> =
  | { readonly kind: "held"; readonly guarantee: Guarantee; readonly comparisons: number }
  | {
      readonly kind: "violation";
      readonly guarantee: Guarantee;
      readonly why: string;
      /** Those that contradict each other, in the order of the story. */
      readonly operations: readonly Operation<Input, Output>[];
    };

/** An operation with what it means. */
type Seen<Input, Output, Kind extends SessionStep["kind"]> = {
  readonly operation: Operation<Input, Output>;
  readonly step: Extract<SessionStep, { readonly kind: Kind }> & { readonly version: bigint };
};
type Read<Input, Output> = Seen<Input, Output, "read">;
type Write<Input, Output> = Seen<Input, Output, "write">;
type Either<Input, Output> = Read<Input, Output> | Write<Input, Output>;

/** By key, the latest version that counts, and who shows it. */
type Latest<Input, Output> = Map<string, Either<Input, Output>>;

/** A client's read sees its own acknowledged writes, or later ones. */
export function checkReadYourWrites<Input, Output>(
  operations: readonly Operation<Input, Output>[],
  view: SessionView<Input, Output>,
): SessionVerdict<Input, Output> {
  return checkReads("read_your_writes", operations, view, "write");
}

/** A client's read sees what its earlier reads saw, or later writes. */
export function checkMonotonicReads<Input, Output>(
  operations: readonly Operation<Input, Output>[],
  view: SessionView<Input, Output>,
): SessionVerdict<Input, Output> {
  return checkReads("monotonic_reads", operations, view, "read");
}

/** A client's writes are ordered as it made them, and a server with the later one has the earlier one. */
export function checkMonotonicWrites<Input, Output>(
  operations: readonly Operation<Input, Output>[],
  view: SessionView<Input, Output>,
): SessionVerdict<Input, Output> {
  return checkWrites("monotonic_writes", operations, view, "write");
}

/** A write is ordered after the writes that its client had read, and a server that has it has those. */
export function checkWritesFollowReads<Input, Output>(
  operations: readonly Operation<Input, Output>[],
  view: SessionView<Input, Output>,
): SessionVerdict<Input, Output> {
  return checkWrites("writes_follow_reads", operations, view, "read");
}

/** All four, in the order above. */
export function checkSessions<Input, Output>(
  operations: readonly Operation<Input, Output>[],
  view: SessionView<Input, Output>,
): readonly SessionVerdict<Input, Output>[] {
  return [checkReadYourWrites, checkMonotonicReads, checkMonotonicWrites, checkWritesFollowReads].map((check) =>
    check(operations, view),
  );
}

/** The verdict for people. */
export function explainSession<Input, Output>(verdict: SessionVerdict<Input, Output>): string {
  if (verdict.kind === "held") return `${verdict.guarantee} held (${verdict.comparisons} comparisons)`;
  return [`${verdict.guarantee}: ${verdict.why}`, ...verdict.operations.map((one) => `  ${describeOperation(one)}`)].join("\n");
}

/**
 * Sees a key-value history as sessions. Values of a key must be different, or a read would not say which write it saw.
 *
 * @param order - every put that took effect, in the order that the store decided: what the final chain holds
 * @param nodeOf - who answered
 */
export function keyValueSessions(
  order: readonly { readonly key: string; readonly value: string }[],
  nodeOf: (operation: Operation<KeyValueInput, KeyValueOutput>) => string,
): SessionView<KeyValueInput, KeyValueOutput> {
  const versions = new Map<string, bigint>();
  for (const { key, value } of order) {
    const name = JSON.stringify([key, value]);
    assert(!versions.has(name), `${name} was put twice`);
    versions.set(name, BigInt(versions.size + 1));
  }
  return (operation) => {
    const { input, outcome } = operation;
    if (outcome.kind === "failed") return undefined;
    assert(input.kind !== "append", "an append is no write of a value of its own");
    if (input.kind === "put") {
      const version = versions.get(JSON.stringify([input.key, input.value]));
      return version === undefined && outcome.kind === "unknown" ? undefined : { kind: "write", key: input.key, version };
    }
    if (outcome.kind !== "returned" || outcome.output.kind !== "value") return undefined;
    const { value } = outcome.output;
    const version = value === undefined ? 0n : versions.get(JSON.stringify([input.key, value]));
    return { kind: "read", key: input.key, version, node: nodeOf(operation) };
  };
}

/** Reads of a client against what it did before: its writes, or its reads. */
function checkReads<Input, Output>(
  guarantee: Guarantee,
  operations: readonly Operation<Input, Output>[],
  view: SessionView<Input, Output>,
  before: "read" | "write",
): SessionVerdict<Input, Output> {
  const seen = see(guarantee, operations, view);
  if (seen.kind === "violation") return seen;
  const sessions = new Map<string, Latest<Input, Output>>();
  let comparisons = 0;
  for (const one of seen.seen) {
    const session = entry(sessions, one.operation.client);
    const earlier = session.get(one.step.key);
    if (isRead(one) && earlier !== undefined) {
      comparisons += 1;
      if (one.step.version < earlier.step.version) {
        const why = `the read saw version ${one.step.version} of ${one.step.key}, after ${phrase(earlier)}`;
        return { kind: "violation", guarantee, why, operations: [earlier.operation, one.operation] };
      }
    }
    if (one.step.kind === before && isAcknowledged(one)) advance(session, one);
  }
  return { kind: "held", guarantee, comparisons };
}

/** Writes of a client against what it did before, in the order of the store and at every server that is read. */
function checkWrites<Input, Output>(
  guarantee: Guarantee,
  operations: readonly Operation<Input, Output>[],
  view: SessionView<Input, Output>,
  before: "read" | "write",
): SessionVerdict<Input, Output> {
  const seen = see(guarantee, operations, view);
  if (seen.kind === "violation") return seen;
  const sessions = new Map<string, Latest<Input, Output>>();
  const followed = new Map<string, Followed<Input, Output>>();
  let comparisons = 0;
  for (const one of seen.seen) {
    const session = entry(sessions, one.operation.client);
    if (isWrite(one)) {
      for (const earlier of session.values()) {
        comparisons += 1;
        if (one.step.version > earlier.step.version) continue;
        const why = `the write has version ${one.step.version}, after ${phrase(earlier)}`;
        return { kind: "violation", guarantee, why, operations: [earlier.operation, one.operation] };
      }
      followed.set(nameOf(one), { write: one, earlier: new Map(session) });
    }
    // A read that saw nothing has no write that others must follow.
    if (one.step.kind === before && isAcknowledged(one) && one.step.version > 0n) advance(session, one);
  }
  return checkServers(guarantee, seen.seen.filter(isRead), followed, comparisons);
}

/** A write, and by key what must be at every server that has it. */
type Followed<Input, Output> = { readonly write: Write<Input, Output>; readonly earlier: Latest<Input, Output> };

/** By key, what a server must have, because a read of it saw a write that follows that. */
type Owed<Input, Output> = Map<
  string,
  { readonly earlier: Either<Input, Output>; readonly write: Write<Input, Output>; readonly witness: Read<Input, Output> }
>;

/** A server that showed a write shows, to every read that is called later, all that the write follows. */
function checkServers<Input, Output>(
  guarantee: Guarantee,
  reads: readonly Read<Input, Output>[],
  followed: ReadonlyMap<string, Followed<Input, Output>>,
  comparisonsBefore: number,
): SessionVerdict<Input, Output> {
  const servers = new Map<string, Owed<Input, Output>>();
  let comparisons = comparisonsBefore;
  for (const { read, isCall } of events(reads)) {
    const owed = entry(servers, read.step.node);
    if (!isCall) {
      owe(owed, read, followed.get(nameOf(read)));
      continue;
    }
    const debt = owed.get(read.step.key);
    if (debt === undefined) continue;
    comparisons += 1;
    if (read.step.version >= debt.earlier.step.version) continue;
    const why = `${read.step.node} showed version ${debt.write.step.version} of ${debt.write.step.key}, which follows version ${debt.earlier.step.version} of ${read.step.key}, and then only version ${read.step.version} of that`;
    const story = [debt.earlier, debt.write, debt.witness, read].map(({ operation }) => operation);
    return { kind: "violation", guarantee, why, operations: story };
  }
  return { kind: "held", guarantee, comparisons };
}

function owe<Input, Output>(
  owed: Owed<Input, Output>,
  witness: Read<Input, Output>,
  followed: Followed<Input, Output> | undefined,
): void {
  if (followed === undefined) return;
  for (const [key, earlier] of followed.earlier) {
    const known = owed.get(key);
    if (known === undefined || known.earlier.step.version < earlier.step.version)
      owed.set(key, { earlier, write: followed.write, witness });
  }
}

/** Calls and returns of reads, in the order in which they happened. */
function events<Input, Output>(
  reads: readonly Read<Input, Output>[],
): readonly { readonly read: Read<Input, Output>; readonly isCall: boolean; readonly position: number }[] {
  const all = reads.flatMap((read) => {
    const { call, outcome } = read.operation;
    assert(outcome.kind === "returned", `read ${read.operation.index} did not return`);
    return [
      { read, isCall: true, position: call.position },
      { read, isCall: false, position: outcome.at.position },
    ];
  });
  return all.toSorted((a, b) => a.position - b.position);
}

/** The steps of all sessions in the order of their calls, or the first that names a write which never took place. */
function see<Input, Output>(
  guarantee: Guarantee,
  operations: readonly Operation<Input, Output>[],
  view: SessionView<Input, Output>,
):
  | { readonly kind: "seen"; readonly seen: readonly Either<Input, Output>[] }
  | Extract<SessionVerdict<Input, Output>, { readonly kind: "violation" }> {
  const seen: Either<Input, Output>[] = [];
  for (const operation of operations) {
    const step = view(operation);
    if (step === undefined) continue;
    const { version } = step;
    if (version === undefined) {
      const why =
        step.kind === "read"
          ? "the read saw a value that no write put there"
          : "the write was acknowledged, and never took place";
      return { kind: "violation", guarantee, why, operations: [operation] };
    }
    seen.push(step.kind === "read" ? { operation, step: { ...step, version } } : { operation, step: { ...step, version } });
  }
  return { kind: "seen", seen };
}

function isRead<Input, Output>(one: Either<Input, Output>): one is Read<Input, Output> {
  return one.step.kind === "read";
}

function isWrite<Input, Output>(one: Either<Input, Output>): one is Write<Input, Output> {
  return one.step.kind === "write";
}

function isAcknowledged<Input, Output>({ operation }: Either<Input, Output>): boolean {
  return operation.outcome.kind === "returned";
}

function advance<Input, Output>(latest: Latest<Input, Output>, one: Either<Input, Output>): void {
  const known = latest.get(one.step.key);
  if (known === undefined || known.step.version < one.step.version) latest.set(one.step.key, one);
}

function nameOf<Input, Output>({ step }: Either<Input, Output>): string {
  return JSON.stringify([step.key, `${step.version}`]);
}

function phrase<Input, Output>({ step }: Either<Input, Output>): string {
  return `the same client ${step.kind === "read" ? "saw" : "wrote"} version ${step.version} of ${step.key}`;
}

/** The map of this name, made when it is missing. */
function entry<Value>(maps: Map<string, Map<string, Value>>, name: string): Map<string, Value> {
  const known = maps.get(name);
  if (known !== undefined) return known;
  const made = new Map<string, Value>();
  maps.set(name, made);
  return made;
}
