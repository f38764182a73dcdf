//! Random bytes. Beyond "no panic": what is accepted reads back exactly, borrows from the input, and owns no more
//! than a small multiple of it.

use std::borrow::Cow;

use dht_protocol::frame::{self, Cut};
use dht_protocol::header::Header;
use dht_protocol::ids::{Epoch, RequestId};
use dht_protocol::limits::{
    BODY_BYTES_MAX, HEADER_BYTES, NODES_MAX, REFUSAL_TEXT_BYTES_MAX, SCAN_PARTITIONS_MAX, STATS_MAX,
};
use dht_protocol::op::Op;
use dht_protocol::request::Request;
use dht_protocol::response::{Refusal, Response};
use proptest::prelude::*;

use crate::mutated::DECODE_REFUSALS;
use crate::samples::{self, Kind, recode};

fn assert_within(input: &[u8], part: &[u8]) {
    let (outer, inner) = (input.as_ptr_range(), part.as_ptr_range());
    assert!(part.is_empty() || (outer.start <= inner.start && inner.end <= outer.end));
}

#[expect(clippy::ptr_arg, reason = "whether it owns its text is the question")]
fn assert_borrowed(input: &[u8], text: &Cow<'_, str>) {
    assert!(matches!(text, Cow::Borrowed(_)));
    assert_within(input, text.as_bytes());
}

fn check_request_limits(body: &[u8], request: &Request<'_>) {
    match request {
        Request::Get { key }
        | Request::Exists { key }
        | Request::Delete { key, .. }
        | Request::Add { key, .. } => assert_within(body, key.as_bytes()),
        Request::Put { key, value, .. } | Request::Append { key, suffix: value, .. } => {
            assert_within(body, key.as_bytes());
            assert_within(body, value.bytes);
            assert!(key.as_bytes().len() + value.bytes.len() <= body.len());
        }
        Request::Scan(scan) => {
            assert_within(body, scan.prefix);
            assert!((1..=SCAN_PARTITIONS_MAX).contains(&scan.partitions.len()));
            assert!(scan.partitions.len() * 4 + scan.prefix.len() <= body.len());
            assert_eq!(scan.partitions.iter().count(), scan.partitions.len());
        }
        Request::Hello(_) | Request::PeerHello(_) | Request::Map | Request::Ping | Request::Stats => {}
    }
}

fn check_response_limits(body: &[u8], response: &Response<'_>) {
    match response {
        Response::Found { value, .. } => assert_within(body, value.bytes),
        Response::Page(page) => {
            let entries: Vec<_> = page.entries().collect();
            assert_eq!(entries.len(), page.len(), "an entry was announced but cannot be read");
            for entry in entries {
                assert_within(body, entry.key);
                assert_within(body, entry.value.unwrap_or(&[]));
            }
        }
        Response::Stats(stats) => {
            assert!(stats.len() <= STATS_MAX && stats.len() * 9 <= body.len());
            stats.iter().for_each(|(name, _)| assert_borrowed(body, name));
        }
        Response::Map(map) => {
            assert!((1..=NODES_MAX).contains(&map.nodes().len()));
            let addresses: usize = map.nodes().iter().map(|node| 6 + node.address.len()).sum();
            assert!(addresses + 8 * map.ring().partitions_count() as usize <= body.len());
        }
        Response::Refused(Refusal::Other(_, text)) => {
            assert!(text.len() <= REFUSAL_TEXT_BYTES_MAX);
            assert_borrowed(body, text);
        }
        Response::Refused(Refusal::ConditionFailed(_) | Refusal::NotOwner(_))
        | Response::Hello(_)
        | Response::Pong
        | Response::Version(_)
        | Response::Counted { .. }
        | Response::Appended { .. }
        | Response::PeerHello(_) => {}
    }
}

/// Reads bytes in every way that they can be read.
fn check(header: &Header, body: &[u8]) {
    match Request::decode(header, body) {
        Ok(request) => {
            assert_eq!(request.op() as u8, header.code);
            check_request_limits(body, &request);
        }
        Err(error) => assert!(DECODE_REFUSALS.contains(&error.status), "{error}"),
    }
    let mut frame = header.encode(body.len()).to_vec();
    frame.extend_from_slice(body);
    for kind in [Kind::Request].into_iter().chain(Op::ALL.iter().map(|op| Kind::Response(*op))) {
        if let Kind::Response(op) = kind
            && let Ok(response) = Response::decode(op, header, body)
        {
            assert_eq!(response.status() as u8, header.code);
            check_response_limits(body, &response);
        }
        if let Ok(again) = recode(kind, header, body) {
            assert_eq!(again, frame, "{kind:?}");
        }
    }
}

fn codes() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), proptest::sample::select(Op::ALL).prop_map(|op| op as u8), any::<u8>(),]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bodies_under_a_likely_header(
        code in codes(),
        flags in prop_oneof![Just(0u16), 0..16u16, any::<u16>()],
        body in proptest::collection::vec(prop_oneof![Just(0u8), Just(1u8), any::<u8>()], 0..300),
    ) {
        let header = Header { version: 1, code, flags, request_id: RequestId(1), epoch: Epoch(1) };
        check(&header, &body);
    }

    #[test]
    fn samples_with_bytes_changed_put_in_and_taken_out(
        at in any::<proptest::sample::Index>(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        let samples = samples::all();
        let frame = &at.get(&samples).frame;
        let mut body = frame[HEADER_BYTES..].to_vec();
        let (_, header) = Header::decode(frame.first_chunk().unwrap());
        for (at, byte, kind) in changes {
            let at = at.index(body.len() + 1);
            match (kind, at < body.len()) {
                (0, true) => body[at] = byte,
                (1, true) => { body.remove(at); }
                _ => body.insert(at, byte),
            }
        }
        check(&header, &body);
    }

    #[test]
    fn random_streams(bytes in proptest::collection::vec(any::<u8>(), 0..100), short in any::<bool>()) {
        let mut bytes = bytes;
        if short && bytes.len() > 4 {
            bytes[..3].fill(0);
        }
        for body_bytes_max in [0, 20, BODY_BYTES_MAX] {
            match frame::cut(&bytes, body_bytes_max) {
                Cut::Frame { header, body, frame_bytes } => {
                    prop_assert!(body.len() <= body_bytes_max && frame_bytes == HEADER_BYTES + body.len());
                    assert_within(&bytes, body);
                    check(&header, body);
                }
                Cut::NeedMore { frame_bytes } => {
                    prop_assert!(frame_bytes > bytes.len());
                    prop_assert!(frame_bytes <= HEADER_BYTES + body_bytes_max);
                }
                Cut::Refused { header, .. } => prop_assert_eq!(header.is_some(), bytes.len() >= HEADER_BYTES),
            }
        }
    }
}
