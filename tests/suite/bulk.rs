//! Calls on many keys and typed collections, against three real daemons.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use dht_client::{Client, Conditional, Error, Outcome, Value};
use dht_tests::cluster::Cluster;
use dht_tests::program::{Output, Program};
use dht_tests::wait::wait_until;
use serde::{Deserialize, Serialize};

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("bulk::a_hundred_thousand_keys", a_hundred_thousand_keys),
        Case::new("bulk::long_values_among_short_ones", long_values_among_short_ones),
        Case::new("bulk::a_daemon_dies_in_the_middle", a_daemon_dies_in_the_middle),
        Case::new("bulk::typed_collections", typed_collections),
        Case::new("bulk::commands_on_many_keys", commands_on_many_keys),
    ]
}

fn three_daemons() -> (Client, Cluster) {
    let cluster = Cluster::start(3);
    (Client::connect(&cluster.servers()).unwrap(), cluster)
}

fn a_hundred_thousand_keys() {
    let (client, _cluster) = three_daemons();
    let keys: Vec<String> = (0..100_000).map(|number| format!("bulk:{number}")).collect();
    let numbers: Vec<i64> = (0..100_000).collect();
    let versions: BTreeSet<_> =
        client.put_many(keys.iter().zip(&numbers)).into_iter().map(Result::unwrap).collect();
    assert!(!versions.is_empty());
    let asked = keys.iter().rev().flat_map(|key| [key.clone(), format!("no {key}")]);
    let found = client.get_many::<i64, _>(asked);
    assert_eq!(found.len(), 200_000);
    for (at, found) in found.into_iter().enumerate() {
        let expected = (at % 2 == 0).then(|| numbers[numbers.len() - 1 - at / 2]);
        assert_eq!(found.unwrap(), expected, "{at}");
    }
    // Duplicates, and keys that cannot be: each at its place.
    let results = client.put_many([("twice", &1), ("", &2), ("bulk:0", &3), ("twice", &4)]);
    assert!(results[0].as_ref().unwrap() < results[3].as_ref().unwrap());
    assert!(matches!(results[1], Err(Error::BadKey { .. })));
    assert_eq!(client.get::<i64>("twice").unwrap(), Some(4));
    assert_eq!(client.get::<i64>("bulk:0").unwrap(), Some(3));

    let removed = client.delete_many(keys.iter().chain([&keys[7]]));
    let (last, others) = removed.split_last().expect("there are many");
    assert!(matches!(last, Ok(None)), "{last:?}");
    assert!(others.iter().all(|removed| matches!(removed, Ok(Some(_)))));
    let left: Vec<_> = client.iter().map(|entry| entry.unwrap().key.to_string()).collect();
    assert_eq!(left, ["twice"]);
}

fn long_values_among_short_ones() {
    let (client, _cluster) = three_daemons();
    let values: Vec<Value> = (0..2_000usize)
        .map(|at| match at {
            500 => Value::Bytes(vec![7; 16 << 20]),
            _ if at % 50 == 0 => Value::Bytes(vec![at as u8; 512 << 10]),
            _ => Value::Text(format!("short {at}")),
        })
        .collect();
    let keys: Vec<String> = (0..values.len()).map(|number| format!("{number}")).collect();
    for stored in client.put_many(keys.iter().zip(&values)) {
        stored.unwrap();
    }
    for (at, found) in client.get_many::<Value, _>(&keys).into_iter().enumerate() {
        assert!(found.unwrap().as_ref() == Some(&values[at]), "value {at}");
    }
}

fn a_daemon_dies_in_the_middle() {
    let mut cluster = Cluster::start(3);
    let client =
        Client::builder().servers(&cluster.servers()).op_timeout(Duration::from_secs(1)).connect().unwrap();
    let keys: Vec<String> = (0..200_000).map(|number| format!("{number}")).collect();
    let results = std::thread::scope(|scope| {
        let writing = scope.spawn(|| client.put_many(keys.iter().map(|key| (key, key))));
        let watcher = Client::connect(&cluster.servers()).unwrap();
        wait_until(Duration::from_secs(30), "some entries are there", || {
            watcher.iter().take(2_000).count() == 2_000
        });
        cluster.daemon(1).kill();
        writing.join().unwrap()
    });
    let (mut done, mut not_done, mut unknown) = (0, 0, 0);
    let survivor = |key: &str| {
        let map = client.map();
        let owner = map.owners(map.hash_key().hash(key.as_bytes())).config.primary;
        map.node(owner).is_some_and(|node| node.address != cluster.daemons()[1].address())
    };
    for (key, result) in keys.iter().zip(&results) {
        match result {
            Ok(_) => done += 1,
            Err(error) => {
                assert!(!survivor(key), "{key}: {error}");
                match error.outcome() {
                    Outcome::NotDone => not_done += 1,
                    Outcome::Unknown => unknown += 1,
                }
            }
        }
    }
    assert!(done > 100_000 && not_done > 0, "{done} done, {not_done} not done, {unknown} unknown");
    assert!(unknown <= 256, "only what was under way can be in doubt: {unknown}");
    let alive: Vec<&String> = keys.iter().filter(|key| survivor(key)).collect();
    for (key, found) in alive.iter().zip(client.get_many::<String, _>(&alive)) {
        assert_eq!(found.unwrap().as_ref(), Some(*key), "others are not touched");
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place {
    country: String,
    number: i32,
}

fn typed_collections() {
    let (client, _cluster) = three_daemons();
    let places = client.typed::<Place, String>("places");
    let numbers = client.typed::<i64, bool>("place");
    let all: BTreeMap<Place, String> = (-500..500)
        .map(|number| (Place { country: format!("c\0{}", number % 3), number }, format!("town {number}")))
        .collect();
    assert!(places.put_many(&all).iter().all(Result::is_ok));
    let more: Vec<(i64, bool)> = (-100..100).map(|number| (number, number > 0)).collect();
    assert!(numbers.put_many(more.iter().map(|(key, value)| (key, value))).iter().all(Result::is_ok));
    assert_eq!(places.iter().map(Result::unwrap).collect::<BTreeMap<_, _>>(), all);
    assert_eq!(numbers.iter().map(Result::unwrap).collect::<BTreeSet<_>>(), more.into_iter().collect());
    for (found, town) in places.get_many(all.keys()).into_iter().zip(all.values()) {
        assert_eq!(found.unwrap().as_ref(), Some(town));
    }
    // The bytes of the keys are in the order of the keys.
    let mut stored: Vec<_> = client.iter().prefix("places\0\0").map(|entry| entry.unwrap()).collect();
    stored.sort_by(|one, other| one.key.cmp(&other.key));
    let towns: Vec<String> = stored.iter().map(|entry| entry.get().unwrap()).collect();
    assert_eq!(towns, all.into_values().collect::<Vec<_>>());
    let place = Place { country: "new".to_owned(), number: i32::MIN };
    assert!(!places.exists(&place).unwrap());
    let first = places.put_if_absent(&place, &"town".to_owned()).unwrap();
    assert!(matches!(first, Conditional::Done(_)), "{first:?}");
    assert!(places.delete(&place).unwrap().is_some());
    assert!(matches!(client.typed::<f64, i64>("x").put(&0.5, &1), Err(Error::KeyType { .. })));
}

fn commands_on_many_keys() {
    let (client, cluster) = three_daemons();
    let dht = |arguments: &[&str], stdin: &str| -> Output {
        Program::dht(&cluster.servers()).args(arguments).stdin(stdin).run()
    };
    let mut lines = String::new();
    for number in 0..20_000 {
        let _ = writeln!(lines, "key{number}\tvalue\\t{number}");
    }
    let output = dht(&["mput", "-"], &lines).success();
    assert_eq!(output.stderr, "dht: stored 20000 entries\n");
    assert_eq!(client.get::<String>("key19999").unwrap().as_deref(), Some("value\t19999"));
    let _ = dht(&["mput", "-", "--type", "int"], "n\t1\nn\t-2\n").success();
    assert_eq!(client.get::<Value>("n").unwrap(), Some(Value::Int(-2)));
    let output = dht(&["mput", "-", "--type", "int"], "n\t3\nno tab\nm\tx\n").exits(1);
    assert!(output.stderr.contains("line 2: no tab") && output.stderr.contains("line 3: "), "{output:?}");
    assert_eq!(client.get::<i64>("n").unwrap(), Some(3));

    assert_eq!(
        dht(&["mget", "key2", "n", "key1"], "").success().stdout,
        "key2\tvalue\\t2\nn\t3\nkey1\tvalue\\t1\n"
    );
    let output = dht(&["mget", "key2", "none", "n"], "").exits(1);
    assert_eq!((&*output.stdout, &*output.stderr), ("key2\tvalue\\t2\nn\t3\n", "dht: no such key: none\n"));

    let output = dht(&["mdel", "key1", "key1", "key2"], "").exits(1);
    assert_eq!((&*output.stdout, &*output.stderr), ("2\n", "dht: no such key: key1\n"));
    let keys: String = (3..20_000).map(|number| format!("key{number}\n")).collect();
    assert_eq!(dht(&["mdel", "--file", "-"], &keys).success().stdout, "19997\n");
    let _ = dht(&["mdel"], "").exits(2);
    let _ = dht(&["mget"], "").exits(2);
    assert!(dht(&["mput", "no such file"], "").exits(1).stderr.contains("cannot read"));
    assert!(dht(&["mput", "--help"], "").success().stdout.contains("key, tab, value"));
}
