//! Zipf-distributed ranks: rank r (from 0) comes with a probability proportional to 1 / (r + 1)^0.99.
//!
//! The method is that of Gray, Sundaresan, Englert, Baclawski and Weinberger, *Quickly Generating
//! Billion-Record Synthetic Databases*, SIGMOD 1994, with the constant and the shape of YCSB's
//! `ZipfianGenerator` (<https://github.com/brianfrankcooper/YCSB>). The two lowest ranks are exact, the others
//! follow a continuous approximation. The harmonic sum, which YCSB adds up term by term, is taken by the
//! Euler–Maclaurin formula past its first terms, so that a billion keys cost no start-up time.

use crate::bench::random::Random;

/// YCSB's skew.
const THETA: f64 = 0.99;
/// Terms of the harmonic sum that are added up one by one.
const EXACT_TERMS: u64 = 1000;

/// A generator of ranks.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    count: u64,
    harmonic: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    /// Ranks `0..count`, `count` being at least 1.
    pub(crate) fn new(count: u64) -> Zipf {
        let harmonic = harmonic(count);
        Zipf { count, harmonic, alpha: 1.0 / (1.0 - THETA), eta: eta(count, harmonic) }
    }

    /// Takes ranks up to `count`. Cost: one power for each rank that is new; nothing when none is.
    pub(crate) fn grow(&mut self, count: u64) {
        if count > self.count {
            let new: f64 = (self.count + 1..=count).map(|term| (term as f64).powf(-THETA)).sum();
            self.harmonic += new;
            self.count = count;
            self.eta = eta(count, self.harmonic);
        }
    }

    pub(crate) fn next(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let scaled = unit * self.harmonic;
        if scaled < 1.0 || self.count == 1 {
            return 0;
        }
        if scaled < harmonic_of_two() || self.count == 2 {
            return 1;
        }
        let rank = self.count as f64 * (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count - 1)
    }
}

fn eta(count: u64, harmonic: f64) -> f64 {
    (1.0 - (2.0 / count as f64).powf(1.0 - THETA)) / (1.0 - harmonic_of_two() / harmonic)
}

fn harmonic_of_two() -> f64 {
    1.0 + 0.5f64.powf(THETA)
}

/// 1/1^θ + 1/2^θ + … + 1/count^θ.
fn harmonic(count: u64) -> f64 {
    let exact = count.min(EXACT_TERMS);
    let sum: f64 = (1..=exact).map(|term| (term as f64).powf(-THETA)).sum();
    if exact == count {
        return sum;
    }
    let (from, to) = (exact as f64, count as f64);
    let integral = (to.powf(1.0 - THETA) - from.powf(1.0 - THETA)) / (1.0 - THETA);
    let ends = (to.powf(-THETA) - from.powf(-THETA)) / 2.0;
    let slopes = THETA * (from.powf(-THETA - 1.0) - to.powf(-THETA - 1.0)) / 12.0;
    sum + integral + ends + slopes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_agrees_with_adding_up() {
        for count in [1, 2, 999, 1000, 1001, 100_000] {
            let sum: f64 = (1..=count).map(|term| (term as f64).powf(-THETA)).sum();
            assert!((harmonic(count) - sum).abs() < 1e-9, "{count}: {} and {sum}", harmonic(count));
        }
        // What YCSB adds up for ten billion items (`ScrambledZipfianGenerator.ZETAN`).
        assert!((harmonic(10_000_000_000) - 26.469_028_201_783_02).abs() < 1e-6);
    }

    #[test]
    fn ranks_come_as_often_as_theory_says() {
        const COUNT: u64 = 1000;
        const DRAWS: u32 = 1_000_000;
        let (zipf, mut random) = (Zipf::new(COUNT), Random::new(1, 0));
        let mut seen = [0u32; COUNT as usize];
        for _ in 0..DRAWS {
            seen[zipf.next(&mut random) as usize] += 1;
        }
        let expected = |ranks: std::ops::Range<u64>| {
            let share: f64 = ranks.map(|rank| ((rank + 1) as f64).powf(-THETA)).sum();
            share / harmonic(COUNT) * f64::from(DRAWS)
        };
        // Ranges of ranks: the approximation is known to be off by a little for single ones beyond the second.
        for (ranks, tolerance) in
            [(0..1, 0.02), (1..2, 0.02), (2..10, 0.15), (10..100, 0.05), (100..1000, 0.05)]
        {
            let count: u32 = seen[ranks.start as usize..ranks.end as usize].iter().sum();
            let expected = expected(ranks.clone());
            assert!((f64::from(count) / expected - 1.0).abs() < tolerance, "{ranks:?}: {count}, {expected}");
        }
    }

    #[test]
    fn a_grown_generator_is_that_of_its_count() {
        let mut grown = Zipf::new(10);
        [10, 11, 5_000, 4].into_iter().for_each(|count| grown.grow(count));
        let (whole, mut one, mut other) = (Zipf::new(5_000), Random::new(1, 0), Random::new(1, 0));
        assert!((0..10_000).all(|_| grown.next(&mut one).abs_diff(whole.next(&mut other)) <= 1));
    }

    #[test]
    fn few_keys() {
        let mut random = Random::new(1, 0);
        for count in 1..5 {
            let zipf = Zipf::new(count);
            assert!((0..1000).all(|_| zipf.next(&mut random) < count));
        }
    }
}
