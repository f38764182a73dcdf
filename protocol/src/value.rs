//! Values as they travel and rest: a type tag and bytes. The tag tells a reader how to interpret the bytes; the
//! server looks at them only to count (`ADD`) and to refuse numbers of the wrong length.

use std::fmt;

use byteorder::{BigEndian, ByteOrder};

/// How to interpret a value: 0..=6 as named below, 7..=127 reserved, 128..=255 the user's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueType(u8);

/// A value in somebody else's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueRef<'a> {
    /// How to interpret the bytes.
    pub value_type: ValueType,
    /// The value itself: 0..=`VALUE_BYTES_MAX` bytes.
    pub bytes: &'a [u8],
}

/// Why a tag and bytes are no value. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// The tag is one of 7..=127, which a later version may give a meaning.
    ReservedType(u8),
    /// An integer, float or boolean does not have the length (or, for a boolean, the byte) that it must have.
    BadNumber(ValueType),
}

impl ValueType {
    /// Raw bytes.
    pub const BYTES: ValueType = ValueType(0);
    /// UTF-8 text.
    pub const TEXT: ValueType = ValueType(1);
    /// Signed 64-bit integer, 8 bytes, big-endian two's complement.
    pub const INT: ValueType = ValueType(2);
    /// IEEE 754 binary64, 8 bytes, big-endian.
    pub const FLOAT: ValueType = ValueType(3);
    /// One byte, 0 or 1.
    pub const BOOL: ValueType = ValueType(4);
    /// JSON text (RFC 8259).
    pub const JSON: ValueType = ValueType(5);
    /// MessagePack.
    pub const MESSAGE_PACK: ValueType = ValueType(6);
    /// First tag that is the user's own.
    pub const USER_MIN: ValueType = ValueType(128);

    /// The type of tag `tag`.
    ///
    /// # Errors
    /// [`ValueError::ReservedType`] for 7..=127.
    pub const fn new(tag: u8) -> Result<ValueType, ValueError> {
        if tag > Self::MESSAGE_PACK.0 && tag < Self::USER_MIN.0 {
            Err(ValueError::ReservedType(tag))
        } else {
            Ok(ValueType(tag))
        }
    }

    /// The tag byte.
    #[must_use]
    pub const fn tag(self) -> u8 {
        self.0
    }

    /// Whether `APPEND` may lengthen a value of this type: bytes, text and the user's own.
    #[must_use]
    pub const fn is_appendable(self) -> bool {
        matches!(self, Self::BYTES | Self::TEXT) || self.0 >= Self::USER_MIN.0
    }
}

impl fmt::Display for ValueType {
    /// The name that the command line uses: `bytes`, `text`, `int`, `float`, `bool`, `json`, `msgpack`, or
    /// `user128` to `user255`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BYTES => f.write_str("bytes"),
            Self::TEXT => f.write_str("text"),
            Self::INT => f.write_str("int"),
            Self::FLOAT => f.write_str("float"),
            Self::BOOL => f.write_str("bool"),
            Self::JSON => f.write_str("json"),
            Self::MESSAGE_PACK => f.write_str("msgpack"),
            ValueType(tag) => write!(f, "user{tag}"),
        }
    }
}

impl<'a> ValueRef<'a> {
    /// A value, once its tag is known and its bytes fit the tag.
    ///
    /// # Errors
    /// [`ValueError`]; text, JSON and MessagePack are not looked into.
    pub fn new(tag: u8, bytes: &'a [u8]) -> Result<ValueRef<'a>, ValueError> {
        let value_type = ValueType::new(tag)?;
        let fits = match value_type {
            ValueType::INT | ValueType::FLOAT => bytes.len() == 8,
            ValueType::BOOL => matches!(bytes, [0 | 1]),
            _ => true,
        };
        if fits { Ok(ValueRef { value_type, bytes }) } else { Err(ValueError::BadNumber(value_type)) }
    }

    /// The number that `ADD` counts with: an integer, or text that is a canonical decimal. `None` for anything
    /// else.
    #[must_use]
    pub fn as_counter(&self) -> Option<i64> {
        match self.value_type {
            ValueType::INT if self.bytes.len() == 8 => Some(BigEndian::read_i64(self.bytes)),
            ValueType::TEXT => parse_canonical_decimal(self.bytes),
            _ => None,
        }
    }
}

/// Longest canonical decimal of a signed 64-bit number, bytes: `-9223372036854775808`.
const COUNTER_TEXT_BYTES_MAX: usize = 20;

/// Reads a signed 64-bit number written the one canonical way: no sign but a leading `-`, no leading zeros, no
/// `-0`.
#[must_use]
pub fn parse_canonical_decimal(text: &[u8]) -> Option<i64> {
    // `ADD` asks this under a partition's lock, and a text may have 16 MiB.
    if text.len() > COUNTER_TEXT_BYTES_MAX {
        return None;
    }
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueError::ReservedType(tag) => {
                write!(f, "value type {tag} is reserved: use 0 to 6, or 128 to 255 for your own")
            }
            ValueError::BadNumber(value_type) => {
                write!(
                    f,
                    "a value of type {value_type} must be {}",
                    match *value_type {
                        ValueType::BOOL => "one byte, 0 or 1",
                        _ => "8 bytes",
                    }
                )
            }
        }
    }
}

impl std::error::Error for ValueError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_decimals() {
        for (text, number) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-7", Some(-7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("111111111111111111111", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("00", None),
            ("07", None),
            ("+7", None),
            (" 7", None),
            ("7 ", None),
            ("1e3", None),
            ("7a", None),
        ] {
            assert_eq!(parse_canonical_decimal(text.as_bytes()), number, "{text:?}");
        }
    }

    #[test]
    fn tags_and_lengths() {
        assert_eq!(ValueRef::new(7, b""), Err(ValueError::ReservedType(7)));
        assert_eq!(ValueRef::new(127, b""), Err(ValueError::ReservedType(127)));
        assert!(ValueRef::new(128, b"").is_ok());
        assert_eq!(ValueRef::new(2, b"1234567"), Err(ValueError::BadNumber(ValueType::INT)));
        assert_eq!(ValueRef::new(4, &[2]), Err(ValueError::BadNumber(ValueType::BOOL)));
        assert!(ValueRef::new(4, &[1]).is_ok());
        let five = 5i64.to_be_bytes();
        assert_eq!(ValueRef::new(2, &five).unwrap().as_counter(), Some(5));
        assert_eq!(ValueRef::new(1, b"-12").unwrap().as_counter(), Some(-12));
        assert_eq!(ValueRef::new(0, b"12").unwrap().as_counter(), None);
    }
}
