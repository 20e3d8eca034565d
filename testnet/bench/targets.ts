/** What the figures are held against: each target with where its figure comes from. Nothing fails when one is missed. */

/** A bound on the figures of one benchmark. */
export type Target = {
  readonly what: string;
  readonly bench: string;
  /** The figure; with a star at its end, every figure that begins so, of which the worst counts. */
  readonly figure: string;
  readonly bound: { readonly kind: "least" | "most"; readonly value: number };
  readonly unit: string;
  /** Figures are divided by it to be in that unit. */
  readonly per?: number;
  /** Whether the worst that was seen counts, and not the median. */
  readonly isWorst?: boolean;
  /** A run in which this figure is less says nothing about the target. */
  readonly needs?: { readonly figure: string; readonly least: number };
};

const least = (value: number): Target["bound"] => ({ kind: "least", value });
const most = (value: number): Target["bound"] => ({ kind: "most", value });
const MINUTE = { figure: "sustainedSeconds", least: 60 };

/** In the order of the page. */
export const TARGETS: readonly Target[] = [
  {
    what: "finalised puts a second for a minute, four validators, Rust addon",
    bench: "network",
    figure: "sustainedPerSecond",
    bound: least(5_000),
    unit: "/s",
    needs: MINUTE,
  },
  {
    what: "the same without the addon",
    bench: "network-portable",
    figure: "sustainedPerSecond",
    bound: least(2_000),
    unit: "/s",
    needs: MINUTE,
  },
  { what: "finality at half load, p50", bench: "network", figure: "finalityMsP50", bound: most(300), unit: "ms" },
  { what: "finality at half load, p99", bench: "network", figure: "finalityMsP99", bound: most(1_000), unit: "ms" },
  {
    what: "resident memory of a node, the largest of four",
    bench: "network",
    figure: "rssBytesPerNode",
    bound: most(300),
    unit: "MB",
    per: 1e6,
    isWorst: true,
  },
  {
    what: "accepted under overload and never final",
    bench: "network",
    figure: "overloadAcceptedNotFinal",
    bound: most(0),
    unit: "transactions",
  },
  {
    what: "until a refusal under overload, p99",
    bench: "network",
    figure: "overloadRefusalMsP99",
    bound: most(1_000),
    unit: "ms",
  },
  {
    what: "finalised under overload of the sender with the least, in terms of the one with the most",
    bench: "network",
    figure: "overloadFairness",
    bound: least(0.75),
    unit: "times",
  },
  {
    what: "state updates a second in batches of 1,000 at 10^6 rows, each staged while two before it are under way",
    bench: "state",
    figure: "updatesPerSecond_1000000",
    bound: least(100_000),
    unit: "/s",
  },
  {
    what: "cost of an update at 10^6 rows in terms of that at 10^5",
    bench: "state",
    figure: "updateCostRatio_100000_to_1000000",
    bound: most(1.5),
    unit: "times",
  },
  { what: "Scarab ids a second of one node", bench: "ids", figure: "ids_per_second", bound: least(8_000_000), unit: "/s" },
  {
    what: "first verified query of a node that joins, whatever the height",
    bench: "join",
    figure: "snapshotFirstQuerySeconds_*",
    bound: most(5),
    unit: "s",
  },
  {
    what: "verifying the proof of a record",
    bench: "proofs",
    figure: "record_verify_us_*",
    bound: most(1),
    unit: "ms",
    per: 1_000,
  },
  {
    what: "verifying the proof of a row",
    bench: "state",
    figure: "pointVerifyMicroseconds_*",
    bound: most(1),
    unit: "ms",
    per: 1_000,
  },
  {
    what: "the explorer's page, compressed",
    bench: "explorer",
    figure: "pageBytesCompressed",
    bound: most(500),
    unit: "KB",
    per: 1_000,
  },
  {
    what: "from opening the explorer to a verified head",
    bench: "explorer",
    figure: "verifiedHeadMsP50",
    bound: most(2),
    unit: "s",
    per: 1_000,
  },
];
