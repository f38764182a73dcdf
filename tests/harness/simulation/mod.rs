//! A cluster in one thread: nodes, coordinator, clients, network and clocks, all from one seed. The machines of the product
//! and its store run as they are; everything around them is here, and so are the checks, which know nothing of how the
//! machines work but what they promise.
//!
//! ```text
//! run                 one seed, or many over the cores, with a bug planted or without
//!   world             one seed: an event queue in true time, and who handles what
//!     scenario        what a seed means: how many of what
//!     queue, clock    events in order of time; each process's own clock, fast or slow
//!     network         datagrams between processes: lost, late, twice, cut off
//!     session(s)      connections between clients and nodes: in order, at most once, perhaps very late
//!     process, nodes  the nodes: running, paused, stuck, gone
//!     coordination    the coordinator and its store, which forgets what was not synced
//!     client, calls   clients with the product's own retries (`machines`), and what they ask (`workload`)
//!     lives           one client after the other
//!     faults, injected, aimed, sequences, returns, losses   what goes wrong: at random, and at the worst moment
//!     survivors       what must not
//!     serving, agreement, promises, bounds   the checks, beside `crate::linearizability`
//!     eras            what may be gone when a partition begins again
//!     ending          the course of a seed, and what has to hold at its end
//!   trace             what happened, for people; a digest of it, to compare two runs
//! ```
//!
//! Nothing may depend on anything but the seed: no clock, no address, no order of a hash map.

mod agreement;
mod aimed;
mod bounds;
mod calls;
mod client;
mod clock;
mod coordination;
mod ending;
mod eras;
mod faults;
mod injected;
mod lives;
mod losses;
mod machines;
mod network;
mod nodes;
mod process;
mod promises;
mod queue;
mod report;
mod returns;
mod run;
mod scenario;
mod sequences;
mod serving;
mod session;
mod sim_store;
mod survivors;
mod trace;
mod workload;
mod world;

pub use report::{FaultKind, Finding, SeedReport, Totals};
pub use run::{Job, JobResult, run_jobs, run_seed};
pub use scenario::{Kind, Scenario};
pub use trace::Tracing;
