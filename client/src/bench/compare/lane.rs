//! One connection: a socket under a wire.
//!
//! A read that fills less than its room has taken all that there was, and later bytes wake the poll again: reading on
//! until the socket says that it is empty would cost a system call for each answer.

use std::net::SocketAddr;
use std::time::Duration;

use dht_protocol::ids::{ClusterId, Epoch};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::wire::{Expected, Protocol, Taken, Wire};
use crate::bench::bootstrap;
use crate::bench::wire_end::{self, Came, Inbox, Lost};

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What to connect to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    /// Of the map of a cluster of ours.
    pub(crate) epoch: Epoch,
}

/// A connection and what is under way on it.
#[derive(Debug)]
pub(crate) struct Lane {
    stream: TcpStream,
    pub(crate) wire: Wire,
    /// What is to be sent; `out[out_sent..]` has yet to be.
    pub(crate) out: Vec<u8>,
    out_sent: usize,
    inbox: Inbox,
    /// Keys that were asked for and not answered.
    pub(crate) keys_open: usize,
}

impl Lane {
    /// Opens a connection, and greets where the protocol has a greeting.
    ///
    /// # Errors
    /// What went wrong.
    pub(crate) fn open(target: &Target) -> Result<Lane, String> {
        let stream = match target.protocol {
            Protocol::Binary => bootstrap::open(&target.address.to_string(), ClusterId::default())?.0,
            Protocol::Resp | Protocol::Memcached => connect(target.address)?,
        };
        stream.set_nonblocking(true).map_err(|error| format!("cannot use a connection: {error}"))?;
        Ok(Lane {
            stream: TcpStream::from_std(stream),
            wire: Wire::new(target.protocol, target.epoch),
            out: Vec::new(),
            out_sent: 0,
            inbox: Inbox::new(),
            keys_open: 0,
        })
    }

    /// Asks to be woken as `token`.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> Result<(), String> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = registry.register(&mut self.stream, token, interest);
        registered.map_err(|error| format!("cannot poll a connection: {error}"))
    }

    /// Sends until everything is sent or the socket takes no more.
    ///
    /// # Errors
    /// How the connection broke.
    pub(crate) fn send(&mut self) -> Result<(), String> {
        self.out_sent += wire_end::send(&mut self.stream, &self.out[self.out_sent..]).map_err(lost)?;
        if self.out_sent == self.out.len() {
            self.out.clear();
            self.out_sent = 0;
        }
        Ok(())
    }

    /// Reads what there is, and hands on the id of every key that is answered.
    ///
    /// # Errors
    /// How the connection broke, or what of an answer is wrong.
    pub(crate) fn receive(
        &mut self,
        expected: &Expected,
        mut on_key: impl FnMut(u32),
    ) -> Result<Taken, String> {
        let mut sum = Taken::default();
        loop {
            let came = self.inbox.read(&mut self.stream).map_err(lost)?;
            if came == Came::Nothing {
                return Ok(sum);
            }
            let taken = self.wire.take(self.inbox.received(), expected, &mut on_key)?;
            self.inbox.take(taken.bytes);
            self.keys_open = self
                .keys_open
                .checked_sub(taken.keys)
                .ok_or_else(|| "answers more than was asked".to_owned())?;
            sum.keys += taken.keys;
            sum.misses += taken.misses;
            if came == Came::All {
                return Ok(sum);
            }
        }
    }
}

fn lost(lost: Lost) -> String {
    match lost {
        Lost::Closed => "closed a connection".to_owned(),
        Lost::TakesNothing => "takes no more bytes".to_owned(),
        Lost::TooLong => "sends an answer without end".to_owned(),
        Lost::System(error) => format!("lost a connection: {error}"),
    }
}

/// A connection without a greeting.
///
/// # Errors
/// What went wrong.
pub(crate) fn connect(address: SocketAddr) -> Result<std::net::TcpStream, String> {
    let connected = std::net::TcpStream::connect_timeout(&address, CONNECT_MAX).and_then(|stream| {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CONNECT_MAX))?;
        stream.set_write_timeout(Some(CONNECT_MAX))?;
        Ok(stream)
    });
    connected.map_err(|error| format!("cannot be reached at {address}: {error}"))
}
