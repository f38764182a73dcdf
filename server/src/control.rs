//! How the parts of a daemon ask for its end.

use std::fmt;

/// Why a daemon stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It was told to: a signal, by name.
    Signal(&'static str),
    /// The launcher that started it has gone: its standard input was closed.
    LauncherGone,
    /// It cannot go on; the sentence says why and what to do.
    Fatal(String),
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopReason::Signal(name) => f.write_str(name),
            StopReason::LauncherGone => f.write_str("standard input was closed"),
            StopReason::Fatal(why) => f.write_str(why),
        }
    }
}
