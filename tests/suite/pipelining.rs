//! Many requests under way on one connection: complete answers, order on a key, frames in pieces, and a peer that
//! does not take its answers.

use std::time::Duration;

use dht_protocol::request::Request;
use dht_protocol::status::Status;
use dht_tests::daemon::Daemon;
use dht_tests::random::Random;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{add, append, delete, get, put};
use dht_tests::resident::resident_bytes;
use dht_tests::wait::{PATIENCE, wait_for, wait_until};

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("pipelining::thousands_of_requests_in_one_write_are_all_answered", thousands),
        Case::new("pipelining::requests_on_one_key_are_carried_out_in_order", order_on_a_key),
        Case::new("pipelining::a_frame_may_be_cut_at_every_byte", cut_frames),
        Case::new("pipelining::a_stream_may_be_cut_anywhere", cut_stream),
        Case::new("pipelining::requests_before_the_end_of_the_stream_are_answered", half_closed),
        Case::new("pipelining::small_answers_nobody_takes_hold_up_their_peer_alone", small_answers_not_taken),
        Case::new("pipelining::large_answers_nobody_takes_hold_up_their_peer_alone", large_answers_not_taken),
    ]
}

fn thousands() {
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    let names: Vec<Vec<u8>> = (0..20_000).map(|number| format!("name {number}").into_bytes()).collect();
    let puts = client.pipeline(names.iter().map(|name| put(name, name)));
    let gets = client.pipeline(names.iter().map(|name| get(name)));
    for ((name, written), read) in names.iter().zip(&puts).zip(&gets) {
        assert_eq!(read.found().0, written.version());
        assert_eq!(read.found().2, name.as_slice());
    }
    let pings = client.pipeline((0..20_000).map(|_| Request::Ping));
    assert!(pings.iter().all(|pong| pong.status() == Status::Ok));
}

fn order_on_a_key() {
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    let large = vec![b'x'; 50_000];
    let requests = (0..2_000).flat_map(|round| {
        let value: &[u8] = if round % 100 == 0 { &large } else { b"a" };
        [put(b"one", value), append(b"one", b"b"), get(b"one"), delete(b"one"), get(b"one"), add(b"two", 1)]
    });
    let answers = client.pipeline(requests);
    for (round, answers) in answers.chunks(6).enumerate() {
        let (version, _, bytes) = answers[2].found();
        assert_eq!(version, answers[1].appended().0, "round {round}");
        let first = if round % 100 == 0 { &large } else { b"a".as_slice() };
        assert!(bytes.strip_suffix(b"b") == Some(first), "round {round}");
        assert!(answers[0].version() < version && version < answers[3].version());
        assert_eq!(answers[4].status(), Status::NotFound, "round {round}");
        assert_eq!(answers[5].counted().1, round as i64 + 1);
    }
}

fn cut_frames() {
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    let (frames, _) = client.encode([put(b"cut", b"value"), get(b"cut")]);
    for at in 1..frames.len() {
        client.write(&frames[..at]);
        // Another connection's answer proves that a worker has been through its sockets; two halves then seldom
        // arrive as one.
        let _ = RawClient::greeted(daemon.address(), 0);
        client.write(&frames[at..]);
        let version = client.answer().version();
        assert_eq!(client.answer().found().0, version, "cut at byte {at}");
    }
}

fn cut_stream() {
    const SEED: u64 = 0x5EED_0001;
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    let mut random = Random::new(SEED);
    // Lengths around the ones at which a frame is kept, gathered, or needs several reads.
    let lengths = [0, 1, 100, 4_050, 4_096, 5_000, 40_000, 262_144, 600_000];
    let values: Vec<Vec<u8>> = (0..60).map(|at| vec![at as u8; *random.pick(&lengths)]).collect();
    let requests = values.iter().flat_map(|value| [put(b"cut", value), get(b"cut")]);
    let (bytes, ids) = client.encode(requests);
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let most = *random.pick(&[3, 17, 4_096, 70_000, 300_000]);
        let (piece, others) = rest.split_at(rest.len().min(1 + random.below(most) as usize));
        client.write_aside(piece.to_vec()).join().expect("the daemon reads");
        rest = others;
    }
    for (answers, value) in client.answers_to(&ids).chunks(2).zip(&values) {
        let (version, _, bytes) = answers[1].found();
        assert_eq!(version, answers[0].version(), "seed {SEED:#x}");
        assert!(bytes == value.as_slice(), "seed {SEED:#x}, {} bytes", value.len());
    }
}

fn half_closed() {
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    let value = vec![7; 10_000];
    let _ = client.call(&put(b"k", &value));
    let (mut bytes, ids) = client.encode((0..2_000).map(|_| get(b"k")));
    let (unfinished, _) = client.encode([get(b"k")]);
    bytes.extend(&unfinished[..5]);
    client.write(&bytes);
    client.finish_writing();
    for answer in client.answers_to(&ids) {
        assert!(answer.found().2 == value);
    }
    client.wait_for_end();
}

fn small_answers_not_taken() {
    // 2 GiB of answers of 16 KiB.
    answers_not_taken(16 << 10, 131_072);
}

fn large_answers_not_taken() {
    // 2 GiB of answers of 4 MiB, which are sent from where they lie.
    answers_not_taken(4 << 20, 512);
}

/// What a daemon may grow by while a peer asks for gigabytes and takes nothing: what it holds for one connection
/// is at most a read buffer of requests and about 1 MiB of answers.
const GROWTH_BYTES_MAX: u64 = 24 << 20;

fn answers_not_taken(value_bytes: usize, requests_count: usize) {
    let daemon = Daemon::start(&["--workers", "1"]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    let value = vec![b'v'; value_bytes];
    let _ = client.call(&put(b"wanted", &value));
    let before_bytes = resident_bytes(daemon.id());
    let mut greedy = RawClient::greeted(daemon.address(), 0);
    let (frames, ids) = greedy.encode((0..requests_count).map(|_| get(b"wanted")));
    let writer = greedy.write_aside(frames);
    wait_until(PATIENCE, "the greedy peer to be held up", || client.stat("output_stalls") > 0);
    for number in 0..2_000i64 {
        assert_eq!(client.call(&add(b"served", 1)).counted().1, number + 1, "others are served meanwhile");
    }
    // Nothing moves any more: the daemon has stopped reading.
    let mut sent = 0;
    let still = wait_for(PATIENCE, || {
        let now = client.stat("bytes_in") + client.stat("bytes_out");
        let (before, steady) = (sent, now - sent < 8_192);
        sent = now;
        (before > 0 && steady).then_some(())
    });
    assert!(still.is_some(), "the daemon goes on serving a peer that takes nothing");
    let grown_bytes = resident_bytes(daemon.id()).saturating_sub(before_bytes);
    assert!(grown_bytes < GROWTH_BYTES_MAX, "grew by {grown_bytes} bytes");
    for id in ids {
        let answer = greedy.answer();
        assert_eq!(answer.header.request_id, id, "one worker answers in order");
        assert!(answer.found().2.len() == value_bytes);
    }
    writer.join().expect("the daemon reads again");
    wait_until(Duration::from_secs(5), "the buffers to be given back", || {
        client.stat("memory_connections_bytes") < 64 << 10
    });
}
