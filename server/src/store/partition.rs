//! A partition: a table for one arc of the ring, and the numbers of its writes.
//!
//! Invariants:
//! 1. Every write gets the next sequence number, from 1; one that is refused gets none.
//! 2. A put leaves enough numbers for deleting every entry there can be, so that a delete is never refused.

use std::sync::Arc;

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::{Cfg, PartitionId, Version};
use dht_protocol::placement::hash::{HashKey, KeyHash};
use dht_protocol::placement::ring::Ring;

use super::directory::Span;
use super::large::LargeValue;
use super::pool::Pool;
use super::probe::Probe;
use super::scan::{PageBounds, ScanItem, ScanStep};
use super::table::Table;
use super::usage::{Maintained, PartitionUsage};
use super::value::{Found, NewValue, StoreError, Written, is_large};

/// Highest sequence number of a put: past it are numbers for as many deletes as 32 bits can name entries.
const PUT_SEQ_MAX: u64 = Version::SEQ_MAX - (1 << u32::BITS);

/// One arc of the ring with what it holds. Whoever calls holds its lock; every function is one bounded step. A hash
/// given to it is the key's, under the partition's hash key, and lies on this arc.
///
/// Fields in order of use, here and in what stands first: what leads to an entry fills the first cache lines.
#[derive(Debug)]
#[repr(C)]
pub struct Partition {
    table: Table<HashKey>,
    /// Number of the last write; 0 before the first.
    seq: u64,
    id: PartitionId,
    /// Configuration under which writes are numbered.
    cfg: Cfg,
}

impl Partition {
    /// Bytes at its front that look-ups touch.
    pub(crate) const READ_BYTES: usize = Table::<HashKey>::READ_BYTES;

    /// An empty partition; allocates nothing.
    #[must_use]
    pub fn new(id: PartitionId, ring: Ring, hash_key: HashKey, cfg: Cfg, pool: Arc<Pool>) -> Partition {
        let bits = ring.partitions_log2();
        let span = Span { start: u64::from(id.0) << (u64::BITS - bits), bits };
        Partition { id, cfg, seq: 0, table: Table::new(hash_key, span, pool) }
    }

    /// Which arc this is.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// What `key`, whose hash is `hash`, holds.
    #[must_use]
    #[inline]
    pub fn get(&self, hash: KeyHash, key: &[u8]) -> Option<Found<'_>> {
        self.table.get(hash, key)
    }

    /// Begins a look-up of `hash`, one of a batch, `writes` saying whether a write follows: see [`Probe`].
    #[inline]
    #[must_use]
    pub fn probe(&self, hash: KeyHash, writes: bool) -> Probe<'_> {
        self.table.probe(hash, writes)
    }

    /// Writes `value` under `key`, new or not. The value is large if and only if [`is_large`] says so.
    ///
    /// # Errors
    /// [`StoreError`]; no key, value or version changed.
    #[expect(clippy::needless_pass_by_value, reason = "the store takes the value over")]
    pub fn put(&mut self, hash: KeyHash, key: &[u8], value: NewValue<'_>) -> Result<Written, StoreError> {
        debug_assert!(matches!(value, NewValue::Large(..)) || !is_large(key.len(), value.len()));
        if self.seq >= PUT_SEQ_MAX {
            return Err(StoreError::SequenceExhausted);
        }
        let version = Version::new(self.cfg, self.seq + 1);
        let displaced = self.table.put(hash, key, &value, version)?;
        self.seq += 1;
        Ok(Written { version, displaced })
    }

    /// Writes `value` under `key` as `version`, which comes from a replicated log, past the memory limit if it must be. Gives the
    /// large value that it replaced.
    ///
    /// # Errors
    /// [`StoreError::Crowded`], and [`StoreError::OutOfMemory`] where the arena has no more names for entries; no key, value or
    /// version changed.
    pub(super) fn put_replicated(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        value: &NewValue<'_>,
        version: Version,
    ) -> Result<Option<Arc<LargeValue>>, StoreError> {
        self.table.put_over_limit(hash, key, value, version)
    }

    /// Removes `key`; `None` if it is absent. The version is the delete's own number.
    pub fn delete(&mut self, hash: KeyHash, key: &[u8]) -> Option<Written> {
        let displaced = self.table.delete(hash, key)?;
        self.seq += 1;
        Some(Written { version: Version::new(self.cfg, self.seq), displaced })
    }

    /// One step of a scan: gives `sink` exactly the entries whose cursor lies in [`from`, `next`) and whose key
    /// begins with `prefix`, in cursor order. Done when `next` is the partition's end. A step may emit nothing and
    /// yet move on. Keys that share a cursor are never parted, so that at least one such group is passed, whatever
    /// the page's bounds. Cost: at most 1,024 slots touched and 64 KiB of values emitted; large values come
    /// without their bytes.
    pub fn scan_step(
        &self,
        from: Cursor,
        page: PageBounds,
        prefix: &[u8],
        sink: &mut dyn FnMut(ScanItem<'_>),
    ) -> ScanStep {
        self.table.scan_step(from, page, prefix, sink)
    }

    /// One step of compaction, if any is due; says whether another would find work. More is due where memory is
    /// short.
    pub fn maintain(&mut self, memory_is_short: bool) -> Maintained {
        self.table.maintain(memory_is_short)
    }

    /// Writes so far.
    #[must_use]
    pub fn writes_count(&self) -> u64 {
        self.seq
    }

    /// Numbers of this partition.
    #[must_use]
    pub fn usage(&self) -> PartitionUsage {
        self.table.usage()
    }

    /// Checks every invariant. Cost: visits everything. For tests.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn check_invariants(&self) {
        self.table.check_invariants();
    }
}

#[cfg(test)]
mod tests {
    use dht_protocol::value::{ValueRef, ValueType};

    use super::*;
    use crate::memory::MemoryAccount;
    use crate::store::{LargeValue, StoredValue};

    const HASH_KEY: HashKey = HashKey::GUESSABLE;

    fn inline(bytes: &[u8]) -> NewValue<'_> {
        NewValue::Inline(ValueRef { value_type: ValueType::TEXT, bytes })
    }

    #[test]
    fn an_empty_partition_costs_little() {
        fn is_send<T: Send>() {}
        is_send::<Partition>();
        assert!(size_of::<Partition>() <= 512, "{}", size_of::<Partition>());
        let memory = MemoryAccount::new(0);
        let ring = Ring::new(16).unwrap();
        let mut partition =
            Partition::new(PartitionId(15), ring, HASH_KEY, Cfg::new(7), Pool::new(Arc::clone(&memory)));
        partition.check_invariants();
        assert!(!partition.maintain(false).more);
        let page = PageBounds { entries_max: 10, bytes_max: 1_000 };
        let step = partition.scan_step(Cursor::START, page, b"", &mut |_| unreachable!("nothing is there"));
        assert_eq!(step.next, ring.cursor_end(PartitionId(15)));
        let key = (0..)
            .map(|i: u32| i.to_string())
            .find(|key| ring.partition_of(HASH_KEY.hash(key.as_bytes())) == PartitionId(15));
        let key = key.unwrap().into_bytes();
        let refused = partition.put(HASH_KEY.hash(&key), &key, inline(b"value")).err();
        assert_eq!((refused, memory.used_bytes()), (Some(StoreError::OutOfMemory), 0));
        assert!(partition.get(HASH_KEY.hash(&key), &key).is_none());
        assert!(partition.delete(HASH_KEY.hash(&key), &key).is_none());
    }

    #[test]
    #[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
    fn writes_are_numbered_and_partitions_tile_a_scan() {
        let memory = MemoryAccount::new(u64::MAX);
        let ring = Ring::new(16).unwrap();
        let pool = Pool::new(Arc::clone(&memory));
        let new = |id| Partition::new(id, ring, HASH_KEY, Cfg::new(7), Arc::clone(&pool));
        let mut partitions: Vec<_> = ring.partitions().map(new).collect();
        let mut seqs = [0; 16];
        for number in 0..20_000u32 {
            let key = (number % 15_000).to_string().into_bytes();
            let hash = HASH_KEY.hash(&key);
            let place = ring.partition_of(hash).0 as usize;
            let written = partitions[place].put(hash, &key, inline(&key)).unwrap();
            seqs[place] += 1;
            assert_eq!(written.version, Version::new(Cfg::new(7), seqs[place]));
            assert_eq!(partitions[place].get(hash, &key).unwrap().version, written.version);
        }
        let page = PageBounds { entries_max: 100, bytes_max: 1_000 };
        let (mut found, mut cursor) = (0, Cursor::START);
        for partition in &mut partitions {
            partition.check_invariants();
            assert_eq!(cursor, ring.cursor_start(partition.id()));
            while cursor < ring.cursor_end(partition.id()) {
                cursor = partition.scan_step(cursor, page, b"", &mut |_| found += 1).next;
            }
        }
        assert_eq!((found, cursor), (15_000, Cursor::END));
        drop((partitions, pool));
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn a_large_value_outlives_its_entry_in_a_readers_hand() {
        let memory = MemoryAccount::new(1 << 20);
        let ring = Ring::new(16).unwrap();
        let hash = HASH_KEY.hash(b"key");
        let id = ring.partition_of(hash);
        let mut partition = Partition::new(id, ring, HASH_KEY, Cfg::new(7), Pool::new(Arc::clone(&memory)));
        let large = LargeValue::copy_of(&[1; 200_000], &memory).unwrap();
        partition.put(hash, b"key", NewValue::Large(ValueType::BYTES, large)).unwrap();
        let found = partition.get(hash, b"key").unwrap();
        let StoredValue::Large(held) = found.value else { panic!("not large") };
        let held = Arc::clone(held);
        let written = partition.put(hash, b"key", inline(b"small")).unwrap();
        assert!(Arc::ptr_eq(&written.displaced.unwrap(), &held));
        drop(partition);
        assert!(memory.used_bytes() > 200_000, "what a reader holds is still charged");
        assert_eq!(held.as_bytes(), [1; 200_000]);
        drop(held);
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn a_delete_is_possible_when_puts_have_used_up_their_numbers() {
        let hash = HASH_KEY.hash(b"key");
        let ring = Ring::new(16).unwrap();
        let id = ring.partition_of(hash);
        let mut partition =
            Partition::new(id, ring, HASH_KEY, Cfg::new(7), Pool::new(MemoryAccount::new(1 << 20)));
        partition.seq = PUT_SEQ_MAX - 1;
        partition.put(hash, b"key", inline(b"last")).unwrap();
        let refused = partition.put(hash, b"key", inline(b"one more")).err();
        assert_eq!(refused, Some(StoreError::SequenceExhausted));
        assert_eq!(partition.delete(hash, b"key").unwrap().version.seq(), PUT_SEQ_MAX + 1);
    }
}
