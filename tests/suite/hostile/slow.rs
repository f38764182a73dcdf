//! Peers that send a byte at a time, and peers that ask for more and more and take no answer. (What one connection
//! that takes nothing costs is in `pipelining`.)

use dht_protocol::status::Status;
use dht_tests::daemon::Daemon;
use dht_tests::raw_client::{RawClient, hello_request};
use dht_tests::requests::{get, put};
use dht_tests::siege::{Field, Siege};
use dht_tests::wait::{PATIENCE, wait_for, wait_until};

use super::attacker::{Attacker, frame_of};
use super::{MIB, NOISE_BYTES};
use crate::registry::Case;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("hostile::frames_that_come_a_byte_at_a_time", byte_by_byte),
        Case::new("hostile::many_that_ask_and_take_no_answers", greedy).heavy(),
    ]
}

fn byte_by_byte() {
    const PEERS: usize = 100;
    /// Peers that send a longer frame, so many bytes at a time.
    const LONG_PEERS: usize = 10;
    const LONG_STEP: usize = 80;
    let mut daemon = Daemon::start(&["--memory-limit", "64MiB", "--workers", "1"]);
    let siege = Siege::new("frames byte by byte", NOISE_BYTES, NOISE_BYTES);
    siege.run(&mut daemon, |field| {
        let hello = frame_of(&hello_request(0, 0));
        let stream = [hello.clone(), frame_of(&put(b"slow", b"value")), frame_of(&get(b"slow"))].concat();
        // Long enough to be gathered in a buffer of its own.
        let value = vec![b'l'; 8_000];
        let long = [hello, frame_of(&put(b"slow and long", &value))].concat();
        let mut peers: Vec<Attacker> = (0..PEERS).map(|_| Attacker::connect(field.address())).collect();
        let mut long_peers: Vec<Attacker> =
            (0..LONG_PEERS).map(|_| Attacker::connect(field.address())).collect();
        let mut pieces = long.chunks(LONG_STEP);
        for &byte in &stream {
            peers.iter_mut().for_each(|peer| assert!(peer.send(&[byte]), "the daemon waits"));
            if let Some(piece) = pieces.next() {
                long_peers.iter_mut().for_each(|peer| assert!(peer.send(piece), "the daemon waits"));
            }
            // The one worker has been through its sockets, and somebody else has been served.
            field.wait_for_bystander(2);
        }
        assert_eq!(pieces.next(), None, "the long frames are out too");
        for (peer, answers_count) in
            peers.into_iter().map(|peer| (peer, 3)).chain(long_peers.into_iter().map(|peer| (peer, 2)))
        {
            let answers = peer.last_answers();
            assert_eq!(answers.len(), answers_count);
            assert!(answers.iter().all(|answer| answer.status() == Status::Ok), "{answers:?}");
        }
    });
}

fn greedy() {
    const PEERS: usize = 32;
    const SMALL_BYTES: usize = 16 << 10;
    const LARGE_BYTES: usize = 1 << 20;
    // More than the buffers of both systems and the daemon hold, of small answers and of large ones.
    const ASKED: usize = 1_200;
    let mut daemon = Daemon::start(&["--workers", "1"]);
    // For each: 1 MiB of answers, one more, and a read of requests. Small answers are copied, large ones are not.
    let siege = Siege::new(
        "takes no answers",
        PEERS as u64 * 3 * MIB / 2 + 2 * MIB + NOISE_BYTES,
        2 * MIB + NOISE_BYTES,
    );
    siege.run(&mut daemon, |field| {
        let mut client = RawClient::greeted(field.address(), 0);
        let _ = client.call(&put(b"small", &vec![b's'; SMALL_BYTES])).version();
        let _ = client.call(&put(b"large", &vec![b'l'; LARGE_BYTES])).version();
        let requests = [b"small", b"large"].map(|name| frame_of(&get(name)).repeat(ASKED));
        let mut peers: Vec<Attacker> = (0..PEERS)
            .map(|number| {
                let mut peer = Attacker::greeted(field.address());
                peer.send_what_goes(&requests[number % 2]);
                peer
            })
            .collect();
        wait_until_still(field, &mut client);
        let held_bytes = client.stat("memory_connections_bytes");
        assert!(held_bytes <= PEERS as u64 * 3 * MIB / 2, "{held_bytes} bytes of answers wait");
        // Asking for more does not help.
        for (peer, more) in peers.iter_mut().zip(requests.iter().cycle()) {
            peer.send_what_goes(more);
        }
        wait_until_still(field, &mut client);
        // One comes to its senses, the others go without a word.
        assert!(peers[0].byte_or_end().is_some());
        drop(peers);
        wait_until(PATIENCE, "the daemon to let them go", || client.stat("connections") == 2);
    });
}

/// Waits until the daemon sends nothing any more, except to those who keep the rules.
#[track_caller]
fn wait_until_still(field: &Field<'_>, client: &mut RawClient) {
    wait_until(PATIENCE, "answers to be held up", || client.stat("output_stalls") > 0);
    let mut sent_bytes = 0;
    let still = wait_for(PATIENCE, || {
        field.wait_for_bystander(20);
        let before_bytes = std::mem::replace(&mut sent_bytes, client.stat("bytes_out"));
        (sent_bytes - before_bytes < 64 << 10).then_some(())
    });
    assert!(still.is_some(), "the daemon goes on sending");
}
