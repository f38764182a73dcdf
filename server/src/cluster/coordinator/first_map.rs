//! The first map of a cluster, and the first after its store was lost.

use dht_protocol::ids::{Cfg, Epoch, Incarnation, Member, NodeId};
use dht_protocol::placement::deal::deal;
use dht_protocol::placement::replica_map::{Configuration, ListedNode, ReplicaMap};

use crate::limits::RECOVERY_STEP;

use super::map_edit::Exhausted;
use super::terms::CoordinatorSettings;

/// Epoch of the first map of a cluster.
pub(super) const FIRST_EPOCH: Epoch = Epoch(1);

/// The map of a cluster that begins with these nodes: the replicas dealt out evenly, all in sync as all are empty. Where there
/// are fewer nodes than there shall be replicas, there is one on each.
///
/// # Panics
/// When there is no node.
pub(super) fn first_map(settings: &CoordinatorSettings, nodes: Vec<ListedNode>) -> ReplicaMap {
    let replicas = usize::from(settings.settings.replicas).min(nodes.len());
    let member = |place: &usize| Member { node: nodes[*place].id, incarnation: nodes[*place].incarnation };
    let dealt = deal(nodes.len(), settings.ring, replicas);
    let configuration = |places: &Vec<usize>| Configuration {
        cfg: Cfg::new(1),
        primary: member(&places[0]),
        primary_since: FIRST_EPOCH,
        began: Cfg::new(1),
        handed_over: false,
        backups: places[1..].iter().map(member).collect(),
        joining: Vec::new(),
    };
    let partitions = dealt.iter().map(configuration).collect();
    let map = ReplicaMap {
        cluster_id: settings.cluster_id,
        epoch: FIRST_EPOCH,
        ring: settings.ring,
        hash_key: settings.hash_key,
        settings: settings.settings,
        nodes,
        partitions,
    };
    ReplicaMap::new(map).unwrap_or_else(|why| panic!("the first map is none: {why}"))
}

/// Nodes in the order of their addresses, numbered from 0.
pub(super) fn number_nodes<'a>(heard: impl Iterator<Item = (&'a str, Incarnation)>) -> Vec<ListedNode> {
    let ids = (0..).map(NodeId);
    ids.zip(heard)
        .map(|(id, (address, incarnation))| ListedNode { id, address: address.to_owned(), incarnation })
        .collect()
}

/// The map with which a coordinator goes on whose store was lost, from the newest one that nodes have.
///
/// The lost store may have given out maps that no node asked had. So the epoch goes on past all of them, and each cfg too: a
/// node that does have one must refuse nothing of the new maps, and must be refused itself wherever it speaks for a
/// configuration that is not theirs. That somebody gave up for good is forgotten: who begins anew waits.
pub(super) fn recovered_map(map: &ReplicaMap) -> Result<ReplicaMap, Exhausted> {
    let mut map = map.clone();
    map.epoch = Epoch(map.epoch.0.checked_add(RECOVERY_STEP).ok_or(Exhausted)?);
    for configuration in &mut map.partitions {
        let cfg = configuration.cfg.get().saturating_add(RECOVERY_STEP);
        configuration.cfg = Cfg::from_wire(cfg).ok_or(Exhausted)?;
        configuration.handed_over = false;
    }
    Ok(map)
}
