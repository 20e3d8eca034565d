/** Every method, in the order of the OpenRPC document. */

import * as z from "zod";
import { ok } from "../../../crypto/base/result.ts";
import { openRpcDocument } from "../openrpc.ts";
import { type AnyMethod, method } from "../method.ts";
import { accountGet } from "./account.ts";
import {
  chainBlock,
  chainBlocks,
  chainCertificate,
  chainFind,
  chainHead,
  chainHeader,
  chainHeaders,
  chainHistoryProof,
  chainLightBlock,
} from "./chain.ts";
import { consensusStatus } from "./consensus.ts";
import { networkFile } from "./network.ts";
import { nodePeers, nodeStatus } from "./node.ts";
import { obeliskIds, obeliskNumber, obeliskSequence, obeliskSession, obeliskStatus } from "./obelisk.ts";
import { recordlogReceipt } from "./recordlog.ts";
import { stateProve } from "./state.ts";
import { streamConsistency, streamHead, streamRecords } from "./stream.ts";
import { subscribe, unsubscribe } from "./subscription.ts";
import { tableGet, tableList, tableRangeRead, tableRow } from "./table.ts";
import { transactionProof, transactionStatus, transactionSubmit, transactionWait } from "./transaction.ts";
import { validatorsAt, validatorsChanges } from "./validators.ts";

/** Made once, and not before all methods are there: it takes longer than most answers. */
let document: ReturnType<typeof openRpcDocument> | undefined;

const rpcDiscover = method({
  name: "rpc.discover",
  summary: "This document.",
  params: z.strictObject({}),
  result: z.record(z.string(), z.unknown()).describe("An OpenRPC document."),
  errors: [],
  handle() {
    document ??= openRpcDocument(METHODS);
    return ok(document);
  },
});

/** See the file's head. */
export const METHODS: readonly AnyMethod[] = [
  rpcDiscover,
  nodeStatus,
  nodePeers,
  networkFile,
  consensusStatus,
  chainHead,
  chainHeader,
  chainBlock,
  chainBlocks,
  chainCertificate,
  chainHeaders,
  chainHistoryProof,
  chainFind,
  chainLightBlock,
  transactionSubmit,
  transactionStatus,
  transactionWait,
  transactionProof,
  accountGet,
  tableGet,
  tableList,
  tableRow,
  tableRangeRead,
  streamHead,
  streamRecords,
  streamConsistency,
  recordlogReceipt,
  stateProve,
  obeliskStatus,
  obeliskSequence,
  obeliskIds,
  obeliskSession,
  obeliskNumber,
  validatorsAt,
  validatorsChanges,
  subscribe,
  unsubscribe,
];
