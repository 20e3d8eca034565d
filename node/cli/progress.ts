/** A line on standard error that says how far long work has come. On anything but a terminal it says nothing. */

import type { WriteStream } from "node:tty";

/** Between two drawings; faster is flicker. */
const REDRAW_INTERVAL_MS = 100;

const BAR_COLUMNS = 24;

/** One bar. Dispose it to clear the line. */
export class Progress {
  readonly #title: string;
  readonly #stream: WriteStream | undefined;
  #drawnAtMs = 0;

  constructor(title: string, stream: NodeJS.WritableStream) {
    this.#title = title;
    this.#stream = (stream as WriteStream).isTTY === true ? (stream as WriteStream) : undefined;
  }

  /** Draws `done` of `total`, at most ten times a second. `total` 0 means unknown. */
  update(done: number | bigint, total: number | bigint, note = ""): void {
    const nowMs = performance.now();
    if (this.#stream === undefined || nowMs - this.#drawnAtMs < REDRAW_INTERVAL_MS) return;
    this.#drawnAtMs = nowMs;
    const share = Number(total) === 0 ? 0 : Math.min(1, Number(done) / Number(total));
    const bar = "#".repeat(Math.round(share * BAR_COLUMNS)).padEnd(BAR_COLUMNS, ".");
    const line = `${this.#title} [${bar}] ${done}/${Number(total) === 0 ? "?" : total} ${note}`;
    this.#stream.write(`\r\u001b[K${line.slice(0, (this.#stream.columns ?? 80) - 1)}`);
  }

  /** Takes the line away, so that something else can be said; a later update draws it again. */
  clear(): void {
    if (this.#stream !== undefined && this.#drawnAtMs > 0) this.#stream.write("\r\u001b[K");
    this.#drawnAtMs = 0;
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
