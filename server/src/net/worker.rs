//! A worker: a thread with a poll and connections of its own. It runs every request of theirs to its end itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Poll, Token};

use super::connection::{Connection, TurnContext, TurnEnd};
use super::connection_table::ConnectionTable;
use super::door::Door;
use super::handover::{Inlet, Outlet, handover};
use super::waker::{WAKE, Waker};
use crate::dispatch::Dispatcher;
use crate::limits::{
    HANDOVER_QUEUE_MAX, POLL_EVENTS_MAX, READ_BUFFER_BYTES, SHUTDOWN_READ_MS, SHUTDOWN_TICK_MS,
};
use crate::metrics::WorkerMetrics;

type NewConnection = (TcpStream, SocketAddr, Door);

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    handle: WorkerHandle,
    thread: JoinHandle<()>,
}

/// What others hold of a worker.
#[derive(Clone, Debug)]
pub struct WorkerHandle(Inlet<NewConnection, Waker>);

impl WorkerHandle {
    /// Gives the worker a connection; `false`, and the connection is closed, when too many wait already.
    pub(crate) fn give(&self, stream: TcpStream, peer: SocketAddr, door: Door) -> bool {
        self.0.give((stream, peer, door))
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
        let (inlet, outlet) = handover(HANDOVER_QUEUE_MAX, waker);
        let mut turn = Loop {
            poll,
            outlet,
            dispatcher,
            metrics,
            connections: ConnectionTable::new(),
            again: Vec::new(),
            read_buffer: vec![0; READ_BUFFER_BYTES],
            shutdown_timeout,
        };
        let thread = thread::Builder::new().name(format!("worker-{number}")).spawn(move || turn.run())?;
        Ok(Worker { handle: WorkerHandle(inlet), thread })
    }

    /// The part that others may hold.
    #[must_use]
    pub fn handle(&self) -> WorkerHandle {
        self.handle.clone()
    }

    /// Asks the worker to finish what it has read and to end.
    pub fn begin_stop(&self) {
        self.handle.0.stop();
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
    outlet: Outlet<NewConnection>,
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
        while !self.outlet.is_stopped() {
            self.serve(&mut events, None);
        }
        self.finish(&mut events);
    }

    /// Waits for events, at most for `timeout`, and does what they ask for.
    fn serve(&mut self, events: &mut Events, timeout: Option<Duration>) {
        let timeout = if self.again.is_empty() { timeout } else { Some(Duration::ZERO) };
        self.poll(events, timeout);
        for token in std::mem::take(&mut self.again) {
            if let Some(connection) = self.connections.get_mut(token) {
                connection.is_queued = false;
                self.turn(token);
            }
        }
        for event in &*events {
            match event.token() {
                WAKE => self.take_over_all(),
                token => self.turn(token),
            }
        }
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
        while let Some((stream, peer, door)) = self.outlet.take() {
            self.take_over(stream, peer, door);
        }
    }

    fn take_over(&mut self, stream: TcpStream, peer: SocketAddr, door: Door) {
        let registry = self.poll.registry();
        let dispatcher = &self.dispatcher;
        let opened = self
            .connections
            .insert_with(|token| Connection::open(stream, peer, door, token, registry, dispatcher));
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
            TurnEnd::Again => {
                // Once, however often it is turned before its place in the queue comes.
                if !std::mem::replace(&mut connection.is_queued, true) {
                    self.again.push(token);
                }
            }
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

    /// Answers what peers have sent, lets the answers go out, and closes everything. What was sent may lie in the
    /// socket, or still with the peer while answers hold it up; so a connection is read from until it has been
    /// quiet for a moment, or, where its peer keeps asking, until `SHUTDOWN_READ_MS` have passed.
    fn finish(&mut self, events: &mut Events) {
        const WHY: &str = "shutting down";
        const TICK: Duration = Duration::from_millis(SHUTDOWN_TICK_MS);
        let begun = Instant::now();
        self.take_over_all();
        for token in self.connections.tokens() {
            self.turn(token);
        }
        let mut tick = begun + TICK;
        while !self.connections.is_empty() && begun.elapsed() < self.shutdown_timeout {
            let left = self.shutdown_timeout.saturating_sub(begun.elapsed());
            self.serve(events, Some(tick.saturating_duration_since(Instant::now()).min(left)));
            if Instant::now() < tick {
                continue;
            }
            let reading_is_over = begun.elapsed() >= Duration::from_millis(SHUTDOWN_READ_MS);
            for token in self.connections.tokens() {
                if let Some(connection) = self.connections.get_mut(token) {
                    connection.on_stop_tick(WHY, reading_is_over);
                }
                self.turn(token);
            }
            tick = Instant::now() + TICK;
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use dht_protocol::header::{Header, PROTOCOL_VERSION};
    use dht_protocol::ids::{Cfg, Epoch, Incarnation, NodeId, RequestId};
    use dht_protocol::op::Op;
    use dht_protocol::placement::hash::HashKey;
    use dht_protocol::placement::planner::single_node_map;
    use dht_protocol::placement::ring::Ring;

    use super::*;
    use crate::dispatch::Identity;
    use crate::limits::READ_TURN_BYTES_MAX;
    use crate::memory::MemoryAccount;

    fn a_loop() -> Loop {
        let map = single_node_map("a:1", Ring::new(16).unwrap(), HashKey::GUESSABLE).unwrap();
        let (incarnation, cfg) = (Incarnation(1), Cfg::new(1));
        let identity = Identity { node: NodeId(0), incarnation, cfg, started: Instant::now() };
        let (stop, _) = crossbeam_channel::bounded(1);
        let metrics: Arc<WorkerMetrics> = Arc::default();
        let memory = MemoryAccount::new(1 << 30);
        let poll = Poll::new().unwrap();
        let (_, outlet) = handover(1, Waker::new(poll.registry()).unwrap());
        Loop {
            poll,
            outlet,
            dispatcher: Arc::new(Dispatcher::new(
                Arc::new(map),
                identity,
                memory,
                vec![Arc::clone(&metrics)],
                stop,
            )),
            metrics,
            connections: ConnectionTable::new(),
            again: Vec::new(),
            read_buffer: vec![0; READ_BUFFER_BYTES],
            shutdown_timeout: Duration::ZERO,
        }
    }

    /// A connection that had more to read was queued again with every event, and got a turn for each place in the queue:
    /// the queue grew, and the others waited ever longer.
    #[test]
    fn a_connection_stands_in_the_queue_once_however_often_it_is_turned() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        // Long requests that are refused in a few bytes, for as long as anybody reads them.
        let writer = thread::spawn(move || {
            let header = Header {
                version: PROTOCOL_VERSION,
                code: Op::Get as u8,
                flags: 0,
                request_id: RequestId(1),
                epoch: Epoch(1),
            };
            let body = [7; 60_000];
            let frame = [&header.encode(body.len())[..], &body].concat();
            while client.write_all(&frame).is_ok() {}
        });
        let mut worker = a_loop();
        worker.take_over(TcpStream::from_std(stream), peer, Door::Binary);
        let [token] = worker.connections.tokens()[..] else { panic!("one connection") };
        let deadline = Instant::now() + Duration::from_secs(20);
        while worker.again.is_empty() {
            assert!(Instant::now() < deadline, "never had more than its share to read");
            worker.turn(token);
        }
        let until = worker.metrics.bytes_in.get() + 32 * READ_TURN_BYTES_MAX as u64;
        while worker.metrics.bytes_in.get() < until {
            assert!(Instant::now() < deadline, "the bytes do not come");
            worker.turn(token);
            assert_eq!(worker.again, [token]);
        }
        let mut events = Events::with_capacity(POLL_EVENTS_MAX);
        for _ in 0..10 {
            worker.serve(&mut events, Some(Duration::ZERO));
            assert!(worker.again.len() <= 1);
        }
        drop(worker);
        writer.join().unwrap();
    }
}
