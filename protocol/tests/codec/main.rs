//! The codec against its contract: PROTOCOL.md's examples and tables, round trips, and cut and
//! flipped frames. The examples stand once, in PROTOCOL.md; what they say stands once, in `samples`. Random bytes, and
//! samples that are changed in more than one place, are the matter of the fuzz targets (`tests/fuzzing`).

#![allow(clippy::unwrap_used, reason = "a test")]

mod document;
mod mutated;
mod peer;
mod peer_samples;
mod round_trip;
mod samples;
