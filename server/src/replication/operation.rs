//! What a client asks of a key and what it is told, as the replication machine takes and gives it.

use std::sync::Arc;

use dht_protocol::ids::{ClientId, Epoch, Version};
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::request::{Condition, WriteToken};
use dht_protocol::status::Status;
use dht_protocol::value::ValueType;

use crate::clock::Time;

/// Names a request until it is answered; chosen by whoever hands it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A request about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRequest {
    /// Epoch of the client's map.
    pub epoch: Epoch,
    /// The key.
    pub key: Arc<[u8]>,
    /// Its hash, under the cluster's hash key.
    pub hash: KeyHash,
    /// What is asked.
    pub operation: Operation,
    /// The write's name, and its client's; `None`: a read, or a write that may apply twice when it is sent twice.
    pub writer: Option<(ClientId, WriteToken)>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Version, type and value.
    Get,
    /// Version.
    Exists,
    /// Writes an entry.
    Put {
        /// How to interpret the value.
        value_type: ValueType,
        /// The value.
        value: Arc<[u8]>,
        /// When to.
        condition: Condition,
    },
    /// Removes the entry.
    Delete {
        /// When to.
        condition: Condition,
    },
    /// Adds to a counter, which begins at 0.
    Add {
        /// What to add.
        delta: i64,
    },
    /// Lengthens a value, which begins empty.
    Append {
        /// How to interpret the whole.
        value_type: ValueType,
        /// What to append.
        suffix: Arc<[u8]>,
    },
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAnswer {
    /// How it went.
    pub status: Status,
    /// Version of the write, or of the entry found.
    pub version: Version,
    /// The counter after an `ADD`, the length after an `APPEND`, else 0.
    pub number: i64,
    /// What a `GET` found.
    pub value: Option<(ValueType, Arc<[u8]>)>,
    /// Epoch of the answerer's map.
    pub epoch: Epoch,
    /// The answer tells what was committed, which holds as long as the leases do: it must be sent before this point of the node's
    /// clock, read after the answer was made. Afterwards the request is to be answered `UNAVAILABLE`. `None`: it holds for good.
    pub valid_until: Option<Time>,
}

impl KeyAnswer {
    /// An answer that is only a status.
    #[must_use]
    pub fn refusal(status: Status, epoch: Epoch) -> KeyAnswer {
        KeyAnswer { status, version: Version::ABSENT, number: 0, value: None, epoch, valid_until: None }
    }
}

impl Operation {
    /// Whether it may change the entry.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self, Operation::Get | Operation::Exists)
    }
}
