//! The pages of a state tree as an object of JavaScript's: what `native/addon.ts` says of `StatePages`.
//!
//! While a version is made, pages that are not in memory are asked of JavaScript, which reads them from its store and
//! changes nothing that was handed over.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use napi::bindgen_prelude::{Env, Error, Float64Array, Function, Result, Status, Uint8Array, Uint8ArraySlice, Uint32Array};
use napi_derive::napi;
use pyralog_native_core::state::{Change, Fault, Location, Page, Pages, Root, Update};

use crate::panic_text;

/// How many staged versions wait to be adopted. One that waits no more is read from the store when it is needed.
const STAGED_MAX: usize = 8;
/// The length that says of a value that there is none.
const NO_VALUE: u32 = u32::MAX;

type Read<'f> = Function<'f, f64, Uint8Array>;

/// A version that is computed and not yet committed.
#[napi(object)]
pub struct StagedPages {
    /// For `adopt`.
    pub id: u32,
    /// The root hash.
    pub hash: Uint8Array,
    /// Of the topmost page, or -1.
    pub location: f64,
    /// The first chunk number that is free afterwards.
    pub next_chunk: f64,
    /// The new chunks, end to end.
    pub chunks: Uint8Array,
    /// Their numbers.
    pub chunk_numbers: Float64Array,
    /// Where each ends in `chunks`.
    pub chunk_ends: Uint32Array,
    /// What the version no longer reaches.
    pub stale: Float64Array,
}

struct Waiting {
    id: u32,
    fresh: Vec<(Location, Page)>,
    replaced: Vec<Location>,
}

/// The pages of one state tree, in memory.
#[napi]
pub struct StatePages {
    pages: Pages,
    waiting: VecDeque<Waiting>,
    last_id: u32,
}

#[napi]
impl StatePages {
    /// None yet, and room for so many bytes of them.
    #[napi(constructor)]
    pub fn new(size_bytes_max: f64) -> Self {
        Self { pages: Pages::new(size_bytes_max as usize), waiting: VecDeque::new(), last_id: 0 }
    }

    /// Makes the version after the one at a root; the keys are sorted, and a length of 2^32 - 1 is no value.
    #[napi]
    #[allow(clippy::too_many_arguments)]
    pub fn stage(
        &mut self,
        root_hash: &[u8],
        root_location: f64,
        next_chunk: f64,
        keys: &[u8],
        key_lengths: &[u32],
        values: &[u8],
        value_lengths: &[u32],
        read: Read<'_>,
    ) -> Result<StagedPages> {
        let change = told(|| {
            let updates = updates_of(keys, key_lengths, values, value_lengths).ok_or(Fault::Input)?;
            let hash = root_hash.try_into().map_err(|_| Fault::Input)?;
            let root = Root { hash, location: location_of(root_location) };
            self.pages.stage(root, next_chunk as u64, &updates, &mut |location| call(&read, location))
        })?;
        self.last_id = self.last_id.wrapping_add(1);
        let Change { root, next_chunk, chunks, chunk_numbers, chunk_ends, stale, replaced, fresh } = change;
        let staged = StagedPages {
            id: self.last_id,
            hash: root.hash.to_vec().into(),
            location: root.location.map_or(-1.0, |location| location as f64),
            next_chunk: next_chunk as f64,
            chunks: chunks.into(),
            chunk_numbers: chunk_numbers.iter().map(|&number| number as f64).collect::<Vec<f64>>().into(),
            chunk_ends: chunk_ends.into(),
            stale: stale.iter().map(|&location| location as f64).collect::<Vec<f64>>().into(),
        };
        if self.waiting.len() == STAGED_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting { id: self.last_id, fresh, replaced });
        Ok(staged)
    }

    /// Makes a staged version the newest, and drops all others that wait.
    #[napi]
    pub fn adopt(&mut self, id: u32) {
        let waiting = std::mem::take(&mut self.waiting);
        if let Some(Waiting { fresh, replaced, .. }) = waiting.into_iter().find(|each| each.id == id) {
            self.pages.adopt(fresh, &replaced);
        }
    }

    /// Where the value of a row is, in the tree below a location (-1: an empty one); -1 when there is no such row.
    #[napi]
    pub fn find(&mut self, root_location: f64, key: &[u8], read: Read<'_>) -> Result<f64> {
        let found = told(|| self.pages.find(location_of(root_location), key, &mut |location| call(&read, location)))?;
        Ok(found.map_or(-1.0, |location| location as f64))
    }

    /// The bytes of a page, which the caller may keep.
    #[napi]
    pub fn page<'env>(&mut self, env: &'env Env, location: f64, read: Read<'_>) -> Result<Uint8ArraySlice<'env>> {
        let page = told(|| self.pages.get(location as Location, &mut |location| call(&read, location)))?;
        Uint8ArraySlice::copy_from(env, page.bytes())
    }

    /// Forgets all pages, and all versions that wait.
    #[napi]
    pub fn clear(&mut self) {
        self.pages.clear();
        self.waiting.clear();
    }

    /// The memory that the pages take.
    #[napi(getter)]
    pub fn size_bytes(&self) -> f64 {
        self.pages.size() as f64
    }
}

fn call(read: &Read<'_>, location: Location) -> Result<Vec<u8>> {
    Ok(read.call(location as f64)?.to_vec())
}

fn location_of(location: f64) -> Option<Location> {
    (location >= 0.0).then_some(location as Location)
}

fn updates_of<'a>(keys: &'a [u8], key_lengths: &[u32], values: &'a [u8], value_lengths: &[u32]) -> Option<Vec<Update<'a>>> {
    if key_lengths.len() != value_lengths.len() {
        return None;
    }
    let (mut keys, mut values) = (keys, values);
    let mut updates = Vec::with_capacity(key_lengths.len());
    for (&key_length, &value_length) in key_lengths.iter().zip(value_lengths) {
        let (key, keys_left) = keys.split_at_checked(key_length as usize)?;
        keys = keys_left;
        let value = if value_length == NO_VALUE {
            None
        } else {
            let (value, values_left) = values.split_at_checked(value_length as usize)?;
            values = values_left;
            Some(value)
        };
        updates.push(Update { key, value });
    }
    (keys.is_empty() && values.is_empty()).then_some(updates)
}

/// Runs the work. What JavaScript threw goes on as it is; a panic never crosses into Node.
fn told<T>(work: impl FnOnce() -> std::result::Result<T, Fault<Error>>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Fault::Read(error))) => Err(error),
        Ok(Err(Fault::Page(location))) => {
            Err(Error::new(Status::InvalidArg, format!("native_page: there is no page at {location}")))
        }
        Ok(Err(Fault::Input)) => Err(Error::new(Status::InvalidArg, "native_input: not a sorted list of updates")),
        Err(panic) => Err(Error::new(Status::GenericFailure, format!("native_panic: {}", panic_text(panic.as_ref())))),
    }
}
