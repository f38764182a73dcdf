//! `dht-bench run` with small numbers: what it leaves in the cluster, and whether its figures add up.

use std::fs;
use std::process::Command;

use dht_client::Client;
use dht_tests::binaries;
use dht_tests::cluster::Cluster;
use dht_tests::process::Process;
use dht_tests::program::{Output, Program};
use dht_tests::wait::{PATIENCE, wait_until};
use serde_json::Value;

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("bench::load_inserts_every_key_once", load_inserts_every_key_once),
        Case::new("bench::the_figures_of_a_mix_add_up", the_figures_of_a_mix_add_up),
        Case::new("bench::every_ycsb_workload_has_its_mix", ycsb_workloads),
        Case::new("bench::inserts_add_the_keys_that_they_count", inserts_add_keys),
        Case::new("bench::a_rate_is_kept_to_and_what_cannot_be_is_told", rates),
        Case::new("bench::without_a_load_reads_miss", without_a_load_reads_miss),
        Case::new("bench::the_same_seed_draws_the_same_operations", the_same_seed),
        Case::new("bench::figures_go_to_a_file_and_the_table_to_people", figures_and_table),
        Case::new("bench::ctrl_c_gives_the_figures_so_far", ctrl_c),
        Case::new("bench::what_cannot_be_measured_is_one_line", failures),
    ]
}

fn bench(cluster: &Cluster, arguments: &[&str]) -> Output {
    let servers = cluster.servers();
    // Small enough for two cores, and not a multiple of anything.
    let common = ["--connections", "3", "--pipeline", "5", "--threads", "2", "--json", "-"];
    Program::dht_bench().args(["run", "--servers", &servers]).args(common).args(arguments).run()
}

/// The figures of a run that had no error.
#[track_caller]
fn figures(cluster: &Cluster, arguments: &[&str]) -> Value {
    let output = bench(cluster, arguments).success();
    let json: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.report()));
    assert_eq!((&json["errors"], &json["nodes"]), (&0.into(), &3.into()), "{}", output.report());
    assert_eq!(json.get("first_error"), None);
    assert_eq!(json["interrupted"], false);
    let [ops, seconds, rate] = ["ops", "seconds", "ops_per_second"].map(|name| number(&json, name));
    assert!(seconds > 0.0 && (rate - ops / seconds).abs() <= rate / 1e6, "{json}");
    let outcomes: f64 = ["hits", "misses", "writes"].map(|name| number(&json, name)).iter().sum();
    assert!((outcomes - ops).abs() < f64::EPSILON, "{json}");
    let by_kind: f64 = KINDS.map(|kind| number(&json["operations"][kind], "ops")).iter().sum();
    assert!((by_kind - ops).abs() < f64::EPSILON, "{json}");
    let latency = &json["latency_us"];
    let rising = ["p50", "p90", "p99", "p999", "max"].map(|name| number(latency, name));
    assert!(rising.is_sorted() && rising[0] > 0.0 && number(latency, "mean") <= rising[4], "{latency}");
    json
}

/// The kinds of operations in a report.
const KINDS: [&str; 5] = ["read", "update", "insert", "scan", "read_modify_write"];

fn number(json: &Value, name: &str) -> f64 {
    json[name].as_f64().unwrap_or_else(|| panic!("no number {name} in {json}"))
}

fn load_inserts_every_key_once() {
    for (keys, key_size, value_size) in [(1_000, 16, 32), (1, 1, 0), (37, 100, 5_000)] {
        let cluster = Cluster::start(3);
        let settings = [("--keys", keys), ("--key-size", key_size), ("--value-size", value_size)];
        let settings: Vec<String> =
            settings.iter().flat_map(|(name, number)| [(*name).to_owned(), number.to_string()]).collect();
        let mut arguments = vec!["--workload", "load"];
        arguments.extend(settings.iter().map(String::as_str));
        let json = figures(&cluster, &arguments);
        assert_eq!(json["ops"], keys);
        assert_eq!(
            (&json["settings"]["workload"], &json["settings"]["keys"]),
            (&"load".into(), &keys.into())
        );
        let client = Client::connect(&cluster.servers()).unwrap();
        let mut entries_count = 0;
        for entry in client.iter() {
            let entry = entry.unwrap();
            assert_eq!(entry.key.as_bytes().len(), key_size);
            assert_eq!(entry.value.to_wire().1.len(), value_size);
            entries_count += 1;
        }
        assert_eq!(entries_count, keys);
        let puts: u64 = client
            .stats()
            .into_iter()
            .flat_map(|(_, stats)| stats.unwrap())
            .filter(|(name, _)| name == "requests_put")
            .map(|(_, count)| count)
            .sum();
        assert_eq!(puts, keys as u64, "each key was put once");
    }
}

fn the_figures_of_a_mix_add_up() {
    let cluster = Cluster::start(3);
    for distribution in ["uniform", "zipfian"] {
        for (share, least, most) in [("0", 0, 0), ("0.5", 4_000, 6_000), ("1", 10_000, 10_000)] {
            let arguments =
                ["--keys", "500", "--ops", "10000", "--read-share", share, "--distribution", distribution];
            let json = figures(&cluster, &arguments);
            assert_eq!(json["ops"], 10_000);
            assert_eq!(json["misses"], 0, "every key was loaded");
            let hits = json["hits"].as_u64().unwrap();
            assert!((least..=most).contains(&hits), "{hits} of 10,000 operations at a share of {share}");
            assert_eq!(json["settings"]["distribution"], distribution);
        }
    }
    let client = Client::connect(&cluster.servers()).unwrap();
    assert_eq!(client.iter().count(), 500, "overwrites add no key");
}

fn ycsb_workloads() {
    let cluster = Cluster::start(3);
    // Shares of the kinds, in percent.
    for (workload, distribution, shares) in [
        ("a", "zipfian", [50, 50, 0, 0, 0]),
        ("b", "zipfian", [95, 5, 0, 0, 0]),
        ("c", "zipfian", [100, 0, 0, 0, 0]),
        ("d", "latest", [95, 0, 5, 0, 0]),
        ("e", "zipfian", [0, 0, 5, 95, 0]),
        ("f", "zipfian", [50, 0, 0, 0, 50]),
    ] {
        let json = figures(&cluster, &["--workload", workload, "--keys", "1000", "--ops", "4000"]);
        assert_eq!((&json["ops"], &json["misses"]), (&4_000.into(), &0.into()), "{workload}: all is there");
        assert_eq!(
            (&json["settings"]["workload"], &json["settings"]["distribution"]),
            (&workload.into(), &distribution.into())
        );
        for (kind, share) in KINDS.into_iter().zip(shares) {
            let of_kind = &json["operations"][kind];
            let (ops, wanted) = (number(of_kind, "ops"), f64::from(share * 40));
            assert!(
                (ops - wanted).abs() < 160.0 && (wanted > 0.0) == (ops > 0.0),
                "{workload} {kind}: {ops}"
            );
            assert_eq!(number(&of_kind["latency_us"], "p50") > 0.0, ops > 0.0, "{workload} {kind}");
        }
    }
    let json =
        figures(&cluster, &["--workload", "a", "--distribution", "latest", "--keys", "100", "--ops", "500"]);
    assert_eq!((&json["settings"]["distribution"], &json["misses"]), (&"latest".into(), &0.into()));
}

fn inserts_add_keys() {
    let cluster = Cluster::start(3);
    let client = Client::connect(&cluster.servers()).unwrap();
    let mut keys_count = 500;
    for (workload, distribution) in [("d", "latest"), ("e", "uniform")] {
        let json = figures(
            &cluster,
            &["--workload", workload, "--distribution", distribution, "--keys", "500", "--ops", "3000"],
        );
        // The second run inserts the same keys as the first, and perhaps more.
        keys_count = keys_count.max(500 + json["operations"]["insert"]["ops"].as_u64().unwrap() as usize);
        assert_eq!(client.iter().count(), keys_count, "{workload}");
    }
}

fn rates() {
    let cluster = Cluster::start(3);
    let json = figures(&cluster, &["--workload", "b", "--keys", "100", "--rate", "500", "--ops", "400"]);
    let rate = &json["rate"];
    assert_eq!((&json["ops"], &rate["backlog"], &rate["unanswered"]), (&400.into(), &0.into(), &0.into()));
    assert_eq!((number(rate, "intended"), &rate["achieved"]), (500.0, &json["ops_per_second"]));
    // However slow the machine is, operations do not come before their time.
    assert!(number(rate, "achieved") < 510.0 && number(&json, "seconds") > 0.78, "{json}");
    assert_eq!(figures(&cluster, &["--keys", "10", "--ops", "10"]).get("rate"), None);

    // More than three connections of one request can do: the rest is told, and latencies rise to what they are.
    let flood = ["--workload", "c", "--keys", "100", "--rate", "100000000", "--seconds", "0.3"];
    let json = figures(&cluster, &flood);
    let rate = &json["rate"];
    let due = number(rate, "backlog") + number(rate, "unanswered") + number(&json, "ops");
    assert!((due - 30e6).abs() <= 2.0, "each operation is in one place: {json}");
    assert!(number(rate, "backlog") > 1e6 && number(&json["latency_us"], "p99") > 100_000.0, "{json}");
}

fn without_a_load_reads_miss() {
    let cluster = Cluster::start(3);
    let reads = ["--no-load", "--keys", "300", "--ops", "2000", "--read-share", "1"];
    let json = figures(&cluster, &reads);
    assert_eq!((&json["hits"], &json["misses"], &json["ops"]), (&0.into(), &2_000.into(), &2_000.into()));
    figures(&cluster, &["--workload", "load", "--keys", "300"]);
    let json = figures(&cluster, &reads);
    assert_eq!((&json["hits"], &json["misses"]), (&2_000.into(), &0.into()), "the load names the same keys");
}

fn the_same_seed() {
    let cluster = Cluster::start(3);
    figures(&cluster, &["--workload", "load", "--keys", "100"]);
    let hits = |seed: &str| {
        let reads = ["--no-load", "--read-share", "1", "--keys", "200", "--ops", "3001", "--seed", seed];
        figures(&cluster, &reads)["hits"].clone()
    };
    assert_eq!(hits("7"), hits("7"));
    let others = ["1", "2", "3", "4"].map(hits);
    assert!(others.iter().any(|count| *count != others[0]), "{others:?}");
}

fn figures_and_table() {
    let cluster = Cluster::start(3);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("figures.json");
    let path = file.display().to_string();
    let output = Program::dht_bench()
        .args(["run", "--servers", &cluster.servers(), "--keys", "100", "--ops", "500", "--json", &path])
        .run()
        .success();
    let json: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(json["ops"], 500);
    for part in ["ops/s", "errors", "hits", "p99.9", "95 % reads, uniform, 100 keys of 16 B"] {
        assert!(output.stdout.contains(part), "{part}\n{}", output.report());
    }
    let to_stdout = bench(&cluster, &["--keys", "100", "--ops", "500"]).success();
    assert!(
        to_stdout.stdout.starts_with('{') && to_stdout.stderr.contains("ops/s"),
        "{}",
        to_stdout.report()
    );
    let short = figures(&cluster, &["--keys", "100", "--seconds", "0.2", "--warm-up", "0.1"]);
    assert!((0.15..5.0).contains(&number(&short, "seconds")), "{short}");
}

fn ctrl_c() {
    let cluster = Cluster::start(3);
    let client = Client::connect(&cluster.servers()).unwrap();
    let mut command = Command::new(binaries::dht_bench());
    command.args(["run", "--servers", &cluster.servers(), "--no-load", "--seconds", "600", "--json", "-"]);
    let mut process = Process::spawn(&mut command);
    // 100,000 keys, and one in twenty operations is a write.
    wait_until(PATIENCE, "the first writes", || client.iter().page_size(1).next().is_some());
    process.signal("INT");
    let status = process.wait_for_exit(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", process.report());
    let json: Value = serde_json::from_str(&process.stdout()).unwrap();
    assert_eq!((&json["interrupted"], &json["errors"]), (&true.into(), &0.into()), "{}", process.report());
    assert!(number(&json, "ops") > 0.0 && number(&json, "seconds") < 100.0);
    assert!(process.stderr().contains("ended before its time"), "{}", process.report());
}

fn failures() {
    let cluster = Cluster::start(1);
    let servers = cluster.servers();
    let fails = |arguments: &[&str], code: i32, parts: &[&str]| {
        let run = Program::dht_bench().args(arguments).run();
        let output = run.exits(code);
        let one_line = output.stderr.starts_with("dht-bench: ") && output.stderr.lines().count() == 1;
        let says = parts.iter().all(|part| output.stderr.contains(part));
        assert!(one_line && says && output.stdout.is_empty(), "{parts:?}\n{}", output.report());
    };
    for (setting, part) in [
        (["--keys", "0"], "--keys"),
        (["--key-size", "0"], "--key-size"),
        (["--read-share", "1.5"], "--read-share"),
        (["--workload", "q"], "'q'"),
        (["--distribution", "normal"], "'normal'"),
        (["--threads", "9"], "--connections"),
        (["--seconds", "soon"], "soon"),
    ] {
        fails(&["run", "--servers", &servers, setting[0], setting[1]], 2, &[part]);
    }
    fails(&["run", "--servers", &servers, "--keys", "70000", "--key-size", "1"], 2, &["--key-size"]);
    fails(&["run", "--servers", &servers, "--workload", "load", "--ops", "5"], 2, &["--ops"]);
    fails(&["run", "--servers", &servers, "--ops", "5", "--seconds", "1"], 2, &["--seconds"]);
    fails(&[], 2, &["name a command"]);
    fails(&["run", "--servers", &servers, "--json", "/no/such/file.json"], 1, &["/no/such/file.json"]);
    drop(cluster);
    fails(&["run", "--servers", &servers], 1, &["cannot reach", &servers, "check the address"]);
}
