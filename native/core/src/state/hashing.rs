//! Hashes of leaves and nodes, and the bits of keys: `chain/state/hashing.ts` and `bits.ts`.

use super::{HASH_SIZE, Update};
use crate::Hash;
use crate::hash::{hash_many, hash_tagged};
use crate::lanes::{LANES, LANES_MIN, hash_nodes};

/// The domain tags of `crypto/hash/domain.ts`.
const TAG_LEAF: u8 = 0x10;
const TAG_NODE: u8 = 0x11;
const TAG_VALUE: u8 = 0x12;
const TAG_EMPTY: u8 = 0x13;

/// What the hash of an inner node is of, behind its tag.
const NODE_SIZE: usize = 2 + 2 * HASH_SIZE;

/// As in `bits.ts`.
pub(super) const KEY_SIZE_MAX: usize = 1024;
pub(super) const BRANCH_BIT_MAX: usize = 9 * KEY_SIZE_MAX - 1;

/// An inner node: its branch bit, and the hashes on both sides of it.
pub(super) type Node<'h> = (u16, &'h Hash, &'h Hash);

pub(super) fn node_hash((bit, left, right): Node<'_>) -> Hash {
    let mut bytes = [0; NODE_SIZE];
    bytes[..2].copy_from_slice(&bit.to_be_bytes());
    bytes[2..2 + HASH_SIZE].copy_from_slice(left);
    bytes[2 + HASH_SIZE..].copy_from_slice(right);
    hash_tagged(TAG_NODE, &bytes)
}

/// The hashes of one to eight nodes. Idle lanes repeat the first.
pub(super) fn node_hashes(nodes: &[Node<'_>]) -> [Hash; LANES] {
    let in_lanes = if nodes.len() < LANES_MIN {
        None
    } else {
        let all: [Node<'_>; LANES] = std::array::from_fn(|lane| *nodes.get(lane).unwrap_or(&nodes[0]));
        let heads = all.map(|(bit, ..)| u32::from(TAG_NODE) | u32::from(bit.swap_bytes()) << 8);
        hash_nodes(&heads, &all.map(|(_, left, right)| (left, right)))
    };
    in_lanes.unwrap_or_else(|| std::array::from_fn(|lane| nodes.get(lane).map_or([0; HASH_SIZE], |node| node_hash(*node))))
}

/// The leaf hash of each update, all of a version at once so that eight go through the lanes together. Of an update that
/// deletes it means nothing.
pub(super) fn leaf_hashes(updates: &[Update<'_>]) -> Vec<Hash> {
    let values: Vec<&[u8]> = updates.iter().map(|update| update.value.unwrap_or_default()).collect();
    let mut packed = Vec::with_capacity(updates.iter().map(|update| 2 + update.key.len() + HASH_SIZE).sum());
    for (update, value_hash) in updates.iter().zip(hash_many(TAG_VALUE, &values)) {
        packed.extend_from_slice(&(update.key.len() as u16).to_be_bytes());
        packed.extend_from_slice(update.key);
        packed.extend_from_slice(&value_hash);
    }
    let mut rest = packed.as_slice();
    let mut leaves: Vec<&[u8]> = Vec::with_capacity(updates.len());
    for update in updates {
        let (leaf, after) = rest.split_at(2 + update.key.len() + HASH_SIZE);
        leaves.push(leaf);
        rest = after;
    }
    hash_many(TAG_LEAF, &leaves)
}

/// The root of no rows at all.
pub fn empty_root() -> Hash {
    blake3::hash(&[TAG_EMPTY]).into()
}

// Bits of keys.

/// The first bit in which two different keys (or stems) differ; `None` when they are equal.
pub(super) fn branch_bit(a: &[u8], b: &[u8]) -> Option<usize> {
    let shared = a.len().min(b.len());
    if let Some(at) = (0..shared).find(|&at| a[at] != b[at]) {
        return Some(9 * at + 1 + (a[at] ^ b[at]).leading_zeros() as usize);
    }
    if a.len() == b.len() { None } else { Some(9 * shared) }
}

pub(super) fn stem_size(bit: usize) -> usize {
    bit.div_ceil(9)
}

pub(super) fn stem_mask(bit: usize) -> u8 {
    match bit % 9 {
        0 => 0xff,
        within => (0xff00_u16 >> (within - 1)) as u8,
    }
}

pub(super) fn stem_of(key: &[u8], bit: usize) -> Vec<u8> {
    let mut stem = key[..stem_size(bit).min(key.len())].to_vec();
    if let Some(last) = stem.last_mut() {
        *last &= stem_mask(bit);
    }
    stem
}
