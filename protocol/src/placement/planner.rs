//! Placement: which node serves which arc. A pure function of its arguments, so that every daemon that was told
//! the same comes to the same map. Here: a fixed list of members, equal shares, one copy.

use std::fmt;

use crate::ids::{Cfg, Epoch, NodeId};
use crate::limits::{ADDRESS_BYTES_MAX, NODES_MAX};
use crate::placement::hash::HashKey;
use crate::placement::map::{ClusterMap, Node, PartitionConfig, static_cluster_id};
use crate::placement::ring::Ring;

/// Epoch of a static cluster's one and only map.
pub const STATIC_EPOCH: Epoch = Epoch(1);

/// Why a list of members makes no cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// The list is empty.
    NoMembers,
    /// More members than `NODES_MAX`, or than there are partitions to serve.
    TooManyMembers {
        /// Members listed.
        members: usize,
        /// Most that there may be.
        members_max: usize,
    },
    /// The same address stands twice.
    Duplicate(String),
    /// An address is empty or longer than `ADDRESS_BYTES_MAX`.
    BadAddress(String),
}

/// The map of a static cluster: ids by place in the sorted list, arcs dealt out in turn, so that the counts of
/// any two nodes differ by at most one. The order in which `members` come does not matter.
///
/// # Errors
/// [`PlanError`] when the list makes no cluster.
pub fn static_map(members: &[String], ring: Ring, hash_key: HashKey) -> Result<ClusterMap, PlanError> {
    plan(members, ring, hash_key, Some(hash_key))
}

/// The map of a node on its own, which hashes under a key that it drew at its start. Its cluster id leaves that
/// key out, so that clients know the node again after a restart.
///
/// # Errors
/// [`PlanError::BadAddress`].
pub fn single_node_map(address: &str, ring: Ring, drawn_hash_key: HashKey) -> Result<ClusterMap, PlanError> {
    plan(&[address.to_owned()], ring, drawn_hash_key, None)
}

fn plan(
    members: &[String],
    ring: Ring,
    hash_key: HashKey,
    hash_key_in_id: Option<HashKey>,
) -> Result<ClusterMap, PlanError> {
    let mut sorted = members.to_vec();
    sorted.sort();
    check(&sorted, ring)?;
    let cluster_id = static_cluster_id(&sorted, ring, hash_key_in_id);
    let nodes_count = sorted.len() as u32;
    let partitions = ring
        .partitions()
        .map(|partition| PartitionConfig { cfg: Cfg::new(0), primary: NodeId(partition.0 % nodes_count) })
        .collect();
    let nodes = (0..).map(NodeId).zip(sorted).map(|(id, address)| Node { id, address }).collect();
    let map = ClusterMap::new(cluster_id, STATIC_EPOCH, ring, hash_key, nodes, partitions);
    Ok(map.expect("checked above: 1..=NODES_MAX unique members, one configuration an arc, epoch 1"))
}

fn check(sorted: &[String], ring: Ring) -> Result<(), PlanError> {
    let members_max = NODES_MAX.min(ring.partitions_count() as usize);
    if sorted.is_empty() {
        return Err(PlanError::NoMembers);
    }
    if sorted.len() > members_max {
        return Err(PlanError::TooManyMembers { members: sorted.len(), members_max });
    }
    if let Some(bad) = sorted.iter().find(|member| member.is_empty() || member.len() > ADDRESS_BYTES_MAX) {
        return Err(PlanError::BadAddress(bad.clone()));
    }
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(PlanError::Duplicate(pair[0].clone())),
        None => Ok(()),
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::NoMembers => f.write_str("the list of members is empty: name at least one HOST:PORT"),
            PlanError::TooManyMembers { members, members_max } => {
                write!(
                    f,
                    "{members} members are too many: at most {members_max} with this number of partitions"
                )
            }
            PlanError::Duplicate(member) => {
                write!(f, "member {member} stands twice in the list: name it once")
            }
            PlanError::BadAddress(member) => {
                write!(f, "member {member:?} is no address: use HOST:PORT, at most {ADDRESS_BYTES_MAX} bytes")
            }
        }
    }
}

impl std::error::Error for PlanError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("10.0.0.{i}:7400")).collect()
    }

    #[test]
    fn shares_differ_by_at_most_one() {
        let ring = Ring::new(4_096).unwrap();
        for count in 1..=100 {
            let map = static_map(&members(count), ring, HashKey::GUESSABLE).unwrap();
            let shares: Vec<usize> =
                map.nodes().iter().map(|node| map.partitions_of(node.id).count()).collect();
            assert_eq!(shares.iter().sum::<usize>(), 4_096);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{count} nodes");
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_matter_but_its_content_does() {
        let ring = Ring::new(64).unwrap();
        let mut list = members(5);
        let map = static_map(&list, ring, HashKey::GUESSABLE).unwrap();
        list.reverse();
        assert_eq!(static_map(&list, ring, HashKey::GUESSABLE).unwrap(), map);
        let other_list = static_map(&members(4), ring, HashKey::GUESSABLE).unwrap();
        let other_ring = static_map(&list, Ring::new(128).unwrap(), HashKey::GUESSABLE).unwrap();
        let other_key = static_map(&list, ring, HashKey::from_bytes([7; 16])).unwrap();
        for other in [other_list, other_ring, other_key] {
            assert_ne!(other.cluster_id(), map.cluster_id());
        }
    }

    #[test]
    fn a_lone_node_keeps_its_id_over_restarts() {
        let ring = Ring::new(16).unwrap();
        let before = single_node_map("127.0.0.1:7400", ring, HashKey::from_bytes([1; 16])).unwrap();
        let after = single_node_map("127.0.0.1:7400", ring, HashKey::from_bytes([2; 16])).unwrap();
        assert_eq!(before.cluster_id(), after.cluster_id());
        assert!(before.hash_key() != after.hash_key());
    }

    #[test]
    fn lists_that_make_no_cluster() {
        let ring = Ring::new(16).unwrap();
        let plan = |list: &[String]| static_map(list, ring, HashKey::GUESSABLE).unwrap_err();
        assert_eq!(plan(&[]), PlanError::NoMembers);
        assert_eq!(plan(&members(17)), PlanError::TooManyMembers { members: 17, members_max: 16 });
        assert_eq!(plan(&["a:1".into(), "b:1".into(), "a:1".into()]), PlanError::Duplicate("a:1".into()));
        assert_eq!(plan(&[String::new()]), PlanError::BadAddress(String::new()));
    }
}
