//! The HTTP door of a real daemon: every path, every refusal, and peers that send or take too slowly.

use std::net::TcpStream;

use dht_protocol::status::Status;
use dht_tests::daemon::Daemon;
use dht_tests::program::Program;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{get, put};
use dht_tests::wait::{PATIENCE, wait_until};

use crate::http_client::{HttpClient, start};
use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("http::every_path_answers", every_path),
        Case::new("http::a_head_is_an_answer_without_its_body", heads),
        Case::new("http::requests_may_be_pipelined_and_cut_anywhere", pipelined),
        Case::new("http::connections_stay_open_or_end_as_asked", keep_alive),
        Case::new("http::what_is_refused_leaves_the_connection_open_where_that_is_safe", refusals),
        Case::new("http::what_is_no_request_ends_the_connection", malformed),
        Case::new("http::a_head_has_a_limit", long_heads),
        Case::new("http::who_takes_no_answers_holds_up_nobody_else", slow_client),
        Case::new("http::a_node_that_stops_is_not_ready", stopping),
        Case::new("http::each_door_refuses_the_other_s_protocol", wrong_door),
        Case::new("http::there_is_no_door_unless_asked_for", off),
        Case::new("http::an_address_in_use_is_named", in_use),
        Case::new("http::curl_is_served", curl).needs(&["curl"]),
    ]
}

fn every_path() {
    let (_daemon, address) = start();
    let mut client = HttpClient::connect(&address);
    for (path, status, body) in [
        ("/healthz", 200, "ok\n"),
        ("/readyz", 200, "ready\n"),
        ("/readyz?verbose=1", 200, "ready\n"),
        ("http://node/healthz", 200, "ok\n"),
        ("/nothing", 404, "there is nothing here; / lists what there is\n"),
        ("/metrics/", 404, "there is nothing here; / lists what there is\n"),
        ("/../healthz", 404, "there is nothing here; / lists what there is\n"),
    ] {
        let answer = client.get(path);
        assert_eq!((answer.status(), answer.body.as_str()), (status, body), "{path}");
        assert_eq!(answer.field("Content-Type"), "text/plain; charset=utf-8");
        assert!(answer.field("Date").ends_with(" GMT"), "{answer:?}");
        assert!(!answer.says_close(), "{path}");
    }
    let index = client.get("/");
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert!(index.body.contains(path), "{}", index.body);
    }
    let metrics = client.get("/metrics");
    assert_eq!(metrics.field("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(metrics.body.starts_with("# HELP dht_"), "{}", metrics.body);
}

fn heads() {
    let (_daemon, address) = start();
    let mut client = HttpClient::connect(&address);
    client.write(b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\nHEAD /no HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.head();
    assert_eq!((answer.status(), answer.field("Content-Length")), (200, "3"));
    assert_eq!(client.head().status(), 404);
    assert_eq!(client.get("/healthz").body, "ok\n", "no body stands in between");
}

fn pipelined() {
    let (_daemon, address) = start();
    let request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /readyz HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = HttpClient::connect(&address);
    client.write(&request.repeat(5_000));
    for _ in 0..5_000 {
        assert_eq!(client.answer().body, "ok\n");
        assert_eq!(client.answer().body, "ready\n");
    }
    for end in 1..request.len() {
        client.write(&request[..end]);
        // An answer to what is whole by then: the daemon has most likely read the rest by itself.
        client.write(&request[end..]);
        assert_eq!((client.answer().body, client.answer().body), ("ok\n".into(), "ready\n".into()), "{end}");
    }
    for &byte in request {
        client.write(&[byte]);
    }
    assert_eq!((client.answer().status(), client.answer().status()), (200, 200));
}

fn keep_alive() {
    let (_daemon, address) = start();
    for (request, stays) in [
        (&b"GET /healthz HTTP/1.0\r\n\r\n"[..], false),
        (b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", true),
    ] {
        let mut client = HttpClient::connect(&address);
        client.write(request);
        let answer = client.answer();
        assert_eq!((answer.status(), answer.says_close()), (200, !stays), "{answer:?}");
        if stays {
            assert_eq!(client.get("/readyz").body, "ready\n");
            client.finish_writing();
        }
        client.wait_for_end();
    }
    // What stands behind the last request is not answered.
    let mut client = HttpClient::connect(&address);
    client.write(b"GET /healthz HTTP/1.0\r\n\r\nGET /readyz HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().body, "ok\n");
    client.wait_for_end();
}

fn refusals() {
    let (_daemon, address) = start();
    let mut client = HttpClient::connect(&address);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "get"] {
        client
            .write(format!("{method} /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").as_bytes());
        let answer = client.answer();
        assert_eq!((answer.status(), answer.field("Allow"), answer.says_close()), (405, "GET, HEAD", false));
    }
    assert_eq!(client.get("/healthz").status(), 200);
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 413),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
        ("POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 405),
    ] {
        let mut client = HttpClient::connect(&address);
        client.write(request.as_bytes());
        let answer = client.answer();
        assert_eq!((answer.status(), answer.says_close()), (status, true), "{request:?}");
        client.wait_for_end();
    }
}

fn malformed() {
    let (daemon, address) = start();
    for request in [
        "nonsense\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /healthz HTTP/3.0\r\nHost: a\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ] {
        let mut client = HttpClient::connect(&address);
        // A good one before it is answered, one behind it is not.
        let good = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write([good, request, good].concat().as_bytes());
        assert_eq!(client.answer().status(), 200);
        let answer = client.answer();
        assert_eq!((answer.status(), answer.says_close()), (400, true), "{request:?}");
        client.wait_for_end();
    }
    let mut client = RawClient::greeted(daemon.address(), 0);
    assert_eq!(client.stat("frames_refused"), 6);
    assert_eq!(client.stat("http_requests"), 6);
}

fn long_heads() {
    let (_daemon, address) = start();
    let head = |bytes: usize| {
        let start = "GET /healthz HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4))
    };
    let mut client = HttpClient::connect(&address);
    client.write(head(8_192).as_bytes());
    assert_eq!(client.answer().status(), 200);
    client.write(head(8_193).as_bytes());
    let answer = client.answer();
    assert_eq!((answer.status(), answer.says_close()), (431, true));
    client.wait_for_end();
    // Nobody waits for the end of a head that will not come.
    let mut client = HttpClient::connect(&address);
    client.write(&[b'x'; 8_192]);
    assert_eq!(client.answer().status(), 431);
    client.wait_for_end();
}

/// A request with a long answer, and as many of it as no buffers on the way take the answers of.
const LONG_ANSWER: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
const LONG_ANSWERS_COUNT: usize = 4_000;

/// A client whose answers are held up because it does not take them.
fn greedy_client(daemon: &Daemon, address: &str, last: &[u8]) -> (HttpClient, RawClient) {
    let mut watch = RawClient::greeted(daemon.address(), 0);
    let mut greedy = HttpClient::connect(address);
    greedy.write(&[&LONG_ANSWER.repeat(LONG_ANSWERS_COUNT), last].concat());
    wait_until(PATIENCE, "its answers to be held up", || watch.stat("output_stalls") > 0);
    (greedy, watch)
}

fn slow_client() {
    let (daemon, address) = start();
    let (mut greedy, mut watch) = greedy_client(&daemon, &address, b"");
    assert!(watch.stat("memory_connections_bytes") < 8 << 20);
    // At both doors, and by every worker.
    for _ in 0..10 {
        assert_eq!(HttpClient::connect(&address).get("/healthz").status(), 200);
        assert_eq!(RawClient::greeted(daemon.address(), 0).call(&get(b"k")).status(), Status::NotFound);
    }
    for _ in 0..LONG_ANSWERS_COUNT {
        assert_eq!(greedy.answer().status(), 200);
    }
    assert_eq!(greedy.get("/healthz").body, "ok\n");
}

fn stopping() {
    let (mut daemon, address) = start();
    let last = b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut greedy, _watch) = greedy_client(&daemon, &address, last);
    daemon.signal("TERM");
    wait_until(PATIENCE, "the doors to close", || TcpStream::connect(&address).is_err());
    // What was asked before the stop is answered, and by now the answer is another.
    for _ in 0..LONG_ANSWERS_COUNT {
        assert_eq!(greedy.answer().status(), 200);
    }
    let (ready, healthy) = (greedy.answer(), greedy.answer());
    assert_eq!((ready.status(), ready.body.as_str()), (503, "stopping\n"));
    assert_eq!(healthy.status(), 200);
    greedy.wait_for_end();
    assert_eq!(daemon.wait_for_exit(PATIENCE).code(), Some(0));
}

fn wrong_door() {
    let (daemon, address) = start();
    let mut binary_at_http = HttpClient::connect(&address);
    binary_at_http.write(&RawClient::connect(daemon.address()).encode([put(b"key", b"value")]).0);
    let answer = binary_at_http.answer();
    assert_eq!((answer.status(), answer.says_close()), (400, true));
    binary_at_http.wait_for_end();

    let mut http_at_binary = RawClient::connect(daemon.address());
    http_at_binary.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(http_at_binary.answer().status(), Status::TooLarge);
    http_at_binary.wait_for_end();
    assert_eq!(HttpClient::connect(&address).get("/healthz").status(), 200);
}

fn off() {
    let daemon = Daemon::start(&["--memory-limit", "64MiB"]);
    let _ = RawClient::greeted(daemon.address(), 0);
    assert_eq!(daemon.stdout().lines().count(), 1, "{}", daemon.report());
}

fn in_use() {
    let (_daemon, address) = start();
    let failed = Program::dhtd().args(["--listen", "127.0.0.1:0", "--http", &address]).run().exits(1);
    let said = failed.stderr.lines().filter(|line| line.starts_with("dhtd: ")).collect::<String>();
    assert!(said.contains(&address) && said.contains("in use") && said.contains("--http"), "{said}");
    let failed = Program::dhtd().args(["--http", "nonsense"]).run().exits(2);
    assert!(failed.stderr.contains("--http"), "{}", failed.stderr);
}

fn curl() {
    let (_daemon, address) = start();
    let fetch = |arguments: &[&str], path: &str| {
        let url = format!("http://{address}{path}");
        Program::new("curl").args(["-sS", "--noproxy", "*"]).args(arguments).arg(url).run().success().stdout
    };
    assert_eq!(fetch(&[], "/healthz"), "ok\n");
    assert_eq!(fetch(&["--http1.0"], "/readyz"), "ready\n");
    let head = fetch(&["--head"], "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("version=0.0.4"), "{head}");
    let status = ["-o", "/dev/null", "-w", "%{http_code}"];
    assert_eq!(fetch(&[&status[..], &["-d", "a=b"]].concat(), "/metrics"), "405");
    assert_eq!(fetch(&status, "/nothing"), "404");
}
