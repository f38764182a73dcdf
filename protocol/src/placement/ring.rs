//! The hash ring: 2^64 hashes cut into Q equal arcs, the partitions (virtual nodes). Q is a power of two chosen
//! when a cluster is created, so finding an arc is one shift; nodes come and go by taking over whole arcs.

use crate::cursor::Cursor;
use crate::ids::PartitionId;
use crate::limits::{PARTITIONS_LOG2_MAX, PARTITIONS_LOG2_MIN};
use crate::placement::hash::KeyHash;

/// The ring of a cluster: how many arcs it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    partitions_log2: u32,
}

impl Ring {
    /// A ring of `partitions` arcs; `None` unless that is a power of two from 16 to 65,536.
    #[must_use]
    pub const fn new(partitions: u32) -> Option<Ring> {
        if partitions.is_power_of_two() { Self::from_log2(partitions.trailing_zeros()) } else { None }
    }

    /// A ring of 2^`partitions_log2` arcs; `None` outside the limits.
    #[must_use]
    pub const fn from_log2(partitions_log2: u32) -> Option<Ring> {
        if partitions_log2 >= PARTITIONS_LOG2_MIN && partitions_log2 <= PARTITIONS_LOG2_MAX {
            Some(Ring { partitions_log2 })
        } else {
            None
        }
    }

    /// How many arcs there are.
    #[must_use]
    pub const fn partitions_count(self) -> u32 {
        1 << self.partitions_log2
    }

    /// The power of two of [`Ring::partitions_count`].
    #[must_use]
    pub const fn partitions_log2(self) -> u32 {
        self.partitions_log2
    }

    /// The arc on which `hash` lies.
    #[must_use]
    #[inline]
    pub const fn partition_of(self, hash: KeyHash) -> PartitionId {
        PartitionId((hash.0 >> (u64::BITS - self.partitions_log2)) as u32)
    }

    /// All arcs in order.
    pub fn partitions(self) -> impl ExactSizeIterator<Item = PartitionId> + Clone {
        (0..self.partitions_count()).map(PartitionId)
    }

    /// Where a scan of `partition` begins.
    #[must_use]
    pub const fn cursor_start(self, partition: PartitionId) -> Cursor {
        Cursor::partition_start(partition, self.partitions_log2)
    }

    /// Where a scan of `partition` ends.
    #[must_use]
    pub const fn cursor_end(self, partition: PartitionId) -> Cursor {
        Cursor::partition_end(partition, self.partitions_log2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arcs_are_equal_and_complete() {
        for log2 in PARTITIONS_LOG2_MIN..=PARTITIONS_LOG2_MAX {
            let ring = Ring::from_log2(log2).unwrap();
            assert_eq!(Ring::new(ring.partitions_count()), Some(ring));
            assert_eq!(ring.partition_of(KeyHash(0)), PartitionId(0));
            assert_eq!(ring.partition_of(KeyHash(u64::MAX)), PartitionId(ring.partitions_count() - 1));
            for partition in ring.partitions().take(40) {
                let first = ring.cursor_start(partition).first_hash().unwrap();
                assert_eq!(ring.partition_of(first), partition);
                if partition.0 > 0 {
                    assert_eq!(ring.partition_of(KeyHash(first.0 - 1)).0, partition.0 - 1);
                }
            }
        }
    }

    #[test]
    fn sizes_outside_the_limits_are_refused() {
        for partitions in [0, 1, 8, 17, 4_095, 131_072] {
            assert_eq!(Ring::new(partitions), None, "{partitions}");
        }
    }
}
