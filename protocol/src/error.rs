//! What can be wrong with bytes from the other end. A protocol fact is never an `io::Error`.

use std::fmt;

use crate::status::Status;

/// Bytes that do not follow PROTOCOL.md; the text says which field. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// A request that is refused before anything of it was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// The status to answer with.
    pub status: Status,
    /// A sentence for people.
    pub text: &'static str,
}

impl From<Status> for RequestError {
    fn from(status: Status) -> RequestError {
        RequestError { status, text: status.text() }
    }
}

impl From<Malformed> for RequestError {
    fn from(error: Malformed) -> RequestError {
        RequestError { status: Status::Malformed, text: error.0 }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed: {}", self.0)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status.name(), self.text)
    }
}

impl std::error::Error for Malformed {}
impl std::error::Error for RequestError {}
