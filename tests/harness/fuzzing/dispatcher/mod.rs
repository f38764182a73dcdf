//! A node's answers to sequences of requests. Input: a script of bytes, each a choice (see `script`).
//!
//! Several clients, over several connections each, send batches of requests (right and wrong ones, conditional ones,
//! late copies and retries, scans page by page) to one node, whose memory limit may be near. Housekeeping steps in
//! between, answers are taken in parts, connections come and go. Held against the model:
//!
//! * every answer, byte for byte in the model's sense: status, version, value, page;
//! * a write is applied once, whatever copies of it arrive;
//! * what the account of memory says: never above the limit by more than is stated, no refusal while there is room,
//!   no refusal of a delete ever, and back to (almost) nothing when everything has been deleted;
//! * where answering stops: at the bound of the output, and one answer more.
//!
//! ```text
//! script    bytes ─▶ what to do next: requests, housekeeping, a lost connection
//! requests  requests with keys, values, conditions and tokens worth trying
//! node      the dispatcher under test, and what a connection is to it
//! run       drives node and model side by side
//! model     what PROTOCOL.md says that a node holds, and what becomes of it by a write
//! answers   one answer against what the model expects
//! writers   what it says about copies of writes
//! pages     what it says about pages of a scan
//! ending    everything deleted, and what is left then
//! meddle    answers changed on their way to the checker, to see that it complains
//! ```

mod answers;
mod ending;
mod meddle;
mod model;
mod node;
mod pages;
mod requests;
mod run;
mod script;
mod writers;

pub use meddle::{Honest, Meddle};
pub use run::{Tally, check, run};
