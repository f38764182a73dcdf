//! One round: all servers are started afresh, filled step by step, measured cell by cell, and stopped.
//!
//! Within a cell the servers take turns, and who comes first goes round from cell to cell and from round to round, so
//! that what drifts (heat, neighbours on the machine, memory) meets all alike. Each limit loop stands beside the
//! servers of its protocol. While one server is measured the others have nothing to do.
//!
//! `GET` and `MGET` come before `SET`, for a `SET` changes the sizes of values.

use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::crew::{Broken, Crew};
use super::limits::{
    CONNECTIONS_PIPELINED, CONNECTIONS_UNPIPELINED, ENTRIES_STEPS, LOAD_PIPELINE, MGET_KEYS, OPEN_LOOP_CELLS,
    OPEN_LOOP_SHARE, PIPELINES, SETTLING_READS_PART, SETTLING_WRITES_PART, WARM_UP_SHARE,
};
use super::peer::{Role, Subject};
use super::probe;
use super::records::{Metric, Records};
use super::server::{Launch, Server};
use super::source::{Entries, Source};
use super::wire::Op;
use crate::bench::report::grouped;
use crate::cli::Failure;

/// Thousandths whose latencies are kept.
pub(crate) const LATENCY_PERMILLES: [u32; 3] = [500, 990, 999];

/// A load that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) op: Op,
    pub(crate) pipeline: usize,
}

impl Cell {
    /// All of one operation.
    pub(crate) fn of(op: Op) -> impl Iterator<Item = Cell> {
        PIPELINES.into_iter().map(move |pipeline| Cell { op, pipeline })
    }

    pub(crate) fn connections(self) -> usize {
        if self.pipeline == 1 { CONNECTIONS_UNPIPELINED } else { CONNECTIONS_PIPELINED }
    }

    pub(crate) fn keys_per_request(self) -> usize {
        if self.op == Op::Mget { MGET_KEYS } else { 1 }
    }
}

/// The numbers of entries at which memory is measured.
pub(crate) fn steps(keys: u64) -> Vec<u64> {
    let below = ENTRIES_STEPS.into_iter().filter(|&step| step < keys);
    below.chain([keys]).collect()
}

/// All that rounds share.
#[derive(Debug)]
pub(crate) struct Rounds<'a> {
    pub(crate) subjects: &'a [Subject],
    pub(crate) launch: &'a Launch,
    pub(crate) entries: &'a Entries,
    /// How long a cell is measured.
    pub(crate) cell_time: Duration,
    pub(crate) rounds: usize,
    /// Whether servers and load have a core each.
    pub(crate) apart: bool,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) records: Records,
    /// Requests a second of the open loop; known after the first `GET`s.
    pub(crate) rate: Option<f64>,
}

/// A server of the round under way.
#[derive(Debug)]
struct Running {
    subject: usize,
    server: Server,
    /// Resident bytes before anything was stored.
    empty_bytes: u64,
}

impl Rounds<'_> {
    /// Runs round number `number`, from 0.
    ///
    /// # Errors
    /// What went wrong with which server.
    pub(crate) fn run(&mut self, number: usize) -> Result<(), Failure> {
        self.tell(number, "starting the servers");
        let mut servers = Vec::with_capacity(self.subjects.len());
        for (subject, named) in self.subjects.iter().enumerate() {
            let server = Server::start(named, self.launch, self.stop);
            let server = server.map_err(|broken| failure(&named.name, broken))?;
            let empty_bytes = probe::settled_resident_bytes(server.id()).map_err(Failure::Failed)?;
            servers.push(Running { subject, server, empty_bytes });
        }
        self.fill(number, &mut servers)?;
        for (turn, cell) in Cell::of(Op::Get).chain(Cell::of(Op::Mget)).enumerate() {
            self.measure(number, turn, cell, &mut servers)?;
        }
        self.measure_latency(number, &mut servers)?;
        self.tell(number, "overwriting, so that there is something to reclaim");
        self.on_each(number, &mut servers, Rounds::overwrite)?;
        for (turn, cell) in Cell::of(Op::Set).enumerate() {
            self.measure(number, turn, cell, &mut servers)?;
        }
        Ok(())
    }

    /// Stores entries step by step, and takes the memory that they need at each.
    fn fill(&mut self, number: usize, servers: &mut [Running]) -> Result<(), Failure> {
        let mut from = 0;
        for to in steps(self.entries.count) {
            self.tell(number, &format!("filling to {} entries", grouped(to)));
            self.on_each(number, servers, |rounds, _, running| rounds.store(running, from, to))?;
            self.on_each(number, servers, |rounds, _, running| {
                if rounds.role(running) == Role::Limit {
                    return Ok(());
                }
                let held_bytes = probe::settled_resident_bytes(running.server.id())?;
                let payload_bytes = to * (rounds.entries.key_bytes + rounds.entries.value_bytes) as u64;
                let overhead_bytes = held_bytes as f64 - running.empty_bytes as f64 - payload_bytes as f64;
                let metric = Metric::Overhead { entries: to };
                rounds.records.push(metric, running.subject, overhead_bytes / to as f64);
                Ok(())
            })?;
            from = to;
        }
        Ok(())
    }

    /// Stores entries and reads some back.
    fn store(&mut self, running: &mut Running, from: u64, to: u64) -> Result<(), Broken> {
        if self.role(running) == Role::Limit {
            return Ok(());
        }
        let mut crew = self.crew(running, CONNECTIONS_PIPELINED)?;
        crew.run(&mut Source::load(self.entries, from, to), LOAD_PIPELINE, None)?;
        let reads = Some(to / SETTLING_READS_PART);
        crew.run(&mut Source::reads(self.entries, to, Op::Get, 1, to, reads), LOAD_PIPELINE, None)?;
        Ok(())
    }

    fn overwrite(&mut self, number: usize, running: &mut Running) -> Result<(), Broken> {
        if self.role(running) == Role::Limit {
            return Ok(());
        }
        let writes = Some(self.entries.count / SETTLING_WRITES_PART);
        let mut source = Source::overwrites(self.entries, stream(number, 0, 0), writes);
        self.crew(running, CONNECTIONS_PIPELINED)?.run(&mut source, LOAD_PIPELINE, None)?;
        Ok(())
    }

    fn measure(
        &mut self,
        number: usize,
        turn: usize,
        cell: Cell,
        servers: &mut [Running],
    ) -> Result<(), Failure> {
        let Cell { op, pipeline } = cell;
        self.tell(number, &format!("{} at pipeline {pipeline}", op.name()));
        self.on_each(number + turn, servers, |rounds, _, running| {
            let mut source = match op {
                Op::Set => Source::overwrites(rounds.entries, stream(number, 1, pipeline), None),
                Op::Get | Op::Mget => {
                    let (entries, keys) = (rounds.entries, cell.keys_per_request());
                    let stream = stream(number, 1 + op as usize, pipeline);
                    Source::reads(entries, entries.count, op, keys, stream, None)
                }
            };
            let mut crew = rounds.crew(running, cell.connections())?;
            crew.run(&mut source, pipeline, Some(rounds.cell_time.mul_f64(WARM_UP_SHARE)))?;
            let before_ns = probe::cpu_ns(running.server.id())?;
            let outcome = crew.run(&mut source, pipeline, Some(rounds.cell_time))?;
            let after_ns = probe::cpu_ns(running.server.id())?;
            // What a thread has used goes with it: then there is no saying what the others have.
            let cpu_ns = after_ns
                .checked_sub(before_ns)
                .ok_or_else(|| "has ended a thread while it was measured".to_owned())?;
            let keys = outcome.keys as f64;
            rounds.records.push(Metric::CpuNs { op, pipeline }, running.subject, cpu_ns as f64 / keys);
            let metric = Metric::KeysPerSecond { op, pipeline };
            rounds.records.push(metric, running.subject, keys / outcome.seconds);
            Ok(())
        })
    }

    fn measure_latency(&mut self, number: usize, servers: &mut [Running]) -> Result<(), Failure> {
        let rate = *self.rate.get_or_insert_with(|| open_loop_rate(self.subjects, &self.records));
        self.tell(number, &format!("GET at {} requests a second", grouped(rate as u64)));
        let time = self.cell_time.mul_f64(OPEN_LOOP_CELLS);
        self.on_each(number, servers, |rounds, _, running| {
            let (entries, stream) = (rounds.entries, stream(number, 4, 0));
            let mut source = Source::reads(entries, entries.count, Op::Get, 1, stream, None);
            let mut crew = rounds.crew(running, CONNECTIONS_UNPIPELINED)?;
            crew.run_at_rate(&mut source, rate, time.mul_f64(WARM_UP_SHARE))?;
            let latency_ns = crew.run_at_rate(&mut source, rate, time)?;
            for permille in LATENCY_PERMILLES {
                let us = latency_ns.value_at_quantile(f64::from(permille) / 1e3) as f64 / 1e3;
                rounds.records.push(Metric::LatencyUs { permille }, running.subject, us);
            }
            Ok(())
        })
    }

    /// Does the same with every server, beginning with number `first` and going round.
    fn on_each(
        &mut self,
        first: usize,
        servers: &mut [Running],
        mut act: impl FnMut(&mut Self, usize, &mut Running) -> Result<(), Broken>,
    ) -> Result<(), Failure> {
        for turn in 0..servers.len() {
            let at = (first + turn) % servers.len();
            let running = &mut servers[at];
            if let Err(broken) = act(self, first, running) {
                // A lost connection is what is seen of a server that has ended.
                let broken = match (broken, running.server.check_running()) {
                    (Broken::Server(why), Ok(())) => Broken::Server(running.server.broken(&why)),
                    (Broken::Server(_), Err(why)) => Broken::Server(why),
                    (Broken::Stopped, _) => Broken::Stopped,
                };
                return Err(failure(&self.subjects[running.subject].name, broken));
            }
        }
        Ok(())
    }

    fn crew(&self, running: &Running, connections: usize) -> Result<Crew<'_>, Broken> {
        Crew::open(&running.server.target, connections, self.apart, self.stop)
    }

    fn role(&self, running: &Running) -> Role {
        self.subjects[running.subject].family.role()
    }

    /// One line of progress on standard error.
    fn tell(&self, number: usize, what: &str) {
        let line = format!("round {} of {}: {what}\n", number + 1, self.rounds);
        // Nobody is left to tell when standard error is gone.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// A part of the least that any server but the limit loops answered in the first round, one request at a time on each
/// connection.
fn open_loop_rate(subjects: &[Subject], records: &Records) -> f64 {
    let metric = Metric::KeysPerSecond { op: Op::Get, pipeline: 1 };
    let peaks = subjects.iter().enumerate().filter(|(_, subject)| subject.family.role() != Role::Limit);
    let peaks = peaks.filter_map(|(at, _)| records.series(metric, at)).map(|series| series.median);
    (peaks.fold(f64::INFINITY, f64::min) * OPEN_LOOP_SHARE).clamp(1.0, crate::bench::limits::RATE_MAX).floor()
}

/// Tells draws apart: by round, by what they are for, and by pipeline.
fn stream(number: usize, purpose: usize, pipeline: usize) -> u64 {
    1 << 40 | (number as u64) << 20 | (purpose as u64) << 12 | pipeline as u64
}

fn failure(name: &str, broken: Broken) -> Failure {
    match broken {
        Broken::Server(why) => Failure::Failed(format!("{name} {why}")),
        Broken::Stopped => Failure::Failed("ended before all was measured: there are no figures".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::peer::Family;
    use super::super::wire::Protocol;
    use super::*;

    #[test]
    fn memory_is_measured_at_round_numbers_and_at_the_end() {
        assert_eq!(steps(5_000_000), [1_000_000, 2_000_000, 3_000_000, 5_000_000]);
        assert_eq!(steps(20_000), [20_000]);
        assert_eq!(steps(1_000_001), [1_000_000, 1_000_001]);
        assert_eq!(steps(20_000_000).len(), 7);
    }

    #[test]
    fn the_slowest_server_sets_the_rate_of_the_open_loop() {
        let subject = |name: &str, family| Subject {
            name: name.to_owned(),
            family,
            program: PathBuf::new(),
            version: String::new(),
        };
        let subjects = [
            subject("limit", Family::Limit(Protocol::Resp)),
            subject("ours", Family::Daemon(Protocol::Binary)),
            subject("peer", Family::Redis),
        ];
        let mut records = Records::default();
        for (server, peak) in [(0, 10_000.0), (1, 80_000.0), (2, 50_000.0)] {
            records.push(Metric::KeysPerSecond { op: Op::Get, pipeline: 1 }, server, peak);
        }
        assert!((open_loop_rate(&subjects, &records) - 25_000.0).abs() < 1e-9);
    }
}
