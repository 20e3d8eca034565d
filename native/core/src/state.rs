//! The state tree's pages in memory, and the next version made from them: the twin of `chain/state/update.ts`,
//! `page.ts`, `chunk.ts` and `cache.ts`, which say what all of it is for.
//!
//! Both give the same root, and the same chunks byte for byte. Here a page is bytes of its own behind a counted
//! reference, and room is made by a clock: what was used since it was last passed by stays.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use crate::Hash;

/// The domain tags of `crypto/hash/domain.ts`.
const TAG_LEAF: u8 = 0x10;
const TAG_NODE: u8 = 0x11;
const TAG_VALUE: u8 = 0x12;
const TAG_EMPTY: u8 = 0x13;

/// As in `page.ts`.
const PAGE_ITEMS_MAX: usize = 16;
const PAGE_ITEMS_MIN: usize = 4;
const HEADER_SIZE: usize = 4;
const HASH_SIZE: usize = 32;
const LOCATION_SIZE: usize = 6;
const ITEM_SIZE: usize = HASH_SIZE + LOCATION_SIZE + 2 + 2 + 2;
const SHAPE_ENTRY: u16 = 0xffff;

/// As in `bits.ts`.
const KEY_SIZE_MAX: usize = 1024;
const BRANCH_BIT_MAX: usize = 9 * KEY_SIZE_MAX - 1;

/// As in `chunk.ts` and `layout.ts`.
const CHUNK_SIZE: usize = 4096;
const SLOTS_MAX: u64 = 256;

/// What a page takes beyond its bytes: its struct, two allocations, and its places in the map and in the clock.
const PAGE_OVERHEAD: usize = 240;

/// Where a page or a value is: chunk number times 256, plus the slot in the chunk. Below 2^48.
pub type Location = u64;

/// A row to write, or to delete when there is no value. A list of them is sorted by key, each key once.
#[derive(Clone, Copy)]
pub struct Update<'a> {
    /// 1 to 1,024 bytes.
    pub key: &'a [u8],
    /// What to write.
    pub value: Option<&'a [u8]>,
}

/// Where a version's tree is. An empty one is nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// The root hash.
    pub hash: Hash,
    /// The topmost page.
    pub location: Option<Location>,
}

/// Why a version could not be made, or a page not be had.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault<E> {
    /// The reader's own.
    Read(E),
    /// What was read is no page.
    Page(Location),
    /// A key of no byte or of too many, keys out of order, or more bytes than a version may have.
    Input,
}

/// Gives the bytes of a page that is not in memory.
pub type ReadPage<'r, E> = &'r mut dyn FnMut(Location) -> Result<Vec<u8>, E>;

/// A version that is computed and not yet committed.
pub struct Change {
    /// Its root.
    pub root: Root,
    /// The first chunk number that is free after it.
    pub next_chunk: u64,
    /// The new chunks, end to end.
    pub chunks: Vec<u8>,
    /// Their numbers.
    pub chunk_numbers: Vec<u64>,
    /// Where each ends in `chunks`.
    pub chunk_ends: Vec<u32>,
    /// What it no longer reaches.
    pub stale: Vec<Location>,
    /// Its own pages.
    pub fresh: Vec<(Location, Rc<Page>)>,
}

// Hashes.

fn node_hash(bit: usize, left: &[u8], right: &[u8]) -> Hash {
    let mut bytes = [0; 3 + 2 * HASH_SIZE];
    bytes[0] = TAG_NODE;
    bytes[1..3].copy_from_slice(&(bit as u16).to_be_bytes());
    bytes[3..3 + HASH_SIZE].copy_from_slice(left);
    bytes[3 + HASH_SIZE..].copy_from_slice(right);
    blake3::hash(&bytes).into()
}

fn value_hash(value: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[TAG_VALUE]).update(value);
    hasher.finalize().into()
}

fn leaf_hash(key: &[u8], value: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[TAG_LEAF]).update(&(key.len() as u16).to_be_bytes()).update(key).update(&value_hash(value));
    hasher.finalize().into()
}

/// The root of no rows at all.
pub fn empty_root() -> Hash {
    blake3::hash(&[TAG_EMPTY]).into()
}

// Bits of keys.

/// The first bit in which two different keys (or stems) differ; `None` when they are equal.
fn branch_bit(a: &[u8], b: &[u8]) -> Option<usize> {
    let shared = a.len().min(b.len());
    if let Some(at) = (0..shared).find(|&at| a[at] != b[at]) {
        return Some(9 * at + 1 + (a[at] ^ b[at]).leading_zeros() as usize);
    }
    if a.len() == b.len() { None } else { Some(9 * shared) }
}

fn stem_size(bit: usize) -> usize {
    bit.div_ceil(9)
}

fn stem_mask(bit: usize) -> u8 {
    match bit % 9 {
        0 => 0xff,
        within => (0xff00_u16 >> (within - 1)) as u8,
    }
}

fn stem_of(key: &[u8], bit: usize) -> Vec<u8> {
    let mut stem = key[..stem_size(bit).min(key.len())].to_vec();
    if let Some(last) = stem.last_mut() {
        *last &= stem_mask(bit);
    }
    stem
}

// Pages.

/// A row, or a link to a subtree of two or more on a page of its own.
#[derive(Clone)]
struct Item {
    /// A row's key, or the stem of a link.
    key: Vec<u8>,
    /// `SHAPE_ENTRY`, or a link's branch bit.
    shape: u16,
    hash: Hash,
    location: Location,
}

enum Found {
    At(usize),
    Before(usize),
}

/// A page: its bytes as they are stored, and of a higher one the hashes of the nodes inside it once they were needed.
pub struct Page {
    bytes: Vec<u8>,
    /// By the index of a node's branch bit.
    nodes: Vec<Hash>,
    is_lowest: bool,
    count: usize,
    prefix_size: usize,
    prefix_at: usize,
}

impl Page {
    fn new(bytes: Vec<u8>) -> Self {
        let count = u16_at(&bytes, 0) as usize;
        let prefix_size = u16_at(&bytes, 2) as usize;
        let prefix_at = HEADER_SIZE + count * ITEM_SIZE - if count == 0 { 0 } else { 2 };
        let mut page = Self { bytes, nodes: Vec::new(), is_lowest: true, count, prefix_size, prefix_at };
        page.is_lowest = (0..count).all(|index| page.is_entry(index));
        page
    }

    /// A page of no items: what an empty tree is changed from.
    fn empty() -> Self {
        Self::new(vec![0; HEADER_SIZE])
    }

    fn of(items: &[Item], bits: &[usize]) -> Self {
        let prefix_size = bits.iter().min().map_or(0, |bit| bit / 9);
        let suffixes: usize = items.iter().map(|item| item.key.len() - prefix_size).sum();
        let count = items.len();
        let prefix_at = HEADER_SIZE + count * ITEM_SIZE - if count == 0 { 0 } else { 2 };
        let mut bytes = vec![0; prefix_at + prefix_size + suffixes];
        put_u16(&mut bytes, 0, count);
        put_u16(&mut bytes, 2, prefix_size);
        let mut end = 0;
        for (index, item) in items.iter().enumerate() {
            bytes[hash_at(index)..hash_at(index) + HASH_SIZE].copy_from_slice(&item.hash);
            put_location(&mut bytes, location_at(count, index), item.location);
            put_u16(&mut bytes, shape_at(count, index), item.shape as usize);
            if index > 0 {
                put_u16(&mut bytes, bit_at(count, index - 1), bits[index - 1]);
            }
            let suffix = &item.key[prefix_size..];
            let from = prefix_at + prefix_size + end;
            bytes[from..from + suffix.len()].copy_from_slice(suffix);
            end += suffix.len();
            put_u16(&mut bytes, end_at(count, index), end);
        }
        if let Some(first) = items.first() {
            bytes[prefix_at..prefix_at + prefix_size].copy_from_slice(&first.key[..prefix_size]);
        }
        Self::new(bytes)
    }

    /// Reads a page from a disk, strictly: `None` when `of` would not have made it.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        is_page(&bytes).then(|| Self::new(bytes))
    }

    /// As it is stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn size(&self) -> usize {
        let nodes = if self.is_lowest { 0 } else { (self.count - 1) * HASH_SIZE };
        self.bytes.len() + nodes + PAGE_OVERHEAD
    }

    fn hash(&self, index: usize) -> &[u8] {
        &self.bytes[hash_at(index)..hash_at(index) + HASH_SIZE]
    }

    fn location(&self, index: usize) -> Location {
        read_location(&self.bytes, location_at(self.count, index))
    }

    fn shape(&self, index: usize) -> u16 {
        u16_at(&self.bytes, shape_at(self.count, index))
    }

    fn is_entry(&self, index: usize) -> bool {
        self.shape(index) == SHAPE_ENTRY
    }

    fn bit(&self, index: usize) -> usize {
        u16_at(&self.bytes, bit_at(self.count, index)) as usize
    }

    fn prefix(&self) -> &[u8] {
        &self.bytes[self.prefix_at..self.prefix_at + self.prefix_size]
    }

    fn suffix(&self, index: usize) -> &[u8] {
        let from = if index == 0 { 0 } else { u16_at(&self.bytes, end_at(self.count, index - 1)) as usize };
        let to = u16_at(&self.bytes, end_at(self.count, index)) as usize;
        let at = self.prefix_at + self.prefix_size;
        &self.bytes[at + from..at + to]
    }

    fn item(&self, index: usize) -> Item {
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
        let rest = &key[self.prefix_size..];
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

    fn compare(&self, index: usize, key: &[u8]) -> std::cmp::Ordering {
        match self.compare_prefix(key) {
            std::cmp::Ordering::Equal => self.compare_suffix(index, key),
            order => order,
        }
    }

    /// The item from `first` on that `key` belongs to, or the one that it comes before.
    fn find(&self, key: &[u8], first: usize) -> Found {
        if self.count == 0 {
            return Found::Before(0);
        }
        match self.compare_prefix(key) {
            std::cmp::Ordering::Less => return Found::Before(first),
            std::cmp::Ordering::Greater => return Found::Before(self.count),
            std::cmp::Ordering::Equal => {}
        }
        let (mut low, mut high) = (first, self.count);
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

    /// The hash of the page's subtree; it has one item or more.
    fn root_hash(&self) -> Hash {
        let mut hashes: [Hash; PAGE_ITEMS_MAX] = [[0; HASH_SIZE]; PAGE_ITEMS_MAX];
        let mut bits = [0; PAGE_ITEMS_MAX];
        let mut top = 0;
        hashes[0] = to_hash(self.hash(0));
        for index in 1..self.count {
            let bit = self.bit(index - 1);
            while top > 0 && bits[top - 1] > bit {
                hashes[top - 1] = node_hash(bits[top - 1], &hashes[top - 1], &hashes[top]);
                top -= 1;
            }
            bits[top] = bit;
            top += 1;
            hashes[top] = to_hash(self.hash(index));
        }
        while top > 0 {
            hashes[top - 1] = node_hash(bits[top - 1], &hashes[top - 1], &hashes[top]);
            top -= 1;
        }
        hashes[0]
    }

    /// A copy with the hashes and locations of some items replaced, and its root hash.
    fn replace(&self, changes: &[(usize, Hash, Location)]) -> (Self, Hash) {
        let mut page = Self {
            bytes: self.bytes.clone(),
            nodes: self.nodes.clone(),
            is_lowest: self.is_lowest,
            count: self.count,
            prefix_size: self.prefix_size,
            prefix_at: self.prefix_at,
        };
        let mut changed: u32 = 0;
        for &(index, hash, location) in changes {
            page.bytes[hash_at(index)..hash_at(index) + HASH_SIZE].copy_from_slice(&hash);
            put_location(&mut page.bytes, location_at(self.count, index), location);
            changed |= 1 << index;
        }
        if page.is_lowest {
            let hash = page.root_hash();
            return (page, hash);
        }
        if page.nodes.is_empty() {
            changed = u32::MAX;
            page.nodes = vec![[0; HASH_SIZE]; page.count - 1];
        }
        let hash = page.rehash(0, page.count, changed);
        (page, hash)
    }

    /// The hash of items `low` to `high - 1`; nodes above none of `changed` (a bit an item) are known already.
    fn rehash(&mut self, low: usize, high: usize, changed: u32) -> Hash {
        if high - low == 1 {
            return to_hash(self.hash(low));
        }
        let mut least = low;
        for index in low + 1..high - 1 {
            if self.bit(index) < self.bit(least) {
                least = index;
            }
        }
        if (changed >> low) & ((1 << (high - low)) - 1) == 0 {
            return self.nodes[least];
        }
        let (left, right) = (self.rehash(low, least + 1, changed), self.rehash(least + 1, high, changed));
        let hash = node_hash(self.bit(least), &left, &right);
        self.nodes[least] = hash;
        hash
    }
}

fn to_hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; HASH_SIZE];
    hash.copy_from_slice(bytes);
    hash
}

fn hash_at(index: usize) -> usize {
    HEADER_SIZE + index * HASH_SIZE
}

fn location_at(count: usize, index: usize) -> usize {
    HEADER_SIZE + count * HASH_SIZE + index * LOCATION_SIZE
}

fn shape_at(count: usize, index: usize) -> usize {
    HEADER_SIZE + count * (HASH_SIZE + LOCATION_SIZE) + index * 2
}

fn end_at(count: usize, index: usize) -> usize {
    HEADER_SIZE + count * (HASH_SIZE + LOCATION_SIZE + 2) + index * 2
}

fn bit_at(count: usize, index: usize) -> usize {
    HEADER_SIZE + count * (HASH_SIZE + LOCATION_SIZE + 4) + index * 2
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn put_u16(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
}

fn read_location(bytes: &[u8], at: usize) -> Location {
    bytes[at..at + LOCATION_SIZE].iter().fold(0, |value, &byte| value << 8 | Location::from(byte))
}

fn put_location(bytes: &mut [u8], at: usize, location: Location) {
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
    let prefix_at = HEADER_SIZE + count * ITEM_SIZE - 2;
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

// Chunks.

#[derive(Clone, Copy, PartialEq, Eq)]
enum ChunkKind {
    Value,
    Lowest,
    Higher,
}

enum Slot<'a> {
    Value(&'a [u8]),
    Page(Rc<Page>),
}

impl Slot<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Value(bytes) => bytes,
            Self::Page(page) => &page.bytes,
        }
    }
}

struct OpenChunk<'a> {
    kind: ChunkKind,
    number: u64,
    slots: Vec<Slot<'a>>,
    size: usize,
}

/// Collects what one version writes and cuts it into chunks.
struct ChunkWriter<'a> {
    next: u64,
    open: Vec<OpenChunk<'a>>,
    closed: Vec<OpenChunk<'a>>,
}

impl<'a> ChunkWriter<'a> {
    fn add(&mut self, kind: ChunkKind, slot: Slot<'a>) -> Location {
        let size = slot.bytes().len();
        // What would fill a chunk alone gets one alone, so that small neighbours do not keep it alive.
        if size >= CHUNK_SIZE / 2 {
            let number = self.take();
            self.closed.push(OpenChunk { kind, number, slots: vec![slot], size });
            return number * SLOTS_MAX;
        }
        let at = match self.open.iter().position(|open| open.kind == kind) {
            Some(at) => at,
            None => {
                let number = self.take();
                self.open.push(OpenChunk { kind, number, slots: Vec::new(), size: 0 });
                self.open.len() - 1
            }
        };
        let open = &mut self.open[at];
        let location = open.number * SLOTS_MAX + open.slots.len() as u64;
        open.slots.push(slot);
        open.size += size;
        if open.size >= CHUNK_SIZE || open.slots.len() as u64 == SLOTS_MAX {
            let full = self.open.remove(at);
            self.closed.push(full);
        }
        location
    }

    fn take(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Closes all chunks: their bytes end to end, their numbers, and where each ends.
    fn finish(&mut self) -> Option<(Vec<u8>, Vec<u64>, Vec<u32>)> {
        self.closed.append(&mut self.open);
        let size: usize = self.closed.iter().map(|chunk| 2 + chunk.slots.len() * 4 + chunk.size).sum();
        u32::try_from(size).ok()?;
        let mut bytes = Vec::with_capacity(size);
        let mut ends = Vec::with_capacity(self.closed.len());
        for chunk in &self.closed {
            bytes.extend_from_slice(&(chunk.slots.len() as u16).to_be_bytes());
            let mut end = 2 + chunk.slots.len() * 4;
            for slot in &chunk.slots {
                end += slot.bytes().len();
                bytes.extend_from_slice(&(end as u32).to_be_bytes());
            }
            for slot in &chunk.slots {
                bytes.extend_from_slice(slot.bytes());
            }
            ends.push(bytes.len() as u32);
        }
        Some((bytes, self.closed.iter().map(|chunk| chunk.number).collect(), ends))
    }
}

// Memory.

/// Locations are our own numbers, one after another: spreading them over a table needs no more than this.
#[derive(Default)]
pub struct LocationHasher(u64);

impl Hasher for LocationHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // Fibonacci hashing, Knuth, volume 3, 6.4.
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

struct Kept {
    page: Rc<Page>,
    is_used: bool,
}

/// The pages of one tree that are in memory, within a bound in bytes.
pub struct Pages {
    slots: HashMap<Location, Kept, BuildHasherDefault<LocationHasher>>,
    /// Whose turn it is to go, first to last; some are gone already.
    clock: VecDeque<Location>,
    size: usize,
    size_max: usize,
}

impl Pages {
    /// None, and room for `size_max` bytes of them.
    pub fn new(size_max: usize) -> Self {
        Self { slots: HashMap::default(), clock: VecDeque::new(), size: 0, size_max }
    }

    /// Bytes that they take.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::new(self.size_max);
    }

    /// The page at a location, from memory or else from the reader.
    pub fn get<E>(&mut self, location: Location, read: ReadPage<'_, E>) -> Result<Rc<Page>, Fault<E>> {
        if let Some(kept) = self.slots.get_mut(&location) {
            kept.is_used = true;
            return Ok(Rc::clone(&kept.page));
        }
        let page = Rc::new(Page::parse(read(location).map_err(Fault::Read)?).ok_or(Fault::Page(location))?);
        self.put(location, Rc::clone(&page));
        Ok(page)
    }

    /// Makes a version the newest: its pages come, and what it no longer reaches goes.
    pub fn adopt(&mut self, fresh: Vec<(Location, Rc<Page>)>, stale: &[Location]) {
        for location in stale {
            if let Some(gone) = self.slots.remove(location) {
                self.size -= gone.page.size();
            }
        }
        for (location, page) in fresh {
            self.put(location, page);
        }
        // Those that went by themselves still stand in the clock.
        if self.clock.len() > 2 * self.slots.len() + 1024 {
            let slots = &self.slots;
            self.clock.retain(|location| slots.contains_key(location));
        }
    }

    fn put(&mut self, location: Location, page: Rc<Page>) {
        self.size += page.size();
        match self.slots.insert(location, Kept { page, is_used: false }) {
            Some(before) => self.size -= before.page.size(),
            None => self.clock.push_back(location),
        }
        while self.size > self.size_max {
            let Some(next) = self.clock.pop_front() else { return };
            match self.slots.get_mut(&next) {
                None => {}
                Some(kept) if kept.is_used => {
                    kept.is_used = false;
                    self.clock.push_back(next);
                }
                Some(_) => {
                    if let Some(gone) = self.slots.remove(&next) {
                        self.size -= gone.page.size();
                    }
                }
            }
        }
    }

    /// Where the value of a row is, in the tree below `location`.
    pub fn find<E>(
        &mut self,
        location: Option<Location>,
        key: &[u8],
        read: ReadPage<'_, E>,
    ) -> Result<Option<Location>, Fault<E>> {
        let mut next = location;
        while let Some(location) = next {
            let page = self.get(location, &mut *read)?;
            let Found::At(index) = page.find(key, 0) else { return Ok(None) };
            if page.is_entry(index) {
                return Ok(Some(page.location(index)));
            }
            next = Some(page.location(index));
        }
        Ok(None)
    }

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
        let writer = ChunkWriter { next: next_chunk, open: Vec::new(), closed: Vec::new() };
        let mut walk = Walk { updates, pages: self, read, writer, fresh: Vec::new(), stale: Vec::new() };
        let root = walk.run(base)?;
        let (chunks, chunk_numbers, chunk_ends) = walk.writer.finish().ok_or(Fault::Input)?;
        let Walk { writer, fresh, stale, .. } = walk;
        Ok(Change { root, next_chunk: writer.next, chunks, chunk_numbers, chunk_ends, stale, fresh })
    }
}

// The walk.

/// What became of an item, or of a whole page.
enum Outcome {
    Unchanged,
    /// Same key or stem, new content.
    Replaced(Hash, Location),
    /// These items stand in its place; none if it is gone.
    Items(Vec<Item>),
}

/// What became of a page: as it was, copied with other hashes, or taken apart.
enum Finished {
    Unchanged,
    Replaced(Hash, Location),
    /// Whether there were too many items, and these are what is left after a cut.
    Rebuilt(Vec<Item>, Vec<usize>, bool),
}

/// A change to a page: what replaces item `index`, or (`is_new`) is put before it.
struct Edit {
    index: usize,
    is_new: bool,
    outcome: Outcome,
}

/// An edit that waits for the page below, with the updates that belong there.
struct Descent {
    edit: usize,
    low: usize,
    high: usize,
}

struct Frame {
    page: Rc<Page>,
    location: Option<Location>,
    edits: Vec<Edit>,
    descents: Vec<Descent>,
    descended: usize,
}

/// A subtree whose topmost page is still open.
struct Group {
    items: Vec<Item>,
    bits: Vec<usize>,
    hash: Hash,
}

struct Walk<'a, 'p, 'r, E> {
    updates: &'a [Update<'a>],
    pages: &'p mut Pages,
    read: ReadPage<'r, E>,
    writer: ChunkWriter<'a>,
    fresh: Vec<(Location, Rc<Page>)>,
    stale: Vec<Location>,
}

impl<'a, E> Walk<'a, '_, '_, E> {
    fn run(&mut self, base: Root) -> Result<Root, Fault<E>> {
        // Keys of 1,024 bytes make paths of thousands of pages possible: the stack is ours.
        let mut frames = vec![self.visit(base.location, 0, self.updates.len())?];
        while let Some(frame) = frames.last() {
            if let Some(descent) = frame.descents.get(frame.descended) {
                let location = frame.page.location(frame.edits[descent.edit].index);
                let (low, high) = (descent.low, descent.high);
                frames.push(self.visit(Some(location), low, high)?);
                continue;
            }
            let Some(done) = frames.pop() else { break };
            let Some(above) = frames.last_mut() else { return Ok(self.finish_top(done, base)) };
            let edit = above.descents[above.descended].edit;
            let bit = above.page.shape(above.edits[edit].index) as usize;
            above.edits[edit].outcome = self.finish(done, bit);
            above.descended += 1;
        }
        Ok(base)
    }

    /// Sorts the updates from `low` to `high` to the items of a page; rows on the page itself are changed at once.
    fn visit(&mut self, location: Option<Location>, low: usize, high: usize) -> Result<Frame, Fault<E>> {
        let page = match location {
            None => Rc::new(Page::empty()),
            Some(location) => self.pages.get(location, &mut *self.read)?,
        };
        let mut edits: Vec<Edit> = Vec::new();
        let mut descents: Vec<Descent> = Vec::new();
        let (mut first, mut next) = (0, low);
        while next < high {
            let start = next;
            let update = self.updates[start];
            next += 1;
            match page.find(update.key, first) {
                Found::Before(index) => {
                    first = index;
                    while next < high && (index == page.count || page.compare(index, self.updates[next].key).is_lt()) {
                        next += 1;
                    }
                    let items = self.new_entries(start, next);
                    if !items.is_empty() {
                        edits.push(Edit { index, is_new: true, outcome: Outcome::Items(items) });
                    }
                }
                Found::At(index) => {
                    first = index + 1;
                    let outcome = if page.is_entry(index) { self.change_entry(&page, index, update) } else { Outcome::Unchanged };
                    edits.push(Edit { index, is_new: false, outcome });
                    if !page.is_entry(index) {
                        while next < high && page.compare(index, self.updates[next].key).is_eq() {
                            next += 1;
                        }
                        descents.push(Descent { edit: edits.len() - 1, low: start, high: next });
                    }
                }
            }
        }
        Ok(Frame { page, location, edits, descents, descended: 0 })
    }

    fn new_entries(&mut self, low: usize, high: usize) -> Vec<Item> {
        let mut items = Vec::new();
        for update in &self.updates[low..high] {
            if let Some(value) = update.value {
                let location = self.writer.add(ChunkKind::Value, Slot::Value(value));
                let hash = leaf_hash(update.key, value);
                items.push(Item { key: update.key.to_vec(), shape: SHAPE_ENTRY, hash, location });
            }
        }
        items
    }

    fn change_entry(&mut self, page: &Page, index: usize, update: Update<'a>) -> Outcome {
        let Some(value) = update.value else {
            self.stale.push(page.location(index));
            return Outcome::Items(Vec::new());
        };
        let hash = leaf_hash(update.key, value);
        if hash == page.hash(index) {
            return Outcome::Unchanged;
        }
        self.stale.push(page.location(index));
        Outcome::Replaced(hash, self.writer.add(ChunkKind::Value, Slot::Value(value)))
    }

    /// What becomes of a page below the top. `bit` is the branch bit that the page above knows it by.
    fn finish(&mut self, frame: Frame, bit: usize) -> Outcome {
        match self.finish_page(frame) {
            Finished::Unchanged => Outcome::Unchanged,
            Finished::Replaced(hash, location) => Outcome::Replaced(hash, location),
            Finished::Rebuilt(items, _, true) => Outcome::Items(items),
            Finished::Rebuilt(items, _, false) if items.len() < PAGE_ITEMS_MIN => Outcome::Items(items),
            Finished::Rebuilt(items, bits, false) => {
                let page = Page::of(&items, &bits);
                let hash = page.root_hash();
                let link = self.close(page, &items, &bits, hash);
                if link.shape as usize == bit { Outcome::Replaced(link.hash, link.location) } else { Outcome::Items(vec![link]) }
            }
        }
    }

    fn finish_top(&mut self, frame: Frame, base: Root) -> Root {
        match self.finish_page(frame) {
            Finished::Unchanged => base,
            Finished::Replaced(hash, location) => Root { hash, location: Some(location) },
            Finished::Rebuilt(items, bits, _) => match items.as_slice() {
                [] => Root { hash: empty_root(), location: None },
                [only] if only.shape != SHAPE_ENTRY => Root { hash: only.hash, location: Some(only.location) },
                _ => {
                    let page = Page::of(&items, &bits);
                    let hash = page.root_hash();
                    Root { hash, location: Some(self.write(page)) }
                }
            },
        }
    }

    fn finish_page(&mut self, frame: Frame) -> Finished {
        let edits: Vec<Edit> = frame.edits.into_iter().filter(|edit| !matches!(edit.outcome, Outcome::Unchanged)).collect();
        if edits.is_empty() {
            return Finished::Unchanged;
        }
        self.stale.extend(frame.location);
        let replaced: Vec<(usize, Hash, Location)> = edits
            .iter()
            .filter_map(|edit| match edit.outcome {
                Outcome::Replaced(hash, location) => Some((edit.index, hash, location)),
                _ => None,
            })
            .collect();
        if replaced.len() == edits.len() {
            let (page, hash) = frame.page.replace(&replaced);
            return Finished::Replaced(hash, self.write(page));
        }
        let (items, bits) = splice(&frame.page, edits);
        if items.len() <= PAGE_ITEMS_MAX {
            return Finished::Rebuilt(items, bits, false);
        }
        let group = self.cut(items, &bits);
        Finished::Rebuilt(group.items, group.bits, true)
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
        let hash = node_hash(bit, &left.hash, &right.hash);
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
    fn shrink(&mut self, group: Group) -> Group {
        if group.items.len() < PAGE_ITEMS_MIN {
            return group;
        }
        let page = Page::of(&group.items, &group.bits);
        let link = self.close(page, &group.items, &group.bits, group.hash);
        Group { items: vec![link], bits: Vec::new(), hash: group.hash }
    }

    fn close(&mut self, page: Page, items: &[Item], bits: &[usize], hash: Hash) -> Item {
        let bit = bits.iter().copied().min().unwrap_or(0);
        Item { key: stem_of(&items[0].key, bit), shape: bit as u16, hash, location: self.write(page) }
    }

    fn write(&mut self, page: Page) -> Location {
        let kind = if page.is_lowest { ChunkKind::Lowest } else { ChunkKind::Higher };
        let page = Rc::new(page);
        let location = self.writer.add(kind, Slot::Page(Rc::clone(&page)));
        self.fresh.push((location, page));
        location
    }
}

/// The items of a page after its edits, and their branch bits.
fn splice(page: &Page, edits: Vec<Edit>) -> (Vec<Item>, Vec<usize>) {
    let mut spliced = Spliced { page, items: Vec::new(), bits: Vec::new(), previous: None };
    let mut at = 0;
    for Edit { index, is_new, outcome } in edits {
        while at < index {
            spliced.push(page.item(at), Some(at));
            at += 1;
        }
        match outcome {
            Outcome::Items(items) => items.into_iter().for_each(|item| spliced.push(item, None)),
            Outcome::Replaced(hash, location) => spliced.push(Item { hash, location, ..page.item(index) }, Some(index)),
            Outcome::Unchanged => {}
        }
        if !is_new {
            at = index + 1;
        }
    }
    while at < page.count {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

    /// The root by its definition: the node above some keys is at the first bit in which any of them part.
    fn naive_root(rows: &[(&Vec<u8>, &Vec<u8>)]) -> Hash {
        match rows {
            [] => empty_root(),
            [(key, value)] => leaf_hash(key, value),
            _ => {
                let bits: Vec<usize> =
                    rows.windows(2).map(|pair| branch_bit(pair[0].0, pair[1].0).expect("other keys")).collect();
                let least = *bits.iter().min().expect("a bit");
                let split = bits.iter().position(|&bit| bit == least).expect("its place") + 1;
                node_hash(least, &naive_root(&rows[..split]), &naive_root(&rows[split..]))
            }
        }
    }

    /// A few bytes of few values make keys that are prefixes of each other; a long beginning makes deep shapes.
    fn key_of(random: u64) -> Vec<u8> {
        let mut key = if random & 1 == 0 { vec![0x61; 30] } else { Vec::new() };
        key.extend((1..=1 + (random >> 1) % 5).map(|at| [0, 1, 0x7f, 0x80, 0xff][(random >> (8 * at)) as usize % 5]));
        key
    }

    fn random_numbers(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed;
        move || {
            // Knuth's MMIX generator; its high bits are the random ones.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 29)
        }
    }

    /// A tree with its store.
    struct Tree {
        pages: Pages,
        store: HashMap<Location, Vec<u8>>,
        root: Root,
        next_chunk: u64,
    }

    impl Tree {
        fn new(size_max: usize) -> Self {
            let root = Root { hash: empty_root(), location: None };
            Self { pages: Pages::new(size_max), store: HashMap::new(), root, next_chunk: 0 }
        }

        fn commit(&mut self, updates: &[Update<'_>]) -> Vec<Location> {
            let Self { pages, store, root, next_chunk } = self;
            let mut read = |location| store.get(&location).cloned().ok_or(location);
            let change = pages.stage(*root, *next_chunk, updates, &mut read).expect("a version");
            for (location, page) in &change.fresh {
                store.insert(*location, page.bytes().to_vec());
            }
            pages.adopt(change.fresh, &change.stale);
            (*root, *next_chunk) = (change.root, change.next_chunk);
            change.stale
        }
    }

    #[test]
    fn the_root_is_that_of_the_rows_whatever_came_before_and_however_little_is_in_memory() {
        for seed in 1..=40 {
            let mut random = random_numbers(seed);
            let mut rows = Rows::new();
            let mut tree = Tree::new(if seed % 2 == 0 { 3_000 } else { 1 << 20 });
            for _ in 0..8 {
                let mut batch: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
                for _ in 0..random() % 120 {
                    let value = if random().is_multiple_of(3) { None } else { Some(random().to_be_bytes().to_vec()) };
                    batch.insert(key_of(random()), value);
                }
                let updates: Vec<Update<'_>> = batch.iter().map(|(key, value)| Update { key, value: value.as_deref() }).collect();
                tree.commit(&updates);
                for (key, value) in &batch {
                    match value {
                        Some(value) => rows.insert(key.clone(), value.clone()),
                        None => rows.remove(key),
                    };
                }
                assert_eq!(tree.root.hash, naive_root(&rows.iter().collect::<Vec<_>>()), "seed {seed}");
            }
            assert!(tree.pages.size() <= 1 << 20);
        }
    }

    #[test]
    fn writing_what_is_there_and_deleting_what_is_not_changes_nothing() {
        let mut tree = Tree::new(1 << 20);
        let keys: Vec<Vec<u8>> = (0..100_u8).map(|at| vec![at, 1]).collect();
        let all: Vec<Update<'_>> = keys.iter().map(|key| Update { key, value: Some(key) }).collect();
        tree.commit(&all);
        let before = tree.root;
        assert_eq!(tree.commit(&all), vec![]);
        assert_eq!(tree.commit(&[Update { key: &[7], value: None }]), vec![]);
        assert_eq!(tree.root, before);
        let gone: Vec<Update<'_>> = keys.iter().map(|key| Update { key, value: None }).collect();
        tree.commit(&gone);
        assert_eq!(tree.root, Root { hash: empty_root(), location: None });
    }

    #[test]
    fn lists_out_of_order_and_keys_of_no_size_are_refused() {
        let (one, other) = (Update { key: &[1], value: None }, Update { key: &[2], value: None });
        let long = [0; KEY_SIZE_MAX + 1];
        for wrong in
            [vec![other, one], vec![one, one], vec![Update { key: &[], value: None }], vec![Update { key: &long, value: None }]]
        {
            let root = Root { hash: empty_root(), location: None };
            let made = Pages::new(1000).stage(root, 0, &wrong, &mut |_| Err::<Vec<u8>, ()>(()));
            assert!(matches!(made, Err(Fault::Input)));
        }
    }

    #[test]
    fn a_page_that_was_cut_or_changed_in_its_shape_is_none() {
        let mut tree = Tree::new(1 << 20);
        let keys: Vec<Vec<u8>> = (0..200_u8).map(|at| vec![at % 3, at, 9]).collect();
        let mut all: Vec<Update<'_>> = keys.iter().map(|key| Update { key, value: Some(&[1]) }).collect();
        all.sort_by_key(|update| update.key);
        tree.commit(&all);
        assert!(tree.store.len() > 10);
        for bytes in tree.store.values() {
            assert!(Page::parse(bytes.clone()).is_some());
            for size in 0..bytes.len() {
                assert!(Page::parse(bytes[..size].to_vec()).is_none());
            }
            let count = u16_at(bytes, 0) as usize;
            for at in (0..HEADER_SIZE).chain(shape_at(count, 0)..bytes.len()) {
                let mut changed = bytes.clone();
                changed[at] ^= 0x10;
                // Where keys still part at the same bits, another key is as good a page.
                if let Some(page) = Page::parse(changed.clone()) {
                    assert_eq!(page.bytes(), changed);
                }
            }
        }
    }
}
