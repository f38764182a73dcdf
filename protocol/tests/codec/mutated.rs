//! Frames of PROTOCOL.md cut at every byte and with every bit flipped: refused, or read as what they now say.

use dht_protocol::frame::{self, Cut};
use dht_protocol::header::Header;
use dht_protocol::limits::{BODY_BYTES_MAX, HEADER_BYTES};
use dht_protocol::op::Op;
use dht_protocol::status::Status;

use crate::samples::{self, Kind, recode};

/// What [`dht_protocol::request::Request::decode`] may refuse with, as PROTOCOL.md lists it.
const DECODE_REFUSALS: [Status; 7] = [
    Status::Malformed,
    Status::UnknownVersion,
    Status::UnknownOpcode,
    Status::UnknownFlag,
    Status::TooLarge,
    Status::BadKey,
    Status::BadValue,
];

fn parts(frame: &[u8]) -> (Header, &[u8]) {
    match frame::cut(frame, BODY_BYTES_MAX) {
        Cut::Frame { header, body, frame_bytes } => {
            assert_eq!(frame_bytes, frame.len());
            (header, body)
        }
        other => panic!("no frame: {other:?}"),
    }
}

/// Reading what is accepted and writing it again gives the same bytes.
fn assert_refused_or_exact(kind: Kind, frame: &[u8], what: &dyn Fn() -> String) {
    match frame::cut(frame, BODY_BYTES_MAX) {
        Cut::NeedMore { frame_bytes } => assert!(frame_bytes > frame.len(), "{}", what()),
        Cut::Refused { .. } => {}
        Cut::Frame { header, body, frame_bytes } => match recode(kind, &header, body) {
            Ok(again) => assert_eq!(again, frame[..frame_bytes], "{}", what()),
            Err(status) => assert!(DECODE_REFUSALS.contains(&status), "{}: {}", what(), status.name()),
        },
    }
}

#[test]
fn every_sample_reads_back() {
    for sample in samples::all() {
        let (header, body) = parts(&sample.frame);
        assert_eq!(recode(sample.kind, &header, body), Ok(sample.frame.clone()), "{}", sample.name);
    }
}

#[test]
fn every_operation_has_a_sample_both_ways() {
    let samples = samples::all();
    for op in Op::ALL {
        let asked = samples.iter().any(|s| s.kind == Kind::Request && s.frame[5] == *op as u8);
        let answered = samples.iter().any(|s| s.kind == Kind::Response(*op) && s.frame[5] == 0);
        assert!(asked && answered, "{}", op.name());
    }
}

#[test]
fn a_frame_cut_at_any_byte_needs_more() {
    for sample in samples::all() {
        for length in 0..sample.frame.len() {
            let cut = frame::cut(&sample.frame[..length], BODY_BYTES_MAX);
            let frame_bytes = if length < HEADER_BYTES { HEADER_BYTES } else { sample.frame.len() };
            assert_eq!(cut, Cut::NeedMore { frame_bytes }, "{} cut to {length} bytes", sample.name);
        }
    }
}

#[test]
fn a_body_cut_at_any_byte_is_refused_or_says_what_is_left() {
    for sample in samples::all() {
        let (header, body) = parts(&sample.frame);
        for length in 0..body.len() {
            let mut shorter = header.encode(length).to_vec();
            shorter.extend_from_slice(&body[..length]);
            assert_refused_or_exact(sample.kind, &shorter, &|| {
                format!("{} with a body of {length} bytes", sample.name)
            });
        }
    }
}

#[test]
fn a_body_of_fixed_length_takes_no_byte_less_and_none_more() {
    // The others end in bytes of any number: a key, a value, a text.
    let open_ended = |name: &str| {
        ["get-", "exists-request", "put-", "append-request", "busy-", "not-found-"]
            .iter()
            .any(|start| name.starts_with(start))
            && name != "put-answer"
    };
    for sample in samples::all().iter().filter(|sample| !open_ended(sample.name)) {
        let (header, body) = parts(&sample.frame);
        let longer = [body, &[0]].concat();
        assert_eq!(recode(sample.kind, &header, &longer), Err(Status::Malformed), "{}", sample.name);
        for length in 0..body.len() {
            let result = recode(sample.kind, &header, &body[..length]);
            assert_eq!(result, Err(Status::Malformed), "{} to {length} bytes", sample.name);
        }
    }
}

#[test]
fn a_frame_with_any_bit_flipped_is_refused_or_says_something_else() {
    for sample in samples::all() {
        for bit in 0..sample.frame.len() * 8 {
            let mut flipped = sample.frame.clone();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            assert_refused_or_exact(sample.kind, &flipped, &|| {
                format!("{} with bit {} of byte {} flipped", sample.name, bit % 8, bit / 8)
            });
        }
    }
}

#[test]
fn a_flipped_header_is_refused_by_name() {
    let refusal = |name: &str, byte: usize, value: u8| {
        let sample = samples::all().into_iter().find(|sample| sample.name == name).unwrap();
        let mut frame = sample.frame;
        frame[byte] = value;
        let (header, body) = parts(&frame);
        recode(sample.kind, &header, body).unwrap_err()
    };
    assert_eq!(refusal("get-request", 4, 2), Status::UnknownVersion);
    assert_eq!(refusal("get-request", 5, 0x7F), Status::UnknownOpcode);
    assert_eq!(refusal("get-request", 7, 0x08), Status::UnknownFlag);
    assert_eq!(refusal("delete-request", 7, 0x01), Status::UnknownFlag);
    assert_eq!(refusal("put-request", 6, 0x80), Status::UnknownFlag);
    assert_eq!(refusal("put-if-version-request", 7, 0x05), Status::Malformed, "two conditions");
    assert_eq!(refusal("put-without-token-request", 7, 0x08), Status::Malformed, "a retry without a token");
    assert_eq!(refusal("get-request", 16, 0xFF), Status::BadKey);
    assert_eq!(refusal("put-request", 18, 7), Status::BadValue);
    assert_eq!(refusal("append-request", 18, 5), Status::BadValue, "JSON cannot be appended");
    assert_eq!(refusal("get-answer", 7, 1), Status::Malformed, "flags of a response");
    assert_eq!(refusal("get-answer", 5, 200), Status::Malformed, "an unknown status");
}
