//! The directory: the leaves of a partition in hash order, found by rank (`rank.rs`), or by guess and walk.
//!
//! ```text
//!   head │ leaf │ leaf │ leaf │ … at most 256          the only block of most partitions
//!   rest │ ● ● ● │  each a block of 1 to 256 leaves    a partition of more than 100,000 entries or so
//! ```
//!
//! Adding a leaf moves at most one block (22 KiB) and the list of blocks: 64 KiB of it are 2,048 blocks, at least
//! 262,144 leaves, some 60 million entries in one partition.
//!
//! Invariants:
//! 1. Without any leaf the directory has allocated nothing. Otherwise its leaves tile the partition's range in
//!    order, without gap or overlap.
//! 2. No block is empty unless it is the head and the only one; `start` of a block is that of its first leaf.
//! 3. The charge is the price of the blocks and of their list; leaves' pieces are charged by the pool, and counted
//!    here.

use std::sync::Arc;

use dht_protocol::cursor::Cursor;
use dht_protocol::placement::hash::KeyHash;

use super::heap::{self, Limit};
use super::leaf::Leaf;
use super::limits::{BLOCK_LEAVES_MAX, LEAF_PIECES_HARD_MAX, STEP_BYTES_MAX};
use super::pool::{Class, Pool};
use super::prefetch::prefetch_item;
use super::rank::Rank;
use super::relocate::MoveBudget;
use crate::memory::{Charge, MemoryAccount, MemoryKind, OutOfMemory};

/// Steps from the guess before a binary search takes over.
const WALK_STEPS_MAX: usize = 4;
/// Rooms by which the list of blocks grows at least.
const REST_GROWTH_MIN: usize = 4;

// One more leaf moves at most a whole block, to where there is more room, and the leaves behind it once more.
const _: () = assert!(2 * BLOCK_LEAVES_MAX * size_of::<Leaf>() <= STEP_BYTES_MAX);

/// The part of the ring that a table covers: the hashes that share their top `bits` bits with `start`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Lowest hash.
    pub(super) start: u64,
    /// Top bits that all hashes here share.
    pub(super) bits: u32,
}

impl Span {
    /// Which of the spans of this size it is, from 0.
    pub(super) fn number(self) -> u64 {
        self.start >> (u64::BITS - self.bits)
    }

    /// The cursor at which the span ends.
    pub(super) fn end(self) -> Cursor {
        let last = Cursor::of_hash(KeyHash(self.start | (u64::MAX >> self.bits)));
        last.next()
    }
}

/// Where a leaf stands. Good until leaves are added or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeafAt {
    /// 0 is the head.
    block: u32,
    place: u32,
}

/// Some leaves in a row.
#[derive(Debug)]
#[repr(C)]
struct Block {
    /// Lowest hash of the first leaf.
    start: u64,
    leaves: Vec<Leaf>,
}

/// All leaves of a partition.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Directory {
    rank: Rank,
    /// Begins where the partition does.
    head: Block,
    rest: Vec<Block>,
    /// Pieces of all leaves.
    pieces_count: u32,
    /// Bytes of leaves and of the list of blocks moved since [`Directory::take_moved_bytes`].
    moved_bytes: u32,
    charge: Charge,
}

impl Directory {
    /// A directory without leaves; allocates nothing.
    pub(super) fn new(span: Span, memory: Arc<MemoryAccount>) -> Directory {
        let head = Block { start: span.start, leaves: Vec::new() };
        Directory {
            rank: Rank::new(span.bits),
            head,
            rest: Vec::new(),
            pieces_count: 0,
            moved_bytes: 0,
            charge: Charge::empty(memory, MemoryKind::Tables),
        }
    }

    /// Bytes that adding and removing leaves has moved since the last call.
    pub(super) fn take_moved_bytes(&mut self) -> usize {
        std::mem::take(&mut self.moved_bytes) as usize
    }

    /// Bytes taken from the allocator and the pool.
    pub(super) fn charged_bytes(&self) -> u64 {
        self.charge.bytes() + u64::from(self.pieces_count) * Class::Piece.bytes() as u64
    }

    /// The leaf that covers `hash`; `None` if there are no leaves.
    #[inline]
    pub(super) fn locate(&self, hash: KeyHash) -> Option<LeafAt> {
        debug_assert_eq!((hash.0 ^ self.head.start) >> (u64::BITS - self.rank.span_bits()), 0);
        if let Some(place) = self.ranked(hash) {
            debug_assert!(self.head.leaves[place].covers(hash));
            return Some(LeafAt { block: 0, place: place as u32 });
        }
        let block =
            if self.rest.is_empty() { 0 } else { self.rest.partition_point(|block| block.start <= hash.0) };
        let leaves = &self.block(block).leaves;
        let guess = if self.rest.is_empty() { self.guess(hash) } else { leaves.len() / 2 };
        let place = walk(leaves, guess, hash)?;
        Some(LeafAt { block: block as u32, place: place as u32 })
    }

    /// Asks for the leaf that most likely covers `hash`.
    #[inline]
    pub(super) fn prefetch(&self, hash: KeyHash) {
        if self.rest.is_empty()
            && let Some(leaf) = self.head.leaves.get(self.ranked(hash).unwrap_or_else(|| self.guess(hash)))
        {
            prefetch_item(leaf);
        }
    }

    /// The place in the head, while there is no other block, of the leaf that covers `hash`; `None` if there is none, or it has
    /// to be looked for.
    #[inline]
    fn ranked(&self, hash: KeyHash) -> Option<usize> {
        if self.rest.is_empty() { self.rank.leaves_up_to(hash)?.checked_sub(1) } else { None }
    }

    /// The place in the head, while there is no other block, near which the leaf of `hash` stands: leaves of random keys are
    /// about equally wide.
    #[inline]
    fn guess(&self, hash: KeyHash) -> usize {
        let rel = (hash.0 << self.rank.span_bits()) >> u32::BITS;
        ((rel * self.head.leaves.len() as u64) >> u32::BITS) as usize
    }

    /// The leaf at `at`.
    #[inline]
    pub(super) fn leaf(&self, at: LeafAt) -> &Leaf {
        &self.block(at.block as usize).leaves[at.place as usize]
    }

    /// The leaf at `at`, to change slots and not sizes: see [`Directory::replace`].
    #[inline]
    pub(super) fn leaf_mut(&mut self, at: LeafAt) -> &mut Leaf {
        &mut self.block_mut(at.block as usize).leaves[at.place as usize]
    }

    /// The leaf behind the one at `at`.
    pub(super) fn next(&self, at: LeafAt) -> Option<LeafAt> {
        if (at.place as usize + 1) < self.block(at.block as usize).leaves.len() {
            Some(LeafAt { place: at.place + 1, ..at })
        } else if at.block as usize != self.rest.len() {
            Some(LeafAt { block: at.block + 1, place: 0 })
        } else {
            None
        }
    }

    /// The other half of the range that the leaf at `at` is a half of, if it is one leaf.
    pub(super) fn buddy(&self, at: LeafAt) -> Option<LeafAt> {
        let leaf = self.leaf(at);
        if leaf.bits() == self.rank.span_bits() {
            return None;
        }
        let buddy = self.locate(KeyHash(leaf.start() ^ (1 << (u64::BITS - leaf.bits()))))?;
        (self.leaf(buddy).bits() == leaf.bits()).then_some(buddy)
    }

    /// Adds the first leaf, which covers everything and has no pieces.
    ///
    /// # Errors
    /// [`OutOfMemory`]; nothing changed.
    pub(super) fn add_root(&mut self, limit: Limit) -> Result<LeafAt, OutOfMemory> {
        debug_assert!(self.head.leaves.is_empty());
        heap::grow(&mut self.head.leaves, 1, &mut self.charge, limit)?;
        let (start, bits) = (self.head.start, self.rank.span_bits());
        self.head.leaves.push(Leaf::without_pieces(start, bits));
        self.rank.add(start, bits);
        Ok(LeafAt { block: 0, place: 0 })
    }

    /// Puts a leaf into the place of the one at `at`, whose pieces are given back.
    pub(super) fn replace(&mut self, at: LeafAt, leaf: Leaf, pool: &Pool) {
        let bits = leaf.bits();
        self.pieces_count += leaf.pieces_count() as u32;
        let mut old = std::mem::replace(self.leaf_mut(at), leaf);
        self.pieces_count -= old.pieces_count() as u32;
        if self.rank.change(old.bits(), bits) {
            self.rebuild_rank();
        }
        old.free(pool);
    }

    /// Puts a leaf behind the one at `at`. [`Directory::reserve_one`] came just before.
    pub(super) fn insert_behind(&mut self, at: LeafAt, leaf: Leaf) {
        self.pieces_count += leaf.pieces_count() as u32;
        self.rank.add(leaf.start(), leaf.bits());
        let leaves = &mut self.block_mut(at.block as usize).leaves;
        debug_assert!(leaves.len() < leaves.capacity());
        let behind = leaves.len() - at.place as usize - 1;
        leaves.insert(at.place as usize + 1, leaf);
        self.moved_bytes += (behind * size_of::<Leaf>()) as u32;
    }

    /// Makes sure that a leaf can be put behind the one at `at`, and says where that one stands now. Cost: moves
    /// at most one block and the list of blocks.
    ///
    /// # Errors
    /// [`OutOfMemory`]; nothing changed.
    pub(super) fn reserve_one(&mut self, at: LeafAt, limit: Limit) -> Result<LeafAt, OutOfMemory> {
        let at = if self.block(at.block as usize).leaves.len() < BLOCK_LEAVES_MAX {
            at
        } else {
            self.split_block(at, limit)?
        };
        let leaves =
            if at.block == 0 { &mut self.head.leaves } else { &mut self.rest[at.block as usize - 1].leaves };
        if leaves.len() == leaves.capacity() {
            let capacity = (leaves.len() + (leaves.len() / 4).max(1)).min(BLOCK_LEAVES_MAX);
            self.moved_bytes += size_of_val(leaves.as_slice()) as u32;
            heap::grow(leaves, capacity, &mut self.charge, limit)?;
        }
        Ok(at)
    }

    /// Cuts the block of `at` in two and says where that leaf stands then.
    fn split_block(&mut self, at: LeafAt, limit: Limit) -> Result<LeafAt, OutOfMemory> {
        const KEPT: usize = BLOCK_LEAVES_MAX / 2;
        if self.rest.len() == self.rest.capacity() {
            let capacity = self.rest.len() + (self.rest.len() / 4).max(REST_GROWTH_MIN);
            self.moved_bytes += size_of_val(self.rest.as_slice()) as u32;
            heap::grow(&mut self.rest, capacity, &mut self.charge, limit)?;
        }
        let mut leaves = Vec::new();
        heap::grow(&mut leaves, BLOCK_LEAVES_MAX * 3 / 4, &mut self.charge, limit)?;
        leaves.extend(self.block_mut(at.block as usize).leaves.drain(KEPT..));
        let start = leaves[0].start();
        let behind = self.rest.len() - at.block as usize;
        self.moved_bytes += (size_of_val(leaves.as_slice()) + behind * size_of::<Block>()) as u32;
        self.rest.insert(at.block as usize, Block { start, leaves });
        Ok(match (at.place as usize).checked_sub(KEPT) {
            Some(place) => LeafAt { block: at.block + 1, place: place as u32 },
            None => at,
        })
    }

    /// Removes the leaf at `at`, whose range its left neighbour has taken over. Cost: as for adding one.
    pub(super) fn remove(&mut self, at: LeafAt, pool: &Pool) {
        let block = at.block as usize;
        let mut leaf = self.block_mut(block).leaves.remove(at.place as usize);
        self.moved_bytes += ((self.block(block).leaves.len() - at.place as usize) * size_of::<Leaf>()) as u32;
        self.pieces_count -= leaf.pieces_count() as u32;
        if self.rank.remove(leaf.start(), leaf.bits()) {
            self.rebuild_rank();
        }
        leaf.free(pool);
        let Some(first) = self.block(block).leaves.first() else {
            self.remove_empty_block(block);
            return;
        };
        self.block_mut(block).start = first.start();
        let joined = (block < self.rest.len() && self.join_blocks(block))
            || (block > 0 && self.join_blocks(block - 1));
        if !joined {
            self.trim(block);
        }
    }

    fn remove_empty_block(&mut self, block: usize) {
        if self.rest.is_empty() {
            return;
        }
        self.moved_bytes += size_of_val(self.rest.as_slice()) as u32;
        let removed = if block == 0 {
            let second = self.rest.remove(0);
            std::mem::replace(&mut self.head, second)
        } else {
            self.rest.remove(block - 1)
        };
        self.charge.shrink_by(heap::price_of(&removed.leaves));
        self.trim(0);
    }

    /// Moves pieces of leaves, from the one that covers `from` on, as far as `budget` goes; says where to go on, unless it is
    /// through.
    pub(super) fn relocate(
        &mut self,
        from: KeyHash,
        pool: &Pool,
        budget: &mut MoveBudget,
    ) -> Option<KeyHash> {
        let mut at = self.locate(from);
        while let Some(leaf_at) = at {
            let leaf = self.leaf_mut(leaf_at);
            if !budget.allows(LEAF_PIECES_HARD_MAX) {
                return Some(KeyHash(leaf.start()));
            }
            budget.on_look();
            leaf.relocate(pool, budget);
            at = self.next(leaf_at);
        }
        None
    }

    /// All leaves in order.
    pub(super) fn leaves_mut(&mut self) -> impl Iterator<Item = &mut Leaf> {
        self.head.leaves.iter_mut().chain(self.rest.iter_mut().flat_map(|block| &mut block.leaves))
    }

    /// Takes all leaves away, and what they hold.
    pub(super) fn clear(&mut self, pool: &Pool) {
        self.leaves_mut().for_each(|leaf| leaf.free(pool));
        self.pieces_count = 0;
        self.rank.clear();
        self.charge.shrink_to(0);
        self.head.leaves = Vec::new();
        self.rest = Vec::new();
    }

    /// Cost: looks at all leaves, of which there are few: none is deep.
    fn rebuild_rank(&mut self) {
        let leaves = self.head.leaves.iter().chain(self.rest.iter().flat_map(|block| &block.leaves));
        self.rank.rebuild(leaves.map(Leaf::start));
    }

    /// Appends block `block + 1` to block `block` if both are small. Says whether it did.
    fn join_blocks(&mut self, block: usize) -> bool {
        let count = self.block(block).leaves.len() + self.block(block + 1).leaves.len();
        if count > BLOCK_LEAVES_MAX / 2 {
            return false;
        }
        let joined = self.rest.remove(block);
        // The joined leaves, and those before them where their room has to grow.
        self.moved_bytes += (count * size_of::<Leaf>() + size_of_val(&self.rest[block..])) as u32;
        let price = heap::price_of(&joined.leaves);
        let target = if block == 0 { &mut self.head } else { &mut self.rest[block - 1] };
        if target.leaves.capacity() < count {
            heap::grow(&mut target.leaves, count, &mut self.charge, Limit::Exceed)
                .expect("a charge that may exceed the limit is never refused");
        }
        target.leaves.extend(joined.leaves);
        target.start = target.leaves[0].start();
        self.charge.shrink_by(price);
        self.trim(block);
        true
    }

    /// Gives back room that a block, and the list of blocks, no longer need.
    fn trim(&mut self, block: usize) {
        let leaves = if block == 0 { &mut self.head.leaves } else { &mut self.rest[block - 1].leaves };
        if leaves.len() * 2 < leaves.capacity() {
            let capacity = leaves.len() + leaves.len() / 4;
            self.moved_bytes += size_of_val(leaves.as_slice()) as u32;
            heap::shrink(leaves, capacity, &mut self.charge);
        }
        if self.rest.len() * 2 < self.rest.capacity() {
            let capacity = self.rest.len();
            self.moved_bytes += size_of_val(self.rest.as_slice()) as u32;
            heap::shrink(&mut self.rest, capacity, &mut self.charge);
        }
    }

    #[inline]
    fn block(&self, block: usize) -> &Block {
        if block == 0 { &self.head } else { &self.rest[block - 1] }
    }

    #[inline]
    fn block_mut(&mut self, block: usize) -> &mut Block {
        if block == 0 { &mut self.head } else { &mut self.rest[block - 1] }
    }

    /// Checks the invariants and calls `on_leaf` for each leaf in order. For tests.
    pub(super) fn check_invariants(&self, mut on_leaf: impl FnMut(&Leaf)) {
        let blocks = || std::iter::once(&self.head).chain(&self.rest);
        let (mut price, mut pieces_count) = (heap::price_of(&self.rest), 0u32);
        let mut next = u128::from(self.head.start);
        for block in blocks() {
            price += heap::price_of(&block.leaves);
            assert!(!block.leaves.is_empty() || self.rest.is_empty(), "a block is empty");
            assert_eq!(u128::from(block.start), next);
            assert!(block.leaves.len() <= BLOCK_LEAVES_MAX);
            for leaf in &block.leaves {
                pieces_count += leaf.pieces_count() as u32;
                assert!(
                    self.locate(KeyHash(leaf.start()))
                        .is_some_and(|at| self.leaf(at).start() == leaf.start())
                );
                assert_eq!(u128::from(leaf.start()), next, "leaves overlap or leave a gap");
                next += 1 << (u64::BITS - leaf.bits());
                on_leaf(leaf);
            }
        }
        if !self.head.leaves.is_empty() {
            let end = u128::from(self.head.start) + (1 << (u64::BITS - self.rank.span_bits()));
            assert_eq!(next, end, "leaves do not cover the partition");
        }
        assert_eq!(price, self.charge.bytes(), "the directory's charge is wrong");
        assert_eq!(pieces_count, self.pieces_count, "the directory has lost count of its leaves' pieces");
    }
}

/// The place of the leaf that covers `hash`, looked for from `guess` on; `None` if there are no leaves.
#[inline]
fn walk(leaves: &[Leaf], guess: usize, hash: KeyHash) -> Option<usize> {
    let mut place = guess;
    for _ in 0..WALK_STEPS_MAX {
        let leaf = leaves.get(place)?;
        if leaf.covers(hash) {
            return Some(place);
        }
        // The first leaf begins where the range does, so there is one before any that begins past `hash`.
        place = if hash.0 < leaf.start() { place - 1 } else { place + 1 };
    }
    Some(leaves.partition_point(|leaf| leaf.start() <= hash.0) - 1)
}
