//! What the coordinator is told, what it asks for, and what it says of itself.

use std::fmt;
use std::sync::Arc;

use dht_protocol::ids::{ClusterId, Epoch, Incarnation, Member, NodeId, PartitionId};
use dht_protocol::peer::FromCoordinator;
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::replica_map::{ReplicaMap, Settings};
use dht_protocol::placement::ring::Ring;

/// What a cluster is created with. Once there is a map, what stands there counts.
#[derive(Clone, Debug)]
pub struct CoordinatorSettings {
    /// Identity of the cluster.
    pub cluster_id: ClusterId,
    /// The ring.
    pub ring: Ring,
    /// The key under which all of the cluster hashes.
    pub hash_key: HashKey,
    /// What it was told.
    pub settings: Settings,
    /// Nodes that must have been heard before the first map is made, from 1.
    pub expect: usize,
}

/// What came of a [`CoordinatorAction::Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOutcome {
    /// It is stored, and a crash does not undo that.
    Durable,
    /// It is not stored, and never will be by that attempt.
    Failed,
    /// Nobody knows.
    Ambiguous,
}

/// What the coordinator wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoordinatorAction {
    /// Send this, once; it may be lost.
    Send {
        /// Where to.
        address: String,
        /// For which start of the node there; another is to ignore it.
        incarnation: Incarnation,
        /// What.
        message: FromCoordinator,
    },
    /// Put this map into the store, in place of the one there, and say what came of it. One at a time.
    Store {
        /// The map.
        map: Arc<ReplicaMap>,
    },
    /// Read the map that the store holds.
    Read,
}

/// Why the coordinator has stopped: it edits nothing, answers nothing, and grants nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halted {
    /// A node has a newer map than this coordinator has ever made: another one is at work, or the store was put back to an
    /// older state, or lost.
    HigherEpoch {
        /// Of the node's map.
        heard: Epoch,
        /// Of the newest map here; 0: none.
        own: Epoch,
    },
    /// A node has another map of the same epoch.
    OtherChecksum {
        /// The epoch.
        epoch: Epoch,
    },
    /// The store holds a map that is neither the one that was there nor the one that was to be.
    StoreChanged,
    /// The epoch, or a configuration's number, has no successor.
    Exhausted,
}

/// What somebody states to be lost for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All replicas in sync of this partition.
    Partition(PartitionId),
    /// All that this node held: partitions of which no other has a replica in sync.
    Node(NodeId),
    /// All replicas in sync of every partition that has none that is heard.
    All,
}

/// Why an order is refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderError {
    /// The coordinator has stopped.
    Halted,
    /// There is no map yet.
    NoMap,
    /// There is no such partition.
    UnknownPartition(PartitionId),
    /// There is no such node.
    UnknownNode(NodeId),
    /// The node holds no replica in sync of that partition, or serves it already.
    NoBackup(NodeId),
    /// This replica in sync may be alive: it has been heard, or the coordinator has not listened for long enough.
    StillHeard(Member),
    /// There is no partition that is lost in this way.
    NothingLost,
    /// No node is heard that could go on.
    NoLiveNode,
}

/// A partition that has fewer replicas in sync than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// The partition.
    pub partition: PartitionId,
    /// Replicas in sync.
    pub in_sync: usize,
    /// Replicas in sync that there should be.
    pub wanted: usize,
    /// Why, or what is done about it.
    pub reason: ShortfallReason,
}

/// Why a partition is short of replicas. (How full a node's memory is, is not known here.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShortfallReason {
    /// None of its replicas in sync is heard: nobody can serve it.
    Lost,
    /// Others are being filled, or waited for until the refill delay is over.
    Joining,
    /// There is no live node without a replica of it.
    NoNodeLeft,
}

/// What the coordinator has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoordinatorCounts {
    /// Maps published.
    pub maps_published: u64,
    /// Heartbeats ignored: old ones, second copies, and those of strangers when there is no room.
    pub heartbeats_ignored: u64,
    /// Messages dropped because too many were ready.
    pub messages_dropped: u64,
    /// Attempts to store a map that failed or whose outcome was not known.
    pub stores_failed: u64,
    /// Ticks that came so late that nobody was judged by what had not been heard.
    pub pauses: u64,
}

impl fmt::Display for Halted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Halted::HigherEpoch { heard, own } => write!(
                f,
                "a node has map {}, the newest here is {}: another coordinator is at work, or the store is old or lost \
                 (to rebuild it: dht coordinator recover --from-nodes)",
                heard.0, own.0
            ),
            Halted::OtherChecksum { epoch } => {
                write!(f, "a node has another map {}: another coordinator is at work, or was", epoch.0)
            }
            Halted::StoreChanged => f.write_str("the store holds a map that this coordinator did not write"),
            Halted::Exhausted => f.write_str("the map's numbers are used up"),
        }
    }
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OrderError::Halted => f.write_str("the coordinator has stopped editing"),
            OrderError::NoMap => f.write_str("there is no map yet: too few nodes have been heard"),
            OrderError::UnknownPartition(partition) => write!(f, "there is no partition {partition}"),
            OrderError::UnknownNode(node) => write!(f, "there is no node {node}"),
            OrderError::NoBackup(node) => {
                write!(f, "node {node} has no replica in sync that could take over")
            }
            OrderError::StillHeard(member) => write!(f, "node {} may be alive: stop it first", member.node),
            OrderError::NothingLost => f.write_str("no partition is lost in this way"),
            OrderError::NoLiveNode => f.write_str("no node is heard that could go on"),
        }
    }
}

impl std::error::Error for OrderError {}
