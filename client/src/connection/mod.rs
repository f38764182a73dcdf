//! One connection to a node, shared by any number of threads. The only part of the client that touches a
//! socket; it starts no thread of its own.
//!
//! ```text
//!  caller ─▶ slot ─▶ queue ─▶ whoever finds nobody writing writes what is queued, in one system call
//!            ▲
//!            └─ answer ◀── whoever finds nobody reading reads, and hands out all answers that came
//! ```
//!
//! 1. A request id is a slot's number and its generation. A slot that is given up gets a new generation, so a
//!    late answer finds no slot: it is ignored and counted.
//! 2. Each caller either writes, or reads, or is parked; as long as somebody is parked, somebody reads or has
//!    been woken to. Whoever leaves a duty undone on leaving wakes a parked caller for it.
//! 3. Once anything fails the connection is dead for good, and every caller learns whether a byte of its request
//!    was written. A frame that its writer leaves half written is no failure: the next writer goes on with it.
//!
//! `slots` is the table of unanswered requests, `outgoing` what is to be written, `socket` the seam to the system,
//! `frame_reader` cuts what comes, `shared` is the connection itself, `duties` are the turns of its writers and
//! readers, `open` makes one, `pipeline` has one caller wait for many answers.

mod duties;
mod frame_reader;
mod open;
mod outgoing;
mod pipeline;
mod shared;
mod slots;
pub(crate) mod socket;

pub(crate) use open::{Greeting, OpenError, open};
pub(crate) use pipeline::Pipeline;
pub(crate) use shared::{CallError, Connection};
pub(crate) use slots::Answer;
