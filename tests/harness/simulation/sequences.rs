//! Faults in sequence: each of these is a schedule that some rule of the replication is there for, or a quiet stretch in which
//! nothing may change.

use std::sync::Arc;

use dht_protocol::ids::{NodeId, PartitionId};
use dht_protocol::placement::replica_map::ReplicaMap;

use super::injected::Ending;
use super::network::Weather;
use super::process::MEMORY_BYTES;
use super::queue::{MS, SECOND};
use super::report::FaultKind;
use super::world::World;

/// A sequence that goes on when something has come about.
#[derive(Clone, Debug)]
pub(super) enum Sequence {
    /// All is well, then the coordinator pauses, and nobody may be removed for that.
    CalmPause { paused: bool, until: u64 },
    /// All is well, then a primary hears nothing of the coordinator, which must not go on counting on it.
    Deaf { deaf: Option<(PartitionId, u16)>, until: u64 },
    /// A request is held up, while its partition moves away from its node and comes back.
    Boomerang {
        partition: PartitionId,
        home: NodeId,
        away: NodeId,
        cut: u32,
        returning: bool,
        next: u64,
        until: u64,
    },
    /// A primary gives up for another one, and does not hear that it is deposed. That one serves, is not heard any more, and
    /// another is made primary, often the first again: it hears only of that.
    MissedTerm {
        partition: PartitionId,
        target: NodeId,
        /// The trouble that keeps maps from the first.
        deaf: u32,
        /// Whether the other is primary.
        is_away: bool,
        next: u64,
        until: u64,
    },
}

/// What a primary and its backups are, by place.
struct Placed {
    partition: PartitionId,
    primary: u16,
    backups: Vec<u16>,
}

impl World<'_> {
    /// Begins one of the sequences.
    pub(super) fn strike_sequence(&mut self) {
        let Some(placed) = self.placed() else { return };
        let Placed { partition, primary, backups } = placed;
        match self.random.below(100) {
            0..12 => {
                // Gone with writes that are answered, and of which its backups do not know yet that they are committed.
                self.cut_at_promotion = Some(partition);
                self.rush(partition, 80 * MS);
                let when = 15 * MS + self.random.below(50 * MS);
                let span = self.some_span(3);
                self.plan(when, Ending::Crash(primary, span));
            }
            12..32 => self.starve(partition, primary, &backups),
            32..40 => {
                // Long enough for another to take over, and back while that one serves.
                let span = 950 * MS + self.random.below(900 * MS);
                self.pause(primary, span);
                self.plan(span.saturating_sub(20 * MS), Ending::Rush(partition, 400 * MS));
            }
            40..47 => self.isolate(partition, primary),
            47..55 => {
                let span = 900 * MS + self.random.below(2 * SECOND);
                self.cut_from_coordinator(primary, span);
                self.plan(500 * MS, Ending::Rush(partition, 800 * MS));
            }
            55..61 => self.silence(primary, &backups),
            61..70 => {
                // One after the other.
                let span = self.some_span(3);
                self.crash(primary, span);
                if let Some(&next) = backups.first() {
                    let when = 500 * MS + self.random.below(800 * MS);
                    let span = self.some_span(3);
                    self.plan(when, Ending::Crash(next, span));
                    self.plan(when.saturating_sub(30 * MS), Ending::Rush(partition, 100 * MS));
                }
            }
            70..75 => self.begin_calm(Sequence::CalmPause { paused: false, until: 0 }),
            75..80 => self.begin_calm(Sequence::Deaf { deaf: None, until: 0 }),
            80..89 => self.boomerang(partition),
            89..95 => self.miss_a_term(partition, primary),
            _ => {
                for _ in 0..4 {
                    self.strike_move();
                }
            }
        }
    }

    /// Some partition with keys, as the map has it.
    fn placed(&mut self) -> Option<Placed> {
        let partition = *self.random.pick(&self.workload.partitions);
        let map = self.published.clone()?;
        let held = map.partition(partition)?;
        let primary = self.address_of(held.primary.node)?;
        let mut backups: Vec<u16> =
            held.backups.iter().filter_map(|member| self.address_of(member.node)).collect();
        if backups.len() > 1 && self.random.percent(50) {
            backups.reverse();
        }
        Some(Placed { partition, primary, backups })
    }

    /// A primary does not get through to its backups, or their acknowledgements do not to it, writes pile up, and it goes.
    fn starve(&mut self, partition: PartitionId, primary: u16, backups: &[u16]) {
        let longest = *self.random.pick(&[20 * MS, 120 * MS]);
        let span = 5 * MS + self.random.below(longest);
        let count = if self.random.percent(70) { 1 } else { backups.len() };
        let up = self.random.percent(35);
        let pairs: Vec<(u16, u16)> = backups
            .iter()
            .take(count)
            .map(|&backup| if up { (backup, primary) } else { (primary, backup) })
            .collect();
        if self.random.percent(30) {
            self.narrow(pairs, span + 20 * MS);
        } else {
            self.cut(FaultKind::OneWayCut, pairs, span + 20 * MS);
        }
        self.rush(partition, span);
        let down = self.some_span(3);
        let when = span + SECOND + self.random.below(SECOND);
        match self.random.below(10) {
            0..3 => {
                // And the one that knows least, which may have followed it.
                let span = self.some_span(3);
                backups.iter().take(1).for_each(|&backup| self.plan(when, Ending::Crash(backup, span)));
            }
            3..9 => {
                // Who follows it writes something as soon as it serves, and gives way to the other one.
                self.plan(span + SECOND, Ending::Rush(partition, SECOND));
                self.plan(when + 400 * MS, Ending::Move(partition));
            }
            9.. => {}
        }
        match self.random.below(5) {
            0 => self.plan(span, Ending::Pause(primary, 900 * MS + down)),
            1 => self.plan(span, Ending::CutFromCoordinator(primary, SECOND + down)),
            _ => self.plan(span, Ending::Crash(primary, down)),
        }
    }

    /// A primary is cut off from all servers, and clients still ask it.
    fn isolate(&mut self, partition: PartitionId, primary: u16) {
        let span = SECOND + self.random.below(2 * SECOND);
        let ends = 0..=self.coordinator_end();
        let but_it = |&end: &u16| end != primary;
        let pairs = ends.filter(but_it).flat_map(|end| [(primary, end), (end, primary)]).collect();
        self.cut(FaultKind::Cut, pairs, span);
        self.rush(partition, 100 * MS);
        let when = 800 * MS + self.random.below(500 * MS);
        self.plan(when, Ending::Rush(partition, 500 * MS));
    }

    /// All replicas of a partition fall silent at about the same time.
    fn silence(&mut self, primary: u16, backups: &[u16]) {
        let span = 700 * MS + self.random.below(2 * SECOND);
        self.pause(primary, span);
        for &backup in backups {
            let when = self.random.below(30 * MS);
            let later = span + self.random.below(SECOND / 2);
            self.plan(when, Ending::Pause(backup, later));
        }
    }

    /// Everything is well for a while.
    fn begin_calm(&mut self, sequence: Sequence) {
        if !self.sequences.is_empty() || self.nodes.len() < 2 {
            return;
        }
        self.settle();
        let now = self.queue.now();
        self.calm_until = now + 10 * SECOND;
        let until = now + 5 * SECOND;
        self.sequences.push(match sequence {
            Sequence::CalmPause { .. } => Sequence::CalmPause { paused: false, until },
            Sequence::Deaf { .. } => Sequence::Deaf { deaf: None, until },
            other @ (Sequence::Boomerang { .. } | Sequence::MissedTerm { .. }) => other,
        });
    }

    /// Ends what is wrong with nodes, network and coordinator, but for the usual weather.
    fn settle(&mut self) {
        let usual = self.network.usual;
        self.network.calm_down();
        self.network.usual = usual;
        self.network.weather = usual;
        self.heal_processes();
    }

    /// Every process runs.
    pub(super) fn heal_processes(&mut self) {
        self.weather_number += 1;
        self.coordinator.store.trouble = 0;
        if self.coordinator.machine.is_none() {
            self.start_coordinator();
        }
        while self.coordinator.pauses > 0 {
            self.resume_coordinator();
        }
        for node in 0..self.nodes.len() as u16 {
            self.start_node(node);
            if let Some(process) = self.nodes[node as usize].process.as_mut() {
                process.account.set_limit_bytes(MEMORY_BYTES);
                process.pauses = 0;
                process.stuck = 0;
            }
            self.catch_up(node);
        }
    }

    /// Goes on with the sequences.
    pub(super) fn step_sequences(&mut self) {
        for mut sequence in std::mem::take(&mut self.sequences) {
            if self.is_chaos && self.step(&mut sequence) {
                self.sequences.push(sequence);
            } else {
                match sequence {
                    Sequence::Boomerang { cut: trouble, .. } | Sequence::MissedTerm { deaf: trouble, .. } => {
                        self.on_ending(Ending::Heal(trouble));
                    }
                    Sequence::CalmPause { .. } => self.network.weather = self.network.usual,
                    Sequence::Deaf { .. } => {}
                }
                self.calm_until = 0;
            }
        }
    }

    fn step(&mut self, sequence: &mut Sequence) -> bool {
        let now = self.queue.now();
        match sequence {
            Sequence::CalmPause { paused, until } => {
                if *paused {
                    return now < *until;
                }
                if now < *until - 2 * SECOND || !self.is_whole() {
                    return now < *until;
                }
                let span = 600 * MS + self.random.below(SECOND);
                // Four heartbeats or their answers lost in a row would be a reason to strike somebody off.
                self.network.weather = Weather::CALM;
                self.pause_coordinator(span);
                (*paused, *until) = (true, now + span + 1_500 * MS);
                true
            }
            Sequence::Deaf { deaf: None, until } => {
                if now < *until - 2 * SECOND || !self.is_whole() {
                    return now < *until;
                }
                self.begin_deaf(sequence)
            }
            Sequence::Deaf { deaf: Some((partition, node)), until } => {
                let (partition, node) = (*partition, *node);
                let primary =
                    self.published.as_ref().and_then(|map| Some(map.partition(partition)?.primary.node));
                let still = primary.and_then(|id| self.address_of(id)) == Some(node);
                if still && now >= *until {
                    self.fail(format!(
                        "n{node} has heard nothing of the coordinator for 3 s, and is primary of partition {partition} still"
                    ));
                }
                still && now < *until
            }
            Sequence::Boomerang { .. } => self.step_boomerang(sequence),
            Sequence::MissedTerm { .. } => self.step_missed_term(sequence),
        }
    }

    fn begin_deaf(&mut self, sequence: &mut Sequence) -> bool {
        let Some(placed) = self.placed() else { return false };
        if placed.backups.is_empty() {
            return false;
        }
        let coordinator = self.coordinator_end();
        self.cut(FaultKind::OneWayCut, vec![(coordinator, placed.primary)], 4 * SECOND);
        let until = self.queue.now() + 3 * SECOND;
        *sequence = Sequence::Deaf { deaf: Some((placed.partition, placed.primary)), until };
        true
    }

    /// Whether a quiet stretch is on in which nothing but the coordinator has been disturbed.
    fn only_the_coordinator_paused(&self) -> bool {
        self.sequences.iter().any(|sequence| matches!(sequence, Sequence::CalmPause { paused: true, .. }))
    }

    /// A coordinator that was paused while all was well removes nobody.
    pub(super) fn check_calm_edit(&mut self, old: &Arc<ReplicaMap>, new: &Arc<ReplicaMap>) {
        if !self.only_the_coordinator_paused() {
            return;
        }
        for (at, (old, new)) in old.partitions.iter().zip(&new.partitions).enumerate() {
            let removed = old.in_sync().find(|member| new.in_sync().all(|other| other != *member));
            if let Some(member) = removed {
                return self.fail(format!(
                    "{member} is struck off partition {at}, while nothing was wrong but a pause of the coordinator"
                ));
            }
        }
    }
}
