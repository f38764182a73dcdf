//! The large values of a partition: a list of references, named by index from their entries in the arena.
//!
//! Invariants:
//! 1. A used place belongs to exactly one live entry.
//! 2. Free places form a list through themselves; the list gives everything back once no place is used.
//!
//! Giving it back looks at every place there is, under the partition's lock: as many as were used at once, of which each had
//! more than 32 KiB of value, or 64 of key and value: no more than 32,768 for each GiB of them in this partition.

use std::sync::Arc;

use super::chunked::Chunked;
use super::heap::Limit;
use super::large::LargeValue;
use crate::memory::{Charge, MemoryAccount, MemoryKind, OutOfMemory};

/// One place.
#[derive(Debug)]
enum Place {
    /// Holds a value.
    Used(Arc<LargeValue>),
    /// Holds none; names the next free place.
    Free(Option<u32>),
}

/// The list.
#[derive(Debug)]
pub(super) struct LargeList {
    places: Chunked<Place>,
    /// First free place.
    free: Option<u32>,
    /// Used places.
    used_count: u32,
    charge: Charge,
}

impl LargeList {
    /// An empty list; allocates nothing.
    pub(super) fn new(memory: Arc<MemoryAccount>) -> LargeList {
        let charge = Charge::empty(memory, MemoryKind::LargeValues);
        LargeList { places: Chunked::new(), free: None, used_count: 0, charge }
    }

    /// Makes sure that the next [`LargeList::insert`] needs no memory.
    ///
    /// # Errors
    /// [`OutOfMemory`]; nothing changed.
    pub(super) fn reserve_one(&mut self, limit: Limit) -> Result<(), OutOfMemory> {
        if self.free.is_some() {
            return Ok(());
        }
        if self.places.len() >= u32::MAX as usize {
            return Err(OutOfMemory);
        }
        self.places.reserve_one(&mut self.charge, limit)
    }

    /// Index that the next [`LargeList::insert`] will give its value.
    pub(super) fn next_index(&self) -> u32 {
        self.free.unwrap_or(self.places.len() as u32)
    }

    /// Keeps a value at [`LargeList::next_index`]. [`LargeList::reserve_one`] came before.
    pub(super) fn insert(&mut self, value: Arc<LargeValue>) {
        self.used_count += 1;
        let Some(index) = self.free else {
            self.places.push(Place::Used(value));
            return;
        };
        match std::mem::replace(&mut self.places[index as usize], Place::Used(value)) {
            Place::Free(next) => self.free = next,
            Place::Used(_) => unreachable!("the free list names free places"),
        }
    }

    /// The value at `index`.
    pub(super) fn get(&self, index: u32) -> &Arc<LargeValue> {
        match &self.places[index as usize] {
            Place::Used(value) => value,
            Place::Free(_) => unreachable!("a live entry names a used place"),
        }
    }

    /// Takes the value at `index` out.
    pub(super) fn remove(&mut self, index: u32) -> Arc<LargeValue> {
        let place = &mut self.places[index as usize];
        let Place::Used(value) = std::mem::replace(place, Place::Free(self.free)) else {
            unreachable!("a live entry names a used place");
        };
        self.free = Some(index);
        self.used_count -= 1;
        self.give_back_if_unused();
        value
    }

    /// Lets go of room that was reserved for nothing.
    pub(super) fn give_back_if_unused(&mut self) {
        if self.used_count == 0 {
            self.places.clear(&mut self.charge);
            self.free = None;
        }
    }

    /// Checks that `used` places are used and the rest is free and charged. For tests.
    pub(super) fn check_invariants(&self, used: usize) {
        let found = self.places.iter().filter(|place| matches!(place, Place::Used(_))).count();
        assert_eq!(
            (found, self.used_count as usize),
            (used, used),
            "a large value is lost or kept for nothing"
        );
        let mut free = (0, self.free);
        while let (count, Some(index)) = free {
            assert!(count < self.places.len(), "the free list is a ring");
            match &self.places[index as usize] {
                Place::Free(next) => free = (count + 1, *next),
                Place::Used(_) => panic!("the free list names a used place"),
            }
        }
        assert_eq!(free.0 + used, self.places.len());
        assert_eq!(self.charge.bytes(), self.places.price());
    }
}
