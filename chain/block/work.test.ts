/** Targets, seals and retargeting, against the numbers of the chains that they come from. */

import { createHash } from "node:crypto";
import fc from "fast-check";
import t from "tap";
import { fromHex, toHex } from "../../crypto/base/bytes.ts";
import { hash, hashOf } from "../../crypto/hash/hash.ts";
import { checkProperty } from "../../crypto/testing/property.ts";
import { readVectorJson } from "../../crypto/testing/vectors.ts";
import { heightOf } from "./height.ts";
import { PROTOCOL_DEFAULTS } from "./protocol.ts";
import { asertBits, expectedBits, medianTimePast, type RetargetRules, windowBits } from "./retarget.ts";
import { bitsOf, meetsTarget, sealHash, searchSeal, targetOf, WORK_END, workOf } from "./work.ts";

const BITS_MAX = 0x1d_00_ff_ff;

function targetIn(bits: number): bigint {
  const target = targetOf(bits);
  if (!target.ok) throw new Error(`${bits.toString(16)}: ${target.error.code}`);
  return target.value;
}

t.test("compact targets are read and written as Bitcoin Core's arith_uint256_tests have them", (t) => {
  const valid = [
    [0x01_12_34_56, 0x12n, 0x01_12_00_00],
    [0x02_12_34_56, 0x1234n, 0x02_12_34_00],
    [0x03_12_34_56, 0x12_34_56n, 0x03_12_34_56],
    [0x04_12_34_56, 0x12_34_56_00n, 0x04_12_34_56],
    [0x05_00_92_34, 0x92_34_00_00n, 0x05_00_92_34],
    [0x20_12_34_56, 0x12_34_56n << 232n, 0x20_12_34_56],
  ] as const;
  for (const [bits, target, canonical] of valid) {
    t.equal(targetIn(bits), target, bits.toString(16));
    t.equal(bitsOf(target), canonical);
  }
  t.equal(bitsOf(0x80n), 0x02_00_80_00, "a mantissa that would read as negative gets a byte more of exponent");
  const refused = [
    [0, "target_zero"],
    [0x00_12_34_56, "target_zero"],
    [0x01_00_34_56, "target_zero"],
    [0x02_00_00_56, "target_zero"],
    [0x04_00_00_00, "target_zero"],
    [0x00_92_34_56, "target_zero"],
    [0x01_80_34_56, "target_zero"],
    [0x04_80_00_00, "target_zero"],
    [0x01_fe_dc_ba, "target_negative"],
    [0x04_92_34_56, "target_negative"],
    [0xff_12_34_56, "target_overflow"],
    [0x23_00_00_01, "target_overflow"],
    [0x22_00_01_00, "target_overflow"],
    [0x21_01_00_00, "target_overflow"],
  ] as const;
  for (const [bits, code] of refused) t.same(targetOf(bits), { ok: false, error: { code } }, bits.toString(16));
  t.equal(targetIn(0x22_00_00_ff), 0xffn << 248n, "the nearest that fits");
  t.equal(targetIn(0x21_00_ff_ff), 0xff_ffn << 240n);
  t.end();
});

t.test("a target's compact form is never above it, and is its own compact form", async (t) => {
  const target = fc
    .tuple(fc.bigInt({ min: 1n, max: WORK_END - 1n }), fc.nat(255))
    .map(([value, shift]) => value >> BigInt(shift));
  await checkProperty(
    t,
    "bitsOf after targetOf",
    fc.property(target, (value) => {
      if (value === 0n) return true;
      const bits = bitsOf(value);
      const rounded = targetIn(bits);
      // A mantissa of 15 significant bits at least.
      return rounded <= value && bitsOf(rounded) === bits && (value - rounded) * 32_768n <= value;
    }),
    1000,
  );
});

t.test("every compact number is one target or one refusal", async (t) => {
  await checkProperty(
    t,
    "targetOf",
    fc.property(fc.integer({ min: 0, max: 0xff_ff_ff_ff }), (bits) => {
      const target = targetOf(bits);
      return target.ok ? target.value > 0n && target.value < WORK_END && targetIn(bitsOf(target.value)) === target.value : true;
    }),
    2000,
  );
});

t.test("a seal is the tagged hash of the header's hash and both nonces, and one more than the target is not met", (t) => {
  const header = hash("header", Uint8Array.of(1));
  const nonces = { extraNonce: 0x0102_0304_0506_0708n, nonce: 0xfffe_fdfc_fbfa_f9f8n };
  const body = fromHex(`${toHex(header)}0102030405060708fffefdfcfbfaf9f8`);
  const sealed = sealHash(header, nonces);
  t.equal(sealed, BigInt(`0x${toHex(hash("work", body))}`));
  t.ok(meetsTarget(header, nonces, sealed));
  t.notOk(meetsTarget(header, nonces, sealed - 1n));
  const others = [
    sealHash(header, { ...nonces, nonce: 0n }),
    sealHash(header, { ...nonces, extraNonce: 0n }),
    sealHash(header, { extraNonce: nonces.nonce, nonce: nonces.extraNonce }),
    sealHash(hash("header", Uint8Array.of(2)), nonces),
  ];
  t.equal(new Set([sealed, ...others]).size, 5, "each part counts");
  t.end();
});

t.test("a search finds the first nonce that seals, also beyond the end of 64 bits, and gives up after its count", (t) => {
  const headerHash = hash("header", Uint8Array.of(3));
  const target = WORK_END / 64n;
  const extraNonce = 5n;
  const last = (1n << 64n) - 1n;
  const first = last - 9n;
  const wrapped = Array.from({ length: 2000 }, (_, index) => BigInt.asUintN(64, first + BigInt(index)));
  const expected = wrapped.findIndex((nonce) => meetsTarget(headerHash, { extraNonce, nonce }, target));
  t.ok(expected >= 0, `after ${expected}`);
  const span = { headerHash, target, extraNonce, nonce: first };
  t.equal(searchSeal({ ...span, count: expected + 1 }), wrapped[expected]);
  t.equal(searchSeal({ ...span, count: expected }), undefined, "one short of it");
  t.end();
});

// Retargeting.

type AsertRun = {
  readonly run: number;
  readonly description: string;
  readonly anchorHeight: number;
  readonly anchorParentTime: number;
  readonly anchorBits: string;
  readonly blocks: readonly (readonly [height: number, time: number, bits: string])[];
};

t.test("aserti3-2d gives the public targets, and in milliseconds the same as in seconds", (t) => {
  const { runs } = readVectorJson<{ readonly runs: readonly AsertRun[] }>("asert/aserti3-2d.json");
  let compared = 0;
  for (const { run, description, anchorHeight, anchorParentTime, anchorBits, blocks } of runs) {
    const differing: unknown[] = [];
    for (const [height, time, bits] of blocks) {
      for (const unit of [1n, 1000n]) {
        const given = asertBits({
          anchorHeight: BigInt(anchorHeight),
          anchorParentTime: BigInt(anchorParentTime) * unit,
          anchorBits: Number(anchorBits),
          height: BigInt(height),
          time: BigInt(time) * unit,
          interval: 600n * unit,
          halfLife: 172_800n * unit,
          targetMax: targetIn(BITS_MAX),
        });
        compared += 1;
        if (given !== Number(bits)) differing.push({ height, unit, given: given.toString(16), bits });
      }
    }
    t.same(differing, [], `run ${run}: ${description}`);
  }
  t.equal(compared, 2 * (10 + 10 + 10 + 225 + 225 + 1000));
  t.end();
});

t.test("aserti3-2d stays within its bounds, whatever the times", (t) => {
  const question = {
    anchorHeight: 1n,
    anchorParentTime: 0n,
    anchorBits: 0x1a_2b_3c_4d,
    interval: 600n,
    halfLife: 1n,
    targetMax: targetIn(BITS_MAX),
  };
  t.equal(asertBits({ ...question, height: 1n, time: 1n << 53n }), BITS_MAX);
  t.equal(asertBits({ ...question, height: 1n << 62n, time: 0n }), 0x01_01_00_00, "one is the hardest");
  t.end();
});

type RetargetCase = {
  readonly firstTime: number;
  readonly lastTime: number;
  readonly bits: string;
  readonly next: string;
};

t.test("the 2016-block window gives Bitcoin's targets", (t) => {
  const { cases } = readVectorJson<{ readonly cases: readonly RetargetCase[] }>("btc-retarget/btc-retarget-core.json");
  t.equal(cases.length, 4);
  for (const { firstTime, lastTime, bits, next } of cases) {
    const question = {
      bits: Number.parseInt(bits, 16),
      firstTime: BigInt(firstTime),
      lastTime: BigInt(lastTime),
      expected: 14n * 86_400n,
      targetMax: targetIn(BITS_MAX),
    };
    t.equal(windowBits(question).toString(16), next);
    const inMs = {
      firstTime: question.firstTime * 1000n,
      lastTime: question.lastTime * 1000n,
      expected: question.expected * 1000n,
    };
    t.equal(windowBits({ ...question, ...inMs }).toString(16), next, "in milliseconds");
  }
  t.end();
});

t.test("nine thousand headers of Bitcoin link, meet the targets we reckon, come after the median time, and add up", (t) => {
  const headers = readVectorJson<readonly string[]>("btc-headers/chain-test/src/test/resources/block_headers.json").map(fromHex);
  t.equal(headers.length, 9000);
  const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash("sha256").update(bytes).digest());
  const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const times = headers.map((header) => BigInt(viewOf(header).getUint32(68, true)));
  const faults: string[] = [];
  let chainWork = 0n;
  let backwards = 0;
  let previous: Uint8Array = new Uint8Array(32);
  for (const [height, header] of headers.entries()) {
    const bits = viewOf(header).getUint32(72, true);
    const digest = sha256(sha256(header));
    if (toHex(header.subarray(4, 36)) !== toHex(previous)) faults.push(`${height} does not link`);
    if (BigInt(`0x${toHex(digest.toReversed())}`) > targetIn(bits)) faults.push(`${height} misses its target`);
    const past = times.slice(0, height);
    const time = times[height] ?? 0n;
    if (height > 0 && time <= medianTimePast(past)) faults.push(`${height} is not after the median`);
    if (time < (past.at(-1) ?? 0n)) backwards += 1;
    if (height > 0 && height % 2016 === 0) {
      const span = { firstTime: times[height - 2016] ?? 0n, lastTime: times[height - 1] ?? 0n, expected: 14n * 86_400n };
      const reckoned = windowBits({ bits: BITS_MAX, ...span, targetMax: targetIn(BITS_MAX) });
      if (reckoned !== bits) faults.push(`${height} has ${bits.toString(16)}, not ${reckoned.toString(16)}`);
    }
    chainWork += workOf(targetIn(bits));
    previous = digest;
  }
  t.same(faults, []);
  t.ok(backwards > 0, `${backwards} times go backwards: only the median holds them`);
  // At the first difficulty a block is 2^256 / (0xffff * 2^208 + 1) hashes, rounded down.
  t.equal(chainWork, 9000n * 0x1_00_01_00_01n);
  t.end();
});

t.test("the median of eleven times is the sixth, and one liar of ten does not move it beyond the honest", (t) => {
  const times = Array.from({ length: 20 }, (_, index) => BigInt(index * 10));
  t.equal(medianTimePast(times), 140n, "of the newest eleven: 90 to 190");
  t.equal(medianTimePast([5n]), 5n);
  t.equal(medianTimePast([1n, 9n]), 9n);
  t.equal(medianTimePast([...times.slice(0, -1), 1_000_000n]), 140n);
  t.end();
});

// What a chain expects.

const rules = (changed: Partial<RetargetRules["protocol"]> = {}): RetargetRules => ({
  protocol: { ...PROTOCOL_DEFAULTS.pow, targetIntervalMs: 10_000, halfLifeMs: 600_000, retargetWindow: 10, ...changed },
  genesisTimeMs: 1_000_000n,
});
const never = (): bigint => {
  throw new Error("no time was needed");
};

t.test("the first block has the first target, and a chain on schedule keeps it", (t) => {
  for (const retarget of ["asert", "window"] as const) {
    // The canonical form of a compact number that has another one.
    const first = rules({ retarget, targetBitsMax: 0x1e_00_ff_ff });
    const genesis = { height: heightOf(0n), timeMs: first.genesisTimeMs, bits: 0x1e_00_ff_ff };
    t.equal(expectedBits(first, genesis, never), 0x1e_00_ff_ff, retarget);
    for (let height = 1n; height <= 25n; height += 1n) {
      const parent = { height: heightOf(height), timeMs: 1_000_000n + height * 10_000n, bits: 0x1e_00_ff_ff };
      t.equal(
        expectedBits(first, parent, (at) => 1_000_000n + at * 10_000n),
        0x1e_00_ff_ff,
        `${retarget} after ${height}`,
      );
    }
  }
  t.end();
});

t.test("fast blocks make it harder and slow ones easier: U15 had it the other way round", (t) => {
  const after = (retarget: "asert" | "window", intervalMs: bigint): number => {
    const parent = { height: heightOf(10n), timeMs: 1_000_000n + 10n * intervalMs, bits: 0x1d_00_ff_ff };
    // Ten blocks before, the target was the same: for `asert` it follows from the schedule alone.
    return expectedBits(rules({ retarget, halfLifeMs: 50_000 }), parent, (at) => {
      t.equal(at, 0n, "asks for the beginning of the window");
      return 1_000_000n;
    });
  };
  for (const retarget of ["asert", "window"] as const) {
    const fast = targetIn(after(retarget, 5_000n));
    const even = targetIn(after(retarget, 10_000n));
    t.equal(fast * 2n, even, `${retarget}: twice as fast, half the target`);
  }
  t.equal(targetIn(after("window", 20_000n)), 2n * targetIn(after("window", 10_000n)), "twice as slow, twice the target");
  t.equal(targetIn(after("window", 1n)) * 4n, targetIn(after("window", 10_000n)), "at most four times harder");
  t.equal(targetIn(after("window", 1_000_000n)), 4n * targetIn(after("window", 10_000n)), "at most four times easier");
  t.equal(after("asert", 1_000_000n), PROTOCOL_DEFAULTS.pow.targetBitsMax, "and never easier than the first");
  t.end();
});

t.test("between two windows the target stays, whatever the times", (t) => {
  for (let height = 1n; height < 10n; height += 1n) {
    const parent = { height: heightOf(height), timeMs: 1_000_000n + height, bits: 0x1c_12_34_56 };
    t.equal(expectedBits(rules({ retarget: "window" }), parent, never), 0x1c_12_34_56, `after ${height}`);
  }
  t.end();
});

t.test("a miner who lies about the time at the end of each window gains nothing: windows share their ends", (t) => {
  // The time-warp attack: all times as low as allowed, but the last of each window, which tells the truth. With windows
  // that do not share an end, each window looks as long as the whole chain, and the target grows by four every time.
  const window = rules({ retarget: "window", targetBitsMax: 0x20_7f_ff_ff });
  const times: bigint[] = [1_000_000n];
  let bits = 0x1d_00_ff_ff;
  let truthMs = 1_000_000n;
  for (let height = 1n; height <= 200n; height += 1n) {
    truthMs += 5_000n; // Twice as fast as it should be.
    times.push(height % 10n === 0n ? truthMs : (times.at(-1) ?? 0n) + 1n);
    const parent = { height: heightOf(height), timeMs: times.at(-1) ?? 0n, bits };
    bits = expectedBits(window, parent, (at) => times[Number(at)] ?? 0n);
  }
  t.ok(targetIn(bits) <= targetIn(0x1d_00_ff_ff) >> 19n, `twenty windows twice as fast: ${bits.toString(16)}`);
  t.end();
});

t.test("difficulty follows a step of ten times the hash rate, and comes back", (t) => {
  // Pure: each block takes the time that its target takes at the hash rate, on average.
  for (const retarget of ["asert", "window"] as const) {
    const chain = rules({ retarget, targetBitsMax: 0x1f_00_ff_ff, retargetWindow: 20, halfLifeMs: 100_000 });
    const times: bigint[] = [chain.genesisTimeMs];
    let bits = 0x1f_00_ff_ff;
    // Hashes a second at which the first target takes one interval.
    const base = workOf(targetIn(bits)) / 10n;
    const run = (hashesPerSecond: bigint, blocks: number): bigint => {
      for (let count = 0; count < blocks; count += 1) {
        const parent = { height: heightOf(BigInt(times.length - 1)), timeMs: times.at(-1) ?? 0n, bits };
        bits = expectedBits(chain, parent, (at) => times[Number(at)] ?? 0n);
        const takesMs = (workOf(targetIn(bits)) * 1000n) / hashesPerSecond;
        times.push((times.at(-1) ?? 0n) + (takesMs > 0n ? takesMs : 1n));
      }
      return ((times.at(-1) ?? 0n) - (times.at(-21) ?? 0n)) / 20n;
    };
    const near = (averageMs: bigint): boolean => averageMs > 9_000n && averageMs < 11_000n;
    t.ok(near(run(base, 100)), `${retarget}: on schedule`);
    const stepped = run(base * 10n, 20);
    t.ok(stepped < 9_000n, `${retarget}: ${stepped} ms a block right after the step`);
    const settled = run(base * 10n, 300);
    t.ok(near(settled), `${retarget}: ${settled} ms a block once it has followed`);
    const back = run(base, 400);
    t.ok(near(back), `${retarget}: ${back} ms a block after the step back`);
  }
  t.end();
});

t.test("what is made of bytes of another length is our bug", (t) => {
  t.throws(() => hashOf(new Uint8Array(31)));
  t.throws(() => bitsOf(WORK_END));
  t.throws(() => bitsOf(-1n));
  t.throws(() => workOf(WORK_END));
  t.end();
});
