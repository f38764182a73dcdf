//! Bytes in the arena, which may continue in other chunks.

use std::fmt;

use super::arena::Arena;

/// A run of bytes in pieces, as it lies in the store. Cheap to copy; most have a single piece.
#[derive(Clone, Copy)]
pub struct Pieces<'a> {
    /// The first piece.
    first: &'a [u8],
    /// Bytes beyond it, and the arena and chunk in which they begin.
    rest: Option<(&'a Arena, u32)>,
    rest_bytes: usize,
}

impl<'a> Pieces<'a> {
    /// A run in one piece.
    #[must_use]
    #[inline]
    pub fn whole(bytes: &'a [u8]) -> Pieces<'a> {
        Pieces { first: bytes, rest: None, rest_bytes: 0 }
    }

    /// A run whose last `rest_bytes` begin where chunk `chunk` does.
    pub(super) fn split(first: &'a [u8], arena: &'a Arena, chunk: u32, rest_bytes: usize) -> Pieces<'a> {
        Pieces { first, rest: Some((arena, chunk)), rest_bytes }
    }

    /// Length in bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.first.len() + self.rest_bytes
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, if they are in one piece.
    #[must_use]
    #[inline]
    pub fn as_whole(&self) -> Option<&'a [u8]> {
        if self.rest_bytes == 0 { Some(self.first) } else { None }
    }

    /// Calls `on_piece` with each piece in order.
    #[inline]
    pub fn for_each(&self, mut on_piece: impl FnMut(&'a [u8])) {
        on_piece(self.first);
        let (mut left, mut at) = (self.rest_bytes, self.rest);
        while let Some((arena, chunk)) = at.filter(|_| left > 0) {
            let (bytes, next) = arena.continuation(chunk);
            let piece = &bytes[..bytes.len().min(left)];
            on_piece(piece);
            left -= piece.len();
            at = Some((arena, next));
        }
    }

    /// Appends the bytes to `out`.
    #[inline]
    pub fn append_to(&self, out: &mut Vec<u8>) {
        self.for_each(|piece| out.extend_from_slice(piece));
    }

    /// A copy of the bytes.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        self.append_to(&mut bytes);
        bytes
    }

    /// Copies as many bytes as there are, and `out` takes, to its start; says how many.
    pub fn copy_to(&self, out: &mut [u8]) -> usize {
        let mut at = 0;
        self.for_each(|piece| {
            let count = piece.len().min(out.len() - at);
            out[at..at + count].copy_from_slice(&piece[..count]);
            at += count;
        });
        at
    }

    /// Whether they are `bytes`.
    #[must_use]
    #[inline]
    pub fn is(&self, bytes: &[u8]) -> bool {
        match self.as_whole() {
            Some(whole) => whole == bytes,
            None => self.len() == bytes.len() && self.starts_as(bytes),
        }
    }

    /// Whether they begin with `prefix`.
    #[must_use]
    pub fn starts_with(&self, prefix: &[u8]) -> bool {
        self.len() >= prefix.len() && self.starts_as(prefix)
    }

    /// Whether they and `bytes` agree as far as the shorter one goes.
    fn starts_as(&self, mut bytes: &[u8]) -> bool {
        let mut agrees = true;
        self.for_each(|piece| {
            let count = piece.len().min(bytes.len());
            agrees &= piece[..count] == bytes[..count];
            bytes = &bytes[count..];
        });
        agrees
    }
}

impl fmt::Debug for Pieces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pieces").field(&self.to_vec()).finish()
    }
}
