/** What an operation of the port is, and how values look in its JSON. */

import * as z from "zod";
import { fromHex, toHex } from "../../crypto/base/bytes.ts";
import { type Coded, fail, type Result } from "../../crypto/base/result.ts";

/** An operation: a name, a line for `--help`, and production code behind a strict schema. */
export type Operation = {
  readonly name: string;
  /** Input and output in short. */
  readonly help: string;
  /** Never throws on hostile input. */
  readonly answer: (input: unknown) => Promise<Result<unknown, Coded>>;
};

/** Puts a schema in front of production code. */
export function operation<S extends z.ZodType>(
  name: string,
  definition: {
    readonly help: string;
    readonly input: S;
    readonly answer: (input: z.output<S>) => Result<unknown, Coded> | Promise<Result<unknown, Coded>>;
  },
): Operation {
  return {
    name,
    help: definition.help,
    answer: async (input) => {
      const parsed = definition.input.safeParse(input);
      if (!parsed.success) {
        const [issue] = parsed.error.issues;
        return invalid(issue?.message ?? "", issue?.path.join("."));
      }
      return await definition.answer(parsed.data);
    },
  };
}

/** The answer to an input of another form than is wanted. */
export function invalid(reason: string, path = ""): Result<never, Coded> {
  return fail({ code: "input_invalid", path: path.slice(0, 200), reason: reason.slice(0, 200) });
}

/** Bytes as lower-case hex, two digits each, no prefix. */
export const bytes = z
  .string()
  .refine((text) => text.length % 2 === 0 && /^[0-9a-f]*$/.test(text), "not lower-case hex")
  .transform((text) => fromHex(text));

/** Bytes of one length. */
export function fixedBytes(sizeBytes: number): z.ZodType<Uint8Array> {
  return bytes.refine((value) => value.length === sizeBytes, `not ${sizeBytes} bytes`);
}

/** An integer of any size up to 256 bits, as a decimal string or, where JSON has it exactly, as a number. */
export const integer = z
  .union([z.string().regex(/^(?:0|-?[1-9][0-9]{0,77})$/, "not a decimal integer"), z.int()])
  .transform((value) => BigInt(value));

/** An integer that is not negative. */
export const natural = integer.refine((value) => value >= 0n, "negative");

/** JSON as the port writes it: bytes in hex, bigints as decimal strings, absent fields of answers left out. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, entry: unknown) => {
    if (typeof entry === "bigint") return `${entry}`;
    return entry instanceof Uint8Array ? toHex(entry) : entry;
  });
}
