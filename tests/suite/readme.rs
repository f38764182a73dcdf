//! The README's tour prints what it says: each command is run as it stands, in one shell, and what comes out is
//! compared line by line.

use std::env;
use std::fs;
use std::time::Duration;

use dht_tests::binaries;
use dht_tests::cluster::Cluster;
use dht_tests::program::Program;

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("readme::the_tour_prints_what_it_says", tour).needs(&["bash", "sort"])]
}

/// One command of the tour, and the lines that it prints.
struct Step {
    command: String,
    expected: Vec<String>,
}

fn tour() {
    let readme = fs::read_to_string(binaries::repository().join("README.md")).unwrap();
    let steps: Vec<Step> =
        steps_of(&readme).into_iter().filter(|step| !is_about_this_machine(step)).collect();
    assert!(steps.len() >= 12, "only {} commands found", steps.len());
    let cluster = Cluster::start(3);
    let bin = binaries::dht();
    let path = format!("{}:{}", bin.parent().unwrap().display(), env::var("PATH").unwrap());
    let directory = tempfile::tempdir().unwrap();
    for step in steps {
        let shell = Program::new("bash").args(["-c", &format!("{{ {}; }} 2>&1", step.command)]);
        let output = shell
            .env("PATH", &path)
            .env("DHT_SERVERS", cluster.servers())
            .directory(directory.path())
            .deadline(Duration::from_secs(30))
            .run();
        let printed: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(printed, step.expected, "$ {}\n{}", step.command, output.report());
    }
}

/// Building, and the map: it names the ports of `dhtd dev`, and with them the order of nodes.
fn is_about_this_machine(step: &Step) -> bool {
    step.command.starts_with("cargo build") || step.command == "dht map"
}

/// The commands in the `console` blocks, in order.
fn steps_of(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = vec![];
    let mut inside = false;
    for line in readme.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command: command.to_owned(), expected: vec![] }),
                None => {
                    let step = steps.last_mut().expect("a block begins with a command");
                    step.expected.push(line.to_owned());
                }
            },
            (false, _) => {}
        }
    }
    steps
}
