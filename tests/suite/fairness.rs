//! Nobody waits for somebody else's long work: not a connection, and not a stop.

use std::io::Write;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use dht_protocol::header::Header;
use dht_protocol::ids::{Epoch, RequestId};
use dht_protocol::status::Status;
use dht_tests::daemon::Daemon;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{append, put};
use dht_tests::wait::{PATIENCE, wait_for};

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "fairness::a_connection_with_much_to_do_lets_others_have_their_turn",
            others_have_their_turn,
        ),
        Case::new("fairness::a_stop_does_not_wait_for_a_member_that_trickles", trickling_member),
    ]
}

/// A turn was once bounded in bytes alone: a few kilobytes of requests that copy megabytes kept a worker from all
/// its other connections for seconds.
fn others_have_their_turn() {
    const APPENDS: u64 = 200;
    let daemon = Daemon::start(&["--workers", "1"]);
    let mut busy = RawClient::greeted(daemon.address(), 0);
    let mut other = RawClient::greeted(daemon.address(), 0);
    let long = vec![7; 15 << 20];
    assert_eq!(busy.call(&put(b"long", &long)).status(), Status::Ok);
    let ids: Vec<RequestId> = (0..APPENDS).map(|_| busy.send(&append(b"long", b"x"))).collect();
    let seen = wait_for(PATIENCE, || {
        let done = other.stat("requests_append");
        assert!(done < APPENDS, "all were done before another connection had its turn");
        (done > 0).then_some(done)
    });
    assert!(seen.is_some(), "the appends were never begun");
    for answer in busy.answers_to(&ids) {
        assert_eq!(answer.status(), Status::Ok);
    }
}

/// A stop once waited for the greeting of a member that answered a byte at a time, each within its time-out.
fn trickling_member() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let trickler = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let header = Header { version: 1, code: 0, flags: 0, request_id: RequestId(1), epoch: Epoch(1) };
            let bytes = [header.encode(2_000).to_vec(), vec![0; 2_000]].concat();
            // Ends when the daemon closes, or with the test.
            for byte in bytes {
                if stream.write_all(&[byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
    });
    let mut daemon = Daemon::start(&["--members", "-", "--shutdown-timeout", "1"]);
    let members = format!("{},{trickler}\n", daemon.address());
    daemon.write_stdin(members.as_bytes());
    let _ = RawClient::greeted(daemon.address(), 0).map();
    let begun = Instant::now();
    daemon.signal("TERM");
    assert_eq!(daemon.wait_for_exit(PATIENCE).code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
}
