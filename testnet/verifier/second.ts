/** The second verifier, with a type: it is plain JavaScript, so that it runs where nothing of ours is. */

import type { NetworkJson } from "./corpus.ts";

type Verify = (file: Uint8Array, network: NetworkJson) => Readonly<Record<string, unknown>>;

/** Its module, by a name that the compiler does not follow: it has no types. */
const MODULE: string = "./verify.mjs";
const { verify } = (await import(MODULE)) as { readonly verify: Verify };

/** What the second verifier says of a file. */
export type Verdict =
  | { readonly ok: true; readonly proven: Readonly<Record<string, unknown>> }
  | { readonly ok: false; readonly why: string };

/** Asks it. Whatever it throws is a refusal. */
export function secondVerdict(file: Uint8Array, network: NetworkJson): Verdict {
  try {
    return { ok: true, proven: verify(file, network) };
  } catch (error) {
    return { ok: false, why: error instanceof Error ? error.message : `${String(error)}` };
  }
}
