/**
 * Dishonest miners: a real node whose own blocks are kept back, announced without their bodies, or joined by made-up
 * ones on their way out.
 *
 * What is made up has real seals where that is what makes it dangerous: a made-up header costs its maker work, so a
 * liar makes few of them. (Selfish mining: Eyal and Sirer 2014.)
 */

import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { hashOf } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { type Block, type BlockParts, assembleBlock, headerHash } from "../../chain/block/block.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { heightOf } from "../../chain/block/height.ts";
import type { PowProtocol } from "../../chain/block/protocol.ts";
import { expectedBits, firstTarget } from "../../chain/block/retarget.ts";
import type { WorkCertificate } from "../../chain/block/vote.ts";
import { bitsOf, searchSeal, targetOf, workOf } from "../../chain/block/work.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import { encodePowMessage, parsePowMessage, type PowMessage, type SealedHeader } from "../../consensus/pow/message.ts";
import type { Behaviours } from "./faults.ts";
import { type Egress, gossipPacket, type Packet } from "./network.ts";
import type { Random } from "./random.ts";
import type { Sometimes } from "./sometimes.ts";

/** What a dishonest miner has. */
export type MinerParts = {
  readonly network: NetworkFile;
  readonly protocol: PowProtocol;
  readonly self: Address;
  readonly behaviours: Behaviours;
  readonly random: Random;
  readonly sometimes: Sometimes;
  readonly ledger: () => Ledger | undefined;
};

/** Hashes for one made-up seal, at most: the targets of simulated networks are easy. */
const TRIES_MAX = 1 << 18;
/** A branch that is kept back is let go when it has so many blocks. */
const HELD_MAX = 4;
/** How far below its head a flood of cheap headers begins. */
const FLOOD_DEPTH_MAX = 30;
/** Further ahead than any node lets a header in. */
const FUTURE_MS = 3_600_000n;

type Gossip = Extract<Packet, { readonly kind: "gossip" }>;
type Announcement = Extract<PowMessage, { readonly kind: "announce" }>;

/** What goes out instead of each packet. */
export function lyingMinerOf(parts: MinerParts): Egress {
  const miner = new LyingMiner(parts);
  return (to, packet) => miner.instead(to, packet);
}

class LyingMiner {
  readonly #parts: MinerParts;
  /** Of each announcement that it passes on, what goes out instead. */
  readonly #decisions = new Map<string, readonly Gossip[]>();
  /** Blocks that are announced and not handed over. */
  readonly #kept = new Set<string>();
  #held: Gossip[] = [];

  constructor(parts: MinerParts) {
    this.#parts = parts;
  }

  instead(_to: number, packet: Packet): readonly Packet[] {
    if (packet.kind === "frame") return this.#keeps(packet.bytes) ? [] : [packet];
    if (packet.kind !== "gossip" || packet.topic !== "consensus") return [packet];
    const known = this.#decisions.get(packet.name);
    if (known !== undefined) return known;
    const message = parsePowMessage(packet.bytes);
    if (!message.ok || message.value.kind !== "announce") return [packet];
    const { sealed, block } = message.value;
    if (block === undefined) return [packet];
    const whole = { ...message.value, block };
    const isOwn = bytesEqual(sealed.header.proposer, this.#parts.self);
    const decision = isOwn ? this.#decide(packet, whole) : [packet, ...this.#madeUp(whole)];
    this.#decisions.set(packet.name, decision);
    return decision;
  }

  /** Whether a frame hands over what is to be kept. */
  #keeps(bytes: Uint8Array): boolean {
    if (this.#kept.size === 0) return false;
    const message = parsePowMessage(bytes);
    return message.ok && message.value.kind === "blocks" && message.value.blocks.some(({ hash }) => this.#kept.has(toHex(hash)));
  }

  #decide(packet: Gossip, own: Announcement & { readonly block: Block }): readonly Gossip[] {
    const { random, behaviours, sometimes } = this.#parts;
    const extra = this.#madeUp(own);
    if (this.#held.length > 0 || random.happens(behaviours.withhold)) {
      this.#held.push(packet);
      sometimes.saw("pow_block_held");
      if (this.#held.length < random.between(2, HELD_MAX)) return extra;
      const branch = this.#held;
      this.#held = [];
      sometimes.saw("pow_branch_released");
      return [...branch, ...extra];
    }
    if (random.happens(behaviours.equivocate)) {
      sometimes.saw("pow_body_kept");
      this.#kept.add(toHex(own.block.hash));
      return [said({ ...own, block: undefined }), ...extra];
    }
    return [packet, ...extra];
  }

  #madeUp(own: Announcement & { readonly block: Block }): readonly Gossip[] {
    const { random, behaviours, sometimes } = this.#parts;
    const { sealed, block } = own;
    const { seal } = sealed;
    const extra: Gossip[] = [];
    if (random.happens(behaviours.mutate)) {
      const easier = bitsOf(firstTarget(this.#parts.protocol) - BigInt(random.between(1, 2 ** 30)));
      const isEasier = random.happens(500);
      const changed = isEasier ? { ...seal, bits: easier } : { ...seal, chainWork: seal.chainWork * 1000n };
      sometimes.saw(isEasier ? "pow_bits_forged" : "pow_work_forged");
      extra.push(said({ kind: "announce", sealed: { ...sealed, seal: changed }, block }));
    }
    if (random.happens(behaviours.speakAhead)) {
      sometimes.saw("pow_from_future");
      extra.push(said(this.#worked(block, { timeMs: block.header.timeMs + FUTURE_MS }, seal)));
    }
    if (random.happens(behaviours.badBlock)) {
      sometimes.saw("pow_bad_branch");
      const bad = this.#worked(block, { stateRoot: hashOf(random.bytes(32)) }, seal);
      extra.push(said(bad), said(this.#upon(bad)));
    }
    if (random.happens(behaviours.replay)) extra.push(...this.#flood());
    if (random.happens(behaviours.forgetLock)) {
      sometimes.saw("pow_orphan_forged");
      extra.push(said({ ...this.#worked(block, { previous: hashOf(random.bytes(32)) }, seal), block: undefined }));
    }
    return extra;
  }

  /** Cheap headers upon a block of long ago. */
  #flood(): readonly Gossip[] {
    const { random, sometimes } = this.#parts;
    const ledger = this.#parts.ledger();
    const head = ledger?.head().height ?? 0n;
    const depth = BigInt(random.between(1, FLOOD_DEPTH_MAX));
    if (ledger === undefined || head <= depth) return [];
    const height = heightOf(head - depth);
    const [block, seal] = [ledger.block(height), ledger.certificate(height)];
    if (block === undefined || seal?.kind !== "work") return [];
    sometimes.saw("pow_headers_flooded");
    const flood: Gossip[] = [];
    let tip: Made = { kind: "announce", sealed: { header: block.header, seal }, block };
    for (let count = random.between(1, 6); count > 0; count -= 1) {
      tip = this.#upon(tip);
      flood.push(said({ ...tip, block: undefined }));
    }
    return flood;
  }

  /** The block with fields changed, under a seal of the same target. */
  #worked(block: Block, change: Partial<Block["header"]>, { bits, chainWork }: WorkCertificate): Made {
    const header = { ...block.header, ...change };
    const hash = headerHash(header);
    const sealed: SealedHeader = { header, seal: this.#sealed({ height: header.height, blockHash: hash, bits, chainWork }) };
    return { kind: "announce", sealed, block: { ...block, header, hash } };
  }

  /** An empty block upon another, with a state that is made up, under a seal as the rules prescribe. */
  #upon({ sealed: { header, seal } }: Made): Made {
    const { network, protocol, random } = this.#parts;
    const ledger = this.#parts.ledger();
    const rules = { protocol, genesisTimeMs: network.genesisTimeMs };
    const timeOf = (height: bigint): bigint => ledger?.header(heightOf(height))?.timeMs ?? network.genesisTimeMs;
    const bits = expectedBits(rules, { ...header, bits: seal.bits }, timeOf);
    const target = targetOf(bits);
    const parts: BlockParts = {
      ...header,
      height: heightOf(header.height + 1n),
      timeMs: header.timeMs + 1n,
      previous: seal.blockHash,
      stateRoot: hashOf(random.bytes(32)),
      proposer: this.#parts.self,
      transactions: [],
      results: [],
      previousCertificate: seal,
      evidence: [],
    };
    const block = assembleBlock(parts);
    const chainWork = seal.chainWork + (target.ok ? workOf(target.value) : 1n);
    const own = this.#sealed({ height: block.header.height, blockHash: block.hash, bits, chainWork });
    return { kind: "announce", sealed: { header: block.header, seal: own }, block };
  }

  #sealed(of: Omit<WorkCertificate, "kind" | "extraNonce" | "nonce">): WorkCertificate {
    const target = targetOf(of.bits);
    const extraNonce = BigInt(this.#parts.random.uint32());
    const search = { headerHash: of.blockHash, extraNonce, nonce: 0n, count: TRIES_MAX };
    const nonce = target.ok ? searchSeal({ ...search, target: target.value }) : undefined;
    return { kind: "work", ...of, extraNonce, nonce: nonce ?? 0n };
  }
}

type Made = Announcement & { readonly block: Block };

function said(message: PowMessage): Gossip {
  return gossipPacket("consensus", encodePowMessage(message));
}
