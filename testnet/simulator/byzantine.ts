/**
 * Dishonest validators: a real node whose own words are changed, kept back, doubled or made up on their way
 * out. Everything that they sign is signed with their real key.
 *
 * What an honest engine says is the raw material: a liar that kept no book of the protocol would be ignored at once.
 */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import { type Hash, hashOf } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { KeyPair } from "../../crypto/sign/key.ts";
import { type Block, headerHash } from "../../chain/block/block.ts";
import { heightOf } from "../../chain/block/height.ts";
import { type Proposal, proposalSigningBytes, type Vote, voteSigningBytes } from "../../chain/block/vote.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import type { Codec } from "../../consensus/engine.ts";
import type { MadeUp, MakeUpParts } from "./byzantine-pbft.ts";
import type { Behaviours } from "./faults.ts";
import { type Egress, gossipPacket, type Packet } from "./network.ts";
import type { Random } from "./random.ts";
import type { Sometimes } from "./sometimes.ts";

/** What a liar must know of an engine's messages to make up its own. */
export type Tongue = {
  readonly codec: Codec<object>;
  /** The message that says a vote. */
  readonly ofVote: (vote: Vote) => object;
  /** The proposal in a message that proposes a block by nothing else than its signature, and the block. */
  readonly proposalIn: (message: object) => { readonly proposal: Proposal; readonly block: Block } | undefined;
  /** The message that proposes another block. */
  readonly ofProposal: (proposal: Proposal, block: Block) => object;
  /** What else may be made up of a word, where there is more than votes and proposals. */
  readonly makeUp?: (parts: MakeUpParts, message: object) => MadeUp;
};

/** What a liar has. */
export type LiarParts = {
  readonly tongue: Tongue;
  readonly chainId: string;
  readonly self: Address;
  readonly keyPair: KeyPair;
  readonly behaviours: Behaviours;
  readonly random: Random;
  readonly sometimes: Sometimes;
  readonly ledger: () => Ledger | undefined;
  /** It says this, too. */
  readonly onSaid: (bytes: Uint8Array) => void;
};

/** Words that a liar remembers, to say them again. */
const REMEMBERED_MAX = 32;

/** What goes out instead of each packet. */
export function liarOf(parts: LiarParts): Egress {
  const liar = new Liar(parts);
  return (to, packet) => liar.instead(to, packet);
}

type Gossip = Extract<Packet, { readonly kind: "gossip" }>;

/** What was decided about a word once, for all whom it goes to. */
type Decision = {
  /** Instead of it, to whom it falls; of several, each to some. */
  readonly variants: readonly Gossip[];
  /** Beside it, to everybody. */
  readonly extra: readonly Gossip[];
  readonly isWithheld: boolean;
  /** Nobody hears it. */
  readonly isSilent?: boolean;
};

class Liar {
  readonly #parts: LiarParts;
  readonly #decisions = new Map<string, Decision>();
  readonly #remembered: Gossip[] = [];
  /** Blocks proposed lately, to vote for. */
  #seen: { readonly height: bigint; readonly hash: Hash }[] = [];

  constructor(parts: LiarParts) {
    this.#parts = parts;
  }

  instead(to: number, packet: Packet): readonly Packet[] {
    const { random, behaviours, sometimes } = this.#parts;
    if (packet.kind === "frame" && random.happens(behaviours.serveGarbage)) {
      sometimes.saw("byzantine_served_garbage");
      return [{ ...packet, bytes: spoiled(packet.bytes, random) }];
    }
    if (packet.kind !== "gossip" || packet.topic !== "consensus") return [packet];
    const { name } = packet;
    let decision = this.#decisions.get(name);
    if (decision === undefined) {
      const { codec, proposalIn } = this.#parts.tongue;
      const message = codec.parse(packet.bytes);
      if (!message.ok) return [packet];
      const proposed = proposalIn(message.value);
      if (proposed !== undefined) this.#see(proposed.proposal);
      if (!bytesEqual(codec.describe(message.value).signer, this.#parts.self)) return [packet];
      decision = this.#decide(message.value, packet);
      this.#decisions.set(name, decision);
      this.#remember(packet);
    }
    if (decision.isSilent === true) return [];
    if (decision.isWithheld && random.happens(600)) return decision.extra;
    const { variants } = decision;
    return [variants[to % variants.length] ?? packet, ...decision.extra];
  }

  #decide(message: object, packet: Gossip): Decision {
    const { random, behaviours, sometimes, tongue } = this.#parts;
    const word = tongue.codec.wordOf(message);
    const vote = word !== undefined && "step" in word ? word : undefined;
    const proposed = tongue.proposalIn(message);
    const variants: Gossip[] = [packet];
    const extra: Gossip[] = [];
    const madeUp = random.happens(behaviours.makeUp ?? 0) ? (tongue.makeUp?.(this.#parts, message) ?? []) : [];
    if (madeUp === "silence") return { variants, extra, isWithheld: false, isSilent: true };
    for (const each of madeUp) {
      const other = this.#said(each);
      if (random.happens(500)) variants.push(other);
      else extra.push(other);
    }
    if (random.happens(behaviours.equivocate)) {
      const other = vote === undefined ? this.#otherProposal(proposed?.proposal) : this.#otherVote(vote);
      if (other !== undefined) {
        sometimes.saw("byzantine_equivocated");
        variants.push(other);
        // Some of the time everybody hears both.
        if (random.happens(300)) extra.push(other);
      }
    }
    if (vote !== undefined && vote.blockHash === undefined && random.happens(behaviours.forgetLock)) {
      const known = this.#seen.findLast(({ height }) => height === vote.height);
      if (known !== undefined) {
        sometimes.saw("byzantine_forgot_lock");
        return { variants: [this.#signedVote({ ...vote, blockHash: known.hash })], extra, isWithheld: false };
      }
    }
    if (proposed !== undefined && random.happens(behaviours.badBlock)) {
      sometimes.saw("byzantine_mutated");
      variants.push(this.#badProposal(proposed));
    }
    if (random.happens(behaviours.mutate)) {
      sometimes.saw("byzantine_mutated");
      extra.push(this.#mutated(vote, packet));
    }
    if (vote !== undefined && random.happens(behaviours.speakAhead)) {
      sometimes.saw("byzantine_spoke_ahead");
      const round = vote.round + random.between(1, 20);
      extra.push(this.#signedVote({ ...vote, round }));
    }
    if (random.happens(behaviours.replay) && this.#remembered.length > 0) {
      sometimes.saw("byzantine_replayed");
      extra.push(random.pick(this.#remembered));
    }
    const isWithheld = random.happens(behaviours.withhold);
    if (isWithheld) sometimes.saw("byzantine_withheld");
    return { variants, extra, isWithheld };
  }

  #otherVote(vote: Vote): Gossip {
    const { random } = this.#parts;
    const known = this.#seen.filter(({ height, hash }) => height === vote.height && !isSame(hash, vote.blockHash));
    const blockHash = vote.blockHash !== undefined && random.happens(500) ? undefined : known.at(-1)?.hash;
    const other = isSame(blockHash, vote.blockHash) ? hashOf(random.bytes(32)) : blockHash;
    return this.#signedVote({ ...vote, blockHash: other });
  }

  /** Another block that holds, for the same round. */
  #otherProposal(proposal: Proposal | undefined): Gossip | undefined {
    const ledger = this.#parts.ledger();
    if (proposal === undefined || ledger === undefined) return undefined;
    if (ledger.head().height + 1n !== proposal.height || proposal.validRound !== -1) return undefined;
    const timeMs = ledger.head().timeMs + BigInt(this.#parts.random.between(1, 50));
    const { block } = ledger.build({ proposer: this.#parts.self, timeMs, transactions: [], evidence: [] });
    return bytesEqual(block.hash, proposal.blockHash) ? undefined : this.#signedProposal(proposal, block);
  }

  /** A block whose state root is made up. */
  #badProposal({ proposal, block }: { readonly proposal: Proposal; readonly block: Block }): Gossip {
    const header = { ...block.header, stateRoot: hashOf(this.#parts.random.bytes(32)) };
    return this.#signedProposal(proposal, { ...block, header, hash: headerHash(header) });
  }

  #mutated(vote: Vote | undefined, packet: Gossip): Gossip {
    const { random, tongue } = this.#parts;
    if (vote === undefined || random.happens(300)) return gossipPacket("consensus", spoiled(packet.bytes, random));
    const field = random.pick(["height", "round", "step", "validator"] as const);
    switch (field) {
      case "height":
        return this.#signedVote({ ...vote, height: heightOf(vote.height + BigInt(random.between(1, 3))) });
      case "round":
        return this.#signedVote({ ...vote, round: random.between(0, 2 ** 31 - 1) });
      case "step":
        return this.#signedVote({ ...vote, step: vote.step === "prevote" ? "precommit" : "prevote" });
      case "validator":
        // Somebody else's word with our signature.
        return gossipPacket(
          "consensus",
          tongue.codec.encode(tongue.ofVote({ ...vote, validator: random.bytes(vote.validator.length) as Address })),
        );
    }
  }

  #signedVote(vote: Omit<Vote, "signature">): Gossip {
    const signature = this.#parts.keyPair.sign(voteSigningBytes(this.#parts.chainId, vote));
    return this.#said(this.#parts.tongue.ofVote({ ...vote, signature }));
  }

  #signedProposal(proposal: Proposal, block: Block): Gossip {
    const changed = { ...proposal, blockHash: block.hash };
    const signature = this.#parts.keyPair.sign(proposalSigningBytes(this.#parts.chainId, changed));
    return this.#said(this.#parts.tongue.ofProposal({ ...changed, signature }, block));
  }

  #said(message: object): Gossip {
    const bytes = this.#parts.tongue.codec.encode(message);
    this.#parts.onSaid(bytes);
    return gossipPacket("consensus", bytes);
  }

  #see({ height, blockHash }: Proposal): void {
    this.#seen = [...this.#seen.filter(({ hash }) => !bytesEqual(hash, blockHash)), { height, hash: blockHash }].slice(-8);
  }

  #remember(packet: Gossip): void {
    this.#remembered.push(packet);
    if (this.#remembered.length > REMEMBERED_MAX) this.#remembered.shift();
  }
}

function isSame(a: Hash | undefined, b: Hash | undefined): boolean {
  return a === undefined || b === undefined ? a === b : bytesEqual(a, b);
}

function spoiled(bytes: Uint8Array, random: Random): Uint8Array {
  const copy = bytes.slice();
  if (copy.length === 0) return copy;
  const at = random.between(0, copy.length - 1);
  copy[at] = (copy[at] ?? 0) ^ (1 << random.between(0, 7));
  return copy;
}
