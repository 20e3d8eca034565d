//! Chunks: what one version writes, cut into what the store holds. `chain/state/chunk.ts` says why.

use std::ops::Range;

use super::Location;
use super::page::Page;

/// As in `chunk.ts` and `layout.ts`.
const CHUNK_SIZE: usize = 4096;
pub(super) const SLOTS_MAX: u64 = 256;
/// How many kinds there are.
const KINDS: usize = 4;
/// Where the slots are, among those by kind, that have a chunk alone.
const ALONE: usize = KINDS;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkKind {
    Value,
    Lowest,
    Higher,
    Delta,
}

#[derive(Clone, Copy)]
pub(super) enum Slot<'a> {
    Value(&'a [u8]),
    /// A page that the version makes, by its place among those, and the bytes that it takes.
    Page {
        at: usize,
        size: usize,
    },
}

impl Slot<'_> {
    fn size(self) -> usize {
        match self {
            Self::Value(bytes) => bytes.len(),
            Self::Page { size, .. } => size,
        }
    }

    fn write(self, pages: &[(Location, Page)], into: &mut Vec<u8>) {
        match self {
            Self::Value(bytes) => into.extend_from_slice(bytes),
            Self::Page { at, .. } => pages[at].1.write(into),
        }
    }
}

/// Which slots a chunk has, and the bytes that they take.
struct Chunk {
    number: u64,
    /// The list that its slots are in.
    list: usize,
    slots: Range<usize>,
    size: usize,
}

/// Collects what one version writes and cuts it into chunks.
pub(super) struct ChunkWriter<'a> {
    next: u64,
    /// By kind, and those alone.
    lists: [Vec<Slot<'a>>; KINDS + 1],
    /// At most one of a kind, in the order in which they were begun.
    open: Vec<Chunk>,
    closed: Vec<Chunk>,
}

/// Closed chunks: their bytes end to end, their numbers, where each ends, and the first number that is free.
pub(super) struct Chunks {
    pub(super) bytes: Vec<u8>,
    pub(super) numbers: Vec<u64>,
    pub(super) ends: Vec<u32>,
    pub(super) next: u64,
}

impl<'a> ChunkWriter<'a> {
    /// `next`: the first chunk number that is free.
    pub(super) fn new(next: u64) -> Self {
        Self { next, lists: [const { Vec::new() }; KINDS + 1], open: Vec::with_capacity(KINDS), closed: Vec::new() }
    }

    pub(super) fn add(&mut self, kind: ChunkKind, slot: Slot<'a>) -> Location {
        let size = slot.size();
        // What would fill a chunk alone gets one alone, so that small neighbours do not keep it alive.
        if size >= CHUNK_SIZE / 2 {
            let alone = self.begin(ALONE);
            let location = alone.number * SLOTS_MAX;
            self.lists[ALONE].push(slot);
            self.closed.push(Chunk { slots: alone.slots.start..alone.slots.start + 1, size, ..alone });
            return location;
        }
        let at = match self.open.iter().position(|open| open.list == kind as usize) {
            Some(at) => at,
            None => {
                let chunk = self.begin(kind as usize);
                self.open.push(chunk);
                self.open.len() - 1
            }
        };
        self.lists[kind as usize].push(slot);
        let open = &mut self.open[at];
        let location = open.number * SLOTS_MAX + open.slots.len() as u64;
        open.slots.end += 1;
        open.size += size;
        if open.size >= CHUNK_SIZE || open.slots.len() as u64 == SLOTS_MAX {
            let full = self.open.remove(at);
            self.closed.push(full);
        }
        location
    }

    /// A chunk whose slots will be the next of a list.
    fn begin(&mut self, list: usize) -> Chunk {
        let from = self.lists[list].len();
        self.next += 1;
        Chunk { number: self.next - 1, list, slots: from..from, size: 0 }
    }

    /// Closes all chunks, whose pages are these and have their hashes; `None` when they are more bytes than a version may have.
    pub(super) fn finish(mut self, pages: &[(Location, Page)]) -> Option<Chunks> {
        self.closed.append(&mut self.open);
        let size: usize = self.closed.iter().map(|chunk| 2 + chunk.slots.len() * 4 + chunk.size).sum();
        u32::try_from(size).ok()?;
        let mut bytes = Vec::with_capacity(size);
        let mut ends = Vec::with_capacity(self.closed.len());
        for Chunk { list, slots, .. } in &self.closed {
            let slots = &self.lists[*list][slots.clone()];
            bytes.extend_from_slice(&(slots.len() as u16).to_be_bytes());
            let mut end = 2 + slots.len() * 4;
            for slot in slots {
                end += slot.size();
                bytes.extend_from_slice(&(end as u32).to_be_bytes());
            }
            for slot in slots {
                slot.write(pages, &mut bytes);
            }
            ends.push(bytes.len() as u32);
        }
        let numbers = self.closed.iter().map(|chunk| chunk.number).collect();
        Some(Chunks { bytes, numbers, ends, next: self.next })
    }
}
