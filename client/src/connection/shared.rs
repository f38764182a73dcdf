//! The connection itself: callers that write for each other and read for each other.

use dht_protocol::ids::RequestId;
use dht_protocol::response::HelloAnswer;

use crate::connection::outgoing::Outgoing;
use crate::connection::slots::{Answer, Slots};
use crate::connection::socket::{Socket, TcpSocket};
use crate::limits::SILENCE_MIN;
use crate::sync::{
    AtomicBool, AtomicUsize, Condvar, Instant, Mutex, MutexGuard, Ordering, current_thread, lock,
    park_timeout, wait_until,
};

/// A connection that has exchanged `HELLO`.
#[derive(Debug)]
pub(crate) struct Connection<S = TcpSocket> {
    address: String,
    hello: HelloAnswer,
    pub(super) socket: S,
    pub(super) state: Mutex<State>,
    /// Notified when a slot is given back or the connection dies.
    pub(super) slot_free: Condvar,
    /// Callers inside `call`; a hint for choosing between connections, so relaxed.
    pub(super) callers_count: AtomicUsize,
    /// As `State::dead`; a hint, so relaxed.
    is_dead: AtomicBool,
}

/// What the callers share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) slots: Slots,
    /// What is to be written and is in no writer's hands.
    pub(super) outgoing: Outgoing,
    /// Whether a caller writes; what `outgoing` holds then waits for it or for the next writer.
    pub(super) writing: bool,
    /// Whether a caller reads.
    pub(super) reading: bool,
    /// When the node last gave a sign of life: bytes came, or it took some after it had taken none.
    pub(super) heard_at: Instant,
    /// Since when there was no such sign, although calls waited until their time was up.
    pub(super) silent_since: Option<Instant>,
    /// Since when the node has taken no byte of what is to be written; `None` while it takes all.
    pub(super) stuck_since: Option<Instant>,
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

impl<S: Socket> Connection<S> {
    pub(crate) fn new(address: String, hello: HelloAnswer, socket: S) -> Connection<S> {
        Connection {
            address,
            hello,
            socket,
            state: Mutex::new(State {
                slots: Slots::default(),
                outgoing: Outgoing::default(),
                writing: false,
                reading: false,
                heard_at: Instant::now(),
                silent_since: None,
                stuck_since: None,
                dead: None,
            }),
            slot_free: Condvar::new(),
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
                state.outgoing.push(id, frame);
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
            if let Some(id) = state.slots.take(current_thread()) {
                return Ok(id);
            }
            state = wait_until(&self.slot_free, state, deadline)
                .map_err(|_| CallError::TimedOut { sent: false })?;
        }
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
                self.leave(state);
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
            if state.needs_writer() {
                state = self.write_turn(state);
            } else if !state.reading {
                state = self.read_turn(state, deadline);
            } else {
                state.slots.set_parked(id, true);
                drop(state);
                park_timeout(deadline - now);
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
        state.outgoing.forget(id);
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
        self.leave(state);
        CallError::TimedOut { sent }
    }

    pub(super) fn die(&self, state: &mut State, reason: String) {
        if state.dead.is_some() {
            return;
        }
        state.dead = Some(reason);
        state.outgoing.clear();
        state.slots.wake_all();
        self.is_dead.store(true, Ordering::Relaxed);
        self.slot_free.notify_all();
        self.socket.shut_down();
    }
}

impl State {
    /// Whether there is something to write and nobody who does.
    pub(super) fn needs_writer(&self) -> bool {
        !self.writing && !self.outgoing.is_empty()
    }

    /// Wakes a parked caller if there is anything to do that nobody does; answers whether one was there.
    pub(super) fn wake_for_duties(&mut self) -> bool {
        (!self.reading || self.needs_writer()) && self.slots.wake_one()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
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
}
