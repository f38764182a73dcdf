//! How a node starts, stops, and says why it does not start.

use std::net::TcpListener;
use std::time::Duration;

use dht_protocol::status::Status;
use dht_tests::cluster::Cluster;
use dht_tests::daemon::Daemon;
use dht_tests::program::{Output, Program};
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{exists, get, put};
use dht_tests::wait::{PATIENCE, wait_until};

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("lifecycle::a_node_says_that_it_is_ready_and_where", ready),
        Case::new("lifecycle::sigint_stops_a_node", sigint),
        Case::new("lifecycle::sigterm_answers_every_write_that_was_sent", sigterm_writes),
        Case::new("lifecycle::sigterm_answers_more_than_a_read_and_a_buffer_hold", sigterm_stalled),
        Case::new("lifecycle::sigterm_answers_long_frames_that_were_sent", sigterm_long_frames),
        Case::new("lifecycle::peers_that_keep_asking_do_not_hold_a_stop_up", sigterm_busy),
        Case::new("lifecycle::a_peer_that_takes_no_answers_holds_a_stop_up_for_its_time", sigterm_not_taken),
        Case::new("lifecycle::a_port_in_use_is_one_line_and_exit_1", port_in_use),
        Case::new("lifecycle::wrong_usage_is_one_line_and_exit_2", wrong_usage),
        Case::new("lifecycle::a_wrong_file_is_one_line_and_exit_2", wrong_file),
        Case::new("lifecycle::print_config_is_a_file_that_gives_the_same", print_config),
        Case::new("lifecycle::flags_come_before_environment_before_file", precedence),
        Case::new("lifecycle::help_and_version_go_to_standard_output", help),
        Case::new("lifecycle::a_node_ends_with_its_standard_input", standard_input),
    ]
}

/// One line on standard error that mentions `words`, nothing on standard output, and that exit code.
#[track_caller]
fn complains(program: Program, code: i32, words: &[&str]) {
    let output: Output = program.deadline(PATIENCE).run().exits(code);
    assert_eq!(output.stdout, "", "{}", output.report());
    assert_eq!(output.stderr.lines().count(), 1, "one line: {}", output.report());
    assert!(output.stderr.starts_with("dhtd: "), "{}", output.report());
    for word in words {
        assert!(output.stderr.contains(word), "{word:?} is missing: {}", output.report());
    }
}

fn ready() {
    let daemon = Daemon::start(&[]);
    assert_eq!(daemon.stdout(), format!("ready {}\n", daemon.address()));
    assert!(daemon.address().starts_with("127.0.0.1:"));
    let mut client = RawClient::greeted(daemon.address(), 0);
    let map = client.map();
    assert_eq!(map.nodes().len(), 1);
    assert_eq!(map.nodes()[0].address, daemon.address());
    let named = Daemon::start(&["--listen", "localhost:0"]);
    let address = RawClient::greeted(named.address(), 0).map().nodes()[0].address.clone();
    assert!(address.starts_with("localhost:"), "reached in the words in which it was told to listen");
}

fn sigint() {
    let mut daemon = Daemon::start(&[]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    daemon.signal("INT");
    client.wait_for_end();
    assert_eq!(daemon.wait_for_exit(PATIENCE).code(), Some(0));
    assert!(daemon.stderr().contains("SIGINT"));
}

/// Sends `bytes` on a connection of its own, tells `daemon` to stop once the system has taken all of them, and
/// expects an answer to each of `count` requests, an orderly end, and exit code 0.
fn stop_after(daemon: &mut Daemon, mut client: RawClient, bytes: &[u8], count: usize) {
    client.write(bytes);
    daemon.signal("TERM");
    for at in 0..count {
        let answer = client.answer_or_end();
        let answer = answer.unwrap_or_else(|| panic!("{at} of {count} answers, then the end"));
        assert_eq!(answer.status(), Status::Ok);
    }
    client.wait_for_end();
    assert_eq!(daemon.wait_for_exit(PATIENCE).code(), Some(0));
}

fn sigterm_writes() {
    for _ in 0..10 {
        let mut daemon = Daemon::start(&[]);
        let mut client = RawClient::greeted(daemon.address(), 0);
        let names: Vec<String> = (0..10_000).map(|number| format!("last words {number}")).collect();
        let (bytes, ids) = client.encode(names.iter().map(|name| put(name.as_bytes(), b"!")));
        stop_after(&mut daemon, client, &bytes, ids.len());
    }
}

fn sigterm_stalled() {
    for workers in ["1", "2"] {
        let mut daemon = Daemon::start(&["--workers", workers]);
        let mut client = RawClient::greeted(daemon.address(), 0);
        let _ = client.call(&put(b"k", &vec![b'v'; 20_000]));
        // Few bytes of requests, 400 MB of answers: the daemon has read and answered part of them when it is told
        // to stop, and the rest waits in its buffers and in the socket.
        let (bytes, ids) = client.encode((0..20_000).map(|_| get(b"k")));
        stop_after(&mut daemon, client, &bytes, ids.len());
    }
}

fn sigterm_long_frames() {
    for _ in 0..5 {
        let mut daemon = Daemon::start(&["--workers", "1"]);
        let mut client = RawClient::greeted(daemon.address(), 0);
        let value = vec![b'v'; 700_000];
        let names: Vec<String> = (0..4).map(|number| format!("long {number}")).collect();
        let (bytes, ids) = client.encode(names.iter().map(|name| put(name.as_bytes(), &value)));
        stop_after(&mut daemon, client, &bytes, ids.len());
    }
}

fn sigterm_busy() {
    let mut daemon = Daemon::start(&["--shutdown-timeout", "60"]);
    let mut watch = RawClient::greeted(daemon.address(), 0);
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let mut client = RawClient::greeted(daemon.address(), 0);
            std::thread::spawn(move || {
                let mut answers_count = 0;
                loop {
                    // Between a request and the end of the stream lies nothing but its answer.
                    let (bytes, _) = client.encode([get(b"k")]);
                    if client.try_write(&bytes).is_err() || client.answer_or_end().is_none() {
                        return answers_count;
                    }
                    answers_count += 1;
                }
            })
        })
        .collect();
    wait_until(PATIENCE, "everybody to be asking", || watch.stat("requests_get") > 1_000);
    daemon.signal("TERM");
    assert_eq!(daemon.wait_for_exit(PATIENCE).code(), Some(0));
    for thread in asking {
        assert!(thread.join().expect("an orderly end") > 0);
    }
}

fn sigterm_not_taken() {
    // More than a worker may have lines about in ten seconds.
    const PEERS: usize = 16;
    let mut daemon = Daemon::start(&["--shutdown-timeout", "1", "--workers", "1"]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    let _ = client.call(&put(b"k", &vec![b'v'; 1 << 20]));
    let mut greedy: Vec<RawClient> = (0..PEERS).map(|_| RawClient::greeted(daemon.address(), 0)).collect();
    for peer in &mut greedy {
        let (bytes, _) = peer.encode((0..1_000).map(|_| get(b"k")));
        peer.write(&bytes);
    }
    wait_until(PATIENCE, "the greedy peer to be held up", || client.stat("output_stalls") > 0);
    daemon.signal("TERM");
    assert_eq!(daemon.wait_for_exit(PATIENCE).code(), Some(0));
    let lines = daemon.stderr().lines().filter(|line| line.contains("not taken in time")).count();
    assert!((1..PEERS).contains(&lines), "{lines}: {}", daemon.stderr());
}

fn port_in_use() {
    let daemon = Daemon::start(&[]);
    let address = daemon.address();
    complains(Program::dhtd().args(["--listen", address]), 1, &[address, "in use", "--listen"]);
    let other = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = other.local_addr().expect("it is bound").to_string();
    complains(Program::dhtd().args(["--listen", &address]), 1, &[&address, "in use"]);
}

fn wrong_usage() {
    let usage = |arguments: &[&str], words: &[&str]| complains(Program::dhtd().args(arguments), 2, words);
    usage(&["--no-such-flag"], &["--no-such-flag", "--help"]);
    usage(&["no-such-command"], &["no-such-command", "--help"]);
    usage(&["--listen"], &["--listen"]);
    usage(&["--listen", "nonsense"], &["--listen", "nonsense", "HOST:PORT"]);
    usage(&["--listen", "127.0.0.1:99999"], &["HOST:PORT"]);
    usage(&["--listen", "0.0.0.0:0"], &["--advertise"]);
    usage(&["--listen", "127.0.0.1:0", "--advertise", "here"], &["--advertise", "HOST:PORT"]);
    for partitions in ["0", "8", "100", "131072", "many"] {
        usage(&["--partitions", partitions], &["--partitions"]);
    }
    usage(&["--workers", "0"], &["--workers"]);
    usage(&["--workers", "257"], &["--workers", "256"]);
    usage(&["--memory-limit", "4G"], &["--memory-limit", "4GiB"]);
    usage(&["--memory-limit", "1KiB"], &["--memory-limit", "1MiB"]);
    usage(&["--hash-key", "abc"], &["--hash-key", "32"]);
    let member = |list: &str, words: &[&str]| usage(&["--listen", "127.0.0.1:0", "--members", list], words);
    member("127.0.0.1:1,127.0.0.1:2", &["--advertise", "127.0.0.1:"]);
    member("127.0.0.1:1,127.0.0.1:1", &["127.0.0.1:1", "twice"]);
    member("", &["member"]);
    usage(&["dev", "--nodes", "0"], &["--nodes"]);
    usage(&["dev", "--base-port", "65534"], &["--base-port", "65535"]);
    usage(&["dev", "--base-port", "0", "--memory-limit", "1MiB"], &["--memory-limit"]);
    let by_environment = Program::dhtd().env("DHT_PARTITIONS", "100");
    complains(by_environment, 2, &["--partitions"]);
}

fn wrong_file() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("dhtd.toml");
    let name = path.display().to_string();
    let with_file = || Program::dhtd().args(["--config", &name]);
    complains(with_file(), 2, &[&name, "--config"]);
    complains(Program::dhtd().env("DHT_CONFIG", &name), 2, &[&name]);
    complains(Program::dhtd().args(["--config", "/"]), 2, &["--config"]);
    for (text, word) in [
        ("listen = ", "dhtd.toml"),
        ("worker = 3\n", "worker"),
        ("workers = \"three\"\n", "dhtd.toml"),
        ("workers = -1\n", "dhtd.toml"),
        ("partitions = 100\n", "partitions"),
        ("memory-limit = \"lots\"\n", "lots"),
        ("hash-key = \"abc\"\n", "hash-key"),
        ("members = \"a:1,b:1\"\n", "dhtd.toml"),
        ("[node]\nworkers = 3\n", "node"),
        ("\u{0}", "dhtd.toml"),
    ] {
        std::fs::write(&path, text).expect("the file can be written");
        complains(with_file(), 2, &[word]);
    }
    std::fs::write(&path, b"listen = \"\xFF\"\n").expect("the file can be written");
    complains(with_file(), 2, &[&name]);
}

fn print_config() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("dhtd.toml");
    let flags: [&[&str]; 3] = [
        &[],
        &["--members", "-", "--listen", "[::1]:0"],
        &[
            "--listen=10.0.0.1:7400",
            "--advertise=node \"one\":7400",
            "--members=node \"one\":7400, two:7400",
            "--workers=3",
            "--partitions=64",
            "--hash-key=000102030405060708090a0b0c0d0e0f",
            "--memory-limit=1025KiB",
            "--shutdown-timeout=0",
        ],
    ];
    for flags in flags {
        let shown = Program::dhtd().arg("--print-config").args(flags).run().success().stdout;
        assert!(shown.lines().any(|line| line.starts_with("listen = ")), "{shown}");
        std::fs::write(&path, &shown).expect("the file can be written");
        let again = Program::dhtd().arg("--print-config").arg("--config").arg(&path).run().success();
        assert_eq!(again.stdout, shown);
        let as_node = Program::dhtd().args(["node", "--print-config"]).args(flags).run().success();
        assert_eq!(as_node.stdout, shown, "`node` is the default");
    }
}

fn precedence() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("dhtd.toml");
    let file = "workers = 3\npartitions = 32\nmemory-limit = \"3MiB\"\nshutdown-timeout = 3\n";
    std::fs::write(&path, file).expect("the file can be written");
    let output = Program::dhtd()
        .args(["--print-config", "--workers", "1"])
        .env("DHT_CONFIG", &path)
        .env("DHT_WORKERS", "2")
        .env("DHT_PARTITIONS", "64")
        .env("DHT_MEMORY_LIMIT", "2MiB")
        .run()
        .success();
    for line in ["workers = 1", "partitions = 64", "memory-limit = \"2MiB\"", "shutdown-timeout = 3"] {
        assert!(output.stdout.lines().any(|shown| shown == line), "{line}: {}", output.stdout);
    }
}

fn help() {
    for arguments in [&["--help"][..], &["dev", "--help"], &["node", "--help"], &["--version"]] {
        let output = Program::dhtd().args(arguments).run().success();
        assert!(output.stdout.contains("dhtd") && output.stderr.is_empty(), "{}", output.report());
    }
    let output = Program::dhtd().arg("--help").run();
    for word in ["--listen", "--members", "--memory-limit", "DHT_LOG", "EXAMPLES", "EXIT STATUS"] {
        assert!(output.stdout.contains(word), "{word}: {}", output.stdout);
    }
}

fn standard_input() {
    // Before the list has come, and while it serves.
    let mut early = Daemon::start(&["--members", "-"]);
    early.close_stdin();
    assert_eq!(early.wait_for_exit(Duration::from_secs(1)).code(), Some(1));
    assert!(early.stderr().contains("--members -"), "{}", early.report());
    let mut stopped = Daemon::start(&["--members", "-"]);
    stopped.signal("TERM");
    assert_eq!(stopped.wait_for_exit(PATIENCE).code(), Some(0));
    let mut cluster = Cluster::start(3);
    for at in 0..3 {
        let mut client = RawClient::greeted(cluster.daemon(at).address(), 0);
        assert_ne!(client.call(&exists(b"k")).status(), Status::ShuttingDown);
        cluster.daemon(at).close_stdin();
        client.wait_for_end();
        assert_eq!(cluster.daemon(at).wait_for_exit(Duration::from_secs(1)).code(), Some(0));
    }
}
