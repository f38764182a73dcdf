//! The RESP door in a static cluster: any node is asked for any key, and nothing that another node does keeps a client
//! waiting for ever.

use std::collections::BTreeSet;
use std::thread;

use dht_tests::cluster::Cluster;
use dht_tests::program::Program;
use dht_tests::raw_client::RawClient;
use dht_tests::resp_client::{Reply, RespClient, command};
use dht_tests::wait::{PATIENCE, wait_until};

use crate::registry::Case;
use crate::resp::each_step_once;
use crate::resp::scan_all;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("resp_cluster::every_node_answers_for_every_key", every_key),
        Case::new("resp_cluster::replies_keep_the_order_of_commands", order),
        Case::new("resp_cluster::swaps_and_counters_are_atomic_whoever_is_asked", atomic),
        Case::new("resp_cluster::commands_without_a_key_are_about_the_whole_cluster", whole),
        Case::new("resp_cluster::long_values_come_through", long_values),
        Case::new("resp_cluster::a_member_that_is_gone_is_an_error_until_it_is_back", gone),
        Case::new("resp_cluster::a_member_that_hangs_is_an_error_in_time", hanging),
        Case::new("resp_cluster::who_goes_away_leaves_the_others_their_answers", who_leaves),
    ]
}

const NODES: usize = 3;
const KEYS: usize = 300;

/// A cluster, and the addresses of its RESP doors.
fn start(arguments: &[&str]) -> (Cluster, Vec<String>) {
    let all =
        [&["--resp", "127.0.0.1:0", "--memory-limit", "256MiB", "--partitions", "64"], arguments].concat();
    let mut cluster = Cluster::start_with(NODES, &all);
    let addresses = addresses(&mut cluster);
    (cluster, addresses)
}

fn addresses(cluster: &mut Cluster) -> Vec<String> {
    (0..NODES).map(|at| RespClient::address_of(cluster.daemon(at))).collect()
}

/// Keys of which member `at` has all.
fn keys_of(cluster: &Cluster, at: usize) -> Vec<String> {
    let address = cluster.addresses().nth(at).unwrap();
    let map = RawClient::greeted(address, 0).map();
    let node = map.nodes().iter().find(|node| node.address == address).unwrap().id;
    let is_there = |key: &String| map.owners(map.hash_key().hash(key.as_bytes())).config.primary == node;
    (0..10_000).map(|number| format!("key:{number}")).filter(is_there).take(KEYS).collect()
}

fn every_key() {
    let (cluster, addresses) = start(&[]);
    let mut clients: Vec<RespClient> = addresses.iter().map(|address| RespClient::connect(address)).collect();
    let integer = Reply::Integer;
    for number in 0..KEYS {
        let key = format!("key:{number}");
        let [one, two, three] = &mut clients[..] else { panic!("{NODES} nodes") };
        assert_eq!(one.say(&format!("GET {key}")), Reply::Null);
        assert_eq!(two.say(&format!("SET {key} {number}")), Reply::ok());
        assert_eq!(three.say(&format!("GET {key}")), Reply::bulk(number.to_string()));
        assert_eq!(one.say(&format!("SET {key} x NX")), Reply::Null);
        assert_eq!(two.say(&format!("SETNX {key} x")), integer(0));
        assert_eq!(three.say(&format!("INCR {key}")), integer(number as i64 + 1));
        assert_eq!(
            one.say(&format!("APPEND {key} 0")),
            integer(((number + 1) * 10).to_string().len() as i64)
        );
        assert_eq!(two.say(&format!("INCRBY {key} 5")), integer((number as i64 + 1) * 10 + 5));
        assert_eq!(three.say(&format!("GETSET {key} new")), Reply::bulk(((number + 1) * 10 + 5).to_string()));
        assert_eq!(one.say(&format!("STRLEN {key}")), integer(3));
        assert_eq!(two.say(&format!("TYPE {key}")), Reply::Simple("string".into()));
        assert_eq!(three.say(&format!("SET {key} newer XX GET")), Reply::bulk("new"));
        assert_eq!(one.say(&format!("GETDEL {key}")), Reply::bulk("newer"));
        assert_eq!(two.say(&format!("SET {key} last")), Reply::ok());
    }
    // The same at the other doors.
    let keys: Vec<String> = (0..KEYS).map(|number| format!("key:{number}")).collect();
    let found = Program::dht(&cluster.servers()).args(["get", "key:7"]).run().success();
    assert_eq!(found.stdout.trim_end(), "last");
    let _ = Program::dht(&cluster.servers()).args(["put", "key:7", "12", "--type", "int"]).run().success();
    assert_eq!(clients[0].say("GET key:7"), Reply::bulk("12"));
    let with = |name: &'static [u8]| -> Vec<&[u8]> {
        std::iter::once(name).chain(keys.iter().map(String::as_bytes)).collect()
    };
    assert_eq!(clients[1].ask(&with(b"EXISTS")), integer(KEYS as i64));
    let values = clients[2].ask(&with(b"MGET")).elements();
    assert!(values.iter().enumerate().all(|(at, value)| at == 7 || *value == Reply::bulk("last")));
    assert_eq!(clients[0].ask(&with(b"DEL")), integer(KEYS as i64));
    let mut set: Vec<&[u8]> = vec![b"MSET"];
    keys.iter().for_each(|key| set.extend([key.as_bytes(), b"again"]));
    assert_eq!(clients[1].ask(&set), Reply::ok());
    assert_eq!(clients[2].ask(&with(b"UNLINK")), integer(KEYS as i64));
}

fn order() {
    const ROUNDS: usize = 2_000;
    let (_cluster, addresses) = start(&["--workers", "1"]);
    let mut client = RespClient::connect(&addresses[0]);
    let mut bytes = vec![];
    for round in 0..ROUNDS {
        let (key, value) = (format!("key:{}", round % 50), round.to_string());
        for words in [
            &[&b"SET"[..], key.as_bytes(), value.as_bytes()][..],
            &[b"ECHO", value.as_bytes()],
            &[b"GET", key.as_bytes()],
            &[b"INCR", key.as_bytes()],
            &[b"MGET", b"key:51", key.as_bytes(), b"key:52"],
            &[b"GETDEL", key.as_bytes()],
            &[b"EXISTS", key.as_bytes()],
        ] {
            bytes.extend(command(words));
        }
    }
    let mut writer = RespClient::connect(&addresses[0]);
    assert_eq!(writer.say("MSET key:51 left key:52 right"), Reply::ok());
    let sender = thread::spawn(move || {
        client.write(&bytes);
        client
    });
    let mut client = sender.join().unwrap();
    for round in 0..ROUNDS {
        let (value, next) = (Reply::bulk(round.to_string()), Reply::bulk((round + 1).to_string()));
        let many = Reply::Array(vec![Reply::bulk("left"), next.clone(), Reply::bulk("right")]);
        let number = Reply::Integer(round as i64 + 1);
        for expected in [Reply::ok(), value.clone(), value, number, many, next, Reply::Integer(0)] {
            assert_eq!(client.reply(), expected, "round {round}");
        }
    }
}

fn atomic() {
    let (_cluster, addresses) = start(&[]);
    each_step_once(&addresses, 6, 100);
}

fn whole() {
    let (_cluster, addresses) = start(&[]);
    let mut clients: Vec<RespClient> = addresses.iter().map(|address| RespClient::connect(address)).collect();
    let stays: BTreeSet<String> = (0..1_000).map(|number| format!("stays:{number}")).collect();
    for key in &stays {
        assert_eq!(clients[0].say(&format!("SET {key} x")), Reply::ok());
    }
    for client in &mut clients {
        assert_eq!(client.say("DBSIZE"), Reply::Integer(1_000));
    }
    let mut step = 0;
    let mut other = RespClient::connect(&addresses[1]);
    let mut change = || {
        for _ in 0..5 {
            step += 1;
            let _ = other.say(&format!("SET comes:{step} {}", "y".repeat(step % 300)));
            let _ = other.say(&format!("DEL comes:{}", step / 2));
        }
    };
    for (client, options) in clients.iter_mut().zip([" COUNT 10", " COUNT 100 MATCH stays:*", ""]) {
        let found = scan_all(client, options, &mut change);
        let once: BTreeSet<String> = found.iter().cloned().collect();
        assert_eq!(once.len(), found.len(), "{options}: a key came twice");
        assert!(stays.is_subset(&once), "{options}");
        assert!(!options.contains("MATCH") || once == stays);
    }
    assert_eq!(clients[2].say("FLUSHDB"), Reply::ok());
    for client in &mut clients {
        assert_eq!(client.say("DBSIZE"), Reply::Integer(0));
        assert!(scan_all(client, "", || {}).is_empty());
    }
}

fn long_values() {
    let (cluster, addresses) = start(&["--workers", "1"]);
    let keys = keys_of(&cluster, 2);
    let value = vec![b'v'; 16 << 20];
    let mut client = RespClient::connect(&addresses[0]);
    assert_eq!(client.ask(&[b"SET", keys[0].as_bytes(), &value]), Reply::ok());
    assert_eq!(client.say("PING"), Reply::Simple("PONG".into()));
    assert!(client.ask(&[b"GET", keys[0].as_bytes()]) == Reply::Bulk(value));
    assert_eq!(client.say(&format!("STRLEN {}", keys[0])), Reply::Integer(16 << 20));
}

fn gone() {
    let (mut cluster, addresses) = start(&[]);
    let (here, there) = (keys_of(&cluster, 0), keys_of(&cluster, 1));
    let mut client = RespClient::connect(&addresses[0]);
    assert_eq!(client.say(&format!("SET {} x", there[0])), Reply::ok());
    cluster.daemon(1).kill();
    let address = cluster.daemon(1).address().to_owned();
    for line in [format!("GET {}", there[0]), format!("SET {} y", there[1]), format!("GETDEL {}", there[0])] {
        let reply = client.say(&line);
        assert!(reply.error().contains(&address), "{line}: {reply:?}");
        assert_eq!(client.say(&format!("SET {} x", here[0])), Reply::ok(), "others are served");
    }
    for line in ["DBSIZE", "FLUSHDB", "MGET a b c d e f g h i j k l m n o p"] {
        let reply = client.say(line);
        let shown = format!("{reply:?}");
        assert!(shown.contains(&address), "{line}: {shown}");
    }
    cluster.restart(1);
    wait_until(PATIENCE, "the member to be asked again", || {
        client.say(&format!("GET {}", there[0])) == Reply::Null
    });
    assert_eq!(client.say(&format!("SET {} back", there[0])), Reply::ok());
}

fn hanging() {
    let (mut cluster, addresses) = start(&["--workers", "1"]);
    let (here, there) = (keys_of(&cluster, 0), keys_of(&cluster, 1));
    let mut client = RespClient::connect(&addresses[0]);
    assert_eq!(client.say(&format!("SET {} x", there[0])), Reply::ok());
    cluster.daemon(1).pause();
    let mut writes = RespClient::connect(&addresses[0]);
    writes.write(&command(&[b"SET", there[1].as_bytes(), b"y"]));
    client.write(&[command(&[b"GET", there[0].as_bytes()]), command(&[b"GET", here[0].as_bytes()])].concat());
    assert_eq!(RespClient::connect(&addresses[0]).say(&format!("GET {}", here[0])), Reply::Null);
    let (read, write) = (client.reply(), writes.reply());
    assert!(read.error().starts_with("ERR ") && read.error().ends_with("was not carried out"), "{read:?}");
    assert!(write.error().starts_with("UNKNOWN ") && write.error().ends_with("may have been carried out"));
    assert_eq!(client.reply(), Reply::Null, "the next reply comes behind it");
    cluster.daemon(1).signal("CONT");
    wait_until(PATIENCE, "the member to be asked again", || {
        client.say(&format!("GET {}", there[0])) == Reply::bulk("x")
    });
    let mut binary = RawClient::greeted(cluster.daemon(0).address(), 0);
    assert!(binary.stat("peer_failures") > 0 && binary.stat("peer_requests") > 2);
}

fn who_leaves() {
    let (cluster, addresses) = start(&["--workers", "1"]);
    let there = keys_of(&cluster, 1);
    let mut stays = RespClient::connect(&addresses[0]);
    for round in 0..200 {
        let mut leaves = RespClient::connect(&addresses[0]);
        let many: Vec<u8> =
            there.iter().flat_map(|key| command(&[b"SET", key.as_bytes(), b"left"])).collect();
        leaves.write(&many);
        drop(leaves);
        // The place of the one that went may be taken by one that asks for something else.
        let mut next = RespClient::connect(&addresses[0]);
        let key = &there[round % there.len()];
        assert_eq!(next.say(&format!("STRLEN {key}:none")), Reply::Integer(0));
        assert!(matches!(stays.say(&format!("GET {key}")), Reply::Bulk(_) | Reply::Null));
    }
}
