/** The OpenRPC document, generated from the methods. Source: the OpenRPC specification 1.3.2. */

import * as z from "zod";
import { RPC_CODES, RPC_ERROR } from "./errors.ts";
import type { AnyMethod } from "./method.ts";

/** A JSON object. */
export type JsonObject = { readonly [member: string]: unknown };

/** Describes `methods`, sorted as given. */
export function openRpcDocument(methods: readonly AnyMethod[]): JsonObject {
  return {
    openrpc: "1.3.2",
    info: {
      title: "Pyralog node",
      version: "1",
      description:
        "Byte strings are lower-case hex without prefix, large integers decimal strings, addresses bech32m. Answers carry proofs: check them (the TypeScript client does).",
      license: { name: "MIT" },
    },
    methods: methods.map(describe),
    components: {},
  };
}

function describe(declared: AnyMethod): JsonObject {
  return {
    name: declared.name,
    summary: declared.summary,
    paramStructure: "either",
    params: Object.entries(declared.params.shape).map(([name, schema]) => ({
      name,
      required: !schema.safeParse(undefined).success,
      schema: jsonSchema(schema),
    })),
    result: { name: "result", schema: jsonSchema(declared.result) },
    errors: declared.errors.map((code) => ({ code: RPC_ERROR.coded, message: RPC_CODES[code], data: { code } })),
  };
}

/** The schema of the JSON side of a codec. */
function jsonSchema(schema: z.core.$ZodType): JsonObject {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
  return rest;
}
