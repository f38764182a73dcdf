//! Locks, wakes and atomics, as all code uses them whose order between threads matters. `tests/interleavings` compiles that
//! code with a module of its own in this one's place, which chooses the order.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
