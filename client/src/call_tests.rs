//! What becomes of a call when things go wrong, against a node that follows a script.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dht_protocol::error::Malformed;
use dht_protocol::ids::{Cfg, ClusterId, Epoch, Incarnation, NodeId, PartitionId, Version};
use dht_protocol::placement::map::PartitionConfig;
use dht_protocol::request::{Request, WriteToken};
use dht_protocol::response::{NotOwner, Refusal, Response};
use dht_protocol::status::Status;

use crate::client::Client;
use crate::error::{Error, Outcome};
use crate::limits::IDLE_LOOK_AFTER;
use crate::sync::lock;
use crate::testing::{Asked, CLUSTER, FakeNode, Reply, dead_address, map_of};

const DONE: Response<'static> = Response::Version(Version(9));

/// A client that does not wait long for the dead.
fn quick(node: &FakeNode) -> Client {
    Client::builder()
        .servers(&node.address)
        .op_timeout(Duration::from_millis(300))
        .connections_per_node(1)
        .connect()
        .unwrap()
}

fn patient(node: &FakeNode) -> Client {
    Client::builder().servers(&node.address).connections_per_node(1).connect().unwrap()
}

fn not_owner(asked: &Asked<'_>) -> Reply {
    asked.send(&Response::Refused(Refusal::NotOwner(NotOwner {
        partition: PartitionId(0),
        config: PartitionConfig { cfg: Cfg::new(0), primary: NodeId(0) },
    })))
}

#[test]
fn busy_a_few_times_then_done() {
    let node = FakeNode::alone(|asked| match asked.number {
        0..3 => asked.refuse(Status::Busy),
        3 => asked.refuse(Status::ShuttingDown),
        _ => asked.send(&DONE),
    });
    assert_eq!(patient(&node).put("k", &1).unwrap(), Version(9));
    // None of them was done, so none of the later ones can be a second arrival.
    assert_eq!(node.tokens(), [WriteToken { seq: 1, floor: 1, retry: false }; 5]);
}

#[test]
fn busy_for_ever_uses_up_the_budget_and_nothing_was_done() {
    let node = FakeNode::alone(|asked| asked.refuse(Status::Busy));
    let client = Client::builder().servers(&node.address).retry_budget(3).connect().unwrap();
    let error = client.put("k", &1).unwrap_err();
    assert!(matches!(error, Error::Refused { status: Status::Busy, .. }), "{error:?}");
    assert_eq!((error.outcome(), node.tokens().len()), (Outcome::NotDone, 3));
}

#[test]
fn a_lost_write_is_sent_again_with_its_number_and_the_flag() {
    let node = FakeNode::alone(|asked| match asked.number {
        0 => Reply::Close(vec![]),
        _ => asked.send(&DONE),
    });
    let client = patient(&node);
    assert_eq!(client.put("k", &1).unwrap(), Version(9));
    client.delete("k").unwrap();
    assert_eq!(
        node.tokens(),
        [
            WriteToken { seq: 1, floor: 1, retry: false },
            WriteToken { seq: 1, floor: 1, retry: true },
            WriteToken { seq: 2, floor: 2, retry: false },
        ]
    );
}

#[test]
fn an_answer_cut_at_any_byte_is_no_answer() {
    for bytes in 0..24 {
        let node = FakeNode::alone(move |asked| {
            let whole = asked.answer(&DONE);
            assert_eq!(whole.len(), 24);
            if asked.number == 0 { Reply::Close(whole[..bytes].to_vec()) } else { Reply::Send(whole) }
        });
        assert_eq!(patient(&node).put("k", &1).unwrap(), Version(9));
        assert!(node.tokens()[1].retry, "{bytes}");
    }
}

#[test]
fn a_restarted_node_does_not_get_a_lost_write_again() {
    let node = FakeNode::alone(|_| Reply::Close(vec![]));
    let client = patient(&node);
    lock(&node.identity).hello.incarnation = Incarnation(101);
    let error = client.put("k", &1).unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    assert_eq!((error.outcome(), node.tokens().len()), (Outcome::Unknown, 1));
}

#[test]
fn a_restarted_node_gets_reads_again_and_writes_that_never_left() {
    let node = FakeNode::alone(|asked| match asked.number {
        0 => Reply::Close(vec![]),
        _ if matches!(asked.request, Request::Put { .. }) => asked.send(&DONE),
        _ => asked.refuse(Status::NotFound),
    });
    let client = patient(&node);
    lock(&node.identity).hello.incarnation = Incarnation(101);
    assert_eq!(client.get::<i64>("k").unwrap(), None);
    assert_eq!(client.put("k", &1).unwrap(), Version(9));
}

#[test]
fn a_node_restarted_while_the_connection_was_idle_leaves_no_doubt() {
    let node = FakeNode::alone(|asked| match asked.number {
        0 => Reply::Close(asked.answer(&DONE)),
        _ => asked.send(&DONE),
    });
    let client = patient(&node);
    client.put("k", &1).unwrap();
    lock(&node.identity).hello.incarnation = Incarnation(101);
    std::thread::sleep(IDLE_LOOK_AFTER * 3);
    assert_eq!(client.put("k", &1).unwrap(), Version(9));
    assert_eq!(node.tokens()[1], WriteToken { seq: 2, floor: 2, retry: false });
}

#[test]
fn a_write_to_a_dead_port_was_not_done() {
    let node = FakeNode::alone(|_| unreachable!());
    lock(&node.identity).map = map_of(CLUSTER, 1, &[&dead_address()]);
    lock(&node.identity).hello.node = NodeId(5);
    let client = quick(&node);
    let error = client.put("k", &1).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotDone);
}

#[test]
fn no_server_at_all() {
    let error = Client::connect(&dead_address()).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn no_answer_is_unknown_for_a_write_and_frees_its_number() {
    let node = FakeNode::alone(|asked| match asked.request {
        Request::Put { .. } => Reply::Silence,
        _ => asked.send(&Response::Counted { version: Version(1), value: 1 }),
    });
    let client = quick(&node);
    let begun = Instant::now();
    let error = client.put("k", &1).unwrap_err();
    assert!(matches!(error, Error::TimedOut { outcome: Outcome::Unknown, .. }), "{error:?}");
    assert!(begun.elapsed() >= Duration::from_millis(295) && begun.elapsed() < Duration::from_secs(3));
    client.add("n", 1).unwrap();
    assert_eq!(node.tokens()[1], WriteToken { seq: 2, floor: 2, retry: false });
}

#[test]
fn no_answer_is_not_done_for_a_read() {
    let node = FakeNode::alone(|_| Reply::Silence);
    let error = quick(&node).get::<i64>("k").unwrap_err();
    assert!(matches!(error, Error::TimedOut { outcome: Outcome::NotDone, .. }), "{error:?}");
}

#[test]
fn a_late_answer_does_not_reach_the_next_caller() {
    let node = FakeNode::alone(|asked| match asked.number {
        0 => Reply::Later(asked.answer(&Response::Counted { version: Version(1), value: -1 })),
        number => asked.send(&Response::Counted { version: Version(1), value: number as i64 }),
    });
    let client = quick(&node);
    assert!(client.add("n", 1).is_err());
    assert_eq!(client.add("n", 1).unwrap(), 1);
    assert_eq!(client.add("n", 1).unwrap(), 2);
    let stats = client.local_stats();
    assert_eq!((stats.connections_open, stats.stale_answers, node.connections()), (1, 1, 1));
}

#[test]
fn garbage_is_no_answer_and_ends_the_connection() {
    let node = FakeNode::alone(|asked| match asked.number {
        0 => Reply::Send(vec![0xFF; 64]),
        1 => Reply::Send(vec![0; 64]),
        _ => asked.send(&DONE),
    });
    assert_eq!(patient(&node).put("k", &1).unwrap(), Version(9));
    assert_eq!((node.tokens().len(), node.connections()), (3, 3));
}

#[test]
fn a_malformed_body_is_a_protocol_error_and_the_write_unknown() {
    let node = FakeNode::alone(|asked| {
        let mut bytes = asked.answer(&Response::Pong);
        bytes[4..6].copy_from_slice(&[1, 99]);
        Reply::Send(bytes)
    });
    let client = patient(&node);
    let error = client.put("k", &1).unwrap_err();
    assert!(matches!(error, Error::Protocol { problem: Malformed("status"), .. }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(client.get::<i64>("k").unwrap_err().outcome(), Outcome::NotDone);
}

#[test]
fn an_outcome_that_a_node_forgot_is_unknown() {
    let node = FakeNode::alone(|asked| match asked.number {
        0 => Reply::Close(vec![]),
        _ => asked.refuse(Status::OutcomeUnknown),
    });
    assert!(matches!(patient(&node).put("k", &1), Err(Error::Unknown { .. })));
}

#[test]
fn a_first_copy_that_a_node_takes_for_a_forgotten_write_goes_again_under_a_new_number() {
    let node = FakeNode::alone(|asked| match (asked.number, &asked.request) {
        (0, Request::Put { token: Some(token), .. }) => {
            assert_eq!((token.seq, token.retry), (1, false));
            asked.refuse(Status::OutcomeUnknown)
        }
        (_, Request::Put { token: Some(token), .. }) => {
            assert_eq!((token.seq, token.floor, token.retry), (2, 2, false));
            asked.send(&DONE)
        }
        _ => asked.refuse(Status::Malformed),
    });
    patient(&node).put("k", &1).unwrap();
}

#[test]
fn out_of_memory_is_not_done_at_first_and_unknown_after_a_loss() {
    let node = FakeNode::alone(|asked| match asked.number {
        1 => Reply::Close(vec![]),
        _ => asked.refuse(Status::OutOfMemory),
    });
    let client = patient(&node);
    assert_eq!(client.put("k", &1).unwrap_err().outcome(), Outcome::NotDone);
    assert_eq!(client.put("k", &1).unwrap_err().outcome(), Outcome::Unknown);
}

#[test]
fn a_moved_key_is_followed_with_the_new_map() {
    let nodes = FakeNode::cluster(vec![
        Box::new(not_owner),
        Box::new(|asked: &Asked<'_>| {
            assert_eq!(asked.header.epoch, Epoch(2));
            asked.send(&DONE)
        }),
    ]);
    let everything_at_0 = map_of(CLUSTER, 1, &[&nodes[0].address]);
    lock(&nodes[0].identity).map = everything_at_0;
    let client = patient(&nodes[0]);
    let (to_0, to_1) = (&nodes[0].address, &nodes[1].address);
    let everything_at_1 = map_with_primary(2, &[to_0, to_1], NodeId(1));
    lock(&nodes[0].identity).map = everything_at_1;
    assert_eq!(client.put("k", &1).unwrap(), Version(9));
    assert_eq!(client.map().epoch(), Epoch(2));
    assert_eq!(nodes[0].tokens().len(), 1);
    assert_eq!(nodes[1].tokens(), [WriteToken { seq: 1, floor: 1, retry: false }]);
}

fn map_with_primary(
    epoch: u32,
    addresses: &[&str],
    primary: NodeId,
) -> dht_protocol::placement::map::ClusterMap {
    let map = map_of(CLUSTER, epoch, addresses);
    let partitions = vec![PartitionConfig { cfg: Cfg::new(0), primary }; 16];
    let (ring, nodes) = (map.ring(), map.nodes().to_vec());
    dht_protocol::placement::map::ClusterMap::new(
        CLUSTER,
        map.epoch(),
        ring,
        map.hash_key(),
        nodes,
        partitions,
    )
    .unwrap()
}

#[test]
fn a_node_that_disowns_a_key_under_the_same_map_is_asked_again_later() {
    let node = FakeNode::alone(|asked| if asked.number < 2 { not_owner(asked) } else { asked.send(&DONE) });
    assert_eq!(patient(&node).put("k", &1).unwrap(), Version(9));
}

#[test]
fn a_dead_owner_is_replaced_by_what_another_node_knows() {
    let nodes = FakeNode::cluster(vec![Box::new(|asked: &Asked<'_>| asked.send(&DONE))]);
    let (alive, dead) = (nodes[0].address.as_str(), dead_address());
    lock(&nodes[0].identity).map = map_with_primary(1, &[alive, &dead], NodeId(1));
    let client = patient(&nodes[0]);
    lock(&nodes[0].identity).map = map_with_primary(2, &[alive, &dead], NodeId(0));
    assert_eq!(client.put("k", &1).unwrap(), Version(9));
    assert_eq!(client.map().epoch(), Epoch(2));
}

#[test]
fn another_cluster_is_refused_at_first_and_at_every_contact() {
    let node = FakeNode::alone(|asked| match asked.number {
        0 => asked.send(&DONE),
        _ => Reply::Close(vec![]),
    });
    let given = Client::builder().servers(&node.address).cluster_id(ClusterId(8)).connect();
    assert!(
        matches!(given, Err(Error::WrongCluster { expected: ClusterId(8), found: Some(CLUSTER), .. })),
        "{given:?}"
    );
    assert!(Client::builder().servers(&node.address).cluster_id(CLUSTER).connect().is_ok());
    let client = patient(&node);
    client.put("k", &1).unwrap();
    lock(&node.identity).hello.cluster_id = ClusterId(8);
    let read = client.get::<i64>("k").unwrap_err();
    assert!(matches!(read, Error::WrongCluster { expected: CLUSTER, .. }), "{read:?}");
    assert!(read.to_string().contains("correct the address"), "{read}");
}

#[test]
fn a_write_lost_before_another_cluster_appeared_is_unknown() {
    let node = FakeNode::alone(|_| Reply::Close(vec![]));
    let client = patient(&node);
    lock(&node.identity).hello.cluster_id = ClusterId(8);
    assert_eq!(client.put("k", &1).unwrap_err().outcome(), Outcome::Unknown);
}

#[test]
fn a_stranger_at_a_nodes_address_is_not_taken_for_it() {
    let node = FakeNode::alone(|asked| match asked.number {
        0 => Reply::Close(vec![]),
        _ => unreachable!(),
    });
    let client = quick(&node);
    lock(&node.identity).hello.node = NodeId(3);
    let error = client.get::<i64>("k").unwrap_err();
    assert!(error.to_string().contains("node 3 is there, not node 0"), "{error}");
}

#[test]
fn a_span_at_its_widest_waits_no_longer_than_the_call_may_take() {
    let node = FakeNode::alone(|asked| match asked.number {
        0 => Reply::Silence,
        _ => asked.send(&DONE),
    });
    lock(&node.identity).hello.write_span_max = 1;
    let client = quick(&node);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| client.put("a", &1));
        while node.tokens().is_empty() {
            std::thread::yield_now();
        }
        let second = client.put("b", &1);
        assert_eq!(first.join().unwrap().unwrap_err().outcome(), Outcome::Unknown);
        // It waited for the first one's end, and whether that left it any time is chance.
        if let Err(error) = second {
            assert_eq!(error.outcome(), Outcome::NotDone);
        }
    });
    assert!(node.tokens().iter().all(|token| token.seq == token.floor));
}

#[test]
fn a_dead_node_does_not_cost_every_call_a_connect() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let node = FakeNode::alone(|_| Reply::Close(vec![]));
    let client = quick(&node);
    lock(&node.identity).map = map_of(CLUSTER, 2, &[&dead_address()]);
    lock(&node.identity).hello.incarnation = Incarnation(101);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                client.get::<i64>("k").unwrap_err();
                CALLS.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(CALLS.load(Ordering::Relaxed), 16);
    assert!(begun.elapsed() < Duration::from_secs(3));
}
