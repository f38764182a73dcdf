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
