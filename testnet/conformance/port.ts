/** One line in, one line out: the protocol of the port, without the streams. */

import * as z from "zod";
import { parseUtf8 } from "../../crypto/base/bytes.ts";
import type { Coded } from "../../crypto/base/result.ts";
import type { PortCode } from "./errors.ts";
import type { Line } from "./lines.ts";
import { type Operation, toJson } from "./operation.ts";

/** Room for the largest state proof that a node sends, in hex, and then some. */
export const LINE_SIZE_BYTES_MAX = 1 << 23;

/** Deeper than any input of the table nests; what is parsed recursively stays far from the end of the stack. */
const DEPTH_MAX = 64;

const Id = z.union([z.string().max(256), z.int()]);
const Request = z.strictObject({ id: Id, op: z.string().max(256), input: z.unknown() });

/** What the port does with lines. */
export class Port {
  readonly #operations: ReadonlyMap<string, Operation>;
  readonly #onFault: (error: unknown) => void;

  /** @param onFault - hears of whatever production code throws: that is our bug, never the input's */
  constructor(operations: readonly Operation[], onFault: (error: unknown) => void) {
    this.#operations = new Map(operations.map((one) => [one.name, one]));
    this.#onFault = onFault;
  }

  /** The answer to a line, without a newline. Never throws. */
  async answer(line: Line): Promise<string> {
    if (line.kind === "tooLong") return refusal(null, "line_too_long");
    const parsed = parseLine(line.bytes);
    if (parsed === undefined) return refusal(null, "line_not_json");
    const request = Request.safeParse(parsed.json);
    if (!request.success) return refusal(idIn(parsed.json), "request_invalid");
    const { id, op, input } = request.data;
    const found = this.#operations.get(op);
    if (found === undefined) return refusal(id, "op_unknown");
    try {
      const result = await found.answer(input);
      return toJson(result.ok ? { id, output: result.value } : { id, error: result.error });
    } catch (error) {
      this.#onFault(error);
      return refusal(id, "port_fault");
    }
  }
}

function refusal(id: string | number | null, code: PortCode): string {
  return toJson({ id, error: { code } satisfies Coded });
}

/** The id of a request that is otherwise no good, so that its sender can tell which one it was. */
function idIn(json: unknown): string | number | null {
  const parsed = z.object({ id: Id }).safeParse(json);
  return parsed.success ? parsed.data.id : null;
}

function parseLine(bytes: Uint8Array): { readonly json: unknown } | undefined {
  if (isDeep(bytes)) return undefined;
  const text = parseUtf8(bytes);
  if (!text.ok) return undefined;
  try {
    return { json: JSON.parse(text.value) };
  } catch {
    return undefined;
  }
}

/** Whether brackets outside of strings nest deeper than `DEPTH_MAX`. Looks at bytes alone, so it allocates nothing. */
function isDeep(bytes: Uint8Array): boolean {
  let depth = 0;
  let isString = false;
  for (let index = 0; index < bytes.length; index += 1) {
    const byte = bytes[index];
    if (isString) {
      if (byte === 0x5c) index += 1;
      else if (byte === 0x22) isString = false;
    } else if (byte === 0x22) isString = true;
    else if (byte === 0x5b || byte === 0x7b) {
      depth += 1;
      if (depth > DEPTH_MAX) return true;
    } else if (byte === 0x5d || byte === 0x7d) depth -= 1;
  }
  return false;
}
