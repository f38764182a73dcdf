//! The store: hand-built hash tables over arenas of entries, one pair a partition. No sockets, no cluster, no
//! threads: whoever calls holds the partition's lock.

mod entry;
mod large;
pub mod limits;
mod partition;
mod scan;
mod usage;
mod value;

pub use large::LargeValue;
pub use partition::Partition;
pub use scan::{PageBounds, ScanItem, ScanStep};
pub use usage::{Maintained, PartitionUsage};
pub use value::{Found, NewValue, StoreError, StoredValue, Written, is_large};
