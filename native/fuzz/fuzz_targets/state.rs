//! Changes in one version are changes in two, whatever they are, and no bytes that claim to be a page make a panic.

#![no_main]

use std::collections::{BTreeMap, HashMap};

use libfuzzer_sys::fuzz_target;
use pyralog_native_core::state::{Location, Page, Pages, Root, Update, empty_root};

type Batch = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn root_after(batches: &[&Batch], size_max: usize) -> Root {
    let mut pages = Pages::new(size_max);
    let mut store: HashMap<Location, Vec<u8>> = HashMap::new();
    let mut root = Root { hash: empty_root(), location: None };
    let mut next = 0;
    for batch in batches {
        let updates: Vec<Update<'_>> = batch.iter().map(|(key, value)| Update { key, value: value.as_deref() }).collect();
        let mut read = |location| store.get(&location).cloned().ok_or(location);
        let change = pages.stage(root, next, &updates, &mut read).expect("a version");
        for (location, page) in &change.fresh {
            store.insert(*location, page.bytes().to_vec());
        }
        (root, next) = (change.root, change.next_chunk);
        pages.adopt(change.fresh, &change.stale);
    }
    root
}

fuzz_target!(|input: (Vec<(Vec<u8>, Option<Vec<u8>>)>, Vec<(Vec<u8>, Option<Vec<u8>>)>, Vec<u8>)| {
    let (first, second, bytes) = input;
    if let Some(page) = Page::parse(bytes.clone()) {
        assert_eq!(page.bytes(), bytes);
    }
    let fits = |(key, _): &(Vec<u8>, Option<Vec<u8>>)| !key.is_empty() && key.len() <= 1024;
    let first: Batch = first.into_iter().filter(fits).collect();
    let second: Batch = second.into_iter().filter(fits).collect();
    let mut both = first.clone();
    both.extend(second.clone());
    let whole = root_after(&[&both], 1 << 20);
    assert_eq!(root_after(&[&first, &second], 2_000).hash, whole.hash);
});
