//! One connection: a socket under a pipeline.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use dht_protocol::limits::FRAME_BYTES_MAX;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::bench::limits::INBOX_BYTES;
use crate::bench::pipeline::{Answer, Pipeline};

/// A connection and what is under way on it.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    /// The node, for error messages.
    address: String,
    /// What is under way.
    pub(crate) pipeline: Pipeline,
    /// Received bytes lie in `inbox[start..end]`.
    inbox: Vec<u8>,
    start: usize,
    end: usize,
}

impl Link {
    /// Takes over a connection that has said its greeting.
    ///
    /// # Errors
    /// What the system says to making it non-blocking.
    pub(crate) fn new(stream: std::net::TcpStream, address: String, pipeline: Pipeline) -> io::Result<Link> {
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream);
        Ok(Link { stream, address, pipeline, inbox: vec![0; INBOX_BYTES], start: 0, end: 0 })
    }

    /// Asks to be woken as `token`.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Sends until everything is sent or the socket takes no more.
    ///
    /// # Errors
    /// How the connection broke.
    pub(crate) fn send(&mut self) -> Result<(), String> {
        while !self.pipeline.to_send().is_empty() {
            match self.stream.write(self.pipeline.to_send()) {
                Ok(0) => return Err(self.broken("the socket takes nothing")),
                Ok(bytes) => self.pipeline.on_sent(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error.to_string())),
            }
        }
        Ok(())
    }

    /// Reads until there is no more, and hands on every answer.
    ///
    /// # Errors
    /// How the connection broke.
    pub(crate) fn receive(&mut self, mut on_answer: impl FnMut(Answer)) -> Result<(), String> {
        loop {
            self.make_room();
            match self.stream.read(&mut self.inbox[self.end..]) {
                Ok(0) => return Err(self.broken("closed by the node")),
                Ok(bytes) => {
                    self.end += bytes;
                    let received = &self.inbox[self.start..self.end];
                    let taken = self.pipeline.on_received(received, Instant::now(), &mut on_answer);
                    self.start += taken.map_err(|error| self.broken(&error.to_string()))?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error.to_string())),
            }
        }
    }

    /// Leaves room to read into. An unfinished frame is all that can fill the buffer, so the longest frame bounds
    /// its growth.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.inbox.len() {
            if self.start > 0 {
                self.inbox.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else {
                self.inbox.resize((self.inbox.len() * 2).min(FRAME_BYTES_MAX), 0);
            }
        }
    }

    fn broken(&self, why: &str) -> String {
        format!("the connection to {} was lost ({why})", self.address)
    }
}
