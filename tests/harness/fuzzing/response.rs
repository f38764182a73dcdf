//! Reading a response, as the answer to each operation in turn. Input: a frame; its length field is taken for right.
//!
//! What is accepted keeps its limits, borrows from the input, takes no more memory than a small multiple of it, and
//! is written again as the very same bytes.

use std::borrow::Cow;

use dht_protocol::header::{Header, PROTOCOL_VERSION};
use dht_protocol::limits::{
    ADDRESS_BYTES_MAX, HEADER_BYTES, KEY_BYTES_MAX, NODES_MAX, REFUSAL_TEXT_BYTES_MAX, STAT_NAME_BYTES_MAX,
    STATS_MAX, VALUE_BYTES_MAX,
};
use dht_protocol::op::Op;
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::response::{PAGE_ENTRY_HEAD_BYTES, Page, Refusal, Response};
use dht_protocol::status::Status;

use super::request::assert_within;

/// Memory that reading may take for each byte read: a statistic of 9 bytes becomes one of 32, in a list that has
/// grown by doubling, and was copied each time.
const ALLOCATED_PER_BYTE_MAX: usize = 32;
/// What it may take besides: the map itself, and the first few places of its lists.
const ALLOCATED_BYTES_MIN: usize = 1_024;

/// Checks one input.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) {
    let Some((head, body)) = input.split_first_chunk::<HEADER_BYTES>() else { return };
    let (_, header) = Header::decode(head);
    for op in Op::ALL {
        check_as(*op, &header, body);
    }
}

fn check_as(op: Op, header: &Header, body: &[u8]) {
    let mut read = None;
    let allocated = allocation_counter::measure(|| read = Response::decode(op, header, body).ok());
    let allocated_bytes_max = ALLOCATED_BYTES_MIN + ALLOCATED_PER_BYTE_MAX * body.len();
    assert!(
        allocated.bytes_total <= allocated_bytes_max as u64,
        "{} bytes allocated for {}",
        allocated.bytes_total,
        body.len()
    );
    let Some(response) = read else { return };
    assert_eq!((header.version, header.flags), (PROTOCOL_VERSION, 0));
    assert_eq!(response.status() as u8, header.code);
    assert_eq!(response.status() == Status::Ok, !matches!(response, Response::Refused(_)));
    check_fields(op, body, &response);
    let mut again = Vec::new();
    response.encode(header.request_id, header.epoch, &mut again);
    assert_eq!(again[..HEADER_BYTES], header.encode(body.len()), "{}: header written again", op.name());
    assert_eq!(&again[HEADER_BYTES..], body, "{}: body written again", op.name());
    assert_eq!(Response::decode(op, header, &again[HEADER_BYTES..]), Ok(response), "read again");
}

fn check_fields(op: Op, body: &[u8], response: &Response<'_>) {
    match response {
        Response::Hello(_) => assert!(op == Op::Hello && body.len() == 52),
        Response::Map(map) => {
            assert_eq!(op, Op::Map);
            check_map(body, map);
        }
        Response::Pong => assert!(op == Op::Ping && body.is_empty()),
        Response::Stats(stats) => {
            assert!(op == Op::Stats && stats.len() <= STATS_MAX);
            stats.iter().for_each(|(name, _)| check_text(body, name, STAT_NAME_BYTES_MAX));
        }
        Response::Found { value, .. } => {
            assert!(op == Op::Get && value.bytes.len() <= VALUE_BYTES_MAX);
            assert_within(body, value.bytes);
        }
        Response::Version(_) => assert!(matches!(op, Op::Exists | Op::Put | Op::Delete) && body.len() == 8),
        Response::Counted { .. } => assert!(op == Op::Add && body.len() == 16),
        Response::Appended { .. } => assert!(op == Op::Append && body.len() == 12),
        Response::Page(page) => {
            assert_eq!(op, Op::Scan);
            check_page(body, page);
        }
        Response::PeerHello(_) => assert!(op == Op::PeerHello && body.len() == 36),
        Response::Refused(Refusal::ConditionFailed(_)) => assert_eq!(body.len(), 8),
        Response::Refused(Refusal::NotOwner(_)) => assert_eq!(body.len(), 12),
        Response::Refused(Refusal::Other(status, text)) => {
            assert!(!matches!(status, Status::Ok | Status::ConditionFailed | Status::NotOwner));
            check_text(body, text, REFUSAL_TEXT_BYTES_MAX);
        }
    }
}

#[expect(clippy::ptr_arg, reason = "whether it owns its text is the question")]
fn check_text(body: &[u8], text: &Cow<'_, str>, bytes_max: usize) {
    assert!(matches!(text, Cow::Borrowed(_)) && text.len() <= bytes_max);
    assert_within(body, text.as_bytes());
}

fn check_map(body: &[u8], map: &ClusterMap) {
    let nodes = map.nodes();
    assert!((1..=NODES_MAX).contains(&nodes.len()) && nodes.is_sorted_by(|a, b| a.id < b.id));
    assert!(nodes.iter().all(|node| (1..=ADDRESS_BYTES_MAX).contains(&node.address.len())));
    assert!(map.epoch().0 > 0);
    for partition in map.ring().partitions() {
        let config = map.partition(partition).expect("each arc of the ring has a configuration");
        assert!(map.node(config.primary).is_some(), "a primary that is no node");
    }
    let fixed_bytes = 42 + 6 * nodes.len() + 8 * map.ring().partitions_count() as usize;
    assert_eq!(fixed_bytes + nodes.iter().map(|node| node.address.len()).sum::<usize>(), body.len());
}

fn check_page(body: &[u8], page: &Page<'_>) {
    let entries: Vec<_> = page.entries().collect();
    assert_eq!(entries.len(), page.len(), "an entry was announced but cannot be read");
    let mut bytes = 16;
    for entry in entries {
        assert!((1..=KEY_BYTES_MAX).contains(&entry.key.len()) && entry.key[0] != 0xFF);
        assert!(entry.value_bytes as usize <= VALUE_BYTES_MAX);
        assert!(entry.value.is_none_or(|value| value.len() == entry.value_bytes as usize));
        assert_within(body, entry.key);
        assert_within(body, entry.value.unwrap_or(&[]));
        bytes += PAGE_ENTRY_HEAD_BYTES + entry.key.len() + entry.value.map_or(0, <[u8]>::len);
    }
    assert_eq!(bytes, body.len());
}
