//! Histories of a register that is surely atomic: whatever the delays, the checker accepts them; with one answer
//! made impossible, it does not. And how fast it is.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dht_protocol::ids::Version;
use dht_protocol::value::parse_canonical_decimal;

use super::{Answer, Failure, History, Op, Record, Recorder};
use crate::random::Random;

/// A register that answers at one instant.
#[derive(Default)]
struct Register {
    entry: Option<(Version, Vec<u8>)>,
    version_last: u64,
}

impl Register {
    fn answer(&mut self, op: &Op) -> Answer {
        let seen = self.entry.as_ref().map_or(Version::ABSENT, |(version, _)| *version);
        let value = self.entry.as_ref().map(|(_, value)| value.clone());
        let refused = Answer::refused(seen);
        match op {
            Op::Get => match value {
                Some(value) => Answer::found(seen, value),
                None => Answer::Missing,
            },
            Op::Exists if value.is_some() => Answer::present(seen),
            Op::Exists => Answer::Missing,
            Op::Put(new) => self.write(Some(new.clone())),
            Op::PutIfAbsent(new) if value.is_none() => self.write(Some(new.clone())),
            Op::Replace(new) if value.is_some() => self.write(Some(new.clone())),
            Op::CompareAndPut(expected, new) if *expected == seen => self.write(Some(new.clone())),
            Op::PutIfAbsent(_) | Op::Replace(_) | Op::CompareAndPut(..) => refused,
            Op::Delete if value.is_some() => self.write(None),
            Op::DeleteIf(expected) if value.is_some() && *expected == seen => self.write(None),
            Op::Delete => Answer::Missing,
            Op::DeleteIf(_) => refused,
            Op::Append(suffix) => self.write(Some([value.unwrap_or_default(), suffix.clone()].concat())),
            Op::Add(delta) => {
                let before = value.map_or(Some(0), |value| parse_canonical_decimal(&value));
                let Some(sum) = before.and_then(|before| before.checked_add(*delta)) else { return refused };
                let answer = self.write(Some(sum.to_string().into_bytes()));
                let Answer::Written { version } = answer else { unreachable!("a write was done") };
                Answer::Counted { version, value: sum }
            }
        }
    }

    fn write(&mut self, value: Option<Vec<u8>>) -> Answer {
        self.version_last += 1;
        let version = Version(self.version_last);
        self.entry = value.map(|value| (version, value));
        Answer::written(version)
    }
}

/// Clients with random delays, in simulated time.
pub(super) struct Simulation {
    pub(super) random: Random,
    pub(super) clients: u32,
    pub(super) keys: u64,
    pub(super) operations_each: u32,
    pub(super) unknown_percent: u64,
    /// Whether answers tell versions.
    pub(super) versions: bool,
}

impl Simulation {
    /// Histories of up to six operations, which every order of can be tried.
    pub(super) fn tiny(seed: u64) -> Simulation {
        let mut random = Random::new(seed);
        let clients = 1 + random.below(3) as u32;
        Simulation {
            clients,
            keys: 1,
            operations_each: 6 / clients,
            unknown_percent: 20 * random.below(3),
            versions: random.percent(60),
            random,
        }
    }

    /// Runs the clients and writes down what they saw.
    pub(super) fn run(&mut self) -> History {
        let mut pending: Vec<(u64, Record)> = Vec::new();
        for client in 0..self.clients {
            let mut now = self.random.below(20);
            for _ in 0..self.operations_each {
                let invoked = now;
                let effect = invoked + self.random.below(20);
                let returned = effect + self.random.below(20);
                now = returned + 1 + self.random.below(5);
                let key = self.random.below(self.keys).to_string().into_bytes();
                let record = Record { client, key, invoked, returned, op: Op::Get, answer: Answer::NotDone };
                pending.push((effect, record));
            }
        }
        pending.sort_by_key(|(effect, record)| (*effect, record.client));
        let mut registers: HashMap<Vec<u8>, Register> = HashMap::new();
        let mut late: Vec<(u64, Record)> = Vec::new();
        let mut history = History::default();
        for (effect, mut record) in pending {
            late.retain(|(due, record)| {
                if *due <= effect {
                    registers.entry(record.key.clone()).or_default().answer(&record.op);
                }
                *due > effect
            });
            let register = registers.entry(record.key.clone()).or_default();
            record.op = self.random_op(register);
            if self.random.percent(self.unknown_percent) {
                record.answer = Answer::Unknown;
                // At once, late, or never.
                late.push((effect + self.random.below(200), record.clone()));
                if self.random.percent(30) {
                    late.pop();
                }
            } else {
                record.answer = register.answer(&record.op);
                if !self.versions {
                    hide_versions(&mut record.answer);
                }
            }
            history.records.push(record);
        }
        history
    }

    fn random_op(&mut self, register: &Register) -> Op {
        let random = &mut self.random;
        let value = if random.percent(50) {
            random.below(5).to_string()
        } else {
            format!("v{}", random.below(1_000_000))
        };
        let value = value.into_bytes();
        let version = Version(register.version_last.saturating_sub(random.below(3)));
        match random.below(14) {
            0..=3 => Op::Get,
            4 => Op::Exists,
            5 | 6 => Op::Put(value),
            7 => Op::PutIfAbsent(value),
            8 => Op::Replace(value),
            9 => Op::CompareAndPut(version, value),
            10 => Op::Delete,
            11 => Op::DeleteIf(version),
            12 => Op::Add(1 + random.below(2) as i64),
            _ => Op::Append(vec![b'a' + random.below(26) as u8]),
        }
    }
}

fn hide_versions(answer: &mut Answer) {
    match answer {
        Answer::Found { version, .. }
        | Answer::Present { version }
        | Answer::Written { version }
        | Answer::Counted { version, .. }
        | Answer::Refused { seen: version } => *version = None,
        Answer::Missing | Answer::Unknown | Answer::NotDone => {}
    }
}

/// How to spoil a history.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutation {
    /// One answer becomes one that no register can give.
    Impossible,
    /// One answer becomes another, which may be right as well.
    PerhapsPossible,
}

/// Changes one answer; returns whether there was one to change.
pub(super) fn mutate(history: &mut History, random: &mut Random, mutation: Mutation) -> bool {
    let writes: Vec<Version> = history
        .records
        .iter()
        .filter_map(|record| match &record.answer {
            Answer::Written { version } | Answer::Counted { version, .. } => *version,
            _ => None,
        })
        .collect();
    let candidates: Vec<usize> = (0..history.records.len())
        .filter(|&at| !matches!(history.records[at].answer, Answer::Unknown | Answer::NotDone))
        .collect();
    if candidates.is_empty() {
        return false;
    }
    let record = &mut history.records[*random.pick(&candidates)];
    record.answer = match (&record.answer, mutation) {
        (Answer::Found { version, .. }, Mutation::Impossible) => {
            Answer::Found { version: *version, value: b"nobody wrote this".to_vec() }
        }
        (Answer::Counted { version, value }, Mutation::Impossible) => {
            Answer::Counted { version: *version, value: value ^ (1 << 40) }
        }
        (_, Mutation::Impossible) if record.op == Op::Get => Answer::found(Version(u64::MAX), "nobody"),
        (_, Mutation::Impossible) => Answer::counted(Version(u64::MAX), 1 << 40),
        (_, Mutation::PerhapsPossible) => another_answer(&record.op, random, &writes),
    };
    true
}

fn another_answer(op: &Op, random: &mut Random, writes: &[Version]) -> Answer {
    let told = |random: &mut Random| {
        if writes.is_empty() || random.percent(40) { None } else { Some(*random.pick(writes)) }
    };
    match op {
        Op::Get if random.percent(70) => {
            Answer::Found { version: told(random), value: random.below(5).to_string().into_bytes() }
        }
        Op::Exists if random.percent(50) => Answer::Present { version: told(random) },
        Op::Get | Op::Exists => Answer::Missing,
        Op::Add(_) if random.percent(70) => {
            Answer::Counted { version: told(random), value: random.below(6) as i64 }
        }
        _ if random.percent(50) => Answer::Written { version: told(random) },
        _ => Answer::Refused { seen: told(random) },
    }
}

#[test]
fn histories_of_a_register_are_accepted() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let versions = random.percent(60);
        let mut simulation = Simulation {
            clients: 1 + random.below(8) as u32,
            keys: 1 + random.below(4),
            operations_each: 10 + random.below(60) as u32,
            unknown_percent: random.below(if versions { 15 } else { 4 }),
            versions,
            random,
        };
        let history = simulation.run();
        history.check().unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
}

#[test]
fn histories_with_one_impossible_answer_are_rejected() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let mut simulation = Simulation {
            clients: 1 + random.below(6) as u32,
            keys: 1 + random.below(3),
            operations_each: 10 + random.below(20) as u32,
            unknown_percent: random.below(8),
            versions: random.percent(60),
            random,
        };
        let mut history = simulation.run();
        if mutate(&mut history, &mut simulation.random, Mutation::Impossible) {
            let verdict = history.check();
            assert!(matches!(verdict, Err(Failure::NotLinearizable { .. })), "seed {seed}: {verdict:?}");
        }
    }
}

#[test]
fn threads_on_one_locked_register_are_accepted() {
    let register = Mutex::new(Register::default());
    let recorder = Recorder::new();
    let logs: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|client| {
                let (register, mut log) = (&register, recorder.log(client));
                scope.spawn(move || {
                    let mut random = Random::new(u64::from(client));
                    for _ in 0..500 {
                        let value = random.below(9).to_string().into_bytes();
                        let op = match random.below(4) {
                            0 => Op::Put(value),
                            1 => Op::Add(1),
                            2 => Op::Delete,
                            _ => Op::Get,
                        };
                        log.run("k", op, |op| {
                            let answer = register.lock().unwrap().answer(op);
                            std::thread::yield_now();
                            answer
                        });
                    }
                    log
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(recorder.history(logs).check().unwrap().operations_count, 4_000);
}

/// Far above what the checks take (a second or so), for machines that are busy.
const CHECK_TIME_MAX: Duration = Duration::from_secs(60);

#[test]
fn a_large_history_over_many_keys_takes_seconds() {
    let mut simulation = Simulation {
        random: Random::new(1),
        clients: 8,
        keys: 10_000,
        operations_each: 37_500,
        unknown_percent: 1,
        versions: true,
    };
    let history = simulation.run();
    let started = Instant::now();
    let report = history.check().unwrap();
    println!("{report:?} in {:?}", started.elapsed());
    assert_eq!(report.operations_count, 300_000);
    assert!(started.elapsed() < CHECK_TIME_MAX);
}

#[test]
fn busy_keys_take_seconds() {
    for (versions, unknown_percent) in [(true, 0), (true, 2), (false, 0)] {
        let mut simulation = Simulation {
            random: Random::new(2),
            clients: 8,
            keys: 20,
            operations_each: 5_000,
            unknown_percent,
            versions,
        };
        let history = simulation.run();
        let started = Instant::now();
        let report = history.check().unwrap();
        println!("versions {versions}: {report:?} in {:?}", started.elapsed());
        assert!(started.elapsed() < CHECK_TIME_MAX);
    }
}
