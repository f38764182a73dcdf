//! The RESP door of a real daemon, over plain connections and with the tools of Redis.

use std::collections::BTreeSet;

use dht_protocol::request::Request;
use dht_protocol::value::ValueType;
use dht_tests::daemon::Daemon;
use dht_tests::program::Program;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{get, key, put_typed};
use dht_tests::resp_client::{Reply, RespClient, command};
use dht_tests::wait::{PATIENCE, wait_until};

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("resp::commands_answer_as_users_of_redis_know_them", commands),
        Case::new("resp::what_cannot_be_done_is_said_in_the_words_of_redis", refusals),
        Case::new("resp::both_protocols_have_their_own_nulls_and_maps", protocols),
        Case::new("resp::commands_may_be_pipelined_and_cut_anywhere", pipelined),
        Case::new("resp::inline_commands_are_answered", inline),
        Case::new("resp::what_is_no_command_ends_the_connection", malformed),
        Case::new("resp::commands_in_an_http_request_are_not_carried_out", http),
        Case::new("resp::values_are_the_same_at_every_door", doors),
        Case::new("resp::thousands_of_keys_in_one_command", many_keys),
        Case::new("resp::a_scan_names_every_key_once_while_others_come_and_go", scan),
        Case::new("resp::swaps_and_counters_are_atomic", atomic),
        Case::new("resp::each_command_is_counted", counted),
        Case::new("resp::redis_cli_is_served", redis_cli).needs(&["redis-cli"]),
        Case::new("resp::redis_benchmark_runs", redis_benchmark).needs(&["redis-benchmark"]),
        Case::new("resp::redis_py_is_served", redis_py).needs(&["python3-redis"]),
    ]
}

/// A daemon with a RESP door, and the door's address.
pub(crate) fn start(arguments: &[&str]) -> (Daemon, String) {
    let mut all = vec!["--resp", "127.0.0.1:0"];
    if !arguments.contains(&"--memory-limit") {
        all.extend(["--memory-limit", "256MiB"]);
    }
    all.extend(arguments);
    let mut daemon = Daemon::start(&all);
    let address = RespClient::address_of(&mut daemon);
    (daemon, address)
}

fn bulk(text: &str) -> Reply {
    Reply::bulk(text)
}

/// Commands about values, and their replies.
fn values() -> Vec<(&'static str, Reply)> {
    let integer = Reply::Integer;
    vec![
        ("PING", Reply::Simple("PONG".into())),
        ("ping hello", bulk("hello")),
        ("ECHO hello", bulk("hello")),
        ("SELECT 0", Reply::ok()),
        ("GET a", Reply::Null),
        ("SET a 1", Reply::ok()),
        ("GET a", bulk("1")),
        ("SET a 2 NX", Reply::Null),
        ("SET b 2 XX", Reply::Null),
        ("SET a 3 XX GET", bulk("1")),
        ("SET a 4 GET", bulk("3")),
        ("SET a 5 NX GET", bulk("4")),
        ("SET n 5 GET NX", Reply::Null),
        ("GET n", bulk("5")),
        ("SETNX a 6", integer(0)),
        ("SETNX b 6", integer(1)),
        ("GETSET b 7", bulk("6")),
        ("GETSET c 7", Reply::Null),
        ("GETDEL c", bulk("7")),
        ("GETDEL c", Reply::Null),
    ]
}

/// Commands about all else, behind those.
fn others() -> Vec<(&'static str, Reply)> {
    let integer = Reply::Integer;
    vec![
        ("INCR a", integer(5)),
        ("INCRBY a 10", integer(15)),
        ("DECR a", integer(14)),
        ("DECRBY a 20", integer(-6)),
        ("GET a", bulk("-6")),
        ("INCR new", integer(1)),
        ("GET new", bulk("1")),
        ("APPEND new 23", integer(3)),
        ("INCR new", integer(124)),
        ("APPEND none xyz", integer(3)),
        ("STRLEN none", integer(3)),
        ("STRLEN new", integer(3)),
        ("STRLEN nothing", integer(0)),
        ("TYPE a", Reply::Simple("string".into())),
        ("TYPE nothing", Reply::Simple("none".into())),
        ("MSET x 1 y 2 x 3", Reply::ok()),
        ("EXISTS x y x nothing", integer(3)),
        ("MGET x nothing y", Reply::Array(vec![bulk("3"), Reply::Null, bulk("2")])),
        ("DEL x y nothing", integer(2)),
        ("UNLINK b none", integer(2)),
        ("DBSIZE", integer(3)),
        ("CLIENT GETNAME", Reply::Null),
        ("CLIENT SETNAME me", Reply::ok()),
        ("CLIENT GETNAME", bulk("me")),
        ("CLIENT SETINFO LIB-NAME test", Reply::ok()),
        ("CONFIG GET save", Reply::Array(vec![bulk("save"), bulk("")])),
        ("RESET", Reply::Simple("RESET".into())),
        ("CLIENT GETNAME", Reply::Null),
        ("FLUSHDB", Reply::ok()),
        ("DBSIZE", integer(0)),
        ("SCAN 0 COUNT 4096", Reply::Null),
        ("QUIT", Reply::ok()),
    ]
}

fn commands() {
    let (_daemon, address) = start(&[]);
    let mut client = RespClient::connect(&address);
    for (line, reply) in values().into_iter().chain(others()) {
        let answer = client.say(line);
        if line.starts_with("SCAN") {
            assert_eq!(answer.elements().len(), 2);
        } else {
            assert_eq!(answer, reply, "{line}");
        }
    }
    assert_eq!(client.try_reply(), None, "QUIT ends the connection");
    let mut other = RespClient::connect(&address);
    let (one, two) = (other.say("CLIENT ID"), RespClient::connect(&address).say("CLIENT ID"));
    assert_ne!(one, two);
    let Reply::Bulk(info) = other.say("INFO") else { panic!("a text") };
    let info = String::from_utf8(info).unwrap();
    assert!(info.contains("# Keyspace\r\n") && info.contains("maxmemory:268435456\r\n"), "{info}");
    assert!(other.say("COMMAND").elements().len() > 25);
}

fn refusals() {
    let (_daemon, address) = start(&[]);
    let mut client = RespClient::connect(&address);
    assert_eq!(client.say("SET text abc"), Reply::ok());
    assert_eq!(client.say("SET most 9223372036854775807"), Reply::ok());
    for (line, text) in [
        ("FOO bar baz", "ERR unknown command 'FOO', with args beginning with: 'bar' 'baz' "),
        ("GET", "ERR wrong number of arguments for 'get' command"),
        ("get a b", "ERR wrong number of arguments for 'get' command"),
        ("MSET a 1 b", "ERR wrong number of arguments for 'mset' command"),
        ("PING a b", "ERR wrong number of arguments for 'ping' command"),
        ("SET a b c", "ERR syntax error"),
        ("SET a b NX XX", "ERR syntax error"),
        ("SET a b EX 10", "ERR the option EX of SET is not supported: entries do not expire here"),
        ("INCR text", "ERR value is not an integer or out of range"),
        ("INCRBY a x", "ERR value is not an integer or out of range"),
        ("INCR most", "ERR increment or decrement would overflow"),
        ("DECRBY a -9223372036854775808", "ERR decrement would overflow"),
        ("SELECT 1", "ERR DB index is out of range"),
        ("SELECT x", "ERR value is not an integer or out of range"),
        ("HELLO 4", "NOPROTO unsupported protocol version"),
        ("HELLO x", "ERR Protocol version is not an integer or out of range"),
        ("SCAN x", "ERR invalid cursor"),
        ("SCAN 0 COUNT 0", "ERR syntax error"),
        ("SCAN 0 COUNT x", "ERR value is not an integer or out of range"),
        ("FLUSHDB now", "ERR syntax error"),
    ] {
        assert_eq!(client.say(line).error(), text, "{line}");
    }
    for line in ["AUTH secret", "HELLO 3 AUTH default secret"] {
        assert!(client.say(line).error().starts_with("ERR AUTH <password> called without any password"));
    }
    for words in [[&b"GET"[..], b""], [b"GET", b"\xFFkey"]] {
        assert!(client.ask(&words).error().starts_with("ERR the key "), "{words:?}");
    }
    let long_key = vec![b'k'; 65_536];
    assert_eq!(client.ask(&[b"GET", &long_key]).error(), "ERR the key is longer than 65,535 bytes");
    let most = vec![b'v'; 16 << 20];
    assert_eq!(client.ask(&[b"SET", b"long", &most]), Reply::ok());
    assert_eq!(client.ask(&[b"APPEND", b"long", b"x"]).error(), "ERR the value would be longer than 16 MiB");
    assert_eq!(client.say("STRLEN long"), Reply::Integer(16 << 20));
    assert!(client.ask(&[b"GET", b"long"]) == Reply::Bulk(most));
    assert_eq!(client.say("GET text"), bulk("abc"), "the connection goes on");
}

fn protocols() {
    let (_daemon, address) = start(&[]);
    let mut client = RespClient::connect(&address);
    let raw = |client: &mut RespClient, bytes: &[u8], expected: &str| {
        client.write(bytes);
        client.finish();
        assert_eq!(client.rest(), expected.as_bytes(), "{}", String::from_utf8_lossy(bytes));
    };
    raw(&mut client, b"GET a\r\nCONFIG GET databases\r\n", "$-1\r\n*2\r\n$9\r\ndatabases\r\n$1\r\n1\r\n");
    let mut client = RespClient::connect(&address);
    let hello = client.say("HELLO 3 SETNAME me").elements();
    assert_eq!(hello[..2], [bulk("server"), bulk("dhtd")]);
    assert_eq!(hello[8..10], [bulk("proto"), Reply::Integer(3)]);
    assert_eq!(client.say("CLIENT GETNAME"), bulk("me"));
    raw(&mut client, b"GET a\r\nCONFIG GET databases\r\n", "_\r\n%1\r\n$9\r\ndatabases\r\n$1\r\n1\r\n");
    let mut client = RespClient::connect(&address);
    assert_eq!(client.say("HELLO 3").elements()[9], Reply::Integer(3));
    assert_eq!(client.say("HELLO 2").elements()[9], Reply::Integer(2));
    raw(&mut client, b"GET a\r\n", "$-1\r\n");
}

fn pipelined() {
    let (_daemon, address) = start(&["--workers", "1"]);
    let mut client = RespClient::connect(&address);
    let three = [
        command(&[b"SET", b"k", b"v\r\nw"]),
        command(&[b"GET", b"k"]),
        command(&[b"APPEND", b"k", b"x"]),
        command(&[b"GETDEL", b"k"]),
    ]
    .concat();
    let expected = [Reply::ok(), bulk("v\r\nw"), Reply::Integer(5), bulk("v\r\nwx")];
    client.write(&three.repeat(3_000));
    for _ in 0..3_000 {
        expected.iter().for_each(|reply| assert_eq!(&client.reply(), reply));
    }
    for end in 1..three.len() {
        client.write(&three[..end]);
        // What is whole is answered before the rest comes.
        assert_eq!(RespClient::connect(&address).say("PING"), Reply::Simple("PONG".into()));
        client.write(&three[end..]);
        expected.iter().for_each(|reply| assert_eq!(&client.reply(), reply, "cut at {end}"));
    }
}

fn inline() {
    let (_daemon, address) = start(&[]);
    let mut client = RespClient::connect(&address);
    client.write(b"\r\nset \"a key\" 'it\\'s'\nGET \"a\\x20key\"\r\n  exists   \"a key\"  \n");
    assert_eq!(client.reply(), Reply::ok());
    assert_eq!(client.reply(), bulk("it's"));
    assert_eq!(client.reply(), Reply::Integer(1));
}

fn malformed() {
    let (_daemon, address) = start(&[]);
    for (bytes, text) in [
        (&b"*1\r\n+OK\r\n"[..], "expected '$', got '+'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$16777217\r\n", "invalid bulk length"),
        (b"*65537\r\n", "invalid multibulk length"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1\r\n$1\r\nabc", "a bulk string does not end with CR LF"),
        (b"get \"a\r\n", "unbalanced quotes in request"),
        (&vec![b'a'; 64 << 10], "too big inline request"),
    ] {
        let mut client = RespClient::connect(&address);
        client.write(&[&b"PING\r\n"[..], bytes].concat());
        assert_eq!(client.reply(), Reply::Simple("PONG".into()), "what was before is answered");
        assert_eq!(client.reply().error(), format!("ERR Protocol error: {text}"));
        assert_eq!(client.try_reply(), None);
    }
    assert_eq!(RespClient::connect(&address).say("PING"), Reply::Simple("PONG".into()));
}

fn http() {
    let (_daemon, address) = start(&[]);
    for request in
        ["POST / HTTP/1.1\r\nHost: a\r\n\r\nSET a 1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\nSET a 1\r\n"]
    {
        let mut client = RespClient::connect(&address);
        client.write(request.as_bytes());
        let mut last = client.reply();
        while let Some(next) = client.try_reply() {
            last = next;
        }
        assert_eq!(last.error(), "ERR this port speaks Redis' protocol, not HTTP");
    }
    assert_eq!(RespClient::connect(&address).say("GET a"), Reply::Null);
}

fn doors() {
    let (daemon, address) = start(&[]);
    let mut client = RespClient::connect(&address);
    let mut binary = RawClient::greeted(daemon.address(), 0);
    for (value_type, bytes, shown) in [
        (ValueType::INT, &(-7i64).to_be_bytes()[..], "-7"),
        (ValueType::FLOAT, &0.25f64.to_be_bytes()[..], "0.25"),
        (ValueType::BOOL, &[1], "1"),
        (ValueType::TEXT, b"text", "text"),
        (ValueType::JSON, b"{}", "{}"),
    ] {
        let _ = binary.call(&put_typed(b"k", value_type, bytes));
        assert_eq!(client.say("GET k"), bulk(shown));
        assert_eq!(client.say("STRLEN k"), Reply::Integer(shown.len() as i64));
        assert_eq!(client.say("GETDEL k"), bulk(shown));
    }
    let found = |binary: &mut RawClient| {
        let answer = binary.call(&get(b"k"));
        let (_, value_type, bytes) = answer.found();
        (value_type, bytes.to_vec())
    };
    // Any decimal text counts, whatever its type, and keeps that; plain bytes become text.
    for (value_type, after) in [
        (ValueType::BYTES, ValueType::TEXT),
        (ValueType::TEXT, ValueType::TEXT),
        (ValueType::JSON, ValueType::JSON),
        (ValueType::new(200).unwrap(), ValueType::new(200).unwrap()),
    ] {
        let _ = binary.call(&put_typed(b"k", value_type, b"41"));
        assert_eq!(client.say("INCR k"), Reply::Integer(42));
        assert_eq!(found(&mut binary), (after, b"42".to_vec()));
    }
    // A counter made here is one that the other door counts with.
    assert_eq!(client.say("DEL k"), Reply::Integer(1));
    assert_eq!(client.say("INCR k"), Reply::Integer(1));
    let _ = binary.call(&Request::Add { key: key(b"k"), delta: 9, token: None });
    assert_eq!(client.say("GET k"), bulk("10"));
    assert_eq!(client.say("APPEND k x"), Reply::Integer(3));
    assert_eq!(found(&mut binary), (ValueType::BYTES, b"10x".to_vec()));
}

fn many_keys() {
    const KEYS: usize = 8_000;
    let (_daemon, address) = start(&["--workers", "1"]);
    let mut client = RespClient::connect(&address);
    let keys: Vec<String> = (0..KEYS).map(|number| format!("key:{number}")).collect();
    let value = "v".repeat(1_250);
    let mut set: Vec<&[u8]> = vec![b"MSET"];
    keys.iter().for_each(|key| set.extend([key.as_bytes(), value.as_bytes()]));
    assert_eq!(client.ask(&set), Reply::ok());
    let with = |name: &'static [u8]| -> Vec<&[u8]> {
        std::iter::once(name).chain(keys.iter().map(String::as_bytes)).collect()
    };
    // More than one connection may have waiting: it goes on as its peer takes some.
    let values = client.ask(&with(b"MGET")).elements();
    assert_eq!(values.len(), KEYS);
    assert!(values.iter().all(|found| *found == Reply::bulk(&value)));
    assert_eq!(client.ask(&with(b"EXISTS")), Reply::Integer(KEYS as i64));
    assert_eq!(client.say("DBSIZE"), Reply::Integer(KEYS as i64));
    assert_eq!(client.ask(&with(b"DEL")), Reply::Integer(KEYS as i64));
    assert_eq!(client.say("DBSIZE"), Reply::Integer(0));
}

/// All keys that a scan names, in the order in which they come.
pub(crate) fn scan_all(client: &mut RespClient, options: &str, mut between: impl FnMut()) -> Vec<String> {
    let (mut cursor, mut keys) = ("0".to_owned(), vec![]);
    loop {
        let mut page = client.say(&format!("SCAN {cursor}{options}")).elements();
        let names = page.pop().unwrap().elements();
        keys.extend(names.into_iter().map(|name| match name {
            Reply::Bulk(name) => String::from_utf8(name).unwrap(),
            other => panic!("no key: {other:?}"),
        }));
        let Some(Reply::Bulk(next)) = page.pop() else { panic!("no cursor") };
        cursor = String::from_utf8(next).unwrap();
        if cursor == "0" {
            return keys;
        }
        between();
    }
}

fn scan() {
    let (_daemon, address) = start(&["--partitions", "64"]);
    let mut client = RespClient::connect(&address);
    let mut other = RespClient::connect(&address);
    let stays: Vec<String> = (0..3_000).map(|number| format!("stays:{number}")).collect();
    for key in &stays {
        assert_eq!(client.say(&format!("SET {key} x")), Reply::ok());
    }
    let mut step = 0;
    let mut change = || {
        for _ in 0..20 {
            step += 1;
            let _ = other.say(&format!("SET comes:{step} {}", "y".repeat(step % 300)));
            let _ = other.say(&format!("DEL comes:{}", step / 2));
        }
    };
    for options in [" COUNT 10", " COUNT 100 MATCH *", " MATCH stays:*", " match sta[a-z]s:? count 1000"] {
        let found = scan_all(&mut client, options, &mut change);
        let once: BTreeSet<&String> = found.iter().collect();
        assert_eq!(once.len(), found.len(), "{options}: a key came twice");
        let expected: BTreeSet<&String> =
            stays.iter().filter(|key| !options.contains('?') || key.len() == "stays:1".len()).collect();
        let kept: BTreeSet<&String> = found.iter().filter(|key| key.starts_with("stays:")).collect();
        assert_eq!(kept, expected, "{options}");
        assert_eq!(kept.len() == found.len(), options.to_lowercase().contains("sta"), "{options}");
    }
}

fn atomic() {
    let (_daemon, address) = start(&["--workers", "4"]);
    each_step_once(&[address], 4, 400);
}

/// `workers` at once, dealt out to `addresses`, count, append and take out what others put in, `rounds` times each: no step
/// is lost, and none done twice.
pub(crate) fn each_step_once(addresses: &[String], workers: usize, rounds: usize) {
    assert_eq!(RespClient::connect(&addresses[0]).say("SET counter 0"), Reply::ok());
    let worker = |number: usize| {
        let address = addresses[number % addresses.len()].clone();
        std::thread::spawn(move || {
            let mut client = RespClient::connect(&address);
            let mut taken = vec![];
            for round in 0..rounds {
                assert!(matches!(client.say("INCR counter"), Reply::Integer(_)));
                assert!(matches!(client.say("APPEND text x"), Reply::Integer(_)));
                if let Reply::Bulk(old) = client.say(&format!("GETSET token {number}:{round}")) {
                    taken.push(String::from_utf8(old).unwrap());
                }
            }
            taken
        })
    };
    let threads: Vec<_> = (0..workers).map(worker).collect();
    let mut taken: Vec<String> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let mut client = RespClient::connect(&addresses[1 % addresses.len()]);
    let steps = workers * rounds;
    assert_eq!(client.say("GET counter"), bulk(&steps.to_string()));
    assert_eq!(client.say("STRLEN text"), Reply::Integer(steps as i64));
    let Reply::Bulk(last) = client.say("GETDEL token") else { panic!("there is one") };
    taken.push(String::from_utf8(last).unwrap());
    let once: BTreeSet<&String> = taken.iter().collect();
    assert_eq!((taken.len(), once.len()), (steps, steps), "each was taken out exactly once");
}

fn counted() {
    let (daemon, address) = start(&[]);
    let mut client = RespClient::connect(&address);
    for line in ["SET a 1", "GET a", "GET b", "MGET a b", "NONSENSE"] {
        let _ = client.say(line);
    }
    let figure = |name: &str| {
        let stats = Program::dht(daemon.address()).arg("stats").run().success().stdout;
        let line = stats.lines().find(|line| line.split(' ').next() == Some(name)).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no {name}: {stats}")).rsplit(' ').next().unwrap().to_owned()
    };
    for (name, count) in [
        ("resp_get", "2"),
        ("resp_set", "1"),
        ("resp_mget", "1"),
        ("commands_refused", "1"),
        ("requests_get", "4"),
    ] {
        assert_eq!(figure(name), count, "{name}");
    }
}

fn redis_cli() {
    let (_daemon, address) = start(&[]);
    let (_, port) = address.rsplit_once(':').unwrap();
    let run = |arguments: &[&str], input: &str| {
        let run = Program::new("redis-cli").args(["-p", port]).args(arguments.iter().copied()).stdin(input);
        run.run().success().stdout
    };
    assert_eq!(run(&["SET", "greeting", "hello world"], ""), "OK\n");
    assert_eq!(run(&["GET", "greeting"], ""), "hello world\n");
    assert_eq!(run(&["-3", "GET", "nothing"], ""), "\n");
    let script = "MSET a 1 b 2\nINCR a\nMGET a b c\nFLUSHDB\nDBSIZE\n";
    assert_eq!(run(&[], script), "OK\n2\n2\n2\n\nOK\n0\n");
    assert_eq!(run(&["--pipe"], "SET x 1\r\nSET y 2\r\n").lines().last(), Some("errors: 0, replies: 2"));
    let mut keys: Vec<String> = run(&["--scan", "--pattern", "?"], "").lines().map(str::to_owned).collect();
    keys.sort();
    assert_eq!(keys, ["x", "y"]);
    assert!(run(&["INFO", "server"], "").contains("dht_version:"));
    assert!(run(&["--bigkeys"], "").contains("string"), "MEMORY and others are not needed");
}

fn redis_benchmark() {
    let (_daemon, address) = start(&[]);
    let (_, port) = address.rsplit_once(':').unwrap();
    for pipeline in ["1", "16"] {
        let arguments = ["-p", port, "-n", "2000", "-c", "10", "-r", "1000", "-P", pipeline, "--csv"];
        let tests = ["-t", "ping,set,get,incr,mset"];
        let output = Program::new("redis-benchmark").args(arguments).args(tests).run().success();
        for name in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"] {
            assert!(output.stdout.contains(&format!("\"{name}\",")), "{}", output.report());
        }
        assert!(!output.stderr.contains("WARNING"), "{}", output.report());
    }
}

fn redis_py() {
    let (_daemon, address) = start(&[]);
    let (_, port) = address.rsplit_once(':').unwrap();
    let script = dht_tests::binaries::repository().join("tests/python/redis_py.py");
    let output = Program::new("python3-redis").arg("-B").arg(script).arg(port).run().success();
    assert!(output.stdout.ends_with("ok\n"), "{}", output.report());
    wait_until(PATIENCE, "the clients' connections to be closed", || {
        let Reply::Bulk(info) = RespClient::connect(&address).say("INFO clients") else { return false };
        String::from_utf8_lossy(&info).contains("connected_clients:1\r\n")
    });
}
