//! The arena: entries one after another in segments. Written at the end, never moved by anything but compaction.
//!
//! ```text
//!   Address (32 bits) = │ segment: 18 bits │ place in units of 2 bytes: 14 bits │
//!
//!   segment 0 │ entry │ entry │ dead │ entry │ … │   sealed: room given back
//!   segment 1 │ an entry bigger than a segment   │   sealed: one entry of its own
//!   segment 2 │ entry │ dead │ …      ┆ room     │   tail: grows in small steps until it is full
//!   segment 3 (free, names the next free one)
//! ```
//!
//! The tail grows by a sixteenth of the arena at a time (128 bytes at least) and is full at an eighth of it (from
//! 2 to 32 KiB), so that a tiny partition costs little and a big one rarely moves its tail. A segment that is all dead is freed at once; one that is partly
//! dead is evacuated by compaction (`compact.rs`): its live entries are appended to the tail, each old copy dies,
//! and so the last one frees the segment.
//!
//! Invariants:
//! 1. A segment is a gap-free row of entries, each beginning at a multiple of the unit below `SEGMENT_BYTES_MAX`.
//! 2. `dead_bytes` of a segment is the sum of its dead entries' extents, and less than its length unless it is
//!    empty; `dead_bytes` and `used_bytes` of the arena are sums over segments.
//! 3. The tail is not being evacuated. A freed segment is neither.
//! 4. The charge is the price of all segments and of the list of them.

use std::sync::Arc;

use dht_protocol::placement::hash::KeyHash;

use super::chunked::Chunked;
use super::entry::{self, Entry};
use super::heap::{self, Limit};
use super::limits::{
    DEAD_PARTS_SEGMENT, SEGMENT_BYTES_MAX, SEGMENT_FULL_BYTES_MIN, SEGMENT_FULL_PARTS,
    SEGMENT_GROWTH_BYTES_MIN, SEGMENT_GROWTH_PARTS, SEGMENTS_MAX, UNIT_BYTES, VICTIM_WINDOW,
};
use crate::memory::{Charge, MemoryAccount, MemoryKind, OutOfMemory};

/// Bits of an address that say the place within its segment.
const PLACE_BITS: u32 = (SEGMENT_BYTES_MAX / UNIT_BYTES).trailing_zeros();
/// Stands for "none" where segments name each other.
const NO_SEGMENT: u32 = u32::MAX;

const _: () = assert!(SEGMENTS_MAX < NO_SEGMENT as usize);

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address(pub(super) u32);

/// A row of entries.
#[derive(Debug, Default)]
struct Segment {
    /// The entries; the capacity beyond them is the tail's room. Not allocated in a free segment.
    bytes: Vec<u8>,
    /// Bytes of dead entries.
    dead_bytes: u32,
    /// In a free segment, the next free one or [`NO_SEGMENT`].
    next_free: u32,
}

/// A segment under evacuation, and how far it has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evacuation {
    /// Which segment.
    pub(super) segment: u32,
    /// All entries before this place are dead.
    pub(super) place_bytes: usize,
}

/// All segments of a partition.
#[derive(Debug)]
pub(super) struct Arena {
    segments: Chunked<Segment>,
    /// The segment that is appended to.
    tail: Option<u32>,
    /// First free segment, or [`NO_SEGMENT`].
    free: u32,
    /// Segments in use.
    live_count: u32,
    /// Where the search for the next victim goes on.
    hand: u32,
    /// The segment that compaction is emptying.
    evacuation: Option<Evacuation>,
    /// Bytes of all entries.
    used_bytes: u64,
    /// Bytes of dead entries.
    dead_bytes: u64,
    charge: Charge,
}

impl Address {
    fn new(segment: u32, place_bytes: usize) -> Address {
        debug_assert!(place_bytes < SEGMENT_BYTES_MAX && place_bytes.is_multiple_of(UNIT_BYTES));
        Address((segment << PLACE_BITS) | (place_bytes / UNIT_BYTES) as u32)
    }

    #[inline]
    fn segment(self) -> usize {
        (self.0 >> PLACE_BITS) as usize
    }

    #[inline]
    fn place_bytes(self) -> usize {
        (self.0 & ((1 << PLACE_BITS) - 1)) as usize * UNIT_BYTES
    }
}

impl Arena {
    /// An empty arena; allocates nothing.
    pub(super) fn new(memory: Arc<MemoryAccount>) -> Arena {
        Arena {
            segments: Chunked::new(),
            tail: None,
            free: NO_SEGMENT,
            live_count: 0,
            hand: 0,
            evacuation: None,
            used_bytes: 0,
            dead_bytes: 0,
            charge: Charge::empty(memory, MemoryKind::Arena),
        }
    }

    /// Bytes taken from the allocator.
    pub(super) fn charged_bytes(&self) -> u64 {
        self.charge.bytes()
    }

    /// Bytes of dead entries.
    pub(super) fn dead_bytes(&self) -> u64 {
        self.dead_bytes
    }

    /// Whether more than one byte in `parts` is dead.
    pub(super) fn is_wasteful(&self, parts: u64) -> bool {
        self.dead_bytes * parts > self.used_bytes
    }

    /// The bytes from `address` on: an entry, and whatever follows it.
    #[inline]
    pub(super) fn bytes_at(&self, address: Address) -> &[u8] {
        &self.segments[address.segment()].bytes[address.place_bytes()..]
    }

    /// Bytes that [`Arena::append`] of an entry of `extent_bytes` would move: its own, and the tail's if that has
    /// to grow.
    pub(super) fn append_cost_bytes(&self, extent_bytes: usize) -> usize {
        let Some(tail) = self.tail.filter(|_| extent_bytes <= SEGMENT_BYTES_MAX) else {
            return extent_bytes;
        };
        let tail = &self.segments[tail as usize].bytes;
        let needed = tail.len() + extent_bytes;
        let grows = tail.capacity() < needed && needed <= self.full_segment_bytes();
        extent_bytes + if grows { tail.len() } else { 0 }
    }

    /// Appends an entry whose key has hash `hash`.
    ///
    /// # Errors
    /// [`OutOfMemory`]: refused by the account, or all segments are in use; nothing changed.
    pub(super) fn append(&mut self, entry: &Entry<'_>, hash: KeyHash) -> Result<Address, OutOfMemory> {
        let extent = entry.extent_bytes();
        let segment = self.make_room(extent, Limit::Hold)?;
        let bytes = &mut self.segments[segment as usize].bytes;
        let place = bytes.len();
        bytes.resize(place + extent, 0);
        entry.write(hash, &mut bytes[place..]);
        self.used_bytes += extent as u64;
        Ok(Address::new(segment, place))
    }

    /// Writes an entry over the one at `address`, which takes exactly as much room.
    pub(super) fn overwrite(&mut self, address: Address, entry: &Entry<'_>, hash: KeyHash) {
        let (place, extent) = (address.place_bytes(), entry.extent_bytes());
        entry.write(hash, &mut self.segments[address.segment()].bytes[place..place + extent]);
    }

    /// Copies the entry at `address`, which is `extent_bytes` long, to the tail, past the memory limit if need be.
    ///
    /// # Errors
    /// [`OutOfMemory`]: all segments are in use; nothing changed.
    pub(super) fn copy_to_tail(
        &mut self,
        address: Address,
        extent_bytes: usize,
    ) -> Result<Address, OutOfMemory> {
        let target = self.make_room(extent_bytes, Limit::Exceed)?;
        debug_assert_ne!(target as usize, address.segment());
        // The source leaves the list for a moment, so that both segments can be borrowed.
        let source = std::mem::take(&mut self.segments[address.segment()].bytes);
        let bytes = &mut self.segments[target as usize].bytes;
        let place = bytes.len();
        bytes.extend_from_slice(&source[address.place_bytes()..][..extent_bytes]);
        self.segments[address.segment()].bytes = source;
        self.used_bytes += extent_bytes as u64;
        Ok(Address::new(target, place))
    }

    /// Marks the entry at `address` dead, and frees its segment if that was its last live one.
    pub(super) fn kill(&mut self, address: Address) {
        let segment = &mut self.segments[address.segment()];
        let bytes = &mut segment.bytes[address.place_bytes()..];
        debug_assert!(!entry::is_dead(bytes));
        entry::kill(bytes);
        let extent = entry::extent_of(bytes);
        segment.dead_bytes += extent as u32;
        self.dead_bytes += extent as u64;
        if segment.dead_bytes as usize == segment.bytes.len() {
            self.free_segment(address.segment() as u32);
        }
    }

    /// Length at which the tail is sealed.
    fn full_segment_bytes(&self) -> usize {
        (self.used_bytes as usize / SEGMENT_FULL_PARTS).clamp(SEGMENT_FULL_BYTES_MIN, SEGMENT_BYTES_MAX)
    }

    /// A segment with room for `extent_bytes` at its end.
    fn make_room(&mut self, extent_bytes: usize, limit: Limit) -> Result<u32, OutOfMemory> {
        if extent_bytes > SEGMENT_BYTES_MAX {
            return self.open_segment(extent_bytes, limit);
        }
        let step = (self.used_bytes as usize / SEGMENT_GROWTH_PARTS)
            .clamp(SEGMENT_GROWTH_BYTES_MIN, SEGMENT_BYTES_MAX);
        let full = self.full_segment_bytes();
        if let Some(tail) = self.tail {
            let bytes = &mut self.segments[tail as usize].bytes;
            let needed = bytes.len() + extent_bytes;
            if needed <= bytes.capacity() {
                return Ok(tail);
            }
            if needed <= full {
                let capacity = needed.max(bytes.capacity() + step).min(full);
                heap::grow(bytes, fill_block(capacity), &mut self.charge, limit)?;
                return Ok(tail);
            }
        }
        let opened = self.open_segment(fill_block(extent_bytes.max(step)), limit)?;
        self.seal_tail();
        self.tail = Some(opened);
        Ok(opened)
    }

    /// Gives the tail's room back; there is no tail then.
    fn seal_tail(&mut self) {
        if let Some(tail) = self.tail.take() {
            heap::shrink(&mut self.segments[tail as usize].bytes, 0, &mut self.charge);
        }
    }

    /// An empty segment with room for `capacity` bytes.
    fn open_segment(&mut self, capacity: usize, limit: Limit) -> Result<u32, OutOfMemory> {
        if self.free == NO_SEGMENT {
            if self.segments.len() == SEGMENTS_MAX {
                return Err(OutOfMemory);
            }
            self.segments.reserve_one(&mut self.charge, limit)?;
        }
        let mut bytes = Vec::new();
        if let Err(refused) = heap::grow(&mut bytes, capacity, &mut self.charge, limit) {
            self.clear_if_unused();
            return Err(refused);
        }
        let segment = Segment { bytes, dead_bytes: 0, next_free: NO_SEGMENT };
        self.live_count += 1;
        if self.free == NO_SEGMENT {
            return Ok(self.segments.push(segment) as u32);
        }
        let index = self.free;
        self.free = self.segments[index as usize].next_free;
        self.segments[index as usize] = segment;
        Ok(index)
    }

    fn free_segment(&mut self, index: u32) {
        let segment = &mut self.segments[index as usize];
        let bytes = std::mem::take(&mut segment.bytes);
        self.charge.shrink_by(heap::price_of(&bytes));
        self.used_bytes -= bytes.len() as u64;
        self.dead_bytes -= bytes.len() as u64;
        *segment = Segment { bytes: Vec::new(), dead_bytes: 0, next_free: self.free };
        self.free = index;
        self.live_count -= 1;
        self.tail = self.tail.filter(|&tail| tail != index);
        self.evacuation = self.evacuation.filter(|evacuation| evacuation.segment != index);
        self.clear_if_unused();
    }

    fn clear_if_unused(&mut self) {
        if self.live_count == 0 {
            self.segments.clear(&mut self.charge);
            (self.free, self.hand) = (NO_SEGMENT, 0);
        }
    }
}

/// The capacity that fills the block which the allocator gives for `capacity` bytes; a full segment's at most.
fn fill_block(capacity: usize) -> usize {
    let filled = (capacity + 8).next_multiple_of(16) - 8;
    if filled > SEGMENT_BYTES_MAX { capacity } else { filled }
}

/// Evacuation: which segment, and how far. The moving itself is the table's, which knows the slots.
impl Arena {
    /// The evacuation under way.
    pub(super) fn evacuation(&self) -> Option<Evacuation> {
        self.evacuation
    }

    /// Chooses the segment with the largest dead part among the next few, and begins to evacuate it. A segment
    /// qualifies when more than one byte in `DEAD_PARTS_SEGMENT` is dead. Says whether it found one; a later call
    /// looks further.
    pub(super) fn begin_evacuation(&mut self) -> bool {
        debug_assert!(self.evacuation.is_none());
        let count = self.segments.len();
        let mut best: Option<(u32, u64, u64)> = None;
        for _ in 0..count.min(VICTIM_WINDOW) {
            self.hand = if self.hand as usize + 1 >= count { 0 } else { self.hand + 1 };
            let segment = &self.segments[self.hand as usize];
            let (dead, len) = (u64::from(segment.dead_bytes), segment.bytes.len() as u64);
            if dead * DEAD_PARTS_SEGMENT <= len {
                continue;
            }
            if best.is_none_or(|(_, best_dead, best_len)| dead * best_len > best_dead * len) {
                best = Some((self.hand, dead, len));
            }
        }
        let Some((segment, ..)) = best else { return false };
        if self.tail == Some(segment) {
            self.seal_tail();
        }
        self.evacuation = Some(Evacuation { segment, place_bytes: 0 });
        true
    }

    /// The entry at which the evacuation stands, with its extent and whether it is dead; `None` when none is under
    /// way.
    pub(super) fn next_to_evacuate(&self) -> Option<(Address, usize, bool)> {
        let Evacuation { segment, place_bytes } = self.evacuation?;
        let address = Address::new(segment, place_bytes);
        let bytes = self.bytes_at(address);
        Some((address, entry::extent_of(bytes), entry::is_dead(bytes)))
    }

    /// Goes on behind the entry of `extent_bytes`, which is dead or will be killed right after.
    pub(super) fn advance_evacuation(&mut self, extent_bytes: usize) {
        if let Some(evacuation) = &mut self.evacuation {
            evacuation.place_bytes += extent_bytes;
        }
    }

    /// Checks the invariants and calls `on_live` for each live entry. For tests.
    pub(super) fn check_invariants(&self, mut on_live: impl FnMut(Address)) {
        let (mut used, mut dead, mut live_count, mut price) = (0, 0, 0, self.segments.price());
        for (index, segment) in self.segments.iter().enumerate() {
            price += heap::price_of(&segment.bytes);
            live_count += u32::from(segment.bytes.capacity() > 0);
            let (mut place, mut segment_dead) = (0, 0);
            while place < segment.bytes.len() {
                let bytes = &segment.bytes[place..];
                let extent = entry::extent_of(bytes);
                if entry::is_dead(bytes) {
                    segment_dead += extent;
                } else {
                    let evacuated = self.evacuation.is_some_and(|evacuation| {
                        evacuation.segment as usize == index && place < evacuation.place_bytes
                    });
                    assert!(!evacuated, "an evacuation left a live entry behind");
                    on_live(Address::new(index as u32, place));
                }
                place += extent;
            }
            assert_eq!(place, segment.bytes.len(), "a segment has a gap");
            assert_eq!(segment_dead, segment.dead_bytes as usize);
            assert!(segment_dead < place || place == 0, "a dead segment was not freed");
            (used, dead) = (used + place as u64, dead + segment_dead as u64);
        }
        assert_eq!((used, dead, live_count), (self.used_bytes, self.dead_bytes, self.live_count));
        assert_eq!(price, self.charge.bytes(), "the arena's charge is wrong");
        assert!(self.evacuation.is_none_or(|evacuation| Some(evacuation.segment) != self.tail));
    }
}
