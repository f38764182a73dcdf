//! Client of the distributed hash table: typed values under keys, counters, conditional writes, iteration over
//! the whole cluster.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let cluster = dht_client::test_cluster::TestCluster::start(1)?;
//! # let address = cluster.address(0); // as `dhtd` prints it, 127.0.0.1:7400 by default
//! use dht_client::Client;
//!
//! let client = Client::connect(&address)?;
//! client.put("greeting", "hello")?;
//! assert_eq!(client.get::<String>("greeting")?.as_deref(), Some("hello"));
//! client.put("answer", &41)?;
//! assert_eq!(client.add("answer", 1)?, 42);
//! for entry in client.iter().prefix("gre") {
//!     let entry = entry?;
//!     println!("{} = {}", entry.key, entry.value);
//! }
//! assert!(client.delete("greeting")?.is_some());
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] is cheap to clone and may be shared by any number of threads; it starts none itself, but for the
//! length of a call on many keys ([`Client::get_many`], [`Client::put_many`], [`Client::delete_many`]). Every call
//! on one key ends within [`Builder::op_timeout`], the system's look-up of names aside. A write that was lost on the way is sent again by itself and never
//! applied twice; where the client cannot know whether a write took place, the error says so:
//! [`Error::outcome`] is then [`Outcome::Unknown`].
//!
//! To test a program that uses this crate, start a cluster inside the test: the feature `test-cluster` brings
//! `test_cluster::TestCluster`, whose nodes can be killed, started again, paused and resumed.
//!
//! The way of a call:
//!
//! ```text
//! client ─ typed ─ call ─ router ─ pool ─ connection ─ socket
//! many ─── bulk ────┤
//!                 retry (no I/O) · write_tokens
//! ```

#![forbid(unsafe_code)]

pub mod bench;
mod builder;
mod bulk;
#[cfg(test)]
mod bulk_tests;
mod call;
#[cfg(test)]
mod call_tests;
pub mod cli;
mod client;
mod collection;
mod connection;
mod error;
mod iter;
mod key;
mod key_encoding;
mod limits;
mod many;
mod pool;
mod request_size;
mod retry;
mod router;
mod sync;
#[cfg(feature = "test-cluster")]
pub mod test_cluster;
#[cfg(test)]
mod testing;
mod typed;
mod value;
mod value_serde;
mod write_tokens;

pub use builder::Builder;
pub use client::{Client, Conditional, LocalStats, NodeStats, Versioned};
pub use collection::{Typed, TypedIter};
pub use dht_protocol::ids::{ClusterId, Version};
pub use dht_protocol::placement::map::{ClusterMap, Node};
pub use dht_protocol::status::Status;
pub use dht_protocol::value::ValueType;
pub use error::{Error, Outcome, Result};
pub use iter::{Entry, Iter};
pub use key::Key;
pub use value::Value;
