//! Stories of the coordinator: a small cluster whose nodes send heartbeats, and what becomes of its map.

mod beginnings;
mod failures;
mod filling;
mod losses;
#[cfg(feature = "planted-bugs")]
mod planted;
mod random;
mod requests;
mod scene;
mod storing;
