//! The client's copy of the cluster map: a snapshot that calls take, replaced by newer ones only.

use std::sync::Arc;

use dht_protocol::ids::Epoch;
use dht_protocol::placement::map::ClusterMap;

use crate::sync::{Condvar, Instant, Mutex, RwLock, RwLockReadGuard, lock, wait_until};

/// Holds the map. Invariants:
/// 1. The epoch only rises.
/// 2. The cluster id never changes.
/// 3. One caller at a time fetches; whoever wants a newer map meanwhile waits for it. A fetch that began after a caller
///    came speaks for that caller, too, also when it brings nothing. So a caller waits for two fetches at most, however
///    many callers there are.
#[derive(Debug)]
pub(crate) struct Router {
    map: RwLock<Arc<ClusterMap>>,
    fetches: Mutex<Fetches>,
    fetched: Condvar,
}

#[derive(Debug, Default)]
struct Fetches {
    under_way: bool,
    begun_count: u64,
}

impl Router {
    pub(crate) fn new(map: ClusterMap) -> Router {
        Router { map: RwLock::new(Arc::new(map)), fetches: Mutex::default(), fetched: Condvar::new() }
    }

    /// Today's map.
    pub(crate) fn map(&self) -> Arc<ClusterMap> {
        Arc::clone(&self.read())
    }

    /// Takes `map` if it is newer and of the same cluster; answers whether it was taken.
    pub(crate) fn offer(&self, map: ClusterMap) -> bool {
        let mut held = self.map.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let newer = map.cluster_id() == held.cluster_id() && map.epoch() > held.epoch();
        if newer {
            *held = Arc::new(map);
        }
        newer
    }

    /// Gets a map newer than `seen`, by `fetch` unless another caller is at it. Answers whether there is one.
    pub(crate) fn refresh(
        &self,
        seen: Epoch,
        deadline: Instant,
        fetch: impl FnOnce() -> Option<ClusterMap>,
    ) -> bool {
        let mut fetches = lock(&self.fetches);
        let begun_before = fetches.begun_count;
        // Later ones than the first that speaks for this caller are not its to wait for.
        while fetches.under_way && fetches.begun_count <= begun_before + 1 {
            match wait_until(&self.fetched, fetches, deadline) {
                Ok(guard) => fetches = guard,
                Err(_) => return self.is_newer_than(seen),
            }
        }
        if self.is_newer_than(seen) {
            return true;
        }
        if fetches.begun_count != begun_before {
            // Somebody has fetched for all who waited.
            return false;
        }
        *fetches = Fetches { under_way: true, begun_count: begun_before + 1 };
        drop(fetches);
        if let Some(map) = fetch() {
            self.offer(map);
        }
        lock(&self.fetches).under_way = false;
        self.fetched.notify_all();
        self.is_newer_than(seen)
    }

    fn is_newer_than(&self, seen: Epoch) -> bool {
        self.read().epoch() > seen
    }

    fn read(&self) -> RwLockReadGuard<'_, Arc<ClusterMap>> {
        self.map.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Duration;

    use dht_protocol::ids::ClusterId;

    use super::*;
    use crate::testing::map_of;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn older_maps_and_other_clusters_are_refused() {
        let router = Router::new(map_of(ClusterId(1), 5, &["a:1"]));
        assert!(!router.offer(map_of(ClusterId(1), 5, &["b:1"])));
        assert!(!router.offer(map_of(ClusterId(1), 4, &["b:1"])));
        assert!(!router.offer(map_of(ClusterId(2), 6, &["b:1"])));
        assert_eq!(router.map().nodes()[0].address, "a:1");
        assert!(router.offer(map_of(ClusterId(1), 6, &["b:1"])));
        assert_eq!(router.map().nodes()[0].address, "b:1");
    }

    #[test]
    fn many_callers_that_want_a_newer_map_fetch_it_once() {
        let router = Router::new(map_of(ClusterId(1), 1, &["a:1"]));
        let fetches = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    assert!(router.refresh(Epoch(1), soon(), || {
                        fetches.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(20));
                        Some(map_of(ClusterId(1), 2, &["a:1"]))
                    }));
                });
            }
        });
        assert_eq!(fetches.into_inner(), 1);
    }

    #[test]
    fn many_callers_share_a_fetch_that_brings_nothing() {
        const CALLERS: u32 = 32;
        let router = Router::new(map_of(ClusterId(1), 1, &["a:1"]));
        let (came, fetches) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    came.fetch_add(1, Ordering::SeqCst);
                    assert!(!router.refresh(Epoch(1), soon(), || {
                        fetches.fetch_add(1, Ordering::SeqCst);
                        while came.load(Ordering::SeqCst) < CALLERS {
                            thread::yield_now();
                        }
                        None
                    }));
                });
            }
        });
        // One for the first, one for those who came during it; those who were slow to come may have had their own.
        assert!(fetches.into_inner() < CALLERS / 2);
    }

    #[test]
    fn a_fetch_that_fails_leaves_the_map_and_the_next_one_free() {
        let router = Router::new(map_of(ClusterId(1), 1, &["a:1"]));
        assert!(!router.refresh(Epoch(1), soon(), || None));
        assert!(!router.refresh(Epoch(1), soon(), || Some(map_of(ClusterId(1), 1, &["a:1"]))));
        assert!(router.refresh(Epoch(1), soon(), || Some(map_of(ClusterId(1), 2, &["a:1"]))));
    }
}
