//! Members of a static cluster: strangers who greet them, and members that never answer.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use dht_protocol::ids::{ClusterId, Incarnation, NodeId};
use dht_protocol::op::Op;
use dht_protocol::peer::PeerHello;
use dht_protocol::request::Request;
use dht_protocol::response::Response;
use dht_protocol::status::Status;
use dht_tests::cluster::Cluster;
use dht_tests::daemon::Daemon;
use dht_tests::random::{Random, seed};
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{get, put};
use dht_tests::routed::RoutedClient;
use dht_tests::siege::Siege;
use dht_tests::wait::{PATIENCE, wait_until};

use super::NOISE_BYTES;
use super::attacker::{Attacker, frame_of, raw_frame};
use crate::registry::Case;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("hostile::a_stranger_floods_a_member_with_greetings", flood),
        Case::new("hostile::a_member_never_answers_a_greeting", silent_member),
    ]
}

/// Bytes of a greeting's body.
const GREETING_BYTES: u64 = 36;

fn flood() {
    const PEERS: usize = 8;
    const GREETINGS: usize = 5_000;
    let seed = seed();
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let mut cluster = Cluster::start_with(2, &["--memory-limit", "64MiB"]);
    let servers: Vec<String> = cluster.addresses().map(str::to_owned).collect();
    let mut routed = RoutedClient::connect(&servers[0], 0);
    assert_eq!(routed.call(&put(b"kept", b"value")).status(), Status::Ok);
    let siege = Siege::new("greetings of a stranger", 2 * NOISE_BYTES, NOISE_BYTES);
    siege.run(cluster.daemon(0), |field| {
        // Bodies that are no greeting.
        let mut client = RawClient::greeted(field.address(), 0);
        for length in (0..200).filter(|&length| length != GREETING_BYTES) {
            let body: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
            client.write(&raw_frame(1, Op::PeerHello as u8, 0, &body));
            assert_eq!(client.answer().status(), Status::Malformed, "{length} bytes");
        }
        // Greetings of other clusters, from many at once, none of them older than the member.
        let mut peers: Vec<RawClient> = (0..PEERS).map(|_| RawClient::connect(field.address())).collect();
        let writers: Vec<_> = peers
            .iter()
            .map(|peer| {
                let frames: Vec<Vec<u8>> =
                    (0..GREETINGS).map(|_| frame_of(&strangers(&mut random))).collect();
                peer.write_aside(frames.concat())
            })
            .collect();
        for peer in &mut peers {
            for _ in 0..GREETINGS {
                let answer = peer.answer();
                assert!(matches!(answer.decode(Op::PeerHello), Response::PeerHello(_)), "{answer:?}");
            }
        }
        writers.into_iter().for_each(|writer| writer.join().expect("the daemon reads"));
        // And some who do not wait for the answer.
        for _ in 0..200 {
            Attacker::connect(field.address()).send(&frame_of(&strangers(&mut random)));
        }
    });
    assert_eq!(routed.call(&get(b"kept")).found().2, b"value");
    (0..2).for_each(|member| assert!(cluster.daemon(member).is_running()));
}

fn strangers(random: &mut Random) -> Request<'static> {
    Request::PeerHello(PeerHello {
        cluster_id: ClusterId(u128::from(random.next_u64())),
        incarnation: Incarnation(random.next_u64()),
        node: NodeId(random.next_u64() as u32),
        age_ms: 0,
    })
}

fn silent_member() {
    // It takes connections, says nothing and never closes.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap();
    let greeted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&greeted);
    thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            held.push(stream);
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    // And this one is not there at all.
    let absent = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut daemon = Daemon::start(&["--members", "-", "--memory-limit", "64MiB"]);
    let members = format!("{},{silent},{absent}\n", daemon.address());
    daemon.write_stdin(members.as_bytes());
    Siege::new("a silent member", NOISE_BYTES, NOISE_BYTES).run(&mut daemon, |_| {
        wait_until(PATIENCE, "it to be greeted again", || greeted.load(Ordering::Relaxed) >= 2);
    });
    daemon.signal("TERM");
    assert_eq!(daemon.wait_for_exit(PATIENCE).code(), Some(0));
}
