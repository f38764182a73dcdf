//! From arguments to an exit code.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

#[cfg(target_os = "linux")]
use crate::bench::compare::{CompareSettings, HELPER, compare, run_helper};
use crate::bench::report::Report;
use crate::bench::settings::{BenchArgs, BenchCommand, Settings};
use crate::bench::{bootstrap, phase};
use crate::cli::{Failure, exit_code_of, parse, print_completions, read_config_file, start_log};

const PROGRAM: &str = "dht-bench";

/// Runs `dht-bench` with these arguments, the first of them the program's name, and gives the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    start_log();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // What only this program itself calls stands beside the commands for people, in no help and no completion.
    #[cfg(target_os = "linux")]
    if arguments.get(1).is_some_and(|first| first == HELPER) {
        return exit_code_of(PROGRAM, parse(HELPER, arguments.into_iter().skip(1)).and_then(run_helper));
    }
    exit_code_of(PROGRAM, parse::<BenchArgs>(PROGRAM, arguments).and_then(dispatch))
}

fn dispatch(args: BenchArgs) -> Result<(), Failure> {
    match args.command {
        BenchCommand::Completions { shell } => print_completions::<BenchArgs>(PROGRAM, shell),
        BenchCommand::Run { given, config, print_config } => {
            let settings =
                Settings::resolve(*given, from_file(config.as_deref())?).map_err(Failure::Usage)?;
            if print_config { print_settings(&settings) } else { bench(&settings) }
        }
        #[cfg(target_os = "linux")]
        BenchCommand::Compare { given, config, print_config } => {
            let settings =
                CompareSettings::resolve(*given, from_file(config.as_deref())?).map_err(Failure::Usage)?;
            if print_config { print_settings(&settings) } else { compare(settings, &*caught_signals()?) }
        }
    }
}

fn from_file<T: DeserializeOwned + Default>(config: Option<&Path>) -> Result<T, Failure> {
    config.map_or_else(|| Ok(T::default()), read_config_file)
}

fn print_settings(settings: &impl Serialize) -> Result<(), Failure> {
    let text = toml::to_string(settings).map_err(|error| Failure::Failed(error.to_string()))?;
    io::stdout().write_all(text.as_bytes()).map_err(Failure::of_output)
}

fn bench(settings: &Settings) -> Result<(), Failure> {
    // Told before the run rather than after it.
    let json_path = settings.json.as_deref().filter(|path| *path != "-").map(Path::new);
    if let Some(path) = json_path {
        std::fs::write(path, "").map_err(|error| cannot_write(path, &error))?;
    }
    let stop = caught_signals()?;
    let map = bootstrap::fetch_map(&settings.servers).map_err(Failure::Failed)?;
    let figures = match &settings.mix {
        None => phase::load(settings, &map, &stop),
        Some(mix) => {
            let loaded = if mix.no_load { None } else { Some(phase::load(settings, &map, &stop)) };
            match loaded {
                // What went wrong in the load is the run's result: the mix would measure something else.
                Some(loaded) if loaded.tally.errors_count > 0 => loaded,
                Some(_) if stop.load(Ordering::Relaxed) => {
                    return Err(Failure::Failed("ended while loading: nothing was measured".to_owned()));
                }
                _ => phase::mixed(settings, mix, &map, &stop),
            }
        }
    };
    let report = Report::new(settings.clone(), map.nodes().len(), stop.load(Ordering::Relaxed), figures);
    publish(&report, json_path)?;
    match report.first_error {
        None => Ok(()),
        Some(first) => Err(Failure::Failed(format!("{} error(s), the first: {first}", report.errors))),
    }
}

/// Writes the table, and the JSON where it is wanted.
fn publish(report: &Report, json_path: Option<&Path>) -> Result<(), Failure> {
    let table = report.table();
    if report.settings.json.is_none() {
        return io::stdout().write_all(table.as_bytes()).map_err(Failure::of_output);
    }
    let json = report.json().map_err(Failure::Failed)?;
    match json_path {
        Some(path) => {
            std::fs::write(path, json).map_err(|error| cannot_write(path, &error))?;
            io::stdout().write_all(table.as_bytes()).map_err(Failure::of_output)
        }
        None => {
            // Standard output is for the JSON alone; nobody is left to tell when standard error is gone.
            let _ = io::stderr().write_all(table.as_bytes());
            io::stdout().write_all(json.as_bytes()).map_err(Failure::of_output)
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot write {}: {error}", path.display()))
}

fn caught_signals() -> Result<Arc<AtomicBool>, Failure> {
    stop_on_signal().map_err(|error| Failure::Failed(format!("cannot catch Ctrl-C: {error}")))
}

/// A flag that Ctrl-C and SIGTERM set. The second time they end the program.
fn stop_on_signal() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
