//! Keys of typed collections as bytes: one encoding for each key, in the order of the keys.
//!
//! 1. *Canonical*: equal keys have equal bytes, and only what [`encode`] makes is decoded.
//! 2. *Order*: bytes compare as the keys do, where the type's own order is the derived one (fields and elements in
//!    turn, variants as they are declared).
//! 3. *Prefix-free*: no key's bytes begin with all the bytes of another of the same type, so parts need no lengths.
//! 4. *Never reserved*: a collection's keys begin with its name, and no name begins with 0xFF.
//!
//! | part | bytes | order |
//! |---|---|---|
//! | the collection's name | as a string | |
//! | `u8` to `u128` | big-endian, at its own width | by number |
//! | `i8` to `i128` | big-endian, the sign bit flipped | by number |
//! | `bool` | `00` or `01` | false first |
//! | `char` | its code point, 4 bytes big-endian | by code point |
//! | string, byte string | its bytes, each `00` as `00 FF`, then `00 00` | byte by byte |
//! | tuple, struct, array `[T; N]` | its parts, one after the other | by the first that differs |
//! | unit, unit struct | nothing | |
//! | newtype struct | what it wraps | |
//! | enum | the variant's number, 4 bytes big-endian, then its fields | by variant, then fields |
//! | option | `00` for none; `01`, then what it holds | none first |
//! | sequence (`Vec<T>`) | `01` before each element, `00` behind the last | element by element |
//!
//! For example the key `("ab", -1i16)` of the collection `t`:
//!
//! ```text
//!   74 00 00   61 62 00 00   7F FF
//!   t          ab            -1
//! ```
//!
//! Refused: maps, which have no order of their own, and floats, which have none at all (NaN) and two zeros; types
//! that serialize without saying what they are; parts within parts more than `KEY_DEPTH_MAX` deep, which only
//! recursive types have. `usize` and `isize` are 8 bytes wide on every machine. A `Vec<u8>`
//! is a sequence to serde, and costs two bytes for each of its own; a byte string (`serde_bytes`) does not. A type
//! that skips fields when it serializes does not read back.
//!
//! The order-preserving escapes are those of the FoundationDB tuple layer
//! (<https://github.com/apple/foundationdb/blob/main/design/tuple.md>).

mod reader;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::KEY_DEPTH_MAX;

/// What is before each element of a sequence, and before what an option holds.
const MORE: u8 = 1;
/// What is behind the last element of a sequence, and in place of what an option does not hold.
const NO_MORE: u8 = 0;

/// Why a key has no bytes, or bytes are no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyError(pub(crate) String);

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeyError {}

impl serde::ser::Error for KeyError {
    fn custom<T: fmt::Display>(message: T) -> KeyError {
        KeyError(message.to_string())
    }
}

impl serde::de::Error for KeyError {
    fn custom<T: fmt::Display>(message: T) -> KeyError {
        KeyError(message.to_string())
    }
}

fn too_deep() -> KeyError {
    KeyError(format!("its parts are nested more than {KEY_DEPTH_MAX} deep"))
}

/// Appends the bytes of `key` to `out`.
///
/// # Errors
/// Its type has no bytes in this encoding.
pub(crate) fn encode<K: Serialize + ?Sized>(key: &K, out: &mut Vec<u8>) -> Result<(), KeyError> {
    key.serialize(&mut writer::Writer { out, depth_left: KEY_DEPTH_MAX })
}

/// The key that `bytes` are, to the last of them.
///
/// # Errors
/// They are none.
pub(crate) fn decode<K: DeserializeOwned>(bytes: &[u8]) -> Result<K, KeyError> {
    let mut reader = reader::Reader { rest: bytes, depth_left: KEY_DEPTH_MAX };
    let key = K::deserialize(&mut reader)?;
    match reader.rest {
        [] => Ok(key),
        rest => Err(KeyError(format!("{} bytes follow the key", rest.len()))),
    }
}
