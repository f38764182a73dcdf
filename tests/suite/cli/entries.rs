//! `put`, `get`, `del`, `incr` and `cas`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use dht_client::{Client, Value};
use dht_tests::cluster::Cluster;
use dht_tests::program::{Output, Program};
use serde_json::json;

use super::assert_one_line;
use crate::registry::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("cli::put_and_get_of_every_type", put_and_get),
        Case::new("cli::a_missing_key_is_a_line_on_standard_error_and_exit_code_1", missing_keys),
        Case::new("cli::values_of_the_client_library_are_shown", values_of_the_library),
        Case::new("cli::del_counts_and_incr_adds", del_and_incr),
        Case::new("cli::cas_writes_once", cas_writes_once),
        Case::new("cli::wrong_usage_is_exit_code_2_and_one_line", wrong_usage),
    ]
}

struct Shell {
    cluster: Cluster,
}

impl Shell {
    fn start() -> Shell {
        Shell { cluster: Cluster::start(3) }
    }

    fn dht(&self, arguments: &[&str]) -> Output {
        Program::dht(&self.cluster.servers()).args(arguments).run()
    }

    /// Standard output of a run that succeeds and has nothing to complain of.
    #[track_caller]
    fn prints(&self, arguments: &[&str]) -> String {
        let output = self.dht(arguments).success();
        assert_eq!(output.stderr, "", "{}", output.report());
        output.stdout
    }

    fn json(&self, key: &str) -> serde_json::Value {
        let text = self.prints(&["get", key, "--json"]);
        assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    fn client(&self) -> Client {
        Client::connect(&self.cluster.servers()).unwrap()
    }
}

fn put_and_get() {
    let shell = Shell::start();
    for (type_name, value, shown, in_json) in [
        ("text", "hello, wörld\n", "hello, wörld\n", json!("hello, wörld\n")),
        ("text", "", "", json!("")),
        ("int", "-9223372036854775808", "-9223372036854775808", json!(i64::MIN)),
        ("float", "6e23", "6e23", json!(6e23)),
        ("float", "-0", "-0.0", json!(-0.0)),
        ("bool", "true", "true", json!(true)),
        ("json", "{\"a\": [1]}", "{\"a\": [1]}", json!({"a": [1]})),
        ("bytes", "raw", "raw", json!("cmF3")),
    ] {
        assert_eq!(shell.prints(&["put", "k", value, "--type", type_name]), "", "done is silence");
        assert_eq!(shell.prints(&["get", "k"]), format!("{shown}\n"), "{type_name}");
        let object = shell.json("k");
        assert_eq!((&object["key"], &object["type"]), (&json!("k"), &json!(type_name)));
        assert_eq!(object["value"], in_json, "{type_name}");
        let members: Vec<&String> = object.as_object().unwrap().keys().collect();
        assert_eq!(members.len(), 4, "{members:?}");
    }
    assert_eq!(shell.prints(&["put", "dash", "--", "-x"]), "");
    assert_eq!(shell.prints(&["get", "dash"]), "-x\n");
    assert_eq!(shell.prints(&["put", "negative", "-5", "--type", "int"]), "");
    let version = shell.prints(&["put", "k", "v", "--print-version"]);
    assert_eq!(version, format!("{}\n", shell.json("k")["version"]));
}

fn missing_keys() {
    let shell = Shell::start();
    for form in [&["get", "no\tsuch"][..], &["get", "no\tsuch", "--json"]] {
        let output = shell.dht(form).exits(1);
        assert_one_line(&output, &["no such key: no\\tsuch"]);
    }
    let servers = shell.cluster.servers();
    let output = Program::dht(&servers).arg("get").arg(OsStr::from_bytes(b"k\xFE")).run().exits(1);
    assert_one_line(&output, &["no such key: k\\xFE"]);
}

fn values_of_the_library() {
    let shell = Shell::start();
    let client = shell.client();
    client.put("bytes", &Value::Bytes(vec![0, 0xFF])).unwrap();
    assert_eq!(shell.dht(&["get", "bytes"]).success().stdout_bytes, b"\0\xFF\n");
    assert_eq!(shell.json("bytes")["value"], "AP8=");
    client.put("pack", &vec![1u8, 2]).unwrap();
    assert_eq!(shell.prints(&["get", "pack"]), "[1,2]\n");
    assert_eq!(shell.json("pack")["type"], "msgpack");
    client.put("user", &Value::User { tag: 200, bytes: b"mine".to_vec() }).unwrap();
    assert_eq!(shell.prints(&["get", "user"]), "mine\n");
    assert_eq!(shell.json("user")["type"], "user200");
    client.put("nan", &f64::NAN).unwrap();
    assert_eq!(shell.prints(&["get", "nan"]), "NaN\n");
    client.put(b"k\xFE", &1).unwrap();
    let servers = shell.cluster.servers();
    let output = Program::dht(&servers).arg("get").arg(OsStr::from_bytes(b"k\xFE")).arg("--json").run();
    let object: serde_json::Value = serde_json::from_str(&output.success().stdout).unwrap();
    assert_eq!((&object["key_base64"], object.get("key")), (&json!("a/4="), None));
}

fn del_and_incr() {
    let shell = Shell::start();
    for key in ["a", "b", "c"] {
        shell.prints(&["put", key, "v"]);
    }
    assert_eq!(shell.prints(&["del", "a", "b"]), "2\n");
    let output = shell.dht(&["del", "x", "c", "y"]).exits(1);
    assert_eq!(output.stdout, "1\n");
    assert_eq!(output.stderr, "dht: no such key: x\ndht: no such key: y\n");
    assert_eq!(shell.client().iter().count(), 0);

    assert_eq!(shell.prints(&["incr", "n"]), "1\n");
    assert_eq!(shell.prints(&["incr", "n", "41"]), "42\n");
    assert_eq!(shell.prints(&["incr", "n", "-50"]), "-8\n");
    shell.prints(&["put", "digits", "9"]);
    assert_eq!(shell.prints(&["incr", "digits"]), "10\n");
    shell.prints(&["put", "word", "nine"]);
    assert_one_line(&shell.dht(&["incr", "word"]).exits(1), &["WRONG_TYPE"]);
    shell.prints(&["put", "full", "9223372036854775807", "--type", "int"]);
    assert_one_line(&shell.dht(&["incr", "full"]).exits(1), &["OVERFLOW"]);
    assert_eq!(shell.prints(&["get", "full"]), "9223372036854775807\n");
}

fn cas_writes_once() {
    let shell = Shell::start();
    let first = shell.prints(&["cas", "k", "0", "one"]);
    let output = shell.dht(&["cas", "k", "0", "other"]).exits(1);
    assert_one_line(&output, &[first.trim(), "nothing was written"]);
    let second = shell.prints(&["cas", "k", first.trim(), "2", "--type", "int"]);
    assert_eq!(second, format!("{}\n", shell.json("k")["version"]));
    assert_one_line(&shell.dht(&["cas", "k", first.trim(), "3"]).exits(1), &[second.trim()]);
    assert_one_line(
        &shell.dht(&["cas", "gone", "7", "x"]).exits(1),
        &["no entry gone", "nothing was written"],
    );
    assert_eq!(shell.prints(&["get", "k"]), "2\n");
}

fn wrong_usage() {
    // No server is asked, so none has to be there.
    let dht = |arguments: &[&str]| Program::dht("127.0.0.1:1").args(arguments).run().exits(2);
    for (arguments, part) in [
        (&[][..], "name a command"),
        (&["gte", "k"], "'gte'"),
        (&["get"], "<KEY>"),
        (&["get", "k", "--jsn"], "--jsn"),
        (&["put", "k"], "<VALUE>"),
        (&["put", "k", "one", "--type", "int"], "'one' is no int"),
        (&["put", "k", "yes", "--type", "bool"], "true or false"),
        (&["put", "k", "{a:1}", "--type", "json"], "no JSON"),
        (&["put", "k", "v", "--type", "string"], "possible values: text"),
        (&["cas", "k", "new", "v"], "'new'"),
        (&["incr", "k", "9223372036854775808"], "9223372036854775808"),
        (&["del"], "<KEYS>"),
        (&["import", "file.xls"], "file.xls"),
        (&["export", "-"], "--format"),
        (&["scan", "--limit", "-1"], "-1"),
        (&["--timeout", "soon", "ping"], "soon"),
    ] {
        assert_one_line(&dht(arguments), &[part]);
    }
    let no_port = Program::dht("localhost").arg("ping").run().exits(2);
    assert_one_line(&no_port, &["HOST:PORT"]);
    let shell = Shell::start();
    assert_one_line(&shell.dht(&["put", "", "v"]).exits(2), &["1 to 65,535 bytes"]);
    let reserved = Program::dht(&shell.cluster.servers()).arg("get").arg(OsStr::from_bytes(b"\xFFk")).run();
    assert_one_line(&reserved.exits(2), &["0xFF"]);
}
