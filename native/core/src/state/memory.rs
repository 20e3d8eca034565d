//! The pages that are in memory. Room is made by a clock: what was used since it was last passed by stays.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::block::Spare;
use super::chunk::SLOTS_MAX;
use super::delta;
use super::page::{Found, Page};
use super::{Fault, Location, ReadPage};

/// Locations are our own numbers, so nobody can choose them to meet. Those of one chunk stay side by side: they come together, and
/// often go together.
#[derive(Default)]
pub struct LocationHasher(u64);

impl Hasher for LocationHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, location: Location) {
        let (chunk, slot) = (location / SLOTS_MAX, location % SLOTS_MAX);
        // Fibonacci hashing, Knuth, volume 3, 6.4: the high bits are the good ones.
        let spread = (self.0 ^ chunk).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // A table takes its place from the low bits, and from the highest seven what tells neighbours apart.
        self.0 = (spread ^ spread >> 32).wrapping_add(slot) ^ slot << 57;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

struct Kept {
    page: Page,
    is_used: bool,
}

/// The pages of one tree that are in memory, within a bound in bytes.
pub struct Pages {
    slots: HashMap<Location, Kept, BuildHasherDefault<LocationHasher>>,
    /// Whose turn it is to go, first to last; some are gone already.
    clock: VecDeque<Location>,
    size: usize,
    size_max: usize,
    /// Of pages that went.
    pub(super) spare: Spare,
}

impl Pages {
    /// None, and room for `size_max` bytes of them.
    pub fn new(size_max: usize) -> Self {
        Self { slots: HashMap::default(), clock: VecDeque::new(), size: 0, size_max, spare: Spare::default() }
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
    pub fn get<E>(&mut self, location: Location, read: ReadPage<'_, E>) -> Result<Page, Fault<E>> {
        if let Some(kept) = self.slots.get_mut(&location) {
            kept.is_used = true;
            return Ok(kept.page.clone());
        }
        let page = read_stored(location, read)?;
        self.put(location, page.clone());
        Ok(page)
    }

    /// Makes a version the newest: its pages come, and those that they stand for go.
    pub fn adopt(&mut self, fresh: Vec<(Location, Page)>, replaced: &[Location]) {
        self.spare.clear();
        for location in replaced {
            if let Some(gone) = self.slots.remove(location) {
                self.size -= gone.page.size();
                self.spare.give(gone.page.into_block());
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

    fn put(&mut self, location: Location, page: Page) {
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
}

/// Reads a page from a disk, strictly: its base too, if it is stored as a delta.
fn read_stored<E>(location: Location, read: ReadPage<'_, E>) -> Result<Page, Fault<E>> {
    let bytes = read(location).map_err(Fault::Read)?;
    let page = if delta::is_delta(&bytes) {
        let (base, changes) = delta::parse(location, &bytes).ok_or(Fault::Page(location))?;
        let whole = read(base).map_err(Fault::Read)?;
        Page::parse(&whole).and_then(|page| page.patched(base, &changes))
    } else {
        Page::parse(&bytes)
    };
    page.ok_or(Fault::Page(location))
}
