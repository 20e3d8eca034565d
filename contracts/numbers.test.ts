/** Leases of node numbers: one holder at a time, by block time, whatever the holders believe. */

import fc from "fast-check";
import t from "tap";
import { bytesEqual } from "../crypto/base/bytes.ts";
import { nodeNumberOf, SCARAB_EPOCH_MS, SCARAB_TIME_MS_END } from "../crypto/id/scarab.ts";
import { checkDecoder, checkSeeing } from "../crypto/testing/property.ts";
import { PROTOCOL_DEFAULTS } from "../chain/block/protocol.ts";
import { addressArbitrary, amountArbitrary } from "../chain/block/testing/arbitrary.ts";
import { networkOf } from "../chain/block/testing/fixtures.ts";
import type { Call } from "../chain/block/call.ts";
import { encodeNumberLease, encodeNumberOf, parseNumberLease, parseNumberOf } from "../chain/state/ids.ts";
import { NUMBER_LEASE_MS, numberLeaseAt, numberOf } from "./numbers.ts";
import { addressAt, Chain } from "./testing/chain.ts";

const NOW_MS = 1_800_000_000_000n;
const [FIRST, SECOND] = [100, 101];

function chainOf(): Chain {
  return new Chain(networkOf({ amounts: [10_000_000n, 10_000_000n, 10_000_000n] }));
}

/** Runs calls in a block of this time. */
function at(chain: Chain, timeMs: bigint, signer: number, ...calls: readonly Call[]): string {
  chain.next = { timeMs };
  return chain.run(signer, ...calls).replace(/calls\[\d\]\./, "");
}

const HOLDER = new Uint8Array(16).fill(7);
const claim = (number: number): Call => ({ kind: "numberClaim", number, holder: HOLDER });
const renew = (number: number, epoch: bigint): Call => ({ kind: "numberRenew", number, epoch });
const release = (number: number, epoch: bigint, endMs: bigint): Call => ({ kind: "numberRelease", number, epoch, endMs });

function leaseText(chain: Chain, number: number): string {
  const lease = numberLeaseAt(chain.state, nodeNumberOf(number));
  if (lease === undefined) return "none";
  const owner = [FIRST, SECOND].find((index) => bytesEqual(lease.owner, addressAt(index)));
  return `${owner} epoch ${lease.epoch} from ${lease.startMs - NOW_MS} to ${lease.endMs - NOW_MS}`;
}

t.test("a number has one holder until block time has reached the end of its lease, and the next lease starts there", (t) => {
  const chain = chainOf();
  t.equal(at(chain, NOW_MS, FIRST, claim(700)), "applied");
  t.equal(leaseText(chain, 700), `100 epoch 1 from 0 to ${NUMBER_LEASE_MS}`);
  t.equal(at(chain, NOW_MS + 1n, SECOND, claim(700)), "number_taken number");
  t.equal(at(chain, NOW_MS + 2n, FIRST, renew(700, 1n)), "applied");
  t.equal(leaseText(chain, 700), `100 epoch 1 from 0 to ${NUMBER_LEASE_MS + 2n}`);
  t.equal(at(chain, NOW_MS + NUMBER_LEASE_MS + 1n, SECOND, claim(700)), "number_taken number", "a millisecond before the end");
  t.equal(at(chain, NOW_MS + NUMBER_LEASE_MS + 2n, SECOND, claim(700)), "applied");
  t.equal(leaseText(chain, 700), `101 epoch 2 from ${NUMBER_LEASE_MS + 2n} to ${2n * NUMBER_LEASE_MS + 2n}`);
  t.equal(at(chain, NOW_MS + NUMBER_LEASE_MS + 3n, FIRST, renew(700, 1n)), "number_unleased number");
  t.equal(numberOf(chain.state, addressAt(FIRST)), undefined, "what pointed to the old lease is gone");
  t.end();
});

t.test("the epoch fences off a holder that does not know of a later claim of its own", (t) => {
  const chain = chainOf();
  t.equal(at(chain, NOW_MS, FIRST, claim(700)), "applied");
  t.equal(at(chain, NOW_MS + NUMBER_LEASE_MS, FIRST, renew(700, 1n)), "number_ended number", "too late to renew");
  t.equal(at(chain, NOW_MS + NUMBER_LEASE_MS + 1n, FIRST, claim(700)), "applied");
  t.equal(at(chain, NOW_MS + NUMBER_LEASE_MS + 2n, FIRST, renew(700, 1n)), "number_epoch epoch");
  t.equal(at(chain, NOW_MS + NUMBER_LEASE_MS + 3n, FIRST, release(700, 1n, NOW_MS + NUMBER_LEASE_MS + 2n)), "number_epoch epoch");
  t.equal(at(chain, NOW_MS + NUMBER_LEASE_MS + 4n, FIRST, renew(700, 2n)), "applied");
  t.end();
});

t.test("a number that is given back is free at the time that its holder named, and not before", (t) => {
  const chain = chainOf();
  t.equal(at(chain, NOW_MS, FIRST, claim(700)), "applied");
  const endMs = NOW_MS + 5000n;
  t.equal(at(chain, NOW_MS + 1n, FIRST, release(700, 1n, NOW_MS - 1n)), "number_window endMs");
  t.equal(at(chain, NOW_MS + 2n, FIRST, release(700, 1n, NOW_MS + NUMBER_LEASE_MS + 1n)), "number_window endMs");
  t.equal(at(chain, NOW_MS + 3n, FIRST, release(700, 1n, endMs)), "applied");
  t.equal(at(chain, endMs - 1n, SECOND, claim(700)), "number_taken number");
  t.equal(at(chain, endMs, SECOND, claim(700)), "applied");
  t.equal(at(chain, endMs + 1n, FIRST, claim(701)), "applied", "and its holder may have another");
  t.end();
});

t.test("an address has one number, and where voters decide the lower half is for validators", (t) => {
  const chain = chainOf();
  t.equal(at(chain, NOW_MS, FIRST, claim(511)), "number_validators number");
  t.equal(at(chain, NOW_MS + 1n, FIRST, claim(512)), "applied");
  t.equal(at(chain, NOW_MS + 2n, FIRST, claim(1023)), "number_held number");
  t.equal(at(chain, NOW_MS + 3n, FIRST, claim(512)), "number_taken number", "not even one's own: the window has begun");
  const validator = { kind: "transfer", to: addressAt(0), amount: 100_000n } as const;
  t.equal(at(chain, NOW_MS + 4n, FIRST, validator), "applied");
  t.equal(at(chain, NOW_MS + 5n, 0, claim(0)), "applied");
  t.equal(at(chain, NOW_MS + 6n, SECOND, claim(600), release(600, 1n, NOW_MS + 6n), claim(601)), "applied", "at once");
  const work = new Chain({ ...networkOf({ amounts: [10_000_000n] }), engine: PROTOCOL_DEFAULTS.pow });
  t.equal(at(work, NOW_MS, FIRST, claim(0)), "applied", "under proof of work nobody is known");
  t.end();
});

t.test("leases stay inside the years that ids can tell, and a failed transaction leases nothing", (t) => {
  const chain = chainOf();
  const [startMs, endMs] = [BigInt(SCARAB_EPOCH_MS), BigInt(SCARAB_TIME_MS_END)];
  t.equal(at(chain, startMs - 1000n, FIRST, claim(700)), "applied", "before them a lease begins with them");
  t.equal(leaseText(chain, 700), `100 epoch 1 from ${startMs - NOW_MS} to ${startMs + NUMBER_LEASE_MS - NOW_MS}`);
  t.equal(at(chain, endMs - 10n, SECOND, claim(701)), "applied");
  t.equal(leaseText(chain, 701), `101 epoch 1 from ${endMs - 10n - NOW_MS} to ${endMs - NOW_MS}`);
  t.equal(at(chain, endMs - 9n, FIRST, claim(702), renew(702, 2n)), "number_epoch epoch");
  t.equal(leaseText(chain, 702), "none");
  t.equal(at(chain, endMs, FIRST, claim(703)), "number_ended number");
  t.end();
});

t.test("however claims, renewals and releases come, the windows of one number never overlap", async (t) => {
  const step = fc.record({
    signer: fc.constantFrom(FIRST, SECOND),
    kind: fc.constantFrom("claim", "renew", "release"),
    number: fc.constantFrom(700, 701),
    epoch: fc.bigInt(1n, 4n),
    afterMs: fc.oneof(fc.bigInt(1n, 1000n), fc.bigInt(1n, NUMBER_LEASE_MS * 2n)),
    endAfterMs: fc.bigInt(0n, NUMBER_LEASE_MS),
  });
  let handovers = 0;
  const property = fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
    const chain = chainOf();
    let nowMs = NOW_MS;
    const windows = new Map<number, { epoch: bigint; startMs: bigint; endMs: bigint }>();
    for (const { signer, kind, number, epoch, afterMs, endAfterMs } of steps) {
      nowMs += afterMs;
      const call =
        kind === "claim" ? claim(number) : kind === "renew" ? renew(number, epoch) : release(number, epoch, nowMs + endAfterMs);
      at(chain, nowMs, signer, call);
      const lease = numberLeaseAt(chain.state, nodeNumberOf(number));
      const before = windows.get(number);
      if (lease === undefined) continue;
      if (before !== undefined && lease.epoch !== before.epoch) {
        handovers += 1;
        if (lease.startMs < before.endMs || lease.epoch !== before.epoch + 1n) return false;
      }
      if (before !== undefined && lease.epoch === before.epoch && lease.startMs !== before.startMs) return false;
      windows.set(number, lease);
    }
    return true;
  });
  await checkSeeing(t, "windows", property, { runs: 60, seen: () => t.ok(handovers > 5, `${handovers} handovers`) });
});

t.test("the rows of numbers decode strictly", async (t) => {
  const time = fc.bigInt(0n, 8_640_000_000_000_000n);
  const lease = fc.record({
    owner: addressArbitrary,
    holder: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    epoch: amountArbitrary,
    startMs: time,
    endMs: time,
  });
  await checkDecoder(t, "lease", { valid: lease.map(encodeNumberLease), decode: parseNumberLease, encode: encodeNumberLease });
  const number = fc.nat(1023).map((value) => encodeNumberOf(nodeNumberOf(value)));
  await checkDecoder(t, "number", { valid: number, decode: parseNumberOf, encode: encodeNumberOf });
});
