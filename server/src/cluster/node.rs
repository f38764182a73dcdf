//! A node of a replicated cluster, without its sockets, threads and clock: the map that it knows, its replicas, the
//! leases that it holds and grants, its heartbeat.
//!
//! ```text
//!   on_tick, on_peer, on_coordinator, on_request ──▶ node ──▶ replica (one a partition)
//!                                                     │           │
//!                               poll_action ◀─────────┴───────────┘
//! ```
//!
//! Invariants:
//! 1. The map's epoch never falls. Everything that is sent carries it.
//! 2. There is a replica of a partition exactly where the map names this node with this incarnation.
//! 3. A message for another start of this node, or from a start that the configuration does not name, changes nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use dht_protocol::ids::{Epoch, Incarnation, Member, PartitionId};
use dht_protocol::peer::{At, FromCoordinator, PeerBody, PeerMessage, ToCoordinator};
use dht_protocol::placement::replica_map::{Configuration, ReplicaMap};
use dht_protocol::status::Status;

use super::heartbeat::Pulse;
use super::held::HeldMessages;
use crate::clock::Time;
use crate::memory::MemoryAccount;
use crate::planted::{Bug, is_planted};
use crate::replication::limits::{ACCUSED_MAX, CopyPace};
use crate::replication::operation::{KeyAnswer, KeyRequest, Ticket};
use crate::replication::replica_store::ReplicaStore;
use crate::replication::{Context, Floors, Leases, LogBudget, NodeAction, Replica, ReplicaView};
use crate::timings::{ACCUSATION, BEACON, BEAT};

/// Makes the empty table of a partition.
pub type MakeStore<S> = Box<dyn Fn(PartitionId, &ReplicaMap) -> S + Send>;

/// A node.
pub struct ClusterNode<S: ReplicaStore> {
    incarnation: Incarnation,
    make_store: MakeStore<S>,
    map: Option<Arc<ReplicaMap>>,
    me: Option<Member>,
    /// By partition; what this node has no replica of is `None`.
    replicas: Vec<Option<Replica<S>>>,
    leases: Leases,
    floors: Floors,
    budget: LogBudget,
    pulse: Pulse,
    /// Messages under configurations that are not known here yet.
    held: HeldMessages,
    next_stream: u64,
    pace: CopyPace,
    beacons_at: Option<Time>,
    fetched_at: Option<Time>,
    /// Next partition whose outcomes are swept.
    swept: usize,
    actions: VecDeque<NodeAction>,
}

impl<S: ReplicaStore> ClusterNode<S> {
    /// A node that has just started, under an incarnation that has never been used. Others reach it at `address`.
    #[must_use]
    pub fn new(
        now: Time,
        incarnation: Incarnation,
        address: String,
        make_store: MakeStore<S>,
    ) -> ClusterNode<S> {
        ClusterNode {
            incarnation,
            make_store,
            map: None,
            me: None,
            replicas: Vec::new(),
            leases: Leases::default(),
            floors: Floors::default(),
            budget: LogBudget::default(),
            pulse: Pulse::new(now, incarnation, address),
            held: HeldMessages::default(),
            next_stream: 0,
            pace: CopyPace::FULL,
            beacons_at: None,
            fetched_at: None,
            swept: 0,
            actions: VecDeque::new(),
        }
    }

    /// How fast newcomers are filled from here.
    pub fn set_copy_pace(&mut self, pace: CopyPace) {
        self.pace = pace;
    }

    /// Charges what logs and outcomes take to `account`, and bounds it by `log_bytes_max`.
    pub fn set_memory(&mut self, account: Arc<MemoryAccount>, log_bytes_max: u64) {
        self.budget = self.budget.moved_to(account, log_bytes_max);
    }

    /// What logs and outcomes take.
    #[must_use]
    pub fn budget(&self) -> &LogBudget {
        &self.budget
    }

    /// What it knows of clients: sessions that open and close are told to it.
    pub fn floors(&mut self) -> &mut Floors {
        &mut self.floors
    }

    /// The next thing to do, until there is none. Every other call may bring more.
    pub fn poll_action(&mut self) -> Option<NodeAction> {
        self.actions.pop_front()
    }

    /// The map that it knows.
    #[must_use]
    pub fn map(&self) -> Option<&Arc<ReplicaMap>> {
        self.map.as_ref()
    }

    /// Who it is, once a map lists it.
    #[must_use]
    pub fn member(&self) -> Option<Member> {
        self.me
    }

    /// Time has passed; `turns` counts those of its slowest worker. Called every [`crate::timings::TICK`].
    pub fn on_tick(&mut self, now: Time, turns: u64) {
        if self.pulse.is_due(now) {
            let accused = self.accused(now);
            let (epoch, checksum) = match &self.map {
                Some(map) => (map.epoch, self.pulse.checksum_of(map)),
                None => (Epoch(0), 0),
            };
            let node = self.me.map(|me| me.node);
            let heartbeat = self.pulse.beat(now, node, epoch, checksum, turns, accused);
            self.actions.push_back(NodeAction::Coordinator(ToCoordinator::Heartbeat(heartbeat)));
        }
        if self.me.is_some() && self.beacons_at.is_none_or(|at| now.since(at) >= BEACON) {
            self.beacons_at = Some(now);
            for (member, number) in self.leases.ask(now) {
                self.send(member, PeerBody::Beacon { number });
            }
        }
        for place in 0..self.replicas.len() {
            if self.replicas[place].as_ref().is_some_and(|replica| !replica.is_at_rest()) {
                self.with_replica(now, place, Replica::on_tick);
            }
        }
        if !self.replicas.is_empty() {
            self.swept = (self.swept + 1) % self.replicas.len();
            self.with_replica(now, self.swept, Replica::sweep);
        }
    }

    /// Another node has sent something.
    pub fn on_peer(&mut self, now: Time, message: PeerMessage) {
        let Some(me) = self.me else { return };
        if message.to != me {
            return; // For an earlier start of this node.
        }
        self.note_epoch(now, message.epoch);
        let at = match &message.body {
            PeerBody::Beacon { number } => {
                let number = *number;
                self.leases.note_granted(now);
                return self.send(message.from, PeerBody::Grant { number });
            }
            PeerBody::Grant { number } => {
                let epoch = self.epoch();
                return self.leases.on_grant(now, message.from, *number, message.epoch, epoch);
            }
            PeerBody::Prepare { at, .. }
            | PeerBody::Prepared { at, .. }
            | PeerBody::CopyRequest { at, .. }
            | PeerBody::Copy { at, .. }
            | PeerBody::CopyAck { at, .. } => *at,
        };
        self.on_partition_message(now, at, message);
    }

    fn on_partition_message(&mut self, now: Time, at: At, message: PeerMessage) {
        let known = self.map.as_ref().and_then(|map| map.partition(at.partition)).map(|config| config.cfg);
        let Some(known) = known else { return };
        if at.cfg > known && !is_planted(Bug::SkipCfgCheck) {
            return self.held.push(message);
        }
        if at.cfg < known && !is_planted(Bug::SkipCfgCheck) {
            return;
        }
        let place = at.partition.0 as usize;
        self.with_replica(now, place, |replica, context| {
            replica.on_message(context, message.from, message.body);
        });
    }

    /// The coordinator has sent something.
    pub fn on_coordinator(&mut self, now: Time, message: FromCoordinator) {
        match message {
            FromCoordinator::Beat(beat) if beat.incarnation == self.incarnation => {
                self.pulse.on_beat(&beat, self.map.as_ref().map_or(Epoch(0), |map| map.epoch));
                self.note_epoch(now, beat.epoch);
            }
            FromCoordinator::Beat(_) => {}
            FromCoordinator::Map(map) => self.on_map(now, &map),
            FromCoordinator::Move { to, partition, cfg, target } => {
                if Some(to) == self.me {
                    let place = partition.0 as usize;
                    self.with_replica(now, place, |replica, context| replica.on_move(context, cfg, target));
                }
            }
        }
    }

    /// A client asks for something.
    pub fn on_request(&mut self, now: Time, ticket: Ticket, request: KeyRequest) {
        self.note_epoch(now, request.epoch);
        let place = self.map.as_ref().map(|map| map.ring.partition_of(request.hash).0 as usize);
        let is_here = place.is_some_and(|place| self.replicas[place].is_some());
        match place.filter(|_| is_here) {
            Some(place) => {
                self.with_replica(now, place, |replica, context| {
                    replica.on_request(context, ticket, request);
                });
            }
            None => {
                let status = if place.is_some() { Status::NotOwner } else { Status::Unavailable };
                let answer = KeyAnswer::refusal(status, self.epoch());
                self.actions.push_back(NodeAction::Answer(ticket, answer));
            }
        }
    }

    /// A map has come. A lower epoch, or the same, changes nothing.
    fn on_map(&mut self, now: Time, map: &Arc<ReplicaMap>) {
        let is_ours = self.map.as_ref().is_none_or(|known| known.cluster_id == map.cluster_id);
        if map.epoch <= self.epoch() || !is_ours {
            return;
        }
        let address = self.pulse.address();
        let id = map.nodes.iter().find(|node| node.address == address).map(|node| node.id);
        let Some(node) = id else { return };
        let mut me = Member { node, incarnation: self.incarnation };
        if is_planted(Bug::SkipIncarnationCheck)
            && let Some(earlier) =
                map.partitions.iter().flat_map(Configuration::members).find(|member| member.node == node)
        {
            me = earlier; // Whoever has that number is meant.
        }
        self.me = Some(me);
        self.map = Some(Arc::clone(map));
        self.pulse.on_map(map.epoch);
        self.leases.on_map(map.epoch);
        self.leases.want(now, wanted(map, me));
        self.replicas.resize_with(map.partitions.len(), || None);
        for (place, config) in map.partitions.iter().enumerate() {
            let partition = PartitionId(place as u32);
            let is_named = config.members().any(|member| member == me);
            if is_named && self.replicas[place].is_none() {
                let store = (self.make_store)(partition, map);
                self.with_context(now, |context, replicas| {
                    replicas[place] = Some(Replica::new(context, partition, config, store, map.hash_key));
                });
            } else if is_named {
                self.with_replica(now, place, |replica, context| replica.on_config(context, config));
            } else if let Some(replica) = self.replicas[place].take() {
                self.with_context(now, |context, _| replica.on_removed(context));
            }
        }
        for message in self.held.take() {
            self.on_peer(now, message);
        }
    }

    /// Somebody knows of a map of `epoch`. If that is newer than ours we want it.
    fn note_epoch(&mut self, now: Time, epoch: Epoch) {
        if epoch <= self.epoch() || self.fetched_at.is_some_and(|at| now.since(at) < BEAT / 2) {
            return;
        }
        if let Some(from) = self.me {
            self.fetched_at = Some(now);
            self.actions.push_back(NodeAction::Coordinator(ToCoordinator::FetchMap { from }));
        }
    }

    fn epoch(&self) -> Epoch {
        self.map.as_ref().map_or(Epoch(0), |map| map.epoch)
    }

    fn send(&mut self, to: Member, body: PeerBody) {
        let Some(from) = self.me else { return };
        let message = PeerMessage { from, to, epoch: self.epoch(), body };
        self.actions.push_back(NodeAction::Peer(message));
    }

    fn accused(&mut self, now: Time) -> Vec<Member> {
        let Some(since) = now.0.checked_sub(ACCUSATION.as_nanos() as u64).map(Time) else {
            return Vec::new();
        };
        let mut accused: Vec<Member> = Vec::new();
        self.with_context(now, |context, replicas| {
            for member in replicas.iter().flatten().flat_map(|replica| replica.accused(context, since)) {
                if !accused.contains(&member) && accused.len() < ACCUSED_MAX {
                    accused.push(member);
                }
            }
        });
        accused
    }

    /// Whether it would answer a read of that partition at this moment.
    pub fn is_serving(&mut self, now: Time, partition: PartitionId) -> bool {
        let mut serves = false;
        self.with_replica(now, partition.0 as usize, |replica, context| serves = replica.is_serving(context));
        serves
    }

    /// What can be seen of its replica of that partition, if it has one.
    #[must_use]
    pub fn replica(&self, partition: PartitionId) -> Option<ReplicaView<'_, S>> {
        self.replicas.get(partition.0 as usize)?.as_ref().map(Replica::view)
    }

    fn with_replica(&mut self, now: Time, place: usize, act: impl FnOnce(&mut Replica<S>, &mut Context<'_>)) {
        self.with_context(now, |context, replicas| {
            if let Some(replica) = replicas.get_mut(place).and_then(Option::as_mut) {
                act(replica, context);
            }
        });
    }

    fn with_context(&mut self, now: Time, act: impl FnOnce(&mut Context<'_>, &mut [Option<Replica<S>>])) {
        let (Some(me), Some(map)) = (self.me, &self.map) else { return };
        let mut context = Context {
            now,
            epoch: map.epoch,
            me,
            settings: map.settings,
            leases: &self.leases,
            floors: &mut self.floors,
            budget: &mut self.budget,
            coordinator_lease_end: self.pulse.lease_end(),
            next_stream: &mut self.next_stream,
            pace: self.pace,
            actions: &mut self.actions,
        };
        act(&mut context, &mut self.replicas);
    }

    /// Checks the invariants. For tests.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn check_invariants(&self) {
        self.held.check_invariants();
        let charged: u64 = self.replicas.iter().flatten().map(Replica::charged_bytes).sum();
        assert_eq!(charged, self.budget.used_bytes());
        let (Some(map), Some(me)) = (&self.map, self.me) else { return };
        for (replica, config) in self.replicas.iter().zip(&map.partitions) {
            let is_named = config.members().any(|member| member == me);
            assert_eq!(replica.is_some(), is_named);
            if let Some(replica) = replica {
                assert_eq!(replica.config().cfg, config.cfg);
                replica.check_invariants();
            }
        }
    }
}

/// Of whom a node wants leases: all other replicas of what it is primary of. (Those that are being filled, too: they will count.)
fn wanted(map: &ReplicaMap, me: Member) -> Vec<Member> {
    let own = map.partitions.iter().filter(|config| config.primary == me);
    let mut members: Vec<Member> = own
        .flat_map(|config| config.backups.iter().chain(&config.joining).copied())
        .filter(|member| member.node != me.node)
        .collect();
    members.sort_unstable_by_key(|member: &Member| (member.node, member.incarnation.0));
    members.dedup();
    members
}
