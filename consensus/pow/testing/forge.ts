/** Makes blocks with real seals under easy targets, honest ones and such as break one rule. */

import { present } from "../../../crypto/base/assert.ts";
import { utf8 } from "../../../crypto/base/bytes.ts";
import { type Hash, hash, ZERO_HASH } from "../../../crypto/hash/hash.ts";
import { addressOf } from "../../../crypto/identity/address.ts";
import { assembleBlock, type Block } from "../../../chain/block/block.ts";
import { PARAMETERS_DEFAULT } from "../../../chain/block/genesis.ts";
import { GENESIS_HEIGHT, type Height, heightOf, nextHeight } from "../../../chain/block/height.ts";
import { type PowProtocol, PROTOCOL_DEFAULTS } from "../../../chain/block/protocol.ts";
import { expectedBits, firstTarget } from "../../../chain/block/retarget.ts";
import type { WorkCertificate } from "../../../chain/block/vote.ts";
import { bitsOf, searchSeal, targetOf, workOf } from "../../../chain/block/work.ts";
import type { PowOptions } from "../engine.ts";
import type { PowMessage, SealedHeader } from "../message.ts";

/** The network that every test is about. */
export const CHAIN_ID = "pow-test";
/** Its genesis. */
export const NETWORK_HASH: Hash = hash("network", utf8(CHAIN_ID));
/** When it began. */
export const GENESIS_TIME_MS = 1_700_000_000_000n;

/** What a state root says of a block that no honest chain accepts. */
const STATE_ROOT_INVALID: Hash = hash("stateValue", utf8("invalid"));
const STATE_ROOT_VALID: Hash = hash("stateValue", utf8("valid"));

/** Half of all hashes meet the easiest target there is. */
export const EASY: PowProtocol = {
  ...PROTOCOL_DEFAULTS.pow,
  targetIntervalMs: 1_000,
  halfLifeMs: 3_600_000,
  targetBitsMax: 0x20_7f_ff_ff,
  finalityDepth: 3,
  reorgDepthMax: 6,
};

/** Options of an engine of the test network. */
export function optionsOf(protocol: PowProtocol = EASY, isMiner = false): PowOptions {
  return {
    chainId: CHAIN_ID,
    networkHash: NETWORK_HASH,
    protocol,
    parameters: PARAMETERS_DEFAULT,
    genesisTimeMs: GENESIS_TIME_MS,
    isMiner,
  };
}

/** A block with its seal, on a chain of such. */
export type Forged = {
  readonly block: Block;
  readonly sealed: SealedHeader;
  readonly parent: Forged | undefined;
};

/** What a forged block says that an honest one would not. */
export type Lie = {
  readonly label?: string;
  readonly timeMs?: bigint;
  readonly height?: bigint;
  readonly chainId?: string;
  /** The target that its seal names and meets. */
  readonly bits?: number;
  readonly chainWork?: bigint;
  /** Its seal misses the target. */
  readonly isUnsealed?: boolean;
  /** The chain refuses it. */
  readonly isInvalid?: boolean;
};

/** Makes blocks of one network. */
export class Forge {
  readonly protocol: PowProtocol;
  readonly intervalMs: bigint;

  /** @param intervalMs - between the times of two blocks; the network's aim unless said otherwise */
  constructor(protocol: PowProtocol = EASY, intervalMs: bigint = BigInt(protocol.targetIntervalMs)) {
    this.protocol = protocol;
    this.intervalMs = intervalMs;
  }

  /** A block on `parent`, or on genesis. Blocks with different labels are different. */
  block(parent: Forged | undefined, lie: Lie = {}): Forged {
    const header = parent?.block.header;
    const height = heightOf(lie.height ?? nextHeight(header?.height ?? GENESIS_HEIGHT));
    const block = testBlock({
      chainId: lie.chainId ?? CHAIN_ID,
      height,
      timeMs: lie.timeMs ?? (header?.timeMs ?? GENESIS_TIME_MS) + this.intervalMs,
      previous: parent?.block.hash ?? NETWORK_HASH,
      previousSeal: parent?.sealed.seal,
      label: lie.label ?? "",
      isInvalid: lie.isInvalid ?? false,
    });
    const bits = lie.bits ?? this.bitsAfter(parent);
    return { block, sealed: { header: block.header, seal: this.#seal(block, bits, parent, lie) }, parent };
  }

  /** So many blocks, one on the other. */
  chain(parent: Forged | undefined, count: number, label = ""): readonly Forged[] {
    const blocks: Forged[] = [];
    for (let index = 0; index < count; index += 1) blocks.push(this.block(blocks.at(-1) ?? parent, { label }));
    return blocks;
  }

  /** What the rules prescribe after `parent`, reckoned from the blocks alone. */
  bitsAfter(parent: Forged | undefined): number {
    const rules = { protocol: this.protocol, genesisTimeMs: GENESIS_TIME_MS };
    const genesis = { height: GENESIS_HEIGHT, timeMs: GENESIS_TIME_MS, bits: bitsOf(firstTarget(this.protocol)) };
    const { header, seal } = parent?.sealed ?? {};
    const before =
      header === undefined || seal === undefined ? genesis : { height: header.height, timeMs: header.timeMs, bits: seal.bits };
    return expectedBits(rules, before, (height) => {
      let at = parent;
      while (at !== undefined && at.block.header.height > height) at = at.parent;
      return at?.block.header.timeMs ?? GENESIS_TIME_MS;
    });
  }

  #seal(block: Block, bits: number, parent: Forged | undefined, lie: Lie): WorkCertificate {
    const target = targetOf(bits);
    const work = target.ok ? workOf(target.value) : 0n;
    const nonces =
      lie.isUnsealed === true ? missNonces(block, target.ok ? target.value : 0n) : nonceFor(block, target.ok ? target.value : 0n);
    const chainWork = lie.chainWork ?? (parent?.sealed.seal.chainWork ?? 0n) + work;
    return { kind: "work", height: block.header.height, blockHash: block.hash, bits, ...nonces, chainWork };
  }
}

function nonceFor(block: Block, target: bigint): { readonly extraNonce: bigint; readonly nonce: bigint } {
  const nonce = searchSeal({ headerHash: block.hash, target, extraNonce: 0n, nonce: 0n, count: 10_000_000 });
  return { extraNonce: 0n, nonce: present(nonce, "a seal") };
}

/** The first nonce that does not meet the target. */
function missNonces(block: Block, target: bigint): { readonly extraNonce: bigint; readonly nonce: bigint } {
  for (let nonce = 0n; ; nonce += 1n) {
    const found = searchSeal({ headerHash: block.hash, target, extraNonce: 0n, nonce, count: 1 });
    if (found === undefined) return { extraNonce: 0n, nonce };
  }
}

/** A block without transactions, told apart by its label. */
export function testBlock(options: {
  readonly chainId: string;
  readonly height: Height;
  readonly timeMs: bigint;
  readonly previous: Hash;
  readonly previousSeal: WorkCertificate | undefined;
  readonly label: string;
  readonly isInvalid: boolean;
}): Block {
  return assembleBlock({
    chainId: options.chainId,
    height: options.height,
    timeMs: options.timeMs,
    previous: options.previous,
    historyRoot: hash("stateValue", utf8(options.label)),
    stateRoot: options.isInvalid ? STATE_ROOT_INVALID : STATE_ROOT_VALID,
    validatorsHash: ZERO_HASH,
    nextValidatorsHash: ZERO_HASH,
    proposer: addressOf(hash("address", utf8("miner"))),
    transactions: [],
    results: [],
    previousCertificate: options.previousSeal,
    evidence: [],
  });
}

/** What a chain of this network says of a block's body. */
export function isValid(block: Block): boolean {
  return block.header.stateRoot.every((byte, index) => byte === STATE_ROOT_VALID[index]);
}

/** The announcement of a forged block, whole unless said otherwise. */
export function announce({ sealed, block }: Forged, isWhole = true): PowMessage {
  return { kind: "announce", sealed, block: isWhole ? block : undefined };
}
