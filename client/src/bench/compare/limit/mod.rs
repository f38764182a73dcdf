//! The limit: the least that a server can do for a request. An event loop of one thread reads what a socket holds,
//! finds out how many requests that is, and answers all of them with one write of fixed replies: every `GET` finds
//! the same value, and nothing is looked up or stored.
//!
//! ```text
//! responder.rs  requests as bytes → replies as bytes; no socket
//! event_loop.rs   the sockets
//! ```

mod event_loop;
mod responder;

pub(crate) use event_loop::serve;
