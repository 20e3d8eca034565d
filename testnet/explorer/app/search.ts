/** From what people type to the view that shows it. */

import { CodedError, codeOf } from "../../../crypto/base/error.ts";
import { fromHex } from "../../../crypto/base/bytes.ts";
import { parseAddress } from "../../../crypto/identity/address.ts";
import { hashOf } from "../../../crypto/hash/hash.ts";
import { isName } from "../../../chain/block/fields.ts";
import { heightOf, isHeight } from "../../../chain/block/height.ts";
import { partitionRange, tableRange } from "../../../chain/state/keys.ts";
import { chainFind } from "../../../node/rpc/methods/chain.ts";
import { EXPLORER_CODES } from "../errors.ts";
import { HREF, hrefOf } from "./route.ts";
import type { Session } from "./session.ts";
import { keyOfText } from "./views/tables.ts";

/**
 * The address of the view that shows what was typed: a height, a transaction id or block hash, an address, `table` of a
 * namespace as `namespace/table`, a row as `namespace/table/key`, a stream, or a partition as `stream/number`.
 *
 * Asks the gateway only where the text could be several things. What it answers is a hint: the view verifies.
 *
 * @throws CodedError `search_unclear`, `search_nothing`, or a code of the client
 */
export async function findView(text: string, session: Session, signal: AbortSignal): Promise<string> {
  const wanted = text.trim();
  if (/^#?[1-9][0-9,]*$/.test(wanted)) {
    const height = BigInt(wanted.replaceAll(/[#,]/g, ""));
    if (isHeight(height)) return HREF.block(heightOf(height));
  }
  if (/^[0-9a-f]{64}$/i.test(wanted)) return await hrefOfHash(wanted.toLowerCase(), session, signal);
  if (parseAddress(wanted).ok) return hrefOf(["account", wanted]);
  const [first = "", second, ...rest] = wanted.split("/");
  if (!isName(first)) throw new CodedError("search_unclear", { message: EXPLORER_CODES.search_unclear });
  if (second === undefined) return await hrefOfName(first, session, signal);
  if (rest.length > 0) {
    const key = keyOfText(rest.join("/"));
    if (isName(second) && key !== undefined) return HREF.row(first, second, key);
  }
  if (/^[0-9]{1,5}$/.test(second) && (await isStream(first, session, signal))) return HREF.partition(first, Number(second));
  if (isName(second)) return HREF.table(first, second);
  throw new CodedError("search_unclear", { message: EXPLORER_CODES.search_unclear });
}

async function hrefOfHash(hex: string, session: Session, signal: AbortSignal): Promise<string> {
  const hash = hashOf(fromHex(hex));
  try {
    const { height } = await session.client.ask(chainFind, { hash }, { signal });
    if (height !== null) return hrefOf(["block", hex]);
  } catch (error) {
    // An older node cannot look for blocks; the transaction's view says what there is.
    if (codeOf(error) !== "method_unknown") throw error;
  }
  return HREF.transaction(hash);
}

async function hrefOfName(name: string, session: Session, signal: AbortSignal): Promise<string> {
  if (await isStream(name, session, signal)) return hrefOf(["streams", name]);
  for await (const { value } of session.client.stateRows(tableRange(name), { signal })) {
    if (value.length > 0) return hrefOf(["tables", name]);
  }
  throw new CodedError("search_nothing", { message: EXPLORER_CODES.search_nothing });
}

async function isStream(name: string, session: Session, signal: AbortSignal): Promise<boolean> {
  for await (const { value } of session.client.stateRows(partitionRange(name), { signal })) if (value.length > 0) return true;
  return false;
}
