//! Files in and out of the cluster: what comes out is what went in, to the byte.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use dht_client::{Client, Value, ValueType};
use dht_tests::cluster::Cluster;
use dht_tests::process::Process;
use dht_tests::program::{Output, Program};
use dht_tests::random::{Random, SEED, seed};
use dht_tests::wait::wait_until;
use dht_tests::{binaries, wait};
use std::time::Duration;
use tempfile::TempDir;

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("import_export::the_packages_of_this_machine", the_packages_of_this_machine)
            .needs(&["dpkg-query"]),
        Case::new("import_export::every_type_in_every_format", every_type_in_every_format),
        Case::new("import_export::malformed_lines_are_named_and_passed_over", malformed_lines),
        Case::new("import_export::a_dash_is_standard_input_and_output", dashes),
        Case::new("import_export::files_that_cannot_be", files_that_cannot_be),
        Case::new("import_export::columns_of_what_is_no_object", columns_of_what_is_no_object),
        Case::new("import_export::a_hundred_thousand_rows_in_bounded_memory", a_hundred_thousand_rows),
    ]
}

struct Desk {
    cluster: Cluster,
    directory: TempDir,
}

impl Desk {
    fn start() -> Desk {
        Desk { cluster: Cluster::start(3), directory: tempfile::tempdir().unwrap() }
    }

    /// Runs `dht` where the files are.
    fn dht(&self, arguments: &[&str]) -> Output {
        Program::dht(&self.cluster.servers()).args(arguments).directory(self.directory.path()).run()
    }

    fn client(&self) -> Client {
        Client::connect(&self.cluster.servers()).unwrap()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.directory.path().join(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.directory.path().join(name)).unwrap()
    }
}

/// Keys, types and bytes.
type Entries = BTreeMap<Vec<u8>, (u8, Vec<u8>)>;

fn entries_of(client: &Client) -> Entries {
    let entry = |entry: dht_client::Result<dht_client::Entry>| {
        let entry = entry.unwrap();
        (entry.key.into_bytes(), entry.value.to_wire())
    };
    client.iter().map(entry).collect()
}

fn sorted_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    lines.sort_unstable();
    lines
}

/// The list of installed packages goes in by its package column and comes out the same, its order apart.
fn the_packages_of_this_machine() {
    let desk = Desk::start();
    let format = "${Package}:${Architecture}\\t${Version}\\t${Installed-Size}\\t${binary:Summary}\\n";
    let listed = Program::new("dpkg-query").args(["-W", "-f", format]).run().success().stdout_bytes;
    let file = [b"package\tversion\tsize\tsummary\n", &listed[..]].concat();
    let packages_count = sorted_lines(&listed).len();
    assert!(packages_count > 0, "this machine has packages");
    desk.write("packages.tsv", &file);
    let output = desk.dht(&["import", "packages.tsv", "--key", "package"]).success();
    assert_eq!(output.stderr, format!("dht: imported {packages_count} entries\n"));
    let output = desk.dht(&["export", "out.tsv", "--columns", "package,version,size,summary"]).success();
    assert_eq!(output.stderr, format!("dht: exported {packages_count} entries\n"));
    let out = desk.read("out.tsv");
    assert!(out.starts_with(b"package\tversion\tsize\tsummary\n"));
    assert!(sorted_lines(&out) == sorted_lines(&file), "the exported file differs from the imported one");

    let entries = entries_of(&desk.client());
    assert_eq!(entries.len(), packages_count);
    let bytes: usize = entries.iter().map(|(key, (_, value))| key.len() + value.len()).sum();
    let map = desk.dht(&["map"]).success().stdout;
    let sum = |column: usize| -> usize {
        map.lines().map(|line| line.split('\t').nth(column).unwrap().parse::<usize>().unwrap()).sum()
    };
    assert_eq!((sum(2), sum(3)), (packages_count, bytes), "{map}");
}

/// Every kind of value under every kind of key.
fn awkward_entries() -> Vec<(Vec<u8>, Value)> {
    let keys: [&[u8]; 9] = [
        b"plain",
        b"k\xFE\x80",
        b"tab\tkey",
        b"line\nbreak\r",
        b"\"quoted\", key",
        b"\\t",
        b" ",
        b"\0",
        "ключ".as_bytes(),
    ];
    let raw = |value_type, bytes: &[u8]| Value::Raw { value_type, bytes: bytes.to_vec() };
    let floats = [0.0, -0.0, 0.1, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, 5e-324, 6e23]
        .into_iter()
        .chain([0x7FF8_0000_0000_0001, 0xFFF8_0000_0000_0000, 0x7FF0_0000_0000_0001].map(f64::from_bits));
    let texts = [
        "",
        "text",
        "a\tb\nc\rd\\e\"f,g",
        "\u{0}\u{1}\u{1b}\u{7f}\u{85}\u{2028}",
        "\u{FEFF}mark",
        "\\N",
        "null",
        "1",
        "{}",
        " x ",
    ];
    let jsons =
        ["null", "{\"b\": 1.10, \"a\":[ ]}", "\"x\"", " 1 ", "{\n \"line\": 1\n}", "no JSON", "", "1e400"];
    let all_bytes: Vec<u8> = (0..=255).collect();
    let values = [i64::MIN, -1, 0, i64::MAX]
        .map(Value::Int)
        .into_iter()
        .chain(floats.map(Value::Float))
        .chain([true, false].map(Value::Bool))
        .chain(texts.map(|text| Value::Text(text.to_owned())))
        .chain(jsons.map(|text| Value::Json(text.to_owned())))
        .chain([vec![], vec![0], all_bytes.clone()].map(Value::Bytes))
        .chain([vec![0x93, 1, 2, 3], vec![], vec![0xC1]].map(Value::MessagePack))
        .chain([128, 200, 255].map(|tag| Value::User { tag, bytes: vec![tag, 0, b'\n'] }))
        .chain([
            raw(ValueType::TEXT, &all_bytes),
            raw(ValueType::JSON, b"\xFF"),
            Value::Text("long ".repeat(50_000)),
        ]);
    let mut entries: Vec<_> = keys.map(|key| (key.to_vec(), Value::Text("of a key".to_owned()))).to_vec();
    entries.extend(values.enumerate().map(|(at, value)| {
        let mut key = keys[at % keys.len()].to_vec();
        key.extend_from_slice(format!(" {at}").as_bytes());
        (key, value)
    }));
    entries
}

fn every_type_in_every_format() {
    let source = Desk::start();
    let client = source.client();
    for (key, value) in awkward_entries() {
        client.put(&key, &value).unwrap();
    }
    let entries = entries_of(&client);
    assert_eq!(entries.len(), awkward_entries().len());
    for format in ["jsonl", "csv", "tsv"] {
        let name = format!("entries.{format}");
        let output = source.dht(&["export", &name]).success();
        assert_eq!(output.stderr, format!("dht: exported {} entries\n", entries.len()));
        let target = Desk::start();
        target.write(&name, source.read(&name));
        let output = target.dht(&["import", &name]).success();
        assert_eq!(output.stderr, format!("dht: imported {} entries\n", entries.len()));
        let came = entries_of(&target.client());
        for (key, value) in &entries {
            let shown = key.escape_ascii();
            assert!(came.get(key) == Some(value), "{format}, {shown}: {:?} for {value:?}", came.get(key));
        }
        assert_eq!(came.len(), entries.len(), "{format}");
    }
}

fn malformed_lines() {
    let desk = Desk::start();
    desk.write("bad.csv", "id,n\na,1\nb\n\"c\nc\",3\n,4\nd,5\ne,6,7\n\"f,8\n");
    let output = desk.dht(&["import", "bad.csv", "--key", "id"]).exits(1);
    assert_eq!(output.stdout, "");
    let lines: Vec<&str> = output.stderr.lines().collect();
    let (last, named) = lines.split_last().unwrap();
    let numbers: Vec<&str> = named
        .iter()
        .map(|line| line.strip_prefix("dht: line ").unwrap().split(':').next().unwrap())
        .collect();
    assert_eq!(numbers, ["3", "6", "8", "9"], "{}", output.report());
    assert_eq!(*last, "dht: imported 3 entries; 4 lines were passed over");
    let keys: Vec<Vec<u8>> = entries_of(&desk.client()).into_keys().collect();
    assert_eq!(keys, [b"a".to_vec(), b"c\nc".to_vec(), b"d".to_vec()]);

    desk.write(
        "bad.jsonl",
        "{\"key\":\"x\",\"value\":1}\nnonsense\n\n{\"key\":\"y\",\"type\":\"int\",\"value\":1.5}\n\
         {\"value\":2}\n{\"key\":\"z\",\"type\":\"bytes\",\"value\":\"?\"}\n{\"key\":\"x\",\"value\":2}\n",
    );
    let output = desk.dht(&["import", "bad.jsonl"]).exits(1);
    for number in [2, 4, 5, 6] {
        assert!(output.stderr.contains(&format!("dht: line {number}: ")), "{}", output.report());
    }
    assert!(
        output.stderr.ends_with("dht: imported 2 entries; 4 lines were passed over\n"),
        "{}",
        output.report()
    );
    assert_eq!(desk.client().get::<i64>("x").unwrap(), Some(2), "the last of two lines counts");

    desk.write("bad.tsv", "key\ttype\tvalue\nm\tint\tone\nn\tint\t1\no\tnumber\t1\np\ttext\n");
    let output = desk.dht(&["import", "bad.tsv"]).exits(1);
    assert_eq!(output.stderr.lines().count(), 4, "{}", output.report());
    assert_eq!(desk.client().get::<i64>("n").unwrap(), Some(1));
}

fn dashes() {
    let desk = Desk::start();
    let servers = desk.cluster.servers();
    let import = Program::dht(&servers).args(["import", "-", "--format", "csv", "--key", "id"]);
    let output = import.stdin("id,name\n7,Ann\n8,\"B, b\"\n").run().success();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", "dht: imported 2 entries\n"));
    let output = desk.dht(&["export", "-", "--format", "csv", "--columns", "id,name"]).success();
    assert_eq!(sorted_lines(&output.stdout_bytes), [&b"7,Ann\n"[..], b"8,\"B, b\"\n", b"id,name\n"]);
    assert_eq!(output.stderr, "dht: exported 2 entries\n");
    // One cluster's export is another's import.
    let lines = desk.dht(&["export", "-", "--format", "jsonl"]).success().stdout_bytes;
    let other = Desk::start();
    let import = Program::dht(&other.cluster.servers()).args(["import", "-", "--format", "jsonl"]);
    assert_eq!(import.stdin(lines).run().success().stderr, "dht: imported 2 entries\n");
    assert_eq!(entries_of(&other.client()), entries_of(&desk.client()));
}

fn files_that_cannot_be() {
    let desk = Desk::start();
    let fails = |arguments: &[&str], code: i32, part: &str| {
        let output = desk.dht(arguments).exits(code);
        let one_line = output.stderr.starts_with("dht: ") && output.stderr.lines().count() == 1;
        assert!(one_line && output.stderr.contains(part), "{part}\n{}", output.report());
    };
    fails(&["import", "packages.xls"], 2, "--format");
    fails(&["export", "packages"], 2, "--format");
    fails(&["import", "-"], 2, "--format");
    fails(&["import", "a.csv", "--format", "xml"], 2, "'xml'");
    fails(&["export", "a.csv", "--columns", "a,b,a"], 2, "a");
    fails(&["import", "gone.csv"], 1, "gone.csv");
    desk.write("empty.csv", "");
    fails(&["import", "empty.csv"], 1, "empty");
    desk.write("table.csv", "a,b\n1,2\n");
    fails(&["import", "table.csv", "--key", "id"], 1, "id");
    fails(&["export", "no/such/directory/out.csv"], 1, "no/such/directory/out.csv");
    assert_eq!(desk.client().iter().count(), 0);
    let names = fs::read_dir(desk.directory.path()).unwrap().count();
    assert_eq!(names, 2, "an export that fails leaves nothing behind");
}

fn columns_of_what_is_no_object() {
    let desk = Desk::start();
    let client = desk.client();
    client
        .put("row", &Value::Json("{\"n\": 1.50, \"s\": \"a\\tb\", \"o\": {\"x\": null}, \"z\": null}".into()))
        .unwrap();
    client.put("text", "no row").unwrap();
    client.put("list", &Value::Json("[1]".into())).unwrap();
    let output = desk.dht(&["export", "-", "--format", "tsv", "--columns", "id,n,s,o,z,gone"]).exits(1);
    assert_eq!(output.stdout, "id\tn\ts\to\tz\tgone\nrow\t1.50\ta\\tb\t{\"x\": null}\t\t\n");
    let lines: Vec<&[u8]> = sorted_lines(output.stderr.as_bytes());
    assert_eq!(lines.len(), 3, "{}", output.report());
    for part in ["key text: ", "key list: ", "exported 1 entries; 2 were passed over"] {
        assert!(output.stderr.contains(part), "{part}\n{}", output.report());
    }
}

/// Most memory that an import or export may ever have resident, whatever the file: rows in flight, the threads'
/// stacks, and the program itself.
const RESIDENT_KIB_MAX: u64 = 48 << 10;

fn a_hundred_thousand_rows() {
    const ROWS: usize = 100_000;
    let desk = Desk::start();
    let seed = seed();
    let mut random = Random::new(seed);
    let mut file = "id\tname\tnote\n".to_owned();
    for row in 0..ROWS {
        let width = 200 + random.below(800) as usize;
        writeln!(file, "row{row:07}\tname {}\t{:x>width$}", random.next_u64(), row).unwrap();
    }
    assert!(
        file.len() as u64 > (RESIDENT_KIB_MAX << 10) * 6 / 5,
        "a file that would not fit: {}",
        file.len()
    );
    desk.write("rows.tsv", &file);
    let imported = peak_of(&desk, &["import", "rows.tsv"]);
    let exported = peak_of(&desk, &["export", "out.tsv", "--columns", "id,name,note"]);
    let out = desk.read("out.tsv");
    assert!(sorted_lines(&out) == sorted_lines(file.as_bytes()), "another file came out, {SEED}={seed}");
    eprintln!(
        "{ROWS} rows, {} MB: import {imported} KiB, export {exported} KiB resident at most",
        file.len() / 1_000_000
    );
    assert!(imported < RESIDENT_KIB_MAX && exported < RESIDENT_KIB_MAX, "{imported} and {exported} KiB");
}

/// Runs `dht` and looks at its memory until it ends: the most that was resident, KiB.
fn peak_of(desk: &Desk, arguments: &[&str]) -> u64 {
    let mut command = Command::new(binaries::dht());
    command.args(["--servers", &desk.cluster.servers()]).args(arguments).current_dir(desk.directory.path());
    let mut process = Process::spawn(&mut command);
    process.close_stdin();
    let status = format!("/proc/{}/status", process.id());
    let mut peak_kib = 0;
    wait_until(Duration::from_secs(60), "the end of the run", || {
        peak_kib = peak_kib.max(resident_peak_kib(Path::new(&status)).unwrap_or(0));
        !process.is_running()
    });
    assert!(process.wait_for_exit(wait::PATIENCE).success(), "{}", process.report());
    assert!(peak_kib > 0, "it was never looked at");
    peak_kib
}

fn resident_peak_kib(status: &Path) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
