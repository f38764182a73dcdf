//! The cluster map: who holds which arc of the ring. Immutable and numbered by a rising epoch; daemons and
//! clients share it as a snapshot and never derive it for themselves.
//!
//! Its wire form (`MAP` in PROTOCOL.md) begins with a format number, so that a later one can say more about a
//! partition (backups, joining replicas) and a node (weight, zone).

use std::fmt;

use crate::error::Malformed;
use crate::ids::{Cfg, ClusterId, Epoch, NodeId, PartitionId};
use crate::limits::{ADDRESS_BYTES_MAX, NODES_MAX, PARTITIONS_LOG2_MAX};
use crate::placement::hash::{HashKey, KeyHash};
use crate::placement::ring::Ring;
use crate::wire::{Reader, put_u8, put_u16, put_u32, put_u64};

/// Number of the wire form that this release writes and reads.
pub const MAP_FORMAT: u16 = 1;

/// Longest wire form of a map, bytes.
pub const MAP_BYTES_MAX: usize = FIXED_BYTES
    + NODES_MAX * (NODE_FIXED_BYTES + ADDRESS_BYTES_MAX)
    + (PARTITION_BYTES << PARTITIONS_LOG2_MAX);

/// format 2, cluster id 16, epoch 4, hash key 16, Q as a power of two 1, reserved 1, nodes 2
const FIXED_BYTES: usize = 42;
/// id 4, length of the address 2
const NODE_FIXED_BYTES: usize = 6;
/// cfg 4, primary 4
const PARTITION_BYTES: usize = 8;

const _: () = assert!(MAP_BYTES_MAX <= crate::limits::BODY_BYTES_MAX);

/// One daemon of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name for as long as the cluster lives.
    pub id: NodeId,
    /// `HOST:PORT` where others reach it.
    pub address: String,
}

/// Who serves one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionConfig {
    /// Number of this configuration; 0 in a static cluster, where the primary draws its own at every start.
    pub cfg: Cfg,
    /// The node that answers for the partition.
    pub primary: NodeId,
}

/// Answer of [`ClusterMap::owners`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owners {
    /// The arc on which the hash lies.
    pub partition: PartitionId,
    /// Who serves it.
    pub config: PartitionConfig,
}

/// The map. Invariants, checked by [`ClusterMap::new`]:
/// 1. Nodes are sorted by id, ids are unique, there are 1..=`NODES_MAX`, addresses fit `ADDRESS_BYTES_MAX`.
/// 2. There is one configuration per arc of the ring, and its primary is one of the nodes.
/// 3. The epoch is not 0.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterMap {
    cluster_id: ClusterId,
    epoch: Epoch,
    ring: Ring,
    hash_key: HashKey,
    nodes: Vec<Node>,
    partitions: Vec<PartitionConfig>,
}

impl ClusterMap {
    /// A map from its parts.
    ///
    /// # Errors
    /// [`Malformed`] when an invariant of the type does not hold.
    pub fn new(
        cluster_id: ClusterId,
        epoch: Epoch,
        ring: Ring,
        hash_key: HashKey,
        nodes: Vec<Node>,
        partitions: Vec<PartitionConfig>,
    ) -> Result<ClusterMap, Malformed> {
        let map = ClusterMap { cluster_id, epoch, ring, hash_key, nodes, partitions };
        map.check_invariants()?;
        Ok(map)
    }

    /// Identity of the cluster.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    /// Number of this map.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The ring.
    #[must_use]
    pub fn ring(&self) -> Ring {
        self.ring
    }

    /// The key under which all of the cluster hashes.
    #[must_use]
    pub fn hash_key(&self) -> HashKey {
        self.hash_key
    }

    /// All nodes, by rising id.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of that id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.binary_search_by_key(&id, |node| node.id).ok().map(|at| &self.nodes[at])
    }

    /// Who serves `partition`; `None` past the last one.
    #[must_use]
    pub fn partition(&self, partition: PartitionId) -> Option<PartitionConfig> {
        self.partitions.get(partition.0 as usize).copied()
    }

    /// Who holds the key of that hash: the one answer for client, server, repair and tests.
    #[must_use]
    #[inline]
    pub fn owners(&self, hash: KeyHash) -> Owners {
        let partition = self.ring.partition_of(hash);
        // Invariant 2: one configuration per arc.
        Owners { partition, config: self.partitions[partition.0 as usize] }
    }

    /// The partitions that `node` serves, in order.
    pub fn partitions_of(&self, node: NodeId) -> impl Iterator<Item = PartitionId> {
        self.ring
            .partitions()
            .zip(&self.partitions)
            .filter(move |(_, config)| config.primary == node)
            .map(|(partition, _)| partition)
    }

    /// Appends the wire form to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u16(out, MAP_FORMAT);
        out.extend_from_slice(&self.cluster_id.0.to_be_bytes());
        put_u32(out, self.epoch.0);
        out.extend_from_slice(&self.hash_key.to_bytes());
        put_u8(out, self.ring.partitions_log2() as u8);
        put_u8(out, 0);
        put_u16(out, self.nodes.len() as u16);
        for node in &self.nodes {
            put_u32(out, node.id.0);
            put_u16(out, node.address.len() as u16);
            out.extend_from_slice(node.address.as_bytes());
        }
        for config in &self.partitions {
            put_u32(out, config.cfg.get());
            put_u32(out, config.primary.0);
        }
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are no map of a known format.
    pub fn decode(bytes: &[u8]) -> Result<ClusterMap, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.u16()? != MAP_FORMAT {
            return Err(Malformed("map of an unknown format: this program is too old or too new"));
        }
        let cluster_id = ClusterId(reader.u128()?);
        let epoch = Epoch(reader.u32()?);
        let hash_key = HashKey::from_bytes(reader.array()?);
        let ring = Ring::from_log2(u32::from(reader.u8()?)).ok_or(Malformed("map: partition count"))?;
        reader.reserved_u8()?;
        let nodes_count = usize::from(reader.u16()?);
        // Nothing is set aside for the announced count: the list grows as nodes are read.
        if nodes_count == 0 || nodes_count > NODES_MAX {
            return Err(Malformed("map: node count"));
        }
        let mut nodes = Vec::new();
        for _ in 0..nodes_count {
            let id = NodeId(reader.u32()?);
            let length = usize::from(reader.u16()?);
            let address =
                std::str::from_utf8(reader.bytes(length)?).map_err(|_| Malformed("map: address"))?;
            nodes.push(Node { id, address: address.to_owned() });
        }
        let mut table = Reader::new(reader.bytes(ring.partitions_count() as usize * PARTITION_BYTES)?);
        reader.end()?;
        let partitions = ring
            .partitions()
            .map(|_| Ok(PartitionConfig { cfg: table.cfg()?, primary: NodeId(table.u32()?) }))
            .collect::<Result<_, Malformed>>()?;
        ClusterMap::new(cluster_id, epoch, ring, hash_key, nodes, partitions)
    }

    fn check_invariants(&self) -> Result<(), Malformed> {
        if self.nodes.is_empty() || self.nodes.len() > NODES_MAX {
            return Err(Malformed("map: node count"));
        }
        if !self.nodes.is_sorted_by(|a, b| a.id < b.id) {
            return Err(Malformed("map: node ids must rise"));
        }
        if self.nodes.iter().any(|node| node.address.is_empty() || node.address.len() > ADDRESS_BYTES_MAX) {
            return Err(Malformed("map: length of an address"));
        }
        if self.partitions.len() != self.ring.partitions_count() as usize {
            return Err(Malformed("map: partition count"));
        }
        if self.partitions.iter().any(|config| self.node(config.primary).is_none()) {
            return Err(Malformed("map: a primary is no node"));
        }
        if self.epoch == Epoch(0) {
            return Err(Malformed("map: epoch 0"));
        }
        Ok(())
    }
}

impl fmt::Debug for ClusterMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterMap")
            .field("cluster_id", &self.cluster_id)
            .field("epoch", &self.epoch)
            .field("partitions", &self.partitions.len())
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

/// Identity of a static cluster: a digest of its sorted members, its partition count and its hash key, so that
/// two daemons that were told different things find it out. Two SipHash outputs under different fixed keys: good
/// against mistakes, no defence against forgery.
#[must_use]
pub fn static_cluster_id(sorted_members: &[String], ring: Ring, hash_key: Option<HashKey>) -> ClusterId {
    let mut text = Vec::new();
    put_u32(&mut text, ring.partitions_count());
    text.extend_from_slice(&hash_key.map_or([0; 16], HashKey::to_bytes));
    for member in sorted_members {
        put_u64(&mut text, member.len() as u64);
        text.extend_from_slice(member.as_bytes());
    }
    let high = HashKey::from_bytes(*b"dht static id hi").hash(&text).0;
    let low = HashKey::from_bytes(*b"dht static id lo").hash(&text).0;
    ClusterId((u128::from(high) << 64) | u128::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::planner::static_map;

    fn three_nodes() -> ClusterMap {
        let members = ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"].map(str::to_owned);
        static_map(&members, Ring::new(16).unwrap(), HashKey::GUESSABLE).unwrap()
    }

    #[test]
    fn reads_back_what_it_writes() {
        let map = three_nodes();
        let mut bytes = Vec::new();
        map.encode(&mut bytes);
        assert_eq!(ClusterMap::decode(&bytes), Ok(map));
    }

    #[test]
    fn a_map_cut_anywhere_or_lengthened_is_refused() {
        let mut bytes = Vec::new();
        three_nodes().encode(&mut bytes);
        for length in 0..bytes.len() {
            assert!(ClusterMap::decode(&bytes[..length]).is_err(), "cut to {length} bytes");
        }
        bytes.push(0);
        assert!(ClusterMap::decode(&bytes).is_err());
    }

    #[test]
    fn a_map_that_breaks_an_invariant_is_refused() {
        let good = three_nodes();
        let broken = |change: fn(&mut ClusterMap)| {
            let mut map = good.clone();
            change(&mut map);
            let mut bytes = Vec::new();
            map.encode(&mut bytes);
            ClusterMap::decode(&bytes).unwrap_err().0
        };
        assert_eq!(broken(|map| map.epoch = Epoch(0)), "map: epoch 0");
        assert_eq!(broken(|map| map.nodes.swap(0, 1)), "map: node ids must rise");
        assert_eq!(broken(|map| map.nodes[1].id = NodeId(0)), "map: node ids must rise");
        assert_eq!(broken(|map| map.partitions[5].primary = NodeId(9)), "map: a primary is no node");
        assert_eq!(broken(|map| map.nodes[0].address.clear()), "map: length of an address");
        assert_eq!(broken(|map| map.nodes[0].address = "x".repeat(256)), "map: length of an address");
    }

    #[test]
    fn owners_and_partitions_of_agree() {
        let map = three_nodes();
        for node in map.nodes() {
            for partition in map.partitions_of(node.id) {
                let hash = map.ring().cursor_start(partition).first_hash().unwrap();
                assert_eq!(map.owners(hash).config.primary, node.id);
                assert_eq!(map.owners(hash).partition, partition);
            }
        }
        assert_eq!(map.node(NodeId(3)), None);
    }
}
