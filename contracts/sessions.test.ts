/** Sessions of producers: each append once, whatever is sent again, and by whom. */

import fc from "fast-check";
import t from "tap";
import { toHex, utf8 } from "../crypto/base/bytes.ts";
import { checkDecoder, checkProperty } from "../crypto/testing/property.ts";
import { amountArbitrary, hashArbitrary } from "../chain/block/testing/arbitrary.ts";
import { networkOf } from "../chain/block/testing/fixtures.ts";
import { parseRecord } from "../chain/block/record.ts";
import type { Call } from "../chain/block/call.ts";
import { sessionKey, sessionsKey } from "../chain/state/keys.ts";
import {
  encodeSession,
  encodeSessions,
  parseSession,
  parseSessions,
  SESSION_WINDOW,
  SESSIONS_MAX,
  type SessionAppend,
} from "../chain/state/sessions.ts";
import { partitionSize } from "./partitions.ts";
import { SESSION_MS } from "./sessions.ts";
import { Chain, ok } from "./testing/chain.ts";

const [OWNER, STRANGER] = [100, 101];
const NOW_MS = 1_800_000_000_000n;
const ID = 77n;

function chainOf(): Chain {
  return new Chain(networkOf({ amounts: [1_000_000_000n, 1_000_000_000n] }));
}

const open = (session = ID): Call => ({ kind: "sessionOpen", stream: "s", partition: 0, session });
const append = (sequence: bigint, text: string, session = ID): Call => ({
  kind: "sessionAppend",
  stream: "s",
  partition: 0,
  session,
  sequence,
  records: [utf8(text)],
});

function at(chain: Chain, timeMs: bigint, signer: number, ...calls: readonly Call[]): string {
  chain.next = { timeMs };
  return chain.run(signer, ...calls).replace(/calls\[\d\]\./, "");
}

function appendsOf(chain: Chain, session = ID): readonly string[] {
  const bytes = chain.state.get(sessionKey("s", 0, session));
  return bytes === undefined
    ? ["none"]
    : ok(parseSession(bytes)).appends.map(({ sequence, firstIndex, count }) => `${sequence} at ${firstIndex}, ${count}`);
}

const sizeOf = (chain: Chain): bigint | undefined => partitionSize(chain.state, "s", 0);

t.test("a repetition is applied, appends nothing, and the row still says where the first one went", (t) => {
  const chain = chainOf();
  t.equal(at(chain, NOW_MS, OWNER, append(0n, "a")), "session_unknown session", "not opened");
  t.equal(at(chain, NOW_MS + 1n, OWNER, open(), append(0n, "a"), append(1n, "b")), "applied");
  t.equal(at(chain, NOW_MS + 2n, OWNER, { kind: "logAppend", stream: "s", partition: 0, records: [utf8("x")] }), "applied");
  t.equal(at(chain, NOW_MS + 3n, OWNER, append(1n, "b")), "applied");
  t.equal(at(chain, NOW_MS + 4n, OWNER, append(0n, "a"), append(2n, "c")), "applied");
  t.equal(sizeOf(chain), 4n);
  t.same(appendsOf(chain), ["0 at 0, 1", "1 at 1, 1", "2 at 3, 1"]);
  t.equal(at(chain, NOW_MS + 5n, OWNER, append(1n, "other")), "session_conflict records", "it was another append");
  t.equal(at(chain, NOW_MS + 6n, OWNER, append(4n, "e")), "session_gap sequence");
  t.equal(sizeOf(chain), 4n);
  t.end();
});

t.test("a transaction that fails leaves its session where it was", (t) => {
  const chain = chainOf();
  t.equal(at(chain, NOW_MS, OWNER, open(), append(0n, "a"), append(2n, "c")), "session_gap sequence");
  t.same(appendsOf(chain), ["none"]);
  t.equal(sizeOf(chain), undefined, "not even the partition is there");
  t.equal(at(chain, NOW_MS + 1n, OWNER, open()), "applied");
  t.equal(sizeOf(chain), 0n);
  t.equal(
    at(chain, NOW_MS + 2n, OWNER, append(0n, "a"), append(0n, "a"), append(1n, "b")),
    "applied",
    "twice in one transaction",
  );
  t.equal(sizeOf(chain), 2n);
  t.end();
});

t.test("only as many appends are remembered as may be on their way, and older ones are still not appended again", (t) => {
  const chain = chainOf();
  t.equal(at(chain, NOW_MS, OWNER, open()), "applied");
  const calls = Array.from({ length: SESSION_WINDOW + 1 }, (_, index) => append(BigInt(index), `r${index}`));
  t.equal(at(chain, NOW_MS + 1n, OWNER, ...calls), "applied");
  t.equal(appendsOf(chain).length, SESSION_WINDOW);
  t.equal(at(chain, NOW_MS + 2n, OWNER, append(1n, "r1")), "applied", "the oldest that is remembered");
  t.equal(at(chain, NOW_MS + 3n, OWNER, append(0n, "r0")), "session_old sequence");
  t.equal(sizeOf(chain), BigInt(SESSION_WINDOW + 1));
  t.end();
});

t.test("a session ends by block time after its last append, and its id is spent", (t) => {
  const chain = chainOf();
  t.equal(at(chain, NOW_MS, OWNER, open(), append(0n, "a")), "applied");
  const later = NOW_MS + SESSION_MS - 1n;
  t.equal(at(chain, later, OWNER, append(1n, "b")), "applied", "the last moment, which makes it last longer");
  t.equal(at(chain, later + SESSION_MS, OWNER, append(1n, "b")), "session_unknown session", "over: also for a repetition");
  t.equal(at(chain, later + SESSION_MS + 1n, OWNER, open()), "session_spent session");
  t.equal(at(chain, later + SESSION_MS + 2n, OWNER, open(ID - 1n)), "session_spent session", "nor any older id");
  t.equal(at(chain, later + SESSION_MS + 3n, OWNER, open(ID + 1n), append(0n, "c", ID + 1n)), "applied");
  t.same(appendsOf(chain), ["none"], "its row is gone");
  t.equal(
    at(chain, later + SESSION_MS + 4n, OWNER, open(ID + 1n), append(0n, "c", ID + 1n)),
    "applied",
    "opening again is no new one",
  );
  t.equal(sizeOf(chain), 3n);
  t.end();
});

t.test("a session is of the partition's owner, and a partition has so many", (t) => {
  const chain = chainOf();
  t.equal(at(chain, NOW_MS, OWNER, open(), append(0n, "a")), "applied");
  t.equal(at(chain, NOW_MS + 1n, STRANGER, open(ID + 1n)), "partition_not_owner partition");
  t.equal(at(chain, NOW_MS + 2n, STRANGER, append(0n, "a")), "partition_not_owner partition", "nor may it repeat");
  const others = Array.from({ length: SESSIONS_MAX - 1 }, (_, index) => open(ID + 1n + BigInt(index)));
  t.equal(at(chain, NOW_MS + 3n, OWNER, ...others), "applied");
  t.equal(at(chain, NOW_MS + 4n, OWNER, open(1000n)), "session_many session");
  t.equal(at(chain, NOW_MS + SESSION_MS, OWNER, open(1000n)), "applied", "the first one has ended");
  const row = ok(parseSessions(chain.state.get(sessionsKey("s", 0)) ?? new Uint8Array()));
  t.same([row.floor, row.open.length], [ID, SESSIONS_MAX]);
  t.end();
});

t.test("however producers repeat, lose and reorder what they send, the log holds each append once and in order", async (t) => {
  let repeats = 0;
  const send = fc.record({ session: fc.constantFrom(1n, 2n), back: fc.oneof(fc.constant(0), fc.integer({ min: -1, max: 3 })) });
  const property = fc.property(fc.array(send, { minLength: 10, maxLength: 40 }), (sends) => {
    const chain = chainOf();
    at(chain, NOW_MS, OWNER, open(1n), open(2n));
    const done = new Map<bigint, bigint>([
      [1n, 0n],
      [2n, 0n],
    ]);
    const log: string[] = [];
    let nowMs = NOW_MS;
    for (const { session, back } of sends) {
      nowMs += 1n;
      const next = done.get(session) ?? 0n;
      const sequence = next - BigInt(back) < 0n ? 0n : next - BigInt(back);
      chain.next = { timeMs: nowMs };
      const { results, appends } = chain.block([chain.sign(OWNER, [append(sequence, `${session}-${sequence}`, session)])]);
      log.push(...appends.flatMap(({ records }) => records.map((record) => toHex(ok(parseRecord(record)).data))));
      if (results[0]?.kind === "applied" && sequence === next) done.set(session, next + 1n);
      if (results[0]?.kind === "applied" && sequence < next) repeats += 1;
      if ((results[0]?.kind === "applied") !== sequence <= next) return false;
    }
    return [...done].every(([session, count]) => {
      const own = log.filter((data) => data.startsWith(toHex(utf8(`${session}-`))));
      return own.join() === Array.from({ length: Number(count) }, (_, index) => toHex(utf8(`${session}-${index}`))).join();
    });
  });
  await checkProperty(t, "once", property, 40);
  t.ok(repeats > 20, `${repeats} repetitions`);
});

t.test("the rows of sessions decode strictly", async (t) => {
  const time = fc.bigInt(0n, 8_640_000_000_000_000n);
  const opened = fc
    .uniqueArray(amountArbitrary, { maxLength: 5 })
    .chain((ids) =>
      fc
        .array(time, { minLength: ids.length, maxLength: ids.length })
        .map((times) =>
          ids.toSorted((a, b) => (a < b ? -1 : 1)).map((session, index) => ({ session, endMs: times[index] ?? 0n })),
        ),
    );
  const sessions = fc.record({ floor: amountArbitrary, open: opened });
  await checkDecoder(t, "sessions", { valid: sessions.map(encodeSessions), decode: parseSessions, encode: encodeSessions });
  const one: fc.Arbitrary<SessionAppend> = fc.record({
    sequence: amountArbitrary,
    firstIndex: amountArbitrary,
    count: fc.nat(1024),
    digest: hashArbitrary,
  });
  const session = fc.record({ next: amountArbitrary, appends: fc.array(one, { maxLength: SESSION_WINDOW }) });
  await checkDecoder(t, "session", { valid: session.map(encodeSession), decode: parseSession, encode: encodeSession });
});
