/** The codes of the port itself. Production code answers with its own, which stand in the tables of their folders. */

/** What each code means to whoever drives the port. */
export const PORT_CODES = {
  line_too_long: "the line is longer than the port reads; its bytes were skipped, and the next line is read as usual",
  line_not_json: "the line is not one JSON value in UTF-8, or it nests too deeply",
  request_invalid: "the line is JSON, but not {id, op, input}; the id is a string of at most 256 characters or an integer",
  op_unknown: "there is no operation of this name; `--help` lists them",
  input_invalid: "the input has not the form that the operation takes; `path` and `reason` say where and why",
  script_failed:
    "the script has a command that is not known, or asks for what the engine must never be asked; `reason` says which",
  kem_secret_key: "the expanded private key is not one: its length, or the hash that it holds of its public key",
  header_missing: "the provider shows no block of `height`",
  header_hash: "the block of the trusted height is not the one that is trusted",
  witness_missing: "no witness proves the same header as the primary",
  port_fault: "the code under test broke: an assertion failed. Standard error has the stack, and the process will end with 1",
} as const satisfies Record<string, string>;

/** A code of the table above. */
export type PortCode = keyof typeof PORT_CODES;
