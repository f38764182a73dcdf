//! Cutting a stream of bytes into frames. A length is judged before anything is allocated for it.

use crate::header::{HEADER_COUNTED_BYTES, Header};
use crate::limits::{HEADER_BYTES, LENGTH_FIELD_BYTES};

/// What stands at the front of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A whole frame.
    Frame {
        /// Its header.
        header: Header,
        /// Its body.
        body: &'a [u8],
        /// Bytes from the front of the buffer that it takes up.
        frame_bytes: usize,
    },
    /// The frame is not complete: `frame_bytes` from the front of the buffer are needed, or at least so many
    /// (while not even the header is there).
    NeedMore {
        /// Bytes needed, counted from the front of the buffer.
        frame_bytes: usize,
    },
    /// The stream cannot be trusted any further: close it, after an answer where there is a header to answer.
    Refused {
        /// Why.
        error: FrameError,
        /// The header, when all of it was there.
        header: Option<Header>,
    },
}

/// Why a length is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Shorter than the rest of a header.
    TooShort,
    /// Longer than the limit.
    TooLong,
}

/// Looks at the front of `buffer` for a frame with a body of at most `body_bytes_max` bytes.
#[must_use]
#[inline]
pub fn cut(buffer: &[u8], body_bytes_max: usize) -> Cut<'_> {
    let Some(head) = buffer.first_chunk::<HEADER_BYTES>() else {
        return cut_without_header(buffer, body_bytes_max);
    };
    let (length, header) = Header::decode(head);
    match body_bytes(length, body_bytes_max) {
        Err(error) => Cut::Refused { error, header: Some(header) },
        Ok(body_bytes) => {
            let frame_bytes = HEADER_BYTES + body_bytes;
            match buffer.get(HEADER_BYTES..frame_bytes) {
                Some(body) => Cut::Frame { header, body, frame_bytes },
                None => Cut::NeedMore { frame_bytes },
            }
        }
    }
}

/// A bad length is found out as soon as its four bytes are there, unless the header may still come.
fn cut_without_header(buffer: &[u8], body_bytes_max: usize) -> Cut<'_> {
    if let Some(length) = buffer.first_chunk::<LENGTH_FIELD_BYTES>() {
        // A length below the header's own is final: no header will follow. One that is too long is answered, so
        // the header is awaited.
        if let Err(error @ FrameError::TooShort) = body_bytes(u32::from_be_bytes(*length), body_bytes_max) {
            return Cut::Refused { error, header: None };
        }
    }
    Cut::NeedMore { frame_bytes: HEADER_BYTES }
}

fn body_bytes(length: u32, body_bytes_max: usize) -> Result<usize, FrameError> {
    let length = length as usize;
    match length.checked_sub(HEADER_COUNTED_BYTES) {
        None => Err(FrameError::TooShort),
        Some(body_bytes) if body_bytes > body_bytes_max => Err(FrameError::TooLong),
        Some(body_bytes) => Ok(body_bytes),
    }
}

/// Starts a frame at the end of `out`; [`finish`] fills in its length once the body has been appended.
pub fn begin(out: &mut Vec<u8>, header: &Header) -> FrameStart {
    let start = FrameStart(out.len());
    out.extend_from_slice(&header.encode(0));
    start
}

/// Writes the length of the frame that [`begin`] started: everything appended since is its body.
#[expect(clippy::needless_pass_by_value, reason = "a frame is finished once")]
pub fn finish(out: &mut [u8], start: FrameStart) {
    let length = (out.len() - start.0 - LENGTH_FIELD_BYTES) as u32;
    out[start.0..start.0 + LENGTH_FIELD_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Where an unfinished frame begins in its buffer.
#[derive(Debug)]
#[must_use]
pub struct FrameStart(usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, RequestId};

    const HEADER: Header =
        Header { version: 1, code: 3, flags: 0, request_id: RequestId(5), epoch: Epoch(1) };

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        let start = begin(&mut out, &HEADER);
        out.extend_from_slice(body);
        finish(&mut out, start);
        out
    }

    #[test]
    fn a_frame_cut_at_every_byte_needs_more() {
        let whole = frame(b"body");
        for length in 0..whole.len() {
            let frame_bytes = if length < HEADER_BYTES { HEADER_BYTES } else { whole.len() };
            assert_eq!(cut(&whole[..length], 100), Cut::NeedMore { frame_bytes }, "{length} bytes");
        }
        assert_eq!(cut(&whole, 100), Cut::Frame { header: HEADER, body: b"body", frame_bytes: 20 });
    }

    #[test]
    fn the_next_frame_is_left_alone() {
        let mut two = frame(b"one");
        two.extend(frame(b"two"));
        assert_eq!(cut(&two, 100), Cut::Frame { header: HEADER, body: b"one", frame_bytes: 19 });
        assert_eq!(cut(&two[19..], 100), Cut::Frame { header: HEADER, body: b"two", frame_bytes: 19 });
    }

    #[test]
    fn lengths_at_and_beyond_the_limit() {
        assert!(matches!(cut(&frame(&[0; 100]), 100), Cut::Frame { .. }));
        let refused = |bytes: &[u8]| match cut(bytes, 100) {
            Cut::Refused { error, header } => Some((error, header.is_some())),
            Cut::Frame { .. } | Cut::NeedMore { .. } => None,
        };
        assert_eq!(refused(&frame(&[0; 101])), Some((FrameError::TooLong, true)));
        assert_eq!(refused(&[0, 0, 0, 11]), Some((FrameError::TooShort, false)));
        assert_eq!(refused(&[0; 16]), Some((FrameError::TooShort, true)));
        assert_eq!(refused(&[0xFF; 15]), None);
        assert_eq!(refused(&[0xFF; 16]), Some((FrameError::TooLong, true)));
    }
}
