/**
 * How values look in JSON, as zod codecs: the server decodes parameters and encodes results with them, the client the
 * other way round, and the OpenRPC document is generated from them.
 *
 * Byte strings are lower-case hex without a prefix; integers that can pass 2^53 are decimal strings without leading
 * zeros; addresses are bech32m text. One spelling a value: everything else is refused.
 */

import * as z from "zod";
import { parseHex, toHex } from "../../crypto/base/bytes.ts";
import { HASH_SIZE_BYTES, type Hash, hashOf } from "../../crypto/hash/hash.ts";
import { type Address, ADDRESS_TEXT_LENGTH, formatAddress, parseAddress } from "../../crypto/identity/address.ts";
import { type Height, heightOf, isHeight } from "../../chain/block/height.ts";
import { NAME_PATTERN, PARTITION_MAX, RESULT_TEXT_SIZE_BYTES_MAX, ROW_KEY_SIZE_BYTES_MAX } from "../../chain/block/limits.ts";

/** What the description says of hex; `lowerHex` checks it for a fifth of the time. */
const HEX = "^(?:[0-9a-f]{2})*$";
const UPPER_DIGIT = /[A-F]/;
const DECIMAL = /^(?:0|[1-9][0-9]{0,38})$/;

/** A byte string of at most `sizeBytesMax`. */
export function bytesSchema(sizeBytesMax: number): z.ZodCodec<z.ZodString, z.ZodType<Uint8Array>> {
  return z.codec(
    z
      .string()
      .max(sizeBytesMax * 2)
      .meta({ pattern: HEX }),
    BYTES,
    { decode: (text, context) => lowerHex(text, context) ?? z.NEVER, encode: (bytes) => toHex(bytes) },
  );
}

/** The bytes; or what is wrong is said, and nothing returned. */
function lowerHex(text: string, context: { readonly issues: z.core.$ZodRawIssue[] }): Uint8Array | undefined {
  const parsed = parseHex(text);
  if (parsed.ok && !UPPER_DIGIT.test(text)) return parsed.value;
  context.issues.push({ code: "invalid_format", format: "regex", pattern: `/${HEX}/`, input: text });
  return undefined;
}

const BYTES = z.custom<Uint8Array>((value) => value instanceof Uint8Array);
const HASH = z.custom<Hash>((value) => value instanceof Uint8Array && value.length === HASH_SIZE_BYTES);
const HEIGHT = z.custom<Height>((value) => typeof value === "bigint" && isHeight(value));
const ADDRESS = z.custom<Address>((value) => value instanceof Uint8Array);
const AMOUNT = z.bigint().min(0n);

/** A hash: 64 hex digits. */
export const hashSchema = z
  .codec(
    z
      .string()
      .length(HASH_SIZE_BYTES * 2)
      .meta({ pattern: HEX }),
    HASH,
    {
      decode: (text, context) => {
        const bytes = lowerHex(text, context);
        return bytes === undefined ? z.NEVER : hashOf(bytes);
      },
      encode: (hash) => toHex(hash),
    },
  )
  .describe("Hash: 32 bytes in lower-case hex.");

/** A non-negative integer of any size. */
export const amountSchema = z
  .codec(z.string().regex(DECIMAL), AMOUNT, { decode: (text) => BigInt(text), encode: (amount) => `${amount}` })
  .describe("Non-negative integer, as a decimal string.");

/** How sure it is that a block stays. */
export const finalitySchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("final") }).describe("Voters decided it, for ever."),
  z
    .strictObject({
      kind: z.literal("probabilistic"),
      depth: z.int().min(1).describe("Blocks from this one to the head, both counted."),
      work: amountSchema.describe("Hashes that are expected to be needed to replace it."),
      isSettled: z.boolean().describe("Whether the depth is at least the network's finalityDepth."),
    })
    .describe("Work stands on it; a heavier chain may still leave it."),
]);

/** A height. */
export const heightSchema = z
  .codec(z.string().max(19).regex(DECIMAL), HEIGHT, {
    decode: (text, context) => {
      const value = BigInt(text);
      if (isHeight(value)) return heightOf(value);
      context.issues.push({ code: "custom", message: "not a height", input: text });
      return z.NEVER;
    },
    encode: (height) => `${height}`,
  })
  .describe("Height of a block, as a decimal string.");

/** An address. */
export const addressSchema = z
  .codec(
    z
      .string()
      .max(ADDRESS_TEXT_LENGTH)
      .regex(/^[a-z0-9]*$/),
    ADDRESS,
    {
      decode: (text, context) => {
        const parsed = parseAddress(text);
        if (parsed.ok) return parsed.value;
        context.issues.push({ code: "custom", message: parsed.error.code, input: text });
        return z.NEVER;
      },
      encode: (address) => formatAddress(address),
    },
  )
  .describe("Address of an account or a validator: bech32m, prefix pyra.");

/** Bytes of an encoding or a proof; the answer as a whole is bounded, so this is only a roof. */
export const blobSchema = bytesSchema(32 * 1024 * 1024);

/** Siblings of a Merkle path, from the leaf up. */
export const siblingsSchema = z.array(hashSchema).max(128);

/** A header and the certificate that made it final. */
export const anchorSchema = z
  .strictObject({
    header: blobSchema.describe("Encoded header."),
    certificate: blobSchema.describe("Encoded commit certificate of this height."),
  })
  .describe("What ties the answer to the validator set: check the certificate, then the proof against the header.");

/** Codes and fields are ASCII; a lone surrogate, say, has no encoding that a proof could be checked against. */
const RESULT_TEXT = z
  .string()
  .max(RESULT_TEXT_SIZE_BYTES_MAX)
  .regex(/^[\x20-\x7e]*$/);

/** What a transaction did. */
export const resultSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("applied") }),
  z.strictObject({ kind: z.literal("failed"), code: RESULT_TEXT, field: RESULT_TEXT }),
]);

/** Parameters of every read of the state. */
export const readParams = {
  height: heightSchema.optional().describe("Read the state after this height; the newest when absent."),
  anchor: z.boolean().default(true).describe("Whether to attach header and certificate."),
};

/** Results of every read of the state. */
export const readResult = {
  height: heightSchema.describe("The height that the answer holds for."),
  proof: blobSchema.describe("State proof against the header's stateRoot."),
  anchor: anchorSchema.optional(),
};

/** A name of a namespace, a table or a stream. */
export const nameSchema = z.string().regex(NAME_PATTERN);

/** A row key. */
export const rowKeySchema = bytesSchema(ROW_KEY_SIZE_BYTES_MAX);

/** A bound of a range of row keys: one byte more than a key may have, for the least key after the longest one. */
export const rowBoundSchema = bytesSchema(ROW_KEY_SIZE_BYTES_MAX + 1);

/** A partition of a stream. */
export const partitionSchema = z.int().min(0).max(PARTITION_MAX);
