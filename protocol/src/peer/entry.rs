//! An entry of a partition's log: what it does, under which name, and for whom.
//!
//! The primary evaluates a request; what the log carries is the effect, so that every replica comes to the same state
//! whatever it held before. Keys and values are shared, as a primary holds them in its log and in messages to several.

use std::sync::Arc;

use crate::ids::{ClientId, Version};
use crate::status::Status;
use crate::value::ValueType;

/// An entry of a partition's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The configuration under which it was prepared first, and its number: for ever the version of what it writes.
    pub name: Version,
    /// What it does to the partition.
    pub effect: Effect,
    /// The write that it answers, if that can come again.
    pub origin: Option<Origin>,
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it only has a number (and perhaps an outcome to be remembered).
    NoOp,
    /// The key holds this from now on.
    Put {
        /// The key.
        key: Arc<[u8]>,
        /// How to interpret the value.
        value_type: ValueType,
        /// The value.
        value: Arc<[u8]>,
    },
    /// The key holds nothing from now on.
    Delete {
        /// The key.
        key: Arc<[u8]>,
    },
    /// Outcomes of this client's writes up to `seq` are no longer remembered, and a retry of one is answered *unknown*.
    Forget {
        /// The client.
        client: ClientId,
        /// Highest number forgotten.
        seq: u64,
    },
}

/// Whose write an entry is, and what that write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client.
    pub client: ClientId,
    /// Its number for the write.
    pub seq: u64,
    /// Its lowest unanswered number when it sent the write.
    pub floor: u64,
    /// What a second arrival is answered with, once the entry is committed.
    pub outcome: Outcome,
}

/// What a write came to: all that its answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `OK`, or why the write had no effect.
    pub status: Status,
    /// The write's version; with `CONDITION_FAILED`, the entry's.
    pub version: Version,
    /// The counter after an `ADD`, the length after an `APPEND`, else 0.
    pub number: i64,
}

/// A remembered outcome on its way to a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeRecord {
    /// The client.
    pub client: ClientId,
    /// Its number for the write.
    pub seq: u64,
    /// What it came to.
    pub outcome: Outcome,
}

/// What a key holds, on its way to a newcomer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedEntry {
    /// The key.
    pub key: Arc<[u8]>,
    /// The write that put the value there.
    pub version: Version,
    /// How to interpret the value.
    pub value_type: ValueType,
    /// The value.
    pub value: Arc<[u8]>,
}

impl Effect {
    /// The key that it is about, if any.
    #[must_use]
    pub fn key(&self) -> Option<&Arc<[u8]>> {
        match self {
            Effect::Put { key, .. } | Effect::Delete { key } => Some(key),
            Effect::NoOp | Effect::Forget { .. } => None,
        }
    }

    /// Bytes of key and value.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Effect::Put { key, value, .. } => key.len() + value.len(),
            Effect::Delete { key } => key.len(),
            Effect::NoOp | Effect::Forget { .. } => 0,
        }
    }
}
