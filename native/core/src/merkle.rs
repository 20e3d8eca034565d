//! Append-only Merkle logs, many leaves at once: `chain/merkle/log.ts` level by level.
//!
//! Node `(level, index)` is the root of the perfect subtree over leaves `index * 2^level` and on. Appending completes
//! some nodes of every level; each level is one batch of hashes.
//!
//! Source: RFC 9162, section 2.1, with BLAKE3 under the tags of `crypto/hash/domain.ts`.

use crate::hash::{hash, hash_many, hash_tagged};
use crate::{Hash, InputError};

/// `logLeaf` and `logNode` of `crypto/hash/domain.ts`.
const LEAF_TAG: u8 = 0x00;
const NODE_TAG: u8 = 0x01;

/// A log after leaves were appended.
#[derive(Debug, PartialEq, Eq)]
pub struct Appended {
    /// The frontier of the longer log, largest subtree first.
    pub frontier: Vec<Hash>,
    /// Every node that became complete, in the order in which appending one leaf after the other completes them.
    pub nodes: Vec<Hash>,
}

/// The root of a list of entries.
pub fn root(entries: &[&[u8]]) -> Hash {
    let levels = complete(0, &[], hash_many(LEAF_TAG, entries));
    let frontier = frontier_of(0, &[], &levels, entries.len() as u64);
    let Some((last, larger)) = frontier.split_last() else {
        return hash(&[]);
    };
    larger.iter().rev().fold(*last, |right, left| node(left, &right))
}

/// Appends entries to the log of which `size` leaves and the roots of their perfect subtrees are known.
pub fn append(size: u64, frontier: &[Hash], entries: &[&[u8]]) -> Result<Appended, InputError> {
    let count = entries.len() as u64;
    let is_frontier = frontier.len() == size.count_ones() as usize;
    let longer = size.checked_add(count).filter(|_| is_frontier).ok_or(InputError::Frontier)?;
    let levels = complete(size, frontier, hash_many(LEAF_TAG, entries));
    let mut nodes = Vec::with_capacity(levels.iter().map(Vec::len).sum());
    for leaf in size..longer {
        // A leaf completes its own node, and one more for each trailing 1 of its index.
        for (level, completed) in levels.iter().enumerate().take(leaf.trailing_ones() as usize + 1) {
            nodes.push(completed[((leaf >> level) - (size >> level)) as usize]);
        }
    }
    Ok(Appended { frontier: frontier_of(size, frontier, &levels, longer), nodes })
}

/// The nodes of each level that become complete; those of level `l` begin at index `size >> l`.
fn complete(size: u64, frontier: &[Hash], leaves: Vec<Hash>) -> Vec<Vec<Hash>> {
    let mut levels = vec![leaves];
    let mut older = frontier.iter().rev();
    for level in 0..u64::BITS {
        // Where the first of them is a right child, its left sibling is in the frontier.
        let sibling = if size >> level & 1 == 1 { older.next() } else { None };
        let completed = &levels[level as usize];
        let row: Vec<Hash> = sibling.into_iter().chain(completed).copied().collect();
        let pairs: Vec<&[u8]> = row.as_chunks::<2>().0.iter().map(|pair| pair.as_flattened()).collect();
        if pairs.is_empty() {
            break;
        }
        let above = hash_many(NODE_TAG, &pairs);
        levels.push(above);
    }
    levels
}

/// The roots of the perfect subtrees of the log of `longer` leaves, largest first.
fn frontier_of(size: u64, frontier: &[Hash], levels: &[Vec<Hash>], longer: u64) -> Vec<Hash> {
    let mut older = frontier.iter();
    let mut hashes = Vec::with_capacity(longer.count_ones() as usize);
    for level in (0..u64::BITS).rev() {
        let was = if size >> level & 1 == 1 { older.next() } else { None };
        if longer >> level & 1 == 0 {
            continue;
        }
        // The last complete node of this level: one of the new ones, or the one that was the frontier's already.
        let new = levels.get(level as usize).and_then(|completed| completed.last());
        hashes.extend(new.or(was));
    }
    hashes
}

fn node(left: &Hash, right: &Hash) -> Hash {
    hash_tagged(NODE_TAG, [*left, *right].as_flattened())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9162, 2.1.1, as it is written there.
    fn reference(entries: &[&[u8]]) -> Hash {
        match entries {
            [] => hash(&[]),
            [one] => hash_tagged(LEAF_TAG, one),
            more => {
                let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
                node(&reference(left), &reference(right))
            }
        }
    }

    fn one_by_one(entries: &[&[u8]]) -> Appended {
        let mut log = Appended { frontier: vec![], nodes: vec![] };
        for (index, entry) in entries.iter().enumerate() {
            let mut above = hash_tagged(LEAF_TAG, entry);
            log.nodes.push(above);
            for _ in 0..index.trailing_ones() {
                above = node(&log.frontier.pop().expect("a left sibling"), &above);
                log.nodes.push(above);
            }
            log.frontier.push(above);
        }
        log
    }

    #[test]
    fn roots_are_those_of_the_recursion() {
        let all: Vec<[u8; 4]> = (0..1100_u32).map(u32::to_be_bytes).collect();
        let entries: Vec<&[u8]> = all.iter().map(|entry| &entry[..]).collect();
        for size in (0..70).chain([127, 128, 129, 1023, 1024, 1025, 1100]) {
            assert_eq!(root(&entries[..size]), reference(&entries[..size]), "{size} entries");
        }
    }

    #[test]
    fn many_leaves_at_once_are_one_leaf_after_the_other_from_every_size() {
        let all: Vec<[u8; 4]> = (0..80_u32).map(u32::to_be_bytes).collect();
        let entries: Vec<&[u8]> = all.iter().map(|entry| &entry[..]).collect();
        for size in 0..40 {
            let before = one_by_one(&entries[..size]);
            for longer in size..80 {
                let after = one_by_one(&entries[..longer]);
                let appended = append(size as u64, &before.frontier, &entries[size..longer]).expect("a frontier");
                assert_eq!(appended.frontier, after.frontier, "{size} to {longer}");
                assert_eq!(appended.nodes, after.nodes[before.nodes.len()..], "{size} to {longer}");
            }
        }
    }

    #[test]
    fn a_frontier_of_another_size_and_a_full_log_are_refused() {
        let hash = [7; 32];
        assert_eq!(append(3, &[hash], &[]), Err(InputError::Frontier));
        assert_eq!(append(0, &[hash], &[]), Err(InputError::Frontier));
        assert_eq!(append(u64::MAX, &[hash; 64], &[b"one more"]), Err(InputError::Frontier));
        assert!(append(u64::MAX - 1, &[hash; 63], &[b"the last"]).is_ok());
    }
}
