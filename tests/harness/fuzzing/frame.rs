//! Cutting a stream into frames. Input: a limit, the size of pieces, then the stream.
//!
//! Held against a second reading of the length field, at every step: three outcomes and no other; a frame is no
//! longer than what is there and than the limit; what is asked for is more than what is there and within the limit;
//! no memory is taken for a length; and bytes that come in pieces are cut where the whole stream is.

use dht_protocol::frame::{self, Cut, FrameError};
use dht_protocol::limits::{BODY_BYTES_MAX, HEADER_BYTES, LENGTH_FIELD_BYTES};

use super::draw::Draw;

/// Bodies that the reader takes, bytes: nothing, little, more than any input, and the limit of the protocol.
const LIMITS: [usize; 4] = [0, 40, 4_096, BODY_BYTES_MAX];

/// What a stream turned out to be.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// All of it was frames, or the start of one that may still come.
    Open,
    /// The reader gave up.
    Refused(FrameError),
}

/// Checks one input.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) {
    let mut draw = Draw::new(input);
    let body_bytes_max = *draw.pick(&LIMITS);
    let piece_bytes = 1 + usize::from(draw.byte());
    let stream = draw.rest();
    let whole = read(stream, body_bytes_max, stream.len());
    let in_pieces = read(stream, body_bytes_max, piece_bytes);
    assert_eq!(in_pieces, whole, "in pieces of {piece_bytes} bytes, and whole");
}

/// Cuts a stream of which `piece_bytes` more arrive whenever more is needed: ends of frames, and how it ended.
fn read(stream: &[u8], body_bytes_max: usize, piece_bytes: usize) -> (Vec<usize>, End) {
    let (mut ends, mut start, mut arrived) = (Vec::new(), 0, 0);
    loop {
        let buffer = &stream[start..arrived];
        match checked_cut(buffer, body_bytes_max) {
            Cut::Frame { frame_bytes, .. } => {
                start += frame_bytes;
                ends.push(start);
            }
            Cut::Refused { error, .. } => return (ends, End::Refused(error)),
            Cut::NeedMore { .. } if arrived == stream.len() => return (ends, End::Open),
            Cut::NeedMore { .. } => arrived = stream.len().min(arrived + piece_bytes),
        }
    }
}

/// Cuts, and holds the outcome against what the length field says.
fn checked_cut(buffer: &[u8], body_bytes_max: usize) -> Cut<'_> {
    let mut cut = Cut::NeedMore { frame_bytes: 0 };
    let allocated = allocation_counter::measure(|| cut = frame::cut(buffer, body_bytes_max));
    assert_eq!(allocated.bytes_total, 0, "cutting takes no memory");
    let body_bytes = buffer
        .first_chunk::<LENGTH_FIELD_BYTES>()
        .map(|length| (u32::from_be_bytes(*length) as usize).checked_sub(HEADER_BYTES - LENGTH_FIELD_BYTES));
    let has_header = buffer.len() >= HEADER_BYTES;
    match (cut, body_bytes) {
        (Cut::NeedMore { frame_bytes: HEADER_BYTES }, None) => {}
        (Cut::Refused { error: FrameError::TooShort, header }, Some(None)) => {
            assert_eq!(header.is_some(), has_header);
        }
        (Cut::NeedMore { frame_bytes: HEADER_BYTES }, Some(Some(_))) if !has_header => {}
        (Cut::Refused { error: FrameError::TooLong, header }, Some(Some(body_bytes))) => {
            assert!(body_bytes > body_bytes_max && header.is_some());
        }
        (Cut::NeedMore { frame_bytes }, Some(Some(body_bytes))) => {
            assert!(body_bytes <= body_bytes_max);
            assert!(frame_bytes == HEADER_BYTES + body_bytes && frame_bytes > buffer.len());
        }
        (Cut::Frame { header, body, frame_bytes }, Some(Some(body_bytes))) => {
            assert!(body_bytes <= body_bytes_max);
            assert!(frame_bytes == HEADER_BYTES + body_bytes && frame_bytes <= buffer.len());
            assert_eq!(body.as_ptr_range(), buffer[HEADER_BYTES..frame_bytes].as_ptr_range());
            let mut again = vec![0xEE];
            let start = frame::begin(&mut again, &header);
            again.extend_from_slice(body);
            frame::finish(&mut again, start);
            assert_eq!(again[1..], buffer[..frame_bytes], "written again");
        }
        (cut, body_bytes) => panic!("{cut:?} of {} bytes, body {body_bytes:?}", buffer.len()),
    }
    cut
}
