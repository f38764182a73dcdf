//! The dispatcher: takes a batch of frames and appends their answers, in order.
//!
//! A batch goes through three passes (read and hash all, prefetch all, look up and answer all), so that the
//! waits for memory of different requests overlap. Answers come in the order of requests, so two requests on one
//! key are never swapped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use dht_protocol::error::RequestError;
use dht_protocol::frame;
use dht_protocol::header::Header;
use dht_protocol::ids::{Cfg, Incarnation, NodeId, PartitionId};
use dht_protocol::peer::PeerHello;
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::request::Request;
use dht_protocol::response::{Refusal, Response, response_header};
use dht_protocol::status::Status;

use super::hosted::Hosted;
use super::output::Output;
use super::session::Session;
use super::slow::{SlowRequest, SlowWatch};
use crate::cluster::greeting;
use crate::control::StopReason;
use crate::limits::{
    BATCH_REQUESTS_MAX, DEDUP_BYTES_MAX, DEDUP_MEMORY_SHARE, HOUSEKEEPING_RECORDS_MAX,
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

/// A request's frame in a read buffer.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its header.
    pub header: Header,
    /// Its body.
    pub body: &'a [u8],
}

/// Where answering a batch stops; what is left waits.
#[derive(Clone, Copy, Debug)]
pub struct AnswerBounds {
    /// Once so many bytes of answers wait.
    pub output_bytes_max: usize,
    /// Once it is so late, looked at after each request that may take long.
    pub turn_ends: Instant,
    /// Requests that take so long, nanoseconds, are told of; `None`: none is timed.
    pub slow_ns: Option<u64>,
}

/// How far a batch came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchEnd {
    /// Frames answered; the others wait until the peer has taken some answers.
    pub frames_done: usize,
    /// Those that took as long as was asked for.
    pub slow: Vec<SlowRequest>,
    /// Statuses of the frames that were refused as not following PROTOCOL.md.
    refused: Vec<Status>,
    /// Whether the connection must be closed once its answers are out.
    pub close: bool,
}

/// Everything that workers share.
pub struct Dispatcher {
    map: Arc<ClusterMap>,
    identity: Identity,
    /// By partition number; `None`: not served here.
    partitions: Box<[Option<Hosted>]>,
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

/// A frame after the first pass.
enum Prepared<'a> {
    Request { request: Request<'a>, hash: Option<KeyHash> },
    Refused(RequestError),
}

impl BatchEnd {
    /// Statuses of the frames that were refused as not following PROTOCOL.md.
    pub fn refused(&self) -> impl Iterator<Item = Status> {
        self.refused.iter().copied()
    }
}

impl Prepared<'_> {
    /// Whether answering it may touch thousands of entries or copy megabytes.
    fn may_take_long(&self) -> bool {
        matches!(
            self,
            Prepared::Request { request: Request::Scan(_) | Request::Append { .. } | Request::Stats, .. }
        )
    }
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
        let partitions = map.ring().partitions().map(host).collect();
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

    /// Answers `frames`, at most `BATCH_REQUESTS_MAX` of them, until all are done or a bound is reached.
    pub fn answer(
        &self,
        session: &mut Session,
        frames: &[Frame<'_>],
        output: &mut Output,
        bounds: AnswerBounds,
        metrics: &WorkerMetrics,
    ) -> BatchEnd {
        let frames = &frames[..frames.len().min(BATCH_REQUESTS_MAX)];
        let mut prepared: [Option<Prepared<'_>>; BATCH_REQUESTS_MAX] = [const { None }; BATCH_REQUESTS_MAX];
        for (slot, frame) in prepared.iter_mut().zip(frames) {
            *slot = Some(self.prepare(frame));
        }
        if frames.len() > 1 {
            self.prefetch(&prepared[..frames.len()]);
        }
        let mut end = BatchEnd { frames_done: 0, slow: Vec::new(), refused: Vec::new(), close: false };
        let mut watch = bounds.slow_ns.map(SlowWatch::start);
        for (slot, frame) in prepared.iter().zip(frames) {
            if output.bytes() >= bounds.output_bytes_max {
                break;
            }
            let Some(prepared) = slot else { break };
            let bytes_before = output.bytes();
            let status = match prepared {
                Prepared::Refused(error) => {
                    end.refused.push(error.status);
                    self.refuse(frame, Refusal::Other(error.status, error.text.into()), output)
                }
                Prepared::Request { request, hash } => {
                    metrics.count_request(request.op());
                    self.answer_one(session, frame, request, *hash, output)
                }
            };
            metrics.count_answer(status);
            end.frames_done += 1;
            if let Some(watch) = &mut watch {
                let answer_bytes = output.bytes() - bytes_before;
                end.slow.extend(watch.lap(frame, answer_bytes, self.partition_of(prepared)));
            }
            if status == Status::UnknownVersion {
                end.close = true;
                break;
            }
            if prepared.may_take_long() && Instant::now() >= bounds.turn_ends {
                break;
            }
        }
        end
    }

    /// First pass: read and hash.
    #[inline]
    fn prepare<'a>(&self, frame: &Frame<'a>) -> Prepared<'a> {
        match Request::decode(&frame.header, frame.body) {
            Err(error) => Prepared::Refused(error),
            Ok(request) => {
                let key = match &request {
                    Request::Get { key }
                    | Request::Exists { key }
                    | Request::Put { key, .. }
                    | Request::Delete { key, .. }
                    | Request::Add { key, .. }
                    | Request::Append { key, .. } => Some(key),
                    Request::Hello(_)
                    | Request::Map
                    | Request::Ping
                    | Request::Stats
                    | Request::Scan(_)
                    | Request::PeerHello(_) => None,
                };
                let hash = key.map(|key| self.hash_of(*key));
                Prepared::Request { request, hash }
            }
        }
    }

    /// Which partition a request asks for, if it asks for one.
    fn partition_of(&self, prepared: &Prepared<'_>) -> Option<PartitionId> {
        match prepared {
            Prepared::Request { hash, .. } => hash.map(|hash| self.map.owners(hash).partition),
            Prepared::Refused(_) => None,
        }
    }

    /// Second pass: ask for the memory that the third will touch, slots first and then the entries they name.
    fn prefetch(&self, prepared: &[Option<Prepared<'_>>]) {
        let hash_of = |slot: &Option<Prepared<'_>>| match slot {
            Some(Prepared::Request { hash, .. }) => *hash,
            Some(Prepared::Refused(_)) | None => None,
        };
        self.prefetch_hashes(prepared.iter().filter_map(hash_of));
    }

    /// Third pass: look up and answer.
    fn answer_one(
        &self,
        session: &mut Session,
        frame: &Frame<'_>,
        request: &Request<'_>,
        hash: Option<KeyHash>,
        output: &mut Output,
    ) -> Status {
        if !session.allows(request.op()) {
            return self.refuse(frame, Refusal::of(Status::HelloRequired), output);
        }
        if let Some(hash) = hash {
            return match self.route(hash, frame.header.epoch) {
                Ok(hosted) => self.answer_key(session, frame, request, hash, hosted, output),
                Err(not_owner) => self.refuse(frame, Refusal::NotOwner(not_owner), output),
            };
        }
        let response = match request {
            Request::Scan(scan) => return self.answer_scan(frame, scan, output),
            Request::Hello(hello) => match session.greet(hello, self) {
                Ok(answer) => Response::Hello(answer),
                Err(refusal) => Response::Refused(refusal),
            },
            Request::Map => {
                return self.answer_map(frame, output);
            }
            Request::Ping => Response::Pong,
            Request::Stats => Response::Stats(self.stats()),
            Request::PeerHello(theirs) => {
                let ours = self.greeting();
                self.judge_peer(&ours, theirs);
                Response::PeerHello(ours)
            }
            Request::Get { .. }
            | Request::Exists { .. }
            | Request::Put { .. }
            | Request::Delete { .. }
            | Request::Add { .. }
            | Request::Append { .. } => {
                unreachable!("requests with a key have a hash and are answered above")
            }
        };
        self.respond(frame, &response, output)
    }

    fn answer_map(&self, frame: &Frame<'_>, output: &mut Output) -> Status {
        let header = response_header(Status::Ok, frame.header.request_id, self.map.epoch());
        output.append(|out| {
            let start = frame::begin(out, &header);
            self.map.encode(out);
            frame::finish(out, start);
        });
        Status::Ok
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

    #[inline]
    pub(crate) fn respond(&self, frame: &Frame<'_>, response: &Response<'_>, output: &mut Output) -> Status {
        output.append(|out| response.encode(frame.header.request_id, self.map.epoch(), out));
        response.status()
    }

    pub(crate) fn refuse(&self, frame: &Frame<'_>, refusal: Refusal<'_>, output: &mut Output) -> Status {
        self.respond(frame, &Response::Refused(refusal), output)
    }

    /// One round of housekeeping over all partitions: compaction, shrinking, outcomes that may go; then memory that has
    /// become idle goes back to the system. Takes each lock for one bounded step at a time; `go_on` is asked between two.
    pub fn keep_house(&self, mut go_on: impl FnMut() -> bool) {
        for hosted in self.partitions.iter().flatten() {
            let memory_is_short =
                self.memory.used_bytes() >= self.memory.limit_bytes() / 100 * MEMORY_SHORT_PERCENT;
            self.sweep_outcomes(hosted);
            while go_on() && self.keep_house_step(hosted, memory_is_short) {
                if hosted.is_wanted() {
                    // Who waits for this lock is woken when it is let go, and would find it taken again, for as long as there
                    // is work.
                    thread::sleep(Duration::from_millis(HOUSEKEEPING_STEP_PAUSE_MS));
                }
            }
        }
        self.pool.trim();
    }

    fn sweep_outcomes(&self, hosted: &Hosted) {
        let mut guard = hosted.lock();
        guard.dedup.sweep(HOUSEKEEPING_RECORDS_MAX);
        guard.dedup.shrink(&self.dedup_budget);
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
        self.partitions.iter().flatten().for_each(|hosted| hosted.lock().store.check_invariants());
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

    pub(crate) fn partitions(&self) -> &[Option<Hosted>] {
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
