//! How daemons come to one cluster, and stay one.
//!
//! * `greeting`: members of a static cluster find out whether they were told the same.
//! * `coordinator`: keeps the map of a replicated cluster, hears its nodes, and edits the map.
//! * `persist`: where the coordinator keeps it.

pub mod coordinator;
pub mod greeting;
mod heartbeat;
mod held;
pub mod node;
#[cfg(test)]
mod node_tests;
pub mod persist;
