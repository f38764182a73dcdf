//! The partitions that this node serves: each a table and the outcomes of its recent writes, behind one lock.

use std::sync::TryLockError;

use dht_protocol::ids::PartitionId;

use super::held::Askable;
use crate::replication::dedup::Dedup;
use crate::store::Partition;
use crate::store::prefetch::prefetch_first;
use crate::sync::{AtomicU32, Mutex, MutexGuard, Ordering};

/// A partition behind its lock. There are thousands, so two workers seldom want the same one. It begins with a cache
/// line, so that it takes as few as it can.
#[repr(C, align(64))]
pub(crate) struct Hosted {
    inner: Mutex<HostedInner>,
    /// Threads that found the lock taken and do not have it yet. A hint, so relaxed.
    waiting_count: AtomicU32,
}

/// What the lock guards.
pub(crate) struct HostedInner {
    pub(crate) store: Partition,
    pub(crate) dedup: Dedup,
    /// Its writes when housekeeping last came by.
    pub(crate) writes_seen_count: u64,
}

/// All that are served here.
pub(crate) struct Partitions {
    /// By partition number: its place in `hosted`, or [`NOT_HERE`]. Apart from them, so that where a partition lies is known
    /// without touching it.
    places: Box<[u32]>,
    hosted: Box<[Hosted]>,
}

/// What the lock itself takes, at the front.
const LOCK_BYTES: usize = 8;
/// Bytes at the front of a partition that reads touch: the lock and, in the order of their fields, what leads to an entry.
const READ_BYTES: usize = LOCK_BYTES + Partition::READ_BYTES;
/// Stands for "not served here".
const NOT_HERE: u32 = u32::MAX;

impl Hosted {
    pub(crate) fn new(store: Partition) -> Hosted {
        let inner = HostedInner { store, dedup: Dedup::default(), writes_seen_count: 0 };
        Hosted { inner: Mutex::new(inner), waiting_count: AtomicU32::new(0) }
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

    /// Asks for its memory, all of it or what reads touch; a hint.
    #[inline]
    pub(crate) fn prefetch(&self, writes: bool) {
        prefetch_first(self, if writes { size_of::<Hosted>() } else { READ_BYTES });
    }
}

impl Askable for Hosted {
    type Guard<'a> = MutexGuard<'a, HostedInner>;

    #[inline]
    fn ask(&self) -> Option<MutexGuard<'_, HostedInner>> {
        self.inner.try_lock().ok()
    }
}

impl Partitions {
    /// The partitions `hosted`, by number; `None`: not served here.
    pub(crate) fn new(hosted: impl Iterator<Item = Option<Hosted>>) -> Partitions {
        let mut here = Vec::new();
        let place_of = |hosted: Option<Hosted>| match hosted {
            Some(hosted) => {
                here.push(hosted);
                here.len() as u32 - 1
            }
            None => NOT_HERE,
        };
        let places = hosted.map(place_of).collect();
        Partitions { places, hosted: here.into_boxed_slice() }
    }

    /// Partition `partition`, if it is served here; `None` also past the last one.
    #[inline]
    pub(crate) fn get(&self, partition: PartitionId) -> Option<&Hosted> {
        self.hosted.get(*self.places.get(partition.0 as usize)? as usize)
    }

    /// How many are served here.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.hosted.len()
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Hosted> {
        self.hosted.iter()
    }
}
#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, Instant};

    use dht_protocol::ids::Cfg;
    use dht_protocol::placement::hash::HashKey;
    use dht_protocol::placement::ring::Ring;

    use super::*;
    use crate::memory::MemoryAccount;
    use crate::store::Pool;

    fn hosted(number: u32) -> Hosted {
        let ring = Ring::new(16).unwrap();
        let pool = Pool::new(MemoryAccount::new(0));
        Hosted::new(Partition::new(
            PartitionId(number),
            ring,
            HashKey::GUESSABLE,
            Cfg::new(1),
            Arc::clone(&pool),
        ))
    }

    #[test]
    fn a_partition_is_found_by_its_number_where_it_is_served() {
        let partitions = Partitions::new((0..16).map(|number| (number % 3 == 1).then(|| hosted(number))));
        for number in 0..20 {
            let found = partitions.get(PartitionId(number)).map(|hosted| hosted.lock().store.id());
            let expected = (number < 16 && number % 3 == 1).then_some(PartitionId(number));
            assert_eq!(found, expected);
        }
        assert_eq!(partitions.count(), 5);
        assert!(partitions.iter().map(|hosted| hosted.lock().store.id().0).eq([1, 4, 7, 10, 13]));
    }

    /// What is asked for ahead of reads is what they touch: the lock and the fields that lead to an entry.
    #[test]
    fn reads_touch_the_front_of_a_partition() {
        let hosted = hosted(3);
        let start = (&raw const hosted).addr();
        assert_eq!(start % 64, 0);
        let store_at = (&raw const hosted.lock().store).addr() - start;
        assert_eq!(store_at, LOCK_BYTES);
    }

    #[test]
    fn a_lock_that_is_held_is_not_waited_for() {
        let hosted = hosted(3);
        let guard = hosted.lock();
        assert!(hosted.ask().is_none());
        drop(guard);
        assert!(hosted.ask().is_some());
    }

    #[test]
    fn who_holds_a_lock_sees_that_it_is_wanted() {
        let hosted = Arc::new(hosted(3));
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
