/**
 * What goes wrong in a run: a list of events with their times, drawn from the seed and plain data, so that a list can be
 * cut short, written to a file and run again.
 *
 * Each seed draws which kinds of faults it has at all, and how often: a run with every fault at once hardly ever gets to
 * where the interesting ones meet (swarm testing: Groce et al., ISSTA 2012).
 */

import { present } from "../../crypto/base/assert.ts";
import type { CutMode, DiskOperation } from "./disk.ts";
import type { EndMode } from "./node.ts";
import type { Random } from "./random.ts";

/** How often a dishonest node does what, in a thousand words of its own. */
export type Behaviours = {
  readonly equivocate: number;
  readonly withhold: number;
  readonly mutate: number;
  readonly replay: number;
  readonly speakAhead: number;
  readonly forgetLock: number;
  readonly serveGarbage: number;
  readonly badBlock: number;
  readonly censor: boolean;
  readonly lieAboutHeight: number;
  /** Words that only some engines have. */
  readonly makeUp?: number;
};

/** One direction between two nodes: from, to. */
export type Link = readonly [number, number];

/** One thing that goes wrong. Times are of the simulator's clock. */
export type Fault =
  // Process.
  | { readonly kind: "end"; readonly atMs: number; readonly node: number; readonly mode: EndMode; readonly downMs: number }
  | { readonly kind: "endAll"; readonly atMs: number; readonly mode: EndMode; readonly downMs: number }
  | {
      readonly kind: "trap";
      readonly atMs: number;
      readonly node: number;
      readonly operation: DiskOperation | "send";
      readonly when: "before" | "after";
      readonly skip: number;
      readonly mode: EndMode;
      readonly downMs: number;
    }
  | { readonly kind: "pause"; readonly atMs: number; readonly node: number; readonly forMs: number }
  | { readonly kind: "clockJump"; readonly atMs: number; readonly node: number; readonly byMs: number }
  /** Back to a copy of its disk of an earlier time. */
  | {
      readonly kind: "oldBackup";
      readonly copiedAtMs: number;
      readonly atMs: number;
      readonly node: number;
      readonly downMs: number;
    }
  // Network.
  | {
      readonly kind: "spoil";
      readonly atMs: number;
      readonly untilMs: number;
      readonly links: readonly Link[];
      readonly lossPerThousand: number;
      readonly doublePerThousand: number;
    }
  | {
      readonly kind: "partition";
      readonly shape: "uniform" | "isolate" | "ring" | "oneWay";
      readonly atMs: number;
      readonly untilMs: number;
      readonly cuts: readonly Link[];
    }
  | { readonly kind: "clog"; readonly atMs: number; readonly untilMs: number; readonly from: number; readonly to: number }
  | {
      readonly kind: "slow";
      readonly atMs: number;
      readonly untilMs: number;
      readonly from: number;
      readonly to: number;
      readonly factor: number;
    }
  | {
      readonly kind: "filter";
      readonly atMs: number;
      readonly untilMs: number;
      /** A kind of packet, a topic, or what an engine calls its messages. */
      readonly what: string;
      readonly to: number;
    }
  // Disk.
  | { readonly kind: "bitFlip"; readonly atMs: number; readonly node: number; readonly part: string }
  | { readonly kind: "misdirect"; readonly atMs: number; readonly node: number }
  | { readonly kind: "failSync"; readonly atMs: number; readonly node: number }
  | { readonly kind: "full"; readonly atMs: number; readonly node: number; readonly forMs: number }
  | { readonly kind: "hang"; readonly atMs: number; readonly node: number; readonly forMs: number }
  /** An operator replaces its disk, and keeps the record of what its key signed. */
  | { readonly kind: "rebuild"; readonly atMs: number; readonly node: number; readonly downMs: number }
  // Dishonesty, from the beginning.
  | { readonly kind: "byzantine"; readonly node: number; readonly behaviours: Behaviours }
  | { readonly kind: "twin"; readonly node: number };

/** The nodes that a list of faults makes dishonest, or harms beyond what a node can bear. */
export function faultyOf(faults: readonly Fault[]): ReadonlySet<number> {
  const faulty = new Set<number>();
  for (const fault of faults) if (isBeyondBearing(fault)) faulty.add(fault.node);
  return faulty;
}

function isBeyondBearing(fault: Fault): fault is Extract<Fault, { readonly node: number }> {
  switch (fault.kind) {
    case "byzantine":
    case "twin":
    case "bitFlip":
    case "misdirect":
    case "failSync":
    case "rebuild":
      return true;
    default:
      return false;
  }
}

/** What to draw for. */
export type FaultDraw = {
  readonly nodes: number;
  /** How many nodes may be faulty beyond crashes. */
  readonly faultyMax: number;
  /** Whether the faulty may lie. */
  readonly mayLie: boolean;
  readonly untilMs: number;
};

const END_MODES = ["kill", "lost", "kept", "torn", "scattered"] as const satisfies readonly EndMode[];
const CUT_MODES = ["lost", "kept", "torn", "scattered"] as const satisfies readonly CutMode[];
const TRAP_OPERATIONS = ["append", "sync", "rename", "syncDirectory", "open", "send"] as const;
const FILTERS = ["hello", "ask", "frame", "transactions", "consensus", "proposal", "prevote", "precommit"] as const;

/** The faults of a seed. */
export function drawFaults(random: Random, draw: FaultDraw): readonly Fault[] {
  const { nodes, faultyMax, mayLie, untilMs } = draw;
  const faults: Fault[] = [];
  // How much there is of everything in this run.
  const intensity = random.pick([1, 1, 2, 4]);
  const node = (): number => random.between(0, nodes - 1);
  const atMs = (): number => random.between(0, untilMs - 1000);
  const spanMs = (mean: number): number => Math.ceil(Math.min(random.exponential(mean) + 100, untilMs / 2));
  const within = (start: number, mean: number): number => Math.min(untilMs, start + spanMs(mean));
  const link = (): Link => {
    const from = node();
    const to = random.between(0, nodes - 2);
    return [from, to >= from ? to + 1 : to];
  };
  /** So many times, in runs that have this kind at all. */
  const some = (perThousand: number, countMax: number, make: () => Fault): void => {
    if (!random.happens(perThousand)) return;
    const count = random.between(1, countMax * intensity);
    for (let index = 0; index < count; index += 1) faults.push(make());
  };

  some(400, 2, () => ({ kind: "end", atMs: atMs(), node: node(), mode: random.pick(END_MODES), downMs: spanMs(2000) }));
  some(400, 3, () => ({
    kind: "trap",
    atMs: atMs(),
    node: node(),
    operation: random.pick(TRAP_OPERATIONS),
    when: random.pick(["before", "after"]),
    skip: random.between(0, 20),
    mode: random.pick(END_MODES),
    downMs: spanMs(1500),
  }));
  some(120, 1, () => ({ kind: "endAll", atMs: atMs(), mode: random.pick(CUT_MODES), downMs: spanMs(1000) }));
  some(250, 3, () => ({ kind: "pause", atMs: atMs(), node: node(), forMs: spanMs(1500) }));
  some(250, 3, () => ({
    kind: "clockJump",
    atMs: atMs(),
    node: node(),
    byMs: random.pick([-60_000, -5_000, -500, 500, 5_000, 30_000]),
  }));
  if (random.happens(450)) {
    // The same for every link, or for some.
    const isEverywhere = random.happens(600);
    faults.push({
      kind: "spoil",
      atMs: 0,
      untilMs,
      links: linksAmong(nodes).filter(() => isEverywhere || random.happens(300)),
      lossPerThousand: random.pick([10, 50, 150, 300]),
      doublePerThousand: random.pick([0, 20, 200]),
    });
  }
  some(450, 2, () => {
    const shape = random.pick(["uniform", "isolate", "ring", "oneWay"] as const);
    const start = atMs();
    return { kind: "partition", shape, atMs: start, untilMs: within(start, 4000), cuts: cutsOf(shape, nodes, random) };
  });
  some(200, 3, () => {
    const [from, to] = link();
    const start = atMs();
    return { kind: "clog", atMs: start, untilMs: within(start, 2000), from, to };
  });
  some(200, 3, () => {
    const [from, to] = link();
    const start = atMs();
    return { kind: "slow", atMs: start, untilMs: within(start, 8000), from, to, factor: random.pick([5, 20, 60]) };
  });
  some(200, 2, () => {
    const start = atMs();
    return { kind: "filter", atMs: start, untilMs: within(start, 4000), what: random.pick(FILTERS), to: node() };
  });
  some(120, 2, () => ({ kind: "full", atMs: atMs(), node: node(), forMs: spanMs(1000) }));
  some(120, 2, () => ({ kind: "hang", atMs: atMs(), node: node(), forMs: spanMs(2500) }));

  const faulty = random.shuffle(Array.from({ length: nodes }, (_, index) => index)).slice(0, random.between(0, faultyMax));
  for (const index of faulty) faults.push(...drawFaulty(random, { node: index, mayLie, atMs, spanMs }));
  return faults;
}

/**
 * More validators than a third run twice, and each copy talks to one half of the others: both halves have a quorum. The
 * copies come after the nodes, in the order of this list.
 */
export function drawCollusion(random: Random, draw: { readonly nodes: number; readonly untilMs: number }): readonly Fault[] {
  const { nodes, untilMs } = draw;
  const order = random.shuffle(Array.from({ length: nodes }, (_, index) => index));
  let liars = Math.floor((nodes - 1) / 3) + 1;
  while ((liars + Math.floor((nodes - liars) / 2)) * 3 <= nodes * 2) liars += 1;
  const twins = order.slice(0, liars);
  const honest = order.slice(liars);
  const other = new Set(honest.slice(Math.floor(honest.length / 2)));
  const sides = Array.from({ length: nodes + liars }, (_, index) => index >= nodes || other.has(index));
  const cuts = linksAmong(sides.length).filter(([from, to]) => sides[from] !== sides[to]);
  return [
    ...twins.map((node): Fault => ({ kind: "twin", node })),
    { kind: "partition", shape: "uniform", atMs: 0, untilMs, cuts },
  ];
}

function drawFaulty(
  random: Random,
  draw: {
    readonly node: number;
    readonly mayLie: boolean;
    readonly atMs: () => number;
    readonly spanMs: (mean: number) => number;
  },
): readonly Fault[] {
  const { node, mayLie, atMs, spanMs } = draw;
  // A voter whose whole disk is set back, with what its key signed, has told what it denies: only who bears liars bears that.
  const kind = random.pick(
    mayLie
      ? (["byzantine", "byzantine", "byzantine", "twin", "disk", "backup"] as const)
      : (["disk", "disk", "rebuild"] as const),
  );
  if (kind === "byzantine") return [{ kind, node, behaviours: drawBehaviours(random) }];
  if (kind === "twin") return [{ kind, node }];
  if (kind === "rebuild") return [{ kind, atMs: atMs(), node, downMs: spanMs(1000) }];
  if (kind === "backup") {
    const copiedAtMs = atMs();
    return [{ kind: "oldBackup", copiedAtMs, atMs: copiedAtMs + random.between(100, 5000), node, downMs: spanMs(1500) }];
  }
  const at = atMs();
  const harm: Fault = random.pick<Fault>([
    { kind: "bitFlip", atMs: at, node, part: random.pick(["store", "wal", "sign-state", "/"]) },
    { kind: "misdirect", atMs: at, node },
    { kind: "failSync", atMs: at, node },
  ]);
  // Without a restart nobody would read what was harmed.
  const later = at + random.between(100, 3000);
  return [harm, { kind: "end", atMs: later, node, mode: random.pick(END_MODES), downMs: spanMs(1000) }];
}

function drawBehaviours(random: Random): Behaviours {
  const often = (perThousand: number): number => (random.happens(perThousand) ? random.pick([30, 200, 600]) : 0);
  return {
    equivocate: often(500),
    withhold: often(400),
    mutate: often(250),
    replay: often(300),
    speakAhead: often(250),
    forgetLock: often(400),
    serveGarbage: often(300),
    badBlock: often(250),
    censor: random.happens(200),
    lieAboutHeight: random.happens(150) ? random.between(1, 1000) : 0,
    makeUp: random.fork("make up").pick([0, 600, 900]),
  };
}

function linksAmong(nodes: number): readonly Link[] {
  const all = Array.from({ length: nodes }, (_, index) => index);
  return all.flatMap((from) => all.filter((to) => to !== from).map((to): Link => [from, to]));
}

/** Which links a partition cuts. */
function cutsOf(shape: "uniform" | "isolate" | "ring" | "oneWay", nodes: number, random: Random): readonly Link[] {
  const all = Array.from({ length: nodes }, (_, index) => index);
  const pairs = linksAmong(nodes);
  switch (shape) {
    case "uniform": {
      const sides = all.map(() => random.happens(500));
      return pairs.filter(([from, to]) => sides[from] !== sides[to]);
    }
    case "isolate": {
      const alone = random.pick(all);
      return pairs.filter(([from, to]) => from === alone || to === alone);
    }
    case "ring": {
      // Everybody sees a majority, and no two the same one.
      const order = random.shuffle(all);
      const reach = Math.floor(nodes / 4) + (nodes > 4 ? 1 : 0);
      const distance = (from: number, to: number): number => {
        const apart = Math.abs(order.indexOf(from) - order.indexOf(to));
        return Math.min(apart, nodes - apart);
      };
      return pairs.filter(([from, to]) => distance(from, to) > Math.max(1, reach));
    }
    case "oneWay": {
      const from = random.pick(all);
      const to = random.pick(all.filter((index) => index !== from));
      return random.happens(500) ? [[from, to]] : pairs.filter((pair) => pair[0] === from);
    }
  }
}

/** A line for people. */
export function describeFault(fault: Fault): string {
  const { kind, ...fields } = fault;
  const at = "atMs" in fault ? `${fault.atMs} ms: ` : "";
  return `${at}${kind} ${JSON.stringify(fields)}`;
}

/** Parses what `JSON.stringify` made of a list of faults; only for files that this program wrote. */
export function faultsOf(value: unknown): readonly Fault[] {
  return present(Array.isArray(value) ? (value as readonly Fault[]) : undefined, "list of faults");
}
