//! What can be done to the cluster, one thing at a time, and how each ends.

use dht_protocol::ids::{NodeId, PartitionId};

use super::clock::TRUE_RATE;
use super::network::{Passes, Weather};
use super::process::MEMORY_BYTES;
use super::queue::{Event, MS, SECOND};
use super::report::FaultKind;
use super::trace::Subject;
use super::world::World;

/// The end of a fault, or a fault that was planned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    Restart(u16),
    Kill { node: u16, start: u32, span: u64 },
    Resume { node: u16, start: u32 },
    Unstick { node: u16, start: u32 },
    Memory { node: u16, start: u32 },
    Heal(u32),
    Weather(u32),
    CoordinatorResume { start: u32 },
    CoordinatorStart,
    StoreHeals,
    Crash(u16, u64),
    Pause(u16, u64),
    CutFromCoordinator(u16, u64),
    Rush(PartitionId, u64),
    ReadRush(PartitionId, u64),
    Move(PartitionId),
    ReplaceClient(u16),
}

impl World<'_> {
    /// Counts a fault, and says so.
    pub(super) fn count(&mut self, kind: FaultKind, text: impl FnOnce() -> String) {
        self.report.faults[kind as usize] += 1;
        if self.trace.wants(Subject::Cluster) {
            let now = self.queue.now();
            self.trace.say(now, format!("fault: {}", text()));
        }
    }

    /// A fault ends, or begins that was planned.
    pub(super) fn on_ending(&mut self, ending: Ending) {
        let now = self.queue.now();
        match ending {
            Ending::Restart(node) => self.start_node(node),
            Ending::Resume { node, start } => self.resume(node, start),
            Ending::Kill { node, start, span } => self.kill(node, start, span),
            Ending::Unstick { node, start } => {
                let held = &mut self.nodes[node as usize];
                if let Some(process) = held.process.as_mut().filter(|_| held.starts == start) {
                    process.stuck = process.stuck.saturating_sub(1);
                    self.catch_up(node);
                    self.note_unwell([node].into_iter());
                }
            }
            Ending::Memory { node, start } => {
                let held = &mut self.nodes[node as usize];
                if let Some(process) = held.process.as_ref().filter(|_| held.starts == start) {
                    process.account.set_limit_bytes(MEMORY_BYTES);
                }
            }
            Ending::Heal(cut) => {
                let pairs = self.network.heal(cut);
                self.note_unwell(pairs.iter().flat_map(|&(from, to)| [from, to]));
            }
            Ending::Weather(number) => {
                if number == self.weather_number {
                    self.network.weather = self.network.usual;
                }
            }
            Ending::CoordinatorResume { start } => {
                if self.coordinator.starts == start {
                    self.resume_coordinator();
                }
            }
            Ending::CoordinatorStart => self.start_coordinator(),
            Ending::StoreHeals => self.coordinator.store.trouble = 0,
            Ending::Crash(node, span) => drop(self.crash(node, span)),
            Ending::Pause(node, span) => self.pause(node, span),
            Ending::CutFromCoordinator(node, span) => self.cut_from_coordinator(node, span),
            Ending::Rush(partition, span) => self.rush(partition, span),
            Ending::ReadRush(partition, span) => {
                self.workload.reading_until = now + span;
                self.rush(partition, span);
            }
            Ending::Move(partition) => self.move_somewhere(partition),
            Ending::ReplaceClient(client) => self.replace_client(client),
        }
        self.disturbed_at = now;
    }

    /// Something is, or was, wrong with these ends of the network.
    fn note_unwell(&mut self, ends: impl Iterator<Item = u16>) {
        let now = self.queue.now();
        for end in ends {
            if let Some(held) = self.nodes.get_mut(end as usize) {
                held.unwell_at = now;
            }
        }
    }

    /// Plans something.
    pub(super) fn plan(&mut self, span: u64, ending: Ending) {
        self.queue.after(span, Event::Ending(ending));
    }

    /// Crashes a node for so long, if it may go. Where somebody might still hear of it and take others for dead, it falls silent
    /// at first, and goes for good only when nobody can count on it any more.
    pub(super) fn crash(&mut self, node: u16, span: u64) -> bool {
        let runs = self.nodes[node as usize].process.is_some();
        if !runs || !self.is_chaos || self.is_protected(node) || !self.may_lose(&[node]) {
            return false;
        }
        let Some(heirs) = self.sure_heirs(node) else {
            let held = &mut self.nodes[node as usize];
            let start = held.starts;
            if let Some(process) = held.process.as_mut() {
                process.pause(self.queue.now());
            }
            self.plan(SECOND, Ending::Kill { node, start, span });
            return true;
        };
        let now = self.queue.now();
        for heir in heirs {
            self.nodes[heir as usize].protected_until = now + 900 * MS;
        }
        self.nodes[node as usize].crashed_at = now;
        self.count(FaultKind::Crash, || format!("n{node} crashes for {} ms", span / MS));
        self.lose(node, span);
        true
    }

    /// A node that has been silent for long goes, if it may; otherwise it was a pause.
    fn kill(&mut self, node: u16, start: u32, span: u64) {
        let held = &self.nodes[node as usize];
        let process = held.process.as_ref().filter(|_| self.is_chaos && held.starts == start);
        let Some(process) = process.filter(|process| process.is_paused()) else { return };
        if self.queue.now() >= process.paused_since + SECOND && self.may_lose(&[node]) {
            self.count(FaultKind::Crash, || {
                format!("n{node}, silent for a second, is gone for {} ms", span / MS)
            });
            self.lose(node, span);
        } else {
            self.count(FaultKind::Pause, || format!("n{node} was silent for a second"));
            self.resume(node, start);
        }
    }

    /// Crashes a node, whatever goes with it.
    pub(super) fn lose(&mut self, node: u16, span: u64) {
        self.stop_node(node);
        self.plan(span, Ending::Restart(node));
    }

    /// Pauses a node.
    pub(super) fn pause(&mut self, node: u16, span: u64) {
        let held = &mut self.nodes[node as usize];
        let start = held.starts;
        let is_protected = held.protected_until > self.queue.now();
        let Some(process) = held.process.as_mut().filter(|_| self.is_chaos && !is_protected) else { return };
        process.pause(self.queue.now());
        self.count(FaultKind::Pause, || format!("n{node} pauses for {} ms", span / MS));
        self.plan(span, Ending::Resume { node, start });
    }

    /// Ends one pause of a node.
    pub(super) fn resume(&mut self, node: u16, start: u32) {
        let held = &mut self.nodes[node as usize];
        let Some(process) = held.process.as_mut().filter(|_| held.starts == start) else { return };
        if process.pauses > 0 {
            process.pauses -= 1;
            if process.pauses == 0 {
                self.note_unwell([node].into_iter());
                self.catch_up(node);
            }
        }
    }

    /// A node's workers make no progress for so long.
    pub(super) fn stick(&mut self, node: u16, span: u64) {
        let held = &mut self.nodes[node as usize];
        let start = held.starts;
        let is_protected = held.protected_until > self.queue.now();
        let Some(process) = held.process.as_mut().filter(|_| !is_protected) else { return };
        process.stuck += 1;
        self.count(FaultKind::StuckWorkers, || format!("n{node}'s workers are stuck for {} ms", span / MS));
        self.plan(span, Ending::Unstick { node, start });
    }

    /// A node has no memory left for so long.
    pub(super) fn fill_memory(&mut self, node: u16, span: u64) {
        let held = &mut self.nodes[node as usize];
        let start = held.starts;
        let Some(process) = held.process.as_mut() else { return };
        let room = self.random.below(3) * self.random.below(20_000);
        process.account.set_limit_bytes((process.account.used_bytes() + room).max(1));
        self.count(FaultKind::MemoryFull, || format!("n{node} has {room} bytes left for {} ms", span / MS));
        self.plan(span, Ending::Memory { node, start });
    }

    /// A node's clock goes at another rate from now on.
    pub(super) fn change_rate(&mut self, node: u16) {
        let now = self.queue.now();
        let rate = TRUE_RATE * 9 / 10 + self.random.below(TRUE_RATE / 5);
        let held = &mut self.nodes[node as usize];
        held.rate = rate;
        if let Some(process) = held.process.as_mut() {
            process.clock.set_rate(now, rate);
        }
        self.count(FaultKind::ClockRate, || format!("n{node}'s clock runs at {rate} ppm"));
    }

    /// Cuts these pairs for so long.
    pub(super) fn cut(&mut self, kind: FaultKind, pairs: Vec<(u16, u16)>, span: u64) {
        self.impair(kind, pairs, Passes::Nothing, span);
    }

    /// Between these pairs only short messages get through for so long.
    pub(super) fn narrow(&mut self, pairs: Vec<(u16, u16)>, span: u64) {
        let longest = *self.random.pick(&[120, 120, 250, 1_400]);
        self.impair(FaultKind::Narrow, pairs, Passes::Short(longest), span);
    }

    /// Between these pairs messages get through slowly for so long.
    pub(super) fn slow(&mut self, pairs: Vec<(u16, u16)>, span: u64) {
        let rate = *self.random.pick(&[30_000, 100_000, 500_000, 2_000_000]);
        self.impair(FaultKind::Slow, pairs, Passes::Slowly(rate), span);
    }

    /// Only this gets through between these pairs for so long. The number is for whoever wants to heal it before.
    pub(super) fn impair(
        &mut self,
        kind: FaultKind,
        mut pairs: Vec<(u16, u16)>,
        passes: Passes,
        span: u64,
    ) -> Option<u32> {
        let coordinator = self.coordinator_end();
        pairs.retain(|&(from, to)| {
            let protected = |one: u16, other: u16| other == coordinator && self.is_protected(one);
            !protected(from, to) && !protected(to, from)
        });
        if !self.is_chaos || pairs.is_empty() {
            return None;
        }
        self.count(kind, || format!("for {} ms {passes:?} passes: {pairs:?}", span / MS));
        self.note_unwell(pairs.iter().flat_map(|&(from, to)| [from, to]));
        let id = self.network.trouble(pairs, passes);
        self.plan(span, Ending::Heal(id));
        Some(id)
    }

    /// Cuts a node from the coordinator, both ways.
    pub(super) fn cut_from_coordinator(&mut self, node: u16, span: u64) {
        let coordinator = self.coordinator_end();
        self.cut(FaultKind::Cut, vec![(node, coordinator), (coordinator, node)], span);
    }

    /// The weather is bad for so long.
    pub(super) fn worsen(&mut self, kind: FaultKind, weather: Weather, span: u64) {
        if (0..self.nodes.len() as u16).any(|node| self.is_protected(node)) {
            return;
        }
        self.weather_number += 1;
        self.network.weather = weather;
        self.count(kind, || format!("{weather:?} for {} ms", span / MS));
        self.plan(span, Ending::Weather(self.weather_number));
    }

    /// Pauses the coordinator.
    pub(super) fn pause_coordinator(&mut self, span: u64) {
        if self.coordinator.machine.is_none() || !self.is_chaos {
            return;
        }
        self.coordinator.pauses += 1;
        let start = self.coordinator.starts;
        self.count(FaultKind::CoordinatorPause, || format!("the coordinator pauses for {} ms", span / MS));
        self.plan(span, Ending::CoordinatorResume { start });
    }

    /// Crashes the coordinator; it is started again after so long.
    pub(super) fn restart_coordinator(&mut self, span: u64) {
        if self.coordinator.machine.is_none() || !self.is_chaos {
            return;
        }
        self.count(FaultKind::CoordinatorRestart, || format!("the coordinator is down for {} ms", span / MS));
        self.coordinator.pauses = 0;
        self.stop_coordinator();
        self.plan(span, Ending::CoordinatorStart);
    }

    /// The coordinator's store fails now and then, for so long.
    pub(super) fn trouble_store(&mut self, span: u64) {
        self.coordinator.store.trouble = 30 + self.random.below(60);
        self.count(FaultKind::StoreTrouble, || format!("the store has trouble for {} ms", span / MS));
        self.plan(span, Ending::StoreHeals);
    }

    /// An operator orders a move.
    pub(super) fn order_move(&mut self, partition: PartitionId, target: NodeId) {
        let now = self.queue.now();
        let host = &mut self.coordinator;
        if host.pauses > 0 || !self.is_chaos {
            return;
        }
        let Some(machine) = host.machine.as_mut() else { return };
        let ordered = machine.order_move(host.clock.local(now), partition, target);
        if ordered.is_ok() {
            self.moved_at = now;
            self.count(FaultKind::Move, || format!("partition {partition} is to move to node {target}"));
        }
        self.drain_coordinator();
    }

    /// Everything is well again.
    pub(super) fn heal_everything(&mut self) {
        self.is_chaos = false;
        (self.latecomer, self.uninformed) = (None, None);
        self.network.calm_down();
        self.heal_processes();
    }
}
