//! `dht-bench`: puts load on a distributed hash table and measures it.

use std::process::ExitCode;

fn main() -> ExitCode {
    dht_client::bench::run(std::env::args_os())
}
