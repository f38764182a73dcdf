//! From settings to figures: finds what is to be compared, runs the rounds, and writes what came of them.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::chart;
use super::machine::{Machine, today};
use super::peer::{self, Family, LeftOut, Subject};
use super::pinning::{Cores, run_on};
use super::records::Records;
use super::report::CompareReport;
use super::round::Rounds;
use super::server::Launch;
use super::settings::CompareSettings;
use super::table::table;
use super::wire::Protocol;
use crate::cli::Failure;

/// Runs a comparison.
///
/// # Errors
/// Wrong settings, and whatever kept a server from being measured: a comparison of which a part failed has no
/// figures.
pub(crate) fn compare(settings: CompareSettings, stop: &AtomicBool) -> Result<(), Failure> {
    let entries = settings.entries().map_err(Failure::Usage)?;
    let (subjects, left_out) = find(&settings).map_err(Failure::Usage)?;
    for LeftOut { name, why } in &left_out {
        tell(&format!("leaving out {name}: {why}"));
    }
    // Told before the run rather than after it.
    for path in [json_path(&settings), settings.svg.as_deref()].into_iter().flatten() {
        std::fs::write(path, "").map_err(|error| cannot_write(path, &error))?;
    }
    let cores = Cores::apart();
    let machine = Machine::here(cores);
    if let Some(cores) = cores {
        run_on(cores.load).map_err(Failure::Failed)?;
    } else {
        tell("servers and load are not pinned: there are no two cores");
    }
    let launch = Launch {
        bench: this_program()?,
        cpu: cores.map(|cores| cores.servers),
        entries: settings.keys,
        key_bytes: settings.key_size,
        value_bytes: settings.value_size,
        value_bytes_max: entries.overwritten_bytes().1,
    };
    let mut rounds = Rounds {
        subjects: &subjects,
        launch: &launch,
        entries: &entries,
        cell_time: settings.cell_time(),
        rounds: settings.rounds,
        apart: cores.is_some(),
        stop,
        records: Records::default(),
        rate: None,
    };
    for number in 0..settings.rounds {
        rounds.run(number)?;
    }
    let (records, rate) = (std::mem::take(&mut rounds.records), rounds.rate.unwrap_or_default());
    publish(&CompareReport::new(settings, today(), machine, &subjects, left_out, &records, rate))
}

/// Each limit loop beside the servers of its protocol, so that they are measured one after another.
fn find(settings: &CompareSettings) -> Result<(Vec<Subject>, Vec<LeftOut>), String> {
    let daemon = peer::find_daemon(settings.daemon.as_deref())?;
    let version = peer::version_of(&daemon)?;
    if !version.starts_with("dhtd ") {
        return Err(format!(
            "{} is no dhtd, as far as its --version tells: check --daemon",
            daemon.display()
        ));
    }
    let (peers, left_out) = peer::find(&peer::parse(&settings.peers)?)?;
    let mut subjects = Vec::new();
    for protocol in [Protocol::Binary, Protocol::Resp, Protocol::Memcached] {
        let mut of_protocol: Vec<Subject> =
            peers.iter().filter(|peer| peer.family.protocol() == protocol).cloned().collect();
        if protocol != Protocol::Memcached {
            of_protocol.insert(
                0,
                Subject {
                    name: format!("dhtd-{}", protocol.argument()),
                    family: Family::Daemon(protocol),
                    program: daemon.clone(),
                    version: version.clone(),
                },
            );
        }
        if of_protocol.is_empty() {
            continue;
        }
        subjects.push(Subject {
            name: format!("limit-{}", protocol.argument()),
            family: Family::Limit(protocol),
            program: this_program().map_err(|_| "cannot find this program's own file".to_owned())?,
            version: format!("dht-bench {}", env!("CARGO_PKG_VERSION")),
        });
        subjects.append(&mut of_protocol);
    }
    Ok((subjects, left_out))
}

fn this_program() -> Result<std::path::PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::Failed(format!("cannot find this program's own file: {error}")))
}

fn json_path(settings: &CompareSettings) -> Option<&Path> {
    settings.json.as_deref().filter(|path| *path != "-").map(Path::new)
}

/// Writes the table, and the JSON and the picture where they are wanted.
fn publish(report: &CompareReport) -> Result<(), Failure> {
    if let Some(path) = &report.settings.svg {
        let svg = chart::svg(report).map_err(Failure::Failed)?;
        std::fs::write(path, svg).map_err(|error| cannot_write(path, &error))?;
    }
    let table = table(report);
    if report.settings.json.as_deref() == Some("-") {
        // Standard output is for the JSON alone; nobody is left to tell when standard error is gone.
        let _ = io::stderr().write_all(table.as_bytes());
        let json = report.json().map_err(Failure::Failed)?;
        return io::stdout().write_all(json.as_bytes()).map_err(Failure::of_output);
    }
    if let Some(path) = json_path(&report.settings) {
        let json = report.json().map_err(Failure::Failed)?;
        std::fs::write(path, json).map_err(|error| cannot_write(path, &error))?;
    }
    io::stdout().write_all(table.as_bytes()).map_err(Failure::of_output)
}

/// One line on standard error.
fn tell(line: &str) {
    // Nobody is left to tell when standard error is gone.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot write {}: {error}", path.display()))
}
