//! `scan`, and what becomes of output that nobody reads.

use std::collections::BTreeSet;

use dht_client::{Client, Value};
use dht_tests::binaries;
use dht_tests::cluster::Cluster;
use dht_tests::program::Program;

use crate::registry::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("cli::scan_prints_one_line_an_entry", one_line_an_entry),
        Case::new("cli::a_closed_pipe_ends_a_scan_in_peace", a_closed_pipe),
    ]
}

fn one_line_an_entry() {
    let cluster = Cluster::start(3);
    let client = Client::connect(&cluster.servers()).unwrap();
    let scan = |arguments: &[&str]| {
        let output = Program::dht(&cluster.servers()).arg("scan").args(arguments).run().success();
        assert_eq!(output.stderr, "");
        assert!(output.stdout.is_empty() || output.stdout.ends_with('\n'));
        output.stdout.lines().map(str::to_owned).collect::<BTreeSet<String>>()
    };
    assert!(scan(&[]).is_empty());
    client.put("tab\tkey", "line\nbreak\r\\ é\u{7f}").unwrap();
    client.put(b"k\xFE\x00", &Value::Bytes(vec![0xFF, b'a'])).unwrap();
    client.put("user:1", &-5).unwrap();
    client.put("user:2", &(1u8, "x")).unwrap();
    client.put("user:3", &Value::Json("{\n}".into())).unwrap();
    let users = ["user:1\t-5", "user:2\t[1,\"x\"]", "user:3\t{\\n}"].map(str::to_owned);
    let others = ["tab\\tkey\tline\\nbreak\\r\\\\ é\\x7F", "k\\xFE\\x00\t\\xFFa"].map(str::to_owned);
    assert_eq!(scan(&["--prefix", "user:"]), BTreeSet::from(users.clone()));
    assert_eq!(scan(&[]), users.into_iter().chain(others).collect());
    for limit in [0, 1, 2, 5, 100] {
        assert_eq!(scan(&["--limit", &limit.to_string()]).len(), limit.min(5));
    }
    assert!(scan(&["--prefix", "nobody"]).is_empty());
    for line in scan(&["--json"]) {
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(object["version"].as_u64().is_some_and(|version| version > 0), "{line}");
        let value = &object["value"];
        match object["key"].as_str() {
            None => assert_eq!(object["key_base64"], "a/4A"),
            Some("user:1") => assert_eq!((&object["type"], value), (&"int".into(), &(-5).into())),
            Some("user:2") => assert_eq!(object["type"], "msgpack"),
            Some("user:3") => assert_eq!((&object["type"], value), (&"json".into(), &serde_json::json!({}))),
            Some(key) => assert_eq!((key, value), ("tab\tkey", &"line\nbreak\r\\ é\u{7f}".into())),
        }
    }
}

fn a_closed_pipe() {
    let cluster = Cluster::start(3);
    let client = Client::connect(&cluster.servers()).unwrap();
    // More than any pipe holds.
    for number in 0..600 {
        client.put(format!("{number}"), &"v".repeat(1_000)).unwrap();
    }
    let script = "{ \"$0\" --servers \"$1\" scan; echo \"exit code $?\" >&2; } | head -n 1";
    let run = Program::new("sh").args(["-c", script]).arg(binaries::dht()).arg(cluster.servers()).run();
    let output = run.success();
    assert_eq!(output.stdout.lines().count(), 1);
    assert_eq!(output.stderr, "exit code 0\n", "a reader that has enough is no failure");
}
