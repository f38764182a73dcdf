//! Iteration over all entries of the cluster.

use dht_protocol::ids::Version;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::key::Key;
use crate::value::Value;

/// All entries of the cluster, or those under a prefix: [`Client::iter`](crate::Client::iter).
#[derive(Debug)]
pub struct Iter {}

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// Its state.
    pub version: Version,
    /// Its value.
    pub value: Value,
}

#[expect(unused_variables, clippy::unimplemented, clippy::needless_pass_by_value, reason = "skeleton")]
impl Iter {
    /// Only keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(self, prefix: impl AsRef<[u8]>) -> Iter {
        unimplemented!()
    }

    /// Most entries that are fetched at once.
    #[must_use]
    pub fn page_size(self, entries: usize) -> Iter {
        unimplemented!()
    }
}

impl Entry {
    /// The value as a `T`.
    ///
    /// # Errors
    /// [`Error::Decode`](crate::Error::Decode) when it is none.
    #[expect(clippy::unimplemented, reason = "skeleton")]
    pub fn get<T: DeserializeOwned>(&self) -> Result<T> {
        unimplemented!()
    }
}

impl Iterator for Iter {
    type Item = Result<Entry>;

    #[expect(clippy::unimplemented, reason = "skeleton")]
    fn next(&mut self) -> Option<Result<Entry>> {
        unimplemented!()
    }
}
