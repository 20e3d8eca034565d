//! BLAKE3 of eight short messages at once, one in each lane of the registers.
//!
//! The library hashes one message with all lanes, which needs a long one. What a database hashes is short: an inner
//! node of a Merkle tree has 65 bytes. So here lane `l` of every vector belongs to message `l`, and all messages of a
//! group take the same number of blocks. A message of at most 1,024 bytes is one chunk, and its chunk is the root.
//!
//! It takes a processor with AVX2. Elsewhere there is no answer, and messages are hashed one by one. A processor with AVX-512 has
//! twice as many registers and rotates in one instruction, so there is a second form, of the same code, for it.
//!
//! Source: O'Connor, Aumasson, Neves, Wilcox-O'Hearn, "BLAKE3" (2020), sections 2.1 to 2.5.

use crate::Hash;

/// How many messages one call hashes.
pub const LANES: usize = 8;
/// Fewer messages than this are better hashed one by one: eight lanes cost as much as that many.
pub const LANES_MIN: usize = 3;
/// A block of the compression function.
pub const BLOCK_SIZE_BYTES: usize = 64;
/// The longest message that is one chunk.
pub const CHUNK_SIZE_BYTES: usize = 1024;

/// How many blocks `tag ‖ body` takes.
pub fn blocks_of(body_size_bytes: usize) -> usize {
    body_size_bytes / BLOCK_SIZE_BYTES + 1
}

/// Calls a function in the widest form that the processor has instructions for; `None` when it has too few for any.
macro_rules! on_lanes {
    ($name:ident($($argument:expr),*)) => {{
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("avx512f") && has!("avx512vl") {
                // SAFETY: the function is safe but for the instructions that it needs, which the line above has found.
                #[allow(unsafe_code)]
                return Some(unsafe { avx512::$name($($argument),*) });
            }
            if has!("avx2") {
                // SAFETY: as above.
                #[allow(unsafe_code)]
                return Some(unsafe { avx2::$name($($argument),*) });
            }
        }
        None
    }};
}

/// The digests of `tag ‖ body` for eight bodies of at most 1,023 bytes, which all take `blocks` blocks. Nothing where
/// the processor has no AVX2.
pub fn hash_lanes(tag: u8, bodies: &[&[u8]; LANES], blocks: usize) -> Option<[Hash; LANES]> {
    debug_assert!(bodies.iter().all(|body| blocks_of(body.len()) == blocks && body.len() < CHUNK_SIZE_BYTES));
    on_lanes!(hash_lanes(tag, bodies, blocks))
}

/// The digests of `head ‖ left ‖ right` for eight nodes of a tree, whose heads are the lowest three bytes of a number, the lowest
/// first. Nothing where the processor has no AVX2.
pub fn hash_nodes(heads: &[u32; LANES], pairs: &[(&Hash, &Hash); LANES]) -> Option<[Hash; LANES]> {
    on_lanes!(hash_nodes(heads, pairs))
}

#[cfg(target_arch = "x86_64")]
mod words {
    use super::BLOCK_SIZE_BYTES;

    // Section 2.1, table 1: the words of SHA-256's and BLAKE2s's initial state.
    pub(super) const IV: [u32; 8] =
        [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

    // Section 2.2, table 2, applied 0 to 6 times: which word each of the sixteen places of a round takes.
    pub(super) const SCHEDULE: [[usize; 16]; 7] = schedule();

    // Section 2.2, table 3.
    pub(super) const CHUNK_START: u32 = 1;
    pub(super) const CHUNK_END: u32 = 2;
    pub(super) const ROOT: u32 = 8;

    const fn schedule() -> [[usize; 16]; 7] {
        const PERMUTATION: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
        let mut rounds = [[0; 16]; 7];
        let mut place = 0;
        while place < 16 {
            rounds[0][place] = place;
            place += 1;
        }
        let mut round = 1;
        while round < 7 {
            place = 0;
            while place < 16 {
                rounds[round][place] = rounds[round - 1][PERMUTATION[place]];
                place += 1;
            }
            round += 1;
        }
        rounds
    }

    /// Block number `block` of `tag ‖ body`, zeros behind its end, and how many of its bytes count.
    #[inline]
    pub(super) fn block_of(tag: u8, body: &[u8], block: usize) -> ([u8; BLOCK_SIZE_BYTES], u32) {
        let mut bytes = [0; BLOCK_SIZE_BYTES];
        let length = if block == 0 {
            bytes[0] = tag;
            let length = body.len().min(BLOCK_SIZE_BYTES - 1);
            bytes[1..=length].copy_from_slice(&body[..length]);
            length + 1
        } else {
            let rest = &body[(block * BLOCK_SIZE_BYTES - 1).min(body.len())..];
            let length = rest.len().min(BLOCK_SIZE_BYTES);
            bytes[..length].copy_from_slice(&rest[..length]);
            length
        };
        (bytes, length as u32)
    }
}

/// Code for processors that have these instructions: a function of fewer would not become part of one of more.
#[cfg(target_arch = "x86_64")]
macro_rules! lanes_with {
    ($name:ident, $features:literal) => {
        mod $name {
            use super::words::{CHUNK_END, CHUNK_START, IV, ROOT, SCHEDULE, block_of};
            use super::{BLOCK_SIZE_BYTES, Hash, LANES};
            use core::arch::x86_64::{
                __m256i, _mm256_add_epi32, _mm256_extract_epi64, _mm256_or_si256, _mm256_permute2x128_si256, _mm256_set_epi8,
                _mm256_set_epi32, _mm256_set_epi64x, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8,
                _mm256_slli_epi32, _mm256_srli_epi32, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32,
                _mm256_unpacklo_epi64, _mm256_xor_si256,
            };

            #[target_feature(enable = $features)]
            pub fn hash_lanes(tag: u8, bodies: &[&[u8]; LANES], blocks: usize) -> [Hash; LANES] {
                let mut chaining = IV.map(|word| all(word));
                for block in 0..blocks {
                    let mut halves = [[_mm256_setzero_si256(); LANES]; 2];
                    let mut lengths = [BLOCK_SIZE_BYTES as u32; LANES];
                    for (lane, body) in bodies.iter().enumerate() {
                        let (bytes, length) = block_of(tag, body, block);
                        let (low, high) = bytes.split_at(32);
                        (halves[0][lane], halves[1][lane]) = (row_of(low), row_of(high));
                        lengths[lane] = length;
                    }
                    let words = joined(halves.map(|half| transposed(half)));
                    let start = if block == 0 { CHUNK_START } else { 0 };
                    let end = if block + 1 == blocks { CHUNK_END | ROOT } else { 0 };
                    compress(&mut chaining, &words, vector_of(lengths), all(start | end));
                }
                transposed(chaining).map(|row| bytes_of(row))
            }

            #[target_feature(enable = $features)]
            pub fn hash_nodes(heads: &[u32; LANES], pairs: &[(&Hash, &Hash); LANES]) -> [Hash; LANES] {
                let hashes =
                    joined([transposed(pairs.map(|(left, _)| row_of(left))), transposed(pairs.map(|(_, right)| row_of(right)))]);
                // The words of the message are three bytes behind those of the hashes.
                let mut words = hashes;
                words[0] = _mm256_or_si256(vector_of(*heads), _mm256_slli_epi32::<24>(hashes[0]));
                for at in 1..16 {
                    words[at] = _mm256_or_si256(_mm256_srli_epi32::<8>(hashes[at - 1]), _mm256_slli_epi32::<24>(hashes[at]));
                }
                let mut chaining = IV.map(|word| all(word));
                compress(&mut chaining, &words, all(BLOCK_SIZE_BYTES as u32), all(CHUNK_START));
                let mut rest = [_mm256_setzero_si256(); 16];
                rest[0] = _mm256_srli_epi32::<8>(hashes[15]);
                compress(&mut chaining, &rest, all(3), all(CHUNK_END | ROOT));
                transposed(chaining).map(|row| bytes_of(row))
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn joined([low, high]: [[__m256i; 8]; 2]) -> [__m256i; 16] {
                core::array::from_fn(|at| if at < 8 { low[at] } else { high[at - 8] })
            }

            /// Row `i` of the result has word `i` of every row.
            #[inline]
            #[target_feature(enable = $features)]
            fn transposed(rows: [__m256i; 8]) -> [__m256i; 8] {
                let [a, b, c, d, e, f, g, h] = rows;
                // Pairs of words, then fours, of both halves of the registers; at last the halves.
                let (ab, cd, ef, gh) = (
                    [_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b)],
                    [_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d)],
                    [_mm256_unpacklo_epi32(e, f), _mm256_unpackhi_epi32(e, f)],
                    [_mm256_unpacklo_epi32(g, h), _mm256_unpackhi_epi32(g, h)],
                );
                let mut columns = [_mm256_setzero_si256(); 8];
                for at in 0..2 {
                    let low = [_mm256_unpacklo_epi64(ab[at], cd[at]), _mm256_unpackhi_epi64(ab[at], cd[at])];
                    let high = [_mm256_unpacklo_epi64(ef[at], gh[at]), _mm256_unpackhi_epi64(ef[at], gh[at])];
                    for part in 0..2 {
                        columns[2 * at + part] = _mm256_permute2x128_si256::<0x20>(low[part], high[part]);
                        columns[4 + 2 * at + part] = _mm256_permute2x128_si256::<0x31>(low[part], high[part]);
                    }
                }
                columns
            }

            /// Thirty-two bytes as a register.
            #[inline]
            #[target_feature(enable = $features)]
            fn row_of(bytes: &[u8]) -> __m256i {
                let eights = bytes.as_chunks::<8>().0;
                let word = |at: usize| i64::from_le_bytes(eights[at]);
                _mm256_set_epi64x(word(3), word(2), word(1), word(0))
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn bytes_of(row: __m256i) -> Hash {
                let words = [
                    _mm256_extract_epi64::<0>(row),
                    _mm256_extract_epi64::<1>(row),
                    _mm256_extract_epi64::<2>(row),
                    _mm256_extract_epi64::<3>(row),
                ];
                let mut bytes = [0; 32];
                for (into, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
                    *into = word.to_le_bytes();
                }
                bytes
            }

            /// The compression function at counter 0, of which only the chaining value is kept. Section 2.2.
            #[inline]
            #[target_feature(enable = $features)]
            fn compress(chaining: &mut [__m256i; 8], words: &[__m256i; 16], lengths: __m256i, flags: __m256i) {
                let mut state = [_mm256_setzero_si256(); 16];
                state[..8].copy_from_slice(chaining);
                for (vector, word) in state[8..12].iter_mut().zip(IV) {
                    *vector = all(word);
                }
                state[14] = lengths;
                state[15] = flags;
                round::<0>(&mut state, words);
                round::<1>(&mut state, words);
                round::<2>(&mut state, words);
                round::<3>(&mut state, words);
                round::<4>(&mut state, words);
                round::<5>(&mut state, words);
                round::<6>(&mut state, words);
                for (place, vector) in chaining.iter_mut().enumerate() {
                    *vector = _mm256_xor_si256(state[place], state[place + 8]);
                }
            }

            /// Each of its own, so that the words that it takes are known and stay in registers.
            #[inline]
            #[target_feature(enable = $features)]
            fn round<const ROUND: usize>(state: &mut [__m256i; 16], words: &[__m256i; 16]) {
                let order = const { SCHEDULE[ROUND] };
                mix(state, [0, 4, 8, 12], words[order[0]], words[order[1]]);
                mix(state, [1, 5, 9, 13], words[order[2]], words[order[3]]);
                mix(state, [2, 6, 10, 14], words[order[4]], words[order[5]]);
                mix(state, [3, 7, 11, 15], words[order[6]], words[order[7]]);
                mix(state, [0, 5, 10, 15], words[order[8]], words[order[9]]);
                mix(state, [1, 6, 11, 12], words[order[10]], words[order[11]]);
                mix(state, [2, 7, 8, 13], words[order[12]], words[order[13]]);
                mix(state, [3, 4, 9, 14], words[order[14]], words[order[15]]);
            }

            /// The quarter round G on four rows of the state. Section 2.2.
            #[inline]
            #[target_feature(enable = $features)]
            fn mix(state: &mut [__m256i; 16], [a, b, c, d]: [usize; 4], first: __m256i, second: __m256i) {
                state[a] = _mm256_add_epi32(_mm256_add_epi32(state[a], state[b]), first);
                state[d] = rotate_16(_mm256_xor_si256(state[d], state[a]));
                state[c] = _mm256_add_epi32(state[c], state[d]);
                state[b] = rotate::<12, 20>(_mm256_xor_si256(state[b], state[c]));
                state[a] = _mm256_add_epi32(_mm256_add_epi32(state[a], state[b]), second);
                state[d] = rotate_8(_mm256_xor_si256(state[d], state[a]));
                state[c] = _mm256_add_epi32(state[c], state[d]);
                state[b] = rotate::<7, 25>(_mm256_xor_si256(state[b], state[c]));
            }

            /// Rotates right by `RIGHT` bits; `LEFT` is 32 less that.
            #[inline]
            #[target_feature(enable = $features)]
            fn rotate<const RIGHT: i32, const LEFT: i32>(vector: __m256i) -> __m256i {
                _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(vector), _mm256_slli_epi32::<LEFT>(vector))
            }

            /// By whole bytes a rotation is one shuffle.
            #[inline]
            #[target_feature(enable = $features)]
            fn rotate_16(vector: __m256i) -> __m256i {
                let order = _mm256_set_epi8(
                    13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2, 13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2,
                );
                _mm256_shuffle_epi8(vector, order)
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn rotate_8(vector: __m256i) -> __m256i {
                let order = _mm256_set_epi8(
                    12, 15, 14, 13, 8, 11, 10, 9, 4, 7, 6, 5, 0, 3, 2, 1, 12, 15, 14, 13, 8, 11, 10, 9, 4, 7, 6, 5, 0, 3, 2, 1,
                );
                _mm256_shuffle_epi8(vector, order)
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn all(word: u32) -> __m256i {
                _mm256_set1_epi32(word.cast_signed())
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn vector_of(words: [u32; LANES]) -> __m256i {
                let [a, b, c, d, e, f, g, h] = words.map(u32::cast_signed);
                _mm256_set_epi32(h, g, f, e, d, c, b, a)
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
lanes_with!(avx2, "avx2");
#[cfg(target_arch = "x86_64")]
lanes_with!(avx512, "avx2,avx512f,avx512vl");

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use std::arch::is_x86_feature_detected as has;

    use super::*;

    fn bytes(count: usize, seed: usize) -> Vec<u8> {
        (0..count).map(|at| (at * 7 + seed * 31) as u8).collect()
    }

    /// Checks both functions of one form against the library.
    macro_rules! check {
        ($form:ident) => {
            for blocks in 1..=16 {
                let size = |lane: usize| 64 * (blocks - 1) + [0, 1, 2, 31, 32, 60, 62, 63][lane];
                let bodies: [Vec<u8>; LANES] = core::array::from_fn(|lane| bytes(size(lane), lane));
                let group = core::array::from_fn(|lane| bodies[lane].as_slice());
                // SAFETY: whoever checks a form has asked for its instructions.
                #[allow(unsafe_code)]
                let digests = unsafe { $form::hash_lanes(0x2a, &group, blocks) };
                for (body, digest) in bodies.iter().zip(digests) {
                    let tagged = [&[0x2a], body.as_slice()].concat();
                    assert_eq!(blake3::hash(&tagged), digest, "{}, {} bytes", stringify!($form), body.len());
                }
            }
            let hashes: [Hash; 2 * LANES] = core::array::from_fn(|at| blake3::hash(&[at as u8]).into());
            let pairs = core::array::from_fn(|lane| (&hashes[2 * lane], &hashes[2 * lane + 1]));
            let heads = core::array::from_fn(|lane| 0x00ff_8001 * (lane as u32 + 1) & 0x00ff_ffff);
            // SAFETY: as above.
            #[allow(unsafe_code)]
            let digests = unsafe { $form::hash_nodes(&heads, &pairs) };
            for lane in 0..LANES {
                let (left, right) = pairs[lane];
                let message = [&heads[lane].to_le_bytes()[..3], left, right].concat();
                assert_eq!(blake3::hash(&message), digests[lane], "{}, lane {lane}", stringify!($form));
            }
        };
    }

    #[test]
    fn each_form_that_this_processor_can_run_gives_the_digests_of_the_library() {
        if has!("avx2") {
            check!(avx2);
        }
        if has!("avx2") && has!("avx512f") && has!("avx512vl") {
            check!(avx512);
        }
    }
}
