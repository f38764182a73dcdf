//! A partition that this node serves: its table and the outcomes of its recent writes, behind one lock.

use std::sync::TryLockError;

use crate::replication::dedup::Dedup;
use crate::store::Partition;
use crate::sync::{AtomicU32, Mutex, MutexGuard, Ordering};

/// A partition behind its lock. There are thousands, so two workers seldom want the same one.
pub(crate) struct Hosted {
    inner: Mutex<HostedInner>,
    /// Threads that found the lock taken and do not have it yet. A hint, so relaxed.
    waiting_count: AtomicU32,
}

/// What the lock guards.
pub(crate) struct HostedInner {
    pub(crate) store: Partition,
    pub(crate) dedup: Dedup,
}

impl Hosted {
    pub(crate) fn new(store: Partition) -> Hosted {
        let inner = Mutex::new(HostedInner { store, dedup: Dedup::default() });
        Hosted { inner, waiting_count: AtomicU32::new(0) }
    }

    /// Takes the lock. The holder makes no system call on purpose and takes only bounded steps.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, HostedInner> {
        match self.inner.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::WouldBlock) => self.wait(),
            Err(TryLockError::Poisoned(_)) => {
                unreachable!("a panic aborts the process, so no lock is ever poisoned")
            }
        }
    }

    #[cold]
    fn wait(&self) -> MutexGuard<'_, HostedInner> {
        self.waiting_count.fetch_add(1, Ordering::Relaxed);
        let guard = self.inner.lock().expect("a panic aborts the process, so no lock is ever poisoned");
        self.waiting_count.fetch_sub(1, Ordering::Relaxed);
        guard
    }

    /// Whether somebody waits for the lock. Who takes it again and again, with little in between, is to look: a lock that is let
    /// go wakes a waiter, but does not wait for it.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting_count.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, Instant};

    use dht_protocol::ids::{Cfg, PartitionId};
    use dht_protocol::placement::hash::HashKey;
    use dht_protocol::placement::ring::Ring;

    use super::*;
    use crate::memory::MemoryAccount;
    use crate::store::Pool;

    #[test]
    fn who_holds_a_lock_sees_that_it_is_wanted() {
        let ring = Ring::new(16).unwrap();
        let pool = Pool::new(MemoryAccount::new(0));
        let store = Partition::new(PartitionId(0), ring, HashKey::GUESSABLE, Cfg::new(1), pool);
        let hosted = Arc::new(Hosted::new(store));
        assert!(!hosted.is_wanted());
        let guard = hosted.lock();
        assert!(!hosted.is_wanted());
        let other = thread::spawn({
            let hosted = Arc::clone(&hosted);
            move || drop(hosted.lock())
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        while !hosted.is_wanted() {
            assert!(Instant::now() < deadline, "nobody was seen to wait");
            thread::yield_now();
        }
        drop(guard);
        other.join().unwrap();
        assert!(!hosted.is_wanted());
    }
}
