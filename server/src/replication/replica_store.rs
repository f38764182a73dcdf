//! What replication asks of a partition's table. The real partition implements it, and nothing else does.

use std::fmt::Debug;
use std::sync::Arc;

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::Version;
use dht_protocol::peer::CopiedEntry;
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::value::ValueType;

/// A table, all of whose writes come from the log.
pub trait ReplicaStore {
    /// Memory set aside for an entry that is prepared; given back when it is dropped.
    type Reservation;

    /// What `key` holds.
    fn read(&self, hash: KeyHash, key: &[u8]) -> Option<Stored>;

    /// Sets memory aside for writing `bytes` of key and value to a key of `hash`; `None`: there is none left. Whatever has
    /// been set aside for can be written.
    fn reserve(&mut self, hash: KeyHash, bytes: usize) -> Option<Self::Reservation>;

    /// Writes an entry. Cannot fail: past the memory limit it goes, if what was set aside for it was too little.
    fn put(&mut self, hash: KeyHash, entry: &CopiedEntry);

    /// Removes an entry, if there is one.
    fn delete(&mut self, hash: KeyHash, key: &[u8]);

    /// Takes the entries from `from` on in order of hash, until about `bytes_max` bytes of short ones,
    /// [`super::limits::PIECE_LONG_BYTES_MAX`] of long ones, or the end. Entries that share a cursor are never parted. Copies no long value.
    fn cut(&self, from: Cursor, bytes_max: usize) -> Piece;

    /// The entries of a piece, long ones behind the short, all of their bytes copied; and where it ends. For who compares tables.
    fn piece(&self, from: Cursor, bytes_max: usize) -> (Vec<CopiedEntry>, Cursor) {
        let Piece { mut entries, long, next } = self.cut(from, bytes_max);
        entries.extend(long.into_iter().map(|LongEntry { key, version, value_type, value }| {
            let value = value.bytes().into();
            CopiedEntry { key, version, value_type, value }
        }));
        (entries, next)
    }

    /// Where the partition begins and ends.
    fn range(&self) -> (Cursor, Cursor);

    /// Throws everything away.
    fn clear(&mut self);

    /// Number of entries.
    fn len(&self) -> u64;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A part of a table.
#[derive(Debug)]
pub struct Piece {
    /// Entries with their values.
    pub entries: Vec<CopiedEntry>,
    /// Entries whose values are long.
    pub long: Vec<LongEntry>,
    /// Everything before it has been taken.
    pub next: Cursor,
}

/// An entry whose value is long, by reference.
#[derive(Clone, Debug)]
pub struct LongEntry {
    /// The key.
    pub key: Arc<[u8]>,
    /// The write that put the value there.
    pub version: Version,
    /// How to interpret the value.
    pub value_type: ValueType,
    /// The value. Stays what it is when the table changes, and is paid for until the last reference to it goes.
    pub value: Arc<dyn LongValue>,
}

/// A long value, shared with the table that it was found in.
pub trait LongValue: Debug + Send + Sync {
    /// Its bytes.
    fn bytes(&self) -> &[u8];
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The write that put it there.
    pub version: Version,
    /// How to interpret the value.
    pub value_type: ValueType,
    /// The value.
    pub value: Arc<[u8]>,
}
