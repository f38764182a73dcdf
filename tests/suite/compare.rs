//! `dht-bench compare` with small numbers: what it measures, what it leaves out, and that nothing is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use dht_tests::binaries;
use dht_tests::process::Process;
use dht_tests::program::{Output, Program};
use dht_tests::wait::{PATIENCE, wait_until};
use serde_json::Value;

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("compare::every_server_is_measured_in_every_way", every_server_is_measured).heavy(),
        Case::new("compare::peers_that_are_not_installed_are_left_out_and_named", left_out).heavy(),
        Case::new("compare::a_peer_is_known_by_what_it_is", a_peer_by_its_path)
            .needs(&["redis-server"])
            .heavy(),
        Case::new("compare::wrong_usage_starts_nothing", wrong_usage),
        Case::new("compare::a_server_that_ends_is_told_and_the_others_are_stopped", a_server_that_ends),
        Case::new("compare::ctrl_c_stops_every_server", ctrl_c).heavy(),
        Case::new("compare::no_server_outlives_a_killed_comparison", killed).heavy(),
        Case::new("compare::the_picture_is_an_svg_file", picture).needs(&["python3"]).heavy(),
    ]
}

/// As little as shows everything.
const SMALL: [&str; 4] = ["--keys", "20000", "--seconds", "0.02"];

/// An environment variable that children inherit, by which they are found.
const MARK: &str = "COMPARE_TEST_MARK";

fn compare(rounds: usize, arguments: &[&str]) -> Program {
    Program::dht_bench().args(["compare", "--rounds", &rounds.to_string()]).args(SMALL).args(arguments)
}

#[track_caller]
fn json_of(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.report()))
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The names under `list`, which is an array of objects that have one.
#[track_caller]
fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap_or_else(|| panic!("no array: {list}"));
    list.iter().map(|of| of["name"].as_str().unwrap()).collect()
}

/// A figure that makes sense of itself: so many rounds, between lowest and highest, and none below `least`.
#[track_caller]
fn assert_series(figure: &Value, rounds: usize, least: f64) {
    let number = |name: &str| figure[name].as_f64().unwrap_or_else(|| panic!("no number {name} in {figure}"));
    let each = figure["rounds"].as_array().unwrap();
    assert_eq!(each.len(), rounds, "{figure}");
    assert!(least <= number("lowest") && number("lowest") <= number("median"), "{figure}");
    assert!(number("median") <= number("highest"), "{figure}");
    assert!(each.iter().any(|round| round.as_f64() == Some(number("highest"))), "{figure}");
}

/// Holds a comparison of `expected` servers against what its peers and limits say.
#[track_caller]
fn assert_comparison(comparison: &Value, expected: &[&str], has_limits: bool) {
    assert_eq!(names(&comparison["servers"]), expected);
    let best = &comparison["best_peer"];
    for figure in comparison["servers"].as_array().unwrap() {
        let ratio = &figure["ratio_to_best_peer"];
        assert_eq!(ratio.is_null(), best.is_null(), "{figure}");
        assert!(figure["name"] != *best || *ratio == 1.0, "{figure}");
        assert_eq!(figure["ratio_to_limit"].is_f64(), has_limits, "{figure}");
        let is_limit = figure["name"].as_str().unwrap().starts_with("limit-");
        assert!(!is_limit || figure["ratio_to_limit"] == 1.0, "{figure}");
    }
}

fn every_server_is_measured() {
    let output = compare(2, &["--peers", "redis,memcached", "--json", "-"]).run().success();
    let json = json_of(&output);
    let (redis, memcached) = (is_installed("redis-server"), is_installed("memcached"));
    let mut all = vec!["limit-binary", "dhtd-binary", "limit-resp", "dhtd-resp"];
    all.extend(redis.then_some("redis"));
    all.extend(memcached.then_some(["limit-memcached", "memcached"]).into_iter().flatten());
    let stores: Vec<&str> = all.iter().copied().filter(|name| !name.starts_with("limit-")).collect();
    assert_eq!(names(&json["servers"]), all, "{}", output.report());
    assert_eq!(json["left_out"].as_array().unwrap().len(), usize::from(!redis) + usize::from(!memcached));
    assert_eq!(json["date"].as_str().unwrap().len(), "2026-11-20".len());
    assert_eq!((&json["settings"]["keys"], &json["settings"]["rounds"]), (&20_000.into(), &2.into()));
    assert!(json["machine"]["kernel"].as_str().unwrap().starts_with("Linux "));
    assert_servers(&json);
    assert_eq!(
        (json["overhead"].as_array().unwrap().len(), &json["overhead"][0]["entries"]),
        (1, &20_000.into())
    );
    let memory = &json["overhead"][0]["overhead_bytes_per_entry"];
    assert_comparison(memory, &stores, false);
    memory["servers"].as_array().unwrap().iter().for_each(|figure| assert_series(figure, 2, -48.0));
    assert_cells(&json, &all);
    assert_open_loop(&json, &all);
    // People get the table, beside the lines of progress.
    for part in
        ["round 2 of 2: SET at pipeline 64", "20,000 entries, keys of 16 B", "overhead per entry, bytes"]
    {
        assert!(output.stderr.contains(part), "{part}: {}", output.report());
    }
}

/// What each server is.
#[track_caller]
fn assert_servers(json: &Value) {
    for server in json["servers"].as_array().unwrap() {
        let (name, version) = (server["name"].as_str().unwrap(), server["version"].as_str().unwrap());
        let (role, product) = match name.split('-').next().unwrap() {
            "limit" => ("limit", "dht-bench "),
            "dhtd" => ("ours", "dhtd "),
            "redis" => ("peer", "Redis "),
            _ => ("peer", "memcached "),
        };
        assert!(server["role"] == role && version.starts_with(product), "{server}");
        assert!(Path::new(server["program"].as_str().unwrap()).is_file(), "{server}");
    }
}

/// The loads, and a figure of each for every server.
#[track_caller]
fn assert_cells(json: &Value, all: &[&str]) {
    let cells = json["cells"].as_array().unwrap();
    let loads: Vec<(&str, u64, u64, u64)> = cells
        .iter()
        .map(|cell| {
            let number = |name: &str| cell[name].as_u64().unwrap();
            (
                cell["op"].as_str().unwrap(),
                number("pipeline"),
                number("connections"),
                number("keys_per_request"),
            )
        })
        .collect();
    let loads_of = |op, keys| [(op, 1, 50, keys), (op, 16, 8, keys), (op, 64, 8, keys)];
    assert_eq!(loads, [loads_of("get", 1), loads_of("set", 1), loads_of("mget", 100)].concat());
    for cell in cells {
        assert_comparison(&cell["cpu_ns_per_key"], all, true);
        cell["cpu_ns_per_key"]["servers"]
            .as_array()
            .unwrap()
            .iter()
            .for_each(|figure| assert_series(figure, 2, 1.0));
        assert_eq!(names(&cell["keys_per_second"]), all);
        cell["keys_per_second"].as_array().unwrap().iter().for_each(|figure| assert_series(figure, 2, 1.0));
    }
}

#[track_caller]
fn assert_open_loop(json: &Value, all: &[&str]) {
    let open = &json["open_loop"];
    assert!(open["requests_per_second"].as_f64().unwrap() >= 1.0 && open["connections"] == 50);
    let permilles: Vec<u64> =
        open["latency_us"].as_array().unwrap().iter().map(|of| of["permille"].as_u64().unwrap()).collect();
    assert_eq!(permilles, [500, 990, 999]);
    for quantile in open["latency_us"].as_array().unwrap() {
        assert_comparison(quantile, all, true);
        quantile["servers"].as_array().unwrap().iter().for_each(|figure| assert_series(figure, 2, 0.001));
    }
}

fn left_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.json");
    let daemon = binaries::dhtd();
    let arguments = ["--daemon", daemon.to_str().unwrap(), "--json", file.to_str().unwrap()];
    let output = compare(1, &arguments).env("PATH", folder.path()).run().success();
    for peer in ["redis: redis-server is not installed", "memcached: memcached is not installed"] {
        assert!(output.stdout.contains(&format!("left out  {peer}")), "{}", output.report());
        assert!(output.stderr.contains(&format!("leaving out {peer}")), "{}", output.report());
    }
    let json: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(names(&json["left_out"]), ["redis", "memcached"]);
    let all = ["limit-binary", "dhtd-binary", "limit-resp", "dhtd-resp"];
    assert_eq!(names(&json["servers"]), all, "no limit of a protocol that nobody speaks");
    assert_comparison(&json["cells"][0]["cpu_ns_per_key"], &all, true);
    assert_eq!(json["cells"][0]["cpu_ns_per_key"]["best_peer"], Value::Null);
}

fn a_peer_by_its_path() {
    let path = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|folder| folder.join("redis-server"))
        .find(|path| path.is_file())
        .unwrap();
    let peers = format!("other={}", path.display());
    let json = json_of(&compare(1, &["--peers", &peers, "--json", "-"]).run().success());
    let server = &json["servers"].as_array().unwrap()[4];
    assert_eq!((&server["name"], &server["protocol"]), (&"other".into(), &"resp".into()));
    assert!(server["version"].as_str().unwrap().starts_with("Redis "));
    assert_eq!(json["open_loop"]["latency_us"][0]["best_peer"], "other");
}

fn wrong_usage() {
    for (arguments, part) in [
        (&["--peers", "etcd"][..], "etcd is no known peer"),
        (&["--peers", "mine=/no/such/file"], "/no/such/file is no program"),
        (&["--peers", "mine=/bin/true"], "none of Redis, Valkey, KeyDB and memcached"),
        (&["--daemon", "/no/such/file"], "--daemon /no/such/file"),
        (&["--daemon", "/bin/true"], "is no dhtd"),
        (&["--rounds", "0"], "--rounds is 0"),
        (&["--keys", "20000", "--full"], "--full"),
        (&["--config", "/no/such/file"], "/no/such/file"),
    ] {
        let output = Program::dht_bench().arg("compare").args(arguments).run().exits(2);
        assert!(
            output.stderr.starts_with("dht-bench: ") && output.stderr.contains(part),
            "{}",
            output.report()
        );
        assert!(output.stderr.lines().count() == 1 && output.stdout.is_empty(), "{}", output.report());
    }
    let output = compare(1, &["--svg", "/no/such/folder/a.svg"]).run().exits(1);
    assert!(output.stderr.contains("cannot write /no/such/folder/a.svg"), "{}", output.report());
    let printed = compare(1, &["--print-config"]).run().success();
    assert!(printed.stdout.contains("keys = 20000\n") && printed.stderr.is_empty(), "{}", printed.report());
}

/// A program that says to be Redis and does `rest` when it is started as that.
fn pretender(folder: &Path, rest: &str) -> PathBuf {
    let path = folder.join("pretender");
    let script =
        format!("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Redis server v=7.0.0 sha=0' && exit\n{rest}\n");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn a_server_that_ends() {
    let folder = tempfile::tempdir().unwrap();
    let program = pretender(folder.path(), "echo 'no such luck' >&2; exit 3");
    let peers = format!("unlucky={}", program.display());
    let mark = mark("ends");
    let output = compare(1, &["--peers", &peers]).env(MARK, &mark).run().exits(1);
    let last = output.stderr.lines().last().unwrap_or_default();
    let said = "dht-bench: unlucky has ended (exit status: 3); it printed: no such luck";
    assert_eq!(last, said, "{}", output.report());
    assert!(output.stdout.is_empty(), "{}", output.report());
    assert_eq!(marked(&mark), [0u32; 0], "processes that are left");
}

/// A mark that no other process has.
fn mark(of: &str) -> String {
    format!("{of}-{}", std::process::id())
}

/// The processes that have inherited that mark.
fn marked(mark: &str) -> Vec<u32> {
    let wanted = format!("{MARK}={mark}").into_bytes();
    let has_mark = |id: &u32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == wanted)
    };
    let processes = fs::read_dir("/proc").unwrap();
    processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(has_mark).collect()
}

/// A comparison that takes long, once all of its servers run.
fn long_comparison(mark: &str) -> Process {
    let mut command = Command::new(binaries::dht_bench());
    command.args(["compare", "--keys", "2000000", "--peers", "redis,memcached"]).env(MARK, mark);
    let process = Process::spawn(&mut command);
    wait_until(PATIENCE, "the load begins", || process.stderr().contains("filling to"));
    assert!(marked(mark).len() > 4, "the comparison, two daemons and two limit loops at least");
    process
}

fn ctrl_c() {
    for signal in ["INT", "TERM"] {
        let mark = mark(signal);
        let mut process = long_comparison(&mark);
        process.signal(signal);
        let status = process.wait_for_exit(PATIENCE);
        assert_eq!(status.code(), Some(1), "{}", process.report());
        assert!(process.stderr().ends_with("there are no figures\n"), "{}", process.report());
        assert_eq!(marked(&mark), [0u32; 0], "processes that are left\n{}", process.report());
    }
}

fn killed() {
    let mark = mark("killed");
    let mut process = long_comparison(&mark);
    process.kill();
    wait_until(PATIENCE, "the system ends the servers", || marked(&mark).is_empty());
}

fn picture() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.svg");
    let output = compare(1, &["--svg", file.to_str().unwrap()]).run().success();
    assert!(output.stdout.contains("server CPU per GET, ns"), "{}", output.report());
    let script = "import sys, xml.etree.ElementTree as t\n\
                  root = t.parse(sys.argv[1]).getroot()\n\
                  tags = [of.tag.rsplit('}')[-1] for of in root.iter()]\n\
                  print(tags[0], tags.count('rect') > 40, tags.count('text') > 40)";
    let parsed = Program::new("python3").args(["-c", script]).arg(&file).run().success();
    assert_eq!(parsed.stdout, "svg True True\n");
}
