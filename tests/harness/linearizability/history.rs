//! Histories: what was asked, what was answered, and when. Recording touches no lock and nothing shared, so that
//! it does not itself put the threads in order.

use std::fmt;
use std::time::Instant;

use dht_protocol::ids::Version;

/// What a client asked of one key. Values are bytes; a counter is recorded as its canonical decimal text,
/// whatever type the store keeps it under.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Op {
    /// Reads the value.
    Get,
    /// Asks whether there is an entry.
    Exists,
    /// Writes, whatever is there.
    Put(Vec<u8>),
    /// Writes if there is no entry.
    PutIfAbsent(Vec<u8>),
    /// Writes if there is an entry.
    Replace(Vec<u8>),
    /// Writes if the entry has that version; [`Version::ABSENT`] asks that there be none.
    CompareAndPut(Version, Vec<u8>),
    /// Deletes the entry.
    Delete,
    /// Deletes the entry if it has that version.
    DeleteIf(Version),
    /// Adds to the counter, which begins at 0.
    Add(i64),
    /// Lengthens the value, which begins empty.
    Append(Vec<u8>),
}

/// What the client was told. A version is `None` where the door does not say it (the checks that need it are
/// then left out).
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// To a read: this entry.
    Found {
        /// Its version.
        version: Option<Version>,
        /// Its value.
        value: Vec<u8>,
    },
    /// To `Exists`: there is an entry.
    Present {
        /// Its version.
        version: Option<Version>,
    },
    /// There is no entry; to a write that needs one, also: so nothing was done.
    Missing,
    /// The write or delete was done.
    Written {
        /// Version of the write.
        version: Option<Version>,
    },
    /// The addition was done.
    Counted {
        /// Version of the write.
        version: Option<Version>,
        /// The counter after it.
        value: i64,
    },
    /// The condition did not hold, or what is there is no number that can be added to, or is a number and so
    /// cannot be lengthened: nothing was done.
    Refused {
        /// Version of the entry that was found, [`Version::ABSENT`] for none.
        seen: Option<Version>,
    },
    /// It may have been done, may still be, or never.
    Unknown,
    /// It was not done and never will be, for reasons that say nothing of the entry (busy, out of memory).
    NotDone,
}

/// One operation of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who asked; only shown in reports.
    pub client: u32,
    /// Of which key.
    pub key: Vec<u8>,
    /// When it was asked: any unit, one clock for all of the history.
    pub invoked: u64,
    /// When it was answered. Without meaning when the answer is [`Answer::Unknown`].
    pub returned: u64,
    /// What was asked.
    pub op: Op,
    /// What was answered.
    pub answer: Answer,
}

/// The clock that all threads of a test share.
#[derive(Clone, Copy, Debug)]
pub struct Recorder {
    started: Instant,
}

/// The operations of one thread.
#[derive(Debug)]
pub struct Log {
    recorder: Recorder,
    client: u32,
    records: Vec<Record>,
}

/// Operations of all threads on all keys, in any order.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The operations.
    pub records: Vec<Record>,
}

impl Answer {
    /// A read found this entry.
    #[must_use]
    pub fn found(version: Version, value: impl Into<Vec<u8>>) -> Answer {
        Answer::Found { version: Some(version), value: value.into() }
    }

    /// There is an entry of this version.
    #[must_use]
    pub const fn present(version: Version) -> Answer {
        Answer::Present { version: Some(version) }
    }

    /// A write or delete was done and got this version.
    #[must_use]
    pub const fn written(version: Version) -> Answer {
        Answer::Written { version: Some(version) }
    }

    /// An addition was done.
    #[must_use]
    pub const fn counted(version: Version, value: i64) -> Answer {
        Answer::Counted { version: Some(version), value }
    }

    /// A condition did not hold; the entry has this version, [`Version::ABSENT`] for none.
    #[must_use]
    pub const fn refused(seen: Version) -> Answer {
        Answer::Refused { seen: Some(seen) }
    }

    /// The version that it names.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        match self {
            Answer::Found { version, .. }
            | Answer::Present { version }
            | Answer::Written { version }
            | Answer::Counted { version, .. }
            | Answer::Refused { seen: version } => *version,
            Answer::Missing | Answer::Unknown | Answer::NotDone => None,
        }
    }
}

impl Recorder {
    /// A clock that starts now.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default that reads a clock would surprise")]
    pub fn new() -> Recorder {
        Recorder { started: Instant::now() }
    }

    /// An empty log for the thread called `client`.
    #[must_use]
    pub const fn log(&self, client: u32) -> Log {
        Log { recorder: *self, client, records: Vec::new() }
    }

    /// All of `logs` together.
    #[must_use]
    pub fn history(&self, logs: impl IntoIterator<Item = Log>) -> History {
        History { records: logs.into_iter().flat_map(|log| log.records).collect() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).expect("no test runs for 584 years")
    }
}

impl Log {
    /// Does `op` on `key` by way of `call`, and records when and how it was answered. The answer is handed back
    /// as well, for tests that go on from it.
    pub fn run(&mut self, key: impl Into<Vec<u8>>, op: Op, call: impl FnOnce(&Op) -> Answer) -> &Answer {
        let key = key.into();
        let invoked = self.recorder.now();
        let answer = call(&op);
        let returned = self.recorder.now();
        self.records.push(Record { client: self.client, key, invoked, returned, op, answer });
        &self.records[self.records.len() - 1].answer
    }

    /// How many operations were recorded.
    #[must_use]
    pub fn operations_count(&self) -> usize {
        self.records.len()
    }
}

impl FromIterator<Record> for History {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> History {
        History { records: records.into_iter().collect() }
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Get => f.write_str("get"),
            Op::Exists => f.write_str("exists"),
            Op::Put(value) => write!(f, "put {}", shown(value)),
            Op::PutIfAbsent(value) => write!(f, "put-if-absent {}", shown(value)),
            Op::Replace(value) => write!(f, "replace {}", shown(value)),
            Op::CompareAndPut(version, value) => write!(f, "put-if-version {version} {}", shown(value)),
            Op::Delete => f.write_str("delete"),
            Op::DeleteIf(version) => write!(f, "delete-if-version {version}"),
            Op::Add(delta) => write!(f, "add {delta}"),
            Op::Append(value) => write!(f, "append {}", shown(value)),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Found { version, value } => write!(f, "{}{}", shown(value), at(*version)),
            Answer::Present { version } => write!(f, "present{}", at(*version)),
            Answer::Missing => f.write_str("missing"),
            Answer::Written { version } => write!(f, "done{}", at(*version)),
            Answer::Counted { version, value } => write!(f, "counted {value}{}", at(*version)),
            Answer::Refused { seen } => write!(f, "refused{}", at(*seen)),
            Answer::Unknown => f.write_str("unknown"),
            Answer::NotDone => f.write_str("not done"),
        }
    }
}

fn at(version: Option<Version>) -> String {
    version.map(|version| format!(" at version {version}")).unwrap_or_default()
}

/// Bytes of a value for a report: escaped, and cut where they grow long.
pub(super) fn shown(value: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 60;
    let end = value.len().min(SHOWN_BYTES_MAX);
    let rest = if value.len() > end { format!("… ({} bytes)", value.len()) } else { String::new() };
    format!("\"{}\"{rest}", value[..end].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_of_many_threads_become_one_history() {
        let recorder = Recorder::new();
        let logs = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|client| {
                    let mut log = recorder.log(client);
                    scope.spawn(move || {
                        (0..10).for_each(|_| {
                            log.run("k", Op::Get, |_| Answer::Missing);
                        });
                        log
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(logs.iter().all(|log| log.operations_count() == 10));
        let history = recorder.history(logs);
        assert_eq!(history.records.len(), 40);
        assert!(history.records.iter().all(|record| record.invoked <= record.returned));
        history.check().unwrap();
    }

    #[test]
    fn long_values_are_cut_in_reports() {
        assert_eq!(shown(b"a\n"), "\"a\\n\"");
        assert!(shown(&[b'x'; 100]).ends_with("… (100 bytes)"));
    }
}
