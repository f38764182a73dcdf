//! The sockets of the limit loop.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::responder::Responder;
use crate::bench::compare::limits::{LIMIT_CONNECTIONS_MAX, LIMIT_OUTPUT_BYTES_MAX, LIMIT_READ_BYTES};
use crate::bench::compare::wire::Protocol;
use crate::bench::limits::EVENTS_MAX;

const LISTENER: Token = Token(usize::MAX);

/// A connection.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// Received bytes that are no whole request yet.
    held: Vec<u8>,
    /// Answers; `out[sent..]` has yet to be taken.
    out: Vec<u8>,
    sent: usize,
}

/// Serves on that port until the process is ended.
///
/// # Errors
/// What went wrong with the port or the poll.
pub(crate) fn serve(
    protocol: Protocol,
    port: u16,
    key_bytes: usize,
    value_bytes: usize,
) -> Result<(), String> {
    let responder = Responder::new(protocol, key_bytes, value_bytes);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let failed = |what: &'static str| move |error: std::io::Error| format!("cannot {what}: {error}");
    let mut listener =
        TcpListener::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let mut poll = Poll::new().map_err(failed("poll"))?;
    let mut events = Events::with_capacity(EVENTS_MAX);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).map_err(failed("poll"))?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut chunk = vec![0; LIMIT_READ_BYTES];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(failed("poll")(error)),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut connections).map_err(failed("accept"))?;
                continue;
            }
            let slot = &mut connections[event.token().0];
            if slot.as_mut().is_some_and(|connection| !connection.serve(&responder, &mut chunk)) {
                *slot = None;
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    connections: &mut Vec<Option<Connection>>,
) -> std::io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let place = connections.iter().position(Option::is_none).unwrap_or(connections.len());
        if place == LIMIT_CONNECTIONS_MAX {
            // Closed at once: the load never opens so many.
            continue;
        }
        stream.set_nodelay(true)?;
        poll.registry().register(&mut stream, Token(place), Interest::READABLE | Interest::WRITABLE)?;
        let connection = Connection { stream, held: Vec::new(), out: Vec::new(), sent: 0 };
        if place == connections.len() {
            connections.push(Some(connection));
        } else {
            connections[place] = Some(connection);
        }
    }
}

impl Connection {
    /// Reads, answers and writes until there is no more to read, a read at a time: whether the connection goes on.
    fn serve(&mut self, responder: &Responder, chunk: &mut [u8]) -> bool {
        loop {
            if !self.send() {
                return false;
            }
            if self.out.len() - self.sent > LIMIT_OUTPUT_BYTES_MAX {
                // Reading goes on when the socket takes bytes again, which wakes the poll.
                return true;
            }
            match self.stream.read(chunk) {
                Ok(0) => return false,
                Ok(bytes) => {
                    if !self.answer(responder, &chunk[..bytes]) || !self.send() {
                        return false;
                    }
                    if bytes < chunk.len() {
                        return true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    /// Answers what has come; whether it was understood.
    fn answer(&mut self, responder: &Responder, received: &[u8]) -> bool {
        if self.held.is_empty() {
            // The common case: requests come whole, and are answered from where they were read to.
            return responder
                .answer(received, &mut self.out)
                .map(|taken| self.held.extend_from_slice(&received[taken..]))
                .is_ok();
        }
        self.held.extend_from_slice(received);
        match responder.answer(&self.held, &mut self.out) {
            Ok(taken) => {
                self.held.drain(..taken);
                true
            }
            Err(_) => false,
        }
    }

    /// Writes until everything is written or the socket takes no more; whether the connection goes on.
    fn send(&mut self) -> bool {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(0) => return false,
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.out.clear();
        self.sent = 0;
        true
    }
}
