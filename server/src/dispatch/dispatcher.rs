//! The dispatcher: what all workers share, made once, and the housekeeping over it. How a batch is answered stands in
//! `batch.rs`, what one request does in `keys.rs` and its neighbours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use dht_protocol::ids::{Cfg, Incarnation, NodeId};
use dht_protocol::peer::PeerHello;
use dht_protocol::placement::map::ClusterMap;

use super::hosted::{Hosted, Partitions};
use crate::cluster::greeting;
use crate::control::StopReason;
use crate::limits::{
    DEDUP_BYTES_MAX, DEDUP_MEMORY_SHARE, HOUSEKEEPING_RECORDS_MAX, HOUSEKEEPING_SLICE_PARTITIONS,
    HOUSEKEEPING_STEP_PAUSE_MS, MEMORY_SHORT_PERCENT,
};
use crate::memory::MemoryAccount;
use crate::metrics::{AcceptorMetrics, WorkerMetrics};
use crate::replication::clients::ClientTable;
use crate::replication::dedup::DedupBudget;
use crate::store::{Partition, Pool};
use crate::tuning::LiveTuning;

/// Who this process is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Its place in the cluster.
    pub node: NodeId,
    /// Which start of it this is.
    pub incarnation: Incarnation,
    /// Configuration number of all its partitions, drawn at this start.
    pub cfg: Cfg,
    /// When it started.
    pub started: Instant,
}

/// Everything that workers share.
pub struct Dispatcher {
    map: Arc<ClusterMap>,
    identity: Identity,
    partitions: Partitions,
    clients: ClientTable,
    dedup_budget: DedupBudget,
    memory: Arc<MemoryAccount>,
    pool: Arc<Pool>,
    workers_metrics: Vec<Arc<WorkerMetrics>>,
    acceptor_metrics: AcceptorMetrics,
    tuning: LiveTuning,
    stop: Sender<StopReason>,
    /// Set once, when the daemon begins to stop.
    is_stopping: AtomicBool,
    /// RESP connections so far.
    resp_connections: AtomicU64,
}

impl Dispatcher {
    /// A dispatcher for the partitions that `map` gives to `identity.node`, all empty.
    #[must_use]
    pub fn new(
        map: Arc<ClusterMap>,
        identity: Identity,
        memory: Arc<MemoryAccount>,
        workers_metrics: Vec<Arc<WorkerMetrics>>,
        stop: Sender<StopReason>,
    ) -> Dispatcher {
        let pool = Pool::new(Arc::clone(&memory));
        let host = |partition| {
            let mine = map.partition(partition)?.primary == identity.node;
            mine.then(|| {
                Hosted::new(Partition::new(
                    partition,
                    map.ring(),
                    map.hash_key(),
                    identity.cfg,
                    Arc::clone(&pool),
                ))
            })
        };
        let partitions = Partitions::new(map.ring().partitions().map(host));
        let dedup_bytes_max = DEDUP_BYTES_MAX.min(memory.limit_bytes() / DEDUP_MEMORY_SHARE);
        let dedup_budget = DedupBudget::new(dedup_bytes_max, Arc::clone(&memory));
        let clients = ClientTable::default();
        Dispatcher {
            map,
            identity,
            partitions,
            clients,
            dedup_budget,
            memory,
            pool,
            workers_metrics,
            acceptor_metrics: AcceptorMetrics::default(),
            tuning: LiveTuning::default(),
            stop,
            is_stopping: AtomicBool::new(false),
            resp_connections: AtomicU64::new(0),
        }
    }

    /// What this node says of itself to other daemons.
    #[must_use]
    pub fn greeting(&self) -> PeerHello {
        PeerHello {
            cluster_id: self.map.cluster_id(),
            incarnation: self.identity.incarnation,
            node: self.identity.node,
            age_ms: self.identity.started.elapsed().as_millis() as u64,
        }
    }

    /// Compares another daemon's greeting with the one that this node sent in the same exchange, and stops this
    /// process where it is the one to give way. A node on its own has no peers, and whoever greets it is mistaken.
    pub fn judge_peer(&self, ours: &PeerHello, theirs: &PeerHello) {
        if self.map.nodes().len() == 1 {
            return;
        }
        if let greeting::Verdict::GiveWay(why) = greeting::judge(ours, theirs) {
            // A full channel means that the process is stopping already.
            let _ = self.stop.try_send(StopReason::Fatal(why));
        }
    }

    /// One round of housekeeping over all partitions: compaction, shrinking, outcomes that may go; then memory that has
    /// become idle goes back to the system. Takes each lock for one bounded step at a time; `go_on` is asked between two.
    pub fn keep_house(&self, mut go_on: impl FnMut() -> bool) {
        for slice in 0..self.housekeeping_slices_count() {
            self.keep_house_in(slice, &mut go_on);
        }
        self.trim();
    }

    /// The parts of a round. Between two of them others should have the processor.
    #[must_use]
    pub fn housekeeping_slices_count(&self) -> usize {
        self.partitions.count().div_ceil(HOUSEKEEPING_SLICE_PARTITIONS).max(1)
    }

    /// One part of a round.
    ///
    /// A partition that has been written to since the last round is left to its writes, which pay for its compaction: to have
    /// less of it dead than they do would only move the same entries more often. Not so where memory is short.
    pub fn keep_house_in(&self, slice: usize, mut go_on: impl FnMut() -> bool) {
        let partitions = self.partitions.iter().skip(slice * HOUSEKEEPING_SLICE_PARTITIONS);
        for hosted in partitions.take(HOUSEKEEPING_SLICE_PARTITIONS) {
            let memory_is_short =
                self.memory.used_bytes() >= self.memory.limit_bytes() / 100 * MEMORY_SHORT_PERCENT;
            let is_due = self.visit(hosted) || memory_is_short || self.pool.is_shrinking();
            while is_due && go_on() && self.keep_house_step(hosted, memory_is_short) {
                if hosted.is_wanted() {
                    // Who waits for this lock is woken when it is let go, and would find it taken again, for as long as there
                    // is work.
                    thread::sleep(Duration::from_millis(HOUSEKEEPING_STEP_PAUSE_MS));
                }
            }
        }
    }

    /// The end of a round: memory that has become idle goes back to the system.
    pub fn trim(&self) {
        self.pool.trim();
    }

    /// Lets outcomes go; says whether the partition has been at rest since the last visit.
    fn visit(&self, hosted: &Hosted) -> bool {
        let mut guard = hosted.lock();
        guard.dedup.sweep(HOUSEKEEPING_RECORDS_MAX);
        guard.dedup.shrink(&self.dedup_budget);
        let writes_count = guard.store.writes_count();
        std::mem::replace(&mut guard.writes_seen_count, writes_count) == writes_count
    }

    fn keep_house_step(&self, hosted: &Hosted, memory_is_short: bool) -> bool {
        self.pool.stock_up();
        hosted.lock().store.maintain(memory_is_short).more
    }

    /// Checks every invariant of every partition. Cost: visits everything, under one lock after the other. For tests.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn check_invariants(&self) {
        self.partitions.iter().for_each(|hosted| hosted.lock().store.check_invariants());
    }

    /// From now on the node says that it stops. It answers all the same until its connections are closed.
    pub fn begin_stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    /// Whether it has begun to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// A number for one more RESP connection, from 1.
    pub(crate) fn number_resp_connection(&self) -> u64 {
        self.resp_connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The map in force.
    #[must_use]
    pub fn map(&self) -> &Arc<ClusterMap> {
        &self.map
    }

    /// Who this process is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn partitions(&self) -> &Partitions {
        &self.partitions
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn clients(&self) -> &ClientTable {
        &self.clients
    }

    pub(crate) fn dedup_budget(&self) -> &DedupBudget {
        &self.dedup_budget
    }

    /// The account that every buffer of the process is charged to.
    #[must_use]
    pub fn memory(&self) -> &Arc<MemoryAccount> {
        &self.memory
    }

    /// The settings that may change while it serves.
    #[must_use]
    pub fn tuning(&self) -> &LiveTuning {
        &self.tuning
    }

    pub(crate) fn acceptor_metrics(&self) -> &AcceptorMetrics {
        &self.acceptor_metrics
    }

    pub(crate) fn workers_metrics(&self) -> &[Arc<WorkerMetrics>] {
        &self.workers_metrics
    }
}
