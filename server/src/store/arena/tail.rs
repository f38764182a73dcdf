//! The chunk that is appended to: how much room it has, how it grows, how it is closed.
//!
//! An arena of many large chunks has few of them, which all have to be known by name (22 bytes each); but the last one is half
//! empty on average. So a chunk begins small and is moved to a larger block each time it is full, until it has the size that
//! suits the arena. What that copies is at most three quarters of what was appended.

use dht_protocol::ids::Version;

use super::super::heap::Limit;
use super::super::limits::{
    CHUNK_ENTRIES_MIN, CHUNK2_ARENA_BYTES_MIN, CHUNK4_ARENA_BYTES_MIN, GROWTH_BYTES_MAX,
    GROWTH_ENTRY_BYTES_MAX, LONG_ENTRIES_ARENA_BYTES_MIN,
};
use super::super::pool::Class;
use super::chunks::{Arena, Chunk, NO_CHUNK};
use super::write::Part;
use crate::memory::MemoryKind;

// A tail that grows to the largest size was at most this long.
const _: () = assert!(Class::Chunk2.bytes() == GROWTH_BYTES_MAX);

impl Arena {
    /// The tail, and the room behind its last entry.
    #[inline]
    pub(super) fn tail_room(&self) -> Option<(&Chunk, usize)> {
        let chunk = (self.tail != NO_CHUNK).then(|| &self.chunks[self.tail as usize])?;
        Some((chunk, self.chunk_bytes(chunk).len() - self.tail_bytes))
    }

    /// To what size chunks grow, for entries of `entry_bytes`.
    pub(super) fn class(&self, entry_bytes: usize) -> Class {
        let by_entries = match self.used_bytes {
            ..LONG_ENTRIES_ARENA_BYTES_MIN => Class::Chunk1,
            _ => Class::for_entries(CHUNK_ENTRIES_MIN * entry_bytes, Class::Chunk4),
        };
        let by_arena = match self.used_bytes {
            ..CHUNK2_ARENA_BYTES_MIN => Class::Chunk1,
            CHUNK2_ARENA_BYTES_MIN..CHUNK4_ARENA_BYTES_MIN => Class::Chunk2,
            CHUNK4_ARENA_BYTES_MIN.. => Class::Chunk4,
        };
        by_entries.max(by_arena)
    }

    /// What the version of the next entry is a difference to, if that goes to the tail, which may have to grow for it
    /// as far as class `most`.
    pub(super) fn tail_base(&self, most: Class) -> Option<Version> {
        let (chunk, room) = self.tail_room()?;
        let may_begin_here = room > 0 || self.size_of(self.tail) < most.bytes();
        may_begin_here.then_some(chunk.base)
    }

    /// Moves the tail to a larger block if it has no room for `extent` bytes more and chunks of up to class `most` are due. Without memory, and
    /// for a long entry, it is left as it is.
    pub(super) fn grow_tail(&mut self, extent: usize, most: Class, limit: Limit) {
        let Some((_, room)) = self.tail_room() else { return };
        if extent <= room || extent > GROWTH_ENTRY_BYTES_MAX {
            return;
        }
        let size = self.size_of(self.tail);
        let class = Class::for_entries(self.tail_bytes + extent, most);
        if class.bytes() <= size {
            return;
        }
        let Ok(mut block) = self.pool.take(class, MemoryKind::Arena, limit) else { return };
        let filled = self.tail_bytes;
        let chunk = &mut self.chunks[self.tail as usize];
        let old = chunk.block.as_mut().expect("the tail is in use");
        self.pool.bytes_mut(&mut block)[..filled].copy_from_slice(&self.pool.bytes(old)[..filled]);
        self.pool.give_back(std::mem::replace(old, block), MemoryKind::Arena);
        self.block_bytes += (class.bytes() - size) as u64;
        self.grown_bytes += filled;
    }

    /// Bytes that were copied as tails grew, since the last call.
    pub(in super::super) fn take_grown_bytes(&mut self) -> usize {
        std::mem::take(&mut self.grown_bytes)
    }

    /// Declares the tail's room dead; there is no tail then.
    pub(super) fn seal_tail(&mut self) {
        let (tail, place) = (self.tail, self.tail_bytes);
        let bytes = self.size_of(tail) - place;
        (self.tail, self.tail_bytes) = (NO_CHUNK, 0);
        self.used_bytes += bytes as u64;
        self.kill_part(Part { chunk: tail, place, bytes }, false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dht_protocol::placement::hash::KeyHash;
    use dht_protocol::value::ValueType;

    use super::super::super::entry::{Body, Entry};
    use super::super::super::pool::{PAGE_BYTES, Pool};
    use super::super::chunks::Address;
    use super::*;
    use crate::memory::MemoryAccount;

    const VALUE: [u8; 6_000] = [7; 6_000];

    /// Entries of `value_bytes` with versions one after the other, in an arena with so much memory.
    struct Row {
        arena: Arena,
        addresses: Vec<Address>,
        value_bytes: usize,
    }

    impl Row {
        fn new(memory: &Arc<MemoryAccount>, value_bytes: usize) -> Row {
            let arena = Arena::new(Pool::new(Arc::clone(memory)));
            Row { arena, addresses: Vec::new(), value_bytes }
        }

        fn version(number: usize) -> Version {
            Version((1 << 40) + number as u64 + 1)
        }

        fn push(&mut self) -> bool {
            let entry = Entry {
                version: Row::version(self.addresses.len()),
                value_type: ValueType::BYTES,
                key: b"key",
                body: Body::Inline(&VALUE[..self.value_bytes]),
            };
            let appended = self.arena.append(&entry, KeyHash(0), 1, Limit::Hold);
            self.addresses.extend(appended);
            appended.is_ok()
        }

        fn check(&self) {
            let mut live_count = 0;
            self.arena.check_invariants(|_| live_count += 1);
            assert_eq!(live_count, self.addresses.len());
            for (number, &address) in self.addresses.iter().enumerate() {
                let view = self.arena.view(address);
                assert_eq!((view.version, view.body.len()), (Row::version(number), self.value_bytes));
            }
        }
    }

    /// A full tail that grows keeps its base; a version written as a difference to that of the chunk that would have come
    /// otherwise read back as another one.
    #[test]
    #[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
    fn entries_that_fill_chunks_to_the_last_byte_keep_their_versions() {
        for value_bytes in [2, 10, 26, 58, 122, 250] {
            let memory = MemoryAccount::new(u64::MAX);
            let mut row = Row::new(&memory, value_bytes);
            let entry_bytes = 6 + value_bytes + usize::from(value_bytes > 112);
            let pushed = 10 * CHUNK4_ARENA_BYTES_MIN as usize / entry_bytes;
            assert!((0..pushed).all(|_| row.push()));
            row.check();
            let chunks = row.addresses.last().unwrap().chunk();
            let least = 10 * CHUNK4_ARENA_BYTES_MIN as usize / PAGE_BYTES;
            assert!(chunks as usize <= least + least / 3, "{chunks} chunks for {least} pages");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
    fn no_more_than_half_of_a_tail_is_empty_past_its_smallest_size() {
        let memory = MemoryAccount::new(u64::MAX);
        for value_bytes in [20, 200, 900, 2_000, 6_000] {
            let mut row = Row::new(&memory, value_bytes);
            let mut live = 0;
            while live < 20 * CHUNK4_ARENA_BYTES_MIN as usize {
                assert!(row.push());
                live += 3 + value_bytes;
                let (_, room) = row.arena.tail_room().unwrap();
                let size = row.arena.size_of(row.arena.tail);
                assert!(size == Class::Chunk1.bytes() || 2 * room <= size, "{room} of {size} bytes");
            }
            row.check();
        }
    }

    #[test]
    fn a_tail_that_cannot_grow_is_left_and_the_next_chunk_taken() {
        let memory = MemoryAccount::new(64 << 10);
        let mut row = Row::new(&memory, 200);
        // All memory is taken but for 1 KiB blocks of one page that is already there.
        while row.arena.class(200) == Class::Chunk1 {
            assert!(row.push());
        }
        memory.set_limit_bytes(memory.used_bytes());
        let pushed_before = row.addresses.len();
        while row.push() {}
        row.check();
        assert!(row.addresses.len() > pushed_before, "blocks of the smallest size were left over");
        memory.set_limit_bytes(u64::MAX);
        assert!((0..1_000).all(|_| row.push()));
        row.check();
    }
}
