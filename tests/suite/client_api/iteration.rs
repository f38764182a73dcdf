//! Iteration over the whole cluster: every key once, whatever the page, and whoever writes meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dht_client::{Client, Entry, Error, Value};
use dht_protocol::limits::SCAN_VALUE_INLINE_BYTES_MAX;
use dht_tests::random::{Random, SEED, seed};

use super::three_daemons;
use crate::registry::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("client_api::iteration_in_pages_of_any_size", pages_of_any_size),
        Case::new("client_api::iteration_under_a_prefix", under_a_prefix),
        Case::new("client_api::iteration_fetches_values_that_pages_leave_out", long_values),
        Case::new("client_api::iteration_while_others_write", while_others_write),
    ]
}

fn fill(client: &Client, prefix: &str, count: i64) -> BTreeMap<String, Value> {
    let put = |number: i64| {
        let (key, value) = (format!("{prefix}{number}"), Value::Int(number));
        client.put(&key, &value).unwrap();
        (key, value)
    };
    (0..count).map(put).collect()
}

/// What an iteration gave, by key.
///
/// # Panics
/// When a key comes twice, or an error.
#[track_caller]
fn collect(entries: impl Iterator<Item = dht_client::Result<Entry>>) -> BTreeMap<String, Value> {
    let mut collected = BTreeMap::new();
    for entry in entries {
        let entry = entry.unwrap();
        let key = entry.key.as_str().expect("keys are text here").to_owned();
        assert_eq!(collected.insert(key, entry.value), None, "{} comes twice", entry.key);
    }
    collected
}

fn pages_of_any_size() {
    let (client, _cluster) = three_daemons();
    assert_eq!(client.iter().count(), 0);
    let expected = fill(&client, "key ", 500);
    for entries in [1, 2, 3, 7, 100, 499, 500, 501, 4_096, usize::MAX, 0] {
        assert_eq!(collect(client.iter().page_size(entries)), expected, "pages of {entries}");
    }
    for entry in client.iter().take(20) {
        let entry = entry.unwrap();
        let found = client.get_versioned::<i64>(&entry.key).unwrap().expect("nobody deletes");
        assert_eq!((entry.version, entry.get::<i64>().unwrap()), (found.version, found.value));
        assert!(matches!(entry.get::<bool>(), Err(Error::Decode { .. })));
    }
}

fn under_a_prefix() {
    let (client, _cluster) = three_daemons();
    let users = fill(&client, "user:", 200);
    let all: BTreeMap<_, _> = users.clone().into_iter().chain(fill(&client, "us", 200)).collect();
    assert_eq!(collect(client.iter().prefix("user:")), users);
    assert_eq!(collect(client.iter().prefix("us").page_size(3)), all);
    let twenties: BTreeMap<_, _> = users.into_iter().filter(|(key, _)| key.starts_with("user:2")).collect();
    assert_eq!(collect(client.iter().prefix("user:2").page_size(1)), twenties);
    assert_eq!(client.iter().prefix("none").count(), 0);
    // No key begins so, and the reserved byte is a prefix like any other to the iteration.
    assert_eq!(client.iter().prefix([0xFF]).filter(Result::is_ok).count(), 0);
    let mut too_long = client.iter().prefix(vec![b'p'; 65_536]);
    assert!(matches!(too_long.next(), Some(Err(Error::TooLarge { what: "prefix", .. }))));
    assert!(too_long.next().is_none(), "an error comes once");
}

fn long_values() {
    let (client, _cluster) = three_daemons();
    let limit = SCAN_VALUE_INLINE_BYTES_MAX;
    let mut expected = fill(&client, "short ", 100);
    for (number, bytes) in
        [0, 1, limit - 1, limit, limit + 1, 3 * limit, 1 << 20, 5 << 20].into_iter().enumerate()
    {
        let value = Value::Bytes(vec![number as u8; bytes]);
        client.put(format!("long {number}"), &value).unwrap();
        expected.insert(format!("long {number}"), value);
    }
    // More than a page's bytes of values that just stand in pages.
    for number in 0..100 {
        let value = Value::Text(format!("{number:05}").repeat(limit / 5));
        client.put(format!("wide {number}"), &value).unwrap();
        expected.insert(format!("wide {number}"), value);
    }
    for entries in [1, 10, 1_024] {
        // No diff of megabytes is printed.
        assert!(collect(client.iter().page_size(entries)) == expected, "pages of {entries}");
    }
}

/// Keys that are there throughout come exactly once, also those that are overwritten; others once or not at all,
/// though tables grow and shrink below.
fn while_others_write() {
    let (client, _cluster) = three_daemons();
    let seed = seed();
    let steady: BTreeSet<String> = fill(&client, "steady ", 2_000).into_keys().collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..3u64 {
            let (client, done) = (client.clone(), &done);
            scope.spawn(move || {
                let mut random = Random::new(seed ^ writer);
                while !done.load(Ordering::Relaxed) {
                    let churn = format!("churn {}", random.below(20_000));
                    let key =
                        if random.percent(25) { format!("steady {}", random.below(2_000)) } else { churn };
                    if random.percent(30) && key.starts_with("churn") {
                        client.delete(&key).unwrap();
                    } else {
                        client.put(&key, &-1).unwrap();
                    }
                }
            });
        }
        for entries in [1, 5, 64, 1_024, 4_096, 64, 1_024, 1_024] {
            let came: Vec<String> =
                client.iter().page_size(entries).map(|entry| entry.unwrap().key.to_string()).collect();
            let once: BTreeSet<&String> = came.iter().collect();
            let steady_count = came.iter().filter(|key| steady.contains(*key)).count();
            if once.len() != came.len() || steady_count != steady.len() {
                done.store(true, Ordering::Relaxed);
                panic!(
                    "pages of {entries}: {} keys, {} different, {steady_count} of the steady ones, {SEED}={seed}",
                    came.len(),
                    once.len()
                );
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}
