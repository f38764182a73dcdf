//! Partitions that are held together while a group of reads is answered (`server/src/dispatch/held.rs`).

use std::array;
use std::sync::Arc;

use shuttle::thread;

use crate::explore::{explore, join};
use crate::held::{Askable, Held};
use crate::limits::GROUP_LOOKUPS_MAX;
use crate::sync::{Mutex, MutexGuard, lock};

/// Writes of each who writes.
const WRITES: u64 = 3;

/// A partition: two numbers that every write raises, one after the other.
struct Partition(Mutex<(u64, u64)>);

impl Askable for Partition {
    type Guard<'a> = MutexGuard<'a, (u64, u64)>;

    fn ask(&self) -> Option<MutexGuard<'_, (u64, u64)>> {
        self.0.try_lock().ok()
    }
}

impl Partition {
    fn write(&self) {
        let mut numbers = lock(&self.0);
        numbers.0 += 1;
        thread::yield_now();
        numbers.1 += 1;
    }
}

/// How a group's reader treats what he holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// As the dispatcher does: he lets go of all before he waits for a lock.
    LetsGo,
    /// He waits for a lock while he holds others.
    Waits,
    /// He lets go of what he holds between two reads.
    LetsGoTooEarly,
}

/// Two workers that answer groups over the same partitions, in opposite orders, each with a write at the end, while a
/// third writes: nobody waits for ever, nobody reads half a write, and what is held does not change.
pub fn groups_that_are_held_read_whole_writes_and_wait_for_nobody() {
    two_readers_and_a_writer(Reader::LetsGo);
}

/// The same with readers that wait while they hold. It is expected to panic.
pub fn groups_that_wait_while_they_hold_block_each_other() {
    two_readers_and_a_writer(Reader::Waits);
}

/// The same with readers that let go too early. It is expected to panic.
pub fn groups_that_are_let_go_too_early_change_under_their_readers() {
    two_readers_and_a_writer(Reader::LetsGoTooEarly);
}

fn two_readers_and_a_writer(reader: Reader) {
    explore(51, 3_000, move || {
        let partitions = Arc::new([(); 3].map(|()| Partition(Mutex::new((0, 0)))));
        let readers = [[0, 1, 0, 2], [2, 0, 2, 1]].map(|group| {
            let partitions = Arc::clone(&partitions);
            thread::spawn(move || answer_group(&partitions, group, reader))
        });
        let writer = {
            let partitions = Arc::clone(&partitions);
            thread::spawn(move || (0..WRITES).for_each(|number| partitions[number as usize].write()))
        };
        readers.into_iter().for_each(join);
        join(writer);
        let written: u64 = partitions.iter().map(|partition| lock(&partition.0).1).sum();
        assert_eq!(written, WRITES + 2, "a write was lost");
    });
}

/// Reads what a group asks for, under what is held as far as that goes, and then writes to the last of it.
fn answer_group(partitions: &[Partition; 3], group: [usize; 4], reader: Reader) {
    let asked = array::from_fn::<_, GROUP_LOOKUPS_MAX, _>(|place| {
        group.get(place).map(|&partition| &partitions[partition])
    });
    let mut held = Some(Held::take(&asked));
    let mut seen = [None; 3];
    for (place, &partition) in group.iter().enumerate() {
        let found = held.as_ref().and_then(|held| held.get(place)).copied();
        match found {
            Some(numbers) => {
                assert_eq!(numbers.0, numbers.1, "read half a write");
                let before = seen[partition].replace(numbers);
                assert!(before.is_none_or(|before| before == numbers), "what is held has changed");
            }
            None => {
                if reader != Reader::Waits {
                    held = None;
                    seen = [None; 3];
                }
                let numbers = *lock(&partitions[partition].0);
                assert_eq!(numbers.0, numbers.1, "read half a write");
            }
        }
        if reader == Reader::LetsGoTooEarly {
            drop(held.take());
            thread::yield_now();
            held = Some(Held::take(&asked));
        }
    }
    drop(held);
    partitions[group[3]].write();
}
