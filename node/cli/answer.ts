/** What a verb gives back, for programs and for people. */

/** Anything that goes to standard output under `--json`: bigints become decimal strings, bytes become hex. */
export type Json =
  | null
  | boolean
  | number
  | string
  | bigint
  | Uint8Array
  | readonly Json[]
  | { readonly [key: string]: Json | undefined };

/** What a verb found, for programs and for people. */
export type Answer = { readonly json: Json; readonly text: string };
