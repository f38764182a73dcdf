//! What an operator relies on: limits of connections and of silence, the slow log, and settings that change while a
//! daemon serves.

mod connections;
mod help;
mod reload;
mod silence;
mod slow_log;

use std::process::Command;

use dht_tests::binaries;
use dht_tests::daemon::Daemon;
use dht_tests::raw_client::{RawClient, hello_request};
use dht_tests::wait::{PATIENCE, wait_for};

use crate::registry::Case;

/// The tests of this file and of those below it.
pub(crate) fn cases() -> Vec<Case> {
    [connections::cases, help::cases, reload::cases, silence::cases, slow_log::cases]
        .iter()
        .flat_map(|cases| cases())
        .collect()
}

/// A daemon with one worker, an HTTP door, and `arguments`; and the address of that door.
#[track_caller]
fn start(arguments: &[&str]) -> (Daemon, String) {
    let common = ["--workers", "1", "--memory-limit", "256MiB", "--http", "127.0.0.1:0"];
    let mut daemon = Daemon::start(&[&common[..], arguments].concat());
    let http = daemon.wait_for_line(PATIENCE, "the line `http HOST:PORT`", |line| {
        line.strip_prefix("http ").map(str::to_owned)
    });
    (daemon, http)
}

/// A daemon that a shell has limited before.
#[track_caller]
fn start_limited(limits: &str, arguments: &str) -> Daemon {
    let dhtd = binaries::dhtd();
    let script = format!("{limits}; exec {} --listen 127.0.0.1:0 --workers 1 {arguments}", dhtd.display());
    Daemon::start_command(Command::new("sh").args(["-c", &script]))
}

/// Connects until somebody is answered: the seat of who has just left is free once the daemon has noticed.
#[track_caller]
fn connect_when_there_is_room(address: &str) -> RawClient {
    let served = wait_for(PATIENCE, || {
        let mut client = RawClient::connect(address);
        let (bytes, _) = client.encode([hello_request(0, 0)]);
        // Who is refused may be told so by a reset, while he writes or while he reads.
        let answered = client.try_write(&bytes).and_then(|_| client.try_answer());
        answered.is_ok_and(|answer| answer.is_some()).then_some(client)
    });
    served.expect("there is room for one more in time")
}

/// Lines of its log so far that contain `words`.
fn lines_with(daemon: &Daemon, words: &str) -> Vec<String> {
    daemon.stderr().lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}
