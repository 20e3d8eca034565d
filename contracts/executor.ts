/**
 * The executor: the state machine that every validator runs, as one pure function of state and block.
 *
 * A block executes in this order:
 *
 * 1. the validator sets move on by one height (`validators.ts`);
 * 2. evidence is acted on; under proof of stake the votes that were missed, and stake whose time has come, before it
 *    (`staking/staking.ts`);
 * 3. each transaction in turn: checked against the state so far (a fault here makes the *block* invalid), charged its
 *    fee and counted, then its calls run; when one fails, all that the calls wrote is undone and the result says why;
 * 4. the fees of the block, and the new tokens that the protocol pays for one, are added to what its proposer has
 *    earned (`rewards.ts`), or under proof of stake shared out, and the next set is elected.
 *
 * Tokens are conserved exactly: balances, rewards and stake are those of genesis and what was minted, less what was
 * burned, at every height.
 */

import { present } from "../crypto/base/assert.ts";
import { fail, ok, type Result } from "../crypto/base/result.ts";
import type { TransactionResult } from "../chain/block/block.ts";
import type { Evidence } from "../chain/block/evidence.ts";
import { encodeParameters, feeOf, genesisStake, genesisValidators, type NetworkFile } from "../chain/block/genesis.ts";
import { EVIDENCE_MAX } from "../chain/block/limits.ts";
import type { Transaction, TransactionBody } from "../chain/block/transaction.ts";
import { advancePriorities } from "../chain/block/validators.ts";
import type {
  Admission,
  BlockContext,
  Execution,
  ExecutionRefusal,
  Executor,
  Selection,
  StateView,
  TransactionRefusal,
} from "../chain/state/executor.ts";
import { authorityKey, parametersKey } from "../chain/state/keys.ts";
import { Overlay } from "../chain/state/overlay.ts";
import { encodeAuthority } from "../chain/state/rows.ts";
import type { StateUpdate } from "../chain/state/update.ts";
import { accountAt, charge, credit } from "./accounts.ts";
import { Appends } from "./appends.ts";
import { runCall } from "./calls.ts";
import { keepRules, partitionSize } from "./partitions.ts";
import { reward } from "./rewards.ts";
import type { CallScope } from "./scope.ts";
import { noteOffence } from "./staking/slashing.ts";
import { beginStaking, endStaking, putGenesisStake, settleEvidence, type StakingRun } from "./staking/staking.ts";
import { mint, putGenesisSupply } from "./supply.ts";
import { admitEvidence, noteMisbehaviour, punish, putValidators, shiftValidators, validatorsAt } from "./validators.ts";

/** The executor of the built-in calls. */
export const EXECUTOR: Executor = { genesis, admit, execute, select, admitEvidence, validatorsAt, partitionSize, keepRules };

const NO_STATE: StateView = { get: () => undefined };
const APPLIED: TransactionResult = { kind: "applied" };

function genesis(network: NetworkFile): readonly StateUpdate[] {
  const state = new Overlay(NO_STATE);
  const { engine } = network;
  const funded = network.accounts.reduce((total, { amount }) => total + amount, 0n);
  const staked = engine.name === "pos" ? genesisStake(engine, network.validators) : 0n;
  putGenesisSupply(state, funded + staked);
  if (engine.name === "pos") putGenesisStake(state, engine, network);
  for (const { address, amount } of network.accounts) credit(state, address, amount);
  const validators = genesisValidators(network);
  putValidators(state, "current", validators);
  putValidators(state, "next", advancePriorities(validators, 1));
  if (network.authority !== undefined) state.put(authorityKey(), encodeAuthority(network.authority));
  state.put(parametersKey(), encodeParameters(network.parameters));
  return state.changes();
}

function admit(view: StateView, transaction: Transaction, context: BlockContext): Result<Admission, TransactionRefusal> {
  const { body } = transaction;
  const { parameters } = context;
  const sizeBytes = transaction.bytes.length;
  if (body.chainId !== context.chainId) return fail({ code: "chain_mismatch", field: "chainId" });
  if (body.expiry < context.height) return fail({ code: "transaction_expired", field: "expiry" });
  if (sizeBytes > parameters.transactionSizeBytesMax) return fail({ code: "transaction_size", field: "transaction" });
  if (body.fee < feeOf(parameters, sizeBytes)) return fail({ code: "fee_low", field: "fee" });
  const account = accountAt(view, body.sender);
  if (body.nonce < account.nonce) return fail({ code: "nonce_used", field: "nonce" });
  if (account.balance < body.fee) return fail({ code: "balance_insufficient", field: "fee" });
  return ok(account);
}

function execute(
  view: StateView,
  transactions: readonly Transaction[],
  evidence: readonly Evidence[],
  context: BlockContext,
): Result<Execution, ExecutionRefusal> {
  const run = begin(view, context);
  if (evidence.length > EVIDENCE_MAX) return fail({ code: "evidence_count", field: "evidence", transactionIndex: undefined });
  for (const [index, piece] of evidence.entries()) {
    const done = act(run, piece);
    if (!done.ok)
      return fail({ code: done.error.code, field: `evidence[${index}].${done.error.field}`, transactionIndex: undefined });
  }
  settle(run);
  for (let transactionIndex = 0; transactionIndex < transactions.length; transactionIndex += 1) {
    const done = include(run, present(transactions[transactionIndex], "transaction"));
    if (!done.ok) return fail({ ...done.error, transactionIndex });
  }
  return ok(finish(run));
}

function select(
  view: StateView,
  transactions: readonly Transaction[],
  evidence: readonly Evidence[],
  context: BlockContext,
): Selection {
  const run = begin(view, context);
  const acted: Evidence[] = [];
  for (const piece of evidence) if (acted.length < EVIDENCE_MAX && act(run, piece).ok) acted.push(piece);
  settle(run);
  const included: Transaction[] = [];
  const dropped: { transaction: Transaction; refusal: TransactionRefusal }[] = [];
  for (const transaction of transactions) {
    const done = include(run, transaction);
    if (done.ok) included.push(transaction);
    else dropped.push({ transaction, refusal: done.error });
  }
  return { execution: finish(run), transactions: included, evidence: acted, dropped };
}

/** A block in execution. */
type Run = {
  readonly state: Overlay;
  readonly appends: Appends;
  readonly context: BlockContext;
  readonly results: TransactionResult[];
  /** Under proof of stake. */
  readonly staking: StakingRun | undefined;
  /** See `CallScope`; of no use but under proof of stake. */
  readonly touched: CallScope["touched"];
  fees: bigint;
};

function begin(view: StateView, context: BlockContext): Run {
  const state = new Overlay(view);
  const { engine } = context;
  const staking = engine.name === "pos" ? beginStaking(state, engine, context) : undefined;
  shiftValidators(state);
  return { state, appends: new Appends(), context, results: [], staking, touched: staking?.touched ?? new Map(), fees: 0n };
}

/** Acts on evidence, or refuses it and changes nothing. */
function act(run: Run, evidence: Evidence): Result<void, TransactionRefusal> {
  const { state, context, staking } = run;
  const admitted = admitEvidence(state, evidence, context);
  if (!admitted.ok) return admitted;
  noteMisbehaviour(state, evidence, context.height);
  if (staking === undefined) punish(state, evidence, context.height);
  else noteOffence(state, staking.offenders, evidence.first.validator, evidence.first.height);
  return admitted;
}

/** Settles what the evidence of the block costs, once all of it is known. */
function settle({ state, context, staking }: Run): void {
  if (staking !== undefined) settleEvidence(state, staking, context);
}

/** Includes a transaction and runs its calls, or refuses it and changes nothing. */
function include(run: Run, transaction: Transaction): Result<void, TransactionRefusal> {
  const { state, appends, context } = run;
  const { body } = transaction;
  const admitted = admit(state, transaction, context);
  if (!admitted.ok) return admitted;
  if (body.nonce > admitted.value.nonce) return fail({ code: "nonce_ahead", field: "nonce" });
  charge(state, body, admitted.value);
  run.fees += body.fee;
  run.results.push(runCalls({ state, appends, sender: body.sender, context, touched: run.touched }, body));
  state.settle();
  return ok(undefined);
}

function finish({ state, appends, context, results, staking, fees }: Run): Execution {
  if (staking !== undefined) endStaking(state, staking, context, fees);
  else {
    const minted = context.engine.name === "pow" ? mint(state, context.engine.blockReward) : 0n;
    reward(state, context.proposer, fees + minted);
  }
  return {
    results,
    updates: state.changes(),
    appends: appends.merged(),
    erasures: [...appends.erasures],
    validators: validatorsAt(state, "current"),
  };
}

/** Runs the calls of one transaction: all of them, or, after a fault, none. */
function runCalls(scope: CallScope, body: TransactionBody): TransactionResult {
  const stateBefore = scope.state.checkpoint();
  const appendsBefore = scope.appends.checkpoint();
  for (let index = 0; index < body.calls.length; index += 1) {
    const fault = runCall(scope, present(body.calls[index], "call"));
    if (fault === undefined) continue;
    scope.state.revert(stateBefore);
    scope.appends.revert(appendsBefore);
    return { kind: "failed", code: fault.code, field: `calls[${index}].${fault.field}` };
  }
  return APPLIED;
}
