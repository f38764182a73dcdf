//! Several daemons together: `dhtd dev` and its children, and members that were told different things.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use dht_protocol::ids::NodeId;
use dht_protocol::request::Request;
use dht_protocol::status::Status;
use dht_tests::binaries;
use dht_tests::cluster::Cluster;
use dht_tests::daemon::Daemon;
use dht_tests::process::Process;
use dht_tests::program::Program;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{get, put};
use dht_tests::routed::RoutedClient;
use dht_tests::wait::{PATIENCE, wait_for, wait_until};

use crate::http_client::HttpClient;
use crate::registry::Case;
use dht_tests::resp_client::{Reply, RespClient};

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("dev_cluster::it_prints_a_table_and_what_to_try", welcome),
        Case::new("dev_cluster::sigterm_stops_it_and_its_children", sigterm),
        Case::new("dev_cluster::sigkill_leaves_no_child_behind", sigkill),
        Case::new("dev_cluster::a_child_that_ends_ends_it_all", lost_child),
        Case::new("dev_cluster::the_environment_of_nodes_does_not_disturb_it", environment),
        Case::new("dev_cluster::a_base_port_in_use_is_exit_1", base_port_in_use),
        Case::new("members::the_one_started_later_with_another_hash_key_gives_way", other_hash_key),
        Case::new("members::the_one_started_later_with_other_partitions_gives_way", other_partitions),
        Case::new("members::the_one_started_later_with_another_list_gives_way", other_list),
        Case::new("members::a_restarted_one_is_empty_and_serves_at_once", restarted_member),
        Case::new("members::each_serves_while_another_is_away", member_away),
    ]
}

/// A running `dhtd dev` on free ports.
struct Dev {
    process: Process,
    addresses: Vec<String>,
}

impl Dev {
    fn start(nodes: &str) -> Dev {
        Dev::start_command(Command::new(binaries::dhtd()).args(["dev", "--nodes", nodes]))
    }

    fn start_command(command: &mut Command) -> Dev {
        let mut process = Process::spawn(command.args(["--base-port", "0", "--memory-limit", "256MiB"]));
        process.wait_for_line(PATIENCE, "the end of the welcome", |line| {
            line.starts_with("Ctrl-C").then_some(())
        });
        let rows = process.stdout();
        let address = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
        let addresses = rows.lines().skip(1).map_while(address).collect();
        Dev { process, addresses }
    }

    /// Ids of the child processes.
    fn children(&self) -> Vec<u32> {
        let id = self.process.id();
        let tasks = fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
        let lists = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
        lists
            .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .map(|id| id.parse().expect("the system lists numbers"))
            .collect()
    }
}

/// Whether a process of that id runs (one that has ended and was not waited for yet does not).
fn runs(id: u32) -> bool {
    let stat = fs::read_to_string(PathBuf::from(format!("/proc/{id}/stat"))).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[track_caller]
fn wait_until_gone(ids: &[u32]) {
    assert!(!ids.is_empty());
    wait_until(PATIENCE, "every child to end", || !ids.iter().any(|&id| runs(id)));
}

fn welcome() {
    let dev = Dev::start("3");
    assert_eq!(dev.addresses.len(), 3, "{}", dev.process.report());
    assert_eq!(dev.children().len(), 3);
    let shown = dev.process.stdout();
    for words in
        ["node  address", "memory limit", "85 MiB", "put hello world", "get hello", &dev.addresses[0]]
    {
        assert!(shown.contains(words), "{words:?} is missing:\n{shown}");
    }
    let mut client = RoutedClient::connect(&dev.addresses[2], 0);
    assert_eq!(client.map().nodes().len(), 3);
    for number in 0..100 {
        let name = format!("hello {number}").into_bytes();
        let _ = client.call(&put(&name, b"world")).version();
        assert_eq!(client.call(&get(&name)).found().2, b"world");
    }
    let urls: Vec<&str> =
        shown.lines().skip(1).take(3).filter_map(|row| row.split_whitespace().nth(2)).collect();
    for (url, address) in urls.iter().zip(&dev.addresses) {
        let door = url.strip_prefix("http://").expect("it is a URL");
        assert_ne!(door, address);
        assert_eq!(HttpClient::connect(door).get("/readyz").status(), 200, "{url}");
    }
    assert_eq!(urls.len(), 3, "{shown}");
    let resps: Vec<&str> =
        shown.lines().skip(1).take(3).filter_map(|row| row.split_whitespace().nth(4)).collect();
    for resp in &resps {
        let found = RespClient::connect(resp).ask(&[b"GET", b"hello 7"]);
        assert_eq!(found, Reply::bulk("world"), "{resp}");
    }
    assert_eq!(resps.len(), 3, "{shown}");
    assert_eq!(dev.process.stderr(), "", "nothing else is said");
}

fn sigterm() {
    for signal in ["TERM", "INT"] {
        let mut dev = Dev::start("2");
        let children = dev.children();
        dev.process.signal(signal);
        assert_eq!(dev.process.wait_for_exit(PATIENCE).code(), Some(0));
        wait_until_gone(&children);
        assert!(dev.process.stdout().contains("stopping 2 nodes"), "{}", dev.process.report());
    }
}

fn sigkill() {
    let mut dev = Dev::start("3");
    let children = dev.children();
    dev.process.kill();
    wait_until_gone(&children);
}

fn lost_child() {
    let mut dev = Dev::start("3");
    let children = dev.children();
    let killed = Command::new("kill").args(["-KILL", &children[1].to_string()]).status();
    assert!(killed.is_ok_and(|status| status.success()));
    assert_eq!(dev.process.wait_for_exit(PATIENCE).code(), Some(1));
    wait_until_gone(&children);
    let said = dev.process.stderr();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(dev.addresses.iter().any(|address| said.contains(address)), "{said}");
    assert!(said.contains("ended") && said.contains("signal: 9"), "{said}");
}

fn environment() {
    let mut command = Command::new(binaries::dhtd());
    command.arg("dev");
    let settings =
        [("DHT_LISTEN", "127.0.0.1:1"), ("DHT_ADVERTISE", "nowhere:1"), ("DHT_MEMBERS", "a:1,b:1")];
    command.envs(settings).env("DHT_MEMORY_LIMIT", "1MiB").env("DHT_CONFIG", "/no/such/file");
    let dev = Dev::start_command(&mut command);
    assert_eq!(RawClient::greeted(&dev.addresses[0], 0).map().nodes().len(), 3);
}

fn base_port_in_use() {
    let taken = Daemon::start(&[]);
    let (_, port) = taken.address().rsplit_once(':').expect("HOST:PORT");
    let output = Program::dhtd().args(["dev", "--nodes", "1", "--base-port", port]).run().exits(1);
    assert!(output.stderr.contains("in use"), "{}", output.report());
    assert!(output.stderr.contains("--base-port"), "{}", output.report());
}

/// Two daemons that know each other's address, the second started once the first serves and told other things;
/// the second must end and say why, and the first go on.
fn disagree(list_of_second: impl Fn(&str, &str) -> String, arguments_of_second: &[&str]) {
    let mut older = Daemon::start(&["--members", "-"]);
    let younger_arguments = [&["--members", "-"], arguments_of_second].concat();
    let mut younger = Daemon::start(&younger_arguments);
    let (first, second) = (older.address().to_owned(), younger.address().to_owned());
    older.write_stdin(format!("{first},{second}\n").as_bytes());
    let mut client = RawClient::greeted(&first, 0);
    let age_ms = client.stat("uptime_ms");
    // The second must be younger by the clock that the two compare.
    wait_until(PATIENCE, "time to pass", || client.stat("uptime_ms") > age_ms + 2);
    younger.write_stdin(list_of_second(&first, &second).as_bytes());
    assert_eq!(younger.wait_for_exit(PATIENCE).code(), Some(1));
    let last = younger.stderr().lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("dhtd: ") && last.contains("--members"), "{}", younger.report());
    for _ in 0..100 {
        assert_eq!(client.call(&Request::Ping).status(), Status::Ok);
    }
    assert!(older.is_running());
}

fn other_hash_key() {
    let key = "000102030405060708090a0b0c0d0e0f";
    disagree(|first, second| format!("{first},{second}\n"), &["--hash-key", key]);
}

fn other_partitions() {
    disagree(|first, second| format!("{first},{second}\n"), &["--partitions", "64"]);
}

fn other_list() {
    disagree(|first, second| format!("{first},{second},127.0.0.1:1\n"), &[]);
}

fn restarted_member() {
    let mut cluster = Cluster::start(3);
    let servers: Vec<String> = cluster.addresses().map(str::to_owned).collect();
    let mut client = RoutedClient::connect(&servers[0], 0);
    let names: Vec<String> = (0..300).map(|number| format!("kept {number}")).collect();
    for name in &names {
        let _ = client.call(&put(name.as_bytes(), b"")).version();
    }
    let node = client.map().nodes().iter().find(|node| node.address == servers[1]).expect("a member").id;
    let before = RawClient::connect(&servers[1]).hello(0);
    cluster.daemon(1).kill();
    cluster.restart(1);
    let mut back = RoutedClient::connect(&servers[1], 0);
    let after = RawClient::connect(&servers[1]).hello(0);
    assert_eq!((after.node, after.cluster_id), (before.node, before.cluster_id));
    assert_ne!(after.incarnation, before.incarnation);
    assert_eq!(back.node(node).stat("entries"), 0);
    let map = back.map().clone();
    for name in &names {
        let lost = map.owners(map.hash_key().hash(name.as_bytes())).config.primary == node;
        let status = if lost { Status::NotFound } else { Status::Ok };
        assert_eq!(back.call(&get(name.as_bytes())).status(), status);
        let _ = back.call(&put(name.as_bytes(), b"again")).version();
    }
}

fn member_away() {
    let mut cluster = Cluster::start(3);
    let servers: Vec<String> = cluster.addresses().map(str::to_owned).collect();
    let map = RawClient::greeted(&servers[0], 0).map();
    cluster.daemon(2).kill();
    let mut client = RawClient::greeted(&servers[0], 0);
    let mine: NodeId = RawClient::connect(&servers[0]).hello(0).node;
    let owned = |name: &Vec<u8>| map.owners(map.hash_key().hash(name)).config.primary == mine;
    let names = (0..300).map(|number| format!("on {number}").into_bytes()).filter(owned);
    for name in names {
        let _ = client.call(&put(&name, b"")).version();
    }
    let stopped = wait_for(PATIENCE, || (!cluster.daemon(2).is_running()).then_some(()));
    assert!(stopped.is_some() && cluster.daemon(0).is_running() && cluster.daemon(1).is_running());
}
