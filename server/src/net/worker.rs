//! A worker: a thread with a poll and connections of its own. It runs every request of theirs to its end itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Poll, Token};

use super::activity::Overdue;
use super::connection::Connection;
use super::connection_table::ConnectionTable;
use super::door::Door;
use super::gathering::Gathering;
use super::handover::{Inlet, Outlet, handover};
use super::peer_links::PeerLinks;
use super::seats::Seat;
use super::sweep::Sweep;
use super::turn::{TurnContext, TurnEnd};
use super::waker::{WAKE, Waker};
use crate::dispatch::Dispatcher;
use crate::gate::Passer;
use crate::limits::{
    HANDOVER_QUEUE_MAX, OVERDUE_LINES_PER_WINDOW_MAX, PEER_ROUNDS_MAX, POLL_EVENTS_MAX, READ_BUFFER_BYTES,
    REFUSED_LINES_PER_WINDOW_MAX, SHUTDOWN_READ_MS, SHUTDOWN_TICK_MS, SLOW_LINES_PER_WINDOW_MAX,
};
use crate::metrics::WorkerMetrics;
use crate::resp::{Answer, Scratch};
use crate::throttle::Throttle;

/// A connection on its way to a worker.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) door: Door,
    pub(crate) seat: Seat,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    handle: WorkerHandle,
    thread: JoinHandle<()>,
}

/// What others hold of a worker.
#[derive(Clone, Debug)]
pub struct WorkerHandle(Inlet<Newcomer, Waker>);

impl WorkerHandle {
    /// Gives the worker a connection; `false`, and the connection is closed, when too many wait already.
    pub(crate) fn give(&self, newcomer: Newcomer) -> bool {
        self.0.give(newcomer)
    }
}

impl Worker {
    /// Starts worker number `number`.
    ///
    /// # Errors
    /// When the system gives no poll, or no thread.
    pub fn start(
        number: usize,
        dispatcher: Arc<Dispatcher>,
        metrics: Arc<WorkerMetrics>,
        passer: Passer,
    ) -> io::Result<Worker> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry())?;
        let links = PeerLinks::new(&dispatcher, Arc::clone(&metrics), waker.clone());
        let (inlet, outlet) = handover(HANDOVER_QUEUE_MAX, waker);
        let mut turn = Loop::new(poll, outlet, dispatcher, metrics, links, passer);
        let thread = thread::Builder::new().name(format!("worker-{number}")).spawn(move || turn.run())?;
        Ok(Worker { handle: WorkerHandle(inlet), thread })
    }

    /// The part that others may hold.
    #[must_use]
    pub fn handle(&self) -> WorkerHandle {
        self.handle.clone()
    }

    /// Brings it to its next turn, where it also notices that settings have changed.
    pub(crate) fn wake(&self) {
        self.handle.0.wake();
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
    outlet: Outlet<Newcomer>,
    dispatcher: Arc<Dispatcher>,
    metrics: Arc<WorkerMetrics>,
    connections: ConnectionTable<Connection>,
    /// Connections that have used up their share and have more to read.
    again: Vec<Token>,
    read_buffer: Vec<u8>,
    gathering: Gathering,
    /// Looks for connections that have been silent for too long.
    sweep: Sweep,
    /// The clock as the last turn read it, or the last look without one.
    now: Instant,
    overdue_lines: Throttle,
    slow_lines: Throttle,
    refused_lines: Throttle,
    scratch: Scratch,
    links: PeerLinks,
    passer: Passer,
}

impl Loop {
    /// A loop with no connections yet.
    fn new(
        poll: Poll,
        outlet: Outlet<Newcomer>,
        dispatcher: Arc<Dispatcher>,
        metrics: Arc<WorkerMetrics>,
        links: PeerLinks,
        passer: Passer,
    ) -> Loop {
        Loop {
            poll,
            outlet,
            dispatcher,
            metrics,
            connections: ConnectionTable::new(),
            again: Vec::new(),
            read_buffer: vec![0; READ_BUFFER_BYTES],
            gathering: Gathering::new(),
            sweep: Sweep::default(),
            now: Instant::now(),
            overdue_lines: Throttle::new(OVERDUE_LINES_PER_WINDOW_MAX),
            slow_lines: Throttle::new(SLOW_LINES_PER_WINDOW_MAX),
            refused_lines: Throttle::new(REFUSED_LINES_PER_WINDOW_MAX),
            scratch: Scratch::default(),
            links,
            passer,
        }
    }

    fn run(&mut self) {
        let mut events = Events::with_capacity(POLL_EVENTS_MAX);
        while !self.outlet.is_stopped() {
            let before = self.now;
            if !self.serve(&mut events, self.sweep.timeout(before)) {
                return;
            }
            self.sweep(before);
        }
        if self.passer.pass() {
            self.finish(&mut events);
        }
    }

    /// Waits for events, at most for `timeout`, and does what they ask for; `false`: the gate is closed.
    fn serve(&mut self, events: &mut Events, timeout: Option<Duration>) -> bool {
        let timeout = match (timeout, self.links.timeout(self.now)) {
            _ if !self.again.is_empty() || self.links.has_work() => Some(Duration::ZERO),
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.poll(events, timeout);
        if !self.passer.pass() {
            return false;
        }
        for token in std::mem::take(&mut self.again) {
            if let Some(connection) = self.connections.get_mut(token) {
                connection.is_queued = false;
                self.turn(token);
            }
        }
        for event in &*events {
            match event.token() {
                WAKE => {
                    self.take_over_all();
                    self.links.on_wake();
                }
                token => match self.links.place_of(token) {
                    Some(place) => self.links.on_event(place),
                    None => {
                        if event.is_read_closed()
                            && let Some(connection) = self.connections.get_mut(token)
                        {
                            connection.on_read_closed();
                        }
                        if self.gathering.add(token) {
                            self.serve_gathered();
                        }
                    }
                },
            }
        }
        self.serve_gathered();
        self.serve_links();
        true
    }

    /// Lets the links to other nodes go on, and the connections that had waited for that.
    fn serve_links(&mut self) {
        if self.links.timeout(self.now).is_some() {
            // No turn may have read it since the last requests went out.
            self.now = Instant::now();
        }
        for _ in 0..PEER_ROUNDS_MAX {
            let is_due = self.links.timeout(self.now).is_some_and(|left| left.is_zero());
            if !self.links.has_work() && !is_due {
                return;
            }
            let Loop { links, poll, read_buffer, connections, .. } = self;
            let mut concerned = Vec::new();
            let mut deliver = |token, slot, answer: &Answer<'_>| {
                if let Some(connection) = connections.get_mut(token) {
                    connection.on_node_answer(slot, answer);
                    concerned.push(token);
                }
            };
            let have_room = links.go_on(poll.registry(), read_buffer, &mut deliver);
            for &token in &have_room {
                if let Some(connection) = connections.get_mut(token) {
                    connection.on_link_room();
                }
            }
            concerned.extend(have_room);
            concerned.sort_unstable();
            concerned.dedup();
            for token in concerned {
                if self.connections.get_mut(token).is_some() {
                    self.turn(token);
                }
            }
        }
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) {
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            Err(error) => {
                events.clear();
                log::error!(error:% = error; "a worker cannot poll");
            }
        }
    }

    fn take_over_all(&mut self) {
        while let Some(newcomer) = self.outlet.take() {
            self.take_over(newcomer);
        }
    }

    fn take_over(&mut self, newcomer: Newcomer) {
        let peer = newcomer.peer;
        let registry = self.poll.registry();
        let dispatcher = &self.dispatcher;
        let opened =
            self.connections.insert_with(|token| Connection::open(newcomer, token, registry, dispatcher));
        match opened {
            None => {
                self.metrics.connections_refused.add(1);
                if let Some(suppressed) = self.refused_lines.admit(Instant::now()) {
                    let reason = "its worker has all it can have";
                    log::warn!(peer:% = peer, reason, suppressed; "connection refused");
                }
            }
            Some(Err(error)) => {
                if let Some(suppressed) = self.refused_lines.admit(Instant::now()) {
                    log::warn!(peer:% = peer, reason:% = error, suppressed; "connection closed");
                }
            }
            Some(Ok(token)) => {
                self.metrics.connections.add(1);
                self.metrics.connections_total.add(1);
                log::debug!(peer:% = peer; "connection opened");
                // Bytes may have come before the registration.
                self.turn(token);
            }
        }
    }

    /// Serves the connections that have been gathered.
    fn serve_gathered(&mut self) {
        if let Some(token) = self.gathering.take_single() {
            return self.turn(token);
        }
        if self.gathering.is_empty() {
            return;
        }
        let (connections, gathering, mut context) = self.lend(WAKE);
        gathering.serve(connections, &mut context);
        while let Some((token, end)) = self.gathering.poll_end() {
            self.on_turn_end(token, end);
        }
    }

    fn turn(&mut self, token: Token) {
        let (connections, _, mut context) = self.lend(token);
        let end = connections.get_mut(token).map(|connection| connection.turn(&mut context, None));
        match end {
            Some(end) => self.on_turn_end(token, end),
            None => self.metrics.stale_events.add(1),
        }
    }

    /// The connections, and what they get for a turn; `token`: whose turn it is.
    fn lend(&mut self, token: Token) -> (&mut ConnectionTable<Connection>, &mut Gathering, TurnContext<'_>) {
        let context = TurnContext {
            scratch: &mut self.scratch,
            token,
            links: &mut self.links,
            dispatcher: &self.dispatcher,
            metrics: &self.metrics,
            read_buffer: &mut self.read_buffer,
            round: self.sweep.round(),
            now: &mut self.now,
            slow_lines: &self.slow_lines,
            refused_lines: &self.refused_lines,
        };
        (&mut self.connections, &mut self.gathering, context)
    }

    fn on_turn_end(&mut self, token: Token, end: TurnEnd) {
        match end {
            TurnEnd::Wait => {}
            TurnEnd::Again => {
                // Once, however often it is turned before its place in the queue comes.
                if let Some(connection) = self.connections.get_mut(token)
                    && !std::mem::replace(&mut connection.is_queued, true)
                {
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
            log::debug!(peer:% = connection.peer(), reason = why; "connection closed");
        }
    }

    /// Closes connections that have been silent for too long, a bounded number of places at a time. `before`: the
    /// clock as it was known before the last events.
    fn sweep(&mut self, before: Instant) {
        let limits = self.dispatcher.tuning().silence_limits();
        if limits.are_off() || self.connections.is_empty() {
            return self.sweep.rest();
        }
        if self.now == before {
            // No turn has read it.
            self.now = Instant::now();
        }
        let Some(slots) = self.sweep.on_time(self.now, self.connections.slots_count()) else { return };
        let round = self.sweep.round();
        let silent = self.connections.in_slots(slots);
        let overdue: Vec<(Token, Overdue)> = silent
            .filter_map(|(token, connection)| Some((token, connection.overdue(round, limits)?)))
            .collect();
        for (token, overdue) in overdue {
            self.close_overdue(token, overdue);
        }
    }

    fn close_overdue(&mut self, token: Token, overdue: Overdue) {
        let counter = match overdue {
            Overdue::Idle => &self.metrics.connections_closed_idle,
            Overdue::Request => &self.metrics.connections_closed_request,
            Overdue::Answers => &self.metrics.connections_closed_answers,
        };
        counter.add(1);
        if let Some(connection) = self.connections.get_mut(token)
            && let Some(suppressed) = self.overdue_lines.admit(self.now)
        {
            let reason = overdue.why();
            log::info!(peer:% = connection.peer(), reason, suppressed; "connection timed out");
        }
        self.close(token, overdue.why());
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
        let shutdown_timeout = self.dispatcher.tuning().shutdown_timeout();
        while !self.connections.is_empty() && begun.elapsed() < shutdown_timeout {
            let left = shutdown_timeout.saturating_sub(begun.elapsed());
            if !self.serve(events, Some(tick.saturating_duration_since(Instant::now()).min(left))) {
                return;
            }
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
            if let Some(lost) = self.connections.get_mut(token).filter(|connection| connection.has_output())
                && let Some(suppressed) = self.overdue_lines.admit(Instant::now())
            {
                log::warn!(peer:% = lost.peer(), suppressed; "answers were not taken in time");
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
    use crate::gate::Gate;
    use crate::limits::READ_TURN_BYTES_MAX;
    use crate::memory::MemoryAccount;
    use crate::net::seats::Seats;

    fn a_loop() -> Loop {
        let map = single_node_map("a:1", Ring::new(16).unwrap(), HashKey::GUESSABLE).unwrap();
        let (incarnation, cfg) = (Incarnation(1), Cfg::new(1));
        let identity = Identity { node: NodeId(0), incarnation, cfg, started: Instant::now() };
        let (stop, _) = crossbeam_channel::bounded(1);
        let metrics: Arc<WorkerMetrics> = Arc::default();
        let memory = MemoryAccount::new(1 << 30);
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry()).unwrap();
        let (_, outlet) = handover(1, waker.clone());
        let workers_metrics = vec![Arc::clone(&metrics)];
        let dispatcher = Arc::new(Dispatcher::new(Arc::new(map), identity, memory, workers_metrics, stop));
        let links = PeerLinks::new(&dispatcher, Arc::clone(&metrics), waker);
        Loop::new(poll, outlet, dispatcher, metrics, links, Gate::new().passer())
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
        let seat = Seats::default().take(1).unwrap();
        worker.take_over(Newcomer { stream: TcpStream::from_std(stream), peer, door: Door::Binary, seat });
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
