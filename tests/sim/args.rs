//! The options.

use clap::Parser;

/// Runs a replicated cluster in one thread, under crashes, pauses, cuts and every other fault there is, and checks what its
/// clients were told.
///
/// A seed is one integer, and means at least 2,000 operations of clients, 20 faults and 60 simulated seconds. Whatever a
/// seed does it does again: a failure prints its seed, and the command that runs it once more.
///
///     sim --seeds 500                           the first 500 seeds
///     sim --seeds 1 --from 17 --trace-cluster   seed 17, with starts, crashes, faults and maps
///     sim --seeds 1 --from 17 --trace-key k42   seed 17, with all that happens to that key and its partition
///
/// Bugs can be planted, to see that they are found. That takes a build of its own:
///
///     cargo run --release -p dht-tests --features planted-bugs --bin sim -- --planted all
///
/// Exit code: 0: nothing was found (of planted bugs: each was), 1: something was, 2: wrong usage.
#[derive(Debug, Parser)]
#[command(name = "sim", version, verbatim_doc_comment)]
pub(crate) struct Args {
    /// How many seeds to run; with --planted, in how many each bug has to be found (200 unless told otherwise)
    #[arg(long, value_name = "N")]
    pub(crate) seeds: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) from: u64,
    /// Plant this bug, or all of them one after the other, and look for the first seed that finds it
    #[arg(long, value_name = "NAME|all")]
    pub(crate) planted: Option<String>,
    /// Threads; as many as there are cores unless told otherwise
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Findings after which to stop
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) findings: usize,
    /// Tell all that happens to this key and its partition
    #[arg(long, value_name = "KEY")]
    pub(crate) trace_key: Option<String>,
    /// Tell all that happens to this partition
    #[arg(long, value_name = "P")]
    pub(crate) trace_partition: Option<u32>,
    /// Tell of starts, crashes, faults and maps
    #[arg(long)]
    pub(crate) trace_cluster: bool,
}
