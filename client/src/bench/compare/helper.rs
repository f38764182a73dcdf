//! What `dht-bench` does inside the processes that a comparison starts: it settles how the process shall run and
//! becomes the server, or is the limit loop.
//!
//! A server must not outlive the comparison, even one that was killed and could stop nothing: the process asks the
//! system to be killed with its parent before it becomes the server. What is asked so holds on through `exec`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::{Parser, Subcommand};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::limit;
use super::pinning::run_on;
use super::wire::Protocol;
use crate::cli::Failure;

/// The first argument, which leads here.
pub(crate) const COMMAND: &str = "compare-helper";

/// What `dht-bench compare` starts; of no use by itself.
#[derive(Debug, Parser)]
#[command(name = COMMAND, disable_help_subcommand = true)]
pub(crate) struct HelperArgs {
    #[command(subcommand)]
    command: HelperCommand,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum HelperCommand {
    /// Becomes another program, which ends with the process that started this one.
    Exec {
        /// The process that started this one.
        #[arg(long)]
        parent: i32,
        /// The processor to run on.
        #[arg(long)]
        cpu: Option<usize>,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Answers every request with a fixed reply.
    Limit {
        /// What to answer.
        #[arg(long, value_enum)]
        protocol: Protocol,
        /// The port on 127.0.0.1 to listen on.
        #[arg(long)]
        port: u16,
        /// Bytes of the key in an answer that has one.
        #[arg(long)]
        key_size: usize,
        /// Bytes of the value in an answer.
        #[arg(long)]
        value_size: usize,
    },
}

/// Does it. Comes back only when it failed.
///
/// # Errors
/// What went wrong.
pub(crate) fn run(args: HelperArgs) -> Result<(), Failure> {
    let outcome = match args.command {
        HelperCommand::Exec { parent, cpu, command } => become_program(parent, cpu, &command),
        HelperCommand::Limit { protocol, port, key_size, value_size } => {
            limit::serve(protocol, port, key_size, value_size)
        }
    };
    outcome.map_err(Failure::Failed)
}

fn become_program(parent: i32, cpu: Option<usize>, command: &[OsString]) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot ask to end with process {parent}: {error}"))?;
    // The parent may have ended before it was asked.
    if getppid() != Pid::from_raw(parent) {
        return Err(format!("process {parent} has ended"));
    }
    if let Some(cpu) = cpu {
        run_on(cpu)?;
    }
    let Some((program, arguments)) = command.split_first() else {
        return Err("there is no program to become".to_owned());
    };
    let error = Command::new(program).args(arguments).exec();
    Err(format!("cannot run {}: {error}", program.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound_and_takes_what_is_given() {
        HelperArgs::command().debug_assert();
        let words =
            [COMMAND, "exec", "--parent", "7", "--cpu", "1", "--", "server", "--save", "", "--port", "1"];
        match HelperArgs::try_parse_from(words).unwrap().command {
            HelperCommand::Exec { parent: 7, cpu: Some(1), command } => {
                assert_eq!(command, ["server", "--save", "", "--port", "1"]);
            }
            other => panic!("{other:?}"),
        }
    }
}
