//! The three protocols of a comparison, from the client's side: requests as bytes to send, replies out of bytes
//! received. No socket and no clock.
//!
//! ```text
//! any.rs        one of the three, and what they have in common
//! binary.rs     ours
//! resp.rs       Redis'
//! memcached.rs  memcached's text protocol
//! line.rs       lines and decimal numbers, which the latter two are made of
//! ```

mod any;
mod binary;
mod line;
mod memcached;
mod resp;

pub(crate) use any::{Expected, Op, Protocol, Taken, Wire};
pub(crate) use line::{Line, decimal, line};
