//! Where the settings come from, and help.

use std::fs;

use dht_tests::binaries;
use dht_tests::cluster::Cluster;
use dht_tests::program::{Output, Program};

use super::assert_one_line;
use crate::registry::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("cli::flags_go_before_the_environment_and_that_before_the_file", precedence),
        Case::new("cli::each_place_of_a_setting_reaches_the_cluster", every_place_works),
        Case::new("cli::a_wrong_settings_file_is_named_with_its_line", wrong_files),
        Case::new("cli::every_program_completes_in_every_shell", completions),
        Case::new("cli::help_teaches_and_version_tells", help_and_version),
    ]
}

fn dht() -> Program {
    Program::new(binaries::dht())
}

fn precedence() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dht.toml");
    fs::write(&file, "servers = \"file:1\"\ntimeout = \"250ms\"\n").unwrap();
    let printed = |program: Program| program.arg("--print-config").run().success().stdout;
    let expected =
        |servers: &str, timeout: &str| format!("servers = \"{servers}\"\ntimeout = \"{timeout}\"\n");
    assert_eq!(printed(dht()), expected("127.0.0.1:7400", "5s"));
    assert_eq!(printed(dht().arg("--config").arg(&file)), expected("file:1", "250ms"));
    assert_eq!(printed(dht().env("DHT_CONFIG", &file)), expected("file:1", "250ms"));
    let with_environment = || dht().arg("--config").arg(&file).env("DHT_SERVERS", "environment:1");
    assert_eq!(printed(with_environment()), expected("environment:1", "250ms"));
    assert_eq!(printed(with_environment().args(["--servers", "flag:1"])), expected("flag:1", "250ms"));
    let all = with_environment().env("DHT_TIMEOUT", "1m").args(["--timeout", "2s"]);
    assert_eq!(printed(all), expected("environment:1", "2s"));
    // What it prints is a file that says the same.
    fs::write(&file, printed(dht().args(["--servers", "a:1,b:2"]))).unwrap();
    assert_eq!(printed(dht().arg("--config").arg(&file)), expected("a:1,b:2", "5s"));
}

fn every_place_works() {
    let cluster = Cluster::start(3);
    let servers = cluster.servers();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dht.toml");
    fs::write(&file, format!("servers = \"{servers}\"\n")).unwrap();
    let put = |program: Program, value: &str| {
        let silent = program.args(["put", "k", value]).run().success();
        assert_eq!(silent.stdout, "");
        assert_eq!(Program::dht(&servers).args(["get", "k"]).run().success().stdout, format!("{value}\n"));
    };
    put(dht().env("DHT_SERVERS", &servers), "by environment");
    put(dht().arg("--config").arg(&file), "by file");
    put(dht().env("DHT_CONFIG", &file), "by a file of the environment");
    put(dht().env("DHT_SERVERS", "127.0.0.1:1").args(["--servers", &servers]), "by flag");
    let behind = dht().args(["put", "k", "x", "--servers", &servers]).run();
    assert_eq!(behind.success().stdout, "", "flags may stand behind the command");
}

fn wrong_files() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dht.toml");
    let refused = || -> Output { dht().arg("--config").arg(&file).arg("ping").run().exits(2) };
    let name = file.display().to_string();
    assert_one_line(&refused(), &[&name, "No such file"]);
    for (text, part) in [
        ("servers = \"a:1\"\nserver = \"b:2\"\n", "line 2: unknown field `server`"),
        ("timeout = \"5 apples\"\n", "line 1: "),
        ("servers = \n", "line 1: "),
    ] {
        fs::write(&file, text).unwrap();
        assert_one_line(&refused(), &[&name, part]);
    }
}

fn completions() {
    for (program, path, word) in [
        ("dht", binaries::dht(), "incr"),
        ("dht-bench", binaries::dht_bench(), "read-share"),
        ("dhtd", binaries::dhtd(), "advertise"),
    ] {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            // A settings file that is not there is of no matter.
            let run =
                Program::new(&path).env("DHT_CONFIG", "/no/such/file").args(["completions", shell]).run();
            let output = run.success();
            let names = output.stdout.contains(program) && output.stdout.contains(word);
            assert!(names && output.stderr.is_empty(), "{}", output.report());
        }
        let wrong = Program::new(&path).args(["completions", "csh"]).run().exits(2);
        assert!(wrong.stderr.contains("csh") && wrong.stderr.lines().count() == 1, "{}", wrong.report());
    }
    let script = dht().args(["completions", "bash"]).run().success().stdout;
    let read = Program::new("bash").args(["-n"]).stdin(script).run().success();
    assert_eq!(read.stderr, "");
}

fn help_and_version() {
    let help = dht().arg("--help").run().success();
    assert_eq!(help.stderr, "");
    for part in ["put", "get", "del", "incr", "cas", "scan", "import", "export", "map", "stats", "ping"] {
        assert!(help.stdout.lines().any(|line| line.trim_start().starts_with(part)), "{part} is missing");
    }
    for part in ["EXAMPLES", "DHT_SERVERS", "EXIT STATUS", "127.0.0.1:7400"] {
        assert!(help.stdout.contains(part), "{part}");
    }
    let widest = help.stdout.lines().map(|line| line.chars().count()).max();
    assert!(widest.is_some_and(|characters| characters <= 110), "{widest:?}");
    for command in [
        "put",
        "get",
        "del",
        "mget",
        "mput",
        "mdel",
        "incr",
        "cas",
        "scan",
        "import",
        "export",
        "map",
        "stats",
        "ping",
        "completions",
    ] {
        let help = dht().args([command, "--help"]).run().success();
        assert!(help.stdout.contains("Usage: dht "), "{}", help.report());
        let widest = help.stdout.lines().map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|characters| characters <= 110), "{widest:?}\n{}", help.report());
        for part in ["EXAMPLES\n  ", "EXIT STATUS\n  0  ", "ENVIRONMENT\n  DHT_SERVERS", "Options:"] {
            assert!(help.stdout.contains(part), "{part}: {}", help.report());
        }
        assert!(
            help.stdout.contains(&format!("dht {command}")),
            "its examples are its own: {}",
            help.report()
        );
        let short = dht().args([command, "-h"]).run().success();
        assert!(!short.stdout.contains("EXAMPLES") && short.stdout.len() < help.stdout.len());
    }
    let version = dht().arg("--version").run().success().stdout;
    assert_eq!(version, concat!("dht ", env!("CARGO_PKG_VERSION"), "\n"));
}
