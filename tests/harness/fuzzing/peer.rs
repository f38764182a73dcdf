//! Messages between daemons. Input: the greetings of two daemons, one after the other; or one message between nodes, or
//! with their coordinator.
//!
//! A greeting has one length and one form, as the body of a request and of an answer alike, and takes no memory. And
//! whatever two daemons say of themselves, they come to verdicts that fit: never both to serve with different ideas
//! of the cluster, never one to stop that the other takes for agreed.
//!
//! A message is of one direction, keeps its limits, takes no more memory than a small multiple of its bytes, whatever it
//! announces, and is written again as the very same bytes.

use dht_protocol::error::Malformed;
use dht_protocol::header::{Header, PROTOCOL_VERSION};
use dht_protocol::ids::{Epoch, RequestId};
use dht_protocol::limits::{
    ACCUSED_MAX, ADDRESS_BYTES_MAX, COPY_OUTCOMES_MAX, COPY_PIECE_ENTRIES_MAX, KEY_BYTES_MAX,
    MAP_MEMBERS_MAX, NODES_MAX, PREPARE_ENTRIES_MAX, REFUSAL_TEXT_BYTES_MAX, VALUE_BYTES_MAX,
};
use dht_protocol::op::Op;
use dht_protocol::peer::{
    CopyItem, FromCoordinator, LogEntry, PeerBody, PeerHello, PeerMessage, ToCoordinator,
};
use dht_protocol::placement::replica_map::ReplicaMap;
use dht_protocol::request::Request;
use dht_protocol::response::Response;
use dht_protocol::status::Status;
use dht_server::cluster::greeting::{Verdict, judge};

/// cluster id 16, incarnation 8, node 4, age 8
const GREETING_BYTES: usize = 36;
/// Memory that reading a message may take for each byte read: an entry of 10 bytes becomes one of a hundred, in a list that
/// has grown by doubling, and was copied each time.
const ALLOCATED_PER_BYTE_MAX: usize = 64;
/// What it may take besides: the first few places of its lists.
const ALLOCATED_BYTES_MIN: usize = 4_096;

/// Checks one input.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) {
    let (first, second) = input.split_at(input.len().min(GREETING_BYTES));
    if let (Some(one), Some(other)) = (check_body(first), check_body(second)) {
        check_verdicts(&one, &other);
    }
    let between_nodes = recode(input, PeerMessage::decode, PeerMessage::encode, check_message);
    let to_coordinator = recode(input, ToCoordinator::decode, ToCoordinator::encode, check_to_coordinator);
    let from_coordinator = recode(input, FromCoordinator::decode, FromCoordinator::encode, |message| {
        if let FromCoordinator::Map(map) = message {
            check_map(map);
        }
    });
    let directions = [between_nodes, to_coordinator, from_coordinator].iter().filter(|read| **read).count();
    assert!(directions <= 1, "a message of several directions");
    recode(input, ReplicaMap::decode, ReplicaMap::encode, check_map);
}

/// Reads a message, checks it, and writes it again. Returns whether it was one.
fn recode<T>(
    input: &[u8],
    decode: fn(&[u8]) -> Result<T, Malformed>,
    encode: fn(&T, &mut Vec<u8>),
    check: impl Fn(&T),
) -> bool {
    let mut read = None;
    let allocated = allocation_counter::measure(|| read = decode(input).ok());
    let allocated_bytes_max = ALLOCATED_BYTES_MIN + ALLOCATED_PER_BYTE_MAX * input.len();
    assert!(
        allocated.bytes_total <= allocated_bytes_max as u64,
        "{} bytes allocated for {}",
        allocated.bytes_total,
        input.len()
    );
    let Some(message) = &read else { return false };
    check(message);
    let mut again = Vec::new();
    encode(message, &mut again);
    assert_eq!(again, input, "written again");
    true
}

fn check_message(message: &PeerMessage) {
    match &message.body {
        PeerBody::Prepare { entries, .. } => {
            assert!(entries.len() <= PREPARE_ENTRIES_MAX);
            entries.iter().for_each(check_entry);
        }
        PeerBody::Copy { item, .. } => match item {
            CopyItem::Piece { entries } => {
                assert!(entries.len() <= COPY_PIECE_ENTRIES_MAX);
                entries.iter().for_each(|entry| check_key_value(&entry.key, &entry.value));
            }
            CopyItem::Fragment { key, value_bytes, offset, bytes, .. } => {
                check_key_value(key, bytes);
                let end = u64::from(*offset) + bytes.len() as u64;
                assert!(end <= u64::from(*value_bytes) && *value_bytes as usize <= VALUE_BYTES_MAX);
            }
            CopyItem::Committed { entry } => check_entry(entry),
            CopyItem::Outcomes { records, forgotten, .. } => {
                assert!(records.len() <= COPY_OUTCOMES_MAX && forgotten.len() <= COPY_OUTCOMES_MAX);
            }
            CopyItem::Begin { .. } | CopyItem::End { .. } => {}
        },
        PeerBody::Beacon { .. }
        | PeerBody::Grant { .. }
        | PeerBody::Prepared { .. }
        | PeerBody::CopyRequest { .. }
        | PeerBody::CopyAck { .. } => {}
    }
}

fn check_entry(entry: &LogEntry) {
    if let Some(key) = entry.effect.key() {
        assert!((1..=KEY_BYTES_MAX).contains(&key.len()));
        assert!(entry.effect.bytes() - key.len() <= VALUE_BYTES_MAX);
    }
}

fn check_key_value(key: &[u8], value: &[u8]) {
    assert!((1..=KEY_BYTES_MAX).contains(&key.len()) && value.len() <= VALUE_BYTES_MAX);
}

fn check_to_coordinator(message: &ToCoordinator) {
    if let ToCoordinator::Heartbeat(heartbeat) = message {
        assert!((1..=ADDRESS_BYTES_MAX).contains(&heartbeat.address.len()));
        assert!(heartbeat.accused.len() <= ACCUSED_MAX);
    }
}

fn check_map(map: &ReplicaMap) {
    assert!((1..=NODES_MAX).contains(&map.nodes.len()) && map.nodes.is_sorted_by(|a, b| a.id < b.id));
    assert!(
        map.partitions.iter().map(|partition| partition.members().count()).sum::<usize>() <= MAP_MEMBERS_MAX
    );
    for partition in &map.partitions {
        let mut nodes: Vec<_> = partition.members().map(|member| member.node).collect();
        let members = nodes.len();
        nodes.sort_unstable();
        nodes.dedup();
        assert_eq!(nodes.len(), members, "a node that is named twice");
        assert!(nodes.iter().all(|node| map.node(*node).is_some()), "a node that is not listed");
        assert!(
            partition.cfg.get() > 0 && partition.primary_since.0 > 0 && partition.primary_since <= map.epoch
        );
    }
    assert!(map.checksum() != 0 && map.cluster_map().epoch() == map.epoch);
}

/// Reads one greeting in each way in which it can be read.
fn check_body(body: &[u8]) -> Option<PeerHello> {
    let mut read = None;
    let allocated = allocation_counter::measure(|| read = PeerHello::decode(body).ok());
    assert_eq!(allocated.bytes_total, 0);
    assert_eq!(read.is_some(), body.len() == GREETING_BYTES, "{} bytes", body.len());
    let header = |code| Header {
        version: PROTOCOL_VERSION,
        code,
        flags: 0,
        request_id: RequestId(1),
        epoch: Epoch(1),
    };
    let request = Request::decode(&header(Op::PeerHello as u8), body);
    let answer = Response::decode(Op::PeerHello, &header(Status::Ok as u8), body);
    let Some(hello) = read else {
        assert!(request.is_err_and(|error| error.status == Status::Malformed) && answer.is_err());
        return None;
    };
    assert_eq!(request, Ok(Request::PeerHello(hello)));
    assert_eq!(answer, Ok(Response::PeerHello(hello)));
    let mut again = Vec::new();
    hello.encode(&mut again);
    assert_eq!(again, body, "written again");
    Some(hello)
}

fn check_verdicts(one: &PeerHello, other: &PeerHello) {
    let verdicts = [judge(one, other), judge(other, one)];
    for verdict in &verdicts {
        if let Verdict::GiveWay(why) = verdict {
            assert!(why.len() <= REFUSAL_TEXT_BYTES_MAX, "a sentence of {} bytes", why.len());
        }
    }
    let agree = one.cluster_id == other.cluster_id;
    match &verdicts {
        [Verdict::Agreed, Verdict::Agreed] => assert!(agree),
        [Verdict::GiveWay(_), Verdict::OtherGivesWay] => assert!(!agree && one.age_ms < other.age_ms),
        [Verdict::OtherGivesWay, Verdict::GiveWay(_)] => assert!(!agree && one.age_ms > other.age_ms),
        [Verdict::GiveWay(_), Verdict::GiveWay(_)] => assert!(!agree && one.age_ms == other.age_ms),
        verdicts => panic!("verdicts that do not fit: {verdicts:?}"),
    }
}
