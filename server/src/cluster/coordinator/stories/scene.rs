//! The scene of the stories: a coordinator, its store, and nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dht_protocol::ids::{Cfg, ClusterId, Epoch, Incarnation, Member, PartitionId};
use dht_protocol::peer::{Beat, FromCoordinator, Heartbeat, ToCoordinator};
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::replica_map::{Configuration, OnLoss, ReplicaMap, Settings};
use dht_protocol::placement::ring::Ring;

use crate::clock::Time;
use crate::timings::{BEAT, COORDINATOR_TICK};

use super::super::{Coordinator, CoordinatorAction, CoordinatorSettings, StoreOutcome};

pub(super) const MS: Duration = Duration::from_millis(1);

/// What a node of a story knows and does.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) address: String,
    pub(super) incarnation: Incarnation,
    /// It sends heartbeats.
    pub(super) talks: bool,
    /// It hears what is sent to it.
    pub(super) listens: bool,
    /// Its workers go on.
    pub(super) works: bool,
    pub(super) number: u64,
    pub(super) turns: u64,
    pub(super) echo: u64,
    pub(super) map: Option<Arc<ReplicaMap>>,
    pub(super) beats: Vec<Beat>,
    pub(super) accuses: Vec<Member>,
}

/// A coordinator, its store, and nodes that send a heartbeat every [`BEAT`]; nothing takes time but what a story lets pass.
pub(super) struct Story {
    pub(super) now: Time,
    pub(super) settings: CoordinatorSettings,
    pub(super) coordinator: Coordinator,
    /// What the store holds.
    pub(super) stored: Option<ReplicaMap>,
    /// What the store answers from now on; `None`: nothing, until the story does.
    pub(super) outcome: Option<StoreOutcome>,
    /// Maps that were to be stored and have not been answered.
    pub(super) unanswered: Vec<Arc<ReplicaMap>>,
    /// Epochs of the maps that went out.
    pub(super) published: BTreeSet<u32>,
    pub(super) reads: usize,
    /// The map that was to be stored last.
    pub(super) tried: Option<Arc<ReplicaMap>>,
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) moves: Vec<(Member, PartitionId, Cfg, Member)>,
    pub(super) seed: u64,
}

pub(super) fn settings(replicas: u8, min_in_sync: u8, expect: usize) -> CoordinatorSettings {
    CoordinatorSettings {
        cluster_id: ClusterId(7),
        ring: Ring::new(16).unwrap(),
        hash_key: HashKey::GUESSABLE,
        settings: Settings { replicas, min_in_sync, on_loss: OnLoss::Wait, refill_delay_ms: 1_000 },
        expect,
    }
}

impl Story {
    pub(super) fn new(settings: CoordinatorSettings) -> Story {
        let now = Time(5_000_000_000);
        Story {
            now,
            coordinator: Coordinator::new(now, settings.clone(), None, 1),
            settings,
            stored: None,
            outcome: Some(StoreOutcome::Durable),
            unanswered: Vec::new(),
            published: BTreeSet::new(),
            reads: 0,
            tried: None,
            nodes: BTreeMap::new(),
            moves: Vec::new(),
            seed: 1,
        }
    }

    /// A cluster of nodes `a`, `b`, `c` and so on, in service.
    pub(super) fn begun(settings: CoordinatorSettings) -> Story {
        let mut story = Story::new(settings);
        for name in ["a", "b", "c", "d", "e"].iter().take(story.settings.expect) {
            story.start(name);
        }
        story.pass(400 * MS);
        assert_eq!(story.map().nodes.len(), story.settings.expect);
        story
    }

    /// A node starts, or starts again.
    pub(super) fn start(&mut self, name: &str) {
        self.seed += 1;
        let node = Node {
            address: format!("{name}:1"),
            incarnation: Incarnation(0xA000 + self.seed),
            talks: true,
            listens: true,
            works: true,
            number: 0,
            turns: 0,
            echo: 0,
            map: None,
            beats: Vec::new(),
            accuses: Vec::new(),
        };
        self.nodes.insert(name.to_owned(), node);
    }

    pub(super) fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(name).unwrap()
    }

    pub(super) fn crash(&mut self, name: &str) {
        let node = self.node(name);
        (node.talks, node.listens) = (false, false);
    }

    pub(super) fn heal(&mut self, name: &str) {
        let node = self.node(name);
        (node.talks, node.listens) = (true, true);
    }

    /// The start of a node that runs now, under the number that the map gives it.
    pub(super) fn member(&self, name: &str) -> Member {
        let node = &self.nodes[name];
        Member { node: self.map().node_at(&node.address).unwrap().id, incarnation: node.incarnation }
    }

    pub(super) fn map(&self) -> &ReplicaMap {
        self.coordinator.map().expect("the story has begun")
    }

    pub(super) fn at(&self, partition: PartitionId) -> Configuration {
        self.map().partition(partition).unwrap().clone()
    }

    /// Names of the nodes whose present start is a member, the primary first.
    pub(super) fn names(&self, members: impl IntoIterator<Item = Member>) -> Vec<&str> {
        let name = |member: Member| self.nodes.iter().find(|(name, _)| self.member(name) == member);
        members.into_iter().map(|member| name(member).map_or("?", |(name, _)| name.as_str())).collect()
    }

    /// Primary, backups, joining.
    pub(super) fn standing(&self, partition: PartitionId) -> (Vec<&str>, Vec<&str>) {
        let configuration = self.at(partition);
        (self.names(configuration.in_sync()), self.names(configuration.joining.iter().copied()))
    }

    pub(super) fn heartbeat(&mut self, name: &str) -> Heartbeat {
        let node = self.node(name);
        node.number += 1;
        node.turns += u64::from(node.works);
        Heartbeat {
            node: None,
            incarnation: node.incarnation,
            address: node.address.clone(),
            number: node.number,
            epoch: node.map.as_ref().map_or(Epoch(0), |map| map.epoch),
            checksum: node.map.as_ref().map_or(0, |map| map.checksum()),
            echo: node.echo,
            turns: node.turns,
            accused: node.accuses.clone(),
        }
    }

    pub(super) fn say(&mut self, message: ToCoordinator) {
        self.coordinator.on_message(self.now, message);
        self.act();
    }

    pub(super) fn beat(&mut self, name: &str) {
        let heartbeat = self.heartbeat(name);
        self.say(ToCoordinator::Heartbeat(heartbeat));
    }

    pub(super) fn act(&mut self) {
        while let Some(action) = self.coordinator.poll_action() {
            match action {
                CoordinatorAction::Send { address, incarnation, message } => {
                    self.deliver(&address, incarnation, message);
                }
                CoordinatorAction::Store { map } => {
                    self.unanswered.push(map);
                    if let Some(outcome) = self.outcome {
                        self.answer_store(outcome);
                    }
                }
                CoordinatorAction::Read => self.reads += 1,
            }
        }
        self.coordinator.check_invariants();
    }

    /// The store answers what it was asked last.
    pub(super) fn answer_store(&mut self, outcome: StoreOutcome) {
        let map = self.unanswered.pop().unwrap();
        self.tried = Some(Arc::clone(&map));
        if outcome == StoreOutcome::Durable {
            self.stored = Some(ReplicaMap::clone(&map));
        }
        self.coordinator.on_stored(self.now, outcome);
    }

    pub(super) fn deliver(&mut self, address: &str, incarnation: Incarnation, message: FromCoordinator) {
        if let FromCoordinator::Map(map) = &message {
            self.published.insert(map.epoch.0);
        }
        let to =
            self.nodes.values_mut().find(|node| node.address == address && node.incarnation == incarnation);
        let Some(node) = to.filter(|node| node.listens) else { return };
        match message {
            FromCoordinator::Beat(beat) => {
                assert_eq!(beat.incarnation, incarnation);
                node.echo = beat.number;
                node.beats.push(beat);
            }
            FromCoordinator::Map(map) => node.map = Some(map),
            FromCoordinator::Move { to, partition, cfg, target } => {
                self.moves.push((to, partition, cfg, target));
            }
        }
    }

    /// Lets time pass: a heartbeat of each node that talks every [`BEAT`], a tick every [`COORDINATOR_TICK`].
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now = self.now + 10 * MS;
            if self.now.0.is_multiple_of(BEAT.as_nanos() as u64) {
                for name in self.nodes.keys().cloned().collect::<Vec<_>>() {
                    if self.nodes[&name].talks {
                        self.beat(&name);
                    }
                }
            }
            if self.now.0.is_multiple_of(COORDINATOR_TICK.as_nanos() as u64) {
                self.coordinator.on_tick(self.now);
                self.act();
            }
        }
    }

    /// Lets time pass, in steps of 10 ms, in which nobody does anything.
    pub(super) fn pause(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    /// The coordinator starts again, from its store.
    pub(super) fn restart(&mut self) {
        self.seed += 1;
        self.unanswered.clear();
        self.reads = 0;
        self.coordinator = Coordinator::new(self.now, self.settings.clone(), self.stored.clone(), self.seed);
    }

    /// A partition whose primary is `name`.
    pub(super) fn led_by(&self, name: &str) -> PartitionId {
        let member = self.member(name);
        let map = self.map();
        map.ring.partitions().find(|&partition| map.partition(partition).unwrap().primary == member).unwrap()
    }
}
