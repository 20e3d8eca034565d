//! The generator that draws Poseidon's constants.
//!
//! Source: Grassi, Khovratovich, Rechberger, Roy, Schofnegger, "Poseidon" (USENIX Security 2021), appendix F.

use crate::field::Element;

const STATE_SIZE_BITS: usize = 80;
const FIELD_SIZE_BITS: usize = 254;
const WARM_UP_BITS: usize = 160;

/// An 80-bit shift register with feedback, of whose bits every other one says whether the next counts.
pub struct Grain {
    state: [bool; STATE_SIZE_BITS],
    at: usize,
}

impl Grain {
    /// The generator for a prime field of 254 bits, the S-box of a power, and a permutation of this shape.
    pub fn new(width: usize, rounds_full: usize, rounds_partial: usize) -> Self {
        let mut state = [true; STATE_SIZE_BITS];
        let fields = [(1, 2), (0, 4), (FIELD_SIZE_BITS, 12), (width, 12), (rounds_full, 10), (rounds_partial, 10)];
        let bits = fields.iter().flat_map(|&(value, size)| (0..size).rev().map(move |bit| value >> bit & 1 == 1));
        for (place, bit) in state.iter_mut().zip(bits) {
            *place = bit;
        }
        let mut grain = Self { state, at: 0 };
        for _ in 0..WARM_UP_BITS {
            grain.step();
        }
        grain
    }

    fn step(&mut self) -> bool {
        let bit = [62, 51, 38, 23, 13, 0].iter().fold(false, |sum, tap| sum ^ self.state[(self.at + tap) % STATE_SIZE_BITS]);
        self.state[self.at] = bit;
        self.at = (self.at + 1) % STATE_SIZE_BITS;
        bit
    }

    fn bit(&mut self) -> bool {
        loop {
            let (counts, bit) = (self.step(), self.step());
            if counts {
                return bit;
            }
        }
    }

    fn number(&mut self) -> [u64; 4] {
        let mut words = [0; 4];
        for place in (0..FIELD_SIZE_BITS).rev() {
            words[place / 64] |= u64::from(self.bit()) << (place % 64);
        }
        words
    }

    /// An element, drawn again while the number is not below the order: a round constant.
    pub fn element(&mut self) -> Element {
        loop {
            if let Some(element) = Element::from_words(self.number()) {
                return element;
            }
        }
    }

    /// An element, reduced: what the matrix is made of.
    pub fn element_reduced(&mut self) -> Element {
        Element::from_words_reduced(self.number())
    }
}
