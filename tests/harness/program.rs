//! `dht` and `dht-bench`, run to their end as a person would run them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::binaries;
use crate::process::Process;

/// Time that a run may take, unless told otherwise.
const DEADLINE: Duration = Duration::from_secs(60);

/// A run to come.
#[derive(Debug)]
pub struct Program {
    command: Command,
    stdin: Vec<u8>,
    deadline: Duration,
}

/// A run that ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout_bytes: Vec<u8>,
    /// Standard output, bytes that are no UTF-8 replaced.
    pub stdout: String,
    /// Standard error, bytes that are no UTF-8 replaced.
    pub stderr: String,
    report: String,
}

impl Program {
    /// `dht --servers SERVERS`.
    #[must_use]
    pub fn dht(servers: &str) -> Program {
        Program::new(binaries::dht()).args(["--servers", servers])
    }

    /// `dht-bench`.
    #[must_use]
    pub fn dht_bench() -> Program {
        Program::new(binaries::dht_bench())
    }

    /// `dhtd`, for runs that end by themselves (`--help`, wrong usage).
    #[must_use]
    pub fn dhtd() -> Program {
        Program::new(binaries::dhtd())
    }

    /// Any program.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Program {
        Program { command: Command::new(program), stdin: Vec::new(), deadline: DEADLINE }
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(self, argument: impl AsRef<OsStr>) -> Program {
        self.args([argument])
    }

    /// With more arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
        self.command.args(arguments);
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Program {
        self.command.env(name, value);
        self
    }

    /// In a directory.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Program {
        self.command.current_dir(directory);
        self
    }

    /// With `bytes` on standard input, which is empty otherwise.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Program {
        self.stdin = bytes.into();
        self
    }

    /// With another deadline than a minute.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Program {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not start, or not end within the deadline.
    #[must_use]
    #[track_caller]
    pub fn run(mut self) -> Output {
        let mut process = Process::spawn(&mut self.command);
        process.feed_stdin(self.stdin);
        let status = process.wait_for_exit(self.deadline);
        Output {
            code: status.code(),
            stdout_bytes: process.stdout_bytes(),
            stdout: process.stdout(),
            stderr: process.stderr(),
            report: process.report(),
        }
    }
}

impl Output {
    /// The output of a run that must have succeeded.
    ///
    /// # Panics
    /// When its exit code is not 0.
    #[must_use]
    #[track_caller]
    pub fn success(self) -> Output {
        self.exits(0)
    }

    /// The output of a run that must have ended with that exit code.
    ///
    /// # Panics
    /// When it has not.
    #[must_use]
    #[track_caller]
    pub fn exits(self, code: i32) -> Output {
        assert_eq!(self.code, Some(code), "exit code is not the one expected\n{}", self.report);
        self
    }

    /// Command, directory, how it ended, and both streams.
    #[must_use]
    pub fn report(&self) -> &str {
        &self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_output_and_exit_code() {
        let output = Program::new("sh")
            .args(["-c", "cat; echo $HOME >&2; exit 1"])
            .env("HOME", "here")
            .directory(Path::new("/"))
            .stdin(vec![b'x'; 1 << 20])
            .run()
            .exits(1);
        assert_eq!(output.stdout_bytes, vec![b'x'; 1 << 20]);
        assert_eq!(output.stderr, "here\n");
    }

    #[test]
    fn a_program_need_not_read_its_input() {
        let output = Program::new("true").stdin(vec![b'x'; 1 << 20]).run().success();
        assert_eq!(output.stdout, "");
    }

    #[test]
    #[should_panic(expected = "stderr:\n    because")]
    fn another_exit_code_shows_the_report() {
        let _output = Program::new("sh").args(["-c", "echo because >&2; exit 1"]).run().success();
    }

    #[test]
    #[should_panic(expected = "still running after 20ms\n  command: sleep 60")]
    fn a_run_that_does_not_end_is_cut_short() {
        let _output = Program::new("sleep").arg("60").deadline(Duration::from_millis(20)).run();
    }
}
