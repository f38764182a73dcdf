//! The wall clock steps by years, forwards and backwards. The daemon measures time by a clock that does not.

use std::fs;
use std::path::Path;
use std::process::Command;

use dht_protocol::status::Status;
use dht_tests::binaries;
use dht_tests::daemon::Daemon;
use dht_tests::program::Program;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{add, first, get, put, retry};
use dht_tests::siege::Siege;
use dht_tests::wait::{PATIENCE, wait_until};

use super::NOISE_BYTES;
use crate::http_client::HttpClient;
use crate::registry::Case;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("hostile::the_wall_clock_steps_by_years", steps).needs(&["faketime"])]
}

fn steps() {
    let directory = tempfile::tempdir().unwrap();
    let offset = directory.path().join("offset");
    step_to(&offset, "+0");
    let mut daemon = Daemon::start_command(&mut daemon_with_clock(&offset));
    let http = daemon.wait_for_line(PATIENCE, "the line `http HOST:PORT`", |line| {
        line.strip_prefix("http ").map(str::to_owned)
    });
    let year = || -> u32 {
        let answer = HttpClient::connect(&http).get("/healthz");
        let date = answer.field("Date").to_owned();
        date.split(' ').nth(3).and_then(|year| year.parse().ok()).expect("a date has a year")
    };
    let this_year = year();
    Siege::new("clock steps", NOISE_BYTES, NOISE_BYTES).run(&mut daemon, |field| {
        let mut client = RawClient::greeted(field.address(), 7);
        assert_eq!(client.call(&put(b"old", b"value")).status(), Status::Ok);
        let years = [("+3650d", 10), ("-3650d", -10), ("-7300d", -20), ("+0", 0), ("+36500d", 100)];
        for (seq, (step, apart)) in (1..).zip(years) {
            let write = add(b"counter", 1);
            let counted = client.call(&first(write, seq, seq)).counted();
            step_to(&offset, step);
            // A leap year more or less may lie in between.
            wait_until(PATIENCE, "the daemon's wall clock to step", || {
                year().abs_diff(this_year.saturating_add_signed(apart)) <= 1
            });
            // What it remembers of writes is as young as it was, and nothing has run out.
            assert_eq!(client.call(&retry(write, seq, seq)).counted(), counted, "applied once, at {step}");
            assert_eq!(client.call(&get(b"old")).found().2, b"value");
            field.wait_for_bystander(50);
        }
        let figures = HttpClient::connect(&http).get("/metrics").body;
        let sum = figures.lines().find_map(|line| line.strip_prefix("dht_request_duration_seconds_sum "));
        let seconds: f64 = sum.and_then(|sum| sum.parse().ok()).expect("the durations are summed up");
        assert!(seconds < 60.0, "no request took years: {seconds} s");
    });
    step_to(&offset, "-3650d");
    daemon.signal("TERM");
    assert_eq!(daemon.wait_for_exit(PATIENCE).code(), Some(0));
}

/// A daemon whose wall clock is off by what stands in the file `offset`, looked up at every reading.
fn daemon_with_clock(offset: &Path) -> Command {
    // The program starts others under its library and waits for them; the library alone leaves the daemon our child.
    let print = "printf %s \"$LD_PRELOAD\"";
    let library = Program::new("faketime").args(["-f", "+0", "sh", "-c", print]).run().success().stdout;
    assert!(library.contains("libfaketime"), "{library:?}");
    let mut command = Command::new(binaries::dhtd());
    command
        .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--memory-limit", "64MiB"])
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", offset)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    command
}

/// Puts an offset in place whole, as a reader may come at any moment.
fn step_to(offset: &Path, text: &str) {
    let next = offset.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(&next, offset).unwrap();
}
