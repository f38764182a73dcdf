//! What holds for every program, whatever it does.

use dht_tests::binaries;
use dht_tests::program::Program;

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("programs::are_built_where_the_tests_look", are_built_where_the_tests_look),
        Case::new("programs::the_load_generator_has_a_manual", the_load_generator_has_a_manual),
    ]
}

fn the_load_generator_has_a_manual() {
    let bench = binaries::dht_bench();
    for command in [&[][..], &["run"], &["compare"], &["completions"]] {
        let help = Program::new(&bench).args(command).arg("--help").run().success();
        for part in ["EXAMPLES\n  ", "EXIT STATUS\n  0  "] {
            assert!(help.stdout.contains(part), "{part}: {}", help.report());
        }
        let short = Program::new(&bench).args(command).arg("-h").run().success();
        assert!(!short.stdout.contains("EXAMPLES"), "{}", short.report());
    }
    let help = Program::new(&bench).args(["run", "--help"]).run().success();
    for part in ["ENVIRONMENT\n  DHT_SERVERS", "1 to 65,535", "[default: 16]"] {
        assert!(help.stdout.contains(part), "{part}: {}", help.report());
    }
}

fn are_built_where_the_tests_look() {
    for path in [binaries::dhtd(), binaries::dht(), binaries::dht_bench()] {
        assert!(path.is_file(), "{}", path.display());
    }
}
