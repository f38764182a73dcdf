//! The daemon of the distributed hash table, as a library: `main.rs` only reads the settings and picks the exit
//! code, so that tests reach every part without a process.
//!
//! The way of a request:
//!
//! ```text
//! client ─ socket ─ net/worker ─ net/connection ─ protocol frame ─ dispatch/dispatcher ─ store/partition
//!                                      │                                 ▲                    │
//!                                   socket ◀────── dispatch/output ◀─────┼──── response ◀─────┘
//!                                                                        │
//!                                              Arc<ClusterMap>: the one bridge from control to data
//! ```
//!
//! * `net` alone knows sockets. A worker runs a request to its end itself; there is no queue on the way.
//! * `http` turns the bytes of the HTTP door into questions to the dispatcher, and its answers into pages.
//! * `resp` turns the commands of the RESP door into requests, and responses into replies.
//! * `dispatch` knows requests, and who owns a key. It takes the lock of one partition at a time.
//! * `replication` knows which writes have been applied already.
//! * `store` knows keys and values: hand-built tables over an arena, one pair a partition.
//!
//! `server/ARCHITECTURE.md` says why it is so.

#![deny(unsafe_code)]

pub mod clock;
pub mod cluster;
pub mod config;
pub mod control;
pub mod dispatch;
pub mod gate;
pub mod housekeeping;
pub mod http;
pub mod launcher;
pub mod limits;
pub mod log_format;
pub mod memory;
pub mod metrics;
pub mod net;
pub mod node;
pub mod planted;
pub mod process;
pub mod reload;
pub mod replication;
pub mod resp;
pub mod server;
pub mod store;
mod sync;
pub mod throttle;
pub mod timings;
pub mod tuning;
