//! Pages: the pieces that the trie is cut into for storage. `chain/state/page.ts` says what their bytes are.

use std::rc::Rc;

use super::block::Spare;
use super::delta::Delta;
use super::hashing::{BRANCH_BIT_MAX, KEY_SIZE_MAX, branch_bit, stem_mask, stem_size};
use super::{HASH_SIZE, LOCATION_SIZE, Location};
use crate::Hash;

/// As in `page.ts`.
pub(super) const PAGE_ITEMS_MAX: usize = 16;
pub(super) const PAGE_ITEMS_MIN: usize = 4;
pub(super) const SHAPE_ENTRY: u16 = 0xffff;
pub(super) const HEADER_SIZE: usize = 4;
const ITEM_SIZE: usize = HASH_SIZE + LOCATION_SIZE + 2 + 2 + 2;

/// What a page takes beyond its block: its counts, its places in the map and in the clock, and its share of the holes
/// between blocks.
const PAGE_OVERHEAD: usize = 220;

/// Of a page's block: see `Page`.
const SIZE_AT: usize = 8;
const IS_LOWEST_AT: usize = 10;
const HAS_NODES_AT: usize = 11;
const KNOWN_SIZE: usize = 12;

/// A row, or a link to a subtree of two or more on a page of its own.
#[derive(Clone)]
pub(super) struct Item {
    /// A row's key, or the stem of a link.
    pub(super) key: Vec<u8>,
    /// `SHAPE_ENTRY`, or a link's branch bit.
    pub(super) shape: u16,
    pub(super) hash: Hash,
    pub(super) location: Location,
}

/// What takes the place of an item whose key stays: its index, its hash and its location.
pub(super) type Replacement = (usize, Hash, Location);

pub(super) enum Found {
    At(usize),
    Before(usize),
}

/// A page, in one block of memory, which clones share: what is known of it, its bytes as a page that is stored whole has
/// them, and of a higher one room for the hashes of the nodes inside it.
///
/// ```text
/// u64 delta, or 0 ‖ u16 size of the bytes ‖ u8 is lowest ‖ u8 has nodes ‖ bytes ‖ nodes, by the index of their branch bit
/// ```
#[derive(Clone)]
pub struct Page(Rc<[u8]>);

impl Page {
    /// Room for a page, all bytes of which `fill` writes.
    fn new(layout: Layout, spare: &mut Spare, fill: impl FnOnce(&mut [u8])) -> Self {
        let Layout { count, prefix_size, suffixes_size, is_lowest } = layout;
        let size = prefix_at(count) + prefix_size + suffixes_size;
        let nodes_size = if is_lowest { 0 } else { (count - 1) * HASH_SIZE };
        let mut page = Self(spare.take(KNOWN_SIZE + size + nodes_size));
        let block = page.block_mut();
        block[..KNOWN_SIZE].fill(0);
        // Sixteen keys of 1,024 bytes make less than 2^16.
        block[SIZE_AT..SIZE_AT + 2].copy_from_slice(&(size as u16).to_ne_bytes());
        block[IS_LOWEST_AT] = u8::from(is_lowest);
        fill(&mut block[KNOWN_SIZE..KNOWN_SIZE + size]);
        page
    }

    /// A page of no items: what an empty tree is changed from.
    pub(super) fn empty() -> Self {
        Self::of(&[], &[], &mut Spare::default())
    }

    pub(super) fn of(items: &[Item], bits: &[usize], spare: &mut Spare) -> Self {
        let prefix_size = bits.iter().min().map_or(0, |bit| bit / 9);
        let suffixes_size: usize = items.iter().map(|item| item.key.len() - prefix_size).sum();
        let count = items.len();
        let is_lowest = items.iter().all(|item| item.shape == SHAPE_ENTRY);
        Self::new(Layout { count, prefix_size, suffixes_size, is_lowest }, spare, |bytes| {
            let prefix_at = prefix_at(count);
            put_u16(bytes, 0, count);
            put_u16(bytes, 2, prefix_size);
            let mut end = 0;
            for (index, item) in items.iter().enumerate() {
                bytes[hash_at(index)..hash_at(index) + HASH_SIZE].copy_from_slice(&item.hash);
                put_location(bytes, location_at(count, index), item.location);
                put_u16(bytes, shape_at(count, index), item.shape as usize);
                if index > 0 {
                    put_u16(bytes, bit_at(count, index - 1), bits[index - 1]);
                }
                let suffix = &item.key[prefix_size..];
                let from = prefix_at + prefix_size + end;
                bytes[from..from + suffix.len()].copy_from_slice(suffix);
                end += suffix.len();
                put_u16(bytes, end_at(count, index), end);
            }
            if let Some(first) = items.first() {
                bytes[prefix_at..prefix_at + prefix_size].copy_from_slice(&first.key[..prefix_size]);
            }
        })
    }

    /// Reads a page from a disk, strictly: `None` when `of` would not have made it.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if !is_page(bytes) {
            return None;
        }
        let (count, prefix_size) = (u16_at(bytes, 0) as usize, u16_at(bytes, 2) as usize);
        let suffixes_size = bytes.len() - prefix_at(count) - prefix_size;
        let is_lowest = (0..count).all(|index| u16_at(bytes, shape_at(count, index)) == SHAPE_ENTRY);
        let layout = Layout { count, prefix_size, suffixes_size, is_lowest };
        Some(Self::new(layout, &mut Spare::default(), |into| into.copy_from_slice(bytes)))
    }

    /// The page that differs from this one, its base, by what a delta says; `None` where it has no such items.
    pub(super) fn patched(mut self, base: Location, changes: &[Replacement]) -> Option<Self> {
        if changes.iter().any(|&(index, ..)| index >= self.count()) {
            return None;
        }
        let changed = self.patch(changes);
        self.set_delta(Delta::new(base, changed));
        Some(self)
    }

    /// How it is stored; `None`: whole.
    pub(super) fn delta(&self) -> Option<Delta> {
        self.0.first_chunk().and_then(|known| Delta::of_bits(u64::from_ne_bytes(*known)))
    }

    fn set_delta(&mut self, delta: Option<Delta>) {
        self.block_mut()[..8].copy_from_slice(&delta.map_or(0, Delta::bits).to_ne_bytes());
    }

    /// As a page that is stored whole.
    pub fn bytes(&self) -> &[u8] {
        &self.places()[..self.bytes_size()]
    }

    /// Bytes that it takes in a chunk.
    pub(super) fn stored_size(&self) -> usize {
        self.delta().map_or(self.bytes_size(), Delta::size)
    }

    /// Appends it as it is stored.
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        match self.delta() {
            None => into.extend_from_slice(self.bytes()),
            Some(delta) => delta.write(self, into),
        }
    }

    #[inline]
    fn bytes_size(&self) -> usize {
        u16::from_ne_bytes([self.0[SIZE_AT], self.0[SIZE_AT + 1]]) as usize
    }

    /// All of its memory.
    pub(super) fn block(&self) -> &[u8] {
        &self.0
    }

    /// Its bytes and what is behind them.
    #[inline]
    fn places(&self) -> &[u8] {
        &self.0[KNOWN_SIZE..]
    }

    /// The memory of a page that is not shared. One that is becomes another, which costs a copy.
    #[inline]
    fn block_mut(&mut self) -> &mut [u8] {
        Rc::make_mut(&mut self.0)
    }

    /// The memory that it takes.
    pub(super) fn size(&self) -> usize {
        self.0.len() + PAGE_OVERHEAD
    }

    /// Its memory, which pages to come may have if nobody else holds it.
    pub(super) fn into_block(self) -> Rc<[u8]> {
        self.0
    }

    #[inline]
    pub(super) fn is_lowest(&self) -> bool {
        self.0[IS_LOWEST_AT] == 1
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        u16_at(self.places(), 0) as usize
    }

    #[inline]
    fn prefix_size(&self) -> usize {
        u16_at(self.places(), 2) as usize
    }

    #[inline]
    pub(super) fn hash(&self, index: usize) -> &[u8] {
        &self.places()[hash_at(index)..hash_at(index) + HASH_SIZE]
    }

    #[inline]
    pub(super) fn location(&self, index: usize) -> Location {
        read_location(self.places(), location_at(self.count(), index))
    }

    #[inline]
    pub(super) fn shape(&self, index: usize) -> u16 {
        u16_at(self.places(), shape_at(self.count(), index))
    }

    #[inline]
    pub(super) fn is_entry(&self, index: usize) -> bool {
        self.shape(index) == SHAPE_ENTRY
    }

    #[inline]
    pub(super) fn bit(&self, index: usize) -> usize {
        u16_at(self.places(), bit_at(self.count(), index)) as usize
    }

    fn prefix(&self) -> &[u8] {
        let at = prefix_at(self.count());
        &self.places()[at..at + self.prefix_size()]
    }

    fn suffix(&self, index: usize) -> &[u8] {
        let count = self.count();
        let from = if index == 0 { 0 } else { u16_at(self.places(), end_at(count, index - 1)) as usize };
        let to = u16_at(self.places(), end_at(count, index)) as usize;
        let at = prefix_at(count) + self.prefix_size();
        &self.places()[at + from..at + to]
    }

    pub(super) fn item(&self, index: usize) -> Item {
        Item {
            key: [self.prefix(), self.suffix(index)].concat(),
            shape: self.shape(index),
            hash: to_hash(self.hash(index)),
            location: self.location(index),
        }
    }

    /// Where `key` lies in terms of the prefix: a key that ends early comes before what extends it.
    fn compare_prefix(&self, key: &[u8]) -> std::cmp::Ordering {
        let prefix = self.prefix();
        let shared = prefix.len().min(key.len());
        match key[..shared].cmp(&prefix[..shared]) {
            std::cmp::Ordering::Equal if key.len() < prefix.len() => std::cmp::Ordering::Less,
            order => order,
        }
    }

    /// Where `key`, which has the prefix, lies in terms of item `index`: `Equal` when it belongs to it.
    fn compare_suffix(&self, index: usize, key: &[u8]) -> std::cmp::Ordering {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let suffix = self.suffix(index);
        let rest = &key[self.prefix_size()..];
        let shape = self.shape(index);
        let whole = if shape == SHAPE_ENTRY { suffix.len() } else { suffix.len().saturating_sub(1) };
        let shared = whole.min(rest.len());
        match rest[..shared].cmp(&suffix[..shared]) {
            Equal => {}
            order => return order,
        }
        if rest.len() < suffix.len() {
            return Less;
        }
        if shape == SHAPE_ENTRY {
            return if rest.len() > suffix.len() { Greater } else { Equal };
        }
        match suffix.last() {
            None => Equal,
            Some(last) => (rest[whole] & stem_mask(shape as usize)).cmp(last),
        }
    }

    pub(super) fn compare(&self, index: usize, key: &[u8]) -> std::cmp::Ordering {
        match self.compare_prefix(key) {
            std::cmp::Ordering::Equal => self.compare_suffix(index, key),
            order => order,
        }
    }

    /// The item from `first` on that `key` belongs to, or the one that it comes before.
    pub(super) fn find(&self, key: &[u8], first: usize) -> Found {
        if self.count() == 0 {
            return Found::Before(0);
        }
        match self.compare_prefix(key) {
            std::cmp::Ordering::Less => return Found::Before(first),
            std::cmp::Ordering::Greater => return Found::Before(self.count()),
            std::cmp::Ordering::Equal => {}
        }
        let (mut low, mut high) = (first, self.count());
        while low < high {
            let middle = (low + high) / 2;
            match self.compare_suffix(middle, key) {
                std::cmp::Ordering::Equal => return Found::At(middle),
                std::cmp::Ordering::Less => high = middle,
                std::cmp::Ordering::Greater => low = middle + 1,
            }
        }
        Found::Before(low)
    }

    /// A copy in memory of its own. `delta`: how it is to be stored.
    pub(super) fn copy(&self, delta: Option<Delta>, spare: &mut Spare) -> Self {
        let mut page = Self(spare.take(self.0.len()));
        page.block_mut().copy_from_slice(&self.0);
        page.set_delta(delta);
        page
    }

    /// Replaces hashes and locations, and says of which items: a bit each.
    fn patch(&mut self, changes: &[Replacement]) -> u16 {
        let mut changed = 0;
        for &(index, hash, location) in changes {
            self.put_hash(index, &hash);
            self.put_location(index, location);
            changed |= 1 << index;
        }
        changed
    }

    #[inline]
    pub(super) fn put_hash(&mut self, index: usize, hash: &Hash) {
        let at = KNOWN_SIZE + hash_at(index);
        self.block_mut()[at..at + HASH_SIZE].copy_from_slice(hash);
    }

    pub(super) fn put_location(&mut self, index: usize, location: Location) {
        let at = KNOWN_SIZE + location_at(self.count(), index);
        put_location(self.block_mut(), at, location);
    }

    /// Whether it has the hashes of its nodes; a lowest page never does.
    #[inline]
    pub(super) fn has_nodes(&self) -> bool {
        self.0[HAS_NODES_AT] == 1
    }

    /// Says that it has the hashes of all its nodes, if it has room for them.
    pub(super) fn set_has_nodes(&mut self) {
        let has_nodes = u8::from(!self.is_lowest());
        self.block_mut()[HAS_NODES_AT] = has_nodes;
    }

    /// The hash of the node at a branch bit, by the index of that; the page has nodes.
    #[inline]
    pub(super) fn node(&self, index: usize) -> &[u8] {
        let at = self.node_at(index);
        &self.0[at..at + HASH_SIZE]
    }

    /// Notes the hash of a node, if there is room for it.
    #[inline]
    pub(super) fn put_node(&mut self, index: usize, hash: &Hash) {
        if !self.is_lowest() {
            let at = self.node_at(index);
            self.block_mut()[at..at + HASH_SIZE].copy_from_slice(hash);
        }
    }

    /// Where in the block the hash of a node is.
    #[inline]
    fn node_at(&self, index: usize) -> usize {
        KNOWN_SIZE + self.bytes_size() + index * HASH_SIZE
    }
}

/// How large a page is, and what for.
struct Layout {
    count: usize,
    prefix_size: usize,
    suffixes_size: usize,
    is_lowest: bool,
}

fn to_hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; HASH_SIZE];
    hash.copy_from_slice(bytes);
    hash
}

fn prefix_at(count: usize) -> usize {
    HEADER_SIZE + count * ITEM_SIZE - if count == 0 { 0 } else { 2 }
}

fn hash_at(index: usize) -> usize {
    HEADER_SIZE + index * HASH_SIZE
}

fn location_at(count: usize, index: usize) -> usize {
    HEADER_SIZE + count * HASH_SIZE + index * LOCATION_SIZE
}

pub(super) fn shape_at(count: usize, index: usize) -> usize {
    HEADER_SIZE + count * (HASH_SIZE + LOCATION_SIZE) + index * 2
}

fn end_at(count: usize, index: usize) -> usize {
    HEADER_SIZE + count * (HASH_SIZE + LOCATION_SIZE + 2) + index * 2
}

fn bit_at(count: usize, index: usize) -> usize {
    HEADER_SIZE + count * (HASH_SIZE + LOCATION_SIZE + 4) + index * 2
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn put_u16(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
}

pub(super) fn read_location(bytes: &[u8], at: usize) -> Location {
    bytes[at..at + LOCATION_SIZE].iter().fold(0, |value, &byte| value << 8 | Location::from(byte))
}

pub(super) fn put_location(bytes: &mut [u8], at: usize, location: Location) {
    bytes[at..at + LOCATION_SIZE].copy_from_slice(&location.to_be_bytes()[8 - LOCATION_SIZE..]);
}

/// Whether bytes are a page as `Page::of` would write it.
fn is_page(bytes: &[u8]) -> bool {
    if bytes.len() < HEADER_SIZE {
        return false;
    }
    let (count, prefix_size) = (u16_at(bytes, 0) as usize, u16_at(bytes, 2) as usize);
    if count == 0 || count > PAGE_ITEMS_MAX {
        return false;
    }
    let prefix_at = prefix_at(count);
    if prefix_at + prefix_size > bytes.len() {
        return false;
    }
    let mut end = 0;
    for index in 0..count {
        let next = u16_at(bytes, end_at(count, index)) as usize;
        if next < end || !is_key_size(u16_at(bytes, shape_at(count, index)), prefix_size + next - end) {
            return false;
        }
        end = next;
    }
    prefix_at + prefix_size + end == bytes.len() && is_ordered(bytes, count, prefix_size)
}

fn is_key_size(shape: u16, size: usize) -> bool {
    if shape == SHAPE_ENTRY {
        return size > 0 && size <= KEY_SIZE_MAX;
    }
    shape as usize <= BRANCH_BIT_MAX && size == stem_size(shape as usize)
}

/// The second half of `is_page`: are the suffixes stems, in order, and apart where the branch bits say?
fn is_ordered(bytes: &[u8], count: usize, prefix_size: usize) -> bool {
    let at = HEADER_SIZE + count * ITEM_SIZE - 2 + prefix_size;
    let ends = |index: usize| at + u16_at(bytes, end_at(count, index)) as usize;
    let suffix = |index: usize| &bytes[if index == 0 { at } else { ends(index - 1) }..ends(index)];
    let mut least = BRANCH_BIT_MAX + 1;
    for index in 0..count {
        let shape = u16_at(bytes, shape_at(count, index));
        if shape != SHAPE_ENTRY && suffix(index).last().is_some_and(|last| last & !stem_mask(shape as usize) != 0) {
            return false;
        }
        if index == 0 {
            continue;
        }
        let (before, after) = (suffix(index - 1), suffix(index));
        let bit = match branch_bit(before, after) {
            Some(bit) if before < after => bit,
            _ => return false,
        };
        let whole = bit + 9 * prefix_size;
        if whole != u16_at(bytes, bit_at(count, index - 1)) as usize {
            return false;
        }
        // A link's stem ends at its own bit: what follows must part from it before. (Entries have the greatest shape.)
        let shape_before = u16_at(bytes, shape_at(count, index - 1));
        if whole >= shape.min(shape_before) as usize {
            return false;
        }
        least = least.min(bit);
    }
    if count == 1 { prefix_size == 0 } else { least < 9 }
}
