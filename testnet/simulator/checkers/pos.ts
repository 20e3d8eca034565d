/**
 * Proof of stake, reckoned anew from every row of the state after each decided block: tokens are conserved, pools agree
 * with their delegations and with what the block did to them, nobody is slashed twice for what he did once, the queue
 * releases nothing early, and who votes is who was elected two heights before.
 *
 * Source of the rules: `contracts/staking/README.md`. It looks at a replay that no fault touches, once a height.
 */

import { toHex } from "../../../crypto/base/bytes.ts";
import type { DecodeError } from "../../../crypto/codec/reader.ts";
import type { Result } from "../../../crypto/base/result.ts";
import type { Block, TransactionResult } from "../../../chain/block/block.ts";
import { genesisStake, type NetworkFile } from "../../../chain/block/genesis.ts";
import { type Height, heightOf } from "../../../chain/block/height.ts";
import { BPS_WHOLE, TIME_MS_MAX } from "../../../chain/block/limits.ts";
import type { PosProtocol } from "../../../chain/block/protocol.ts";
import type { Call } from "../../../chain/block/call.ts";
import type { ValidatorSet } from "../../../chain/block/validators.ts";
import type { Ledger } from "../../../chain/ledger/ledger.ts";
import { parseStateKey } from "../../../chain/state/keys.ts";
import { parseAccount, parseRewards, parseSupply, type Supply } from "../../../chain/state/rows.ts";
import {
  type Delegation,
  type Offence,
  parseDelegation,
  parseOffence,
  parsePool,
  parseStakeTotals,
  parseUnbonding,
  type Pool,
  type StakeTotals,
  type Unbonding,
} from "../../../chain/state/stake.ts";
import type { Sometimes, SometimesName } from "../sometimes.ts";
import type { CheckerParts } from "./checker.ts";

/** What the checker is given. */
export type StakeParts = CheckerParts & {
  readonly network: NetworkFile;
  readonly engine: PosProtocol;
  readonly sometimes: Sometimes;
  /** Whose key this is; -1 when no node has it. */
  readonly nodeOf: (validator: Uint8Array) => number;
  /** From now on the network promises nothing: too much of the stake is with those who lie. */
  readonly onMoot: () => void;
};

/** The rows of one state that stake is about, by hex addresses. */
type Book = {
  readonly timeMs: bigint;
  readonly tokens: bigint;
  readonly supply: Supply | undefined;
  readonly totals: StakeTotals | undefined;
  readonly pools: ReadonlyMap<string, Pool>;
  readonly delegations: ReadonlyMap<string, ReadonlyMap<string, Delegation>>;
  readonly queue: ReadonlyMap<bigint, Unbonding>;
  readonly offences: ReadonlyMap<string, Offence>;
  readonly tombstones: ReadonlySet<string>;
  /** Who decides two heights on, each with his power, in the order of their names. */
  readonly next: string;
};

/** What the sets and books of the heights before are remembered of. */
const BOOKS_KEPT = 4n;

/** What an applied call is counted as. */
const SEEN_BY_CALL: Partial<Record<Call["kind"], SometimesName>> = {
  stakeBond: "stake_bonded",
  stakeUnbond: "stake_asked_back",
  validatorDeclare: "validator_declared",
  validatorCommission: "commission_changed",
  validatorUnjail: "validator_unjailed",
  rewardsClaim: "rewards_claimed",
};

/** See the file's head. */
export class Stake {
  readonly #parts: StakeParts;
  readonly #books = new Map<bigint, Book>();
  /** Heights at which each validator was punished for signing twice. */
  readonly #punished = new Map<string, bigint>();

  constructor(parts: StakeParts) {
    this.#parts = parts;
  }

  /** The replay begins. */
  begin(ledger: Ledger): void {
    this.#books.set(0n, readBook(ledger, heightOf(0n), this.#parts.network.genesisTimeMs));
  }

  /** The replay made a block final. */
  follow(ledger: Ledger, block: Block): void {
    const { height, timeMs } = block.header;
    const before = this.#books.get(height - 1n);
    const after = readBook(ledger, height, timeMs);
    this.#books.set(height, after);
    this.#books.delete(height - BOOKS_KEPT);
    if (before === undefined) return;
    this.#checkSupply(height, after);
    for (const [name, pool] of after.pools) this.#checkPool(height, name, { pool, after });
    const results = ledger.results(height) ?? [];
    this.#checkTokens(block, results, { before, after });
    this.#checkPunishments(block, { before, after });
    this.#checkQueue(height, { before, after });
    this.#checkElection(height, { before, after });
    this.#checkVoters(ledger, height);
    // Before it decides anything: it may never come to that.
    this.#checkMoot(ledger.validators(heightOf(height + 1n)));
    this.#count(block, results);
  }

  #isMust(holds: boolean, property: string, message: () => string): void {
    if (!holds) this.#parts.violated(property, message());
  }

  /** Balances, rewards, commissions, bonded and unbonding are genesis and what was minted, less what was burned. */
  #checkSupply(height: Height, { supply, tokens }: Book): void {
    const { network, engine } = this.#parts;
    const genesis = network.accounts.reduce((total, { amount }) => total + amount, 0n) + genesisStake(engine, network.validators);
    const { total = -1n, minted = 0n, burned = 0n } = supply ?? {};
    this.#isMust(
      total === genesis + minted - burned,
      "supply",
      () => `row at ${height}: ${total} of ${genesis}+${minted}-${burned}`,
    );
    this.#isMust(tokens === total, "supply", () => `height ${height} has ${tokens} tokens, and its supply row says ${total}`);
    this.#isMust(
      minted === height * engine.blockReward,
      "supply",
      () => `${minted} tokens were minted in ${height} blocks of ${engine.blockReward}`,
    );
  }

  #checkPool(height: Height, name: string, { pool, after }: { readonly pool: Pool; readonly after: Book }): void {
    const holders = [...(after.delegations.get(name)?.values() ?? [])];
    const shares = holders.reduce((sum, delegation) => sum + delegation.shares, 0n);
    this.#isMust(shares === pool.shares, "pool", () => `height ${height}: ${shares} of ${pool.shares} shares with ${name}`);
    const worth = holders.reduce((sum, delegation) => sum + worthOf(pool, delegation), 0n);
    this.#isMust(
      worth <= pool.tokens,
      "pool",
      () => `height ${height}: shares with ${name} are worth ${worth} of ${pool.tokens}`,
    );
    const waiting = [...after.queue.values()]
      .filter(({ validator }) => toHex(validator) === name)
      .reduce((sum, { amount }) => sum + amount, 0n);
    this.#isMust(waiting === pool.unbonding, "pool", () => `height ${height}: ${waiting} of ${pool.unbonding} wait with ${name}`);
  }

  /** What is staked with each validator is what was before, less the slashes of this block, and what its calls moved. */
  #checkTokens(
    { header: { height, timeMs }, transactions }: Block,
    results: readonly TransactionResult[],
    { before, after }: { readonly before: Book; readonly after: Book },
  ): void {
    const { engine, sometimes } = this.#parts;
    const moved = new Map<string, bigint>();
    for (const [index, { body }] of transactions.entries()) {
      if (results[index]?.kind !== "applied") continue;
      for (const call of body.calls) {
        if (call.kind !== "stakeBond" && call.kind !== "stakeUnbond") continue;
        const name = toHex(call.validator);
        moved.set(name, (moved.get(name) ?? 0n) + (call.kind === "stakeBond" ? call.amount : -call.amount));
      }
    }
    for (const [name, pool] of after.pools) {
      const known = before.pools.get(name);
      const had = known?.tokens ?? 0n;
      const offence = after.offences.get(name);
      const isPunished = offence?.at === height;
      const mayBeAbsent = known !== undefined && known.jailedUntilMs === undefined;
      const isJailed = mayBeAbsent && pool.jailedUntilMs === timeMs + BigInt(engine.jailMs);
      if (isJailed) sometimes.saw("validator_jailed");
      const absent = had - partUp(had, engine.downtimeSlashBps);
      // Who is punished for an offence may have been jailed for absence at the beginning of the same block.
      const kept = isPunished ? (mayBeAbsent ? [had, absent] : [had]) : [isJailed ? absent : had];
      const may = kept.map((rest) => rest - (isPunished ? partUp(rest, offence.slashBps) : 0n) + (moved.get(name) ?? 0n));
      this.#isMust(
        may.includes(pool.tokens),
        "slash",
        () => `height ${height}: ${name} had ${had} tokens and has ${pool.tokens}, not ${may.join(" or ")}`,
      );
    }
    const bonded = [...after.pools.values()].reduce((sum, { tokens }) => sum + tokens, 0n);
    this.#isMust(
      bonded === after.totals?.bonded,
      "pool",
      () => `height ${height}: ${bonded} bonded, not ${after.totals?.bonded}`,
    );
  }

  /** Whom evidence names is punished in that block if he was not before, for good, and never again. */
  #checkPunishments(
    { header: { height }, evidence }: Block,
    { before, after }: { readonly before: Book; readonly after: Book },
  ): void {
    const { sometimes } = this.#parts;
    const accused = new Set(evidence.map(({ first }) => toHex(first.validator)));
    for (const name of accused) {
      const at = this.#punished.get(name);
      if (at !== undefined) sometimes.saw("offence_shown_again");
      else {
        this.#punished.set(name, height);
        sometimes.saw("offender_slashed");
      }
      const pool = after.pools.get(name);
      this.#isMust(
        after.tombstones.has(name) && pool?.jailedUntilMs === TIME_MS_MAX && after.offences.get(name)?.at === (at ?? height),
        "punished",
        () => `height ${height}: evidence names ${name}, punished at ${after.offences.get(name)?.at ?? "no height"}`,
      );
    }
    for (const [name, offence] of before.offences) {
      const now = after.offences.get(name);
      const isSame = now?.at === offence.at && now.slashBps === offence.slashBps && now.height <= offence.height;
      this.#isMust(isSame, "slash", () => `height ${height}: the punishment of ${name} is another one`);
    }
    for (const name of after.offences.keys())
      this.#isMust(
        before.offences.has(name) || accused.has(name),
        "slash",
        () => `height ${height}: ${name} is punished without evidence`,
      );
    for (const name of before.tombstones)
      this.#isMust(after.tombstones.has(name), "punished", () => `height ${height}: ${name} is not tombstoned any more`);
  }

  #checkQueue(height: Height, { before, after }: { readonly before: Book; readonly after: Book }): void {
    const { engine, sometimes } = this.#parts;
    for (const [index, entry] of before.queue) {
      if (after.queue.has(index)) continue;
      sometimes.saw("unbonding_matured");
      const offence = before.offences.get(toHex(entry.validator));
      if (offence !== undefined && entry.height < offence.at && entry.height + 1n >= offence.height)
        sometimes.saw("unbonding_slashed");
      this.#isMust(
        after.timeMs > entry.timeMs + BigInt(engine.unbondingMs),
        "released_early",
        () => `height ${height} at ${after.timeMs} releases what was asked back at ${entry.timeMs}`,
      );
    }
    for (const [index, entry] of after.queue) {
      const known = before.queue.get(index);
      const isKept =
        known === undefined ? entry.height === height : known.amount === entry.amount && known.timeMs === entry.timeMs;
      this.#isMust(isKept, "queue", () => `height ${height}: entry ${index} of the queue is another one`);
    }
  }

  /** The next set is that of most stake among all who may be elected, from every pool; none elected, it stays. */
  #checkElection(height: Height, { before, after }: { readonly before: Book; readonly after: Book }): void {
    const { engine, sometimes } = this.#parts;
    const elected = electedFrom(engine, after);
    const expected = elected.length === 0 ? before.next : textOfSet(elected);
    if (elected.length === 0) sometimes.saw("nobody_electable");
    this.#isMust(after.next === expected, "election", () => `height ${height} elects ${after.next}, not ${expected}`);
    if (after.next === before.next) return;
    const { left, joined } = differenceOf(before.next, after.next);
    if (left.length === 0 && joined.length === 0) sometimes.saw("power_changed_by_stake");
    else sometimes.saw("set_changed_by_stake");
    for (const name of left) {
      const pool = after.pools.get(name);
      if (pool?.jailedUntilMs === undefined && mayStand(engine, after, name)) sometimes.saw("validator_outbid");
    }
  }

  /** Who decided this height was elected two heights before, and was not jailed then. */
  #checkVoters(ledger: Ledger, height: Height): void {
    const set = ledger.validators(height);
    const chosen = this.#books.get(height > 1n ? height - 2n : 0n);
    if (set === undefined || chosen === undefined) return;
    const text = textOfValidators(set);
    this.#isMust(set.validators.length > 0, "election", () => `nobody decides height ${height}`);
    this.#isMust(text === chosen.next, "election", () => `${text} decided height ${height}, and ${chosen.next} were elected`);
    if (electedFrom(this.#parts.engine, chosen).length > 0)
      for (const { address } of set.validators)
        this.#isMust(
          chosen.pools.get(toHex(address))?.jailedUntilMs === undefined,
          "jailed",
          () => `${toHex(address)} votes at height ${height} and was jailed two heights before`,
        );
  }

  /** With a third of the power at those who lie or whom no node speaks for, a height may never be decided, or twice. */
  #checkMoot(set: ValidatorSet | undefined): void {
    const { isHonest, nodeOf, onMoot } = this.#parts;
    if (set === undefined) return;
    const lying = set.validators
      .filter(({ address }) => nodeOf(address) < 0 || !isHonest(nodeOf(address)))
      .reduce((sum, { power }) => sum + power, 0n);
    if (lying * 3n >= set.totalPower) onMoot();
  }

  #count({ transactions }: Block, results: readonly TransactionResult[]): void {
    const { sometimes } = this.#parts;
    for (const [index, { body }] of transactions.entries()) {
      const result = results[index];
      for (const { kind } of body.calls) {
        const name = SEEN_BY_CALL[kind];
        if (name === undefined) continue;
        if (result?.kind === "applied") sometimes.saw(name);
        else sometimes.saw(kind === "validatorUnjail" ? "unjail_refused" : "stake_call_failed");
      }
    }
  }
}

/** Reads every row about stake. */
function readBook(ledger: Ledger, height: Height, timeMs: bigint): Book {
  const pools = new Map<string, Pool>();
  const delegations = new Map<string, Map<string, Delegation>>();
  const queue = new Map<bigint, Unbonding>();
  const offences = new Map<string, Offence>();
  const tombstones = new Set<string>();
  let tokens = 0n;
  let supply: Supply | undefined;
  let totals: StakeTotals | undefined;
  for (const { key, value } of ledger.stateEntries(height, {})) {
    const name = parseStateKey(key);
    switch (name?.kind) {
      case "account":
        tokens += must(parseAccount(value)).balance;
        break;
      case "rewards":
        tokens += must(parseRewards(value));
        break;
      case "unbonding": {
        const entry = must(parseUnbonding(value));
        tokens += entry.amount;
        queue.set(name.index, entry);
        break;
      }
      case "pool": {
        const pool = must(parsePool(value));
        tokens += pool.tokens + pool.rewards + pool.commission;
        pools.set(toHex(name.address), pool);
        break;
      }
      case "delegation": {
        const of = delegations.get(toHex(name.validator)) ?? new Map<string, Delegation>();
        delegations.set(toHex(name.validator), of.set(toHex(name.delegator), must(parseDelegation(value))));
        break;
      }
      case "offence":
        offences.set(toHex(name.address), must(parseOffence(value)));
        break;
      case "tombstone":
        tombstones.add(toHex(name.address));
        break;
      case "supply":
        supply = must(parseSupply(value));
        break;
      case "stakeTotals":
        totals = must(parseStakeTotals(value));
        break;
      default:
        break;
    }
  }
  const next = textOfValidators(ledger.validatorsAfterNext());
  return { timeMs, tokens, supply, totals, pools, delegations, queue, offences, tombstones, next };
}

/** A row of our own state; another is a violation of its own, and ends the run. */
function must<T>(parsed: Result<T, DecodeError>): T {
  if (!parsed.ok) throw new Error(`a row of the state: ${parsed.error.code}`);
  return parsed.value;
}

type Elected = { readonly name: string; readonly power: bigint };

function electedFrom(engine: PosProtocol, book: Book): readonly Elected[] {
  return [...book.pools]
    .filter(([name]) => mayStand(engine, book, name))
    .map(([name, { tokens }]) => ({ name, power: tokens / engine.powerUnit }))
    .sort((a, b) => (a.power === b.power ? (a.name < b.name ? -1 : 1) : a.power > b.power ? -1 : 1))
    .slice(0, engine.activeMax);
}

function mayStand(engine: PosProtocol, { pools, delegations }: Book, name: string): boolean {
  const pool = pools.get(name);
  if (pool === undefined || pool.jailedUntilMs !== undefined || pool.tokens < engine.powerUnit) return false;
  const own = delegations.get(name)?.get(toHex(pool.operator));
  return own === undefined ? engine.selfBondMin === 0n : worthOf(pool, own) >= engine.selfBondMin;
}

function worthOf({ tokens, shares }: Pool, delegation: Delegation): bigint {
  return shares === 0n ? 0n : (delegation.shares * tokens) / shares;
}

/** So many basis points, rounded up. */
function partUp(amount: bigint, bps: number): bigint {
  const whole = BigInt(BPS_WHOLE);
  return (amount * BigInt(bps) + whole - 1n) / whole;
}

function textOfSet(elected: readonly Elected[]): string {
  return elected
    .map(({ name, power }) => `${name}=${power}`)
    .sort((a, b) => (a < b ? -1 : 1))
    .join();
}

function textOfValidators({ validators }: ValidatorSet): string {
  return textOfSet(validators.map(({ address, power }) => ({ name: toHex(address), power })));
}

function differenceOf(before: string, after: string): { readonly left: readonly string[]; readonly joined: readonly string[] } {
  const namesOf = (text: string): readonly string[] => text.split(",").map((entry) => entry.split("=")[0] ?? "");
  const [were, are] = [new Set(namesOf(before)), new Set(namesOf(after))];
  return { left: [...were].filter((name) => !are.has(name)), joined: [...are].filter((name) => !were.has(name)) };
}
