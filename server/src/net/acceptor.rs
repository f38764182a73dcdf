//! The acceptor: one thread that takes new connections and deals them out to the workers in turn.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::door::Door;
use super::handover::Wake;
use super::listener::Listener;
use super::waker::{WAKE, Waker};
use super::worker::WorkerHandle;
use crate::limits::ACCEPT_RETRY_MS;

/// The running acceptor; [`Acceptor::stop`] ends it.
#[derive(Debug)]
pub struct Acceptor {
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: JoinHandle<()>,
}

impl Acceptor {
    /// Starts accepting on all of `listeners`.
    ///
    /// # Errors
    /// When the system gives no poll, or no thread.
    pub fn start(mut listeners: Vec<Listener>, workers: Vec<WorkerHandle>) -> io::Result<Acceptor> {
        let poll = Poll::new()?;
        for (number, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(&mut listener.socket, Token(number), Interest::READABLE)?;
        }
        let waker = Waker::new(poll.registry())?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut turn = Turn { poll, listeners, workers, next: 0, stop: Arc::clone(&stop) };
        let thread = thread::Builder::new().name("acceptor".into()).spawn(move || turn.run())?;
        Ok(Acceptor { stop, waker, thread })
    }

    /// Stops accepting and closes the listeners; returns once both have happened.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        if self.thread.join().is_err() {
            log::error!("the acceptor thread panicked");
        }
    }
}

struct Turn {
    poll: Poll,
    /// Each under the token of its place.
    listeners: Vec<Listener>,
    workers: Vec<WorkerHandle>,
    /// Worker that gets the next connection.
    next: usize,
    stop: Arc<AtomicBool>,
}

impl Turn {
    fn run(&mut self) {
        let mut events = Events::with_capacity(8);
        let mut retry = false;
        while !self.stop.load(Ordering::Acquire) {
            let timeout = retry.then_some(Duration::from_millis(ACCEPT_RETRY_MS));
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => log::error!("the acceptor cannot poll: error={error}"),
            }
            let is_known = |token: Token| token == WAKE || token.0 < self.listeners.len();
            debug_assert!(events.iter().all(|event| is_known(event.token())));
            retry = false;
            for number in 0..self.listeners.len() {
                retry |= !self.accept_all(number);
            }
        }
    }

    /// Accepts at one listener until there is nothing more; `false`: the system lacks something (descriptors, memory), and there
    /// may be more.
    fn accept_all(&mut self, number: usize) -> bool {
        loop {
            let listener = &self.listeners[number];
            match listener.socket.accept() {
                Ok((stream, peer)) => self.hand_over(stream, peer, listener.door),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    log::warn!("cannot accept a connection, trying again: error={error}");
                    return false;
                }
            }
        }
    }

    fn hand_over(&mut self, stream: TcpStream, peer: SocketAddr, door: Door) {
        let at = self.next % self.workers.len();
        self.next = at + 1;
        if !self.workers[at].give(stream, peer, door) {
            log::warn!("connection closed: peer={peer} reason=\"its worker has too many waiting\"");
        }
    }
}

/// Whether only the connection at the head of the queue is concerned.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
