//! Appending in one call is appending in two, whatever the sizes, and no frontier makes a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pyralog_native_core::merkle::{append, root};

fuzz_target!(|input: (u64, Vec<[u8; 32]>, Vec<Vec<u8>>, u8)| {
    let (size, frontier, entries, split) = input;
    let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
    let _ = append(size, &frontier, &entries);

    let (first, second) = entries.split_at(usize::from(split).min(entries.len()));
    let whole = append(0, &[], &entries).expect("the empty log");
    let before = append(0, &[], first).expect("the empty log");
    let after = append(first.len() as u64, &before.frontier, second).expect("a frontier");
    assert_eq!(after.frontier, whole.frontier);
    assert_eq!([before.nodes, after.nodes].concat(), whole.nodes);
    if entries.len().is_power_of_two() {
        assert_eq!(root(&entries), whole.frontier[0]);
    }
});
