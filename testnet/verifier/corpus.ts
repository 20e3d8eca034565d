/**
 * Honest proof files of every kind, on ledgers in memory: at the newest height and at older ones, under validators of
 * every type of key and under both quorum rules, before and after the set changed. And the truth to hold answers against.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual, compareBytes, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import type { KeyPair, KeyType } from "../../crypto/sign/key.ts";
import type { TransactionResult } from "../../chain/block/block.ts";
import { encodeNetworkFile, type NetworkFile, networkHash } from "../../chain/block/genesis.ts";
import { type Height, heightOf, nextHeight } from "../../chain/block/height.ts";
import { PROTOCOL_DEFAULTS } from "../../chain/block/protocol.ts";
import { keyPairAt, networkOf } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction, type Transaction } from "../../chain/block/transaction.ts";
import { encodeMembers } from "../../chain/block/validators.ts";
import { voteSigningBytes } from "../../chain/block/vote.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { accountKey, partitionKey, rowKey, rowRange } from "../../chain/state/keys.ts";
import { successor } from "../../chain/state/range.ts";
import { parseAccount } from "../../chain/state/rows.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { encodeProofFile, type ProvenFile, type Statement, trimmedProofFile } from "../../node/light/prooffile.ts";
import { transactionPathOf } from "../../node/light/statement.ts";

const ALICE = keyPairAt(100);
const alice = addressOfKey(ALICE.publicKey);
const TABLE = { namespace: "shop", table: "stock" };
const STREAM = "orders";

/** A network, files about it, and whether what a file says is so. */
export type Corpus = {
  readonly name: string;
  readonly network: NetworkFile;
  /** As a second verifier reads it. */
  readonly networkJson: NetworkJson;
  readonly files: readonly { readonly name: string; readonly bytes: Uint8Array }[];
  isTrue(proven: ProvenFile): boolean;
};

/** A network file's own JSON, as far as a second verifier looks. */
export type NetworkJson = {
  readonly chainId: string;
  readonly hash: string;
  readonly engine: { readonly name: string };
  readonly validators: readonly { readonly key: string; readonly power: string }[];
};

/** Corpora of four networks: one validator, four of Ed25519, all types of key, and a majority rule. */
export async function openCorpora(): Promise<readonly Corpus[]> {
  return [
    await openCorpus("one", ["ed25519"], "tendermint"),
    await openCorpus("ed25519", ["ed25519", "ed25519", "ed25519", "ed25519"], "tendermint"),
    await openCorpus("hybrid", ["hybrid", "ml-dsa-65", "ed25519", "ml-dsa-65"], "tendermint"),
    await openCorpus("majority", ["ed25519", "ed25519", "ed25519"], "raft"),
  ];
}

async function openCorpus(name: string, types: readonly KeyType[], engine: "tendermint" | "raft"): Promise<Corpus> {
  const keys = types.map((type, index) => keyPairAt(index, type));
  const joining = keyPairAt(types.length, types[0]);
  const network: NetworkFile = {
    ...networkOf({ amounts: [1_000_000_000n, 1_000_000_000n], parameters: { dev: true } }),
    engine: PROTOCOL_DEFAULTS[engine],
    validators: keys.map(({ publicKey }) => ({ key: publicKey, power: 1n })),
  };
  const chain = await Chain.open(network, [...keys, joining]);
  await chain.commit([
    { kind: "tableCreate", ...TABLE },
    ...[10, 20, 30, 40, 50].map((number) => putOf(number, number)),
    { kind: "logAppend", stream: STREAM, partition: 2, records: ["one", "two", "three"].map(utf8) },
  ]);
  await chain.commit([{ kind: "validatorSet", key: joining.publicKey, power: 1n }]);
  await chain.commit([{ kind: "tableDelete", ...TABLE, key: Uint8Array.of(99) }]);
  const rules = { segmentSizeBytes: 4_096, segmentAgeMs: 1_000, compactionMs: 1_000 };
  await chain.commit([{ kind: "streamCreate", stream: "kept", partitions: 1, isOpen: true, ...rules }, keptOf("a"), keptOf("b")]);
  const old = chain.ledger.head().height;
  await chain.commit([putOf(30, 31), { kind: "tableDelete", ...TABLE, key: Uint8Array.of(50) }]);
  await chain.commit([{ kind: "logAppend", stream: STREAM, partition: 2, records: ["four", "five"].map(utf8) }]);
  const files = [old, chain.ledger.head().height].flatMap((height) =>
    [...chain.statements(height)].map(([kind, statement]) => ({
      name: `${name} ${kind} at ${height}`,
      bytes: chain.fileOf(statement, height),
    })),
  );
  for (const height of [1n, 3n])
    files.push({
      name: `${name} transaction at ${height}`,
      bytes: chain.fileOf(chain.transaction(heightOf(height)), heightOf(height)),
    });
  const kept = chain.recordOf("kept", 0n, chain.ledger.head().height);
  files.push({ name: `${name} dropped record`, bytes: chain.fileOf(kept, chain.ledger.head().height) });
  const networkJson = JSON.parse(encodeNetworkFile(network)) as NetworkJson;
  return { name, network, networkJson, files, isTrue: (proven) => chain.isTrue(proven) };
}

/** A record of one key: of two, the first is dropped. */
function keptOf(value: string): Call {
  const headers = [{ name: "about", value: utf8("it") }];
  return { kind: "streamAppend", stream: "kept", partition: 0, records: [{ key: utf8("k"), value: utf8(value), headers }] };
}

function putOf(key: number, value: number): Call {
  return { kind: "tablePut", ...TABLE, key: Uint8Array.of(key), value: encodeValue(value) };
}

/** A ledger whose blocks all validators certify. */
class Chain {
  readonly ledger: Ledger;
  readonly #keys: ReadonlyMap<string, KeyPair>;
  #nonce = 0n;

  private constructor(ledger: Ledger, keys: readonly KeyPair[]) {
    this.ledger = ledger;
    this.#keys = new Map(keys.map((key) => [toHex(addressOfKey(key.publicKey)), key]));
  }

  static async open(network: NetworkFile, keys: readonly KeyPair[]): Promise<Chain> {
    return new Chain(await Ledger.open({ store: openMemoryStore(), network, executor: EXECUTOR }), keys);
  }

  /** A block of one transaction with these calls. */
  async commit(calls: readonly Call[]): Promise<void> {
    const { chainId } = this.ledger.network;
    const { height: below, timeMs } = this.ledger.head();
    const body = { chainId, sender: alice, nonce: this.#nonce, fee: 1_000_000n, expiry: heightOf(1_000n), calls };
    const transactions: readonly Transaction[] = [signTransaction(body, ALICE)];
    this.#nonce += 1n;
    const height = nextHeight(below);
    const set = present(this.ledger.validators(height), "validators");
    const proposer = present(set.validators[0], "proposer").address;
    const { block } = this.ledger.build({ proposer, timeMs: timeMs + 1000n, transactions, evidence: [] });
    const signatures = set.validators.map(({ address: validator }) => {
      const key = present(this.#keys.get(toHex(validator)), "key of a validator");
      const vote = { step: "precommit" as const, height, round: 0, blockHash: block.hash, validator };
      return { validator, signature: key.sign(voteSigningBytes(chainId, vote)) };
    });
    const certificate = { kind: "quorum" as const, height, round: 0, blockHash: block.hash, signatures };
    assert((await this.ledger.checkCertificate(block, certificate)).ok, "own certificate");
    await this.ledger.commit(block, certificate);
  }

  /** What can be said of a height, one of each kind. */
  *statements(height: Height): Generator<readonly [string, Statement]> {
    const row = (key: number): Statement => ({
      kind: "row",
      ...TABLE,
      key: Uint8Array.of(key),
      proof: this.#prove(height, rowKey("shop", "stock", Uint8Array.of(key))),
    });
    yield ["row", row(30)];
    yield ["absence", row(35)];
    yield ["deleted", row(50)];
    const range = rowRange("shop", "stock");
    const first = present(this.ledger.proveState(height, { ...range, limit: 3 }), "page");
    const from = successor(rowKey("shop", "stock", Uint8Array.of(30)));
    const rest = present(this.ledger.proveState(height, { from, to: range.to }), "page");
    yield ["range", { kind: "range", ...TABLE, from: undefined, to: undefined, proofs: [first, rest] }];
    const part = rowRange("shop", "stock", Uint8Array.of(15), Uint8Array.of(40));
    const bounds = { from: Uint8Array.of(15), to: Uint8Array.of(40) };
    yield ["part", { kind: "range", ...TABLE, ...bounds, proofs: [present(this.ledger.proveState(height, part), "page")] }];
    yield ["account", { kind: "account", address: alice, proof: this.#prove(height, accountKey(alice)) }];
    yield ["transaction", this.transaction(height)];
    yield ["record", this.recordOf(STREAM, 1n, height)];
    yield ["newest record", this.recordOf("kept", 1n, height)];
  }

  /** A record of a stream's one partition. */
  recordOf(stream: string, index: bigint, height: Height): Statement {
    const partition = stream === STREAM ? 2 : 0;
    const record = present(this.ledger.records(stream, partition, index, 1)[0], "record").bytes;
    const siblings = present(this.ledger.proveRecord(height, stream, partition, index), "siblings");
    return {
      kind: "record",
      stream,
      partition,
      index,
      record,
      siblings,
      proof: this.#prove(height, partitionKey(stream, partition)),
    };
  }

  /** The transaction of a height. */
  transaction(height: Height): Statement {
    const { bytes, ...proof } = present(this.ledger.proveTransaction(height, 0), "transaction");
    return { kind: "transaction", ...transactionPathOf({ ...proof, transaction: bytes, index: 0 }) };
  }

  /** A file of a statement about a height, from the newest header. */
  fileOf(statement: Statement, height: Height): Uint8Array {
    const { ledger } = this;
    const head = ledger.head().height;
    const anchorAt = (at: Height) => ({
      header: present(ledger.headerBytes(at), "header"),
      certificate: present(ledger.certificateBytes(at), "certificate"),
    });
    const changes = ledger.validatorChanges(heightOf(1n), 100).map(({ height: at }) => ({
      anchor: anchorAt(at),
      validators: encodeMembers(present(ledger.validators(nextHeight(at)), "validators")),
    }));
    const header = present(ledger.headerBytes(height), "header");
    const history = height === head ? undefined : { header, siblings: ledger.proveHistory(height, head) };
    const common = { chainId: ledger.network.chainId, networkHash: networkHash(ledger.network) };
    return encodeProofFile(trimmedProofFile({ ...common, changes, anchor: anchorAt(head), history, statement }, ledger.network));
  }

  /** Whether the ledger says the same. */
  isTrue({ statement, height, timeMs }: ProvenFile): boolean {
    const { ledger } = this;
    const state = ledger.state(height);
    if (state === undefined || ledger.header(height)?.timeMs !== timeMs) return false;
    switch (statement.kind) {
      case "row":
        return sameBytes(statement.value, state.get(rowKey(statement.namespace, statement.table, statement.key)));
      case "range": {
        const { namespace, table, from, to } = statement;
        const range = rowRange(namespace, table, from, to);
        const rows = compareBytes(range.from, range.to) < 0 ? [...ledger.stateEntries(height, range)] : [];
        const isSame = (index: number): boolean =>
          sameBytes(rowKey(namespace, table, statement.rows[index]?.key ?? new Uint8Array(0)), rows[index]?.key) &&
          sameBytes(statement.rows[index]?.value, rows[index]?.value);
        return rows.length === statement.rows.length && rows.every((_, index) => isSame(index));
      }
      case "account": {
        const bytes = state.get(accountKey(statement.address));
        const parsed = bytes === undefined ? undefined : parseAccount(bytes);
        const { balance, nonce } = parsed?.ok === true ? parsed.value : { balance: 0n, nonce: 0n };
        return statement.account.balance === balance && statement.account.nonce === nonce;
      }
      case "transaction": {
        const found = ledger.findTransaction(statement.transaction.id);
        if (found?.height !== height) return false;
        return sameResult(ledger.results(height)?.[found.index], statement.result);
      }
      case "record": {
        const { stream, partition, index } = statement.record;
        const size = EXECUTOR.partitionSize(state, stream, partition) ?? 0n;
        const stored = ledger.records(stream, partition, index, 1)[0];
        return index < size && stored !== undefined && sameBytes(statement.bytes, stored.bytes);
      }
    }
  }

  #prove(height: Height, key: Uint8Array): Uint8Array {
    return present(this.ledger.proveState(height, { from: key, to: successor(key) }), "state proof");
  }
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : bytesEqual(a, b);
}

function sameResult(a: TransactionResult | undefined, b: TransactionResult): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
