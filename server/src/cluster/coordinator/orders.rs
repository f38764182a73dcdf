//! What people ask of the coordinator, and what it tells them.

use std::sync::Arc;

use dht_protocol::ids::{NodeId, PartitionId};
use dht_protocol::peer::FromCoordinator;
use dht_protocol::placement::replica_map::{Configuration, ReplicaMap};

use crate::clock::Time;

use super::machine::Coordinator;
use super::terms::{Loss, OrderError, Shortfall, ShortfallReason};

impl Coordinator {
    /// Asks the primary of `partition` to hand over to the replica on `target` when it can.
    ///
    /// # Errors
    /// When there is no map, or the node could not take over.
    pub fn order_move(
        &mut self,
        _now: Time,
        partition: PartitionId,
        target: NodeId,
    ) -> Result<(), OrderError> {
        let map = self.map_for_order()?;
        let configuration = map.partition(partition).ok_or(OrderError::UnknownPartition(partition))?;
        let to = configuration.primary;
        let member = configuration.backups.iter().copied().find(|backup| backup.node == target);
        let member = member.ok_or(OrderError::NoBackup(target))?;
        let cfg = configuration.cfg;
        self.send(&map, to, FromCoordinator::Move { to, partition, cfg, target: member });
        Ok(())
    }

    /// Takes the statement that replicas are lost for good: at the next edit the partitions begin again, empty.
    ///
    /// # Errors
    /// When one of those replicas may be alive, or nothing is lost.
    pub fn accept_loss(&mut self, now: Time, loss: Loss) -> Result<(), OrderError> {
        let map = self.map_for_order()?;
        if !self.detector.standings(&map, now).iter().any(|node| node.live) {
            return Err(OrderError::NoLiveNode);
        }
        let mut lost = Vec::new();
        for (partition, configuration) in map.ring.partitions().zip(&map.partitions) {
            if is_about(loss, partition, configuration) {
                match configuration
                    .in_sync()
                    .find(|member| self.detector.may_be_alive(member.incarnation, now))
                {
                    None => lost.push((partition, configuration.cfg)),
                    // Of all of them, those that are lost.
                    Some(_) if loss == Loss::All => {}
                    Some(member) => return Err(OrderError::StillHeard(member)),
                }
            }
        }
        match loss {
            Loss::Partition(partition) if map.partition(partition).is_none() => {
                return Err(OrderError::UnknownPartition(partition));
            }
            Loss::Node(node) if map.node(node).is_none() => return Err(OrderError::UnknownNode(node)),
            _ if lost.is_empty() => return Err(OrderError::NothingLost),
            Loss::Partition(_) | Loss::Node(_) | Loss::All => {}
        }
        lost.into_iter().for_each(|(partition, cfg)| self.upkeep.state_loss(partition, cfg));
        Ok(())
    }

    fn map_for_order(&self) -> Result<Arc<ReplicaMap>, OrderError> {
        if self.halted().is_some() {
            return Err(OrderError::Halted);
        }
        self.map().map(Arc::clone).ok_or(OrderError::NoMap)
    }

    /// Which partitions have fewer replicas in sync than they should, and why.
    #[must_use]
    pub fn shortfalls(&self, now: Time) -> Vec<Shortfall> {
        let Some(map) = self.map() else { return Vec::new() };
        let standings = self.detector.standings(map, now);
        let wanted = usize::from(map.settings.replicas);
        let shortfall = |(partition, configuration): (PartitionId, &Configuration)| {
            let in_sync = configuration.in_sync().count();
            let is_lost = configuration.in_sync().all(|member| standings.is_silent(member));
            let reason = match (is_lost, configuration.joining.is_empty()) {
                (true, _) => ShortfallReason::Lost,
                (false, false) => ShortfallReason::Joining,
                (false, true) => ShortfallReason::NoNodeLeft,
            };
            (in_sync < wanted || is_lost).then_some(Shortfall { partition, in_sync, wanted, reason })
        };
        map.ring.partitions().zip(&map.partitions).filter_map(shortfall).collect()
    }
}

/// Whether a statement of that loss is about that partition.
fn is_about(loss: Loss, partition: PartitionId, configuration: &Configuration) -> bool {
    match loss {
        Loss::Partition(lost) => lost == partition,
        Loss::Node(node) => configuration.in_sync().all(|member| member.node == node),
        Loss::All => true,
    }
}
