//! The coordinator's part of the world: its process, its store, and the maps that it publishes.

use std::collections::VecDeque;
use std::sync::Arc;

use dht_protocol::ids::ClusterId;
use dht_protocol::peer::{FromCoordinator, ToCoordinator};
use dht_protocol::placement::replica_map::ReplicaMap;
use dht_protocol::placement::ring::Ring;
use dht_server::cluster::coordinator::{Coordinator, CoordinatorAction, CoordinatorSettings};
use dht_server::timings;

use super::clock::Clock;
use super::process::{Datagram, INBOX_MAX};
use super::queue::{Event, MS, SECOND};
use super::scenario::Scenario;
use super::sim_store::SimStore;
use super::trace::Subject;
use super::workload::HASH_KEY;
use super::world::World;

/// The coordinator as a process, and the disk under it.
pub(super) struct CoordinatorHost {
    pub(super) settings: CoordinatorSettings,
    pub(super) machine: Option<Coordinator>,
    /// How often it was started.
    pub(super) starts: u32,
    pub(super) clock: Clock,
    pub(super) pauses: u32,
    tick_is_due: bool,
    inbox: VecDeque<Vec<u8>>,
    pub(super) store: SimStore,
    /// When it last was started, resumed or reached again, true time.
    pub(super) back_since: u64,
}

impl CoordinatorHost {
    /// A coordinator that is to be started.
    pub(super) fn new(scenario: &Scenario, ring: Ring, rate: u64) -> CoordinatorHost {
        let settings = CoordinatorSettings {
            cluster_id: ClusterId(u128::from(scenario.seed) | 1 << 100),
            ring,
            hash_key: HASH_KEY,
            settings: scenario.settings,
            expect: scenario.nodes,
        };
        CoordinatorHost {
            settings,
            machine: None,
            starts: 0,
            clock: Clock::new(0, 7 * SECOND, rate),
            pauses: 0,
            tick_is_due: false,
            inbox: VecDeque::new(),
            store: SimStore::default(),
            back_since: 0,
        }
    }

    /// The maps that may be the truth, or what the next is made from: what is durable, what is being written, and what the
    /// coordinator goes by (which is neither, where it does not know of a write that took place).
    pub(super) fn possible(&self) -> impl Iterator<Item = &Arc<ReplicaMap>> {
        self.store.possible().chain(self.machine.iter().filter_map(Coordinator::map))
    }

    /// Whether it does anything.
    pub(super) fn is_up(&self) -> bool {
        self.machine.is_some() && self.pauses == 0
    }
}

impl World<'_> {
    /// Starts the coordinator from what its store holds.
    pub(super) fn start_coordinator(&mut self) {
        let now = self.queue.now();
        let seed = self.random.next_u64();
        let host = &mut self.coordinator;
        if host.machine.is_some() {
            return;
        }
        host.starts += 1;
        host.back_since = now;
        let stored = host.store.read();
        host.machine = Some(Coordinator::new(host.clock.local(now), host.settings.clone(), stored, seed));
        let start = host.starts;
        if self.trace.wants(Subject::Cluster) {
            self.trace.say(now, "the coordinator starts");
        }
        self.queue.after(MS, Event::CoordinatorTick { start });
        self.drain_coordinator();
    }

    /// The coordinator's process is gone.
    pub(super) fn stop_coordinator(&mut self) {
        let now = self.queue.now();
        let host = &mut self.coordinator;
        if host.machine.take().is_none() {
            return;
        }
        host.store.crash(&mut self.random);
        host.inbox.clear();
        host.tick_is_due = false;
        if self.trace.wants(Subject::Cluster) {
            self.trace.say(now, "the coordinator crashes");
        }
    }

    /// The coordinator's turn.
    pub(super) fn coordinator_tick(&mut self, start: u32) {
        let now = self.queue.now();
        let host = &mut self.coordinator;
        if host.starts != start {
            return;
        }
        if host.pauses > 0 {
            host.tick_is_due = true;
            return;
        }
        let Some(machine) = host.machine.as_mut() else { return };
        machine.on_tick(host.clock.local(now));
        let span = host.clock.true_span(timings::COORDINATOR_TICK);
        self.queue.after(span, Event::CoordinatorTick { start });
        self.drain_coordinator();
    }

    /// A message arrives at the coordinator.
    pub(super) fn on_coordinator_datagram(&mut self, datagram: Datagram) {
        let Datagram::ToCoordinator(bytes) = datagram else { return };
        let now = self.queue.now();
        let host = &mut self.coordinator;
        let Some(machine) = host.machine.as_mut() else { return self.recycle(bytes) };
        if host.pauses > 0 {
            if host.inbox.len() < INBOX_MAX {
                host.inbox.push_back(bytes);
            }
            return;
        }
        match ToCoordinator::decode(&bytes) {
            Ok(message) => {
                if let ToCoordinator::Heartbeat(heartbeat) = &message {
                    let held = &mut self.nodes[place_of(&heartbeat.address) as usize];
                    let is_of_the_dead = held
                        .process
                        .as_ref()
                        .is_none_or(|process| process.incarnation != heartbeat.incarnation);
                    if is_of_the_dead && now > held.crashed_at + 300 * MS {
                        return self.recycle(bytes);
                    }
                    let echoed = held.beats.iter().find(|(number, _)| *number == heartbeat.echo);
                    if echoed.is_some_and(|(_, sent)| now < sent + 300 * MS)
                        && heartbeat.turns != held.heard_turns
                    {
                        held.heard_at = now;
                        held.heard_turns = heartbeat.turns;
                    }
                    if !heartbeat.accused.is_empty() {
                        held.accused_at = now;
                    }
                }
                machine.on_message(host.clock.local(now), message);
            }
            Err(error) => {
                return self.fail(format!("a message to the coordinator does not read back: {error:?}"));
            }
        }
        self.recycle(bytes);
        self.drain_coordinator();
    }

    /// The coordinator's pause is over.
    pub(super) fn resume_coordinator(&mut self) {
        let host = &mut self.coordinator;
        host.pauses = host.pauses.saturating_sub(1);
        if host.pauses > 0 || host.machine.is_none() {
            return;
        }
        host.back_since = self.queue.now();
        let start = host.starts;
        let tick_first = self.random.percent(60);
        if tick_first && std::mem::take(&mut self.coordinator.tick_is_due) {
            self.coordinator_tick(start);
        }
        for bytes in std::mem::take(&mut self.coordinator.inbox) {
            self.on_coordinator_datagram(Datagram::ToCoordinator(bytes));
        }
        if std::mem::take(&mut self.coordinator.tick_is_due) {
            self.coordinator_tick(start);
        }
    }

    /// The store has come to an end.
    pub(super) fn on_stored(&mut self, start: u32) {
        let now = self.queue.now();
        let host = &mut self.coordinator;
        if host.starts != start || host.machine.is_none() {
            return;
        }
        if host.pauses > 0 {
            return self.queue.after(20 * MS, Event::Stored { start });
        }
        let Some(outcome) = host.store.finish(&mut self.random) else { return };
        if let Some(machine) = host.machine.as_mut() {
            machine.on_stored(host.clock.local(now), outcome);
        }
        self.drain_coordinator();
    }

    /// The store answers with what it holds.
    pub(super) fn on_read(&mut self, start: u32) {
        let now = self.queue.now();
        let host = &mut self.coordinator;
        if host.starts != start {
            return;
        }
        if host.pauses > 0 {
            return self.queue.after(20 * MS, Event::Read { start });
        }
        let stored = host.store.read();
        if let Some(machine) = host.machine.as_mut() {
            machine.on_read(host.clock.local(now), stored);
        }
        self.drain_coordinator();
    }

    /// Does what the coordinator wants done.
    pub(super) fn drain_coordinator(&mut self) {
        let start = self.coordinator.starts;
        while let Some(machine) = self.coordinator.machine.as_mut() {
            let Some(action) = machine.poll_action() else { break };
            match action {
                CoordinatorAction::Send { address, incarnation: _, message } => {
                    self.send_from_coordinator(place_of(&address), &message);
                }
                CoordinatorAction::Store { map } => {
                    self.check_beginnings(&map);
                    if !self.coordinator.store.begin(map) {
                        return self
                            .fail("the coordinator stores a map before it knows of the last".to_owned());
                    }
                    let longest = if self.random.percent(5) { 400 * MS } else { 10 * MS };
                    let span = MS + self.random.below(longest);
                    self.queue.after(span, Event::Stored { start });
                    self.aim_at_store();
                }
                CoordinatorAction::Read => {
                    let span = MS + self.random.below(20 * MS);
                    self.queue.after(span, Event::Read { start });
                }
            }
        }
        self.check_halted();
    }

    fn check_halted(&mut self) {
        let halted = self.coordinator.machine.as_ref().and_then(Coordinator::halted);
        if let Some(halted) = halted {
            let text = format!("the coordinator halts, although its store was never put back: {halted:?}");
            self.fail(text);
        }
    }

    fn send_from_coordinator(&mut self, node: u16, message: &FromCoordinator) {
        match message {
            FromCoordinator::Map(map) => {
                self.on_published(map);
                if self.is_kept_from(node, map) {
                    return;
                }
            }
            FromCoordinator::Move { partition, .. } => {
                if self.trace.wants(Subject::Partition(*partition)) {
                    let now = self.queue.now();
                    self.trace.say(now, format!("coordinator -> n{node}: {message:?}"));
                }
            }
            FromCoordinator::Beat(beat) => {
                let beats = &mut self.nodes[node as usize].beats;
                if beats.len() == 8 {
                    beats.pop_front();
                }
                beats.push_back((beat.number, self.queue.now()));
            }
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        message.encode(&mut bytes);
        let from = self.coordinator_end();
        self.send(from, node, Datagram::FromCoordinator(bytes));
    }

    /// A map goes out.
    fn on_published(&mut self, map: &Arc<ReplicaMap>) {
        let now = self.queue.now();
        if let Err(text) = self.promises.on_map(map, self.coordinator.store.durable_epoch()) {
            return self.fail(text);
        }
        let before = match &self.published {
            Some(before) if before.epoch >= map.epoch => return,
            before => before.clone(),
        };
        self.published = Some(Arc::clone(map));
        if self.trace.wants(Subject::Cluster) {
            self.trace.say(now, format!("map {} is out", map.epoch.0));
        }
        let Some(before) = before else { return };
        self.note_beginnings(&before, map);
        for (at, (old, new)) in before.partitions.iter().zip(&map.partitions).enumerate() {
            if old.cfg == new.cfg {
                continue;
            }
            let partition = dht_protocol::ids::PartitionId(at as u32);
            if self.trace.wants(Subject::Partition(partition)) {
                self.trace.say(now, format!("map {}: partition {partition} is {new:?}", map.epoch.0));
            }
            self.report.promotions += u64::from(old.primary != new.primary);
            let joined = new.in_sync().filter(|member| old.in_sync().all(|other| other != *member)).count();
            self.report.additions += joined as u64;
            self.aim_at_change(partition, old, new);
        }
        self.check_calm_edit(&before, map);
    }
}

/// The place of a node by its address.
pub(super) fn place_of(address: &str) -> u16 {
    address[1..]
        .bytes()
        .take_while(u8::is_ascii_digit)
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
}

/// The address of a place.
pub(super) fn address_at(node: usize) -> String {
    format!("n{node}:7400")
}
