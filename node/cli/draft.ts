/**
 * Drafts: transactions on their way to enough signatures. A file that holders of a multisig pass on, or that goes to
 * a machine without a network and back.
 *
 * ```json
 * { "body": "<hex>", "signatures": [{ "key": "<hex>", "signature": "<hex>" }] }
 * ```
 */

import { z } from "zod";
import {
  assembleTransaction,
  encodeTransactionBody,
  parseTransactionBody,
  type Transaction,
  type TransactionBody,
  transactionId,
} from "../../chain/block/transaction.ts";
import { bytesEqual, parseHex, parseUtf8, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { addressOfKey, addressOfPolicy } from "../../crypto/identity/address.ts";
import { gatherAuthorisation, type MultisigPolicy } from "../../crypto/identity/authorisation.ts";
import {
  encodePublicKey,
  type KeyPair,
  parsePublicKey,
  type PublicKey,
  publicKeysEqual,
  verifySignature,
} from "../../crypto/sign/key.ts";

/** A body is at most 1 MiB, sixteen hybrid signatures 90 KB; in hex twice that. */
export const DRAFT_SIZE_BYTES_MAX = 4 * 1024 * 1024;

/** A body, and the signatures that it has so far; all of them valid, no key twice. */
export type Draft = {
  readonly body: TransactionBody;
  readonly signatures: readonly { readonly key: PublicKey; readonly signature: Uint8Array }[];
};

/** Why bytes are not a draft: `draft_syntax` no such document, `draft_signature` a signature that is not valid, or a code of the body. */
export type DraftError = { readonly code: string; readonly field: string };

const DRAFT_SCHEMA = z.strictObject({
  body: z.string().max(2 * 1024 * 1024),
  signatures: z.array(z.strictObject({ key: z.string().max(8192), signature: z.string().max(16_384) })).max(16),
});

/** The text of a draft. */
export function encodeDraft(draft: Draft): string {
  const signatures = draft.signatures.map(({ key, signature }) => ({
    key: toHex(encodePublicKey(key)),
    signature: toHex(signature),
  }));
  return `${JSON.stringify({ body: toHex(encodeTransactionBody(draft.body)), signatures }, undefined, 2)}\n`;
}

/** Parses a draft and verifies its signatures. Never throws on hostile bytes. */
export function parseDraft(bytes: Uint8Array): Result<Draft, DraftError> {
  if (bytes.length > DRAFT_SIZE_BYTES_MAX) return fail({ code: "draft_syntax", field: "" });
  const document = parseDocument(bytes);
  if (document === undefined) return fail({ code: "draft_syntax", field: "" });
  const bodyBytes = parseHex(document.body);
  if (!bodyBytes.ok) return fail({ code: bodyBytes.error.code, field: "body" });
  const body = parseTransactionBody(bodyBytes.value);
  if (!body.ok) return fail({ code: body.error.code, field: body.error.field ?? "body" });
  const id = transactionId(bodyBytes.value);
  const signatures: { key: PublicKey; signature: Uint8Array }[] = [];
  for (const [index, each] of document.signatures.entries()) {
    const field = `signatures.${index}`;
    const keyBytes = parseHex(each.key);
    const key = keyBytes.ok ? parsePublicKey(keyBytes.value) : keyBytes;
    const signature = parseHex(each.signature);
    if (!key.ok || !signature.ok || !verifySignature(key.value, id, signature.value))
      return fail({ code: "draft_signature", field });
    if (signatures.some((other) => publicKeysEqual(other.key, key.value))) return fail({ code: "draft_signature", field });
    signatures.push({ key: key.value, signature: signature.value });
  }
  return ok({ body: body.value, signatures });
}

/** The draft with one more signature; a key that signed already changes nothing. */
export function signDraft(draft: Draft, keyPair: KeyPair): Draft {
  if (draft.signatures.some(({ key }) => publicKeysEqual(key, keyPair.publicKey))) return draft;
  const id = transactionId(encodeTransactionBody(draft.body));
  return { ...draft, signatures: [...draft.signatures, { key: keyPair.publicKey, signature: keyPair.sign(id) }] };
}

/** The signatures of several drafts of one body together. @throws CodedError `draft_mismatch` when the bodies differ */
export function combineDrafts(drafts: readonly [Draft, ...Draft[]]): Draft {
  const [first, ...others] = drafts;
  const bodyBytes = encodeTransactionBody(first.body);
  const signatures = [...first.signatures];
  for (const other of others) {
    if (!bytesEqual(encodeTransactionBody(other.body), bodyBytes))
      throw new CodedError("draft_mismatch", { field: "body", message: "the drafts are of different transactions" });
    for (const each of other.signatures) if (!signatures.some(({ key }) => publicKeysEqual(key, each.key))) signatures.push(each);
  }
  return { body: first.body, signatures };
}

/**
 * The transaction that a draft makes once it has enough signatures: the sender's own, or as many as its policy wants.
 *
 * @param policies - those known here; the sender's address tells which one is meant
 * @throws CodedError `draft_unsigned` when no signature speaks for the sender, `multisig_threshold` when too few do
 */
export function completeDraft(draft: Draft, policies: readonly MultisigPolicy[]): Transaction {
  const { body, signatures } = draft;
  const own = signatures.find(({ key }) => bytesEqual(addressOfKey(key), body.sender));
  if (own !== undefined) return assembleTransaction(body, { kind: "single", ...own });
  const policy = policies.find((each) => bytesEqual(addressOfPolicy(each), body.sender));
  if (policy === undefined) {
    throw new CodedError("draft_unsigned", {
      field: "sender",
      message: "no signature is the sender's, and no policy of the home has the sender's address",
    });
  }
  const holders = signatures.filter(({ key }) => policy.keys.some((holder) => publicKeysEqual(holder, key)));
  const gathered = gatherAuthorisation(policy, transactionId(encodeTransactionBody(body)), holders);
  if (!gathered.ok)
    throw new CodedError(gathered.error.code, {
      field: "signatures",
      message: `${holders.length} of ${policy.threshold} signatures`,
    });
  return assembleTransaction(body, gathered.value);
}

function parseDocument(bytes: Uint8Array): z.output<typeof DRAFT_SCHEMA> | undefined {
  const text = parseUtf8(bytes);
  if (!text.ok) return undefined;
  try {
    const checked = DRAFT_SCHEMA.safeParse(JSON.parse(text.value));
    return checked.success ? checked.data : undefined;
  } catch {
    // Not JSON: as wrong as JSON of another shape.
    return undefined;
  }
}
