//! BLAKE3 of eight short messages at once, one in each lane of the registers.
//!
//! The library hashes one message with all lanes, which needs a long one. What a database hashes is short: an inner
//! node of a Merkle tree has 65 bytes. So here lane `l` of every vector belongs to message `l`, and all messages of a
//! group take the same number of blocks. A message of at most 1,024 bytes is one chunk, and its chunk is the root.
//!
//! It takes a processor with AVX2. Elsewhere `hash_lanes` has no answer, and messages are hashed one by one.
//!
//! Source: O'Connor, Aumasson, Neves, Wilcox-O'Hearn, "BLAKE3" (2020), sections 2.1 to 2.5.

use crate::Hash;

/// How many messages one call hashes.
pub const LANES: usize = 8;
/// A block of the compression function.
pub const BLOCK_SIZE_BYTES: usize = 64;
/// The longest message that is one chunk.
pub const CHUNK_SIZE_BYTES: usize = 1024;

/// How many blocks `tag ‖ body` takes.
pub fn blocks_of(body_size_bytes: usize) -> usize {
    body_size_bytes / BLOCK_SIZE_BYTES + 1
}

/// The digests of `tag ‖ body` for eight bodies of at most 1,023 bytes, which all take `blocks` blocks. Nothing where
/// the processor has no AVX2.
pub fn hash_lanes(tag: u8, bodies: &[&[u8]; LANES], blocks: usize) -> Option<[Hash; LANES]> {
    debug_assert!(bodies.iter().all(|body| blocks_of(body.len()) == blocks && body.len() < CHUNK_SIZE_BYTES));
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the function is safe but for its need of AVX2, and the line above has found that in this processor.
        #[allow(unsafe_code)]
        return Some(unsafe { avx2::hash_lanes(tag, bodies, blocks) });
    }
    None
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{BLOCK_SIZE_BYTES, Hash, LANES};
    use core::arch::x86_64::{
        __m256i, _mm256_add_epi32, _mm256_extract_epi32, _mm256_or_si256, _mm256_set_epi8, _mm256_set_epi32, _mm256_set1_epi32,
        _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_xor_si256,
    };

    // Section 2.1, table 1: the words of SHA-256's and BLAKE2s's initial state.
    const IV: [u32; 8] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

    // Section 2.2, table 2, applied 0 to 6 times: which word each of the sixteen places of a round takes.
    const SCHEDULE: [[usize; 16]; 7] = schedule();

    // Section 2.2, table 3.
    const CHUNK_START: u32 = 1;
    const CHUNK_END: u32 = 2;
    const ROOT: u32 = 8;

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

    /// Block number `block` of `tag ‖ body`, as words, zeros behind its end, and how many of its bytes count.
    #[inline]
    fn block_of(tag: u8, body: &[u8], block: usize) -> ([u32; 16], u32) {
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
        let quads = bytes.as_chunks::<4>().0;
        (core::array::from_fn(|word| u32::from_le_bytes(quads[word])), length as u32)
    }

    #[target_feature(enable = "avx2")]
    pub fn hash_lanes(tag: u8, bodies: &[&[u8]; LANES], blocks: usize) -> [Hash; LANES] {
        let mut chaining = [_mm256_setzero_si256(); 8];
        for (vector, word) in chaining.iter_mut().zip(IV) {
            *vector = all(word);
        }
        for block in 0..blocks {
            let mut rows = [[0; 16]; LANES];
            let mut lengths = [BLOCK_SIZE_BYTES as u32; LANES];
            for (lane, body) in bodies.iter().enumerate() {
                (rows[lane], lengths[lane]) = block_of(tag, body, block);
            }
            let mut words = [_mm256_setzero_si256(); 16];
            for (word, vector) in words.iter_mut().enumerate() {
                *vector = vector_of([
                    rows[0][word],
                    rows[1][word],
                    rows[2][word],
                    rows[3][word],
                    rows[4][word],
                    rows[5][word],
                    rows[6][word],
                    rows[7][word],
                ]);
            }
            let start = if block == 0 { CHUNK_START } else { 0 };
            let end = if block + 1 == blocks { CHUNK_END | ROOT } else { 0 };
            compress(&mut chaining, &words, vector_of(lengths), all(start | end));
        }
        let mut digests = [[0; 32]; LANES];
        for (place, vector) in chaining.into_iter().enumerate() {
            for (digest, value) in digests.iter_mut().zip(words_of(vector)) {
                digest[place * 4..place * 4 + 4].copy_from_slice(&value.to_le_bytes());
            }
        }
        digests
    }

    /// The compression function at counter 0, of which only the chaining value is kept. Section 2.2.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn compress(chaining: &mut [__m256i; 8], words: &[__m256i; 16], lengths: __m256i, flags: __m256i) {
        let mut state = [_mm256_setzero_si256(); 16];
        state[..8].copy_from_slice(chaining);
        for (vector, word) in state[8..12].iter_mut().zip(IV) {
            *vector = all(word);
        }
        state[14] = lengths;
        state[15] = flags;
        for order in &SCHEDULE {
            mix(&mut state, [0, 4, 8, 12], words[order[0]], words[order[1]]);
            mix(&mut state, [1, 5, 9, 13], words[order[2]], words[order[3]]);
            mix(&mut state, [2, 6, 10, 14], words[order[4]], words[order[5]]);
            mix(&mut state, [3, 7, 11, 15], words[order[6]], words[order[7]]);
            mix(&mut state, [0, 5, 10, 15], words[order[8]], words[order[9]]);
            mix(&mut state, [1, 6, 11, 12], words[order[10]], words[order[11]]);
            mix(&mut state, [2, 7, 8, 13], words[order[12]], words[order[13]]);
            mix(&mut state, [3, 4, 9, 14], words[order[14]], words[order[15]]);
        }
        for (place, vector) in chaining.iter_mut().enumerate() {
            *vector = _mm256_xor_si256(state[place], state[place + 8]);
        }
    }

    /// The quarter round G on four rows of the state. Section 2.2.
    #[inline]
    #[target_feature(enable = "avx2")]
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
    #[target_feature(enable = "avx2")]
    fn rotate<const RIGHT: i32, const LEFT: i32>(vector: __m256i) -> __m256i {
        _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(vector), _mm256_slli_epi32::<LEFT>(vector))
    }

    /// By whole bytes a rotation is one shuffle.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn rotate_16(vector: __m256i) -> __m256i {
        let order = _mm256_set_epi8(
            13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2, 13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2,
        );
        _mm256_shuffle_epi8(vector, order)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn rotate_8(vector: __m256i) -> __m256i {
        let order = _mm256_set_epi8(
            12, 15, 14, 13, 8, 11, 10, 9, 4, 7, 6, 5, 0, 3, 2, 1, 12, 15, 14, 13, 8, 11, 10, 9, 4, 7, 6, 5, 0, 3, 2, 1,
        );
        _mm256_shuffle_epi8(vector, order)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn all(word: u32) -> __m256i {
        _mm256_set1_epi32(word.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn vector_of(words: [u32; LANES]) -> __m256i {
        let [a, b, c, d, e, f, g, h] = words.map(u32::cast_signed);
        _mm256_set_epi32(h, g, f, e, d, c, b, a)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn words_of(vector: __m256i) -> [u32; LANES] {
        [
            _mm256_extract_epi32::<0>(vector),
            _mm256_extract_epi32::<1>(vector),
            _mm256_extract_epi32::<2>(vector),
            _mm256_extract_epi32::<3>(vector),
            _mm256_extract_epi32::<4>(vector),
            _mm256_extract_epi32::<5>(vector),
            _mm256_extract_epi32::<6>(vector),
            _mm256_extract_epi32::<7>(vector),
        ]
        .map(i32::cast_unsigned)
    }
}
