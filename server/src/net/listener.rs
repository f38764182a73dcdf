//! Binding the address that the daemon listens on.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use mio::net::TcpListener;

use super::door::Door;
use crate::limits::LISTEN_QUEUE_MAX;

/// The address cannot be listened on. Nothing has been started.
#[derive(Debug)]
pub enum BindError {
    /// The text is no `HOST:PORT`, or the host has no address.
    Resolve {
        /// For which door.
        door: Door,
        /// The address as given.
        address: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// Another process listens there.
    InUse {
        /// For which door.
        door: Door,
        /// The address as given.
        address: String,
    },
    /// Any other failure to bind.
    Bind {
        /// For which door.
        door: Door,
        /// The address as given.
        address: String,
        /// What the system said.
        error: io::Error,
    },
}

/// A bound port; connections queue up in the system until a server takes it over.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: TcpListener,
    pub(super) door: Door,
    address: SocketAddr,
}

impl Listener {
    /// The address in fact bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Listens for `door` on `address` (`HOST:PORT`; port 0: any free one).
///
/// # Errors
/// [`BindError`]; each says what to do.
pub fn bind(door: Door, address: &str) -> Result<Listener, BindError> {
    let resolve_error = |error| BindError::Resolve { door, address: address.to_owned(), error };
    let no_address = || resolve_error(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    let resolved = address.to_socket_addrs().map_err(resolve_error)?.next().ok_or_else(no_address)?;
    let bind_error = |error: io::Error| {
        let address = address.to_owned();
        match error.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { door, address },
            _ => BindError::Bind { door, address, error },
        }
    };
    let socket = TcpListener::bind(resolved).map_err(bind_error)?;
    // The library's own queue is so short that a burst overflows it, and whoever is left out tries again only after
    // a second.
    rustix::net::listen(&socket, LISTEN_QUEUE_MAX).map_err(|error| bind_error(error.into()))?;
    let address = socket.local_addr().map_err(bind_error)?;
    Ok(Listener { socket, door, address })
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Resolve { door, address, error } => {
                write!(f, "cannot listen on {address:?}: {error}; give {} HOST:PORT", door.flag())
            }
            BindError::InUse { door, address } => write!(
                f,
                "cannot listen on {address}: the port is in use; stop the other process or choose another {}",
                door.flag()
            ),
            BindError::Bind { door, address, error } => {
                write!(f, "cannot listen on {address}: {error}; choose another {}", door.flag())
            }
        }
    }
}

impl std::error::Error for BindError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_a_remedy() {
        let first = bind(Door::Binary, "127.0.0.1:0").unwrap();
        let taken = first.address().to_string();
        for (door, flag) in [(Door::Binary, "--listen"), (Door::Http, "--http"), (Door::Resp, "--resp")] {
            let error = bind(door, &taken).unwrap_err().to_string();
            assert!(error.contains(&taken) && error.contains("in use") && error.contains(flag), "{error}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        let error = bind(Door::Binary, "nonsense").unwrap_err();
        assert!(matches!(error, BindError::Resolve { .. }), "{error}");
    }
}
