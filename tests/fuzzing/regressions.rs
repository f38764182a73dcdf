//! What the targets have found, each in the requests that showed it and with its story.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use dht_protocol::frame::{self, Cut};
use dht_protocol::header::Header;
use dht_protocol::ids::{Cfg, ClientId, ClusterId, Epoch, Incarnation, NodeId, RequestId, Version};
use dht_protocol::limits::{BODY_BYTES_MAX, HEADER_BYTES, KEY_BYTES_MAX};
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::planner::single_node_map;
use dht_protocol::placement::ring::Ring;
use dht_protocol::request::{Hello, Request};
use dht_protocol::response::Response;
use dht_protocol::status::Status;
use dht_protocol::value::ValueType;
use dht_server::dispatch::{AnswerBounds, Dispatcher, Frame, Identity, Output, Session};
use dht_server::memory::MemoryAccount;
use dht_server::metrics::WorkerMetrics;
use dht_tests::requests::{add, delete, get, put, put_typed};

/// A node and one connection to it.
struct Node {
    dispatcher: Dispatcher,
    session: Session,
    metrics: Arc<WorkerMetrics>,
    memory: Arc<MemoryAccount>,
}

impl Node {
    /// A node of 16 partitions that has been greeted.
    fn new(limit_bytes: u64) -> Node {
        let map = single_node_map("127.0.0.1:7400", Ring::new(16).unwrap(), HashKey::GUESSABLE).unwrap();
        let memory = MemoryAccount::new(limit_bytes);
        let identity = Identity {
            node: NodeId(0),
            incarnation: Incarnation(1),
            cfg: Cfg::new(7),
            started: Instant::now(),
        };
        let metrics = Arc::<WorkerMetrics>::default();
        let workers_metrics = vec![Arc::clone(&metrics)];
        let (stop, _) = bounded(1);
        let dispatcher = Dispatcher::new(Arc::new(map), identity, Arc::clone(&memory), workers_metrics, stop);
        let mut node = Node { dispatcher, session: Session::default(), metrics, memory };
        let (client_id, cluster_id) = (ClientId(0), ClusterId(0));
        let hello = Hello { version_min: 1, version_max: 1, features: 0, client_id, cluster_id };
        node.ask(&Request::Hello(hello), |response| assert!(matches!(response, Response::Hello(_))));
        node
    }

    fn ask(&mut self, request: &Request<'_>, check: impl FnOnce(Response<'_>)) {
        let mut asked = Vec::new();
        request.encode(RequestId(1), Epoch(1), &mut asked);
        let (_, header) = Header::decode(asked.first_chunk().unwrap());
        let frame = Frame { header, body: &asked[HEADER_BYTES..] };
        let turn_ends = Instant::now() + Duration::from_secs(3_600);
        let bounds = AnswerBounds { output_bytes_max: 1, turn_ends, slow_ns: None };
        let mut output = Output::default();
        self.dispatcher.answer(&mut self.session, &[frame], &mut output, bounds, &self.metrics);
        let answered = output.front(usize::MAX).collect::<Vec<_>>().concat();
        let Cut::Frame { header, body, .. } = frame::cut(&answered, BODY_BYTES_MAX) else {
            panic!("no frame")
        };
        check(Response::decode(request.op(), &header, body).unwrap());
    }
}

/// `ADD` wrote its number into the arena, whatever the key's length. With the longest keys that made an entry longer
/// than one step may copy: a debug build stopped at it, and a release build moved it about with the lock held for
/// longer than any other step.
#[test]
fn a_counter_may_stand_under_the_longest_key() {
    let mut node = Node::new(1 << 20);
    for (key_bytes, as_text) in [(KEY_BYTES_MAX, false), (KEY_BYTES_MAX, true), (KEY_BYTES_MAX - 16, false)] {
        let key = vec![b'k'; key_bytes];
        if as_text {
            let zero = put_typed(&key, ValueType::TEXT, b"0");
            node.ask(&zero, |response| assert_eq!(response.status(), Status::Ok));
        }
        for count in [1, 2, 3] {
            node.ask(&add(&key, 1), |response| {
                assert!(
                    matches!(response, Response::Counted { value, .. } if value == count),
                    "{response:?}"
                );
            });
            node.dispatcher.check_invariants();
        }
        node.ask(&get(&key), |response| {
            let Response::Found { version, value } = response else { panic!("{response:?}") };
            assert!(value.as_counter() == Some(3) && version > Version::ABSENT);
        });
        node.ask(&delete(&key), |response| assert_eq!(response.status(), Status::Ok));
    }
    node.dispatcher.keep_house(|| true);
    assert_eq!(node.memory.used_bytes(), 0);
}

/// The first write to a partition makes its first leaf. Where memory for the entry was then refused, the leaf stayed
/// and was charged, until somebody wrote to that partition and deleted again.
#[test]
fn a_refused_write_leaves_nothing_in_an_empty_partition() {
    for limit_bytes in (0..8_192).step_by(128) {
        let mut node = Node::new(limit_bytes);
        let mut status = Status::Ok;
        node.ask(&put(b"key", &[1; 500]), |response| status = response.status());
        node.dispatcher.keep_house(|| true);
        assert_eq!((status, node.memory.used_bytes()), (Status::OutOfMemory, 0), "limit {limit_bytes}");
        node.dispatcher.check_invariants();
    }
}

/// A write that was refused memory had another entry moved out of the way, of up to 64 KiB, was tried again, and copied its own
/// value: more than a step under a partition's lock may copy. A debug build stopped at it.
#[test]
fn a_full_node_moves_an_entry_and_writes_another_within_one_step() {
    let mut node = Node::new(600 << 10);
    let ring = Ring::new(16).unwrap();
    let mut refused = 0;
    for round in 0..6_000usize {
        let number = round * 7 % 41;
        let mut key = vec![b'k'; [9, 300, 20_000, 40_000, KEY_BYTES_MAX][number % 5]];
        // All in one partition.
        let salt = (0u16..).find(|salt| {
            key[..2].copy_from_slice(&[number as u8; 2]);
            key[2..4].copy_from_slice(&salt.to_be_bytes());
            ring.partition_of(HashKey::GUESSABLE.hash(&key)).0 == 0
        });
        assert!(salt.is_some());
        if round % 3 == 0 {
            node.ask(&delete(&key), |_| ());
        } else {
            let value = vec![1; [10, 900, 12_000, 32 << 10][round % 4]];
            node.ask(&put(&key, &value), |response| refused += u32::from(response.status() != Status::Ok));
        }
    }
    node.dispatcher.check_invariants();
    assert!(refused > 20, "{refused} refused");
}
