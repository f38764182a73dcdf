//! What a real daemon refuses, with which status, and whether the connection lives on.

use dht_protocol::header::Header;
use dht_protocol::ids::{ClusterId, Epoch, RequestId};
use dht_protocol::limits::{BODY_BYTES_MAX, WRITE_SPAN_MAX};
use dht_protocol::op::{Op, flags};
use dht_protocol::peer::PeerHello;
use dht_protocol::request::Request;
use dht_protocol::response::{Refusal, Response};
use dht_protocol::status::Status;
use dht_tests::cluster::Cluster;
use dht_tests::daemon::Daemon;
use dht_tests::raw_client::{Answer, RawClient, hello_request};
use dht_tests::requests::{add, exists, first, get, put};
use dht_tests::routed::RoutedClient;

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("protocol_refusals::hello_comes_first", hello_comes_first),
        Case::new("protocol_refusals::a_refused_hello_may_be_said_again", hello_again),
        Case::new("protocol_refusals::another_version_ends_the_connection", other_versions),
        Case::new("protocol_refusals::lengths_that_end_the_connection", bad_lengths),
        Case::new("protocol_refusals::a_frame_that_is_refused_changes_nothing", bad_frames),
        Case::new("protocol_refusals::the_first_fault_is_named", first_fault),
        Case::new("protocol_refusals::only_the_owner_answers", owners),
        Case::new("protocol_refusals::a_span_is_bounded", spans),
        Case::new("protocol_refusals::a_member_answers_a_greeting", greeting),
        Case::new(
            "protocol_refusals::a_lone_node_ignores_what_strangers_greet_it_with",
            greeting_a_lone_node,
        ),
    ]
}

const REQUEST_ID: RequestId = RequestId(0xFEED);

/// Sends a frame with any header and body.
fn send(client: &mut RawClient, version: u8, code: u8, flags: u16, body: &[u8]) {
    let header = Header { version, code, flags, request_id: REQUEST_ID, epoch: Epoch(1) };
    client.write(&[header.encode(body.len()).as_slice(), body].concat());
}

fn refusal(client: &mut RawClient, code: u8, flags: u16, body: &[u8]) -> Status {
    send(client, 1, code, flags, body);
    let answer = client.answer();
    assert_eq!(answer.header.request_id, REQUEST_ID);
    answer.status()
}

/// The 20 bytes at the head of a write.
fn head(key_bytes: u16, tag: u8, reserved: u8, seq: u64, floor: u64) -> Vec<u8> {
    [&key_bytes.to_be_bytes()[..], &[tag, reserved], &seq.to_be_bytes(), &floor.to_be_bytes()].concat()
}

fn hello_comes_first() {
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::connect(daemon.address());
    assert_eq!(client.call(&Request::Ping).status(), Status::Ok);
    for request in [Request::Map, Request::Stats, get(b"k"), put(b"k", b""), add(b"k", 1), exists(b"k")] {
        assert_eq!(client.call(&request).status(), Status::HelloRequired, "{:?}", request.op());
    }
    assert_eq!(refusal(&mut client, Op::Get as u8, 0, b""), Status::BadKey, "the body is looked at first");
    let _ = client.hello(1);
    let _ = client.map();
    assert_eq!(client.call(&get(b"k")).status(), Status::NotFound, "nothing of it was carried out");
    assert_eq!(client.call(&hello_request(1, 0)).status(), Status::Malformed, "once is enough");
    assert_eq!(client.call(&get(b"k")).status(), Status::NotFound);
}

fn hello_again() {
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::connect(daemon.address());
    assert_eq!(client.call(&hello_request(1, 0xBAD)).status(), Status::WrongCluster);
    assert_eq!(client.call(&Request::Map).status(), Status::HelloRequired);
    let id = client.hello(1).cluster_id;
    let mut client = RawClient::connect(daemon.address());
    assert_eq!(client.call(&hello_request(1, id.0)).status(), Status::Ok);
}

fn other_versions() {
    let daemon = Daemon::start(&[]);
    let expect_end = |mut client: RawClient, version: u8, code: u8| {
        send(&mut client, version, code, 0, b"");
        // What comes behind it is not carried out.
        let behind = client.encode([Request::Ping]).0;
        client.write(&behind);
        let answer = client.answer();
        assert_eq!((answer.status(), answer.header.version), (Status::UnknownVersion, 1));
        assert_eq!(answer.header.request_id, REQUEST_ID);
        client.wait_for_end();
    };
    for version in [0, 2, 255] {
        expect_end(RawClient::connect(daemon.address()), version, Op::Hello as u8);
        expect_end(RawClient::greeted(daemon.address(), 0), version, Op::Get as u8);
        expect_end(RawClient::greeted(daemon.address(), 0), version, 0xEE);
    }
    for (lowest, highest) in [(0, 0), (2, 9)] {
        let mut client = RawClient::connect(daemon.address());
        let Request::Hello(mut hello) = hello_request(1, 0) else { unreachable!() };
        (hello.version_min, hello.version_max) = (lowest, highest);
        assert_eq!(client.call(&Request::Hello(hello)).status(), Status::UnknownVersion);
        client.wait_for_end();
    }
    let mut client = RawClient::connect(daemon.address());
    let Request::Hello(mut hello) = hello_request(1, 0) else { unreachable!() };
    (hello.version_min, hello.version_max) = (0, 255);
    assert_eq!(client.call(&Request::Hello(hello)).status(), Status::Ok, "1 lies in that range");
}

fn bad_lengths() {
    let daemon = Daemon::start(&[]);
    let head_of = |length: u32| {
        let header =
            Header { version: 1, code: Op::Put as u8, flags: 0, request_id: REQUEST_ID, epoch: Epoch(1) };
        let mut bytes = header.encode(0).to_vec();
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    for (length, status) in [
        (0, Status::Malformed),
        (11, Status::Malformed),
        (12 + BODY_BYTES_MAX as u32 + 1, Status::TooLarge),
        (u32::MAX, Status::TooLarge),
    ] {
        let mut client = RawClient::greeted(daemon.address(), 0);
        client.write(&head_of(length));
        let answer = client.answer();
        assert_eq!((answer.status(), answer.header.request_id), (status, REQUEST_ID), "length {length}");
        client.wait_for_end();
    }
    let mut client = RawClient::greeted(daemon.address(), 0);
    client.write(&11u32.to_be_bytes());
    client.wait_for_end();
    let mut client = RawClient::greeted(daemon.address(), 0);
    assert_eq!(client.call(&Request::Ping).status(), Status::Ok, "others are served");
}

fn bad_frames() {
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::greeted(daemon.address(), 7);
    let put = Op::Put as u8;
    let write = |head: Vec<u8>, rest: &[u8]| [head.as_slice(), rest].concat();
    let cases: Vec<(&str, u8, u16, Vec<u8>, Status)> = vec![
        ("opcode", 0x99, 0, vec![], Status::UnknownOpcode),
        ("opcode 0", 0, 0, vec![], Status::UnknownOpcode),
        ("flag", put, 0x10, write(head(1, 0, 0, 0, 0), b"kv"), Status::UnknownFlag),
        ("flag of another", Op::Get as u8, flags::RETRY, b"k".to_vec(), Status::UnknownFlag),
        (
            "condition of PUT",
            Op::Delete as u8,
            flags::IF_ABSENT,
            write(head(1, 0, 0, 0, 0), b"k"),
            Status::UnknownFlag,
        ),
        ("two conditions", put, 3, write(head(1, 0, 0, 0, 0), b"kv"), Status::Malformed),
        ("no key", put, 0, write(head(0, 0, 0, 0, 0), b"v"), Status::BadKey),
        ("reserved key", put, 0, write(head(2, 0, 0, 0, 0), b"\xFFkv"), Status::BadKey),
        ("reserved key", Op::Get as u8, 0, b"\xFF".to_vec(), Status::BadKey),
        ("key too long", Op::Get as u8, 0, vec![b'k'; 65_536], Status::TooLarge),
        ("reserved type", put, 0, write(head(1, 7, 0, 0, 0), b"kv"), Status::BadValue),
        ("reserved type", put, 0, write(head(1, 127, 0, 0, 0), b"kv"), Status::BadValue),
        ("short int", put, 0, write(head(1, 2, 0, 0, 0), b"k1234567"), Status::BadValue),
        ("reserved byte", put, 0, write(head(1, 0, 1, 0, 0), b"kv"), Status::Malformed),
        (
            "type of ADD",
            Op::Add as u8,
            0,
            write(head(1, 1, 0, 0, 0), b"\0\0\0\0\0\0\0\x01k"),
            Status::Malformed,
        ),
        ("short head", put, 0, vec![0; 19], Status::Malformed),
        ("key cut off", put, 0, write(head(3, 0, 0, 0, 0), b"kk"), Status::Malformed),
        ("rest", Op::Delete as u8, 0, write(head(1, 0, 0, 0, 0), b"kk"), Status::Malformed),
        ("rest", Op::Map as u8, 0, vec![0], Status::Malformed),
        ("floor above seq", put, 0, write(head(1, 0, 0, 1, 2), b"kv"), Status::Malformed),
        ("no floor", put, 0, write(head(1, 0, 0, 1, 0), b"kv"), Status::Malformed),
        ("retry of nothing", put, flags::RETRY, write(head(1, 0, 0, 0, 0), b"kv"), Status::Malformed),
        ("SCAN of nothing", Op::Scan as u8, 0, vec![0; 16], Status::Malformed),
    ];
    for (what, code, flags, body, status) in cases {
        assert_eq!(refusal(&mut client, code, flags, &body), status, "{what}");
    }
    assert_eq!(client.call(&get(b"k")).status(), Status::NotFound, "refused is not done");
    assert_eq!(client.stat("entries"), 0);
    assert_eq!(client.stat("frames_refused"), 23);
}

fn first_fault() {
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    // Opcode before flags before body.
    assert_eq!(refusal(&mut client, 0x99, 0xFFFF, b""), Status::UnknownOpcode);
    assert_eq!(refusal(&mut client, Op::Get as u8, 0xFFFF, b""), Status::UnknownFlag);
    assert_eq!(refusal(&mut client, Op::Get as u8, 0, b""), Status::BadKey);
    // Version before all of them, and it ends the connection.
    send(&mut client, 9, 0x99, 0xFFFF, b"");
    assert_eq!(client.answer().status(), Status::UnknownVersion);
    client.wait_for_end();
}

fn owners() {
    let cluster = Cluster::start(3);
    let address = cluster.addresses().next().expect("there are three").to_owned();
    let mut client = RoutedClient::connect(&address, 0);
    let map = client.map().clone();
    for number in 0..50 {
        let name = format!("owned {number}").into_bytes();
        let owners = map.owners(map.hash_key().hash(&name));
        let names_owner = |answer: &Answer| match answer.decode(Op::Put) {
            Response::Refused(Refusal::NotOwner(theirs)) => {
                assert_eq!((theirs.partition, theirs.config), (owners.partition, owners.config));
                assert_eq!(answer.header.epoch, map.epoch());
            }
            other => panic!("expected NOT_OWNER: {other:?}"),
        };
        names_owner(&client.stranger(&name).call(&put(&name, b"lost")));
        names_owner(&client.stranger(&name).call(&get(&name)));
        let owner = client.owner(&name);
        owner.epoch = Epoch(0);
        names_owner(&owner.call(&put(&name, b"lost")));
        owner.epoch = Epoch(map.epoch().0 + 1);
        assert_eq!(owner.call(&get(&name)).status(), Status::NotFound, "a map to come is new enough");
        owner.epoch = map.epoch();
        let _ = owner.call(&put(&name, b"found")).version();
        assert_eq!(owner.call(&get(&name)).found().2, b"found");
    }
}

fn spans() {
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::connect(daemon.address());
    assert_eq!(u64::from(client.hello(9).write_span_max), WRITE_SPAN_MAX);
    let _ = client.map();
    let narrow = first(add(b"spanned", 1), WRITE_SPAN_MAX, 1);
    let wide = first(add(b"spanned", 1), WRITE_SPAN_MAX + 1, 1);
    assert_eq!(client.call(&wide).status(), Status::SpanTooWide);
    assert_eq!(client.call(&narrow).counted().1, 1, "the one before was not carried out");
    assert_eq!(client.call(&first(add(b"spanned", 1), u64::MAX, u64::MAX)).counted().1, 2);
}

fn greeting() {
    let cluster = Cluster::start(2);
    let address = cluster.addresses().next().expect("there are two").to_owned();
    let mut client = RawClient::connect(&address);
    let greeted = client.hello(0);
    let ours = PeerHello {
        cluster_id: greeted.cluster_id,
        incarnation: greeted.incarnation,
        node: greeted.node,
        age_ms: u64::MAX,
    };
    // One of the same cluster, and one of another that started later: neither is a reason to stop.
    let younger = PeerHello { cluster_id: ClusterId(7), age_ms: 0, ..ours };
    for theirs in [ours, younger] {
        let answer = client.call(&Request::PeerHello(theirs));
        let Response::PeerHello(theirs) = answer.decode(Op::PeerHello) else { panic!("{answer:?}") };
        assert_eq!((theirs.cluster_id, theirs.node), (greeted.cluster_id, greeted.node));
        assert_eq!(theirs.incarnation, greeted.incarnation);
    }
    assert_eq!(client.call(&Request::Ping).status(), Status::Ok);
}

/// A stranger's greeting once stopped a daemon that has no members at all.
fn greeting_a_lone_node() {
    let mut daemon = Daemon::start(&[]);
    let mut client = RawClient::connect(daemon.address());
    let greeted = client.hello(0);
    let stranger = PeerHello {
        cluster_id: ClusterId(7),
        incarnation: greeted.incarnation,
        node: greeted.node,
        age_ms: u64::MAX,
    };
    for _ in 0..10 {
        assert_eq!(client.call(&Request::PeerHello(stranger)).status(), Status::Ok);
    }
    assert_eq!(RawClient::greeted(daemon.address(), 0).call(&Request::Ping).status(), Status::Ok);
    assert!(daemon.is_running());
}
