//! How a command ends when it does not end well: one line on standard error and an exit code.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command stops.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line or the settings make no sense; nothing was asked of the cluster. Exit code 2.
    Usage(String),
    /// It was tried and failed; the text says what to do. Exit code 1.
    Failed(String),
    /// It failed, and what there is to say has been said on standard error. Exit code 1.
    Reported,
    /// Standard output was closed by its reader (`dht scan | head`): it has what it wants. Exit code 0.
    OutputClosed,
}

impl Failure {
    /// A failure to write standard output.
    #[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
    pub(crate) fn of_output(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::OutputClosed
        } else {
            Failure::Failed(format!("cannot write to standard output: {error}"))
        }
    }

    /// Says on standard error what there is to say and gives the exit code.
    pub(crate) fn report(self, program: &str) -> ExitCode {
        match self {
            Failure::Usage(text) => {
                say(program, &text);
                ExitCode::from(2)
            }
            Failure::Failed(text) => {
                say(program, &text);
                ExitCode::FAILURE
            }
            Failure::Reported => ExitCode::FAILURE,
            Failure::OutputClosed => ExitCode::SUCCESS,
        }
    }
}

/// One line on standard error, `program: text`; what would break the line is shown escaped.
pub(crate) fn say(program: &str, text: impl Display) {
    let mut line = format!("{program}: ");
    for character in text.to_string().chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    // Nobody is left to tell when standard error itself is gone.
    let _ = io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::of_output(closed), Failure::OutputClosed);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(Failure::of_output(full), Failure::Failed(_)));
    }
}
