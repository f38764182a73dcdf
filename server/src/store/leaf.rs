//! A leaf: a small open-addressing table over a range of hashes.
//!
//! ```text
//!   hash   │ partition │ leaf's place │  rel: bits below the leaf  …  │ tag │
//!          └────────── bits ──────────┘          │ multiply-shift
//!                                                ▼
//!   slots  │ tag tag tag … (n bytes) │ offset offset offset … (4 n bytes) │      one block, n a multiple of 8
//!            └── group 0 ──┘└─ group 1 ─┘ …
//! ```
//!
//! A key's home is a group of eight slots; it lies in the first group from there on, wrapping around at the end,
//! that had a free slot when it came. Groups are in hash order, so that a split of the leaf's range is a split of
//! its content, and keys that come in hash order fill it from the left.
//!
//! Invariants:
//! 1. All hashes here share their top `bits` bits with `start`, and the lower bits of `start` are 0.
//! 2. `len` slots hold entries, `tombstones` slots are marked deleted, `len + tombstones <= capacity(n)` (but for
//!    entries that [`Leaf::insert`] puts in past that, as long as a slot is free).
//! 3. No group between a key's home and its place has a slot that was never used. So a probe ends at the first
//!    group that has one, or after all groups.
//! 4. A group that was full once never has a never-used slot again, until the leaf is rebuilt: a deletion leaves
//!    a tombstone in a full group. (This keeps 3 when keys go.)
//!
//! The leaf knows offsets only; whoever calls compares keys and computes hashes.

use byteorder::{ByteOrder, LittleEndian};
use dht_protocol::placement::hash::KeyHash;

use super::limits::{GROUP_SLOTS, LOAD_TENTHS_MAX};
use super::prefetch::prefetch;
use super::probe::{EMPTY, Group, TOMBSTONE, tag_of};

/// Bytes of a slot: a tag and an offset.
pub(super) const SLOT_BYTES: usize = 1 + size_of::<u32>();

/// One leaf.
#[derive(Debug)]
pub(super) struct Leaf {
    /// Lowest hash of the range.
    start: u64,
    /// Tags, then offsets; empty for a leaf that never held anything.
    slots: Box<[u8]>,
    /// Slots that hold entries.
    len: u16,
    /// Slots marked deleted.
    tombstones: u16,
    /// Number of slots: `slots.len() / SLOT_BYTES`.
    slots_count: u16,
    /// How many top bits of a hash the range fixes.
    bits: u8,
}

/// A slot that a new entry may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct FreeSlot {
    /// Which slot.
    slot: usize,
    /// Groups between the key's home and this one.
    pub(super) groups_passed: usize,
}

/// Slots of a leaf of `slots_count` that may be in use.
pub(super) const fn capacity(slots_count: usize) -> usize {
    slots_count * LOAD_TENTHS_MAX / 10
}

/// Fewest slots, a multiple of a group, whose capacity is at least `entries`.
pub(super) const fn slots_for(entries: usize) -> usize {
    let slots = (entries * 10).div_ceil(LOAD_TENTHS_MAX).next_multiple_of(GROUP_SLOTS);
    debug_assert!(capacity(slots) >= entries);
    slots
}

impl Leaf {
    /// An empty leaf of `slots_count` slots for the hashes that share their top `bits` bits with `start`.
    /// Allocates one block, none for no slots.
    pub(super) fn new(start: u64, bits: u32, slots_count: usize) -> Leaf {
        debug_assert!(bits > 0 && bits < u64::BITS && start << bits == 0);
        debug_assert!(slots_count.is_multiple_of(GROUP_SLOTS));
        Leaf {
            start,
            slots: vec![0; slots_count * SLOT_BYTES].into_boxed_slice(),
            len: 0,
            tombstones: 0,
            slots_count: slots_count as u16,
            bits: bits as u8,
        }
    }

    /// Lowest hash of the range.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// How many top bits of a hash the range fixes.
    pub(super) fn bits(&self) -> u32 {
        u32::from(self.bits)
    }

    /// Entries.
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Slots marked deleted.
    pub(super) fn tombstones(&self) -> usize {
        usize::from(self.tombstones)
    }

    /// Slots.
    pub(super) fn slots_count(&self) -> usize {
        usize::from(self.slots_count)
    }

    /// Whether another entry fits without exceeding the load factor.
    pub(super) fn has_room(&self) -> bool {
        self.len() + self.tombstones() < capacity(self.slots_count())
    }

    /// Whether `hash` belongs here.
    #[inline]
    pub(super) fn covers(&self, hash: KeyHash) -> bool {
        (hash.0 ^ self.start) >> (u64::BITS - self.bits()) == 0
    }

    #[inline]
    fn groups_count(&self) -> usize {
        self.slots_count() / GROUP_SLOTS
    }

    #[inline]
    fn tags(&self) -> &[u8] {
        &self.slots[..self.slots_count()]
    }

    /// The group where a probe for `hash` begins.
    #[inline]
    fn home(&self, hash: KeyHash) -> usize {
        let rel = (hash.0 << self.bits()) >> u32::BITS;
        ((rel * self.groups_count() as u64) >> u32::BITS) as usize
    }

    /// The slot of `hash` whose offset `is_it` accepts. Asks for slots of the same tag only.
    #[inline]
    pub(super) fn find(&self, hash: KeyHash, mut is_it: impl FnMut(u32) -> bool) -> Option<usize> {
        let (tags, groups_count, tag) = (self.tags(), self.groups_count(), tag_of(hash));
        let mut group = self.home(hash);
        for _ in 0..groups_count {
            let lanes = Group::load(tags, group);
            for lane in lanes.matches(tag) {
                let slot = group * GROUP_SLOTS + lane;
                if is_it(self.offset(slot)) {
                    return Some(slot);
                }
            }
            if !lanes.empty().is_none() {
                return None;
            }
            group = if group + 1 == groups_count { 0 } else { group + 1 };
        }
        None
    }

    /// Asks for the memory that [`Leaf::find`] reads first.
    #[inline]
    pub(super) fn prefetch(&self, hash: KeyHash) {
        if self.slots_count == 0 {
            return;
        }
        let slot = self.home(hash) * GROUP_SLOTS;
        prefetch(&self.tags()[slot..], GROUP_SLOTS);
        prefetch(&self.slots[self.slots_count() + slot * size_of::<u32>()..], GROUP_SLOTS * size_of::<u32>());
    }

    /// The first offset at the home of `hash` whose tag is right: most likely the one that [`Leaf::find`] finds.
    #[inline]
    pub(super) fn likely_offset(&self, hash: KeyHash) -> Option<u32> {
        if self.slots_count == 0 {
            return None;
        }
        let group = self.home(hash);
        let lane = Group::load(self.tags(), group).matches(tag_of(hash)).next()?;
        Some(self.offset(group * GROUP_SLOTS + lane))
    }

    /// The slot that a new entry of `hash` would take; `None` if there is none left at all.
    pub(super) fn free_slot(&self, hash: KeyHash) -> Option<FreeSlot> {
        let (tags, groups_count) = (self.tags(), self.groups_count());
        let mut group = self.home(hash);
        for groups_passed in 0..groups_count {
            if let Some(lane) = Group::load(tags, group).free().next() {
                return Some(FreeSlot { slot: group * GROUP_SLOTS + lane, groups_passed });
            }
            group = if group + 1 == groups_count { 0 } else { group + 1 };
        }
        None
    }

    /// Puts an entry of `hash` into `free`, which [`Leaf::free_slot`] gave for it just now.
    pub(super) fn fill(&mut self, free: FreeSlot, hash: KeyHash, offset: u32) {
        debug_assert!(self.covers(hash));
        if self.slots[free.slot] == TOMBSTONE {
            self.tombstones -= 1;
        }
        self.slots[free.slot] = tag_of(hash);
        self.set_offset(free.slot, offset);
        self.len += 1;
    }

    /// Puts an entry of `hash`, known to be absent, where it belongs.
    ///
    /// # Panics
    /// When every slot holds an entry: the caller sized the leaf for its content.
    pub(super) fn insert(&mut self, hash: KeyHash, offset: u32) {
        let free = self.free_slot(hash).expect("a leaf is sized for what is moved into it");
        self.fill(free, hash, offset);
    }

    /// Takes the entry out of `slot`.
    pub(super) fn remove(&mut self, slot: usize) {
        debug_assert!(self.slots[slot] > TOMBSTONE);
        let group_was_full = Group::load(self.tags(), slot / GROUP_SLOTS).empty().is_none();
        self.slots[slot] = if group_was_full { TOMBSTONE } else { EMPTY };
        self.tombstones += u16::from(group_was_full);
        self.len -= 1;
    }

    /// The offset in `slot`.
    #[inline]
    pub(super) fn offset(&self, slot: usize) -> u32 {
        LittleEndian::read_u32(&self.slots[self.slots_count() + slot * size_of::<u32>()..])
    }

    /// Replaces the offset in `slot`.
    pub(super) fn set_offset(&mut self, slot: usize, offset: u32) {
        let first = self.slots_count() + slot * size_of::<u32>();
        LittleEndian::write_u32(&mut self.slots[first..], offset);
    }

    /// The offsets of all entries, in slot order.
    pub(super) fn offsets(&self) -> impl Iterator<Item = u32> + '_ {
        self.occupied_slots().map(|slot| self.offset(slot))
    }

    /// All slots that hold an entry.
    fn occupied_slots(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.groups_count()).flat_map(|group| {
            Group::load(self.tags(), group).occupied().map(move |lane| group * GROUP_SLOTS + lane)
        })
    }

    /// Checks invariants 1 to 3, given the hash of each offset. For tests.
    pub(super) fn check_invariants(&self, mut hash_of: impl FnMut(u32) -> KeyHash) {
        assert_eq!(self.start << self.bits(), 0, "a leaf begins inside its own range");
        assert_eq!(self.slots.len(), self.slots_count() * SLOT_BYTES);
        let mut counts = (0, 0);
        for group in 0..self.groups_count() {
            let lanes = Group::load(self.tags(), group);
            counts.0 += lanes.occupied().count();
            counts.1 += lanes.matches(TOMBSTONE).count();
        }
        assert_eq!(counts, (self.len(), self.tombstones()), "a leaf has lost count");
        for slot in self.occupied_slots() {
            let hash = hash_of(self.offset(slot));
            assert!(self.covers(hash), "a hash lies in another leaf's range");
            assert_eq!(self.slots[slot], tag_of(hash), "a tag is not its key's");
            let found = self.find(hash, |offset| offset == self.offset(slot));
            assert_eq!(found, Some(slot), "an entry cannot be reached");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leaf over all hashes that begin with a 1 bit; `step` hashes apart is about one slot apart.
    fn leaf(slots: usize) -> Leaf {
        Leaf::new(1 << 63, 1, slots)
    }

    fn hash_in_group(group: u64, groups: u64, tag: u8) -> KeyHash {
        let rel = ((group << 32).div_ceil(groups)) << 31;
        KeyHash((1 << 63) | (rel & !0xFF) | u64::from(tag))
    }

    #[test]
    fn sizes() {
        for entries in 0..2_000 {
            let slots = slots_for(entries);
            assert!(capacity(slots) >= entries && slots.is_multiple_of(GROUP_SLOTS));
            assert!(slots < GROUP_SLOTS || capacity(slots - GROUP_SLOTS) < entries);
        }
        assert_eq!(size_of::<Leaf>(), 32);
    }

    #[test]
    fn a_full_last_group_wraps_around() {
        let mut leaf = leaf(24);
        let hashes: Vec<_> = (0..20).map(|i| hash_in_group(2, 3, i * 13)).collect();
        for (offset, &hash) in hashes.iter().enumerate() {
            assert_eq!(leaf.home(hash), 2);
            leaf.insert(hash, offset as u32);
        }
        leaf.check_invariants(|offset| hashes[offset as usize]);
        for (offset, &hash) in hashes.iter().enumerate() {
            let slot = leaf.find(hash, |found| found == offset as u32).unwrap();
            let expected_group = [2, 0, 1][offset / 8];
            assert_eq!(slot / 8, expected_group, "entry {offset}");
        }
        // A deletion in a full group leaves a mark, so that what wrapped around stays reachable.
        let first = leaf.find(hashes[0], |found| found == 0).unwrap();
        leaf.remove(first);
        assert_eq!(leaf.tombstones(), 1);
        assert!(leaf.find(hashes[19], |found| found == 19).is_some());
        // In a group with room it leaves none.
        let last = leaf.find(hashes[19], |found| found == 19).unwrap();
        leaf.remove(last);
        assert_eq!((leaf.tombstones(), leaf.len()), (1, 18));
        // The mark is used again.
        let free = leaf.free_slot(hashes[0]).unwrap();
        assert_eq!((free.slot, free.groups_passed), (first, 0));
        leaf.fill(free, hashes[0], 0);
        assert_eq!((leaf.tombstones(), leaf.len()), (0, 19));
    }

    #[test]
    fn a_leaf_without_slots_answers() {
        let leaf = leaf(0);
        assert!(leaf.find(KeyHash(u64::MAX), |_| true).is_none());
        assert!(leaf.free_slot(KeyHash(u64::MAX)).is_none());
        assert!(!leaf.has_room() && leaf.offsets().next().is_none());
    }

    #[test]
    fn a_leaf_with_no_never_used_slot_answers() {
        let mut leaf = leaf(8);
        let hash = |offset: u32| hash_in_group(0, 1, offset as u8);
        for offset in 0..8 {
            leaf.insert(hash(offset), offset);
        }
        assert!(leaf.free_slot(hash(9)).is_none());
        assert!(leaf.find(hash(9), |_| false).is_none());
        leaf.check_invariants(hash);
    }
}
