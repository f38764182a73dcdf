//! One connection: a socket under a pipeline.

use std::io;
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::bench::pipeline::{Answer, Pipeline};
use crate::bench::wire_end::{Came, Inbox, Lost, send};

/// A connection and what is under way on it.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    /// The node, for error messages.
    address: String,
    /// What is under way.
    pub(crate) pipeline: Pipeline,
    inbox: Inbox,
}

impl Link {
    /// Takes over a connection that has said its greeting.
    ///
    /// # Errors
    /// What the system says to making it non-blocking.
    pub(crate) fn new(stream: std::net::TcpStream, address: String, pipeline: Pipeline) -> io::Result<Link> {
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream);
        Ok(Link { stream, address, pipeline, inbox: Inbox::new() })
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
        let sent = send(&mut self.stream, self.pipeline.to_send()).map_err(|lost| self.lost(lost))?;
        self.pipeline.on_sent(sent);
        Ok(())
    }

    /// Reads until there is no more, and hands on every answer.
    ///
    /// # Errors
    /// How the connection broke.
    pub(crate) fn receive(&mut self, mut on_answer: impl FnMut(Answer)) -> Result<(), String> {
        while self.inbox.read(&mut self.stream).map_err(|lost| self.lost(lost))? != Came::Nothing {
            let received = self.inbox.received();
            let taken = self.pipeline.on_received(received, Instant::now(), &mut on_answer);
            self.inbox.take(taken.map_err(|error| self.broken(&error.to_string()))?);
        }
        Ok(())
    }

    fn lost(&self, lost: Lost) -> String {
        match lost {
            Lost::Closed => self.broken("closed by the node"),
            Lost::TakesNothing => self.broken("the socket takes nothing"),
            Lost::TooLong => self.broken("an answer without end"),
            Lost::System(error) => self.broken(&error.to_string()),
        }
    }

    fn broken(&self, why: &str) -> String {
        format!("the connection to {} was lost ({why})", self.address)
    }
}
