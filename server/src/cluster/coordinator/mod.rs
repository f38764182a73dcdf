//! The coordinator: it keeps the cluster map, hears the nodes' heartbeats, and edits the map. Sans-io: messages, ticks and
//! the store's answers in, messages and writes to the store out; the time and a seed are arguments.
//!
//! ```text
//! heartbeats ─▶ failure_detector ─▶ upkeep ───┐
//!                                             ├─▶ map_edit ─▶ Store ─▶ (durable) ─▶ published to all nodes
//! proposals, hand-overs ─▶ requests ──────────┘
//! ```
//!
//! * `machine`: the coordinator itself: what comes in and goes out, one edit at a time, nothing published before it is durable.
//! * `orders`: what people ask of it, and what it tells them.
//! * `terms`: what it is told and says.
//! * `failure_detector`: which starts of which nodes are heard.
//! * `upkeep`: what it does by itself: striking off, promotion, refilling, total loss.
//! * `requests`: what primaries ask of it.
//! * `map_edit`: what an edit may change, and what goes with it.
//! * `first_map`: the first map of a cluster, and the first after the store was lost.

mod failure_detector;
mod first_map;
mod machine;
mod map_edit;
mod orders;
mod requests;
#[cfg(test)]
mod stories;
mod terms;
mod upkeep;

pub use machine::Coordinator;
pub use terms::{
    CoordinatorAction, CoordinatorCounts, CoordinatorSettings, Halted, Loss, OrderError, Shortfall,
    ShortfallReason, StoreOutcome,
};
