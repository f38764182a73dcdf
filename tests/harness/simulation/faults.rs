//! What goes wrong at random.

use dht_protocol::ids::PartitionId;

use super::network::Weather;
use super::queue::{Event, MS, SECOND};
use super::report::FaultKind;
use super::scenario::PARTITIONS;
use super::world::World;

impl World<'_> {
    /// Time for another fault: one of them, or a sequence.
    pub(super) fn strike(&mut self) {
        if !self.is_chaos || self.queue.now() != self.next_strike_at {
            return;
        }
        let gap = self.scenario.fault_gap;
        let span = gap / 4 + self.random.below(gap * 3 / 2);
        self.next_strike_at = self.queue.now() + span;
        self.queue.after(span, Event::Strike);
        if self.queue.now() < self.calm_until {
            return;
        }
        let node = self.random.below(self.nodes.len() as u64) as u16;
        if self.scenario.is_calm {
            return if self.random.percent(50) { self.change_rate(node) } else { self.strike_move() };
        }
        match self.random.below(100) {
            0..14 => self.strike_crash(node),
            14..25 => {
                let span = self.some_span(60);
                self.pause(node, span);
            }
            25..43 => self.strike_cut(node),
            43..48 => self.strike_weather(),
            48..53 => {
                let span = SECOND / 2 + self.random.below(4 * SECOND);
                self.fill_memory(node, span);
            }
            53..56 => self.change_rate(node),
            56..60 => {
                let span = self.some_span(5);
                self.stick(node, span);
            }
            60..64 => {
                let span = self.some_span(5);
                self.pause_coordinator(span);
            }
            64..68 => {
                let span = self.some_span(3);
                self.restart_coordinator(span);
            }
            68..71 => {
                let span = SECOND / 2 + self.random.below(2 * SECOND);
                self.trouble_store(span);
            }
            71..75 => {
                let client = self.random.below(self.clients.len() as u64) as u16;
                self.crash_client(client);
            }
            75..83 => self.strike_move(),
            _ => self.strike_sequence(),
        }
        self.disturbed_at = self.queue.now();
    }

    /// From 20 ms to so many seconds, the shorter the likelier.
    pub(super) fn some_span(&mut self, seconds_max: u64) -> u64 {
        let most = seconds_max * SECOND / (20 * MS);
        let doublings = u64::from(most.ilog2()) + 1;
        let low = (20 * MS) << self.random.below(doublings);
        (low + self.random.below(low)).min(seconds_max * SECOND)
    }

    fn strike_crash(&mut self, node: u16) {
        let span = if self.random.percent(30) { MS } else { self.some_span(6) };
        if !self.crash(node, span) {
            let other = self.random.below(self.nodes.len() as u64) as u16;
            self.crash(other, span);
        }
    }

    fn strike_cut(&mut self, node: u16) {
        let span = self.some_span(6);
        let nodes = self.nodes.len() as u16;
        let coordinator = self.coordinator_end();
        let servers = 0..=coordinator;
        let both = |pairs: Vec<(u16, u16)>| -> Vec<(u16, u16)> {
            pairs.into_iter().flat_map(|(from, to)| [(from, to), (to, from)]).collect()
        };
        let others: Vec<(u16, u16)> =
            servers.clone().filter(|&end| end != node).map(|end| (node, end)).collect();
        match self.random.below(15) {
            // From all other servers; clients still reach it.
            0..2 => self.cut(FaultKind::Cut, both(others), span),
            // From everybody.
            2 => {
                let ends = 0..self.ends_count() as u16;
                let all = ends.filter(|&end| end != node).map(|end| (node, end)).collect();
                self.cut(FaultKind::Cut, both(all), span);
            }
            3 => self.cut_from_coordinator(node, span),
            4 => self.cut(FaultKind::OneWayCut, others, span),
            5 => {
                let pairs = others.into_iter().map(|(from, to)| (to, from)).collect();
                self.cut(FaultKind::OneWayCut, pairs, span);
            }
            6 => {
                let other = self.random.below(u64::from(nodes) + 1) as u16;
                if other != node {
                    self.cut(FaultKind::OneWayCut, vec![(node, other)], span);
                }
            }
            7..9 => {
                // Two halves; one node, if it is not in either, is the bridge.
                let bridge = self.random.percent(60).then_some(node);
                let sides: Vec<bool> = servers.clone().map(|_| self.random.percent(50)).collect();
                let mut pairs = Vec::new();
                for from in servers.clone().filter(|&end| Some(end) != bridge) {
                    for to in servers.clone().filter(|&end| Some(end) != bridge) {
                        if sides[from as usize] != sides[to as usize] {
                            pairs.push((from, to));
                        }
                    }
                }
                self.cut(FaultKind::Halves, pairs, span);
            }
            9 => self.narrow(both(others), span),
            10 => self.narrow(others, span),
            11 => {
                let other = self.random.below(u64::from(nodes) + 1) as u16;
                if other != node {
                    self.narrow(vec![(other, node)], span);
                }
            }
            12 => self.slow(both(others), span),
            13 => {
                let other = self.random.below(u64::from(nodes) + 1) as u16;
                if other != node {
                    self.slow(vec![(node, other)], span);
                }
            }
            _ => {
                // A client and a node.
                let client = self.random.below(self.clients.len() as u64) as u16;
                let client = self.client_end(client);
                self.cut(FaultKind::Cut, both(vec![(node, client)]), span);
            }
        }
    }

    fn strike_weather(&mut self) {
        let span = self.some_span(3);
        let usual = self.network.usual;
        if self.random.percent(50) {
            let loss = 1_000 + self.random.below(5_000);
            self.worsen(FaultKind::Loss, Weather { loss, ..usual }, span);
        } else {
            let late = 1_000 + self.random.below(8_000);
            let tail = *self.random.pick(&[20 * MS, 150 * MS, SECOND]);
            self.worsen(FaultKind::Delay, Weather { late, tail, twice: 300, ..usual }, span);
        }
    }

    /// Some partition, one with keys most often, is to move to some backup.
    pub(super) fn strike_move(&mut self) {
        let partition = if self.random.percent(85) {
            *self.random.pick(&self.workload.partitions)
        } else {
            PartitionId(self.random.below(u64::from(PARTITIONS)) as u32)
        };
        self.move_somewhere(partition);
    }

    /// This partition is to move to some backup.
    pub(super) fn move_somewhere(&mut self, partition: PartitionId) {
        let Some(map) = self.published.clone() else { return };
        let Some(held) = map.partition(partition).filter(|held| !held.backups.is_empty()) else { return };
        let target = self.random.pick(&held.backups).node;
        self.order_move(partition, target);
    }
}
