/**
 * Changing the trie: from one version's pages and a sorted list of changes to the next version's, by copying.
 *
 * Each page that a change reaches is visited once, on the way down, which sorts the changes to its items, and
 * finished once, on the way up, when all pages below it are. Finishing is cheap where rows only got new values: the
 * page is copied and some of its hashes and locations replaced. Where rows came or went, the page's items are taken
 * apart, and a fold over them hashes the subtree and cuts it into pages again.
 *
 * The walk keeps its own stack. Keys of 1,024 bytes make paths of thousands of pages possible, at a price, and that
 * must cost whoever paid it a slow row and nobody a stack overflow.
 */

import { present, unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Arena } from "./arena.ts";
import { branchBit, stemOf } from "./bits.ts";
import type { ChunkWriter } from "./chunk.ts";
import { deltaAfter, storedBytes } from "./delta.ts";
import { EMPTY_ROOT, leafHash, nodeHash, valueHash } from "./hashing.ts";
import type { Location } from "./layout.ts";
import { type Delta, type Item, leastOf, type Link, Page, PAGE_ITEMS_MAX, PAGE_ITEMS_MIN, type Replacement } from "./page.ts";

/** A row to write, or to delete when there is no value. */
export type StateUpdate = { readonly key: Uint8Array; readonly value: Uint8Array | undefined };

/** Where a version's tree is. An empty one is nowhere. */
export type Root = { readonly hash: Hash; readonly location: Location | undefined };

/** The outcome: a root, what was written for it, and what it no longer reaches. */
export type Change = {
  readonly root: Root;
  readonly fresh: readonly { readonly location: Location; readonly page: Page }[];
  readonly stale: readonly Location[];
  /** The pages that others stand for now. Some stay reachable, as bases of deltas. */
  readonly replaced: readonly Location[];
};

/** What a change is made with: how pages are read, and where new ones go, on disk and in memory. */
export type Workshop = { readonly readPage: (location: Location) => Page; readonly writer: ChunkWriter; readonly arena: Arena };

/** What became of an item, or of a whole page. */
type Outcome =
  /** Nothing changed after all. */
  | { readonly kind: "unchanged" }
  /** Same key or stem, new content. */
  | { readonly kind: "replaced"; readonly hash: Uint8Array; readonly location: Location }
  /** These items stand in its place; none if it is gone. */
  | { readonly kind: "items"; readonly items: readonly Item[] };

/** A change to a page: what replaces item `index`, or (`isNew`) is put before it. */
type Edit = { readonly index: number; readonly isNew: boolean; outcome: Outcome };

/** A page being changed. `location` is undefined for the empty page that an empty tree starts from. */
type Frame = {
  readonly page: Page;
  readonly location: Location | undefined;
  readonly edits: readonly Edit[];
  /** The edits that wait for a page below, with the changes that belong there. */
  readonly descents: readonly { readonly edit: Edit; readonly low: number; readonly high: number }[];
  descended: number;
};

/** A page whose items came or went. `isSplit`: there were too many, and the items are what is left after a cut. */
type Rebuilt = {
  readonly kind: "rebuilt";
  readonly items: readonly Item[];
  readonly bits: readonly number[];
  readonly isSplit: boolean;
};

/** A subtree whose topmost page is still open. */
type Group = { readonly items: readonly Item[]; readonly bits: readonly number[]; readonly hash: Uint8Array };

const UNCHANGED = { kind: "unchanged" } as const satisfies Outcome;

/**
 * Applies `updates`, sorted by key and each key once, to the tree at `base`.
 *
 * Writing what is there already, and deleting what is not, change nothing.
 */
export function applyUpdates(base: Root, updates: readonly StateUpdate[], workshop: Workshop): Change {
  return new Walk(updates, workshop).run(base);
}

class Walk {
  readonly #updates: readonly StateUpdate[];
  readonly #workshop: Workshop;
  readonly #fresh: { location: Location; page: Page }[] = [];
  readonly #stale: Location[] = [];
  readonly #replaced: Location[] = [];

  constructor(updates: readonly StateUpdate[], workshop: Workshop) {
    this.#updates = updates;
    this.#workshop = workshop;
  }

  run(base: Root): Change {
    const top = this.#visit(base.location, 0, this.#updates.length);
    const frames = [top];
    let root = base;
    while (frames.length > 0) {
      const frame = frames[frames.length - 1] as Frame;
      const descent = frame.descents[frame.descended];
      if (descent !== undefined) {
        frames.push(this.#visit(frame.page.location(descent.edit.index), descent.low, descent.high));
        continue;
      }
      frames.pop();
      const above = frames[frames.length - 1];
      if (above === undefined) root = this.#finishTop(frame, base);
      else {
        const { edit } = above.descents[above.descended] as { readonly edit: Edit };
        edit.outcome = this.#finish(frame, above.page.linkBit(edit.index));
        above.descended += 1;
      }
    }
    return { root, fresh: this.#fresh, stale: this.#stale, replaced: this.#replaced };
  }

  /** Sorts the updates from `low` to `high` to the items of a page; rows on the page itself are changed at once. */
  #visit(location: Location | undefined, low: number, high: number): Frame {
    const page = location === undefined ? Page.EMPTY : this.#workshop.readPage(location);
    const edits: Edit[] = [];
    const descents: { edit: Edit; low: number; high: number }[] = [];
    let first = 0;
    let next = low;
    while (next < high) {
      const update = this.#updates[next] as StateUpdate;
      const found = page.find(update.key, first);
      const index = found < 0 ? ~found : found;
      const start = next;
      next += 1;
      if (found < 0) {
        first = index;
        while (next < high && isBefore(page, index, (this.#updates[next] as StateUpdate).key)) next += 1;
        const items = this.#newEntries(start, next);
        if (items.length > 0) edits.push({ index, isNew: true, outcome: { kind: "items", items } });
        continue;
      }
      first = index + 1;
      const edit: Edit = { index, isNew: false, outcome: UNCHANGED };
      edits.push(edit);
      if (page.isEntry(index)) edit.outcome = this.#changeEntry(page, index, update);
      else {
        while (next < high && page.compare(index, (this.#updates[next] as StateUpdate).key) === 0) next += 1;
        descents.push({ edit, low: start, high: next });
      }
    }
    return { page, location, edits, descents, descended: 0 };
  }

  #newEntries(low: number, high: number): Item[] {
    const items: Item[] = [];
    for (let index = low; index < high; index += 1) {
      const { key, value } = this.#updates[index] as StateUpdate;
      if (value === undefined) continue;
      items.push({
        kind: "entry",
        key,
        hash: leafHash(key, valueHash(value)),
        location: this.#workshop.writer.add("value", value),
      });
    }
    return items;
  }

  #changeEntry(page: Page, index: number, { key, value }: StateUpdate): Outcome {
    if (value === undefined) {
      this.#stale.push(page.location(index));
      return { kind: "items", items: [] };
    }
    const hash = leafHash(key, valueHash(value));
    if (bytesEqual(hash, page.hash(index))) return UNCHANGED;
    this.#stale.push(page.location(index));
    return { kind: "replaced", hash, location: this.#workshop.writer.add("value", value) };
  }

  /** What becomes of a page below the top. `bit` is the branch bit that the page above knows it by. */
  #finish(frame: Frame, bit: number): Outcome {
    const changed = this.#finishPage(frame);
    if (changed.kind !== "rebuilt") return changed;
    const { items, bits, isSplit } = changed;
    if (isSplit || items.length < PAGE_ITEMS_MIN) return { kind: "items", items };
    const page = Page.of(items, bits, this.#workshop.arena);
    const link = this.#close(page, items, bits, page.rootHash());
    return link.bit === bit ? { kind: "replaced", hash: link.hash, location: link.location } : { kind: "items", items: [link] };
  }

  #finishTop(frame: Frame, base: Root): Root {
    const changed = this.#finishPage(frame);
    switch (changed.kind) {
      case "unchanged":
        return base;
      case "replaced":
        return { hash: changed.hash as Hash, location: changed.location };
      case "rebuilt": {
        const { items, bits } = changed;
        const only = items[0];
        if (only === undefined) return { hash: EMPTY_ROOT, location: undefined };
        if (items.length === 1 && only.kind === "link") return { hash: only.hash as Hash, location: only.location };
        const page = Page.of(items, bits, this.#workshop.arena);
        return { hash: page.rootHash().slice() as Hash, location: this.#write(page) };
      }
      default:
        return unreachable(changed);
    }
  }

  #finishPage(frame: Frame): Exclude<Outcome, { kind: "items" }> | Rebuilt {
    const edits = frame.edits.filter(({ outcome }) => outcome.kind !== "unchanged");
    if (edits.length === 0) return UNCHANGED;
    const replacements: Replacement[] = [];
    for (const { index, outcome } of edits)
      if (outcome.kind === "replaced") replacements.push({ index, hash: outcome.hash, location: outcome.location });
    const isReplaced = replacements.length === edits.length;
    const delta = isReplaced && frame.location !== undefined ? deltaAfter(frame.page, frame.location, replacements) : undefined;
    this.#leave(frame, delta);
    if (isReplaced) {
      const { page, hash } = frame.page.replace(replacements, delta, this.#workshop.arena);
      return { kind: "replaced", hash, location: this.#write(page) };
    }
    const { items, bits } = splice(frame.page, edits);
    if (items.length <= PAGE_ITEMS_MAX) return { kind: "rebuilt", items, bits, isSplit: false };
    return { kind: "rebuilt", ...this.#cut(items, bits), isSplit: true };
  }

  /** The page is not of this version: what of it the next one, which `delta` is of, does not need is stale. */
  #leave({ page, location }: Frame, delta: Delta | undefined): void {
    if (location === undefined) return;
    this.#replaced.push(location);
    if (delta?.base !== location) this.#stale.push(location);
    if (page.delta !== undefined && page.delta.base !== delta?.base) this.#stale.push(page.delta.base);
  }

  /** Cuts a list of items into pages wherever more come together than a page holds; what is left fits the page above. */
  #cut(items: readonly Item[], bits: readonly number[]): Group {
    const groups: Group[] = [];
    const between: number[] = [];
    for (let index = 0; index < items.length; index += 1) {
      if (index > 0) {
        const bit = bits[index - 1] as number;
        while (between.length > 0 && (between[between.length - 1] as number) > bit) this.#join(groups, between);
        between.push(bit);
      }
      const item = items[index] as Item;
      groups.push({ items: [item], bits: [], hash: item.hash });
    }
    while (between.length > 0) this.#join(groups, between);
    return present(groups[0], "the topmost group");
  }

  #join(groups: Group[], between: number[]): void {
    let right = groups.pop() as Group;
    let left = groups.pop() as Group;
    const bit = between.pop() as number;
    const hash = nodeHash(bit, left.hash, right.hash);
    if (left.items.length + right.items.length > PAGE_ITEMS_MAX) {
      left = this.#shrink(left);
      right = this.#shrink(right);
    }
    groups.push({ items: [...left.items, ...right.items], bits: [...left.bits, bit, ...right.bits], hash });
  }

  /** Few items stay open, so that every page but the topmost holds `PAGE_ITEMS_MIN`. */
  #shrink(group: Group): Group {
    if (group.items.length < PAGE_ITEMS_MIN) return group;
    return {
      items: [this.#close(Page.of(group.items, group.bits, this.#workshop.arena), group.items, group.bits, group.hash)],
      bits: [],
      hash: group.hash,
    };
  }

  #close(page: Page, items: readonly Item[], bits: readonly number[], hash: Uint8Array): Link {
    const bit = leastOf(bits);
    const first = present(items[0], "a page's first item");
    return { kind: "link", key: stemOf(first.key, bit), bit, hash, location: this.#write(page) };
  }

  #write(page: Page): Location {
    const kind = page.delta !== undefined ? "delta" : page.isLowest() ? "lowest" : "higher";
    const location = this.#workshop.writer.add(kind, storedBytes(page));
    this.#fresh.push({ location, page });
    return location;
  }
}

/** Whether a key comes before item `index`, which the key before it does too. */
function isBefore(page: Page, index: number, key: Uint8Array): boolean {
  return index === page.count || page.compare(index, key) < 0;
}

/** The items of a page after its edits, and their branch bits. */
function splice(page: Page, edits: readonly Edit[]): { readonly items: readonly Item[]; readonly bits: readonly number[] } {
  const items: Item[] = [];
  const bits: number[] = [];
  /** The index of the last item on the page, if that is where it came from: then the bit after it is known. */
  let previous = -2;
  const push = (item: Item, index: number): void => {
    const last = items[items.length - 1];
    if (last !== undefined) bits.push(index >= 0 && index === previous + 1 ? page.bit(previous) : branchBit(last.key, item.key));
    items.push(item);
    previous = index;
  };
  let at = 0;
  for (const { index, isNew, outcome } of edits) {
    for (; at < index; at += 1) push(page.item(at), at);
    if (outcome.kind === "items") for (const item of outcome.items) push(item, -2);
    else if (outcome.kind === "replaced") push({ ...page.item(index), hash: outcome.hash, location: outcome.location }, index);
    if (!isNew) at = index + 1;
  }
  for (; at < page.count; at += 1) push(page.item(at), at);
  return { items, bits };
}
