//! Every single bit of good frames flipped.

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::{ClusterId, Incarnation, NodeId};
use dht_protocol::peer::PeerHello;
use dht_protocol::request::Request;
use dht_protocol::status::Status;
use dht_tests::daemon::Daemon;
use dht_tests::raw_client::{RawClient, hello_request};
use dht_tests::requests::{add, append, delete, exists, first, get, put, scan};
use dht_tests::siege::Siege;

use super::NOISE_BYTES;
use super::attacker::{Attacker, answers_in, frame_of};
use crate::registry::Case;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("hostile::every_bit_of_good_frames_flipped", every_bit)]
}

/// Bytes of the length, and the one behind it, the version: a flip there costs the connection, or shifts all frames.
const LENGTH_AND_VERSION_BYTES: usize = 5;

fn every_bit() {
    let stranger =
        PeerHello { cluster_id: ClusterId(7), incarnation: Incarnation(7), node: NodeId(0), age_ms: 0 };
    let partitions = [[0, 0, 0, 1], [0, 0, 0, 2]];
    let frames: Vec<Vec<u8>> = [
        Request::Map,
        Request::Ping,
        Request::Stats,
        get(b"flipped"),
        exists(b"flipped"),
        first(put(b"flipped", b"value"), 1, 1),
        delete(b"flipped"),
        add(b"flipped", 1),
        append(b"flipped", b"tail"),
        scan(Cursor::START, 10, b"fl", &partitions),
        Request::PeerHello(stranger),
    ]
    .iter()
    .map(frame_of)
    .collect();
    let mut daemon = Daemon::start(&["--memory-limit", "64MiB"]);
    Siege::new("every bit flipped", 2 * NOISE_BYTES, NOISE_BYTES).run(&mut daemon, |field| {
        let ping = frame_of(&Request::Ping);
        let hello = frame_of(&hello_request(0, 0));
        for flipped in flips(&hello, 0) {
            let mut attacker = Attacker::connect(field.address());
            attacker.send(&flipped);
            attacker.send(&ping);
            let answers = attacker.last_answers();
            assert!(answers.iter().all(|answer| answer.status() != Status::Busy), "{answers:?}");
        }
        for frame in &frames {
            for flipped in flips(&frame[..LENGTH_AND_VERSION_BYTES], 0) {
                let mut attacker = Attacker::greeted(field.address());
                attacker.send(&[&flipped, &frame[LENGTH_AND_VERSION_BYTES..], &ping].concat());
                attacker.finish_writing();
                let answers = answers_in(&attacker.last_words());
                assert!(!answers.is_empty() && answers.iter().all(|a| a.status() != Status::Busy));
                if flipped[4] != frame[4] {
                    let last = answers.last().map(|answer| answer.status());
                    assert_eq!((answers.len(), last), (2, Some(Status::UnknownVersion)), "{flipped:02x?}");
                }
            }
        }
        // The other bits cost one request at most: the connection stays.
        let mut client = RawClient::greeted(field.address(), 9);
        for frame in &frames {
            for flipped in flips(frame, LENGTH_AND_VERSION_BYTES) {
                client.write(&[flipped.as_slice(), &ping].concat());
                let _ = client.answer().status();
                assert_eq!(client.answer().status(), Status::Ok, "{flipped:02x?}");
            }
        }
    });
}

/// `frame` with each of its bits from byte `from` on flipped.
fn flips(frame: &[u8], from: usize) -> impl Iterator<Item = Vec<u8>> {
    (from * 8..frame.len() * 8).map(move |bit| {
        let mut flipped = frame.to_vec();
        flipped[bit / 8] ^= 0x80 >> (bit % 8);
        flipped
    })
}
