//! End-to-end tests: real daemons and programs, started as processes, on ports that the system chooses.
//!
//! A test that needs a tool from outside (a Redis client, Python) says so where it is registered. Where the tool
//! is missing, the test is shown as ignored with the reason; with `DHT_REQUIRE_TOOLS=1` it fails instead.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]
#![allow(clippy::print_stderr, reason = "seeds and figures, so that a run can be repeated")]

mod bench;
mod bulk;
mod cli;
mod client_api;
mod client_faults;
mod compare;
mod dev_cluster;
mod fairness;
mod gathering;
mod hostile;
mod http;
mod http_client;
mod http_metrics;
mod import_export;
mod lifecycle;
mod linearizable;
mod logs;
mod memory_limit;
mod operating;
mod pipelining;
mod programs;
mod protocol_basics;
mod protocol_refusals;
mod python_client;
mod readme;
mod registry;
mod resp;
mod resp_cluster;
mod retries;
mod scanning;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = libtest_mimic::Arguments::from_args();
    let cases: Vec<registry::Case> = [
        registry::cases,
        programs::cases,
        protocol_basics::cases,
        protocol_refusals::cases,
        bench::cases,
        bulk::cases,
        cli::cases,
        client_api::cases,
        client_faults::cases,
        compare::cases,
        dev_cluster::cases,
        fairness::cases,
        gathering::cases,
        hostile::cases,
        http::cases,
        http_metrics::cases,
        import_export::cases,
        lifecycle::cases,
        linearizable::cases,
        logs::cases,
        memory_limit::cases,
        operating::cases,
        pipelining::cases,
        python_client::cases,
        readme::cases,
        resp::cases,
        resp_cluster::cases,
        retries::cases,
        scanning::cases,
    ]
    .iter()
    .flat_map(|cases| cases())
    .collect();
    let tools = registry::Tools::of_this_machine();
    libtest_mimic::run(&arguments, registry::trials(&cases, &tools)).exit_code()
}
