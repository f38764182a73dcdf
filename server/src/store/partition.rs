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
use super::scan::{PageBounds, ScanItem, ScanStep};
use super::table::Table;
use super::usage::{Maintained, PartitionUsage};
use super::value::{Found, NewValue, StoreError, Written, is_large};
use crate::memory::MemoryAccount;

/// Highest sequence number of a put: past it are numbers for as many deletes as 32 bits can name entries.
const PUT_SEQ_MAX: u64 = Version::SEQ_MAX - (1 << u32::BITS);

/// One arc of the ring with what it holds. Whoever calls holds its lock; every function is one bounded step.
#[derive(Debug)]
pub struct Partition {
    id: PartitionId,
    /// Configuration under which writes are numbered.
    cfg: Cfg,
    /// Number of the last write; 0 before the first.
    seq: u64,
    table: Table<HashKey>,
}

impl Partition {
    /// An empty partition; allocates nothing.
    #[must_use]
    pub fn new(
        id: PartitionId,
        ring: Ring,
        hash_key: HashKey,
        cfg: Cfg,
        memory: Arc<MemoryAccount>,
    ) -> Partition {
        let bits = ring.partitions_log2();
        let span = Span { start: u64::from(id.0) << (u64::BITS - bits), bits };
        Partition { id, cfg, seq: 0, table: Table::new(hash_key, span, memory) }
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

    /// One step of compaction, if any is due; says whether another would find work.
    pub fn maintain(&mut self) -> Maintained {
        self.table.maintain()
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
