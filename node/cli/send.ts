/** From calls to a final transaction: nonce, fee, expiry, signatures, submission, and the verified inclusion. */

import { feeOf, type Parameters } from "../../chain/block/genesis.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { AMOUNT_MAX } from "../../chain/block/limits.ts";
import type { Call } from "../../chain/block/call.ts";
import { checkTransactionBody, signedSizeBytes, type Transaction, type TransactionBody } from "../../chain/block/transaction.ts";
import { present } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { Authorisation, MultisigPolicy } from "../../crypto/identity/authorisation.ts";
import { type PublicKey, publicKeysEqual, signatureSizeBytes } from "../../crypto/sign/key.ts";
import { placeFile } from "../home/files.ts";
import type { Home } from "../home/home.ts";
import { listKeys, listPolicies, openKey, readKey, readPolicy } from "../home/keys.ts";
import type { PyralogClient } from "../rpc/client.ts";
import { callText } from "./calls.ts";
import { openClient } from "./client.ts";
import type { Answer } from "./answer.ts";
import { NODE_OPTIONS, PASSPHRASE_OPTIONS, type OptionTable } from "./command.ts";
import { completeDraft, type Draft, encodeDraft, signDraft } from "./draft.ts";
import type { Invocation } from "./invocation.ts";
import { explain, transactionAnswer } from "./transaction-text.ts";

/** How long after the newest block a transaction may be included, when nobody says: minutes, whatever the block interval. */
const VALID_FOR_HEIGHTS_DEFAULT = 1000n;

const WAIT_SECONDS_DEFAULT = 60;

/** Options of verbs that hand in a transaction. */
export const SUBMIT_OPTIONS: OptionTable = {
  "no-wait": { kind: "flag", description: "do not wait until it is final" },
  timeout: { kind: "text", value: "SECONDS", description: `how long to wait (default ${WAIT_SECONDS_DEFAULT})` },
  ...NODE_OPTIONS,
};

/** Options of verbs that make a transaction. */
export const SEND_OPTIONS: OptionTable = {
  from: { kind: "text", value: "NAME", description: "key or policy of the home that sends" },
  fee: { kind: "text", value: "AMOUNT", description: "fee in base units (default: the least that the network takes)" },
  nonce: {
    kind: "text",
    value: "N",
    description: "number of the sender's transactions before this one (default: asked and verified)",
  },
  "valid-for": {
    kind: "text",
    value: "HEIGHTS",
    description: `may be included for so many heights (default ${VALID_FOR_HEIGHTS_DEFAULT})`,
  },
  unsigned: { kind: "text", value: "FILE", description: "write a draft for others to sign instead of sending" },
  ...SUBMIT_OPTIONS,
  ...PASSPHRASE_OPTIONS,
};

/** Who sends: a key, or a policy. */
type Sender = { readonly name: string; readonly address: Address } & (
  | { readonly kind: "key"; readonly publicKey: PublicKey }
  | { readonly kind: "policy"; readonly policy: MultisigPolicy }
);

/** Makes a transaction of these calls, and sends it unless a draft was asked for. */
export async function sendCalls(invocation: Invocation, calls: readonly Call[]): Promise<Answer> {
  const { home } = invocation;
  const sender = await findSender(home, invocation.requireText("from"));
  const client = await openClient(invocation);
  const draft: Draft = { body: await draftBody(invocation, client, sender, calls), signatures: [] };
  const file = invocation.text("unsigned");
  if (file !== undefined) {
    await placeFile(file, encodeDraft(draft));
    return {
      json: { draft: file, fee: draft.body.fee, nonce: draft.body.nonce },
      text: `Wrote ${file}: ${calls.map(callText).join("; ")}\nNext, each holder: pyralog tx sign ${file} --with NAME`,
    };
  }
  const signed = await signWithHome(invocation, draft, sender);
  const policies = sender.kind === "policy" ? [sender.policy] : [];
  return submitTransaction(invocation, client, completeDraft(signed, policies));
}

/** Makes a transaction of these calls with a key of the home, and waits until it is final. @throws CodedError when it failed */
export async function sendFinal(
  invocation: Invocation,
  calls: readonly Call[],
): Promise<{ readonly client: PyralogClient; readonly id: Hash }> {
  const sender = await findSender(invocation.home, invocation.requireText("from"));
  const client = await openClient(invocation);
  const draft: Draft = { body: await draftBody(invocation, client, sender, calls), signatures: [] };
  const signed = await signWithHome(invocation, draft, sender);
  const transaction = completeDraft(signed, sender.kind === "policy" ? [sender.policy] : []);
  await submitTransaction(invocation, client, transaction);
  return { client, id: transaction.id };
}

/** Hands a signed transaction in; waits for it, unless told not to, and fails when its calls did. */
export async function submitTransaction(
  invocation: Invocation,
  client: PyralogClient,
  transaction: Transaction,
): Promise<Answer> {
  const { signal } = invocation;
  const id = await client.submit(transaction, { signal });
  if (invocation.flag("no-wait"))
    return { json: { id, status: "submitted" }, text: `${toHex(id)}\nsubmitted; see: pyralog tx why ${toHex(id)}` };
  const timeoutMs = (invocation.integer("timeout", { min: 1, max: 86_400 }) ?? WAIT_SECONDS_DEFAULT) * 1000;
  const final = await client.wait(id, { signal, timeoutMs });
  const { result } = final.value;
  if (result.kind === "applied") return transactionAnswer(final);
  const { meaning, action } = explain(result.code);
  throw new CodedError(result.code, {
    field: result.field,
    message: `${toHex(id)} was included at height ${final.verified.height} and did nothing: ${meaning ?? "its calls failed"}${action === undefined ? "" : `; ${action}`}`,
  });
}

/** Adds the signature of one key of the home. */
export async function signWith(invocation: Invocation, draft: Draft, name: string): Promise<Draft> {
  const key = await openKey(invocation.home, name, await invocation.passphrase(invocation.home));
  return signDraft(draft, key.keyPair);
}

async function findSender(home: Home, name: string): Promise<Sender> {
  const policy = await readPolicy(home, name);
  if (policy !== undefined) return { kind: "policy", name, address: policy.address, policy: policy.policy };
  const key = await readKey(home, name);
  return { kind: "key", name, address: key.address, publicKey: key.publicKey };
}

async function draftBody(
  invocation: Invocation,
  client: PyralogClient,
  sender: Sender,
  calls: readonly Call[],
): Promise<TransactionBody> {
  const { network } = client;
  const { height, nonce } = await standing(invocation, client, sender.address);
  const validFor = invocation.bigint("valid-for", { min: 1n, max: 1_000_000_000n }) ?? VALID_FOR_HEIGHTS_DEFAULT;
  const body = {
    chainId: network.chainId,
    sender: sender.address,
    nonce,
    fee: AMOUNT_MAX,
    expiry: heightOf(height + validFor),
    calls,
  };
  const checked = checkTransactionBody(body);
  if (!checked.ok)
    throw new CodedError(checked.error.code, {
      field: checked.error.field,
      message: explain(checked.error.code).meaning ?? checked.error.code,
    });
  const fee = invocation.bigint("fee", { min: 0n, max: AMOUNT_MAX }) ?? leastFee(network.parameters, body, sender);
  return { ...body, fee };
}

/** The verified height and nonce; before the first block, those of genesis. */
async function standing(
  invocation: Invocation,
  client: PyralogClient,
  address: Address,
): Promise<{ readonly height: bigint; readonly nonce: bigint }> {
  const chosen = invocation.bigint("nonce", { min: 0n, max: AMOUNT_MAX });
  try {
    const { value, verified } = await client.account(address, { signal: invocation.signal });
    return { height: verified.height, nonce: chosen ?? value.nonce };
  } catch (error) {
    if (codeOf(error) !== "height_none") throw error;
    return { height: 0n as Height, nonce: chosen ?? 0n };
  }
}

/** What the network asks for the size that the transaction will have: fee and signatures have known sizes. */
function leastFee(parameters: Parameters, body: TransactionBody, sender: Sender): bigint {
  return feeOf(parameters, signedSizeBytes(body, placeholder(sender)));
}

function placeholder(sender: Sender): Authorisation {
  const signatureOf = (key: PublicKey): Uint8Array => new Uint8Array(signatureSizeBytes(key.type));
  if (sender.kind === "key") return { kind: "single", key: sender.publicKey, signature: signatureOf(sender.publicKey) };
  const { policy } = sender;
  // Which holders sign is not known yet; the longest signatures are paid for.
  const largest = policy.keys
    .map((key, keyIndex) => ({ keyIndex, signature: signatureOf(key) }))
    .sort((a, b) => b.signature.length - a.signature.length);
  return { kind: "multisig", policy, signatures: largest.slice(0, policy.threshold).sort((a, b) => a.keyIndex - b.keyIndex) };
}

/** Signs with the sender's key, or with as many of its policy's keys as it takes and the home holds. */
async function signWithHome(invocation: Invocation, draft: Draft, sender: Sender): Promise<Draft> {
  if (sender.kind === "key") return signWith(invocation, draft, sender.name);
  const holders = (await listKeys(invocation.home)).filter(({ publicKey }) =>
    sender.policy.keys.some((key) => publicKeysEqual(key, publicKey)),
  );
  if (holders.length < sender.policy.threshold) {
    throw new CodedError("multisig_threshold", {
      field: "--from",
      message: `${sender.name} wants ${sender.policy.threshold} signatures and the home holds ${holders.length} of its keys; write a draft with --unsigned and pass it on`,
    });
  }
  let signed = draft;
  for (const { name } of holders.slice(0, sender.policy.threshold)) signed = await signWith(invocation, signed, name);
  return signed;
}

/** Sends a draft that has enough signatures. */
export async function submitDraft(invocation: Invocation, draft: Draft): Promise<Answer> {
  const policies = (await listPolicies(invocation.home)).map(({ policy }) => policy);
  return submitTransaction(invocation, await openClient(invocation), completeDraft(draft, policies));
}

/** The network that a draft must be for: the home's. @throws CodedError `chain_mismatch` */
export async function requireChain(invocation: Invocation, draft: Draft): Promise<void> {
  const { chainId } = present(await invocation.network(), "network");
  if (draft.body.chainId !== chainId)
    throw new CodedError("chain_mismatch", {
      field: "chainId",
      message: `the draft is for ${draft.body.chainId}, and the home has joined ${chainId}`,
    });
}
