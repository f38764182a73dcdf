//! What a test cluster leaves behind: nothing. Alone in its process, as it counts what the process has.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use dht_client::test_cluster::TestCluster;

fn count(directory: &str) -> usize {
    fs::read_dir(directory).unwrap().count()
}

/// Threads and descriptors of this process, once they are no more than `most`: the system may show a thread for a
/// moment after it was joined.
fn settled(most: (usize, usize)) -> (usize, usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let now = (count("/proc/self/task"), count("/proc/self/fd"));
        if (now.0 <= most.0 && now.1 <= most.1) || Instant::now() >= deadline {
            return now;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn one_life(round: usize) {
    let cluster = TestCluster::start(3).unwrap();
    let client = cluster.client().unwrap();
    client.put("k", &round).unwrap();
    match round % 4 {
        0 => cluster.pause(0),
        1 => cluster.kill(1),
        2 => {
            cluster.kill(2);
            cluster.restart(2).unwrap();
        }
        _ => {}
    }
}

#[test]
fn a_hundred_clusters_leave_neither_threads_nor_descriptors() {
    let before = (count("/proc/self/task"), count("/proc/self/fd"));
    for round in 0..100 {
        one_life(round);
    }
    assert_eq!(settled(before), before, "(threads, descriptors)");
}
