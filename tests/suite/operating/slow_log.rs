//! The slow log, and lines of the log as JSON.

use dht_protocol::cursor::Cursor;
use dht_protocol::status::Status;
use dht_tests::daemon::Daemon;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{append, get, put, scan};
use dht_tests::wait::{PATIENCE, wait_until};

use super::{lines_with, start};
use crate::registry::Case;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("operating::the_slow_log_says_what_took_long", slow_requests),
        Case::new("operating::a_slow_log_of_everything_is_held_to_a_number_of_lines", everything),
        Case::new("operating::json_log_lines_are_objects_with_fields", json_lines),
        Case::new("operating::the_log_level_is_a_flag_before_the_environment", levels),
    ]
}

const KEY: &[u8] = b"KeyOfTheUser";
/// Copying it takes more than a millisecond.
const LONG_BYTES: usize = 15 << 20;

fn slow_requests() {
    let (daemon, _) = start(&["--slow-ms", "1"]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    let long = b"ValueOfTheUser".repeat(LONG_BYTES / 14);
    let _ = client.call(&put(KEY, &long)).version();
    let _ = client.call(&append(KEY, b"!")).appended();
    let appends = || lines_with(&daemon, "slow request: operation=APPEND");
    wait_until(PATIENCE, "the line of the append", || !appends().is_empty());
    let line = appends().remove(0);
    let field = |name: &str| {
        let found = line.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("no {name} in {line}")).to_owned()
    };
    assert!(line.contains(" WARN "), "{line}");
    assert!(field("took_ms").parse::<f64>().expect("a time") >= 1.0);
    assert!(field("partition").parse::<u32>().expect("a partition") < 4_096);
    assert_eq!(field("peer"), client.local_address());
    let request_bytes: usize = field("request_bytes").parse().expect("a size");
    assert!((16 + KEY.len()..100).contains(&request_bytes), "{line}");
    assert!(field("answer_bytes").parse::<usize>().expect("a size") >= 16);
    assert!(client.stat("slow_requests") >= 1);
    assert!(!daemon.stderr().contains("OfTheUser"), "{}", daemon.stderr());
    // Nothing is slow by default, nor at a threshold that nothing reaches.
    for arguments in [&[][..], &["--slow-ms", "3600000"]] {
        let (daemon, _) = start(arguments);
        let mut client = RawClient::greeted(daemon.address(), 0);
        let _ = client.call(&put(KEY, &long)).version();
        let _ = client.call(&append(KEY, b"!")).appended();
        assert_eq!(client.stat("slow_requests"), 0);
        assert!(lines_with(&daemon, "slow request").is_empty());
    }
}

fn everything() {
    let (daemon, _) = start(&["--slow-ms", "0"]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    let _ = client.call(&get(KEY));
    let partitions: Vec<[u8; 4]> = (0..8_u32).map(u32::to_be_bytes).collect();
    let _ = client.call(&scan(Cursor::START, 10, b"", &partitions));
    let get_lines = || lines_with(&daemon, "operation=GET ");
    wait_until(PATIENCE, "its lines", || {
        !get_lines().is_empty() && !lines_with(&daemon, "operation=SCAN").is_empty()
    });
    let scan_line = lines_with(&daemon, "operation=SCAN").remove(0);
    assert!(!scan_line.contains("partition="), "a scan asks for several: {scan_line}");
    let before = client.stat("slow_requests");
    let answers = client.pipeline((0..20_000).map(|_| get(KEY)));
    assert!(answers.iter().all(|answer| answer.status() == Status::NotFound));
    assert_eq!(client.stat("slow_requests") - before, 20_001, "all are counted");
    let lines = get_lines().len();
    assert!(lines < 2_000, "{lines} lines: few are written");
}

/// The lines of its log as objects.
#[track_caller]
fn objects(daemon: &Daemon) -> Vec<serde_json::Value> {
    let text = daemon.stderr();
    let object = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    text.lines().map(object).collect()
}

fn json_lines() {
    let (mut daemon, _) = start(&["--log-format", "json", "--log-level", "debug", "--slow-ms", "0"]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    let _ = client.call(&put(KEY, b"ValueOfTheUser")).version();
    client.write(&[0, 0, 0, 1]);
    // The refusal of what is no frame, if it comes, and the end.
    while client.answer_or_end().is_some() {}
    daemon.signal("TERM");
    assert_eq!(daemon.wait_for_exit(PATIENCE).code(), Some(0));
    let objects = objects(&daemon);
    for object in &objects {
        let ts = object["ts"].as_str().expect("a time");
        let shape: String = ts.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{object}");
        assert!(["error", "warn", "info", "debug"].contains(&object["level"].as_str().expect("a level")));
        assert!(!object["message"].as_str().expect("a message").is_empty());
        assert!(!object.to_string().contains("OfTheUser"), "{object}");
    }
    let of = |message: &str| {
        let found = objects.iter().find(|object| object["message"] == message);
        found.unwrap_or_else(|| panic!("no {message:?}: {}", daemon.stderr()))
    };
    assert_eq!(of("started")["listen"], daemon.address());
    assert_eq!(of("started")["workers"], 1);
    assert_eq!(of("stopping")["reason"], "SIGTERM");
    assert_eq!(of("frame refused")["peer"], client.local_address().as_str());
    assert_eq!(of("frame refused")["level"], "warn");
    assert_eq!(of("connection closed")["level"], "debug");
    assert!(of("slow request")["took_ms"].is_number() && of("slow request")["operation"].is_string());
}

fn levels() {
    let mut command = std::process::Command::new(dht_tests::binaries::dhtd());
    command.args(["--listen", "127.0.0.1:0", "--log-level", "error"]).env("DHT_LOG", "debug");
    let mut daemon = Daemon::start_command(&mut command);
    let _ = RawClient::greeted(daemon.address(), 0);
    daemon.signal("TERM");
    assert_eq!(daemon.wait_for_exit(PATIENCE).code(), Some(0));
    assert_eq!(daemon.stderr(), "");
    let (daemon, _) = start(&["--log-level", "debug"]);
    let client = RawClient::greeted(daemon.address(), 0);
    let opened = format!("connection opened: peer={}", client.local_address());
    wait_until(PATIENCE, "the line of a connection", || !lines_with(&daemon, &opened).is_empty());
}
