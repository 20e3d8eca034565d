/** The back ends that this runtime gets: native where it is there, portable where it is not. */

import type { KemBackend } from "./kems.ts";
import { nobleKems } from "./noble-kems.ts";
import { nobleSignatures } from "./noble-signatures.ts";
import { nodeKems } from "./node-kems.ts";
import { nodeSignatures } from "./node-signatures.ts";
import type { SignatureBackend } from "./signatures.ts";

/** Signatures, as fast as they go here. */
export const signatures: SignatureBackend = nodeSignatures ?? nobleSignatures;

/** Key encapsulation, as fast as it goes here. */
export const kems: KemBackend = nodeKems ?? nobleKems;
