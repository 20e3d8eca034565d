/**
 * The composition root: the one file that knows every part of a node, and the order in which they start and stop.
 *
 * ```
 *   store -> ledger -> guard, log -> network -> sync --caught up, enough peers--> consensus
 *                         mempool <- intake <- gossip, RPC                          |
 *                                      RPC <- ledger, intake            <- commits -+
 * ```
 *
 * A validator does not vote until it knows where the network stands: a home that was restored from a backup may not
 * remember what its key signed, so the height that others are deciding when we come back is sat out (see
 * `guard.ts`), and nothing is signed before a peer has told its height.
 */

import { existsSync } from "node:fs";
import { BACKEND_REPORT } from "../crypto/backend/backends.ts";
import { CodedError } from "../crypto/base/error.ts";
import type { Hash } from "../crypto/hash/hash.ts";
import { type Address, addressOfKey } from "../crypto/identity/address.ts";
import {
  ed25519SeedOf,
  keyPairFromSeed,
  type KeyType,
  noteSeedOf,
  type SignatureVerifier,
  verifySignatureAsync,
  verifySignatures,
} from "../crypto/sign/key.ts";
import { remembering } from "../crypto/sign/remembering.ts";
import type { Block } from "../chain/block/block.ts";
import type { Evidence } from "../chain/block/evidence.ts";
import type { NetworkFile } from "../chain/block/genesis.ts";
import type { NetworkEngine } from "../chain/block/protocol.ts";
import { type Height, heightOf } from "../chain/block/height.ts";
import { Ledger } from "../chain/ledger/ledger.ts";
import { Mempool } from "../chain/mempool/mempool.ts";
import { openLevelStore } from "../chain/store/level.ts";
import { EXECUTOR } from "../contracts/executor.ts";
import { Archives } from "./archive/fallback.ts";
import { beginConsensus, blockSink, isMember } from "./begin.ts";
import type { Config } from "./config/schema.ts";
import { CATCH_UP_PROTOCOL, catchUp, catchUpServer } from "./driver/catchup.ts";
import { Bodies, BODIES_PROTOCOL } from "./driver/bodies.ts";
import { DIRECT_PROTOCOL, DirectChannel } from "./driver/direct.ts";
import type { Driver } from "./driver/driver.ts";
import { EvidencePool } from "./driver/evidence.ts";
import { SignGuard } from "./driver/guard.ts";
import { MiningDriver } from "./driver/mining.ts";
import { WorkerSearcher } from "./driver/searcher.ts";
import { WriteAheadLog } from "./driver/wal.ts";
import { openDriver } from "./engines.ts";
import type { Home } from "./home/home.ts";
import { Intake } from "./intake/intake.ts";
import type { Log } from "./log/log.ts";
import { type Metrics, openMetrics } from "./metrics/metrics.ts";
import { CHUNKS_PROTOCOL, chunkServer } from "./network/chunks.ts";
import { LIMITS } from "./network/limits.ts";
import { Network } from "./network/network.ts";
import { blockServer, SYNC_PROTOCOL, Synchroniser, type SyncProgress } from "./network/sync.ts";
import { ObeliskRole } from "./obelisk/role.ts";
import { SYSTEM_CLOCK } from "./ports/clock.ts";
import { SYSTEM_DISK } from "./ports/disk.ts";
import {
  type Attention,
  includedStatus,
  type NodeBackend,
  type NodeStatus,
  type OldStates,
  type TransactionStatus,
} from "./rpc/backend.ts";
import { RecordLogs } from "./recordlog/recordlog.ts";
import { Pruner, type PruningPolicy } from "./pruning/pruner.ts";
import { RELAY_PROTOCOL, relayServer } from "./rpc/relay.ts";
import { openRpcServer, type RpcServer } from "./rpc/server.ts";
import { requireSoundFiles } from "./scrub/files.ts";
import { GuardedReads, guardedSource } from "./scrub/guard.ts";
import { peerCopies, Scrubber } from "./scrub/scrubber.ts";
import { SnapshotMaker } from "./snapshot/make.ts";
import { Shelf } from "./snapshot/shelf.ts";

/** The version that a node tells its operator. */
export const NODE_VERSION = "0.1.0";

/** What a node is opened with. `signal` ends it, like disposing. */
export type NodeOptions = {
  readonly home: Home;
  readonly config: Config;
  readonly network: NetworkFile;
  /** The opened node key: votes with it when it is in the validator set, and is the peer id. */
  readonly key: { readonly type: KeyType; readonly seed: Uint8Array };
  readonly log: Log;
  readonly signal: AbortSignal;
  /** See `beginConsensus`. */
  readonly vouchedHeight?: Height | undefined;
  readonly onSyncProgress?: (progress: SyncProgress) => void;
};

/** What the largest message of an engine takes beside the block in it. */
const MESSAGE_FRAME_SIZE_BYTES_MAX: { readonly [Name in NetworkEngine]: number } = {
  // A hybrid signature and some numbers.
  tendermint: 8 * 1024,
  pos: 8 * 1024,
  // What stands around an entry, and entries without a block.
  raft: 64 * 1024,
  // A new-view: claims of more than 2/3, and the proof of the highest.
  pbft: 1024 * 1024,
  pow: 8 * 1024,
};

/** Beside the store of the chain: tiles are read rarely and written in rows of 8 KiB. */
const RECORD_LOG_STORE = { cacheSizeBytes: 4 * 1024 * 1024, writeBufferSizeBytes: 1024 * 1024 };

/** A running node. */
export class Node implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;
  readonly #failed: Promise<never>;
  readonly #ledger: Ledger;
  readonly #network: Network;
  readonly #server: RpcServer | undefined;

  private constructor(parts: {
    readonly stack: AsyncDisposableStack;
    readonly failed: Promise<never>;
    readonly ledger: Ledger;
    readonly network: Network;
    readonly server: RpcServer | undefined;
  }) {
    this.#stack = parts.stack;
    this.#failed = parts.failed;
    this.#ledger = parts.ledger;
    this.#network = parts.network;
    this.#server = parts.server;
  }

  /**
   * Opens every part in order; when one fails, those before it are closed again.
   *
   * @throws CodedError of the part that failed (`store_file_damaged`, `store_locked`, `ledger_network`, `sign_state_missing`, `network_listen`, ...)
   */
  static async open(options: NodeOptions): Promise<Node> {
    const { home, config, network: file, key, log, vouchedHeight } = options;
    requireSupported(file);
    await using stack = new AsyncDisposableStack();
    const closing = new AbortController();
    const signal = AbortSignal.any([options.signal, closing.signal]);
    const startedAtMs = Date.now();
    const metrics = openMetrics({ process: true });
    const keyPair = keyPairFromSeed(key.type, key.seed);
    const self = addressOfKey(keyPair.publicKey);

    await requireSoundFiles(home.storePath);
    const store = await openLevelStore({ path: home.storePath, cacheSizeBytes: blockCacheSizeBytes(config) });
    // A precommit is checked when it comes, and not again in the certificate of its height.
    const verifyVote = remembering(verifySignatureAsync);
    const ledger = stack.use(await openLedger({ store, network: file, config, verifyVote }));
    const isNew = ledger.head().height === 0n && !existsSync(home.walPath);
    const guard = await SignGuard.open({ path: home.signStatePath, disk: SYSTEM_DISK, keyPair, isNew });
    const isValidator = (): boolean => isMember(ledger, self);

    const network = stack.use(
      await Network.open(
        {
          seed: ed25519SeedOf(key.type, key.seed),
          listen: config.network.listen,
          announce: config.network.announce,
          bootstrap: [...file.bootstrap, ...config.network.bootstrap],
          chainId: file.chainId,
          networkHash: ledger.networkHash,
          role: isValidator() ? "validator" : "full",
          height: () => ledger.head().height,
          limits: { connectionsMax: config.network.peersMax },
        },
        { log, metrics, signal },
      ),
    );

    const mempool = new Mempool({ countMax: config.mempool.transactionsMax, sizeBytesMax: config.mempool.sizeBytesMax });
    const intake = stack.use(
      new Intake({
        ledger,
        mempool,
        network,
        clock: SYSTEM_CLOCK,
        verify: verifySignatures,
        log,
        metrics,
        onWork: () => driver.wake(),
      }),
    );
    const bodies = new Bodies({
      waiting: (id) => intake.waiting(id),
      sentAgoMs: (transaction) => intake.sentAgoMs(transaction),
      flush: async () => await intake.flush(),
      settled: async () => await intake.settled(),
      network,
      log,
      signal,
    });
    const broadcast = async (bytes: Uint8Array, block: Block | undefined): Promise<void> => {
      await network.gossip("consensus").publish(block === undefined ? bytes : await bodies.prepare(bytes, block));
    };
    let attention: Attention | undefined;
    const evidence = new EvidencePool();
    const isWork = file.engine.name === "pow";
    const { threads } = config.mining;
    const failure = Promise.withResolvers<never>();
    const wal = new WriteAheadLog(home.walPath, SYSTEM_DISK);
    const driver: Driver = openDriver({
      network: file,
      ledger,
      clock: SYSTEM_CLOCK,
      verify: verifyVote,
      wal,
      guard,
      self,
      broadcast: (bytes, block) => own(broadcast(bytes, block)),
      reap: (limits) => intake.reap(limits),
      isVerified: (transaction) => intake.isVerified(transaction),
      evidence: () => evidence.reap((piece) => ledger.admitEvidence(piece)),
      onEvidence: (piece: Evidence) => {
        if (evidence.add(piece))
          log.warn(
            { kind: piece.kind, height: piece.first.height, validator: piece.first.validator },
            "evidence of misbehaviour",
          );
      },
      onDropped: (transaction, refusal) => intake.drop(transaction, refusal),
      hasWork: () => intake.hasWork(),
      onAhead: (peer, height) => synchroniser.hint(peer, height),
      sendTo: (peer, bytes) => direct.send(peer, bytes),
      onSplit: (height) => (attention = { code: "pow_split", height }),
      searcher: isWork && threads > 0 ? new WorkerSearcher({ workers: threads, clock: SYSTEM_CLOCK }) : undefined,
      log: log.child({ part: "consensus" }),
    });
    const synchroniser = new Synchroniser(
      { onProgress: options.onSyncProgress ?? (() => undefined) },
      { network, sink: blockSink(ledger, driver), clock: SYSTEM_CLOCK, draw: Math.random, log, metrics },
    );

    // Tasks that run as long as the node; joined when it closes, before the parts they use.
    const tasks = new Set<Promise<void>>();
    const direct = new DirectChannel({ network, driver: () => driver, own: (task) => own(task), log, signal });
    const own = (task: Promise<void>): void => {
      const joined = task.catch((error: unknown) => {
        if (!signal.aborted) failure.reject(error);
      });
      tasks.add(joined);
      void joined.finally(() => tasks.delete(joined));
    };
    stack.use(driver);
    stack.defer(async () => {
      closing.abort();
      while (tasks.size > 0) await Promise.all(tasks);
    });
    failure.promise.catch(() => undefined); // `failed` is awaited by whoever runs the node.
    driver.failed.catch((error: unknown) => failure.reject(error));

    const reads = new GuardedReads(ledger, (place) =>
      log.error({ part: "scrub", code: "store_damaged", place }, "the disk changed what was asked for: it is not served"),
    );
    const maker = new SnapshotMaker(
      { ...config.snapshots, intervalHeights: isWork ? 0 : config.snapshots.intervalHeights },
      { ledger, shelf: await Shelf.open(home.snapshotsPath, SYSTEM_DISK), clock: SYSTEM_CLOCK, log, metrics, signal },
    );
    const pruner = new Pruner(
      { policy: policyOf(config) },
      { ledger, floor: () => ({ states: maker.making, blocks: maker.floor() }), clock: SYSTEM_CLOCK, log, signal },
    );
    await network.handle(CHUNKS_PROTOCOL, chunkServer(maker, network.limits));
    await network.handle(
      SYNC_PROTOCOL,
      blockServer(
        guardedSource(reads, () => ledger.oldestBlock()),
        network.limits,
      ),
    );
    await network.handle(DIRECT_PROTOCOL, direct.handler);
    await network.handle(BODIES_PROTOCOL, bodies.handler);
    await network.handle(CATCH_UP_PROTOCOL, catchUpServer(driver));
    network.onGossip("consensus", async (from, bytes) =>
      bodies.receive(from, bytes, async (whole, known) => driver.receive(from, whole, known)),
    );
    network.onGossip("transactions", async (from, bytes) => await intake.receive(from, bytes));
    stack.use(
      ledger.onCommit((commit) => {
        evidence.remove(commit.block.evidence);
        intake.onCommit(commit);
        own(pruner.follow(commit.block.header.height));
        // Who is behind has other things to do, and takes the newest when it is there.
        if (synchroniser.progress().target <= commit.block.header.height + 1n) own(maker.follow(commit.block.header.height));
        log.info(
          {
            height: commit.block.header.height,
            transactions: commit.block.transactions.length,
            ...(commit.certificate.kind === "quorum" ? { round: commit.certificate.round } : {}),
            stateRoot: commit.block.header.stateRoot,
          },
          isWork ? "block on the heaviest chain" : "block final",
        );
      }),
    );
    stack.use(ledger.onRollback((undone) => intake.onRollback(undone)));
    blockMetrics(ledger, metrics);

    const role = config.obelisk.enabled
      ? stack.use(
          await ObeliskRole.open({
            path: home.obeliskPath,
            config: config.obelisk,
            ledger,
            network,
            file,
            keyPair,
            submit: async (bytes) => await intake.submit(bytes),
            own,
            clock: SYSTEM_CLOCK,
            disk: SYSTEM_DISK,
            draw: Math.random,
            log: log.child({ part: "obelisk" }),
            metrics,
          }),
        )
      : undefined;

    const recordLogs = config.rpc.recordLogs
      ? stack.use(
          new RecordLogs({
            ledger: reads,
            network: file,
            keyPair: keyPairFromSeed("ed25519", noteSeedOf(key.seed)),
            open: async () => await openLevelStore({ path: home.recordLogPath, ...RECORD_LOG_STORE }),
            follow: config.rpc.recordLogStreams,
            log,
          }),
        )
      : undefined;
    await recordLogs?.begin();
    if (recordLogs !== undefined) stack.use(ledger.onCommit((commit) => recordLogs.follow(commit)));

    const { scrubBytesPerSecondMax: bytesPerSecondMax, scrubIntervalMs: intervalMs } = config.storage;
    const paths = { storePath: home.storePath, cursorPath: home.scrubPath };
    const copies = peerCopies(network, signal);
    const scrubbing = { subject: { ledger, executor: EXECUTOR }, ...paths, copies, bytesPerSecondMax, intervalMs };
    if (bytesPerSecondMax > 0) own(new Scrubber({ ...scrubbing, clock: SYSTEM_CLOCK, log, metrics }).run(signal));
    const backend = backendOf({
      attention: () => attention,
      obelisk: role,
      recordLogs,
      target: () => (driver instanceof MiningDriver ? driver.targetHeight : heightOf(synchroniser.progress().target)),
      ledger,
      reads,
      network,
      intake,
      mempool,
      file,
      startedAtMs,
      self: () => (isValidator() ? self : undefined),
      oldStates:
        config.rpc.archives.length === 0 ? undefined : new Archives({ places: config.rpc.archives, network: file, log, signal }),
      driver,
    });
    await network.handle(RELAY_PROTOCOL, relayServer({ backend, log }));
    const server = config.rpc.enabled ? stack.use(await openRpcServer(config, { backend, log, metrics })) : undefined;
    // Under proof of work there is no telling which block of a height a peer has: the engine follows headers instead.
    if (!isWork) own(synchroniser.run(signal));
    own(maker.begin(ledger.head().height));
    own(catchUp({ driver, network, clock: SYSTEM_CLOCK, log, signal }));
    if (isWork) driver.start();
    else
      own(
        beginConsensus({
          ledger,
          network,
          synchroniser,
          guard,
          driver,
          wal,
          self,
          clock: SYSTEM_CLOCK,
          log,
          signal,
          vouchedHeight,
          onSilence: (height) => {
            attention = height === undefined ? undefined : { code: "sign_unknown", height };
          },
        }),
      );
    log.info({ ...BACKEND_REPORT }, "back ends of cryptography");
    log.info(
      { chainId: file.chainId, height: ledger.head().height, peer: network.peerId, address: self, isValidator: isValidator() },
      "node open",
    );
    return new Node({ stack: stack.move(), failed: failure.promise, ledger, network, server });
  }

  /** Rejects when the node cannot go on; then dispose of it and exit. */
  get failed(): Promise<never> {
    return this.#failed;
  }

  /** Where JSON-RPC answers; `undefined` when it is off. */
  get rpcUrl(): string | undefined {
    return this.#server?.url;
  }

  get peerId(): string {
    return this.#network.peerId;
  }

  /** Multiaddrs that end in our peer id. */
  get addresses(): readonly string[] {
    return this.#network.addresses();
  }

  get height(): Height {
    return this.#ledger.head().height;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** What this version can run: a network may ask for less than its bounds, never for more. */
function requireSupported(file: NetworkFile): void {
  const { blockSizeBytesMax } = file.parameters;
  if (blockSizeBytesMax > LIMITS.gossipConsensusBytesMax - MESSAGE_FRAME_SIZE_BYTES_MAX[file.engine.name]) {
    throw new CodedError("block_size_unsupported", {
      blockSizeBytesMax,
      message: `this version gossips proposals of at most ${LIMITS.gossipConsensusBytesMax} bytes`,
    });
  }
  const { transactionSizeBytesMax } = file.parameters;
  if (transactionSizeBytesMax > LIMITS.gossipTransactionsBytesMax) {
    throw new CodedError("transaction_size_unsupported", {
      transactionSizeBytesMax,
      message: `this version gossips transactions of at most ${LIMITS.gossipTransactionsBytesMax} bytes`,
    });
  }
}

/** Of the store's memory what is for its blocks; the rest is for the pages of the state, which are read from them once. */
function blockCacheSizeBytes({ storage }: Config): number {
  return Math.floor(storage.cacheSizeBytes / 4);
}

async function openLedger(parts: {
  readonly store: Awaited<ReturnType<typeof openLevelStore>>;
  readonly network: NetworkFile;
  readonly config: Config;
  readonly verifyVote: SignatureVerifier;
}): Promise<Ledger> {
  const { store, network, config, verifyVote } = parts;
  try {
    const cacheSizeBytes = config.storage.cacheSizeBytes - blockCacheSizeBytes(config);
    return await Ledger.open({ store, network, executor: EXECUTOR, cacheSizeBytes, verifyVote });
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw error;
  }
}

/** What the operator wants forgotten. */
function policyOf({ storage }: Config): PruningPolicy {
  const { pruning, keepHeights, keepHours, sizeBytesMax } = storage;
  switch (pruning) {
    case "archive":
      return { kind: pruning, keepHeights };
    case "recent":
      return { kind: pruning, keepHeights, keepHours };
    case "size":
      return { kind: pruning, sizeBytesMax };
  }
}

function blockMetrics(ledger: Ledger, metrics: Metrics): void {
  metrics.gauge({ name: "chain_height_count", help: "Height of the last final block", read: () => Number(ledger.head().height) });
  const transactions = metrics.counter({ name: "chain_transactions_total", help: "Transactions in final blocks" });
  const blocks = metrics.counter({ name: "chain_blocks_total", help: "Final blocks since the node started" });
  ledger.onCommit(({ block }) => {
    blocks.add();
    transactions.add(block.transactions.length);
  });
}

function backendOf(parts: {
  /** The height that this node is on its way to. */
  readonly target: () => Height;
  readonly ledger: Ledger;
  /** What of it is served. */
  readonly reads: GuardedReads;
  readonly network: Network;
  readonly intake: Intake;
  readonly mempool: Mempool;
  readonly file: NetworkFile;
  readonly startedAtMs: number;
  readonly self: () => Address | undefined;
  readonly obelisk: ObeliskRole | undefined;
  readonly recordLogs: RecordLogs | undefined;
  readonly oldStates: OldStates | undefined;
  readonly driver: Driver;
  readonly attention: () => Attention | undefined;
}): NodeBackend {
  const { ledger, reads, network, intake, mempool, file, startedAtMs, self, driver } = parts;
  const status = (): NodeStatus => {
    const { height } = ledger.head();
    const target = parts.target();
    return {
      version: NODE_VERSION,
      peerId: network.peerId,
      validator: self(),
      syncing: target > height + 1n,
      targetHeight: target,
      peersCount: network.peers().length,
      mempoolTransactions: mempool.count,
      mempoolSizeBytes: mempool.sizeBytes,
      startedAtMs,
      attention: parts.attention(),
    };
  };
  const transactionStatus = (id: Hash): TransactionStatus => {
    const location = reads.findTransaction(id);
    return location === undefined ? intake.status(id) : includedStatus(reads, file.engine, location);
  };
  return {
    ledger: reads,
    oldStates: parts.oldStates,
    networkFile: file,
    submit: async (bytes) => await intake.submit(bytes),
    transactionStatus,
    status,
    peers: () =>
      network.peers().map((peer) => ({
        peerId: peer.id,
        address: peer.address,
        direction: peer.direction,
        height: heightOf(peer.height),
        score: peer.score,
      })),
    consensus: () => {
      const engine = driver.status();
      return { height: driver.height, round: engine?.round, step: engine?.step, stalledMs: Math.round(driver.stalledMs) };
    },
    onCommit: (listener) => ledger.onCommit(listener),
    onRollback: (listener) => ledger.onRollback(listener),
    obelisk: parts.obelisk,
    recordLogs: parts.recordLogs,
  };
}
