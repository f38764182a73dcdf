//! The words of one command, its name the first.

use super::parse::Words;

/// The words of one command.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a> {
    words: &'a Words,
    bytes: &'a [u8],
    first: usize,
    count: usize,
}

impl<'a> Args<'a> {
    pub(crate) fn new(words: &'a Words, bytes: &'a [u8], first: usize, count: usize) -> Args<'a> {
        Args { words, bytes, first, count }
    }

    /// How many there are, the name among them.
    #[inline]
    pub(crate) fn len(self) -> usize {
        self.count
    }

    #[inline]
    pub(crate) fn get(self, at: usize) -> &'a [u8] {
        debug_assert!(at < self.count);
        self.words.get(self.first + at, self.bytes)
    }

    /// All from `at` on.
    pub(crate) fn from(self, at: usize) -> impl Iterator<Item = &'a [u8]> {
        (at..self.count).map(move |at| self.get(at))
    }

    /// Whether word `at` is there and is that one, in any case.
    pub(crate) fn is(self, at: usize, word: &str) -> bool {
        at < self.count && self.get(at).eq_ignore_ascii_case(word.as_bytes())
    }

    /// Word `at` as a number, written the one canonical way.
    pub(crate) fn number(self, at: usize) -> Option<i64> {
        dht_protocol::value::parse_canonical_decimal(self.get(at))
    }
}
