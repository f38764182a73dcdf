//! The codec against its contract: PROTOCOL.md's examples and tables, round trips, cut and flipped frames, and
//! garbage. The examples stand once, in PROTOCOL.md; what they say stands once, in `samples`.

#![allow(clippy::unwrap_used, reason = "a test")]

mod document;
mod garbage;
mod mutated;
mod round_trip;
mod samples;
