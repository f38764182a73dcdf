//! A write that is sent twice is applied once, whichever way its copies come.

use std::collections::BTreeMap;

use dht_protocol::ids::Version;
use dht_protocol::request::{Condition, Request};
use dht_protocol::status::Status;
use dht_tests::cluster::Cluster;
use dht_tests::daemon::Daemon;
use dht_tests::raw_client::{Answer, RawClient};
use dht_tests::requests::{add, append, delete, first, get, put, put_if, retry};

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("retries::a_second_arrival_gets_the_first_answer", second_arrivals),
        Case::new("retries::every_kind_of_write_is_remembered", every_kind),
        Case::new("retries::a_copy_below_the_floor_is_unknown", below_the_floor),
        Case::new("retries::a_refused_retry_is_remembered", refused_retry),
        Case::new("retries::a_refused_first_copy_is_not", refused_first_copy),
        Case::new("retries::an_anonymous_client_has_no_tokens", anonymous),
        Case::new("retries::clients_do_not_share_numbers", other_clients),
        Case::new("retries::two_connections_that_race_apply_once", race),
        Case::new("retries::past_the_bound_copies_are_unknown_but_not_applied_again", race_past_the_bound),
        Case::new("retries::vanished_clients_take_bounded_memory", vanished_clients),
        Case::new("retries::a_restarted_node_says_so", restarted),
    ]
}

const ME: u128 = 0xC11E;

fn second_arrivals() {
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::greeted(daemon.address(), ME);
    let answer = client.call(&first(add(b"n", 5), 1, 1)).counted();
    assert_eq!(answer.1, 5);
    // On the same connection, marked and unmarked; on another; and once the first connection has gone.
    assert_eq!(client.call(&retry(add(b"n", 5), 1, 1)).counted(), answer);
    assert_eq!(client.call(&first(add(b"n", 5), 1, 1)).counted(), answer);
    let mut other = RawClient::greeted(daemon.address(), ME);
    assert_eq!(other.call(&retry(add(b"n", 5), 1, 1)).counted(), answer);
    drop(client);
    assert_eq!(other.call(&retry(add(b"n", 5), 1, 1)).counted(), answer);
    drop(other);
    let mut back = RawClient::greeted(daemon.address(), ME);
    assert_eq!(back.call(&retry(add(b"n", 5), 1, 1)).counted(), answer);
    assert_eq!(back.call(&get(b"n")).found().0, answer.0);
    assert_eq!(back.call(&first(add(b"n", 5), 2, 2)).counted().1, 10, "the next number is another write");
}

fn every_kind() {
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::greeted(daemon.address(), ME);
    let large = vec![b'x'; 100_000];
    let _ = client.call(&put(b"doomed", b""));
    let _ = client.call(&put(b"long", &large));
    let writes: [Request<'_>; 8] = [
        put(b"a", b"small"),
        put(b"b", &large),
        put_if(b"c", b"once", Condition::IfAbsent),
        put_if(b"a", b"once", Condition::IfPresent),
        delete(b"doomed"),
        add(b"d", 3),
        append(b"e", b"tail"),
        append(b"long", b"tail"),
    ];
    let mut answers = Vec::new();
    for (seq, write) in (1..).zip(writes) {
        answers.push(client.call(&first(write, seq, 1)));
    }
    assert!(answers.iter().all(|answer| answer.status() == Status::Ok), "{answers:?}");
    // Others write in between.
    let mut other = RawClient::greeted(daemon.address(), 0);
    for name in [b"a".as_slice(), b"b", b"c", b"doomed", b"d", b"e", b"long"] {
        let _ = other.call(&put(name, b"changed")).version();
    }
    for ((seq, write), answer) in (1..).zip(writes).zip(&answers) {
        let again = client.call(&retry(write, seq, 1));
        assert_eq!((again.status(), &again.body), (answer.status(), &answer.body), "{:?}", write.op());
    }
    for name in [b"a".as_slice(), b"b", b"c", b"doomed", b"d", b"e", b"long"] {
        assert_eq!(other.call(&get(name)).found().2, b"changed");
    }
}

fn below_the_floor() {
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::greeted(daemon.address(), ME);
    let mut held_up = RawClient::greeted(daemon.address(), ME);
    assert_eq!(client.call(&first(add(b"n", 1), 2, 2)).counted().1, 1);
    // Number 1 was given up; its copy arrives late, on whichever connection, for whichever key.
    for late in [first(add(b"n", 1), 1, 1), retry(add(b"n", 1), 1, 1), first(put(b"m", b""), 1, 1)] {
        assert_eq!(held_up.call(&late).status(), Status::OutcomeUnknown);
    }
    drop(client);
    assert_eq!(held_up.call(&first(add(b"n", 1), 1, 1)).status(), Status::OutcomeUnknown);
    assert_eq!(held_up.call(&get(b"n")).found().2, 1i64.to_be_bytes());
    assert_eq!(held_up.call(&get(b"m")).status(), Status::NotFound);
}

fn refused_retry() {
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::greeted(daemon.address(), ME);
    let mut held_up = RawClient::greeted(daemon.address(), ME);
    let mut other = RawClient::greeted(daemon.address(), 0);
    let version = other.call(&put(b"k", b"there")).version();
    let write = put_if(b"k", b"mine", Condition::IfAbsent);
    // The retry overtakes the first copy and is refused; its client is told "not done".
    assert_eq!(client.call(&retry(write, 1, 1)).failed_condition(), version);
    let _ = other.call(&delete(b"k")).version();
    // Now the first copy would succeed. It must not.
    assert_eq!(held_up.call(&first(write, 1, 1)).failed_condition(), version);
    assert_eq!(other.call(&get(b"k")).status(), Status::NotFound);
    // The same for the other refusals.
    let refused = [(2, delete(b"gone"), Status::NotFound), (3, append(b"typed", b"x"), Status::WrongType)];
    let _ = other.call(&add(b"typed", 1));
    for (seq, write, status) in refused {
        assert_eq!(client.call(&retry(write, seq, 1)).status(), status);
    }
    let _ = other.call(&put(b"gone", b""));
    let _ = other.call(&delete(b"typed"));
    for (seq, write, status) in refused {
        assert_eq!(held_up.call(&first(write, seq, 1)).status(), status);
    }
    assert_eq!(other.call(&get(b"gone")).status(), Status::Ok);
    assert_eq!(other.call(&get(b"typed")).status(), Status::NotFound);
}

fn refused_first_copy() {
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::greeted(daemon.address(), ME);
    let write = put_if(b"k", b"mine", Condition::IfPresent);
    assert_eq!(client.call(&first(write, 1, 1)).failed_condition(), 0);
    let _ = RawClient::greeted(daemon.address(), 0).call(&put(b"k", b"there"));
    let version = client.call(&retry(write, 1, 1)).version();
    assert_eq!(client.call(&retry(write, 1, 1)).version(), version, "it may succeed, once");
}

fn anonymous() {
    let daemon = Daemon::start(&[]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    for write in [add(b"n", 1), put(b"n", b""), delete(b"n"), append(b"n", b"")] {
        assert_eq!(client.call(&first(write, 1, 1)).status(), Status::Malformed);
        assert_eq!(client.call(&retry(write, 1, 1)).status(), Status::Malformed);
    }
    assert_eq!(client.call(&get(b"n")).status(), Status::NotFound);
    assert_eq!(client.call(&add(b"n", 1)).counted().1, 1);
    assert_eq!(client.call(&add(b"n", 1)).counted().1, 2, "without a token each arrival is a write");
}

fn other_clients() {
    let daemon = Daemon::start(&[]);
    for id in 1..=100 {
        let mut client = RawClient::greeted(daemon.address(), id);
        assert_eq!(client.call(&first(add(b"n", 1), 1, 1)).counted().1, id as i64);
        assert_eq!(client.call(&retry(add(b"n", 1), 1, 1)).counted().1, id as i64);
    }
}

/// Outcomes that one partition remembers, as ARCHITECTURE.md says.
const OUTCOMES_OF_A_PARTITION: u64 = 1_024;

fn race() {
    const WRITES: u64 = OUTCOMES_OF_A_PARTITION;
    let daemon = Daemon::start(&["--workers", "4"]);
    let answers = race_of_four(&daemon, WRITES);
    let answers: Vec<Vec<(u64, i64)>> =
        answers.iter().map(|run| run.iter().map(Answer::counted).collect()).collect();
    assert!(answers.iter().all(|same| *same == answers[0]), "all copies of a write get one answer");
    assert_eq!(count(&daemon), WRITES as i64);
}

/// More than a partition remembers: a copy may find its outcome forgotten, but is not applied again.
fn race_past_the_bound() {
    const WRITES: u64 = 5 * OUTCOMES_OF_A_PARTITION;
    let daemon = Daemon::start(&["--workers", "4"]);
    for run in race_of_four(&daemon, WRITES) {
        for answer in run {
            assert!([Status::Ok, Status::OutcomeUnknown].contains(&answer.status()), "{:?}", answer.status());
        }
    }
    assert!(count(&daemon) <= WRITES as i64, "{} of {WRITES} writes applied", count(&daemon));
}

/// Four connections of one client send the same `writes` additions to one counter.
fn race_of_four(daemon: &Daemon, writes: u64) -> Vec<Vec<Answer>> {
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let mut client = RawClient::greeted(daemon.address(), ME);
            std::thread::spawn(move || {
                let writes = (1..=writes).map(|seq| retry(add(b"n", 1), seq, 1));
                client.pipeline(writes)
            })
        })
        .collect();
    runs.into_iter().map(|run| run.join().expect("every copy is answered")).collect()
}

fn count(daemon: &Daemon) -> i64 {
    RawClient::greeted(daemon.address(), ME).call(&add(b"n", 0)).counted().1
}

fn vanished_clients() {
    const CLIENTS: u128 = 3_000;
    const LIMIT_BYTES: u64 = 4 << 20;
    // A sixteenth of the limit, as ARCHITECTURE.md says.
    const OUTCOMES_BYTES_MAX: u64 = LIMIT_BYTES / 16;
    let daemon = Daemon::start(&["--memory-limit", "4MiB", "--partitions", "16"]);
    let mut watch = RawClient::greeted(daemon.address(), 0);
    let counter = |id: u128| format!("n{}", id % 50).into_bytes();
    for id in 1..=CLIENTS {
        let mut client = RawClient::greeted(daemon.address(), id);
        assert_eq!(client.call(&first(add(&counter(id), 1), 1, 1)).status(), Status::Ok);
        if id % 100 == 0 {
            let outcomes_bytes = watch.stat("memory_dedup_bytes");
            assert!(outcomes_bytes <= OUTCOMES_BYTES_MAX, "{outcomes_bytes} bytes after {id} clients");
        }
    }
    let mut answers = BTreeMap::new();
    for id in 1..=CLIENTS {
        let mut client = RawClient::greeted(daemon.address(), id);
        let status = client.call(&retry(add(&counter(id), 1), 1, 1)).status();
        assert!([Status::Ok, Status::OutcomeUnknown].contains(&status), "{status:?}");
        *answers.entry(status.name()).or_insert(0) += 1;
    }
    assert!(answers.get("OUTCOME_UNKNOWN") > Some(&0), "some must have been forgotten: {answers:?}");
    assert!(answers.get("OK") > Some(&0), "and some remembered: {answers:?}");
    let total: i64 = (0..50).map(|id| watch.call(&add(&counter(id), 0)).counted().1).sum();
    assert_eq!(total, CLIENTS as i64, "no copy was applied");
}

fn restarted() {
    let mut cluster = Cluster::start(1);
    let address = cluster.addresses().next().expect("there is one").to_owned();
    let mut client = RawClient::connect(&address);
    let before = client.hello(ME);
    let _ = client.map();
    let version = client.call(&first(put(b"k", b""), 1, 1)).version();
    cluster.daemon(0).kill();
    cluster.restart(0);
    let after = RawClient::connect(&address).hello(ME);
    assert_eq!(after.cluster_id, before.cluster_id);
    assert_ne!(after.incarnation, before.incarnation, "by this the client knows not to send it again");
    let mut client = RawClient::greeted(&address, ME);
    let condition = Condition::IfVersion(Version(version));
    assert_eq!(client.call(&put_if(b"k", b"", condition)).failed_condition(), 0);
}
