/**
 * How a watch tells the world: Prometheus metrics and the newest cosigned checkpoint over HTTP on loopback, and a webhook
 * that is called for alerts.
 *
 * What goes out are facts that anybody may know: no key, no passphrase, no path of this machine.
 */

import { createServer, type Server } from "node:http";
import { CodedError } from "../../crypto/base/error.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { formatAddress } from "../../crypto/identity/address.ts";
import { type NetworkFile, networkHash } from "../../chain/block/genesis.ts";
import type { Log } from "../log/log.ts";
import type { Metrics } from "../metrics/metrics.ts";
import { pause } from "../rpc/feed.ts";
import type { Alert, WatchEvent } from "./watch.ts";

/** An HTTP server that answers two questions. */
export type ReportServer = AsyncDisposable & { readonly url: string };

/** Serves `GET /metrics` and `GET /checkpoint` on loopback. @throws CodedError `audit_listen` */
export async function serveReports(
  port: number,
  { metrics, checkpoint }: { readonly metrics: Metrics; readonly checkpoint: () => string | undefined },
): Promise<ReportServer> {
  const server: Server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000 }, (request, response) => {
    void (async () => {
      const note = request.url === "/checkpoint" ? checkpoint() : undefined;
      if (request.method === "GET" && request.url === "/metrics")
        response.writeHead(200, { "Content-Type": metrics.contentType }).end(await metrics.text());
      else if (request.method === "GET" && note !== undefined)
        response.writeHead(200, { "Content-Type": "text/plain; charset=utf-8" }).end(note);
      else response.writeHead(404).end();
    })();
  });
  server.maxConnections = 64;
  const listening = Promise.withResolvers<void>();
  server.once("error", listening.reject).listen(port, "127.0.0.1", listening.resolve);
  try {
    await listening.promise;
  } catch (error) {
    throw new CodedError("audit_listen", { message: `cannot listen on port ${port}`, port }, { cause: error });
  }
  const address = server.address();
  const bound = typeof address === "object" && address !== null ? address.port : port;
  return {
    url: `http://127.0.0.1:${bound}`,
    [Symbol.asyncDispose]: async () => {
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      server.closeAllConnections();
      await closed.promise;
    },
  };
}

/** Counts what a watch tells. */
export function countEvents(metrics: Metrics): (event: WatchEvent) => void {
  const height = metrics.gauge({ name: "auditor_height_count", help: "Height up to which everything holds" });
  const blocks = metrics.counter({ name: "auditor_blocks_total", help: "Blocks that were audited" });
  const bytes = metrics.counter({ name: "auditor_blocks_bytes_total", help: "Bytes of blocks that were executed again" });
  const seconds = metrics.counter({ name: "auditor_busy_seconds_total", help: "Time that auditing blocks took" });
  const samples = metrics.counter({ name: "auditor_samples_total", help: "Random answers that proved themselves" });
  const agreeing = metrics.gauge({ name: "auditor_agreeing_count", help: "Nodes that show the newest audited header" });
  const alerts = metrics.counter({ name: "auditor_alerts_total", help: "Alerts, by code", labels: ["code"] });
  return (event) => {
    if (event.kind === "alert") return alerts.add(1, { code: event.code });
    height.set(Number(event.height));
    blocks.add(event.blocks);
    bytes.add(event.sizeBytes);
    seconds.add(event.seconds);
    samples.add(event.samples);
    agreeing.set(event.agreeing);
  };
}

/** How a webhook is called. */
export type WebhookOptions = {
  readonly url: string;
  readonly network: NetworkFile;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly signal: AbortSignal;
  readonly attemptsMax?: number;
  readonly delayMsMin?: number;
};

const ATTEMPTS_MAX_DEFAULT = 6;
const DELAY_MS_MIN_DEFAULT = 1_000;
const TIMEOUT_MS = 10_000;
/** Alerts that wait to be told; beyond it they are counted and dropped, for the first ones matter most. */
const WAITING_MAX = 100;

/** Tells alerts one after another, each until it was taken or the attempts are used up. */
export class Webhook {
  readonly #options: WebhookOptions;
  #waiting = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(options: WebhookOptions) {
    this.#options = options;
  }

  /** Queues an alert. Never fails: what could not be told is counted and logged. */
  tell(alert: Alert): void {
    if (this.#waiting >= WAITING_MAX) return this.#count("dropped");
    this.#waiting += 1;
    const body = alertBody(alert, this.#options.network);
    this.#last = this.#last.then(async () => {
      this.#count((await this.#post(body)) ? "told" : "failed");
      this.#waiting -= 1;
    });
  }

  /** Resolves once nothing waits any more. */
  async drained(): Promise<void> {
    await this.#last;
  }

  async #post(body: string): Promise<boolean> {
    const { url, signal, log, attemptsMax = ATTEMPTS_MAX_DEFAULT, delayMsMin = DELAY_MS_MIN_DEFAULT } = this.#options;
    for (let attempt = 0; attempt < attemptsMax && !signal.aborted; attempt += 1) {
      if (attempt > 0) await pause(delayMsMin * 2 ** (attempt - 1), signal);
      try {
        const bounded = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
        const headers = { "Content-Type": "application/json" };
        const answer = await fetch(url, { method: "POST", headers, body, signal: bounded, redirect: "error" });
        await answer.body?.cancel();
        if (answer.ok) return true;
        // It was understood and refused: saying it again would not help.
        if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) break;
      } catch (error) {
        if (!(error instanceof Error)) throw error;
      }
    }
    if (!signal.aborted) log.warn({ part: "auditor", code: "webhook_failed" }, "the webhook did not take an alert");
    return false;
  }

  #count(outcome: "told" | "failed" | "dropped"): void {
    const { metrics } = this.#options;
    metrics
      .counter({ name: "auditor_webhook_total", help: "Alerts to the webhook, by outcome", labels: ["outcome"] })
      .add(1, { outcome });
  }
}

/** An alert as the webhook gets it: facts, and the fraud proof itself in hex. */
function alertBody({ code, url, height, reason, field, fraud }: Alert, network: NetworkFile): string {
  return JSON.stringify({
    code,
    node: url,
    height: `${height}`,
    chainId: network.chainId,
    networkHash: toHex(networkHash(network)),
    ...(reason === undefined ? {} : { reason }),
    ...(field === undefined ? {} : { field }),
    ...(fraud === undefined
      ? {}
      : {
          offence: fraud.proven.offence,
          convicts: fraud.proven.convicts.map(({ validator }) => formatAddress(validator)),
          fraudProof: toHex(fraud.file),
        }),
  });
}
