//! Which operation comes next.

use crate::bench::permutation::Permutation;
use crate::bench::random::Random;
use crate::bench::zipf::Zipf;

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Number of the key.
    pub(crate) key: u64,
    /// Read, or write.
    pub(crate) kind: Kind,
    /// Whether it counts; not during the warm-up.
    pub(crate) counted: bool,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `GET`.
    Read,
    /// `PUT`.
    Write,
}

/// How keys are chosen.
#[derive(Clone, Debug)]
pub(crate) enum Chooser {
    /// Every key as often as any other.
    Uniform {
        /// How many keys.
        count: u64,
    },
    /// Few keys very often; which ones, the permutation says.
    Zipfian {
        /// Draws ranks.
        zipf: Zipf,
        /// Scatters them over the keys.
        scatter: Permutation,
    },
}

/// The operations of one worker, in order.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Inserts every key once, in random order; each worker takes every so-manieth.
    Load {
        /// The order.
        order: Permutation,
        /// Next place in it.
        next: u64,
        /// How many places on the one after that is.
        stride: u64,
        /// How many keys there are.
        count: u64,
    },
    /// Reads and overwrites.
    Mixed {
        /// Chooses the key.
        chooser: Chooser,
        /// Draws.
        random: Random,
        /// Share of reads, 0 to 1.
        read_share: f64,
        /// Counted operations that are still to come; `None`: no end.
        left: Option<u64>,
    },
}

impl Source {
    /// The next operation; `None` at the end. `counting` says whether the warm-up is over.
    pub(crate) fn next(&mut self, counting: bool) -> Option<Operation> {
        match self {
            Source::Load { order, next, stride, count } => {
                if *next >= *count {
                    return None;
                }
                let key = order.apply(*next);
                *next += *stride;
                Some(Operation { key, kind: Kind::Write, counted: counting })
            }
            Source::Mixed { chooser, random, read_share, left } => {
                if counting && let Some(left) = left {
                    *left = left.checked_sub(1)?;
                }
                let kind = if random.unit() < *read_share { Kind::Read } else { Kind::Write };
                let key = match chooser {
                    Chooser::Uniform { count } => random.below(*count),
                    Chooser::Zipfian { zipf, scatter } => scatter.apply(zipf.next(random)),
                };
                Some(Operation { key, kind, counted: counting })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loading_inserts_every_key_once_whatever_the_threads() {
        for stride in [1, 2, 3] {
            let mut seen = [0; 1000];
            for next in 0..stride {
                let order = Permutation::new(1000, 5);
                let mut source = Source::Load { order, next, stride, count: 1000 };
                while let Some(operation) = source.next(true) {
                    assert_eq!((operation.kind, operation.counted), (Kind::Write, true));
                    seen[operation.key as usize] += 1;
                }
            }
            assert!(seen.iter().all(|&times| times == 1));
        }
    }

    #[test]
    fn only_counted_operations_use_up_the_limit() {
        let mut source = Source::Mixed {
            chooser: Chooser::Uniform { count: 10 },
            random: Random::new(1, 0),
            read_share: 0.5,
            left: Some(3),
        };
        assert!((0..100).all(|_| source.next(false).is_some_and(|operation| !operation.counted)));
        assert_eq!((0..100).filter(|_| source.next(true).is_some()).count(), 3);
    }

    #[test]
    fn reads_have_their_share_and_hot_keys_are_scattered() {
        let mut source = Source::Mixed {
            chooser: Chooser::Zipfian { zipf: Zipf::new(1000), scatter: Permutation::new(1000, 9) },
            random: Random::new(1, 0),
            read_share: 0.95,
            left: None,
        };
        let mut seen = [0u32; 1000];
        let mut reads = 0;
        for _ in 0..100_000 {
            let operation = source.next(true).unwrap();
            seen[operation.key as usize] += 1;
            reads += u32::from(operation.kind == Kind::Read);
        }
        assert!((94_500..95_500).contains(&reads), "{reads}");
        let hottest = (0..1000).max_by_key(|&key| seen[key]).unwrap();
        assert_eq!(hottest as u64, Permutation::new(1000, 9).apply(0));
    }
}
