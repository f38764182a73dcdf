//! A list that grows without ever moving much: items sit in chunks, and only one chunk or the list of chunks moves
//! at a time. The first chunk is at hand without a detour, as most partitions need no other.
//!
//! ```text
//!   head │ 0 … 1,023 │        rest │ ● │ ● │ …
//!                                    └─▶ │ 1,024 … 2,047 │
//! ```
//!
//! Invariants:
//! 1. All chunks but the last are full; `rest` is empty unless `head` is full.
//! 2. What the list costs is charged to the account that every change is given.

use std::ops::{Index, IndexMut};

use super::heap::{self, Limit};
use super::limits::CHUNK_ITEMS;
use crate::memory::{Charge, OutOfMemory, allocated_bytes};

/// Smallest room of a chunk, in items.
const CHUNK_ITEMS_MIN: usize = 1;
/// Rooms by which the list of chunks grows.
const REST_GROWTH: usize = 16;

/// The list.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Chunked<T> {
    /// The first chunk.
    head: Vec<T>,
    /// The others. In a box, as most lists have none.
    #[expect(clippy::box_collection, reason = "a list that is empty takes a third of the room")]
    rest: Option<Box<Vec<Vec<T>>>>,
}

impl<T> Chunked<T> {
    /// What the box of `rest` costs.
    const REST_BOX_PRICE: u64 = allocated_bytes(size_of::<Vec<Vec<T>>>());

    /// An empty list; allocates nothing.
    pub(super) const fn new() -> Chunked<T> {
        Chunked { head: Vec::new(), rest: None }
    }

    /// Items.
    pub(super) fn len(&self) -> usize {
        match self.rest().last() {
            None => self.head.len(),
            Some(last) => self.rest().len() * CHUNK_ITEMS + last.len(),
        }
    }

    /// Makes sure that the next [`Chunked::push`] needs no memory. Cost: may move one chunk.
    ///
    /// # Errors
    /// [`OutOfMemory`] under [`Limit::Hold`] only; nothing changed.
    pub(super) fn reserve_one(&mut self, account: &mut Charge, limit: Limit) -> Result<(), OutOfMemory> {
        if self.last_mut().len() == CHUNK_ITEMS {
            if self.rest.is_none() {
                heap::charge(account, Self::REST_BOX_PRICE, limit)?;
            }
            let rest = self.rest.get_or_insert_default();
            if rest.len() == rest.capacity() {
                let capacity = rest.capacity() + REST_GROWTH;
                heap::grow(rest, capacity, account, limit)?;
            }
            let mut chunk = Vec::new();
            heap::grow(&mut chunk, CHUNK_ITEMS_MIN, account, limit)?;
            rest.push(chunk);
            return Ok(());
        }
        let last = self.last_mut();
        if last.len() == last.capacity() {
            let more = (last.len() / 8).max(CHUNK_ITEMS_MIN);
            let capacity = (last.len() + more).min(CHUNK_ITEMS);
            heap::grow(last, capacity, account, limit)?;
        }
        Ok(())
    }

    /// Adds an item and gives its index. [`Chunked::reserve_one`] came just before.
    pub(super) fn push(&mut self, item: T) -> usize {
        let index = self.len();
        let last = self.last_mut();
        debug_assert!(last.len() < last.capacity());
        last.push(item);
        index
    }

    /// Gives everything back.
    pub(super) fn clear(&mut self, account: &mut Charge) {
        account.shrink_by(self.price());
        *self = Chunked::new();
    }

    /// What the list costs, its items' own blocks apart.
    pub(super) fn price(&self) -> u64 {
        let rest = self.rest.as_ref().map_or(0, |rest| {
            let chunks: u64 = rest.iter().map(heap::price_of).sum();
            Self::REST_BOX_PRICE + heap::price_of(rest) + chunks
        });
        heap::price_of(&self.head) + rest
    }

    /// All items in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.head.iter().chain(self.rest().iter().flatten())
    }

    fn rest(&self) -> &[Vec<T>] {
        self.rest.as_deref().map_or(&[], Vec::as_slice)
    }

    /// The chunk that grows.
    fn last_mut(&mut self) -> &mut Vec<T> {
        self.rest.as_mut().and_then(|rest| rest.last_mut()).unwrap_or(&mut self.head)
    }
}

impl<T> Index<usize> for Chunked<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: usize) -> &T {
        if index < CHUNK_ITEMS {
            &self.head[index]
        } else {
            &self.rest()[index / CHUNK_ITEMS - 1][index % CHUNK_ITEMS]
        }
    }
}

impl<T> IndexMut<usize> for Chunked<T> {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut T {
        if index < CHUNK_ITEMS {
            &mut self.head[index]
        } else {
            let rest = self.rest.as_mut().expect("whoever has an index has its item");
            &mut rest[index / CHUNK_ITEMS - 1][index % CHUNK_ITEMS]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryAccount, MemoryKind};

    #[test]
    #[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
    fn items_stay_where_they_are() {
        let account = MemoryAccount::new(u64::MAX);
        let mut charge = Charge::empty(account.clone(), MemoryKind::Arena);
        let mut list = Chunked::new();
        for item in 0..5 * CHUNK_ITEMS {
            assert_eq!(list.len(), item);
            list.reserve_one(&mut charge, Limit::Hold).unwrap();
            list.reserve_one(&mut charge, Limit::Hold).unwrap();
            assert_eq!(list.push(item), item);
            assert_eq!(charge.bytes(), list.price());
        }
        assert!((0..list.len()).all(|item| list[item] == item));
        assert!(list.iter().copied().eq(0..list.len()));
        list[CHUNK_ITEMS] = 7;
        assert_eq!(list[CHUNK_ITEMS], 7);
        list.clear(&mut charge);
        assert_eq!((list.len(), account.used_bytes()), (0, 0));
    }

    #[test]
    fn a_refusal_changes_nothing() {
        let account = MemoryAccount::new(3_000);
        let mut charge = Charge::empty(account, MemoryKind::Arena);
        let mut list = Chunked::new();
        while list.reserve_one(&mut charge, Limit::Hold).is_ok() {
            list.push(1u64);
        }
        assert_eq!(charge.bytes(), list.price());
        list.reserve_one(&mut charge, Limit::Exceed).unwrap();
        assert_eq!(charge.bytes(), list.price());
    }
}
