//! Numbers past the field are refused, groups are hashed in order, and no width makes a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pyralog_native_core::poseidon::hash_many;

fuzz_target!(|input: (u8, Vec<[u64; 4]>)| {
    let (count, mut numbers) = input;
    let count = usize::from(count % 19);
    let answer = hash_many(count, &numbers);
    // Below 2^253 every number is an element.
    for number in &mut numbers {
        number[3] &= u64::MAX >> 3;
    }
    let (true, true) = ((1..=16).contains(&count), numbers.len().is_multiple_of(count.max(1))) else {
        assert!(answer.is_err());
        return;
    };
    let digests = hash_many(count, &numbers).expect("field elements");
    for (group, digest) in numbers.chunks(count).zip(digests) {
        assert_eq!(hash_many(count, group), Ok(vec![digest]));
    }
});
