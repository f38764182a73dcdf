//! Locks, wakes and time, as all code uses them whose order between threads matters. `tests/interleavings` compiles
//! that code with a module of its own in this one's place, which chooses the order.
//!
//! Locking is without poison: no code of this crate leaves a locked state half changed when it panics.

use std::sync::PoisonError;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};
pub(crate) use std::thread::{Thread, current as current_thread, park_timeout};
pub(crate) use std::time::Instant;

/// Locks, whether or not another thread panicked under the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a notification until `deadline`; may also come back for no reason. `Err` once the time is up.
pub(crate) fn wait_until<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Instant,
) -> Result<MutexGuard<'a, T>, MutexGuard<'a, T>> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(guard);
    }
    Ok(condvar.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0)
}
