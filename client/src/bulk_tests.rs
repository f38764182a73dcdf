//! What becomes of calls on many keys when things go wrong, against nodes that follow a script.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dht_protocol::ids::Incarnation;
use dht_protocol::request::Request;
use dht_protocol::status::Status;

use crate::client::Client;
use crate::error::{Error, Outcome};
use crate::limits::{BULK_IN_FLIGHT_MAX, READ_BUFFER_BYTES};
use crate::sync::lock;
use crate::testing::{Asked, FakeNode, FakeStore, Reply, dead_address};

fn three_nodes() -> (Vec<FakeNode>, Client) {
    let store = Arc::new(FakeStore::new(100));
    let scripts = (0..3).map(|_| {
        let store = Arc::clone(&store);
        Box::new(move |asked: &Asked<'_>| store.answer(asked)) as Box<_>
    });
    let nodes = FakeNode::cluster(scripts.collect());
    let client = Client::connect(&nodes[0].address).unwrap();
    (nodes, client)
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("key{number}")).collect()
}

#[test]
fn results_stand_in_the_order_of_the_keys() {
    let (nodes, client) = three_nodes();
    let keys = keys(5_000);
    let numbers: Vec<usize> = (0..keys.len()).collect();
    let versions = client.put_many(keys.iter().zip(&numbers));
    let distinct: BTreeSet<_> = versions.into_iter().map(|version| version.unwrap()).collect();
    assert_eq!(distinct.len(), keys.len());
    let asked = keys.iter().rev().map(String::as_str).chain(["none", "", "key7"]);
    let mut found = client.get_many::<usize, _>(asked);
    assert_eq!(found.pop().unwrap().unwrap(), Some(7));
    assert!(matches!(found.pop(), Some(Err(Error::BadKey { .. }))));
    assert_eq!(found.pop().unwrap().unwrap(), None);
    for (number, found) in (0..keys.len()).rev().zip(found) {
        assert_eq!(found.unwrap(), Some(number));
    }
    let removed = client.delete_many(["key3", "key3", "none"]);
    assert!(matches!(removed[..], [Ok(Some(_)), Ok(None), Ok(None)]), "{removed:?}");
    assert!(nodes.iter().all(|node| node.connections() <= 2 && !node.tokens().is_empty()));
    assert!(client.get_many::<usize, &str>([]).is_empty());
}

#[test]
fn the_later_of_two_values_of_a_key_stays() {
    let (_nodes, client) = three_nodes();
    let versions = client.put_many([("a", &1), ("b", &2), ("a", &3), ("a", &4), ("", &5)]);
    let versions: Vec<_> = versions.into_iter().map(Result::ok).collect();
    assert!(versions[0] < versions[2] && versions[2] < versions[3] && versions[4].is_none());
    assert_eq!((client.get("a").unwrap(), client.get("b").unwrap()), (Some(4), Some(2)));
}

#[test]
fn what_a_busy_node_refuses_is_sent_again_with_its_number() {
    let store = FakeStore::new(100);
    let node =
        FakeNode::alone(
            move |asked| {
                if asked.number % 3 == 0 { asked.refuse(Status::Busy) } else { store.answer(asked) }
            },
        );
    let client = Client::connect(&node.address).unwrap();
    assert!(client.put_many(keys(700).iter().map(|key| (key, "v"))).iter().all(Result::is_ok));
    let tokens = node.tokens();
    assert!(tokens.len() > 700 && tokens.iter().all(|token| !token.retry));
    assert_eq!(tokens.iter().map(|token| token.seq).collect::<BTreeSet<_>>(), (1..=700).collect());
}

#[test]
fn a_connection_that_breaks_costs_a_retry_of_what_was_under_way() {
    let store = FakeStore::new(100);
    let node = FakeNode::alone(move |asked| match asked.number {
        100 => Reply::Close(vec![]),
        _ => store.answer(asked),
    });
    let client = Client::connect(&node.address).unwrap();
    assert!(client.put_many(keys(600).iter().map(|key| (key, "v"))).iter().all(Result::is_ok));
    let tokens = node.tokens();
    assert!(tokens.iter().any(|token| token.retry));
    assert!(tokens.len() <= 600 + BULK_IN_FLIGHT_MAX);
    assert_eq!(tokens.iter().map(|token| token.seq).max(), Some(600));
}

#[test]
fn a_restarted_node_leaves_in_doubt_what_was_under_way_and_gets_the_rest() {
    let store = FakeStore::new(100);
    let node = FakeNode::alone(move |asked| match asked.number {
        100 => Reply::Close(vec![]),
        _ => store.answer(asked),
    });
    let client = Client::builder().servers(&node.address).connections_per_node(1).connect().unwrap();
    lock(&node.identity).hello.incarnation = Incarnation(101);
    let results = client.put_many(keys(1_000).iter().map(|key| (key, "v")));
    let doubtful: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(!doubtful.is_empty() && doubtful.len() <= BULK_IN_FLIGHT_MAX, "{}", doubtful.len());
    assert!(doubtful.iter().all(|error| error.outcome() == Outcome::Unknown), "{doubtful:?}");
    assert!(node.tokens().iter().all(|token| !token.retry), "never twice");
}

#[test]
fn a_silent_node_costs_one_op_timeout_and_what_was_not_sent_is_not_done() {
    let node = FakeNode::alone(|_| Reply::Silence);
    let quick = Client::builder().servers(&node.address).op_timeout(Duration::from_millis(200));
    let client = quick.connect().unwrap();
    let begun = std::time::Instant::now();
    let results = client.put_many(keys(2_000).iter().map(|key| (key, "v")));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let outcomes: Vec<_> = results.into_iter().map(|result| result.unwrap_err().outcome()).collect();
    let unknown = outcomes.iter().filter(|outcome| **outcome == Outcome::Unknown).count();
    assert_eq!(unknown, BULK_IN_FLIGHT_MAX);
}

#[test]
fn a_dead_node_fails_its_own_keys_alone() {
    let store = FakeStore::new(100);
    let nodes = FakeNode::cluster(vec![Box::new(move |asked: &Asked<'_>| store.answer(asked))]);
    let dead = dead_address();
    lock(&nodes[0].identity).map =
        crate::testing::map_of(crate::testing::CLUSTER, 2, &[&nodes[0].address, &dead]);
    let client = Client::builder().servers(&nodes[0].address).retry_budget(3).connect().unwrap();
    let results = client.put_many(keys(2_000).iter().map(|key| (key, "v")));
    let failed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!((500..1_500).contains(&failed.len()), "{}", failed.len());
    assert!(failed.iter().all(|error| matches!(error, Error::Unreachable { .. })), "{:?}", failed[0]);
}

#[test]
fn a_narrow_span_of_open_writes_is_kept_to() {
    let (nodes, _) = three_nodes();
    for node in &nodes {
        lock(&node.identity).hello.write_span_max = 5;
    }
    let client = Client::connect(&nodes[0].address).unwrap();
    assert!(client.put_many(keys(300).iter().map(|key| (key, "v"))).iter().all(Result::is_ok));
    for node in &nodes {
        assert!(node.tokens().iter().all(|token| token.seq - token.floor < 5));
    }
}

#[test]
fn other_callers_and_bulk_calls_share_connections() {
    let (_nodes, client) = three_nodes();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let client = &client;
            scope.spawn(move || {
                let keys: Vec<_> = (0..2_000).map(|at| format!("{number}:{at}")).collect();
                assert!(client.put_many(keys.iter().map(|key| (key, key))).iter().all(Result::is_ok));
                for (key, found) in keys.iter().zip(client.get_many::<String, _>(&keys)) {
                    assert_eq!(found.unwrap().as_ref(), Some(key));
                }
            });
            scope.spawn(move || {
                for at in 0..500 {
                    client.put(format!("single:{at}"), &at).unwrap();
                }
            });
        }
    });
    assert_eq!(client.local_stats().stale_answers, 0);
}

#[test]
fn long_values_among_short_ones() {
    let (_nodes, client) = three_nodes();
    let values: Vec<String> =
        (0..60).map(|at| "v".repeat(if at % 6 == 0 { 20 * READ_BUFFER_BYTES } else { at })).collect();
    let keys = keys(values.len());
    assert!(client.put_many(keys.iter().zip(&values)).iter().all(Result::is_ok));
    for (value, found) in values.iter().zip(client.get_many::<String, _>(&keys)) {
        assert_eq!(found.unwrap().as_ref(), Some(value));
    }
}

#[test]
fn what_cannot_be_stored_fails_alone() {
    struct Odd(bool);
    impl serde::Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.0 { Err(serde::ser::Error::custom("odd")) } else { serializer.serialize_i64(1) }
        }
    }
    let node = FakeNode::alone(|asked| {
        assert!(matches!(asked.request, Request::Put { .. }));
        asked.send(&dht_protocol::response::Response::Version(dht_protocol::ids::Version(1)))
    });
    let client = Client::connect(&node.address).unwrap();
    let results = client.put_many([("a", &Odd(false)), ("b", &Odd(true)), ("c", &Odd(false))]);
    assert!(matches!(results[..], [Ok(_), Err(Error::Encode { .. }), Ok(_)]), "{results:?}");
    assert_eq!(node.tokens().len(), 2);
}
