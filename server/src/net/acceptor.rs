//! The acceptor: one thread that takes new connections and deals them out to the workers in turn, as long as there
//! are seats for them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::door::Door;
use super::handover::Wake;
use super::listener::Listener;
use super::seats::Seats;
use super::waker::{WAKE, Waker};
use super::worker::{Newcomer, WorkerHandle};
use crate::dispatch::Dispatcher;
use crate::gate::Passer;
use crate::limits::{ACCEPT_LINES_PER_WINDOW_MAX, ACCEPT_RETRY_MS, ACCEPTS_PER_TURN_MAX};
use crate::throttle::Throttle;

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
    pub fn start(
        mut listeners: Vec<Listener>,
        workers: Vec<WorkerHandle>,
        dispatcher: Arc<Dispatcher>,
        passer: Passer,
    ) -> io::Result<Acceptor> {
        let poll = Poll::new()?;
        for (number, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(&mut listener.socket, Token(number), Interest::READABLE)?;
        }
        let waker = Waker::new(poll.registry())?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut turn = Turn {
            poll,
            listeners,
            workers,
            next: 0,
            stop: Arc::clone(&stop),
            dispatcher,
            passer,
            seats: Seats::default(),
            refused_lines: Throttle::new(ACCEPT_LINES_PER_WINDOW_MAX),
            failed_lines: Throttle::new(ACCEPT_LINES_PER_WINDOW_MAX),
        };
        let thread = thread::Builder::new().name("acceptor".into()).spawn(move || turn.run())?;
        Ok(Acceptor { stop, waker, thread })
    }

    /// Brings it to its next turn.
    pub(crate) fn wake(&self) {
        self.waker.wake();
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
    /// For the settings in force and the counters.
    dispatcher: Arc<Dispatcher>,
    seats: Seats,
    refused_lines: Throttle,
    failed_lines: Throttle,
    passer: Passer,
}

impl Turn {
    fn run(&mut self) {
        let mut events = Events::with_capacity(8);
        let mut timeout = None;
        while !self.stop.load(Ordering::Acquire) {
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => log::error!(error:% = error; "the acceptor cannot poll"),
            }
            if !self.passer.pass() {
                return;
            }
            let is_known = |token: Token| token == WAKE || token.0 < self.listeners.len();
            debug_assert!(events.iter().all(|event| is_known(event.token())));
            let pauses = (0..self.listeners.len()).filter_map(|number| self.accept_some(number));
            timeout = pauses.min();
        }
    }

    /// Accepts at one listener, so many that the others, and a wish to stop, have their turn however fast peers
    /// connect. `None`: nobody waits any more; `Some`: there may be more, to be looked for after so long.
    fn accept_some(&mut self, number: usize) -> Option<Duration> {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let listener = &self.listeners[number];
            match listener.socket.accept() {
                Ok((stream, peer)) => self.hand_over(stream, peer, listener.door),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if is_of_one_connection(&error) => {}
                // The system lacks something: descriptors, memory.
                Err(error) => {
                    self.dispatcher.acceptor_metrics().accept_failures.add(1);
                    if let Some(suppressed) = self.failed_lines.admit(Instant::now()) {
                        log::warn!(error:% = error, suppressed; "cannot accept a connection, trying again");
                    }
                    return Some(Duration::from_millis(ACCEPT_RETRY_MS));
                }
            }
        }
        Some(Duration::ZERO)
    }

    fn hand_over(&mut self, stream: TcpStream, peer: SocketAddr, door: Door) {
        let metrics = self.dispatcher.acceptor_metrics();
        let seats_max = self.dispatcher.tuning().connections_max() + door.connections_reserved();
        let Some(seat) = self.seats.take(seats_max) else {
            metrics.connections_refused.add(1);
            return self.note_refused(peer, "--max-connections is reached");
        };
        let at = self.next % self.workers.len();
        self.next = at + 1;
        if !self.workers[at].give(Newcomer { stream, peer, door, seat }) {
            metrics.connections_refused_busy.add(1);
            self.note_refused(peer, "its worker has too many waiting");
        }
    }

    fn note_refused(&self, peer: SocketAddr, reason: &str) {
        if let Some(suppressed) = self.refused_lines.admit(Instant::now()) {
            log::warn!(peer:% = peer, reason, suppressed; "connection refused");
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
