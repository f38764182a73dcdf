//! Writes that outlive a lost answer, and the loss of machines. State machines only: no socket, no clock, no table.
//!
//! One copy (`clients`, `dedup`): a retry never applies twice on the node that did it first.
//!
//! Several copies: primary and backups after *PacificA: Replication in Log-Based Distributed Storage Systems* (Microsoft
//! Research, MSR-TR-2008-25). `server/ARCHITECTURE.md` has the rules, each with the schedule that it is there for.
//!
//! ```text
//!   KeyRequest ─▶ replica ─▶ primary ─ admission ─ evaluate ─▶ log entry ─▶ follower ── Prepare ──▶ backup
//!                               │                                              ▲                      │
//!                               ▼                                              └───── Prepared ───────┘
//!                            applied: table, outcomes ◀── commit               copy ──── Copy ─────▶ newcomer
//! ```
//!
//! * `replica`: the role of a partition's replica, which follows from the configuration; who acts upon a message.
//! * `primary`, `admission`, `hand_over`, `filling`, `follower`, `copy`: the primary, and what it knows of the others.
//! * `backup`, `newcomer`: the others.
//! * `applied`, `log`, `outcomes`: committed state; entries that are prepared or kept; answers that may be asked for again.
//! * `resend`: the pauses before what was not acknowledged is sent again.
//! * `budget`: what all of that takes of memory.
//! * `leases`, `floors`: what a node knows besides, whatever the partition.

mod admission;
mod applied;
mod backup;
mod budget;
pub mod clients;
mod context;
mod copy;
pub mod dedup;
mod evaluate;
mod filling;
mod floors;
mod follower;
mod hand_over;
mod leases;
pub mod limits;
mod log;
mod newcomer;
pub mod operation;
mod outcomes;
mod primary;
mod replica;
pub mod replica_store;
mod resend;
mod waiters;

pub use budget::LogBudget;
pub(crate) use context::Context;
pub use context::NodeAction;
pub use floors::Floors;
pub use leases::Leases;
pub use outcomes::Outcomes;
pub(crate) use replica::Replica;
pub use replica::{ReplicaView, Role};
