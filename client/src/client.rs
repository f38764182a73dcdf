//! The public face: a client and its operations.

use std::sync::Arc;
use std::time::Duration;

use dht_protocol::ids::{ClusterId, Version};
use dht_protocol::placement::map::{ClusterMap, Node};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::iter::Iter;

/// A client of one cluster. Clones share everything, connections included.
#[derive(Clone, Debug)]
pub struct Client {}

/// How a client is made: [`Client::builder`].
#[derive(Clone, Debug)]
pub struct Builder {}

/// A value and the version under which it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// State of the entry; what [`Client::compare_and_put`] and [`Client::delete_if`] compare.
    pub version: Version,
    /// The value.
    pub value: T,
}

/// What became of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conditional {
    /// It took place, under this version.
    Done(Version),
    /// The entry was not as expected; nothing was changed.
    Refused {
        /// The entry's version; [`Version::ABSENT`] when there is none.
        current: Version,
    },
}

#[expect(unused_variables, clippy::unimplemented, clippy::needless_pass_by_value, reason = "skeleton")]
impl Client {
    /// Connects to the cluster of which `servers` names one or more nodes: `"HOST:PORT[,HOST:PORT…]"`.
    ///
    /// # Errors
    /// See [`Builder::connect`].
    pub fn connect(servers: &str) -> Result<Client> {
        Client::builder().servers(servers).connect()
    }

    /// A client with settings of your own.
    #[must_use]
    pub fn builder() -> Builder {
        unimplemented!()
    }

    /// The value of `key`; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Decode`](crate::Error::Decode) when the stored value is no `T`; else see [`Error`](crate::Error).
    pub fn get<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        unimplemented!()
    }

    /// The value of `key` with its version; `None` when there is none.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn get_versioned<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<Versioned<T>>> {
        unimplemented!()
    }

    /// Stores `value` under `key`, whatever was there.
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    pub fn put<T: Serialize + ?Sized>(&self, key: impl AsRef<[u8]>, value: &T) -> Result<Version> {
        unimplemented!()
    }

    /// Stores `value` under `key` if there is no entry.
    ///
    /// # Errors
    /// See [`Error`](crate::Error); an entry that is there is no error.
    pub fn put_if_absent<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
    ) -> Result<Conditional> {
        unimplemented!()
    }

    /// Stores `value` under `key` if there is an entry.
    ///
    /// # Errors
    /// See [`Error`](crate::Error); an entry that is not there is no error.
    pub fn replace<T: Serialize + ?Sized>(&self, key: impl AsRef<[u8]>, value: &T) -> Result<Conditional> {
        unimplemented!()
    }

    /// Stores `value` under `key` if the entry has version `expected`; [`Version::ABSENT`]: if there is none.
    ///
    /// # Errors
    /// See [`Error`](crate::Error); another version is no error.
    pub fn compare_and_put<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        expected: Version,
        value: &T,
    ) -> Result<Conditional> {
        unimplemented!()
    }

    /// Removes `key`; answers the version of the removal, `None` when there was no entry.
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<Option<Version>> {
        unimplemented!()
    }

    /// Removes `key` if its entry has version `expected`.
    ///
    /// # Errors
    /// See [`Error`](crate::Error); another version, or no entry, is no error.
    pub fn delete_if(&self, key: impl AsRef<[u8]>, expected: Version) -> Result<Conditional> {
        unimplemented!()
    }

    /// Whether `key` has an entry.
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    pub fn exists(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        unimplemented!()
    }

    /// Adds `delta` to the counter `key`, which begins at 0, and answers its new value.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused) with `WRONG_TYPE` or `OVERFLOW`, nothing changed; else see
    /// [`Error`](crate::Error).
    pub fn add(&self, key: impl AsRef<[u8]>, delta: i64) -> Result<i64> {
        unimplemented!()
    }

    /// Appends `suffix` to the value of `key`, which begins empty, and answers its new length in bytes. Text,
    /// bytes and user types only, and the suffix's type must be the stored one.
    ///
    /// # Errors
    /// [`Error::Encode`](crate::Error::Encode) for another type; else see [`Error`](crate::Error).
    pub fn append<T: Serialize + ?Sized>(&self, key: impl AsRef<[u8]>, suffix: &T) -> Result<u64> {
        unimplemented!()
    }

    /// All entries of the cluster, in no order that means anything.
    #[must_use]
    pub fn iter(&self) -> Iter {
        unimplemented!()
    }

    /// The cluster map as this client knows it.
    #[must_use]
    pub fn map(&self) -> Arc<ClusterMap> {
        unimplemented!()
    }

    /// Asks every node of the map for its counters.
    #[must_use]
    pub fn stats(&self) -> Vec<(Node, Result<Vec<(String, u64)>>)> {
        unimplemented!()
    }

    /// Asks every node of the map for a sign of life and answers how long that took.
    #[must_use]
    pub fn ping(&self) -> Vec<(Node, Result<Duration>)> {
        unimplemented!()
    }
}

#[expect(unused_variables, clippy::unimplemented, reason = "skeleton")]
impl Builder {
    /// One or more nodes of the cluster: `"HOST:PORT[,HOST:PORT…]"`.
    #[must_use]
    pub fn servers(self, servers: &str) -> Builder {
        unimplemented!()
    }

    /// Longest that any call takes; 5 seconds unless told otherwise.
    #[must_use]
    pub fn op_timeout(self, timeout: Duration) -> Builder {
        unimplemented!()
    }

    /// Longest that one attempt to connect takes; 1 second unless told otherwise.
    #[must_use]
    pub fn connect_timeout(self, timeout: Duration) -> Builder {
        unimplemented!()
    }

    /// Most attempts that a call makes; 16 unless told otherwise.
    #[must_use]
    pub fn retry_budget(self, attempts: u32) -> Builder {
        unimplemented!()
    }

    /// Most connections to a node; 2 unless told otherwise.
    #[must_use]
    pub fn connections_per_node(self, connections: usize) -> Builder {
        unimplemented!()
    }

    /// The one cluster that the client may talk to; unless given, the one that it meets first.
    #[must_use]
    pub fn cluster_id(self, cluster_id: ClusterId) -> Builder {
        unimplemented!()
    }

    /// Connects.
    ///
    /// # Errors
    /// [`Error::NoServers`](crate::Error::NoServers), [`Error::BadAddress`](crate::Error::BadAddress), and when
    /// no server gives a map in time, why the last one did not.
    pub fn connect(self) -> Result<Client> {
        unimplemented!()
    }
}
