//! How daemons come to one cluster, and stay one.
//!
//! * `greeting`: members of a static cluster find out whether they were told the same.

pub mod greeting;
mod heartbeat;
pub mod node;
#[cfg(test)]
mod node_tests;
