//! `--help` as a manual page: every section, every option, and nothing that is not so.

use dht_tests::program::Program;

use crate::registry::Case;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("operating::help_of_every_command_has_every_section", sections),
        Case::new("operating::help_names_every_setting_its_variable_and_its_default", options),
        Case::new("operating::short_help_is_short", short),
        Case::new("operating::help_keeps_its_columns", columns),
    ]
}

fn help(arguments: &[&str]) -> String {
    Program::dhtd().args(arguments).run().success().stdout
}

fn sections() {
    for arguments in [&["--help"][..], &["node", "--help"], &["dev", "--help"], &["completions", "--help"]] {
        let text = help(arguments);
        for section in ["Usage:", "Options:", "ENVIRONMENT", "FILES", "SIGNALS", "EXIT STATUS", "EXAMPLES"] {
            assert!(text.contains(section), "{section} of {arguments:?}: {text}");
        }
    }
    for word in ["SIGTERM", "SIGHUP", "max-connections", "names what"] {
        assert!(help(&["--help"]).contains(word), "{word}");
    }
    assert!(help(&["dev", "--help"]).contains("SIGHUP"));
    assert_eq!(
        help(&["node", "--help"]).split_once("ENVIRONMENT").expect("a section").1,
        help(&["--help"]).split_once("ENVIRONMENT").expect("a section").1
    );
}

/// Columns of the least terminal.
const COLUMNS: usize = 80;

fn columns() {
    for command in [&[][..], &["node"], &["dev"], &["completions"]] {
        for flag in ["-h", "--help"] {
            let program = Program::dhtd().env("COLUMNS", COLUMNS.to_string()).args(command).arg(flag);
            let text = program.run().success().stdout;
            // What is broken by the setter goes on in the first column; only a section begins there.
            let sections = text.lines().skip_while(|line| !line.starts_with("ENVIRONMENT"));
            for line in sections {
                assert!(line.len() <= COLUMNS, "{line}");
                assert!(line.is_empty() || line.starts_with("  ") || line.ends_with(':'), "broken: {line}");
            }
        }
    }
}

fn options() {
    let text = help(&["--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    // One that has a value in any case, and those that have none by default.
    let shown = Program::dhtd().arg("--print-config").run().success().stdout;
    let settings = shown.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    for name in settings.chain(["advertise", "http", "resp", "members", "hash-key", "slow-ms", "config"]) {
        let (_, of_it) = text.split_once(&format!("--{name} <")).unwrap_or_else(|| panic!("no --{name}"));
        // The variable comes last.
        let (of_it, variable) = of_it.split_once("[env: DHT_").expect("it has a variable");
        assert!(
            variable.starts_with(&name.to_uppercase().replace('-', "_").replace("LOG_LEVEL", "LOG")),
            "{name}"
        );
        let has_default = of_it.contains("[default: ") || ["members", "config"].contains(&name);
        assert!(has_default, "--{name}: {of_it}");
    }
}

fn short() {
    for command in [&[][..], &["node"], &["dev"], &["completions"]] {
        let short = help(&[command, &["-h"]].concat());
        let long = help(&[command, &["--help"]].concat());
        assert!(short.lines().count() < long.lines().count(), "{command:?}: {short}");
        assert!(short.contains("Usage:") && !short.contains("EXIT STATUS"), "{command:?}: {short}");
    }
}
