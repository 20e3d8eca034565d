/** Plots and the map of peers, drawn as SVG. Each says in words what it shows, for those who do not see it. */

import { h, s } from "./dom.ts";

/** A point of a plot; `label` is what a pointer over it is told. */
export type Point = { readonly value: number; readonly label: string };

const WIDTH = 560;
const HEIGHT = 132;
const LEFT = 44;
const BOTTOM = 20;
const TOP = 10;

/** Bars or a line over time, oldest first. */
export function plot(options: {
  readonly kind: "bars" | "line";
  readonly points: readonly Point[];
  readonly title: string;
  readonly unit: (value: number) => string;
  /** What stands at both ends of the time axis. */
  readonly ends: readonly [string, string];
}): HTMLElement {
  const { kind, points, title, unit, ends } = options;
  if (points.length < 2) return h("p", { class: "empty" }, "Waiting for blocks.");
  const values = points.map(({ value }) => value);
  const top = niceAbove(Math.max(...values, 0));
  const x = (index: number): number => LEFT + ((index + 0.5) / points.length) * (WIDTH - LEFT);
  const y = (value: number): number => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const median = values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
  const words = `${title}: median ${unit(median)}, least ${unit(Math.min(...values))}, most ${unit(Math.max(...values))}, of the last ${points.length} blocks.`;
  const width = Math.max(1.5, ((WIDTH - LEFT) / points.length) * 0.72);
  const shapes =
    kind === "bars"
      ? points.map(({ value, label }, index) =>
          s(
            "rect",
            {
              class: "mark",
              x: x(index) - width / 2,
              y: y(value),
              width,
              height: Math.max(value > 0 ? 1.5 : 0, y(0) - y(value)),
              rx: 1,
            },
            s("title", {}, label),
          ),
        )
      : [
          s("polyline", {
            class: "line",
            points: points.map(({ value }, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`).join(" "),
          }),
          ...points.map(({ value, label }, index) =>
            s("circle", { class: "mark", cx: x(index), cy: y(value), r: 2.2 }, s("title", {}, label)),
          ),
        ];
  return h(
    "figure",
    { class: "plot" },
    s(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words },
      [0, 0.5, 1].map((share) => [
        s("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y(top * share), y2: y(top * share) }),
        s("text", { class: "axis", x: LEFT - 6, y: y(top * share) + 3.5, "text-anchor": "end" }, unit(top * share)),
      ]),
      shapes,
      s("text", { class: "axis", x: LEFT, y: HEIGHT - 4 }, ends[0]),
      s("text", { class: "axis", x: WIDTH, y: HEIGHT - 4, "text-anchor": "end" }, ends[1]),
    ),
    h("figcaption", {}, `median ${unit(median)}, ${unit(Math.min(...values))} to ${unit(Math.max(...values))}`),
  );
}

/** The least of 1, 2, 5 times a power of ten that is not below `value`. */
function niceAbove(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 5, 10].find((each) => each * power >= value) ?? 10;
  return step * power;
}

/** A peer on the map. */
export type MapPeer = {
  readonly name: string;
  readonly isOutbound: boolean;
  readonly isBehind: boolean;
  readonly detail: string;
};

const MAP = { width: 560, height: 320, radius: 118 } as const;

/** The node in the middle, and its peers around it. */
export function peerMap(self: string, peers: readonly MapPeer[]): HTMLElement {
  const [middleX, middleY] = [MAP.width / 2, MAP.height / 2];
  const placed = peers.map((peer, index) => {
    const angle = -Math.PI / 2 + (index / Math.max(1, peers.length)) * 2 * Math.PI;
    return { ...peer, x: middleX + Math.cos(angle) * MAP.radius * 1.55, y: middleY + Math.sin(angle) * MAP.radius };
  });
  const outbound = peers.filter(({ isOutbound }) => isOutbound).length;
  const words = `The node ${self} in the middle of ${peers.length} peers; it called ${outbound} of them, and ${peers.length - outbound} called it.`;
  return h(
    "figure",
    { class: "map" },
    s(
      "svg",
      { viewBox: `0 0 ${MAP.width} ${MAP.height}`, role: "img", "aria-label": words },
      placed.map(({ x, y, isOutbound, detail }) =>
        s(
          "line",
          { class: isOutbound ? "edge outbound" : "edge", x1: middleX, y1: middleY, x2: x, y2: y },
          s("title", {}, detail),
        ),
      ),
      placed.map(({ x, y, name, isBehind, detail }) =>
        s(
          "g",
          { class: isBehind ? "peer behind" : "peer" },
          s("circle", { cx: x, cy: y, r: 13 }),
          s("text", { x, y: y + (y > middleY ? 29 : -20), "text-anchor": "middle" }, name),
          s("title", {}, detail),
        ),
      ),
      s(
        "g",
        { class: "self" },
        s("circle", { cx: middleX, cy: middleY, r: 19 }),
        s("text", { x: middleX, y: middleY + 36, "text-anchor": "middle" }, self),
      ),
    ),
    h(
      "figcaption",
      {},
      "Solid lines: peers that this node called. Dashed lines: peers that called it. Hollow circles are behind.",
    ),
  );
}
