//! A leaf: a small open-addressing table over a range of hashes, in pieces of two lines.
//!
//! ```text
//!   hash   │ partition │ leaf's place │ home: log2(lines) bits, about │ tag: 8 bits │ …
//!          └────────── bits ──────────┘
//!   leaf   ─▶ piece ─▶ │ line 0 │ line 1 │
//!          ─▶ piece ─▶ │ line 2 │ line 3 │       at most 18 pieces, wherever the pool has them
//! ```
//!
//! A key's home is a line, by multiply-shift of the bits below the leaf's; it lies in the first line from there on,
//! wrapping around at the end, that had room when it came. Lines are in hash order, so that a split of the leaf's
//! range is a split of its content, and keys that come in hash order fill it from the left.
//!
//! The tag stands right below the bits that choose the home, so home and tag together say twelve bits or so of the
//! hash: `resize.rs` moves most entries to a bigger leaf without reading their keys.
//!
//! Invariants:
//! 1. All hashes here share their top `bits` bits with `start`, and the lower bits of `start` are 0.
//! 2. `len` slots hold entries.
//! 3. An entry that is not in its home line is marked as displaced, and each line from its home to the one before
//!    its own has counted it as passed. So a probe ends at the first line that nothing passed, or after all lines.
//!
//! The leaf knows offsets only; whoever calls compares keys and computes hashes, and holds the pool.

use std::array;

use dht_protocol::placement::hash::KeyHash;

use super::heap::Limit;
use super::limits::{
    LEAF_ENTRIES_MAX, LEAF_PIECES_HARD_MAX, LOAD_PERCENT_MAX, MERGE_ENTRIES_MAX, PROBE_LINES_MAX,
};
use super::line::{LINE_BYTES, Line, LineMut, Width};
use super::pool::{Block, Class, Pool};
use super::prefetch::prefetch;
use super::relocate::MoveBudget;
use crate::memory::{MemoryKind, OutOfMemory};

/// Lines of a piece.
pub(super) const PIECE_LINES: usize = Class::Piece.bytes() / LINE_BYTES;
/// Bits of a tag.
pub(super) const TAG_BITS: u32 = u8::BITS;
/// Slots are numbered so many a line.
const SLOT_NUMBERS_PER_LINE: usize = 16;

/// One leaf.
#[derive(Debug)]
pub(super) struct Leaf {
    /// Lowest hash of the range.
    start: u64,
    /// The first `pieces_count` are there.
    pieces: [Option<Block>; LEAF_PIECES_HARD_MAX],
    /// Slots that hold entries.
    len: u16,
    pieces_count: u8,
    /// How many top bits of a hash the range fixes.
    bits: u8,
    width: Width,
}

const _: () = assert!(capacity(LEAF_PIECES_HARD_MAX, Width::Narrow) == LEAF_ENTRIES_MAX);
const _: () = assert!(
    pieces_for(MERGE_ENTRIES_MAX + MERGE_ENTRIES_MAX / 16, Width::Wide) * PIECE_LINES <= PROBE_LINES_MAX
);

/// Entries that a leaf of `pieces_count` may hold.
pub(super) const fn capacity(pieces_count: usize, width: Width) -> usize {
    pieces_count * PIECE_LINES * width.slots() * LOAD_PERCENT_MAX / 100
}

/// Fewest pieces whose capacity is at least `entries`.
pub(super) const fn pieces_for(entries: usize, width: Width) -> usize {
    let mut pieces = (entries * 100).div_ceil(PIECE_LINES * width.slots() * LOAD_PERCENT_MAX);
    while capacity(pieces, width) < entries {
        pieces += 1;
    }
    pieces
}

impl Leaf {
    /// A leaf without pieces for the hashes that share their top `bits` bits with `start`; it can hold nothing.
    pub(super) fn without_pieces(start: u64, bits: u32) -> Leaf {
        debug_assert!(bits > 0 && bits < u64::BITS && start << bits == 0);
        Leaf {
            start,
            pieces: array::from_fn(|_| None),
            len: 0,
            pieces_count: 0,
            bits: bits as u8,
            width: Width::Narrow,
        }
    }

    /// An empty leaf of `pieces_count` pieces from `pool`.
    ///
    /// # Errors
    /// [`OutOfMemory`]; nothing was taken.
    pub(super) fn new(
        start: u64,
        bits: u32,
        pieces_count: usize,
        width: Width,
        pool: &Pool,
        limit: Limit,
    ) -> Result<Leaf, OutOfMemory> {
        let mut leaf = Leaf { width, ..Leaf::without_pieces(start, bits) };
        for place in 0..pieces_count {
            match pool.take(Class::Piece, MemoryKind::Tables, limit) {
                Ok(piece) => leaf.pieces[place] = Some(piece),
                Err(refused) => {
                    leaf.free(pool);
                    return Err(refused);
                }
            }
            leaf.pieces_count += 1;
            for line in place * PIECE_LINES..(place + 1) * PIECE_LINES {
                leaf.line_mut(line, pool).clear();
            }
        }
        Ok(leaf)
    }

    /// Gives the pieces back; nothing is in the leaf then.
    pub(super) fn free(&mut self, pool: &Pool) {
        for piece in self.pieces.iter_mut().filter_map(Option::take) {
            pool.give_back(piece, MemoryKind::Tables);
        }
        (self.len, self.pieces_count) = (0, 0);
    }

    /// Lowest hash of the range.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// How many top bits of a hash the range fixes.
    #[inline]
    pub(super) fn bits(&self) -> u32 {
        u32::from(self.bits)
    }

    /// Entries.
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Width of its slots.
    pub(super) fn width(&self) -> Width {
        self.width
    }

    /// Pieces.
    pub(super) fn pieces_count(&self) -> usize {
        usize::from(self.pieces_count)
    }

    /// Lines.
    #[inline]
    pub(super) fn lines_count(&self) -> usize {
        self.pieces_count() * PIECE_LINES
    }

    /// Whether another entry fits without exceeding the load factor.
    pub(super) fn has_room(&self) -> bool {
        self.len() < capacity(self.pieces_count(), self.width)
    }

    /// Whether `hash` belongs here.
    #[inline]
    pub(super) fn covers(&self, hash: KeyHash) -> bool {
        (hash.0 ^ self.start) >> (u64::BITS - self.bits()) == 0
    }

    /// The line where a probe for `hash` begins.
    #[inline]
    pub(super) fn home(&self, hash: KeyHash) -> usize {
        let rel = (hash.0 << self.bits()) >> u32::BITS;
        ((rel * self.lines_count() as u64) >> u32::BITS) as usize
    }

    /// The tag of `hash` here.
    #[inline]
    pub(super) fn tag(&self, hash: KeyHash) -> u8 {
        ((hash.0 << (self.bits() + self.home_bits())) >> (u64::BITS - TAG_BITS)) as u8
    }

    /// Bits below the leaf's that stand above the tag.
    #[inline]
    pub(super) fn home_bits(&self) -> u32 {
        self.lines_count().max(1).ilog2()
    }

    /// Line `line`.
    #[inline]
    pub(super) fn line<'a>(&'a self, line: usize, pool: &'a Pool) -> Line<'a> {
        let piece = self.pieces[line / PIECE_LINES].as_ref().expect("a leaf's first pieces are there");
        let (lines, _) = pool.bytes(piece).as_chunks();
        Line::new(&lines[line % PIECE_LINES], self.width)
    }

    #[inline]
    fn line_mut<'a>(&'a mut self, line: usize, pool: &'a Pool) -> LineMut<'a> {
        let piece = self.pieces[line / PIECE_LINES].as_mut().expect("a leaf's first pieces are there");
        let (lines, _) = pool.bytes_mut(piece).as_chunks_mut();
        LineMut::new(&mut lines[line % PIECE_LINES], self.width)
    }

    #[inline]
    fn line_behind(&self, line: usize) -> usize {
        if line + 1 == self.lines_count() { 0 } else { line + 1 }
    }

    /// The slot of `hash` whose offset `is_it` accepts. Asks for slots of the same tag only.
    #[inline]
    pub(super) fn find(
        &self,
        hash: KeyHash,
        pool: &Pool,
        mut is_it: impl FnMut(u32) -> bool,
    ) -> Option<usize> {
        let tag = self.tag(hash);
        let mut line = self.home(hash);
        for _ in 0..self.lines_count() {
            let slots = self.line(line, pool);
            for lane in slots.matches(tag) {
                if is_it(slots.offset(lane)) {
                    return Some(line * SLOT_NUMBERS_PER_LINE + lane);
                }
            }
            if !slots.is_passed() {
                return None;
            }
            line = self.line_behind(line);
        }
        None
    }

    /// Asks for the line that [`Leaf::find`] reads first.
    #[inline]
    pub(super) fn prefetch(&self, hash: KeyHash, pool: &Pool) {
        if self.pieces_count > 0 {
            let line = self.home(hash);
            let piece = self.pieces[line / PIECE_LINES].as_ref().expect("a leaf's first pieces are there");
            prefetch(&pool.bytes(piece)[line % PIECE_LINES * LINE_BYTES..], LINE_BYTES);
        }
    }

    /// The first offset at the home of `hash` whose tag is right: most likely the one that [`Leaf::find`] finds.
    #[inline]
    pub(super) fn likely_offset(&self, hash: KeyHash, pool: &Pool) -> Option<u32> {
        if self.pieces_count == 0 {
            return None;
        }
        let line = self.line(self.home(hash), pool);
        line.matches(self.tag(hash)).next().map(|lane| line.offset(lane))
    }

    /// Lines that a new entry of `hash` would pass; `None` if no line has room.
    pub(super) fn lines_to_pass(&self, hash: KeyHash, pool: &Pool) -> Option<usize> {
        let mut line = self.home(hash);
        for passed in 0..self.lines_count() {
            if !self.line(line, pool).is_full() {
                return Some(passed);
            }
            line = self.line_behind(line);
        }
        None
    }

    /// Puts an entry of `hash`, known to be absent, where it belongs.
    ///
    /// # Panics
    /// When no line has room: the caller sized the leaf for its content.
    pub(super) fn insert(&mut self, hash: KeyHash, offset: u32, pool: &Pool) {
        debug_assert!(self.covers(hash));
        self.insert_at(self.home(hash), self.tag(hash), offset, pool);
    }

    /// As [`Leaf::insert`], home and tag being known.
    pub(super) fn insert_at(&mut self, home: usize, tag: u8, offset: u32, pool: &Pool) {
        assert!(
            self.len() < self.lines_count() * self.width.slots(),
            "a leaf is sized for what is moved into it"
        );
        let mut line = home;
        while self.line(line, pool).is_full() {
            self.line_mut(line, pool).on_passed();
            line = self.line_behind(line);
        }
        self.line_mut(line, pool).insert(tag, offset, line != home);
        self.len += 1;
    }

    /// Takes the entry of `hash` out of `slot`. Others may change their slots.
    pub(super) fn remove(&mut self, slot: usize, hash: KeyHash, pool: &Pool) {
        let own = slot / SLOT_NUMBERS_PER_LINE;
        let mut line = self.home(hash);
        // An entry in its own home line has passed none, and one that went around has passed all others.
        while line != own {
            self.line_mut(line, pool).on_passed_removed();
            line = self.line_behind(line);
        }
        self.line_mut(own, pool).remove(slot % SLOT_NUMBERS_PER_LINE);
        self.len -= 1;
    }

    /// Replaces the offset in `slot`; the leaf's width must hold it.
    pub(super) fn set_offset(&mut self, slot: usize, offset: u32, pool: &Pool) {
        self.line_mut(slot / SLOT_NUMBERS_PER_LINE, pool).set_offset(slot % SLOT_NUMBERS_PER_LINE, offset);
    }

    /// The offsets of all entries, line by line.
    pub(super) fn offsets<'a>(&'a self, pool: &'a Pool) -> impl Iterator<Item = u32> + 'a {
        (0..self.lines_count()).flat_map(move |line| {
            let line = self.line(line, pool);
            (0..line.count()).map(move |slot| line.offset(slot))
        })
    }

    /// Moves pieces to lower places, those that the pool asks for.
    pub(super) fn relocate(&mut self, pool: &Pool, budget: &mut MoveBudget) {
        for piece in self.pieces.iter_mut().flatten() {
            pool.relocate(piece, MemoryKind::Tables, budget);
        }
    }

    /// Checks the invariants, given the hash of an entry by its offset. For tests.
    pub(super) fn check_invariants(&self, pool: &Pool, hash_of: impl Fn(u32) -> KeyHash) {
        let mut passed = vec![0u32; self.lines_count()];
        let mut len = 0;
        for line in 0..self.lines_count() {
            let slots = self.line(line, pool);
            for lane in 0..slots.count() {
                let hash = hash_of(slots.offset(lane));
                assert!(self.covers(hash), "a hash lies in another leaf's range");
                assert_eq!(slots.tag(lane), self.tag(hash), "a tag is not its key's");
                assert_eq!(lane >= slots.displaced_from(), self.home(hash) != line, "a mark is wrong");
                let mut at = self.home(hash);
                while at != line {
                    passed[at] += 1;
                    at = self.line_behind(at);
                }
                let offset = slots.offset(lane);
                assert!(
                    self.find(hash, pool, |found| found == offset).is_some(),
                    "an entry cannot be reached"
                );
                len += 1;
            }
        }
        for (line, &count) in passed.iter().enumerate() {
            let is_passed = self.line(line, pool).is_passed();
            assert!(is_passed || count == 0, "a line has lost count of what passed it");
        }
        assert_eq!(len, self.len(), "a leaf has lost count");
    }
}
