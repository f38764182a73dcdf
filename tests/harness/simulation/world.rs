//! One seed: all that there is in it, and the loop that takes one event after the other.

use std::sync::Arc;
use std::time::Instant;

use dht_protocol::ids::{Epoch, PartitionId};
use dht_protocol::placement::replica_map::ReplicaMap;
use dht_protocol::placement::ring::Ring;

use crate::linearizability::Record;
use crate::random::Random;

use super::client::{SimClient, TicketInfo};
use super::clock::TRUE_RATE;
use super::coordination::{CoordinatorHost, address_at};
use super::eras::Beginning;
use super::lives::new_client_id;
use super::losses::Latecomer;
use super::machines::WriteTokens;
use super::network::Network;
use super::process::{MEMORY_BYTES, SimNode};
use super::promises::Promises;
use super::queue::{Event, MS, Queue, SECOND};
use super::report::{Finding, SeedReport};
use super::scenario::{Kind, PARTITIONS, Scenario};
use super::sequences::Sequence;
use super::serving::Serving;
use super::session::{Sessions, SlotRef};
use super::trace::Trace;
use super::workload::Workload;

/// Between two looks at everything, nanoseconds.
const INSPECTION: u64 = 20 * MS;
/// Looks at everything between two checks of all invariants.
const INVARIANTS_EVERY: u64 = 50;

/// A cluster, its clients, and what watches them.
pub(super) struct World<'a> {
    pub(super) scenario: Scenario,
    pub(super) random: Random,
    pub(super) queue: Queue,
    pub(super) network: Network,
    pub(super) nodes: Vec<SimNode>,
    pub(super) coordinator: CoordinatorHost,
    pub(super) sessions: Sessions,
    pub(super) clients: Vec<SimClient<'a>>,
    /// Of clients that have not come yet.
    pub(super) tokens: std::slice::Iter<'a, WriteTokens>,
    pub(super) tickets: Vec<TicketInfo>,
    pub(super) workload: Workload,
    pub(super) history: Vec<Record>,
    pub(super) serving: Serving,
    pub(super) promises: Promises,
    /// Partitions that began again.
    pub(super) beginnings: Vec<Beginning>,
    /// The newest map that the coordinator has had stored.
    pub(super) decided: Epoch,
    /// The newest map that is out.
    pub(super) published: Option<Arc<ReplicaMap>>,
    pub(super) sequences: Vec<Sequence>,
    /// Until then nothing goes wrong at random.
    pub(super) calm_until: u64,
    /// The strike that counts.
    pub(super) next_strike_at: u64,
    pub(super) disturbed_at: u64,
    pub(super) moved_at: u64,
    /// The partition whose next primary is to be cut off from a backup while it takes over.
    pub(super) cut_at_promotion: Option<PartitionId>,
    /// Who is still to come back from a loss.
    pub(super) latecomer: Option<Latecomer>,
    /// And who is not to hear of maps that do not name it in this partition.
    pub(super) uninformed: Option<(u16, PartitionId)>,
    pub(super) weather_number: u32,
    /// Whether anything may go wrong.
    pub(super) is_chaos: bool,
    /// Whether clients begin calls.
    pub(super) takes_calls: bool,
    /// What the clients' machines take for time zero.
    pub(super) began: Instant,
    pub(super) trace: Trace<'a>,
    pub(super) report: SeedReport,
    pub(super) finding: Option<Finding>,
    /// Buffers for messages.
    pub(super) spare: Vec<Vec<u8>>,
    inspections: u64,
}

/// The numbers of a scenario's clients, which their open calls borrow: of those that there are at first, and of others that
/// take their places.
pub(super) fn write_tokens(scenario: &Scenario) -> Vec<WriteTokens> {
    (0..scenario.clients + scenario.lives).map(|_| WriteTokens::new()).collect()
}

impl<'a> World<'a> {
    /// The world of a scenario, in which nothing runs yet.
    ///
    /// # Panics
    /// Never: the number of partitions is a power of two.
    pub(super) fn new(scenario: Scenario, tokens: &'a [WriteTokens]) -> World<'a> {
        let mut random = Random::new(scenario.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1CE);
        let ring = Ring::new(PARTITIONS).expect("a power of two");
        let workload = Workload::new(&scenario, ring, &mut random);
        let mut rate = || TRUE_RATE * 9 / 10 + random.below(TRUE_RATE / 5);
        let nodes: Vec<SimNode> =
            (0..scenario.nodes).map(|at| SimNode::new(address_at(at), rate())).collect();
        let coordinator = CoordinatorHost::new(&scenario, ring, rate());
        let keys = workload.keys.len();
        let mut tokens = tokens.iter();
        let clients: Vec<SimClient<'a>> = tokens
            .by_ref()
            .take(scenario.clients)
            .map(|tokens| {
                let id = new_client_id(&mut random);
                SimClient::new(id, tokens, nodes.len(), scenario.slots, keys)
            })
            .collect();
        let ends = nodes.len() + 1 + clients.len();
        World {
            network: Network::new(ends, scenario.weather),
            serving: Serving::new(nodes.len()),
            promises: Promises::new(PARTITIONS),
            report: SeedReport { seed: scenario.seed, ..SeedReport::default() },
            scenario,
            random,
            queue: Queue::default(),
            nodes,
            coordinator,
            sessions: Sessions::default(),
            clients,
            tokens,
            tickets: Vec::new(),
            workload,
            history: Vec::new(),
            beginnings: Vec::new(),
            decided: Epoch(0),
            published: None,
            sequences: Vec::new(),
            calm_until: 0,
            next_strike_at: 0,
            disturbed_at: 0,
            moved_at: 0,
            cut_at_promotion: None,
            latecomer: None,
            uninformed: None,
            weather_number: 0,
            is_chaos: false,
            takes_calls: false,
            began: Instant::now(),
            trace: Trace::none(),
            finding: None,
            spare: Vec::new(),
            inspections: 0,
        }
    }

    /// The coordinator's place in the network.
    pub(super) fn coordinator_end(&self) -> u16 {
        self.nodes.len() as u16
    }

    /// A client's place in the network.
    pub(super) fn client_end(&self, client: u16) -> u16 {
        self.nodes.len() as u16 + 1 + client
    }

    /// How many places there are.
    pub(super) fn ends_count(&self) -> usize {
        self.nodes.len() + 1 + self.clients.len()
    }

    /// Something is wrong. What is found first counts.
    pub(super) fn fail(&mut self, text: String) {
        if self.finding.is_none() {
            let at = self.queue.now();
            self.trace.say(at, format!("FOUND: {text}"));
            self.finding = Some(Finding { seed: self.scenario.seed, at, text });
        }
    }

    /// Takes two numbers into the digest of all that happens.
    pub(super) fn digest(&mut self, one: u64, other: u64) {
        let sum = self.report.digest ^ one.rotate_left(32) ^ other;
        self.report.digest = sum.wrapping_mul(0x2545_F491_4F6C_DD1D).rotate_left(17);
    }

    /// Starts everything.
    pub(super) fn start(&mut self) {
        self.start_coordinator();
        for node in 0..self.nodes.len() as u16 {
            let soon = self.random.below(200 * MS);
            self.plan(soon, super::injected::Ending::Restart(node));
        }
        self.queue.after(INSPECTION, Event::Inspect);
    }

    /// Goes on until `until`, or something is found, or `is_done` says so (asked at every look at everything).
    pub(super) fn run_until(&mut self, until: u64, mut is_done: impl FnMut(&World<'a>) -> bool) -> bool {
        while self.finding.is_none() && self.queue.now() < until {
            let Some(event) = self.queue.pop() else { break };
            self.report.events += 1;
            let looks = matches!(event, Event::Inspect);
            self.handle_event(event);
            if looks && is_done(self) {
                return true;
            }
        }
        false
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::NodeTick { node, start } => self.node_tick(node, start),
            Event::CoordinatorTick { start } => self.coordinator_tick(start),
            Event::Datagram { to, datagram } => {
                if to == self.coordinator_end() {
                    self.on_coordinator_datagram(datagram);
                } else {
                    self.on_datagram(to, datagram);
                }
            }
            Event::Up(session) => self.on_up(session),
            Event::Down(session) => self.on_down(session),
            Event::Stored { start } => self.on_stored(start),
            Event::Read { start } => self.on_read(start),
            Event::Slot { client, slot, generation } => self.slot_wakes(client, SlotRef { slot, generation }),
            Event::Strike => self.strike(),
            Event::Ending(ending) => self.on_ending(ending),
            Event::Inspect => self.inspect(),
        }
    }

    /// A look at everything.
    fn inspect(&mut self) {
        self.queue.after(INSPECTION, Event::Inspect);
        self.inspections += 1;
        self.look_for_latecomer();
        if !self.sequences.is_empty() {
            self.step_sequences();
        }
        if self.inspections.is_multiple_of(INVARIANTS_EVERY) && self.scenario.kind != Kind::Wide {
            self.check_bounds();
        }
    }

    /// Every machine's own invariants; memory and queues.
    pub(super) fn check_bounds(&mut self) {
        let mut wrong = None;
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(process) = &node.process else { continue };
            process.machine.check_invariants();
            // Entries that were prepared may be applied past a limit that was lowered; none of that is much.
            let used = process.account.used_bytes();
            if used > MEMORY_BYTES {
                wrong = Some(format!("n{at} uses {used} bytes of memory, {MEMORY_BYTES} are the limit"));
            }
            for partition in (0..PARTITIONS).map(PartitionId) {
                let Some(replica) = process.machine.replica(partition) else { continue };
                let (prepared, queued, outcomes) = (replica.prepared, replica.queued, replica.outcomes);
                if let Some(text) = super::bounds::excess(prepared, queued, outcomes) {
                    wrong = Some(format!("n{at}, partition {partition}: {text}"));
                }
            }
        }
        if let Some(text) = wrong {
            self.fail(text);
        }
    }

    /// Whether every partition has all the copies that it can have, and everybody knows the map that says so.
    pub(super) fn is_whole(&self) -> bool {
        let Some(map) = &self.published else { return false };
        let copies = self.nodes.len().min(self.scenario.settings.replicas as usize);
        let knows = |node: &SimNode| {
            let known = node.process.as_ref().and_then(|process| process.machine.map());
            known.is_some_and(|known| known.epoch == map.epoch)
        };
        map.partitions.iter().all(|held| held.joining.is_empty() && held.in_sync().count() == copies)
            && self.nodes.iter().all(knows)
            && map.nodes.len() == self.nodes.len()
    }

    /// What keeps the cluster from being whole.
    pub(super) fn what_is_missing(&self) -> String {
        let Some(map) = &self.published else { return "no map is out".to_owned() };
        let copies = self.nodes.len().min(self.scenario.settings.replicas as usize);
        for (at, held) in map.partitions.iter().enumerate() {
            if !held.joining.is_empty() || held.in_sync().count() != copies {
                return format!("partition {at} is {held:?} in map {}", map.epoch.0);
            }
        }
        let epochs: Vec<u32> = self
            .nodes
            .iter()
            .map(|node| {
                let known = node.process.as_ref().and_then(|process| process.machine.map());
                known.map_or(0, |known| known.epoch.0)
            })
            .collect();
        format!("map {} is out with {} nodes, and the nodes have {epochs:?}", map.epoch.0, map.nodes.len())
    }

    /// Clients begin calls from now on.
    pub(super) fn open_for_calls(&mut self) {
        self.takes_calls = true;
        for client in 0..self.clients.len() as u16 {
            for slot in 0..self.scenario.slots as u16 {
                let soon = self.random.below(100 * MS);
                let generation = self.clients[client as usize].slots[slot as usize].generation;
                self.queue.after(soon, Event::Slot { client, slot, generation });
            }
        }
    }

    /// Whether no call is open.
    pub(super) fn is_idle(&self) -> bool {
        self.clients.iter().all(|client| client.slots.iter().all(|slot| slot.call.is_none()))
    }

    /// Faults begin.
    pub(super) fn begin_chaos(&mut self) {
        self.is_chaos = true;
        let soon = self.random.below(SECOND);
        self.next_strike_at = self.queue.now() + soon;
        self.queue.after(soon, Event::Strike);
    }
}
