//! Poseidon over the scalar field of BN254 with circomlib's parameters: `crypto/hash/poseidon.ts`.
//!
//! One permutation of `[0, ...inputs]`, of which the first element is the digest. The constants of a width are drawn
//! when it is first used.

use std::sync::OnceLock;

use rayon::prelude::*;

use crate::InputError;
use crate::field::Element;
use crate::grain::Grain;

const ROUNDS_FULL: usize = 8;
/// Partial rounds for one input, two inputs, and so on, as circomlib has them.
const ROUNDS_PARTIAL: [usize; 16] = [56, 57, 56, 60, 60, 63, 64, 63, 60, 66, 60, 65, 70, 60, 64, 68];
/// The widest state: sixteen inputs and the zero before them.
const WIDTH_MAX: usize = ROUNDS_PARTIAL.len() + 1;
/// Digests that one core takes at a time: a tenth of a millisecond and more.
const BATCH_COUNT: usize = 8;

/// A number of four words, least word first.
pub type Number = [u64; 4];

struct Parameters {
    /// Constants of all rounds, `width` a round.
    constants: Vec<Element>,
    /// The matrix, row by row.
    matrix: Vec<Element>,
}

static PARAMETERS: [OnceLock<Parameters>; ROUNDS_PARTIAL.len()] = [const { OnceLock::new() }; ROUNDS_PARTIAL.len()];

/// The digests of groups of `count` numbers each, in order.
pub fn hash_many(count: usize, numbers: &[Number]) -> Result<Vec<Number>, InputError> {
    let slot = count.checked_sub(1).ok_or(InputError::Width)?;
    let rounds_partial = *ROUNDS_PARTIAL.get(slot).ok_or(InputError::Width)?;
    if !numbers.len().is_multiple_of(count) {
        return Err(InputError::Length);
    }
    let parameters = PARAMETERS[slot].get_or_init(|| draw(count + 1, rounds_partial));
    if numbers.len() / count <= BATCH_COUNT {
        return numbers.chunks(count).map(|inputs| digest(parameters, inputs)).collect();
    }
    numbers.par_chunks(count).with_min_len(BATCH_COUNT).map(|inputs| digest(parameters, inputs)).collect()
}

fn draw(width: usize, rounds_partial: usize) -> Parameters {
    let mut grain = Grain::new(width, ROUNDS_FULL, rounds_partial);
    let constants = (0..(ROUNDS_FULL + rounds_partial) * width).map(|_| grain.element()).collect();
    let mut draw = || (0..width).map(|_| grain.element_reduced()).collect::<Vec<_>>();
    let (rows, columns) = (draw(), draw());
    let matrix = rows.iter().flat_map(|row| columns.iter().map(|column| row.plus(column).inverted())).collect();
    Parameters { constants, matrix }
}

fn digest(parameters: &Parameters, inputs: &[Number]) -> Result<Number, InputError> {
    let width = inputs.len() + 1;
    let mut state = [Element::ZERO; WIDTH_MAX];
    for (element, &input) in state[1..].iter_mut().zip(inputs) {
        *element = Element::from_words(input).ok_or(InputError::Field)?;
    }
    let rounds = parameters.constants.len() / width;
    for (round, constants) in parameters.constants.chunks_exact(width).enumerate() {
        for (element, constant) in state.iter_mut().zip(constants) {
            *element = element.plus(constant);
        }
        let is_full = round < ROUNDS_FULL / 2 || round >= rounds - ROUNDS_FULL / 2;
        for element in &mut state[..if is_full { width } else { 1 }] {
            *element = element.fifth_power();
        }
        let before = state;
        for (element, row) in state.iter_mut().zip(parameters.matrix.chunks_exact(width)) {
            *element = row.iter().zip(&before).fold(Element::ZERO, |sum, (factor, value)| sum.plus(&factor.times(value)));
        }
    }
    Ok(state[0].to_words())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::ORDER;

    #[test]
    fn the_digests_of_circomlib_come_out() {
        // iden3/circomlibjs, test/poseidon.js, in hexadecimal.
        for (count, digest) in [
            (2, "115cc0f5e7d690413df64c6b9662e9cf2a3617f2743245519e19607a4417189a"),
            (4, "299c867db6c1fdd79dcefa40e4510b9837e60ebb1ce0663dbaa525df65250465"),
        ] {
            let inputs: Vec<Number> = (1..=count).map(|number| [number, 0, 0, 0]).collect();
            let words = hash_many(inputs.len(), &inputs).expect("field elements")[0];
            let text: String = words.iter().rev().map(|word| format!("{word:016x}")).collect();
            assert_eq!(text, digest);
        }
    }

    #[test]
    fn groups_are_hashed_in_order_on_however_many_cores() {
        let numbers: Vec<Number> = (0..120).map(|number| [number, number, 0, 0]).collect();
        for count in 1..=16 {
            let whole = &numbers[..numbers.len() / count * count];
            let one_by_one: Vec<Number> =
                whole.chunks(count).map(|inputs| hash_many(count, inputs).expect("field elements")[0]).collect();
            assert_eq!(hash_many(count, whole).expect("field elements"), one_by_one, "{count} inputs");
        }
    }

    #[test]
    fn numbers_past_the_field_and_widths_without_parameters_are_refused() {
        assert_eq!(hash_many(1, &[ORDER]), Err(InputError::Field));
        assert_eq!(hash_many(2, &[[0; 4], [u64::MAX; 4]]), Err(InputError::Field));
        assert_eq!(hash_many(2, &[[0; 4]; 3]), Err(InputError::Length));
        assert_eq!(hash_many(0, &[]), Err(InputError::Width));
        assert_eq!(hash_many(17, &[]), Err(InputError::Width));
        assert_eq!(hash_many(1, &[]), Ok(vec![]));
    }
}
