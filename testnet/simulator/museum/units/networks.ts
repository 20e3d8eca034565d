/**
 * Networks of BFT engines (`consensus/testing/network.ts`, whose checkers run at every effect): loss, repetition,
 * reordering, partitions, crashes and blackouts, and less than 1/3 of the power lying or silent. Of Tendermint the
 * locks are checked on the wire as well.
 */

import { present } from "../../../../crypto/base/assert.ts";
import { toHex } from "../../../../crypto/base/bytes.ts";
import {
  type Conduct,
  type EngineKind,
  type Faults,
  type NetworkOptions,
  type NetworkReport,
  runNetwork,
} from "../../../../consensus/testing/network.ts";
import { PBFT } from "../../../../consensus/testing/pbft-kind.ts";
import { Random } from "../../../../consensus/testing/random.ts";
import { TENDERMINT } from "../../../../consensus/testing/tendermint-kind.ts";
import { World } from "../../../../consensus/testing/world.ts";
import type { ConsensusMessage } from "../../../../consensus/tendermint/message.ts";
import { holds } from "../property.ts";

/** Sets in which the liars below leave more than 2/3 of the power honest, and how many liars that is. */
const SETS: readonly { readonly powers: readonly bigint[]; readonly liars: number }[] = [
  { powers: [1n, 1n, 1n, 1n], liars: 1 },
  { powers: [10n, 9n, 8n, 7n], liars: 1 },
  { powers: [3n, 3n, 3n, 3n, 2n], liars: 1 },
  { powers: [5n, 5n, 5n, 5n, 5n, 5n, 5n], liars: 2 },
];

/** One chain, valid and certified; one word a slot; locks kept; and it grows once the network heals. */
export function tendermintUnderFaults(seed: number): void {
  const options = optionsOf(seed);
  checkLocks(options, runNetwork(TENDERMINT, options));
}

/** The same of PBFT, locks aside. */
export function pbftUnderFaults(seed: number): void {
  run(PBFT, seed);
}

function run<M extends object>(kind: EngineKind<M>, seed: number): void {
  runNetwork(kind, optionsOf(seed));
}

function optionsOf(seed: number): NetworkOptions {
  const random = new Random(seed * 104_729);
  const { powers, liars } = SETS[seed % SETS.length] as (typeof SETS)[number];
  const world = new World(powers);
  const names = random.shuffle(world.members.map(({ name }) => name)).slice(0, liars);
  const conducts = new Map<string, Conduct>();
  // A quarter of the networks is honest throughout: crashes alone must not harm it.
  if (random.happens(750)) for (const name of names) conducts.set(name, random.happens(700) ? "equivocator" : "silent");
  const conditions = { world, conducts, observers: 0, faults: faultsOf(random), healAtMs: 8000 };
  return { seed, ...conditions, heightsAfterHealing: 3, boundMs: 30_000 };
}

/** What goes wrong, and how much, is drawn for each network by itself. */
function faultsOf(random: Random): Faults {
  return {
    lossRate: random.pick([0, 50, 120, 250]),
    duplicateRate: random.pick([0, 100, 300]),
    delayMsMax: random.pick([20, 80, 200]),
    slowRate: random.pick([0, 30, 100]),
    crashRate: random.pick([0, 40, 120]),
    recordCrashRate: random.pick([0, 20, 60]),
    blackoutRate: random.pick([0, 80, 200]),
    partitionRate: random.pick([0, 100, 300]),
    syncMsMax: random.pick([3, 40]),
  };
}

type Said = { readonly round: number; readonly value: string; readonly step: string };

/**
 * An honest precommit for a block stands on a polka of its round, and a later prevote for another block on a polka that
 * is at least as late as the last such precommit (lines 29 and 36 of Algorithm 1).
 */
function checkLocks(options: NetworkOptions, { wire }: NetworkReport<ConsensusMessage>): void {
  const { world, conducts } = options;
  const prevoters = new Map<string, Set<string>>();
  const said = new Map<string, Said[]>();
  for (const { message } of wire) {
    if (message.kind !== "vote" || message.vote.blockHash === undefined) continue;
    const { step, height, round, validator } = message.vote;
    const value = toHex(message.vote.blockHash);
    const key = `${height}/${round}/${value}`;
    if (step === "prevote") prevoters.set(key, (prevoters.get(key) ?? new Set()).add(toHex(validator)));
    if ((conducts.get(world.nameOf(validator)) ?? "honest") !== "honest") continue;
    const slot = `${height}/${toHex(validator)}`;
    said.set(slot, [...(said.get(slot) ?? []), { round, value, step }]);
  }
  const hasPolka = (height: string, round: number, value: string): boolean =>
    powerOf(world, prevoters.get(`${height}/${round}/${value}`) ?? new Set()) * 3n > world.set.totalPower * 2n;
  for (const [where, words] of said) checkWords(where, words, hasPolka);
}

function checkWords(
  where: string,
  words: readonly Said[],
  hasPolka: (height: string, round: number, value: string) => boolean,
): void {
  const height = where.slice(0, where.indexOf("/"));
  const locks = words.filter(({ step }) => step === "precommit");
  for (const { round, value } of locks)
    holds(hasPolka(height, round, value), "a precommit stands on a polka", () => `${where} round ${round}`);
  for (const { round, value } of words.filter(({ step }) => step === "prevote")) {
    const lock = locks.filter((each) => each.round < round).toSorted((a, b) => b.round - a.round)[0];
    if (lock === undefined || lock.value === value) continue;
    const between = Array.from({ length: round - lock.round }, (_, index) => lock.round + index);
    holds(
      between.some((each) => hasPolka(height, each, value)),
      "a lock gives way to a later polka alone",
      () => `${where} round ${round}`,
    );
  }
}

function powerOf(world: World, signers: ReadonlySet<string>): bigint {
  let power = 0n;
  for (const signer of signers)
    power += present(
      world.members.find(({ address }) => toHex(address) === signer),
      "member",
    ).power;
  return power;
}
