/** Counting: majorities and joint majorities against their definitions; changes of the configuration against the overlap they rest on. */

import fc from "fast-check";
import t from "tap";
import { EMPTY } from "../../crypto/base/bytes.ts";
import { checkProperty } from "../../crypto/testing/property.ts";
import { decodeChange, encodeChange, LEAVE_JOINT } from "./change-codec.ts";
import { changeMembership, enterJoint, leaveJoint, restoreMembership } from "./confchange.ts";
import type { Membership } from "./confchange.ts";
import { EMPTY_CONFIGURATION, findFault, fromConfState, isJoint, sortedIds, toConfState } from "./configuration.ts";
import { CHANGE_STEPS_MAX, MEMBERS_MAX, U64_MAX } from "./limits.ts";
import { jointCommitted, jointVote, majorityCommitted, majorityOf, majorityVote } from "./majority.ts";
import type { Voters } from "./majority.ts";
import type { ChangeStep, ConfChange } from "./types.ts";

const IDS = [1n, 2n, 3n, 4n, 5n, 6n];
const anySet = fc.uniqueArray(fc.constantFrom(...IDS), { maxLength: 5 }).map((ids): ReadonlySet<bigint> => new Set(ids));
const anyVoters: fc.Arbitrary<Voters> = fc.record({ incoming: anySet.filter(({ size }) => size > 0), outgoing: anySet });
const anyAcks = fc.array(fc.option(fc.bigInt(0n, 6n), { nil: undefined }), { minLength: 6, maxLength: 6 });
const anyStep: fc.Arbitrary<ChangeStep> = fc.record({
  kind: fc.constantFrom("voter", "learner", "remove", "update"),
  node: fc.bigInt(0n, 6n),
});
const anyChange: fc.Arbitrary<ConfChange> = fc.record({
  transition: fc.constantFrom("auto", "implicit", "explicit"),
  steps: fc.array(anyStep, { maxLength: 5 }),
  context: fc.uint8Array({ maxLength: 4 }),
});
const FRESH = { lastIndex: 7n, limits: { countMax: 4, sizeBytesMax: 1024 } };
const ALONE: Membership = restoreMembership({ ...EMPTY_CONFIGURATION, incoming: new Set([1n]) }, FRESH);

/** By definition: more than half of the set is in `yes`. */
function holds(set: ReadonlySet<bigint>, yes: ReadonlySet<bigint>): boolean {
  return set.size === 0 || 2 * [...set].filter((id) => yes.has(id)).length > set.size;
}

function decides({ incoming, outgoing }: Voters, yes: ReadonlySet<bigint>): boolean {
  return holds(incoming, yes) && holds(outgoing, yes);
}

t.test("a majority is more than half", (t) => {
  t.same([1, 2, 3, 4, 5, 6, 7].map(majorityOf), [1, 2, 2, 3, 3, 4, 4]);
  t.end();
});

t.test("nobody to ask holds everything and wins; one voter who says nothing holds nothing and is waited for", (t) => {
  t.equal(
    majorityCommitted(new Set(), () => 1n),
    U64_MAX,
  );
  t.equal(majorityVote(new Set(), new Map()), "won");
  t.equal(
    majorityCommitted(new Set([1n]), () => undefined),
    0n,
  );
  t.equal(majorityVote(new Set([1n]), new Map()), "pending");
  t.end();
});

t.test("the committed index is the highest that both halves hold, by definition", async (t) => {
  const property = fc.property(anyVoters, anyAcks, (voters, acks) => {
    const ack = (id: bigint): bigint | undefined => acks[Number(id) - 1];
    let expected = 0n;
    for (let index = 1n; index <= 6n; index += 1n)
      if (decides(voters, new Set(IDS.filter((id) => (ack(id) ?? 0n) >= index)))) expected = index;
    const swapped = { incoming: voters.outgoing, outgoing: voters.incoming };
    return jointCommitted(voters, ack) === expected && jointCommitted(swapped, ack) === expected;
  });
  await checkProperty(t, "committed", property, 2000);
});

t.test("a ballot is won or lost exactly when the missing votes cannot change that", async (t) => {
  const property = fc.property(
    anyVoters,
    fc.array(fc.option(fc.boolean(), { nil: undefined }), { minLength: 6, maxLength: 6 }),
    (voters, given) => {
      const votes = new Map<bigint, boolean>();
      for (const id of IDS) {
        const vote = given[Number(id) - 1];
        if (vote !== undefined) votes.set(id, vote);
      }
      const missing = IDS.filter((id) => !votes.has(id));
      const outcomes = new Set<boolean>();
      for (let mask = 0; mask < 1 << missing.length; mask += 1) {
        const yes = IDS.filter((id) => votes.get(id) ?? (mask & (1 << missing.indexOf(id))) !== 0);
        outcomes.add(decides(voters, new Set(yes)));
      }
      // Two halves that share voters can be decided a vote before either is: being asked to wait then is safe.
      const result = jointVote(voters, votes);
      if (result === "pending") return outcomes.size === 2 || voters.outgoing.size > 0;
      return outcomes.size === 1 && outcomes.has(result === "won");
    },
  );
  await checkProperty(t, "ballot", property, 2000);
});

t.test("two sets that decide share a voter of each half (what elections and commits rest on)", async (t) => {
  const property = fc.property(anyVoters, anySet, anySet, (voters, a, b) => {
    if (!decides(voters, a) || !decides(voters, b)) return true;
    return [voters.incoming, voters.outgoing].every((half) => half.size === 0 || [...half].some((id) => a.has(id) && b.has(id)));
  });
  await checkProperty(t, "overlap", property, 5000);
});

t.test("whatever changes are made, the configuration keeps its rules and its deciding sets meet those before it", async (t) => {
  let changed = 0;
  let joint = 0;
  const subsets = Array.from(
    { length: 1 << IDS.length },
    (_, mask) => new Set(IDS.filter((_id, at) => (mask & (1 << at)) !== 0)),
  );
  const property = fc.property(fc.array(anyChange, { maxLength: 8 }), (changes) => {
    let membership = ALONE;
    for (const change of changes) {
      const next = changeMembership(membership, change, FRESH);
      if (!next.ok) continue;
      changed += 1;
      const { configuration, progress } = next.value;
      if (isJoint(configuration)) joint += 1;
      if (findFault(configuration) !== undefined) return false;
      const before = subsets.filter((set) => decides(membership.configuration, set));
      const after = subsets.filter((set) => decides(configuration, set));
      // 4.1: no two disjoint sets may decide, one before and one after.
      if (before.some((a) => after.some((b) => [...a].every((id) => !b.has(id))))) return false;
      const again = fromConfState(toConfState(configuration));
      if (again === undefined || JSON.stringify(textOf(again)) !== JSON.stringify(textOf(configuration))) return false;
      if (progress.size !== new Set([...configuration.incoming, ...configuration.outgoing, ...configuration.learners]).size)
        return false;
      membership = next.value;
    }
    return true;
  });
  await checkProperty(t, "changes", property, 300);
  t.ok(changed > 100 && joint > 20, `${changed} changes, ${joint} into joint configurations`);
});

t.test("an outgoing voter that is demoted keeps its vote until the joint configuration is left", (t) => {
  const three = restoreMembership({ ...EMPTY_CONFIGURATION, incoming: new Set([1n, 2n, 3n]) }, FRESH);
  const entered = enterJoint(three, [{ kind: "learner", node: 3n }], false, FRESH);
  t.ok(entered.ok);
  if (!entered.ok) return t.end();
  t.same(sortedIds(entered.value.configuration.learnersNext), [3n]);
  t.ok(entered.value.configuration.outgoing.has(3n));
  t.notOk(entered.value.configuration.learners.has(3n));
  const left = leaveJoint(entered.value);
  t.ok(left.ok && left.value.configuration.learners.has(3n));
  return t.end();
});

t.test("a stored configuration that cannot be is refused", (t) => {
  const good = { voters: [1n, 2n], votersOutgoing: [1n, 3n], learners: [4n], learnersNext: [3n], autoLeave: true };
  t.ok(fromConfState(good));
  const table = [
    { ...good, voters: [] },
    { ...good, voters: [1n, 1n] },
    { ...good, voters: [0n, 1n] },
    { ...good, voters: [U64_MAX + 1n] },
    { ...good, learners: [1n] },
    { ...good, learners: [3n] },
    { ...good, learnersNext: [5n] },
    { ...good, learnersNext: [1n] },
    { ...good, votersOutgoing: [], learnersNext: [], autoLeave: true },
    { ...good, learners: Array.from({ length: MEMBERS_MAX }, (_, at) => BigInt(at + 10)) },
  ];
  for (const [at, state] of table.entries()) t.equal(fromConfState(state), undefined, `case ${at}`);
  t.end();
});

t.test("a change comes back from its bytes, and no other bytes give it", async (t) => {
  const property = fc.property(anyChange, (change) => {
    const decoded = decodeChange(encodeChange(change));
    return decoded.ok && JSON.stringify(textOf(decoded.value)) === JSON.stringify(textOf(change));
  });
  await checkProperty(t, "change codec", property, 500);
  t.equal(encodeChange(LEAVE_JOINT).length, 0);
  t.same(decodeChange(EMPTY), { ok: true, value: LEAVE_JOINT });
  t.match(
    decodeChange(new Uint8Array([0x83, 0, 0x80, 0x40])),
    { ok: false, error: { code: "change_invalid" } },
    "leaving, in more bytes",
  );
  const steps = Array.from({ length: CHANGE_STEPS_MAX + 1 }, (): ChangeStep => ({ kind: "voter", node: 1n }));
  t.match(decodeChange(encodeChange({ transition: "auto", steps, context: EMPTY })), { ok: false });
  await checkProperty(
    t,
    "hostile change bytes",
    fc.property(fc.uint8Array({ maxLength: 20 }), (bytes) => {
      const decoded = decodeChange(bytes);
      return !decoded.ok || Buffer.from(encodeChange(decoded.value)).equals(Buffer.from(bytes));
    }),
    2000,
  );
});

function textOf(value: unknown): unknown {
  if (typeof value === "bigint") return `${value}`;
  if (value instanceof Uint8Array) return [...value];
  if (value instanceof Set) return sortedIds(value as Set<bigint>).map(String);
  if (Array.isArray(value)) return value.map(textOf);
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, textOf(item)]));
  return value;
}
