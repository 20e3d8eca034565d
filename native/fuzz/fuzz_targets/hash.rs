//! Bodies in lanes have the hashes that they have alone, and no packed list makes a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pyralog_native_core::hash::{hash, hash_many};
use pyralog_native_core::input::unpack;

fuzz_target!(|input: (u8, Vec<u16>, Vec<u8>)| {
    let (tag, lengths, bytes) = input;
    let lengths: Vec<u32> = lengths.into_iter().map(|length| u32::from(length % 1100)).collect();
    let total: usize = lengths.iter().map(|&length| length as usize).sum();
    let fits = total == bytes.len();
    assert_eq!(unpack(&bytes, &lengths).is_ok(), fits);

    // Made to fit: the bytes again and again.
    let enough: Vec<u8> = bytes.iter().copied().chain([tag]).cycle().take(total).collect();
    let bodies = unpack(&enough, &lengths).expect("lengths that add up");
    for (body, digest) in bodies.iter().zip(hash_many(tag, &bodies)) {
        assert_eq!(digest, hash(&[&[tag], *body].concat()));
    }
});
