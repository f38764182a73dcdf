//! The store: hand-built hash tables over arenas of entries, one pair a partition. No sockets, no cluster, no
//! threads: whoever calls holds the partition's lock.
//!
//! ```text
//!   partition ─ table ─┬─ directory ─ leaf ─ line (tags and offsets)
//!                      ├─ arena ─ entry, pieces
//!                      └─ large_list ─ large
//!   table's work: resize and rehash (leaves) · compact (chunks) · scan
//!   beneath all: pool (the memory of all partitions), bit_tree, zeroed, heap, chunked, prefetch, allocator, limits
//! ```

pub mod allocator;
mod arena;
mod bit_tree;
mod chunked;
mod compact;
mod directory;
mod entry;
mod heap;
mod large;
mod large_list;
mod leaf;
pub mod limits;
mod line;
mod partition;
mod pieces;
mod pool;
mod prefetch;
mod rehash;
mod resize;
mod scan;
mod table;
#[cfg(test)]
mod tests;
mod usage;
mod value;
mod zeroed;

pub use large::LargeValue;
pub use partition::Partition;
pub use pieces::Pieces;
pub use pool::Pool;
pub use scan::{PageBounds, ScanItem, ScanStep};
pub use usage::{Maintained, PartitionUsage};
pub use value::{Found, NewValue, StoreError, StoredValue, Written, is_large};
