//! End-to-end tests: real daemons and programs, started as processes, on ports that the system chooses.
//!
//! A test that needs a tool from outside (a Redis client, Python) says so where it is registered. Where the tool
//! is missing, the test is shown as ignored with the reason; with `DHT_REQUIRE_TOOLS=1` it fails instead.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]
#![allow(clippy::print_stderr, reason = "seeds and figures, so that a run can be repeated")]

mod bench;
mod cli;
mod client_api;
mod client_faults;
mod import_export;
mod linearizable;
mod programs;
mod registry;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = libtest_mimic::Arguments::from_args();
    let cases = [
        registry::cases(),
        programs::cases(),
        bench::cases(),
        cli::cases(),
        client_api::cases(),
        client_faults::cases(),
        import_export::cases(),
        linearizable::cases(),
    ]
    .concat();
    let tools = registry::Tools::of_this_machine();
    libtest_mimic::run(&arguments, registry::trials(&cases, &tools)).exit_code()
}
