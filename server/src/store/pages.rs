//! The books over the pool's pages: which are in use, which have room, which are idle, absent or fresh. `pool.rs` says what
//! these words mean, holds the lock, and moves pages from one to the other.

use super::bit_tree::BitTree;
use super::pool::Class;
use super::zeroed::ZeroedWords;

/// Idle pages that are kept: one for so many in use.
pub(super) const IDLE_PARTS: u32 = 32;
/// Idle pages that are made before they are needed, at most. More than nearly every write takes, and 64 KiB.
pub(super) const STOCK_PAGES_MAX: u32 = 16;

/// The books. A page is a number.
pub(super) struct Pages {
    /// By page: bit n is set if block n can be handed out. Two pages a word.
    free_blocks: ZeroedWords,
    /// By class: pages in use that have room.
    pub(super) roomy: [BitTree; Class::COUNT],
    pub(super) idle: BitTree,
    pub(super) absent: BitTree,
    pub(super) idle_count: u32,
    pub(super) absent_count: u32,
    pub(super) fresh_from: u32,
    /// Bytes of blocks handed out.
    pub(super) used_bytes: u64,
}

impl Pages {
    /// The books of `pages_count` fresh pages; `None`: the system gives no addresses for them.
    pub(super) fn new(pages_count: u32) -> Option<Pages> {
        let tree = || BitTree::new(pages_count);
        Some(Pages {
            free_blocks: ZeroedWords::new(pages_count.div_ceil(2) as usize)?,
            roomy: [tree()?, tree()?, tree()?, tree()?],
            idle: tree()?,
            absent: tree()?,
            idle_count: 0,
            absent_count: 0,
            fresh_from: 1,
            used_bytes: 0,
        })
    }

    /// The blocks of a page that can be handed out, a bit each.
    #[inline]
    pub(super) fn free_blocks(&self, page: u32) -> u32 {
        (self.free_blocks.get(page / 2) >> (page % 2 * u32::BITS)) as u32
    }

    /// Sets them.
    #[inline]
    pub(super) fn set_free_blocks(&mut self, page: u32, free: u32) {
        let shift = page % 2 * u32::BITS;
        let other = self.free_blocks.get(page / 2) & !(u64::from(u32::MAX) << shift);
        self.free_blocks.set(page / 2, other | u64::from(free) << shift);
    }

    /// Pages of which blocks are handed out.
    pub(super) fn in_use(&self) -> u32 {
        self.fresh_from - 1 - self.idle_count - self.absent_count
    }

    /// Idle pages that should be at hand: no more than [`super::Pool::trim`] leaves.
    pub(super) fn stock_pages(&self) -> u32 {
        (self.in_use() / IDLE_PARTS).min(STOCK_PAGES_MAX)
    }

    /// Takes an absent page, or the first fresh one, out of the books: it is to be resident.
    pub(super) fn withdraw(&mut self, page: u32) {
        if page == self.fresh_from {
            self.fresh_from += 1;
        } else {
            self.absent.remove(page);
            self.absent_count -= 1;
        }
    }

    /// The next pages that would be opened and are not resident: the first of them and how many, at most `count_max`.
    pub(super) fn next_to_open(&self, count_max: u32) -> (u32, u32) {
        match self.absent.first() {
            Some(first) => {
                let is_absent = |page| page < self.fresh_from && self.absent.contains(page);
                let count = (1..count_max).find(|&count| !is_absent(first + count));
                (first, count.unwrap_or(count_max))
            }
            None => (self.fresh_from, count_max),
        }
    }
}
