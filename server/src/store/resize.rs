//! Building leaves anew: growing, splitting, shrinking, merging. Each is one bounded step: it reads one or two
//! leaves and writes one or two, at most `LEAF_ENTRIES_MAX` entries each, so there is never a table half
//! moved. `rehash.rs` says where entries go.
//!
//! A leaf grows by a piece, or an eighth, until it has `LEAF_PIECES_MAX`, then it splits in the middle of its range. It
//! also splits when a probe for a free slot gets long although there is room: keys that come in hash order crowd
//! the low end of a leaf that is too wide for them, and each split halves the width, once a write, until the
//! leaves fit. Random keys almost never do that. Where no bit is left to split by, probes may get as long as the
//! leaf, which is bounded itself; when that is full, the key is refused.
//!
//! A leaf shrinks when five eighths of its room suffice; two buddies merge when they hold few entries together.

use dht_protocol::placement::hash::KeyHash;

use super::arena::Address;
use super::directory::LeafAt;
use super::heap::Limit;
use super::leaf::{self, Leaf};
use super::limits::{
    LEAF_BITS_MAX, LEAF_ENTRIES_MAX, LEAF_GROWTH_PARTS, LEAF_PIECES_HARD_MAX, LEAF_PIECES_MAX,
    MERGE_ENTRIES_MAX, PROBE_LINES_MAX, STEP_BYTES_MAX, STEP_SLOTS_MAX,
};
use super::line::Width;
use super::pool::Class;
use super::rehash::{for_each_hashed, move_all};
use super::steps::{Step, StepKind, Timer};
use super::table::{HashKeys, Table};
use super::value::StoreError;
use crate::memory::OutOfMemory;

impl<H: HashKeys> Table<H> {
    /// The leaf for a new entry of `hash`, with room for it.
    ///
    /// # Errors
    /// [`StoreError::OutOfMemory`]: it would have to grow; [`StoreError::Crowded`]: it cannot grow or split.
    pub(super) fn make_room(&mut self, hash: KeyHash, limit: Limit) -> Result<LeafAt, StoreError> {
        let at = match self.directory.locate(hash) {
            Some(at) => at,
            None => self.directory.add_root(limit)?,
        };
        let leaf = self.directory.leaf(at);
        if !leaf.has_room() {
            return self.enlarge(at, hash, limit);
        }
        match leaf.lines_to_pass(hash, &self.pool) {
            Some(passed) if passed > PROBE_LINES_MAX => Ok(self.relieve(at, hash)),
            _ => Ok(at),
        }
    }

    /// Makes a full leaf bigger, or two.
    fn enlarge(&mut self, at: LeafAt, hash: KeyHash, limit: Limit) -> Result<LeafAt, StoreError> {
        let leaf = self.directory.leaf(at);
        let (pieces_count, width) = (leaf.pieces_count(), leaf.width());
        if pieces_count < LEAF_PIECES_MAX {
            self.rebuild(at, grown(pieces_count).min(LEAF_PIECES_MAX), width, limit)?;
        } else if leaf.bits() < LEAF_BITS_MAX {
            let at = self.split(at, hash, limit)?;
            return if self.directory.leaf(at).has_room() { Ok(at) } else { Err(StoreError::Crowded) };
        } else if pieces_count < LEAF_PIECES_HARD_MAX {
            self.rebuild(at, grown(pieces_count).min(LEAF_PIECES_HARD_MAX), width, limit)?;
        } else {
            return Err(StoreError::Crowded);
        }
        Ok(at)
    }

    /// Shortens the probes of a leaf that has room, if it can. What it cannot do costs time only.
    fn relieve(&mut self, at: LeafAt, hash: KeyHash) -> LeafAt {
        if self.directory.leaf(at).bits() == LEAF_BITS_MAX {
            return at;
        }
        match self.split(at, hash, Limit::Hold) {
            Ok(at) => at,
            // The directory may have been rearranged, no more.
            Err(OutOfMemory) => self.directory.locate(hash).unwrap_or(at),
        }
    }

    /// Builds the leaf at `at` anew with `pieces_count` pieces, enough for its entries, of `width`, which holds their
    /// addresses.
    fn rebuild(
        &mut self,
        at: LeafAt,
        pieces_count: usize,
        width: Width,
        limit: Limit,
    ) -> Result<(), OutOfMemory> {
        let old = self.directory.leaf(at);
        let timer = self.begin_step(StepKind::Growth);
        let mut new = Leaf::new(old.start(), old.bits(), pieces_count, width, &self.pool, limit)?;
        move_all(old, &mut new, &self.pool, &self.arena, &self.hasher);
        let entries = new.len();
        self.directory.replace(at, new, &self.pool);
        self.end_growth(&timer, entries, pieces_count);
        Ok(())
    }

    /// Makes the slots of the leaf at `at` wide if they cannot hold `address`. The leaf stays where it is; its entries change
    /// their slots.
    ///
    /// # Errors
    /// [`OutOfMemory`] under [`Limit::Hold`] only, or where the region has no more room; nothing changed.
    pub(super) fn widen_for(
        &mut self,
        address: Address,
        at: LeafAt,
        limit: Limit,
    ) -> Result<(), OutOfMemory> {
        let leaf = self.directory.leaf(at);
        if leaf.width().holds(address.0) {
            return Ok(());
        }
        let pieces = roomy(leaf.len() + 1, Width::Wide);
        self.rebuild(at, pieces, Width::Wide, limit)
    }

    /// Splits the leaf at `at` in the middle of its range; gives the half for `hash`, which has room for it unless
    /// that half got everything.
    fn split(&mut self, at: LeafAt, hash: KeyHash, limit: Limit) -> Result<LeafAt, OutOfMemory> {
        let timer = self.begin_step(StepKind::Growth);
        let at = self.directory.reserve_one(at, limit)?;
        let old = self.directory.leaf(at);
        let width = old.width();
        let mut hashed = [(KeyHash(0), 0); LEAF_ENTRIES_MAX];
        let mut count = 0;
        for_each_hashed(old, &self.pool, &self.arena, &self.hasher, |hash, offset| {
            hashed[count] = (hash, offset);
            count += 1;
        });
        let (hashed, bits) = (&hashed[..count], old.bits() + 1);
        let middle = old.start() | (1 << (u64::BITS - bits));
        let goes_right = |hash: KeyHash| hash.0 >= middle;
        let right_count = hashed.iter().filter(|(hash, _)| goes_right(*hash)).count();
        let pieces = |entries: usize, takes_hash: bool| roomy(entries + usize::from(takes_hash), width);
        let left_pieces = pieces(count - right_count, !goes_right(hash));
        let right_pieces = pieces(right_count, goes_right(hash));
        let mut left = Leaf::new(old.start(), bits, left_pieces, width, &self.pool, limit)?;
        let mut right = match Leaf::new(middle, bits, right_pieces, width, &self.pool, limit) {
            Ok(right) => right,
            Err(refused) => {
                left.free(&self.pool);
                return Err(refused);
            }
        };
        for &(hash, offset) in hashed {
            if goes_right(hash) { &mut right } else { &mut left }.insert(hash, offset, &self.pool);
        }
        self.directory.replace(at, left, &self.pool);
        self.directory.insert_behind(at, right);
        self.end_growth(&timer, count, left_pieces + right_pieces);
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
        let (len, pieces_count, width) = (leaf.len(), leaf.pieces_count(), leaf.width());
        if len == 0 && leaf.bits() == self.span.bits {
            self.directory.clear(&self.pool);
        } else if len == 0 && pieces_count > 0 {
            let empty = Leaf::without_pieces(leaf.start(), leaf.bits());
            self.directory.replace(at, empty, &self.pool);
        } else if len * 8 < leaf::capacity(pieces_count, width) * 5 && self.step.slots + len <= STEP_SLOTS_MAX
        {
            let fewer = roomy(len + len / 8, width);
            if fewer < pieces_count {
                // Where there is no room for the smaller one, the bigger one will do.
                let _ = self.rebuild(at, fewer, width, Limit::Exceed);
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
        let width = if leaf.width() == Width::Wide { Width::Wide } else { buddy.width() };
        let timer = self.begin_step(StepKind::Growth);
        let mut merged =
            Leaf::new(start, bits, roomy(count, width), width, &self.pool, Limit::Exceed).ok()?;
        for half in [leaf, buddy] {
            for_each_hashed(half, &self.pool, &self.arena, &self.hasher, |hash, offset| {
                merged.insert(hash, offset, &self.pool);
            });
        }
        let pieces_count = merged.pieces_count();
        self.directory.replace(left_at, merged, &self.pool);
        self.directory.remove(right_at, &self.pool);
        self.end_growth(&timer, count, pieces_count);
        self.directory.locate(KeyHash(start))
    }

    /// Closes the books of a step that moved `entries` to leaves of `pieces_count` pieces in all.
    fn end_growth(&mut self, timer: &Timer, entries: usize, pieces_count: usize) {
        self.step.slots += entries;
        let bytes = pieces_count * Class::Piece.bytes() + self.directory.take_moved_bytes();
        debug_assert!(entries <= STEP_SLOTS_MAX && bytes <= STEP_BYTES_MAX, "{entries} slots, {bytes} bytes");
        self.steps.end(timer, Step { slots: entries, bytes }, self.pool.step_books());
    }
}

/// The next size of a leaf of `pieces_count`.
fn grown(pieces_count: usize) -> usize {
    pieces_count + (pieces_count / LEAF_GROWTH_PARTS).max(1)
}

/// Pieces for a leaf that begins with `entries` and will soon get a few more.
fn roomy(entries: usize, width: Width) -> usize {
    leaf::pieces_for(entries + entries / 16, width).min(LEAF_PIECES_HARD_MAX)
}
