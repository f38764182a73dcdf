//! Asking the processor to fetch memory before it is needed, so that the waits of a batch of look-ups overlap. A
//! hint: it changes no content and cannot fail.
//!
//! Measured when it was put in: GET of present keys, batches of 64 through the dispatcher, 2,000,000 entries in
//! 4,096 partitions, three runs in turn: 996 to 1,030 ns a request without, 451 to 494 ns with.

#![allow(unsafe_code)]

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Asks for the cache lines that hold the first `bytes_max` of `bytes`.
#[inline]
pub(super) fn prefetch(bytes: &[u8], bytes_max: usize) {
    for line in bytes[..bytes.len().min(bytes_max)].chunks(LINE_BYTES) {
        prefetch_address(line.as_ptr());
    }
}

/// Asks for the cache lines that hold the first `count` of `items`.
#[inline]
pub(crate) fn prefetch_items<T>(items: &[T], count: usize) {
    if let Some(first) = items.first() {
        prefetch_bytes_from(std::ptr::from_ref(first).cast(), items.len().min(count) * size_of::<T>());
    }
}

/// Asks for the cache lines that hold `item`.
#[inline]
pub(crate) fn prefetch_item<T>(item: &T) {
    prefetch_first(item, size_of::<T>());
}

/// Asks for the cache lines that hold the first `bytes` of `item`.
#[inline]
pub(crate) fn prefetch_first<T>(item: &T, bytes: usize) {
    prefetch_bytes_from(std::ptr::from_ref(item).cast(), bytes.min(size_of::<T>()));
}

#[inline]
fn prefetch_bytes_from(start: *const u8, bytes: usize) {
    let from_line = start.addr() % LINE_BYTES;
    for line in 0..(from_line + bytes).div_ceil(LINE_BYTES) {
        prefetch_address(start.wrapping_add(line * LINE_BYTES));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn prefetch_address(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing that the program can see and never faults, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn prefetch_address(_: *const u8) {}
