//! The RESP door: garbage, long commands that never end, bytes one at a time, peers that take no replies, and values
//! that there is no memory for. (Every refusal by its words is in `resp`.)

use dht_tests::random::{Random, seed};
use dht_tests::resp_client::{Reply, RespClient, command};
use dht_tests::siege::Siege;

use super::attacker::Attacker;
use super::{MIB, NOISE_BYTES};
use crate::registry::Case;
use crate::resp::start;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("hostile::resp_garbage_and_flipped_bits", garbage),
        Case::new("hostile::resp_commands_that_come_a_byte_at_a_time", byte_by_byte),
        Case::new("hostile::resp_lengths_that_are_only_announced", announced),
        Case::new("hostile::resp_peers_that_take_no_replies", greedy).heavy(),
        Case::new("hostile::resp_values_beyond_the_memory_limit", beyond).heavy(),
    ]
}

fn assert_serves(address: &str) {
    assert_eq!(RespClient::connect(address).say("PING"), Reply::Simple("PONG".to_owned()));
}

fn garbage() {
    let seed = seed();
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let (mut daemon, resp) = start(&[]);
    let good = [command(&[b"SET", b"k", b"value"]), command(&[b"GET", b"k"])].concat();
    Siege::new("RESP garbage", NOISE_BYTES, NOISE_BYTES).run(&mut daemon, |field| {
        for number in 0..200 {
            let mut attacker = Attacker::connect(&resp);
            let noise: Vec<u8> = (0..random.below(4_096)).map(|_| random.next_u64() as u8).collect();
            let start: &[u8] = [&b""[..], b"*3\r\n", b"*2\r\n$3\r\n"][number % 3];
            attacker.send(&[start, &noise].concat());
            attacker.finish_writing();
            let _ = attacker.last_words();
        }
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            let mut attacker = Attacker::connect(&resp);
            attacker.send(&flipped);
            attacker.finish_writing();
            let _ = attacker.last_words();
        }
        field.wait_for_bystander(2);
        assert_serves(&resp);
    });
}

fn byte_by_byte() {
    let (mut daemon, resp) = start(&["--workers", "1"]);
    Siege::new("RESP byte by byte", NOISE_BYTES, NOISE_BYTES).run(&mut daemon, |field| {
        let stream = command(&[b"SET", b"slow", b"value"]);
        let mut peers: Vec<Attacker> = (0..100).map(|_| Attacker::connect(&resp)).collect();
        for &byte in &stream {
            peers.iter_mut().for_each(|peer| assert!(peer.send(&[byte]), "the daemon waits"));
            field.wait_for_bystander(2);
        }
        for peer in peers {
            peer.finish_writing();
            assert_eq!(peer.last_words(), b"+OK\r\n");
        }
    });
}

fn announced() {
    let (mut daemon, resp) = start(&["--workers", "1"]);
    Siege::new("RESP announced lengths", NOISE_BYTES, NOISE_BYTES).run(&mut daemon, |field| {
        let mut peers: Vec<Attacker> = (0..400).map(|_| Attacker::connect(&resp)).collect();
        for (number, peer) in peers.iter_mut().enumerate() {
            let head: &[u8] =
                [&b"*65536\r\n$1\r\na\r\n"[..], b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$16777216\r\nvvvv"]
                    [number % 2];
            assert!(peer.send(head));
        }
        field.wait_for_bystander(5);
        assert_serves(&resp);
    });
}

fn greedy() {
    const PEERS: usize = 16;
    let (mut daemon, resp) = start(&["--workers", "1"]);
    let mut client = RespClient::connect(&resp);
    assert_eq!(client.ask(&[b"SET", b"small", &[b's'; 10_000]]), Reply::ok());
    let bound = 2 * MIB * PEERS as u64 + 4 * MIB;
    Siege::new("RESP without replies", bound, NOISE_BYTES).run(&mut daemon, |field| {
        let mut many: Vec<&[u8]> = vec![b"MGET"];
        many.resize(1_000, b"small");
        let asks = [command(&many), command(&[b"GET", b"small"]).repeat(1_000)].concat();
        let mut peers: Vec<Attacker> = (0..PEERS).map(|_| Attacker::connect(&resp)).collect();
        peers.iter_mut().for_each(|peer| {
            peer.send_what_goes(&asks);
        });
        field.wait_for_bystander(10);
        assert_serves(&resp);
    });
}

fn beyond() {
    let (mut daemon, resp) = start(&["--memory-limit", "32MiB"]);
    let bound = 48 * MIB;
    Siege::new("RESP beyond the limit", bound, bound).run(&mut daemon, |field| {
        let value = vec![b'v'; 8 << 20];
        let mut refused = 0;
        for number in 0..8 {
            let mut client = RespClient::connect(&resp);
            let key = format!("key:{number}");
            if client.try_write(&command(&[b"SET", key.as_bytes(), &value]))
                && let Some(Reply::Error(text)) = client.try_reply()
            {
                assert!(text.starts_with("OOM "), "{text}");
                refused += 1;
            }
        }
        assert!(refused > 0, "there is not room for all");
        let mut client = RespClient::connect(&resp);
        for number in 0..8 {
            assert!(matches!(client.say(&format!("DEL key:{number}")), Reply::Integer(_)));
        }
        assert_eq!(client.say("SET key x"), Reply::ok(), "deleting makes room");
        field.wait_for_bystander(2);
    });
}
