//! What the client's callers wait for besides answers: numbers for writes, a newer map, a connection.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dht_protocol::frame::{Cut, cut};
use dht_protocol::ids::{Cfg, ClientId, ClusterId, Epoch, Incarnation, NodeId};
use dht_protocol::limits::BODY_BYTES_MAX;
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::map::{ClusterMap, Node, PartitionConfig};
use dht_protocol::placement::ring::Ring;
use dht_protocol::response::{HelloAnswer, Response};
use shuttle::thread;

use crate::connection::OpenError;
use crate::explore::{explore, join};
use crate::pool::Pools;
use crate::router::Router;
use crate::sync::{FOREVER, Instant, waits_count};
use crate::write_tokens::WriteTokens;

/// Writers under a span of two, one of whom may run out of time: every number is given once, none is further than the
/// span from the floor, and whoever waits gets a number as soon as the floor rises.
pub fn a_number_is_given_as_soon_as_the_floor_rises() {
    explore(11, 2_000, || {
        let tokens = Arc::new(WriteTokens::new());
        tokens.narrow_span(2);
        let writers = [(FOREVER, 3), (FOREVER, 3), (Duration::from_millis(1), 2)].map(|(timeout, count)| {
            let tokens = Arc::clone(&tokens);
            thread::spawn(move || {
                let mut seqs = Vec::new();
                for _ in 0..count {
                    let Some(open) = tokens.open(Instant::now() + timeout) else {
                        assert!(timeout < FOREVER, "gave up a wait without a bound");
                        continue;
                    };
                    let token = open.token(false);
                    assert!(token.floor <= token.seq && token.seq - token.floor < 2, "{token:?}");
                    seqs.push(token.seq);
                }
                seqs
            })
        });
        let mut seqs: Vec<u64> = writers.into_iter().flat_map(join).collect();
        seqs.sort_unstable();
        assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "{seqs:?}");
        let next = tokens.open(Instant::now()).expect("nobody is left");
        assert_eq!(next.token(false).floor, seqs.len() as u64 + 1);
    });
}

fn map(epoch: u32) -> ClusterMap {
    let ring = Ring::new(16).expect("a power of two");
    let node = Node { id: NodeId(0), address: "a:1".to_owned() };
    let partitions = vec![PartitionConfig { cfg: Cfg::new(0), primary: NodeId(0) }; 16];
    ClusterMap::new(ClusterId(1), Epoch(epoch), ring, HashKey::GUESSABLE, vec![node], partitions)
        .expect("one node is a cluster")
}

/// Callers that want a newer map: one fetches at a time, the others get what it brought; where it brought nothing, the
/// next one tries.
pub fn one_caller_at_a_time_fetches_the_map() {
    for failures in [0, 1] {
        explore(12, 1_000, move || {
            let router = Arc::new(Router::new(map(1)));
            let (fetching, fetches) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let callers = [(); 3].map(|()| {
                let router = Arc::clone(&router);
                let (fetching, fetches) = (Arc::clone(&fetching), Arc::clone(&fetches));
                thread::spawn(move || {
                    router.refresh(Epoch(1), Instant::now() + FOREVER, || {
                        assert_eq!(fetching.fetch_add(1, Ordering::SeqCst), 0, "two fetch at once");
                        thread::yield_now();
                        fetching.fetch_sub(1, Ordering::SeqCst);
                        (fetches.fetch_add(1, Ordering::SeqCst) >= failures).then(|| map(2))
                    })
                })
            });
            let newer = callers.into_iter().map(join);
            assert!(newer.filter(|newer| *newer).count() >= 3 - failures);
            assert_eq!(fetches.load(Ordering::SeqCst), failures + 1);
        });
    }
}

/// Callers who come while a fetch is under way, and all fetches bring nothing: the first one that began after a caller
/// came speaks for it, so that nobody waits for a third.
pub fn nobody_waits_for_more_than_two_fetches() {
    const CALLERS: usize = 4;
    static FEWEST: AtomicUsize = AtomicUsize::new(CALLERS);
    explore(14, 1_000, || {
        let router = Arc::new(Router::new(map(1)));
        let fetches = Arc::new(AtomicUsize::new(0));
        let callers = [(); CALLERS].map(|()| {
            let (router, fetches) = (Arc::clone(&router), Arc::clone(&fetches));
            thread::spawn(move || {
                let newer = router.refresh(Epoch(1), Instant::now() + FOREVER, || {
                    thread::yield_now();
                    fetches.fetch_add(1, Ordering::SeqCst);
                    None
                });
                assert!(!newer);
                assert!(waits_count() <= 2, "waited for {} fetches", waits_count());
            })
        });
        for caller in callers {
            join(caller);
        }
        FEWEST.fetch_min(fetches.load(Ordering::SeqCst), Ordering::SeqCst);
    });
    assert_eq!(FEWEST.load(Ordering::SeqCst), 2, "fetches where everybody came during the first");
}

/// A node that greets, on a thread of the system: only the pool is under the scheduler. Counts its connections.
fn greeting_node() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the system has a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            counter.fetch_add(1, Ordering::SeqCst);
            let mut buffer = vec![0; 1_024];
            let bytes = stream.read(&mut buffer).unwrap_or(0);
            let Cut::Frame { header, .. } = cut(&buffer[..bytes], BODY_BYTES_MAX) else { continue };
            let hello = HelloAnswer {
                version: 1,
                features: 0,
                cluster_id: ClusterId(1),
                incarnation: Incarnation(1),
                node: NodeId(0),
                value_bytes_max: 1 << 20,
                body_bytes_max: 1 << 20,
                write_span_max: 1 << 20,
            };
            let mut out = Vec::new();
            Response::Hello(hello).encode(header.request_id, Epoch(1), &mut out);
            if stream.write_all(&out).is_ok() {
                open.push(stream);
                // Those of earlier orders are closed at the other end.
                open.drain(..open.len().saturating_sub(8));
            }
        }
    });
    (address, count)
}

/// Callers that need a connection where none is: one connects, and all use what it got, or share its failure.
pub fn one_caller_connects_for_all() {
    let (address, count) = greeting_node();
    let dead = TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr());
    let dead = dead.expect("the system has a port").to_string();
    for (address, lives) in [(address, true), (dead, false)] {
        let count = Arc::clone(&count);
        explore(13, 150, move || {
            let before = count.load(Ordering::SeqCst);
            let pools = Arc::new(Pools::new(ClientId(1), ClusterId(1), Duration::from_secs(5), 1));
            let node = Node { id: NodeId(0), address: address.clone() };
            let callers = [(); 3].map(|()| {
                let (pools, node) = (Arc::clone(&pools), node.clone());
                thread::spawn(move || pools.pick(&node, Instant::now() + FOREVER))
            });
            let picked = callers.map(join);
            for one in &picked {
                match (one, &picked[0]) {
                    (Ok(one), Ok(first)) => assert!(lives && Arc::ptr_eq(&one.connection, &first.connection)),
                    (Err(OpenError::Unreachable(_)), Err(_)) => assert!(!lives),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(count.load(Ordering::SeqCst) - before, usize::from(lives));
        });
    }
}
