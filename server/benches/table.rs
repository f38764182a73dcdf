//! What the operations on keys cost in the store alone: partitions in this process, no sockets, no locks, one thread.
//!
//! 1,000,000 entries (16 bytes of key and 32 of value) in 4,096 partitions, far more than caches hold. Hashing is part of
//! every operation, as it is in service. In a test build there are few entries: then it is about whether all of it runs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Bencher, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dht_protocol::ids::Cfg;
use dht_protocol::placement::hash::{HashKey, KeyHash};
use dht_protocol::placement::ring::Ring;
use dht_protocol::value::{ValueRef, ValueType};
use dht_server::memory::MemoryAccount;
use dht_server::store::{NewValue, Partition, Pool, Probe, StoredValue};

const ENTRIES: u32 = if cfg!(debug_assertions) { 5_000 } else { 1_000_000 };
const PARTITIONS: u32 = if cfg!(debug_assertions) { 64 } else { 4_096 };
const KEY_BYTES: usize = 16;
const VALUE_BYTES: usize = 32;
/// An entry with such a value does not fit where one with a shorter value was.
const LONGER_VALUE_BYTES: usize = 33;
const HASH_KEY: HashKey = HashKey::GUESSABLE;
/// One step of housekeeping comes with so many writes, as a node at rest now and then has time for it.
const WRITES_PER_MAINTENANCE: u32 = 64;

struct Store {
    ring: Ring,
    pool: Arc<Pool>,
    partitions: Vec<Partition>,
}

/// Keys in an order that no cache foresees: each of `0..ENTRIES` once, and again.
#[derive(Clone)]
struct Numbers(u32);

impl Iterator for Numbers {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        // A step that shares no divisor with the number of entries comes to all of them.
        const STEP: u32 = if cfg!(debug_assertions) { 3_001 } else { 618_034_123 % ENTRIES };
        const { assert!(matches!(STEP % 10, 1 | 3 | 7 | 9)) };
        self.0 = (self.0 + STEP) % ENTRIES;
        Some(self.0)
    }
}

fn key_of(number: u32) -> [u8; KEY_BYTES] {
    let mut key = *b"user:0000000000.";
    key[11..15].copy_from_slice(&number.to_be_bytes());
    key
}

impl Store {
    fn empty() -> Store {
        let ring = Ring::new(PARTITIONS).expect("a power of two within the bounds");
        let pool = Pool::new(MemoryAccount::new(u64::MAX));
        let new = |id| Partition::new(id, ring, HASH_KEY, Cfg::new(1), Arc::clone(&pool));
        Store { ring, partitions: ring.partitions().map(new).collect(), pool }
    }

    fn full() -> Store {
        let mut store = Store::empty();
        (0..ENTRIES).for_each(|number| store.put(number, &[1; VALUE_BYTES]));
        store
    }

    fn hash(number: u32) -> ([u8; KEY_BYTES], KeyHash) {
        let key = key_of(number);
        (key, HASH_KEY.hash(&key))
    }

    fn of(&self, hash: KeyHash) -> &Partition {
        &self.partitions[self.ring.partition_of(hash).0 as usize]
    }

    fn of_mut(&mut self, hash: KeyHash) -> &mut Partition {
        &mut self.partitions[self.ring.partition_of(hash).0 as usize]
    }

    fn put(&mut self, number: u32, value: &[u8]) {
        self.pool.stock_up();
        let (key, hash) = Store::hash(number);
        let value = NewValue::Inline(ValueRef { value_type: ValueType::BYTES, bytes: value });
        self.of_mut(hash).put(hash, &key, value).expect("memory is not limited");
    }

    fn delete(&mut self, number: u32) {
        let (key, hash) = Store::hash(number);
        self.of_mut(hash).delete(hash, &key).expect("each key is deleted once");
    }

    /// Length of what is found, which must be there.
    fn get(&self, key: &[u8], hash: KeyHash) -> usize {
        let found = self.of(hash).get(hash, key).expect("every key is there");
        match found.value {
            StoredValue::Inline(bytes) => {
                let mut value = [0; LONGER_VALUE_BYTES];
                bytes.copy_to(black_box(&mut value))
            }
            StoredValue::Large(value) => value.len(),
        }
    }
}

fn get(criterion: &mut Criterion) {
    let store = Store::full();
    let mut group = criterion.benchmark_group("get");
    group.bench_function("one", |bencher| {
        let mut numbers = Numbers(0);
        bencher.iter(|| {
            let (key, hash) = Store::hash(next(&mut numbers));
            store.get(&key, hash)
        });
    });
    group.bench_function("absent", |bencher| {
        let mut numbers = Numbers(0);
        bencher.iter(|| {
            let (key, hash) = Store::hash(ENTRIES + next(&mut numbers));
            assert!(store.of(hash).get(hash, &key).is_none());
        });
    });
    for batch in [16, 64] {
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new("batch", batch), |bencher| {
            let mut numbers = Numbers(0);
            let mut asked = Vec::with_capacity(batch);
            // As the dispatcher does it: all are hashed, then what they will touch is asked for, level by level.
            bencher.iter(|| {
                asked.clear();
                asked.extend(numbers.by_ref().take(batch).map(Store::hash));
                let mut probes: Vec<_> =
                    asked.iter().map(|(_, hash)| store.of(*hash).probe(*hash, false)).collect();
                probes.iter_mut().for_each(Probe::ask_for_line);
                probes.iter_mut().for_each(Probe::ask_for_chunk);
                probes.iter().for_each(Probe::ask_for_entry);
                asked.iter().map(|(key, hash)| store.get(key, *hash)).sum::<usize>()
            });
        });
    }
    group.finish();
}

/// Writes to all keys in turn, again and again; outlives the calls of a bench, of which there are many.
struct Rounds {
    store: Store,
    numbers: Numbers,
    /// Writes of this round so far.
    writes: u32,
    rounds: u32,
}

impl Rounds {
    fn of(store: Store) -> Rounds {
        Rounds { store, numbers: Numbers(0), writes: 0, rounds: 0 }
    }

    /// Calls `write` as often as asked, with a key's number and that of the round, and times it. After each round comes
    /// `between`, which is not timed.
    fn time(
        &mut self,
        bencher: &mut Bencher<'_>,
        mut write: impl FnMut(&mut Store, u32, u32),
        mut between: impl FnMut(&mut Store),
    ) {
        bencher.iter_custom(|count| {
            let (mut took, mut left) = (Duration::ZERO, count);
            while left > 0 {
                let now = left.min(u64::from(ENTRIES - self.writes)) as u32;
                let (store, round) = (&mut self.store, self.rounds);
                let begun = Instant::now();
                self.numbers.by_ref().take(now as usize).for_each(|number| write(store, number, round));
                took += begun.elapsed();
                left -= u64::from(now);
                self.writes += now;
                if self.writes == ENTRIES {
                    between(&mut self.store);
                    (self.writes, self.rounds) = (0, self.rounds + 1);
                }
            }
            took
        });
    }
}

/// Keys that are new, into tables that grow from nothing to all entries, again and again.
fn insert(criterion: &mut Criterion) {
    let mut rounds = Rounds::of(Store::empty());
    criterion.bench_function("insert", |bencher| {
        let write = |store: &mut Store, number, _| store.put(number, &[1; VALUE_BYTES]);
        rounds.time(bencher, write, |store| *store = Store::empty());
    });
}

/// Keys that are there: by values of the same length, which take the old ones' place, and by values that are longer and shorter
/// by turns, so that half of them need another place and compaction has to win the old one back.
fn overwrite(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("overwrite");
    let mut rounds = Rounds::of(Store::full());
    group.bench_function("in_place", |bencher| {
        let write = |store: &mut Store, number, _| store.put(number, &[2; VALUE_BYTES]);
        rounds.time(bencher, write, |_| ());
    });
    group.bench_function("elsewhere", |bencher| {
        let write = |store: &mut Store, number: u32, round: u32| {
            let is_longer = (number + round).is_multiple_of(2);
            let length = if is_longer { LONGER_VALUE_BYTES } else { VALUE_BYTES / 2 };
            store.put(number, &[3; LONGER_VALUE_BYTES][..length]);
            if number.is_multiple_of(WRITES_PER_MAINTENANCE) {
                let place = number as usize / WRITES_PER_MAINTENANCE as usize % store.partitions.len();
                store.partitions[place].maintain(false);
            }
        };
        rounds.time(bencher, write, |_| ());
    });
    group.finish();
}

/// Down to nothing.
fn delete(criterion: &mut Criterion) {
    let mut rounds = Rounds::of(Store::full());
    criterion.bench_function("delete", |bencher| {
        rounds.time(bencher, |store, number, _| store.delete(number), |store| *store = Store::full());
    });
}

fn next(numbers: &mut Numbers) -> u32 {
    numbers.next().expect("the numbers have no end")
}

criterion_group!(benches, get, insert, overwrite, delete);
criterion_main!(benches);
