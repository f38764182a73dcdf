//! Many requests of one caller under way on one connection at once.
//!
//! 1. At most `BULK_IN_FLIGHT_MAX` requests, and requests and answers of `BULK_BYTES_IN_FLIGHT_MAX` bytes; a
//!    larger one goes alone. How long an answer will be is guessed from those that came: the longest of them, which
//!    fades. So a row of long values is fetched a few at a time.
//! 2. Requests are handed to the connection's queue, to go out in one system call; they go out before anybody waits
//!    for an answer, and a write that blocks reads. So neither side can wait for the other for ever.
//! 3. Whatever is under way when the pipeline is dropped is given up, and its slots are free again.

use std::collections::VecDeque;
use std::mem;

use dht_protocol::ids::RequestId;

use crate::connection::shared::{CallError, Connection, Guard};
use crate::connection::slots::Answer;
use crate::connection::socket::{Socket, TcpSocket};
use crate::limits::{BULK_BYTES_IN_FLIGHT_MAX, BULK_IN_FLIGHT_MAX};
use crate::sync::{Instant, Ordering, current_thread, lock, park_timeout};

/// Requests under way, each with what its caller wants back with the answer.
#[derive(Debug)]
pub(crate) struct Pipeline<'a, T, S: Socket = TcpSocket> {
    connection: &'a Connection<S>,
    in_flight: Vec<InFlight<T>>,
    /// Sum of the weights of `in_flight`, bytes.
    weight: usize,
    /// A slot that is taken and has no request yet.
    spare: Option<RequestId>,
    /// Frames that the connection has not been given.
    outbox: Vec<(RequestId, Vec<u8>)>,
    /// Ended, and not handed out yet.
    ended: VecDeque<(T, Result<Answer, CallError>)>,
    /// How long the next answer may be, bytes.
    answer_bytes_guess: usize,
}

#[derive(Debug)]
struct InFlight<T> {
    id: RequestId,
    tag: T,
    sent_at: Instant,
    deadline: Instant,
    weight: usize,
}

impl<S: Socket> Connection<S> {
    /// An empty pipeline on this connection.
    pub(crate) fn pipeline<T>(&self) -> Pipeline<'_, T, S> {
        // Others may have come, and parked, while this one looked.
        self.leave(self.look_if_idle(lock(&self.state)));
        Pipeline {
            connection: self,
            in_flight: Vec::new(),
            weight: 0,
            spare: None,
            outbox: Vec::new(),
            ended: VecDeque::new(),
            answer_bytes_guess: 0,
        }
    }
}

impl<T, S: Socket> Pipeline<'_, T, S> {
    /// Whether nothing is under way and nothing is left to hand out.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.ended.is_empty()
    }

    /// Whether one more request may be sent now. Waits for a slot, until `deadline`, only if nothing is under way.
    ///
    /// # Errors
    /// The connection is dead, or the wait was in vain.
    pub(crate) fn has_room(&mut self, deadline: Instant) -> Result<bool, CallError> {
        let full = self.in_flight.len() >= BULK_IN_FLIGHT_MAX
            || (!self.in_flight.is_empty()
                && self.weight + self.answer_bytes_guess >= BULK_BYTES_IN_FLIGHT_MAX);
        if full || !self.ended.is_empty() {
            return Ok(false);
        }
        if self.spare.is_none() {
            self.spare = if self.in_flight.is_empty() {
                Some(self.connection.take_slot(deadline)?)
            } else {
                lock(&self.connection.state).slots.take(current_thread())
            };
        }
        Ok(self.spare.is_some())
    }

    /// Sends a request, after [`Pipeline::has_room`] said yes.
    ///
    /// # Panics
    /// When it did not.
    pub(crate) fn send(&mut self, tag: T, deadline: Instant, encode: impl FnOnce(RequestId, &mut Vec<u8>)) {
        let id = self.spare.take().expect("asked for room first");
        let mut frame = Vec::new();
        encode(id, &mut frame);
        let weight = frame.len() + self.answer_bytes_guess;
        self.weight += weight;
        self.outbox.push((id, frame));
        self.in_flight.push(InFlight { id, tag, sent_at: Instant::now(), deadline, weight });
        self.connection.callers_count.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for a request to end, in whatever order; `None` when none is left.
    pub(crate) fn next(&mut self) -> Option<(T, Result<Answer, CallError>)> {
        while self.ended.is_empty() && !self.in_flight.is_empty() {
            self.turn();
        }
        self.ended.pop_front()
    }

    /// Writes, reads or parks until something has ended.
    fn turn(&mut self) {
        let connection = self.connection;
        let earliest = self.in_flight.iter().map(|request| request.deadline).min();
        let deadline = earliest.unwrap_or_else(Instant::now);
        let mut state = lock(&connection.state);
        if state.dead.is_none() {
            for (id, frame) in self.outbox.drain(..) {
                state.outgoing.push(id, frame);
            }
        }
        loop {
            self.take_answers(&mut state);
            if !self.ended.is_empty() {
                connection.leave(state);
                connection.slot_free.notify_all();
                return;
            }
            if let Some(reason) = state.dead.clone() {
                return self.lose_all(state, &reason);
            }
            let now = Instant::now();
            if now >= deadline {
                drop(state);
                return self.give_up_late(now);
            }
            if state.needs_writer() {
                state = connection.write_turn(state);
            } else if !state.reading {
                state = connection.read_turn(state, deadline);
            } else if let Some(first) = self.in_flight.first() {
                // One slot stands for all: whoever wakes it wakes this thread, as does any answer.
                state.slots.set_parked(first.id, true);
                drop(state);
                park_timeout(deadline - now);
                state = lock(&connection.state);
                state.slots.set_parked(first.id, false);
            }
        }
    }

    /// Moves every request whose answer is there to `ended`.
    fn take_answers(&mut self, state: &mut Guard<'_>) {
        for request in mem::take(&mut self.in_flight) {
            match state.slots.take_answer(request.id) {
                Some(answer) => {
                    self.answer_bytes_guess =
                        answer.body.len().max(self.answer_bytes_guess - self.answer_bytes_guess / 8);
                    self.end(request, Ok(answer));
                }
                None => self.in_flight.push(request),
            }
        }
    }

    fn lose_all(&mut self, mut state: Guard<'_>, reason: &str) {
        self.outbox.clear();
        for request in mem::take(&mut self.in_flight) {
            let sent = state.slots.give_up(request.id);
            self.end(request, Err(CallError::Lost { sent, reason: reason.to_owned() }));
        }
    }

    fn give_up_late(&mut self, now: Instant) {
        for request in mem::take(&mut self.in_flight) {
            if now < request.deadline {
                self.in_flight.push(request);
            } else {
                let state = lock(&self.connection.state);
                let error = self.connection.give_up(state, request.id, request.sent_at, now);
                self.end(request, Err(error));
            }
        }
    }

    fn end(&mut self, request: InFlight<T>, result: Result<Answer, CallError>) {
        self.connection.callers_count.fetch_sub(1, Ordering::Relaxed);
        self.weight -= request.weight;
        self.ended.push_back((request.tag, result));
    }
}

impl<T, S: Socket> Drop for Pipeline<'_, T, S> {
    fn drop(&mut self) {
        let mut state = lock(&self.connection.state);
        for request in &self.in_flight {
            state.outgoing.forget(request.id);
            state.slots.give_up(request.id);
            self.connection.callers_count.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(spare) = self.spare {
            state.slots.give_up(spare);
        }
        drop(state);
        self.connection.slot_free.notify_all();
    }
}
