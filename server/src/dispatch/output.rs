//! Answers on their way to a socket: small ones copied into one buffer, large values by reference, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::store::LargeValue;

/// A buffer this long, bytes, is not appended to any more: appending may move what is there, and some of it happens
/// under a partition's lock.
const TAIL_BYTES_MAX: usize = 32 << 10;

/// Answers not yet written. Its owner stops asking for more once [`Output::bytes`] passes a bound.
#[derive(Debug, Default)]
pub struct Output {
    /// Pieces before `tail`, oldest first.
    pieces: VecDeque<Piece>,
    /// Where answers are appended; last in order.
    tail: Vec<u8>,
    /// Bytes of the first piece that have been written.
    front_written: usize,
    /// Bytes in all, those already written of the first piece not counted.
    bytes: usize,
}

/// One run of bytes.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of its own.
    Owned(Vec<u8>),
    /// The value of an entry.
    Large(Arc<LargeValue>),
}

impl Piece {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Piece::Owned(bytes) => bytes,
            Piece::Large(value) => value.as_bytes(),
        }
    }
}

impl Output {
    /// Bytes waiting.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Lets `write` append to the buffer; whole frames, or the head of a frame whose rest follows at once.
    #[inline]
    pub fn append<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        if self.tail.len() >= TAIL_BYTES_MAX {
            self.seal_tail();
        }
        let before = self.tail.len();
        let result = write(&mut self.tail);
        debug_assert!(self.tail.len() >= before);
        self.bytes += self.tail.len() - before;
        result
    }

    /// Appends a large value without copying it.
    pub fn append_large(&mut self, value: Arc<LargeValue>) {
        self.seal_tail();
        self.bytes += value.as_bytes().len();
        self.pieces.push_back(Piece::Large(value));
    }

    /// Appends all of `other`, of which nothing has been written.
    pub fn append_output(&mut self, other: Output) {
        debug_assert_eq!(other.front_written, 0);
        if other.pieces.is_empty() {
            // Usually a few bytes.
            return self.append(|out| out.extend_from_slice(&other.tail));
        }
        self.seal_tail();
        self.bytes += other.bytes;
        self.pieces.extend(other.pieces);
        self.tail = other.tail;
    }

    /// The runs of bytes to write next, at most `pieces_max`.
    pub fn front(&self, pieces_max: usize) -> impl Iterator<Item = &[u8]> {
        let tail = Some(self.tail.as_slice()).filter(|tail| !tail.is_empty());
        let mut written = self.front_written;
        self.pieces.iter().map(Piece::as_bytes).chain(tail).take(pieces_max).map(move |bytes| {
            let rest = &bytes[written..];
            written = 0;
            rest
        })
    }

    /// All that waits, where it is one run of bytes and no large value.
    #[inline]
    #[must_use]
    pub fn single(&self) -> Option<&[u8]> {
        self.pieces.is_empty().then(|| &self.tail[self.front_written..])
    }

    /// Notes that `count` bytes of [`Output::front`] have been written.
    pub fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        count += self.front_written;
        while let Some(first) = self.pieces.front() {
            let length = first.as_bytes().len();
            if count < length {
                self.front_written = count;
                return;
            }
            count -= length;
            self.pieces.pop_front();
        }
        if count == self.tail.len() {
            self.tail.clear();
            self.front_written = 0;
        } else {
            self.front_written = count;
        }
    }

    /// Gives memory back when nothing waits and the buffer has grown past `keep_bytes`.
    pub fn shrink(&mut self, keep_bytes: usize) {
        if self.is_empty() && self.tail.capacity() > keep_bytes {
            self.tail = Vec::new();
        }
    }

    /// Memory that the buffers themselves hold, bytes.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        let owned = self.pieces.iter().map(|piece| match piece {
            Piece::Owned(bytes) => bytes.capacity(),
            Piece::Large(_) => 0,
        });
        self.tail.capacity() + owned.sum::<usize>()
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(Piece::Owned(std::mem::take(&mut self.tail)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryAccount;

    fn drain(output: &mut Output, step: usize) -> Vec<u8> {
        let mut all = vec![];
        while !output.is_empty() {
            let next: Vec<u8> = output.front(2).flatten().copied().take(step).collect();
            assert!(!next.is_empty());
            output.advance(next.len());
            all.extend(next);
        }
        all
    }

    #[test]
    fn comes_out_in_order_however_it_is_cut() {
        let memory = MemoryAccount::new(1 << 20);
        for step in 1..40 {
            let mut output = Output::default();
            output.append(|out| out.extend_from_slice(b"one "));
            output.append_large(LargeValue::copy_of(b"two ", &memory).unwrap());
            output.append_large(LargeValue::copy_of(b"three ", &memory).unwrap());
            output.append(|out| out.extend_from_slice(b"four "));
            assert_eq!(output.bytes(), 19);
            assert_eq!(drain(&mut output, step), b"one two three four ", "steps of {step}");
            output.append(|out| out.extend_from_slice(b"five"));
            assert_eq!(drain(&mut output, step), b"five");
        }
    }

    #[test]
    fn a_half_written_tail_goes_on_where_it_stopped() {
        let mut output = Output::default();
        output.append(|out| out.extend_from_slice(b"abcdef"));
        output.advance(2);
        output.append(|out| out.extend_from_slice(b"ghi"));
        assert_eq!(output.bytes(), 7);
        let memory = MemoryAccount::new(1 << 20);
        output.append_large(LargeValue::copy_of(b"JK", &memory).unwrap());
        assert_eq!(drain(&mut output, 100), b"cdefghiJK");
    }

    #[test]
    fn an_answer_moves_no_more_of_those_before_it_than_the_bound() {
        let mut output = Output::default();
        let lengths = || (0..400).map(|number| 1 + number * 37 % 9_000);
        for length in lengths() {
            let before = output.append(|out| {
                let before = out.len();
                out.resize(before + length, 7);
                before
            });
            assert!(before < TAIL_BYTES_MAX, "{before} B may have moved under a lock");
        }
        assert!(output.pieces.len() > 10);
        assert_eq!(drain(&mut output, 100_000).len(), lengths().sum::<usize>());
    }

    #[test]
    fn an_output_is_appended_to_another() {
        let memory = MemoryAccount::new(1 << 20);
        let mut output = Output::default();
        for text in ["ab", "cd"] {
            output.append(|out| out.extend_from_slice(b"."));
            let mut other = Output::default();
            other.append(|out| out.extend_from_slice(text.as_bytes()));
            if text == "cd" {
                other.append_large(LargeValue::copy_of(b"EF", &memory).unwrap());
                other.append(|out| out.extend_from_slice(b"gh"));
            }
            output.append_output(other);
        }
        output.append(|out| out.extend_from_slice(b"."));
        assert_eq!(output.bytes(), 11);
        assert_eq!(drain(&mut output, 3), b".ab.cdEFgh.");
    }

    #[test]
    fn an_idle_buffer_is_given_back() {
        let mut output = Output::default();
        output.append(|out| out.extend_from_slice(&[7; 10_000]));
        output.shrink(100);
        assert_eq!(output.bytes(), 10_000, "not while something waits");
        output.advance(10_000);
        output.shrink(100);
        assert_eq!(output.buffer_bytes(), 0);
    }
}
