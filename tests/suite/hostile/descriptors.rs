//! A daemon that has no descriptor left.

use std::process::Command;

use dht_protocol::request::Request;
use dht_protocol::status::Status;
use dht_tests::daemon::Daemon;
use dht_tests::descriptors::open_count;
use dht_tests::raw_client::{RawClient, hello_request};
use dht_tests::siege::Siege;
use dht_tests::wait::{PATIENCE, wait_until};

use super::NOISE_BYTES;
use super::attacker::{Attacker, frame_of};
use crate::registry::Case;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("hostile::no_descriptors_left", none_left).needs(&["prlimit"])]
}

fn none_left() {
    const DESCRIPTORS: usize = 64;
    const PEERS: usize = 150;
    let mut daemon = Daemon::start(&["--memory-limit", "64MiB"]);
    // It asks for no more connections than it has descriptors for, so they are taken away once it has started.
    let id = daemon.id();
    let status = Command::new("prlimit")
        .args([format!("--pid={id}"), format!("--nofile={DESCRIPTORS}:")])
        .status()
        .expect("prlimit runs");
    assert!(status.success());
    let siege = Siege::new("no descriptors left", NOISE_BYTES, NOISE_BYTES);
    siege.run(&mut daemon, |field| {
        let greeting = [frame_of(&hello_request(0, 0)), frame_of(&Request::Ping)].concat();
        // The system takes connections that the daemon cannot: they wait.
        let mut peers: Vec<Attacker> = (0..PEERS).map(|_| Attacker::connect(field.address())).collect();
        peers.iter_mut().for_each(|peer| assert!(peer.send(&greeting)));
        // Those that the daemon was born with may have higher numbers than the limit, and count on top.
        wait_until(PATIENCE, "the last descriptor to be taken", || open_count(id) >= DESCRIPTORS);
        // Whoever is connected is served all the same, and so is everybody as soon as others have gone.
        field.wait_for_bystander(100);
        for peer in peers {
            let answers = peer.last_answers();
            assert_eq!(answers.len(), 2, "whoever waited is served in the end");
            assert!(answers.iter().all(|answer| answer.status() == Status::Ok));
        }
    });
    let mut client = RawClient::greeted(daemon.address(), 0);
    wait_until(PATIENCE, "the last to go", || client.stat("connections") == 1);
    let complaints =
        daemon.stderr().lines().filter(|line| line.contains("cannot accept a connection")).count();
    assert!((1..=PEERS).contains(&complaints), "{}", daemon.report());
}
