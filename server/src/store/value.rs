//! Values on their way into the store and out of it, and the answers of its operations.

use std::fmt;
use std::sync::Arc;

use dht_protocol::ids::Version;
use dht_protocol::value::{ValueRef, ValueType};

use super::entry::HEAD_BYTES_MAX;
use super::large::LargeValue;
use super::limits::{INLINE_ENTRY_BYTES_MAX, INLINE_VALUE_BYTES_MAX};
use super::pieces::Pieces;
use crate::memory::OutOfMemory;

/// Whether a value of `value_bytes` under a key of `key_bytes` is *large*: kept outside the arena, given to
/// [`super::Partition::put`] as [`NewValue::Large`].
#[must_use]
pub const fn is_large(key_bytes: usize, value_bytes: usize) -> bool {
    value_bytes > INLINE_VALUE_BYTES_MAX || HEAD_BYTES_MAX + key_bytes + value_bytes > INLINE_ENTRY_BYTES_MAX
}

/// A value to be written.
#[derive(Clone, Debug)]
pub enum NewValue<'a> {
    /// Copied into the arena; must not be large ([`is_large`]).
    Inline(ValueRef<'a>),
    /// Kept as it is. Built before the partition is locked, so that nothing long happens under the lock. Any
    /// length is accepted.
    Large(ValueType, Arc<LargeValue>),
}

/// A value as it lies in the store.
#[derive(Clone, Copy, Debug)]
pub enum StoredValue<'a> {
    /// In the arena.
    Inline(Pieces<'a>),
    /// Outside: clone the reference, let go of the lock, then copy.
    Large(&'a Arc<LargeValue>),
}

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The write that put it there.
    pub version: Version,
    /// How to interpret the bytes.
    pub value_type: ValueType,
    /// The bytes.
    pub value: StoredValue<'a>,
}

/// A write that was done.
#[derive(Debug)]
pub struct Written {
    /// The write's own number.
    pub version: Version,
    /// The large value that it replaced: drop it after the lock, as freeing megabytes takes long.
    pub displaced: Option<Arc<LargeValue>>,
}

/// Why a write was refused. No key, value or version changed, whichever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The memory limit is reached, or the partition's arena has no more names for entries.
    OutOfMemory,
    /// Too many keys share all the hash bits that could tell them apart: only crafted keys do.
    Crowded,
    /// The partition has used up its sequence numbers under this configuration.
    SequenceExhausted,
}

impl StoredValue<'_> {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            StoredValue::Inline(pieces) => pieces.len(),
            StoredValue::Large(large) => large.len(),
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies as many bytes as there are, and `out` takes, to its start; says how many.
    pub fn copy_to(&self, out: &mut [u8]) -> usize {
        match self {
            StoredValue::Inline(pieces) => pieces.copy_to(out),
            StoredValue::Large(large) => Pieces::whole(large.as_bytes()).copy_to(out),
        }
    }

    /// A copy of the bytes, wherever they lie. Cost: not for large values under a lock.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            StoredValue::Inline(pieces) => pieces.to_vec(),
            StoredValue::Large(large) => large.as_bytes().to_vec(),
        }
    }
}

impl NewValue<'_> {
    /// How to interpret the bytes.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            NewValue::Inline(value) => value.value_type,
            NewValue::Large(value_type, _) => *value_type,
        }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            NewValue::Inline(value) => value.bytes.len(),
            NewValue::Large(_, large) => large.as_bytes().len(),
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<OutOfMemory> for StoreError {
    fn from(OutOfMemory: OutOfMemory) -> StoreError {
        StoreError::OutOfMemory
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoreError::OutOfMemory => {
                "the memory limit is reached: delete something or raise --memory-limit"
            }
            StoreError::Crowded => "too many keys share this key's hash: choose another key",
            StoreError::SequenceExhausted => "the partition has used up its sequence numbers",
        })
    }
}

impl std::error::Error for StoreError {}
