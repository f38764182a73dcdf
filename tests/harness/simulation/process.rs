//! A node as a process: an address that stays, and a machine with its memory that goes with every crash.

use std::collections::VecDeque;
use std::sync::Arc;

use dht_protocol::ids::Incarnation;
use dht_server::cluster::node::ClusterNode;
use dht_server::memory::MemoryAccount;
use dht_server::replication::limits::CopyPace;
use dht_server::store::{Pool, ReplicaPartition};

use super::clock::Clock;
use super::session::{SessionId, Up};

/// The machine under test, over the real store.
pub(super) type Machine = ClusterNode<ReplicaPartition>;

/// Most messages that wait for a process that is paused; its sockets hold no more, and what comes after is lost.
pub(super) const INBOX_MAX: usize = 4_096;
/// What a node may take of memory, unless it is to run out of it.
pub(super) const MEMORY_BYTES: u64 = 256 << 20;

/// What travels between processes: bytes, and which of three codecs they belong to.
#[derive(Clone, Debug)]
pub(super) enum Datagram {
    /// Node to node.
    Peer(Vec<u8>),
    /// Node to coordinator.
    ToCoordinator(Vec<u8>),
    /// Coordinator to node.
    FromCoordinator(Vec<u8>),
}

/// What waits for a process.
#[derive(Debug)]
pub(super) enum Input {
    /// A message of another process.
    Datagram(Datagram),
    /// A message of a client.
    Up(SessionId, Up),
}

/// A node.
pub(super) struct SimNode {
    /// Where others reach it.
    pub(super) address: String,
    /// How often it was started.
    pub(super) starts: u32,
    /// What runs there now.
    pub(super) process: Option<Process>,
    /// Rate of its clock, millionths; stays with the machine.
    pub(super) rate: u64,
    /// When the coordinator heard it last, and it the coordinator shortly before.
    pub(super) heard_at: u64,
    /// Turns of its workers by then.
    pub(super) heard_turns: u64,
    /// Numbers of the last Beats that were sent to it, and when.
    pub(super) beats: VecDeque<(u64, u64)>,
    /// When something was last wrong with it, or with what connects it.
    pub(super) unwell_at: u64,
    /// When it was last gone all of a sudden.
    pub(super) crashed_at: u64,
    /// When it last accused somebody.
    pub(super) accused_at: u64,
    /// Until then it is left alone: it is what another's crash has left.
    pub(super) protected_until: u64,
}

impl SimNode {
    /// A node that is to be started.
    pub(super) fn new(address: String, rate: u64) -> SimNode {
        SimNode {
            address,
            starts: 0,
            process: None,
            rate,
            heard_at: 0,
            heard_turns: 0,
            beats: VecDeque::new(),
            unwell_at: 0,
            crashed_at: 0,
            accused_at: 0,
            protected_until: 0,
        }
    }
}

/// A running node.
pub(super) struct Process {
    /// The machine.
    pub(super) machine: Machine,
    /// Its random name.
    pub(super) incarnation: Incarnation,
    /// Its memory.
    pub(super) account: Arc<MemoryAccount>,
    /// Its clock.
    pub(super) clock: Clock,
    /// How many pauses it is under: it does nothing.
    pub(super) pauses: u32,
    /// Since when it is paused without a break, if it is.
    pub(super) paused_since: u64,
    /// How many times its workers are stuck: beats and the coordinator's words go on, peers and clients wait.
    pub(super) stuck: u32,
    /// A tick was due while it was paused.
    pub(super) tick_is_due: bool,
    /// Turns that its workers have made.
    pub(super) turns: u64,
    /// What waits for the end of the pause.
    pub(super) inbox: VecDeque<Input>,
}

impl Process {
    /// A process that has just been started.
    pub(super) fn start(
        now: u64,
        clock: Clock,
        incarnation: Incarnation,
        address: &str,
        pace: CopyPace,
    ) -> Process {
        let account = MemoryAccount::new(MEMORY_BYTES);
        let pool = Pool::new(Arc::clone(&account));
        let stores = Box::new(move |partition, map: &dht_protocol::placement::replica_map::ReplicaMap| {
            ReplicaPartition::new(partition, map.ring, map.hash_key, Arc::clone(&pool))
        });
        let mut machine = ClusterNode::new(clock.local(now), incarnation, address.to_owned(), stores);
        machine.set_copy_pace(pace);
        Process {
            machine,
            incarnation,
            account,
            clock,
            pauses: 0,
            paused_since: 0,
            stuck: 0,
            tick_is_due: false,
            turns: 0,
            inbox: VecDeque::new(),
        }
    }

    /// It does nothing from now on.
    pub(super) fn pause(&mut self, now: u64) {
        if self.pauses == 0 {
            self.paused_since = now;
        }
        self.pauses += 1;
    }

    /// Whether it handles nothing at all.
    pub(super) fn is_paused(&self) -> bool {
        self.pauses > 0
    }

    /// Whether it handles `input` at once.
    pub(super) fn takes(&self, input: &Input) -> bool {
        let by_workers = !matches!(input, Input::Datagram(Datagram::FromCoordinator(_)));
        !self.is_paused() && (self.stuck == 0 || !by_workers)
    }

    /// Keeps `input` for later; `false`: there is no room.
    pub(super) fn keep(&mut self, input: Input) -> bool {
        let room = self.inbox.len() < INBOX_MAX;
        if room {
            self.inbox.push_back(input);
        }
        room
    }
}
