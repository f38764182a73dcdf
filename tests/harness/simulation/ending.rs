//! The course of a seed: everything goes wrong, then everything is well, and then the cluster has to be, too.

use std::collections::BTreeMap;

use dht_protocol::ids::PartitionId;

use crate::linearizability::{Answer, Failure, History, Limits, Op};

use super::queue::{MS, SECOND};
use super::scenario::Kind;
use super::workload::KeyKind;
use super::world::World;

/// From the end of the last fault until all copies are there and requests succeed, nanoseconds.
const LIVENESS: u64 = 30 * SECOND;
/// How hard a key's history may be to judge.
const SEARCH: Limits = Limits { configurations_max: 30_000 };

impl World<'_> {
    /// Runs the seed to its end, or to a finding.
    pub(super) fn run(&mut self) {
        self.start();
        if !self.run_until(20 * SECOND, World::is_whole) {
            return self
                .fail_unless_found(|world| format!("no cluster comes about: {}", world.what_is_missing()));
        }
        self.open_for_calls();
        self.begin_chaos();
        let began = self.queue.now();
        if self.scenario.kind == Kind::TotalLoss {
            let span = SECOND / 2 + self.random.below(2 * SECOND) * self.random.below(5);
            self.run_until(began + span, |_| false);
            self.lose_everything();
        }
        let longest = began + self.scenario.span_max;
        self.run_until(longest, move |world| {
            world.queue.now() - began >= world.scenario.span_min
                && world.report.operations >= world.scenario.operations_min
                && world.report.faults_count() >= world.scenario.faults_min
        });
        self.end();
        self.report.nanos = self.queue.now();
    }

    fn fail_unless_found(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.finding.is_none() {
            let text = text(self);
            self.fail(text);
        }
    }

    fn end(&mut self) {
        self.come_to_rest();
        self.read_everything();
        self.rest();
        if self.finding.is_none() {
            self.check_bounds();
            self.check_agreement();
            self.check_counters();
            self.check_history();
        }
    }

    /// Faults stop; within a bound all copies are there, and no call is open.
    pub(super) fn come_to_rest(&mut self) {
        if self.finding.is_some() {
            return;
        }
        self.takes_calls = false;
        self.heal_everything();
        let until = self.queue.now() + LIVENESS;
        let whole = self.run_until(until, |world| world.is_whole() && world.is_idle());
        if !whole {
            self.fail_unless_found(|world| {
                let idle = if world.is_idle() { "" } else { "; calls are open still" };
                format!(
                    "30 s after the last fault the cluster is not whole: {}{idle}",
                    world.what_is_missing()
                )
            });
        }
    }

    /// Every partition with keys takes a write, which tells its replicas what was committed before.
    pub(super) fn write_everywhere(&mut self) {
        for partition in self.workload.partitions.clone() {
            let (key, op) = self.workload.last_write(partition);
            self.ask(key, op);
        }
    }

    /// Nothing for a while, after whatever clients have sent has arrived: a request that its client has long given up on may be
    /// carried out until then, and replicas be of two minds about it for a moment.
    pub(super) fn rest(&mut self) {
        let until = self.queue.now() + LIVENESS;
        self.run_until(until, |world| !world.sessions.carry_requests());
        if self.sessions.carry_requests() {
            self.fail_unless_found(|_| "all is well, and a request does not arrive within 30 s".to_owned());
        }
        let until = self.queue.now() + 2 * SECOND;
        self.run_until(until, |_| false);
    }

    /// Every partition takes a write, and every key is read; none of that may fail.
    fn read_everything(&mut self) {
        // However impatient the clients were before.
        (self.scenario.op_timeout, self.scenario.attempt_timeout) = (3 * SECOND, 400 * MS);
        for partition in self.workload.partitions.clone() {
            self.write_for_certain(partition);
        }
        for key in 0..self.workload.keys.len() {
            self.ask(key, Op::Get);
            self.expect(|answer| !matches!(answer, Answer::Unknown | Answer::NotDone));
        }
    }

    /// Has a partition take a write. One that ends as unknown is asked again: where dozens of clients have been forgotten, a node
    /// cannot tell a second arrival, of a write whose first never came, from one whose outcome is forgotten.
    fn write_for_certain(&mut self, partition: PartitionId) {
        for _ in 0..3 {
            let (key, op) = self.workload.last_write(partition);
            self.ask(key, op);
            self.expect(|answer| !matches!(answer, Answer::NotDone));
            if !self.history.last().is_some_and(|last| matches!(last.answer, Answer::Unknown)) {
                return;
            }
        }
        self.expect(|_| false);
    }

    /// What was asked last has such an answer.
    fn expect(&mut self, is_well: impl Fn(&Answer) -> bool) {
        if let Some(last) = self.history.last().filter(|last| !is_well(&last.answer)) {
            let text = format!("all is well, and {:?} of {} fails", last.op, last.key.escape_ascii());
            self.fail_unless_found(|_| text);
        }
    }

    /// One call, to its end.
    fn ask(&mut self, key: usize, op: Op) {
        if self.finding.is_some() {
            return;
        }
        self.call(0, 0, key, op);
        let until = self.queue.now() + 10 * SECOND;
        while self.finding.is_none() && self.queue.now() < until && !self.is_idle() {
            self.run_one();
        }
        if !self.is_idle() {
            self.fail_unless_found(|_| "all is well, and a call does not end within 10 s".to_owned());
        }
    }

    fn run_one(&mut self) {
        let next = self.queue.now() + MS;
        self.run_until(next, |_| false);
    }

    /// What is only added to comes, since its partition began, to the sum of what was added, give or take what is unknown.
    fn check_counters(&mut self) {
        let wrong = self.workload.keys.iter().filter(|info| info.kind == KeyKind::Counter).find_map(|info| {
            let of_it = self.history.iter().filter(|record| *record.key == *info.name).cloned();
            let mut eras = self.eras(info.partition, &of_it.collect::<Vec<_>>());
            let last = eras.pop().unwrap_or_default();
            miscount(last.iter().map(|record| (&record.op, &record.answer)))
                .map(|text| format!("counter {}: {text}", info.name.escape_ascii()))
        });
        if let Some(text) = wrong {
            self.fail(text);
        }
    }

    /// Each key has behaved like one register.
    pub(super) fn check_history(&mut self) {
        let partitions: BTreeMap<&[u8], PartitionId> =
            self.workload.keys.iter().map(|info| (&*info.name, info.partition)).collect();
        let mut records = std::mem::take(&mut self.history);
        records.sort_by(|a, b| a.key.cmp(&b.key));
        let mut findings = Vec::new();
        let mut unjudged = 0;
        for of_key in records.chunk_by(|a, b| a.key == b.key) {
            let Some(&partition) = partitions.get(of_key[0].key.as_slice()) else { continue };
            for era in self.eras(partition, of_key) {
                let history: History = era.into_iter().collect();
                match history.check_within(SEARCH) {
                    Ok(_) => {}
                    Err(Failure::TooHard { .. }) => unjudged += 1,
                    Err(failure @ Failure::NotLinearizable { .. }) => findings.push(failure.to_string()),
                }
            }
        }
        self.history = records;
        self.report.unjudged += unjudged;
        if let Some(text) = findings.into_iter().next() {
            self.fail(text);
        }
    }
}

/// What is wrong with a counter that is only added to, all additions being positive.
fn miscount<'r>(records: impl Iterator<Item = (&'r Op, &'r Answer)>) -> Option<String> {
    let (mut sure, mut perhaps, mut last) = (0i64, 0i64, None);
    for (op, answer) in records {
        match (op, answer) {
            (Op::Add(delta), Answer::Counted { .. }) => sure += delta,
            (Op::Add(delta), Answer::Unknown) => perhaps += delta,
            (Op::Get, Answer::Found { value, .. }) => {
                last = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
            }
            _ => {}
        }
    }
    let last = last?;
    let fits = (sure..=sure + perhaps).contains(&last);
    (!fits).then(|| format!("it is {last}; {sure} was added, and perhaps {perhaps} besides"))
}

/// The partitions of a set, in order.
pub(super) fn mask_of(partitions: impl Iterator<Item = PartitionId>) -> u64 {
    partitions.fold(0, |mask, partition| mask | 1 << partition.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dht_protocol::ids::Version;

    #[test]
    fn an_addition_that_is_lost_or_done_twice_is_found() {
        let check = |read: &[u8]| {
            let history = [
                (Op::Add(5), Answer::counted(Version(1), 5)),
                (Op::Add(3), Answer::Unknown),
                (Op::Add(9), Answer::NotDone),
                (Op::Get, Answer::found(Version(2), read)),
            ];
            miscount(history.iter().map(|(op, answer)| (op, answer)))
        };
        assert_eq!((check(b"5"), check(b"8")), (None, None));
        assert!(check(b"10").is_some() && check(b"4").is_some() && check(b"17").is_some());
    }
}
