//! The books over steps: what tables do besides the request in hand (growth, compaction, maintenance), how much of it one
//! step does, and how long that keeps the processor. One set of books for all partitions of a node; a table has only
//! the numbers of its steps.
//!
//! Slots and bytes are taken down in every step. Processor time is taken for one step in [`StepKind::timed_one_in`], as
//! asking the system for it costs two calls of 0.2 to 0.3 µs each.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::cpu_times::{CpuHistogram, CpuTimes, thread_cpu_ns};

/// What a step is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Building leaves anew: one or two are read, one or two written. Slots are those of the entries moved; bytes those of
    /// the new leaves' lines and of what the directory moves for them.
    Growth,
    /// Compaction that comes with a write. Slots are the entries and dead runs visited, bytes those of entries moved.
    Compaction,
    /// A step of housekeeping: compaction, or moving blocks to where the pool wants them, each block counting as a slot.
    Maintenance,
}

impl StepKind {
    /// Number of kinds.
    pub const COUNT: usize = 3;
    /// Every kind, in the order of their statistics.
    pub const ALL: [StepKind; Self::COUNT] = [StepKind::Growth, StepKind::Compaction, StepKind::Maintenance];

    /// One step in so many is timed. A write in 28 or so makes a leaf grow; nearly every one that overwrites in another place
    /// pays for compaction; steps of housekeeping take twenty times as long as looking at the clock does.
    #[must_use]
    pub const fn timed_one_in(self) -> u64 {
        match self {
            StepKind::Growth | StepKind::Maintenance => 4,
            StepKind::Compaction => 64,
        }
    }
}

/// Work done under the lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Slots touched.
    pub slots: usize,
    /// Bytes moved.
    pub bytes: usize,
}

/// The books of a node. Many threads write them; a reader may see some of a step's figures a moment before the others.
#[derive(Debug, Default)]
pub struct StepBooks {
    operations: Maxima,
    kinds: [KindBook; StepKind::COUNT],
}

#[derive(Debug, Default)]
struct KindBook {
    maxima: Maxima,
    cpu: CpuHistogram,
}

/// The greatest so far, slots and bytes apart. Every write looks at them and hardly any changes them, so they have a cache line
/// of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Maxima {
    slots: AtomicUsize,
    bytes: AtomicUsize,
}

/// How many steps of each kind a table has done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StepCounts([u64; StepKind::COUNT]);

/// A step under way.
#[derive(Debug)]
pub(super) struct Timer {
    kind: StepKind,
    /// Processor time of this thread when it began; `None`: not timed.
    begun_ns: Option<u64>,
}

impl StepBooks {
    /// The most that one operation on a partition, a write or a step of housekeeping, has touched, and copied of entries.
    #[must_use]
    pub fn operation_max(&self) -> Step {
        self.operations.get()
    }

    /// The most that one step of this kind has touched and moved.
    #[must_use]
    pub fn step_max(&self, kind: StepKind) -> Step {
        self.kinds[kind as usize].maxima.get()
    }

    /// Processor time of the steps of this kind that were timed. Cost: reads a few hundred numbers.
    #[must_use]
    pub fn cpu_times(&self, kind: StepKind) -> CpuTimes {
        self.kinds[kind as usize].cpu.times()
    }

    /// Notes an operation that did `work`.
    #[inline]
    pub(super) fn on_operation(&self, work: Step) {
        self.operations.raise(work);
    }

    /// A step of a table, whose number is `counts`' next, has ended that did `work`.
    pub(super) fn on_step(&self, timer: &Timer, work: Step) {
        let book = &self.kinds[timer.kind as usize];
        book.maxima.raise(work);
        if let Some(begun_ns) = timer.begun_ns {
            book.cpu.record(thread_cpu_ns().saturating_sub(begun_ns));
        }
    }
}

impl Maxima {
    fn get(&self) -> Step {
        Step { slots: self.slots.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    #[inline]
    fn raise(&self, work: Step) {
        for (greatest, found) in [(&self.slots, work.slots), (&self.bytes, work.bytes)] {
            if found > greatest.load(Ordering::Relaxed) {
                greatest.fetch_max(found, Ordering::Relaxed);
            }
        }
    }
}

impl StepCounts {
    /// A step begins, in a table that is the `phase`th. Which steps are timed differs from table to table, as tables of equal
    /// size grow at the same moments. A step that is not ended leaves no trace.
    #[inline]
    pub(super) fn begin(&self, kind: StepKind, phase: u64) -> Timer {
        let is_timed = (self.of(kind) + phase).is_multiple_of(kind.timed_one_in());
        Timer { kind, begun_ns: is_timed.then(thread_cpu_ns) }
    }

    /// It has ended, having done `work`.
    #[inline]
    pub(super) fn end(&mut self, timer: &Timer, work: Step, books: &StepBooks) {
        self.0[timer.kind as usize] += 1;
        books.on_step(timer, work);
    }

    /// Steps of one kind.
    pub(super) fn of(&self, kind: StepKind) -> u64 {
        self.0[kind as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_counted_and_some_are_timed() {
        let books = StepBooks::default();
        for kind in StepKind::ALL {
            let mut counts = StepCounts::default();
            for slots in 1..=640 {
                let timer = counts.begin(kind, 5);
                counts.end(&timer, Step { slots, bytes: 1_000 - slots }, &books);
            }
            // Not ended: an attempt that was refused.
            let _ = counts.begin(kind, 5);
            assert_eq!(counts.of(kind), 640);
            assert_eq!(books.step_max(kind), Step { slots: 640, bytes: 999 });
            assert_eq!(books.cpu_times(kind).timed, 640 / kind.timed_one_in());
        }
        assert_eq!(books.operation_max(), Step::default());
        books.on_operation(Step { slots: 3, bytes: 0 });
        books.on_operation(Step { slots: 2, bytes: 7 });
        assert_eq!(books.operation_max(), Step { slots: 3, bytes: 7 });
    }

    #[test]
    fn tables_time_different_steps() {
        let first_timed = |phase| {
            let books = StepBooks::default();
            let mut counts = StepCounts::default();
            let number = (0..).find(|_| {
                let timer = counts.begin(StepKind::Growth, phase);
                counts.end(&timer, Step::default(), &books);
                timer.begun_ns.is_some()
            });
            number.unwrap()
        };
        assert_eq!([0, 1, 2, 3].map(first_timed), [0, 3, 2, 1]);
    }
}
