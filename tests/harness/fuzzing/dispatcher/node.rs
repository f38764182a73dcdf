//! The dispatcher under test, and what a connection is to it.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};
use dht_protocol::ids::{Cfg, Incarnation, NodeId};
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::placement::planner::static_map;
use dht_protocol::placement::ring::Ring;
use dht_server::control::StopReason;
use dht_server::dispatch::{Dispatcher, Identity, Output, Session};
use dht_server::limits::DEDUP_MEMORY_SHARE;
use dht_server::memory::MemoryAccount;
use dht_server::metrics::WorkerMetrics;

use super::super::draw::Draw;
use super::model::Greeting;

/// Fewest partitions that a cluster may have: few, so that keys share them.
const PARTITIONS: u32 = 16;
/// Memory limits, bytes: none to speak of, that of the smallest node, and two that a script soon reaches.
const LIMITS: [u64; 4] = [1 << 30, 1 << 20, 512 << 10, 128 << 10];
/// Below this limit, bytes, outcomes of writes may have to be forgotten before their time.
const FORGETTING_LIMIT_BYTES: u64 = 1 << 20;
/// What one partition may take past the limit, bytes: a segment with one entry of the longest kind, a leaf, a few
/// outcomes (`MemoryAccount::charge_over_limit` lists them).
const OVER_LIMIT_BYTES_PER_PARTITION: u64 = (64 << 10) + (8 << 10) + (2 << 10);

/// The node and its surroundings.
pub(super) struct Node {
    pub(super) dispatcher: Dispatcher,
    pub(super) identity: Identity,
    pub(super) map: Arc<ClusterMap>,
    pub(super) memory: Arc<MemoryAccount>,
    pub(super) metrics: Arc<WorkerMetrics>,
    pub(super) stopped: Receiver<StopReason>,
}

/// A connection: the node's side of it, and what the model knows.
#[derive(Default)]
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) output: Output,
    /// Answers in `output` that have been checked and not been taken yet.
    pub(super) waiting: Vec<u8>,
    pub(super) greeting: Greeting,
}

impl Node {
    /// A node, alone or one of two, with the limit that the script asks for.
    pub(super) fn new(draw: &mut Draw<'_>) -> Node {
        let map = Arc::clone(*draw.pick(&[map_of(1), map_of(2)]));
        let memory = MemoryAccount::new(*draw.pick(&LIMITS));
        let identity = Identity {
            node: NodeId(0),
            incarnation: Incarnation(0x1122_3344_5566_7788),
            cfg: Cfg::new(0x00A1_B2C3),
            started: Instant::now(),
        };
        let metrics = Arc::<WorkerMetrics>::default();
        let (stop, stopped) = bounded(1);
        let workers_metrics = vec![Arc::clone(&metrics)];
        let dispatcher =
            Dispatcher::new(Arc::clone(&map), identity, Arc::clone(&memory), workers_metrics, stop);
        Node { dispatcher, identity, map, memory, metrics, stopped }
    }

    /// Whether outcomes may be forgotten that somebody may still ask for.
    pub(super) fn may_forget(&self) -> bool {
        self.memory.limit_bytes() < FORGETTING_LIMIT_BYTES
    }

    /// Most bytes that may be used, whatever happens.
    pub(super) fn used_bytes_max(&self) -> u64 {
        let limit = self.memory.limit_bytes();
        limit + limit / DEDUP_MEMORY_SHARE + u64::from(PARTITIONS) * OVER_LIMIT_BYTES_PER_PARTITION
    }
}

/// The map of a cluster of one or two nodes.
fn map_of(nodes_count: usize) -> &'static Arc<ClusterMap> {
    static MAPS: OnceLock<[Arc<ClusterMap>; 2]> = OnceLock::new();
    let maps = MAPS.get_or_init(|| {
        [1, 2].map(|count| {
            let members: Vec<String> = (0..count).map(|node| format!("127.0.0.1:{}", 7_400 + node)).collect();
            let ring = Ring::new(PARTITIONS).expect("16 is a power of two within the limits");
            Arc::new(static_map(&members, ring, HashKey::GUESSABLE).expect("the members have addresses"))
        })
    });
    &maps[nodes_count - 1]
}
