/** Canonical dag-cbor. */

import * as z from "zod";
import { ok } from "../../../crypto/base/result.ts";
import { decodeValue, encodeValue } from "../../../crypto/codec/value.ts";
import { bytes, type Operation, operation } from "../operation.ts";

/** The operations of this file. */
export const ENCODING: readonly Operation[] = [
  operation("dagcbor.decode", {
    help: "{data} -> {ok, reencoded | code}",
    input: z.strictObject({ data: bytes }),
    answer: ({ data }) => {
      const decoded = decodeValue(data);
      return ok(decoded.ok ? { ok: true, reencoded: encodeValue(decoded.value) } : { ok: false, code: decoded.error.code });
    },
  }),
];
