//! Which operation comes next.

use crate::bench::choice::Chooser;
use crate::bench::limits::SCAN_ENTRIES_MAX;
use crate::bench::permutation::Permutation;
use crate::bench::random::Random;

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Number of the key.
    pub(crate) key: u64,
    /// What it does.
    pub(crate) kind: Kind,
    /// Whether it counts; not during the warm-up.
    pub(crate) counted: bool,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `GET`.
    Read,
    /// `PUT` of a key that is there.
    Update,
    /// `PUT` of a key that is new.
    Insert,
    /// `SCAN` of one page, from the key's place in the order of hashes, which for keys is as good as random.
    Scan {
        /// Most entries of the page.
        entries: u32,
    },
    /// `GET`, then `PUT` of the same key.
    ReadModifyWrite,
}

/// How often each kind of operation comes; together 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Shares {
    pub(crate) read: f64,
    pub(crate) update: f64,
    pub(crate) insert: f64,
    pub(crate) scan: f64,
    pub(crate) read_modify_write: f64,
}

impl Shares {
    /// The kind whose share of 0..1 holds `unit`.
    fn kind_at(&self, unit: f64, random: &mut Random) -> Kind {
        let mut below = self.read;
        if unit < below {
            return Kind::Read;
        }
        below += self.insert;
        if unit < below {
            return Kind::Insert;
        }
        below += self.scan;
        if unit < below {
            return Kind::Scan { entries: 1 + random.below(SCAN_ENTRIES_MAX) as u32 };
        }
        if self.read_modify_write > 0.0 { Kind::ReadModifyWrite } else { Kind::Update }
    }
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
    /// A mix of operations.
    Mix {
        /// Chooses the key.
        chooser: Chooser,
        /// Draws.
        random: Random,
        /// How often each kind comes.
        shares: Shares,
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
                Some(Operation { key, kind: Kind::Insert, counted: counting })
            }
            Source::Mix { chooser, random, shares, left } => {
                if counting && let Some(left) = left {
                    *left = left.checked_sub(1)?;
                }
                let unit = random.unit();
                let kind = shares.kind_at(unit, random);
                let key = if kind == Kind::Insert { chooser.take_new()? } else { chooser.next(random) };
                Some(Operation { key, kind, counted: counting })
            }
        }
    }

    /// An insert is answered: its key may be chosen from now on. (One that was refused is then a miss.)
    pub(crate) fn on_inserted(&self, key: u64) {
        match self {
            Source::Load { .. } => {}
            Source::Mix { chooser, .. } => chooser.on_inserted(key),
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
                    assert_eq!((operation.kind, operation.counted), (Kind::Insert, true));
                    seen[operation.key as usize] += 1;
                }
            }
            assert!(seen.iter().all(|&times| times == 1));
        }
    }

    fn mix(shares: Shares, left: Option<u64>) -> Source {
        Source::Mix { chooser: Chooser::uniform(10), random: Random::new(1, 0), shares, left }
    }

    #[test]
    fn only_counted_operations_use_up_the_limit() {
        let mut source = mix(Shares { read: 0.5, update: 0.5, ..Shares::default() }, Some(3));
        assert!((0..100).all(|_| source.next(false).is_some_and(|operation| !operation.counted)));
        assert_eq!((0..100).filter(|_| source.next(true).is_some()).count(), 3);
    }

    #[test]
    fn every_kind_has_its_share() {
        let even = Shares { read: 0.5, insert: 0.1, scan: 0.3, read_modify_write: 0.1, update: 0.0 };
        let without = Shares { read: 0.5, insert: 0.1, scan: 0.3, read_modify_write: 0.0, update: 0.1 };
        for shares in [even, without] {
            let mut source = mix(shares, None);
            let (mut counts, mut lengths) = ([0u32; 5], [0u32; 101]);
            for _ in 0..100_000 {
                match source.next(true).unwrap().kind {
                    Kind::Read => counts[0] += 1,
                    Kind::Update => counts[1] += 1,
                    Kind::Insert => counts[2] += 1,
                    Kind::Scan { entries } => {
                        counts[3] += 1;
                        lengths[entries as usize] += 1;
                    }
                    Kind::ReadModifyWrite => counts[4] += 1,
                }
            }
            let wanted = [shares.read, shares.update, shares.insert, shares.scan, shares.read_modify_write];
            for (count, share) in counts.into_iter().zip(wanted) {
                assert!((f64::from(count) / 100_000.0 - share).abs() < 0.01, "{counts:?}");
            }
            assert_eq!(lengths[0], 0);
            assert!(lengths[1..].iter().all(|&count| (200..400).contains(&count)), "{lengths:?}");
        }
    }
}
