//! Connections by the thousand: opened and closed, and all open at once.

use std::time::Instant;

use dht_protocol::request::Request;
use dht_protocol::status::Status;
use dht_tests::daemon::Daemon;
use dht_tests::descriptors;
use dht_tests::raw_client::{RawClient, hello_request};
use dht_tests::requests::put;
use dht_tests::siege::Siege;
use dht_tests::wait::{PATIENCE, wait_until};

use super::NOISE_BYTES;
use super::attacker::{Attacker, frame_of};
use crate::registry::Case;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("hostile::thousands_of_connections_opened_and_closed", opened_and_closed).heavy(),
        Case::new("hostile::ten_thousand_connections_at_once", at_once).heavy(),
    ]
}

fn opened_and_closed() {
    const CONNECTIONS: usize = 3_000;
    let mut daemon = Daemon::start(&["--memory-limit", "64MiB"]);
    Siege::new("opens and closes", NOISE_BYTES, NOISE_BYTES).run(&mut daemon, |field| {
        let hello = frame_of(&hello_request(0, 0));
        let begun = Instant::now();
        for number in 0..CONNECTIONS {
            let mut attacker = Attacker::connect(field.address());
            match number % 3 {
                // Gone before it has said anything.
                0 => {}
                // Gone before the answer.
                1 => drop(attacker.send(&hello)),
                // Gone with the answer unread, in the middle of the next request.
                _ => {
                    attacker.send(&hello);
                    assert!(attacker.byte_or_end().is_some());
                    attacker.send(&frame_of(&put(b"half", b"value"))[..20]);
                }
            }
        }
        let took = begun.elapsed();
        eprintln!("{:.0} connections a second", CONNECTIONS as f64 / took.as_secs_f64());
    });
    let mut client = RawClient::greeted(daemon.address(), 0);
    assert!(client.stat("connections_total") >= CONNECTIONS as u64);
    wait_until(PATIENCE, "the last to go", || client.stat("connections") == 1);
}

fn at_once() {
    const WANTED: u64 = 10_000;
    /// Descriptors that this process and the daemon need besides.
    const SPARE: u64 = 200;
    /// What the daemon holds for a connection that is open and says nothing, at most.
    const CONNECTION_BYTES_MAX: u64 = 1 << 10;
    let limit = descriptors::raise_limit();
    let connections = WANTED.min(limit.saturating_sub(SPARE));
    eprintln!("{connections} connections at once: the limit is {limit} descriptors");
    assert!(connections >= 500, "too few descriptors for a test: raise the hard limit (ulimit -Hn)");
    let mut daemon = Daemon::start(&["--memory-limit", "64MiB"]);
    // A table of connections does not shrink: what it took is kept for the next ones.
    let siege = Siege::new(
        "ten thousand at once",
        connections * CONNECTION_BYTES_MAX + NOISE_BYTES,
        connections * CONNECTION_BYTES_MAX + NOISE_BYTES,
    );
    siege.run(&mut daemon, |field| {
        let greeting = [frame_of(&hello_request(0, 0)), frame_of(&Request::Ping)].concat();
        let mut crowd: Vec<Attacker> = (0..connections).map(|_| Attacker::connect(field.address())).collect();
        field.wait_for_bystander(20);
        // All of them speak, and each is answered.
        crowd.iter_mut().for_each(|attacker| assert!(attacker.send(&greeting), "nobody is turned away"));
        for attacker in crowd {
            let answers = attacker.last_answers();
            assert_eq!(answers.len(), 2, "nobody is turned away");
            assert!(answers.iter().all(|answer| answer.status() == Status::Ok));
        }
    });
}
