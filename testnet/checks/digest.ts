/**
 * A short account of a long TAP stream: a line a test file, the failures in full, and the totals.
 *
 * tap's own reporters redraw the screen also when nobody sees one; this is for logs.
 */

import { present } from "../../crypto/base/assert.ts";

/** What passed and failed. Skipped and unfinished tests count as neither. */
export type Totals = { readonly passed: number; readonly failed: number };

/** Reads a TAP stream line by line. */
export class Digest {
  /** The names of the tests around the current line, outermost first. */
  readonly #around: string[] = [];
  /** While the details of a failure are shown: the column at which they begin. */
  #details: { readonly column: number; readonly isOpen: boolean } | undefined;
  /** The depth of the last failure in this file; -1 before there is one. */
  #failureDepth = -1;
  #totals: Totals | undefined;

  /** From tap's last line, `# { total: 3, pass: 2, fail: 1 }`; `undefined` when it never came. */
  get totals(): Totals | undefined {
    return this.#totals;
  }

  /** What to print for this line: most are not worth it. */
  line(line: string): string | undefined {
    const text = line.trimStart();
    const depth = (line.length - text.length) / 4;
    if (this.#details !== undefined && this.#isDetail(line, text)) return this.#detail(line);
    const subtest = /^# Subtest: (.*)$/.exec(text);
    if (subtest !== null) this.#enter(depth, subtest[1] ?? "");
    const totals = /^# \{ total: .*\}$/.exec(line);
    if (totals !== null) return this.#total(line);
    if (text.startsWith("not ok ") && !/ # (todo|skip)\b/i.test(text)) return this.#failure(text, depth);
    const file = /^ok \d+ - (.*) # time=([\d.]+)ms$/.exec(line);
    return file === null ? undefined : `ok      ${file[1]} (${(Number(file[2]) / 1000).toFixed(1)} s)`;
  }

  /** Says so when a test was skipped or put off: neither is a pass. */
  #total(line: string): string | undefined {
    this.#totals = { passed: countOf(line, "pass"), failed: countOf(line, "fail") };
    return countOf(line, "skip") + countOf(line, "todo") > 0 ? line : undefined;
  }

  #enter(depth: number, name: string): void {
    this.#around.splice(depth, this.#around.length, name);
    if (depth === 0) this.#failureDepth = -1;
  }

  /** Shows what failed by itself, not what failed because something in it did. */
  #failure(text: string, depth: number): string | undefined {
    const isParent = this.#failureDepth > depth;
    this.#failureDepth = depth;
    if (isParent) return undefined;
    const name = text.replace(/^not ok \d+ (- )?/, "").replace(/ # time=.*$/, "");
    this.#details = { column: depth * 4 + 2, isOpen: false };
    return `not ok  ${[...this.#around.slice(0, depth), name].join(" > ")}`;
  }

  /** Details are a YAML block right after the failure, from `---` to `...`. Not every failure has one. */
  #isDetail(line: string, text: string): boolean {
    if (this.#details?.isOpen === true) return true;
    if (text === "---" && line.length - text.length === this.#details?.column) return true;
    this.#details = undefined;
    return false;
  }

  #detail(line: string): string | undefined {
    const { column, isOpen } = present(this.#details, "details");
    if (line === `${" ".repeat(column)}...`) this.#details = undefined;
    else this.#details = { column, isOpen: true };
    return isOpen && this.#details !== undefined ? `        ${line.slice(column)}` : undefined;
  }
}

function countOf(line: string, name: string): number {
  return Number(new RegExp(`\\b${name}: (\\d+)`).exec(line)?.[1] ?? 0);
}
