//! Messages between daemons, and between daemons and their coordinator. Every message names who sends it and for whom it
//! is, each by node and incarnation, so that nothing meant for an earlier start of a node is taken for a later one's.
//!
//! * `hello`: the greeting by which the daemons of a static cluster find out that they were told different things.
//! * `entry`: an entry of a partition's log, as it is prepared, committed, kept and copied.
//! * `message`: node to node: leases, log entries and their acknowledgement, copies to newcomers.
//! * `coordination`: node to coordinator and back: heartbeats, proposals, maps.
//! * `entry_codec`, `message_codec`, `coordination_codec`: the wire form of these, as PROTOCOL.md has it.

mod coordination;
mod coordination_codec;
mod entry;
mod entry_codec;
mod hello;
mod message;
mod message_codec;

pub use coordination::{Beat, FromCoordinator, Heartbeat, ToCoordinator};
pub use entry::{CopiedEntry, Effect, LogEntry, Origin, Outcome, OutcomeRecord};
pub use hello::PeerHello;
pub use message::{At, CopyItem, ListTag, PeerBody, PeerMessage};
pub use message_codec::PEER_FORMAT;
