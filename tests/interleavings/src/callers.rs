//! A connection whose callers write and read for each other (`client/src/connection`).

use std::sync::Arc;
use std::time::Duration;

use dht_protocol::ids::Epoch;
use dht_protocol::request::{Key, Request};
use shuttle::thread::{self, JoinHandle};

use crate::connection::{CallError, Connection, Pipeline};
use crate::explore::{explore, explore_at_random, join};
use crate::limits::{IDLE_LOOK_AFTER, SLOTS_MAX};
use crate::sync::{FOREVER, Instant, pass};
use crate::wire::{Manners, Wire, connect};

type Shared = Arc<Connection<Wire>>;

/// Time enough for a few slices of the socket.
const SHORT: Duration = Duration::from_millis(4);

fn ask(connection: &Shared, key: &[u8], timeout: Duration) -> Result<(), CallError> {
    let request = Request::Get { key: Key::new(key).expect("a short key") };
    let deadline = Instant::now() + timeout;
    let answer = connection.call(deadline, |id, out| request.encode(id, Epoch(1), out))?;
    assert_eq!(answer.body, key, "the answer to another call");
    Ok(())
}

/// A caller that asks for `count` keys of its own and gets all answers.
fn patient(connection: &Shared, name: &'static str, count: usize) -> JoinHandle<()> {
    let connection = Arc::clone(connection);
    thread::spawn(move || {
        for round in 0..count {
            let key = format!("{name}{round}");
            assert_eq!(ask(&connection, key.as_bytes(), FOREVER), Ok(()));
        }
    })
}

fn join_all(callers: impl IntoIterator<Item = JoinHandle<()>>) {
    for caller in callers {
        join(caller);
    }
}

/// Three callers, each of whom may be the one that writes, the one that reads, or parked. Everybody gets their own
/// answer, though nobody's wait ends by itself.
pub fn each_caller_gets_its_own_answer() {
    explore(1, 3_000, || {
        let (connection, wire, node) = connect(None, Manners::Polite);
        join_all([patient(&connection, "a", 2), patient(&connection, "b", 2), patient(&connection, "c", 2)]);
        wire.finish();
        assert_eq!(join(node).len(), 6);
        assert!(!connection.is_dead());
        assert_eq!((connection.callers_count(), connection.stale_answers_count()), (0, 0));
    });
}

/// A caller that goes because its time is up hands on what it was doing for others.
pub fn a_caller_whose_time_is_up_hands_its_duties_on() {
    explore(2, 2_000, || {
        let (connection, wire, node) = connect(None, Manners::Polite);
        let hasty = {
            let connection = Arc::clone(&connection);
            thread::spawn(move || {
                for key in [&b"1 never"[..], b"2 never"] {
                    let gone = ask(&connection, key, SHORT);
                    assert!(matches!(gone, Err(CallError::TimedOut { .. })), "{gone:?}");
                }
            })
        };
        join_all([hasty, patient(&connection, "b", 2), patient(&connection, "c", 2)]);
        assert!(!connection.is_dead());
        wire.finish();
        join(node);
    });
}

/// The node takes a few bytes at a time, so that every frame is cut: whoever leaves leaves the rest to the others.
/// A request of which its caller was told that it was not sent did not arrive.
pub fn frames_that_are_cut_stay_whole() {
    explore_at_random(3, 2_000, || {
        let (connection, wire, node) = connect(Some(7), Manners::Polite);
        let hasty = {
            let connection = Arc::clone(&connection);
            thread::spawn(move || ask(&connection, b"of one who does not wait for long", SHORT))
        };
        join_all([patient(&connection, "b", 2), patient(&connection, "c", 1)]);
        let hasty = join(hasty);
        assert!(!connection.is_dead(), "the time of one caller ended the connection");
        wire.finish();
        let seen = join(node);
        if hasty == Err(CallError::TimedOut { sent: false }) {
            assert!(!seen.contains(&b"of one who does not wait for long"[..]));
        }
    });
}

/// The node goes in the midst of it: everybody learns it, and whoever is told that nothing was sent can rely on it.
pub fn a_connection_that_ends_tells_everybody() {
    for leaves_after in [1, 3] {
        explore(4, 1_500, move || {
            let (connection, wire, node) = connect(None, Manners::Leaves(leaves_after));
            let callers: Vec<_> = ["a", "b", "c"]
                .map(|name| {
                    let connection = Arc::clone(&connection);
                    thread::spawn(move || {
                        let keys = [0, 1].map(|round| format!("{name}{round}").into_bytes());
                        keys.map(|key| (ask(&connection, &key, FOREVER), key))
                    })
                })
                .into();
            let results: Vec<_> = callers.into_iter().flat_map(join).collect();
            assert!(connection.is_dead());
            wire.finish();
            let seen = join(node);
            for (result, key) in results {
                match result {
                    Ok(()) => assert!(seen.contains(&key)),
                    Err(CallError::Lost { sent, .. }) => assert!(sent || !seen.contains(&key)),
                    Err(CallError::TimedOut { .. }) => panic!("there was no hurry"),
                }
            }
        });
    }
}

/// One caller finds that the node breaks the protocol, and kills the connection under the others, of whom one sleeps in
/// the system's call.
pub fn a_connection_that_is_killed_brings_everybody_back() {
    explore(8, 1_500, || {
        let (connection, wire, node) = connect(None, Manners::Polite);
        let callers = [&b"1 never"[..], b"2 never"].map(|key| {
            let connection = Arc::clone(&connection);
            thread::spawn(move || {
                let lost = ask(&connection, key, FOREVER);
                assert!(matches!(lost, Err(CallError::Lost { .. })), "{lost:?}");
            })
        });
        let killer = {
            let connection = Arc::clone(&connection);
            thread::spawn(move || connection.kill("it breaks the protocol"))
        };
        join_all(callers.into_iter().chain([killer]));
        wire.finish();
        join(node);
    });
}

/// Callers with many requests under way, one of whom drops them half done, beside one with a single request.
pub fn pipelines_and_calls_share_the_duties() {
    explore(5, 2_000, || {
        let (connection, wire, node) = connect(None, Manners::Polite);
        let whole = {
            let connection = Arc::clone(&connection);
            thread::spawn(move || {
                let mut pipeline = connection.pipeline();
                send(&mut pipeline, &["p0", "p1", "p2"]);
                for _ in 0..3 {
                    take_one(&mut pipeline);
                }
                assert!(pipeline.next().is_none());
            })
        };
        let dropped = {
            let connection = Arc::clone(&connection);
            thread::spawn(move || {
                let mut pipeline = connection.pipeline();
                send(&mut pipeline, &["d0", "d1"]);
                take_one(&mut pipeline);
            })
        };
        join_all([whole, dropped, patient(&connection, "a", 2)]);
        assert_eq!(connection.callers_count(), 0);
        wire.finish();
        join(node);
    });
}

/// A caller that looks whether an idle connection is still there has both duties meanwhile. Those who come then are not
/// left parked, even if it asks for nothing after all.
pub fn a_look_at_an_idle_connection_leaves_nobody_parked() {
    explore(7, 2_000, || {
        let (connection, wire, node) = connect(None, Manners::Polite);
        pass(IDLE_LOOK_AFTER);
        let looks = {
            let connection = Arc::clone(&connection);
            thread::spawn(move || drop(connection.pipeline::<()>()))
        };
        join_all([looks, patient(&connection, "a", 1), patient(&connection, "b", 1)]);
        wire.finish();
        assert_eq!(join(node).len(), 2);
    });
}

fn send(pipeline: &mut Pipeline<'_, &'static str, Wire>, keys: &[&'static str]) {
    let deadline = Instant::now() + FOREVER;
    for key in keys {
        assert_eq!(pipeline.has_room(deadline), Ok(true));
        let request = Request::Get { key: Key::new(key.as_bytes()).expect("a short key") };
        pipeline.send(key, deadline, |id, out| request.encode(id, Epoch(1), out));
    }
}

fn take_one(pipeline: &mut Pipeline<'_, &'static str, Wire>) {
    let (key, answer) = pipeline.next().expect("something is under way");
    assert_eq!(answer.expect("the node answers").body, key.as_bytes());
}

/// All slots but one are taken; three callers wait for that one in turn.
pub fn a_slot_that_is_given_back_reaches_a_waiter() {
    explore(6, 40, || {
        let (connection, wire, node) = connect(None, Manners::Polite);
        let mut taken = Vec::new();
        for _ in 0..SLOTS_MAX - 1 {
            let mut pipeline: Pipeline<'_, (), Wire> = connection.pipeline();
            assert_eq!(pipeline.has_room(Instant::now() + FOREVER), Ok(true));
            taken.push(pipeline);
        }
        join_all([patient(&connection, "a", 2), patient(&connection, "b", 2), patient(&connection, "c", 2)]);
        wire.finish();
        assert_eq!(join(node).len(), 6);
    });
}
