//! Deltas: what of a page changed since it was last stored whole. `chain/state/delta.ts` says what their bytes are.

use std::num::NonZeroU64;

use super::chunk::SLOTS_MAX;
use super::page::{PAGE_ITEMS_MAX, Page, Replacement, put_location, read_location};
use super::{HASH_SIZE, LOCATION_SIZE, Location};

/// As in `delta.ts`.
const DELTA_SHARE: usize = 2;
const PAGE_SHARE: usize = 5;
const MARK: u8 = 0x80;
const HEADER_SIZE: usize = 2 + LOCATION_SIZE;
const CHANGE_SIZE: usize = 1 + HASH_SIZE + LOCATION_SIZE;

/// How a page is stored that is not stored whole: where a page is that is, its base, and in the low 16 bits the items
/// that differ from the base's, a bit each. Every page in memory has room for one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Delta(NonZeroU64);

impl Delta {
    /// `None` when no item differs.
    pub(super) fn new(base: Location, changed: u16) -> Option<Self> {
        NonZeroU64::new(if changed == 0 { 0 } else { base << 16 | u64::from(changed) }).map(Self)
    }

    /// As a number, which is not 0.
    pub(super) fn bits(self) -> u64 {
        self.0.get()
    }

    /// Of such a number; `None` of 0.
    pub(super) fn of_bits(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }

    pub(super) fn base(self) -> Location {
        self.0.get() >> 16
    }

    fn changed(self) -> u16 {
        self.0.get() as u16
    }

    /// How a page is to be stored once some of its items are `replaced`, a bit each; `None`: whole. `location` is where it is
    /// now.
    pub(super) fn after(page: &Page, location: Location, replaced: u16) -> Option<Self> {
        let (base, changed) = page.delta().map_or((location, 0), |before| (before.base(), before.changed()));
        Self::new(base, changed | replaced).filter(|delta| delta.size() * PAGE_SHARE <= page.bytes().len() * DELTA_SHARE)
    }

    /// Bytes that it takes in a chunk.
    pub(super) fn size(self) -> usize {
        size_of_changes(self.changed().count_ones() as usize)
    }

    /// Appends it as it is stored; `page` is the page that it is of.
    pub(super) fn write(self, page: &Page, into: &mut Vec<u8>) {
        let mut location = [0; LOCATION_SIZE];
        into.extend_from_slice(&[MARK, self.changed().count_ones() as u8]);
        put_location(&mut location, 0, self.base());
        into.extend_from_slice(&location);
        for index in (0..page.count()).filter(|index| self.changed() >> index & 1 == 1) {
            into.push(index as u8);
            into.extend_from_slice(page.hash(index));
            put_location(&mut location, 0, page.location(index));
            into.extend_from_slice(&location);
        }
    }
}

/// Whether bytes of a slot claim to be a delta.
pub(super) fn is_delta(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|&first| first >= MARK)
}

/// The base and the changes of the delta at a location; `None` when nobody would have written it so.
pub(super) fn parse(location: Location, bytes: &[u8]) -> Option<(Location, Vec<Replacement>)> {
    let (&[MARK, count], rest) = bytes.split_first_chunk::<2>()? else { return None };
    let count = count as usize;
    if count == 0 || count > PAGE_ITEMS_MAX || bytes.len() != size_of_changes(count) {
        return None;
    }
    let base = read_location(rest, 0);
    // What a version is made from was there before it.
    if base / SLOTS_MAX >= location / SLOTS_MAX {
        return None;
    }
    let mut changes: Vec<Replacement> = Vec::with_capacity(count);
    for change in rest[LOCATION_SIZE..].chunks_exact(CHANGE_SIZE) {
        let index = change[0] as usize;
        if changes.last().is_some_and(|&(last, ..)| index <= last) {
            return None;
        }
        let mut hash = [0; HASH_SIZE];
        hash.copy_from_slice(&change[1..=HASH_SIZE]);
        changes.push((index, hash, read_location(change, 1 + HASH_SIZE)));
    }
    Some((base, changes))
}

fn size_of_changes(count: usize) -> usize {
    HEADER_SIZE + count * CHANGE_SIZE
}
