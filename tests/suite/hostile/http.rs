//! The HTTP door: garbage, heads without end, bytes one at a time, crowds, and peers that take no answers. (Every
//! refusal by its status is in `http`.)

use dht_tests::descriptors;
use dht_tests::random::{Random, seed};
use dht_tests::raw_client::RawClient;
use dht_tests::siege::Siege;
use dht_tests::wait::{PATIENCE, wait_until};

use super::attacker::Attacker;
use super::{MIB, NOISE_BYTES};
use crate::http_client::{HttpClient, start};
use crate::registry::Case;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("hostile::http_garbage_and_heads_without_end", garbage),
        Case::new("hostile::http_heads_that_come_a_byte_at_a_time", byte_by_byte),
        Case::new("hostile::http_connections_by_the_thousand", crowd).heavy(),
        Case::new("hostile::http_peers_that_take_no_answers", greedy).heavy(),
    ]
}

const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";

/// Statuses of the answers in a stream.
fn statuses_of(words: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(words);
    let lines = text.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 "));
    lines.map(|line| line[..3].to_owned()).collect()
}

#[track_caller]
fn assert_serves(address: &str) {
    assert_eq!(HttpClient::connect(address).get("/healthz").body, "ok\n");
}

fn garbage() {
    const PEERS: usize = 200;
    let seed = seed();
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let (mut daemon, http) = start();
    Siege::new("HTTP garbage", NOISE_BYTES, NOISE_BYTES).run(&mut daemon, |field| {
        for number in 0..PEERS {
            let mut attacker = Attacker::connect(&http);
            let noise: Vec<u8> = (0..random.below(4_096)).map(|_| random.next_u64() as u8).collect();
            let start: &[u8] = if number % 2 == 0 { b"" } else { b"GET / HTTP/1.1\r\n" };
            attacker.send(&[start, &noise].concat());
            attacker.finish_writing();
            let statuses = statuses_of(&attacker.last_words());
            assert!(statuses.iter().all(|status| status == "400" || status == "431"), "{statuses:?}");
        }
        // Every bit of a good request flipped, and a good one behind it.
        for bit in 0..REQUEST.len() * 8 {
            let mut flipped = REQUEST.to_vec();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            let mut attacker = Attacker::connect(&http);
            attacker.send(&[&flipped, REQUEST].concat());
            attacker.finish_writing();
            let _ = attacker.last_words();
        }
        // Heads that do not end: refused at the limit, and the connection with them.
        let mut endless: Vec<Attacker> = (0..PEERS).map(|_| Attacker::connect(&http)).collect();
        for attacker in &mut endless {
            attacker.send(b"GET /healthz HTTP/1.1\r\n");
            for line in 0..2_000 {
                if !attacker.send(format!("X-{line}: yes\r\n").as_bytes()) {
                    break;
                }
            }
        }
        for attacker in endless {
            // The answer may be lost: the peer goes on sending to a connection that is closed.
            let statuses = statuses_of(&attacker.last_words());
            assert!(statuses.is_empty() || statuses == ["431"], "{statuses:?}");
        }
        field.wait_for_bystander(20);
        assert_serves(&http);
    });
}

fn byte_by_byte() {
    const PEERS: usize = 200;
    let (mut daemon, http) = start();
    Siege::new("HTTP byte by byte", NOISE_BYTES, NOISE_BYTES).run(&mut daemon, |field| {
        let mut peers: Vec<Attacker> = (0..PEERS).map(|_| Attacker::connect(&http)).collect();
        for &byte in REQUEST {
            peers.iter_mut().for_each(|peer| assert!(peer.send(&[byte]), "the daemon waits"));
            field.wait_for_bystander(2);
            assert_serves(&http);
        }
        for peer in peers {
            peer.finish_writing();
            assert_eq!(statuses_of(&peer.last_words()), ["200"]);
        }
        // Heads never finished are dropped with their peers.
        let unfinished: Vec<Attacker> = (0..PEERS)
            .map(|_| {
                let mut peer = Attacker::connect(&http);
                peer.send(&[&REQUEST[..REQUEST.len() - 4], &[b'x'; 8_000]].concat());
                peer
            })
            .collect();
        field.wait_for_bystander(20);
        drop(unfinished);
    });
}

fn crowd() {
    const WANTED: u64 = 3_000;
    const SPARE: u64 = 200;
    const CONNECTION_BYTES_MAX: u64 = 1 << 10;
    let limit = descriptors::raise_limit();
    let peers_count = WANTED.min(limit.saturating_sub(SPARE));
    eprintln!("{peers_count} connections at once: the limit is {limit} descriptors");
    let (mut daemon, http) = start();
    let bytes_max = peers_count * CONNECTION_BYTES_MAX + NOISE_BYTES;
    Siege::new("HTTP crowd", bytes_max, bytes_max).run(&mut daemon, |field| {
        let mut peers: Vec<Attacker> = (0..peers_count).map(|_| Attacker::connect(&http)).collect();
        field.wait_for_bystander(20);
        peers.iter_mut().for_each(|peer| assert!(peer.send(REQUEST), "nobody is turned away"));
        for peer in peers {
            peer.finish_writing();
            assert_eq!(statuses_of(&peer.last_words()), ["200"], "nobody is turned away");
        }
        for _ in 0..peers_count {
            let mut peer = Attacker::connect(&http);
            peer.send(&REQUEST[..10]);
        }
    });
}

fn greedy() {
    const PEERS: usize = 16;
    const ASKED: usize = 2_000;
    // For each: 1 MiB of answers, one more, a read of requests, and what buffers have in reserve.
    const ANSWERS_BYTES_MAX: u64 = PEERS as u64 * 2 * MIB;
    let (mut daemon, http) = start();
    let siege = Siege::new("HTTP takes no answers", ANSWERS_BYTES_MAX + NOISE_BYTES, NOISE_BYTES);
    siege.run(&mut daemon, |field| {
        let requests = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(ASKED);
        let peers: Vec<Attacker> = (0..PEERS)
            .map(|_| {
                let mut peer = Attacker::connect(&http);
                peer.send_what_goes(&requests);
                peer
            })
            .collect();
        let mut client = RawClient::greeted(field.address(), 0);
        wait_until(PATIENCE, "answers to be held up", || client.stat("output_stalls") > 0);
        for _ in 0..20 {
            field.wait_for_bystander(20);
            assert_serves(&http);
            let held_bytes = client.stat("memory_connections_bytes");
            assert!(held_bytes <= ANSWERS_BYTES_MAX, "{held_bytes} bytes wait");
        }
        drop(peers);
    });
}
