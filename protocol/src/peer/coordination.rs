//! What nodes and their coordinator say to each other.

use std::sync::Arc;

use crate::ids::{Cfg, Epoch, Incarnation, Member, NodeId, PartitionId};
use crate::placement::replica_map::ReplicaMap;

/// Node to coordinator: I am here. It speaks for its own incarnation alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The node's number, once the coordinator has told it.
    pub node: Option<NodeId>,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// `HOST:PORT` where others reach it; by this the coordinator knows a node that returns.
    pub address: String,
    /// Counts this start's heartbeats, from 1.
    pub number: u64,
    /// Epoch of its map; 0: it has none.
    pub epoch: Epoch,
    /// [`ReplicaMap::checksum`] of that map; 0: it has none.
    pub checksum: u64,
    /// Number of the last [`Beat`] heard; 0: none yet.
    pub echo: u64,
    /// Turns that its slowest worker has made. While it does not rise the node is as good as silent.
    pub turns: u64,
    /// Members whose lease or acknowledgement it has been waiting for too long.
    pub accused: Vec<Member>,
}

/// Node to coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToCoordinator {
    /// I am here.
    Heartbeat(Heartbeat),
    /// A primary proposes to take a newcomer, which has all there is, in among the replicas in sync.
    Propose {
        /// The primary.
        from: Member,
        /// The partition.
        partition: PartitionId,
        /// The configuration that the proposal is about.
        cfg: Cfg,
        /// The newcomer.
        newcomer: Member,
    },
    /// A primary has given up the partition for good and asks for `target` to take it over.
    HandOver {
        /// The primary that was.
        from: Member,
        /// The partition.
        partition: PartitionId,
        /// The configuration that it gives up.
        cfg: Cfg,
        /// Who is to have it.
        target: Member,
    },
    /// Send me the map.
    FetchMap {
        /// Who asks.
        from: Member,
    },
}

/// Coordinator to node, in answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The start of the node that it is for.
    pub incarnation: Incarnation,
    /// The node's number; `None`: it is not listed yet.
    pub node: Option<NodeId>,
    /// Number of this answer, never used twice by one coordinator process; the next heartbeat is to echo it.
    pub number: u64,
    /// Number of the heartbeat that is answered.
    pub heard: u64,
    /// Epoch of the newest map that is out.
    pub epoch: Epoch,
}

/// Coordinator to node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromCoordinator {
    /// I have heard you.
    Beat(Beat),
    /// The newest map that is out.
    Map(Arc<ReplicaMap>),
    /// Hand this partition over to `target` when you can (a wish; it may be lost or ignored).
    Move {
        /// For whom it is.
        to: Member,
        /// The partition.
        partition: PartitionId,
        /// The configuration that the wish is about.
        cfg: Cfg,
        /// Who is to have it: a replica in sync.
        target: Member,
    },
}
