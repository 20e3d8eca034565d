//! Keys and signatures of any bytes are refused without a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pyralog_native_core::ml_dsa::{Claim, PUBLIC_KEY_SIZE_BYTES, SIGNATURE_SIZE_BYTES, verify, verify_many};

fuzz_target!(|bytes: &[u8]| {
    let filled: Vec<u8> = bytes.iter().copied().chain([0]).cycle().take(PUBLIC_KEY_SIZE_BYTES + SIGNATURE_SIZE_BYTES).collect();
    let (key, signature) = filled.split_at(PUBLIC_KEY_SIZE_BYTES);
    let claim = Claim {
        public_key: key.try_into().expect("as many bytes"),
        message: bytes,
        signature: signature.try_into().expect("as many bytes"),
    };
    assert_eq!(verify_many(&[claim]), [verify(&claim)]);
});
