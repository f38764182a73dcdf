//! One partition under everything at once: four threads that write each to their own keys and know what those hold, one
//! that scans, one that keeps house. Seeded, and bounded in operations; only the order of the threads is not given.
//!
//! What must hold: each thread finds its own keys as it left them after each of its operations, with versions that rise;
//! a scan gives every key that is there from its start to its end once and none twice, and no value of two
//! writes mixed; at the end the table holds what the threads know, and memory is back once it is emptied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use dht_protocol::cursor::Cursor;
use dht_protocol::frame::{Cut, cut};
use dht_protocol::header::PROTOCOL_VERSION;
use dht_protocol::ids::{
    Cfg, ClientId, ClusterId, Epoch, Incarnation, NodeId, PartitionId, RequestId, Version,
};
use dht_protocol::limits::{BODY_BYTES_MAX, SCAN_VALUE_INLINE_BYTES_MAX};
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::planner::single_node_map;
use dht_protocol::placement::ring::Ring;
use dht_protocol::request::{Condition, Hello, Key, PartitionList, Request, Scan, WriteToken};
use dht_protocol::response::{Refusal, Response};
use dht_protocol::status::Status;
use dht_protocol::value::{ValueRef, ValueType};

use super::{AnswerBounds, Dispatcher, Frame, Identity, Output, Session};
use crate::memory::{MemoryAccount, MemoryKind};
use crate::metrics::WorkerMetrics;

const WRITERS: u64 = 4;
/// Keys of each writer. The first of every eight is there from the beginning to the end.
const KEYS: u64 = 4_000;
const STEADY_ONE_IN: u64 = 8;
/// Operations of each writer, and how many of a hundred that change something are puts, phase by phase.
const OPERATIONS: u64 = 48_000;
const PUT_PERCENT: [u64; 6] = [100, 70, 30, 90, 50, 2];
const ADDS_IN_A_ROW: u64 = 20;
const PARTITION: PartitionId = PartitionId(0);

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    /// Mostly short; some move from segment to segment, a few live outside.
    fn value_bytes(&mut self) -> usize {
        let most = match self.below(200) {
            0 => SCAN_VALUE_INLINE_BYTES_MAX as u64 * 2,
            1..10 => 3_000,
            _ => 60,
        };
        1 + self.below(most) as usize
    }
}

/// A node of one partition that counts, and what all threads know of it.
struct Node {
    dispatcher: Dispatcher,
    memory: Arc<MemoryAccount>,
    /// By writer, keys that lie in the partition.
    keys: Vec<Vec<Vec<u8>>>,
    /// A counter to which all writers add.
    shared: Vec<u8>,
}

fn node(limit_bytes: u64) -> Node {
    let map = single_node_map("a:1", Ring::new(16).unwrap(), HashKey::GUESSABLE).unwrap();
    let mut numbers = 0u64..;
    let mut next_key = || loop {
        let number = numbers.next().unwrap();
        let mut key = format!("key {number}").into_bytes();
        key.resize(key.len() + if number.is_multiple_of(40) { 150 } else { number as usize % 7 }, b'.');
        if map.owners(map.hash_key().hash(&key)).partition == PARTITION {
            return key;
        }
    };
    let keys = (0..WRITERS).map(|_| (0..KEYS).map(|_| next_key()).collect()).collect();
    let shared = next_key();
    let identity =
        Identity { node: NodeId(0), incarnation: Incarnation(1), cfg: Cfg::new(1), started: Instant::now() };
    let memory = MemoryAccount::new(limit_bytes);
    let (stop, _) = bounded(1);
    let dispatcher =
        Dispatcher::new(Arc::new(map), identity, Arc::clone(&memory), vec![Arc::default()], stop);
    Node { dispatcher, memory, keys, shared }
}

/// A connection, but for the socket.
struct Asker<'a> {
    node: &'a Node,
    session: Session,
    metrics: WorkerMetrics,
    seq: u64,
}

impl<'a> Asker<'a> {
    fn new(node: &'a Node, id: u128) -> Asker<'a> {
        let mut asker =
            Asker { node, session: Session::default(), metrics: WorkerMetrics::default(), seq: 0 };
        let hello = Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            features: 0,
            client_id: ClientId(id),
            cluster_id: ClusterId(0),
        };
        asker.ask(&Request::Hello(hello), |response| assert!(matches!(response, Response::Hello(_))));
        asker
    }

    fn ask<R>(&mut self, request: &Request<'_>, read: impl FnOnce(&Response<'_>) -> R) -> R {
        let mut bytes = Vec::new();
        request.encode(RequestId(1), Epoch(1), &mut bytes);
        let Cut::Frame { header, body, .. } = cut(&bytes, BODY_BYTES_MAX) else { panic!("a whole frame") };
        let mut output = Output::default();
        let bounds = AnswerBounds {
            output_bytes_max: usize::MAX,
            turn_ends: Instant::now() + Duration::from_secs(60),
            slow_ns: None,
        };
        let frames = [Frame { header, body }];
        self.node.dispatcher.answer(&mut self.session, &frames, &mut output, bounds, &self.metrics);
        let answer: Vec<u8> = output.front(usize::MAX).flatten().copied().collect();
        let Cut::Frame { header, body, .. } = cut(&answer, BODY_BYTES_MAX) else { panic!("a whole frame") };
        read(&Response::decode(request.op(), &header, body).unwrap())
    }

    /// The number of the next write; all before it have been answered.
    fn token(&mut self) -> Option<WriteToken> {
        self.seq += 1;
        Some(WriteToken { seq: self.seq, floor: self.seq, retry: false })
    }

    /// The write's version; `None`: it was refused for want of memory.
    fn write(&mut self, request: &Request<'_>) -> Option<Version> {
        self.ask(request, |response| match response {
            Response::Version(version)
            | Response::Appended { version, .. }
            | Response::Counted { version, .. } => Some(*version),
            Response::Refused(Refusal::Other(Status::OutOfMemory, _)) => None,
            other => panic!("{other:?}"),
        })
    }

    /// A whole scan, in small pages: the keys, sorted.
    fn scan(&mut self, random: &mut Random) -> Vec<Vec<u8>> {
        let list = [PARTITION.0.to_be_bytes()];
        let (mut cursor, mut keys) = (Cursor::START, Vec::new());
        loop {
            let entries_max = 1 + random.below(200) as u32;
            let partitions = PartitionList::from_wire(&list);
            let scan = Request::Scan(Scan { cursor, entries_max, prefix: b"", partitions });
            let next = self.ask(&scan, |response| {
                let Response::Page(page) = response else { panic!("{response:?}") };
                for entry in page.entries() {
                    if let Some(value) = entry.value.filter(|_| entry.value_type == ValueType::BYTES) {
                        check_whole(value);
                    }
                    keys.push(entry.key.to_vec());
                }
                (page.partitions_done == 0).then_some(page.next)
            });
            let Some(next) = next else { break };
            assert!(next > cursor, "a scan that does not move on");
            cursor = next;
        }
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all, "a key was given twice");
        keys
    }
}

/// Values are made of one byte, over and over.
fn check_whole(value: &[u8]) {
    assert!(value.iter().all(|byte| *byte == value[0]), "a value of two writes");
}

/// A writer, and what its keys hold.
struct Writer<'a> {
    asker: Asker<'a>,
    random: Random,
    keys: &'a [Vec<u8>],
    model: BTreeMap<usize, (Version, Vec<u8>)>,
    refused_count: u64,
    /// What it has added to the shared counter.
    added: i64,
}

impl Writer<'_> {
    fn put(&mut self, at: usize) {
        let value = vec![self.random.below(256) as u8; self.random.value_bytes()];
        let (key, token) = (Key::new(&self.keys[at]).unwrap(), self.asker.token());
        let condition = match self.model.get(&at) {
            Some((version, _)) if self.random.below(4) == 0 => Condition::IfVersion(*version),
            _ => Condition::Always,
        };
        let bytes = ValueRef { value_type: ValueType::BYTES, bytes: &value };
        let written = self.asker.write(&Request::Put { key, value: bytes, condition, token });
        self.note(at, written, value);
    }

    fn append(&mut self, at: usize) {
        let Some((_, old)) = self.model.get(&at) else { return };
        let value = vec![old[0]; old.len() + 1 + self.random.below(40) as usize];
        let suffix = ValueRef { value_type: ValueType::BYTES, bytes: &value[old.len()..] };
        let (key, token) = (Key::new(&self.keys[at]).unwrap(), self.asker.token());
        let written = self.asker.write(&Request::Append { key, suffix, token });
        self.note(at, written, value);
    }

    fn add(&mut self) {
        let (key, token) = (Key::new(&self.asker.node.shared).unwrap(), self.asker.token());
        let delta = self.random.below(10) as i64;
        if self.asker.write(&Request::Add { key, delta, token }).is_some() {
            self.added += delta;
        }
    }

    fn note(&mut self, at: usize, written: Option<Version>, value: Vec<u8>) {
        match written {
            Some(version) => {
                let old = self.model.insert(at, (version, value));
                assert!(old.is_none_or(|(old, _)| old < version), "a version that does not rise");
            }
            None => self.refused_count += 1,
        }
    }

    fn delete(&mut self, at: usize) {
        let (key, token) = (Key::new(&self.keys[at]).unwrap(), self.asker.token());
        let delete = Request::Delete { key, condition: Condition::Always, token };
        let deleted = self.asker.ask(&delete, |response| match response {
            Response::Version(_) => true,
            Response::Refused(refusal) if refusal.status() == Status::NotFound => false,
            other => panic!("{other:?}"),
        });
        assert_eq!(deleted, self.model.remove(&at).is_some());
    }

    fn check(&mut self, at: usize) {
        let expected = self.model.get(&at);
        let key = Key::new(&self.keys[at]).unwrap();
        self.asker.ask(&Request::Get { key }, |response| match (response, expected) {
            (Response::Found { version, value }, Some((expected, bytes))) => {
                assert_eq!((version, value.bytes), (expected, bytes.as_slice()));
            }
            (Response::Refused(refusal), None) if refusal.status() == Status::NotFound => {}
            (other, expected) => panic!("{other:?} where {expected:?} was expected"),
        });
    }

    fn run(&mut self, phase_at: usize) {
        for operation in 0..OPERATIONS {
            let phase = (operation * PUT_PERCENT.len() as u64 / OPERATIONS) as usize + phase_at;
            let at = self.random.below(KEYS) as usize;
            let is_steady = (at as u64).is_multiple_of(STEADY_ONE_IN);
            match self.random.below(100) {
                0..15 => {}
                // Many in a row, so that those of several writers meet.
                15..20 => (0..ADDS_IN_A_ROW).for_each(|_| self.add()),
                20..25 => self.append(at),
                _ if self.random.below(100) < PUT_PERCENT[phase % PUT_PERCENT.len()] => self.put(at),
                _ if is_steady => self.put(at),
                _ => self.delete(at),
            }
            self.check(at);
        }
    }
}

/// Everything at once; answers how many writes were refused.
fn stress(seed: u64, limit_bytes: u64) -> u64 {
    println!("seed {seed}, limit {limit_bytes} B");
    let node = node(limit_bytes);
    let mut writers: Vec<Writer<'_>> = (0..WRITERS)
        .map(|number| Writer {
            asker: Asker::new(&node, 1 + u128::from(number)),
            random: Random(seed * 1_000 + number),
            keys: &node.keys[number as usize],
            model: BTreeMap::new(),
            refused_count: 0,
            added: 0,
        })
        .collect();
    for writer in &mut writers {
        for at in (0..KEYS as usize).step_by(STEADY_ONE_IN as usize) {
            while !writer.model.contains_key(&at) {
                writer.put(at);
            }
        }
    }
    writers[0].add();
    let steady = node.keys.iter().flat_map(|keys| keys.iter().step_by(STEADY_ONE_IN as usize));
    let steady: Vec<&Vec<u8>> = steady.chain([&node.shared]).collect();
    let (done, scans) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut asker, mut random) = (Asker::new(&node, 0), Random(seed));
            while !done.load(Ordering::Acquire) || scans.load(Ordering::Relaxed) == 0 {
                let found = asker.scan(&mut random);
                assert!(steady.iter().all(|key| found.binary_search(key).is_ok()), "a key was left out");
                scans.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                node.dispatcher.keep_house(|| true);
                thread::yield_now();
            }
        });
        thread::scope(|scope| {
            for (phase, writer) in writers.iter_mut().enumerate() {
                scope.spawn(move || writer.run(phase % 2));
            }
        });
        done.store(true, Ordering::Release);
    });
    println!("{} whole scans meanwhile", scans.into_inner());
    finish(&node, &mut writers, seed)
}

/// The table against what the threads know, and then without anything.
fn finish(node: &Node, writers: &mut [Writer<'_>], seed: u64) -> u64 {
    let hosted = node.dispatcher.partitions().get(PARTITION).unwrap();
    hosted.lock().store.check_invariants();
    let mut expected: Vec<Vec<u8>> = vec![node.shared.clone()];
    let sum: i64 = writers.iter().map(|writer| writer.added).sum();
    let key = Key::new(&node.shared).unwrap();
    Asker::new(node, 0).ask(&Request::Get { key }, |response| match response {
        Response::Found { value, .. } => assert_eq!(value.as_counter(), Some(sum)),
        other => panic!("{other:?}"),
    });
    for writer in writers.iter_mut() {
        expected.extend(writer.model.keys().map(|at| writer.keys[*at].clone()));
        (0..KEYS as usize).for_each(|at| writer.check(at));
    }
    expected.sort_unstable();
    assert_eq!(Asker::new(node, 0).scan(&mut Random(seed)), expected);
    let usage = hosted.lock().store.usage();
    assert_eq!(usage.entries, expected.len() as u64);
    assert!(usage.growth_steps > 100 && usage.compaction_steps > 100, "too quiet: {usage:?}");
    for writer in writers.iter_mut() {
        (0..KEYS as usize).for_each(|at| writer.delete(at));
    }
    let delete = Request::Delete { key, condition: Condition::Always, token: None };
    assert!(Asker::new(node, 0).write(&delete).is_some());
    node.dispatcher.keep_house(|| true);
    hosted.lock().store.check_invariants();
    for kind in [MemoryKind::Tables, MemoryKind::Arena, MemoryKind::LargeValues] {
        assert_eq!(node.memory.used_by(kind), 0, "an empty partition keeps memory of {kind:?}");
    }
    let outcomes = node.memory.used_by(MemoryKind::Dedup);
    assert!(outcomes < 4 << 10, "{outcomes} B of outcomes that nobody can ask for");
    writers.iter().map(|writer| writer.refused_count).sum()
}

#[test]
fn writes_deletes_scans_and_housekeeping_at_once_agree_with_the_model() {
    assert_eq!(stress(1, 1 << 30), 0);
}

#[test]
fn the_same_at_the_memory_limit() {
    assert!(stress(2, 3 << 20) > 0, "the limit was never reached");
}
