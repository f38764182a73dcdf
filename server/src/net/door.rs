//! Which protocol is spoken at a port. All else about a connection is the same at every door: one poll loop, one
//! table, one set of limits.

use crate::limits::HTTP_CONNECTIONS_RESERVED;

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The protocol of `PROTOCOL.md`.
    Binary,
    /// HTTP, for those who watch the node.
    Http,
    /// RESP, for clients and tools of Redis.
    Resp,
}

impl Door {
    /// The flag that says where it listens.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Door::Binary => "--listen",
            Door::Http => "--http",
            Door::Resp => "--resp",
        }
    }

    /// Connections that it takes past the limit of all doors: a monitor must reach a node that is full.
    #[must_use]
    pub fn connections_reserved(self) -> usize {
        match self {
            Door::Binary | Door::Resp => 0,
            Door::Http => HTTP_CONNECTIONS_RESERVED,
        }
    }
}
