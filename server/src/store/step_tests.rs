//! Bounds of what is done at a time, in partitions that are as big as few partitions make them.

use std::sync::Arc;

use dht_protocol::ids::{Cfg, PartitionId};
use dht_protocol::limits::KEY_BYTES_MAX;
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::ring::Ring;
use dht_protocol::value::{ValueRef, ValueType};

use super::limits::{
    COMPACTION_SLOTS_MAX, DEAD_PARTS_IDLE, INLINE_VALUE_BYTES_MAX, MAINTENANCE_BYTES_MAX, MOVE_LOOKS_MAX,
    STEP_BYTES_MAX, STEP_SLOTS_MAX,
};
use super::pool::Pool;
use super::{LargeValue, NewValue, Partition, PartitionUsage, StepKind, is_large};
use crate::memory::{MemoryAccount, MemoryKind};

const HASH_KEY: HashKey = HashKey::GUESSABLE;
const PARTITIONS: u32 = 16;

/// The partitions of a node that has few.
struct Node {
    ring: Ring,
    memory: Arc<MemoryAccount>,
    pool: Arc<Pool>,
    partitions: Vec<Partition>,
}

impl Node {
    fn new() -> Node {
        let ring = Ring::new(PARTITIONS).unwrap();
        let memory = MemoryAccount::new(u64::MAX);
        let pool = Pool::new(Arc::clone(&memory));
        let new = |id| Partition::new(id, ring, HASH_KEY, Cfg::new(1), Arc::clone(&pool));
        let partitions = ring.partitions().map(new).collect();
        Node { ring, memory, pool, partitions }
    }

    fn partition_of(&self, number: u32) -> PartitionId {
        self.ring.partition_of(HASH_KEY.hash(&key_of(number)))
    }

    fn put(&mut self, number: u32, value: &[u8]) {
        self.pool.stock_up();
        let key = key_of(number);
        let hash = HASH_KEY.hash(&key);
        let value = NewValue::Inline(ValueRef { value_type: ValueType::BYTES, bytes: value });
        self.partitions[self.ring.partition_of(hash).0 as usize].put(hash, &key, value).unwrap();
    }

    fn delete(&mut self, number: u32) {
        let key = key_of(number);
        let hash = HASH_KEY.hash(&key);
        self.partitions[self.ring.partition_of(hash).0 as usize].delete(hash, &key).unwrap();
    }

    /// A round of housekeeping. Each step is held to its bounds, and to an end.
    fn keep_house(&mut self) {
        for partition in &mut self.partitions {
            let mut steps = 0;
            loop {
                let step = partition.maintain(false);
                assert!(step.bytes <= STEP_BYTES_MAX && step.entries <= COMPACTION_SLOTS_MAX, "{step:?}");
                steps += 1;
                assert!(steps < 1_000_000, "housekeeping finds no end");
                if !step.more {
                    break;
                }
            }
        }
        self.pool.trim();
    }

    fn usage(&self) -> PartitionUsage {
        let mut total = PartitionUsage::default();
        for usage in self.partitions.iter().map(Partition::usage) {
            total.growth_steps += usage.growth_steps;
            total.compaction_steps += usage.compaction_steps;
            total.maintenance_steps += usage.maintenance_steps;
        }
        total
    }

    fn check_bounds(&self) {
        let (usage, books) = (self.usage(), self.pool.step_books());
        for (steps, kind) in [
            (usage.growth_steps, StepKind::Growth),
            (usage.compaction_steps, StepKind::Compaction),
            (usage.maintenance_steps, StepKind::Maintenance),
        ] {
            let most = books.step_max(kind);
            assert!(most.slots <= STEP_SLOTS_MAX && most.bytes <= STEP_BYTES_MAX, "{kind:?}: {most:?}");
            let (timed, share) = (books.cpu_times(kind).timed, steps / kind.timed_one_in());
            assert!(timed.abs_diff(share) <= u64::from(PARTITIONS), "{kind:?}: {timed} timed of {steps}");
        }
        let most = books.operation_max();
        assert!(most.slots <= STEP_SLOTS_MAX && most.bytes <= STEP_BYTES_MAX, "{most:?}");
    }
}

fn key_of(number: u32) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[12..].copy_from_slice(&number.to_be_bytes());
    key
}

#[test]
#[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
fn steps_are_bounded_in_large_partitions() {
    const KEYS: u32 = 400_000;
    let mut node = Node::new();
    (0..KEYS).for_each(|number| node.put(number, &[1; 32]));
    node.check_bounds();
    // Longer values need another place, and what they leave behind is to be compacted.
    (0..KEYS).filter(|number| number % 3 != 0).for_each(|number| node.put(number, &[2; 48]));
    for number in 0..20 {
        node.put(number, &vec![3; INLINE_VALUE_BYTES_MAX]);
    }
    node.keep_house();
    node.check_bounds();
    let full_bytes = node.memory.used_bytes();
    // What is left, of two partitions, lies far apart.
    let stays = |node: &Node, number| node.partition_of(number).0 < 2;
    for number in 0..KEYS {
        if !stays(&node, number) {
            node.delete(number);
        }
    }
    // Blocks are asked to move once a round has given idle pages back.
    (0..5).for_each(|_| node.keep_house());
    node.check_bounds();
    node.partitions.iter().for_each(Partition::check_invariants);
    let (usage, books) = (node.usage(), node.pool.step_books());
    assert!(usage.growth_steps > u64::from(KEYS) / 40, "{usage:?}");
    assert!(usage.compaction_steps > 10_000 && usage.maintenance_steps > 100, "{usage:?}");
    let growth = books.step_max(StepKind::Growth);
    assert!(growth.slots > 300 && growth.bytes > 10_000, "{growth:?}");
    let maintenance = books.step_max(StepKind::Maintenance);
    assert!(maintenance.slots > COMPACTION_SLOTS_MAX, "no blocks were moved: {maintenance:?}");
    let left_bytes = node.memory.used_bytes();
    assert!(left_bytes < full_bytes / 6, "of {full_bytes} bytes {left_bytes} are left");
}

#[test]
#[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
fn moving_blocks_goes_on_where_it_stopped() {
    const KEYS: u32 = 400_000;
    let mut node = Node::new();
    (0..KEYS).for_each(|number| node.put(number, &[1; 16]));
    let id = PartitionId(0);
    // All other partitions go, and leave the last one's blocks far apart.
    for number in 0..KEYS {
        if node.partition_of(number) != id {
            node.delete(number);
        }
    }
    node.pool.trim();
    assert!(node.pool.is_shrinking());
    let partition = &mut node.partitions[id.0 as usize];
    let blocks = partition.usage().arena_bytes / 4_096 + partition.usage().table_bytes / 128;
    assert!(blocks > MOVE_LOOKS_MAX as u64, "too few for several steps: {blocks}");
    let (mut steps, mut moved) = (1, 0);
    while {
        let step = partition.maintain(false);
        moved += step.bytes;
        assert!(step.bytes <= MAINTENANCE_BYTES_MAX, "{step:?}");
        step.more
    } {
        steps += 1;
    }
    // A pass looks at every block once.
    let steps_max = blocks / MOVE_LOOKS_MAX as u64 + moved as u64 / (MAINTENANCE_BYTES_MAX as u64 / 8) + 2;
    assert!(steps > 1 && steps <= steps_max, "{steps} steps for {blocks} blocks and {moved} bytes");
    assert!(moved as u64 > partition.usage().table_bytes / 2, "{moved} bytes were moved");
    partition.check_invariants();
    node.pool.trim();
    let partition_bytes = node.partitions[id.0 as usize].usage();
    let needed = partition_bytes.arena_bytes + partition_bytes.table_bytes;
    let resident = node.memory.used_bytes() - node.memory.used_by(MemoryKind::LargeValues);
    assert!(resident < needed * 3 / 2, "{resident} of {needed} bytes");
}

/// A partition that is alone in its pool.
fn lonely_partition(limit_bytes: u64) -> (Partition, Arc<MemoryAccount>, Arc<Pool>) {
    let ring = Ring::new(PARTITIONS).unwrap();
    let memory = MemoryAccount::new(limit_bytes);
    let pool = Pool::new(Arc::clone(&memory));
    (Partition::new(PartitionId(0), ring, HASH_KEY, Cfg::new(1), Arc::clone(&pool)), memory, pool)
}

/// The `number`th key of `key_bytes` that lies in the first partition.
fn long_key(number: usize, key_bytes: usize) -> Vec<u8> {
    let ring = Ring::new(PARTITIONS).unwrap();
    let mut key = vec![b'k'; key_bytes];
    key[..2].copy_from_slice(&(number as u16).to_be_bytes());
    for salt in 0u16.. {
        key[2..4].copy_from_slice(&salt.to_be_bytes());
        if ring.partition_of(HASH_KEY.hash(&key)) == PartitionId(0) {
            break;
        }
    }
    key
}

/// A put that was refused memory had an entry moved out of its way, of up to 64 KiB, and was then tried again and copied its
/// own value: more than 64 KiB under one lock. A debug build stopped at it.
#[test]
#[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
fn making_room_for_a_long_value_leaves_room_for_copying_it() {
    let (mut partition, memory, pool) = lonely_partition(560 << 10);
    let (mut refused, mut moved_for_room) = (0, 0);
    for round in 0..6_000 {
        let number = round * 7 % 41;
        let key = long_key(number, [9, 300, 20_000, 40_000, KEY_BYTES_MAX][number % 5]);
        let hash = HASH_KEY.hash(&key);
        if round % 3 == 0 {
            partition.delete(hash, &key);
            continue;
        }
        let bytes = vec![1; [10, 900, 12_000, INLINE_VALUE_BYTES_MAX][round % 4]];
        let value = match is_large(key.len(), bytes.len()) {
            false => NewValue::Inline(ValueRef { value_type: ValueType::BYTES, bytes: &bytes }),
            true => match LargeValue::copy_of(&bytes, &memory) {
                Ok(large) => NewValue::Large(ValueType::BYTES, large),
                Err(_) => continue,
            },
        };
        let steps_before = partition.usage().compaction_steps;
        let is_refused = partition.put(hash, &key, value).is_err();
        refused += u32::from(is_refused);
        moved_for_room += u64::from(is_refused) * (partition.usage().compaction_steps - steps_before);
        let most = pool.step_books().operation_max();
        assert!(most.slots <= STEP_SLOTS_MAX && most.bytes <= STEP_BYTES_MAX, "round {round}: {most:?}");
    }
    partition.check_invariants();
    assert!(refused > 20 && moved_for_room > 10, "{refused} refused, {moved_for_room} steps in vain");
}

/// An entry with the longest key is longer than a step may copy, if its head is counted. It was never moved then: its chunk
/// stayed under evacuation, no other was begun, and housekeeping found no end.
#[test]
#[cfg_attr(miri, ignore = "it is about sizes that would take hours")]
fn an_entry_with_the_longest_key_can_be_moved() {
    let (mut partition, memory, pool) = lonely_partition(u64::MAX);
    for number in 0..40 {
        for key_bytes in [KEY_BYTES_MAX, 5_000] {
            let key = long_key(number, key_bytes);
            let large = LargeValue::copy_of(&[1; 40_000], &memory).unwrap();
            partition.put(HASH_KEY.hash(&key), &key, NewValue::Large(ValueType::BYTES, large)).unwrap();
        }
        if number % 2 == 1 {
            let key = long_key(number - 1, KEY_BYTES_MAX);
            partition.delete(HASH_KEY.hash(&key), &key).unwrap();
        }
    }
    for number in 0..40 {
        let key = long_key(number, 5_000);
        partition.delete(HASH_KEY.hash(&key), &key).unwrap();
    }
    let mut steps = 0;
    while partition.maintain(false).more {
        steps += 1;
        assert!(steps < 10_000, "housekeeping finds no end: {:?}", partition.usage());
    }
    let (usage, most) = (partition.usage(), pool.step_books().operation_max());
    assert!(usage.dead_bytes * DEAD_PARTS_IDLE <= usage.arena_bytes, "{usage:?}");
    assert!(most.bytes == KEY_BYTES_MAX, "{most:?}");
    partition.check_invariants();
}
