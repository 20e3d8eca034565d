/** Keys, rows and the overlay: what the executor writes, and what a client reads from a proof. */

import fc from "fast-check";
import t from "tap";
import { assert } from "../../crypto/base/assert.ts";
import { bytesEqual, compareBytes, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { nodeNumberOf } from "../../crypto/id/scarab.ts";
import { checkDecoder, checkProperty } from "../../crypto/testing/property.ts";
import { addressOf, addressOfKey } from "../../crypto/identity/address.ts";
import { keyPairAt } from "../block/testing/fixtures.ts";
import { addressArbitrary, amountArbitrary, heightArbitrary, nameArbitrary } from "../block/testing/arbitrary.ts";
import {
  accountKey,
  accountRange,
  attendanceKey,
  authorityKey,
  blockTimeKey,
  candidatesKey,
  delegationKey,
  delegationRange,
  type KeyRange,
  misbehaviourKey,
  offenceKey,
  nodeNumberKey,
  numberOfKey,
  offencesKey,
  parametersKey,
  parseStateKey,
  partitionKey,
  partitionRange,
  poolKey,
  poolRange,
  erasedKey,
  prioritiesKey,
  segmentKey,
  streamKey,
  rewardsKey,
  sessionKey,
  sessionsKey,
  rowKey,
  rowRange,
  STATE_KEY_SIZE_BYTES_MAX,
  type StateKey,
  stakeKeyKey,
  stakeTotalsKey,
  supplyKey,
  tableKey,
  tableRange,
  tombstoneKey,
  unbondingKey,
  unbondingRange,
  validatorsKey,
  votersKey,
} from "./keys.ts";
import { Overlay } from "./overlay.ts";
import {
  encodeAttendance,
  encodeBlockTime,
  encodeDelegation,
  encodeOffence,
  encodeOffences,
  encodePool,
  encodeStakeKey,
  encodeStakeTotals,
  encodeStandings,
  encodeUnbonding,
  parseAttendance,
  parseBlockTime,
  parseDelegation,
  parseOffence,
  parseOffences,
  parsePool,
  parseStakeKey,
  parseStakeTotals,
  parseStandings,
  parseUnbonding,
} from "./stake.ts";
import {
  appendRecords,
  emptyPartition,
  encodePartitionHead,
  encodeStream,
  parsePartitionHead,
  parseStream,
  SEGMENT_RULES_DEFAULT,
} from "./partition.ts";
import {
  encodeAccount,
  encodeActedAt,
  encodeAuthority,
  encodeRewards,
  encodeSupply,
  encodeTable,
  ownRow,
  parseAccount,
  parseActedAt,
  parseAuthority,
  parseRewards,
  parseSupply,
  parseTable,
} from "./rows.ts";

const shortName = fc.constantFrom("a", "b", "a.b", "ab", "a-", "0", "a".repeat(64));
const anyName = fc.oneof(shortName, nameArbitrary);
const which = fc.constantFrom("current" as const, "next" as const);
const keyArbitrary: fc.Arbitrary<StateKey> = fc.oneof(
  fc.record({ kind: fc.constant("account" as const), address: addressArbitrary }),
  fc.record({ kind: fc.constant("table" as const), namespace: anyName, table: anyName }),
  fc.record({
    kind: fc.constant("row" as const),
    namespace: anyName,
    table: anyName,
    key: fc.uint8Array({ minLength: 1, maxLength: 256 }),
  }),
  fc.record({ kind: fc.constant("partition" as const), stream: anyName, partition: fc.nat(65_535) }),
  fc.record({ kind: fc.constant("stream" as const), stream: anyName }),
  fc.record({ kind: fc.constant("segment" as const), stream: anyName, partition: fc.nat(65_535), number: amountArbitrary }),
  fc.record({ kind: fc.constant("erased" as const), stream: anyName, partition: fc.nat(65_535), index: amountArbitrary }),
  fc.record({ kind: fc.constant("validators" as const), which }),
  fc.record({ kind: fc.constant("priorities" as const), which }),
  fc.constant({ kind: "authority" as const }),
  fc.constant({ kind: "parameters" as const }),
  fc.record({ kind: fc.constant("misbehaviour" as const), address: addressArbitrary, height: heightArbitrary }),
  fc.record({ kind: fc.constant("tombstone" as const), address: addressArbitrary }),
  fc.record({ kind: fc.constant("rewards" as const), address: addressArbitrary }),
  fc.record({ kind: fc.constantFrom("supply", "stakeTotals", "candidates", "voters", "offences") }),
  fc.record({ kind: fc.constantFrom("pool", "stakeKey", "attendance", "offence"), address: addressArbitrary }),
  fc.record({ kind: fc.constant("delegation" as const), validator: addressArbitrary, delegator: addressArbitrary }),
  fc.record({ kind: fc.constant("unbonding" as const), index: amountArbitrary }),
  fc.record({ kind: fc.constant("blockTime" as const), height: heightArbitrary }),
  fc.record({ kind: fc.constant("nodeNumber" as const), number: fc.nat(1023).map(nodeNumberOf) }),
  fc.record({ kind: fc.constant("sessions" as const), stream: anyName, partition: fc.nat(65_535) }),
  fc.record({ kind: fc.constant("session" as const), stream: anyName, partition: fc.nat(65_535), session: amountArbitrary }),
  fc.record({ kind: fc.constant("numberOf" as const), address: addressArbitrary }),
);

const FIRST = addressOfKey(keyPairAt(0).publicKey);

function bytesOf(key: StateKey): Uint8Array {
  switch (key.kind) {
    case "account":
      return accountKey(key.address);
    case "table":
      return tableKey(key.namespace, key.table);
    case "row":
      return rowKey(key.namespace, key.table, key.key);
    case "partition":
      return partitionKey(key.stream, key.partition);
    case "stream":
      return streamKey(key.stream);
    case "segment":
      return segmentKey(key.stream, key.partition, key.number);
    case "erased":
      return erasedKey(key.stream, key.partition, key.index);
    case "validators":
      return validatorsKey(key.which);
    case "priorities":
      return prioritiesKey(key.which);
    case "authority":
      return authorityKey();
    case "parameters":
      return parametersKey();
    case "misbehaviour":
      return misbehaviourKey(key.address, key.height);
    case "tombstone":
      return tombstoneKey(key.address);
    case "rewards":
      return rewardsKey(key.address);
    case "supply":
      return supplyKey();
    case "stakeTotals":
      return stakeTotalsKey();
    case "candidates":
      return candidatesKey();
    case "voters":
      return votersKey();
    case "offences":
      return offencesKey();
    case "pool":
      return poolKey(key.address);
    case "stakeKey":
      return stakeKeyKey(key.address);
    case "attendance":
      return attendanceKey(key.address);
    case "offence":
      return offenceKey(key.address);
    case "delegation":
      return delegationKey(key.validator, key.delegator);
    case "unbonding":
      return unbondingKey(key.index);
    case "blockTime":
      return blockTimeKey(key.height);
    case "nodeNumber":
      return nodeNumberKey(key.number);
    case "sessions":
      return sessionsKey(key.stream, key.partition);
    case "session":
      return sessionKey(key.stream, key.partition, key.session);
    case "numberOf":
      return numberOfKey(key.address);
  }
}

function isIn(range: KeyRange, key: Uint8Array): boolean {
  return compareBytes(range.from, key) <= 0 && compareBytes(key, range.to) < 0;
}

t.test("every key is read back as what it names, and other bytes as nothing", async (t) => {
  const decode = (bytes: Uint8Array) => {
    const key = parseStateKey(bytes);
    return key === undefined ? ({ ok: false, error: { code: "key_invalid" } } as const) : ({ ok: true, value: key } as const);
  };
  await checkDecoder(t, "state key", { valid: keyArbitrary.map(bytesOf), decode, encode: bytesOf }, 1500);
  await checkProperty(
    t,
    "sizes",
    fc.property(keyArbitrary, (key) => bytesOf(key).length <= STATE_KEY_SIZE_BYTES_MAX),
  );
  t.equal(rowKey("n".repeat(64), "t".repeat(64), new Uint8Array(256)).length, STATE_KEY_SIZE_BYTES_MAX, "the largest");
});

t.test("a range holds exactly the keys of its table, namespace, stream or kind", async (t) => {
  await checkProperty(
    t,
    "ranges",
    fc.property(keyArbitrary, shortName, shortName, (key, first, second) => {
      const bytes = bytesOf(key);
      const isRow = key.kind === "row" && key.namespace === first && key.table === second;
      assert(isIn(rowRange(first, second), bytes) === isRow, "rows of a table");
      assert(isIn(tableRange(first), bytes) === (key.kind === "table" && key.namespace === first), "tables of a namespace");
      assert(isIn(tableRange(), bytes) === (key.kind === "table"), "tables");
      assert(isIn(partitionRange(first), bytes) === (key.kind === "partition" && key.stream === first), "partitions of a stream");
      assert(isIn(partitionRange(), bytes) === (key.kind === "partition"), "partitions");
      assert(isIn(poolRange(), bytes) === (key.kind === "pool"), "pools");
      assert(isIn(unbondingRange(), bytes) === (key.kind === "unbonding"), "the queue");
      const isOfFirst = key.kind === "delegation" && bytesEqual(key.validator, FIRST);
      assert(isIn(delegationRange(FIRST), bytes) === isOfFirst, "delegations to a validator");
      return isIn(accountRange(), bytes) === (key.kind === "account");
    }),
    500,
  );
  const part = rowRange("a", "b", utf8("k2"), utf8("k4"));
  t.same(
    ["k1", "k2", "k3", "k4"].map((name) => isIn(part, rowKey("a", "b", utf8(name)))),
    [false, true, true, false],
  );
});

t.test("every row value refuses damaged bytes or gives back what they encode", async (t) => {
  const account = fc.record({ balance: amountArbitrary, nonce: amountArbitrary }).map(encodeAccount);
  await checkDecoder(t, "account", { valid: account, decode: parseAccount, encode: encodeAccount });
  const table = addressArbitrary.map((owner) => encodeTable({ owner }));
  await checkDecoder(t, "table", { valid: table, decode: parseTable, encode: encodeTable });
  const head = fc.tuple(addressArbitrary, fc.array(fc.uint8Array({ maxLength: 4 }), { maxLength: 9 })).map(([owner, records]) => {
    const rules = { ...SEGMENT_RULES_DEFAULT, segmentSizeBytes: 8 };
    const append = { stream: "s", partition: 0, records, timeMs: 5n, ...rules };
    return encodePartitionHead(appendRecords(emptyPartition(owner), append).head);
  });
  await checkDecoder(t, "partition head", { valid: head, decode: parsePartitionHead, encode: encodePartitionHead });
  const stream = fc
    .record({
      owner: addressArbitrary,
      partitions: fc.nat(65_536),
      isOpen: fc.boolean(),
      segmentSizeBytes: fc.nat(),
      segmentAgeMs: amountArbitrary,
      retentionMs: fc.option(amountArbitrary, { nil: undefined }),
      compactionMs: fc.option(amountArbitrary, { nil: undefined }),
    })
    .map(encodeStream);
  await checkDecoder(t, "stream", { valid: stream, decode: parseStream, encode: encodeStream });
  await checkDecoder(t, "authority", {
    valid: addressArbitrary.map(encodeAuthority),
    decode: parseAuthority,
    encode: encodeAuthority,
  });
  await checkDecoder(t, "rewards", { valid: amountArbitrary.map(encodeRewards), decode: parseRewards, encode: encodeRewards });
  const supply = fc.record({ total: amountArbitrary, minted: amountArbitrary, burned: amountArbitrary }).map(encodeSupply);
  await checkDecoder(t, "supply", { valid: supply, decode: parseSupply, encode: encodeSupply });
  await checkDecoder(t, "acted at", { valid: heightArbitrary.map(encodeActedAt), decode: parseActedAt, encode: encodeActedAt });
});

t.test("a row of our own that does not decode stops the node", (t) => {
  t.throws(() => ownRow(parseAccount(Uint8Array.of(0x80)), "account"), { code: "state_corrupt" });
  t.same(ownRow(parseAccount(encodeAccount({ balance: 1n, nonce: 2n })), "account"), { balance: 1n, nonce: 2n });
  t.end();
});

t.test("every row of stake refuses damaged bytes or gives back what it encodes", async (t) => {
  const bps = fc.nat(10_000);
  const time = fc.bigInt(0n, 8_640_000_000_000_000n);
  const rewardPerShare = fc.oneof(fc.bigInt(0n, 1n << 70n), fc.bigInt(0n, (1n << 256n) - 1n));
  const pool = fc.record({
    operator: addressArbitrary,
    commissionBps: bps,
    commissionStepBpsMax: bps,
    commissionChangedMs: time,
    jailedUntilMs: fc.option(time, { nil: undefined }),
    tokens: amountArbitrary,
    shares: amountArbitrary,
    unbonding: amountArbitrary,
    rewards: amountArbitrary,
    commission: amountArbitrary,
    rewardPerShare,
  });
  await checkDecoder(t, "pool", { valid: pool.map(encodePool), decode: parsePool, encode: encodePool });
  const key = fc.constantFrom(keyPairAt(1).publicKey, keyPairAt(1, "hybrid").publicKey);
  await checkDecoder(t, "stake key", { valid: key.map(encodeStakeKey), decode: parseStakeKey, encode: encodeStakeKey });
  const delegation = fc.record({ shares: amountArbitrary, rewardPerShare }).map(encodeDelegation);
  await checkDecoder(t, "delegation", { valid: delegation, decode: parseDelegation, encode: encodeDelegation });
  const totals = fc.record({ bonded: amountArbitrary, unbonding: amountArbitrary, first: amountArbitrary, end: amountArbitrary });
  await checkDecoder(t, "totals", {
    valid: totals.map(encodeStakeTotals),
    decode: parseStakeTotals,
    encode: encodeStakeTotals,
  });
  const unbonding = fc
    .record({
      validator: addressArbitrary,
      delegator: addressArbitrary,
      amount: amountArbitrary,
      height: heightArbitrary,
      timeMs: time,
    })
    .map(encodeUnbonding);
  await checkDecoder(t, "unbonding", { valid: unbonding, decode: parseUnbonding, encode: encodeUnbonding });
  const standings = fc.array(fc.record({ address: addressArbitrary, power: amountArbitrary }), { maxLength: 5 });
  await checkDecoder(t, "standings", {
    valid: standings.map(encodeStandings),
    decode: parseStandings,
    encode: encodeStandings,
  });
  const attendance = fc.record({ missed: fc.nat(), bitmap: fc.uint8Array({ maxLength: 20 }) }).map(encodeAttendance);
  await checkDecoder(t, "attendance", { valid: attendance, decode: parseAttendance, encode: encodeAttendance });
  await checkDecoder(t, "block time", { valid: time.map(encodeBlockTime), decode: parseBlockTime, encode: encodeBlockTime });
  const offence = fc
    .record({
      at: heightArbitrary,
      height: heightArbitrary,
      slashBps: bps,
      reporter: fc.option(addressArbitrary, { nil: undefined }),
    })
    .map(encodeOffence);
  await checkDecoder(t, "offence", { valid: offence, decode: parseOffence, encode: encodeOffence });
  const offences = fc.array(fc.record({ timeMs: time, shareBps: bps }), { maxLength: 5 }).map(encodeOffences);
  await checkDecoder(t, "offences", { valid: offences, decode: parseOffences, encode: encodeOffences });
  t.notOk(parseStandings(encodeStandings(Array.from({ length: 257 }, () => ({ address: FIRST, power: 1n })))).ok, "one too many");
});

t.test("the keys of more tables than are remembered are each their own", async (t) => {
  const key = Uint8Array.of(1);
  for (const round of [1, 2]) {
    for (let index = 0; index < 3_000; index += 1) {
      const [namespace, table] = [`n${index % 7}`, `t${index}`];
      const parsed = [parseStateKey(tableKey(namespace, table)), parseStateKey(rowKey(namespace, table, key))];
      const isRight = parsed.every(
        (each) => each !== undefined && "table" in each && each.table === table && each.namespace === namespace,
      );
      if (!isRight) t.same(parsed, [], `round ${round}: ${namespace}/${table}`);
    }
  }
  const addresses = Array.from({ length: 3_000 }, (_, index) => addressOf(new Uint8Array(32).fill(index).fill(index >> 8, 0, 2)));
  t.ok(addresses.every((address) => bytesEqual(accountKey(address).subarray(1), address)));
});

type Event = {
  readonly kind: "get" | "put" | "delete" | "checkpoint" | "revert" | "settle";
  readonly key: number;
  readonly value: number;
};

t.test("an overlay reads what was written, goes back to any checkpoint, and lists exactly what changed", async (t) => {
  const event: fc.Arbitrary<Event> = fc.record({
    // Much is written that was never read, and reverted to what was not known either.
    kind: fc.constantFrom("get", "put", "delete", "put", "checkpoint", "revert", "settle"),
    key: fc.nat(5),
    value: fc.nat(255),
  });
  const base = new Map<string, Uint8Array>(
    [0, 1, 2].map((key) => [toHex(Uint8Array.of(0xf0, key)), Uint8Array.of(key)] as const),
  );
  // Every event is followed by a read, or only some are: then a write is not of what was known.
  const whenToRead = fc.constantFrom("always", "when asked");
  await checkProperty(
    t,
    "overlay",
    fc.property(fc.array(event, { maxLength: 40 }), whenToRead, (events, when) => {
      const overlay = new Overlay({ get: (key) => base.get(toHex(key)) });
      let model = new Map<string, Uint8Array>(base);
      let written = new Set<string>();
      const saved: { point: ReturnType<Overlay["checkpoint"]>; model: Map<string, Uint8Array>; written: Set<string> }[] = [];
      const isAsModel = (bytes: Uint8Array): boolean =>
        toHex(overlay.get(bytes) ?? new Uint8Array(0)) === toHex(model.get(toHex(bytes)) ?? new Uint8Array(0));
      for (const { kind, key, value } of events) {
        const bytes = Uint8Array.of(0xf0, key);
        if (kind === "put") {
          overlay.put(bytes, Uint8Array.of(value));
          model.set(toHex(bytes), Uint8Array.of(value));
          written.add(toHex(bytes));
        } else if (kind === "delete") {
          overlay.delete(bytes);
          model.delete(toHex(bytes));
          written.add(toHex(bytes));
        } else if (kind === "settle") {
          overlay.settle();
          saved.length = 0;
        } else if (kind === "checkpoint")
          saved.push({ point: overlay.checkpoint(), model: new Map(model), written: new Set(written) });
        else if (kind === "revert") {
          const last = saved.pop();
          if (last !== undefined) {
            overlay.revert(last.point);
            ({ model, written } = last);
          }
        }
        if (kind === "get" || when === "always") assert(isAsModel(bytes), "read");
      }
      for (let key = 0; key <= 5; key += 1) assert(isAsModel(Uint8Array.of(0xf0, key)), "read at last");
      const changes = overlay.changes();
      const expected = [...written].sort((a, b) => (a < b ? -1 : 1)).filter((name) => model.has(name) || base.has(name));
      assert(changes.map(({ key }) => toHex(key)).join() === expected.join(), "changed keys, sorted");
      return changes.every(({ key, value }) => {
        const now = model.get(toHex(key));
        return value === undefined ? now === undefined : now !== undefined && bytesEqual(now, value);
      });
    }),
    300,
  );
});
