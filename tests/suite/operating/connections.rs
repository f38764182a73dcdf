//! How many connections there may be, and what becomes of those whose peer has gone.

use std::fs;
use std::process::Command;
use std::time::Instant;

use dht_protocol::status::Status;
use dht_tests::daemon::Daemon;
use dht_tests::program::Program;
use dht_tests::raw_client::{RawClient, hello_request};
use dht_tests::requests::{get, put};
use dht_tests::wait::{PATIENCE, wait_until};

use super::{connect_when_there_is_room, lines_with, start, start_limited};
use crate::http_client::HttpClient;
use crate::registry::Case;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("operating::connections_past_the_limit_are_closed_at_once", too_many),
        Case::new("operating::a_monitor_reaches_a_node_that_is_full", monitor),
        Case::new("operating::the_limit_of_descriptors_is_raised_and_bounds_connections", descriptors),
        Case::new("operating::without_descriptors_a_node_waits_and_recovers", no_descriptors)
            .needs(&["prlimit"]),
        Case::new("operating::the_system_watches_over_every_connection", keep_alive),
        Case::new("operating::limits_out_of_bounds_are_refused", bounds),
    ]
}

fn too_many() {
    let (daemon, _) = start(&["--max-connections", "3"]);
    let mut clients: Vec<RawClient> = (0..3).map(|_| RawClient::greeted(daemon.address(), 0)).collect();
    assert_eq!(clients[0].stat("connections_max"), 3);
    for _ in 0..20 {
        RawClient::connect(daemon.address()).wait_for_end();
    }
    assert_eq!(clients[0].stat("connections_refused"), 20);
    assert_eq!(clients[0].stat("connections"), 3);
    let lines = lines_with(&daemon, "connection refused");
    assert!((1..20).contains(&lines.len()), "each window of time has few: {lines:?}");
    assert!(lines[0].contains(" WARN ") && lines[0].contains("reason=\"--max-connections is reached\""));
    for _ in 0..5 {
        drop(clients.pop());
        clients.push(connect_when_there_is_room(daemon.address()));
        assert_eq!(clients[0].call(&put(b"k", b"v")).status(), Status::Ok);
    }
}

fn monitor() {
    let (daemon, http) = start(&["--max-connections", "2"]);
    let mut clients: Vec<RawClient> = (0..2).map(|_| RawClient::greeted(daemon.address(), 0)).collect();
    let mut monitors: Vec<HttpClient> = (0..8).map(|_| HttpClient::connect(&http)).collect();
    for monitor in &mut monitors {
        assert_eq!(monitor.get("/readyz").body, "ready\n");
    }
    HttpClient::connect(&http).wait_for_end();
    RawClient::connect(daemon.address()).wait_for_end();
    assert_eq!(clients[0].stat("connections"), 10);
    drop(monitors);
    wait_until(PATIENCE, "the monitors to have left", || clients[0].stat("connections") == 2);
    RawClient::connect(daemon.address()).wait_for_end();
    assert_eq!(HttpClient::connect(&http).get("/healthz").status(), 200);
}

fn soft_limit_of(daemon: &Daemon) -> u64 {
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.id())).expect("it runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("there is a limit");
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).expect("it is a number")
}

fn descriptors() {
    let raised = start_limited("ulimit -Sn 100; ulimit -Hn 500", "");
    assert_eq!(soft_limit_of(&raised), 500);
    let mut client = RawClient::greeted(raised.address(), 0);
    assert_eq!(client.stat("connections_max"), 500 - 32 - 2 - 8, "what it leaves room for");
    assert_eq!(lines_with(&raised, "max_connections=458").len(), 1);
    let lowered = start_limited("ulimit -n 100", "--max-connections 5000");
    let mut client = RawClient::greeted(lowered.address(), 0);
    assert_eq!(client.stat("connections_max"), 100 - 32 - 2 - 8);
    let warned = lines_with(&lowered, "ulimit -n");
    assert!(warned.len() == 1 && warned[0].contains("asked=5000 max_connections=58"), "{warned:?}");
    // As many as promised, and one more is refused rather than left waiting.
    let mut clients: Vec<RawClient> = (1..58).map(|_| RawClient::greeted(lowered.address(), 0)).collect();
    RawClient::connect(lowered.address()).wait_for_end();
    assert_eq!(clients[56].stat("accept_failures"), 0);
}

fn limit_descriptors(daemon: &Daemon, soft: usize) {
    let status = Command::new("prlimit")
        .args([format!("--pid={}", daemon.id()), format!("--nofile={soft}:")])
        .status()
        .expect("prlimit runs");
    assert!(status.success());
}

fn no_descriptors() {
    let (daemon, _) = start(&[]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    let other = RawClient::greeted(daemon.address(), 0);
    let open_count = fs::read_dir(format!("/proc/{}/fd", daemon.id())).expect("it runs").count();
    let begun = Instant::now();
    limit_descriptors(&daemon, open_count);
    // The system takes the connection; the daemon cannot.
    let mut waiting = RawClient::connect(daemon.address());
    let _ = waiting.send(&hello_request(0, 0));
    wait_until(PATIENCE, "several tries", || client.stat("accept_failures") >= 10);
    let failures = client.stat("accept_failures");
    // Two doors, each tried once in so long, and once more for whoever comes.
    let tries_max = 2 * (begun.elapsed().as_millis() as u64 / 50) + 5;
    assert!(failures <= tries_max, "{failures} tries, {tries_max} at most: it does not spin");
    let windows = begun.elapsed().as_secs() / 10 + 1;
    let lines = lines_with(&daemon, "cannot accept a connection").len() as u64;
    assert!((1..=3 * windows).contains(&lines), "{lines} lines of {failures} failures");
    assert_eq!(client.call(&get(b"k")).status(), Status::NotFound, "who is there is served");
    drop(other);
    assert_eq!(waiting.answer().status(), Status::Ok, "the first descriptor that is free is its");
    let mut next = RawClient::connect(daemon.address());
    let _ = next.send(&hello_request(0, 0));
    limit_descriptors(&daemon, 1_000);
    assert_eq!(next.answer().status(), Status::Ok);
    let settled = client.stat("accept_failures");
    drop(RawClient::greeted(daemon.address(), 0));
    assert_eq!(client.stat("accept_failures"), settled);
}

/// The port of `HOST:PORT` as `/proc/net/tcp` writes it.
fn port_of(address: &str) -> String {
    let port: u16 = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("it has a port");
    format!(":{port:04X}")
}

fn keep_alive() {
    /// The number of the keep-alive timer in the column `tr`.
    const KEEPALIVE_TIMER: &str = "02:";
    let (daemon, http) = start(&[]);
    let client = RawClient::greeted(daemon.address(), 0);
    let mut monitor = HttpClient::connect(&http);
    assert_eq!(monitor.get("/healthz").status(), 200);
    let (door, peer) = (port_of(daemon.address()), port_of(&client.local_address()));
    let timer = |door: &str, peer: &dyn Fn(&str) -> bool| {
        let table = fs::read_to_string("/proc/net/tcp").expect("the system shows its connections");
        let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let is_wanted = |line: &Vec<String>| line[1].ends_with(door) && peer(&line[2]) && line[3] == "01";
        table
            .lines()
            .skip(1)
            .map(columns)
            .find(is_wanted)
            .is_some_and(|line| line[5].starts_with(KEEPALIVE_TIMER))
    };
    // While an answer is under way another timer runs in its place.
    wait_until(PATIENCE, "the binary door's timer", || timer(&door, &|address| address.ends_with(&peer)));
    wait_until(PATIENCE, "the HTTP door's timer", || timer(&port_of(&http), &|_| true));
}

fn bounds() {
    for (arguments, words) in [
        (&["--max-connections", "0"][..], &["--max-connections", "1 to"][..]),
        (&["--max-connections", "65537", "--workers", "1"], &["65537", "1 to 65536"]),
        (&["--max-connections", "many"], &["--max-connections", "many"]),
        (&["--idle-timeout", "2592001"], &["--idle-timeout", "2592000 seconds"]),
        (&["--stall-timeout", "86401"], &["--stall-timeout", "86400 seconds"]),
        (&["--idle-timeout", "-1"], &["-1"]),
        (&["--slow-ms", "3600001"], &["--slow-ms", "3600000 milliseconds"]),
        (&["--log-level", "loud"], &["--log-level", "debug"]),
        (&["--log-format", "xml"], &["--log-format", "text or json"]),
        (&["dev", "--log-format", "xml"], &["--log-format", "text or json"]),
    ] {
        let output = Program::dhtd().args(arguments).run().exits(2);
        assert_eq!((output.stdout.as_str(), output.stderr.lines().count()), ("", 1), "{}", output.report());
        for word in words {
            assert!(output.stderr.contains(word), "{word}: {}", output.report());
        }
    }
    for (name, value) in [
        ("DHT_MAX_CONNECTIONS", "0"),
        ("DHT_IDLE_TIMEOUT", "long"),
        ("DHT_STALL_TIMEOUT", "-3"),
        ("DHT_SLOW_MS", "1.5"),
        ("DHT_LOG", "dht_server=debug"),
        ("DHT_LOG_FORMAT", "xml"),
    ] {
        let output = Program::dhtd().arg("--print-config").env(name, value).run().exits(2);
        assert_eq!(output.stderr.lines().count(), 1, "{name}: {}", output.report());
    }
}
