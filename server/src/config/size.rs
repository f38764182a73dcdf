//! Sizes as people write them: `512MiB`, `4GiB`, `1000000`.

use std::fmt;

/// A number of bytes, shown in the largest unit that keeps it exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a size: digits, then B, KiB, MiB, GiB, TiB or nothing for bytes.
///
/// # Errors
/// A sentence that says what a size looks like.
pub fn parse_byte_size(text: &str) -> Result<ByteSize, String> {
    let error = || format!("{text:?} is no size: write digits and B, KiB, MiB, GiB or TiB, as in 4GiB");
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let unit = unit.trim_start();
    let factor = if unit.is_empty() {
        1
    } else {
        UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(error)?.1
    };
    let number: u64 = digits.parse().map_err(|_| error())?;
    number.checked_mul(factor).map(ByteSize).ok_or_else(error)
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, factor): &&(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        let (name, factor) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back_as_shown() {
        for (text, bytes) in
            [("4GiB", 4 << 30), ("512MiB", 512 << 20), ("1KiB", 1024), ("1025B", 1025), ("0B", 0)]
        {
            assert_eq!(parse_byte_size(text), Ok(ByteSize(bytes)), "{text}");
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
        assert_eq!(parse_byte_size("7"), Ok(ByteSize(7)));
        assert_eq!(parse_byte_size("2 gib"), Ok(ByteSize(2 << 30)));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "GiB", "4G", "-1", "1.5GiB", "4 GiB extra", "99999999999999999999", "20000000TiB"] {
            assert!(parse_byte_size(text).is_err(), "{text:?}");
        }
    }
}
