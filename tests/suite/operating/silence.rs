//! Connections that say nothing, or take nothing, for too long.

use std::sync::mpsc::{Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use dht_protocol::status::Status;
use dht_tests::daemon::Daemon;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{get, put};
use dht_tests::wait::{PATIENCE, wait_until};

use super::{lines_with, start};
use crate::http_client::HttpClient;
use crate::registry::Case;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("operating::an_idle_connection_is_closed_and_a_busy_one_is_not", idle),
        Case::new("operating::half_a_request_does_not_hold_a_connection", half_a_request),
        Case::new("operating::who_takes_no_answers_is_closed", answers_not_taken),
        Case::new("operating::a_thousand_idle_connections_are_closed", many),
        Case::new("operating::a_stop_answers_everybody_whatever_the_time_outs", stop),
    ]
}

/// A counter, asked for by somebody who has just come: no time-out has begun for him.
#[track_caller]
fn stat(daemon: &Daemon, name: &str) -> u64 {
    RawClient::greeted(daemon.address(), 0).stat(name)
}

/// Asks all the time until told to stop.
fn keep_asking(daemon: &Daemon) -> (Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = channel();
    let mut client = RawClient::greeted(daemon.address(), 0);
    let ask = move || {
        while stopped.try_recv() == Err(TryRecvError::Empty) {
            assert_eq!(client.call(&get(b"k")).status(), Status::NotFound);
        }
    };
    (stop, std::thread::spawn(ask))
}

fn idle() {
    // Long enough that who asks all the time is never held up for as long by a busy machine.
    let (daemon, http) = start(&["--idle-timeout", "3"]);
    let (stop, asking) = keep_asking(&daemon);
    let mut quiet = RawClient::greeted(daemon.address(), 0);
    let mut silent = RawClient::connect(daemon.address());
    let mut monitor = HttpClient::connect(&http);
    assert_eq!(monitor.get("/healthz").status(), 200);
    wait_until(PATIENCE, "three to be closed", || stat(&daemon, "connections_timed_out_idle") == 3);
    quiet.wait_for_end();
    silent.wait_for_end();
    monitor.wait_for_end();
    drop(stop);
    asking.join().expect("who asks all the time is served all the time");
    let lines = lines_with(&daemon, "connection timed out");
    assert!(lines.iter().all(|line| line.contains(" INFO ") && line.contains("--idle-timeout")), "{lines:?}");
    let peer = format!("peer={} ", quiet.local_address());
    assert!(lines.iter().any(|line| line.contains(&peer)), "{lines:?}");
}

fn half_a_request() {
    let (daemon, http) = start(&["--stall-timeout", "1"]);
    let mut watch = RawClient::greeted(daemon.address(), 0);
    let mut idle = RawClient::greeted(daemon.address(), 0);
    let before = watch.stat("memory_connections_bytes");
    let value = vec![b'v'; 1 << 20];
    let starts = [3, 16, 100, 100_000, 1_000_000];
    let mut halves: Vec<RawClient> = starts
        .iter()
        .map(|&start| {
            let mut client = RawClient::greeted(daemon.address(), 0);
            let (bytes, _) = client.encode([put(b"k", &value)]);
            client.write(&bytes[..start]);
            client
        })
        .collect();
    let mut head = HttpClient::connect(&http);
    head.write(b"GET /healthz HTTP/1.1\r\nHost: ");
    wait_until(PATIENCE, "all to be closed", || watch.stat("connections_timed_out_request") == 6);
    halves.iter_mut().for_each(RawClient::wait_for_end);
    head.wait_for_end();
    let kept = watch.stat("memory_connections_bytes");
    assert!(kept <= before + (8 << 10), "{kept}, {before} before: their buffers are given back");
    assert_eq!(
        idle.call(&get(b"k")).status(),
        Status::NotFound,
        "idle is another thing, and nothing was put"
    );
    assert_eq!(watch.stat("connections_timed_out_idle"), 0);
    let line = "request not finished within --stall-timeout";
    wait_until(PATIENCE, line, || !lines_with(&daemon, line).is_empty());
}

fn answers_not_taken() {
    let (daemon, _) = start(&["--stall-timeout", "1"]);
    let mut watch = RawClient::greeted(daemon.address(), 0);
    let _ = watch.call(&put(b"k", &vec![b'v'; 1 << 20])).version();
    let mut greedy = RawClient::greeted(daemon.address(), 0);
    let (bytes, _) = greedy.encode((0..200).map(|_| get(b"k")));
    greedy.write(&bytes);
    wait_until(PATIENCE, "it to be closed", || watch.stat("connections_timed_out_answers") == 1);
    assert_eq!(watch.stat("connections"), 1);
    let line = "answers not taken within --stall-timeout";
    wait_until(PATIENCE, line, || !lines_with(&daemon, line).is_empty());
    // Who takes them, however slowly each comes, is not closed.
    let mut patient = RawClient::greeted(daemon.address(), 0);
    assert!(patient.pipeline((0..200).map(|_| get(b"k"))).iter().all(|answer| answer.status() == Status::Ok));
}

fn many() {
    let (daemon, _) = start(&["--idle-timeout", "1"]);
    // More than are looked at in one go.
    let mut clients: Vec<RawClient> = (0..1_500).map(|_| RawClient::connect(daemon.address())).collect();
    wait_until(PATIENCE, "all to be closed", || stat(&daemon, "connections_timed_out_idle") == 1_500);
    clients.iter_mut().for_each(RawClient::wait_for_end);
    assert_eq!(stat(&daemon, "connections_refused"), 0);
    wait_until(PATIENCE, "nobody to be left", || stat(&daemon, "connections") == 1);
    let lines = lines_with(&daemon, "connection timed out").len();
    assert!((1..200).contains(&lines), "few of them are written: {lines}");
}

fn stop() {
    let (mut daemon, _) = start(&["--idle-timeout", "1", "--stall-timeout", "1"]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    let names: Vec<String> = (0..10_000).map(|number| format!("key {number}")).collect();
    let (bytes, ids) = client.encode(names.iter().map(|name| put(name.as_bytes(), b"!")));
    client.write(&bytes);
    daemon.signal("TERM");
    assert!(client.answers_to(&ids).iter().all(|answer| answer.status() == Status::Ok));
    client.wait_for_end();
    assert_eq!(daemon.wait_for_exit(PATIENCE).code(), Some(0));
}
