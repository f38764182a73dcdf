//! Every lock, flag and wake that client and daemon write by hand, under a scheduler that chooses the order of their
//! threads: thousands of orders in a second, from a printed seed, most of which no kernel would choose.
//!
//! The files under test are included as they are. They take locks, atomics, wakes and the clock from `crate::sync`
//! alone, which is another module here: `shuttle`'s, with a clock that moves when a wait is chosen to time out.
//! So the programs are built without a trace of this, and `cargo test` needs no flag.
//!
//! What is waited for without a bound, and never comes, is a deadlock, and found as such. So a wake that is lost
//! shows in every scenario that needs it. `sync::faults` breaks the primitives on purpose: each scenario is run on
//! such a one too, and has to find it.
//!
//! `shuttle` rather than `loom`: a connection with three callers and a node has more orders than can be gone through one
//! by one, and `loom` has no `park_timeout` nor `Condvar::wait_timeout`. What is lost by that are reorderings of
//! relaxed atomics; those that are relaxed publish nothing else (hints, counters, a byte account).

#![forbid(unsafe_code)]
// The included files' own tests need real threads: they run where the files live.
#![cfg(not(test))]

/// Files of the product, as they are. What a scenario does not need of them is dead code here.
#[allow(dead_code, unreachable_pub)]
#[path = "../../../client/src/connection/mod.rs"]
mod connection;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../server/src/gate.rs"]
mod gate;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../server/src/net/handover.rs"]
mod handover;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../server/src/dispatch/held.rs"]
mod held;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../server/src/memory.rs"]
mod memory;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../client/src/pool.rs"]
mod pool;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../client/src/router.rs"]
mod router;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../server/src/net/seats.rs"]
mod seats;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../client/src/write_tokens.rs"]
mod write_tokens;

mod explore;
mod limits;
#[allow(dead_code, unreachable_pub)]
mod replication;
mod store;
mod sync;
mod wire;

pub mod accounts;
pub mod callers;
pub mod clients;
pub mod gates;
pub mod holding;
pub mod seating;
pub mod sleepers;
pub mod waiters;

pub use sync::{Fault, with_fault};
