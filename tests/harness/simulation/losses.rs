//! Losing everything: all in-sync replicas of a partition go at once. What was written is excused from then on; what is
//! written afterwards is not, and versions do not fall.

use dht_protocol::ids::{NodeId, PartitionId};
use dht_protocol::placement::replica_map::{Configuration, OnLoss, ReplicaMap};
use dht_server::cluster::coordinator::Loss;

use super::coordination::place_of;
use super::ending::mask_of;
use super::injected::Ending;
use super::queue::{MS, SECOND};
use super::report::FaultKind;
use super::world::World;

/// A replica that comes back after it was given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latecomer {
    node: u16,
    start: u32,
    partition: PartitionId,
    /// How many writes the partition has to have by then.
    writes: u64,
    /// Whether it is back.
    is_back: bool,
}

impl World<'_> {
    /// Clients stop, some partition is lost, somebody says so, and clients go on with other keys.
    pub(super) fn lose_everything(&mut self) {
        self.come_to_rest();
        if self.finding.is_some() {
            return;
        }
        self.write_everywhere();
        self.rest();
        self.check_history();
        self.check_agreement();
        let Some(map) = self.published.clone() else { return };
        let partition = *self.random.pick(&self.workload.partitions);
        let Some(held) = map.partition(partition).cloned() else { return };
        self.is_chaos = true;
        // Nobody else may be taken for dead meanwhile.
        self.calm_until = self.queue.now() + 60 * SECOND;
        let victims: Vec<u16> = held.in_sync().filter_map(|member| self.address_of(member.node)).collect();
        self.count(FaultKind::TotalLoss, || format!("{victims:?}, all of partition {partition}"));
        let returns_late = victims.len() > 1 && self.scenario.settings.on_loss == OnLoss::Wait;
        if returns_late {
            self.take_away_all_but_one(partition, &victims);
        } else {
            self.take_away(&victims);
        }
        // Whoever is stated to be dead, and is not, may serve on until it hears of it; and that may be anybody.
        self.serving.excused = mask_of(map.ring.partitions());
        self.settle_the_loss(partition, held.primary.node);
        self.is_chaos = false;
        self.rest();
        if returns_late {
            // Without the others it has no leases, so it serves nobody when it comes back.
            self.calm_until = self.queue.now() + 30 * SECOND;
        } else {
            self.calm_until = 0;
            self.come_to_rest();
        }
        self.rest();
        self.serving.excused = 0;
        self.history.clear();
        let (seed, ring) = (self.random.next_u64(), map.ring);
        self.workload.begin_anew(ring, seed);
        for client in &mut self.clients {
            client.seen = vec![dht_protocol::ids::Version::ABSENT; self.workload.keys.len()];
        }
        self.begin_chaos();
        self.open_for_calls();
    }

    /// One is only paused, until long after it has been given up, and comes back with what it had.
    fn take_away_all_but_one(&mut self, partition: PartitionId, victims: &[u16]) {
        let (late, others) = victims.split_first().expect("a partition has a replica");
        let held = &self.nodes[*late as usize];
        let replica = held.process.as_ref().and_then(|process| process.machine.replica(partition));
        let written = replica.map_or(0, |replica| replica.commit.seq());
        let writes = written + self.random.below(10);
        let latecomer = Latecomer { node: *late, start: held.starts, partition, writes, is_back: false };
        self.latecomer = Some(latecomer);
        self.uninformed = Some((*late, partition));
        self.pause(*late, 40 * SECOND);
        for &node in others {
            self.lose(node, 40 * SECOND);
        }
    }

    /// Whether this map, which does not name the one that is to come back, is lost on its way to it: it shall hear of none
    /// before that in which it is to be filled again.
    pub(super) fn is_kept_from(&mut self, node: u16, map: &ReplicaMap) -> bool {
        let Some((late, partition)) = self.uninformed.filter(|(late, _)| *late == node) else { return false };
        let names = |held: &Configuration| {
            held.members()
                .any(|member| map.node(member.node).is_some_and(|listed| place_of(&listed.address) == late))
        };
        let is_named = map.partition(partition).is_some_and(names);
        if is_named && self.latecomer.is_none_or(|late| late.is_back) {
            self.uninformed = None;
        }
        !is_named
    }

    /// The one comes back when the others are about as far as it was, and as soon as it counts it is made primary.
    pub(super) fn look_for_latecomer(&mut self) {
        let Some(late) = self.latecomer else { return };
        let Some(held) = self.published.as_ref().and_then(|map| map.partition(late.partition).cloned())
        else {
            return;
        };
        if late.is_back {
            let backup = held.backups.iter().find(|member| self.address_of(member.node) == Some(late.node));
            if let Some(member) = backup.copied() {
                self.latecomer = None;
                self.order_move(late.partition, member.node);
            }
            return;
        }
        let place = self.address_of(held.primary.node).filter(|&place| place != late.node);
        let process = place.and_then(|place| self.nodes[place as usize].process.as_ref());
        let replica = process.and_then(|process| process.machine.replica(late.partition));
        if replica.is_some_and(|replica| replica.commit.seq() >= late.writes) && self.takes_calls {
            self.latecomer = Some(Latecomer { is_back: true, ..late });
            self.resume(late.node, late.start);
        }
    }

    /// Some crash, some are only paused, for long.
    fn take_away(&mut self, victims: &[u16]) {
        for &node in victims {
            if self.random.percent(35) {
                let span = 3 * SECOND + self.random.below(6 * SECOND);
                self.pause(node, span);
            } else {
                let span = self.random.below(4 * SECOND);
                self.lose(node, span);
            }
        }
    }

    /// Somebody states that it is gone, as often as it takes to be believed; or the cluster goes on by itself.
    fn settle_the_loss(&mut self, partition: PartitionId, primary: NodeId) {
        if self.random.percent(30) {
            let span = self.some_span(2);
            self.plan(SECOND, Ending::CutFromCoordinator(0, span));
        }
        let waits = 500 * MS + self.random.below(2 * SECOND);
        let until = self.queue.now() + waits;
        self.run_until(until, |_| false);
        if self.scenario.settings.on_loss == OnLoss::Empty && self.random.percent(70) {
            let until = self.queue.now() + 10 * SECOND;
            self.run_until(until, |_| false);
            return;
        }
        let loss = match self.random.below(3) {
            0 => Loss::Partition(partition),
            1 => Loss::Node(primary),
            _ => Loss::All,
        };
        for _ in 0..40 {
            let now = self.queue.now();
            let host = &mut self.coordinator;
            if let Some(machine) = host.machine.as_mut().filter(|_| host.pauses == 0) {
                let accepted = machine.accept_loss(host.clock.local(now), loss);
                self.drain_coordinator();
                if accepted.is_ok() && !matches!(loss, Loss::Node(_)) {
                    break;
                }
            }
            self.run_until(now + 250 * MS, |_| false);
        }
        // Whoever was in sync and not named is dead, too.
        let now = self.queue.now();
        let host = &mut self.coordinator;
        if let Some(machine) = host.machine.as_mut() {
            let _refused_where_nothing_is_lost = machine.accept_loss(host.clock.local(now), Loss::All);
            self.drain_coordinator();
        }
    }
}
