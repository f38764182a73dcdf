//! The client against a cluster inside this process whose nodes die, hang and come back; and the cluster itself.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dht_client::test_cluster::{NODES_MAX, TestCluster};
use dht_client::{Client, Error, Outcome, Version};

/// Time for anything that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A client with one connection to a node, which gives up soon.
fn hasty(cluster: &TestCluster, op_timeout_ms: u64) -> Client {
    let builder = Client::builder().servers(&cluster.servers()).connections_per_node(1);
    builder.op_timeout(Duration::from_millis(op_timeout_ms)).connect().unwrap()
}

/// Keys that node `i` serves.
fn keys_of(cluster: &TestCluster, i: usize) -> impl Iterator<Item = String> {
    (0..).map(|number| format!("key {number}")).filter(move |key| cluster.owner_of(key) == i)
}

fn key_of(cluster: &TestCluster, i: usize) -> String {
    keys_of(cluster, i).next().unwrap()
}

/// A node's figure of that name.
fn stat(client: &Client, name: &str) -> u64 {
    let stats = client.stats().remove(0).1.unwrap();
    stats.iter().find(|(found, _)| found == name).unwrap().1
}

#[test]
fn every_node_serves_its_share_of_the_keys() {
    let cluster = TestCluster::start(3).unwrap();
    let client = cluster.client().unwrap();
    let keys: BTreeSet<String> = (0..300).map(|number| format!("key {number}")).collect();
    for key in &keys {
        client.put(key, key).unwrap();
    }
    for key in &keys {
        assert_eq!(client.get::<String>(key).unwrap().as_ref(), Some(key));
    }
    let found: BTreeSet<String> = client.iter().map(|entry| entry.unwrap().key.to_string()).collect();
    assert_eq!(found, keys);
    for (at, (node, stats)) in client.stats().into_iter().enumerate() {
        assert_eq!(node.address, cluster.address(at));
        let entries = stats.unwrap().iter().find(|(name, _)| name == "entries").unwrap().1;
        let owned = keys.iter().filter(|key| cluster.owner_of(key) == at).count();
        assert!(owned > 50);
        assert_eq!(entries, owned as u64);
    }
}

#[test]
fn calls_to_the_keys_of_a_killed_node_fail_and_others_go_on() {
    let cluster = TestCluster::start(3).unwrap();
    let client = hasty(&cluster, 500);
    let keys: Vec<String> = (0..3).map(|i| key_of(&cluster, i)).collect();
    for key in &keys {
        client.put(key, "before").unwrap();
    }
    cluster.kill(1);
    assert!(!cluster.is_running(1));
    // The first write may have left before its connection was found dead; then nobody knows, and it says so.
    client.put(&keys[1], "lost").unwrap_err();
    let error = client.put(&keys[1], "refused").unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert_eq!(error.outcome(), Outcome::NotDone);
    for at in [0, 2] {
        assert_eq!(client.get::<String>(&keys[at]).unwrap().as_deref(), Some("before"));
        client.put(&keys[at], "after").unwrap();
    }
    let found = client.get_many::<String, _>(&keys);
    assert_eq!(found[0].as_ref().unwrap().as_deref(), Some("after"));
    assert!(matches!(found[1], Err(Error::Unreachable { .. })), "{found:?}");
    // Whoever comes new finds the cluster all the same.
    assert!(hasty(&cluster, 500).exists(&keys[2]).unwrap());
    cluster.kill(1);
}

#[test]
fn a_write_in_flight_at_a_killed_node_is_never_called_done() {
    let cluster = TestCluster::start(2).unwrap();
    let key = key_of(&cluster, 0);
    for _ in 0..20 {
        let client = hasty(&cluster, 100);
        cluster.pause(0);
        let begun = AtomicBool::new(false);
        thread::scope(|scope| {
            let write = scope.spawn(|| {
                begun.store(true, Ordering::SeqCst);
                client.add(&key, 1)
            });
            wait_until("the write begins", || begun.load(Ordering::SeqCst));
            cluster.kill(0);
            let error = write.join().unwrap().unwrap_err();
            let certain = matches!(error, Error::Unreachable { .. });
            assert_eq!(error.outcome(), if certain { Outcome::NotDone } else { Outcome::Unknown }, "{error}");
        });
        cluster.restart(0).unwrap();
        assert_eq!(hasty(&cluster, 5_000).get::<i64>(&key).unwrap(), None);
    }
}

#[test]
fn a_node_that_comes_back_is_empty_and_its_clients_find_it() {
    let cluster = TestCluster::start(2).unwrap();
    let client = cluster.client().unwrap();
    let (mine, other) = (key_of(&cluster, 0), key_of(&cluster, 1));
    let before = client.put(&mine, &1).unwrap();
    client.put(&other, &2).unwrap();
    let address = cluster.address(0);
    for _ in 0..3 {
        cluster.kill(0);
        cluster.restart(0).unwrap();
        assert_eq!((cluster.address(0), cluster.is_running(0)), (address.clone(), true));
        assert_eq!(client.get::<i64>(&mine).unwrap(), None);
        assert_eq!(client.get::<i64>(&other).unwrap(), Some(2));
        // A version from before does not match by accident.
        assert!(matches!(
            client.compare_and_put(&mine, before, &3).unwrap(),
            dht_client::Conditional::Refused { current: Version::ABSENT }
        ));
    }
    client.put(&mine, &4).unwrap();
    assert_eq!(client.iter().count(), 2);
}

#[test]
fn calls_to_a_paused_node_time_out_and_go_on_over_the_same_connection_afterwards() {
    let cluster = TestCluster::start(2).unwrap();
    // Two time-outs in a row must not add up to the silence after which a connection is given up.
    let client = hasty(&cluster, 300);
    let (mine, other) = (key_of(&cluster, 0), key_of(&cluster, 1));
    client.put(&mine, "here").unwrap();
    client.put(&other, "there").unwrap();
    let open = client.local_stats().connections_open;
    for round in 1..=3 {
        cluster.pause(0);
        let read = client.get::<String>(&mine).unwrap_err();
        assert!(matches!(read, Error::TimedOut { outcome: Outcome::NotDone, .. }), "{read}");
        let write = client.add("n", 1).map(|_| ()).err();
        let is_mine = cluster.owner_of("n") == 0;
        assert_eq!(write.map(|error| error.outcome()), is_mine.then_some(Outcome::Unknown));
        assert_eq!(client.get::<String>(&other).unwrap().as_deref(), Some("there"));
        cluster.resume(0);
        assert_eq!(client.get::<String>(&mine).unwrap().as_deref(), Some("here"));
        // What timed out was done in the end, once.
        wait_until("the write that timed out", || client.get::<i64>("n").unwrap() == Some(round));
    }
    assert_eq!(client.local_stats().connections_open, open);
    assert!(client.local_stats().stale_answers >= 3);
}

#[test]
fn a_write_that_is_sent_again_after_a_silence_is_applied_once() {
    const OP_TIMEOUT_MS: u64 = 600;
    let cluster = TestCluster::start(1).unwrap();
    let client = hasty(&cluster, OP_TIMEOUT_MS);
    let (mut adds, mut unknown) = (0, 0);
    let deadline = Instant::now() + 3 * PATIENCE;
    loop {
        cluster.pause(0);
        client.exists("n").unwrap_err();
        thread::scope(|scope| {
            // When this one gives up as well the node has been silent for so long that the connection is dropped…
            let begun = Instant::now();
            let silence = scope.spawn(|| client.exists("n").unwrap_err());
            // …under a write that still has time. It is sent again over another connection.
            wait_until("time passes", || begun.elapsed() >= Duration::from_millis(OP_TIMEOUT_MS / 2));
            let write = scope.spawn(|| client.add("n", 1));
            silence.join().unwrap();
            cluster.resume(0);
            adds += 1;
            match write.join().unwrap() {
                Ok(counted) => assert!((adds - unknown..=adds).contains(&counted), "{counted} of {adds}"),
                // This machine was too busy.
                Err(error) => {
                    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
                    unknown += 1;
                }
            }
        });
        // Not before the copy has come, too.
        let counted = client.get::<i64>("n").unwrap().unwrap_or(0);
        assert!((adds - unknown..=adds).contains(&counted), "{counted} of {adds}, {unknown} not known");
        if stat(&client, "requests_add") > adds as u64 && unknown == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "no write was sent again in {adds} rounds");
    }
}

#[test]
fn two_clusters_in_one_process_do_not_meet() {
    let [one, two] = [3, 2].map(|nodes_count| TestCluster::start(nodes_count).unwrap());
    let [first, second] = [&one, &two].map(|cluster| hasty(cluster, 500));
    assert_ne!(first.map().cluster_id(), second.map().cluster_id());
    first.put("k", "one").unwrap();
    second.put("k", "two").unwrap();
    assert_eq!(first.get::<String>("k").unwrap().as_deref(), Some("one"));
    two.pause(0);
    drop(one);
    first.put("k", "gone").unwrap_err();
    two.resume(0);
    assert_eq!(second.get::<String>("k").unwrap().as_deref(), Some("two"));
}

#[test]
fn threads_kill_and_pause_nodes_under_load() {
    let cluster = TestCluster::start(3).unwrap();
    let (client, calm) = (hasty(&cluster, 50), hasty(&cluster, 5_000));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for at in 0..2 {
            let (cluster, client, stop) = (&cluster, &client, &stop);
            scope.spawn(move || {
                let keys: Vec<String> = keys_of(cluster, at).take(10).collect();
                while !stop.load(Ordering::Relaxed) {
                    for key in &keys {
                        let _ = client.add(key, 1);
                    }
                }
            });
        }
        for _ in 0..20 {
            cluster.pause(0);
            cluster.kill(1);
            cluster.resume(0);
            cluster.restart(1).unwrap();
        }
        // The third one has never noticed.
        calm.put(key_of(&cluster, 2), "calm").unwrap();
        stop.store(true, Ordering::Relaxed);
    });
    for at in 0..3 {
        calm.put(key_of(&cluster, at), "again").unwrap();
    }
}

#[test]
fn a_paused_cluster_can_be_dropped() {
    let cluster = TestCluster::start(2).unwrap();
    cluster.pause(0);
    cluster.pause(0);
    cluster.pause(1);
    cluster.kill(1);
    drop(cluster);
}

#[test]
fn clusters_that_cannot_be_are_refused() {
    for nodes_count in [0, NODES_MAX + 1] {
        let error = TestCluster::start(nodes_count).unwrap_err().to_string();
        assert_eq!(error, format!("a test cluster has 1 to 64 nodes, not {nodes_count}"));
    }
}

#[test]
#[should_panic(expected = "no node 2: the test cluster has 2, numbered from 0")]
fn a_node_that_is_none_is_named() {
    TestCluster::start(2).unwrap().kill(2);
}

#[test]
#[should_panic(expected = "node 0 is dead: start it again first")]
fn a_dead_node_cannot_be_paused() {
    let cluster = TestCluster::start(1).unwrap();
    cluster.kill(0);
    cluster.pause(0);
}

#[test]
#[should_panic(expected = "node 0 runs: kill it before it is started again")]
fn a_node_that_runs_cannot_be_started_again() {
    let _ = TestCluster::start(1).unwrap().restart(0);
}
