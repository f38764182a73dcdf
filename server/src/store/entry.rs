//! Entries.

/// stub
pub(super) const fn inline_extent_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    24 + key_bytes + value_bytes
}
