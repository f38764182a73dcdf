//! What `/metrics` says: its form, that it agrees with `STATS`, and that it moves with what is done.

use std::collections::BTreeMap;

use dht_protocol::op::Op;
use dht_protocol::request::Request;
use dht_protocol::response::Response;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{add, delete, get, put};

use crate::http_client::{HttpClient, parse_figures, start};
use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("http_metrics::they_agree_with_stats", agreement),
        Case::new("http_metrics::they_move_with_what_is_done", movement),
        Case::new("http_metrics::no_key_and_no_value_is_in_them", secrecy),
    ]
}

fn figures(client: &mut HttpClient) -> BTreeMap<String, f64> {
    parse_figures(&client.get("/metrics").body)
}

/// The name in `/metrics` of a counter of `STATS`, spelled out here once more so that neither changes unseen.
fn figure_of(stat: &str) -> String {
    let labelled = |prefix: &str, of: &str| {
        let value = stat.strip_prefix(prefix)?;
        Some(of.replace('*', value))
    };
    let memory_kind = || {
        let kind = stat.strip_prefix("memory_")?.strip_suffix("_bytes")?;
        let is_kind = !["limit", "used"].contains(&kind);
        is_kind.then(|| format!("dht_memory_bytes{{kind=\"{kind}\"}}"))
    };
    let found = labelled("requests_", "dht_requests_total{operation=\"*\"}")
        .or_else(|| labelled("connections_timed_out_", "dht_connections_timed_out_total{reason=\"*\"}"))
        .or_else(|| labelled("resp_", "dht_resp_commands_total{command=\"*\"}"))
        .or_else(|| labelled("answers_", "dht_answers_total{status=\"*\"}"))
        .or_else(memory_kind);
    let step_kind = || {
        let (kind, of) = stat.split_once('_')?;
        if !["growth", "compaction", "maintenance"].contains(&kind) {
            return None;
        }
        Some(match of {
            "steps" | "timed_steps" => format!("dht_{stat}_total"),
            "bytes_max" => format!("dht_{kind}_max_bytes"),
            "slots_max" => format!("dht_{stat}"),
            _ => format!("dht_{kind}_cpu_seconds{{quantile=\"{}\"}}", of.strip_prefix("cpu_ns_")?),
        })
    };
    let found = found.or_else(step_kind);
    let plain = match stat {
        "bytes_in" => "received_bytes_total",
        "bytes_out" => "sent_bytes_total",
        "step_bytes_max" => "step_max_bytes",
        "connections_total" => "connections_total",
        "connections_refused"
        | "connections_refused_busy"
        | "accept_failures"
        | "slow_requests"
        | "frames_refused"
        | "output_stalls"
        | "stale_events"
        | "commands_refused"
        | "peer_requests"
        | "peer_failures"
        | "http_requests" => &format!("{stat}_total"),
        other => other,
    };
    found.unwrap_or_else(|| format!("dht_{plain}"))
}

fn agreement() {
    let (daemon, address) = start();
    let mut client = RawClient::greeted(daemon.address(), 1);
    for number in 0..1_000 {
        let _ = client.call(&put(format!("key {number}").as_bytes(), &[7; 100])).version();
    }
    let mut watch = HttpClient::connect(&address);
    assert_eq!(watch.get("/healthz").status(), 200, "it counts as a connection from here on");
    let answer = client.call(&Request::Stats);
    let Response::Stats(stats) = answer.decode(Op::Stats) else { panic!("no counters") };
    let figures = figures(&mut watch);
    let mut compared = 0;
    for (stat, value) in stats.iter().filter(|(name, _)| name != "uptime_ms") {
        let found = figures.get(&figure_of(stat)).unwrap_or_else(|| panic!("{stat} is missing"));
        let value = &if stat.contains("_ns_") { *value as f64 / 1e9 } else { *value as f64 };
        // These have moved by the time of the second look: by what the two looks themselves took.
        let slack = match stat.as_ref() {
            "bytes_in" | "bytes_out" => 64e3,
            "memory_used_bytes" | "memory_connections_bytes" => 64e3,
            "http_requests" | "answers_ok" | "requests_stats" => 100.0,
            // Housekeeping may do something in between.
            stat if stat.starts_with("maintenance_cpu_ns_") => 1.0,
            stat if stat.starts_with("maintenance_") => 64e3,
            "stale_events" => 10.0,
            _ => 0.0,
        };
        assert!((found - value).abs() <= slack, "{stat} is {value} in STATS and {found} in /metrics");
        compared += 1;
    }
    let others = figures.keys().filter(|name| {
        !name.starts_with("dht_request_duration_seconds") && !name.starts_with("dht_build_info")
    });
    assert_eq!(others.count(), compared + 1, "all but the time since the start");
}

fn movement() {
    let (daemon, address) = start();
    let mut watch = HttpClient::connect(&address);
    let before = figures(&mut watch);
    let mut client = RawClient::greeted(daemon.address(), 0);
    let _ = client.pipeline((0..300).map(|_| get(b"nothing")));
    let _ = client.call(&put(b"k", b"12345")).version();
    let _ = client.call(&put(b"gone", b"")).version();
    let _ = client.call(&delete(b"gone")).version();
    let _ = client.call(&add(b"n", 1)).counted();
    let after = figures(&mut watch);
    let moved = |name: &str| after[name] - before[name];
    for (name, by) in [
        ("dht_requests_total{operation=\"get\"}", 300.0),
        ("dht_requests_total{operation=\"put\"}", 2.0),
        ("dht_requests_total{operation=\"delete\"}", 1.0),
        ("dht_requests_total{operation=\"add\"}", 1.0),
        ("dht_answers_total{status=\"not_found\"}", 300.0),
        ("dht_entries", 2.0),
        ("dht_key_bytes", 2.0),
        ("dht_connections", 1.0),
        ("dht_connections_total", 1.0),
        ("dht_connections_refused_total", 0.0),
        ("dht_http_requests_total", 1.0),
    ] {
        assert_eq!(moved(name), by, "{name}");
    }
    // Every request is in the histogram, and none took no time.
    let requests: f64 =
        after.iter().filter(|(name, _)| name.starts_with("dht_requests_total")).map(|(_, n)| n).sum();
    assert_eq!(after["dht_request_duration_seconds_count"], requests);
    assert!(after["dht_request_duration_seconds_sum"] > 0.0);
    assert!(moved("dht_received_bytes_total") > 300.0 * 16.0);
    assert!(moved("dht_sent_bytes_total") > 300.0 * 16.0);
    assert!(after["dht_memory_used_bytes"] > 0.0 && after["dht_memory_limit_bytes"] == f64::from(64 << 20));
    assert!(after["dht_uptime_seconds"] > 0.0);
}

fn secrecy() {
    let (daemon, address) = start();
    let mut client = RawClient::greeted(daemon.address(), 0);
    let _ = client.call(&put(b"KeyOfTheUser", b"ValueOfTheUser")).version();
    let text = HttpClient::connect(&address).get("/metrics").body;
    assert!(!text.contains("OfTheUser"), "{text}");
}
