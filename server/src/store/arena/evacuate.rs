//! Emptying a chunk: which one, and how far. The moving itself is the table's, which knows the slots.

use super::super::entry::{Head, Item};
use super::super::limits::{DEAD_PARTS_CHUNK, GROWTH_BYTES_MAX, GROWTH_ENTRY_BYTES_MAX, VICTIM_WINDOW};
use super::super::prefetch::prefetch;
use super::super::relocate::MoveBudget;
use super::chunks::{Address, Arena, NOWHERE};
use crate::memory::MemoryKind;

/// A chunk under evacuation, and how far it has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evacuation {
    /// Which chunk.
    pub(super) chunk: u32,
    /// All before this place is dead, once the chunk has no origin.
    pub(super) place: usize,
}

/// Bytes of a chunk that are asked for when its evacuation begins; the processor sees by itself that the rest follows.
const PREFETCH_BYTES: usize = 1 << 10;

/// Entries that are moved together.
pub(in super::super) const EVACUATION_BATCH_ENTRIES: usize = 16;

/// How much a batch may take.
pub(in super::super) struct BatchBounds {
    /// Entries and dead runs looked at.
    pub(in super::super) items_max: usize,
    /// Bytes of keys and values, unless it is only one.
    pub(in super::super) bytes_max: usize,
    /// Bytes of the first one, and of what is copied if the tail grows for it.
    pub(in super::super) first_bytes_max: usize,
}

/// Entries to be moved out of the chunk under evacuation.
pub(in super::super) struct Batch {
    pub(in super::super) addresses: [Address; EVACUATION_BATCH_ENTRIES],
    /// How many there are.
    pub(in super::super) count: usize,
    /// Bytes of their keys and values in all.
    pub(in super::super) bytes: usize,
    /// Entries and dead runs looked at.
    pub(in super::super) items: usize,
}

impl Batch {
    /// Adds an entry if it fits.
    fn push(&mut self, address: Address, head: &Head, bounds: &BatchBounds) -> bool {
        let fits = if self.count == 0 {
            let may_grow = head.extent_bytes() <= GROWTH_ENTRY_BYTES_MAX;
            head.copied_bytes() + if may_grow { GROWTH_BYTES_MAX } else { 0 } <= bounds.first_bytes_max
        } else {
            self.count < EVACUATION_BATCH_ENTRIES && self.bytes + head.copied_bytes() <= bounds.bytes_max
        };
        if fits {
            self.addresses[self.count] = address;
            self.count += 1;
            self.items += 1;
            self.bytes += head.copied_bytes();
        }
        fits
    }
}

impl Arena {
    /// Whether a chunk is being evacuated.
    pub(in super::super) fn is_evacuating(&self) -> bool {
        self.evacuation.is_some()
    }

    /// Chooses the chunk with the largest dead part among the next few, and begins to evacuate it. A chunk
    /// qualifies when more than one byte in `DEAD_PARTS_CHUNK` is dead. Says whether it found one; a later call
    /// looks further.
    pub(in super::super) fn begin_evacuation(&mut self) -> bool {
        debug_assert!(self.evacuation.is_none());
        let count = self.chunks.len();
        let mut best: Option<(u32, u64, u64)> = None;
        for _ in 0..count.min(VICTIM_WINDOW) {
            self.hand = if self.hand as usize + 1 >= count { 0 } else { self.hand + 1 };
            let dead = u64::from(self.upkeep[self.hand as usize].dead_bytes);
            if dead == 0 {
                continue;
            }
            let length = self.filled_bytes(self.hand) as u64;
            if dead * DEAD_PARTS_CHUNK <= length {
                continue;
            }
            if best.is_none_or(|(_, best_dead, best_length)| dead * best_length > best_dead * length) {
                best = Some((self.hand, dead, length));
            }
        }
        let Some((chunk, ..)) = best else { return false };
        if self.tail == chunk {
            self.seal_tail();
        }
        self.evacuation = Some(Evacuation { chunk, place: 0 });
        prefetch(self.chunk_bytes(&self.chunks[chunk as usize]), PREFETCH_BYTES);
        true
    }

    /// The entries that the evacuation has to move next. It goes on behind them.
    pub(in super::super) fn next_to_evacuate(&mut self, bounds: &BatchBounds) -> Batch {
        let mut batch =
            Batch { addresses: [NOWHERE; EVACUATION_BATCH_ENTRIES], count: 0, bytes: 0, items: 0 };
        let Some(Evacuation { chunk, mut place }) = self.evacuation else { return batch };
        let origin = self.upkeep[chunk as usize].origin;
        if origin != NOWHERE {
            if bounds.items_max > 0 {
                batch.push(origin, &self.head_at(origin).1, bounds);
            }
            return batch;
        }
        let size = self.size_of(chunk);
        while batch.items < bounds.items_max && place < size {
            match self.with_window(&self.chunks[chunk as usize], place, Item::read) {
                Item::Live(head) => {
                    if !batch.push(Address::new(chunk, place), &head, bounds) {
                        break;
                    }
                    place += head.extent_bytes();
                }
                Item::Dead { bytes } => {
                    place += bytes;
                    batch.items += 1;
                }
            }
        }
        self.evacuation = Some(Evacuation { chunk, place });
        batch
    }

    /// Makes the evacuation go on at `address`, as what was to be moved from there on was not.
    pub(in super::super) fn go_back_to(&mut self, address: Address) {
        if let Some(evacuation) = self.evacuation.as_mut().filter(|at| at.chunk == address.chunk()) {
            evacuation.place = address.place();
        }
    }

    /// Moves chunks to lower places of the pool, those that it asks for, from the `from`th on and as far as `budget` goes; says
    /// where to go on, unless it is through.
    pub(in super::super) fn relocate(&mut self, from: u32, budget: &mut MoveBudget) -> Option<u32> {
        for index in from as usize..self.chunks.len() {
            if !budget.allows(1) {
                return Some(index as u32);
            }
            match &mut self.chunks[index].block {
                Some(block) => self.pool.relocate(block, MemoryKind::Arena, budget),
                None => budget.on_look(),
            }
        }
        None
    }
}
