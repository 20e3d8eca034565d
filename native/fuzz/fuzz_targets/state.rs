//! Changes in one version are changes in two, whatever they are, and no bytes that claim to be a page, or a
//! delta of one, make a panic.

#![no_main]

use std::collections::{BTreeMap, HashMap};

use libfuzzer_sys::fuzz_target;
use pyralog_native_core::state::{Change, Location, Page, Pages, Root, Update, empty_root};

/// Where the page is that a run makes up; what it is made from is elsewhere.
const TOP: Location = 1 << 40;

type Batch = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Puts the slots of a version's chunks where they belong: pages whole or as deltas, and values.
fn store_chunks(store: &mut HashMap<Location, Vec<u8>>, change: &Change) {
    let mut from = 0;
    for (&number, &to) in change.chunk_numbers.iter().zip(&change.chunk_ends) {
        let chunk = &change.chunks[from..to as usize];
        let mut start = 2 + 4 * usize::from(u16::from_be_bytes([chunk[0], chunk[1]]));
        for (slot, end) in chunk[2..start].as_chunks::<4>().0.iter().enumerate() {
            let end = u32::from_be_bytes(*end) as usize;
            store.insert(number * 256 + slot as u64, chunk[start..end].to_vec());
            start = end;
        }
        from = to as usize;
    }
}

fn root_after(batches: &[&Batch], size_max: usize) -> Root {
    let mut pages = Pages::new(size_max);
    let mut store: HashMap<Location, Vec<u8>> = HashMap::new();
    let mut root = Root { hash: empty_root(), location: None };
    let mut next = 0;
    for batch in batches {
        let updates: Vec<Update<'_>> = batch.iter().map(|(key, value)| Update { key, value: value.as_deref() }).collect();
        let mut read = |location| store.get(&location).cloned().ok_or(location);
        let change = pages.stage(root, next, &updates, &mut read).expect("a version");
        store_chunks(&mut store, &change);
        (root, next) = (change.root, change.next_chunk);
        pages.adopt(change.fresh, &change.replaced);
    }
    root
}

fuzz_target!(|input: (Vec<(Vec<u8>, Option<Vec<u8>>)>, Vec<(Vec<u8>, Option<Vec<u8>>)>, Vec<u8>, Vec<u8>)| {
    let (first, second, bytes, base) = input;
    if let Some(page) = Page::parse(&bytes) {
        assert_eq!(page.bytes(), bytes);
    }
    let mut read = |location| Ok::<_, ()>(if location == TOP { bytes.clone() } else { base.clone() });
    if let Ok(page) = Pages::new(0).get(TOP, &mut read) {
        assert!(Page::parse(page.bytes()).is_some());
    }
    let fits = |(key, _): &(Vec<u8>, Option<Vec<u8>>)| !key.is_empty() && key.len() <= 1024;
    let first: Batch = first.into_iter().filter(fits).collect();
    let second: Batch = second.into_iter().filter(fits).collect();
    let mut both = first.clone();
    both.extend(second.clone());
    let whole = root_after(&[&both], 1 << 20);
    assert_eq!(root_after(&[&first, &second], 2_000).hash, whole.hash);
});
