//! Chunks: what one version writes, cut into what the store holds. `chain/state/chunk.ts` says why.

use super::Location;
use super::page::Page;

/// As in `chunk.ts` and `layout.ts`.
const CHUNK_SIZE: usize = 4096;
pub(super) const SLOTS_MAX: u64 = 256;
/// A full chunk of deltas has about as many.
const SLOTS_USUAL: usize = 48;

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

struct OpenChunk<'a> {
    kind: ChunkKind,
    number: u64,
    slots: Vec<Slot<'a>>,
    size: usize,
}

/// Collects what one version writes and cuts it into chunks.
pub(super) struct ChunkWriter<'a> {
    next: u64,
    open: Vec<OpenChunk<'a>>,
    closed: Vec<OpenChunk<'a>>,
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
        Self { next, open: Vec::new(), closed: Vec::new() }
    }

    pub(super) fn add(&mut self, kind: ChunkKind, slot: Slot<'a>) -> Location {
        let size = slot.size();
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
                self.open.push(OpenChunk { kind, number, slots: Vec::with_capacity(SLOTS_USUAL), size: 0 });
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

    /// Closes all chunks, whose pages are these and have their hashes; `None` when they are more bytes than a version may have.
    pub(super) fn finish(mut self, pages: &[(Location, Page)]) -> Option<Chunks> {
        self.closed.append(&mut self.open);
        let size: usize = self.closed.iter().map(|chunk| 2 + chunk.slots.len() * 4 + chunk.size).sum();
        u32::try_from(size).ok()?;
        let mut bytes = Vec::with_capacity(size);
        let mut ends = Vec::with_capacity(self.closed.len());
        for chunk in &self.closed {
            bytes.extend_from_slice(&(chunk.slots.len() as u16).to_be_bytes());
            let mut end = 2 + chunk.slots.len() * 4;
            for slot in &chunk.slots {
                end += slot.size();
                bytes.extend_from_slice(&(end as u32).to_be_bytes());
            }
            for slot in &chunk.slots {
                slot.write(pages, &mut bytes);
            }
            ends.push(bytes.len() as u32);
        }
        let numbers = self.closed.iter().map(|chunk| chunk.number).collect();
        Some(Chunks { bytes, numbers, ends, next: self.next })
    }
}
