//! What can be wrong with bytes from the other end. A protocol fact is never an `io::Error`.

use std::fmt;

/// Bytes that do not follow PROTOCOL.md; the text says which field. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed: {}", self.0)
    }
}

impl std::error::Error for Malformed {}
