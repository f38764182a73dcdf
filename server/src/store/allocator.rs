//! What the system's allocator is told, so that freed memory is the system's again: left to itself it keeps most of it
//! for as long as the process runs.
//!
//! Measured when it was put in (profile dev), resident memory of a daemon that holds nothing any more and had 6.5 MiB at
//! its start, without and with: after values of 16 MiB 54.6 and 6.9 MiB; after 64 connections had sent 16 MiB each under
//! a limit of 64 MiB 47.3 and 7.5 MiB, and 84.0 and 57.7 MiB at most; after 32 peers that took no answers had gone 22.9
//! and 7.7 MiB. It costs: a `PUT` of 1 MiB takes the daemon 1.2 ms of processor time where it took 0.4, for the system
//! clears pages again that it had already given. A look for free pages took 3 to 40 ms where 300,000 entries of 200
//! bytes had been removed.

#![allow(unsafe_code)]

use crate::memory::MAPPED_BYTES_MIN;

/// Blocks of `MAPPED_BYTES_MIN` and above come from the system one by one, and go back to it when they are freed, as
/// the account of memory takes them to. Left to itself, the allocator raises that bound with the first long block that
/// is freed, to as much as 32 MiB, and cuts later ones out of heaps that seldom shrink and have gaps. Call it before
/// anything is stored. Where the allocator is another one nothing happens.
pub fn keep_long_blocks_apart() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: mallopt takes two plain numbers and may be called at any time; it locks what it changes.
        let is_set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN as libc::c_int) } == 1;
        debug_assert!(is_set, "a bound of 1 MiB is within what the allocator takes");
    }
}

/// Gives the system the pages back that lie free between blocks in use. Cost: looks through everything free, and holds
/// up allocations meanwhile, heap by heap; not for use under a lock.
pub fn give_free_pages_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: malloc_trim touches free memory alone, under the allocator's own locks.
        unsafe { libc::malloc_trim(0) };
    }
}
