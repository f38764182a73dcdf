//! Is this key ours? The one place where a request meets the cluster map.

use dht_protocol::ids::{Epoch, PartitionId};
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::response::NotOwner;

use super::Dispatcher;
use super::hosted::Hosted;

impl Dispatcher {
    /// The partition of `hash`, if this node serves it and `epoch`, the asker's, is no older than the map that
    /// made it so.
    #[inline]
    pub(crate) fn route(&self, hash: KeyHash, epoch: Epoch) -> Result<&Hosted, NotOwner> {
        let partition = self.map().ring().partition_of(hash);
        self.serving(partition, epoch)
            .ok_or_else(|| NotOwner { partition, config: self.map().owners(hash).config })
    }

    /// Partition `partition`, if this node serves it and `epoch` is new enough; `None` also past the last one.
    #[inline]
    pub(crate) fn serving(&self, partition: PartitionId, epoch: Epoch) -> Option<&Hosted> {
        if epoch < self.map().epoch() {
            return None;
        }
        self.partitions().get(partition)
    }
}
