use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::block::{SPARE_SIZE_MAX, Spare};
use super::chunk::SLOTS_MAX;
use super::hashing::{KEY_SIZE_MAX, branch_bit, node_hash};
use super::page::{HEADER_SIZE, shape_at, u16_at};
use super::{Change, Fault, Location, Page, Pages, Root, Update, empty_root};
use crate::Hash;
use crate::hash::hash_tagged;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A leaf by its definition.
fn leaf_hash(key: &[u8], value: &[u8]) -> Hash {
    let value_hash = hash_tagged(0x12, value);
    hash_tagged(0x10, &[&(key.len() as u16).to_be_bytes(), key, &value_hash].concat())
}

/// The root by its definition: the node above some keys is at the first bit in which any of them part.
fn naive_root(rows: &[(&Vec<u8>, &Vec<u8>)]) -> Hash {
    match rows {
        [] => empty_root(),
        [(key, value)] => leaf_hash(key, value),
        _ => {
            let bits: Vec<usize> = rows.windows(2).map(|pair| branch_bit(pair[0].0, pair[1].0).expect("other keys")).collect();
            let least = *bits.iter().min().expect("a bit");
            let split = bits.iter().position(|&bit| bit == least).expect("its place") + 1;
            node_hash((least as u16, &naive_root(&rows[..split]), &naive_root(&rows[split..])))
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

/// Puts the slots of a version's chunks where they belong.
fn store_chunks(store: &mut HashMap<Location, Vec<u8>>, change: &Change) {
    let mut from = 0;
    for (&number, &to) in change.chunk_numbers.iter().zip(&change.chunk_ends) {
        let chunk = &change.chunks[from..to as usize];
        let count = u16_at(chunk, 0) as usize;
        let mut start = 2 + 4 * count;
        for (slot, end) in chunk[2..start].as_chunks::<4>().0.iter().enumerate() {
            let end = u32::from_be_bytes(*end) as usize;
            store.insert(number * SLOTS_MAX + slot as u64, chunk[start..end].to_vec());
            start = end;
        }
        from = to as usize;
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
        store_chunks(store, &change);
        pages.adopt(change.fresh, &change.replaced);
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
            // Few updates are followed down at once, many page by page.
            for _ in 0..random() % if seed % 3 == 0 { 900 } else { 120 } {
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
    let pages = tree.store.values().filter(|bytes| **bytes != [1]);
    for bytes in pages {
        assert!(Page::parse(bytes).is_some());
        for size in 0..bytes.len() {
            assert!(Page::parse(&bytes[..size]).is_none());
        }
        let count = u16_at(bytes, 0) as usize;
        for at in (0..HEADER_SIZE).chain(shape_at(count, 0)..bytes.len()) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            // Where keys still part at the same bits, another key is as good a page.
            if let Some(page) = Page::parse(&changed) {
                assert_eq!(page.bytes(), changed);
            }
        }
    }
}

#[test]
fn a_delta_that_is_cut_or_is_not_before_its_base_is_refused_and_any_other_change_means_itself() {
    let mut tree = Tree::new(0);
    let keys: Vec<Vec<u8>> = (0..12_u8).map(|at| [vec![at], vec![7; 20]].concat()).collect();
    let all: Vec<Update<'_>> = keys.iter().map(|key| Update { key, value: Some(&[1]) }).collect();
    tree.commit(&all);
    tree.commit(&[Update { value: Some(&[2]), ..all[3] }, Update { value: Some(&[2]), ..all[7] }]);
    let location = tree.root.location.expect("a page");
    let delta = tree.store[&location].clone();
    assert_eq!(delta.len(), 8 + 2 * 39);
    let read = |bytes: Vec<u8>| {
        let store = &tree.store;
        let mut reader = |at| if at == location { Ok(bytes.clone()) } else { store.get(&at).cloned().ok_or(at) };
        Pages::new(0).get(location, &mut reader).map(|page| page.bytes().to_vec())
    };
    let page = read(delta.clone()).expect("a page");
    for size in 0..delta.len() {
        assert_eq!(read(delta[..size].to_vec()), Err(Fault::Page(location)), "cut to {size}");
    }
    for at in 0..delta.len() {
        let mut changed = delta.clone();
        changed[at] ^= 0x10;
        match read(changed) {
            // A hash, or where a value is: what the hashes above are for.
            Ok(other) => assert!(at >= 8 && other != page, "byte {at}"),
            Err(fault) => assert!(at < 9 || at == 8 + 39, "byte {at}: {fault:?}"),
        }
    }
}

#[test]
fn a_block_is_handed_out_again_to_its_size_alone_and_never_while_somebody_holds_it() {
    let mut spare = Spare::default();
    let block = spare.take(100);
    assert!(block.len() >= 100 && block.len() < 116);
    let (at, held) = (block.as_ptr(), Rc::clone(&block));
    spare.give(block);
    assert_ne!(spare.take(100).as_ptr(), at, "it is held");
    spare.give(held);
    assert_ne!(spare.take(200).as_ptr(), at, "it is of another size");
    assert_eq!(spare.take(100).as_ptr(), at);
    let most = SPARE_SIZE_MAX / 1024;
    let blocks: Vec<Rc<[u8]>> = (0..=most).map(|_| spare.take(1024)).collect();
    let places: Vec<_> = blocks.iter().map(|block| block.as_ptr()).collect();
    blocks.into_iter().for_each(|block| spare.give(block));
    assert_eq!(spare.take(1024).as_ptr(), places[most - 1], "the last one was too many");
}
