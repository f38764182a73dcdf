//! The store: hand-built hash tables over arenas of entries, one pair a partition. No sockets, no cluster, no
//! threads: whoever calls holds the partition's lock.
//!
//! ```text
//!   partition ─ table ─┬─ directory ─ leaf ─ line (tags and offsets)
//!                      ├─ arena ─ entry, pieces
//!                      └─ large_list ─ large
//!   table's work: resize and rehash (leaves) · compact (chunks) · relocate (blocks) · scan; steps and cpu_times measure it
//!   beneath all: pool and pages (the memory of all partitions), bit_tree, zeroed, heap, chunked, prefetch, allocator, limits
//! ```

pub mod allocator;
mod arena;
mod bit_tree;
mod chunked;
mod compact;
mod cpu_times;
mod directory;
mod entry;
mod extents;
mod heap;
mod large;
mod large_list;
mod leaf;
pub mod limits;
mod line;
mod pages;
mod partition;
mod pieces;
mod pool;
pub(crate) mod prefetch;
mod probe;
mod rank;
mod rehash;
mod relocate;
mod replica_partition;
mod resize;
mod scan;
#[cfg(test)]
mod step_tests;
mod steps;
mod table;
mod tags;
#[cfg(test)]
mod tests;
mod usage;
mod value;
mod zeroed;

pub use cpu_times::CpuTimes;
pub use large::LargeValue;
pub use partition::Partition;
pub use pieces::Pieces;
pub use pool::Pool;
pub use probe::Probe;
pub use replica_partition::ReplicaPartition;
pub use scan::{PageBounds, ScanItem, ScanStep};
pub use steps::{Step, StepBooks, StepKind};
pub use usage::{Maintained, PartitionUsage};
pub use value::{Found, NewValue, StoreError, StoredValue, Written, is_large};
