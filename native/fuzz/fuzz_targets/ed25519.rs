//! A batch has the verdicts that its members have alone, whatever they are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pyralog_native_core::ed25519::{Claim, verify, verify_many};

fuzz_target!(|bytes: &[u8]| {
    // Records of a key, a signature and a message of four bytes; a member that is a copy of the first makes right sums.
    let (records, _) = bytes.as_chunks::<100>();
    let claims: Vec<Claim<'_>> = records
        .iter()
        .filter_map(|record| {
            let (public_key, rest) = record.split_first_chunk::<32>()?;
            let (signature, message) = rest.split_first_chunk::<64>()?;
            Some(Claim { public_key, message, signature })
        })
        .collect();
    let alone: Vec<bool> = claims.iter().map(verify).collect();
    assert_eq!(verify_many(&claims), alone);
});
