/**
 * The Rust addon as JavaScript sees it, and how it is found: a build of this checkout first, then the package for this
 * platform, then none. Whoever asks gets the addon or the reason why there is none; nothing here throws.
 *
 * Lists are handed over packed: the items end to end, and their lengths. Every function throws when sizes do not fit
 * (`native_input`) and when Rust panicked (`native_panic`), which only our own fault can bring about. Functions whose
 * name ends in `Async` copy their inputs before they return and work on libuv's pool.
 *
 * Inputs must not lie in shared memory: the addon reads them without locks.
 */

/** What the addon exports: `addon/lib.rs`. */
export interface NativeAddon {
  interfaceVersion(): number;
  /** BLAKE3-256; on every core from 1 MiB on. */
  blake3(bytes: Uint8Array): Uint8Array;
  blake3Async(bytes: Uint8Array): Promise<Uint8Array>;
  /** BLAKE3-256 of `tag ‖ body` for each body: 32 bytes each, in order. */
  blake3Many(tag: number, bodies: Uint8Array, lengths: Uint32Array): Uint8Array;
  /** The root of the log of these entries (`chain/merkle/log.ts`). */
  merkleRoot(entries: Uint8Array, lengths: Uint32Array): Uint8Array;
  /** The hashes of the frontier after appending, largest first, and then each node that became complete, in order. */
  merkleAppend(size: bigint, frontier: Uint8Array, entries: Uint8Array, lengths: Uint32Array): Uint8Array;
  /** ZIP215. */
  ed25519Verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
  /** ZIP215, in batches: a byte a signature, 1 when it verifies. */
  ed25519VerifyManyAsync(
    publicKeys: Uint8Array,
    signatures: Uint8Array,
    messages: Uint8Array,
    lengths: Uint32Array,
  ): Promise<Uint8Array>;
  /** The ML-DSA-65 signing key (4,032 bytes) of a seed, and then the public key. */
  mlDsaKeyPair(seed: Uint8Array): Uint8Array;
  /** ML-DSA-65 without context; `randomness` is 32 bytes, zeros for the deterministic variant. */
  mlDsaSign(signingKey: Uint8Array, message: Uint8Array, randomness: Uint8Array): Uint8Array;
  mlDsaVerify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
  /** A byte a signature, 1 when it verifies. */
  mlDsaVerifyManyAsync(
    publicKeys: Uint8Array,
    signatures: Uint8Array,
    messages: Uint8Array,
    lengths: Uint32Array,
  ): Promise<Uint8Array>;
  /** Digests of groups of `count` numbers, four words each, least word first. */
  poseidonMany(count: number, words: BigUint64Array): BigUint64Array;
  poseidonManyAsync(count: number, words: BigUint64Array): Promise<BigUint64Array>;
  /** The pages of one state tree in memory, within `sizeBytesMax`. */
  readonly StatePages: new (sizeBytesMax: number) => NativeStatePages;
  /** Panic, so that a test sees that it stays in Rust. */
  canary(): never;
  canaryAsync(): Promise<never>;
}

/** Gives the stored bytes of a page that is not in memory. What it throws goes on to whoever asked. */
export type ReadNativePage = (location: number) => Uint8Array;

/**
 * Pages of a state tree (`chain/state/native-pages.ts`). Locations are whole numbers below 2^48, and -1 is none. Throws
 * `native_page` when what was read is no page.
 */
export interface NativeStatePages {
  /** The version after the one at a root. Keys are sorted, each once; a value's length of 2^32 - 1 deletes the row. */
  stage(
    rootHash: Uint8Array,
    rootLocation: number,
    nextChunk: number,
    keys: Uint8Array,
    keyLengths: Uint32Array,
    values: Uint8Array,
    valueLengths: Uint32Array,
    read: ReadNativePage,
  ): NativeStaged;
  /** Makes a staged version the newest, and forgets all others that were staged. Eight are remembered. */
  adopt(id: number): void;
  /** Where the value of a row is, in the tree below a location, or -1. */
  find(rootLocation: number, key: Uint8Array, read: ReadNativePage): number;
  /** A copy of a page. */
  page(location: number, read: ReadNativePage): Uint8Array;
  clear(): void;
  /** The memory that the pages take. */
  readonly sizeBytes: number;
}

/** A version that is computed and not yet committed. */
export type NativeStaged = {
  /** For `adopt`. */
  readonly id: number;
  readonly hash: Uint8Array;
  readonly location: number;
  /** The first chunk number that is free afterwards. */
  readonly nextChunk: number;
  /** The new chunks, end to end; their numbers; and where each ends. */
  readonly chunks: Uint8Array;
  readonly chunkNumbers: Float64Array;
  readonly chunkEnds: Uint32Array;
  /** Locations that the version no longer reaches. */
  readonly stale: Float64Array;
};

/** The version of `NativeAddon` that this code was written for: `INTERFACE_VERSION` of `addon/lib.rs`. */
export const NATIVE_INTERFACE_VERSION = 2;

/**
 * Why there is no addon.
 *
 * - `off`: `PYRALOG_NATIVE=off` says so
 * - `setting`: `PYRALOG_NATIVE` holds something else than `on` or `off`
 * - `platform`: this is no Node
 * - `missing`: nothing was built here, and no package for this platform is installed
 * - `broken`: it is there and does not load, or gives wrong answers
 * - `version`: it was built from other sources: `npm run native` builds it anew
 */
export type NativeAbsenceCode = "off" | "setting" | "platform" | "missing" | "broken" | "version";

/** The addon and where it came from, or why there is none. */
export type NativeLoad =
  | { readonly kind: "loaded"; readonly addon: NativeAddon; readonly from: "build" | "package" }
  | { readonly kind: "absent"; readonly code: NativeAbsenceCode; readonly reason: string };

/** Looks for the addon. Each call loads anew; `crypto/backend/native.ts` calls once. */
export function loadNative(): NativeLoad {
  if (typeof process === "undefined" || typeof process.getBuiltinModule !== "function")
    return absent("platform", "this runtime has no native addons");
  const setting = process.env["PYRALOG_NATIVE"] ?? "";
  if (setting === "off") return absent("off", "PYRALOG_NATIVE=off");
  if (setting !== "" && setting !== "on")
    return absent("setting", `PYRALOG_NATIVE is ${JSON.stringify(setting.slice(0, 20))}; it may be on or off`);

  const require = process.getBuiltinModule("node:module").createRequire(import.meta.url);
  for (const { from, name } of candidates()) {
    let addon: unknown;
    try {
      require.resolve(name);
    } catch {
      continue; // Not there: the next one may be.
    }
    try {
      addon = require(name);
    } catch (error) {
      // A node tells this to whoever asks for its status: names of files, and no paths.
      const said = error instanceof Error ? (error.message.split("\n")[0] ?? "") : "it does not load";
      return absent("broken", said.replaceAll(/\S*[\\/]/g, "").slice(0, 200));
    }
    if (versionOf(addon) !== NATIVE_INTERFACE_VERSION)
      return absent("version", `the ${from} has interface ${versionOf(addon)}, this code wants ${NATIVE_INTERFACE_VERSION}`);
    return { kind: "loaded", addon: addon as NativeAddon, from };
  }
  return absent("missing", "not built (npm run native, which needs cargo) and no package for this platform");
}

function absent(code: NativeAbsenceCode, reason: string): NativeLoad {
  return { kind: "absent", code, reason };
}

/** Where the addon may be, best first. npm installs at most one of the packages, the one whose libc fits. */
function candidates(): readonly { readonly from: "build" | "package"; readonly name: string }[] {
  const platform = `@pyralog/native-${process.platform}-${process.arch}`;
  const packages = process.platform === "linux" ? [`${platform}-gnu`, `${platform}-musl`] : [platform];
  return [
    // By `imports` of package.json: this file may have been built into another.
    { from: "build", name: "#native-addon" },
    ...packages.map((name) => ({ from: "package" as const, name })),
  ];
}

function versionOf(addon: unknown): number | undefined {
  const version = (addon as { readonly interfaceVersion?: unknown } | undefined)?.interfaceVersion;
  if (typeof version !== "function") return undefined;
  const got: unknown = version();
  return typeof got === "number" ? got : undefined;
}
