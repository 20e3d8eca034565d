//! The scalar field of BN254, four words an element, in Montgomery form: `a` stands as `a * 2^256 mod p`.
//!
//! Nothing here is secret, and nothing runs in constant time.
//!
//! Sources: EIP-197 for the order; Koç, Acar, Kaliski, "Analyzing and comparing Montgomery multiplication algorithms"
//! (1996), the coarsely integrated one.

/// The order `p`, least word first.
pub const ORDER: [u64; 4] = [0x43e1_f593_f000_0001, 0x2833_e848_79b9_7091, 0xb850_45b6_8181_585d, 0x3064_4e72_e131_a029];

/// `-p^-1 mod 2^64`.
const INVERSE: u64 = inverse();
/// `2^512 mod p`: multiplying by it enters Montgomery form.
const SQUARED: Element = Element(power_of_two(512));

/// An element, always below the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element([u64; 4]);

impl Element {
    /// Zero.
    pub const ZERO: Self = Self([0; 4]);

    /// The element of a number, least word first; nothing when it is not below the order.
    pub fn from_words(words: [u64; 4]) -> Option<Self> {
        (!is_reduced_past(&words)).then(|| Self(words).times(&SQUARED))
    }

    /// The element of any number below 2^256, reduced.
    pub fn from_words_reduced(mut words: [u64; 4]) -> Self {
        // 2^256 is less than six times the order.
        while is_reduced_past(&words) {
            words = minus_order(words);
        }
        Self(words).times(&SQUARED)
    }

    /// The number, least word first.
    pub fn to_words(self) -> [u64; 4] {
        self.times(&Self([1, 0, 0, 0])).0
    }

    /// The sum.
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = [0; 4];
        let mut carry = false;
        for (place, word) in sum.iter_mut().enumerate() {
            (*word, carry) = carrying_add(self.0[place], other.0[place], carry);
        }
        // Both are below p < 2^254: no carry is left.
        Self(if is_reduced_past(&sum) { minus_order(sum) } else { sum })
    }

    /// The product.
    pub fn times(&self, other: &Self) -> Self {
        let mut sum = [0_u64; 5];
        for word in self.0 {
            let mut carry = 0_u64;
            for (place, &factor) in other.0.iter().enumerate() {
                let wide = u128::from(word) * u128::from(factor) + u128::from(sum[place]) + u128::from(carry);
                (sum[place], carry) = (wide as u64, (wide >> 64) as u64);
            }
            // p < 2^254, so that the fifth word never overflows.
            sum[4] += carry;
            let factor = sum[0].wrapping_mul(INVERSE);
            let mut carry = ((u128::from(factor) * u128::from(ORDER[0]) + u128::from(sum[0])) >> 64) as u64;
            for place in 1..4 {
                let wide = u128::from(factor) * u128::from(ORDER[place]) + u128::from(sum[place]) + u128::from(carry);
                (sum[place - 1], carry) = (wide as u64, (wide >> 64) as u64);
            }
            let wide = u128::from(sum[4]) + u128::from(carry);
            (sum[3], sum[4]) = (wide as u64, (wide >> 64) as u64);
        }
        let words = [sum[0], sum[1], sum[2], sum[3]];
        Self(if is_reduced_past(&words) { minus_order(words) } else { words })
    }

    /// The fifth power: the S-box.
    pub fn fifth_power(&self) -> Self {
        let square = self.times(self);
        square.times(&square).times(self)
    }

    /// The inverse, by Fermat; zero of zero.
    pub fn inverted(&self) -> Self {
        // 1 in Montgomery form is 2^256 mod p.
        let mut power = Self(power_of_two(256));
        for place in (0..256).rev() {
            power = power.times(&power);
            let exponent = if place < 64 { ORDER[0] - 2 } else { ORDER[place / 64] };
            if exponent >> (place % 64) & 1 == 1 {
                power = power.times(self);
            }
        }
        power
    }
}

const fn inverse() -> u64 {
    // Newton's iteration doubles the bits that are right: five steps from three of them.
    let mut inverse = ORDER[0];
    let mut step = 0;
    while step < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(ORDER[0].wrapping_mul(inverse)));
        step += 1;
    }
    inverse.wrapping_neg()
}

const fn power_of_two(exponent: u32) -> [u64; 4] {
    let mut words = [1, 0, 0, 0];
    let mut step = 0;
    while step < exponent {
        // p < 2^254: twice an element fits.
        words = [words[0] << 1, words[1] << 1 | words[0] >> 63, words[2] << 1 | words[1] >> 63, words[3] << 1 | words[2] >> 63];
        if is_reduced_past(&words) {
            words = minus_order(words);
        }
        step += 1;
    }
    words
}

/// Whether the number is the order or more.
const fn is_reduced_past(words: &[u64; 4]) -> bool {
    let mut place = 4;
    while place > 0 {
        place -= 1;
        if words[place] != ORDER[place] {
            return words[place] > ORDER[place];
        }
    }
    true
}

const fn minus_order(words: [u64; 4]) -> [u64; 4] {
    let mut difference = [0; 4];
    let mut borrow = false;
    let mut place = 0;
    while place < 4 {
        let (first, under) = words[place].overflowing_sub(ORDER[place]);
        let (second, further) = first.overflowing_sub(borrow as u64);
        difference[place] = second;
        borrow = under || further;
        place += 1;
    }
    difference
}

const fn carrying_add(left: u64, right: u64, carry: bool) -> (u64, bool) {
    let (first, over) = left.overflowing_add(right);
    let (second, further) = first.overflowing_add(carry as u64);
    (second, over || further)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: [u64; 4] = [ORDER[0] - 1, ORDER[1], ORDER[2], ORDER[3]];

    fn element(words: [u64; 4]) -> Element {
        Element::from_words(words).expect("below the order")
    }

    #[test]
    fn numbers_come_out_as_they_went_in_and_the_order_does_not_go_in() {
        for words in [[0; 4], [1, 0, 0, 0], [1, 2, 3, 4], LAST] {
            assert_eq!(element(words).to_words(), words);
            assert_eq!(Element::from_words_reduced(words).to_words(), words);
        }
        assert_eq!(Element::from_words(ORDER), None);
        assert_eq!(Element::from_words([u64::MAX; 4]), None);
        assert_eq!(Element::from_words_reduced(ORDER), Element::ZERO);
    }

    #[test]
    fn minus_one_squared_is_one_and_added_to_one_is_zero() {
        let (one, last) = (element([1, 0, 0, 0]), element(LAST));
        assert_eq!(last.times(&last), one);
        assert_eq!(last.plus(&one), Element::ZERO);
        assert_eq!(last.fifth_power(), last);
        assert_eq!(element([2, 0, 0, 0]).fifth_power(), element([32, 0, 0, 0]));
    }

    #[test]
    fn the_largest_number_reduces_to_what_is_left_of_it() {
        // 2^256 - 1 - 5 p.
        let five = element([5, 0, 0, 0]);
        let reduced = Element::from_words_reduced([u64::MAX; 4]);
        let power: Element = (0..256).fold(element([1, 0, 0, 0]), |sum, _| sum.plus(&sum));
        assert_eq!(reduced.plus(&element([1, 0, 0, 0])), power);
        assert_ne!(reduced, five);
    }

    #[test]
    fn an_element_times_its_inverse_is_one() {
        let one = element([1, 0, 0, 0]);
        for words in [[1, 0, 0, 0], [7, 0, 0, 0], [1, 2, 3, 4], LAST] {
            assert_eq!(element(words).times(&element(words).inverted()), one);
        }
        assert_eq!(Element::ZERO.inverted(), Element::ZERO);
    }
}
