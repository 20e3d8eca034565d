/**
 * Each function of the Rust addon against what serves without it, side by side: what does not win has no place there.
 *
 * Method: both are run in turn, round after round, so that what else the machine does hits both alike. A sample is the
 * time an item took over some tenths of a second. `_ratio` is how many times as long the portable back end took in the same
 * round; `_cpu_ratio` the same of processor time, all threads counted, which says more on a busy machine.
 */

import { assert, present, unreachable } from "../../crypto/base/assert.ts";
import { compareBytes, concatBytes, utf8 } from "../../crypto/base/bytes.ts";
import { blake3ManyNative, blake3ManyPortable, blake3Portable, blake3Wasm } from "../../crypto/backend/blake3.ts";
import { merkleBackend } from "../../crypto/backend/merkle.ts";
import { native } from "../../crypto/backend/native.ts";
import { nativeSignatures } from "../../crypto/backend/native-signatures.ts";
import { nobleSignatures } from "../../crypto/backend/noble-signatures.ts";
import { nodeSignatures } from "../../crypto/backend/node-signatures.ts";
import type { SignatureBackend, SignatureClaim } from "../../crypto/backend/signatures.ts";
import { poseidonHashMany, poseidonHashManyAsync, poseidonHashPortable } from "../../crypto/hash/poseidon.ts";
import { appendEntries, appendLeaf, EMPTY_FRONTIER, frontierRoot, LOG_HASHER } from "../../chain/merkle/log.ts";
import { EMPTY_ROOT } from "../../chain/state/hashing.ts";
import { NativePages } from "../../chain/state/native-pages.ts";
import type { PagesOptions, StatePages } from "../../chain/state/pages.ts";
import { PortablePages } from "../../chain/state/portable-pages.ts";
import type { RootRecord } from "../../chain/state/record.ts";
import type { StateUpdate } from "../../chain/state/update.ts";
import type { Figures } from "./state.ts";

/** What to measure. */
export type NativeBenchOptions = {
  readonly rounds?: number;
  /** The least that a sample takes. */
  readonly sampleMs?: number;
};

type Work = () => unknown;
type Contest = {
  readonly name: string;
  readonly items: number;
  readonly native: Work;
  readonly portable: Work;
};
type Sample = { readonly wall: number; readonly cpu: number };

/** Compares all functions. Needs the addon. */
export async function benchNative(options: NativeBenchOptions = {}): Promise<Figures> {
  const rounds = options.rounds ?? 7;
  const sampleMs = options.sampleMs ?? 150;
  const figures: Figures = { figures: {}, spread: {} };
  for (const contest of contests()) {
    const samples: { native: Sample; portable: Sample }[] = [];
    for (let round = 0; round <= rounds; round += 1) {
      const pair = {
        native: await sample(contest.native, contest.items, sampleMs),
        portable: await sample(contest.portable, contest.items, sampleMs),
      };
      // The first round warms up.
      if (round > 0) samples.push(pair);
    }
    const note = (what: string, values: readonly number[]): void => {
      const sorted = values.toSorted((a, b) => a - b).map((value) => Number(value.toPrecision(3)));
      figures.figures[`${contest.name}_${what}`] = present(sorted[sorted.length >> 1], "median");
      figures.spread[`${contest.name}_${what}`] = [present(sorted[0], "least"), present(sorted.at(-1), "greatest")];
    };
    note(
      "native_us",
      samples.map((pair) => pair.native.wall),
    );
    note(
      "portable_us",
      samples.map((pair) => pair.portable.wall),
    );
    note(
      "ratio",
      samples.map((pair) => pair.portable.wall / pair.native.wall),
    );
    note(
      "cpu_ratio",
      samples.map((pair) => pair.portable.cpu / pair.native.cpu),
    );
  }
  return figures;
}

/** Microseconds an item, by the wall and by the processor. */
async function sample(work: Work, items: number, sampleMs: number): Promise<Sample> {
  const cpuStart = process.cpuUsage();
  const start = performance.now();
  let calls = 0;
  let elapsedMs = 0;
  while (elapsedMs < sampleMs) {
    // Looking at the clock costs as much as a short hash: not after each.
    for (let call = 0; call < (items === 1 ? 8 : 1); call += 1) {
      const made = work();
      if (made instanceof Promise) await made;
      calls += 1;
    }
    elapsedMs = performance.now() - start;
  }
  const cpu = process.cpuUsage(cpuStart);
  return { wall: (elapsedMs * 1000) / (calls * items), cpu: (cpu.user + cpu.system) / (calls * items) };
}

function contests(): Contest[] {
  const addon = present(native, "the addon (npm run native builds it)");
  const merkle = present(merkleBackend, "the addon's Merkle logs");
  const node = nodeSignatures ?? nobleSignatures;
  const over = nativeSignatures(addon, node);
  const short = blake3Wasm ?? blake3Portable;
  const bytes = (sizeBytes: number): Uint8Array => new Uint8Array(sizeBytes).map((_, index) => index * 31);
  const list = (count: number, sizeBytes: number): Uint8Array[] =>
    Array.from({ length: count }, (_, index) => bytes(sizeBytes).fill(index, 0, 1));

  const hashes = [65, 1024, 2048, 65_536, 1 << 20, 1 << 24].map((sizeBytes): Contest => {
    const input = bytes(sizeBytes);
    return { name: `blake3_${sizeBytes}B`, items: 1, native: () => addon.blake3(input), portable: () => short(input) };
  });
  const long = bytes(1 << 24);
  const lists = [
    [8, 64],
    [1000, 64],
    [1000, 300],
  ].map(([count = 0, sizeBytes = 0]): Contest => {
    const bodies = list(count, sizeBytes);
    return {
      name: `blake3Many_${count}x${sizeBytes}B`,
      items: count,
      native: () => blake3ManyNative(addon, 1, bodies),
      portable: () => blake3ManyPortable(1, bodies, short),
    };
  });
  const roots = [16, 100, 5000].map((count): Contest => {
    const entries = list(count, 300);
    return {
      name: `merkleRoot_${count}x300B`,
      items: count,
      native: () => merkle.root(entries),
      portable: () => rootOneByOne(entries),
    };
  });
  const appends = [16, 1000].map((count): Contest => {
    const entries = list(count, 300);
    return {
      name: `merkleAppend_${count}x300B`,
      items: count,
      native: () => appendEntries(EMPTY_FRONTIER, entries, () => undefined),
      portable: () => appendOneByOne(entries),
    };
  });
  return [
    ...hashes,
    {
      name: "blake3Async_16MiB",
      items: 1,
      native: async () => addon.blake3Async(long),
      portable: () => short(long),
    },
    ...lists,
    ...roots,
    ...appends,
    ...signatureContests(over, node),
    ...mlDsaContests(over, node),
    ...[2, 16].map((count): Contest => {
      const inputs = Array.from({ length: count }, (_, index) => BigInt(index + 1) << 200n);
      return {
        name: `poseidon_${count}`,
        items: 1,
        native: () => poseidonHashMany([inputs]),
        portable: () => poseidonHashPortable(inputs),
      };
    }),
    poseidonMany(),
    ...[1_000, 100_000].map(stateContest),
  ];
}

/** A thousand new values for rows of a state of `rows`, staged and adopted, with all pages in memory. */
function stateContest(rows: number): Contest {
  const keys = Array.from({ length: rows }, (_, index) => blake3Portable(Uint8Array.of(index, index >> 8, index >> 16))).toSorted(
    compareBytes,
  );
  const stager = (open: (options: PagesOptions) => StatePages | undefined): Work => {
    const readSlot = (): never => unreachable("all pages are in memory" as never);
    const pages = present(open({ readSlot, sizeBytesMax: 1 << 29 }), "the addon's pages");
    let base: RootRecord = { hash: EMPTY_ROOT, location: undefined, nextChunk: 0 };
    const commit = (updates: readonly StateUpdate[]): void => {
      const { root, nextChunk, adopt } = pages.stage(base, updates);
      base = { ...root, nextChunk };
      adopt();
    };
    const value = new Uint8Array(200);
    commit(keys.map((key) => ({ key, value })));
    let round = 0;
    return () => {
      round += 1;
      const fresh = value
        .slice()
        .fill(round, 0, 4)
        .fill(round >> 8, 4, 8);
      const every = rows / 1000;
      commit(
        Array.from({ length: 1000 }, (_, at) => ({ key: present(keys[at * every + (round % every)], "key"), value: fresh })),
      );
    };
  };
  return {
    name: `stateStage_1000of${rows}`,
    items: 1000,
    native: stager((options) => NativePages.open(options)),
    portable: stager((options) => new PortablePages(options)),
  };
}

function poseidonMany(): Contest {
  const pairs = Array.from({ length: 64 }, (_, index) => [BigInt(index) << 190n, 1n]);
  return {
    name: "poseidonManyAsync_64x2",
    items: 64,
    native: async () => poseidonHashManyAsync(pairs),
    portable: () => pairs.map(poseidonHashPortable),
  };
}

function rootOneByOne(entries: readonly Uint8Array[]): unknown {
  return frontierRoot(LOG_HASHER, appendOneByOne(entries));
}

function appendOneByOne(entries: readonly Uint8Array[]): typeof EMPTY_FRONTIER {
  let frontier = EMPTY_FRONTIER;
  for (const entry of entries) frontier = appendLeaf(LOG_HASHER, frontier, LOG_HASHER.leaf(entry), () => undefined);
  return frontier;
}

/** ML-DSA-65 over 300 bytes. `node:crypto` signs hedged only: the deterministic variant is noble's without the addon. */
function mlDsaContests(over: SignatureBackend, node: SignatureBackend): Contest[] {
  const seed = new Uint8Array(32).fill(3);
  const [ours, theirs] = [over.signer("ml-dsa-65", seed), node.signer("ml-dsa-65", seed)];
  const message = new Uint8Array(300).fill(1);
  const claim = { publicKey: ours.publicKey, message, signature: theirs.sign(message) };
  const verify = (backend: SignatureBackend) => (): void =>
    assert(backend.verify("ml-dsa-65", claim.publicKey, claim.message, claim.signature), "verdict");
  const claims = Array.from({ length: 64 }, () => claim);
  const batch = (backend: SignatureBackend) => async (): Promise<void> => {
    assert(!(await backend.verifyBatch("ml-dsa-65", claims)).includes(false), "verdicts");
  };
  return [
    { name: "mlDsa_verify", items: 1, native: verify(over), portable: verify(node) },
    { name: "mlDsa_verifyBatch_64", items: 64, native: batch(over), portable: batch(node) },
    { name: "mlDsa_sign", items: 1, native: () => ours.sign(message), portable: () => theirs.sign(message) },
    {
      name: "mlDsa_signDeterministic",
      items: 1,
      native: () => ours.signDeterministic(message),
      portable: () => theirs.signDeterministic(message),
    },
  ];
}

/** Signatures over 300 bytes, of sixteen signers in turn. */
function signatureContests(over: SignatureBackend, node: SignatureBackend): Contest[] {
  const signers = Array.from({ length: 16 }, (_, index) => node.signer("ed25519", new Uint8Array(32).fill(index + 1)));
  const claims = Array.from({ length: 1024 }, (_, index): SignatureClaim => {
    const signer = present(signers[index % signers.length], "signer");
    const message = concatBytes(utf8(`${index}`.padStart(4, "0")), new Uint8Array(296));
    return { publicKey: signer.publicKey, message, signature: signer.sign(message) };
  });
  const one = present(claims[0], "claim");
  const wrong = { ...one, message: utf8("another") };
  const verify = (backend: SignatureBackend, claim: SignatureClaim, isValid: boolean) => (): void =>
    assert(backend.verify("ed25519", claim.publicKey, claim.message, claim.signature) === isValid, "verdict");
  const batch = (backend: SignatureBackend, of: readonly SignatureClaim[], wrongCount: number) => async (): Promise<void> => {
    const verdicts = await backend.verifyBatch("ed25519", of);
    assert(verdicts.filter((isValid) => !isValid).length === wrongCount, "verdicts");
  };
  const single = (backend: SignatureBackend, of: readonly SignatureClaim[]) => async (): Promise<void> => {
    const asked = of.map(async ({ publicKey, message, signature }) =>
      backend.verifyAsync("ed25519", publicKey, message, signature),
    );
    assert(
      (await Promise.all(asked)).every((isValid) => isValid),
      "verdicts",
    );
  };
  const batches = [1, 16, 128, 1024].map((count): Contest => {
    const of = claims.slice(0, count);
    return {
      name: `verifyBatch_${count}`,
      items: count,
      native: batch(over, of, 0),
      portable: batch(node, of, 0),
    };
  });
  const spoiled = claims.slice(0, 128).with(77, wrong);
  const together = claims.slice(0, 256);
  return [
    { name: "verify_valid", items: 1, native: verify(over, one, true), portable: verify(node, one, true) },
    { name: "verify_wrong", items: 1, native: verify(over, wrong, false), portable: verify(node, wrong, false) },
    ...batches,
    {
      name: "verifyBatch_128_1wrong",
      items: 128,
      native: batch(over, spoiled, 1),
      portable: batch(node, spoiled, 1),
    },
    { name: "verifyAsync_256", items: 256, native: single(over, together), portable: single(node, together) },
  ];
}
