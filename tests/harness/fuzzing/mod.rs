//! What must hold for any input, one function a target: it is given bytes, and panics where something does not hold.
//! Absence of panics in the code under test is the least of it: lengths, limits, allocations, exact round trips, and
//! for the dispatcher every answer are held against a second, plainer reading of PROTOCOL.md.
//!
//! ```text
//! targets      all of them by name
//! frame        cutting a stream into frames, whole and in pieces
//! request      reading a request, and writing it again
//! response     reading a response to every operation, and writing it again
//! peer         messages between daemons, and the judgement that follows from them
//! http         cutting the head of an HTTP request, whole and in pieces
//! resp         cutting commands of Redis' protocol, whole and in pieces
//! dispatcher/  a node's answers to sequences of requests, against a model
//! draw         numbers and choices out of an input's bytes
//! inputs       inputs for seeded runs: random, and made of samples
//! seeded       a run of one target over seeded inputs, and the report of one that fails
//! ```
//!
//! `tests/fuzz` hands these functions to cargo-fuzz, and `tests/fuzzing` runs them within the test command.

pub mod dispatcher;
mod draw;
pub mod frame;
pub mod http;
mod inputs;
pub mod peer;
pub mod request;
pub mod resp;
pub mod response;
pub mod seeded;
pub mod targets;

pub use draw::Draw;
