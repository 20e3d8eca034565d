//! The state tree's pages in memory, and the next version made from them: the twin of `chain/state/update.ts`,
//! `page.ts`, `chunk.ts` and `cache.ts`, which say what all of it is for.
//!
//! Both give the same root, and the same chunks byte for byte. Here a page is a block of memory of its own behind a
//! counted reference.

mod block;
mod chunk;
mod delta;
mod fold;
mod hashing;
mod memory;
mod page;
mod reach;
#[cfg(test)]
mod tests;
mod walk;

use crate::Hash;

pub use hashing::empty_root;
pub use memory::Pages;
pub use page::Page;

const HASH_SIZE: usize = 32;
const LOCATION_SIZE: usize = 6;

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
    /// The pages that others stand for now. Some stay reachable, as bases of deltas.
    pub replaced: Vec<Location>,
    /// Its own pages.
    pub fresh: Vec<(Location, Page)>,
}
