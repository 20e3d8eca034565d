//! ML-DSA-65 with the empty context: by libcrux, whose core is proven to do what FIPS 204 says and to keep its secrets
//! out of branches and addresses.
//!
//! Source: FIPS 204, algorithms 1 to 3. A seed is xi of ML-DSA.KeyGen_internal.

use libcrux_ml_dsa::ml_dsa_65;
use libcrux_ml_dsa::{MLDSASignature, MLDSASigningKey, MLDSAVerificationKey};
use rayon::prelude::*;

use crate::InputError;

/// Our own domain tag is inside the message.
const CONTEXT: &[u8] = b"";
/// Signatures that one core takes at a time: half a millisecond.
const BATCH_COUNT: usize = 8;

/// FIPS 204, table 2.
pub const SIGNING_KEY_SIZE_BYTES: usize = 4032;
/// FIPS 204, table 2.
pub const PUBLIC_KEY_SIZE_BYTES: usize = 1952;
/// FIPS 204, table 2.
pub const SIGNATURE_SIZE_BYTES: usize = 3309;

/// A claim: `signature` is the key's over `message`.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The encoded public key.
    pub public_key: &'a [u8; PUBLIC_KEY_SIZE_BYTES],
    /// The message, without context.
    pub message: &'a [u8],
    /// The encoded signature.
    pub signature: &'a [u8; SIGNATURE_SIZE_BYTES],
}

/// The signing key of a seed, and then the public key.
pub fn key_pair(seed: [u8; 32]) -> Vec<u8> {
    let pair = ml_dsa_65::generate_key_pair(seed);
    [pair.signing_key.as_slice(), pair.verification_key.as_slice()].concat()
}

/// The signature over the message. Fresh randomness makes it hedged, zeros make it deterministic (section 3.4).
pub fn sign(key: &[u8; SIGNING_KEY_SIZE_BYTES], message: &[u8], randomness: [u8; 32]) -> Result<Vec<u8>, InputError> {
    let signature = ml_dsa_65::sign(&MLDSASigningKey::new(*key), message, CONTEXT, randomness);
    // It gives up after so many tries that no key and message are known to need them.
    signature.map(|signature| signature.as_slice().to_vec()).map_err(|_| InputError::Signing)
}

/// Whether the claim holds.
pub fn verify(claim: &Claim<'_>) -> bool {
    let key = MLDSAVerificationKey::new(*claim.public_key);
    ml_dsa_65::verify(&key, claim.message, CONTEXT, &MLDSASignature::new(*claim.signature)).is_ok()
}

/// Whether each claim holds, in order, on all cores. There are no batches that cost less.
pub fn verify_many(claims: &[Claim<'_>]) -> Vec<bool> {
    if claims.len() <= BATCH_COUNT {
        return claims.iter().map(verify).collect();
    }
    claims.par_iter().with_min_len(BATCH_COUNT).map(verify).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_verifies_and_nothing_beside_it() {
        let pair = key_pair([7; 32]);
        let (signing, public) = pair.split_at(SIGNING_KEY_SIZE_BYTES);
        let signing = signing.try_into().expect("4,032 bytes");
        let public_key = public.try_into().expect("1,952 bytes");
        let bytes = sign(signing, b"a message", [1; 32]).expect("a signature");
        assert_ne!(bytes, sign(signing, b"a message", [0; 32]).expect("a signature"));
        let signature = bytes.as_slice().try_into().expect("3,309 bytes");
        assert!(verify(&Claim { public_key, message: b"a message", signature }));
        assert!(!verify(&Claim { public_key, message: b"a messagf", signature }));
        let claims: Vec<Claim<'_>> = (0..30)
            .map(|at| Claim { public_key, message: if at % 7 == 3 { b"another" } else { b"a message" }, signature })
            .collect();
        let expected: Vec<bool> = (0..30).map(|at| at % 7 != 3).collect();
        assert_eq!(verify_many(&claims), expected);
    }

    #[test]
    fn a_changed_byte_anywhere_is_refused() {
        let pair = key_pair([9; 32]);
        let (signing, public) = pair.split_at(SIGNING_KEY_SIZE_BYTES);
        let bytes = sign(signing.try_into().expect("4,032 bytes"), b"", [0; 32]).expect("a signature");
        // The hints stand at the end, and their padding must be zeros.
        for at in (0..SIGNATURE_SIZE_BYTES).step_by(101).chain(SIGNATURE_SIZE_BYTES - 61..SIGNATURE_SIZE_BYTES) {
            let mut changed: [u8; SIGNATURE_SIZE_BYTES] = bytes.as_slice().try_into().expect("3,309 bytes");
            changed[at] ^= 1;
            let public_key = public.try_into().expect("1,952 bytes");
            assert!(!verify(&Claim { public_key, message: b"", signature: &changed }), "byte {at}");
        }
    }
}
