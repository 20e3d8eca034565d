/** What opening a log throws (`CodedError`). */

/** Codes of `CodedError` thrown here. */
export const LOG_ERRORS = {
  /** The log file cannot be opened for appending. Correct its path or its rights. */
  log_open: "the log file cannot be opened",
} as const satisfies Record<string, string>;
