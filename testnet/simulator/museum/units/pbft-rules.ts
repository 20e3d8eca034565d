/** What backups accept of a new primary, against the definition of a new-view written down once more. */

import { bytesEqual } from "../../../../crypto/base/bytes.ts";
import { heightOf } from "../../../../chain/block/height.ts";
import type { Block } from "../../../../chain/block/block.ts";
import type { PreparedClaim, ViewChange } from "../../../../consensus/pbft/message.ts";
import { mayCome } from "../../../../consensus/pbft/rules.ts";
import { primaryOf } from "../../../../consensus/pbft/primary.ts";
import { Random } from "../../../../consensus/testing/random.ts";
import { testBlock, World } from "../../../../consensus/testing/world.ts";
import { holds } from "../property.ts";

const HEIGHT = heightOf(1n);
const VIEW = 4;
const EMPTY = new Uint8Array(0);

/**
 * A new-view is accepted exactly when it stands on view-changes of a quorum and pre-prepares what was prepared in the
 * highest view among them, or anything when nothing was. Signatures aside.
 */
export function newViewsAreRecomputed(seed: number): void {
  const random = new Random(seed);
  const world = new World([1n, 1n, 1n, 1n]);
  const primary = primaryOf(world.set, undefined, VIEW);
  const blocks = ["one", "two"].map((label) => testBlock({ height: HEIGHT, label, proposer: primary.address }));
  const members = world.members.slice(0, random.between(2, 4));
  // One block a view: with a quorum behind each claim there cannot be two.
  const prepared = new Map<number, Block>(Array.from({ length: VIEW }, (_, view) => [view, random.pick(blocks)]));
  const viewChanges = members.map(({ address }): ViewChange => {
    const view = random.between(-1, VIEW - 1);
    return { height: HEIGHT, view: VIEW, prepared: claimOf(view, prepared.get(view)), validator: address, signature: EMPTY };
  });
  const claims = viewChanges.flatMap((change) => (change.prepared === undefined ? [] : [change.prepared]));
  const highest = claims.toSorted((a, b) => b.view - a.view)[0];
  const block = random.pick(blocks);
  const validRound = random.happens(700) ? (highest?.view ?? -1) : random.between(-1, VIEW - 1);
  const proposal = {
    height: HEIGHT,
    round: VIEW,
    blockHash: block.hash,
    validRound,
    validator: primary.address,
    signature: EMPTY,
  };
  const prepares =
    validRound === -1 ? [] : world.members.slice(0, 3).map(({ address }) => ({ validator: address, signature: EMPTY }));
  const isAccepted = mayCome({ kind: "newView", proposal, viewChanges, prepares, block }, world.set, undefined);
  const follows =
    highest === undefined ? validRound === -1 : validRound === highest.view && bytesEqual(block.hash, highest.blockHash);
  holds(
    isAccepted === (members.length >= 3 && follows),
    "a new-view is what its view-changes make it",
    () => `${claims.map(({ view }) => view).join()} with ${validRound}: ${isAccepted}`,
  );
}

function claimOf(view: number, block: Block | undefined): PreparedClaim | undefined {
  return block === undefined ? undefined : { view, blockHash: block.hash };
}
