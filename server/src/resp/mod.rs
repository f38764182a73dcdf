//! The RESP door: the commands of Redis' clients and tools, turned into the same requests for the same dispatcher. No
//! socket in here, and no table.
//!
//! ```text
//! net/commands ─ bytes ─ parse ─ Words ─ state ─ execute ─┬─ dispatch (keys that live here) ──┬─ want ─ reply ─▶ dispatch/output
//!                                                         └─ pending ◀─ net/peer_link (others) ┘
//! ```
//!
//! * `parse` (with `quoted`) cuts commands; `command` is the table of them; `args` the words of one.
//! * `state` is what a connection keeps; `execute` carries out one command, `keys` those with keys.
//! * `rmw`, `scan` and `flush` are commands of several steps; `pending` keeps replies in the order of their commands
//!   while other nodes are asked.
//! * `session` and `info` answer what is not about keys; `glob` matches patterns.

mod args;
mod command;
mod execute;
mod flush;
mod glob;
mod info;
mod keys;
mod parse;
mod pending;
mod quoted;
mod reply;
mod rmw;
mod scan;
mod session;
mod state;
mod want;

pub use command::VERBS_COUNT;
pub(crate) use command::verb_names;
pub use parse::{CommandError, Cut, Measure, Measured, Words, cut};
pub(crate) use pending::{Answer, SlotId};
pub(crate) use reply::error as write_error;
pub(crate) use state::{Batch, BatchEnd, Environment, Peers, RespState, Scratch};
