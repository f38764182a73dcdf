//! `dht-bench`, the load generator: load over raw connections, so that what is measured is the cluster and as
//! little of a client as possible. Closed loop (every connection full) or, under `--rate`, open.
//!
//! ```text
//! settings ─ app ─ phase ─┬─ worker 0 ─┬─ link ─ pipeline (sans-io) ─▶ node a
//!                         │            └─ link ─ pipeline           ─▶ node b
//!                         └─ worker 1 …    each worker: its own poll, source of operations, tally
//! source ─ choice · permutation · zipf · keys      pace (when)             tally ─ report
//! ```
//!
//! 1. A connection never has more than `--pipeline` requests unanswered, and its buffers are bounded by that.
//! 2. A key that is drawn is asked for, however busy its node: operations wait in a bounded backlog, and no new
//!    one is drawn while that is full. Fast nodes are never favoured by dropping slow ones' keys.
//! 3. The same seed draws the same operations, thread by thread. Where keys are inserted, which numbers a thread
//!    inserts, and which keys count as there, depends besides on what was answered by then.
//!
//! The workloads a to f are the core workloads of YCSB: Cooper, Silberstein, Tam, Ramakrishnan and Sears,
//! *Benchmarking Cloud Serving Systems with YCSB*, SoCC 2010.

mod app;
mod bootstrap;
mod choice;
#[cfg(target_os = "linux")]
mod compare;
mod keys;
mod limits;
mod link;
mod live;
mod manual;
mod pace;
mod permutation;
mod phase;
mod pipeline;
mod random;
mod report;
mod settings;
mod source;
mod tally;
mod wire_end;
mod worker;
mod zipf;

pub use app::run;
