/** The built-in calls, each handed to the file that knows its noun. */

import { unreachable } from "../crypto/base/assert.ts";
import type { Call } from "../chain/block/call.ts";
import { transfer } from "./accounts.ts";
import { claimNumber, releaseNumber, renewNumber } from "./numbers.ts";
import { appendToPartition, eraseRecord } from "./partitions.ts";
import { claimRewards } from "./rewards.ts";
import type { CallFault, CallScope } from "./scope.ts";
import { changeCommission, declareValidator, unjail } from "./staking/declarations.ts";
import { bond, collect, unbond } from "./staking/delegations.ts";
import { appendInSession, openSession } from "./sessions.ts";
import { createStream } from "./streams.ts";
import { createTable, deleteRow, putRow } from "./tables.ts";
import { changeValidator } from "./validators.ts";

/** Runs one call. After a fault the caller reverts whatever the transaction wrote. */
export function runCall(scope: CallScope, call: Call): CallFault | undefined {
  switch (call.kind) {
    case "transfer":
      return transfer(scope, call);
    case "tableCreate":
      return createTable(scope, call);
    case "tablePut":
      return putRow(scope, call);
    case "tableDelete":
      return deleteRow(scope, call);
    case "logAppend":
      return appendToPartition(scope, {
        ...call,
        records: call.records.map((value) => ({ key: undefined, value, headers: [] })),
      });
    case "streamCreate":
      return createStream(scope, call);
    case "streamAppend":
      return appendToPartition(scope, call);
    case "recordErase":
      return eraseRecord(scope, call);
    case "validatorSet":
      return changeValidator(scope, call);
    case "rewardsClaim":
      return (call.validator === undefined ? undefined : collect(scope, call.validator)) ?? claimRewards(scope);
    case "validatorDeclare":
      return declareValidator(scope, call);
    case "stakeBond":
      return bond(scope, call);
    case "stakeUnbond":
      return unbond(scope, call);
    case "validatorCommission":
      return changeCommission(scope, call);
    case "validatorUnjail":
      return unjail(scope, call);
    case "numberClaim":
      return claimNumber(scope, call);
    case "numberRenew":
      return renewNumber(scope, call);
    case "numberRelease":
      return releaseNumber(scope, call);
    case "sessionOpen":
      return openSession(scope, call);
    case "sessionAppend":
      return appendInSession(scope, call);
    default:
      return unreachable(call);
  }
}
