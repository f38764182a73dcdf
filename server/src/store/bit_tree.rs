//! A set of small numbers that answers "which is the lowest?" and "which is the highest?" in a few steps: a bit for
//! each number, and above each 64 of them a bit that says whether any is set, up to a single word.
//!
//! ```text
//!   level 2  │ 1 … │                              one word
//!   level 1  │ 1 0 1 … │ …                        a bit for each word below
//!   level 0  │ 0100… │ 0000… │ 0011… │ …          a bit for each number
//! ```
//!
//! It takes memory only where bits are set.

use super::zeroed::ZeroedWords;

/// Numbers that one word holds.
const WORD_BITS: u32 = u64::BITS;

/// The set.
#[derive(Debug)]
pub(super) struct BitTree {
    /// From the numbers themselves up to one word.
    levels: Vec<ZeroedWords>,
}

impl BitTree {
    /// An empty set of numbers below `bound`; `None`: the system gives no addresses for it.
    pub(super) fn new(bound: u32) -> Option<BitTree> {
        let mut levels = Vec::new();
        let mut bits = bound.max(1);
        loop {
            let words = bits.div_ceil(WORD_BITS);
            levels.push(ZeroedWords::new(words as usize)?);
            if words == 1 {
                return Some(BitTree { levels });
            }
            bits = words;
        }
    }

    /// Puts `number` in; no matter if it is in already.
    pub(super) fn insert(&mut self, number: u32) {
        let mut bit = number;
        for level in &mut self.levels {
            let before = level.get(bit / WORD_BITS);
            level.set(bit / WORD_BITS, before | 1 << (bit % WORD_BITS));
            if before != 0 {
                return;
            }
            bit /= WORD_BITS;
        }
    }

    /// Takes `number` out; no matter if it is not in.
    pub(super) fn remove(&mut self, number: u32) {
        let mut bit = number;
        for level in &mut self.levels {
            let after = level.get(bit / WORD_BITS) & !(1 << (bit % WORD_BITS));
            level.set(bit / WORD_BITS, after);
            if after != 0 {
                return;
            }
            bit /= WORD_BITS;
        }
    }

    /// Whether `number` is in.
    pub(super) fn contains(&self, number: u32) -> bool {
        self.levels[0].get(number / WORD_BITS) >> (number % WORD_BITS) & 1 == 1
    }

    /// The lowest number.
    pub(super) fn first(&self) -> Option<u32> {
        self.descend(u64::trailing_zeros)
    }

    /// The highest number.
    pub(super) fn last(&self) -> Option<u32> {
        self.descend(|word| WORD_BITS - 1 - word.leading_zeros())
    }

    /// Goes down from the top, in each word to the bit that `choose` picks.
    fn descend(&self, choose: impl Fn(u64) -> u32) -> Option<u32> {
        let mut place = 0;
        for level in self.levels.iter().rev() {
            let word = level.get(place);
            if word == 0 {
                return None;
            }
            place = place * WORD_BITS + choose(word);
        }
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn agrees_with_a_plain_set() {
        for bound in [1, 63, 64, 65, 4_096, 4_097, 300_000] {
            let (mut tree, mut set) = (BitTree::new(bound).unwrap(), BTreeSet::new());
            let mut random = 7u64;
            for _ in 0..3_000 {
                random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                let number = (random >> 33) as u32 % bound;
                if random >> 62 < 2 {
                    tree.insert(number);
                    set.insert(number);
                } else {
                    let number = set.first().copied().filter(|_| random >> 61 == 7).unwrap_or(number);
                    tree.remove(number);
                    set.remove(&number);
                }
                assert_eq!((tree.first(), tree.last()), (set.first().copied(), set.last().copied()));
                assert_eq!(tree.contains(number), set.contains(&number));
            }
        }
    }
}
