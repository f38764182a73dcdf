//! The acceptor: one thread that takes new connections and deals them out to the workers in turn.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::listener::Listener;
use super::waker::{WAKE, Waker};
use super::worker::WorkerHandle;
use crate::limits::ACCEPT_RETRY_MS;

const LISTENER: Token = Token(0);

/// The running acceptor; [`Acceptor::stop`] ends it.
#[derive(Debug)]
pub struct Acceptor {
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: JoinHandle<()>,
}

impl Acceptor {
    /// Starts accepting on `listener`.
    ///
    /// # Errors
    /// When the system gives no poll, or no thread.
    pub fn start(listener: Listener, workers: Vec<WorkerHandle>) -> io::Result<Acceptor> {
        let mut listener = listener.socket;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry())?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut turn = Turn { poll, listener, workers, next: 0, stop: Arc::clone(&stop) };
        let thread = thread::Builder::new().name("acceptor".into()).spawn(move || turn.run())?;
        Ok(Acceptor { stop, waker, thread })
    }

    /// Stops accepting and closes the listener; returns once both have happened.
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
    listener: TcpListener,
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
            debug_assert!(events.iter().all(|event| [LISTENER, WAKE].contains(&event.token())));
            retry = !self.accept_all();
        }
    }

    /// Accepts until there is nothing more; `false`: the system lacks something (descriptors, memory), and there
    /// may be more.
    fn accept_all(&mut self) -> bool {
        loop {
            match self.listener.accept() {
                Ok((stream, peer)) => self.hand_over(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    log::warn!("cannot accept a connection, trying again: error={error}");
                    return false;
                }
            }
        }
    }

    fn hand_over(&mut self, stream: TcpStream, peer: SocketAddr) {
        let at = self.next % self.workers.len();
        self.next = at + 1;
        if !self.workers[at].give(stream, peer) {
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
