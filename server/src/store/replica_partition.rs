//! A partition all of whose writes come from a replicated log: their versions are given, and they cannot fail.

use std::sync::Arc;

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::{Cfg, PartitionId};
use dht_protocol::peer::CopiedEntry;
use dht_protocol::placement::hash::{HashKey, KeyHash};
use dht_protocol::placement::ring::Ring;
use dht_protocol::value::ValueRef;

use super::large::LargeValue;
use super::partition::Partition;
use super::pool::Pool;
use super::scan::PageBounds;
use super::value::{NewValue, StoredValue, is_large};
use crate::memory::{Charge, MemoryKind};
use crate::replication::limits::{PIECE_ENTRIES_MAX, PIECE_LONG_BYTES_MAX};
use crate::replication::replica_store::{LongEntry, LongValue, Piece, ReplicaStore, Stored};

/// What an entry takes at most besides key and value: its head, its slot, its share of a leaf that grows and of a last chunk.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// A partition behind a replicated log.
#[derive(Debug)]
pub struct ReplicaPartition {
    table: Partition,
    ring: Ring,
    hash_key: HashKey,
    pool: Arc<Pool>,
}

impl ReplicaPartition {
    /// An empty partition; allocates nothing.
    #[must_use]
    pub fn new(partition: PartitionId, ring: Ring, hash_key: HashKey, pool: Arc<Pool>) -> ReplicaPartition {
        let table = Partition::new(partition, ring, hash_key, Cfg::new(0), Arc::clone(&pool));
        ReplicaPartition { table, ring, hash_key, pool }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Partition {
        &self.table
    }
}

impl ReplicaStore for ReplicaPartition {
    type Reservation = Charge;

    fn read(&self, hash: KeyHash, key: &[u8]) -> Option<Stored> {
        let found = self.table.get(hash, key)?;
        let value = found.value.to_vec().into();
        Some(Stored { version: found.version, value_type: found.value_type, value })
    }

    fn reserve(&mut self, _: KeyHash, bytes: usize) -> Option<Charge> {
        let bytes = (bytes + ENTRY_OVERHEAD_BYTES) as u64;
        Charge::try_new(Arc::clone(self.pool.account()), MemoryKind::Arena, bytes).ok()
    }

    fn put(&mut self, hash: KeyHash, entry: &CopiedEntry) {
        let new = if is_large(entry.key.len(), entry.value.len()) {
            let large = LargeValue::copy_over_limit(&entry.value, self.pool.account());
            NewValue::Large(entry.value_type, large)
        } else {
            NewValue::Inline(ValueRef { value_type: entry.value_type, bytes: &entry.value })
        };
        let displaced = self.table.put_replicated(hash, &entry.key, &new, entry.version);
        // Keys that crowd one place would have to share 53 bits of a hash under the cluster's own key.
        assert!(displaced.is_ok(), "a prepared entry can be applied: {:?}", displaced.err());
    }

    fn delete(&mut self, hash: KeyHash, key: &[u8]) {
        let _ = self.table.delete(hash, key);
    }

    fn cut(&self, from: Cursor, bytes_max: usize) -> Piece {
        let page = PageBounds { entries_max: PIECE_ENTRIES_MAX, bytes_max };
        let (mut entries, mut long) = (Vec::new(), Vec::new());
        let (mut last, mut long_bytes, mut stopped) = (from, 0, None);
        let step = self.table.scan_step(from, page, b"", &mut |item| {
            let hash = self.hash_key.hash(item.key);
            let cursor = Cursor::of_hash(hash);
            if long_bytes >= PIECE_LONG_BYTES_MAX && cursor > last {
                stopped.get_or_insert(cursor);
            }
            if stopped.is_some() {
                return;
            }
            last = cursor;
            let (key, version, value_type) = (item.key.into(), item.version, item.value_type);
            match item.value {
                Some(value) => {
                    entries.push(CopiedEntry { key, version, value_type, value: value.into() });
                }
                None => {
                    let found = self.table.get(hash, item.key);
                    let value: Arc<dyn LongValue> = match found.expect("the step has just found it").value {
                        StoredValue::Large(large) => Arc::<LargeValue>::clone(large),
                        StoredValue::Inline(pieces) => Arc::new(LeftOut(pieces.to_vec())),
                    };
                    long_bytes += value.bytes().len();
                    long.push(LongEntry { key, version, value_type, value });
                }
            }
        });
        Piece { entries, long, next: stopped.unwrap_or(step.next) }
    }

    fn range(&self) -> (Cursor, Cursor) {
        let id = self.table.id();
        (self.ring.cursor_start(id), self.ring.cursor_end(id))
    }

    fn clear(&mut self) {
        self.table =
            Partition::new(self.table.id(), self.ring, self.hash_key, Cfg::new(0), Arc::clone(&self.pool));
    }

    fn len(&self) -> u64 {
        self.table.usage().entries
    }
}

impl LongValue for LargeValue {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// A value that is not large, and that a step had no room for: many keys share its cursor.
#[derive(Debug)]
struct LeftOut(Vec<u8>);

impl LongValue for LeftOut {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use dht_protocol::ids::Version;
    use dht_protocol::value::ValueType;

    use super::*;
    use crate::memory::MemoryAccount;

    const HASH_KEY: HashKey = HashKey::GUESSABLE;

    fn partition(limit_bytes: u64) -> (ReplicaPartition, Arc<MemoryAccount>) {
        let account = MemoryAccount::new(limit_bytes);
        let ring = Ring::new(16).unwrap();
        (ReplicaPartition::new(PartitionId(0), ring, HASH_KEY, Pool::new(Arc::clone(&account))), account)
    }

    /// Entries of partition 0, in order of hash.
    fn entries(count: usize, value_bytes: usize) -> Vec<(KeyHash, CopiedEntry)> {
        let ring = Ring::new(16).unwrap();
        let keys = (0..).map(|number: u32| number.to_string().into_bytes());
        let hashed = keys.map(|key| (HASH_KEY.hash(&key), key));
        let ours = hashed.filter(|(hash, _)| ring.partition_of(*hash) == PartitionId(0)).take(count);
        let mut entries: Vec<(KeyHash, CopiedEntry)> = ours
            .map(|(hash, key)| {
                let value = vec![key[0]; value_bytes].into();
                let (version, value_type) = (Version(7 + hash.0 % 1_000), ValueType::TEXT);
                (hash, CopiedEntry { key: key.into(), version, value_type, value })
            })
            .collect();
        entries.sort_unstable_by_key(|(hash, _)| *hash);
        entries
    }

    #[test]
    fn what_was_set_aside_for_is_written_whatever_the_limit_is_by_then() {
        let (mut partition, account) = partition(1 << 20);
        // So many that leaves grow, split and widen their directory; some values are large.
        let written: Vec<_> = entries(3_000, 40).into_iter().chain(entries(10, 100_000)).collect();
        account.set_limit_bytes(0);
        for (hash, entry) in &written {
            assert!(partition.reserve(*hash, entry.key.len() + entry.value.len()).is_none());
            partition.put(*hash, entry);
            assert_eq!(partition.read(*hash, &entry.key).unwrap().version, entry.version);
        }
        partition.table().check_invariants();
        assert!(account.used_bytes() > 1 << 20, "it is charged all the same");
        for (hash, entry) in &written {
            partition.delete(*hash, &entry.key);
        }
        assert!(partition.is_empty());
        drop(partition);
        assert_eq!(account.used_bytes(), 0);
    }

    #[test]
    fn pieces_give_everything_once_long_values_too() {
        let (mut partition, _) = partition(u64::MAX);
        let mut written = entries(1_000, 40);
        written[500].1.value = vec![1; 200_000].into();
        for (hash, entry) in &written {
            partition.put(*hash, entry);
        }
        let (mut from, end) = partition.range();
        let mut found = Vec::new();
        while from < end {
            let (piece, next) = partition.piece(from, 4_000);
            assert!(next > from && piece.len() <= PIECE_ENTRIES_MAX);
            found.extend(piece);
            from = next;
        }
        found.sort_unstable_by_key(|entry| HASH_KEY.hash(&entry.key));
        assert!(found.iter().eq(written.iter().map(|(_, entry)| entry)));
        partition.clear();
        assert_eq!(partition.len(), 0);
    }

    #[test]
    fn a_piece_refers_to_long_values_and_to_few_of_them() {
        let (mut partition, account) = partition(u64::MAX);
        let value_bytes = PIECE_LONG_BYTES_MAX / 4;
        let written = entries(9, value_bytes);
        for (hash, entry) in &written {
            partition.put(*hash, entry);
        }
        let used_bytes = account.used_bytes();
        let (mut from, end) = partition.range();
        let mut pieces = Vec::new();
        while from < end {
            let piece = partition.cut(from, 4_000);
            assert!(piece.next > from && piece.entries.is_empty());
            from = piece.next;
            pieces.push(piece.long);
        }
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<usize>>(), [4, 4, 1]);
        assert_eq!(account.used_bytes(), used_bytes, "nothing was copied");
        // A reference outlives the entry, and is paid for meanwhile.
        partition.clear();
        assert!(account.used_bytes() >= 9 * value_bytes as u64);
        assert!(
            pieces
                .iter()
                .flatten()
                .zip(&written)
                .all(|(long, (_, entry))| *long.value.bytes() == *entry.value)
        );
        drop(pieces);
        assert!(account.used_bytes() < value_bytes as u64);
    }
}
