//! One `dhtd`.

use std::ops::{Deref, DerefMut};
use std::process::Command;

use crate::binaries;
use crate::process::Process;
use crate::wait::PATIENCE;

/// What a daemon prints on standard output, followed by `HOST:PORT`, once it listens.
const READY: &str = "ready ";

/// A daemon that listens. It is a [`Process`], and killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    address: String,
}

impl Daemon {
    /// Starts `dhtd` with `arguments` on a free local port (unless they name one) and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Daemon {
        let mut command = Command::new(binaries::dhtd());
        command.args(arguments);
        let named = |argument: &&str| *argument == "--listen" || argument.starts_with("--listen=");
        if !arguments.iter().any(named) {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        Daemon::start_command(&mut command)
    }

    /// Starts any command that announces itself as a daemon does, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    #[track_caller]
    pub fn start_command(command: &mut Command) -> Daemon {
        let mut process = Process::spawn(command);
        let address = process.wait_for_line(PATIENCE, "the line `ready HOST:PORT`", |line| {
            line.strip_prefix(READY).map(str::to_owned)
        });
        Daemon { process, address }
    }

    /// `HOST:PORT` where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Deref for Daemon {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Daemon {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_what_it_says() {
        let script = "echo starting; echo ready 127.0.0.1:4242; cat";
        let mut daemon = Daemon::start_command(Command::new("sh").args(["-c", script]));
        assert_eq!(daemon.address(), "127.0.0.1:4242");
        assert!(daemon.is_running());
        daemon.close_stdin();
        assert!(daemon.wait_for_exit(PATIENCE).success());
    }

    #[test]
    #[should_panic(expected = "no such option")]
    fn a_daemon_that_ends_at_once_shows_why() {
        let script = "echo no such option >&2; exit 2";
        let _daemon = Daemon::start_command(Command::new("sh").args(["-c", script]));
    }
}
