//! Lists of byte strings as they cross the boundary: all of them end to end, and their lengths.

use core::fmt;

/// Why an input cannot be worked on. The caller is at fault: whoever packs inputs knows these rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputError {
    /// The lengths do not add up to the bytes, or a list of fixed-size items has another size than its count asks for.
    Length,
    /// A frontier has another count of hashes than its size asks for, or the log would outgrow 2^64 - 1 leaves.
    Frontier,
    /// A number is not below the order of the field.
    Field,
    /// There are no parameters for so many inputs.
    Width,
    /// ML-DSA gave up. It does so for no message that anybody could name.
    Signing,
}

impl fmt::Display for InputError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Length => "lengths do not fit the bytes",
            Self::Frontier => "hashes do not fit the size of the log",
            Self::Field => "not a field element",
            Self::Width => "no parameters for so many inputs",
            Self::Signing => "signing did not come to an end",
        })
    }
}

impl core::error::Error for InputError {}

/// The items of a packed list, in order: `lengths[i]` bytes each, which together are all of `bytes`.
pub fn unpack<'a>(bytes: &'a [u8], lengths: &[u32]) -> Result<Vec<&'a [u8]>, InputError> {
    let mut rest = bytes;
    let mut items = Vec::with_capacity(lengths.len());
    for &length in lengths {
        let length = usize::try_from(length).map_err(|_| InputError::Length)?;
        let (item, after) = rest.split_at_checked(length).ok_or(InputError::Length)?;
        items.push(item);
        rest = after;
    }
    if rest.is_empty() { Ok(items) } else { Err(InputError::Length) }
}

/// The items of a list whose items all have `N` bytes.
pub fn unpack_fixed<const N: usize>(bytes: &[u8]) -> Result<&[[u8; N]], InputError> {
    let (items, rest) = bytes.as_chunks::<N>();
    if rest.is_empty() { Ok(items) } else { Err(InputError::Length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_the_bytes_in_order_and_lengths_must_add_up() {
        let bytes = [1, 2, 3, 4, 5];
        assert_eq!(unpack(&bytes, &[2, 0, 3]), Ok(vec![&bytes[..2], &[][..], &bytes[2..]]));
        assert_eq!(unpack(&[], &[]), Ok(vec![]));
        for wrong in [&[2, 2][..], &[2, 4], &[6], &[u32::MAX, u32::MAX], &[]] {
            assert_eq!(unpack(&bytes, wrong), Err(InputError::Length), "{wrong:?}");
        }
    }

    #[test]
    fn fixed_items_leave_no_rest() {
        assert_eq!(unpack_fixed::<2>(&[1, 2, 3, 4]), Ok(&[[1, 2], [3, 4]][..]));
        assert_eq!(unpack_fixed::<2>(&[]), Ok(&[][..]));
        assert_eq!(unpack_fixed::<2>(&[1, 2, 3]), Err(InputError::Length));
    }
}
