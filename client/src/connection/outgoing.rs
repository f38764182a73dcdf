//! Frames on their way out. No socket, no lock.
//!
//! 1. Only the front frame may be cut, that is begun and not ended. Its rest goes out before anything else, whoever
//!    writes it and whether or not its caller still waits: else the stream could not be understood any more.
//! 2. A frame that nobody has begun leaves with its caller.

use std::collections::VecDeque;
use std::io::IoSlice;

use dht_protocol::ids::RequestId;

/// A frame, and how much of it is out.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) id: RequestId,
    bytes: Vec<u8>,
    written: usize,
}

impl Frame {
    /// Whether a byte of it is out.
    pub(crate) fn is_begun(&self) -> bool {
        self.written > 0
    }
}

/// The frames that wait; at most one a slot, and one that is cut.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    frames: VecDeque<Frame>,
}

impl Outgoing {
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Appends a whole frame.
    pub(crate) fn push(&mut self, id: RequestId, bytes: Vec<u8>) {
        self.frames.push_back(Frame { id, bytes, written: 0 });
    }

    /// Drops the frame of a caller that waits no more, unless it is begun.
    pub(crate) fn forget(&mut self, id: RequestId) {
        self.frames.retain(|frame| frame.id != id || frame.is_begun());
    }

    pub(crate) fn clear(&mut self) {
        self.frames.clear();
    }

    /// Takes out the first frames, at most `frames_max`.
    pub(crate) fn take(&mut self, frames_max: usize) -> Batch {
        let count = self.frames.len().min(frames_max);
        Batch(self.frames.drain(..count).collect())
    }

    /// Takes back what is left of a batch, before everything else.
    pub(crate) fn put_back(&mut self, batch: Batch) {
        for frame in batch.0.into_iter().rev() {
            self.frames.push_front(frame);
        }
    }
}

/// Frames that one caller writes.
#[derive(Debug)]
pub(crate) struct Batch(VecDeque<Frame>);

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.0.iter()
    }

    /// Keeps the frames of which `keep` says so.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Frame) -> bool) {
        self.0.retain(keep);
    }

    /// What is left to write.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        self.0.iter().map(|frame| IoSlice::new(&frame.bytes[frame.written..])).collect()
    }

    /// Notes that `bytes` more are out, and drops the frames that are out as a whole.
    pub(crate) fn advance(&mut self, mut bytes: usize) {
        while let Some(frame) = self.0.front_mut() {
            let left = frame.bytes.len() - frame.written;
            if bytes < left {
                frame.written += bytes;
                return;
            }
            bytes -= left;
            self.0.pop_front();
        }
        debug_assert_eq!(bytes, 0, "more bytes were written than there were");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(outgoing: &mut Outgoing) -> Vec<u8> {
        let batch = outgoing.take(usize::MAX);
        let bytes = batch.slices().iter().flat_map(|slice| slice.to_vec()).collect();
        outgoing.put_back(batch);
        bytes
    }

    #[test]
    fn the_rest_of_a_cut_frame_comes_before_all_and_stays_when_its_caller_goes() {
        let mut outgoing = Outgoing::default();
        for (id, bytes) in [(1, b"aaa"), (2, b"bbb"), (3, b"ccc"), (4, b"ddd")] {
            outgoing.push(RequestId(id), bytes.to_vec());
        }
        let mut batch = outgoing.take(3);
        batch.advance(4);
        outgoing.put_back(batch);
        assert_eq!(left(&mut outgoing), b"bbcccddd");
        outgoing.forget(RequestId(3));
        outgoing.forget(RequestId(2));
        assert_eq!(left(&mut outgoing), b"bbddd");
        let mut batch = outgoing.take(1);
        batch.advance(2);
        assert!(batch.is_empty() && !outgoing.is_empty());
    }

    #[test]
    fn a_batch_may_end_at_any_byte() {
        for cut in 0..=9 {
            let mut outgoing = Outgoing::default();
            for id in 0..3 {
                outgoing.push(RequestId(id), vec![id as u8; 3]);
            }
            let mut batch = outgoing.take(usize::MAX);
            batch.advance(cut);
            let begun: Vec<bool> = batch.frames().map(Frame::is_begun).collect();
            assert!(begun.iter().skip(1).all(|begun| !begun), "only the front frame is begun: {begun:?}");
            assert_eq!(begun.first().copied().unwrap_or(false), cut % 3 != 0);
            outgoing.put_back(batch);
            assert_eq!(left(&mut outgoing), [0, 0, 0, 1, 1, 1, 2, 2, 2][cut..]);
        }
    }
}
