//! A cursor: how far a scan has come, as a bound on hashes.
//!
//! A page holds exactly the entries whose hash lies in [cursor, next), wherever the table has put them, so a
//! cursor needs no state on the server and stays good while tables grow, shrink, compact or move. It is the top
//! 53 bits of a hash (what a double holds exactly, for clients in languages with no other number); the
//! partition's bits are among them. Keys that share those 53 bits share a page.

use crate::ids::PartitionId;
use crate::placement::hash::KeyHash;

/// Bits of a cursor.
pub const CURSOR_BITS: u32 = 53;

/// A bound on hashes: 0..=2^53. The upper end itself stands for "past the last hash".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(u64);

impl Cursor {
    /// Before the first hash.
    pub const START: Cursor = Cursor(0);
    /// Past the last hash.
    pub const END: Cursor = Cursor(1 << CURSOR_BITS);

    /// A cursor from its number; `None` past [`Cursor::END`].
    #[must_use]
    pub const fn new(number: u64) -> Option<Cursor> {
        if number <= Self::END.0 { Some(Cursor(number)) } else { None }
    }

    /// The number that travels.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The cursor at which the entries of `hash` come.
    #[must_use]
    pub const fn of_hash(hash: KeyHash) -> Cursor {
        Cursor(hash.0 >> (u64::BITS - CURSOR_BITS))
    }

    /// The next cursor. Stays at [`Cursor::END`].
    #[must_use]
    pub const fn next(self) -> Cursor {
        if self.0 < Self::END.0 { Cursor(self.0 + 1) } else { self }
    }

    /// The lowest hash at or past this cursor; `None` at [`Cursor::END`].
    #[must_use]
    pub const fn first_hash(self) -> Option<KeyHash> {
        if self.0 < Self::END.0 { Some(KeyHash(self.0 << (u64::BITS - CURSOR_BITS))) } else { None }
    }

    /// Where partition `partition` of 2^`partitions_log2` begins. A number that a peer sent must be below
    /// 2^`partitions_log2`: check it first.
    #[must_use]
    pub const fn partition_start(partition: PartitionId, partitions_log2: u32) -> Cursor {
        Cursor((partition.0 as u64) << (CURSOR_BITS - partitions_log2))
    }

    /// Where partition `partition` of 2^`partitions_log2` ends: the start of the next one.
    #[must_use]
    pub const fn partition_end(partition: PartitionId, partitions_log2: u32) -> Cursor {
        Cursor((partition.0 as u64 + 1) << (CURSOR_BITS - partitions_log2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_tile_the_ring() {
        for log2 in [4, 12, 16] {
            let last = PartitionId((1 << log2) - 1);
            assert_eq!(Cursor::partition_start(PartitionId(0), log2), Cursor::START);
            assert_eq!(Cursor::partition_end(last, log2), Cursor::END);
            assert_eq!(
                Cursor::partition_end(PartitionId(3), log2),
                Cursor::partition_start(PartitionId(4), log2)
            );
        }
    }

    #[test]
    fn a_hash_lies_in_its_own_step() {
        for hash in [0, 1, 2047, 2048, 0x1234_5678_9ABC_DEF0, u64::MAX].map(KeyHash) {
            let cursor = Cursor::of_hash(hash);
            assert!(cursor.first_hash().is_some_and(|first| first <= hash));
            assert!(cursor.next().first_hash().is_none_or(|next| hash < next));
        }
        assert_eq!(Cursor::END.first_hash(), None);
        assert_eq!(Cursor::END.next(), Cursor::END);
        assert_eq!(Cursor::new(Cursor::END.get()), Some(Cursor::END));
        assert_eq!(Cursor::new(Cursor::END.get() + 1), None);
    }
}
