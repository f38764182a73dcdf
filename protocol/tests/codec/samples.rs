//! One frame of every operation and of every shape of response body: what the hex blocks of PROTOCOL.md say, in
//! the code's words.

use std::borrow::Cow;

use dht_protocol::cursor::Cursor;
use dht_protocol::error::RequestError;
use dht_protocol::header::Header;
use dht_protocol::ids::{
    Cfg, ClientId, ClusterId, Epoch, Incarnation, NodeId, PartitionId, RequestId, Version,
};
use dht_protocol::limits::{BODY_BYTES_MAX, VALUE_BYTES_MAX, WRITE_SPAN_MAX};
use dht_protocol::op::Op;
use dht_protocol::peer::PeerHello;
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::map::{ClusterMap, PartitionConfig};
use dht_protocol::placement::planner::static_map;
use dht_protocol::placement::ring::Ring;
use dht_protocol::request::{Condition, Hello, Key, PartitionList, Request, Scan, WriteToken};
use dht_protocol::response::{HelloAnswer, NotOwner, PageEntry, PageWriter, Refusal, Response};
use dht_protocol::status::Status;
use dht_protocol::value::{ValueRef, ValueType};

/// Which reader a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// [`Request::decode`].
    Request,
    /// [`Response::decode`], as the answer to that operation.
    Response(Op),
}

/// A frame that PROTOCOL.md shows.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Name of the hex block.
    pub name: &'static str,
    /// Which reader it is for.
    pub kind: Kind,
    /// The frame.
    pub frame: Vec<u8>,
}

/// Reads a frame and writes it again under the same request id and epoch.
///
/// # Errors
/// The status of the refusal; [`Status::Malformed`] for any response that is none.
pub(crate) fn recode(kind: Kind, header: &Header, body: &[u8]) -> Result<Vec<u8>, Status> {
    let mut out = vec![];
    match kind {
        Kind::Request => Request::decode(header, body).map_err(|RequestError { status, .. }| status)?.encode(
            header.request_id,
            header.epoch,
            &mut out,
        ),
        Kind::Response(op) => Response::decode(op, header, body).map_err(|_| Status::Malformed)?.encode(
            header.request_id,
            header.epoch,
            &mut out,
        ),
    }
    Ok(out)
}

const CLIENT: ClientId = ClientId(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
const TOKEN: WriteToken = WriteToken { seq: 7, floor: 5, retry: false };
const EPOCH: Epoch = Epoch(1);
/// The first write of the example's node under the configuration number that it drew at its start.
const VERSION: Version = Version::new(Cfg::new(0x00A1_B2C3), 1);

/// The map of the examples: two nodes, 16 partitions.
pub(crate) fn map() -> ClusterMap {
    let members = ["127.0.0.1:7400", "127.0.0.1:7401"].map(str::to_owned);
    static_map(&members, Ring::new(16).unwrap(), HashKey::GUESSABLE).unwrap()
}

/// Every frame that PROTOCOL.md shows, in its order.
pub(crate) fn all() -> Vec<Sample> {
    let mut samples = session();
    samples.extend(more_requests());
    samples.extend(more_responses());
    samples
}

fn request(name: &'static str, id: u32, epoch: Epoch, request: &Request<'_>) -> Sample {
    let mut frame = vec![];
    request.encode(RequestId(id), epoch, &mut frame);
    Sample { name, kind: Kind::Request, frame }
}

fn response(name: &'static str, id: u32, op: Op, response: &Response<'_>) -> Sample {
    let mut frame = vec![];
    response.encode(RequestId(id), EPOCH, &mut frame);
    Sample { name, kind: Kind::Response(op), frame }
}

fn key(text: &str) -> Key<'_> {
    Key::new(text.as_bytes()).unwrap()
}

fn text(text: &str) -> ValueRef<'_> {
    ValueRef { value_type: ValueType::TEXT, bytes: text.as_bytes() }
}

fn session() -> Vec<Sample> {
    let hello =
        Hello { version_min: 1, version_max: 1, features: 0, client_id: CLIENT, cluster_id: ClusterId(0) };
    let hello_answer = HelloAnswer {
        version: 1,
        features: 0,
        cluster_id: map().cluster_id(),
        incarnation: Incarnation(0x1122_3344_5566_7788),
        node: NodeId(0),
        value_bytes_max: VALUE_BYTES_MAX as u32,
        body_bytes_max: BODY_BYTES_MAX as u32,
        write_span_max: WRITE_SPAN_MAX as u32,
    };
    let put = Request::Put {
        key: key("user:1"),
        value: text("Ada"),
        condition: Condition::Always,
        token: Some(WriteToken { seq: 1, floor: 1, retry: false }),
    };
    let delete = Request::Delete {
        key: key("user:1"),
        condition: Condition::Always,
        token: Some(WriteToken { seq: 2, floor: 2, retry: false }),
    };
    let deleted = Version(VERSION.0 + 1);
    let partitions = [0u32, 2].map(u32::to_be_bytes);
    let scan = Scan {
        cursor: Cursor::START,
        entries_max: 2,
        prefix: b"user:",
        partitions: PartitionList::from_wire(&partitions),
    };
    vec![
        request("hello-request", 1, Epoch(0), &Request::Hello(hello)),
        response("hello-answer", 1, Op::Hello, &Response::Hello(hello_answer)),
        request("map-request", 2, Epoch(0), &Request::Map),
        response("map-answer", 2, Op::Map, &Response::Map(Box::new(map()))),
        request("put-request", 3, EPOCH, &put),
        response("put-answer", 3, Op::Put, &Response::Version(VERSION)),
        request("get-request", 4, EPOCH, &Request::Get { key: key("user:1") }),
        response("get-answer", 4, Op::Get, &Response::Found { version: VERSION, value: text("Ada") }),
        request("delete-request", 5, EPOCH, &delete),
        response("delete-answer", 5, Op::Delete, &Response::Version(deleted)),
        request("scan-request", 6, EPOCH, &Request::Scan(scan)),
        Sample { name: "scan-answer", kind: Kind::Response(Op::Scan), frame: page() },
    ]
}

fn page() -> Vec<u8> {
    let mut frame = vec![];
    // Hashes 0x0094_BD06_35A8_260D and 0x2385_E34D_B8CB_9E69: partitions 0 and 2 of 16.
    let mut page = PageWriter::begin(RequestId(6), EPOCH, &mut frame);
    let small = PageEntry {
        key: b"user:20",
        version: Version(VERSION.0 + 4),
        value_type: ValueType::TEXT,
        value_bytes: 5,
        value: Some(b"Grace"),
    };
    let large = PageEntry {
        key: b"user:6",
        version: Version(VERSION.0 + 5),
        value_type: ValueType::BYTES,
        value_bytes: 40_000,
        value: None,
    };
    page.push(&small, &mut frame);
    page.push(&large, &mut frame);
    page.finish(1, Cursor::new(0x0004_70BC_69B7_1974).unwrap(), &mut frame);
    frame
}

fn more_requests() -> Vec<Sample> {
    let put = |condition, token| Request::Put { key: key("k"), value: text("v"), condition, token };
    let retry = Some(WriteToken { retry: true, ..TOKEN });
    let suffix = ValueRef { value_type: ValueType::BYTES, bytes: b"tail" };
    let hello = PeerHello {
        cluster_id: map().cluster_id(),
        incarnation: Incarnation(0x99AA_BBCC_DDEE_FF00),
        node: NodeId(1),
        age_ms: 1_500,
    };
    vec![
        request("ping-request", 7, Epoch(0), &Request::Ping),
        request("stats-request", 8, EPOCH, &Request::Stats),
        request("exists-request", 9, EPOCH, &Request::Exists { key: key("k") }),
        request("put-without-token-request", 10, EPOCH, &put(Condition::Always, None)),
        request("put-if-absent-request", 11, EPOCH, &put(Condition::IfAbsent, Some(TOKEN))),
        request("put-if-present-request", 12, EPOCH, &put(Condition::IfPresent, Some(TOKEN))),
        request("put-if-version-request", 13, EPOCH, &put(Condition::IfVersion(VERSION), retry)),
        request(
            "delete-if-version-request",
            14,
            EPOCH,
            &Request::Delete { key: key("k"), condition: Condition::IfVersion(VERSION), token: Some(TOKEN) },
        ),
        request("add-request", 15, EPOCH, &Request::Add { key: key("n"), delta: -2, token: Some(TOKEN) }),
        request("append-request", 16, EPOCH, &Request::Append { key: key("k"), suffix, token: Some(TOKEN) }),
        request("peer-hello-request", 17, EPOCH, &Request::PeerHello(hello)),
    ]
}

fn more_responses() -> Vec<Sample> {
    let stats = vec![(Cow::Borrowed("keys"), 3), (Cow::Borrowed("requests_total"), 1_000)];
    let hello = PeerHello {
        cluster_id: map().cluster_id(),
        incarnation: Incarnation(0x1122_3344_5566_7788),
        node: NodeId(0),
        age_ms: 90_000,
    };
    let not_owner = NotOwner {
        partition: PartitionId(3),
        config: PartitionConfig { cfg: Cfg::new(0), primary: NodeId(1) },
    };
    let refused = |refusal| Response::Refused(refusal);
    vec![
        response("ping-answer", 7, Op::Ping, &Response::Pong),
        response("stats-answer", 8, Op::Stats, &Response::Stats(stats)),
        response("exists-answer", 9, Op::Exists, &Response::Version(VERSION)),
        response("add-answer", 15, Op::Add, &Response::Counted { version: VERSION, value: -2 }),
        response("append-answer", 16, Op::Append, &Response::Appended { version: VERSION, value_bytes: 9 }),
        response("peer-hello-answer", 17, Op::PeerHello, &Response::PeerHello(hello)),
        response("not-found-answer", 18, Op::Get, &refused(Refusal::of(Status::NotFound))),
        response("busy-answer", 19, Op::Put, &refused(Refusal::Other(Status::Busy, Cow::Borrowed("")))),
        response("condition-failed-answer", 20, Op::Put, &refused(Refusal::ConditionFailed(VERSION))),
        response("not-owner-answer", 21, Op::Get, &refused(Refusal::NotOwner(not_owner))),
    ]
}
