/** The back ends that this runtime gets, the fastest that is there; and which they are, for whoever asks. */

import { BLAKE3_SHORT } from "./blake3.ts";
import type { KemBackend } from "./kems.ts";
import { native, nativeLoad } from "./native.ts";
import { nativeSignatures } from "./native-signatures.ts";
import { nobleKems } from "./noble-kems.ts";
import { nobleSignatures } from "./noble-signatures.ts";
import { nodeKems } from "./node-kems.ts";
import { nodeSignatures } from "./node-signatures.ts";
import type { SignatureBackend } from "./signatures.ts";

const withoutNative: SignatureBackend = nodeSignatures ?? nobleSignatures;

/** Signatures, as fast as they go here. */
export const signatures: SignatureBackend = native === undefined ? withoutNative : nativeSignatures(native, withoutNative);

/** Key encapsulation, as fast as it goes here. */
export const kems: KemBackend = nodeKems ?? nobleKems;

/** Which implementation serves what here; more than one where the size decides. Words for people, logs and status. */
export type BackendReport = {
  /** `build` or `package`; or the code and the reason why there is no addon, after a colon. */
  readonly native: string;
  readonly blake3: string;
  readonly merkle: string;
  readonly ed25519: string;
  readonly mlDsa: string;
  readonly mlKem: string;
  readonly poseidon: string;
  /** Pages of the state tree, and the making of new versions. */
  readonly state: string;
  /** What of this program runs: its `sources`, or what was `built` of them. */
  readonly code: "sources" | "built";
};

/** What serves here. It does not change while the process lives. */
export const BACKEND_REPORT: BackendReport = {
  native: nativeLoad.kind === "loaded" ? nativeLoad.from : `${nativeLoad.code}: ${nativeLoad.reason}`,
  blake3: native === undefined ? BLAKE3_SHORT : `${BLAKE3_SHORT}, native`,
  merkle: native === undefined ? BLAKE3_SHORT : `${BLAKE3_SHORT}, native`,
  ed25519: native === undefined ? withoutNative.name : `${withoutNative.name} signs, native verifies`,
  mlDsa: signatures.name,
  mlKem: kems.name,
  poseidon: native === undefined ? "noble" : "native",
  state: native === undefined ? "typescript" : "native",
  code: import.meta.url.endsWith(".ts") ? "sources" : "built",
};
