/** The few drawings of the page. All are decoration: the words beside them say the same. */

import { s } from "./dom.ts";

const PATHS = {
  verified: "M8 1.2 13.6 3.4v4.2c0 3.4-2.3 6-5.6 7.2-3.3-1.2-5.6-3.8-5.6-7.2V3.4zM5.2 7.9l2 2.1 3.7-4.2",
  claim: "M2 3.2h12v7.6H7.4L4.4 13.6v-2.8H2zM5 6h6M5 8.3h4",
  refused: "M8 1.4 14.8 13.6H1.2zM8 6v3.6M8 11.4v.4",
  pending: "M8 1.5a6.5 6.5 0 1 1-6.5 6.5M8 4.4V8l2.4 1.6",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.2V2.5h-8v8h2.7",
  save: "M8 2v7.4M4.8 6.4 8 9.6l3.2-3.2M2.5 11v2.5h11V11",
  refresh: "M13 8a5 5 0 1 1-1.5-3.6M13 1.8v3h-3",
  sun: "M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6zM8 .8v1.6M8 13.6v1.6M.8 8h1.6M13.6 8h1.6M2.9 2.9 4 4M12 12l1.1 1.1M13.1 2.9 12 4M4 12l-1.1 1.1",
} as const;

/** The name of a drawing. */
export type IconName = keyof typeof PATHS;

/** A drawing, 1em high, in the colour of the text. */
export function icon(name: IconName): SVGElement {
  return s(
    "svg",
    { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
    s("path", {
      d: PATHS[name],
      fill: "none",
      stroke: "currentColor",
      "stroke-width": "1.4",
      "stroke-linecap": "round",
      "stroke-linejoin": "round",
    }),
  );
}
