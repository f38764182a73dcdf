//! Binding the address that the daemon listens on.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use mio::net::TcpListener;

/// The address cannot be listened on. Nothing has been started.
#[derive(Debug)]
pub enum BindError {
    /// The text is no `HOST:PORT`, or the host has no address.
    Resolve {
        /// The address as given.
        address: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// Another process listens there.
    InUse {
        /// The address as given.
        address: String,
    },
    /// Any other failure to bind.
    Bind {
        /// The address as given.
        address: String,
        /// What the system said.
        error: io::Error,
    },
}

/// Listens on `address` (`HOST:PORT`; port 0: any free one) and answers with the address in fact bound.
///
/// # Errors
/// [`BindError`]; each says what to do.
pub fn bind(address: &str) -> Result<(TcpListener, SocketAddr), BindError> {
    let resolve_error = |error| BindError::Resolve { address: address.to_owned(), error };
    let no_address = || resolve_error(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    let resolved = address.to_socket_addrs().map_err(resolve_error)?.next().ok_or_else(no_address)?;
    let bind_error = |error: io::Error| {
        let address = address.to_owned();
        match error.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address },
            _ => BindError::Bind { address, error },
        }
    };
    let listener = TcpListener::bind(resolved).map_err(bind_error)?;
    let bound = listener.local_addr().map_err(bind_error)?;
    Ok((listener, bound))
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Resolve { address, error } => {
                write!(f, "cannot listen on {address:?}: {error}; give --listen HOST:PORT")
            }
            BindError::InUse { address } => write!(
                f,
                "cannot listen on {address}: the port is in use; stop the other process or choose another --listen"
            ),
            BindError::Bind { address, error } => {
                write!(f, "cannot listen on {address}: {error}; choose another --listen")
            }
        }
    }
}

impl std::error::Error for BindError {}
