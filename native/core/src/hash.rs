//! BLAKE3-256, of one message or of many.
//!
//! Source: the BLAKE3 paper (2020), default hash mode, 32 bytes; for messages longer than a chunk the library of its
//! authors.

use rayon::prelude::*;

use crate::Hash;
use crate::lanes::{CHUNK_SIZE_BYTES, LANES, LANES_MIN, blocks_of, hash_lanes};

/// From here on, one message is hashed by all cores. Below, waking them costs more than they save when they are busy, and a block of
/// 700 KB takes one a tenth of a millisecond.
const PARALLEL_SIZE_BYTES: usize = 1 << 20;
/// Up to here, with its tag, a message is put together first.
const SHORT_SIZE_BYTES: usize = 256;
/// Messages that one core takes at a time: the transactions of a block, as a rule.
const BATCH_COUNT: usize = 4096;

/// The digest of `bytes`.
pub fn hash(bytes: &[u8]) -> Hash {
    if bytes.len() < PARALLEL_SIZE_BYTES {
        return blake3::hash(bytes).into();
    }
    blake3::Hasher::new().update_rayon(bytes).finalize().into()
}

/// The digest of `tag ‖ body`: the rule of every hash of the project (`crypto/hash/domain.ts`).
pub fn hash_tagged(tag: u8, body: &[u8]) -> Hash {
    // A hasher that is fed twice costs as much as a block or two.
    let mut short = [0; SHORT_SIZE_BYTES];
    if let Some(rest) = short.get_mut(1..=body.len()) {
        rest.copy_from_slice(body);
        short[0] = tag;
        return blake3::hash(&short[..=body.len()]).into();
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[tag]);
    if body.len() < PARALLEL_SIZE_BYTES {
        hasher.update(body)
    } else {
        hasher.update_rayon(body)
    };
    hasher.finalize().into()
}

/// The digests of `tag ‖ body` for every body, in order.
pub fn hash_many(tag: u8, bodies: &[&[u8]]) -> Vec<Hash> {
    let mut digests = vec![[0; 32]; bodies.len()];
    if bodies.len() <= BATCH_COUNT {
        hash_batch(tag, bodies, &mut digests);
    } else {
        bodies
            .par_chunks(BATCH_COUNT)
            .zip(digests.par_chunks_mut(BATCH_COUNT))
            .for_each(|(batch, into)| hash_batch(tag, batch, into));
    }
    digests
}

/// Sorts the bodies by their number of blocks, so that eight at a time go through the lanes.
fn hash_batch(tag: u8, bodies: &[&[u8]], into: &mut [Hash]) {
    const BLOCKS_MAX: usize = CHUNK_SIZE_BYTES / crate::lanes::BLOCK_SIZE_BYTES;
    let mut waiting = [[0; LANES]; BLOCKS_MAX + 1];
    let mut counts = [0; BLOCKS_MAX + 1];
    for (at, body) in bodies.iter().enumerate() {
        if body.len() >= CHUNK_SIZE_BYTES {
            into[at] = hash_tagged(tag, body);
            continue;
        }
        let blocks = blocks_of(body.len());
        waiting[blocks][counts[blocks]] = at;
        counts[blocks] += 1;
        if counts[blocks] == LANES {
            counts[blocks] = 0;
            hash_group(tag, bodies, &waiting[blocks], blocks, into);
        }
    }
    for blocks in 1..=BLOCKS_MAX {
        let rest = &waiting[blocks][..counts[blocks]];
        if !rest.is_empty() {
            hash_group(tag, bodies, rest, blocks, into);
        }
    }
}

/// Hashes the bodies at up to eight places, which all take so many blocks.
fn hash_group(tag: u8, bodies: &[&[u8]], places: &[usize], blocks: usize, into: &mut [Hash]) {
    let mut group: [&[u8]; LANES] = [&[]; LANES];
    for (body, &at) in group.iter_mut().zip(places) {
        *body = bodies[at];
    }
    for (digest, &at) in hash_few(tag, &group[..places.len()], blocks).into_iter().zip(places) {
        into[at] = digest;
    }
}

/// The digests of `tag ‖ body` for one to eight bodies, which all take so many blocks. Idle lanes repeat the first.
fn hash_few(tag: u8, bodies: &[&[u8]], blocks: usize) -> [Hash; LANES] {
    let group = std::array::from_fn(|lane| *bodies.get(lane).unwrap_or(&bodies[0]));
    let in_lanes = if bodies.len() < LANES_MIN { None } else { hash_lanes(tag, &group, blocks) };
    in_lanes.unwrap_or_else(|| std::array::from_fn(|lane| bodies.get(lane).map_or([0; 32], |body| hash_tagged(tag, body))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn lanes_are_the_library_at_every_length_of_a_chunk_and_beyond() {
        let all = bytes(2100);
        let bodies: Vec<&[u8]> = (0..=2100).map(|length| &all[..length]).collect();
        for (body, digest) in bodies.iter().zip(hash_many(0x11, &bodies)) {
            let tagged = [&[0x11], *body].concat();
            assert_eq!(digest, *blake3::hash(&tagged).as_bytes(), "{} bytes", body.len());
        }
    }

    #[test]
    fn every_count_of_equal_lengths_is_hashed_in_order() {
        let all = bytes(BATCH_COUNT * 2 + 100);
        for count in (0..40).chain([BATCH_COUNT, BATCH_COUNT * 2 + 3]) {
            let bodies: Vec<&[u8]> = (0..count).map(|at| &all[at..at + 64]).collect();
            let expected: Vec<Hash> = bodies.iter().map(|body| hash_tagged(1, body)).collect();
            assert_eq!(hash_many(1, &bodies), expected, "{count} bodies");
        }
    }

    #[test]
    fn many_cores_give_the_digest_of_one() {
        for size in [PARALLEL_SIZE_BYTES - 1, PARALLEL_SIZE_BYTES, PARALLEL_SIZE_BYTES * 3 + 7] {
            let all = bytes(size);
            assert_eq!(hash(&all), *blake3::hash(&all).as_bytes());
            assert_eq!(hash_tagged(all[0], &all[1..]), hash(&all));
        }
    }
}
