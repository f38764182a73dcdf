//! Reading a request. Input: a frame; its length field is taken for right.
//!
//! What is accepted keeps every limit of its fields, lies in the input itself (no memory is taken), and is written
//! again as the very same bytes. What is refused is refused by a status that PROTOCOL.md lists for it, and the
//! refusal can be sent and read.

use std::borrow::Cow;

use dht_protocol::error::RequestError;
use dht_protocol::header::{Header, PROTOCOL_VERSION};
use dht_protocol::limits::{
    HEADER_BYTES, KEY_BYTES_MAX, KEY_RESERVED_FIRST_BYTE, REFUSAL_TEXT_BYTES_MAX, SCAN_PARTITIONS_MAX,
    VALUE_BYTES_MAX,
};
use dht_protocol::op::{Op, flags};
use dht_protocol::request::{Condition, Key, Request, WriteToken};
use dht_protocol::response::{Refusal, Response};
use dht_protocol::status::{Meaning, Status};
use dht_protocol::value::ValueRef;

/// What reading a request may be refused with.
const REFUSALS: [Status; 7] = [
    Status::Malformed,
    Status::UnknownVersion,
    Status::UnknownOpcode,
    Status::UnknownFlag,
    Status::TooLarge,
    Status::BadKey,
    Status::BadValue,
];

/// Checks one input.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) {
    let Some((head, body)) = input.split_first_chunk::<HEADER_BYTES>() else { return };
    let (_, header) = Header::decode(head);
    let mut read = None;
    let allocated = allocation_counter::measure(|| read = Some(Request::decode(&header, body)));
    assert_eq!(allocated.bytes_total, 0, "a request lies where it was read");
    match read.expect("it has just been read") {
        Ok(request) => check_request(&header, body, &request),
        Err(error) => check_refusal(&header, error),
    }
}

fn check_request(header: &Header, body: &[u8], request: &Request<'_>) {
    assert_eq!((header.version, header.code), (PROTOCOL_VERSION, request.op() as u8));
    assert_eq!(header.flags & !request.op().flags_known(), 0, "a flag of another operation");
    check_fields(header, body, request);
    let mut again = Vec::new();
    request.encode(header.request_id, header.epoch, &mut again);
    assert_eq!(again[..HEADER_BYTES], header.encode(body.len()), "header written again");
    assert_eq!(&again[HEADER_BYTES..], body, "body written again");
    assert_eq!(Request::decode(header, &again[HEADER_BYTES..]).as_ref(), Ok(request), "read again");
}

fn check_refusal(header: &Header, error: RequestError) {
    assert!(REFUSALS.contains(&error.status), "{error}");
    assert_eq!(error.status.meaning(), Meaning::NotDone);
    assert!(!error.text.is_empty() && error.text.len() <= REFUSAL_TEXT_BYTES_MAX);
    let refusal = Response::Refused(Refusal::Other(error.status, Cow::Borrowed(error.text)));
    let mut frame = Vec::new();
    refusal.encode(header.request_id, header.epoch, &mut frame);
    let (head, body) = frame.split_first_chunk::<HEADER_BYTES>().expect("a frame begins with its header");
    let (_, answered) = Header::decode(head);
    assert_eq!((answered.request_id, answered.epoch), (header.request_id, header.epoch));
    let op = Op::from_number(header.code).unwrap_or(Op::Ping);
    assert_eq!(Response::decode(op, &answered, body), Ok(refusal));
}

fn check_fields(header: &Header, body: &[u8], request: &Request<'_>) {
    match *request {
        Request::Get { key } | Request::Exists { key } => {
            check_key(body, key);
            assert_eq!(key.as_bytes().len(), body.len());
        }
        Request::Put { key, value, condition, token } => {
            check_key(body, key);
            check_value(body, value);
            check_condition(header, condition);
            check_token(header, token);
        }
        Request::Delete { key, condition, token } => {
            check_key(body, key);
            check_condition(header, condition);
            assert!(matches!(condition, Condition::Always | Condition::IfVersion(_)));
            check_token(header, token);
        }
        Request::Add { key, delta: _, token } => {
            check_key(body, key);
            check_token(header, token);
        }
        Request::Append { key, suffix, token } => {
            check_key(body, key);
            check_value(body, suffix);
            assert!(suffix.value_type.is_appendable());
            check_token(header, token);
        }
        Request::Scan(scan) => {
            assert!(scan.entries_max > 0 && scan.prefix.len() <= KEY_BYTES_MAX);
            assert!((1..=SCAN_PARTITIONS_MAX).contains(&scan.partitions.len()));
            assert_eq!(scan.partitions.iter().count(), scan.partitions.len());
            assert_eq!(16 + 4 * scan.partitions.len() + scan.prefix.len(), body.len());
            assert_within(body, scan.prefix);
        }
        Request::Hello(hello) => assert!(hello.version_min <= hello.version_max && body.len() == 44),
        Request::PeerHello(_) => assert_eq!(body.len(), 36),
        Request::Map | Request::Ping | Request::Stats => assert!(body.is_empty()),
    }
}

fn check_key(body: &[u8], key: Key<'_>) {
    let bytes = key.as_bytes();
    assert!((1..=KEY_BYTES_MAX).contains(&bytes.len()) && bytes[0] != KEY_RESERVED_FIRST_BYTE);
    assert_within(body, bytes);
}

/// Reads the rules of section 8 once more.
fn check_value(body: &[u8], value: ValueRef<'_>) {
    assert_within(body, value.bytes);
    assert!(value.bytes.len() <= VALUE_BYTES_MAX);
    match value.value_type.tag() {
        0 | 1 | 5 | 6 | 128..=255 => {}
        2 | 3 => assert_eq!(value.bytes.len(), 8),
        4 => assert!(matches!(value.bytes, [0 | 1])),
        reserved => panic!("type {reserved} is reserved"),
    }
}

fn check_condition(header: &Header, condition: Condition) {
    let conditions = header.flags & (flags::IF_ABSENT | flags::IF_PRESENT | flags::IF_VERSION);
    let expected = match condition {
        Condition::Always => 0,
        Condition::IfAbsent => flags::IF_ABSENT,
        Condition::IfPresent => flags::IF_PRESENT,
        Condition::IfVersion(_) => flags::IF_VERSION,
    };
    assert_eq!(conditions, expected);
}

fn check_token(header: &Header, token: Option<WriteToken>) {
    let is_retry = header.flags & flags::RETRY != 0;
    match token {
        None => assert!(!is_retry, "a retry has a token"),
        Some(token) => {
            assert!(1 <= token.floor && token.floor <= token.seq);
            assert_eq!(token.retry, is_retry);
        }
    }
}

/// `part` lies in `whole`: nothing was copied.
pub(super) fn assert_within(whole: &[u8], part: &[u8]) {
    let (outer, inner) = (whole.as_ptr_range(), part.as_ptr_range());
    assert!(part.is_empty() || (outer.start <= inner.start && inner.end <= outer.end), "not in the input");
}
