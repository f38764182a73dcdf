//! `map`, `stats` and `ping`, with all daemons there, with one missing, and with none.

use std::collections::BTreeMap;
use std::process::Command;

use dht_client::Client;
use dht_tests::binaries;
use dht_tests::cluster::Cluster;
use dht_tests::process::Process;
use dht_tests::program::Program;
use dht_tests::wait::{PATIENCE, wait_until};

use super::assert_one_line;
use crate::registry::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("cli::map_stats_and_ping_of_three_daemons", three_daemons),
        Case::new("cli::watched_counters_have_rates", watched_counters),
        Case::new("cli::ctrl_c_ends_a_watch_well", ctrl_c_ends_a_watch),
        Case::new("cli::a_missing_daemon_is_named_and_the_others_shown", a_missing_daemon),
        Case::new("cli::no_server_is_one_line_that_says_what_to_do", no_server),
    ]
}

fn fill(cluster: &Cluster) {
    let client = Client::connect(&cluster.servers()).unwrap();
    for number in 100..400 {
        client.put(format!("{number}"), "four").unwrap();
    }
}

/// The lines of `map`: address, then partitions, keys and bytes.
#[track_caller]
fn map_lines(text: &str) -> BTreeMap<String, Vec<String>> {
    text.lines()
        .map(|line| {
            let mut fields = line.split('\t').map(str::to_owned);
            (fields.next().expect("a line has a field"), fields.collect())
        })
        .collect()
}

fn three_daemons() {
    let cluster = Cluster::start(3);
    fill(&cluster);
    // Told of one daemon, it finds all.
    let one = cluster.addresses().nth(1).expect("there are three");
    let run = |command: &str| {
        let output = Program::dht(one).arg(command).run().success();
        assert_eq!(output.stderr, "");
        output.stdout
    };
    let map = map_lines(&run("map"));
    assert_eq!(map.keys().map(String::as_str).collect::<Vec<_>>(), sorted(cluster.addresses()));
    let sum = |at: usize| -> u64 { map.values().map(|numbers| numbers[at].parse::<u64>().unwrap()).sum() };
    assert_eq!((sum(0), sum(1), sum(2)), (4_096, 300, 300 * (3 + 4)));

    let stats = run("stats");
    let numbers: Vec<(&str, u64)> = stats
        .lines()
        .map(|line| line.split_once(' ').map(|(name, digits)| (name, digits.parse().unwrap())).unwrap())
        .collect();
    let first_of_a_node = numbers.iter().position(|(name, _)| name.starts_with("node.")).unwrap();
    assert!(
        numbers[first_of_a_node..].iter().all(|(name, _)| name.starts_with("node.")),
        "totals come first"
    );
    let number = |name: &str| numbers.iter().find(|(other, _)| *other == name).expect("it is counted").1;
    assert_eq!((number("entries"), number("value_bytes"), number("partitions")), (300, 1_200, 4_096));
    for name in ["entries", "key_bytes", "requests_put"] {
        let of_nodes: u64 =
            cluster.addresses().map(|address| number(&format!("node.{address}.{name}"))).sum();
        assert_eq!(number(name), of_nodes, "{name}");
    }
    let greatest = cluster.addresses().map(|address| number(&format!("node.{address}.step_bytes_max"))).max();
    assert_eq!(Some(number("step_bytes_max")), greatest);

    let ping = run("ping");
    let answered: Vec<&str> = ping
        .lines()
        .map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
            [address, "ok", took] if took.strip_suffix(" ms").is_some_and(|ms| ms.parse::<f64>().is_ok()) => {
                address
            }
            _ => panic!("{line}"),
        })
        .collect();
    assert_eq!(answered, sorted(cluster.addresses()));
}

fn watched_counters() {
    let cluster = Cluster::start(3);
    let run = |arguments: &[&str]| Program::dht(&cluster.servers()).arg("stats").args(arguments).run();
    let output = run(&["--watch", "0.2", "--count", "3"]).success();
    assert!(output.stderr.is_empty() && !output.stdout.contains('\x1b'), "{}", output.report());
    let rounds: Vec<&str> = output.stdout.split_terminator("\n\n").collect();
    assert_eq!(rounds.len(), 3, "{}", output.report());
    assert!(rounds[0].lines().all(|line| line.split(' ').count() == 2), "{}", output.report());
    for round in &rounds[1..] {
        let fields = |name: &str| -> Vec<&str> {
            let line = round.lines().find(|line| line.split(' ').next() == Some(name));
            line.unwrap_or_else(|| panic!("{name}\n{}", output.report())).split(' ').collect()
        };
        assert_eq!(fields("partitions"), ["partitions", "4096"]);
        // Watching is itself what is counted: one request to each node in a round.
        let requests = fields("requests_stats");
        let rate: f64 = requests[2].strip_suffix("/s").unwrap().parse().unwrap();
        assert!(rate > 0.0 && rate.is_finite(), "{}", output.report());
    }
    for wrong in [&["--count", "3"][..], &["--watch", "0"], &["--watch", "--count", "0"]] {
        assert_eq!(run(wrong).exits(2).stdout, "");
    }
}

fn ctrl_c_ends_a_watch() {
    let cluster = Cluster::start(1);
    let mut command = Command::new(binaries::dht());
    command.args(["--servers", &cluster.servers(), "stats", "--watch", "60s"]);
    let mut process = Process::spawn(&mut command);
    wait_until(PATIENCE, "the first round", || process.stdout().ends_with("\n\n"));
    process.signal("INT");
    let status = process.wait_for_exit(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", process.report());
    assert_eq!(process.stderr(), "", "{}", process.report());
}

fn sorted<'a>(addresses: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut addresses: Vec<&str> = addresses.collect();
    addresses.sort_unstable();
    addresses
}

fn a_missing_daemon() {
    let mut cluster = Cluster::start(3);
    fill(&cluster);
    cluster.daemon(0).kill();
    let gone = cluster.addresses().next().expect("there are three");
    for command in ["map", "stats", "ping"] {
        let run = Program::dht(&cluster.servers()).args(["--timeout", "2s", command]).run();
        let output = run.exits(1);
        let named =
            output.stderr.lines().count() == 1 && output.stderr.starts_with(&format!("dht: {gone}: "));
        assert!(named, "{}", output.report());
        for address in cluster.addresses() {
            let shown = output.stdout.contains(address);
            assert_eq!(shown, command == "map" || address != gone, "{address}\n{}", output.report());
        }
        if command == "map" {
            let line = &map_lines(&output.stdout)[gone];
            assert_eq!((line[1].as_str(), line[2].as_str()), ("-", "-"), "nothing is known of its keys");
        }
    }
}

fn no_server() {
    let cluster = Cluster::start(1);
    let servers = cluster.servers();
    drop(cluster);
    for command in [
        &["get", "k"][..],
        &["put", "k", "v"],
        &["del", "k"],
        &["incr", "k"],
        &["cas", "k", "0", "v"],
        &["scan"],
        &["map"],
        &["stats"],
        &["ping"],
        &["export", "-", "--format", "csv"],
        &["import", "-", "--format", "csv"],
    ] {
        let output = Program::dht(&servers).args(command).run().exits(1);
        assert_one_line(&output, &["cannot reach", &servers, "check the address"]);
    }
}
