/**
 * Histories of staking through the real executor: bonds, unbondings, missed votes, evidence old and new, once and
 * twice. After each block the invariants of `contracts/staking/testing/stake-chain.ts` hold; which evidence is
 * accepted, and what slashes take from what is staked and from what was asked back, is reckoned by hand.
 */

import { toHex } from "../../../../crypto/base/bytes.ts";
import { present } from "../../../../crypto/base/assert.ts";
import { unbondingKey } from "../../../../chain/state/keys.ts";
import { parseUnbonding, type Unbonding } from "../../../../chain/state/stake.ts";
import type { Call } from "../../../../chain/block/call.ts";
import { addressAt, ok } from "../../../../contracts/testing/chain.ts";
import { offenceAt, totalsAt } from "../../../../contracts/staking/pools.ts";
import { type BlockPlan, StakeChain } from "../../../../contracts/staking/testing/stake-chain.ts";
import { Random } from "../../../../consensus/testing/random.ts";
import { holds } from "../property.ts";

const VALIDATORS = [0, 1, 2, 3];
const DELEGATORS = [100, 101, 102];
const BLOCKS = 30;
const UNBONDING_MS = 12_000n;
const WHOLE_BPS = 10_000n;

/** What is known of the chain by hand. */
type Book = {
  /** By height. */
  readonly times: bigint[];
  /** Evidence that was acted on, as `validator/height`. */
  readonly acted: Set<string>;
  /** Of each validator that was punished: in which block, and the earliest offence that is known. */
  readonly offences: Map<number, { readonly at: bigint; height: bigint }>;
};

/** See the file's head. */
export function stakeIsConserved(seed: number): void {
  const random = new Random(seed);
  const chain = new StakeChain([40n, 30n, 20n, 10n], { engine: { unbondingMs: Number(UNBONDING_MS), signedWindow: 6 } });
  const book: Book = { times: [chain.timeMs], acted: new Set(), offences: new Map() };
  for (let block = 0; block < BLOCKS; block += 1) {
    const afterMs = BigInt(random.pick([1000, 1000, 3000]));
    if (random.happens(250) && chain.height > 1n) accuse(random, chain, book, afterMs);
    else if (random.happens(600)) call(random, chain, book, afterMs);
    else follow(chain, book, { afterMs, absent: random.happens(400) ? [random.pick(VALIDATORS)] : [] }, undefined);
  }
}

/** Evidence of some height against somebody, in a block with nothing else. */
function accuse(random: Random, chain: StakeChain, book: Book, afterMs: bigint): void {
  const index = random.pick(VALIDATORS);
  const height = BigInt(random.between(1, Number(chain.height)));
  const evidence = [chain.doubleVote(index, height, random.between(0, 1))];
  const plan = { afterMs, evidence };
  chain.plan(plan);
  const { timeMs } = chain.context();
  const isInTime = timeMs <= (book.times[Number(height) - 1] as bigint) + UNBONDING_MS;
  const isNew = !book.acted.has(`${index}/${height}`);
  const isTaken = chain.try([], evidence).ok;
  holds(!isTaken || isInTime, "evidence that has expired is refused", () => `height ${height} in ${chain.height}`);
  holds(!isTaken || isNew, "evidence is acted on once", () => `validator ${index}, height ${height}`);
  holds(isTaken || !isInTime || !isNew, "evidence in time is accepted", () => `height ${height} in ${chain.height}`);
  if (!isTaken) return;
  const before = chain.pool(index).tokens;
  book.acted.add(`${index}/${height}`);
  const known = book.offences.get(index);
  follow(chain, book, plan, undefined);
  const after = chain.pool(index).tokens;
  if (known === undefined) {
    holds(after < before || before === 0n, "an offence costs stake", () => `${before}, then ${after}`);
    book.offences.set(index, { at: chain.height, height });
  } else {
    holds(after === before, "an offence is punished once", () => `${before}, then ${after}`);
    if (height < known.height) known.height = height;
  }
}

/** A delegator stakes, or asks back. */
function call(random: Random, chain: StakeChain, book: Book, afterMs: bigint): void {
  const index = random.pick(VALIDATORS);
  const delegator = random.pick([...DELEGATORS, index]);
  const validator = addressAt(index);
  const staked = chain.stake(index, delegator);
  const amount = BigInt(random.between(1, 9000));
  const wanted: Call =
    staked > 0n && random.happens(600)
      ? { kind: "stakeUnbond", validator, amount: random.happens(300) || amount > staked ? staked : amount }
      : { kind: "stakeBond", validator, amount };
  const others = [...DELEGATORS, index].filter((each) => each !== delegator);
  const before = others.map((each) => chain.stake(index, each));
  chain.plan({ afterMs });
  follow(chain, book, { afterMs, transactions: [chain.sign(delegator, [wanted])] }, delegator);
  const after = others.map((each) => chain.stake(index, each));
  const isTheirs = after.every((stake, at) => stake >= (before[at] as bigint));
  holds(isTheirs, "who stakes or asks back takes nothing from the others", () => `${before.join()}, then ${after.join()}`);
}

/** The next block. What it releases is what was asked back, less the slashes that reach it. `busy`: who pays or stakes in it. */
function follow(chain: StakeChain, book: Book, plan: BlockPlan, busy: number | undefined): void {
  const { state } = chain;
  const { first } = totalsAt(state);
  const waiting = entriesOf(chain);
  const before = DELEGATORS.map((index) => chain.account(index).balance);
  chain.pass(plan);
  book.times.push(chain.timeMs);
  const released = waiting.slice(0, Number(totalsAt(state).first - first));
  for (const [at, delegator] of DELEGATORS.entries()) {
    if (delegator === busy) continue;
    const got = chain.account(delegator).balance - (before[at] as bigint);
    const due = released
      .filter((entry) => toHex(entry.delegator) === toHex(addressAt(delegator)))
      .map((entry) => worth(chain, book, entry));
    const sum = due.reduce((total, amount) => total + amount, 0n);
    holds(got === sum, "what waits to be released is slashed like what is staked", () => `${delegator} got ${got}, not ${sum}`);
  }
}

/** What an entry of the queue comes to. */
function worth(chain: StakeChain, book: Book, { validator, amount, height }: Unbonding): bigint {
  const index = VALIDATORS.find((each) => toHex(addressAt(each)) === toHex(validator)) ?? -1;
  const offence = book.offences.get(index);
  if (offence === undefined || height >= offence.at || height + 1n < offence.height) return amount;
  const bps = BigInt(present(offenceAt(chain.state, validator), "offence").slashBps);
  return amount - (amount * bps + WHOLE_BPS - 1n) / WHOLE_BPS;
}

function entriesOf({ state }: StakeChain): readonly Unbonding[] {
  const { first, end } = totalsAt(state);
  return Array.from({ length: Number(end - first) }, (_, at) =>
    ok(parseUnbonding(present(state.get(unbondingKey(first + BigInt(at))), "entry"))),
  );
}
