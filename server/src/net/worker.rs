//! A worker: a thread with a poll and connections of its own. It runs every request of theirs to its end itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::net::TcpStream;
use mio::{Events, Poll, Token};

use super::connection::{Connection, TurnContext, TurnEnd};
use super::connection_table::ConnectionTable;
use super::waker::{WAKE, Waker};
use crate::dispatch::Dispatcher;
use crate::limits::{HANDOVER_QUEUE_MAX, POLL_EVENTS_MAX, READ_BUFFER_BYTES};
use crate::metrics::WorkerMetrics;

type NewConnection = (TcpStream, SocketAddr);

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    handle: WorkerHandle,
    thread: JoinHandle<()>,
}

/// What others hold of a worker.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    new_connections: Sender<NewConnection>,
    stop: Arc<AtomicBool>,
    waker: Waker,
}

impl WorkerHandle {
    /// Gives the worker a connection; `false`, and the connection is closed, when too many wait already.
    pub(crate) fn give(&self, stream: TcpStream, peer: SocketAddr) -> bool {
        let given = self.new_connections.try_send((stream, peer)).is_ok();
        if given {
            self.waker.wake();
        }
        given
    }
}

impl Worker {
    /// Starts worker number `number`. When it is stopped, answers that wait have `shutdown_timeout` to go out.
    ///
    /// # Errors
    /// When the system gives no poll, or no thread.
    pub fn start(
        number: usize,
        dispatcher: Arc<Dispatcher>,
        metrics: Arc<WorkerMetrics>,
        shutdown_timeout: Duration,
    ) -> io::Result<Worker> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry())?;
        let (new_connections, receiver) = bounded(HANDOVER_QUEUE_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let handle = WorkerHandle { new_connections, stop: Arc::clone(&stop), waker };
        let mut turn = Loop {
            poll,
            receiver,
            stop,
            dispatcher,
            metrics,
            connections: ConnectionTable::new(),
            again: Vec::new(),
            read_buffer: vec![0; READ_BUFFER_BYTES],
            shutdown_timeout,
        };
        let thread = thread::Builder::new().name(format!("worker-{number}")).spawn(move || turn.run())?;
        Ok(Worker { handle, thread })
    }

    /// The part that others may hold.
    #[must_use]
    pub fn handle(&self) -> WorkerHandle {
        self.handle.clone()
    }

    /// Asks the worker to finish what it has read and to end.
    pub fn begin_stop(&self) {
        self.handle.stop.store(true, Ordering::Release);
        self.handle.waker.wake();
    }

    /// Waits until it has ended.
    pub fn join(self) {
        if self.thread.join().is_err() {
            log::error!("a worker thread panicked");
        }
    }
}

struct Loop {
    poll: Poll,
    receiver: Receiver<NewConnection>,
    stop: Arc<AtomicBool>,
    dispatcher: Arc<Dispatcher>,
    metrics: Arc<WorkerMetrics>,
    connections: ConnectionTable<Connection>,
    /// Connections that have used up their share and have more to read.
    again: Vec<Token>,
    read_buffer: Vec<u8>,
    shutdown_timeout: Duration,
}

impl Loop {
    fn run(&mut self) {
        let mut events = Events::with_capacity(POLL_EVENTS_MAX);
        while !self.stop.load(Ordering::Acquire) {
            let timeout = if self.again.is_empty() { None } else { Some(Duration::ZERO) };
            self.poll(&mut events, timeout);
            for token in std::mem::take(&mut self.again) {
                self.turn(token);
            }
            for event in &events {
                match event.token() {
                    WAKE => self.take_over_all(),
                    token => self.turn(token),
                }
            }
        }
        self.finish(&mut events);
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) {
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            Err(error) => {
                events.clear();
                log::error!("a worker cannot poll: error={error}");
            }
        }
    }

    fn take_over_all(&mut self) {
        while let Ok((stream, peer)) = self.receiver.try_recv() {
            self.take_over(stream, peer);
        }
    }

    fn take_over(&mut self, stream: TcpStream, peer: SocketAddr) {
        let registry = self.poll.registry();
        let dispatcher = &self.dispatcher;
        let opened =
            self.connections.insert_with(|token| Connection::open(stream, peer, token, registry, dispatcher));
        match opened {
            None => {
                self.metrics.connections_refused.add(1);
                log::warn!("connection closed: peer={peer} reason=\"too many connections\"");
            }
            Some(Err(error)) => log::warn!("connection closed: peer={peer} reason=\"{error}\""),
            Some(Ok(token)) => {
                self.metrics.connections.add(1);
                self.metrics.connections_total.add(1);
                log::debug!("connection opened: peer={peer}");
                // Bytes may have come before the registration.
                self.turn(token);
            }
        }
    }

    fn turn(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token) else {
            self.metrics.stale_events.add(1);
            return;
        };
        let mut context = TurnContext {
            dispatcher: &self.dispatcher,
            metrics: &self.metrics,
            read_buffer: &mut self.read_buffer,
        };
        match connection.turn(&mut context) {
            TurnEnd::Wait => {}
            TurnEnd::Again => self.again.push(token),
            TurnEnd::Close(why) => self.close(token, why),
        }
    }

    fn close(&mut self, token: Token, why: &'static str) {
        if let Some(mut connection) = self.connections.remove(token) {
            connection.deregister(self.poll.registry());
            self.metrics.connections.subtract(1);
            log::debug!("connection closed: peer={} reason=\"{why}\"", connection.peer());
        }
    }

    /// Answers what has come in, lets the answers go out, and closes everything.
    fn finish(&mut self, events: &mut Events) {
        const WHY: &str = "shutting down";
        let deadline = Instant::now() + self.shutdown_timeout;
        self.take_over_all();
        for token in self.connections.tokens() {
            // One turn reads what the socket holds; the next, once marked, only writes.
            self.turn(token);
            if let Some(connection) = self.connections.get_mut(token) {
                connection.begin_close(WHY);
            }
            self.turn(token);
        }
        while !self.connections.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.poll(events, Some(left));
            let tokens: Vec<Token> = events.iter().map(mio::event::Event::token).collect();
            for token in tokens.into_iter().filter(|token| *token != WAKE) {
                self.turn(token);
            }
        }
        for token in self.connections.tokens() {
            let lost = self.connections.get_mut(token).is_some_and(|connection| connection.has_output());
            if lost {
                log::warn!(
                    "answers were not taken in time: peer={:?}",
                    self.connections.get_mut(token).map(|c| c.peer())
                );
            }
            self.close(token, WHY);
        }
    }
}
