//! Faults at the worst moment: around promotions, copies, additions, hand-overs and writes of the map. What goes by on the
//! network and what the coordinator publishes says when that is.

use dht_protocol::ids::{Member, PartitionId};
use dht_protocol::peer::{CopyItem, PeerBody, PeerMessage, ToCoordinator};
use dht_protocol::placement::replica_map::Configuration;

use super::injected::Ending;
use super::queue::{MS, SECOND};
use super::report::FaultKind;
use super::world::World;

impl World<'_> {
    /// Whether this moment is one that is aimed at; those of partitions without keys are most often let go by.
    fn aims(&mut self, partition: Option<PartitionId>) -> bool {
        if !self.is_chaos || self.scenario.is_calm || self.queue.now() < self.calm_until {
            return false;
        }
        let matters = partition.is_none_or(|id| self.workload.partitions.contains(&id));
        let percent = if matters { self.scenario.aim } else { 1 };
        self.random.percent(percent)
    }

    fn place_of_member(&self, member: Member) -> Option<u16> {
        self.address_of(member.node)
    }

    /// The map says something else of a partition from now on.
    pub(super) fn aim_at_change(&mut self, partition: PartitionId, old: &Configuration, new: &Configuration) {
        let promoted = old.primary != new.primary;
        let joined = new.backups.iter().copied().find(|member| old.in_sync().all(|other| other != *member));
        if promoted && self.cut_at_promotion == Some(partition) {
            self.cut_at_promotion = None;
            self.hold_up_reconciliation(partition, new);
        } else if promoted && self.aims(Some(partition)) {
            self.aim_at_promotion(partition, old, new);
        }
        if let Some(newcomer) = joined
            && self.aims(Some(partition))
        {
            self.aim_at_addition(partition, new, newcomer);
        }
    }

    fn aim_at_promotion(&mut self, partition: PartitionId, old: &Configuration, new: &Configuration) {
        let Some(primary) = self.place_of_member(new.primary) else { return };
        let soon = self.random.below(5 * MS);
        let span = self.some_span(2);
        let at_grace = 440 * MS + self.random.below(150 * MS);
        match self.random.below(8) {
            0 => self.plan(soon, Ending::Crash(primary, span)),
            1 => self.plan(at_grace, Ending::Crash(primary, span)),
            2 => self.plan(soon, Ending::Pause(primary, span)),
            3 => {
                let long = SECOND + self.random.below(2 * SECOND);
                self.plan(soon, Ending::CutFromCoordinator(primary, long));
            }
            4 => {
                // Cut from one of its backups while it takes over.
                if let Some(backup) = new.backups.first().and_then(|&member| self.place_of_member(member)) {
                    self.cut(FaultKind::OneWayCut, vec![(backup, primary)], span);
                }
            }
            5 => return self.hold_up_reconciliation(partition, new),
            _ => {
                // The old one comes back while the new one takes over.
                if let Some(old) = self.place_of_member(old.primary) {
                    let start = self.nodes[old as usize].starts;
                    let when = self.random.below(SECOND);
                    self.plan(when, Ending::Resume { node: old, start });
                }
            }
        }
        let when = self.random.below(600 * MS);
        self.plan(when, Ending::Rush(partition, 300 * MS));
    }

    /// A new primary does not get its list through until its grace is over.
    fn hold_up_reconciliation(&mut self, partition: PartitionId, new: &Configuration) {
        let ends = self
            .place_of_member(new.primary)
            .zip(new.backups.first().and_then(|&member| self.place_of_member(member)));
        let Some((primary, backup)) = ends else { return };
        if self.random.percent(35) {
            let span = 430 * MS + self.random.below(250 * MS);
            self.cut(FaultKind::Cut, vec![(primary, backup), (backup, primary)], span);
            return self.plan(span.saturating_sub(5 * MS), Ending::Rush(partition, 200 * MS));
        }
        // Leases get through, so that it could answer as soon as its grace is over.
        let span = 600 * MS + self.random.below(300 * MS);
        self.narrow(vec![(primary, backup)], span);
        self.plan(440 * MS, Ending::ReadRush(partition, 300 * MS));
    }

    fn aim_at_addition(&mut self, partition: PartitionId, new: &Configuration, newcomer: Member) {
        let (Some(primary), Some(newcomer)) =
            (self.place_of_member(new.primary), self.place_of_member(newcomer))
        else {
            return;
        };
        let soon = self.random.below(4 * MS);
        let span = self.some_span(2);
        match self.random.below(6) {
            0..3 => self.plan(soon, Ending::Crash(primary, span)),
            3 => self.plan(soon, Ending::Crash(newcomer, span)),
            4 => self.plan(soon, Ending::Pause(primary, span)),
            _ => self.plan(0, Ending::CutFromCoordinator(primary, span)),
        }
        self.rush(partition, 100 * MS);
    }

    /// A message between nodes goes by.
    pub(super) fn aim_at_peer_message(&mut self, from: u16, to: u16, message: &PeerMessage) {
        let PeerBody::Copy { at, item, .. } = &message.body else { return };
        let partition = at.partition;
        match item {
            CopyItem::Begin { .. } => {
                if self.aims(Some(partition)) {
                    self.rush(partition, 60 * MS);
                    if self.random.percent(30) {
                        let span = self.some_span(4);
                        self.slow(vec![(from, to)], span);
                    }
                }
            }
            CopyItem::End { .. } => {
                if self.aims(Some(partition)) {
                    self.aim_at_copy(from, to, partition);
                }
            }
            CopyItem::Piece { .. }
            | CopyItem::Fragment { .. }
            | CopyItem::Committed { .. }
            | CopyItem::Outcomes { .. } => {
                if self.random.percent(3) && self.aims(Some(partition)) {
                    self.aim_at_copy(from, to, partition);
                }
            }
        }
    }

    fn aim_at_copy(&mut self, primary: u16, newcomer: u16, partition: PartitionId) {
        let soon = self.random.below(6 * MS);
        let span = self.some_span(2);
        match self.random.below(7) {
            0..2 => self.plan(soon, Ending::Crash(primary, span)),
            2 => self.plan(soon, Ending::Crash(newcomer, span)),
            3 => self.plan(soon, Ending::Pause(primary, span)),
            4 => self.plan(soon, Ending::Pause(newcomer, span)),
            5 => self.cut(FaultKind::OneWayCut, vec![(newcomer, primary)], span),
            _ => self.cut(FaultKind::OneWayCut, vec![(primary, newcomer)], span),
        }
        self.rush(partition, 60 * MS);
    }

    /// A node asks the coordinator for something.
    pub(super) fn aim_at_request(&mut self, node: u16, message: &ToCoordinator) {
        let soon = self.random.below(10 * MS);
        match message {
            ToCoordinator::Propose { partition, .. } => {
                if !self.aims(Some(*partition)) {
                    return;
                }
                let span = self.some_span(2);
                match self.random.below(6) {
                    0 => self.plan(soon, Ending::Crash(node, span)),
                    1 => self.plan(soon, Ending::Pause(node, span)),
                    2 => self.restart_coordinator(span),
                    3 => self.pause_coordinator(span),
                    _ => self.cut_from_coordinator(node, span),
                }
                self.rush(*partition, 150 * MS);
            }
            ToCoordinator::HandOver { partition, target, .. } => {
                if self.aims(Some(*partition)) {
                    self.aim_at_hand_over(node, *partition, *target);
                }
            }
            ToCoordinator::Heartbeat(_) | ToCoordinator::FetchMap { .. } => {}
        }
    }

    fn aim_at_hand_over(&mut self, node: u16, partition: PartitionId, target: Member) {
        let Some(target) = self.place_of_member(target) else { return };
        let soon = self.random.below(10 * MS);
        let span = self.some_span(2);
        match self.random.below(8) {
            0 => self.plan(soon, Ending::Crash(node, span)),
            1 => self.plan(soon, Ending::Crash(target, span)),
            2 => self.plan(soon, Ending::Pause(target, span)),
            3 => self.restart_coordinator(span),
            4 => self.pause_coordinator(span),
            5 => self.cut_from_coordinator(node, span),
            _ => {
                // The new primary serves, and then is not heard any more.
                let when = 60 * MS + self.random.below(150 * MS);
                self.plan(when, Ending::CutFromCoordinator(target, 2 * SECOND));
                self.plan(when + 550 * MS, Ending::Rush(partition, 600 * MS));
            }
        }
        self.rush(partition, 150 * MS);
    }

    /// The coordinator has begun to write a map.
    pub(super) fn aim_at_store(&mut self) {
        if self.random.percent(8) && self.aims(None) {
            let span = self.some_span(1);
            self.restart_coordinator(span);
        }
    }
}
