//! Ed25519 under ZIP215, one signature or many.
//!
//! The rule: `S` is below the order of the base point; `A` and `R` decode, canonical or not; and
//! `8 S B = 8 R + 8 k A` with `k = SHA-512(R ‖ A ‖ M)`. Because of the factor 8, points of small order change nothing,
//! and many equations may be added up with random weights: each is right, or the sum is wrong but for chance.
//!
//! The weights are 128 bits from BLAKE3 over every `k` and `S` of the batch. A `k` commits to its `R`, `A` and `M`, so
//! whoever wants a wrong signature to pass must find weights that cancel it by trying 2^128 batches. Equal batches get
//! equal weights: no verdict depends on a source of chance.
//!
//! Sources: ZIP 215 (Zcash, 2020); Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs" (2020), section 4; RFC
//! 8032, section 5.1.7.

use std::collections::HashMap;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use rayon::prelude::*;
use sha2::{Digest, Sha512};

/// How many signatures are added up at once: what one core takes. Larger sums hardly cost less a signature.
const BATCH_COUNT: usize = 128;
/// Fewer equations are cheaper one by one than added up.
const SUM_COUNT_MIN: usize = 4;

/// A claim: `signature` is the key's over `message`.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// `A`, encoded.
    pub public_key: &'a [u8; 32],
    /// `M`.
    pub message: &'a [u8],
    /// `R ‖ S`, encoded.
    pub signature: &'a [u8; 64],
}

/// A claim whose parts decode.
struct Equation {
    /// `A` as it was encoded: equal encodings are equal points, and their terms are added up.
    key: [u8; 32],
    a: EdwardsPoint,
    r: EdwardsPoint,
    s: Scalar,
    /// SHA-512(R ‖ A ‖ M), before it is reduced.
    digest: [u8; 64],
}

/// Points of the keys of one batch: senders send more than once, and decoding one is a square root.
type Keys<'a> = HashMap<&'a [u8; 32], Option<EdwardsPoint>>;

fn point_of(public_key: &[u8; 32]) -> Option<EdwardsPoint> {
    CompressedEdwardsY(*public_key).decompress()
}

impl Equation {
    fn of(claim: &Claim<'_>, a: Option<EdwardsPoint>) -> Option<Self> {
        let a = a?;
        let (r_bytes, s_bytes) = claim.signature.split_first_chunk::<32>()?;
        let s = Option::from(Scalar::from_canonical_bytes(*s_bytes.first_chunk::<32>()?))?;
        let r = CompressedEdwardsY(*r_bytes).decompress()?;
        let digest =
            Sha512::new().chain_update(r_bytes).chain_update(claim.public_key).chain_update(claim.message).finalize().into();
        Some(Self { key: *claim.public_key, a, r, s, digest })
    }

    fn k(&self) -> Scalar {
        Scalar::from_bytes_mod_order_wide(&self.digest)
    }

    fn holds(&self) -> bool {
        let sum = EdwardsPoint::vartime_double_scalar_mul_basepoint(&-self.k(), &self.a, &self.s);
        (sum - self.r).mul_by_cofactor().is_identity()
    }
}

/// Whether the claim holds.
pub fn verify(claim: &Claim<'_>) -> bool {
    Equation::of(claim, point_of(claim.public_key)).is_some_and(|equation| equation.holds())
}

/// Whether each claim holds, in order: the answers of [`verify`], for less.
pub fn verify_many(claims: &[Claim<'_>]) -> Vec<bool> {
    // What one core takes need not wait until another wakes.
    if claims.len() <= BATCH_COUNT {
        return verify_batch(claims);
    }
    claims.par_chunks(BATCH_COUNT).flat_map_iter(verify_batch).collect()
}

fn verify_batch(claims: &[Claim<'_>]) -> Vec<bool> {
    let mut keys = Keys::with_capacity(claims.len());
    let equations: Vec<Option<Equation>> = claims
        .iter()
        .map(|claim| Equation::of(claim, *keys.entry(claim.public_key).or_insert_with(|| point_of(claim.public_key))))
        .collect();
    let decoded: Vec<&Equation> = equations.iter().flatten().collect();
    let mut verdicts = settle(&decoded, false).into_iter();
    equations.iter().map(|equation| equation.is_some() && verdicts.next() == Some(true)).collect()
}

/// Whether each equation holds. When the sum does not, both halves are asked, so that one wrong signature in 128 costs
/// one batch more and not 128 single ones.
fn settle(equations: &[&Equation], is_one_wrong: bool) -> Vec<bool> {
    if equations.len() < SUM_COUNT_MIN {
        return equations.iter().map(|equation| equation.holds()).collect();
    }
    if !is_one_wrong && sum_holds(equations) {
        return vec![true; equations.len()];
    }
    let (left, right) = equations.split_at(equations.len() / 2);
    let mut verdicts = settle(left, false);
    // Something is wrong, and it is not on the left: the sum on the right need not be asked.
    let is_right_wrong = verdicts.iter().all(|&holds| holds);
    verdicts.extend(settle(right, is_right_wrong));
    verdicts
}

/// Whether the weighted sum of all equations holds.
fn sum_holds(equations: &[&Equation]) -> bool {
    let weights = weights_of(equations);
    let mut base = Scalar::ZERO;
    let mut keys: Vec<(&[u8; 32], &EdwardsPoint, Scalar)> = Vec::with_capacity(equations.len());
    for (equation, weight) in equations.iter().zip(&weights) {
        base += weight * equation.s;
        keys.push((&equation.key, &equation.a, weight * equation.k()));
    }
    keys.sort_unstable_by_key(|(key, ..)| *key);
    keys.dedup_by(|later, kept| {
        let is_same = later.0 == kept.0;
        if is_same {
            kept.2 += later.2;
        }
        is_same
    });
    let scalars = core::iter::once(-base).chain(weights).chain(keys.iter().map(|(_, _, scalar)| *scalar));
    let points = core::iter::once(&curve25519_dalek::constants::ED25519_BASEPOINT_POINT)
        .chain(equations.iter().map(|equation| &equation.r))
        .chain(keys.iter().map(|(_, point, _)| *point));
    EdwardsPoint::vartime_multiscalar_mul(scalars, points).mul_by_cofactor().is_identity()
}

fn weights_of(equations: &[&Equation]) -> Vec<Scalar> {
    let mut hasher = blake3::Hasher::new_derive_key("pyralog 2026 ed25519 batch weights");
    for equation in equations {
        hasher.update(&equation.digest).update(equation.s.as_bytes());
    }
    let mut output = hasher.finalize_xof();
    equations
        .iter()
        .map(|_| {
            let mut bytes = [0; 16];
            output.fill(&mut bytes);
            Scalar::from(u128::from_le_bytes(bytes))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};

    /// Signs as RFC 8032 does, with a nonce from the secret and the message; `torsion` is added to both points.
    fn sign(secret: u64, message: &[u8], torsion: usize) -> ([u8; 32], [u8; 64]) {
        let a = Scalar::from(secret);
        let nonce = Scalar::from_bytes_mod_order_wide(
            &Sha512::new().chain_update(secret.to_le_bytes()).chain_update(message).finalize().into(),
        );
        let key = (ED25519_BASEPOINT_POINT * a + EIGHT_TORSION[torsion]).compress().to_bytes();
        let r = (ED25519_BASEPOINT_POINT * nonce + EIGHT_TORSION[(torsion * 3) % 8]).compress().to_bytes();
        let digest = Sha512::new().chain_update(r).chain_update(key).chain_update(message).finalize().into();
        let s = nonce + Scalar::from_bytes_mod_order_wide(&digest) * a;
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        signature[32..].copy_from_slice(s.as_bytes());
        (key, signature)
    }

    struct Signed {
        key: [u8; 32],
        message: Vec<u8>,
        signature: [u8; 64],
    }

    fn signed(count: usize) -> Vec<Signed> {
        (0..count)
            .map(|at| {
                let message = vec![at as u8; at % 90];
                let (key, signature) = sign(at as u64 % 7 + 1, &message, at % 8);
                Signed { key, message, signature }
            })
            .collect()
    }

    fn claims(all: &[Signed]) -> Vec<Claim<'_>> {
        all.iter().map(|one| Claim { public_key: &one.key, message: &one.message, signature: &one.signature }).collect()
    }

    #[test]
    fn a_batch_of_right_signatures_holds_with_and_without_torsion() {
        for count in [0, 1, 2, 3, 50, BATCH_COUNT, BATCH_COUNT + 1, 3 * BATCH_COUNT + 5] {
            let all = signed(count);
            assert_eq!(verify_many(&claims(&all)), vec![true; count], "{count} signatures");
            assert!(claims(&all).iter().all(verify));
        }
    }

    #[test]
    fn a_failing_batch_tells_which_signatures_are_wrong() {
        let bad = [0, 5, BATCH_COUNT - 1, BATCH_COUNT, 2 * BATCH_COUNT + 3];
        let mut all = signed(3 * BATCH_COUNT);
        let other = all[1].key;
        for (kind, &at) in bad.iter().enumerate() {
            let one = &mut all[at];
            match kind {
                0 => one.signature[40] ^= 1,
                1 => one.message.push(0),
                2 => one.key = other,
                3 => one.signature[..32].fill(2),
                _ => one.signature[32..].fill(255),
            }
        }
        let expected: Vec<bool> = (0..all.len()).map(|at| !bad.contains(&at)).collect();
        assert_eq!(verify_many(&claims(&all)), expected);
        assert_eq!(claims(&all).iter().map(verify).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn whichever_signatures_of_a_small_batch_are_wrong_those_are_told() {
        for wrong in 0_u32..512 {
            let mut all = signed(9);
            for (at, one) in all.iter_mut().enumerate() {
                one.signature[33] ^= u8::from(wrong >> at & 1 == 1);
            }
            let expected: Vec<bool> = (0..9).map(|at| wrong >> at & 1 == 0).collect();
            assert_eq!(verify_many(&claims(&all)), expected, "{wrong:b}");
        }
    }

    #[test]
    fn two_errors_that_cancel_without_weights_do_not_pass() {
        // S + 1 in one signature and S - 1 in the other: the plain sum of both equations still holds.
        let mut all = signed(8);
        for (at, change) in [(0, Scalar::ONE), (1, -Scalar::ONE)] {
            let s: Scalar = Option::from(Scalar::from_canonical_bytes(all[at].signature[32..].try_into().expect("32 bytes")))
                .expect("canonical");
            all[at].signature[32..].copy_from_slice((s + change).as_bytes());
        }
        let expected: Vec<bool> = (0..8).map(|at| at > 1).collect();
        assert_eq!(verify_many(&claims(&all)), expected);
    }
}
