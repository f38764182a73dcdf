//! Connections that are ready at the same time, of which a worker serves many together: each gets its own answers, whatever
//! the others send.

use dht_protocol::request::Request;
use dht_protocol::status::Status;
use dht_tests::daemon::Daemon;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{add, append, delete, exists, get, put};

use crate::registry::Case;

/// Connections of each kind: more in all than are served together at once.
const EACH: usize = 6;
/// A value that is sent from where it lies.
const LARGE_BYTES: usize = 200_000;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("gathering::connections_that_are_ready_at_once_get_their_own_answers", all_at_once),
        Case::new("gathering::counters_of_many_connections_add_up", counters),
    ]
}

/// What a connection sends in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    One,
    Large,
    Missing,
    Write,
    Removal,
    Several,
    Half,
    Long,
    Malformed,
    NoKey,
    Last,
    Greeting,
}

const KINDS: [Kind; 12] = [
    Kind::One,
    Kind::Half,
    Kind::Write,
    Kind::Large,
    Kind::Several,
    Kind::Missing,
    Kind::Long,
    Kind::Malformed,
    Kind::Removal,
    Kind::NoKey,
    Kind::Last,
    Kind::Greeting,
];

fn all_at_once() {
    let daemon = Daemon::start(&["--workers", "1"]);
    let large = vec![b'L'; LARGE_BYTES];
    let long = vec![b'l'; 20_000];
    let mut clients: Vec<(Kind, Vec<u8>, RawClient)> = Vec::new();
    for number in 0..EACH * KINDS.len() {
        let (kind, name) = (KINDS[number % KINDS.len()], format!("key {number}").into_bytes());
        let mut client = match kind {
            Kind::Greeting => RawClient::connect(daemon.address()),
            _ => RawClient::greeted(daemon.address(), 0),
        };
        if kind != Kind::Greeting {
            let value = if kind == Kind::Large { &large } else { &name };
            assert_eq!(client.call(&put(&name, value)).status(), Status::Ok);
        }
        clients.push((kind, name, client));
    }
    for round in 0..10 {
        daemon.pause();
        let rests: Vec<Vec<u8>> =
            clients.iter_mut().map(|(kind, name, client)| send(*kind, name, &long, client, round)).collect();
        daemon.signal("CONT");
        for ((kind, name, client), rest) in clients.iter_mut().zip(rests) {
            client.write(&rest);
            check(*kind, name, &large, client, round);
        }
    }
}

/// Sends what its kind does, but for what comes back, which is to follow.
fn send(kind: Kind, name: &[u8], long: &[u8], client: &mut RawClient, round: u32) -> Vec<u8> {
    let request = match kind {
        Kind::One | Kind::Large | Kind::Half | Kind::Last | Kind::Malformed => get(name),
        Kind::Missing => get(b"nothing is here"),
        Kind::Write => put(name, name),
        Kind::Removal => delete(name),
        Kind::Several => append(name, b"+"),
        Kind::Long => put(name, long),
        Kind::NoKey => Request::Ping,
        Kind::Greeting => get(b"nobody has greeted"),
    };
    let (mut bytes, _) = client.encode([request]);
    match kind {
        Kind::Several => bytes.extend(client.encode([get(name), put(name, name), exists(name)]).0),
        // A key of zero bytes.
        Kind::Malformed => {
            bytes.truncate(16);
            bytes[3] = 12;
        }
        Kind::Half => {
            let rest = bytes.split_off(9);
            client.write(&bytes);
            return rest;
        }
        _ => {}
    }
    client.write(&bytes);
    if kind == Kind::Last && round == 9 {
        client.finish_writing();
    }
    Vec::new()
}

fn check(kind: Kind, name: &[u8], large: &[u8], client: &mut RawClient, round: u32) {
    let answer = client.answer();
    match kind {
        Kind::One | Kind::Half | Kind::Last => assert_eq!(answer.found().2, name, "{kind:?}"),
        Kind::Large => assert!(answer.found().2 == large),
        Kind::Missing => assert_eq!(answer.status(), Status::NotFound),
        Kind::Write | Kind::Long | Kind::NoKey => assert_eq!(answer.status(), Status::Ok, "{kind:?}"),
        Kind::Removal => {
            let expected = if round == 0 { Status::Ok } else { Status::NotFound };
            assert_eq!(answer.status(), expected);
        }
        Kind::Several => {
            assert_eq!(answer.appended().1 as usize, name.len() + 1);
            assert_eq!(client.answer().found().2, [name, b"+"].concat());
            let version = client.answer().version();
            assert_eq!(client.answer().version(), version);
        }
        Kind::Malformed => assert_eq!(answer.status(), Status::BadKey),
        Kind::Greeting => assert_eq!(answer.status(), Status::HelloRequired),
    }
    if kind == Kind::Last && round == 9 {
        client.wait_for_end();
    }
}

/// Writes of many connections to a few keys, ready at once again and again: none is lost and none is made twice.
fn counters() {
    let daemon = Daemon::start(&["--workers", "1"]);
    let mut clients: Vec<RawClient> = (0..40).map(|_| RawClient::greeted(daemon.address(), 0)).collect();
    let names: [&[u8]; 3] = [b"a", b"b", b"c"];
    for _ in 0..10 {
        daemon.pause();
        for (number, client) in clients.iter_mut().enumerate() {
            let _ = client.send(&add(names[number % names.len()], 1));
        }
        daemon.signal("CONT");
        for client in &mut clients {
            let _ = client.answer().counted();
        }
    }
    let sums = names.map(|name| clients[0].call(&add(name, 0)).counted().1);
    assert_eq!(sums, [140, 130, 130]);
}
