/**
 * What Tendermint hashes and signs: with protocol buffers from block protocol 11 (version 0.34) on, with Amino before. Each
 * format gives the leaves of a header's tree and of a validator set's, and the bytes of a precommit.
 *
 * Source: cometbft, spec/core/encoding.md and proto/tendermint/types/*.proto; for Amino, tendermint v0.33,
 * docs of `types.Header`, `types.Validator` and `types.CanonicalVote`, and go-amino's README.
 */

import { compareBytes, concatBytes, EMPTY, fromHex, utf8 } from "../../../crypto/base/bytes.ts";
import { bytesField, fixed64Field, integerField, lengthDelimited, messageField, textField, varint } from "./protobuf.ts";

/** The name of a block: its header's hash, and that of its parts. */
export type BlockId = {
  readonly hash: Uint8Array;
  readonly part_set_header: { readonly total: number; readonly hash: Uint8Array };
};

/** A header, in the order of its hash. Times are nanoseconds since 1970. */
export type Header = {
  readonly version: { readonly block: bigint; readonly app: bigint };
  readonly chain_id: string;
  readonly height: bigint;
  readonly time: bigint;
  readonly last_block_id: BlockId | null;
  readonly last_commit_hash: Uint8Array;
  readonly data_hash: Uint8Array;
  readonly validators_hash: Uint8Array;
  readonly next_validators_hash: Uint8Array;
  readonly consensus_hash: Uint8Array;
  readonly app_hash: Uint8Array;
  readonly last_results_hash: Uint8Array;
  readonly evidence_hash: Uint8Array;
  readonly proposer_address: Uint8Array;
};

/** What every precommit of a commit is for. */
export type Commit = { readonly height: bigint; readonly round: number; readonly block_id: BlockId };

/** One of a validator set. */
export type Member = { readonly address: Uint8Array; readonly key: Uint8Array; readonly power: bigint };

/** One way of writing it all. */
export type Format = {
  /** The order in which a set is hashed. */
  readonly compare: (a: Member, b: Member) => number;
  readonly header: (header: Header) => readonly Uint8Array[];
  readonly validator: (member: Member) => Uint8Array;
  readonly precommit: (of: { readonly chainId: string; readonly commit: Commit; readonly atNs: bigint }) => Uint8Array;
};

/** The first block protocol that writes with protocol buffers. */
const BLOCK_PROTOCOL_PROTOBUF = 11n;

/** The format of a header. */
export function formatOf(header: Header): Format {
  return header.version.block >= BLOCK_PROTOCOL_PROTOBUF ? PROTOBUF : AMINO;
}

/** The number that says "precommit". */
const PRECOMMIT = 2n;

/** Every field of a header is a leaf: a message of its own, or under Amino the bare value with its length. */
const PROTOBUF: Format = {
  compare: (a, b) => (a.power === b.power ? byAddress(a, b) : a.power > b.power ? -1 : 1),
  header: (header) =>
    leavesOf(header, {
      text: (text) => textField(1, text),
      integer: (value) => integerField(1, value),
      bytes: (bytes) => bytesField(1, bytes),
      blockId: (id) => blockId(id, partSetHeader(id)),
    }),
  validator: ({ key, power }) => concatBytes(messageField(1, bytesField(1, key)), integerField(2, power)),
  precommit: ({ chainId, commit, atNs }) => {
    const { block_id: id } = commit;
    return precommit({ chainId, commit, atNs }, blockId(id, partSetHeader(id)));
  },
};

/** The prefix of an Ed25519 key, registered as `tendermint/PubKeyEd25519`, and the length of the key. */
const AMINO_ED25519 = fromHex("1624de6420");

const AMINO: Format = {
  compare: byAddress,
  header: (header) =>
    leavesOf(header, {
      text: (text) => aminoBytes(utf8(text)),
      integer: (value) => varint(value),
      bytes: aminoBytes,
      // Amino leaves out an empty structure, where protocol buffers of Go write its length.
      blockId: (id) => (id === undefined || id.hash.length === 0 ? EMPTY : blockId(id, partSetHeader(id))),
    }),
  validator: ({ key, power }) => concatBytes(messageField(1, concatBytes(AMINO_ED25519, key)), integerField(2, power)),
  precommit: ({ chainId, commit, atNs }) => {
    const { hash, total } = commit.block_id.part_set_header;
    // The canonical form had these two the other way round.
    const parts = concatBytes(bytesField(1, hash), integerField(2, BigInt(total)));
    return precommit({ chainId, commit, atNs }, blockId(commit.block_id, parts));
  },
};

function byAddress(a: Member, b: Member): number {
  return compareBytes(a.address, b.address);
}

/** How the kinds of field are written. */
type Kinds = {
  readonly text: (text: string) => Uint8Array;
  readonly integer: (value: bigint) => Uint8Array;
  readonly bytes: (bytes: Uint8Array) => Uint8Array;
  readonly blockId: (id: BlockId | undefined) => Uint8Array;
};

function leavesOf(header: Header, { text, integer, bytes, blockId: named }: Kinds): readonly Uint8Array[] {
  return [
    concatBytes(integerField(1, header.version.block), integerField(2, header.version.app)),
    text(header.chain_id),
    integer(header.height),
    timestamp(header.time),
    named(header.last_block_id ?? undefined),
    bytes(header.last_commit_hash),
    bytes(header.data_hash),
    bytes(header.validators_hash),
    bytes(header.next_validators_hash),
    bytes(header.consensus_hash),
    bytes(header.app_hash),
    bytes(header.last_results_hash),
    bytes(header.evidence_hash),
    bytes(header.proposer_address),
  ];
}

function precommit({ chainId, commit, atNs }: Parameters<Format["precommit"]>[0], id: Uint8Array): Uint8Array {
  return lengthDelimited(
    concatBytes(
      integerField(1, PRECOMMIT),
      fixed64Field(2, commit.height),
      fixed64Field(3, BigInt(commit.round)),
      messageField(4, id),
      messageField(5, timestamp(atNs)),
      textField(6, chainId),
    ),
  );
}

function blockId(id: BlockId | undefined, parts: Uint8Array): Uint8Array {
  return concatBytes(bytesField(1, id?.hash ?? EMPTY), messageField(2, parts));
}

function partSetHeader(id: BlockId | undefined): Uint8Array {
  if (id === undefined) return EMPTY;
  const { total, hash } = id.part_set_header;
  return concatBytes(integerField(1, BigInt(total)), bytesField(2, hash));
}

function aminoBytes(bytes: Uint8Array): Uint8Array {
  return bytes.length === 0 ? EMPTY : lengthDelimited(bytes);
}

/** Seconds and nanoseconds; the nanoseconds count forward, also before 1970. */
function timestamp(atNs: bigint): Uint8Array {
  const nanoseconds = ((atNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  return concatBytes(integerField(1, (atNs - nanoseconds) / 1_000_000_000n), integerField(2, nanoseconds));
}
