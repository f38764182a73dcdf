//! Building leaves anew: growing, splitting, shrinking, merging. Each is one bounded step: it reads one or two
//! leaves and writes one or two, at most `LEAF_SLOTS_HARD_MAX` entries in all, so there is never a table half
//! moved.
//!
//! A leaf grows by an eighth until it has `LEAF_SLOTS_MAX` slots, then it splits in the middle of its range. It
//! also splits when a probe for a free slot gets long although there is room: keys that come in hash order crowd
//! the low end of a leaf that is too wide for them, and each split halves the width, once a write, until the
//! leaves fit. Random keys almost never do that. Where no bit is left to split by, probes may get as long as the
//! leaf, which is bounded itself; when that is full, the key is refused.
//!
//! A leaf shrinks when three eighths of its slots suffice; two buddies merge when they hold few entries together.

use dht_protocol::placement::hash::KeyHash;

use super::arena::{Address, Arena};
use super::directory::LeafAt;
use super::entry;
use super::heap::Limit;
use super::leaf::{self, Leaf};
use super::limits::{
    GROUP_SLOTS, LEAF_BITS_MAX, LEAF_GROWTH_PARTS, LEAF_SLOTS_HARD_MAX, LEAF_SLOTS_MAX, MERGE_ENTRIES_MAX,
    PROBE_GROUPS_MAX, STEP_SLOTS_MAX,
};
use super::table::{HashKeys, Table};
use super::value::StoreError;
use crate::memory::OutOfMemory;

/// Entries whose hashes are computed together, so that their cache misses overlap.
const BATCH_ENTRIES: usize = 32;
/// Most entries of a leaf.
const LEAF_ENTRIES_MAX: usize = leaf::capacity(LEAF_SLOTS_HARD_MAX);

impl<H: HashKeys> Table<H> {
    /// The leaf for a new entry of `hash`, with room for it.
    ///
    /// # Errors
    /// [`StoreError::OutOfMemory`]: it would have to grow; [`StoreError::Crowded`]: it cannot grow or split.
    pub(super) fn make_room(&mut self, hash: KeyHash) -> Result<LeafAt, StoreError> {
        let at = match self.directory.locate(hash) {
            Some(at) => at,
            None => self.directory.add_root()?,
        };
        let leaf = self.directory.leaf(at);
        if !leaf.has_room() {
            return self.enlarge(at, hash);
        }
        match leaf.free_slot(hash) {
            Some(free) if free.groups_passed > PROBE_GROUPS_MAX => Ok(self.relieve(at, hash)),
            _ => Ok(at),
        }
    }

    /// Makes a full leaf bigger, or two.
    fn enlarge(&mut self, at: LeafAt, hash: KeyHash) -> Result<LeafAt, StoreError> {
        let leaf = self.directory.leaf(at);
        let slots_count = leaf.slots_count();
        if has_many_tombstones(leaf) {
            self.rebuild(at, slots_count, Limit::Hold)?;
        } else if slots_count < LEAF_SLOTS_MAX {
            self.rebuild(at, grown(slots_count).min(LEAF_SLOTS_MAX), Limit::Hold)?;
        } else if leaf.bits() < LEAF_BITS_MAX {
            let at = self.split(at, hash)?;
            return if self.directory.leaf(at).has_room() { Ok(at) } else { Err(StoreError::Crowded) };
        } else if slots_count < LEAF_SLOTS_HARD_MAX {
            self.rebuild(at, grown(slots_count).min(LEAF_SLOTS_HARD_MAX), Limit::Hold)?;
        } else if leaf.len() == LEAF_ENTRIES_MAX {
            return Err(StoreError::Crowded);
        }
        // What is left: a leaf at the last bound with a few tombstones, which the new entry may take.
        Ok(at)
    }

    /// Shortens the probes of a leaf that has room, if it can. What it cannot do costs time only.
    fn relieve(&mut self, at: LeafAt, hash: KeyHash) -> LeafAt {
        let leaf = self.directory.leaf(at);
        if has_many_tombstones(leaf) {
            let slots_count = leaf.slots_count();
            // A refusal leaves the leaf as it is, which will do.
            let _ = self.rebuild(at, slots_count, Limit::Hold);
            at
        } else if leaf.bits() < LEAF_BITS_MAX {
            match self.split(at, hash) {
                Ok(at) => at,
                // The directory may have been rearranged, no more.
                Err(OutOfMemory) => self.directory.locate(hash).unwrap_or(at),
            }
        } else {
            at
        }
    }

    /// Builds the leaf at `at` anew with `slots_count` slots, enough for its entries.
    fn rebuild(&mut self, at: LeafAt, slots_count: usize, limit: Limit) -> Result<(), OutOfMemory> {
        self.directory.charge_slots(&[slots_count], limit)?;
        let old = self.directory.leaf(at);
        let mut new = Leaf::new(old.start(), old.bits(), slots_count);
        for_each_hashed(old, &self.arena, &self.hasher, |hash, offset| new.insert(hash, offset));
        self.count_growth(new.len());
        self.directory.replace(at, new);
        Ok(())
    }

    /// Splits the leaf at `at` in the middle of its range; gives the half for `hash`, which has room for it unless
    /// that half got everything.
    fn split(&mut self, at: LeafAt, hash: KeyHash) -> Result<LeafAt, OutOfMemory> {
        let at = self.directory.reserve_one(at)?;
        let old = self.directory.leaf(at);
        let mut hashed = [(KeyHash(0), 0); LEAF_ENTRIES_MAX];
        let mut count = 0;
        for_each_hashed(old, &self.arena, &self.hasher, |hash, offset| {
            hashed[count] = (hash, offset);
            count += 1;
        });
        let (hashed, bits) = (&hashed[..count], old.bits() + 1);
        let middle = old.start() | (1 << (u64::BITS - bits));
        let goes_right = |hash: KeyHash| hash.0 >= middle;
        let right_count = hashed.iter().filter(|(hash, _)| goes_right(*hash)).count();
        let slots = |entries: usize, takes_hash: bool| roomy(entries + usize::from(takes_hash));
        let left_slots = slots(count - right_count, !goes_right(hash));
        let right_slots = slots(right_count, goes_right(hash));
        let mut left = Leaf::new(old.start(), bits, left_slots);
        let mut right = Leaf::new(middle, bits, right_slots);
        self.directory.charge_slots(&[left_slots, right_slots], Limit::Hold)?;
        for &(hash, offset) in hashed {
            if goes_right(hash) { &mut right } else { &mut left }.insert(hash, offset);
        }
        self.count_growth(count);
        self.directory.replace(at, left);
        self.directory.insert_behind(at, right);
        let half = if goes_right(hash) { self.directory.next(at) } else { Some(at) };
        Ok(half.expect("the right half was put behind the left one just now"))
    }

    /// Takes room away from the leaf at `at`, which has lost an entry.
    pub(super) fn shrink(&mut self, at: LeafAt) {
        let mut at = at;
        while let Some(merged) = self.merge(at) {
            at = merged;
        }
        let leaf = self.directory.leaf(at);
        let (len, slots_count) = (leaf.len(), leaf.slots_count());
        if len == 0 && leaf.bits() == self.span.bits {
            self.directory.clear();
        } else if len == 0 && slots_count > 0 {
            let empty = Leaf::new(leaf.start(), leaf.bits(), 0);
            self.directory.replace(at, empty);
        } else if len * 8 < slots_count * 3 && self.step.slots + len <= STEP_SLOTS_MAX {
            let fewer = roomy(len + len / 8);
            if fewer < slots_count {
                self.rebuild(at, fewer, Limit::Exceed).unwrap_or_else(ignore_impossible_refusal);
            }
        }
    }

    /// Makes one leaf of the one at `at` and its buddy, if they are small; says where it stands.
    fn merge(&mut self, at: LeafAt) -> Option<LeafAt> {
        let leaf = self.directory.leaf(at);
        if leaf.len() > MERGE_ENTRIES_MAX {
            return None;
        }
        let buddy_at = self.directory.buddy(at)?;
        let buddy = self.directory.leaf(buddy_at);
        let count = leaf.len() + buddy.len();
        if count > MERGE_ENTRIES_MAX || self.step.slots + count > STEP_SLOTS_MAX {
            return None;
        }
        let (left_at, right_at) = if leaf.start() < buddy.start() { (at, buddy_at) } else { (buddy_at, at) };
        let (start, bits) = (self.directory.leaf(left_at).start(), leaf.bits() - 1);
        let slots_count = roomy(count);
        let mut merged = Leaf::new(start, bits, slots_count);
        for half in [leaf, buddy] {
            for_each_hashed(half, &self.arena, &self.hasher, |hash, offset| merged.insert(hash, offset));
        }
        self.directory.charge_slots(&[slots_count], Limit::Exceed).unwrap_or_else(ignore_impossible_refusal);
        self.count_growth(count);
        self.directory.replace(left_at, merged);
        self.directory.remove(right_at);
        self.directory.locate(KeyHash(start))
    }

    fn count_growth(&mut self, entries_moved: usize) {
        self.step.slots += entries_moved;
        self.growth_steps += 1;
    }
}

/// A charge that may exceed the limit is never refused.
fn ignore_impossible_refusal(OutOfMemory: OutOfMemory) {
    debug_assert!(false, "a charge that may exceed the limit was refused");
}

/// Whether clearing the tombstones away makes enough room.
fn has_many_tombstones(leaf: &Leaf) -> bool {
    leaf.tombstones() * LEAF_GROWTH_PARTS >= leaf.slots_count() && leaf.tombstones() > 0
}

/// The next size of a leaf of `slots_count`.
fn grown(slots_count: usize) -> usize {
    (slots_count + (slots_count / LEAF_GROWTH_PARTS).max(1)).next_multiple_of(GROUP_SLOTS)
}

/// Slots for a leaf that begins with `entries` and will soon get a few more.
fn roomy(entries: usize) -> usize {
    leaf::slots_for(entries + entries / 16).min(LEAF_SLOTS_HARD_MAX)
}

/// Calls `on_entry` with hash and offset of each entry of `leaf`. Cost: reads every entry's key.
pub(super) fn for_each_hashed(
    leaf: &Leaf,
    arena: &Arena,
    hasher: &impl HashKeys,
    mut on_entry: impl FnMut(KeyHash, u32),
) {
    let mut offsets = leaf.offsets();
    let mut batch = [(KeyHash(0), 0); BATCH_ENTRIES];
    loop {
        let mut count = 0;
        for (slot, offset) in batch.iter_mut().zip(&mut offsets) {
            *slot = (KeyHash(0), offset);
            count += 1;
        }
        if count == 0 {
            return;
        }
        for (hash, offset) in &mut batch[..count] {
            *hash = entry::hash_of(arena.bytes_at(Address(*offset)), |key| hasher.hash_of(key));
        }
        for &(hash, offset) in &batch[..count] {
            on_entry(hash, offset);
        }
    }
}
