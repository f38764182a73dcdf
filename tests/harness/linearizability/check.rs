//! Takes a history apart by key, has each part searched, and puts the finding into words.

use std::collections::BTreeMap;
use std::fmt;

use super::history::{Answer, History, Record, shown};
use super::model::{Action, Told, Values};
use super::search::{Call, DeadEnd, Search, Verdict};

/// How much a check may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most configurations (sets of ordered operations with a register) to look at for one key. Each takes about
    /// 100 bytes.
    pub configurations_max: usize,
}

/// What was checked, when all was well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Keys in the history.
    pub keys_count: usize,
    /// Operations in the history, those left out included.
    pub operations_count: usize,
    /// Operations whose outcome the client did not learn.
    pub unknown_count: usize,
    /// Configurations that were looked at, of all keys: what the check cost.
    pub configurations_count: usize,
}

/// Why a history did not pass. The text shows the operations around the place.
#[derive(Clone, PartialEq, Eq)]
pub enum Failure {
    /// No order of this key's operations explains its answers.
    NotLinearizable {
        /// The key.
        key: Vec<u8>,
        /// The longest beginning of an order, and what cannot follow it.
        explanation: String,
    },
    /// The search was given up; nothing is known of this key.
    TooHard {
        /// The key.
        key: Vec<u8>,
        /// Configurations looked at.
        configurations_count: usize,
    },
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { configurations_max: 4_000_000 }
    }
}

impl History {
    /// Whether every key behaved like one register, from having no entry on.
    ///
    /// # Errors
    /// [`Failure`], of the first key in byte order that did not.
    pub fn check(&self) -> Result<Report, Failure> {
        self.check_within(Limits::default())
    }

    /// As [`History::check`], at another cost.
    ///
    /// # Errors
    /// [`Failure`], of the first key in byte order that did not pass.
    ///
    /// # Panics
    /// When an operation returned before it was called: the recording is broken.
    pub fn check_within(&self, limits: Limits) -> Result<Report, Failure> {
        let mut by_key: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
        for (at, record) in self.records.iter().enumerate() {
            by_key.entry(&record.key).or_default().push(at);
        }
        let unknown = self.records.iter().filter(|record| record.answer == Answer::Unknown);
        let mut report = Report {
            keys_count: by_key.len(),
            operations_count: self.records.len(),
            unknown_count: unknown.count(),
            configurations_count: 0,
        };
        for (key, places) in by_key {
            report.configurations_count += self.check_key(key, &places, limits)?;
        }
        Ok(report)
    }

    fn check_key(&self, key: &[u8], places: &[usize], limits: Limits) -> Result<usize, Failure> {
        let mut values = Values::default();
        let calls = places.iter().filter_map(|&at| call(at, &self.records[at], &mut values)).collect();
        let mut search = Search::new(&mut values, calls, limits.configurations_max);
        let verdict = search.run();
        let configurations_count = search.configurations_count();
        match verdict {
            Verdict::Linearizable => Ok(configurations_count),
            Verdict::GaveUp => Err(Failure::TooHard { key: key.to_vec(), configurations_count }),
            Verdict::Impossible(dead_end) => Err(Failure::NotLinearizable {
                key: key.to_vec(),
                explanation: self.explain(&dead_end, places.len()),
            }),
        }
    }

    fn explain(&self, dead_end: &DeadEnd, operations_count: usize) -> String {
        let list = |places: &[usize]| -> String {
            places.iter().map(|&at| format!("    {}\n", line(&self.records[at]))).collect()
        };
        let lowest = match dead_end.lowest {
            Some(at) if !dead_end.stuck.contains(&at) => {
                format!("  for this must come before any higher version:\n{}", list(&[at]))
            }
            _ => String::new(),
        };
        format!(
            "{} of {operations_count} operations can be put in order, ending in\n{}  which leaves {}. \
             One of these would have to come next, and none fits:\n{}{lowest}",
            dead_end.ordered_count,
            list(&dead_end.last),
            dead_end.state,
            list(&dead_end.stuck),
        )
    }
}

fn call(at: usize, record: &Record, values: &mut Values) -> Option<Call> {
    let told = Told::of(record, values)?;
    let action = Action::of(&record.op, values);
    let returned = if told == Told::Unknown { u64::MAX } else { record.returned };
    assert!(record.invoked <= returned, "returned before it was called: {}", line(record));
    Some(Call { record: at, invoked: record.invoked, returned, action, told })
}

fn line(record: &Record) -> String {
    let Record { client, invoked, returned, op, answer, .. } = record;
    match answer {
        Answer::Unknown => format!("[{invoked} .. ] client {client}: {op:?} -> {answer:?}"),
        _ => format!("[{invoked} .. {returned}] client {client}: {op:?} -> {answer:?}"),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NotLinearizable { key, explanation } => {
                write!(f, "key {} is not linearizable: {explanation}", shown(key))
            }
            Failure::TooHard { key, configurations_count } => {
                write!(
                    f,
                    "key {}: gave up after {configurations_count} configurations: record fewer operations a \
                     key, or fewer unknown ones, or raise configurations_max",
                    shown(key)
                )
            }
        }
    }
}

impl fmt::Debug for Failure {
    /// As shown, so that an `unwrap` in a test prints something to read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}
