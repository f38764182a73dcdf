//! The connection itself: callers that write for each other and read for each other.

use std::collections::VecDeque;
use std::io::{IoSlice, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use dht_protocol::ids::RequestId;
use dht_protocol::response::HelloAnswer;

use crate::connection::frame_reader::{FrameReader, is_no_failure};
use crate::connection::slots::{Answer, Slots};
use crate::limits::{IDLE_LOOK_AFTER, SILENCE_MIN, SOCKET_SLICE, WRITE_BATCH_FRAMES_MAX};
use crate::sync::{lock, wait_until};

/// A connection that has exchanged `HELLO`.
#[derive(Debug)]
pub(crate) struct Connection {
    address: String,
    hello: HelloAnswer,
    stream: TcpStream,
    pub(super) state: Mutex<State>,
    /// Notified when a slot is given back or the connection dies.
    pub(super) slot_free: Condvar,
    /// Locked only by the one caller that has set `State::reading`.
    reader: Mutex<FrameReader>,
    /// Callers inside `call`; a hint for choosing between connections, so relaxed.
    pub(super) callers_count: AtomicUsize,
    /// As `State::dead`; a hint, so relaxed.
    is_dead: AtomicBool,
}

/// What the callers share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) slots: Slots,
    /// Frames that nobody has begun to write; at most one a slot.
    pub(super) queue: VecDeque<(RequestId, Vec<u8>)>,
    /// Whether a caller writes; what `queue` holds then waits for it or for the next writer.
    pub(super) writing: bool,
    /// Whether a caller reads.
    pub(super) reading: bool,
    /// When bytes came last.
    heard_at: Instant,
    /// Since when nothing has come, although calls waited until their time was up.
    silent_since: Option<Instant>,
    /// Why the connection is of no more use; set once.
    pub(super) dead: Option<String>,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// The connection broke.
    Lost {
        /// Whether a byte of the request may have been written.
        sent: bool,
        /// How.
        reason: String,
    },
    /// The time was up.
    TimedOut {
        /// Whether a byte of the request may have been written.
        sent: bool,
    },
}

pub(super) type Guard<'a> = MutexGuard<'a, State>;

impl Connection {
    pub(crate) fn new(
        address: String,
        hello: HelloAnswer,
        stream: TcpStream,
        reader: FrameReader,
    ) -> Connection {
        Connection {
            address,
            hello,
            stream,
            state: Mutex::new(State {
                slots: Slots::default(),
                queue: VecDeque::new(),
                writing: false,
                reading: false,
                heard_at: Instant::now(),
                silent_since: None,
                dead: None,
            }),
            slot_free: Condvar::new(),
            reader: Mutex::new(reader),
            callers_count: AtomicUsize::new(0),
            is_dead: AtomicBool::new(false),
        }
    }

    /// The address that was connected to.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What the node said of itself.
    pub(crate) fn hello(&self) -> &HelloAnswer {
        &self.hello
    }

    /// Callers that wait for an answer at the moment.
    pub(crate) fn callers_count(&self) -> usize {
        self.callers_count.load(Ordering::Relaxed)
    }

    /// Whether the connection is of no more use.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    /// Answers that came after their caller had given up.
    pub(crate) fn stale_answers_count(&self) -> u64 {
        lock(&self.state).slots.stale_count()
    }

    /// Sends the frame that `encode` makes and waits for its answer.
    ///
    /// # Errors
    /// [`CallError`], which says whether the request may have arrived.
    pub(crate) fn call(
        &self,
        deadline: Instant,
        encode: impl FnOnce(RequestId, &mut Vec<u8>),
    ) -> Result<Answer, CallError> {
        self.callers_count.fetch_add(1, Ordering::Relaxed);
        let result = self.take_slot(deadline).and_then(|id| {
            let mut frame = Vec::new();
            encode(id, &mut frame);
            let mut state = self.look_if_idle(lock(&self.state));
            if state.dead.is_none() {
                state.queue.push_back((id, frame));
            }
            self.wait(state, id, deadline)
        });
        self.callers_count.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Declares the connection dead: the node breaks the protocol inside an answer.
    pub(crate) fn kill(&self, reason: &str) {
        self.die(&mut lock(&self.state), reason.to_owned());
    }

    pub(super) fn take_slot(&self, deadline: Instant) -> Result<RequestId, CallError> {
        let mut state = lock(&self.state);
        loop {
            if let Some(reason) = &state.dead {
                return Err(CallError::Lost { sent: false, reason: reason.clone() });
            }
            if let Some(id) = state.slots.take(thread::current()) {
                return Ok(id);
            }
            state = wait_until(&self.slot_free, state, deadline)
                .map_err(|_| CallError::TimedOut { sent: false })?;
        }
    }

    /// A node that went away while nobody used the connection has closed it. Found out before a request is
    /// written, that leaves no doubt about the request; found out after, a write could have arrived.
    pub(super) fn look_if_idle<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        if state.reading || state.writing || state.heard_at.elapsed() < IDLE_LOOK_AFTER {
            return state;
        }
        // Both duties, so that nobody else uses the socket meanwhile.
        (state.reading, state.writing) = (true, true);
        drop(state);
        let looked = self.stream.set_nonblocking(true).and_then(|()| {
            let peeked = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false).and(peeked)
        });
        let mut state = lock(&self.state);
        (state.reading, state.writing) = (false, false);
        match looked {
            Ok(0) => self.die(&mut state, "closed by the node while idle".to_owned()),
            Err(error) if !is_no_failure(&error) => self.die(&mut state, error.to_string()),
            Ok(_) | Err(_) => {}
        }
        state
    }

    /// Writes, reads or parks until the answer is there.
    fn wait<'a>(
        &'a self,
        mut state: Guard<'a>,
        id: RequestId,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        let called_at = Instant::now();
        loop {
            if let Some(answer) = state.slots.take_answer(id) {
                self.write_for_the_reader(state, deadline);
                return Ok(answer);
            }
            if let Some(reason) = state.dead.clone() {
                let sent = state.slots.give_up(id);
                return Err(CallError::Lost { sent, reason });
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(self.give_up(state, id, called_at, now));
            }
            if !state.writing && !state.queue.is_empty() {
                state = self.write_turn(state, deadline);
            } else if !state.reading {
                state = self.read_turn(state, deadline);
            } else {
                state.slots.set_parked(id, true);
                drop(state);
                thread::park_timeout(deadline - now);
                state = lock(&self.state);
                state.slots.set_parked(id, false);
            }
        }
    }

    /// The time is up.
    pub(super) fn give_up(
        &self,
        mut state: Guard<'_>,
        id: RequestId,
        called_at: Instant,
        now: Instant,
    ) -> CallError {
        state.queue.retain(|(queued, _)| *queued != id);
        let sent = state.slots.give_up(id);
        if sent && state.heard_at < called_at {
            // A node that is gone without a word would cost every later call its whole time. Calls that are shorter
            // than `SILENCE_MIN` add up to it.
            let since = *state.silent_since.get_or_insert(called_at);
            let silence = now.saturating_duration_since(since);
            if silence >= SILENCE_MIN {
                self.die(&mut state, format!("silent for {silence:?}"));
            }
        }
        state.wake_for_duties();
        drop(state);
        self.slot_free.notify_one();
        CallError::TimedOut { sent }
    }

    /// A caller goes with its answer: what it was doing for others is somebody else's turn. When the only other
    /// caller is the reader, which sleeps in the system call, its frame is written before that.
    pub(super) fn write_for_the_reader<'a>(&'a self, mut state: Guard<'a>, deadline: Instant) {
        while !state.wake_for_duties() && !state.writing && !state.queue.is_empty() {
            state = self.write_turn(state, deadline);
        }
        drop(state);
        self.slot_free.notify_one();
    }

    /// Writes what is queued, once.
    pub(super) fn write_turn<'a>(&'a self, mut state: Guard<'a>, deadline: Instant) -> Guard<'a> {
        let count = state.queue.len().min(WRITE_BATCH_FRAMES_MAX);
        let batch: Vec<_> = state.queue.drain(..count).collect();
        for (id, _) in &batch {
            state.slots.set_sent(*id, true);
        }
        state.writing = true;
        state.wake_for_duties();
        drop(state);
        let result = self.write_batch(&batch, deadline);
        let mut state = lock(&self.state);
        state.writing = false;
        if let Err((written, reason)) = result {
            let mut begins_at = 0;
            for (id, frame) in &batch {
                if begins_at >= written {
                    state.slots.set_sent(*id, false);
                }
                begins_at += frame.len();
            }
            self.die(&mut state, reason);
        }
        state
    }

    /// On failure answers how many bytes were written, too. A time-out is a failure: frames may be cut.
    fn write_batch(&self, batch: &[(RequestId, Vec<u8>)], deadline: Instant) -> Result<(), (usize, String)> {
        let mut slices: Vec<_> = batch.iter().map(|(_, frame)| IoSlice::new(frame)).collect();
        let mut rest = &mut slices[..];
        let mut written = 0;
        while !rest.is_empty() {
            match (&self.stream).write_vectored(rest) {
                Ok(0) => return Err((written, "the node takes no more bytes".to_owned())),
                Ok(bytes) => {
                    written += bytes;
                    IoSlice::advance_slices(&mut rest, bytes);
                }
                Err(error) if is_no_failure(&error) => {
                    if Instant::now() >= deadline {
                        return Err((written, "the node takes no bytes".to_owned()));
                    }
                    self.read_while_blocked();
                }
                Err(error) => return Err((written, error.to_string())),
            }
        }
        Ok(())
    }

    /// A node stops reading while its answers pile up, and nobody may be there to take them but the writer.
    fn read_while_blocked(&self) {
        let state = lock(&self.state);
        if !state.reading && state.dead.is_none() {
            let mut state = self.read_turn(state, Instant::now() + SOCKET_SLICE / 10);
            state.wake_for_duties();
        }
    }

    /// Reads once and hands out the answers that came.
    pub(super) fn read_turn<'a>(&'a self, mut state: Guard<'a>, deadline: Instant) -> Guard<'a> {
        state.reading = true;
        drop(state);
        let result = lock(&self.reader).read(&self.stream, deadline);
        let mut state = lock(&self.state);
        state.reading = false;
        match result {
            Ok((answers, heard)) => {
                if heard {
                    state.heard_at = Instant::now();
                    state.silent_since = None;
                }
                for answer in answers {
                    state.slots.deliver(answer);
                }
            }
            Err(reason) => self.die(&mut state, reason),
        }
        state
    }

    fn die(&self, state: &mut State, reason: String) {
        if state.dead.is_some() {
            return;
        }
        state.dead = Some(reason);
        state.queue.clear();
        state.slots.wake_all();
        self.is_dead.store(true, Ordering::Relaxed);
        self.slot_free.notify_all();
        // Brings back whoever reads or writes; that it is closed already is no matter.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl State {
    /// Wakes a parked caller if there is anything to do that nobody does; answers whether one was there.
    fn wake_for_duties(&mut self) -> bool {
        (!self.reading || (!self.writing && !self.queue.is_empty())) && self.slots.wake_one()
    }
}

/// Sets the options that a shared connection needs. The read time-out is the reader's own business.
pub(crate) fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(SOCKET_SLICE))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dht_protocol::ids::{ClientId, ClusterId, Epoch, Version};
    use dht_protocol::op::Op;
    use dht_protocol::request::{Key, Request};
    use dht_protocol::response::Response;
    use dht_protocol::value::ValueRef;

    use super::*;
    use crate::connection::{Greeting, open};
    use crate::testing::{Asked, FakeNode, Reply};

    fn connect(node: &FakeNode) -> Connection {
        let greeting = Greeting { client_id: ClientId(1), cluster_id: ClusterId(0) };
        open(&node.address, &greeting, Duration::from_secs(5)).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// Asks for `key`; the node answers with the key as the value.
    fn get(connection: &Connection, key: &[u8], deadline: Instant) -> Result<Vec<u8>, CallError> {
        let request = Request::Get { key: Key::new(key).unwrap() };
        let answer = connection.call(deadline, |id, out| request.encode(id, Epoch(1), out))?;
        match Response::decode(Op::Get, &answer.header, &answer.body).unwrap() {
            Response::Found { value, .. } => Ok(value.bytes.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    fn echo(asked: &Asked<'_>) -> Vec<u8> {
        let Request::Get { key } = asked.request else { panic!() };
        asked.answer(&Response::Found {
            version: Version(1),
            value: ValueRef::new(0, key.as_bytes()).unwrap(),
        })
    }

    #[test]
    fn each_of_32_threads_gets_its_own_answer_out_of_order() {
        let node = FakeNode::alone(|asked| Reply::Reverse(echo(asked), 32));
        let connection = connect(&node);
        thread::scope(|scope| {
            for thread in 0..32 {
                let connection = &connection;
                scope.spawn(move || {
                    for round in 0..200 {
                        let key = format!("{thread}:{round}").repeat(1 + round % 50);
                        assert_eq!(get(connection, key.as_bytes(), soon()).unwrap(), key.as_bytes());
                    }
                });
            }
        });
        assert_eq!((node.connections(), connection.stale_answers_count()), (1, 0));
        assert_eq!(connection.callers_count(), 0);
    }

    #[test]
    fn more_callers_than_slots_wait_for_one() {
        let node = FakeNode::alone(|asked| Reply::Send(echo(asked)));
        let connection = connect(&node);
        thread::scope(|scope| {
            for thread in 0..crate::limits::SLOTS_MAX + 100 {
                let connection = &connection;
                scope.spawn(move || {
                    let key = thread.to_string();
                    assert_eq!(get(connection, key.as_bytes(), soon()).unwrap(), key.as_bytes());
                });
            }
        });
    }

    #[test]
    fn a_connection_that_breaks_tells_everybody_at_once() {
        let node = FakeNode::alone(|asked| match asked.number {
            0..15 => Reply::Silence,
            _ => Reply::Close(vec![]),
        });
        let connection = connect(&node);
        let begun = Instant::now();
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let lost = get(&connection, b"k", soon()).unwrap_err();
                    assert!(matches!(lost, CallError::Lost { sent: true, .. }), "{lost:?}");
                });
            }
        });
        assert!(connection.is_dead() && begun.elapsed() < Duration::from_secs(5));
        let dead = get(&connection, b"k", soon()).unwrap_err();
        assert!(matches!(dead, CallError::Lost { sent: false, .. }), "{dead:?}");
    }

    #[test]
    fn a_caller_whose_time_is_up_leaves_the_others_their_answers() {
        let node = FakeNode::alone(|asked| match asked.request {
            Request::Get { key } if key.as_bytes() == b"never" => Reply::Silence,
            _ => Reply::Reverse(echo(asked), 2),
        });
        let connection = connect(&node);
        thread::scope(|scope| {
            let patient = scope.spawn(|| get(&connection, b"first", soon()));
            let late = get(&connection, b"never", Instant::now() + Duration::from_millis(30));
            assert_eq!(late, Err(CallError::TimedOut { sent: true }));
            assert_eq!(get(&connection, b"second", soon()).unwrap(), b"second");
            assert_eq!(patient.join().unwrap().unwrap(), b"first");
        });
        assert!(!connection.is_dead());
    }

    #[test]
    fn a_node_that_says_nothing_for_long_is_taken_for_dead() {
        let node = FakeNode::alone(|_| Reply::Silence);
        let connection = connect(&node);
        let silent = get(&connection, b"k", Instant::now() + SILENCE_MIN + Duration::from_millis(10));
        assert_eq!(silent, Err(CallError::TimedOut { sent: true }));
        assert!(connection.is_dead());
    }

    #[test]
    fn short_calls_add_up_until_a_silent_node_is_taken_for_dead() {
        let node = FakeNode::alone(|_| Reply::Silence);
        let connection = connect(&node);
        let begun = Instant::now();
        while !connection.is_dead() {
            assert!(begun.elapsed() < 5 * SILENCE_MIN, "still in use after {:?}", begun.elapsed());
            let silent = get(&connection, b"k", Instant::now() + SILENCE_MIN / 8);
            assert_eq!(silent, Err(CallError::TimedOut { sent: true }));
        }
        assert!(begun.elapsed() >= SILENCE_MIN);
    }

    #[test]
    fn long_frames_go_both_ways_while_others_wait() {
        let node = FakeNode::alone(|asked| match asked.request {
            Request::Put { value, .. } => asked.send(&Response::Found { version: Version(1), value }),
            _ => Reply::Send(echo(asked)),
        });
        let connection = connect(&node);
        let long = vec![7; 16 << 20];
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let request = Request::Put {
                        key: Key::new(b"k").unwrap(),
                        value: ValueRef::new(0, &long).unwrap(),
                        condition: dht_protocol::request::Condition::Always,
                        token: None,
                    };
                    let answer =
                        connection.call(soon(), |id, out| request.encode(id, Epoch(1), out)).unwrap();
                    assert_eq!(answer.body.len(), long.len() + 9);
                    for _ in 0..20 {
                        assert_eq!(get(&connection, b"small", soon()).unwrap(), b"small");
                    }
                });
            }
        });
    }

    #[test]
    fn a_node_that_takes_no_bytes_ends_the_connection_and_leaves_no_doubt_about_what_was_not_written() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _deaf = listener.accept().unwrap();
        prepare(&stream).unwrap();
        let node = FakeNode::alone(|_| Reply::Silence);
        let hello = *connect(&node).hello();
        let connection = Connection::new("deaf".into(), hello, stream, FrameReader::new());
        let long = vec![7; 16 << 20];
        let soon = Instant::now() + Duration::from_millis(300);
        thread::scope(|scope| {
            let writer =
                scope.spawn(|| connection.call(soon, |_, out| out.extend_from_slice(&long)).unwrap_err());
            while !lock(&connection.state).writing {
                thread::yield_now();
            }
            let behind = get(&connection, b"k", Instant::now() + Duration::from_secs(5)).unwrap_err();
            assert!(matches!(behind, CallError::Lost { sent: false, .. }), "{behind:?}");
            assert!(matches!(writer.join().unwrap(), CallError::Lost { sent: true, .. }));
        });
    }
}
