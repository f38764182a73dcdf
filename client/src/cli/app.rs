//! From arguments to an exit code.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use clap_complete::Shell;

use crate::Client;
use crate::cli::args::{Args, Command};
use crate::cli::failure::Failure;
use crate::cli::settings::{Given, Settings, one_line, read_config_file};
use crate::cli::{cluster, commands, export, import, many, watch};

const PROGRAM: &str = "dht";

/// Runs `dht` with these arguments, the first of them the program's name, and gives the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    start_log();
    exit_code_of(PROGRAM, parse::<Args>(PROGRAM, arguments).and_then(dispatch))
}

/// Ends a program: says what went wrong, if anything.
pub(crate) fn exit_code_of(program: &str, outcome: Result<(), Failure>) -> ExitCode {
    outcome.map_or_else(|failure| failure.report(program), |()| ExitCode::SUCCESS)
}

/// Lets the log be read on standard error when `DHT_LOG` asks for it.
pub(crate) fn start_log() {
    let environment = env_logger::Env::new().filter_or("DHT_LOG", "off");
    // A second start, as in tests, changes nothing.
    let _ = env_logger::Builder::from_env(environment).try_init();
}

/// Reads arguments; prints help or the version where they are asked for, and ends the command then.
///
/// # Errors
/// A usage failure in one line; [`Failure::OutputClosed`] after help.
pub(crate) fn parse<A: Parser>(
    program: &str,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<A, Failure> {
    A::try_parse_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Ok(()) => Failure::OutputClosed,
            Err(error) => Failure::of_output(error),
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            Failure::Usage(format!("name a command; '{program} --help' shows them"))
        }
        _ => Failure::Usage(usage_text(program, &error.to_string())),
    })
}

/// Writes the completion script of a program for a shell.
///
/// # Errors
/// What standard output says.
pub(crate) fn print_completions<A: CommandFactory>(program: &str, shell: Shell) -> Result<(), Failure> {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut A::command(), program, &mut script);
    io::stdout().write_all(&script).map_err(Failure::of_output)
}

/// The sentences of clap's report, in one line: what stands before the usage.
fn usage_text(program: &str, report: &str) -> String {
    let sentences = report.split("\nUsage:").next().unwrap_or(report);
    let sentences = sentences.split("\nFor more information").next().unwrap_or(sentences);
    let text = one_line(sentences.trim_start_matches("error:"));
    format!("{text}; '{program} --help' shows the usage")
}

fn dispatch(args: Args) -> Result<(), Failure> {
    // Before the settings: a script must be had where no settings are.
    if let Some(Command::Completions { shell }) = args.command {
        return print_completions::<Args>(PROGRAM, shell);
    }
    let file = args.config.as_deref().map_or_else(|| Ok(Given::default()), read_config_file)?;
    let settings = Settings::resolve(args.given, file);
    if args.print_config {
        let text = toml::to_string(&settings).map_err(|error| Failure::Failed(error.to_string()))?;
        return io::stdout().write_all(text.as_bytes()).map_err(Failure::of_output);
    }
    let Some(command) = args.command else {
        return Err(Failure::Usage(format!("name a command; '{PROGRAM} --help' shows them")));
    };
    run_command(command, &settings)
}

fn run_command(command: Command, settings: &Settings) -> Result<(), Failure> {
    let connect = || connect(settings);
    match command {
        Command::Put { key, value, value_type, print_version } => {
            let value = commands::parse_value(value_type, &value)?;
            commands::put(&connect()?, &key.into_encoded_bytes(), &value, print_version)
        }
        Command::Get { key, json } => commands::get(&connect()?, key.into_encoded_bytes(), json),
        Command::Del { keys } => {
            commands::del(&connect()?, keys.into_iter().map(OsString::into_encoded_bytes))
        }
        Command::Mget { keys } => many::mget(&connect()?, &key_bytes(keys)),
        Command::Mput { file, value_type } => many::mput(&connect()?, &file, value_type),
        Command::Mdel { keys, file } => many::mdel(&connect()?, &key_bytes(keys), file.as_deref()),
        Command::Incr { key, by } => commands::incr(&connect()?, &key.into_encoded_bytes(), by),
        Command::Cas { key, version, value, value_type } => {
            let value = commands::parse_value(value_type, &value)?;
            commands::cas(&connect()?, &key.into_encoded_bytes(), version, &value)
        }
        Command::Scan { prefix, limit, json } => {
            commands::scan(&connect()?, &prefix.into_encoded_bytes(), limit, json)
        }
        Command::Import { file, format, key } => {
            let plan = import::Plan::new(&file, format, key.as_deref())?;
            import::run(&connect()?, &plan)
        }
        Command::Export { file, format, columns } => {
            let plan = export::Plan::new(&file, format, columns)?;
            export::run(&connect()?, &plan)
        }
        Command::Completions { shell } => print_completions::<Args>(PROGRAM, shell),
        Command::Map => cluster::map(&connect()?),
        Command::Stats { watch: None, .. } => cluster::stats(&connect()?),
        Command::Stats { watch: Some(period), count } => watch::watch(&connect()?, period.0, count),
        Command::Ping => cluster::ping(&connect()?),
    }
}

fn key_bytes(keys: Vec<OsString>) -> Vec<Vec<u8>> {
    keys.into_iter().map(OsString::into_encoded_bytes).collect()
}

fn connect(settings: &Settings) -> Result<Client, Failure> {
    let builder = Client::builder().servers(&settings.servers).op_timeout(settings.timeout.0);
    builder.connect().map_err(|error| commands::failure_of(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(line: &str) -> String {
        match parse::<Args>(PROGRAM, line.split(' ').map(OsString::from)) {
            Err(Failure::Usage(text)) => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn wrong_usage_is_one_line_that_says_what_to_do() {
        for (line, part) in [
            ("dht put k", "<VALUE>"),
            ("dht improt f", "'import'"),
            ("dht put k v --type string", "[possible values: text"),
            ("dht incr k many", "'many'"),
            ("dht put k -x", "-- -x"),
        ] {
            let text = usage(line);
            assert!(text.contains(part) && !text.contains('\n'), "{line}: {text}");
            assert!(text.ends_with("'dht --help' shows the usage"), "{text}");
        }
    }
}
