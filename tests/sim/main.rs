//! The simulator as a program: many seeds, planted bugs, or one seed with a trace.

mod args;
mod output;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match output::run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            let _nobody_reads =
                std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("sim: {text}\n"));
            ExitCode::from(2)
        }
    }
}
