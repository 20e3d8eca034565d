/** The port as a process of its own, asked and answered through its streams. */

import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { assert, present } from "../../../crypto/base/assert.ts";

const MAIN = fileURLToPath(new URL("../main.ts", import.meta.url));

/** One line of the port. */
export type Answer = {
  readonly id: string | number | null;
  // What an operation gives is for each test to know.
  readonly output?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly code: string };
};

/** Answers come in the order of the lines, so each line's answer is the next one. */
export class PortProcess {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #waiting: ((answer: Answer) => void)[] = [];
  readonly #ended: Promise<unknown>;
  #asked = 0;
  #errors = "";

  constructor() {
    this.#child = spawn(process.execPath, [MAIN], { stdio: ["pipe", "pipe", "pipe"] });
    this.#ended = once(this.#child, "close");
    this.#child.stderr.setEncoding("utf8").on("data", (text: string) => (this.#errors += text));
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      present(this.#waiting.shift(), `a line for ${line.slice(0, 100)}`)(JSON.parse(line) as Answer);
    });
  }

  /** Asks with an id that nobody else has, and wants it back. */
  async ask(op: string, input: unknown): Promise<Answer> {
    this.#asked += 1;
    const id = `${op} ${this.#asked}`;
    const answer = await this.line(JSON.stringify({ id, op, input }));
    assert(answer.id === id, `${answer.id} answers ${id}`);
    return answer;
  }

  /** Sends any bytes as one line. */
  async line(bytes: string | Uint8Array): Promise<Answer> {
    const answered = this.next();
    this.#child.stdin.write(bytes);
    this.#child.stdin.write("\n");
    return await answered;
  }

  /** Sends the last bytes, without a newline, and waits for the end. */
  async end(last: string): Promise<{ readonly answer: Answer; readonly exitCode: number | null; readonly errors: string }> {
    const answered = this.next();
    this.#child.stdin.end(last);
    const answer = await answered;
    await this.#ended;
    return { answer, exitCode: this.#child.exitCode, errors: this.#errors };
  }

  /** The answer to the line that is sent next. */
  next(): Promise<Answer> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
