//! Every request and response that can be built reads back as it was.

use std::borrow::Cow;

use dht_protocol::cursor::{CURSOR_BITS, Cursor};
use dht_protocol::frame::{self, Cut};
use dht_protocol::header::Header;
use dht_protocol::ids::{
    Cfg, ClientId, ClusterId, Epoch, Incarnation, NodeId, PartitionId, RequestId, Version,
};
use dht_protocol::limits::{
    BODY_BYTES_MAX, KEY_BYTES_MAX, REFUSAL_TEXT_BYTES_MAX, SCAN_PARTITIONS_MAX, VALUE_BYTES_MAX,
};
use dht_protocol::op::Op;
use dht_protocol::peer::PeerHello;
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::map::{ClusterMap, Node, PartitionConfig};
use dht_protocol::placement::ring::Ring;
use dht_protocol::request::{Condition, Hello, Key, PartitionList, Request, Scan, WriteToken};
use dht_protocol::response::{
    HelloAnswer, NotOwner, PageEntry, PageWriter, Refusal, Response, encode_found_head,
};
use dht_protocol::status::Status;
use dht_protocol::value::{ValueRef, ValueType};
use proptest::prelude::*;

fn parts(frame: &[u8]) -> (Header, &[u8]) {
    match frame::cut(frame, BODY_BYTES_MAX) {
        Cut::Frame { header, body, .. } => (header, body),
        other => panic!("no frame: {other:?}"),
    }
}

fn assert_request_reads_back(request: &Request<'_>) {
    let mut frame = vec![];
    request.encode(RequestId(7), Epoch(8), &mut frame);
    let (header, body) = parts(&frame);
    assert_eq!((header.request_id, header.epoch), (RequestId(7), Epoch(8)));
    assert_eq!(Request::decode(&header, body).as_ref(), Ok(request));
}

fn assert_response_reads_back(op: Op, response: &Response<'_>) {
    let mut frame = vec![];
    response.encode(RequestId(7), Epoch(8), &mut frame);
    let (header, body) = parts(&frame);
    assert_eq!((header.request_id, header.epoch), (RequestId(7), Epoch(8)));
    assert_eq!(Response::decode(op, &header, body).as_ref(), Ok(response));
}

fn key_bytes() -> impl Strategy<Value = Vec<u8>> {
    (0..0xFFu8, proptest::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(first, rest)| [vec![first], rest].concat())
}

fn appendable() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (prop_oneof![Just(0u8), Just(1), 128..=255u8], proptest::collection::vec(any::<u8>(), 0..60))
}

fn value() -> impl Strategy<Value = (u8, Vec<u8>)> {
    prop_oneof![
        appendable(),
        (5..=6u8, proptest::collection::vec(any::<u8>(), 0..60)),
        (2..=3u8, any::<[u8; 8]>().prop_map(Vec::from)),
        (Just(4u8), (0..=1u8).prop_map(|byte| vec![byte])),
    ]
}

fn value_ref((tag, bytes): &(u8, Vec<u8>)) -> ValueRef<'_> {
    ValueRef::new(*tag, bytes).unwrap()
}

fn token() -> impl Strategy<Value = Option<WriteToken>> {
    proptest::option::of((1..=u64::MAX).prop_flat_map(|seq| {
        (1..=seq, any::<bool>()).prop_map(move |(floor, retry)| WriteToken { seq, floor, retry })
    }))
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::Always),
        Just(Condition::IfAbsent),
        Just(Condition::IfPresent),
        any::<u64>().prop_map(|version| Condition::IfVersion(Version(version))),
    ]
}

fn cursor() -> impl Strategy<Value = Cursor> {
    (0..=1u64 << CURSOR_BITS).prop_map(|number| Cursor::new(number).unwrap())
}

fn config() -> impl Strategy<Value = PartitionConfig> {
    (0..=Cfg::MAX.get(), any::<u32>())
        .prop_map(|(cfg, primary)| PartitionConfig { cfg: Cfg::new(cfg), primary: NodeId(primary) })
}

fn map() -> impl Strategy<Value = ClusterMap> {
    let nodes = proptest::collection::btree_map(any::<u32>(), "[a-z0-9.é:]{1,20}", 1..6);
    let slots = proptest::collection::vec((0..=Cfg::MAX.get(), any::<proptest::sample::Index>()), 64);
    (nodes, slots, 4..=6u32, 1..=u32::MAX, any::<u128>(), any::<[u8; 16]>()).prop_map(
        |(nodes, slots, log2, epoch, cluster, hash_key)| {
            let ring = Ring::from_log2(log2).unwrap();
            let nodes: Vec<Node> =
                nodes.into_iter().map(|(id, address)| Node { id: NodeId(id), address }).collect();
            let partitions = slots[..ring.partitions_count() as usize]
                .iter()
                .map(|(cfg, at)| PartitionConfig { cfg: Cfg::new(*cfg), primary: at.get(&nodes).id })
                .collect();
            let hash_key = HashKey::from_bytes(hash_key);
            ClusterMap::new(ClusterId(cluster), Epoch(epoch), ring, hash_key, nodes, partitions).unwrap()
        },
    )
}

fn peer_hello() -> impl Strategy<Value = PeerHello> {
    any::<(u128, u64, u32, u64)>().prop_map(|(cluster, incarnation, node, age_ms)| PeerHello {
        cluster_id: ClusterId(cluster),
        incarnation: Incarnation(incarnation),
        node: NodeId(node),
        age_ms,
    })
}

proptest! {
    #[test]
    fn requests_on_a_key(
        key in key_bytes(), value in value(), suffix in appendable(), token in token(),
        condition in condition(), expected in any::<u64>(), delta in any::<i64>(),
    ) {
        let key = Key::new(&key).unwrap();
        assert_request_reads_back(&Request::Get { key });
        assert_request_reads_back(&Request::Exists { key });
        assert_request_reads_back(&Request::Put { key, value: value_ref(&value), condition, token });
        for condition in [Condition::Always, Condition::IfVersion(Version(expected))] {
            assert_request_reads_back(&Request::Delete { key, condition, token });
        }
        assert_request_reads_back(&Request::Add { key, delta, token });
        assert_request_reads_back(&Request::Append { key, suffix: value_ref(&suffix), token });
    }

    #[test]
    fn requests_without_a_key(
        versions in any::<(u8, u8)>(), ids in any::<(u64, u128, u128)>(), peer in peer_hello(),
        cursor in cursor(), entries_max in 1..=u32::MAX,
        prefix in proptest::collection::vec(any::<u8>(), 0..40),
        partitions in proptest::collection::vec(any::<[u8; 4]>(), 1..40),
    ) {
        for request in [Request::Map, Request::Ping, Request::Stats, Request::PeerHello(peer)] {
            assert_request_reads_back(&request);
        }
        assert_request_reads_back(&Request::Hello(Hello {
            version_min: versions.0.min(versions.1),
            version_max: versions.0.max(versions.1),
            features: ids.0,
            client_id: ClientId(ids.1),
            cluster_id: ClusterId(ids.2),
        }));
        let partitions = PartitionList::from_wire(&partitions);
        assert_request_reads_back(&Request::Scan(Scan { cursor, entries_max, prefix: &prefix, partitions }));
    }

    #[test]
    fn responses_of_fixed_length(
        version in any::<u64>().prop_map(Version), value in any::<i64>(), value_bytes in any::<u32>(),
        peer in peer_hello(), limits in any::<(u32, u32, u32)>(), partition in any::<u32>(), config in config(),
    ) {
        assert_response_reads_back(Op::Ping, &Response::Pong);
        for op in [Op::Exists, Op::Put, Op::Delete] {
            assert_response_reads_back(op, &Response::Version(version));
        }
        assert_response_reads_back(Op::Add, &Response::Counted { version, value });
        assert_response_reads_back(Op::Append, &Response::Appended { version, value_bytes });
        assert_response_reads_back(Op::PeerHello, &Response::PeerHello(peer));
        assert_response_reads_back(Op::Hello, &Response::Hello(HelloAnswer {
            version: version.0 as u8,
            features: peer.age_ms,
            cluster_id: peer.cluster_id,
            incarnation: peer.incarnation,
            node: peer.node,
            value_bytes_max: limits.0,
            body_bytes_max: limits.1,
            write_span_max: limits.2,
        }));
        let not_owner = NotOwner { partition: PartitionId(partition), config };
        for op in Op::ALL {
            assert_response_reads_back(*op, &Response::Refused(Refusal::ConditionFailed(version)));
            assert_response_reads_back(*op, &Response::Refused(Refusal::NotOwner(not_owner)));
        }
    }

    #[test]
    fn responses_of_any_length(
        version in any::<u64>().prop_map(Version), value in value(), map in map(), text in ".{0,40}",
        stats in proptest::collection::vec(("[a-z_é]{0,30}", any::<u64>()), 0..20),
    ) {
        assert_response_reads_back(Op::Get, &Response::Found { version, value: value_ref(&value) });
        assert_response_reads_back(Op::Map, &Response::Map(Box::new(map)));
        let stats = stats.iter().map(|(name, number)| (Cow::Borrowed(name.as_str()), *number)).collect();
        assert_response_reads_back(Op::Stats, &Response::Stats(stats));
        for status in Status::ALL {
            if !matches!(status, Status::Ok | Status::ConditionFailed | Status::NotOwner) {
                let refusal = Refusal::Other(*status, Cow::Borrowed(&text));
                assert_response_reads_back(Op::Put, &Response::Refused(refusal));
            }
        }
    }

    #[test]
    fn pages(
        entries in proptest::collection::vec((key_bytes(), value(), any::<u64>(), any::<bool>()), 0..20),
        done in any::<u16>(), next in cursor(), before in 0..5usize,
    ) {
        let entries: Vec<PageEntry<'_>> = entries.iter().map(|(key, value, version, inline)| PageEntry {
            key,
            version: Version(*version),
            value_type: ValueType::new(value.0).unwrap(),
            value_bytes: value.1.len() as u32,
            value: inline.then_some(&value.1),
        }).collect();
        let mut out = vec![0xEE; before];
        let mut writer = PageWriter::begin(RequestId(7), Epoch(8), &mut out);
        entries.iter().for_each(|entry| writer.push(entry, &mut out));
        prop_assert_eq!(writer.body_bytes(&out) + before + 16, out.len());
        writer.finish(done, next, &mut out);
        let (header, body) = parts(&out[before..]);
        let Ok(Response::Page(page)) = Response::decode(Op::Scan, &header, body) else { panic!("no page") };
        prop_assert_eq!((page.partitions_done, page.next, page.len()), (done, next, entries.len()));
        prop_assert_eq!(page.entries().collect::<Vec<_>>(), entries);
        assert_response_reads_back(Op::Scan, &Response::Page(page));
    }

    #[test]
    fn a_head_with_its_value_behind_it_is_a_found_entry(version in any::<u64>().prop_map(Version), value in value()) {
        let value = value_ref(&value);
        let (mut whole, mut pieces) = (vec![], vec![]);
        Response::Found { version, value }.encode(RequestId(7), Epoch(8), &mut whole);
        let bytes = value.bytes.len();
        encode_found_head(RequestId(7), Epoch(8), version, value.value_type, bytes, &mut pieces);
        pieces.extend_from_slice(value.bytes);
        prop_assert_eq!(whole, pieces);
    }
}

#[test]
fn the_longest_of_everything_fits_into_a_frame() {
    let key = vec![b'k'; KEY_BYTES_MAX];
    let value = vec![b'v'; VALUE_BYTES_MAX];
    let key = Key::new(&key).unwrap();
    let value = ValueRef::new(0, &value).unwrap();
    let token = Some(WriteToken { seq: u64::MAX, floor: 1, retry: true });
    let condition = Condition::IfVersion(Version(u64::MAX));
    assert_request_reads_back(&Request::Put { key, value, condition, token });
    assert_request_reads_back(&Request::Append { key, suffix: value, token });
    assert_response_reads_back(Op::Get, &Response::Found { version: Version(1), value });
    let partitions = vec![[0xFF; 4]; SCAN_PARTITIONS_MAX];
    assert_request_reads_back(&Request::Scan(Scan {
        cursor: Cursor::END,
        entries_max: u32::MAX,
        prefix: key.as_bytes(),
        partitions: PartitionList::from_wire(&partitions),
    }));
}

#[test]
fn one_byte_more_than_the_longest_is_refused() {
    let status = |request_body: Vec<u8>, op: Op| {
        let header =
            Header { version: 1, code: op as u8, flags: 0, request_id: RequestId(1), epoch: Epoch(1) };
        Request::decode(&header, &request_body).unwrap_err().status
    };
    assert_eq!(status(vec![b'k'; KEY_BYTES_MAX + 1], Op::Get), Status::TooLarge);
    assert_eq!(status(vec![], Op::Get), Status::BadKey);
    let mut put = vec![0, 1];
    put.extend([0; 18]);
    put.push(b'k');
    put.extend(vec![0; VALUE_BYTES_MAX + 1]);
    assert_eq!(status(put.clone(), Op::Put), Status::TooLarge);
    assert_eq!(status(put, Op::Append), Status::TooLarge);

    let mut found = vec![0; 9];
    found.extend(vec![0; VALUE_BYTES_MAX + 1]);
    let ok = Header { version: 1, code: 0, flags: 0, request_id: RequestId(1), epoch: Epoch(1) };
    assert!(Response::decode(Op::Get, &ok, &found).is_err());
    let busy = Header { code: Status::Busy as u8, ..ok };
    assert!(Response::decode(Op::Get, &busy, &[b'a'; REFUSAL_TEXT_BYTES_MAX]).is_ok());
    assert!(Response::decode(Op::Get, &busy, &[b'a'; REFUSAL_TEXT_BYTES_MAX + 1]).is_err());
    assert!(Response::decode(Op::Get, &busy, &[0xFF]).is_err());
}

#[test]
fn a_long_refusal_is_cut_between_two_characters() {
    let text = format!("{}é", "a".repeat(REFUSAL_TEXT_BYTES_MAX - 1));
    let mut frame = vec![];
    Response::Refused(Refusal::Other(Status::Busy, Cow::Borrowed(&text))).encode(
        RequestId(1),
        Epoch(1),
        &mut frame,
    );
    let (header, body) = parts(&frame);
    let Ok(Response::Refused(Refusal::Other(_, read))) = Response::decode(Op::Put, &header, body) else {
        panic!("no refusal")
    };
    assert_eq!(read.len(), REFUSAL_TEXT_BYTES_MAX - 1);
}
