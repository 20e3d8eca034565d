/** What the proofs of a block hang from. */

/** An encoded header and the encoded certificate that makes it part of the chain. */
export type Anchor = { readonly header: Uint8Array; readonly certificate: Uint8Array };
