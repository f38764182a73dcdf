//! The table against a plain model: random operations from a printed seed, every invariant checked on the way.

use std::collections::BTreeMap;
use std::sync::Arc;

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::Version;
use dht_protocol::placement::hash::{HashKey, KeyHash};
use dht_protocol::value::{ValueRef, ValueType};

use super::directory::Span;
use super::limits::{DEAD_PARTS_WRITE, STEP_BYTES_MAX, STEP_SLOTS_MAX};
use super::pool::Pool;
use super::scan::PageBounds;
use super::table::{HashKeys, Table};
use super::{LargeValue, NewValue, StepKind, StoreError};
use crate::memory::{MemoryAccount, MemoryKind};

/// `full`, or so many as the interpreter of `.ci/memory-safety` gets through in seconds.
const fn sized(full: u64, interpreted: u64) -> u64 {
    if cfg!(miri) { interpreted } else { full }
}

const SPAN: Span = Span { start: 5 << 60, bits: 4 };

/// Hashes of every quality. A key begins with a number of eight bytes, big-endian.
#[derive(Clone, Copy, Debug)]
enum Hashes {
    /// As in service.
    Good,
    /// All keys have one and the same hash.
    One,
    /// Keys share a few hashes near the end of the range, where probes wrap around.
    FewAtTheEnd,
    /// Keys lie in the order of their numbers, this many bits apart.
    InOrder(u32),
    /// Keys come in clumps that share all but the low bits.
    Clumps,
}

impl HashKeys for Hashes {
    fn hash_of(&self, key: &[u8]) -> KeyHash {
        let number = u64::from_be_bytes(*key.first_chunk().unwrap());
        let good = HashKey::GUESSABLE.hash(key).0 >> SPAN.bits;
        KeyHash(match self {
            Hashes::Good => SPAN.start | good,
            Hashes::One => SPAN.start | 0x0123_4567_89AB_CDEF,
            Hashes::FewAtTheEnd => (SPAN.start | (u64::MAX >> SPAN.bits)) - (number % 5),
            Hashes::InOrder(apart) => SPAN.start + (number << apart),
            Hashes::Clumps => SPAN.start | (good >> 57 << 57) | (good & 0xFFFF),
        })
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn value_bytes(&mut self) -> usize {
        match self.below(40) {
            0 => self.below(70_000) as usize,
            1 => self.below(3_000) as usize,
            2..8 => self.below(400) as usize,
            _ => self.below(40) as usize,
        }
    }
}

type Model = BTreeMap<Vec<u8>, (Version, ValueType, Vec<u8>)>;

/// A table and what it should hold.
struct Pair {
    memory: Arc<MemoryAccount>,
    table: Table<Hashes>,
    model: Model,
    seq: u64,
}

fn key_of(number: u64) -> Vec<u8> {
    let mut key = number.to_be_bytes().to_vec();
    // Some keys are long, some have a stored hash, a few fill a segment.
    let more = match number % 50 {
        7 => 120,
        8 => 300,
        9 if number % 1_000 == 9 => sized(65_535, 600) as usize - 8,
        _ => number as usize % 9,
    };
    key.resize(8 + more, number as u8);
    key
}

impl Pair {
    fn new(hashes: Hashes, limit_bytes: u64) -> Pair {
        let memory = MemoryAccount::new(limit_bytes);
        let table = Table::new(hashes, SPAN, Pool::new(Arc::clone(&memory)));
        assert_eq!(memory.used_bytes(), 0);
        Pair { memory, table, model: Model::new(), seq: 0 }
    }

    fn put(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let (hash, version) = (self.table.hasher.hash_of(key), Version(self.seq + 1));
        let value_type = ValueType::new((self.seq % 7) as u8).unwrap();
        let value = if super::is_large(key.len(), bytes.len()) {
            NewValue::Large(value_type, LargeValue::copy_of(bytes, &self.memory)?)
        } else {
            NewValue::Inline(ValueRef { value_type, bytes })
        };
        let displaced = self.table.put(hash, key, &value, version)?;
        self.seq += 1;
        let old = self.model.insert(key.to_vec(), (version, value_type, bytes.to_vec()));
        self.check_displaced(key, displaced, old.map(|(.., bytes)| bytes));
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) {
        let deleted = self.table.delete(self.table.hasher.hash_of(key), key);
        let expected = self.model.remove(key);
        assert_eq!(deleted.is_some(), expected.is_some());
        self.check_displaced(key, deleted.flatten(), expected.map(|(.., bytes)| bytes));
    }

    fn check_displaced(&self, key: &[u8], displaced: Option<Arc<LargeValue>>, old: Option<Vec<u8>>) {
        let old = old.filter(|bytes| super::is_large(key.len(), bytes.len()));
        assert_eq!(displaced.map(|large| large.to_vec()), old);
    }

    fn check_get(&self, key: &[u8]) {
        let hash = self.table.hasher.hash_of(key);
        // As for a batch of look-ups, whether or not there is anything to fetch.
        self.table.prefetch_slots(hash);
        let mut probe = self.table.probe(hash, true);
        probe.ask_for_line();
        probe.ask_for_chunk();
        probe.ask_for_entry();
        let found = self.table.get(hash, key);
        let found = found.map(|found| (found.version, found.value_type, found.value.to_vec()));
        assert_eq!(found.as_ref(), self.model.get(key));
    }

    fn check_all(&self) {
        self.table.check_invariants();
        self.model.keys().for_each(|key| self.check_get(key));
        assert_eq!(self.table.usage().entries, self.model.len() as u64);
        let usage = self.table.usage();
        let books = self.table.pool.step_books();
        for most in StepKind::ALL.map(|kind| books.step_max(kind)).iter().chain([&books.operation_max()]) {
            assert!(most.slots <= STEP_SLOTS_MAX && most.bytes <= STEP_BYTES_MAX, "{books:?}");
        }
        let account = [MemoryKind::Tables, MemoryKind::Arena].map(|kind| self.memory.used_by(kind));
        assert_eq!(account, [usage.table_bytes, usage.arena_bytes]);
    }

    /// One random operation. Refusals are fine; what they must not do is checked by whoever compares.
    fn step(&mut self, random: &mut Random, keys: u64, put_percent: u64) {
        let key = key_of(random.below(keys));
        match random.below(100) {
            0..10 => self.check_get(&key),
            10..12 => drop(self.table.maintain(random.below(2) == 0)),
            dice if dice - 12 < put_percent * 88 / 100 => {
                let fill = random.next() as u8;
                let _ = self.put(&key, &vec![fill; random.value_bytes()]);
            }
            _ => self.delete(&key),
        }
        self.check_get(&key);
    }

    /// A whole scan with small pages; `between` runs after each step.
    fn scan(
        &mut self,
        prefix: &[u8],
        random: &mut Random,
        mut between: impl FnMut(&mut Pair, &mut Random),
    ) -> Vec<Vec<u8>> {
        let (mut from, mut keys, mut last) = (Cursor::START, Vec::new(), None);
        while from < SPAN.end() {
            let page = PageBounds {
                entries_max: random.below(20) as usize,
                bytes_max: random.below(2_000) as usize,
            };
            let mut groups = Vec::new();
            let mut value_bytes = 0;
            let hasher = self.table.hasher;
            let model = &self.model;
            let step = self.table.scan_step(from, page, prefix, &mut |item| {
                let (version, value_type, value) = &model[item.key];
                assert_eq!((item.version, item.value_type), (*version, *value_type));
                assert_eq!(item.value_bytes as usize, value.len());
                assert!(item.value.is_none_or(|bytes| bytes == value));
                assert!(item.key.starts_with(prefix));
                value_bytes += item.value.map_or(0, <[u8]>::len);
                groups.push(Cursor::of_hash(hasher.hash_of(item.key)));
                keys.push(item.key.to_vec());
            });
            assert!(step.next > from && step.slots <= STEP_SLOTS_MAX && value_bytes <= STEP_BYTES_MAX);
            assert!(groups.iter().all(|&group| group >= from && group < step.next));
            assert!(groups.is_sorted() && groups.first().is_none_or(|&group| last < Some(group)));
            assert_eq!(groups.len(), step.entries);
            groups.dedup();
            assert!(step.entries <= page.entries_max || groups.len() == 1);
            last = groups.last().copied().or(last);
            from = step.next;
            between(self, random);
        }
        assert_eq!(from, SPAN.end());
        keys
    }
}

#[test]
fn random_operations_agree_with_the_model() {
    for seed in 0..sized(12, 1) {
        for hashes in [Hashes::Good, Hashes::FewAtTheEnd, Hashes::Clumps, Hashes::One, Hashes::InOrder(40)] {
            println!("seed {seed}, {hashes:?}");
            let mut random = Random(seed);
            let mut pair = Pair::new(hashes, u64::MAX);
            for round in 0..6 {
                let put_percent = [80, 30, 60, 95, 10, 50][round];
                for _ in 0..sized(250, 6) {
                    pair.step(&mut random, sized(400, 40), put_percent);
                    pair.table.check_invariants();
                }
                pair.check_all();
                let keys = pair.scan(b"", &mut random, |_, _| ());
                assert_eq!(keys.len(), pair.model.len());
            }
            let memory = Arc::clone(&pair.memory);
            drop(pair);
            assert_eq!(memory.used_bytes(), 0);
        }
    }
}

#[test]
fn random_operations_on_many_keys_agree_with_the_model() {
    for seed in 0..sized(3, 1) {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut pair = Pair::new(Hashes::Good, u64::MAX);
        for round in 0..8 {
            for _ in 0..sized(15_000, 40) {
                pair.step(&mut random, sized(30_000, 100), [100, 90, 50, 5, 0, 90, 20, 0][round]);
            }
            pair.check_all();
        }
        for key in pair.model.keys().cloned().collect::<Vec<_>>() {
            pair.delete(&key);
        }
        pair.check_all();
        pair.table.pool.trim();
        assert_eq!(pair.memory.used_bytes(), 0, "an empty table keeps memory");
    }
}

#[test]
#[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
fn keys_that_cannot_be_told_apart_are_refused_at_a_bound() {
    for hashes in [Hashes::One, Hashes::FewAtTheEnd] {
        let mut pair = Pair::new(hashes, u64::MAX);
        let mut refused = 0;
        for number in 0..900 {
            match pair.put(&number_key(number), b"value") {
                Ok(()) => (),
                Err(StoreError::Crowded) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            pair.check_get(&number_key(number));
        }
        pair.check_all();
        assert!(refused > 0 && pair.model.len() >= 500, "{refused} refused");
        // What is there can be overwritten and deleted, and deleting makes room.
        let first = pair.model.keys().next().unwrap().clone();
        pair.put(&first, b"another").unwrap();
        pair.delete(&first);
        pair.put(&number_key(5_000), b"value").unwrap();
        pair.check_all();
    }
}

fn number_key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key
}

#[test]
#[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
fn hash_order_does_not_cluster() {
    // The whole range, its low end only, and so dense that leaves run out of bits late.
    for (apart, count) in [(43, 100_000u64), (30, 20_000), (12, 20_000)] {
        let mut pair = Pair::new(Hashes::InOrder(apart), u64::MAX);
        for number in 0..count {
            pair.put(&number_key(number), &[0; 32]).unwrap();
            let table_bytes = pair.table.usage().table_bytes;
            assert!(table_bytes <= 4_000 + (number + 1) * 10, "{table_bytes} B for {number} entries");
        }
        pair.check_all();
        let usage = pair.table.usage();
        println!("2^{apart} apart: {:.2} B an entry", usage.table_bytes as f64 / count as f64);
        assert!(usage.table_bytes <= count * 9);
        for number in (0..count).rev() {
            pair.delete(&number_key(number));
        }
        pair.table.pool.trim();
        assert_eq!(pair.memory.used_bytes(), 0);
    }
}

#[test]
#[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
fn a_scan_gives_what_stays_exactly_once_while_the_rest_changes() {
    for seed in 0..10 {
        for hashes in [Hashes::Good, Hashes::FewAtTheEnd, Hashes::Clumps] {
            println!("seed {seed}, {hashes:?}");
            let mut random = Random(seed);
            let mut pair = Pair::new(hashes, u64::MAX);
            let count = if matches!(hashes, Hashes::Good) { 3_000 } else { 300 };
            let stays = |key: &[u8]| key[7].is_multiple_of(3);
            for number in 0..count {
                pair.put(&key_of(number), &vec![7; random.value_bytes()]).unwrap();
            }
            let expected: Vec<_> = pair.model.keys().filter(|key| stays(key)).cloned().collect();
            let growing = seed % 2 == 0;
            let mut found = pair.scan(b"", &mut random, |pair, random| {
                for _ in 0..40 {
                    let key = key_of(random.below(count * 2));
                    if stays(&key) || random.below(10) < if growing { 8 } else { 2 } {
                        if pair.model.contains_key(&key) || !stays(&key) {
                            let _ = pair.put(&key, &vec![8; random.value_bytes()]);
                        }
                    } else {
                        pair.delete(&key);
                    }
                }
                pair.table.maintain(false);
            });
            pair.check_all();
            found.sort_unstable();
            let all = found.len();
            found.dedup();
            assert_eq!(found.len(), all, "a key was given twice");
            found.retain(|key| stays(key));
            assert_eq!(found, expected);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
fn a_prefix_selects() {
    let mut random = Random(1);
    let mut pair = Pair::new(Hashes::Good, u64::MAX);
    for number in 0..2_000 {
        pair.put(&key_of(number), b"v").unwrap();
    }
    let prefix = &300u64.to_be_bytes()[..7];
    let mut found = pair.scan(prefix, &mut random, |_, _| ());
    found.sort_unstable();
    let expected: Vec<_> = pair.model.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
    assert_eq!((found.len(), found), (256, expected));
}

#[test]
#[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
fn a_refusal_changes_nothing_wherever_the_limit_lies() {
    for hashes in [Hashes::Good, Hashes::InOrder(1)] {
        let mut succeeded = 0;
        // Each byte where the small structures begin, then strides with no common divisor with their sizes.
        let limits = (0..1_500).chain((1_500..30_000).step_by(23)).chain((30_000..150_000).step_by(307));
        for limit_bytes in limits {
            let mut random = Random(42);
            let mut pair = Pair::new(hashes, limit_bytes);
            let mut refused = 0;
            for _ in 0..120 {
                let key = key_of(random.below(60));
                let large = random.below(40) == 0;
                let bytes = vec![1; if large { 33_000 } else { random.value_bytes() % 600 }];
                if random.below(5) == 0 {
                    pair.delete(&key);
                } else if let Err(error) = pair.put(&key, &bytes) {
                    assert_eq!(error, StoreError::OutOfMemory);
                    refused += 1;
                    pair.check_get(&key);
                }
                pair.table.check_invariants();
            }
            pair.check_all();
            succeeded += u64::from(refused == 0);
            let memory = Arc::clone(&pair.memory);
            drop(pair);
            assert_eq!(memory.used_bytes(), 0);
        }
        assert!(succeeded > 10, "{hashes:?}: the highest limits are too low to let the script through");
    }
}

#[test]
#[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
fn deleting_at_the_limit_makes_room() {
    for value_bytes in [32, 500, 9_000] {
        let mut pair = Pair::new(Hashes::Good, 2 << 20);
        let mut number = 0;
        let value = vec![3; value_bytes];
        while pair.put(&number_key(number), &value).is_ok() {
            number += 1;
        }
        let full = number;
        // Reads and deletes go on; one in eight goes, scattered over all segments.
        for number in (0..full).step_by(8) {
            pair.delete(&number_key(number));
        }
        pair.check_all();
        let room = full / 8 * 3 / 4;
        let mut attempts = 0;
        for number in full..full + room {
            while pair.put(&number_key(number), &value).is_err() {
                attempts += 1;
                assert!(attempts < 10 * room + 50, "writing after deleting is refused for good");
                pair.check_get(&number_key(number));
            }
        }
        println!("{value_bytes} B: {full} entries, {room} written again with {attempts} refusals");
        pair.check_all();
    }
}

#[test]
#[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
fn churn_keeps_the_arena_within_a_factor_of_what_lives() {
    let mut random = Random(9);
    let mut pair = Pair::new(Hashes::Good, u64::MAX);
    for round in 0..10 {
        for number in 0..5_000 {
            let bytes = vec![round; 10 + random.below(60) as usize * usize::from(round % 3 + 1)];
            pair.put(&number_key(number), &bytes).unwrap();
        }
        let usage = pair.table.usage();
        let live = usage.key_bytes + usage.value_bytes + 16 * usage.entries;
        assert!(usage.dead_bytes * DEAD_PARTS_WRITE <= usage.arena_bytes * 21 / 20, "{usage:?}");
        assert!(usage.arena_bytes <= live * 3 / 2, "{} B for {live} B", usage.arena_bytes);
    }
    pair.check_all();
}

#[test]
#[cfg_attr(miri, ignore = "megabytes take the interpreter hours")]
fn a_partition_outgrows_offsets_of_three_bytes_and_shrinks_again() {
    let mut random = Random(4);
    let mut pair = Pair::new(Hashes::Good, u64::MAX);
    let count = 30_000;
    let bytes = |random: &mut Random| vec![random.next() as u8; 500 + random.below(300) as usize];
    for number in 0..count {
        let bytes = bytes(&mut random);
        pair.put(&number_key(number), &bytes).unwrap();
    }
    assert!(pair.table.usage().arena_bytes > 17 << 20, "{:?}", pair.table.usage());
    pair.check_all();
    // Overwriting and compaction carry early entries past the bound, into leaves that were narrow.
    for _ in 0..count {
        let (key, bytes) = (number_key(random.below(count)), bytes(&mut random));
        pair.put(&key, &bytes).unwrap();
        pair.table.maintain(false);
    }
    pair.check_all();
    for number in 0..count {
        pair.delete(&number_key(number));
    }
    pair.table.pool.trim();
    assert_eq!(pair.memory.used_bytes(), 0);
}

#[test]
#[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
fn memory_comes_back_after_deleting_most() {
    let mut pair = Pair::new(Hashes::Good, u64::MAX);
    for number in 0..50_000 {
        pair.put(&number_key(number), &[1; 32]).unwrap();
    }
    let full = pair.memory.used_bytes();
    for number in 0..50_000 {
        if number % 10 != 0 {
            pair.delete(&number_key(number));
        }
    }
    let mut steps = 0;
    for _ in 0..4 {
        while pair.table.maintain(false).more {
            steps += 1;
            assert!(steps < 10_000, "maintenance does not end");
        }
        pair.table.pool.trim();
    }
    pair.check_all();
    let left = pair.memory.used_bytes();
    println!("{full} B full, {left} B after deleting nine tenths, {steps} steps");
    assert!(left <= full * 16 / 100, "{left} of {full} B left");
}
