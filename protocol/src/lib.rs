//! What both ends of the distributed hash table agree on: limits, ids, the hash and the ring, the cluster map,
//! values, and the wire format. No I/O, no threads, no clock: every function here is pure.
//!
//! The wire format is specified in `protocol/PROTOCOL.md`; the modules here are its implementation, and golden
//! tests hold the two together.

#![forbid(unsafe_code)]

pub mod cursor;
pub mod error;
pub mod frame;
pub mod header;
pub mod ids;
pub mod limits;
pub mod op;
pub mod peer;
pub mod placement;
pub mod request;
pub mod response;
pub mod status;
pub mod value;
mod wire;
