//! `dhtd`: reads the settings, runs what they ask for, prints for people and picks the exit code.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use dht_server::config::{Args, Command, DevArgs, DevSettings, NodeArgs, NodeSettings};
use dht_server::{launcher, log_format, node};

/// It was carried out.
const EXIT_OK: u8 = 0;
/// It failed.
const EXIT_FAILED: u8 = 1;
/// It was asked for in a way that cannot work.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    abort_on_panic();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return ExitCode::from(show_usage(&error)),
    };
    ExitCode::from(match args.command {
        None => run_node(args.node),
        Some(Command::Node(node)) => run_node(*node),
        Some(Command::Dev(dev)) => run_dev(&dev),
        Some(Command::Completions { shell }) => print_completions(shell),
    })
}

/// Help and version go out as clap writes them; what is wrong with the usage, in one line.
fn show_usage(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => EXIT_OK,
            Err(_) => EXIT_FAILED,
        };
    }
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let _ = writeln!(io::stderr(), "dhtd: {first}; see dhtd --help");
    EXIT_USAGE
}

fn run_node(args: NodeArgs) -> u8 {
    let settings = match NodeSettings::resolve(args.clone()) {
        Ok(settings) => settings,
        Err(error) => return complain(EXIT_USAGE, &error),
    };
    if args.print_config {
        return match io::stdout().write_all(settings.to_toml().as_bytes()) {
            Ok(()) => EXIT_OK,
            Err(_) => EXIT_FAILED,
        };
    }
    log_format::start(settings.log_level, settings.log_format);
    let announce_ready = |bound, http: Option<SocketAddr>, resp: Option<SocketAddr>| {
        let http = http.map_or(String::new(), |address| format!("http {address}\n"));
        let resp = resp.map_or(String::new(), |address| format!("resp {address}\n"));
        // Nobody may be listening any more; that is no reason not to serve.
        let _ = io::stdout().write_all(format!("ready {bound}\n{http}{resp}").as_bytes());
        let _ = io::stdout().flush();
    };
    match node::run(settings, args, announce_ready) {
        Ok(()) => EXIT_OK,
        Err(error) if error.is_usage() => complain(EXIT_USAGE, &error),
        Err(error) => complain(EXIT_FAILED, &error),
    }
}

fn run_dev(args: &DevArgs) -> u8 {
    let settings = match DevSettings::resolve(args) {
        Ok(settings) => settings,
        Err(error) => return complain(EXIT_USAGE, &error),
    };
    match launcher::run(settings, &mut io::stdout()) {
        Ok(()) => EXIT_OK,
        Err(error) => complain(EXIT_FAILED, &error),
    }
}

fn print_completions(shell: Shell) -> u8 {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "dhtd", &mut script);
    match io::stdout().write_all(&script) {
        Ok(()) => EXIT_OK,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => EXIT_OK,
        Err(_) => EXIT_FAILED,
    }
}

fn complain(exit_code: u8, error: &dyn std::error::Error) -> u8 {
    // Nothing can be done where even standard error is closed.
    let _ = writeln!(io::stderr(), "dhtd: {error}");
    exit_code
}

/// A panic is a broken invariant: the process must not go on with it, whatever the build profile says.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::abort();
    }));
}
