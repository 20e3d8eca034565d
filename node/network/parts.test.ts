import { setImmediate as nextTurn } from "node:timers/promises";
import fc from "fast-check";
import { asCrypto, defaultCrypto } from "@libp2p/noise/crypto";
import t from "tap";
import { Uint8ArrayList } from "uint8arraylist";
import { SYSTEM_CLOCK } from "../ports/clock.ts";
import type { Stream } from "@libp2p/interface";
import { bytesEqual, concatBytes, EMPTY, u32, utf8 } from "../../crypto/base/bytes.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { hash } from "../../crypto/hash/hash.ts";
import { checkDecoder, checkProperty } from "../../crypto/testing/property.ts";
import { Batcher, encodeBatch, parseBatch } from "./batcher.ts";
import { Bucket } from "./bucket.ts";
import { BoundedDatastore } from "./datastore.ts";
import { findNoFrameCheaply, noiseCrypto } from "./cipher.ts";
import { gatherFrames, joinPieces } from "./encrypter.ts";
import { FrameReader } from "./frames.ts";
import { FrameWalk, messageId } from "./gossip.ts";
import { encodeHello, parseHello, ROLES, type Hello } from "./hello.ts";
import { LIMIT_TABLE, LIMITS, limitsWith } from "./limits.ts";
import { HeaderWalk } from "./muxer.ts";
import { OFFENCES, PeerBook } from "./peers.ts";
import { consumeLinearly } from "./pieces.ts";
import {
  encodeBlockAnswer,
  encodeSyncRequest,
  encodeSyncStatus,
  parseBlockAnswer,
  parseSyncRequest,
  parseSyncStatus,
  type SyncRequest,
} from "./sync.ts";
import { StandingClock } from "../ports/testing/clock.ts";
import { testLog } from "./testing/nodes.ts";

const height = fc.bigInt({ min: 0n, max: (1n << 63n) - 1n });
const bytes = fc.uint8Array({ minLength: 1, maxLength: 60 });

const hello: fc.Arbitrary<Hello> = fc.record({
  version: fc.nat(0xffff),
  networkHash: fc.uint8Array({ minLength: 4, maxLength: 4 }).map((seed) => hash("network", seed)),
  height,
  role: fc.constantFrom(...ROLES),
});

const syncRequest: fc.Arbitrary<SyncRequest> = fc.oneof(
  fc.constant({ kind: "status" } as const),
  fc.record({
    kind: fc.constant("blocks" as const),
    from: fc.bigInt({ min: 1n, max: (1n << 63n) - 1n }),
    count: fc.integer({ min: 1, max: LIMITS.syncWindowBlocksMax }),
  }),
);

t.test("every wire decoder refuses damaged bytes or reads exactly what they say", async (t) => {
  await checkDecoder(t, "hello", { valid: hello.map(encodeHello), decode: parseHello, encode: encodeHello });
  await checkDecoder(t, "sync request", {
    valid: syncRequest.map(encodeSyncRequest),
    decode: (raw) => parseSyncRequest(raw, LIMITS),
    encode: encodeSyncRequest,
  });
  await checkDecoder(t, "sync status", {
    valid: fc.record({ height, earliest: height }).map(encodeSyncStatus),
    decode: parseSyncStatus,
    encode: encodeSyncStatus,
  });
  await checkDecoder(t, "block answer", {
    valid: fc.record({ block: bytes, certificate: bytes }).map(encodeBlockAnswer),
    decode: parseBlockAnswer,
    encode: encodeBlockAnswer,
  });
  await checkDecoder(t, "batch", {
    valid: fc.array(bytes, { minLength: 1, maxLength: 6 }).map(encodeBatch),
    decode: parseBatch,
    encode: encodeBatch,
  });
});

t.test("decoders refuse what is well formed and out of range", async (t) => {
  const codeOf = (result: { readonly ok: boolean; readonly error?: { readonly code: string } }): string =>
    result.ok ? "accepted" : (result.error?.code ?? "");
  const networkHash = hash("network", utf8("x"));
  t.equal(codeOf(parseHello(encodeValue([1, networkHash, 1n << 63n, 0]))), "encoding_limit", "a height past 2^63");
  t.equal(codeOf(parseHello(encodeValue([1, networkHash, 1, ROLES.length]))), "encoding_limit", "a role that does not exist");
  t.equal(codeOf(parseHello(encodeValue([1, networkHash.slice(1), 1, 0]))), "encoding_limit", "a short hash");
  t.equal(codeOf(parseSyncRequest(encodeValue([1, 0, 1]), LIMITS)), "encoding_limit", "block 0 does not exist");
  t.equal(codeOf(parseSyncRequest(encodeValue([1, 1, 0]), LIMITS)), "encoding_limit", "no blocks at all");
  t.equal(
    codeOf(parseSyncRequest(encodeValue([1, 1, LIMITS.syncWindowBlocksMax + 1]), LIMITS)),
    "encoding_limit",
    "too many blocks",
  );
  t.equal(codeOf(parseSyncRequest(encodeValue([0, 1, 1]), LIMITS)), "encoding_limit", "a status with arguments");
  t.equal(codeOf(parseBatch(encodeValue([]))), "encoding_limit", "an empty batch");
  t.equal(codeOf(parseBatch(encodeValue([new Uint8Array(0)]))), "encoding_limit", "an empty item");
  t.equal(
    codeOf(parseBatch(encodeBatch(Array.from({ length: LIMITS.batchItemsMax + 1 }, () => Uint8Array.of(1))))),
    "encoding_limit",
    "too many items",
  );
  t.equal(
    codeOf(parseBatch(encodeBatch(Array.from({ length: LIMITS.batchItemsMax }, () => Uint8Array.of(1))))),
    "accepted",
    "just enough items",
  );
  t.equal(
    codeOf(parseBatch(encodeBatch([new Uint8Array(LIMITS.gossipTransactionsBytesMax)]))),
    "encoding_limit",
    "a batch over the message limit",
  );
});

/** What gossipsub would send: `varint length ‖ fields`. */
const varint = (value: number): number[] =>
  value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(Math.floor(value / 128))];
const rpc = fc
  .array(fc.tuple(fc.constantFrom(0x0a, 0x12, 0x1a), fc.uint8Array({ maxLength: 300 })), { maxLength: 5 })
  .map((fields) => {
    const body = fields.flatMap(([tag, value]) => [tag, ...varint(value.length), ...value]);
    return { bytes: Uint8Array.from([...varint(body.length), ...body]), items: fields.length + 1 };
  });

t.test("the gossip meter counts the same however the stream is cut, and finds what is not gossip", async (t) => {
  const cuts = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 });
  await checkProperty(
    t,
    "honest frames",
    fc.property(fc.array(rpc, { maxLength: 5 }), cuts, (frames, sizes) => {
      const stream = concatBytes(...frames.map((frame) => frame.bytes));
      const walk = new FrameWalk(100_000);
      let items = 0;
      for (let offset = 0, turn = 0; offset < stream.length; turn += 1) {
        const end = offset + (sizes[turn % sizes.length] as number);
        const seen = walk.walk(stream.subarray(offset, end));
        if ("offence" in seen) return false;
        items += seen.items;
        offset = end;
      }
      return items === frames.reduce((sum, frame) => sum + frame.items, 0);
    }),
  );
  await checkProperty(
    t,
    "any bytes at all",
    fc.property(fc.uint8Array({ maxLength: 300 }), (stream) => {
      new FrameWalk(1_000).walk(stream);
      return true;
    }),
  );
  t.same(new FrameWalk(1_000).walk(Uint8Array.from(varint(1_001))), { offence: "oversized" });
  t.same(new FrameWalk(1_000).walk(Uint8Array.from(varint(1_000))), { items: 1 });
  t.same(new FrameWalk(1_000).walk(Uint8Array.of(0x80, 0x80, 0x80, 0x80)), { offence: "oversized" }, "a length that never ends");
  t.same(new FrameWalk(1_000).walk(Uint8Array.of(4, 0x0b, 1, 0, 0)), { offence: "malformed" }, "another field");
  t.same(new FrameWalk(1_000).walk(Uint8Array.of(3, 0x0a, 2, 0)), { offence: "malformed" }, "a field that leaves its frame");
  t.same(new FrameWalk(1_000).walk(Uint8Array.of(1, 0x0a)), { offence: "malformed" }, "a field without its length");
});

t.test("the id of a message depends on its topic, so that nobody can spend it elsewhere first", async (t) => {
  const message = utf8("a vote");
  t.notSame(messageId("/a", message), messageId("/b", message));
  t.notSame(messageId("/a", utf8("b")), messageId("/ab", utf8("")), "topic and message do not run into each other");
  t.same(messageId("/a", message), messageId("/a", message));
  t.equal(messageId("/a", message).length, 20);
});

t.test("offences add up, decay, and lead to bans that expire and grow", async (t) => {
  let now = 1_000;
  const limits = limitsWith({ banMs: 1_000, banMsMax: 3_000, scoreHalfLifeMs: 10_000 });
  const book = new PeerBook(limits, () => now);
  t.equal(book.score("a"), 0);
  t.same(book.penalise("a", "flood"), { kind: "noted", score: -OFFENCES.flood.points });
  now += 10_000;
  t.equal(book.score("a"), -OFFENCES.flood.points / 2, "half is forgiven in a half-life");
  now += 200_000;
  t.equal(book.score("a"), 0, "and all of it in the end");
  t.equal(book.penalise("a", "malformed").kind, "noted");
  now += 1_000;
  t.same(book.penalise("a", "malformed"), { kind: "banned", untilMs: now + 1_000 });
  t.ok(book.isBanned("a"));
  t.notOk(book.isBanned("b"));
  now += 1_000;
  t.notOk(book.isBanned("a"), "over");
  t.ok(book.score("a") < 0 && book.score("a") > -limits.banPoints, "with something left to answer for");
  for (const expected of [2_000, 3_000, 3_000]) t.equal(book.ban("a") - now, expected, "longer each time, up to the limit");
  t.equal(book.ban("b", 50) - now, 50);
  for (const [name, { points, reason }] of Object.entries(OFFENCES))
    t.ok(points > 0 && points <= 100 && reason.length > 10, name);
});

t.test("the book of peers is bounded and forgets the least guilty first", async (t) => {
  let now = 0;
  const book = new PeerBook(limitsWith({ peersRememberedMax: 64 }), () => now);
  book.ban("banned", 1_000_000);
  for (let index = 0; index < 10; index += 1) book.penalise(`guilty ${index}`, "malformed");
  for (let index = 0; index < 1_000; index += 1) {
    now += 1;
    book.penalise(`passer-by ${index}`, "flood");
  }
  t.ok(book.size <= 64, `${book.size} remembered`);
  t.ok(book.isBanned("banned"));
  t.ok(book.score("guilty 3") < -50);
});

t.test("a bucket gives what it has, gains with time and never more than its burst", async (t) => {
  const bucket = new Bucket({ perSecond: 10, burst: 20 }, 0);
  t.equal(bucket.take(20, 0), true);
  t.equal(bucket.take(1, 0), false);
  t.equal(bucket.take(1, 100), true);
  t.equal(bucket.isFull(2_000), false);
  t.equal(bucket.isFull(2_200), true);
  t.equal(bucket.take(21, 100_000), false);
  t.equal(bucket.charge(40, 100_000), 2_000, "in debt: two seconds to pay it off");
  t.equal(bucket.take(0, 99_000), false, "time that goes back gives nothing");
});

t.test("batches hold what was added, in order, and leave when full or when their time has come", async (t) => {
  const batches: Uint8Array[][] = [];
  const limits = limitsWith({ batchBytesMax: 1_000, batchItemsMax: 50, batchDelayMs: 30, batchBusyItems: 51 });
  const publish = async (batch: Uint8Array): Promise<void> => {
    const parsed = parseBatch(batch, limits);
    if (parsed.ok) batches.push([...parsed.value]);
  };
  const clock = new StandingClock();
  const batcher = new Batcher(limits, { publish, clock, log: testLog });
  for (let index = 0; index < 10; index += 1) t.ok(batcher.add(new Uint8Array(10).fill(index)));
  t.equal(batches.length, 0, "waits for company");
  await clock.pass(0);
  t.equal(batches.length, 1);
  t.same(
    batches[0]?.map((item) => item[0]),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  );
  for (let index = 0; index < 120; index += 1) batcher.add(Uint8Array.of(index));
  await clock.pass(0);
  await clock.pass(29);
  t.same(
    batches.slice(1).map((batch) => batch.length),
    [50, 50],
    "fifty items are enough, and what is left of them waits for company",
  );
  await clock.pass(1);
  t.same(
    batches.slice(3).map((batch) => batch.length),
    [20],
  );
  batcher.add(new Uint8Array(900));
  batcher.add(new Uint8Array(900));
  batcher.add(new Uint8Array(5_000));
  await batcher[Symbol.asyncDispose]();
  t.same(
    batches.slice(4).map((batch) => batch.length),
    [1, 1, 1],
    "a thousand bytes are enough, and closing publishes the rest",
  );
  t.equal(batcher.add(Uint8Array.of(1)), false, "closed");
  t.equal(batcher.queuedBytes, 0);
});

t.test("what waits is flushed before whatever is published next, as far as the rate allows", async (t) => {
  const published: number[] = [];
  const limits = limitsWith({ batchBytesMax: 1_000, batchDelayMs: 30, batchBytesPerSecondMax: 3_000 });
  const clock = new StandingClock();
  const items: (readonly Uint8Array[])[] = [];
  const publish = async (_batch: Uint8Array, of: readonly Uint8Array[]): Promise<void> => {
    published.push(of.length);
    items.push(of);
  };
  await using batcher = new Batcher(limits, { publish, clock, log: testLog });
  await batcher.flush();
  t.same(published, [], "nothing waits");
  batcher.add(Uint8Array.of(0));
  await clock.pass(0);
  const [first, second] = [Uint8Array.of(1), Uint8Array.of(2)];
  t.ok([first, second, first].every((item) => batcher.add(item)));
  t.ok(batcher.holds(first));
  t.notOk(batcher.holds(Uint8Array.of(1)), "the same bytes in another object are another payload");
  await batcher.flush();
  t.same(items[1], [first, second], "the same payload waits once");
  t.notOk(batcher.holds(first));
  await clock.pass(30);
  t.same(published, [1, 2], "and nothing is left for the time that it would have gone at");
  for (let index = 0; index < 5; index += 1) batcher.add(new Uint8Array(900));
  await batcher.flush();
  t.same(published, [1, 2, 1, 1, 1, 1], "the fourth is over the rate, and the fifth waits until that is paid");
  t.equal(batcher.queuedBytes, 900);
  await clock.pass(1_000);
  await clock.pass(0);
  t.same(published, [1, 2, 1, 1, 1, 1, 1]);
});

t.test("under load a batch waits longer, and where there are few a time as long as ever", async (t) => {
  const sizes: number[] = [];
  const limits = limitsWith({ batchDelayMs: 30, batchBusyDelayMs: 90, batchBusyItems: 4 });
  const publish = async (batch: Uint8Array): Promise<void> => {
    const parsed = parseBatch(batch, limits);
    if (parsed.ok) sizes.push(parsed.value.length);
  };
  const clock = new StandingClock();
  await using batcher = new Batcher(limits, { publish, clock, log: testLog });
  /** Adds so many, and expects them to be published together after so long and no earlier. */
  const expectBatch = async (count: number, afterMs: number): Promise<void> => {
    const before = sizes.length;
    for (let index = 0; index < count; index += 1) batcher.add(Uint8Array.of(index));
    if (afterMs > 0) {
      await clock.pass(afterMs - 1);
      t.equal(sizes.length, before, `${count} wait for ${afterMs} ms`);
      await clock.pass(1);
    } else await clock.pass(0);
    t.same(sizes.slice(before), [count]);
  };
  await expectBatch(4, 0);
  // After a quiet while, however many come at once, that is no load.
  await expectBatch(4, 30);
  await expectBatch(12, 90);
  await expectBatch(11, 90);
  await expectBatch(1, 30);
  await expectBatch(3, 30);
  await expectBatch(1, 30);
});

t.test("a full batcher refuses, a failing publisher does not stop it", async (t) => {
  let published = 0;
  const limits = limitsWith({ batchBytesMax: 1_000, batchQueueBytesMax: 3_000, batchDelayMs: 5 });
  const publish = async (): Promise<void> => {
    published += 1;
    throw new Error("no peers");
  };
  await using batcher = new Batcher(limits, { publish, clock: SYSTEM_CLOCK, log: testLog });
  t.same(
    [1, 2, 3, 4].map(() => batcher.add(new Uint8Array(900))),
    [true, true, true, false],
  );
  for (let tries = 0; published < 3 && tries < 1_000; tries += 1) await new Promise((resolve) => setTimeout(resolve, 5));
  t.equal(published, 3);
  t.ok(batcher.add(new Uint8Array(900)), "room again");
});

t.test("what peers make us remember is bounded, and what is used stays", async (t) => {
  type Key = Parameters<BoundedDatastore["get"]>[0];
  // The store looks at no more of a key than its text.
  const key = (text: string): Key => ({ toString: () => text }) as Key;
  const store = new BoundedDatastore(100_000);
  store.put(key("/peers/self"), utf8("me"));
  for (let index = 0; index < 2_000; index += 1) {
    store.put(key(`/dht/provider/${index}`), new Uint8Array(100));
    t.equal(store.get(key("/peers/self")).length, 2, "used all the time");
    if (store.bytes > 100_000) t.fail(`${store.bytes} bytes`);
  }
  t.notOk(store.has(key("/dht/provider/0")));
  t.ok(store.has(key("/dht/provider/1999")));
  t.throws(() => store.get(key("/dht/provider/0")), { name: "NotFoundError" });
  t.same(
    [...store.query({ prefix: "/peers" })].map((pair) => pair.key.toString()),
    ["/peers/self"],
  );
  t.equal([...store.queryKeys({ prefix: "/dht", limit: 3 })].length, 3);
  const batch = store.batch();
  batch.put(key("/a"), new Uint8Array(1));
  batch.delete(key("/peers/self"));
  t.ok(store.has(key("/peers/self")), "not before the commit");
  await batch.commit();
  t.same([store.has(key("/a")), store.has(key("/peers/self"))], [true, false]);
});

t.test("every bound has a reason and a positive value, and bounds that contradict each other are refused", async (t) => {
  for (const [name, { value, reason }] of Object.entries(LIMIT_TABLE)) t.ok(value > 0 && reason.length > 15, name);
  t.equal(limitsWith({ banMs: 5 }).banMs, 5);
  t.throws(() => limitsWith({ streamWindowBytesMax: 8 << 20 }), { name: "AssertionError" });
  t.throws(() => limitsWith({ gossipConsensusBytesMax: LIMITS.gossipFrameBytesMax }), { name: "AssertionError" });
});

/** A stream that notes what is sent, as text. */
class NotingStream {
  status: "open" | "closed" | "aborted" = "open";
  writableNeedsDrain = false;
  readonly sent: string[][] = [];
  fault: Error | undefined;

  send(data: Uint8Array | Uint8ArrayList): boolean {
    if (this.status !== "open") throw new Error("cannot write to a stream that is closed");
    if (this.fault !== undefined) throw this.fault;
    const pieces = data instanceof Uint8Array ? [data] : [...data];
    this.sent.push(pieces.map((piece) => new TextDecoder().decode(piece)));
    return !this.writableNeedsDrain;
  }

  async close(): Promise<void> {
    this.status = "closed";
    await Promise.resolve();
  }

  abort(): void {
    this.status = "aborted";
  }
}

/** What a reader needs of a stream. */
class Pieces extends EventTarget {
  readStatus = "readable";

  pause(): void {
    this.readStatus = "paused";
  }

  resume(): void {
    this.readStatus = "readable";
  }

  feed(data: Uint8Array | Uint8ArrayList): void {
    this.dispatchEvent(Object.assign(new Event("message"), { data }));
  }
}

function readerOf(pieces: Pieces, frameBytesMax: number, totalBytesMax = 1 << 24): FrameReader {
  return new FrameReader(pieces as unknown as Stream, { frameBytesMax, totalBytesMax, stallMs: 60_000 });
}

/** What the processor has done for this process since then: what else it does, and how long it stands still, counts for nothing. */
function processorMs(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

t.test("frames are read as they were sent, however they are cut and joined on the way", async (t) => {
  const frames = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 });
  const cuts = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 10 });
  const never = new AbortController().signal;
  await checkProperty(
    t,
    "frames",
    fc.asyncProperty(frames, cuts, fc.nat(4), async (sent, sizes, joined) => {
      const stream = concatBytes(...sent.flatMap((frame) => [u32(frame.length), frame]));
      const pieces = new Pieces();
      const reader = readerOf(pieces, 40);
      const read: Uint8Array[] = [];
      const reading = (async () => {
        for (let frame = await reader.next(never); frame !== undefined; frame = await reader.next(never)) read.push(frame);
      })();
      for (let offset = 0, index = 0; offset < stream.length; index += 1) {
        const list = new Uint8ArrayList();
        for (let count = 0; count <= joined && offset < stream.length; count += 1) {
          const size = sizes[(index + count) % sizes.length] ?? 1;
          list.append(stream.subarray(offset, offset + size));
          offset += size;
        }
        pieces.feed(list);
        await new Promise(setImmediate);
      }
      pieces.dispatchEvent(new Event("end"));
      await reading;
      return read.length === sent.length && read.every((frame, index) => bytesEqual(frame, sent[index] ?? frame));
    }),
  );
});

t.test("a frame that comes byte by byte costs no more than one that comes at once", async (t) => {
  const sizeBytes = 131_072;
  const pieces = new Pieces();
  const reader = readerOf(pieces, sizeBytes);
  const frame = reader.next(AbortSignal.timeout(60_000));
  pieces.feed(u32(sizeBytes));
  for (let count = 1; count < sizeBytes; count += 1) pieces.feed(Uint8Array.of(1));
  const before = process.cpuUsage();
  // With the beginning of what comes after it.
  pieces.feed(Uint8Array.of(1, 0));
  t.equal((await frame)?.length, sizeBytes);
  t.ok(processorMs(before) < 1_000, "the thread is not held up");
});

t.test("bytes are taken off a list of pieces as from one array, at the cost of their number", async (t) => {
  consumeLinearly();
  const act = fc.oneof(
    fc.record({ kind: fc.constant("append" as const), pieces: fc.array(fc.uint8Array({ maxLength: 5 }), { maxLength: 100 }) }),
    fc.record({ kind: fc.constant("consume" as const), count: fc.integer({ min: -1, max: 300 }) }),
  );
  await checkProperty(
    t,
    "as one array",
    fc.property(fc.array(act, { maxLength: 12 }), (acts) => {
      const list = new Uint8ArrayList();
      let whole: Uint8Array = EMPTY;
      for (const each of acts) {
        if (each.kind === "append") {
          for (const piece of each.pieces) list.append(piece);
          whole = concatBytes(whole, ...each.pieces);
        } else {
          list.consume(each.count);
          whole = whole.slice(Math.max(0, each.count));
        }
        if (list.byteLength !== whole.length || !bytesEqual(list.slice(), whole)) return false;
      }
      return true;
    }),
  );
  for (const size of [1, 100_000]) {
    const list = new Uint8ArrayList();
    for (let count = 0; count < 200_000; count += 1) list.append(Uint8Array.of(1));
    const before = process.cpuUsage();
    while (list.byteLength > size) list.consume(size);
    t.ok(processorMs(before) < 1_000, `${size} bytes at a time`);
  }
});

t.test("a multiplexer's frame over the window is found by its header, however the stream is cut", async (t) => {
  const frame = (type: number, length: number, body = type === 0 ? length : 0): Uint8Array =>
    concatBytes(Uint8Array.of(0, type, 0, 1), u32(7), u32(length), new Uint8Array(body).fill(255));
  const frames = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.nat(100)), { maxLength: 8 });
  const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 });
  await checkProperty(
    t,
    "headers",
    fc.property(frames, cuts, fc.boolean(), (sent, sizes, isLast) => {
      // Other lengths than those of data are no lengths: of a window, say.
      const honest = sent.map(([type, length]) => frame(type, type === 0 ? length : length * 1_000));
      const stream = concatBytes(...honest, isLast ? frame(0, 101, 0) : EMPTY);
      const walk = new HeaderWalk(100);
      let isFine = true;
      for (let offset = 0, turn = 0; offset < stream.length; turn += 1) {
        const end = offset + (sizes[turn % sizes.length] ?? 1);
        isFine = walk.walk(stream.subarray(offset, end));
        if (!isFine && end < stream.length) return false;
        offset = end;
      }
      return isFine === !isLast;
    }),
  );
});

t.test("frames that are sent in one breath go together and in order, and what comes later goes later", async (t) => {
  const stream = new NotingStream();
  gatherFrames(stream, [stream]);
  stream.send(utf8("a"));
  stream.send(new Uint8ArrayList(utf8("b"), utf8("c")));
  await Promise.resolve();
  t.same(stream.sent, [], "not yet: others of this turn may have more");
  await nextTurn();
  t.same(stream.sent, [["a", "b", "c"]]);
  stream.send(utf8("d"));
  await nextTurn();
  t.same(stream.sent.slice(1), [["d"]]);
  stream.sent.length = 0;
  stream.send(utf8("f"));
  stream.send(new Uint8Array(64 * 1024));
  t.equal(stream.sent.length, 1, "what is large goes at once, and what came before it with it");
  await nextTurn();
  t.equal(stream.sent.length, 1, "and only once");
  stream.writableNeedsDrain = true;
  t.equal(stream.send(utf8("e")), false, "whoever sends is told when there is no room");
});

t.test("what was sent before a stream is closed still goes, and a stream that is over refuses at once", async (t) => {
  const stream = new NotingStream();
  gatherFrames(stream, [stream]);
  stream.send(utf8("last"));
  await stream.close();
  t.same(stream.sent, [["last"]]);
  t.throws(() => stream.send(utf8("late")), { message: /closed/ });
  const aborted = new NotingStream();
  const below = new NotingStream();
  gatherFrames(aborted, [aborted, below]);
  aborted.send(utf8("why"));
  below.abort();
  t.same(aborted.sent, [["why"]], "also when what it stands on is ended");
  aborted.abort();
  await nextTurn();
  t.same(aborted.sent, [["why"]]);
  const failing = new NotingStream();
  gatherFrames(failing, [failing]);
  failing.fault = new Error("no");
  failing.send(utf8("x"));
  await nextTurn();
  t.equal(failing.status, "aborted", "nobody would hear of it otherwise");
});

t.test("the pieces of one message are one write", (t) => {
  const stream = new NotingStream();
  joinPieces(stream);
  stream.send(new Uint8ArrayList(utf8("length "), utf8("bytes")));
  stream.send(utf8("alone"));
  t.same(stream.sent, [["length bytes"], ["alone"]]);
  t.end();
});

t.test("what our cipher seals, the library's opens, and the other way round; what is damaged is refused", async (t) => {
  const ours = noiseCrypto();
  const bytesOf = (data: Uint8Array | Uint8ArrayList): Uint8Array => Uint8Array.from(data.subarray());
  const key32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
  const nonce12 = fc.uint8Array({ minLength: 12, maxLength: 12 });
  // On both sides of every threshold, in one piece and in several.
  const message = fc.array(fc.uint8Array({ minLength: 1, maxLength: 900 }), { minLength: 1, maxLength: 4 });
  const sealed = fc.property(
    key32,
    nonce12,
    fc.uint8Array({ maxLength: 40 }),
    message,
    fc.nat(),
    (key, nonce, ad, pieces, damage) => {
      const plaintext = concatBytes(...pieces);
      const expected = bytesOf(asCrypto.chaCha20Poly1305Encrypt(plaintext, nonce, ad, key));
      t.same(bytesOf(defaultCrypto.chaCha20Poly1305Encrypt(plaintext, nonce, ad, key)), expected);
      t.same(bytesOf(ours.chaCha20Poly1305Encrypt(plaintext, nonce, ad, key)), expected);
      t.same(bytesOf(ours.chaCha20Poly1305Encrypt(new Uint8ArrayList(...pieces), nonce, ad, key)), expected);
      const open = (data: Uint8Array | Uint8ArrayList): Uint8Array =>
        bytesOf(ours.chaCha20Poly1305Decrypt(data, nonce, ad, key, new Uint8Array(plaintext.length)));
      t.same(open(Uint8Array.from(expected)), plaintext);
      t.same(open(new Uint8ArrayList(expected.slice(0, 9), expected.slice(9))), plaintext);
      const damaged = Uint8Array.from(expected);
      const at = damage % damaged.length;
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      t.throws(() => open(damaged));
    },
  );
  await checkProperty(t, "ciphers agree", sealed);
});

t.test("a decoder that has too few bytes for a length is told so without a new error, and reads every length as before", (t) => {
  const decoder = { lengthDecoder: (): number => -1 };
  findNoFrameCheaply({ decoder } as unknown as Stream);
  const read = (data: Uint8Array | Uint8ArrayList): number => (decoder.lengthDecoder as (data: unknown) => number)(data);
  t.equal(read(Uint8Array.of(0x12, 0x34, 9)), 0x1234);
  t.equal(read(new Uint8ArrayList(Uint8Array.of(0xff), Uint8Array.of(0xfe, 7))), 0xfffe);
  const thrown = [EMPTY, Uint8Array.of(1), new Uint8ArrayList()].map((data) => {
    try {
      return read(data);
    } catch (error) {
      return error;
    }
  });
  t.ok(thrown[0] instanceof RangeError, "what the decoder takes for `not yet`");
  t.equal(thrown[0], thrown[1]);
  t.equal(thrown[0], thrown[2]);
  const stranger = {};
  findNoFrameCheaply(stranger as unknown as Stream);
  t.same(stranger, {}, "another library's stream is left as it is");
  t.end();
});
