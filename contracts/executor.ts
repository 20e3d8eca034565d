/**
 * The executor: the state machine that every validator runs, as one pure function of state and block.
 *
 * A block executes in this order:
 *
 * 1. the validator sets move on by one height (`validators.ts`);
 * 2. evidence is acted on;
 * 3. each transaction in turn: checked against the state so far (a fault here makes the *block* invalid), charged its
 *    fee and counted, then its calls run; when one fails, all that the calls wrote is undone and the result says why;
 * 4. the fees of the block go to its proposer.
 *
 * Tokens are conserved exactly: the sum of all balances is that of genesis, at every height.
 */

import { present } from "../crypto/base/assert.ts";
import { fail, ok, type Result } from "../crypto/base/result.ts";
import type { TransactionResult } from "../chain/block/block.ts";
import type { Evidence } from "../chain/block/evidence.ts";
import { encodeParameters, feeOf, genesisValidators, type NetworkFile } from "../chain/block/genesis.ts";
import { EVIDENCE_MAX } from "../chain/block/limits.ts";
import type { Transaction } from "../chain/block/transaction.ts";
import { advancePriorities } from "../chain/block/validators.ts";
import type {
  Admission,
  BlockContext,
  Execution,
  ExecutionRefusal,
  Executor,
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
import { partitionSize } from "./partitions.ts";
import type { CallScope } from "./scope.ts";
import { admitEvidence, punish, putValidators, shiftValidators, validatorsAt } from "./validators.ts";

/** The executor of the built-in calls. */
export const EXECUTOR: Executor = { genesis, admit, execute, admitEvidence, validatorsAt, partitionSize };

const NO_STATE: StateView = { get: () => undefined };
const APPLIED: TransactionResult = { kind: "applied" };

function genesis(network: NetworkFile): readonly StateUpdate[] {
  const state = new Overlay(NO_STATE);
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
  const state = new Overlay(view);
  const appends = new Appends();
  shiftValidators(state);
  const punished = actOn(state, evidence, context);
  if (!punished.ok) return fail({ ...punished.error, transactionIndex: undefined });
  const results: TransactionResult[] = [];
  let fees = 0n;
  for (const [transactionIndex, transaction] of transactions.entries()) {
    const admitted = admit(state, transaction, context);
    if (!admitted.ok) return fail({ ...admitted.error, transactionIndex });
    if (transaction.body.nonce > admitted.value.nonce) return fail({ code: "nonce_ahead", field: "nonce", transactionIndex });
    charge(state, transaction.body.sender, transaction.body.fee);
    fees += transaction.body.fee;
    results.push(runCalls({ state, appends, sender: transaction.body.sender, context }, transaction));
  }
  if (fees > 0n) credit(state, context.proposer, fees);
  return ok({ results, updates: state.changes(), appends: appends.merged(), validators: validatorsAt(state, "current") });
}

function actOn(state: Overlay, evidence: readonly Evidence[], context: BlockContext): Result<void, TransactionRefusal> {
  if (evidence.length > EVIDENCE_MAX) return fail({ code: "evidence_count", field: "evidence" });
  for (const [index, piece] of evidence.entries()) {
    const admitted = admitEvidence(state, piece, context);
    if (!admitted.ok) return fail({ ...admitted.error, field: `evidence[${index}].${admitted.error.field}` });
    punish(state, piece, context.height);
  }
  return ok(undefined);
}

/** Runs the calls of one transaction: all of them, or, after a fault, none. */
function runCalls(scope: CallScope, { body }: Transaction): TransactionResult {
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
