/**
 * What a dishonest PBFT validator makes up beside votes and pre-prepares: view-changes and new-views.
 *
 * Its own engine's word is the raw material, and everything of its own is signed with its real key; what it says in the
 * name of others it can only copy, so their signatures under changed words are bad.
 */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { KeyPair } from "../../crypto/sign/key.ts";
import { hashOf } from "../../crypto/hash/hash.ts";
import type { Block } from "../../chain/block/block.ts";
import { heightOf } from "../../chain/block/height.ts";
import { proposalSigningBytes } from "../../chain/block/vote.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import {
  type NewViewMessage,
  type PbftMessage,
  type ViewChange,
  type ViewChangeMessage,
  viewChangeSigningBytes,
} from "../../consensus/pbft/message.ts";
import type { Random } from "./random.ts";
import type { Sometimes } from "./sometimes.ts";

/** What a liar has to make words up with. */
export type MakeUpParts = {
  readonly chainId: string;
  readonly self: Address;
  readonly keyPair: KeyPair;
  readonly random: Random;
  readonly sometimes: Sometimes;
  readonly ledger: () => Ledger | undefined;
};

/** Words instead of, or beside, one of the liar's own; `silence` when nobody is to hear any. */
export type MadeUp = "silence" | readonly object[];

/** Makes words up from one of the liar's own. */
export function makeUpPbft(parts: MakeUpParts, message: PbftMessage): MadeUp {
  switch (message.kind) {
    case "viewChange":
      return otherViewChange(parts, message);
    case "newView":
      return otherNewView(parts, message);
    case "vote":
    case "prePrepare":
      return [];
  }
}

/** Hides what it prepared, claims what nobody prepared, or claims it of another height. */
function otherViewChange(parts: MakeUpParts, { viewChange, proof }: ViewChangeMessage): MadeUp {
  const { random, sometimes } = parts;
  const lie = random.pick(["hide", "claim", "height", "lead", "lead"] as const);
  if (lie === "lead") return earlyNewView(parts, viewChange);
  sometimes.saw("byzantine_made_up_view_change");
  if (lie === "hide" && viewChange.prepared !== undefined)
    return [{ kind: "viewChange", viewChange: signedChange(parts, { ...viewChange, prepared: undefined }), proof: undefined }];
  if (lie === "height") {
    const height = heightOf(viewChange.height + BigInt(random.between(1, 2)));
    return [{ kind: "viewChange", viewChange: signedChange(parts, { ...viewChange, height }), proof }];
  }
  const block = proof?.block ?? newBlock(parts);
  if (block === undefined) return [];
  const prepared = { view: viewChange.view - 1, blockHash: block.hash };
  const own = { validator: parts.self, signature: random.bytes(64) };
  const prepares = [...(proof?.prepares ?? []), ...(random.happens(500) ? [own] : [])];
  return [{ kind: "viewChange", viewChange: signedChange(parts, { ...viewChange, prepared }), proof: { prepares, block } }];
}

/** A new-view on nobody's word but its own, in its turn or not. */
function earlyNewView(parts: MakeUpParts, viewChange: ViewChange): MadeUp {
  const block = newBlock(parts);
  if (block === undefined) return [];
  parts.sometimes.saw("byzantine_made_up_new_view");
  const { height, view } = viewChange;
  const validator = parts.self;
  const proposal = { height, round: view, blockHash: block.hash, validRound: -1, validator, signature: new Uint8Array(0) };
  const viewChanges = [signedChange(parts, { ...viewChange, prepared: undefined })];
  return [signedNewView(parts, { kind: "newView", proposal, viewChanges, prepares: [], block })];
}

/** Nothing at all, another block than the one that follows, one signer twice, claims of another height, too few. */
function otherNewView(parts: MakeUpParts, message: NewViewMessage): MadeUp {
  const { random, sometimes } = parts;
  const { viewChanges } = message;
  const lie = random.pick(["withhold", "withhold", "block", "repeat", "height", "few"] as const);
  if (lie === "withhold") {
    sometimes.saw("byzantine_withheld_new_view");
    return "silence";
  }
  sometimes.saw("byzantine_made_up_new_view");
  const own = viewChanges.filter(({ validator }) => bytesEqual(validator, parts.self));
  switch (lie) {
    case "block": {
      const block = newBlock(parts);
      return block === undefined ? [] : [signedNewView(parts, { ...message, block })];
    }
    case "repeat": {
      const [first] = viewChanges;
      return first === undefined ? [] : [signedNewView(parts, { ...message, viewChanges: viewChanges.map(() => first) })];
    }
    case "height": {
      const blockHash = hashOf(random.bytes(32));
      const changed = viewChanges.map((change) =>
        signedChange(parts, { ...change, height: heightOf(change.height + 1n), prepared: { view: 0, blockHash } }),
      );
      return [signedNewView(parts, { ...message, viewChanges: changed })];
    }
    case "few":
      return [signedNewView(parts, { ...message, viewChanges: own.length > 0 ? own : viewChanges.slice(1) })];
  }
}

/** Another block that holds. */
function newBlock({ ledger, self, random }: MakeUpParts): Block | undefined {
  const chain = ledger();
  if (chain === undefined) return undefined;
  const timeMs = chain.head().timeMs + BigInt(random.between(1, 50));
  return chain.build({ proposer: self, timeMs, transactions: [], evidence: [] }).block;
}

function signedChange({ chainId, keyPair }: MakeUpParts, change: Omit<ViewChange, "signature">): ViewChange {
  return { ...change, signature: keyPair.sign(viewChangeSigningBytes(chainId, change)) };
}

function signedNewView({ chainId, keyPair }: MakeUpParts, message: NewViewMessage): NewViewMessage {
  const proposal = { ...message.proposal, blockHash: message.block.hash };
  return { ...message, proposal: { ...proposal, signature: keyPair.sign(proposalSigningBytes(chainId, proposal)) } };
}
