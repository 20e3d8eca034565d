import t from "tap";
import { openMetrics } from "./metrics.ts";

t.test("counters, gauges and histograms print in the Prometheus format", async (t) => {
  const metrics = openMetrics();
  const counter = metrics.counter({ name: "network_requests_total", help: "Requests", labels: ["outcome"] });
  counter.add(1, { outcome: "answered" });
  counter.add(2, { outcome: "answered" });
  let peers = 4;
  metrics.gauge({ name: "network_peers_count", help: "Peers", read: () => peers });
  metrics.gauge({ name: "chain_height_count", help: "Height" }).set(9);
  metrics.histogram({ name: "consensus_round_seconds", help: "Rounds", buckets: [0.1, 1] }).observe(0.5);
  const text = await metrics.text();
  t.match(text, 'network_requests_total{outcome="answered"} 3');
  t.match(text, "network_peers_count 4");
  t.match(text, "chain_height_count 9");
  t.match(text, 'consensus_round_seconds_bucket{le="1"} 1');
  peers = 5;
  t.match(await metrics.text(), "network_peers_count 5", "read when asked");
  t.match(metrics.contentType, /^text\/plain/);
});

t.test("one name is one metric, and two registries do not mix", async (t) => {
  const first = openMetrics();
  const second = openMetrics();
  const options = { name: "chain_blocks_total", help: "Blocks" };
  first.counter(options).add();
  first.counter(options).add();
  second.counter(options).add();
  t.match(await first.text(), "chain_blocks_total 2");
  t.match(await second.text(), "chain_blocks_total 1");
  t.throws(() => first.counter({ name: "Blocks", help: "not a name of ours" }), { name: "AssertionError" });
});

t.test("Node's own figures come only when asked for", async (t) => {
  t.notMatch(await openMetrics().text(), /process_resident_memory_bytes/);
  t.match(await openMetrics({ process: true }).text(), /process_resident_memory_bytes/);
});
