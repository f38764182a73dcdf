//! Every operation on a real daemon, as PROTOCOL.md has it: alone, and spread over a static cluster.

use dht_protocol::ids::Version;
use dht_protocol::limits::{KEY_BYTES_MAX, SCAN_VALUE_INLINE_BYTES_MAX, VALUE_BYTES_MAX};
use dht_protocol::op::Op;
use dht_protocol::request::Condition;
use dht_protocol::status::Status;
use dht_protocol::value::ValueType;
use dht_tests::cluster::Cluster;
use dht_tests::daemon::Daemon;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{
    add, append, append_typed, delete, delete_version, exists, get, put, put_if, put_typed,
};
use dht_tests::routed::RoutedClient;

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("protocol_basics::an_entry_lives_and_dies_on_one_node", life_on_one_node),
        Case::new("protocol_basics::an_entry_lives_and_dies_on_three_nodes", life_on_three_nodes),
        Case::new("protocol_basics::conditions_hold_or_name_the_version", conditions),
        Case::new("protocol_basics::counters_count_and_refuse", counters),
        Case::new("protocol_basics::values_grow_by_appending", appends),
        Case::new("protocol_basics::an_append_crosses_the_border_to_large_values", append_across_the_border),
        Case::new("protocol_basics::values_of_every_length_come_back", lengths_of_values),
        Case::new("protocol_basics::a_value_never_outgrows_its_limit", longest_value),
        Case::new("protocol_basics::keys_of_every_length_are_told_apart", lengths_of_keys),
        Case::new("protocol_basics::versions_rise_and_change_their_cfg_over_a_restart", versions),
        Case::new("protocol_basics::types_come_back_as_they_were_sent", types),
        Case::new("protocol_basics::counters_of_a_node_follow_its_work", stats),
    ]
}

fn alone() -> (Daemon, RawClient) {
    let daemon = Daemon::start(&["--memory-limit", "256MiB"]);
    let client = RawClient::greeted(daemon.address(), 0);
    (daemon, client)
}

fn life_on_one_node() {
    let daemon = Daemon::start(&[]);
    live(&mut RoutedClient::connect(daemon.address(), 0));
}

fn life_on_three_nodes() {
    let cluster = Cluster::start(3);
    for address in cluster.addresses() {
        live(&mut RoutedClient::connect(address, 0));
    }
}

fn live(client: &mut RoutedClient) {
    for number in 0..64 {
        let name = format!("life {number}").into_bytes();
        assert_eq!(client.call(&get(&name)).status(), Status::NotFound);
        assert_eq!(client.call(&exists(&name)).status(), Status::NotFound);
        assert_eq!(client.call(&delete(&name)).status(), Status::NotFound);
        let written = client.call(&put(&name, b"one")).version();
        assert_eq!(client.call(&get(&name)).found(), (written, ValueType::BYTES, b"one".as_slice()));
        assert_eq!(client.call(&exists(&name)).version(), written);
        let (longer, length) = client.call(&append(&name, b", two")).appended();
        assert_eq!(length, 8);
        assert!(longer > written);
        assert_eq!(client.call(&get(&name)).found(), (longer, ValueType::BYTES, b"one, two".as_slice()));
        let removed = client.call(&delete(&name)).version();
        assert!(removed > longer);
        assert_eq!(client.call(&get(&name)).status(), Status::NotFound);
        let (counted, number) = client.call(&add(&name, -3)).counted();
        assert!(counted > removed);
        assert_eq!(number, -3);
        assert!(client.call(&delete(&name)).version() > counted);
    }
}

fn conditions() {
    let (_daemon, mut client) = alone();
    let name = b"conditional";
    let if_version = |version| Condition::IfVersion(Version(version));
    let mut try_put = |condition| client.call(&put_if(name, b"x", condition));

    // Without an entry.
    assert_eq!(try_put(Condition::IfPresent).failed_condition(), 0);
    assert_eq!(try_put(if_version(7)).failed_condition(), 0);
    let first = try_put(if_version(0)).version();
    // With one.
    assert_eq!(try_put(Condition::IfAbsent).failed_condition(), first);
    assert_eq!(try_put(if_version(0)).failed_condition(), first);
    assert_eq!(try_put(if_version(first + 1)).failed_condition(), first);
    let second = try_put(Condition::IfPresent).version();
    assert_eq!(try_put(if_version(first)).failed_condition(), second);
    let third = try_put(if_version(second)).version();
    assert!(first < second && second < third);

    // A removal takes one version and no other, and never "none".
    assert_eq!(client.call(&delete_version(name, second)).failed_condition(), third);
    assert_eq!(client.call(&delete_version(name, 0)).failed_condition(), third);
    let removed = client.call(&delete_version(name, third)).version();
    assert!(removed > third);
    for version in [0, third, removed] {
        assert_eq!(client.call(&delete_version(name, version)).failed_condition(), 0);
    }
    let again = client.call(&put_if(name, b"x", Condition::IfAbsent)).version();
    assert!(again > removed);
}

fn counters() {
    let (_daemon, mut client) = alone();
    let name = b"counter";
    assert_eq!(client.call(&add(name, i64::MAX)).counted().1, i64::MAX);
    let before = client.call(&get(name)).found().0;
    assert_eq!(client.call(&add(name, 1)).status(), Status::Overflow);
    let answer = client.call(&get(name));
    assert_eq!(answer.found(), (before, ValueType::INT, i64::MAX.to_be_bytes().as_slice()));
    assert_eq!(client.call(&add(name, i64::MIN)).counted().1, -1);
    assert_eq!(client.call(&add(name, i64::MIN)).status(), Status::Overflow);

    // Text that is a canonical decimal stays one.
    let _ = client.call(&put_typed(name, ValueType::TEXT, b"-9"));
    let (version, number) = client.call(&add(name, 19)).counted();
    assert_eq!(number, 10);
    assert_eq!(client.call(&get(name)).found(), (version, ValueType::TEXT, b"10".as_slice()));
    for text in ["", "-0", "+1", "01", " 1", "1 ", "1.0", "9223372036854775808"] {
        let version = client.call(&put_typed(name, ValueType::TEXT, text.as_bytes())).version();
        assert_eq!(client.call(&add(name, 1)).status(), Status::WrongType, "{text:?}");
        let answer = client.call(&get(name));
        assert_eq!(answer.found(), (version, ValueType::TEXT, text.as_bytes()));
    }
    for (value_type, bytes) in [
        (ValueType::BYTES, [0; 8].as_slice()),
        (ValueType::FLOAT, &[0; 8]),
        (ValueType::BOOL, &[1]),
        (ValueType::JSON, b"1"),
        (ValueType::MESSAGE_PACK, &[1]),
        (ValueType::USER_MIN, &[0; 8]),
    ] {
        let _ = client.call(&put_typed(name, value_type, bytes));
        assert_eq!(client.call(&add(name, 1)).status(), Status::WrongType, "{value_type}");
    }
}

fn appends() {
    let (_daemon, mut client) = alone();
    for value_type in [ValueType::BYTES, ValueType::TEXT, ValueType::USER_MIN] {
        let name = value_type.to_string().into_bytes();
        assert_eq!(client.call(&append_typed(&name, value_type, b"")).appended().1, 0);
        assert_eq!(client.call(&append_typed(&name, value_type, b"ab")).appended().1, 2);
        let (version, length) = client.call(&append_typed(&name, value_type, b"c")).appended();
        assert_eq!(length, 3);
        let other = if value_type == ValueType::TEXT { ValueType::BYTES } else { ValueType::TEXT };
        assert_eq!(client.call(&append_typed(&name, other, b"d")).status(), Status::WrongType);
        assert_eq!(client.call(&get(&name)).found(), (version, value_type, b"abc".as_slice()));
    }
    for (value_type, bytes) in [
        (ValueType::INT, [0; 8].as_slice()),
        (ValueType::FLOAT, &[0; 8]),
        (ValueType::BOOL, &[0]),
        (ValueType::JSON, b"{}"),
        (ValueType::MESSAGE_PACK, &[0]),
    ] {
        let answer = client.call(&append_typed(b"never", value_type, bytes));
        assert_eq!(answer.status(), Status::BadValue, "{value_type}");
    }
    assert_eq!(client.call(&exists(b"never")).status(), Status::NotFound);
}

fn append_across_the_border() {
    let (_daemon, mut client) = alone();
    let name = b"growing";
    let mut model = vec![b'a'; SCAN_VALUE_INLINE_BYTES_MAX - 3];
    let _ = client.call(&put(name, &model));
    // To the border, across it by single bytes, and on by pieces.
    for piece_bytes in [1, 1, 1, 1, 1, 40_000, 1, 300_000, 7] {
        let piece = vec![b'a' + (model.len() % 26) as u8; piece_bytes];
        model.extend(&piece);
        let (version, length) = client.call(&append(name, &piece)).appended();
        assert_eq!(length as usize, model.len());
        let answer = client.call(&get(name));
        assert!(answer.found() == (version, ValueType::BYTES, model.as_slice()), "{} bytes", model.len());
    }
    // And back: a small value in place of a large one can grow again.
    let _ = client.call(&put(name, b"small"));
    assert_eq!(client.call(&append(name, b" again")).appended().1, 11);
    assert_eq!(client.call(&get(name)).found().2, b"small again");
}

fn lengths_of_values() {
    let (_daemon, mut client) = alone();
    let border = SCAN_VALUE_INLINE_BYTES_MAX;
    let name = b"of any length";
    for value_bytes in [0, 1, 7, border - 1, border, border + 1, 1 << 20, VALUE_BYTES_MAX, 3, 0] {
        let value: Vec<u8> = (0..value_bytes).map(|at| (at % 251) as u8).collect();
        let version = client.call(&put(name, &value)).version();
        let answer = client.call(&get(name));
        assert!(answer.found() == (version, ValueType::BYTES, value.as_slice()), "{value_bytes} bytes");
    }
}

fn longest_value() {
    let (_daemon, mut client) = alone();
    let longest = vec![b'x'; VALUE_BYTES_MAX];
    let too_long = vec![b'y'; VALUE_BYTES_MAX + 1];
    let version = client.call(&put(b"longest", &longest)).version();
    assert_eq!(client.call(&put(b"longest", &too_long)).status(), Status::TooLarge);
    assert_eq!(client.call(&append(b"longest", b"z")).status(), Status::TooLarge);
    assert_eq!(client.call(&append(b"other", &too_long)).status(), Status::TooLarge);
    let answer = client.call(&get(b"longest"));
    assert!(answer.found() == (version, ValueType::BYTES, longest.as_slice()));
    assert_eq!(client.call(&exists(b"other")).status(), Status::NotFound);
}

fn lengths_of_keys() {
    let (_daemon, mut client) = alone();
    // Each is the start of the next.
    let lengths = [1, 2, 127, 128, 129, 4_095, 4_096, 32_768, KEY_BYTES_MAX - 1, KEY_BYTES_MAX];
    let whole = vec![b'k'; KEY_BYTES_MAX];
    for length in lengths {
        let _ = client.call(&put(&whole[..length], length.to_string().as_bytes()));
    }
    // A long value beside the longest key.
    let value = vec![b'v'; VALUE_BYTES_MAX];
    let mut other = whole.clone();
    other[KEY_BYTES_MAX - 1] = b'o';
    let _ = client.call(&put(&other, &value));
    for length in lengths {
        assert_eq!(client.call(&get(&whole[..length])).found().2, length.to_string().as_bytes());
    }
    assert!(client.call(&get(&other)).found().2 == value);
    for length in lengths {
        let _ = client.call(&delete(&whole[..length])).version();
        assert_eq!(client.call(&exists(&whole[..length])).status(), Status::NotFound);
    }
}

fn versions() {
    let mut cluster = Cluster::start(1);
    let address = cluster.addresses().next().expect("there is one").to_owned();
    let mut client = RawClient::greeted(&address, 0);
    let names: Vec<String> = (0..200).map(|number| format!("versioned {number}")).collect();
    let mut latest = vec![0; names.len()];
    for round in 0..5 {
        let value = [round];
        let requests = names.iter().map(|name| put(name.as_bytes(), &value));
        for (latest, answer) in latest.iter_mut().zip(client.pipeline(requests)) {
            assert!(answer.version() > *latest, "versions rise with every write");
            *latest = answer.version();
        }
    }
    let cfg = Version(latest[0]).cfg();
    assert!(latest.iter().all(|version| Version(*version).cfg() == cfg));
    cluster.daemon(0).kill();
    cluster.restart(0);
    let mut client = RawClient::greeted(&address, 0);
    let version = client.call(&put(names[0].as_bytes(), b"")).version();
    assert_ne!(Version(version).cfg(), cfg, "a version from before must not match by accident");
    assert_eq!(client.call(&delete_version(names[0].as_bytes(), latest[0])).failed_condition(), version);
}

fn types() {
    let (_daemon, mut client) = alone();
    for (tag, bytes) in [
        (0, b"\xFF\x00".as_slice()),
        (1, "Grüße".as_bytes()),
        (1, b"\xFF"),
        (2, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        (3, &[0x7F, 0xF8, 0, 0, 0, 0, 0, 1]),
        (4, &[0]),
        (4, &[1]),
        (5, b"{\"a\": 1}"),
        (5, b"no json at all"),
        (6, &[0xC1]),
        (128, b"mine"),
        (255, b""),
    ] {
        let value_type = ValueType::new(tag).expect("a tag that is not reserved");
        let version = client.call(&put_typed(b"typed", value_type, bytes)).version();
        assert_eq!(client.call(&get(b"typed")).found(), (version, value_type, bytes));
    }
    for (tag, bytes) in
        [(2, [0; 7].as_slice()), (2, &[0; 9]), (3, &[0; 7]), (4, &[]), (4, &[2]), (4, &[0, 0])]
    {
        let value_type = ValueType::new(tag).expect("a tag that is not reserved");
        let answer = client.call(&put_typed(b"typed", value_type, bytes));
        assert_eq!(answer.status(), Status::BadValue, "{value_type} of {bytes:?}");
    }
}

fn stats() {
    let (_daemon, mut client) = alone();
    let requests = client.stat("requests_get");
    let _ = client.call(&put(b"counted", b"12345"));
    let _ = client.call(&get(b"counted"));
    let _ = client.call(&get(b"missing"));
    assert_eq!(client.stat("requests_get"), requests + 2);
    assert_eq!(client.stat("answers_not_found"), 1);
    assert_eq!((client.stat("entries"), client.stat("key_bytes"), client.stat("value_bytes")), (1, 7, 5));
    assert_eq!(client.stat("connections"), 1);
    let kinds = ["tables", "arena", "large_values", "connections", "dedup"];
    let sum: u64 = kinds.iter().map(|kind| client.stat(&format!("memory_{kind}_bytes"))).sum();
    assert!(sum > 0 && sum <= client.stat("memory_limit_bytes"));
    assert!(client.stat(&format!("requests_{}", Op::Stats.name().to_ascii_lowercase())) > 1);
}
