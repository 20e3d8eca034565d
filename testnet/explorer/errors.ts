/** Every reason of the explorer's own for which it shows nothing. Those of proofs are in `node/light/errors.ts`. */

/** What each code means and what the visitor should do about it. */
export const EXPLORER_CODES = {
  network_pin_mismatch:
    "The gateway serves another network than the one whose hash you gave. Check the gateway's address, or the hash.",
  network_changed: "This gateway served another network file before. Compare hashes with somebody you trust before you go on.",
  network_file_invalid: "This is not a network file.",
  rpc_url_invalid: "The gateway's address must be an http or https URL.",
  search_nothing: "Nothing of that name was found.",
  search_unclear: "That is no height, hash, address, table, row or stream.",
  chromium_missing: "There is no browser to test with. Install Chromium, or name one with PYRALOG_CHROMIUM.",
  page_build: "The page does not bundle. See the message, and the sources that it names.",
  file_too_large: "The file is larger than any proof or network file.",
} as const satisfies Record<string, string>;

/** A code of the table above. */
export type ExplorerCode = keyof typeof EXPLORER_CODES;
