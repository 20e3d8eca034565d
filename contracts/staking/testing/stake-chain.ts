/**
 * A chain under proof of stake, for tests: validators 0, 1, ... of the network file, each with an account for fees,
 * and accounts 100, 101, ... Everybody votes on every block unless said otherwise, and a block takes a second.
 */

import { assert, present } from "../../../crypto/base/assert.ts";
import { bytesEqual, fromHex, toHex } from "../../../crypto/base/bytes.ts";
import type { Address } from "../../../crypto/identity/address.ts";
import { doubleVoteOf, type Evidence } from "../../../chain/block/evidence.ts";
import type { Parameters } from "../../../chain/block/genesis.ts";
import { heightOf } from "../../../chain/block/height.ts";
import { PROTOCOL_DEFAULTS, type ProtocolOf } from "../../../chain/block/protocol.ts";
import { hashAt, networkOf, voteOf } from "../../../chain/block/testing/fixtures.ts";
import type { Call } from "../../../chain/block/call.ts";
import type { Transaction } from "../../../chain/block/transaction.ts";
import type { Execution } from "../../../chain/state/executor.ts";
import { parseStateKey, unbondingKey, votersKey } from "../../../chain/state/keys.ts";
import {
  parseDelegation,
  parsePool,
  parseStandings,
  parseUnbonding,
  type Pool,
  type Standing,
} from "../../../chain/state/stake.ts";
import { EXECUTOR } from "../../executor.ts";
import { supplyAt } from "../../supply.ts";
import { addressAt, Chain, ok, textOf } from "../../testing/chain.ts";
import { declaredPoolAt, delegationAt, poolAt, totalsAt } from "../pools.ts";
import { earnedBy, worthOf } from "../shares.ts";

/** What every account has at genesis. */
export const FUNDS = 10_000_000n;

/** Small enough to reckon with: power 1 is 1,000 tokens, unbonding takes 100 s, the window is 10 blocks. */
const ENGINE: ProtocolOf<"pos"> = {
  ...PROTOCOL_DEFAULTS.pos,
  unbondingMs: 100_000,
  signedWindow: 10,
  jailMs: 5_000,
};

const VALIDATORS = 8;
const DELEGATORS = 3;

/** What a block is made of, where it differs from the usual. */
export type BlockPlan = {
  readonly transactions?: readonly Transaction[];
  readonly evidence?: readonly Evidence[];
  /** Key pairs that did not sign the block before. */
  readonly absent?: readonly number[];
  /** Key pair of the proposer (default 0). */
  readonly proposer?: number;
  /** Since the block before (default 1,000). */
  readonly afterMs?: bigint;
};

/** See the file's head. */
export class StakeChain extends Chain {
  readonly engine: ProtocolOf<"pos">;
  timeMs: bigint;

  constructor(
    powers: readonly bigint[],
    over: { readonly engine?: Partial<ProtocolOf<"pos">>; readonly parameters?: Partial<Parameters> } = {},
  ) {
    const engine = { ...ENGINE, ...over.engine };
    const network = networkOf({ powers, parameters: over.parameters ?? {} });
    const holders = [...Array(VALIDATORS).keys(), ...Array.from({ length: DELEGATORS }, (_, index) => 100 + index)];
    super({ ...network, engine, accounts: holders.map((index) => ({ address: addressAt(index), amount: FUNDS })) });
    this.engine = engine;
    this.timeMs = network.genesisTimeMs;
  }

  /** Sets up the next block. */
  plan({ absent = [], proposer = 0, afterMs = 1_000n }: BlockPlan): void {
    const away = new Set(absent.map((index) => toHex(addressAt(index))));
    const signers = this.voters().filter(({ address }) => !away.has(toHex(address)));
    this.next = {
      proposer: addressAt(proposer),
      timeMs: this.timeMs + afterMs,
      previousCertificate:
        this.height === 0n
          ? undefined
          : {
              kind: "quorum",
              height: this.height,
              round: 0,
              blockHash: hashAt(1),
              signatures: signers.map(({ address }) => ({ validator: address, signature: new Uint8Array(0) })),
            },
    };
  }

  /** Executes the next block as planned, checks that what a proposer would do is the same, and every invariant after it. */
  pass(plan: BlockPlan = {}): Execution {
    this.plan(plan);
    const { timeMs } = this.context();
    const { transactions = [], evidence = [] } = plan;
    const selection = EXECUTOR.select(this.state, transactions, evidence, this.context());
    const execution = this.block(transactions, evidence);
    assert(JSON.stringify(selection.execution, textOfBigint) === JSON.stringify(execution, textOfBigint), "selection");
    this.timeMs = timeMs;
    checkInvariants(this);
    return execution;
  }

  /** Runs calls as the only transaction of the next block; the result as `applied` or `code field`. */
  override run(signer: number, ...calls: readonly Call[]): string {
    return textOf(present(this.pass({ transactions: [this.sign(signer, calls)] }).results[0], "result"));
  }

  /** Who decided the state's own height. */
  voters(): readonly Standing[] {
    const bytes = this.state.get(votersKey());
    return bytes === undefined ? [] : ok(parseStandings(bytes));
  }

  pool(index: number): Pool {
    return declaredPoolAt(this.state, addressAt(index));
  }

  /** What key pair `delegator` could ask back from validator `index`. */
  stake(index: number, delegator: number): bigint {
    return worthOf(this.pool(index), delegationAt(this.state, addressAt(index), addressAt(delegator)).shares);
  }

  /** The power of a validator in the set that decides two heights on; `undefined` when it is not in it. */
  powerNext(index: number): bigint | undefined {
    const { validators } = EXECUTOR.validatorsAt(this.state, "next");
    return validators.find(({ address }) => bytesEqual(address, addressAt(index)))?.power;
  }

  /** Two conflicting votes of a validator. */
  doubleVote(index: number, height: bigint, round = 0): Evidence {
    return doubleVoteOf(
      voteOf(index, { height: heightOf(height), round, blockHash: hashAt(1) }),
      voteOf(index, { height: heightOf(height), round, blockHash: hashAt(2) }),
    );
  }
}

/** Whatever happened: tokens are conserved, pools agree with their delegations, the set is the elected one. */
export function checkInvariants(chain: StakeChain): void {
  const { state, network, engine } = chain;
  const supply = supplyAt(state);
  const genesis =
    network.accounts.reduce((total, { amount }) => total + amount, 0n) +
    network.validators.reduce((total, { power }) => total + power * engine.powerUnit, 0n);
  assert(supply.total === genesis + supply.minted - supply.burned, `supply row at ${chain.height}`);
  assert(state.supply() === supply.total, `${state.supply()} tokens of ${supply.total} at ${chain.height}`);
  const waiting = checkQueue(chain);
  let bonded = 0n;
  for (const { address, pool } of poolsOf(chain)) {
    bonded += pool.tokens;
    const name = toHex(address);
    assert(pool.unbonding === (waiting.get(name) ?? 0n), `unbonding of ${name}`);
    assert(pool.tokens <= pool.shares, "a share is never worth more than a token");
    assert(pool.shares > 0n || (pool.tokens === 0n && pool.rewards === 0n), "nothing is left behind in an empty pool");
    const { shares, earned, worth } = delegationsOf(chain, name, pool);
    assert(shares === pool.shares, `shares of ${name}`);
    assert(earned <= pool.rewards, `rewards of ${name}`);
    assert(worth <= pool.tokens, `worth of ${name}`);
  }
  assert(totalsAt(state).bonded === bonded, "bonded");
  checkElection(chain);
}

/** The sum of what waits by validator, and that the queue is whole and in order. */
function checkQueue({ state }: StakeChain): Map<string, bigint> {
  const { first, end, unbonding } = totalsAt(state);
  const waiting = new Map<string, bigint>();
  let total = 0n;
  let last = 0n;
  for (let index = first; index < end; index += 1n) {
    const entry = ok(parseUnbonding(present(state.get(unbondingKey(index)), "entry")));
    assert(entry.timeMs >= last && entry.amount > 0n, "the queue is in order");
    last = entry.timeMs;
    total += entry.amount;
    waiting.set(toHex(entry.validator), (waiting.get(toHex(entry.validator)) ?? 0n) + entry.amount);
  }
  assert(total === unbonding, "unbonding");
  return waiting;
}

/** The next set is that of most stake among all who may be elected, worked out from every pool; none elected, it stays. */
function checkElection(chain: StakeChain): void {
  const { state, engine } = chain;
  for (const which of ["current", "next"] as const)
    assert(EXECUTOR.validatorsAt(state, which).validators.length > 0, `the ${which} set is never empty`);
  const eligible = poolsOf(chain)
    .filter(({ address, pool }) => {
      const own = worthOf(pool, delegationAt(state, address, pool.operator).shares);
      return pool.jailedUntilMs === undefined && own >= engine.selfBondMin && pool.tokens >= engine.powerUnit;
    })
    .map(({ address, pool }) => ({ name: toHex(address), power: pool.tokens / engine.powerUnit }))
    .sort((a, b) => (a.power === b.power ? (a.name < b.name ? -1 : 1) : a.power > b.power ? -1 : 1))
    .slice(0, engine.activeMax);
  if (eligible.length === 0) return;
  const set = EXECUTOR.validatorsAt(state, "next").validators.map(({ address, power }) => `${toHex(address)}=${power}`);
  const expected = eligible.map(({ name, power }) => `${name}=${power}`).sort((a, b) => (a < b ? -1 : 1));
  assert(set.join() === expected.join(), `the elected set at ${chain.height}`);
}

function poolsOf({ state }: StakeChain): readonly { readonly address: Address; readonly pool: Pool }[] {
  const pools: { address: Address; pool: Pool }[] = [];
  for (const [name, value] of state.rows) {
    const key = parseStateKey(fromHex(name));
    if (key?.kind === "pool") pools.push({ address: key.address, pool: ok(parsePool(value)) });
  }
  return pools;
}

function delegationsOf(
  { state }: StakeChain,
  validator: string,
  pool: Pool,
): { readonly shares: bigint; readonly earned: bigint; readonly worth: bigint } {
  const sum = { shares: 0n, earned: 0n, worth: 0n };
  for (const [name, value] of state.rows) {
    const key = parseStateKey(fromHex(name));
    if (key?.kind !== "delegation" || toHex(key.validator) !== validator) continue;
    const delegation = ok(parseDelegation(value));
    assert(delegation.shares > 0n, "no empty delegation is kept");
    sum.shares += delegation.shares;
    sum.earned += earnedBy(pool, delegation);
    sum.worth += worthOf(pool, delegation.shares);
  }
  return sum;
}

/** The pool of a validator that may not have been declared. */
export function poolOf(chain: StakeChain, index: number): Pool | undefined {
  return poolAt(chain.state, addressAt(index));
}

function textOfBigint(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? `${value}n` : value;
}
