/** JSON as the command line writes it. */

import { toHex } from "../../crypto/base/bytes.ts";
import type { Json } from "./answer.ts";

/** One JSON text: bigints as decimal strings, bytes as hex. */
export function jsonText(value: Json): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === "bigint" ? `${each}` : each instanceof Uint8Array ? toHex(each) : each,
  );
}
