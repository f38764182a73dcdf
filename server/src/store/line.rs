//! A line: one cache line of slots, and all the comparing of tags.
//!
//! ```text
//!   narrow │ tag × 15            │ counts │ offset × 15, 3 bytes each        │ passed │ – │ – │     64 bytes
//!   wide   │ tag × 12 │ – │ passed │ – │ counts │ offset × 12, 4 bytes each              │
//! ```
//!
//! A line of a leaf whose arena is short of 2^24 addresses is narrow. Slots are packed: the `count` first hold
//! entries. Among them those that are *at home* (this is the first line that their probe looks at) stand before those
//! that were *displaced* here because the lines before had no room.
//!
//! `passed` counts the entries that were put into a later line because this one was full; a probe goes on behind a
//! line only where it is not 0. A deletion counts down again, so there are no marks left behind. At 255 it stays.
//!
//! Invariants:
//! 1. `displaced <= count <= Width::slots`.
//! 2. The content of slots from `count` on means nothing.

use byteorder::{ByteOrder, LittleEndian};

use super::tags::{self, TAGS};

/// Bytes of a line.
pub(super) const LINE_BYTES: usize = 64;

/// Where the counts stand: entries in the low four bits, the displaced ones among them in the high four.
const COUNTS_AT: usize = 15;
/// From here on are the offsets.
const OFFSETS_AT: usize = 16;
/// Number of entries that passed: no longer exact, and kept.
const PASSED_MAX: u8 = u8::MAX;
/// What a narrow slot can hold is below this.
const NARROW_BOUND: u32 = 1 << 24;

/// Whether offsets take three bytes or four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// Three: addresses below 2^24.
    Narrow,
    /// Four.
    Wide,
}

/// A line, to be read.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    bytes: &'a [u8; LINE_BYTES],
    width: Width,
}

/// A line, to be changed.
pub(super) struct LineMut<'a> {
    bytes: &'a mut [u8; LINE_BYTES],
    width: Width,
}

/// Some slots of a line, lowest first: a bit each.
#[derive(Clone, Copy)]
pub(super) struct Lanes(u32);

impl Width {
    /// Slots of a line.
    #[inline]
    pub(super) const fn slots(self) -> usize {
        match self {
            Width::Narrow => 15,
            Width::Wide => 12,
        }
    }

    /// Whether a slot can hold `offset`.
    #[inline]
    pub(super) const fn holds(self, offset: u32) -> bool {
        match self {
            Width::Narrow => offset < NARROW_BOUND,
            Width::Wide => true,
        }
    }

    #[inline]
    const fn passed_at(self) -> usize {
        match self {
            Width::Narrow => 61,
            Width::Wide => 13,
        }
    }
}

impl<'a> Line<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8; LINE_BYTES], width: Width) -> Line<'a> {
        Line { bytes, width }
    }

    /// Slots that hold entries.
    #[inline]
    pub(super) fn count(self) -> usize {
        usize::from(self.bytes[COUNTS_AT] & 0xF)
    }

    /// Slots from this one on hold displaced entries.
    #[inline]
    pub(super) fn displaced_from(self) -> usize {
        self.count() - usize::from(self.bytes[COUNTS_AT] >> 4)
    }

    /// Whether a probe that began here or before has to look further.
    #[inline]
    pub(super) fn is_passed(self) -> bool {
        self.bytes[self.width.passed_at()] != 0
    }

    /// Whether there is no room.
    #[inline]
    pub(super) fn is_full(self) -> bool {
        self.count() == self.width.slots()
    }

    /// Slots whose tag is `tag`.
    #[inline]
    pub(super) fn matches(self, tag: u8) -> Lanes {
        let tags: &[u8; TAGS] = self.bytes.first_chunk().expect("a line is longer than its tags");
        Lanes(tags::equal_to(tags, tag) & ((1 << self.count()) - 1))
    }

    /// The tag in `slot`.
    #[inline]
    pub(super) fn tag(self, slot: usize) -> u8 {
        self.bytes[slot]
    }

    /// The offset in `slot`.
    #[inline]
    pub(super) fn offset(self, slot: usize) -> u32 {
        match self.width {
            Width::Narrow => LittleEndian::read_u24(&self.bytes[OFFSETS_AT + 3 * slot..]),
            Width::Wide => LittleEndian::read_u32(&self.bytes[OFFSETS_AT + 4 * slot..]),
        }
    }
}

impl<'a> LineMut<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a mut [u8; LINE_BYTES], width: Width) -> LineMut<'a> {
        LineMut { bytes, width }
    }

    /// The same to read.
    #[inline]
    pub(super) fn read(&self) -> Line<'_> {
        Line { bytes: self.bytes, width: self.width }
    }

    /// Makes the line empty.
    pub(super) fn clear(&mut self) {
        self.bytes[COUNTS_AT] = 0;
        self.bytes[self.width.passed_at()] = 0;
    }

    /// Puts an entry into a line that has room.
    pub(super) fn insert(&mut self, tag: u8, offset: u32, is_displaced: bool) {
        let (count, displaced_from) = (self.read().count(), self.read().displaced_from());
        debug_assert!(count < self.width.slots());
        if is_displaced {
            self.set(count, tag, offset);
            self.bytes[COUNTS_AT] += 0x11;
        } else {
            self.copy(displaced_from, count);
            self.set(displaced_from, tag, offset);
            self.bytes[COUNTS_AT] += 0x01;
        }
    }

    /// Takes the entry out of `slot`; others may change their slots.
    pub(super) fn remove(&mut self, slot: usize) {
        let (count, displaced_from) = (self.read().count(), self.read().displaced_from());
        debug_assert!(slot < count);
        if slot < displaced_from {
            self.copy(displaced_from - 1, slot);
            self.copy(count - 1, displaced_from - 1);
            self.bytes[COUNTS_AT] -= 0x01;
        } else {
            self.copy(count - 1, slot);
            self.bytes[COUNTS_AT] -= 0x11;
        }
    }

    /// Notes that an entry was put into a later line.
    pub(super) fn on_passed(&mut self) {
        let passed = &mut self.bytes[self.width.passed_at()];
        *passed = passed.saturating_add(1);
    }

    /// Notes that an entry that had passed is gone.
    pub(super) fn on_passed_removed(&mut self) {
        let passed = &mut self.bytes[self.width.passed_at()];
        debug_assert!(*passed > 0);
        if *passed != PASSED_MAX {
            *passed -= 1;
        }
    }

    /// Replaces the offset in `slot`.
    pub(super) fn set_offset(&mut self, slot: usize, offset: u32) {
        debug_assert!(self.width.holds(offset));
        match self.width {
            Width::Narrow => LittleEndian::write_u24(&mut self.bytes[OFFSETS_AT + 3 * slot..], offset),
            Width::Wide => LittleEndian::write_u32(&mut self.bytes[OFFSETS_AT + 4 * slot..], offset),
        }
    }

    fn set(&mut self, slot: usize, tag: u8, offset: u32) {
        self.bytes[slot] = tag;
        self.set_offset(slot, offset);
    }

    fn copy(&mut self, from: usize, to: usize) {
        if from != to {
            let (tag, offset) = (self.read().tag(from), self.read().offset(from));
            self.set(to, tag, offset);
        }
    }
}

impl Iterator for Lanes {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let lane = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(lane as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_agrees_with_a_plain_list() {
        for width in [Width::Narrow, Width::Wide] {
            let mut bytes = [0xEE; LINE_BYTES];
            let mut line = LineMut::new(&mut bytes, width);
            line.clear();
            let mut model: Vec<(u8, u32, bool)> = Vec::new();
            let mut passed = 0u32;
            let mut random = 11u64;
            for _ in 0..20_000 {
                random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                let (tag, offset) = ((random >> 35) as u8 & 3, (random >> 40) as u32 & 0xFF_FFFF);
                match (random >> 60) % 4 {
                    0 | 1 if model.len() < width.slots() => {
                        let is_displaced = random >> 59 & 1 == 1;
                        line.insert(tag, offset, is_displaced);
                        model.push((tag, offset, is_displaced));
                    }
                    2 if passed < 250 => {
                        line.on_passed();
                        passed += 1;
                    }
                    2 | 3 if passed > 0 && random >> 58 & 1 == 1 => {
                        line.on_passed_removed();
                        passed -= 1;
                    }
                    _ if !model.is_empty() => {
                        let slot = (random >> 33) as usize % model.len();
                        let gone = (
                            line.read().tag(slot),
                            line.read().offset(slot),
                            slot >= line.read().displaced_from(),
                        );
                        line.remove(slot);
                        model.swap_remove(model.iter().position(|entry| *entry == gone).unwrap());
                    }
                    _ => {}
                }
                let read = line.read();
                assert_eq!((read.count(), read.is_full()), (model.len(), model.len() == width.slots()));
                assert_eq!(read.is_passed(), passed > 0);
                let mut found: Vec<_> = (0..read.count())
                    .map(|slot| (read.tag(slot), read.offset(slot), slot >= read.displaced_from()))
                    .collect();
                found.sort_unstable();
                model.sort_unstable();
                assert_eq!(found, model);
                let matching: Vec<_> = (0..read.count()).filter(|&slot| read.tag(slot) == 2).collect();
                assert_eq!(read.matches(2).collect::<Vec<_>>(), matching);
            }
        }
    }

    #[test]
    fn a_count_that_ran_over_stays() {
        let mut bytes = [0; LINE_BYTES];
        let mut line = LineMut::new(&mut bytes, Width::Narrow);
        (0..300).for_each(|_| line.on_passed());
        (0..299).for_each(|_| line.on_passed_removed());
        assert!(line.read().is_passed());
    }
}
