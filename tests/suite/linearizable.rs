//! Do three daemons, under many threads, behave like one register a key? Every single-key operation in a random
//! mix, recorded with its times and answers and judged by the checker.
//!
//! A round begins with no key, sends at most `KEY_OPERATIONS_MAX` operations to any key, and ends, once all threads
//! are done, with a read of every key. What a round leaves behind is deleted before the next.

use std::thread;
use std::time::Instant;

use dht_client::{Client, Conditional, Error, Status, Value, Version};
use dht_tests::cluster::Cluster;
use dht_tests::linearizability::{Answer, Failure, History, Log, Op, Recorder};
use dht_tests::random::{Random, SEED, seed};

use crate::registry::Case;

/// Threads that ask at the same time.
const THREADS_COUNT: usize = 8;
/// Operations that are answered in each variant, at least.
const OPERATIONS_MIN: usize = 300_000;
/// Most operations on one key in a round.
const KEY_OPERATIONS_MAX: usize = 2_000;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("linearizable::on_ten_thousand_keys", || run(10_000, 100_000, OPERATIONS_MIN)),
        Case::new("linearizable::on_twenty_keys", || run(20, 32_000, OPERATIONS_MIN)),
        Case::new("linearizable::a_wrong_answer_is_found", a_wrong_answer_is_found),
    ]
}

/// One cluster, its clients, and where the randomness comes from.
struct Test {
    // Last of all, so that the clients go first.
    clients: Vec<Client>,
    keys_count: usize,
    seed: u64,
    _cluster: Cluster,
}

/// What one thread of a round works with.
struct Worker<'a> {
    client: &'a Client,
    log: Log,
    random: Random,
    /// For each key the version that this thread was told last.
    seen: Vec<Version>,
    /// No two writes of a round have the same value.
    writes_count: u64,
    number: usize,
}

fn run(keys_count: usize, round_operations: usize, operations_min: usize) {
    let test = Test::start(keys_count);
    let begun = Instant::now();
    let (mut operations_count, mut rounds_count) = (0, 0);
    while operations_count < operations_min {
        test.reset();
        let history = test.round(rounds_count, round_operations);
        match history.check() {
            Ok(report) => operations_count += report.operations_count,
            Err(failure) => panic!("{failure}\nround {rounds_count}, {SEED}={}", test.seed),
        }
        rounds_count += 1;
    }
    eprintln!(
        "{operations_count} operations on {keys_count} keys in {rounds_count} rounds, {:.1} s, {SEED}={}",
        begun.elapsed().as_secs_f64(),
        test.seed
    );
}

/// The test above can fail: what the daemons answered passes, and does no longer once it is tampered with.
fn a_wrong_answer_is_found() {
    let test = Test::start(20);
    let history = test.round(0, 8_000);
    history.check().unwrap_or_else(|failure| panic!("{failure}\n{SEED}={}", test.seed));
    for (what, wrong) in [
        ("two reads have each other's answer", with_reads_swapped(&history)),
        ("a counter is one ahead", with_a_miscount(&history)),
        ("a read tells a version of later", with_a_version_from_the_future(&history)),
        ("a write that was done is forgotten", with_a_write_lost(&history)),
    ] {
        let verdict = wrong.check();
        let found = matches!(&verdict, Err(Failure::NotLinearizable { .. }));
        assert!(found, "{what}, and nobody minds: {verdict:?}, {SEED}={}", test.seed);
    }
}

impl Test {
    fn start(keys_count: usize) -> Test {
        let cluster = Cluster::start(3);
        // Threads share clients, and the clients come from different daemons.
        let clients = cluster.addresses().map(|address| Client::connect(address).unwrap()).collect();
        Test { clients, keys_count, seed: seed(), _cluster: cluster }
    }

    /// Runs one round and hands back what was asked and answered.
    fn round(&self, number: u64, operations_count: usize) -> History {
        let recorder = Recorder::new();
        let workers: Vec<Worker<'_>> =
            (0..THREADS_COUNT).map(|at| self.worker(at, number, recorder.log(at as u32))).collect();
        let share = operations_count / THREADS_COUNT;
        // A scope ends when all of its threads have: that is the barrier between the mix and the reads.
        let workers = on_threads(workers, |worker| {
            while worker.log.operations_count() < share {
                worker.step(self.keys_count as u64);
            }
        });
        let workers = on_threads(workers, |worker| {
            for key in (worker.number..self.keys_count).step_by(THREADS_COUNT) {
                worker.run(key, Op::Get);
            }
        });
        let history = recorder.history(workers.into_iter().map(|worker| worker.log));
        assert_bound_on_every_key(&history, self.keys_count);
        history
    }

    fn worker(&self, at: usize, round: u64, log: Log) -> Worker<'_> {
        Worker {
            client: &self.clients[at % self.clients.len()],
            log,
            random: Random::new(self.seed ^ (round << 8) ^ at as u64),
            seen: vec![Version::ABSENT; self.keys_count],
            writes_count: 0,
            number: at,
        }
    }

    /// Deletes every key.
    fn reset(&self) {
        on_threads((0..THREADS_COUNT).collect(), |&mut at| {
            for key in (at..self.keys_count).step_by(THREADS_COUNT) {
                self.clients[at % self.clients.len()].delete(name(key)).unwrap();
            }
        });
    }
}

impl Worker<'_> {
    fn step(&mut self, keys_count: u64) {
        let key = self.random.below(keys_count) as usize;
        let op = match self.random.below(100) {
            0..25 => Op::Get,
            25..32 => Op::Exists,
            32..44 => Op::Put(self.value()),
            44..52 => Op::PutIfAbsent(self.value()),
            52..60 => Op::Replace(self.value()),
            60..72 => Op::CompareAndPut(self.version_of(key), self.value()),
            72..77 => Op::Delete,
            77..84 => Op::DeleteIf(self.version_of(key)),
            84..92 => Op::Add(self.unique_number()),
            _ => Op::Append(self.unique_text()),
        };
        self.run(key, op);
    }

    fn run(&mut self, key: usize, op: Op) {
        let client = self.client;
        let answer = self.log.run(name(key), op, |op| ask(client, &name(key), op));
        match answer {
            Answer::Found { version: Some(version), .. }
            | Answer::Written { version: Some(version) }
            | Answer::Refused { seen: Some(version) } => self.seen[key] = *version,
            Answer::Missing => self.seen[key] = Version::ABSENT,
            _ => {}
        }
    }

    /// A version to compare with: what was heard last, which is most often old, or what is there now.
    fn version_of(&mut self, key: usize) -> Version {
        if self.random.percent(60) {
            self.run(key, Op::Get);
        }
        self.seen[key]
    }

    fn value(&mut self) -> Vec<u8> {
        if self.random.percent(40) {
            self.unique_number().to_string().into_bytes()
        } else {
            self.unique_text()
        }
    }

    /// Sums of some of these are as good as unique, and never leave 64 bits.
    fn unique_number(&mut self) -> i64 {
        self.writes_count += 1;
        let noise = self.random.below(1 << 20) << 30;
        let number = (noise | (self.number as u64) << 24 | self.writes_count) as i64;
        if self.random.percent(50) { number } else { -number }
    }

    fn unique_text(&mut self) -> Vec<u8> {
        self.writes_count += 1;
        format!("w{}.{};", self.number, self.writes_count).into_bytes()
    }
}

/// Does `op` by the client's public calls. No error may come but those that are answers.
fn ask(client: &Client, key: &str, op: &Op) -> Answer {
    let refused = Answer::Refused { seen: None };
    let answer = match op {
        Op::Get => client.get_versioned::<Value>(key).map(|found| match found {
            Some(found) => Answer::found(found.version, recorded(&found.value)),
            None => Answer::Missing,
        }),
        Op::Exists => client.exists(key).map(|is_there| match is_there {
            true => Answer::Present { version: None },
            false => Answer::Missing,
        }),
        Op::Put(value) => client.put(key, &stored(value)).map(Answer::written),
        Op::PutIfAbsent(value) => client.put_if_absent(key, &stored(value)).map(conditional),
        Op::Replace(value) => client.replace(key, &stored(value)).map(conditional),
        Op::CompareAndPut(expected, value) => {
            client.compare_and_put(key, *expected, &stored(value)).map(conditional)
        }
        Op::Delete => client.delete(key).map(|version| version.map_or(Answer::Missing, Answer::written)),
        Op::DeleteIf(expected) => client.delete_if(key, *expected).map(conditional),
        Op::Add(delta) => client.add(key, *delta).map(|value| Answer::Counted { version: None, value }),
        Op::Append(suffix) => client.append(key, &stored(suffix)).map(|_| Answer::Written { version: None }),
    };
    match answer {
        Ok(answer) => answer,
        Err(Error::Refused { status: Status::WrongType, .. }) if matches!(op, Op::Add(_) | Op::Append(_)) => {
            refused
        }
        Err(error) => panic!("{op:?} on {key}: {error}"),
    }
}

fn conditional(outcome: Conditional) -> Answer {
    match outcome {
        Conditional::Done(version) => Answer::written(version),
        Conditional::Refused { current } => Answer::refused(current),
    }
}

/// The value as the store has it: digits are an integer.
fn stored(bytes: &[u8]) -> Value {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    text.parse().map_or(Value::Text(text), Value::Int)
}

/// The value as the history has it.
fn recorded(value: &Value) -> Vec<u8> {
    match value {
        Value::Int(number) => number.to_string().into_bytes(),
        Value::Text(text) => text.clone().into_bytes(),
        other => panic!("nobody wrote {other:?}"),
    }
}

fn name(key: usize) -> String {
    format!("key {key}")
}

/// Lets every worker work in a thread of its own and waits for all.
fn on_threads<T: Send>(workers: Vec<T>, work: impl Fn(&mut T) + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let start = |mut worker: T| {
            let work = &work;
            scope.spawn(move || {
                work(&mut worker);
                worker
            })
        };
        let threads: Vec<_> = workers.into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("the panic's own message is above")).collect()
    })
}

fn assert_bound_on_every_key(history: &History, keys_count: usize) {
    let mut counts = std::collections::HashMap::new();
    history.records.iter().for_each(|record| *counts.entry(&record.key).or_insert(0) += 1);
    assert_eq!(counts.len(), keys_count, "every key is read at the end");
    assert!(counts.values().all(|&count| count <= KEY_OPERATIONS_MAX), "too many on one key: {counts:?}");
}

/// The first read of a key and the last one that found another version of it.
fn with_reads_swapped(history: &History) -> History {
    let mut wrong = history.clone();
    let reads: Vec<usize> = (0..wrong.records.len())
        .filter(|&at| {
            let record = &wrong.records[at];
            record.key == name(0).as_bytes() && matches!(record.answer, Answer::Found { .. })
        })
        .collect();
    let earliest = *reads.iter().min_by_key(|&&at| wrong.records[at].returned).unwrap();
    let latest = *reads.iter().max_by_key(|&&at| wrong.records[at].invoked).unwrap();
    let answer = wrong.records[earliest].answer.clone();
    assert_ne!(answer, wrong.records[latest].answer, "a key that nobody wrote");
    wrong.records[earliest].answer = std::mem::replace(&mut wrong.records[latest].answer, answer);
    wrong
}

fn with_a_miscount(history: &History) -> History {
    let mut wrong = history.clone();
    let counts = wrong.records.iter_mut().filter_map(|record| match &mut record.answer {
        Answer::Counted { value, .. } => Some(value),
        _ => None,
    });
    *counts.last().unwrap() += 1;
    wrong
}

/// Versions never fall, so no later answer can have a lower one.
fn with_a_version_from_the_future(history: &History) -> History {
    let mut wrong = history.clone();
    let reads = wrong.records.iter_mut().filter(|record| matches!(record.answer, Answer::Found { .. }));
    let earliest = reads.min_by_key(|record| record.returned).unwrap();
    if let Answer::Found { version, .. } = &mut earliest.answer {
        *version = Some(Version(u64::MAX));
    }
    wrong
}

/// A value that a read found was never written.
fn with_a_write_lost(history: &History) -> History {
    let mut wrong = history.clone();
    let found = |value: &[u8]| {
        history
            .records
            .iter()
            .any(|record| matches!(&record.answer, Answer::Found { value: seen, .. } if seen == value))
    };
    let lost = wrong.records.iter().position(|record| matches!(&record.op, Op::Put(value) if found(value)));
    wrong.records.swap_remove(lost.unwrap());
    wrong
}
