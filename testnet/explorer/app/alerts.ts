/**
 * What was caught: answers that their own proofs do not bear out. Kept until the visitor has read them, and bounded.
 *
 * Three kinds, because different people are to be told: a gateway that lies, a gateway that is behind, and validators that
 * contradict themselves, which is the end of what a page can know.
 */

import type { CodedError } from "../../../crypto/base/error.ts";
import { UNPROVEN_CODES } from "../../../node/light/errors.ts";
import { EXPLORER_CODES } from "../errors.ts";

/** Who is at fault, as far as the code tells. */
export type AlertKind = "lie" | "behind" | "fork" | "file";

/** One thing that was caught, however often. */
export type Alert = {
  readonly id: string;
  readonly kind: AlertKind;
  readonly code: string;
  /** What was asked for, in words. */
  readonly what: string;
  /** Whose answer it was; absent for files. */
  readonly gateway: string | undefined;
  readonly meaning: string;
  /** What somebody else can check: a fraud proof. */
  readonly proof: Uint8Array | undefined;
  /** Of a split view: the gateways that show different chains, of which the visitor may choose one. */
  readonly choices: readonly string[];
  readonly field: string | undefined;
  readonly height: bigint | undefined;
  readonly atMs: number;
  readonly count: number;
};

/** More than anybody reads; the oldest goes first. */
const ALERTS_MAX = 20;

const BEHIND = new Set(["stale_head", "old_head", "work_less", "headers_unknown", "block_undone", "header_future"]);
const FORK = new Set(["fork_detected", "log_forked", "log_shrank", "reorg_deep"]);

/** See the file's head. */
export class Alerts {
  #alerts: readonly Alert[] = [];
  #lies = 0;
  readonly #onChange: (alerts: readonly Alert[]) => void;
  readonly #onSplit: () => void;

  /** @param onSplit - called when two certified chains were seen, whoever met them */
  constructor(onChange: (alerts: readonly Alert[]) => void, onSplit: () => void) {
    this.#onChange = onChange;
    this.#onSplit = onSplit;
  }

  /** How often a gateway was caught, read or not. */
  get lies(): number {
    return this.#lies;
  }

  /** Notes what was caught when `what` was asked for, and of whom. A file is nobody's answer: `kind` says so. */
  add(
    error: CodedError,
    what: string,
    of: {
      readonly kind?: AlertKind;
      readonly gateway?: string;
      readonly proof?: Uint8Array | undefined;
      readonly choices?: readonly string[];
    } = {},
  ): void {
    const { kind = kindOf(error.code), gateway, proof, choices = [] } = of;
    if (kind === "lie" || kind === "fork") this.#lies += 1;
    const id = `${kind} ${error.code} ${what} ${gateway ?? ""}`;
    const known = this.#alerts.find((alert) => alert.id === id);
    const { field, height } = error.detail as { readonly field?: unknown; readonly height?: unknown };
    const alert: Alert = {
      id,
      kind,
      code: error.code,
      what,
      gateway,
      proof,
      choices,
      meaning: meaningOf(error),
      field: typeof field === "string" ? field : undefined,
      height: typeof height === "bigint" ? height : undefined,
      atMs: Date.now(),
      count: (known?.count ?? 0) + 1,
    };
    this.#alerts = [alert, ...this.#alerts.filter((each) => each.id !== id)].slice(0, ALERTS_MAX);
    this.#onChange(this.#alerts);
    if (kind === "fork" && error.code === "fork_detected") this.#onSplit();
  }

  /** The visitor has read it. */
  dismiss(id: string): void {
    this.#alerts = this.#alerts.filter((alert) => alert.id !== id);
    this.#onChange(this.#alerts);
  }
}

function kindOf(code: string): AlertKind {
  if (FORK.has(code)) return "fork";
  return BEHIND.has(code) ? "behind" : "lie";
}

/** What a code means, from the table that has it; else what the error says. */
export function meaningOf(error: CodedError): string {
  if (Object.hasOwn(UNPROVEN_CODES, error.code)) return UNPROVEN_CODES[error.code as keyof typeof UNPROVEN_CODES];
  if (Object.hasOwn(EXPLORER_CODES, error.code)) return EXPLORER_CODES[error.code as keyof typeof EXPLORER_CODES];
  return error.message;
}
