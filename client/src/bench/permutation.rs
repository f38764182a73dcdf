//! A seeded permutation of 0..N in constant memory.
//!
//! A Feistel network permutes the numbers of the smallest sufficient count of bits; a result that is not below N
//! is permuted again until it is ("cycle walking", Black and Rogaway, *Ciphers with Arbitrary Finite Domains*,
//! CT-RSA 2002). The domain is less than 2 N, so that takes fewer than two steps on average. Shuffled enough for
//! a load, and nothing for secrets.

use crate::bench::random::mix;

const ROUNDS: u64 = 6;

/// A permutation of `0..count`.
#[derive(Clone, Debug)]
pub(crate) struct Permutation {
    count: u64,
    seed: u64,
    low_bits: u32,
    high_bits: u32,
}

impl Permutation {
    /// A permutation of `0..count`, `count` being 1 to 2^62.
    pub(crate) fn new(count: u64, seed: u64) -> Permutation {
        let bits = (u64::BITS - (count - 1).leading_zeros()).max(2);
        Permutation { count, seed, low_bits: bits / 2, high_bits: bits - bits / 2 }
    }

    /// Where `index` goes.
    pub(crate) fn apply(&self, index: u64) -> u64 {
        debug_assert!(index < self.count);
        let mut at = self.step(index);
        while at >= self.count {
            at = self.step(at);
        }
        at
    }

    /// One pass: each half in turn is changed by a function of the other, which can be undone.
    fn step(&self, number: u64) -> u64 {
        let (low_mask, high_mask) = ((1 << self.low_bits) - 1, (1 << self.high_bits) - 1);
        let (mut low, mut high) = (number & low_mask, number >> self.low_bits);
        for round in 0..ROUNDS {
            let key = self.seed.wrapping_add(round << 56);
            if round % 2 == 0 {
                low ^= mix(high.wrapping_add(mix(key))) & low_mask;
            } else {
                high ^= mix(low.wrapping_add(mix(key))) & high_mask;
            }
        }
        (high << self.low_bits) | low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_once() {
        for count in [1, 2, 3, 4, 5, 7, 8, 9, 100, 1000, 4096, 4097] {
            for seed in [0, 1, 42] {
                let permutation = Permutation::new(count, seed);
                let mut seen = vec![false; count as usize];
                for index in 0..count {
                    let at = permutation.apply(index) as usize;
                    assert!(!std::mem::replace(&mut seen[at], true), "{count} {seed}: {at} comes twice");
                }
            }
        }
    }

    #[test]
    fn order_is_lost_and_seeds_differ() {
        let (a, b) = (Permutation::new(10_000, 1), Permutation::new(10_000, 2));
        let rising = (1..10_000).filter(|&index| a.apply(index) > a.apply(index - 1)).count();
        assert!((4_700..5_300).contains(&rising), "{rising} of 9,999 steps rise");
        let same = (0..10_000).filter(|&index| a.apply(index) == b.apply(index)).count();
        assert!(same < 20, "{same} of 10,000 go to the same place");
    }

    #[test]
    fn large_domains() {
        let permutation = Permutation::new(crate::bench::limits::KEYS_MAX, 7);
        for index in [0, 1, crate::bench::limits::KEYS_MAX - 1] {
            assert!(permutation.apply(index) < crate::bench::limits::KEYS_MAX);
        }
    }
}
