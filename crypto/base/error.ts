/** The failure of the world (disk, socket, configuration): thrown, and caught where someone can act on it. */

/**
 * An error with a stable code.
 *
 * `code` is lower_snake and what callers branch on; `detail` holds public facts only (never a secret);
 * `cause` keeps the error underneath.
 */
export class CodedError extends Error {
  override readonly name = "CodedError";
  readonly code: string;
  readonly detail: Readonly<Record<string, unknown>>;

  constructor(code: string, detail: Readonly<Record<string, unknown>> = {}, options: { readonly cause?: unknown } = {}) {
    super(typeof detail["message"] === "string" ? `${code}: ${detail["message"]}` : code, options);
    this.code = code;
    this.detail = detail;
  }
}

/** The code of any thrown value: ours, Node's (`ENOENT`), or `unknown`. */
export function codeOf(error: unknown): string {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  return "unknown";
}
