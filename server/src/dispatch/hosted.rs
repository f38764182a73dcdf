//! A partition that this node serves: its table and the outcomes of its recent writes, behind one lock.

use crate::replication::dedup::Dedup;
use crate::store::Partition;
use crate::sync::{Mutex, MutexGuard};

/// A partition behind its lock. There are thousands, so two workers seldom want the same one.
pub(crate) struct Hosted(Mutex<HostedInner>);

/// What the lock guards.
pub(crate) struct HostedInner {
    pub(crate) store: Partition,
    pub(crate) dedup: Dedup,
}

impl Hosted {
    pub(crate) fn new(store: Partition) -> Hosted {
        Hosted(Mutex::new(HostedInner { store, dedup: Dedup::default() }))
    }

    /// Takes the lock. The holder makes no system call on purpose and takes only bounded steps.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, HostedInner> {
        self.0.lock().expect("a panic aborts the process, so no lock is ever poisoned")
    }
}
