/** A chain without consensus, network or disk: real transactions through the real executor onto a map of rows. */

import { assert, present } from "../../crypto/base/assert.ts";
import { fromHex, toHex } from "../../crypto/base/bytes.ts";
import type { Result } from "../../crypto/base/result.ts";
import { type Address, addressOfKey } from "../../crypto/identity/address.ts";
import type { TransactionResult } from "../../chain/block/block.ts";
import type { Evidence } from "../../chain/block/evidence.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction, type Transaction } from "../../chain/block/transaction.ts";
import type { BlockContext, Execution, ExecutionRefusal, StateView } from "../../chain/state/executor.ts";
import { accountKey, parseStateKey, type StateKey } from "../../chain/state/keys.ts";
import { type Account, ACCOUNT_EMPTY, parseAccount, parseRewards } from "../../chain/state/rows.ts";
import { parsePool, parseUnbonding } from "../../chain/state/stake.ts";
import type { StateUpdate } from "../../chain/state/update.ts";
import { EXECUTOR } from "../executor.ts";
import { rewardsAt } from "../rewards.ts";

/** Who earns the fees in tests: an account that nothing else touches. */
export const PROPOSER: Address = addressOfKey(keyPairAt(99).publicKey);

/** The address of key pair `index`. */
export function addressAt(index: number): Address {
  return addressOfKey(keyPairAt(index).publicKey);
}

/** Rows by key. */
export class MapState implements StateView {
  readonly rows = new Map<string, Uint8Array>();

  get(key: Uint8Array): Uint8Array | undefined {
    return this.rows.get(toHex(key));
  }

  apply(updates: readonly StateUpdate[]): void {
    for (const { key, value } of updates) {
      if (value === undefined) assert(this.rows.delete(toHex(key)), "deleted a row that was not there");
      else this.rows.set(toHex(key), value);
    }
  }

  /** The sum of all tokens that somebody holds, has earned, has staked or has asked back. */
  supply(): bigint {
    let total = 0n;
    for (const [name, value] of this.rows) total += tokensIn(parseStateKey(fromHex(name))?.kind, value);
    return total;
  }
}

function tokensIn(kind: StateKey["kind"] | undefined, value: Uint8Array): bigint {
  if (kind === "account") return ok(parseAccount(value)).balance;
  if (kind === "rewards") return ok(parseRewards(value));
  if (kind === "unbonding") return ok(parseUnbonding(value)).amount;
  if (kind !== "pool") return 0n;
  const { tokens, rewards, commission } = ok(parsePool(value));
  return tokens + rewards + commission;
}

/** See the file's head. */
export class Chain {
  readonly network: NetworkFile;
  readonly state = new MapState();
  height: Height = heightOf(0n);
  /** What differs in the next block from what `context` would say. */
  next: Partial<Pick<BlockContext, "proposer" | "timeMs" | "previousCertificate">> = {};

  constructor(network: NetworkFile) {
    this.network = network;
    this.state.apply(EXECUTOR.genesis(network));
  }

  /** The context of the next block. */
  context(): BlockContext {
    const { chainId, parameters, genesisTimeMs } = this.network;
    return {
      chainId,
      parameters,
      engine: this.network.engine,
      previousCertificate: undefined,
      proposer: PROPOSER,
      height: heightOf(this.height + 1n),
      timeMs: genesisTimeMs + this.height + 1n,
      ...this.next,
    };
  }

  account(index: number): Account {
    const bytes = this.state.get(accountKey(addressAt(index)));
    return bytes === undefined ? ACCOUNT_EMPTY : ok(parseAccount(bytes));
  }

  /** What key pair `index` has earned and not claimed. */
  rewards(index: number): bigint {
    return rewardsAt(this.state, addressAt(index));
  }

  /** A transaction signed by key pair `signer`, with its next nonce unless said otherwise. */
  sign(
    signer: number,
    calls: readonly Call[],
    over: { readonly nonce?: bigint; readonly fee?: bigint; readonly expiry?: bigint; readonly chainId?: string } = {},
  ): Transaction {
    return signTransaction(
      {
        chainId: over.chainId ?? this.network.chainId,
        sender: addressAt(signer),
        nonce: over.nonce ?? this.account(signer).nonce,
        fee: over.fee ?? 2000n,
        expiry: heightOf(over.expiry ?? this.height + 100n),
        calls,
      },
      keyPairAt(signer),
    );
  }

  /** What the next block would do. Changes nothing. */
  try(transactions: readonly Transaction[], evidence: readonly Evidence[] = []): Result<Execution, ExecutionRefusal> {
    return EXECUTOR.execute(this.state, transactions, evidence, this.context());
  }

  /** Executes the next block, which must be valid, and moves on. */
  block(transactions: readonly Transaction[], evidence: readonly Evidence[] = []): Execution {
    const execution = ok(this.try(transactions, evidence));
    this.state.apply(execution.updates);
    this.height = heightOf(this.height + 1n);
    this.next = {};
    return execution;
  }

  /** Runs calls as the only transaction of the next block; the result as `applied` or `code field`. */
  run(signer: number, ...calls: readonly Call[]): string {
    return textOf(present(this.block([this.sign(signer, calls)]).results[0], "result"));
  }
}

/** `applied`, or `code field`. */
export function textOf(result: TransactionResult): string {
  return result.kind === "applied" ? result.kind : `${result.code} ${result.field}`;
}

/** The value of a success. */
export function ok<T>(result: Result<T>): T {
  assert(
    result.ok,
    result.ok ? "" : JSON.stringify(result.error, (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value)),
  );
  return result.value;
}
