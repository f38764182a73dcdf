//! A long row of numbers that are all zero at first, and take memory only where one has been set: for tables whose
//! size is known and whose use is not. (A zeroed vector does the same under most allocators, but not under all.)

use memmap2::MmapMut;

/// Bytes of a number.
const WORD_BYTES: usize = size_of::<u64>();

/// The row.
#[derive(Debug)]
pub(super) struct ZeroedWords(MmapMut);

impl ZeroedWords {
    /// `count` zeros; `None`: the system gives no addresses for so many.
    pub(super) fn new(count: usize) -> Option<ZeroedWords> {
        MmapMut::map_anon(count.max(1) * WORD_BYTES).ok().map(ZeroedWords)
    }

    /// The number at `place`.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    pub(super) fn get(&self, place: u32) -> u64 {
        let (words, _) = self.0.as_chunks::<WORD_BYTES>();
        u64::from_ne_bytes(words[place as usize])
    }

    /// Sets the number at `place`.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    pub(super) fn set(&mut self, place: u32, word: u64) {
        let (words, _) = self.0.as_chunks_mut::<WORD_BYTES>();
        words[place as usize] = word.to_ne_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_there_and_the_rest_is_zero() {
        let mut words = ZeroedWords::new(100_000).unwrap();
        words.set(99_999, 7);
        words.set(0, u64::MAX);
        assert_eq!((words.get(0), words.get(1), words.get(99_999)), (u64::MAX, 0, 7));
    }
}
