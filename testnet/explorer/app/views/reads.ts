/** Reads that views share, on top of the verifying client: rows of the state, and pages put together. */

import { type Height, heightOf, isHeight } from "../../../../chain/block/height.ts";
import type { KeyRange } from "../../../../chain/state/keys.ts";
import type { Row } from "../../../../chain/state/proof.ts";
import { successor } from "../../../../chain/state/range.ts";
import { UnprovenError } from "../../../../node/light/errors.ts";
import type { Verification, Verified } from "../../../../node/rpc/client.ts";
import { type Child, h } from "../dom.ts";
import type { ViewContext } from "../parts.ts";

/** Rows of one range that a view takes at most; it says when there are more. */
const ROWS_MAX = 2_000;

/** One row of the state by its key; `undefined` when it is proven that there is none. */
export async function stateRow(
  context: ViewContext,
  key: Uint8Array,
  signal: AbortSignal,
): Promise<Verified<Uint8Array | undefined>> {
  const { value: rows, verified } = await stateRange(context, { from: key, to: successor(key) }, signal);
  const how = rows.rows.length === 0 ? ["certificate", "state proof of absence"] : ["certificate", "state proof"];
  return { value: rows.rows[0]?.value, verified: { ...verified, how } };
}

/** Rows of a range of the state, and whether those are all. */
export async function stateRange(
  { session, route }: ViewContext,
  range: KeyRange,
  signal: AbortSignal,
): Promise<Verified<{ readonly rows: readonly Row[]; readonly isAll: boolean }>> {
  const rows: Row[] = [];
  let last: Verification | undefined;
  for await (const { value, verified } of session.client.stateRows(range, { signal, height: heightIn(route.query) })) {
    rows.push(...value);
    last = verified;
    if (rows.length >= ROWS_MAX) return { value: { rows, isAll: false }, verified };
  }
  if (last === undefined) throw new UnprovenError({ code: "proof_missing", field: "proof" });
  return { value: { rows, isAll: true }, verified: last };
}

/** The height that a view is asked to look back to: `?at=`. */
export function heightIn(query: URLSearchParams): Height | undefined {
  const text = query.get("at") ?? "";
  if (!/^[1-9][0-9]{0,18}$/.test(text)) return undefined;
  const value = BigInt(text);
  return isHeight(value) ? heightOf(value) : undefined;
}

/** The field that asks for a height, which the state of then is proven for. */
export function heightField(query: URLSearchParams): Child {
  return h(
    "label",
    {},
    "As of height",
    h("input", {
      name: "at",
      inputmode: "numeric",
      pattern: "[0-9]*",
      placeholder: "newest",
      value: query.get("at") ?? "",
      size: 12,
    }),
  );
}

/** A form whose fields become the query of this view. */
export function queryForm(context: ViewContext, label: string, ...fields: readonly Child[]): HTMLElement {
  const form: HTMLFormElement = h(
    "form",
    {
      class: "query",
      "aria-label": label,
      on: {
        submit: (event) => {
          event.preventDefault();
          const query = new URLSearchParams();
          for (const [name, value] of new FormData(form))
            if (typeof value === "string" && value !== "") query.set(name, value.trim());
          const path = context.route.parts.map((part) => encodeURIComponent(part)).join("/");
          location.hash = `#/${path}?${query.toString()}`;
        },
      },
    },
    fields,
    h("button", { type: "submit" }, "Show"),
  );
  return form;
}
