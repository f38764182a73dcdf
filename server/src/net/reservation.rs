//! A port that is kept while nobody listens there, so that a server can come back to it.
//!
//! The socket is bound and never listens. The system gives its port to nobody who asks for a free one, nor to an
//! outgoing connection, and refuses whoever connects; but a listener that names the port gets it, as both allow the
//! address to be used again. (Linux; other systems may refuse the listener.)

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};

/// A port kept until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    _socket: OwnedFd,
    address: SocketAddr,
}

impl Reservation {
    /// Keeps the port of `address`; port 0: any free one.
    ///
    /// # Errors
    /// When somebody listens there, or the system gives no socket or no port.
    pub fn of(address: SocketAddr) -> io::Result<Reservation> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address)?;
        let address = SocketAddr::try_from(getsockname(&socket)?)?;
        Ok(Reservation { _socket: socket, address })
    }

    /// The address with the port that is kept.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    use super::*;
    use crate::net::{Door, bind};

    #[test]
    fn a_kept_port_refuses_connections_and_can_be_listened_on_again_and_again() {
        let kept = Reservation::of((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        for _ in 0..3 {
            assert_eq!(
                TcpStream::connect(kept.address()).unwrap_err().kind(),
                io::ErrorKind::ConnectionRefused
            );
            let listener = bind(Door::Binary, &kept.address().to_string()).unwrap();
            assert_eq!(listener.address(), kept.address());
            TcpStream::connect(kept.address()).unwrap();
        }
    }

    #[test]
    fn a_port_that_somebody_listens_on_cannot_be_kept() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let error = Reservation::of(listener.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn ports_of_ipv6_addresses_can_be_kept_too() {
        match Reservation::of((Ipv6Addr::LOCALHOST, 0).into()) {
            Ok(kept) => assert!(kept.address().is_ipv6() && kept.address().port() != 0),
            // A machine without such addresses.
            Err(error) => assert!(
                matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported),
                "{error}"
            ),
        }
    }
}
