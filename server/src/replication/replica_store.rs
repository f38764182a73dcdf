//! What replication asks of a partition's table. The real partition implements it, and nothing else does.

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

    /// Entries from `from` on in order of hash, until about `bytes_max` bytes of them or the end; says where it stopped. Entries that
    /// share a cursor are never parted.
    fn piece(&self, from: Cursor, bytes_max: usize) -> (Vec<CopiedEntry>, Cursor);

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
