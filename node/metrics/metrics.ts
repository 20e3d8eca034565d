/**
 * The metrics port, and its one adapter (prom-client). One registry a node, so that several nodes fit one process.
 *
 * Names are `folder_noun_unit` in base units (`consensus_round_seconds`, `network_received_bytes_total`).
 */

import {
  collectDefaultMetrics,
  Counter as PromCounter,
  Gauge as PromGauge,
  Histogram as PromHistogram,
  Registry,
} from "prom-client";
import { assert } from "../../crypto/base/assert.ts";

/** Label values of one sample. Never a peer's free text: each distinct value is a series that lives for ever. */
export type Labels = Readonly<Record<string, string>>;

/** Only grows. */
export interface Counter {
  add(value?: number, labels?: Labels): void;
}

/** Goes up and down. */
export interface Gauge {
  set(value: number, labels?: Labels): void;
}

/** A distribution. */
export interface Histogram {
  observe(value: number, labels?: Labels): void;
}

/** What every metric has. */
export type MetricOptions = { readonly name: string; readonly help: string; readonly labels?: readonly string[] };

/** Makes metrics. Asking twice for one name gives the same metric. */
export interface Metrics {
  counter(options: MetricOptions): Counter;
  /** With `read`, the value is asked for whenever the metrics are printed. */
  gauge(options: MetricOptions & { readonly read?: () => number }): Gauge;
  /** `buckets` are upper bounds, ascending, in the unit of the name. */
  histogram(options: MetricOptions & { readonly buckets: readonly number[] }): Histogram;
  /** Everything in the Prometheus text format. */
  text(): Promise<string>;
  /** The content type of `text`. */
  readonly contentType: string;
}

const NAME = /^[a-z][a-z0-9]*(_[a-z0-9]+)+$/;

/** A registry of its own. `process: true` adds Node's figures (memory, event loop, garbage collection). */
export function openMetrics(options: { readonly process?: boolean } = {}): Metrics {
  const registry = new Registry();
  if (options.process === true) collectDefaultMetrics({ register: registry });
  const made = new Map<string, Counter | Gauge | Histogram>();

  function once<T extends Counter | Gauge | Histogram>(kind: string, name: string, make: () => T): T {
    assert(NAME.test(name), "not a metric name: {}", name);
    const key = `${kind} ${name}`;
    const known = made.get(key);
    // The key names the kind, so what is stored under it was made by the same `make`.
    if (known !== undefined) return known as T;
    const metric = make();
    made.set(key, metric);
    return metric;
  }

  return {
    contentType: registry.contentType,
    counter: ({ name, help, labels = [] }) =>
      once("counter", name, () => {
        const metric = new PromCounter({ name, help, labelNames: labels, registers: [registry] });
        return { add: (value = 1, values = {}) => metric.inc(values, value) };
      }),
    gauge: ({ name, help, labels = [], read }) =>
      once("gauge", name, () => {
        const collect = read === undefined ? {} : { collect: () => metric.set(read()) };
        const metric: PromGauge = new PromGauge({ name, help, labelNames: labels, registers: [registry], ...collect });
        return { set: (value, values = {}) => metric.set(values, value) };
      }),
    histogram: ({ name, help, labels = [], buckets }) =>
      once("histogram", name, () => {
        const metric = new PromHistogram({ name, help, labelNames: labels, buckets: [...buckets], registers: [registry] });
        return { observe: (value, values = {}) => metric.observe(values, value) };
      }),
    text: async () => registry.metrics(),
  };
}
