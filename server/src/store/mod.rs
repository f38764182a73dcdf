//! The store: hand-built hash tables over arenas of entries, one pair a partition. No sockets, no cluster, no
//! threads: whoever calls holds the partition's lock.
//!
//! ```text
//!   partition ─ table ─┬─ directory ─ leaf (tags and offsets; probe: eight tags at a time)
//!                      ├─ arena ─ entry
//!                      └─ large_list ─ large
//!   table's work: resize (leaves) · compact (segments) · scan          beneath all: heap, chunked, limits, allocator
//! ```

pub mod allocator;
mod arena;
mod chunked;
mod compact;
mod directory;
mod entry;
mod heap;
mod large;
mod large_list;
mod leaf;
pub mod limits;
mod partition;
mod prefetch;
mod probe;
mod resize;
mod scan;
mod table;
#[cfg(test)]
mod tests;
mod usage;
mod value;

pub use large::LargeValue;
pub use partition::Partition;
pub use scan::{PageBounds, ScanItem, ScanStep};
pub use usage::{Maintained, PartitionUsage};
pub use value::{Found, NewValue, StoreError, StoredValue, Written, is_large};
