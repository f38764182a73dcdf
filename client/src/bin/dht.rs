//! `dht`: reads and writes a distributed hash table from the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    dht_client::cli::run(std::env::args_os())
}
