//! The table: directory and leaves over arena and large values. One operation at a time; whoever calls holds the
//! partition's lock.
//!
//! ```text
//!   hash ─▶ directory ─▶ leaf ─▶ tag ─▶ offset ─▶ arena: entry ─▶ (large value)
//! ```
//!
//! Files: this one looks up and writes; `resize.rs` builds leaves anew, `compact.rs` empties chunks, `relocate.rs` moves
//! blocks, `scan.rs` pages through.
//!
//! Invariants:
//! 1. Each live entry of the arena has exactly one slot, in the leaf that covers its key's hash, and no key two.
//! 2. An operation that fails has changed no key, value or version (it may have rebuilt a leaf or moved entries).
//! 3. No operation touches more than `STEP_SLOTS_MAX` slots or copies more than `STEP_BYTES_MAX` bytes of keys and
//!    values; `step` counts, `usage` tells.

use std::mem::offset_of;
use std::sync::Arc;

use dht_protocol::ids::Version;
use dht_protocol::placement::hash::{HashKey, KeyHash};

use super::arena::{Address, Arena, View};
use super::directory::{Directory, LeafAt, Span};
use super::entry::{Body, Entry, OVERWRITTEN_VERSION_BYTES};
use super::heap::Limit;
use super::large::LargeValue;
use super::large_list::LargeList;
use super::limits::{STEP_BYTES_MAX, STEP_SLOTS_MAX};
use super::pool::Pool;
use super::probe::Probe;
use super::relocate::Relocation;
use super::steps::{Step, StepCounts, StepKind, Timer};
use super::usage::PartitionUsage;
use super::value::{Found, NewValue, StoreError, StoredValue};
use crate::memory::OutOfMemory;

/// What makes a hash of a key. The cluster's hash key; in tests also something that collides at will.
pub(super) trait HashKeys {
    /// The hash of `key`.
    fn hash_of(&self, key: &[u8]) -> KeyHash;
}

impl HashKeys for HashKey {
    #[inline]
    fn hash_of(&self, key: &[u8]) -> KeyHash {
        self.hash(key)
    }
}

/// One table.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Table<H: HashKeys> {
    pub(super) directory: Directory,
    pub(super) pool: Arc<Pool>,
    pub(super) arena: Arena,
    pub(super) hasher: H,
    pub(super) span: Span,
    larges: LargeList,
    /// Work done since the current operation began; bytes are those of keys and values.
    pub(super) step: Step,
    entries: u64,
    key_bytes: u64,
    value_bytes: u64,
    large_bytes: u64,
    pub(super) steps: StepCounts,
    /// How far moving blocks has come.
    pub(super) relocation: Relocation,
}

/// Where a key was found.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: LeafAt,
    slot: usize,
    address: Address,
}

/// An entry about to be written.
#[derive(Clone, Copy)]
struct Writing<'a> {
    hash: KeyHash,
    key: &'a [u8],
    value: &'a NewValue<'a>,
    version: Version,
    /// Whether it may go past the memory limit.
    limit: Limit,
}

/// What has to be known of an entry that is to go.
#[derive(Clone, Copy)]
struct Old {
    value_bytes: usize,
    extent_bytes: usize,
    /// Where a large value is kept.
    large: Option<u32>,
}

impl<'a> Writing<'a> {
    /// The entry as it will lie in the arena; a large value's index is yet to be filled in.
    fn entry(&self) -> Entry<'a> {
        let body = match self.value {
            NewValue::Inline(value) => Body::Inline(value.bytes),
            NewValue::Large(_, large) => Body::Large { index: 0, value_bytes: large.len() as u32 },
        };
        Entry { version: self.version, value_type: self.value.value_type(), key: self.key, body }
    }
}

impl Old {
    #[inline]
    fn of(view: &View<'_>) -> Old {
        Old {
            value_bytes: view.head.value_bytes,
            extent_bytes: view.head.extent_bytes(),
            large: view.large_index(),
        }
    }
}

impl<H: HashKeys> Table<H> {
    /// Bytes at its front that look-ups touch: directory, pool, and the arena's list of chunks.
    pub(super) const READ_BYTES: usize = offset_of!(Table<H>, arena) + Arena::READ_BYTES;

    /// An empty table for the hashes of `span`; allocates nothing.
    pub(super) fn new(hasher: H, span: Span, pool: Arc<Pool>) -> Table<H> {
        Table {
            hasher,
            span,
            directory: Directory::new(span, Arc::clone(pool.account())),
            arena: Arena::new(Arc::clone(&pool)),
            larges: LargeList::new(Arc::clone(pool.account())),
            pool,
            step: Step::default(),
            entries: 0,
            key_bytes: 0,
            value_bytes: 0,
            large_bytes: 0,
            steps: StepCounts::default(),
            relocation: Relocation::START,
        }
    }

    /// What `key` holds.
    pub(super) fn get(&self, hash: KeyHash, key: &[u8]) -> Option<Found<'_>> {
        let (_, view) = self.find(hash, key, &mut 0)?;
        let value = match view.large_index() {
            None => StoredValue::Inline(view.body),
            Some(index) => StoredValue::Large(self.larges.get(index)),
        };
        Some(Found { version: view.version, value_type: view.head.value_type, value })
    }

    /// Begins a look-up of `hash`, one of a batch.
    #[inline]
    pub(super) fn probe(&self, hash: KeyHash, writes: bool) -> Probe<'_> {
        Probe::new(&self.directory, &self.arena, &self.pool, hash, writes)
    }

    /// Asks for the slots that a look-up of `hash` will read.
    #[inline]
    pub(super) fn prefetch_slots(&self, hash: KeyHash) {
        if let Some(at) = self.directory.locate(hash) {
            self.directory.leaf(at).prefetch(hash, &self.pool);
        }
    }

    /// Writes `value` under `key`, new or not, and gives the large value that it displaced.
    ///
    /// # Errors
    /// [`StoreError::OutOfMemory`], after making room by compaction did not help, and [`StoreError::Crowded`].
    pub(super) fn put(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        value: &NewValue<'_>,
        version: Version,
    ) -> Result<Option<Arc<LargeValue>>, StoreError> {
        self.write(&Writing { hash, key, value, version, limit: Limit::Hold })
    }

    /// As [`Table::put`], past the memory limit if it must be.
    ///
    /// # Errors
    /// [`StoreError::Crowded`]; [`StoreError::OutOfMemory`] where the arena has no more names for entries.
    pub(super) fn put_over_limit(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        value: &NewValue<'_>,
        version: Version,
    ) -> Result<Option<Arc<LargeValue>>, StoreError> {
        self.write(&Writing { hash, key, value, version, limit: Limit::Exceed })
    }

    fn write(&mut self, new: &Writing<'_>) -> Result<Option<Arc<LargeValue>>, StoreError> {
        self.step = Step::default();
        let dead_before = self.arena.dead_bytes();
        let hash = new.hash;
        let mut written = self.try_write(new);
        if written.as_ref().err() == Some(&StoreError::OutOfMemory)
            && self.reclaim(hash, copied_bytes(new.key, new.value))
        {
            written = self.try_write(new);
        }
        if written.is_ok() {
            self.pay_for_compaction(dead_before);
        } else if self.entries == 0
            && let Some(at) = self.directory.locate(hash)
            && self.directory.leaf(at).bits() == self.span.bits
        {
            // The leaf was made for the entry that was refused. No delete will come that gives it back.
            self.directory.clear(&self.pool);
        }
        self.end_step();
        written
    }

    fn try_write(&mut self, new: &Writing<'_>) -> Result<Option<Arc<LargeValue>>, StoreError> {
        let mut visited = 0;
        let found = self.find(new.hash, new.key, &mut visited).map(|(place, view)| (place, Old::of(&view)));
        self.step.slots += visited;
        match found {
            Some((place, old)) => Ok(self.overwrite(place, old, new)?),
            None => {
                self.insert(new)?;
                Ok(None)
            }
        }
    }

    fn insert(&mut self, new: &Writing<'_>) -> Result<(), StoreError> {
        let Writing { hash, key, value, .. } = *new;
        let at = self.make_room(hash, new.limit)?;
        let address = self.append(at, new, 1)?;
        self.step.slots += 1;
        self.directory.leaf_mut(at).insert(hash, address.0, &self.pool);
        self.count_in(key.len(), value.len(), matches!(value, NewValue::Large(..)));
        Ok(())
    }

    fn overwrite(
        &mut self,
        place: Place,
        old: Old,
        new: &Writing<'_>,
    ) -> Result<Option<Arc<LargeValue>>, OutOfMemory> {
        let Writing { hash, key, value, .. } = *new;
        let displaced = match (old.large, value) {
            (None, NewValue::Inline(_)) if self.arena.overwrite(place.address, &new.entry(), hash) => {
                self.step.bytes += copied_bytes(key, value);
                None
            }
            _ => {
                let width = self.directory.leaf(place.at).width();
                let address = self.append(place.at, new, OVERWRITTEN_VERSION_BYTES)?;
                let is_as_it_was = self.directory.leaf(place.at).width() == width;
                let slot =
                    if is_as_it_was { place.slot } else { self.slot_of(place.at, hash, place.address) };
                self.directory.leaf_mut(place.at).set_offset(slot, address.0, &self.pool);
                self.arena.kill_extent(place.address, old.extent_bytes);
                old.large.map(|index| self.larges.remove(index))
            }
        };
        self.count_out(key.len(), old.value_bytes, old.large.is_some());
        self.count_in(key.len(), value.len(), matches!(value, NewValue::Large(..)));
        Ok(displaced)
    }

    /// The slot, in the leaf at `at`, of the live entry of `hash` at `address`.
    pub(super) fn slot_of(&self, at: LeafAt, hash: KeyHash, address: Address) -> usize {
        let slot = self.directory.leaf(at).find(hash, &self.pool, |offset| offset == address.0);
        slot.expect("a live entry has a slot")
    }

    /// Appends an entry to the arena, keeps its large value, if it has one, and sees to it that the leaf at `at` can hold its
    /// address.
    fn append(
        &mut self,
        at: LeafAt,
        new: &Writing<'_>,
        version_bytes_min: usize,
    ) -> Result<Address, OutOfMemory> {
        let Writing { hash, key, value, limit, .. } = *new;
        let address = match value {
            NewValue::Inline(_) => self.arena.append(&new.entry(), hash, version_bytes_min, limit)?,
            NewValue::Large(_, large) => {
                self.larges.reserve_one(limit)?;
                let entry = with_index(new.entry(), self.larges.next_index());
                match self.arena.append(&entry, hash, version_bytes_min, limit) {
                    Ok(address) => {
                        self.larges.insert(Arc::clone(large));
                        address
                    }
                    Err(refused) => {
                        self.larges.give_back_if_unused();
                        return Err(refused);
                    }
                }
            }
        };
        if let Err(refused) = self.widen_for(address, at, limit) {
            if let Some(index) = self.arena.view(address).large_index() {
                self.larges.remove(index);
            }
            self.arena.kill(address);
            return Err(refused);
        }
        self.step.bytes += copied_bytes(key, value) + self.arena.take_grown_bytes();
        Ok(address)
    }

    /// Removes `key`; `None` if it is absent. Gives its large value.
    pub(super) fn delete(&mut self, hash: KeyHash, key: &[u8]) -> Option<Option<Arc<LargeValue>>> {
        self.step = Step::default();
        let mut visited = 0;
        let (place, view) = self.find(hash, key, &mut visited)?;
        let old = Old::of(&view);
        self.step.slots += visited;
        let dead_before = self.arena.dead_bytes();
        self.directory.leaf_mut(place.at).remove(place.slot, hash, &self.pool);
        self.arena.kill_extent(place.address, old.extent_bytes);
        let displaced = old.large.map(|index| self.larges.remove(index));
        self.count_out(key.len(), old.value_bytes, displaced.is_some());
        self.shrink(place.at);
        self.pay_for_compaction(dead_before);
        self.end_step();
        Some(displaced)
    }

    /// Where `key` is, and its entry. Adds the number of keys compared to `visited`.
    #[inline]
    fn find(&self, hash: KeyHash, key: &[u8], visited: &mut usize) -> Option<(Place, View<'_>)> {
        let at = self.directory.locate(hash)?;
        let leaf = self.directory.leaf(at);
        let (mut address, mut found) = (Address(0), None);
        let slot = leaf.find(hash, &self.pool, |offset| {
            *visited += 1;
            address = Address(offset);
            found = self.arena.view_of(address, key);
            found.is_some()
        })?;
        found.map(|view| (Place { at, slot, address }, view))
    }

    /// Closes the books of an operation.
    pub(super) fn end_step(&mut self) {
        debug_assert!(self.step.slots <= STEP_SLOTS_MAX, "{:?}", self.step);
        debug_assert!(self.step.bytes <= STEP_BYTES_MAX, "{:?}", self.step);
        self.pool.step_books().on_operation(self.step);
    }

    /// A step within an operation begins.
    #[inline]
    pub(super) fn begin_step(&self, kind: StepKind) -> Timer {
        self.steps.begin(kind, self.span.number())
    }

    fn count_in(&mut self, key_bytes: usize, value_bytes: usize, large: bool) {
        self.entries += 1;
        self.key_bytes += key_bytes as u64;
        self.value_bytes += value_bytes as u64;
        self.large_bytes += if large { value_bytes as u64 } else { 0 };
    }

    fn count_out(&mut self, key_bytes: usize, value_bytes: usize, large: bool) {
        self.entries -= 1;
        self.key_bytes -= key_bytes as u64;
        self.value_bytes -= value_bytes as u64;
        self.large_bytes -= if large { value_bytes as u64 } else { 0 };
    }

    /// Numbers of this table.
    pub(super) fn usage(&self) -> PartitionUsage {
        PartitionUsage {
            entries: self.entries,
            key_bytes: self.key_bytes,
            value_bytes: self.value_bytes,
            table_bytes: self.directory.charged_bytes(),
            arena_bytes: self.arena.charged_bytes(),
            dead_bytes: self.arena.dead_bytes(),
            large_bytes: self.large_bytes,
            growth_steps: self.steps.of(StepKind::Growth),
            compaction_steps: self.steps.of(StepKind::Compaction),
            maintenance_steps: self.steps.of(StepKind::Maintenance),
        }
    }

    /// Checks every invariant of the table and its parts. Cost: visits everything. For tests.
    ///
    /// # Panics
    /// When one does not hold.
    pub(super) fn check_invariants(&self) {
        let hash_at = |offset| self.arena.hash_at(Address(offset), |key| self.hasher.hash_of(key));
        let mut slots = 0;
        self.directory.check_invariants(|leaf| {
            leaf.check_invariants(&self.pool, hash_at);
            slots += leaf.len() as u64;
        });
        let (mut entries, mut key_bytes, mut value_bytes, mut large_bytes, mut larges) = (0, 0, 0, 0, 0);
        self.arena.check_invariants(|address| {
            let view = self.arena.view(address);
            let key = view.key.to_vec();
            let place = self.find(self.hasher.hash_of(&key), &key, &mut 0);
            assert!(place.is_some_and(|(place, _)| place.address == address), "a live entry has no slot");
            entries += 1;
            key_bytes += key.len() as u64;
            value_bytes += view.head.value_bytes as u64;
            if let Some(index) = view.large_index() {
                assert_eq!(self.larges.get(index).len(), view.head.value_bytes);
                large_bytes += view.head.value_bytes as u64;
                larges += 1;
            }
        });
        self.larges.check_invariants(larges);
        assert_eq!((slots, entries), (self.entries, self.entries));
        assert_eq!((key_bytes, value_bytes), (self.key_bytes, self.value_bytes));
        assert_eq!(large_bytes, self.large_bytes);
    }
}

impl<H: HashKeys> Drop for Table<H> {
    fn drop(&mut self) {
        self.directory.clear(&self.pool);
    }
}

fn with_index(entry: Entry<'_>, index: u32) -> Entry<'_> {
    match entry.body {
        Body::Inline(_) => entry,
        Body::Large { value_bytes, .. } => Entry { body: Body::Large { index, value_bytes }, ..entry },
    }
}

/// Bytes of key and value that writing them copies.
fn copied_bytes(key: &[u8], value: &NewValue<'_>) -> usize {
    match value {
        NewValue::Inline(value) => key.len() + value.bytes.len(),
        NewValue::Large(..) => key.len(),
    }
}
