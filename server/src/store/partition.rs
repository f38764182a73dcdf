//! A partition.
#![allow(unused_variables, clippy::unimplemented, missing_docs, clippy::needless_pass_by_value)]

use std::sync::Arc;

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::{Cfg, PartitionId};
use dht_protocol::placement::hash::{HashKey, KeyHash};
use dht_protocol::placement::ring::Ring;

use super::scan::{PageBounds, ScanItem, ScanStep};
use super::usage::{Maintained, PartitionUsage};
use super::value::{Found, NewValue, StoreError, Written};
use crate::memory::MemoryAccount;

pub struct Partition {
    id: PartitionId,
}

impl Partition {
    pub fn new(
        id: PartitionId,
        ring: Ring,
        hash_key: HashKey,
        cfg: Cfg,
        memory: Arc<MemoryAccount>,
    ) -> Partition {
        Partition { id }
    }
    pub fn id(&self) -> PartitionId {
        self.id
    }
    pub fn get(&self, hash: KeyHash, key: &[u8]) -> Option<Found<'_>> {
        unimplemented!()
    }
    pub fn put(&mut self, hash: KeyHash, key: &[u8], value: NewValue<'_>) -> Result<Written, StoreError> {
        unimplemented!()
    }
    pub fn delete(&mut self, hash: KeyHash, key: &[u8]) -> Option<Written> {
        unimplemented!()
    }
    pub fn scan_step(
        &self,
        from: Cursor,
        page: PageBounds,
        prefix: &[u8],
        sink: &mut dyn FnMut(ScanItem<'_>),
    ) -> ScanStep {
        unimplemented!()
    }
    pub fn maintain(&mut self) -> Maintained {
        unimplemented!()
    }
    pub fn usage(&self) -> PartitionUsage {
        unimplemented!()
    }
    pub fn check_invariants(&self) {
        unimplemented!()
    }
}
