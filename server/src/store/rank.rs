//! Which leaf of a directory covers a hash, without looking at leaves: where they begin, as bits.
//!
//! ```text
//!   hash  │ partition │ place: 7 bits │ …
//!   bits  1 0 0 0 1 0 1 1 1 0 0 0 …            a leaf begins at places 0, 4, 6, 7, 8
//!         the leaf of place 5 is the second: two bits are set up to there
//! ```
//!
//! Leaves are halves of halves of the partition's range, so each begins at a place of its own while none is smaller than one.
//! One that is smaller is *deep*; while there are such, nothing is known here, and bits are set anew once there are none.
//! With 128 places that is so up to 30,000 entries in a partition or so.
//!
//! Measured when it was put in: without it, leaves are looked for from a guess on, and each that is not it costs a wait for its
//! memory, one after the other.
//!
//! Invariant: while no leaf is deep, those bits are set at whose place a leaf begins.

use dht_protocol::placement::hash::KeyHash;

/// Bits of a hash that say its place.
const PLACE_BITS: u32 = 7;
const WORDS: usize = (1 << PLACE_BITS) / u64::BITS as usize;

/// Where leaves begin.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Rank {
    words: [u64; WORDS],
    /// Leaves that are smaller than a place.
    deep_count: u32,
    /// Top bits that all hashes of the partition share.
    span_bits: u8,
}

impl Rank {
    /// No leaves, in a partition of hashes that share their top `span_bits` bits.
    pub(super) fn new(span_bits: u32) -> Rank {
        Rank { words: [0; WORDS], deep_count: 0, span_bits: span_bits as u8 }
    }

    /// Top bits that all hashes of the partition share.
    #[inline]
    pub(super) fn span_bits(&self) -> u32 {
        u32::from(self.span_bits)
    }

    /// How many leaves begin at the place of `hash` or before; `None` if that is not known.
    #[inline]
    pub(super) fn leaves_up_to(&self, hash: KeyHash) -> Option<usize> {
        if self.deep_count > 0 {
            return None;
        }
        let place = self.place(hash.0);
        let up_to = |word: u32| {
            let places = (place + 1).saturating_sub(word * u64::BITS);
            u64::MAX.checked_shr(u64::BITS.saturating_sub(places)).unwrap_or(0)
        };
        let count = |word: usize| (self.words[word] & up_to(word as u32)).count_ones();
        Some((0..WORDS).map(count).sum::<u32>() as usize)
    }

    /// A leaf of `bits` that begins at hash `start` is added.
    pub(super) fn add(&mut self, start: u64, bits: u32) {
        self.deep_count += u32::from(self.is_deep(bits));
        if self.deep_count == 0 {
            let place = self.place(start);
            self.words[(place / u64::BITS) as usize] |= 1 << (place % u64::BITS);
        }
    }

    /// One is taken away. Says whether its bits are known no more although no leaf is deep: then [`Rank::rebuild`] must come.
    #[must_use]
    pub(super) fn remove(&mut self, start: u64, bits: u32) -> bool {
        if self.deep_count == 0 {
            let place = self.place(start);
            self.words[(place / u64::BITS) as usize] &= !(1 << (place % u64::BITS));
        }
        self.on_narrower(bits)
    }

    /// A leaf of `bits_before` has `bits` now, and begins where it began. Says what [`Rank::remove`] says.
    #[must_use]
    pub(super) fn change(&mut self, bits_before: u32, bits: u32) -> bool {
        self.deep_count += u32::from(self.is_deep(bits));
        self.on_narrower(bits_before)
    }

    /// Sets the bits for leaves of which none is deep, and which begin at `starts`.
    pub(super) fn rebuild(&mut self, starts: impl Iterator<Item = u64>) {
        debug_assert_eq!(self.deep_count, 0);
        self.words = [0; WORDS];
        for start in starts {
            let place = self.place(start);
            self.words[(place / u64::BITS) as usize] |= 1 << (place % u64::BITS);
        }
    }

    /// There are no leaves any more.
    pub(super) fn clear(&mut self) {
        *self = Rank::new(self.span_bits());
    }

    fn on_narrower(&mut self, bits_before: u32) -> bool {
        let was_deep = self.is_deep(bits_before);
        self.deep_count -= u32::from(was_deep);
        was_deep && self.deep_count == 0
    }

    fn is_deep(&self, bits: u32) -> bool {
        bits > self.span_bits() + PLACE_BITS
    }

    #[inline]
    fn place(&self, hash: u64) -> u32 {
        ((hash << self.span_bits) >> (u64::BITS - PLACE_BITS)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN_BITS: u32 = 4;
    const BEGIN: u64 = 5 << 60;

    fn start(place: u64) -> u64 {
        BEGIN | place << (u64::BITS - SPAN_BITS - PLACE_BITS)
    }

    #[test]
    fn places_lead_to_leaves() {
        let mut rank = Rank::new(SPAN_BITS);
        let places = [0, 4, 6, 7, 8, 63, 64, 65, 100, 127];
        for place in places {
            rank.add(start(place), SPAN_BITS + 7);
        }
        for place in 0..128 {
            let expected = places.iter().filter(|&&begins| begins <= place).count();
            assert_eq!(rank.leaves_up_to(KeyHash(start(place))), Some(expected));
            assert_eq!(rank.leaves_up_to(KeyHash(start(place) | 0xFFFF)), Some(expected));
        }
        assert!(!rank.remove(start(64), SPAN_BITS + 7));
        assert_eq!(rank.leaves_up_to(KeyHash(start(64))), Some(6));
    }

    #[test]
    fn nothing_is_known_while_a_leaf_is_deep() {
        let mut rank = Rank::new(SPAN_BITS);
        rank.add(start(0), SPAN_BITS + 7);
        rank.add(start(1), SPAN_BITS + 7);
        // A split of the second, and of its right half.
        assert!(!rank.change(SPAN_BITS + 7, SPAN_BITS + 8));
        rank.add(start(1) | 1 << 52, SPAN_BITS + 8);
        assert_eq!(rank.leaves_up_to(KeyHash(start(1))), None);
        // Another is added meanwhile, and the second is put together again.
        rank.add(start(2), SPAN_BITS + 6);
        assert!(!rank.change(SPAN_BITS + 8, SPAN_BITS + 7));
        assert!(rank.remove(start(1) | 1 << 52, SPAN_BITS + 8));
        rank.rebuild([0, 1, 2].map(start).into_iter());
        assert_eq!(rank.leaves_up_to(KeyHash(start(90))), Some(3));
    }
}
