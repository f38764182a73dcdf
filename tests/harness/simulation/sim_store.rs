//! The coordinator's store: one map, which is durable only once it is synced. A crash before that leaves the old one or the
//! new one; a write may fail, or end without anybody knowing whether it did.

use std::sync::Arc;

use dht_protocol::ids::Epoch;
use dht_protocol::placement::replica_map::ReplicaMap;
use dht_server::cluster::coordinator::StoreOutcome;

use crate::random::Random;

/// The store.
#[derive(Default)]
pub(super) struct SimStore {
    durable: Option<Kept>,
    pending: Option<Kept>,
    /// Writes that fail, in a hundred; as many end ambiguously.
    pub(super) trouble: u64,
}

/// A map, and how it lies on the disk.
struct Kept {
    map: Arc<ReplicaMap>,
    bytes: Vec<u8>,
}

impl SimStore {
    /// Begins to write; `false`: something was being written, which must not be.
    pub(super) fn begin(&mut self, map: Arc<ReplicaMap>) -> bool {
        let mut bytes = Vec::new();
        map.encode(&mut bytes);
        self.pending.replace(Kept { map, bytes }).is_none()
    }

    /// The write comes to its end.
    pub(super) fn finish(&mut self, random: &mut Random) -> Option<StoreOutcome> {
        let pending = self.pending.take()?;
        if random.percent(self.trouble) {
            return Some(StoreOutcome::Failed);
        }
        if random.percent(self.trouble) {
            if random.percent(50) {
                self.durable = Some(pending);
            }
            return Some(StoreOutcome::Ambiguous);
        }
        self.durable = Some(pending);
        Some(StoreOutcome::Durable)
    }

    /// The process is gone; what it was writing is there or is not.
    pub(super) fn crash(&mut self, random: &mut Random) {
        if let Some(pending) = self.pending.take()
            && random.percent(50)
        {
            self.durable = Some(pending);
        }
    }

    /// What is durable.
    ///
    /// # Panics
    /// When it does not read back.
    pub(super) fn read(&self) -> Option<ReplicaMap> {
        self.durable.as_ref().map(|kept| ReplicaMap::decode(&kept.bytes).expect("a stored map reads back"))
    }

    /// The maps that may be the truth: what is durable, and what is being written.
    pub(super) fn possible(&self) -> impl Iterator<Item = &Arc<ReplicaMap>> {
        self.durable.iter().chain(&self.pending).map(|kept| &kept.map)
    }

    /// The epoch of what is durable; 0: nothing is.
    pub(super) fn durable_epoch(&self) -> Epoch {
        self.durable.as_ref().map_or(Epoch(0), |kept| kept.map.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dht_protocol::ids::ClusterId;
    use dht_protocol::placement::hash::HashKey;
    use dht_protocol::placement::replica_map::{OnLoss, Settings};
    use dht_protocol::placement::ring::Ring;

    fn map(epoch: u32) -> Arc<ReplicaMap> {
        Arc::new(ReplicaMap {
            cluster_id: ClusterId(1),
            epoch: Epoch(epoch),
            ring: Ring::new(16).unwrap(),
            hash_key: HashKey::GUESSABLE,
            settings: Settings { replicas: 1, min_in_sync: 1, on_loss: OnLoss::Wait, refill_delay_ms: 1 },
            nodes: Vec::new(),
            partitions: Vec::new(),
        })
    }

    #[test]
    fn what_was_not_synced_is_forgotten_or_not() {
        let mut random = Random::new(1);
        let mut survived = 0;
        for _ in 0..100 {
            let mut store = SimStore::default();
            assert!(store.begin(map(1)));
            assert_eq!(store.finish(&mut random), Some(StoreOutcome::Durable));
            assert!(store.begin(map(2)) && !store.begin(map(2)));
            assert_eq!((store.durable_epoch(), store.possible().count()), (Epoch(1), 2));
            store.crash(&mut random);
            assert_eq!(store.possible().count(), 1);
            survived += u32::from(store.durable_epoch() == Epoch(2));
        }
        assert!((20..80).contains(&survived), "{survived}");
    }

    #[test]
    fn a_store_in_trouble_fails_and_does_not_say() {
        let mut random = Random::new(2);
        let mut store = SimStore { trouble: 40, ..SimStore::default() };
        let (mut failed, mut ambiguous) = (0, 0);
        for epoch in 1..200 {
            let before = store.durable_epoch();
            store.begin(map(epoch));
            match store.finish(&mut random) {
                Some(StoreOutcome::Failed) => {
                    failed += 1;
                    assert_eq!(store.durable_epoch(), before);
                }
                Some(StoreOutcome::Ambiguous) => ambiguous += 1,
                outcome => {
                    assert_eq!((outcome, store.durable_epoch()), (Some(StoreOutcome::Durable), Epoch(epoch)));
                }
            }
        }
        assert!(failed > 40 && ambiguous > 20, "{failed} {ambiguous}");
    }
}
