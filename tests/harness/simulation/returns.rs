//! Sequences in which a partition goes from one node to another and comes back, and somebody has not heard of that.

use dht_protocol::ids::{NodeId, PartitionId};

use super::injected::Ending;
use super::network::Passes;
use super::queue::{MS, SECOND};
use super::report::FaultKind;
use super::sequences::Sequence;
use super::world::World;

/// A beat and an order are shorter, a map is longer.
const BEAT_BYTES_MAX: u32 = 200;

impl World<'_> {
    /// Requests are held up, while their partition moves away from its node and comes back.
    pub(super) fn boomerang(&mut self, partition: PartitionId) {
        let Some(map) = self.published.clone() else { return };
        let Some(held) = map.partition(partition) else { return };
        if !self.sequences.is_empty() || held.backups.is_empty() {
            return;
        }
        let home = held.primary.node;
        let away = self.random.pick(&held.backups).node;
        let Some(place) = self.address_of(home) else { return };
        let clients = 1 + self.random.below(self.clients.len() as u64 - 1);
        let held_up = (0..clients as u16).map(|client| (self.client_end(client), place)).collect();
        self.count(FaultKind::OneWayCut, || {
            format!("boomerang of partition {partition} from node {home} to {away}")
        });
        let cut = self.network.cut(held_up);
        self.rush(partition, 100 * MS);
        let now = self.queue.now();
        let next = now + 100 * MS;
        let until = now + 9 * SECOND;
        self.calm_until = until;
        let sequence = Sequence::Boomerang { partition, home, away, cut, returning: false, next, until };
        self.sequences.push(sequence);
    }

    pub(super) fn step_boomerang(&mut self, sequence: &mut Sequence) -> bool {
        let now = self.queue.now();
        let Sequence::Boomerang { partition, home, away, returning, next, until, .. } = sequence else {
            return false;
        };
        if now < *next {
            return true;
        }
        let primary = self.published.as_ref().and_then(|map| Some(map.partition(*partition)?.primary.node));
        let is_there = |id: NodeId| primary == Some(id);
        if *returning && is_there(*home) {
            return false;
        }
        if !*returning && is_there(*away) {
            *returning = true;
            *next = now + 500 * MS;
            // Floors pass what was held up, and was done meanwhile.
            self.rush(*partition, 450 * MS);
            return true;
        }
        let target = if *returning { *home } else { *away };
        *next = now + 500 * MS;
        let (partition, until) = (*partition, *until);
        self.order_move(partition, target);
        now < until
    }

    /// A primary gives up for another one and hears nothing of it: no map gets through to it.
    pub(super) fn miss_a_term(&mut self, partition: PartitionId, primary: u16) {
        let Some(map) = self.published.clone() else { return };
        let Some(held) = map.partition(partition) else { return };
        if !self.sequences.is_empty() || held.backups.is_empty() {
            return;
        }
        let target = self.random.pick(&held.backups).node;
        // Beats get through, so that it is heard.
        let maps = vec![(self.coordinator_end(), primary)];
        let now = self.queue.now();
        let until = now + 6 * SECOND;
        let deaf = self.impair(FaultKind::Narrow, maps, Passes::Short(BEAT_BYTES_MAX), 7 * SECOND);
        let Some(deaf) = deaf else { return };
        self.calm_until = until;
        self.order_move(partition, target);
        let next = now + 500 * MS;
        self.sequences.push(Sequence::MissedTerm { partition, target, deaf, is_away: false, next, until });
    }

    pub(super) fn step_missed_term(&mut self, sequence: &mut Sequence) -> bool {
        let now = self.queue.now();
        let Sequence::MissedTerm { partition, target, is_away, next, until, .. } = sequence else {
            return false;
        };
        let primary = self.published.as_ref().and_then(|map| Some(map.partition(*partition)?.primary.node));
        let is_primary = primary == Some(*target);
        if *is_away {
            return is_primary && now < *until;
        }
        if is_primary {
            *is_away = true;
            if let Some(place) = self.address_of(*target) {
                let when = self.random.below(150 * MS);
                self.plan(when, Ending::CutFromCoordinator(place, 3 * SECOND));
                self.plan(when + 550 * MS, Ending::Rush(*partition, 600 * MS));
            }
        } else if now >= *next {
            *next = now + 500 * MS;
            self.order_move(*partition, *target);
        }
        now < *until
    }
}
