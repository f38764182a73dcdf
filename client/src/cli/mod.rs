//! `dht`, the command line for people: one command a process, its answer on standard output, what went wrong in
//! one line on standard error, and 0, 1 (failed) or 2 (usage) as exit code.
//!
//! ```text
//! args ─ settings ─ app ─┬─ commands   get put del incr cas scan      ─ output (pure)
//!                        ├─ cluster    map stats ping                 ─ output
//!                        ├─ watch      stats --watch                  ─ output
//!                        └─ import, export                            ─ format (pure)
//! ```
//!
//! `manual` is what `--help` teaches.

mod app;
mod args;
mod cluster;
mod commands;
mod export;
mod failure;
mod format;
mod import;
mod manual;
mod many;
mod output;
mod settings;
mod watch;

pub use app::run;
pub(crate) use app::{exit_code_of, parse, print_completions, start_log};
pub(crate) use failure::Failure;
pub(crate) use settings::read_config_file;
