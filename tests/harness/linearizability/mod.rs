//! Was what the clients saw the work of one register per key? A checker for recorded histories.
//!
//! A history is *linearizable* when each operation can be given one instant between its call and its return so
//! that, in the order of these instants, every answer is the one that a plain register would have given (Herlihy
//! and Wing, 1990). Operations on different keys cannot hinder each other, so each key is checked by itself.
//!
//! ```text
//! Recorder ──▶ Log (one a thread) ──▶ History ──▶ check ──▶ Report | Failure
//!                                        │
//!                            model: what one operation does to one register
//!                            search: is there an order that the model accepts?
//! ```
//!
//! An operation whose outcome is unknown (a time-out, a lost connection) may take effect at any instant after its
//! call, or never.
//!
//! ```
//! use dht_protocol::ids::Version;
//! use dht_tests::linearizability::{Answer, Op, Recorder};
//!
//! let recorder = Recorder::new();
//! let mut log = recorder.log(0); // one for each thread; any thread may own it
//! log.run("likes", Op::Put(b"41".to_vec()), |_| Answer::written(Version(1)));
//! log.run("likes", Op::Add(1), |_| Answer::counted(Version(2), 42));
//! log.run("likes", Op::Get, |_| Answer::found(Version(2), b"42"));
//! recorder.history([log]).check().expect("the register above is a good one");
//! ```

mod check;
mod history;
mod model;
mod search;

#[cfg(test)]
mod bad_histories;
#[cfg(test)]
mod brute_force;
#[cfg(test)]
mod simulated;

pub use check::{Failure, Limits, Report};
pub use history::{Answer, History, Log, Op, Record, Recorder};
