//! Eight tags at a time: the comparison at the heart of every look-up, in one 64-bit register.
//!
//! ```text
//!   tags  │ 0x47 │ 0x00 │ 0x9C │ 0x01 │ …        one byte a slot, little-endian in a u64
//!           key    never   key   deleted
//!                  used
//! ```
//!
//! Invariants:
//! 1. A key's tag is never [`EMPTY`] nor [`TOMBSTONE`].
//! 2. Every function is exact: a lane is reported if and only if it holds what was asked for.
//!
//! Source of the zero-byte test: *Hacker's Delight* (Warren), 6-1, in its form without carries between bytes.

use dht_protocol::placement::hash::KeyHash;

use super::limits::GROUP_SLOTS;

/// Tag of a slot that was never used since the leaf was built: a probe ends at a group that has one.
pub(super) const EMPTY: u8 = 0;
/// Tag of a slot whose entry was deleted while its group was full: a probe goes on.
pub(super) const TOMBSTONE: u8 = 1;
/// Lowest tag of a key.
const TAG_MIN: u8 = 2;

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// The tag of a hash: from its low byte, which takes no part in finding the leaf or the bucket.
#[inline]
pub(super) fn tag_of(hash: KeyHash) -> u8 {
    let tags = 256 - u64::from(TAG_MIN);
    TAG_MIN + (((hash.0 & 0xFF) * tags) >> 8) as u8
}

/// The tags of one group.
#[derive(Clone, Copy)]
pub(super) struct Group(u64);

/// Lanes of a group, lowest first: the high bit of each byte that is in.
#[derive(Clone, Copy)]
pub(super) struct Lanes(u64);

impl Group {
    /// Reads group `group` of `tags`.
    #[inline]
    pub(super) fn load(tags: &[u8], group: usize) -> Group {
        let (groups, _) = tags.as_chunks::<GROUP_SLOTS>();
        Group(u64::from_le_bytes(groups[group]))
    }

    /// Lanes that hold `tag`.
    #[inline]
    pub(super) fn matches(self, tag: u8) -> Lanes {
        zero_bytes(self.0 ^ (LOW_BITS * u64::from(tag)))
    }

    /// Lanes that were never used.
    #[inline]
    pub(super) fn empty(self) -> Lanes {
        zero_bytes(self.0)
    }

    /// Lanes that a new entry may take: never used, or deleted.
    #[inline]
    pub(super) fn free(self) -> Lanes {
        zero_bytes(self.0 & !(LOW_BITS * u64::from(TOMBSTONE)))
    }

    /// Lanes that hold an entry.
    #[inline]
    pub(super) fn occupied(self) -> Lanes {
        Lanes(self.free().0 ^ HIGH_BITS)
    }
}

/// The high bit of each byte of `word` that is zero.
#[inline]
fn zero_bytes(word: u64) -> Lanes {
    // Adding 0x7F to the low seven bits sets the high bit unless they are zero, and carries nowhere.
    Lanes(!(((word & !HIGH_BITS) + !HIGH_BITS) | word) & HIGH_BITS)
}

impl Lanes {
    /// Whether no lane is in.
    #[inline]
    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// How many lanes are in.
    pub(super) fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl Iterator for Lanes {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let lane = self.0.trailing_zeros() / u8::BITS;
        self.0 &= self.0 - 1;
        Some(lane as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_exact() {
        // Neighbours that differ by one are where the inexact form of the test goes wrong.
        let samples = [0, 1, 2, 3, 0x7F, 0x80, 0x81, 0xFE, 0xFF];
        let mut tags = [0u8; 8];
        for seed in 0..if cfg!(miri) { 50 } else { 60_000usize } {
            let mut rest = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            for tag in &mut tags {
                *tag = samples[(rest >> 56) % samples.len()];
                rest = rest.rotate_left(7).wrapping_mul(0x2545_F491_4F6C_DD1D);
            }
            let group = Group::load(&tags, 0);
            let lanes = |wanted: &dyn Fn(u8) -> bool| (0..8).filter(|&i| wanted(tags[i])).collect::<Vec<_>>();
            for tag in samples {
                assert_eq!(group.matches(tag).collect::<Vec<_>>(), lanes(&|t| t == tag), "{tags:?}");
            }
            assert_eq!(group.empty().collect::<Vec<_>>(), lanes(&|t| t == EMPTY));
            assert_eq!(group.free().collect::<Vec<_>>(), lanes(&|t| t < TAG_MIN));
            assert_eq!(group.occupied().collect::<Vec<_>>(), lanes(&|t| t >= TAG_MIN));
        }
    }

    #[test]
    fn a_tag_is_never_a_mark() {
        for low in 0..=255 {
            assert!(tag_of(KeyHash(low)) >= TAG_MIN);
            assert_eq!(tag_of(KeyHash(low)), tag_of(KeyHash(low | 0xABCD_0000_0000_0100)));
        }
        assert_eq!(tag_of(KeyHash(255)), 255);
    }
}
