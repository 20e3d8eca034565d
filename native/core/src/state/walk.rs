//! From one version's pages and a sorted list of changes to the next version's, by copying: `chain/state/update.ts`.

use std::ops::Range;

use super::chunk::{ChunkKind, ChunkWriter, Chunks, Slot};
use super::delta::Delta;
use super::fold::{Digest, Made};
use super::hashing::{KEY_SIZE_MAX, branch_bit, empty_root, leaf_hashes, node_hash, stem_of};
use super::memory::Pages;
use super::page::{Item, PAGE_ITEMS_MAX, PAGE_ITEMS_MIN, Page, SHAPE_ENTRY};
use super::reach::{Place, Reach, Reached};
use super::{Change, Fault, Location, ReadPage, Root, Update};
use crate::Hash;

impl Pages {
    /// Applies updates to the tree at `base`, and writes nothing.
    pub fn stage<'a, E>(
        &mut self,
        base: Root,
        next_chunk: u64,
        updates: &'a [Update<'a>],
        read: ReadPage<'_, E>,
    ) -> Result<Change, Fault<E>> {
        let is_in_order = updates.windows(2).all(|pair| pair[0].key < pair[1].key);
        let is_in_size = updates.iter().all(|update| !update.key.is_empty() && update.key.len() <= KEY_SIZE_MAX);
        if !is_in_order || !is_in_size {
            return Err(Fault::Input);
        }
        let writer = ChunkWriter::new(next_chunk);
        let leaves = leaf_hashes(updates);
        let mut walk = Walk {
            updates,
            leaves,
            pages: self,
            read,
            reach: Reach::default(),
            writer,
            made: Made::default(),
            stale: Vec::new(),
            replaced: Vec::new(),
            used: Vec::new(),
        };
        let root = walk.run(base)?;
        let Walk { writer, mut made, stale, replaced, .. } = walk;
        made.settle();
        let Chunks { next, bytes, numbers, ends } = writer.finish(made.pages()).ok_or(Fault::Input)?;
        let fresh = made.into_pages();
        Ok(Change { root, next_chunk: next, chunks: bytes, chunk_numbers: numbers, chunk_ends: ends, stale, replaced, fresh })
    }
}

/// What became of an item, or of a whole page.
enum Outcome {
    Unchanged,
    /// Same key or stem, new content.
    Replaced(Digest, Location),
    /// These items stand in its place; none if it is gone.
    Items(Vec<Item>),
}

/// What became of a page: as it was, copied with other hashes, or taken apart.
enum Finished {
    Unchanged,
    Replaced(Digest, Location),
    /// Whether there were too many items, and these are what is left after a cut.
    Rebuilt(Vec<Item>, Vec<usize>, bool),
}

/// A change to a page: what replaces item `index`, or (`is_new`) is put before it.
struct Edit {
    index: usize,
    is_new: bool,
    outcome: Outcome,
}

/// An edit that waits for the page below, and the updates that belong there. The page has an index once it is reached.
struct Descent {
    edit: usize,
    updates: Range<usize>,
    page: Option<usize>,
}

/// A page that is being changed, by its place among those that are reached.
struct Frame {
    at: usize,
    changes: Changes,
    descended: usize,
}

/// Of a page, in the order of its items.
#[derive(Default)]
struct Changes {
    edits: Vec<Edit>,
    descents: Vec<Descent>,
}

/// A subtree whose topmost page is still open.
struct Group {
    items: Vec<Item>,
    bits: Vec<usize>,
    hash: Hash,
}

struct Walk<'a, 'p, 'r, E> {
    updates: &'a [Update<'a>],
    leaves: Vec<Hash>,
    pages: &'p mut Pages,
    read: ReadPage<'r, E>,
    reach: Reach,
    writer: ChunkWriter<'a>,
    made: Made,
    stale: Vec<Location>,
    replaced: Vec<Location>,
    /// The memory of lists that are done with, for those to come.
    used: Vec<Changes>,
}

impl<'a, E> Walk<'a, '_, '_, E> {
    fn run(&mut self, base: Root) -> Result<Root, Fault<E>> {
        // Keys of 1,024 bytes make paths of thousands of pages possible: the stack is ours.
        let top = self.reach(base.location, 0..self.updates.len())?;
        let mut frames = vec![self.open(top)];
        while let Some(frame) = frames.last() {
            if let Some(Descent { edit, updates, page }) = frame.changes.descents.get(frame.descended) {
                let below = match page {
                    Some(page) => *page,
                    None => {
                        let item = frame.changes.edits[*edit].index;
                        self.reach(Some(self.reach.pages[frame.at].page.location(item)), updates.clone())?
                    }
                };
                frames.push(self.open(below));
                continue;
            }
            let Some(done) = frames.pop() else { break };
            let Some(above) = frames.last_mut() else { return Ok(self.finish_top(done, base)) };
            let Descent { edit, page, .. } = &above.changes.descents[above.descended];
            let (at, is_own_reach) = (done.at, page.is_none());
            let edit = &mut above.changes.edits[*edit];
            let bit = self.reach.pages[above.at].page.shape(edit.index) as usize;
            edit.outcome = self.finish(done, bit);
            above.descended += 1;
            if is_own_reach {
                self.reach.forget(at);
            }
        }
        Ok(base)
    }

    fn reach(&mut self, location: Option<Location>, range: Range<usize>) -> Result<usize, Fault<E>> {
        self.pages.reach(location, range, self.updates, &mut self.reach, &mut *self.read)
    }

    /// Begins with a page: its own rows are changed at once.
    fn open(&mut self, at: usize) -> Frame {
        let page = self.reach.pages[at].page.clone();
        let Changes { mut edits, mut descents } = self.used.pop().unwrap_or_default();
        for place in self.reach.pages[at].places.clone() {
            let (index, is_new, outcome) = match self.reach.places[place] {
                Place::Before { item, ref updates } => {
                    let items = self.new_entries(updates.clone());
                    if items.is_empty() {
                        continue;
                    }
                    (item, true, Outcome::Items(items))
                }
                Place::Row { item, update } => (item, false, self.change_entry(&page, item, update)),
                Place::Below { item, ref updates, page } => {
                    descents.push(Descent { edit: edits.len(), updates: updates.clone(), page });
                    (item, false, Outcome::Unchanged)
                }
            };
            edits.push(Edit { index, is_new, outcome });
        }
        Frame { at, changes: Changes { edits, descents }, descended: 0 }
    }

    fn new_entries(&mut self, range: Range<usize>) -> Vec<Item> {
        let mut items = Vec::new();
        for (update, &hash) in self.updates[range.clone()].iter().zip(&self.leaves[range]) {
            if let Some(value) = update.value {
                let location = self.writer.add(ChunkKind::Value, Slot::Value(value));
                items.push(Item { key: update.key.to_vec(), shape: SHAPE_ENTRY, hash, location });
            }
        }
        items
    }

    fn change_entry(&mut self, page: &Page, index: usize, at: usize) -> Outcome {
        let update = self.updates[at];
        let Some(value) = update.value else {
            self.stale.push(page.location(index));
            return Outcome::Items(Vec::new());
        };
        let hash = self.leaves[at];
        if hash == page.hash(index) {
            return Outcome::Unchanged;
        }
        self.stale.push(page.location(index));
        Outcome::Replaced(Digest::Known(hash), self.writer.add(ChunkKind::Value, Slot::Value(value)))
    }

    /// What becomes of a page below the top. `bit` is the branch bit that the page above knows it by.
    fn finish(&mut self, frame: Frame, bit: usize) -> Outcome {
        match self.finish_page(frame) {
            Finished::Unchanged => Outcome::Unchanged,
            Finished::Replaced(digest, location) => Outcome::Replaced(digest, location),
            Finished::Rebuilt(items, _, true) => Outcome::Items(items),
            Finished::Rebuilt(items, _, false) if items.len() < PAGE_ITEMS_MIN => Outcome::Items(items),
            Finished::Rebuilt(items, bits, false) => {
                let (digest, location) = self.make(&items, &bits);
                let own = least_of(&bits);
                if own == bit {
                    return Outcome::Replaced(digest, location);
                }
                let hash = self.made.hash(digest);
                Outcome::Items(vec![Item { key: stem_of(&items[0].key, own), shape: own as u16, hash, location }])
            }
        }
    }

    fn finish_top(&mut self, frame: Frame, base: Root) -> Root {
        let (digest, location) = match self.finish_page(frame) {
            Finished::Unchanged => return base,
            Finished::Replaced(digest, location) => (digest, location),
            Finished::Rebuilt(items, bits, _) => match items.as_slice() {
                [] => return Root { hash: empty_root(), location: None },
                [only] if only.shape != SHAPE_ENTRY => (Digest::Known(only.hash), only.location),
                _ => self.make(&items, &bits),
            },
        };
        Root { hash: self.made.hash(digest), location: Some(location) }
    }

    fn finish_page(&mut self, Frame { at, changes, .. }: Frame) -> Finished {
        let Reached { page, location, .. } = &self.reach.pages[at];
        let (page, location) = (page.clone(), *location);
        let Changes { mut edits, mut descents } = changes;
        edits.retain(|edit| !matches!(edit.outcome, Outcome::Unchanged));
        let finished = if edits.is_empty() {
            Finished::Unchanged
        } else if edits.iter().all(|edit| matches!(edit.outcome, Outcome::Replaced(..))) {
            self.replace(&page, location, &edits)
        } else {
            self.rebuild(&page, location, &mut edits)
        };
        edits.clear();
        descents.clear();
        self.used.push(Changes { edits, descents });
        finished
    }

    /// A copy of a page, with the hashes and locations of some items replaced.
    fn replace(&mut self, page: &Page, location: Option<Location>, edits: &[Edit]) -> Finished {
        let changed = edits.iter().fold(0, |changed, edit| changed | 1 << edit.index);
        let delta = location.and_then(|location| Delta::after(page, location, changed));
        self.leave(location, page, delta);
        let mut copy = page.copy(delta, &mut self.pages.spare);
        for edit in edits {
            let Outcome::Replaced(digest, location) = edit.outcome else { continue };
            copy.put_location(edit.index, location);
            if let Digest::Known(hash) = digest {
                copy.put_hash(edit.index, &hash);
            }
        }
        let links = edits.iter().filter_map(|edit| match edit.outcome {
            Outcome::Replaced(Digest::Made(page), _) => Some((edit.index, page)),
            _ => None,
        });
        // Where no hash of a node is known, all are to be found.
        let changed = if page.has_nodes() { u32::from(changed) } else { u32::MAX };
        let location = self.place(&copy);
        Finished::Replaced(self.made.add(location, copy, changed, links), location)
    }

    /// The items of a page after its edits, cut into pages if they are too many for one.
    fn rebuild(&mut self, page: &Page, location: Option<Location>, edits: &mut Vec<Edit>) -> Finished {
        self.leave(location, page, None);
        let (items, bits) = splice(page, edits.drain(..), &mut self.made);
        if items.len() <= PAGE_ITEMS_MAX {
            return Finished::Rebuilt(items, bits, false);
        }
        let group = self.cut(items, &bits);
        Finished::Rebuilt(group.items, group.bits, true)
    }

    /// The page is not of this version: what of it the next one, which `delta` is of, does not need is stale.
    fn leave(&mut self, location: Option<Location>, page: &Page, delta: Option<Delta>) {
        let base = delta.map(Delta::base);
        self.replaced.extend(location);
        self.stale.extend(location.filter(|_| base != location));
        self.stale.extend(page.delta().map(Delta::base).filter(|&before| base != Some(before)));
    }

    /// Cuts a list of items into pages wherever more come together than a page holds; what is left fits the page above.
    fn cut(&mut self, items: Vec<Item>, bits: &[usize]) -> Group {
        let mut groups: Vec<Group> = Vec::new();
        let mut between: Vec<usize> = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                let bit = bits[index - 1];
                while between.last().is_some_and(|&last| last > bit) {
                    self.join(&mut groups, &mut between);
                }
                between.push(bit);
            }
            let hash = item.hash;
            groups.push(Group { items: vec![item], bits: Vec::new(), hash });
        }
        while !between.is_empty() {
            self.join(&mut groups, &mut between);
        }
        groups.pop().unwrap_or(Group { items: Vec::new(), bits: Vec::new(), hash: empty_root() })
    }

    fn join(&mut self, groups: &mut Vec<Group>, between: &mut Vec<usize>) {
        let (Some(mut right), Some(mut left), Some(bit)) = (groups.pop(), groups.pop(), between.pop()) else { return };
        let hash = node_hash((bit as u16, &left.hash, &right.hash));
        if left.items.len() + right.items.len() > PAGE_ITEMS_MAX {
            left = self.shrink(left);
            right = self.shrink(right);
        }
        left.items.append(&mut right.items);
        left.bits.push(bit);
        left.bits.append(&mut right.bits);
        groups.push(Group { hash, ..left });
    }

    /// Few items stay open, so that every page but the topmost holds `PAGE_ITEMS_MIN`.
    fn shrink(&mut self, Group { items, bits, hash }: Group) -> Group {
        if items.len() < PAGE_ITEMS_MIN {
            return Group { items, bits, hash };
        }
        let page = Page::of(&items, &bits, &mut self.pages.spare);
        let location = self.place(&page);
        self.made.add_known(location, page, hash);
        let bit = least_of(&bits);
        let link = Item { key: stem_of(&items[0].key, bit), shape: bit as u16, hash, location };
        Group { items: vec![link], bits: Vec::new(), hash }
    }

    /// A page of items: its hash and where it goes.
    fn make(&mut self, items: &[Item], bits: &[usize]) -> (Digest, Location) {
        let page = Page::of(items, bits, &mut self.pages.spare);
        let location = self.place(&page);
        (self.made.add(location, page, u32::MAX, std::iter::empty()), location)
    }

    /// Where the next page that is made goes.
    fn place(&mut self, page: &Page) -> Location {
        let kind = match page.delta() {
            Some(_) => ChunkKind::Delta,
            None if page.is_lowest() => ChunkKind::Lowest,
            None => ChunkKind::Higher,
        };
        self.writer.add(kind, Slot::Page { at: self.made.pages().len(), size: page.stored_size() })
    }
}

/// The branch bit of a page.
fn least_of(bits: &[usize]) -> usize {
    bits.iter().copied().min().unwrap_or(0)
}

/// The items of a page after its edits, and their branch bits.
fn splice(page: &Page, edits: impl Iterator<Item = Edit>, made: &mut Made) -> (Vec<Item>, Vec<usize>) {
    let mut spliced = Spliced { page, items: Vec::new(), bits: Vec::new(), previous: None };
    let mut at = 0;
    for Edit { index, is_new, outcome } in edits {
        while at < index {
            spliced.push(page.item(at), Some(at));
            at += 1;
        }
        match outcome {
            Outcome::Items(items) => items.into_iter().for_each(|item| spliced.push(item, None)),
            Outcome::Replaced(digest, location) => {
                spliced.push(Item { hash: made.hash(digest), location, ..page.item(index) }, Some(index));
            }
            Outcome::Unchanged => {}
        }
        if !is_new {
            at = index + 1;
        }
    }
    while at < page.count() {
        spliced.push(page.item(at), Some(at));
        at += 1;
    }
    (spliced.items, spliced.bits)
}

struct Spliced<'p> {
    page: &'p Page,
    items: Vec<Item>,
    bits: Vec<usize>,
    /// The index of the last item on the page, if that is where it came from: then the bit after it is known.
    previous: Option<usize>,
}

impl Spliced<'_> {
    fn push(&mut self, item: Item, index: Option<usize>) {
        if let Some(last) = self.items.last() {
            let bit = match (self.previous, index) {
                (Some(previous), Some(index)) if index == previous + 1 => self.page.bit(previous),
                // Items of one page are of disjoint parts of the tree: they part somewhere.
                _ => branch_bit(&last.key, &item.key).unwrap_or(0),
            };
            self.bits.push(bit);
        }
        self.items.push(item);
        self.previous = index;
    }
}
