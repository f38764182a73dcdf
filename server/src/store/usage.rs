//! What a partition holds and what it has done, in numbers.

/// Numbers of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionUsage {
    /// Entries.
    pub entries: u64,
    /// Bytes of their keys.
    pub key_bytes: u64,
    /// Bytes of their values, large ones included.
    pub value_bytes: u64,
    /// Bytes taken for slots and the directory.
    pub table_bytes: u64,
    /// Bytes taken for segments, dead ones included.
    pub arena_bytes: u64,
    /// Bytes of dead entries within `arena_bytes`.
    pub dead_bytes: u64,
    /// Bytes of large values within `value_bytes`.
    pub large_bytes: u64,
    /// Steps by which leaves were built anew: grown, shrunk, split, merged.
    pub growth_steps: u64,
    /// Steps of compaction that came with writes.
    pub compaction_steps: u64,
    /// Steps of housekeeping: compaction, or blocks moved.
    pub maintenance_steps: u64,
}

/// What a step of maintenance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Entries moved.
    pub entries: usize,
    /// Bytes moved.
    pub bytes: usize,
    /// Whether another step would find work.
    pub more: bool,
}
