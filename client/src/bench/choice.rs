//! Which key comes next, and which keys there are while some are being inserted.
//!
//! Keys 0..N are those of the load; inserts take the numbers from N on. A key that is being inserted is not chosen
//! before every insert up to it is done, so that reads of the latest keys do not miss those under way (YCSB's
//! `AcknowledgedCounterGenerator`).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::bench::limits::INSERTS_MAX;
use crate::bench::permutation::Permutation;
use crate::bench::random::Random;
use crate::bench::zipf::Zipf;

/// The inserts of a run, which all its workers share.
#[derive(Debug)]
pub(crate) struct Inserts {
    /// Keys of the load.
    loaded_count: u64,
    /// Inserts that were drawn.
    drawn: AtomicU64,
    /// Inserts from the first on that are done without a gap. Written under the lock of `window`; a reader may
    /// see it a moment late.
    done: AtomicU64,
    /// For the inserts from `done` on: whether they are answered. No longer than what all connections hold, for
    /// every answer, a refusal too, is told.
    window: Mutex<VecDeque<bool>>,
}

impl Inserts {
    pub(crate) fn new(loaded_count: u64) -> Inserts {
        let (drawn, done) = (AtomicU64::new(0), AtomicU64::new(0));
        Inserts { loaded_count, drawn, done, window: Mutex::new(VecDeque::new()) }
    }

    /// The key of the next insert; `None` when there were [`INSERTS_MAX`].
    fn take(&self) -> Option<u64> {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        (number < INSERTS_MAX).then_some(self.loaded_count + number)
    }

    fn on_done(&self, key: u64) {
        // A panic elsewhere leaves at worst a key that is not chosen.
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = self.done.load(Ordering::Relaxed);
        let at = (key - self.loaded_count - done) as usize;
        if window.len() <= at {
            window.resize(at + 1, false);
        }
        window[at] = true;
        while window.front() == Some(&true) {
            window.pop_front();
            done += 1;
        }
        self.done.store(done, Ordering::Relaxed);
    }

    fn done_count(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// How keys are chosen.
#[derive(Clone, Debug)]
enum Skew {
    /// Every key as often as any other.
    Uniform,
    /// Few of the loaded keys very often; which ones, the permutation says.
    Zipfian { zipf: Zipf, scatter: Permutation },
    /// The later a key was inserted, the more often: Zipfian over recency, rank 0 being the newest key. `order` is
    /// that of the load, so that without inserts the last keys loaded are the latest.
    Latest { zipf: Zipf, order: Permutation },
}

/// Chooses keys among those that are there.
#[derive(Clone, Debug)]
pub(crate) struct Chooser {
    inserts: Arc<Inserts>,
    skew: Skew,
}

impl Chooser {
    /// All of `count` keys alike.
    #[cfg(test)]
    pub(crate) fn uniform(count: u64) -> Chooser {
        Chooser::uniform_with(&Arc::new(Inserts::new(count)))
    }

    /// All keys alike.
    pub(crate) fn uniform_with(inserts: &Arc<Inserts>) -> Chooser {
        Chooser { inserts: Arc::clone(inserts), skew: Skew::Uniform }
    }

    /// Few of the loaded keys very often, scattered by a permutation of that seed.
    pub(crate) fn zipfian(inserts: &Arc<Inserts>, seed: u64) -> Chooser {
        let count = inserts.loaded_count;
        let skew = Skew::Zipfian { zipf: Zipf::new(count), scatter: Permutation::new(count, seed) };
        Chooser { inserts: Arc::clone(inserts), skew }
    }

    /// The latest keys most often; `order` is that of the load.
    pub(crate) fn latest(inserts: &Arc<Inserts>, order: Permutation) -> Chooser {
        let skew = Skew::Latest { zipf: Zipf::new(inserts.loaded_count), order };
        Chooser { inserts: Arc::clone(inserts), skew }
    }

    /// A key that is there.
    pub(crate) fn next(&mut self, random: &mut Random) -> u64 {
        let loaded_count = self.inserts.loaded_count;
        match &mut self.skew {
            Skew::Uniform => random.below(loaded_count + self.inserts.done_count()),
            Skew::Zipfian { zipf, scatter } => scatter.apply(zipf.next(random)),
            Skew::Latest { zipf, order } => {
                let done_count = self.inserts.done_count();
                let count = loaded_count + done_count;
                zipf.grow(count);
                let rank = zipf.next(random);
                match rank.checked_sub(done_count) {
                    None => count - 1 - rank,
                    Some(rank) => order.apply(loaded_count - 1 - rank),
                }
            }
        }
    }

    /// The key of the next insert; `None` when no more are to be had.
    pub(crate) fn take_new(&self) -> Option<u64> {
        self.inserts.take()
    }

    /// An insert is answered.
    pub(crate) fn on_inserted(&self, key: u64) {
        self.inserts.on_done(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: u64 = 1000;

    fn counts(chooser: &mut Chooser, keys: u64) -> Vec<u32> {
        let (mut random, mut seen) = (Random::new(1, 0), vec![0; keys as usize]);
        for _ in 0..100_000 {
            seen[chooser.next(&mut random) as usize] += 1;
        }
        seen
    }

    /// Keys by falling count.
    fn hottest(seen: &[u32]) -> Vec<u64> {
        let mut keys: Vec<u64> = (0..seen.len() as u64).collect();
        keys.sort_by_key(|&key| std::cmp::Reverse(seen[key as usize]));
        keys
    }

    #[test]
    fn hot_keys_are_scattered() {
        let seen = counts(&mut Chooser::zipfian(&Arc::new(Inserts::new(COUNT)), 9), COUNT);
        let scatter = Permutation::new(COUNT, 9);
        assert_eq!(hottest(&seen)[..2], [scatter.apply(0), scatter.apply(1)]);
    }

    #[test]
    fn the_latest_are_the_last_loaded_and_then_the_last_inserted() {
        let inserts = Arc::new(Inserts::new(COUNT));
        let order = Permutation::new(COUNT, 5);
        let mut chooser = Chooser::latest(&inserts, order.clone());
        let seen = counts(&mut chooser, COUNT);
        assert_eq!(hottest(&seen)[..2], [order.apply(COUNT - 1), order.apply(COUNT - 2)]);

        let keys: Vec<u64> = (0..3).map(|_| chooser.take_new().unwrap()).collect();
        assert_eq!(keys, [COUNT, COUNT + 1, COUNT + 2]);
        // The third insert is done before the second: what comes behind the gap is not chosen.
        chooser.on_inserted(keys[0]);
        chooser.on_inserted(keys[2]);
        let seen = counts(&mut chooser, COUNT + 3);
        assert_eq!(hottest(&seen)[..2], [COUNT, order.apply(COUNT - 1)]);
        assert_eq!((seen[COUNT as usize + 1], seen[COUNT as usize + 2]), (0, 0));
        chooser.on_inserted(keys[1]);
        let seen = counts(&mut chooser, COUNT + 3);
        assert_eq!(hottest(&seen)[..3], [COUNT + 2, COUNT + 1, COUNT]);
    }

    #[test]
    fn all_alike_counts_inserts_in() {
        let inserts = Arc::new(Inserts::new(9));
        let mut chooser = Chooser::uniform_with(&inserts);
        let key = chooser.take_new().unwrap();
        assert!(counts(&mut chooser, 9).iter().all(|&count| (10_000..12_500).contains(&count)));
        chooser.on_inserted(key);
        assert!(counts(&mut chooser, 10).iter().all(|&count| (9_000..11_000).contains(&count)));
    }
}
