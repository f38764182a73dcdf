//! SIGHUP: the configuration file read again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dht_protocol::status::Status;
use dht_tests::binaries;
use dht_tests::daemon::Daemon;
use dht_tests::process::Process;
use dht_tests::program::Program;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{get, put};
use dht_tests::wait::{PATIENCE, wait_until};
use tempfile::TempDir;

use super::{connect_when_there_is_room, lines_with, start};
use crate::registry::Case;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("operating::sighup_puts_in_force_what_the_file_says_now", reread),
        Case::new("operating::sighup_names_what_needs_a_restart", needs_restart),
        Case::new("operating::sighup_with_a_broken_file_changes_nothing", broken),
        Case::new("operating::sighup_without_a_file_is_written_and_nothing_more", no_file),
        Case::new("operating::sighup_again_and_again_under_load", under_load),
        Case::new("operating::sighup_stops_dhtd_dev", dev),
        Case::new("operating::every_setting_comes_from_flag_environment_and_file", every_source),
    ]
}

struct Configured {
    daemon: Daemon,
    path: PathBuf,
    reloads: usize,
    _directory: TempDir,
}

impl Configured {
    fn start(text: &str, arguments: &[&str]) -> Configured {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("dhtd.toml");
        fs::write(&path, text).expect("the file can be written");
        let name = path.display().to_string();
        let daemon = Daemon::start(&[&["--config", &name][..], arguments].concat());
        Configured { daemon, path, reloads: 0, _directory: directory }
    }

    /// Writes `text`, sends SIGHUP, and waits until the daemon has spoken of it.
    #[track_caller]
    fn reload(&mut self, text: &str) {
        fs::write(&self.path, text).expect("the file can be written");
        self.daemon.signal("HUP");
        self.reloads += 1;
        let (daemon, wanted) = (&self.daemon, self.reloads);
        wait_until(PATIENCE, "a line of the SIGHUP", || lines_with(daemon, "SIGHUP").len() == wanted);
    }

    #[track_caller]
    fn wait_for(&self, words: &str) {
        wait_until(PATIENCE, words, || !lines_with(&self.daemon, words).is_empty());
    }
}

fn reread() {
    let first = "workers = 1\nmemory-limit = \"64MiB\"\nmax-connections = 2\n";
    let mut configured = Configured::start(first, &["--stall-timeout", "7"]);
    let address = configured.daemon.address().to_owned();
    let mut client = RawClient::greeted(&address, 0);
    let mut quiet = RawClient::greeted(&address, 0);
    RawClient::connect(&address).wait_for_end();
    configured.reload("workers = 1\nmemory-limit = \"64MiB\"\nmax-connections = 60000\n");
    configured.wait_for("setting=max-connections from=2 to=");
    let max = client.stat("connections_max");
    if max < 60_000 {
        configured.wait_for(&format!("asked=60000 max_connections={max}"));
    }
    configured.reload("workers = 1\nmemory-limit = \"64MiB\"\nmax-connections = 2\n");
    configured.reload(
        "workers = 1\nmemory-limit = \"128MiB\"\nmax-connections = 9\nslow-ms = 0\nstall-timeout = 3\n\
         shutdown-timeout = 1\n",
    );
    for words in [
        "setting changed: setting=memory-limit from=64MiB to=128MiB",
        "setting changed: setting=max-connections from=2 to=9",
        "setting changed: setting=slow-ms from=none to=0",
        "setting changed: setting=shutdown-timeout from=10 to=1",
    ] {
        configured.wait_for(words);
    }
    assert!(lines_with(&configured.daemon, "stall-timeout").is_empty(), "the flag goes before the file");
    assert!(lines_with(&configured.daemon, "restart").is_empty());
    assert_eq!((client.stat("connections_max"), client.stat("memory_limit_bytes")), (9, 128 << 20));
    assert!(client.stat("slow_requests") > 0);
    let mut third = RawClient::greeted(&address, 0);
    // A time-out that begins now, for connections that are there already.
    configured.reload("workers = 1\nmemory-limit = \"128MiB\"\nmax-connections = 1\nidle-timeout = 1\n");
    configured.wait_for("setting=slow-ms from=0 to=none");
    quiet.wait_for_end();
    client.wait_for_end();
    third.wait_for_end();
    let mut last = connect_when_there_is_room(&address);
    assert_eq!((last.stat("connections_max"), last.stat("connections_timed_out_idle")), (1, 3));
    let slow = last.stat("slow_requests");
    assert_eq!(last.stat("slow_requests"), slow, "no request is timed any more");
    // Lines fall silent behind the word that they will, and can be called for again.
    configured
        .reload("workers = 1\nmemory-limit = \"128MiB\"\nlog-level = \"error\"\nlog-format = \"json\"\n");
    configured.wait_for("\"setting\":\"log-level\",\"from\":\"info\",\"to\":\"error\"");
    let lines = configured.daemon.stderr().lines().count();
    configured.daemon.signal("TERM");
    assert_eq!(configured.daemon.wait_for_exit(PATIENCE).code(), Some(0));
    let text = configured.daemon.stderr();
    let stopped = text.lines().skip(lines).filter(|line| line.contains("stopping")).count();
    assert_eq!(stopped, 0, "{text}");
}

fn needs_restart() {
    let mut configured = Configured::start("workers = 1\npartitions = 64\n", &[]);
    let mut client = RawClient::greeted(configured.daemon.address(), 0);
    for round in 1..=2 {
        configured.reload(
            "workers = 2\npartitions = 32\nidle-timeout = 1000\nhash-key = \"000102030405060708090a0b0c0d0e0f\"\n",
        );
        for words in ["setting=workers from=1 to=2", "setting=partitions from=64 to=32", "setting=hash-key"] {
            wait_until(PATIENCE, words, || lines_with(&configured.daemon, words).len() == round);
            let line = lines_with(&configured.daemon, words).remove(0);
            assert!(line.contains(" WARN ") && line.contains("needs a restart"), "{line}");
        }
    }
    assert!(!configured.daemon.stderr().contains("00010203"), "the key of the hash is a secret");
    assert_eq!(
        lines_with(&configured.daemon, "setting=idle-timeout").len(),
        1,
        "it is in force since the first"
    );
    assert_eq!((client.stat("workers"), client.stat("partitions")), (1, 64));
}

fn broken() {
    let mut configured = Configured::start("workers = 1\nmax-connections = 5\n", &[]);
    let mut client = RawClient::greeted(configured.daemon.address(), 0);
    for text in [
        "max-connections = ",
        "max-connections = 0\n",
        "max-conections = 7\n",
        "log-level = \"loud\"\n",
        "http = \"nonsense\"\n",
    ] {
        configured.reload(text);
        let line = lines_with(&configured.daemon, "SIGHUP").pop().expect("it was waited for");
        assert!(line.contains(" ERROR ") && line.contains("the old settings stay"), "{line}");
        assert_eq!(client.stat("connections_max"), 5);
    }
    fs::remove_file(&configured.path).expect("it is there");
    configured.daemon.signal("HUP");
    wait_until(PATIENCE, "the missing file to be named", || {
        let lines = lines_with(&configured.daemon, "cannot use the configuration file");
        lines.iter().any(|line| line.contains("No such file"))
    });
    configured.reloads += 1;
    configured.reload("workers = 1\nmax-connections = 6\n");
    wait_until(PATIENCE, "the corrected file", || client.stat("connections_max") == 6);
}

fn no_file() {
    let (daemon, _) = start(&[]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    daemon.signal("HUP");
    wait_until(PATIENCE, "the word on it", || lines_with(&daemon, "nothing to read again").len() == 1);
    assert_eq!(client.call(&get(b"k")).status(), Status::NotFound);
}

fn under_load() {
    let mut configured = Configured::start("workers = 2\n", &[]);
    let address = configured.daemon.address().to_owned();
    let working = std::thread::spawn(move || {
        let mut client = RawClient::greeted(&address, 0);
        for number in 0..200 {
            let names: Vec<String> = (0..100).map(|at| format!("{number}.{at}")).collect();
            let answers = client.pipeline(names.iter().map(|name| put(name.as_bytes(), b"v")));
            assert!(answers.iter().all(|answer| answer.status() == Status::Ok));
        }
    });
    for round in 0..20 {
        let (slow, idle) = if round % 2 == 0 { ("slow-ms = 0\n", 1) } else { ("", 2) };
        configured.reload(&format!(
            "workers = 2\n{slow}idle-timeout = {idle}\nmemory-limit = \"{}MiB\"\n",
            64 + round
        ));
    }
    working.join().expect("everything was answered");
}

fn dev() {
    let mut process = Process::spawn(Command::new(binaries::dhtd()).args([
        "dev",
        "--nodes",
        "2",
        "--base-port",
        "0",
        "--memory-limit",
        "64MiB",
    ]));
    process
        .wait_for_line(PATIENCE, "the end of the welcome", |line| line.starts_with("Ctrl-C").then_some(()));
    let address =
        process.stdout().lines().nth(1).and_then(|row| row.split_whitespace().nth(1).map(str::to_owned));
    let mut client = RawClient::greeted(&address.expect("a table with a node"), 0);
    process.signal("HUP");
    client.wait_for_end();
    assert_eq!(process.wait_for_exit(PATIENCE).code(), Some(0));
    assert!(process.stdout().contains("SIGHUP: stopping 2 nodes"), "{}", process.report());
}

/// Each new setting with a value for flag, variable and file.
const SETTINGS: [(&str, &str, [&str; 3]); 6] = [
    ("max-connections", "DHT_MAX_CONNECTIONS", ["11", "12", "13"]),
    ("idle-timeout", "DHT_IDLE_TIMEOUT", ["21", "22", "23"]),
    ("stall-timeout", "DHT_STALL_TIMEOUT", ["31", "32", "0"]),
    ("slow-ms", "DHT_SLOW_MS", ["41", "0", "43"]),
    ("log-level", "DHT_LOG", ["\"warn\"", "\"debug\"", "\"off\""]),
    ("log-format", "DHT_LOG_FORMAT", ["\"text\"", "\"json\"", "\"json\""]),
];

fn shows(program: Program, line: &str) {
    let shown = program.arg("--print-config").run().success().stdout;
    assert!(shown.lines().any(|found| found == line), "{line}: {shown}");
}

fn every_source() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path: &Path = &directory.path().join("dhtd.toml");
    for (name, variable, [flag, by_environment, by_file]) in SETTINGS {
        let plain = |text: &str| text.trim_matches('"').to_owned();
        for spelling in [name.to_owned(), name.replace('-', "_")] {
            fs::write(path, format!("{spelling} = {by_file}\n")).expect("the file can be written");
            let with_file = || Program::dhtd().env("DHT_CONFIG", path);
            shows(with_file(), &format!("{name} = {by_file}"));
            let with_both = || with_file().env(variable, plain(by_environment));
            shows(with_both(), &format!("{name} = {by_environment}"));
            shows(with_both().arg(format!("--{name}={}", plain(flag))), &format!("{name} = {flag}"));
        }
    }
}
