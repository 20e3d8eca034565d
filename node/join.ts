/**
 * Joining from a snapshot: what runs in the place of a node until there is a state that one can open.
 *
 * ```
 *   home without a store --peers, chunks--> snapshot on the shelf --restored beside, renamed--> store --> Node.open
 *                        --no peer serves a snapshot, a short chain, proof of work--------------------> Node.open, blocks
 * ```
 *
 * Meanwhile it answers as a node does: what it has not got it asks its peers for, and hands on only what it has checked
 * (`rpc/relay.ts`). Killed at any moment, it goes on where it was: the chunks on the shelf, the batches in the store.
 */

import { existsSync } from "node:fs";
import { ed25519SeedOf, keyPairFromSeed } from "../crypto/sign/key.ts";
import { networkHash } from "../chain/block/genesis.ts";
import { GENESIS_HEIGHT, heightOf } from "../chain/block/height.ts";
import { Ledger } from "../chain/ledger/ledger.ts";
import { LedgerRows } from "../chain/ledger/rows.ts";
import { openLevelStore } from "../chain/store/level.ts";
import { openMemoryStore } from "../chain/store/memory.ts";
import { EXECUTOR } from "../contracts/executor.ts";
import { fail } from "../crypto/base/result.ts";
import { SignGuard } from "./driver/guard.ts";
import { openMetrics } from "./metrics/metrics.ts";
import { Network } from "./network/network.ts";
import { NODE_VERSION, type NodeOptions } from "./node.ts";
import { SYSTEM_CLOCK } from "./ports/clock.ts";
import { SYSTEM_DISK } from "./ports/disk.ts";
import { discardStore, SYSTEM_STORES } from "./ports/stores.ts";
import type { JoiningStatus, NodeBackend } from "./rpc/backend.ts";
import { peerRelay } from "./rpc/relay.ts";
import { openRpcServer } from "./rpc/server.ts";
import { joinHome } from "./snapshot/install.ts";
import type { JoinProgress } from "./snapshot/joiner.ts";
import type { Restored } from "./snapshot/restore.ts";
import { Shelf } from "./snapshot/shelf.ts";

/** How far a join is, for whoever looks on. */
export type JoinReport = JoiningStatus & { readonly height: bigint | undefined; readonly peers: number };

/** What a join is run with: a node's options, and who hears of it. */
export type JoinOptions = Omit<NodeOptions, "onSyncProgress"> & {
  readonly onProgress: (report: JoinReport) => void;
  /** Called once questions are answered, with the address of the RPC server if there is one. */
  readonly onOpen: (open: {
    readonly rpcUrl: string;
    readonly peerId: string;
    readonly listen: readonly string[];
  }) => Promise<void>;
};

/** Whether a home has yet to get a state, and may get it from a snapshot. */
export function canJoin({ home, network }: Pick<NodeOptions, "home" | "network">): boolean {
  return network.engine.name !== "pow" && !existsSync(home.storePath);
}

/** Takes away a store that holds genesis and nothing else, so that a join may begin anew. */
export async function dropGenesisStore({ home, network }: Pick<NodeOptions, "home" | "network">): Promise<void> {
  if (network.engine.name === "pow" || !existsSync(home.storePath)) return;
  let isGenesis: boolean;
  {
    await using store = await openLevelStore({ path: home.storePath });
    const rows = new LedgerRows(store);
    isGenesis = rows.networkHash() === undefined || rows.headHeight() === GENESIS_HEIGHT;
  }
  if (isGenesis) await discardStore(SYSTEM_STORES, home.storePath);
}

/** Whether a join was begun in a home and not ended. */
export async function isJoining(home: NodeOptions["home"]): Promise<boolean> {
  return (
    existsSync(`${home.storePath}.restoring`) ||
    (existsSync(home.snapshotsPath) && (await SYSTEM_DISK.list(home.snapshotsPath)).includes("joining.index"))
  );
}

/**
 * Gets the state of a home that has none from peers' snapshots. `undefined` when blocks are the way: then a node is opened,
 * which starts at genesis.
 *
 * @throws CodedError of the part that failed; the signal's reason
 */
export async function joinFromSnapshot(options: JoinOptions): Promise<Restored | undefined> {
  const { home, config, network: file, key, log, onProgress } = options;
  await using stack = new AsyncDisposableStack();
  const closing = new AbortController();
  const signal = AbortSignal.any([options.signal, closing.signal]);
  const startedAtMs = Date.now();
  const keyPair = keyPairFromSeed(key.type, key.seed);
  // A node with blocks must know what its key has signed. A home without a store and a log has signed nothing.
  await SignGuard.open({ path: home.signStatePath, disk: SYSTEM_DISK, keyPair, isNew: !existsSync(home.walPath) });
  const shelf = await Shelf.open(home.snapshotsPath, SYSTEM_DISK);
  const metrics = openMetrics({ process: true });
  const network = stack.use(
    await Network.open(
      {
        seed: ed25519SeedOf(key.type, key.seed),
        listen: config.network.listen,
        announce: config.network.announce,
        bootstrap: [...file.bootstrap, ...config.network.bootstrap],
        chainId: file.chainId,
        networkHash: networkHash(file),
        role: "full",
        height: () => GENESIS_HEIGHT,
        limits: { connectionsMax: config.network.peersMax },
      },
      { log, metrics, signal },
    ),
  );
  let report: JoinReport = { ...IDLE, height: undefined, peers: 0 };
  const tell = (change: Partial<JoinReport>): void => {
    report = { ...report, ...change };
    onProgress(report);
  };
  // Genesis: what is asked of this node itself is answered from there.
  const ledger = stack.use(await Ledger.open({ store: openMemoryStore(), network: file, executor: EXECUTOR }));
  const backend = joiningBackend({ ledger, network, startedAtMs, report: () => report });
  const relay = peerRelay({ network, file, log });
  const server = config.rpc.enabled ? stack.use(await openRpcServer(config, { backend, log, metrics, relay })) : undefined;
  // Before the parts that it uses are closed.
  stack.defer(() => closing.abort());
  await options.onOpen({ rpcUrl: server?.url ?? "", peerId: network.peerId, listen: network.addresses() });
  const onStep = ({ phase, height, peers, ...counts }: JoinProgress): void => tell({ phase, height, peers, ...counts });
  let startedMs: number | undefined;
  const restored = await joinHome(
    home,
    { network, file, shelf, clock: SYSTEM_CLOCK, draw: Math.random, log, metrics },
    {
      signal,
      onProgress: onStep,
      onChunk: ({ index }, done, all) => {
        startedMs ??= performance.now();
        const [height, sizeBytesTotal] = [index.height, Number(index.sizeBytes)];
        const secondsLeft = ((performance.now() - startedMs) / 1000 / done) * (all - done);
        const sizeBytes = Math.round((sizeBytesTotal * done) / all);
        tell({ phase: "restoring", height, chunks: done, chunksTotal: index.chunks, sizeBytes, sizeBytesTotal, secondsLeft });
      },
    },
  );
  if (restored === undefined) log.info({ peers: network.peers().length }, "no snapshot to join from: blocks it is");
  else log.info({ height: restored.height, chunks: restored.chunks }, "restored from a snapshot");
  return restored;
}

const IDLE: JoiningStatus = {
  phase: "finding",
  chunks: 0,
  chunksTotal: 0,
  sizeBytes: 0,
  sizeBytesTotal: 0,
  secondsLeft: undefined,
};

/** A node at genesis, which says that it is joining. */
function joiningBackend(parts: {
  readonly ledger: Ledger;
  readonly network: Network;
  readonly startedAtMs: number;
  readonly report: () => JoinReport;
}): NodeBackend {
  const { ledger, network, startedAtMs } = parts;
  const target = (): bigint => network.peers().reduce((most, { height }) => (height > most ? height : most), 0n);
  return {
    ledger,
    networkFile: ledger.network,
    // The relay submits to peers; it is asked first.
    submit: async () => Promise.resolve(fail({ code: "relay_unavailable", field: "transaction" })),
    transactionStatus: () => ({ kind: "unknown" }),
    status: () => {
      const { height: _height, peers: _peers, ...joining } = parts.report();
      return {
        version: NODE_VERSION,
        peerId: network.peerId,
        validator: undefined,
        syncing: true,
        targetHeight: heightOf(target()),
        peersCount: network.peers().length,
        mempoolTransactions: 0,
        mempoolSizeBytes: 0,
        startedAtMs,
        joining,
      };
    },
    peers: () =>
      network.peers().map((peer) => ({
        peerId: peer.id,
        address: peer.address,
        direction: peer.direction,
        height: heightOf(peer.height),
        score: peer.score,
      })),
    // It decides nothing before it has the state.
    consensus: () => ({ height: heightOf(target() + 1n), round: undefined, step: undefined, stalledMs: 0 }),
    // Nor does it give out anything: who holds its number is in the state.
    obelisk: undefined,
    onCommit: (listener) => ledger.onCommit(listener),
    onRollback: (listener) => ledger.onRollback(listener),
  };
}
