//! The structure of an arena: its chunks, opened and freed.

use std::mem::offset_of;
use std::sync::Arc;

use dht_protocol::ids::Version;

use super::super::chunked::Chunked;
use super::super::entry::Item;
use super::super::heap::Limit;
use super::super::limits::{CHUNKS_MAX, PLACE_BITS};
use super::super::pool::{Block, Class, Pool};
use super::evacuate::Evacuation;
use crate::memory::{Charge, MemoryAccount, MemoryKind, OutOfMemory};

/// Stands for "none" where chunks name each other.
pub(super) const NO_CHUNK: u32 = u32::MAX;
/// Stands for "none" where a chunk names an entry. (No entry begins at the last byte of the last possible chunk: the
/// arena refuses that chunk.)
pub(super) const NOWHERE: Address = Address(u32::MAX);

const _: () = assert!(Class::Chunk4.bytes() == 1 << PLACE_BITS);

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Address(pub(in super::super) u32);

/// A row of entries.
#[derive(Debug)]
pub(super) struct Chunk {
    /// What the versions of entries that begin here are differences to.
    pub(super) base: Version,
    /// The bytes; `None` in a free chunk.
    pub(super) block: Option<Block>,
    /// Where the last entry goes on; in a free chunk the next free one. Or [`NO_CHUNK`].
    pub(super) next: u32,
}

// So that none lies on two cache lines.
const _: () = assert!(size_of::<Chunk>() == 16);

/// What look-ups need not know of a chunk: apart, so that they touch less memory, and so does the search for a victim.
#[derive(Debug)]
#[repr(C, packed(2))]
pub(super) struct Upkeep {
    /// The entry whose end stands at the start, or [`NOWHERE`].
    pub(super) origin: Address,
    /// Bytes of dead runs.
    pub(super) dead_bytes: u16,
}

// There is one for each chunk: no padding.
const _: () = assert!(size_of::<Upkeep>() == 6);

/// All chunks of a partition.
#[derive(Debug)]
#[repr(C)]
pub(in super::super) struct Arena {
    pub(super) pool: Arc<Pool>,
    pub(super) chunks: Chunked<Chunk>,
    /// The chunk that is appended to, or [`NO_CHUNK`].
    pub(super) tail: u32,
    /// How much the tail holds.
    pub(super) tail_bytes: usize,
    /// First free chunk, or [`NO_CHUNK`].
    pub(super) free: u32,
    /// Chunks in use.
    pub(super) live_count: u32,
    /// Bytes that were copied as tails grew, since that was last asked.
    pub(super) grown_bytes: usize,
    /// Where the search for the next victim goes on.
    pub(super) hand: u32,
    /// The chunk that compaction is emptying.
    pub(super) evacuation: Option<Evacuation>,
    /// Bytes of all entries and dead runs.
    pub(super) used_bytes: u64,
    /// Bytes of dead runs.
    pub(super) dead_bytes: u64,
    /// Bytes of all blocks.
    pub(super) block_bytes: u64,
    pub(super) charge: Charge,
    /// By chunk.
    pub(super) upkeep: Chunked<Upkeep>,
}

impl Address {
    pub(super) fn new(chunk: u32, place: usize) -> Address {
        debug_assert!(place < 1 << PLACE_BITS);
        Address((chunk << PLACE_BITS) | place as u32)
    }

    #[inline]
    pub(super) fn chunk(self) -> u32 {
        self.0 >> PLACE_BITS
    }

    #[inline]
    pub(super) fn place(self) -> usize {
        (self.0 & ((1 << PLACE_BITS) - 1)) as usize
    }
}

impl Arena {
    /// Bytes at its front that look-ups touch.
    pub(in super::super) const READ_BYTES: usize = offset_of!(Arena, tail);

    /// An empty arena; allocates nothing.
    pub(in super::super) fn new(pool: Arc<Pool>) -> Arena {
        let memory: Arc<MemoryAccount> = Arc::clone(pool.account());
        Arena {
            pool,
            chunks: Chunked::new(),
            tail: NO_CHUNK,
            tail_bytes: 0,
            free: NO_CHUNK,
            live_count: 0,
            grown_bytes: 0,
            hand: 0,
            evacuation: None,
            used_bytes: 0,
            dead_bytes: 0,
            block_bytes: 0,
            charge: Charge::empty(memory, MemoryKind::Arena),
            upkeep: Chunked::new(),
        }
    }

    /// Bytes taken from the allocator and the pool.
    pub(in super::super) fn charged_bytes(&self) -> u64 {
        self.charge.bytes() + self.block_bytes
    }

    /// Bytes of dead entries.
    pub(in super::super) fn dead_bytes(&self) -> u64 {
        self.dead_bytes
    }

    /// Whether more than one byte in `parts` is dead.
    pub(in super::super) fn is_wasteful(&self, parts: u64) -> bool {
        self.dead_bytes * parts > self.used_bytes
    }

    #[inline]
    pub(super) fn size_of(&self, chunk: u32) -> usize {
        self.chunks[chunk as usize].block.as_ref().map_or(0, Block::bytes)
    }

    /// How much of a chunk holds entries and dead runs: all of it, unless it is the tail.
    pub(super) fn filled_bytes(&self, chunk: u32) -> usize {
        if chunk == self.tail { self.tail_bytes } else { self.size_of(chunk) }
    }

    #[inline]
    pub(super) fn chunk_bytes(&self, chunk: &Chunk) -> &[u8] {
        self.pool.bytes(chunk.block.as_ref().expect("what names a chunk names one in use"))
    }

    pub(super) fn bytes_mut(&mut self, chunk: u32) -> &mut [u8] {
        let block = self.chunks[chunk as usize].block.as_mut();
        self.pool.bytes_mut(block.expect("what names a chunk names one in use"))
    }

    /// Opens chunks of class `most` for `bytes`, each naming the next, and gives the first; [`NO_CHUNK`] for no bytes. The last
    /// is no larger than it has to be.
    pub(super) fn open_chunks(
        &mut self,
        bytes: usize,
        most: Class,
        base: Version,
        limit: Limit,
    ) -> Result<u32, OutOfMemory> {
        let chunks_count = bytes.div_ceil(most.bytes());
        let mut class = Class::for_entries(bytes - chunks_count.saturating_sub(1) * most.bytes(), most);
        let mut first = NO_CHUNK;
        // From the last to the first, so that each knows the next.
        for _ in 0..chunks_count {
            match self.open_chunk(class, base, first, limit) {
                Ok(chunk) => (first, class) = (chunk, most),
                Err(refused) => {
                    while first != NO_CHUNK {
                        let next = self.chunks[first as usize].next;
                        self.free_chunk(first, 0);
                        first = next;
                    }
                    return Err(refused);
                }
            }
        }
        Ok(first)
    }

    fn open_chunk(
        &mut self,
        class: Class,
        base: Version,
        next: u32,
        limit: Limit,
    ) -> Result<u32, OutOfMemory> {
        if self.free == NO_CHUNK {
            if self.chunks.len() == CHUNKS_MAX - 1 {
                return Err(OutOfMemory);
            }
            self.chunks.reserve_one(&mut self.charge, limit)?;
            if let Err(refused) = self.upkeep.reserve_one(&mut self.charge, limit) {
                self.clear_if_unused();
                return Err(refused);
            }
        }
        let block = match self.pool.take(class, MemoryKind::Arena, limit) {
            Ok(block) => Some(block),
            Err(refused) => {
                self.clear_if_unused();
                return Err(refused);
            }
        };
        let chunk = Chunk { base, block, next };
        let upkeep = Upkeep { origin: NOWHERE, dead_bytes: 0 };
        self.live_count += 1;
        self.block_bytes += class.bytes() as u64;
        if self.free == NO_CHUNK {
            self.upkeep.push(upkeep);
            return Ok(self.chunks.push(chunk) as u32);
        }
        let index = self.free;
        self.free = self.chunks[index as usize].next;
        self.chunks[index as usize] = chunk;
        self.upkeep[index as usize] = upkeep;
        Ok(index)
    }

    /// Frees a chunk of which `filled` bytes were in use, all of them dead.
    pub(super) fn free_chunk(&mut self, index: u32, filled: usize) {
        self.upkeep[index as usize] = Upkeep { origin: NOWHERE, dead_bytes: 0 };
        let free = Chunk { base: Version(0), block: None, next: self.free };
        let chunk = std::mem::replace(&mut self.chunks[index as usize], free);
        let block = chunk.block.expect("only a chunk in use is freed");
        self.block_bytes -= block.class().bytes() as u64;
        self.pool.give_back(block, MemoryKind::Arena);
        self.free = index;
        self.live_count -= 1;
        self.used_bytes -= filled as u64;
        self.dead_bytes -= filled as u64;
        if self.tail == index {
            (self.tail, self.tail_bytes) = (NO_CHUNK, 0);
        }
        self.evacuation = self.evacuation.filter(|evacuation| evacuation.chunk != index);
        self.clear_if_unused();
    }

    fn clear_if_unused(&mut self) {
        if self.live_count == 0 {
            self.chunks.clear(&mut self.charge);
            self.upkeep.clear(&mut self.charge);
            (self.free, self.hand) = (NO_CHUNK, 0);
        }
    }

    /// Checks the invariants and calls `on_live` for each live entry. For tests.
    pub(in super::super) fn check_invariants(&self, mut on_live: impl FnMut(Address)) {
        let (mut used, mut dead, mut live_count, mut block_bytes) = (0, 0, 0, 0);
        for (index, (chunk, upkeep)) in self.chunks.iter().zip(self.upkeep.iter()).enumerate() {
            let Some(block) = &chunk.block else { continue };
            live_count += 1;
            block_bytes += block.class().bytes() as u64;
            let filled = self.filled_bytes(index as u32);
            let (mut place, mut chunk_dead) = (0, 0);
            let origin = upkeep.origin;
            if origin != NOWHERE {
                let extent = self.head_at(origin).1.extent_bytes();
                let mut parts = self.parts(origin, extent);
                place = loop {
                    let part = parts.take(self).expect("the origin of a chunk does not come to it");
                    if part.chunk == index as u32 {
                        break part.bytes;
                    }
                };
            }
            while place < filled {
                match self.with_window(chunk, place, Item::read) {
                    Item::Dead { bytes } => {
                        chunk_dead += bytes;
                        place += bytes;
                    }
                    Item::Live(head) => {
                        let evacuated =
                            self.evacuation.is_some_and(|at| at.chunk == index as u32 && place < at.place);
                        assert!(!evacuated, "an evacuation left a live entry behind");
                        let address = Address::new(index as u32, place);
                        let mut parts = self.parts(address, head.extent_bytes());
                        parts.take(self);
                        while let Some(part) = parts.take(self) {
                            let origin = self.upkeep[part.chunk as usize].origin;
                            assert_eq!(origin, address, "an origin is wrong");
                        }
                        on_live(address);
                        place += head.extent_bytes().min(block.class().bytes() - place);
                    }
                }
            }
            assert_eq!(place, filled, "entries do not fill a chunk");
            assert_eq!(chunk_dead, usize::from(upkeep.dead_bytes));
            assert!(chunk_dead < filled, "a chunk that is all dead was not freed");
            used += filled as u64;
            dead += chunk_dead as u64;
        }
        assert_eq!((used, dead, live_count), (self.used_bytes, self.dead_bytes, self.live_count));
        let price = self.chunks.price() + self.upkeep.price();
        assert_eq!((block_bytes, price), (self.block_bytes, self.charge.bytes()));
        assert_eq!(self.chunks.len(), self.upkeep.len());
        assert!(self.evacuation.is_none_or(|at| at.chunk != self.tail && self.size_of(at.chunk) > 0));
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for index in 0..self.chunks.len() {
            if let Some(block) = self.chunks[index].block.take() {
                self.pool.give_back(block, MemoryKind::Arena);
            }
        }
    }
}
