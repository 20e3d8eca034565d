/** The back ends that this runtime gets: native where it is there, portable where it is not. */

import { nobleSignatures } from "./noble-signatures.ts";
import { nodeSignatures } from "./node-signatures.ts";
import type { SignatureBackend } from "./signatures.ts";

/** Signatures, as fast as they go here. */
export const signatures: SignatureBackend = nodeSignatures ?? nobleSignatures;
