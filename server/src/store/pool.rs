//! The pool: the memory of all partitions of a node, one mapped region, handed out in blocks of four sizes.
//!
//! ```text
//!   region │ page │ page │ page │ …                pages of 4 KiB, each cut into blocks of one class
//!            └─ 32 × 128 B ─┘ └─ 4 × 1 KiB, 2 × 2 KiB or 1 × 4 KiB ─┘
//! ```
//!
//! Blocks have few sizes and nothing else, so what one partition gives back fits the next, whatever their sizes, and
//! no memory is lost between blocks. (Partitions of equal size grow at the same moment; with a general allocator
//! the tables that they all outgrow at once fit nobody: at 1,000,000 entries of 48 bytes in 4,096 partitions 26.8 bytes an
//! entry were resident beyond them, 12.5 since, of which the tables themselves, and shorter heads, are a part.) The lowest page with
//! room is taken first. Pages that have become idle go back to the system when [`Pool::trim`] is called, which
//! never happens under a partition's lock; blocks beyond [`Pool::watermark`] are to be moved down by their owners, so that pages
//! become idle at all.
//!
//! A page is
//! * *fresh*: never touched, all pages from `fresh_from` on;
//! * *in use*: some of its blocks are handed out;
//! * *idle*: resident, no block of it is handed out; a few are made before they are needed ([`Pool::stock_up`]);
//! * *absent*: given back to the system.
//!
//! Invariants:
//! 1. A block lies within the region and is handed out at most once before it comes back; two blocks that are handed
//!    out do not overlap. [`Block`] can be neither copied nor made elsewhere, and its bytes are lent mutably through
//!    `&mut Block` only. So a `&mut [u8]` of the region has no other reference to the same bytes.
//! 2. A block is given only to the pool that it came from: each table holds the pool along with its blocks.
//! 3. What the account has of the kinds `Tables` and `Arena` for blocks, and of `Idle`, is the size of all pages in
//!    use or idle, or about to be idle.
//! 4. Page 0 is never handed out, so that a block's name is never 0.
//!
//! The lock inside is taken under partitions' locks and takes none itself; no system call is made under it, and most page
//! faults happen before.

#![allow(unsafe_code)]

use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use memmap2::{MmapOptions, MmapRaw, UncheckedAdvice};

use super::extents::Extents;
use super::heap::Limit;
use super::limits::{REGION_BYTES_MAX, TRIM_PAGES_MAX};
use super::pages::{IDLE_PARTS, Pages};
use super::relocate::MoveBudget;
use super::steps::StepBooks;
use crate::memory::{MemoryAccount, MemoryKind, OutOfMemory};

/// Bytes of a page.
pub(super) const PAGE_BYTES: usize = 4 << 10;
/// Places of blocks are multiples of this, bytes.
const UNIT_BYTES: usize = 128;
/// Bits of a block's name that say its class.
const CLASS_BITS: u32 = 2;

/// A size of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// 128 bytes: two lines of a leaf.
    Piece,
    /// 1 KiB of entries.
    Chunk1,
    /// 2 KiB of entries.
    Chunk2,
    /// 4 KiB of entries.
    Chunk4,
}

/// A block that is handed out: its place, in units of 128 bytes, and below that its class.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block(NonZeroU32);

/// The memory of all partitions.
pub struct Pool {
    region: MmapRaw,
    account: Arc<MemoryAccount>,
    /// Blocks in pages from this one on should move down; `u32::MAX` while there is nothing to win. A hint, so relaxed.
    watermark: AtomicU32,
    /// Whether fewer idle pages are at hand than should be: see [`Pool::stock_up`]. A hint, so relaxed.
    is_low: AtomicBool,
    /// Whether somebody is stocking up.
    is_stocking: AtomicBool,
    /// Which of its pages are huge ones.
    extents: Extents,
    /// The books over the steps of all partitions; here as every table has the pool at hand.
    step_books: StepBooks,
    state: Mutex<Pages>,
}

impl Class {
    /// Number of classes.
    pub(super) const COUNT: usize = 4;
    const ALL: [Class; Self::COUNT] = [Class::Piece, Class::Chunk1, Class::Chunk2, Class::Chunk4];

    /// Bytes of a block.
    #[inline]
    pub(super) const fn bytes(self) -> usize {
        bytes_of_class(self as u32)
    }

    /// The smallest class for entries that holds `bytes`, but none beyond `most`.
    pub(super) fn for_entries(bytes: usize, most: Class) -> Class {
        let fits = [Class::Chunk1, Class::Chunk2].into_iter().find(|class| bytes <= class.bytes());
        fits.unwrap_or(Class::Chunk4).min(most)
    }

    const fn blocks_per_page(self) -> u32 {
        (PAGE_BYTES / self.bytes()) as u32
    }

    /// All blocks of a page.
    const fn all_free(self) -> u32 {
        u32::MAX >> (u32::BITS - self.blocks_per_page())
    }
}

/// Bytes of a block of a class, by its number: without a table or a jump, as this stands in the way of every look-up.
#[inline]
const fn bytes_of_class(class: u32) -> usize {
    const LOG2: u32 = u32::from_le_bytes([7, 10, 11, 12]);
    1 << (LOG2 >> (class * u8::BITS) & 0xFF)
}

impl Block {
    fn new(class: Class, page: u32, number: u32) -> Block {
        let units = page * (PAGE_BYTES / UNIT_BYTES) as u32 + number * (class.bytes() / UNIT_BYTES) as u32;
        let name = NonZeroU32::new((units << CLASS_BITS) | class as u32);
        Block(name.expect("page 0 is never handed out"))
    }

    /// Its size class.
    #[inline]
    pub(super) fn class(&self) -> Class {
        Class::ALL[(self.0.get() & ((1 << CLASS_BITS) - 1)) as usize]
    }

    /// Its length.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        bytes_of_class(self.0.get() & ((1 << CLASS_BITS) - 1))
    }

    /// Bytes from the region's start.
    #[inline]
    fn place_bytes(&self) -> usize {
        (self.0.get() >> CLASS_BITS) as usize * UNIT_BYTES
    }

    fn page(&self) -> u32 {
        (self.place_bytes() / PAGE_BYTES) as u32
    }

    fn number(&self) -> u32 {
        (self.place_bytes() % PAGE_BYTES / self.bytes()) as u32
    }
}

impl Pool {
    /// A pool whose pages are charged to `account`. It reserves addresses, so that a limit that is raised later finds room;
    /// where the system gives fewer than `REGION_BYTES_MAX` it has fewer: see [`Pool::capacity_bytes`]. Nothing is
    /// resident yet.
    #[must_use]
    pub fn new(account: Arc<MemoryAccount>) -> Arc<Pool> {
        let (region, state) = reserve();
        Arc::new(Pool {
            extents: Extents::new(&region),
            region,
            account,
            watermark: AtomicU32::new(u32::MAX),
            is_low: AtomicBool::new(false),
            is_stocking: AtomicBool::new(false),
            step_books: StepBooks::default(),
            state: Mutex::new(state),
        })
    }

    /// The books over the steps of all partitions' tables.
    #[must_use]
    pub fn step_books(&self) -> &StepBooks {
        &self.step_books
    }

    /// The account that is charged.
    #[must_use]
    pub fn account(&self) -> &Arc<MemoryAccount> {
        &self.account
    }

    /// Bytes that all blocks together can take.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.region.len().saturating_sub(PAGE_BYTES)
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.state.lock().expect("a panic aborts the process, so no lock is ever poisoned")
    }

    /// Hands out a block; its content is arbitrary.
    ///
    /// # Errors
    /// [`OutOfMemory`]: there is no page with room, and another one is refused by the account (under [`Limit::Hold`]
    /// only) or lies beyond the region; nothing changed.
    pub(super) fn take(&self, class: Class, kind: MemoryKind, limit: Limit) -> Result<Block, OutOfMemory> {
        let mut state = self.lock();
        let page = match state.roomy[class as usize].first() {
            Some(page) => page,
            None => self.open_page(&mut state, class, limit)?,
        };
        let free = state.free_blocks(page);
        let number = free.trailing_zeros();
        state.set_free_blocks(page, free & (free - 1));
        if free.is_power_of_two() {
            state.roomy[class as usize].remove(page);
        }
        state.used_bytes += class.bytes() as u64;
        self.account.transfer(MemoryKind::Idle, kind, class.bytes() as u64);
        Ok(Block::new(class, page, number))
    }

    /// Makes a page of blocks of `class`.
    fn open_page(&self, state: &mut Pages, class: Class, limit: Limit) -> Result<u32, OutOfMemory> {
        let page = if let Some(page) = state.idle.first() {
            state.idle.remove(page);
            state.idle_count -= 1;
            self.is_low.store(state.idle_count < state.stock_pages() / 2, Ordering::Relaxed);
            page
        } else {
            self.is_low.store(state.stock_pages() > 0, Ordering::Relaxed);
            let absent = state.absent.first();
            let page = absent.unwrap_or(state.fresh_from);
            if page as usize >= self.region.len() / PAGE_BYTES {
                return Err(OutOfMemory);
            }
            match limit {
                Limit::Hold => self.account.try_charge(MemoryKind::Idle, PAGE_BYTES as u64)?,
                Limit::Exceed => self.account.charge_over_limit(MemoryKind::Idle, PAGE_BYTES as u64),
            }
            state.withdraw(page);
            page
        };
        state.set_free_blocks(page, class.all_free());
        state.roomy[class as usize].insert(page);
        Ok(page)
    }

    /// Takes a block back.
    ///
    /// # Panics
    /// When it was not handed out by this pool.
    #[expect(clippy::needless_pass_by_value, reason = "a block that has been given back is of no more use")]
    pub(super) fn give_back(&self, block: Block, kind: MemoryKind) {
        let (class, page) = (block.class(), block.page());
        let mut state = self.lock();
        let (free, bit) = (state.free_blocks(page), 1 << block.number());
        assert!(free & bit == 0, "a block was given back twice");
        state.set_free_blocks(page, free | bit);
        let is_idle = free | bit == class.all_free();
        if is_idle {
            state.roomy[class as usize].remove(page);
            state.idle.insert(page);
            state.idle_count += 1;
        } else {
            state.roomy[class as usize].insert(page);
        }
        state.used_bytes -= class.bytes() as u64;
        self.account.transfer(kind, MemoryKind::Idle, class.bytes() as u64);
    }

    /// The block's bytes.
    #[inline]
    pub(super) fn bytes(&self, block: &Block) -> &[u8] {
        let (place, length) = (block.place_bytes(), block.bytes());
        assert!(place + length <= self.region.len(), "a block of another pool");
        // SAFETY: the range lies within the region, which lives as long as `self` and is initialised (the system
        // gives zeros). By invariants 1 and 2 nobody has a mutable reference to it while `block` is borrowed.
        unsafe { std::slice::from_raw_parts(self.region.as_ptr().add(place), length) }
    }

    /// The block's bytes, to be changed.
    #[inline]
    pub(super) fn bytes_mut<'a>(&'a self, block: &'a mut Block) -> &'a mut [u8] {
        let (place, length) = (block.place_bytes(), block.bytes());
        assert!(place + length <= self.region.len(), "a block of another pool");
        // SAFETY: as in `bytes`; and by invariants 1 and 2 nobody has any reference to the range while `block` is
        // borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.region.as_mut_ptr().add(place), length) }
    }

    /// Whether the block should move to a lower place, so that pages at the end become idle.
    #[inline]
    fn should_move(&self, block: &Block) -> bool {
        let watermark = self.watermark.load(Ordering::Relaxed);
        watermark != u32::MAX && block.page() >= watermark
    }

    /// Moves `block` and its content to a lower place if it should move and there is one, and takes that off `budget`.
    pub(super) fn relocate(&self, block: &mut Block, kind: MemoryKind, budget: &mut MoveBudget) {
        budget.on_look();
        if !self.should_move(block) {
            return;
        }
        budget.tries = budget.tries.saturating_sub(1);
        let Ok(mut target) = self.take(block.class(), kind, Limit::Exceed) else { return };
        if target.page() >= block.page() {
            self.give_back(target, kind);
            return;
        }
        self.bytes_mut(&mut target).copy_from_slice(self.bytes(block));
        let source = std::mem::replace(block, target);
        self.give_back(source, kind);
        budget.bytes = budget.bytes.saturating_sub(block.bytes());
    }

    /// Sees to it that a few idle pages are at hand, so that a write does not touch a page for the first time while it holds a
    /// partition's lock: the system takes 2 µs for that as a rule, and now and then milliseconds. To be called before the
    /// lock is taken. Cost: a load; for one page in eight or so that writes open, a system call.
    #[inline]
    pub fn stock_up(&self) {
        if self.is_low.load(Ordering::Relaxed) {
            self.restock();
        }
    }

    #[cold]
    fn restock(&self) {
        // One is enough. Whoever finds another at it goes on with what is left.
        if self.is_stocking.swap(true, Ordering::Acquire) {
            return;
        }
        let mut state = self.lock();
        self.is_low.store(false, Ordering::Relaxed);
        let missing = state.stock_pages().saturating_sub(state.idle_count);
        let (first, count) = state.next_to_open(missing);
        let (count, is_huge) = self.extents.whole_or_up_to_next(&state, first, count);
        let is_within = (first + count) as usize <= self.region.len() / PAGE_BYTES;
        if count > 0 && is_within && self.charge_stock(count) {
            (first..first + count).for_each(|page| state.withdraw(page));
            drop(state);
            if is_huge {
                self.extents.make_huge(&self.region, first);
            }
            self.populate(first, count);
            let mut state = self.lock();
            (first..first + count).for_each(|page| state.idle.insert(page));
            state.idle_count += count;
        }
        self.is_stocking.store(false, Ordering::Release);
    }

    /// Charges pages that nobody needs yet; `false`: the limit is near, and every page is left to whoever needs it first.
    fn charge_stock(&self, count: u32) -> bool {
        let spare_bytes = self.account.limit_bytes().saturating_sub(self.account.used_bytes());
        let bytes = u64::from(count) * PAGE_BYTES as u64;
        spare_bytes >= STOCK_SPARE_BYTES_MIN && self.account.try_charge(MemoryKind::Idle, bytes).is_ok()
    }

    /// Makes pages resident, in one system call. Where the system cannot, their first use does.
    fn populate(&self, first: u32, count: u32) {
        #[cfg(target_os = "linux")]
        {
            let (at, bytes) = (first as usize * PAGE_BYTES, count as usize * PAGE_BYTES);
            let _ = self.region.advise_range(memmap2::Advice::PopulateWrite, at, bytes);
        }
    }

    /// Whether blocks should move to lower places, so that pages at the end become idle.
    pub fn is_shrinking(&self) -> bool {
        self.watermark.load(Ordering::Relaxed) != u32::MAX
    }

    /// Gives idle pages back to the system, those above the reserve, and decides whether blocks should move. Not to be
    /// called under a partition's lock: it makes system calls.
    pub fn trim(&self) {
        while self.trim_some() {}
        self.set_watermark();
    }

    /// Gives a run of idle pages back; says whether there may be more.
    fn trim_some(&self) -> bool {
        let mut state = self.lock();
        if state.idle_count <= state.in_use() / IDLE_PARTS {
            return false;
        }
        let Some(last) = state.idle.last() else { return false };
        let mut first = last;
        state.idle.remove(last);
        while last - first + 1 < TRIM_PAGES_MAX && state.idle.contains(first - 1) {
            first -= 1;
            state.idle.remove(first);
        }
        let count = last - first + 1;
        state.idle_count -= count;
        drop(state);
        self.extents.make_small(&self.region, first, last);
        // Nobody else can get at these pages: they are in none of the sets.
        // SAFETY: no block of these pages is handed out, so nobody has a reference into them.
        let advised = unsafe {
            self.region.unchecked_advise_range(
                UncheckedAdvice::DontNeed,
                first as usize * PAGE_BYTES,
                count as usize * PAGE_BYTES,
            )
        };
        let mut state = self.lock();
        let is_given_back = advised.is_ok();
        for page in first..=last {
            if is_given_back {
                state.absent.insert(page);
            } else {
                state.idle.insert(page);
            }
        }
        if is_given_back {
            state.absent_count += count;
            self.account.release(MemoryKind::Idle, u64::from(count) * PAGE_BYTES as u64);
        } else {
            state.idle_count += count;
        }
        is_given_back
    }

    /// Blocks should move while the pages in use could hold so much more than is in them.
    fn set_watermark(&self) {
        let state = self.lock();
        let in_use = state.in_use();
        let needed = (state.used_bytes / PAGE_BYTES as u64) as u32;
        let is_sparse = in_use > needed + needed / SPARSE_PARTS + SPARSE_PAGES_MIN;
        let watermark =
            if is_sparse { needed + needed / (2 * SPARSE_PARTS) + SPARSE_PAGES_MIN / 2 } else { u32::MAX };
        self.watermark.store(watermark, Ordering::Relaxed);
    }
}

/// None are made when less than this is left below the memory limit, bytes.
const STOCK_SPARE_BYTES_MIN: u64 = 4 << 20;
/// Blocks move when one page in so many could be saved,
const SPARSE_PARTS: u32 = 8;
/// and at least so many.
const SPARSE_PAGES_MIN: u32 = 64;

/// Reserves addresses for the region and the books over its pages: as much as `REGION_BYTES_MAX`, or as the system gives.
fn reserve() -> (MmapRaw, Pages) {
    let mut bytes = REGION_BYTES_MAX as usize;
    loop {
        let region = MmapOptions::new().len(bytes).no_reserve_swap().map_anon();
        match region.ok().zip(Pages::new((bytes / PAGE_BYTES) as u32)) {
            Some((region, state)) => return (region.into(), state),
            None => bytes = (bytes / 2).next_multiple_of(PAGE_BYTES),
        }
        // A page or two, of which the first is never handed out: the system gives that, or nothing works at all.
        assert!(
            bytes > PAGE_BYTES,
            "the system gives no addresses at all; raise the limits of this process (ulimit -v)"
        );
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let state = self.state.get_mut().expect("a panic aborts the process, so no lock is ever poisoned");
        debug_assert_eq!(state.used_bytes, 0, "a block was not given back");
        let resident = state.fresh_from - 1 - state.absent_count;
        self.account.release(MemoryKind::Idle, u64::from(resident) * PAGE_BYTES as u64 - state.used_bytes);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("capacity_bytes", &self.capacity_bytes()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use std::{fs::File, io::Read as _};

    use super::*;
    use crate::store::pages::STOCK_PAGES_MAX;

    #[test]
    fn blocks_do_not_overlap_and_their_memory_goes_back() {
        let account = MemoryAccount::new(64 << 20);
        let pool = Pool::new(Arc::clone(&account));
        let mut held: Vec<(Block, u8)> = Vec::new();
        let mut random = 3u64;
        for round in 0..40_000u32 {
            random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            let dice = (random >> 40) as usize;
            let growing = round / 10_000 % 2 == 0;
            if held.is_empty() || (dice % 10 < if growing { 7 } else { 3 }) {
                let class = Class::ALL[dice / 16 % 4];
                let mut block = pool.take(class, MemoryKind::Arena, Limit::Hold).unwrap();
                let mark = random as u8;
                pool.bytes_mut(&mut block).fill(mark);
                held.push((block, mark));
            } else {
                let (block, mark) = held.swap_remove(dice % held.len());
                assert!(pool.bytes(&block).iter().all(|&byte| byte == mark));
                pool.give_back(block, MemoryKind::Arena);
            }
            if round % 1_000 == 0 {
                pool.trim();
            }
        }
        let used: u64 = held.iter().map(|(block, _)| block.class().bytes() as u64).sum();
        assert_eq!(account.used_by(MemoryKind::Arena), used);
        for (block, mark) in held {
            assert!(pool.bytes(&block).iter().all(|&byte| byte == mark));
            pool.give_back(block, MemoryKind::Arena);
        }
        pool.trim();
        assert_eq!(account.used_bytes(), 0);
    }

    #[test]
    fn a_page_is_charged_once_and_a_refusal_changes_nothing() {
        let account = MemoryAccount::new(2 * PAGE_BYTES as u64);
        let pool = Pool::new(Arc::clone(&account));
        let mut held: Vec<Block> =
            (0..8).map(|_| pool.take(Class::Chunk1, MemoryKind::Arena, Limit::Hold).unwrap()).collect();
        assert_eq!(account.used_bytes(), 2 * PAGE_BYTES as u64);
        assert_eq!(pool.take(Class::Piece, MemoryKind::Tables, Limit::Hold), Err(OutOfMemory));
        pool.give_back(held.pop().unwrap(), MemoryKind::Arena);
        assert_eq!(account.used_by(MemoryKind::Idle), 1 << 10);
        assert_eq!(
            pool.take(Class::Piece, MemoryKind::Tables, Limit::Hold),
            Err(OutOfMemory),
            "another class"
        );
        held.push(pool.take(Class::Chunk1, MemoryKind::Arena, Limit::Hold).unwrap());
        held.push(pool.take(Class::Piece, MemoryKind::Arena, Limit::Exceed).unwrap());
        assert_eq!(account.used_bytes(), 3 * PAGE_BYTES as u64);
        held.into_iter().for_each(|block| pool.give_back(block, MemoryKind::Arena));
    }

    /// Page faults of this thread so far that needed no disk.
    #[cfg(target_os = "linux")]
    fn faults() -> u64 {
        // On the stack: what is allocated may fault itself.
        let mut buffer = [0; 1_024];
        let count = File::open("/proc/thread-self/stat").unwrap().read(&mut buffer).unwrap();
        let (_, fields) = str::from_utf8(&buffer[..count]).unwrap().rsplit_once(')').unwrap();
        fields.split_whitespace().nth(7).unwrap().parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[cfg_attr(miri, ignore = "the interpreter has no pages")]
    fn pages_are_touched_before_they_are_needed() {
        const PAGES: u64 = 2_000;
        let account = MemoryAccount::new(64 << 20);
        let pool = Pool::new(Arc::clone(&account));
        if pool.region.advise_range(memmap2::Advice::PopulateWrite, 0, PAGE_BYTES).is_err() {
            // Linux before 5.14.
            return;
        }
        let take = || pool.take(Class::Chunk4, MemoryKind::Arena, Limit::Hold).unwrap();
        // A small pool keeps nothing in stock.
        let mut held: Vec<Block> = (0..64).map(|_| take()).collect();
        let mut late = 0;
        for _ in 0..PAGES {
            pool.stock_up();
            let before = faults();
            let mut block = take();
            pool.bytes_mut(&mut block).fill(7);
            held.push(block);
            late += faults() - before;
            let stock_bytes = account.used_by(MemoryKind::Idle);
            assert!(
                stock_bytes <= u64::from(STOCK_PAGES_MAX) * PAGE_BYTES as u64,
                "{stock_bytes} bytes in stock"
            );
        }
        // Without a stock every page would. The first steps and the books over pages may fault, and the memory that an address
        // sanitizer keeps beside ours does for a page in four.
        assert!(late < PAGES / 2, "{late} faults for {PAGES} pages");
        held.into_iter().for_each(|block| pool.give_back(block, MemoryKind::Arena));
        pool.trim();
        pool.stock_up();
        assert_eq!(account.used_bytes(), 0);
    }

    #[test]
    fn nothing_is_stocked_near_the_limit() {
        let account = MemoryAccount::new(8 << 20);
        let pool = Pool::new(Arc::clone(&account));
        let mut held = Vec::new();
        while let Ok(block) = pool.take(Class::Chunk4, MemoryKind::Arena, Limit::Hold) {
            pool.stock_up();
            held.push(block);
        }
        assert_eq!(held.len() * PAGE_BYTES, 8 << 20, "every page below the limit could be used");
        let last = pool.take(Class::Chunk4, MemoryKind::Arena, Limit::Exceed).unwrap();
        pool.stock_up();
        assert_eq!(account.used_by(MemoryKind::Idle), 0);
        held.into_iter().chain([last]).for_each(|block| pool.give_back(block, MemoryKind::Arena));
    }

    #[test]
    fn a_pool_that_has_become_sparse_asks_for_moves_down() {
        let account = MemoryAccount::new(1 << 30);
        let pool = Pool::new(Arc::clone(&account));
        let take = || pool.take(Class::Chunk1, MemoryKind::Arena, Limit::Hold).unwrap();
        let mut held: Vec<Block> = (0..40_000).map(|_| take()).collect();
        pool.trim();
        assert!(!pool.is_shrinking());
        let mut number = 0;
        held.retain_mut(|block| {
            number += 1;
            let stays = number % 10 == 0;
            if !stays {
                pool.give_back(Block(block.0), MemoryKind::Arena);
            }
            stays
        });
        for _ in 0..3 {
            pool.trim();
            for block in &mut held {
                if pool.should_move(block) {
                    pool.give_back(std::mem::replace(block, take()), MemoryKind::Arena);
                }
            }
        }
        pool.trim();
        assert!(!pool.is_shrinking());
        let needed = (held.len() as u64) << 10;
        assert!(account.used_bytes() <= needed * 5 / 4, "{} of {needed} B", account.used_bytes());
        held.into_iter().for_each(|block| pool.give_back(block, MemoryKind::Arena));
    }
}
