//! What a daemon writes to standard error, and what it never does.

use std::process::Command;

use dht_protocol::header::Header;
use dht_protocol::ids::{Epoch, RequestId};
use dht_protocol::request::Condition;
use dht_protocol::status::Status;
use dht_tests::binaries;
use dht_tests::daemon::Daemon;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{add, append, delete, get, put, put_if};
use dht_tests::wait::PATIENCE;

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("logs::neither_keys_nor_values_are_written", nothing_of_the_user),
        Case::new("logs::starts_and_stops_are_written", start_and_stop),
        Case::new("logs::refused_frames_are_written_with_their_peer_three_times", refused_frames),
        Case::new("logs::connections_are_written_for_who_debugs", connections),
    ]
}

fn daemon_at_level(level: &str) -> Daemon {
    let mut command = Command::new(binaries::dhtd());
    command.args(["--listen", "127.0.0.1:0", "--memory-limit", "64MiB"]).env("DHT_LOG", level);
    Daemon::start_command(&mut command)
}

/// Stops it; all that it has written.
fn stop(daemon: &mut Daemon) -> String {
    daemon.signal("TERM");
    assert_eq!(daemon.wait_for_exit(PATIENCE).code(), Some(0));
    daemon.stderr()
}

const SECRET_KEY: &[u8] = b"KeyOfTheUser";
const SECRET_VALUE: &[u8] = b"ValueOfTheUser";

fn work(client: &mut RawClient) {
    let large = SECRET_VALUE.repeat(10_000);
    for value in [SECRET_VALUE, &large] {
        let _ = client.call(&put(SECRET_KEY, value)).version();
        let _ = client.call(&get(SECRET_KEY)).found();
        let _ = client.call(&append(SECRET_KEY, SECRET_VALUE)).appended();
        assert_eq!(client.call(&add(SECRET_KEY, 1)).status(), Status::WrongType);
        let _ = client.call(&put_if(SECRET_KEY, value, Condition::IfAbsent)).failed_condition();
        let _ = client.call(&delete(SECRET_KEY)).version();
    }
}

fn refused_frame(client: &mut RawClient) {
    let header = Header { version: 1, code: 0x12, flags: 0, request_id: RequestId(1), epoch: Epoch(1) };
    let body = [SECRET_KEY, SECRET_VALUE].concat();
    client.write(&[header.encode(body.len()).as_slice(), &body].concat());
    assert_eq!(client.answer().status(), Status::Malformed);
}

fn nothing_of_the_user() {
    for level in ["info", "debug"] {
        let mut daemon = daemon_at_level(level);
        let mut client = RawClient::greeted(daemon.address(), 0xC0FFEE);
        work(&mut client);
        (0..5).for_each(|_| refused_frame(&mut client));
        let text = stop(&mut daemon);
        for secret in ["OfTheUser", "4b65794f6654686555736572", "75, 101, 121, 79, 102"] {
            assert!(!text.contains(secret), "{secret} at level {level}:\n{text}");
        }
    }
}

fn start_and_stop() {
    let mut daemon = daemon_at_level("info");
    let mut client = RawClient::greeted(daemon.address(), 0);
    work(&mut client);
    let address = daemon.address().to_owned();
    let text = stop(&mut daemon);
    let of = |word: &str| -> Vec<&str> { text.lines().filter(|line| line.contains(word)).collect() };
    let started = of("started: ");
    assert_eq!(started.len(), 1, "{text}");
    for word in [" INFO ", &format!("listen={address}"), "version=", "workers=", "memory_limit=64MiB"] {
        assert!(started[0].contains(word), "{word}: {}", started[0]);
    }
    assert_eq!((of("stopping: reason=SIGTERM").len(), of("stopped").len()), (1, 1), "{text}");
    let quiet = text.lines().all(|line| [" INFO ", " WARN "].iter().any(|level| line.contains(level)));
    assert!(quiet && text.lines().count() <= 5, "a workload leaves no trace:\n{text}");
    assert_eq!(stop(&mut daemon_at_level("error")), "");
}

fn refused_frames() {
    let mut daemon = daemon_at_level("info");
    let mut client = RawClient::greeted(daemon.address(), 0);
    (0..10).for_each(|_| refused_frame(&mut client));
    let mut other = RawClient::greeted(daemon.address(), 0);
    refused_frame(&mut other);
    let counted = other.stat("frames_refused");
    let peers = [client.local_address(), other.local_address()];
    let text = stop(&mut daemon);
    let lines_of = |peer: &str| {
        let peer = format!("peer={peer} ");
        let lines = text.lines().filter(|line| line.contains("frame refused") && line.contains(&peer));
        lines.inspect(|line| assert!(line.contains(" WARN "), "{line}")).count()
    };
    assert_eq!((lines_of(&peers[0]), lines_of(&peers[1])), (3, 1), "{text}");
    assert_eq!(counted, 11, "those not written are counted");
}

fn connections() {
    for (level, lines) in [("info", 0), ("debug", 1)] {
        let mut daemon = daemon_at_level(level);
        let mut client = RawClient::greeted(daemon.address(), 0);
        work(&mut client);
        let peer = format!("peer={}", client.local_address());
        drop(client);
        let text = stop(&mut daemon);
        for what in ["connection opened", "connection closed"] {
            let found = text.lines().filter(|line| line.contains(what) && line.contains(&peer)).count();
            assert_eq!(found, lines, "{what} at level {level}:\n{text}");
        }
    }
}
