//! The client and the cluster as a whole: who is there, who is not, who is somebody else, and many threads.

use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dht_client::{Client, ClusterId, Error, Iter, Outcome};
use dht_tests::cluster::Cluster;
use dht_tests::daemon::Daemon;

use super::three_daemons;
use crate::registry::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("client_api::every_node_answers", every_node_answers),
        Case::new("client_api::another_cluster_is_refused", another_cluster_is_refused),
        Case::new("client_api::a_server_that_is_not_there", a_server_that_is_not_there),
        Case::new("client_api::thirty_two_threads_share_a_client", thirty_two_threads),
    ]
}

const _: () = {
    const fn shareable<T: Clone + Send + Sync + 'static>() {}
    const fn movable<T: Send + 'static>() {}
    shareable::<Client>();
    movable::<Iter>();
    movable::<Error>();
};

fn every_node_answers() {
    let (client, cluster) = three_daemons();
    let map = client.map();
    let addresses: Vec<&str> = map.nodes().iter().map(|node| node.address.as_str()).collect();
    let mut expected: Vec<&str> = cluster.addresses().collect();
    expected.sort_unstable();
    assert_eq!(addresses, expected);
    let partitions: usize = map.nodes().iter().map(|node| map.partitions_of(node.id).count()).sum();
    assert_eq!(partitions, 4_096);

    for number in 0..300 {
        client.put(number.to_string(), "four").unwrap();
    }
    let pings = client.ping();
    assert!(pings.iter().all(|(_, answer)| answer.as_ref().is_ok_and(|took| *took < Duration::from_secs(5))));
    let stats = client.stats();
    let sum = |wanted: &str| -> u64 {
        let stats = stats.iter().map(|(_, answer)| answer.as_ref().unwrap());
        stats
            .map(|stats| stats.iter().find(|(name, _)| name == wanted).expect("every node counts it").1)
            .sum()
    };
    assert_eq!((stats.len(), sum("entries"), sum("value_bytes"), sum("partitions")), (3, 300, 1_200, 4_096));
    assert_eq!(sum("key_bytes"), 10 + 2 * 90 + 3 * 200);
    assert!(client.local_stats().connections_open >= 3);
    assert_eq!(client.local_stats().stale_answers, 0);
}

fn another_cluster_is_refused() {
    let (client, _cluster) = three_daemons();
    let id = client.map().cluster_id();
    let stranger = Daemon::start(&[]);
    let found = Client::connect(stranger.address()).unwrap().map().cluster_id();
    assert_ne!(found, id);
    for (expected, address) in [(id, stranger.address()), (ClusterId(1), stranger.address())] {
        match Client::builder().servers(address).cluster_id(expected).connect() {
            Err(error @ Error::WrongCluster { .. }) => assert_eq!(error.outcome(), Outcome::NotDone),
            other => panic!("should be refused: {other:?}"),
        }
    }
    Client::builder().servers(stranger.address()).cluster_id(found).connect().unwrap();
    // A good server among strangers is enough.
    let one = client.map().nodes()[0].address.clone();
    let servers = format!("{},{one}", stranger.address());
    let client = Client::builder().servers(&servers).cluster_id(id).connect().unwrap();
    client.put("k", &1).unwrap();

    // An address that a stranger took over after the cluster was gone.
    let mut old = Cluster::start(1);
    let client = Client::connect(&old.servers()).unwrap();
    client.put("k", &1).unwrap();
    old.daemon(0).kill();
    let heir = Daemon::start(&["--listen", &old.servers()]);
    // The first call may still find a connection to the old one, and lose its request with it.
    assert!(client.put("k", &2).is_err());
    let error = client.put("k", &2).unwrap_err();
    assert!(matches!(error, Error::WrongCluster { .. }), "{error:?}");
    assert!(!Client::connect(heir.address()).unwrap().exists("k").unwrap(), "it was sent nothing");
}

fn a_server_that_is_not_there() {
    let mut gone = Daemon::start(&[]);
    let client =
        Client::builder().servers(gone.address()).op_timeout(Duration::from_secs(1)).connect().unwrap();
    let address = gone.address().to_owned();
    gone.kill();
    let begun = Instant::now();
    let error = Client::builder().servers(&address).connect().unwrap_err();
    assert!(matches!(&error, Error::Unreachable { address: named, .. } if *named == address), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotDone);
    assert!(error.to_string().contains("check the address"), "{error}");
    // Calls of a client that knew better days: the first may find its connection dead at the moment of sending.
    assert!(client.put("k", &1).is_err());
    let error = client.put("k", &1).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotDone);
    assert!(begun.elapsed() < Duration::from_secs(10), "a refused connection is no time-out");
    for (servers, bad) in [("", false), ("no port", true), ("host:99999", true)] {
        let error = Client::connect(servers).unwrap_err();
        assert_eq!(matches!(error, Error::BadAddress { .. }), bad, "{error:?}");
        assert_eq!(matches!(error, Error::NoServers), !bad, "{error:?}");
    }
}

fn thirty_two_threads() {
    const ADDS: i64 = 200;
    let (client, _cluster) = three_daemons();
    let sum = AtomicI64::new(0);
    thread::scope(|scope| {
        for number in 0..32 {
            let (client, sum) = (&client, &sum);
            scope.spawn(move || {
                for step in 0..ADDS {
                    let key = format!("{number}:{step}");
                    client.put(&key, &key).unwrap();
                    client.add(format!("counter {}", step % 7), number).unwrap();
                    assert_eq!(client.get::<String>(&key).unwrap(), Some(key));
                    sum.fetch_add(number, Ordering::Relaxed);
                }
            });
        }
    });
    let counted: i64 = (0..7).map(|at| client.get::<i64>(format!("counter {at}")).unwrap().unwrap()).sum();
    assert_eq!(counted, sum.into_inner());
    assert!(client.local_stats().connections_open <= 6, "two a node, however many threads");
}
