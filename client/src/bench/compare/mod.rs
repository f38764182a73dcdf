//! `dht-bench compare`: our daemon and others under the same loads in one run. Linux alone tells what it takes.
//!
//! ```text
//! settings ─ app ─ peer ─ round ─┬─ server   a child: free port, pinned, gone with its value
//!                                ├─ crew ─┬─ lane ─ wire (sans-io: ours, RESP, memcached text)
//!                                │        └─ source    what is asked for
//!                                └─ probe ─ records ─ report ─ table · chart
//! helper    inside the children: become the server, or be the limit loop (limit)
//! pinning · machine
//! ```
//!
//! 1. All servers get the same requests, drawn from one seed, over as many connections and as deep a pipeline.
//! 2. What is compared is the processor time of the server's process, which depends far less on the load generator than
//!    throughput does.
//! 3. A miss or a refusal ends the comparison: a server that has lost what it was given is not measured on it.
//! 4. No child outlives this process, however that ends.

mod app;
mod chart;
mod crew;
mod helper;
mod lane;
mod limit;
mod limits;
mod machine;
mod peer;
mod pinning;
mod probe;
mod records;
mod report;
mod round;
mod server;
mod settings;
mod source;
mod table;
mod wire;

pub(crate) use app::compare;
pub(crate) use helper::{COMMAND as HELPER, run as run_helper};
pub(crate) use settings::{CompareGiven, CompareSettings};
