//! The cluster map as coordinator and nodes keep it: which start of which node holds which replica of each partition, and in
//! what standing. Immutable and numbered by a rising epoch. What clients fetch is made from it.

use crate::error::Malformed;
use crate::ids::{Cfg, ClusterId, Epoch, Incarnation, Member, NodeId, PartitionId};
use crate::limits::{
    ADDRESS_BYTES_MAX, MAP_MEMBERS_MAX, NODES_MAX, PARTITIONS_LOG2_MAX, REPLICA_MAP_BYTES_MAX,
};
use crate::placement::hash::HashKey;
use crate::placement::map::{ClusterMap, Node, PartitionConfig};
use crate::placement::ring::Ring;
use crate::wire::{Reader, put_address, put_member, put_u8, put_u16, put_u32, put_u64, put_u128};

/// Number of the wire form that this release writes and reads.
pub const REPLICA_MAP_FORMAT: u8 = 1;

/// format 1, cluster id 16, epoch 4, hash key 16, Q as a power of two 1, replicas 1, in sync 1, on loss 1, delay 4, nodes 2
const FIXED_BYTES: usize = 47;
/// id 4, incarnation 8, length of the address 2
const NODE_FIXED_BYTES: usize = 14;
/// cfg 4, began 4, since 4, handed over 1, reserved 1, backups 2, joining 2
const PARTITION_FIXED_BYTES: usize = 18;
/// node 4, incarnation 8
const MEMBER_BYTES: usize = 12;

const _: () = assert!(
    FIXED_BYTES
        + NODES_MAX * (NODE_FIXED_BYTES + ADDRESS_BYTES_MAX)
        + (PARTITION_FIXED_BYTES << PARTITIONS_LOG2_MAX)
        + MAP_MEMBERS_MAX * MEMBER_BYTES
        <= REPLICA_MAP_BYTES_MAX
);

/// The key under which maps are compared: a slip shows, a forgery need not.
const CHECKSUM_KEY: HashKey = HashKey::from_bytes(*b"dht map checksum");

/// What to do about a partition whose replicas in sync are all gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// Wait for one of them to report back, or for somebody to state that they are dead.
    Wait,
    /// Go on empty, after the grace.
    Empty,
}

/// What the cluster was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Copies of each partition, from 1.
    pub replicas: u8,
    /// Replicas in sync, primary included, that a write needs; from 1 to `replicas`.
    pub min_in_sync: u8,
    /// What to do about a partition that has lost all its replicas.
    pub on_loss: OnLoss,
    /// How long a replica that was struck off is waited for before another takes its place, milliseconds.
    pub refill_delay_ms: u32,
}

/// A node as the map lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedNode {
    /// Its name for as long as the cluster lives.
    pub id: NodeId,
    /// `HOST:PORT` where others reach it.
    pub address: String,
    /// The start of it that was heard last. Listing another changes no configuration.
    pub incarnation: Incarnation,
}

/// Who holds a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Rises with every edit of this partition's replicas.
    pub cfg: Cfg,
    /// The one that serves it.
    pub primary: Member,
    /// Epoch of the map that made it so: requests made under an older map are refused.
    pub primary_since: Epoch,
    /// The configuration under which the partition began, the last time that it began empty: what a replica has from an
    /// earlier one was lost, and said to be.
    pub began: Cfg,
    /// The primary before it gave up for good, so that this one need not wait out the grace.
    pub handed_over: bool,
    /// In sync: they count for commit and may become primary.
    pub backups: Vec<Member>,
    /// Being filled; they count for nothing.
    pub joining: Vec<Member>,
}

/// The map. Invariants, checked by [`ReplicaMap::new`]:
/// 1. Nodes are sorted by id, ids are unique, there are 1..=`NODES_MAX`, addresses fit `ADDRESS_BYTES_MAX` and are unique.
/// 2. There is one configuration per arc of the ring. It names no node twice and only nodes that are listed; its cfg is
///    not 0, and `began` is 1 or more and not above it.
/// 3. The epoch is not 0, `primary_since` is 1 or more and not above it.
/// 4. The settings are within their ranges; replicas, joining ones too, number at most `MAP_MEMBERS_MAX` in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaMap {
    /// Identity of the cluster.
    pub cluster_id: ClusterId,
    /// Number of this map.
    pub epoch: Epoch,
    /// The ring.
    pub ring: Ring,
    /// The key under which all of the cluster hashes.
    pub hash_key: HashKey,
    /// What the cluster was told.
    pub settings: Settings,
    /// All nodes, by rising id.
    pub nodes: Vec<ListedNode>,
    /// By partition.
    pub partitions: Vec<Configuration>,
}

impl Configuration {
    /// The replicas in sync: the primary, then the backups.
    pub fn in_sync(&self) -> impl Iterator<Item = Member> {
        std::iter::once(self.primary).chain(self.backups.iter().copied())
    }

    /// Every replica, in whatever standing.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.in_sync().chain(self.joining.iter().copied())
    }
}

impl Settings {
    /// Whether the settings are within their ranges, and a map of that ring can have so many replicas.
    ///
    /// # Errors
    /// [`Malformed`] says which one is not.
    pub fn check(&self, ring: Ring) -> Result<(), Malformed> {
        if self.replicas == 0 {
            return Err(Malformed("map: replicas"));
        }
        if self.min_in_sync == 0 || self.min_in_sync > self.replicas {
            return Err(Malformed("map: replicas that a write needs"));
        }
        if usize::from(self.replicas) * ring.partitions_count() as usize > MAP_MEMBERS_MAX {
            return Err(Malformed("map: too many replicas for so many partitions"));
        }
        Ok(())
    }
}

impl ReplicaMap {
    /// The map as its own checker.
    ///
    /// # Errors
    /// [`Malformed`] when an invariant of the type does not hold.
    pub fn new(map: ReplicaMap) -> Result<ReplicaMap, Malformed> {
        map.check_invariants()?;
        Ok(map)
    }

    /// The node of that id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&ListedNode> {
        self.nodes.binary_search_by_key(&id, |node| node.id).ok().map(|at| &self.nodes[at])
    }

    /// The node of that address. Cost: a look at each.
    #[must_use]
    pub fn node_at(&self, address: &str) -> Option<&ListedNode> {
        self.nodes.iter().find(|node| node.address == address)
    }

    /// Who holds `partition`; `None` past the last one.
    #[must_use]
    pub fn partition(&self, partition: PartitionId) -> Option<&Configuration> {
        self.partitions.get(partition.0 as usize)
    }

    /// Whether `member` is the start of its node that the map lists.
    #[must_use]
    pub fn is_listed(&self, member: Member) -> bool {
        self.node(member.node).is_some_and(|node| node.incarnation == member.incarnation)
    }

    /// What clients fetch: who serves what.
    #[must_use]
    pub fn cluster_map(&self) -> ClusterMap {
        let nodes = self.nodes.iter().map(|node| Node { id: node.id, address: node.address.clone() });
        let partitions = self.partitions.iter().map(|configuration| PartitionConfig {
            cfg: configuration.cfg,
            primary: configuration.primary.node,
        });
        ClusterMap::new(
            self.cluster_id,
            self.epoch,
            self.ring,
            self.hash_key,
            nodes.collect(),
            partitions.collect(),
        )
        .expect("invariants 1 to 3 are those of a cluster map and more")
    }

    /// Two maps of one checksum are the same map; never 0. Cost: writes and hashes the whole map.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        // 0 stands for "no map" in a heartbeat.
        CHECKSUM_KEY.hash(&bytes).0.max(1)
    }

    /// Appends the wire form to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u8(out, REPLICA_MAP_FORMAT);
        put_u128(out, self.cluster_id.0);
        put_u32(out, self.epoch.0);
        out.extend_from_slice(&self.hash_key.to_bytes());
        put_u8(out, self.ring.partitions_log2() as u8);
        put_u8(out, self.settings.replicas);
        put_u8(out, self.settings.min_in_sync);
        put_u8(
            out,
            match self.settings.on_loss {
                OnLoss::Wait => 0,
                OnLoss::Empty => 1,
            },
        );
        put_u32(out, self.settings.refill_delay_ms);
        assert!(self.nodes.len() <= NODES_MAX, "invariant 1");
        put_u16(out, self.nodes.len() as u16);
        for node in &self.nodes {
            put_u32(out, node.id.0);
            put_u64(out, node.incarnation.0);
            put_address(out, &node.address);
        }
        for configuration in &self.partitions {
            configuration.encode(out);
        }
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are no map of a known format.
    pub fn decode(bytes: &[u8]) -> Result<ReplicaMap, Malformed> {
        if bytes.len() > REPLICA_MAP_BYTES_MAX {
            return Err(Malformed("map: too long"));
        }
        let mut reader = Reader::new(bytes);
        if reader.u8()? != REPLICA_MAP_FORMAT {
            return Err(Malformed("map of an unknown format: this program is too old or too new"));
        }
        let cluster_id = ClusterId(reader.u128()?);
        let epoch = Epoch(reader.u32()?);
        let hash_key = HashKey::from_bytes(reader.array()?);
        let ring = Ring::from_log2(u32::from(reader.u8()?)).ok_or(Malformed("map: partition count"))?;
        let settings = Settings {
            replicas: reader.u8()?,
            min_in_sync: reader.u8()?,
            on_loss: match reader.u8()? {
                0 => OnLoss::Wait,
                1 => OnLoss::Empty,
                _ => return Err(Malformed("map: what to do about a loss")),
            },
            refill_delay_ms: reader.u32()?,
        };
        let nodes_count = usize::from(reader.u16()?);
        if nodes_count > NODES_MAX {
            return Err(Malformed("map: node count"));
        }
        // Nothing is set aside for the announced counts: the lists grow as their members are read.
        let mut nodes = Vec::new();
        for _ in 0..nodes_count {
            nodes.push(ListedNode {
                id: NodeId(reader.u32()?),
                incarnation: Incarnation(reader.u64()?),
                address: reader.address()?.to_owned(),
            });
        }
        let mut partitions = Vec::new();
        for _ in ring.partitions() {
            partitions.push(Configuration::decode(&mut reader)?);
        }
        reader.end()?;
        ReplicaMap::new(ReplicaMap { cluster_id, epoch, ring, hash_key, settings, nodes, partitions })
    }

    /// Whether the invariants of the type hold.
    ///
    /// # Errors
    /// [`Malformed`] says which one does not.
    pub fn check_invariants(&self) -> Result<(), Malformed> {
        if self.nodes.is_empty() || self.nodes.len() > NODES_MAX {
            return Err(Malformed("map: node count"));
        }
        if !self.nodes.is_sorted_by(|a, b| a.id < b.id) {
            return Err(Malformed("map: node ids must rise"));
        }
        if self.nodes.iter().any(|node| node.address.is_empty() || node.address.len() > ADDRESS_BYTES_MAX) {
            return Err(Malformed("length of an address"));
        }
        let mut addresses: Vec<&str> = self.nodes.iter().map(|node| node.address.as_str()).collect();
        addresses.sort_unstable();
        if addresses.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Malformed("map: two nodes of one address"));
        }
        if self.epoch == Epoch(0) {
            return Err(Malformed("map: epoch 0"));
        }
        self.settings.check(self.ring)?;
        self.check_partitions()
    }

    /// Invariant 2, and what 3 and 4 say of partitions.
    fn check_partitions(&self) -> Result<(), Malformed> {
        if self.partitions.len() != self.ring.partitions_count() as usize {
            return Err(Malformed("map: partition count"));
        }
        let members: usize =
            self.partitions.iter().map(|configuration| configuration.members().count()).sum();
        if members > MAP_MEMBERS_MAX {
            return Err(Malformed("map: too many replicas"));
        }
        // By node: the last partition, counted from 1, that named it.
        let mut named_by = vec![0; self.nodes.len()];
        for (number, configuration) in (1..).zip(&self.partitions) {
            if configuration.cfg == Cfg::new(0) {
                return Err(Malformed("map: configuration number 0"));
            }
            if configuration.began == Cfg::new(0) || configuration.began > configuration.cfg {
                return Err(Malformed("map: when a partition began"));
            }
            if configuration.primary_since == Epoch(0) || configuration.primary_since > self.epoch {
                return Err(Malformed("map: since when a primary is one"));
            }
            for member in configuration.members() {
                let node = self
                    .nodes
                    .binary_search_by_key(&member.node, |node| node.id)
                    .map_err(|_| Malformed("map: a replica on no node"))?;
                if std::mem::replace(&mut named_by[node], number) == number {
                    return Err(Malformed("map: two replicas of a partition on one node"));
                }
            }
        }
        Ok(())
    }
}

impl Configuration {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.backups.len() < NODES_MAX && self.joining.len() < NODES_MAX, "invariant 2 of the map");
        put_u32(out, self.cfg.get());
        put_u32(out, self.began.get());
        put_u32(out, self.primary_since.0);
        put_u8(out, u8::from(self.handed_over));
        put_u8(out, 0);
        put_u16(out, self.backups.len() as u16);
        put_u16(out, self.joining.len() as u16);
        self.members().for_each(|member| put_member(out, member));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Configuration, Malformed> {
        let (cfg, began) = (reader.cfg()?, reader.cfg()?);
        let primary_since = Epoch(reader.u32()?);
        let handed_over = reader.boolean()?;
        reader.reserved_u8()?;
        let (backups, joining) = (usize::from(reader.u16()?), usize::from(reader.u16()?));
        let primary = reader.member()?;
        let backups = reader.members(backups)?;
        let joining = reader.members(joining)?;
        Ok(Configuration { cfg, primary, primary_since, began, handed_over, backups, joining })
    }
}
