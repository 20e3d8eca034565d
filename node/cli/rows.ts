/** Verified rows of the state, for the verbs that show them. */

import type { KeyRange } from "../../chain/state/keys.ts";
import type { Row } from "../../chain/state/proof.ts";
import { concatBytes } from "../../crypto/base/bytes.ts";
import type { Coded, Result } from "../../crypto/base/result.ts";
import { UnprovenError } from "../light/errors.ts";
import type { PyralogClient, ReadOptions, Verification } from "../rpc/client.ts";
import type { Answer, Json } from "./answer.ts";
import { verificationJson, verificationText } from "./client.ts";
import { NODE_OPTIONS, type OptionTable } from "./command.ts";

/** Options of verbs that read the state. */
export const READ_OPTIONS: OptionTable = {
  height: { kind: "text", value: "H", description: "read the state after this height (default: the newest)" },
  ...NODE_OPTIONS,
};

/** All rows of a range, with the verification of the first page: the others are of the same height. */
export async function rowsOf(
  client: PyralogClient,
  range: KeyRange,
  options: ReadOptions,
): Promise<{ readonly rows: readonly Row[]; readonly verified: Verification }> {
  const rows: Row[] = [];
  let verified: Verification | undefined;
  for await (const page of client.stateRows(range, options)) {
    rows.push(...page.value);
    verified ??= page.verified;
  }
  if (verified === undefined) throw new UnprovenError({ code: "range_incomplete" });
  return { rows, verified };
}

/** The value of one row; `undefined` when it is proven not to be there. */
export async function rowAt(client: PyralogClient, key: Uint8Array, options: ReadOptions): Promise<Uint8Array | undefined> {
  return (await rowsOf(client, oneKey(key), options)).rows[0]?.value;
}

/** The range of one key and no other. */
export function oneKey(key: Uint8Array): KeyRange {
  return { from: key, to: concatBytes(key, Uint8Array.of(0)) };
}

/** A row that is proven to be in the state, and so was written by the validators' own code. */
export function decoded<T>(parsed: Result<T, Coded>): T {
  if (!parsed.ok) throw new UnprovenError({ code: "answer_malformed", field: "row" });
  return parsed.value;
}

/** An answer that says how it was verified. */
export function answer(json: object, text: string, verified: Verification): Answer {
  const shown: Json = { ...json, verified: verificationJson(verified) };
  return { json: shown, text: `${text}\n${verificationText(verified)}` };
}
