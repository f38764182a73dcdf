//! What the client says while daemons die, hang and come back, and while connections break: no call outlasts its
//! time, nothing is called done that was not, and nothing is done twice.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dht_client::{Client, Error, Outcome};
use dht_protocol::ids::NodeId;
use dht_tests::cluster::Cluster;
use dht_tests::daemon::Daemon;
use dht_tests::proxy::{Proxy, Weather};
use dht_tests::random::{SEED, seed};
use dht_tests::wait::{PATIENCE, wait_for, wait_until};

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("client_faults::a_daemon_killed_under_load_and_started_again", a_killed_daemon),
        Case::new("client_faults::a_daemon_that_hangs_and_goes_on", a_daemon_that_hangs),
        Case::new("client_faults::an_iteration_over_a_dead_daemon_says_so", an_iteration_over_a_dead_daemon),
        Case::new("client_faults::a_counter_through_resets_counts_every_add_once", || {
            a_counter_through(Weather { late_percent: 0, ..STORM });
        }),
        Case::new("client_faults::a_counter_through_resets_and_late_copies_counts_every_add_once", || {
            a_counter_through(STORM);
        }),
    ]
}

/// Beyond its own limit, what a call may take because this machine is busy.
const SLACK: Duration = Duration::from_secs(2);

const STORM: Weather = Weather { cut_after_bytes_max: 6_000, late_percent: 50, late_after_bytes_max: 8_000 };

/// The node that serves a key.
fn owner(client: &Client, key: &str) -> NodeId {
    let map = client.map();
    map.owners(map.hash_key().hash(key.as_bytes())).config.primary
}

fn node_of(client: &Client, address: &str) -> NodeId {
    client.map().nodes().iter().find(|node| node.address == address).expect("it is in the map").id
}

/// Keys that a node serves.
fn keys_of(client: &Client, node: NodeId) -> impl Iterator<Item = String> {
    (0..).map(|number| format!("key {number}")).filter(move |key| owner(client, key) == node)
}

/// What the threads of a test under load share.
struct Load {
    client: Client,
    op_timeout: Duration,
    victim: NodeId,
    /// Set once the victim is surely dead: no write to it that begins now can be done.
    dead: AtomicBool,
    done_count: AtomicUsize,
    failed_count: AtomicUsize,
}

impl Load {
    /// Puts keys of its own, one after the other, until calls to the dead daemon have failed often enough, and
    /// others were done since. Returns those that were done.
    fn run(&self, thread: usize) -> Vec<String> {
        let (mut done, mut failed_count, mut done_since) = (Vec::new(), 0, 0);
        for number in 0.. {
            if failed_count >= 2 && done_since >= 8 {
                break;
            }
            let key = format!("{thread}:{number}");
            let of_victim = owner(&self.client, &key) == self.victim;
            let dead = self.dead.load(Ordering::Acquire);
            let begun = Instant::now();
            let result = self.client.put(&key, &key);
            let took = begun.elapsed();
            assert!(took < self.op_timeout + SLACK, "{took:?} for {result:?}");
            match result {
                Ok(_) => {
                    assert!(!(dead && of_victim), "{key} was written to a dead daemon");
                    self.done_count.fetch_add(1, Ordering::Relaxed);
                    done_since += usize::from(dead);
                    done.push(key);
                }
                Err(error) => {
                    assert!(of_victim, "{key} is not the dead daemon's: {error}");
                    self.assert_is_a_dead_daemons(&error, dead);
                    self.failed_count.fetch_add(1, Ordering::Relaxed);
                    failed_count += 1;
                }
            }
        }
        done
    }

    fn assert_is_a_dead_daemons(&self, error: &Error, dead: bool) {
        match error {
            Error::Unreachable { .. } => assert_eq!(error.outcome(), Outcome::NotDone),
            Error::TimedOut { .. } | Error::ConnectionLost { .. } | Error::Unknown { .. } => {}
            _ => panic!("{error:?} (the daemon is dead: {dead})"),
        }
    }
}

fn a_killed_daemon() {
    let mut cluster = Cluster::start(3);
    let op_timeout = Duration::from_millis(500);
    let client = Client::builder().servers(&cluster.servers()).op_timeout(op_timeout).connect().unwrap();
    let victim = node_of(&client, cluster.addresses().next().expect("there are three"));
    let load = Load {
        client: client.clone(),
        op_timeout,
        victim,
        dead: AtomicBool::new(false),
        done_count: AtomicUsize::new(0),
        failed_count: AtomicUsize::new(0),
    };
    let done: Vec<String> = thread::scope(|scope| {
        let load = &load;
        let threads: Vec<_> = (0..8).map(|thread| scope.spawn(move || load.run(thread))).collect();
        wait_until(PATIENCE, "some writes", || load.done_count.load(Ordering::Relaxed) > 2_000);
        cluster.daemon(0).kill();
        load.dead.store(true, Ordering::Release);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(load.failed_count.into_inner() >= 16);

    let (lost, kept): (Vec<String>, Vec<String>) =
        done.into_iter().partition(|key| owner(&client, key) == victim);
    for key in &kept {
        assert_eq!(client.get::<String>(key).unwrap().as_ref(), Some(key), "others lose nothing");
    }
    let error = client.get::<String>(&lost[0]).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && error.outcome() == Outcome::NotDone, "{error:?}");
    assert_eq!(client.ping().iter().filter(|(_, answer)| answer.is_err()).count(), 1);

    cluster.restart(0);
    // Nobody tells the client: the next call that finds the daemon again will do.
    wait_until(PATIENCE, "the daemon that came back", || client.get::<String>(&lost[0]).is_ok());
    for key in &lost {
        assert_eq!(client.get::<String>(key).unwrap(), None, "there was one copy, and it is gone");
        assert!(!client.exists(key).unwrap());
    }
    for key in lost.iter().take(100) {
        client.put(key, "again").unwrap();
        assert_eq!(client.get::<String>(key).unwrap().as_deref(), Some("again"));
    }
    assert_eq!(client.iter().count(), kept.len() + lost.len().min(100));
    assert!(client.ping().iter().all(|(_, answer)| answer.is_ok()));
}

fn a_daemon_that_hangs() {
    let mut cluster = Cluster::start(3);
    let op_timeout = Duration::from_millis(400);
    let client = Client::builder().servers(&cluster.servers()).op_timeout(op_timeout).connect().unwrap();
    let sleeper = node_of(&client, cluster.addresses().nth(1).expect("there are three"));
    let keys: Vec<String> = keys_of(&client, sleeper).take(16).collect();
    keys.iter().for_each(|key| assert!(client.put(key, "old").is_ok()));

    cluster.daemon(1).pause();
    let in_doubt: Vec<bool> = thread::scope(|scope| {
        let client = &client;
        let call = |key, writes| scope.spawn(move || hangs(client, key, writes, op_timeout));
        // Every other one reads.
        let threads: Vec<_> = keys.iter().enumerate().map(|(at, key)| call(key, at % 2 == 0)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let others = (0..).map(|number| format!("other {number}"));
    for key in others.filter(|key| owner(&client, key) != sleeper).take(50) {
        client.put(&key, "served meanwhile").unwrap();
    }

    cluster.daemon(1).signal("CONT");
    wait_until(PATIENCE, "the daemon to go on", || client.get::<String>(&keys[1]).is_ok());
    for (key, in_doubt) in keys.iter().zip(in_doubt) {
        // What timed out was done or not, once, and never again after a later write was answered.
        let found = client.get::<String>(key).unwrap().expect("nobody deletes");
        assert!(found == "old" || in_doubt && found == "lost", "{found}, though in doubt: {in_doubt}");
        client.put(key, "new").unwrap();
    }
    for key in &keys {
        assert_eq!(client.get::<String>(key).unwrap().as_deref(), Some("new"));
    }
}

/// A put or get that a stopped daemon does not answer. Whether it may be done later: a read surely not, and a write
/// only if there was a connection on which to send it.
fn hangs(client: &Client, key: &str, writes: bool, op_timeout: Duration) -> bool {
    let begun = Instant::now();
    let result = if writes { client.put(key, "lost").map(drop) } else { client.get::<String>(key).map(drop) };
    let error = result.unwrap_err();
    let took = begun.elapsed();
    assert!(took >= op_timeout / 2 && took < op_timeout + SLACK, "{took:?} for {error:?}");
    match &error {
        Error::TimedOut { outcome: Outcome::Unknown, .. } => assert!(writes, "{error:?}"),
        Error::TimedOut { .. } | Error::Unreachable { .. } => {}
        _ => panic!("{error:?}"),
    }
    error.outcome() == Outcome::Unknown
}

fn an_iteration_over_a_dead_daemon() {
    let mut cluster = Cluster::start(3);
    let client = Client::builder()
        .servers(&cluster.servers())
        .op_timeout(Duration::from_millis(500))
        .connect()
        .unwrap();
    for number in 0..300 {
        client.put(format!("{number}"), &number).unwrap();
    }
    cluster.daemon(2).kill();
    let mut entries = client.iter().page_size(10);
    let whole_count = entries.by_ref().take_while(Result::is_ok).count();
    assert!(whole_count < 300, "a part is gone, and the iteration must say so");
    // It goes on to say so, but not for ever.
    let errors_count = entries.by_ref().take(20).filter(Result::is_err).count();
    assert!((1..20).contains(&errors_count), "{errors_count}");
    assert!(entries.next().is_none());
    let error = client.iter().find_map(Result::err).expect("a part cannot be read");
    assert_eq!(error.outcome(), Outcome::NotDone);
}

/// Eight threads count through a network that breaks every other moment. An add that was answered counts once;
/// one whose outcome is unknown counts once or not at all.
fn a_counter_through(weather: Weather) {
    const THREADS: i64 = 8;
    const ADDS: i64 = 1_500;
    let seed = seed();
    let proxy = Proxy::start(weather, seed);
    let daemon = Daemon::start(&["--advertise", proxy.address(), "--partitions", "16"]);
    proxy.lead_to(daemon.address());
    let settings = Client::builder().op_timeout(Duration::from_secs(20)).retry_budget(100);
    let settings = settings.servers(proxy.address());
    // A connection can break before it has greeted.
    let client = wait_for(PATIENCE, || settings.clone().connect().ok()).expect("some get through");
    let (sure, unknown) = (AtomicI64::new(0), AtomicI64::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let (client, sure, unknown) = (&client, &sure, &unknown);
            scope.spawn(move || {
                for _ in 0..ADDS {
                    match client.add("counter", 1) {
                        Ok(_) => sure.fetch_add(1, Ordering::Relaxed),
                        Err(error) if error.outcome() == Outcome::Unknown => {
                            unknown.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(Error::Unreachable { .. }) => 0,
                        Err(error) => panic!("{error:?}, {SEED}={seed}"),
                    };
                }
            });
        }
    });
    proxy.heal();
    proxy.deliver_late_copies();
    let direct = Client::connect(proxy.address()).unwrap();
    let counted = direct.get::<i64>("counter").unwrap().expect("it was added to");
    let (sure, unknown) = (sure.into_inner(), unknown.into_inner());
    let (cuts, late) = (proxy.cuts_count(), proxy.late_copies_count());
    eprintln!("{sure} adds and {unknown} in doubt, {cuts} cuts, {late} late copies, {SEED}={seed}");
    assert!(
        (sure..=sure + unknown).contains(&counted),
        "{counted} counted; {sure} were sure and {unknown} in doubt, {SEED}={seed}"
    );
    assert!(sure > THREADS * ADDS * 9 / 10, "most calls get through in the end: {sure}, {SEED}={seed}");
    assert!(cuts > 20, "the network was too good to tell anything: {cuts} cuts");
    assert!(weather.late_percent == 0 || late > 5, "{late} late copies");
}
