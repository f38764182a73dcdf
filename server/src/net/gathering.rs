//! Ready connections that are served together.
//!
//! Where every connection has one request under way at a time, a batch is one request. Its look-up then waits for memory
//! at each level, with nothing to do meanwhile, and the code of the daemon and that of the system push each other out of
//! the processor's first cache with every request. So of the connections that one poll names, up to
//! [`GROUP_LOOKUPS_MAX`] are first read from, one after the other; then their requests are answered as one group, as those of
//! a batch are; then the answers are written, one after the other.
//!
//! 1. Gathered are connections that wait for nothing but their peer's next request. A read that brings one whole frame, on
//!    one key, joins the group; whatever else it brings is taken over by an ordinary turn of that connection, as if that
//!    had read it.
//! 2. A connection is in a gathering once, and has one request in its group: the order of its requests is that of reading.
//! 3. No partition is held over a system call: the group is gone before the first answer is written.
//! 4. What the socket does not take at once goes to the connection's own output, and an ordinary turn follows.

use std::io::{self, Read};
use std::time::Instant;

use dht_protocol::frame::{Cut, cut};
use dht_protocol::header::Header;
use dht_protocol::ids::{Epoch, RequestId};
use dht_protocol::limits::BODY_BYTES_MAX;
use mio::Token;

use super::connection::{Ahead, Connection, why_of};
use super::connection_table::ConnectionTable;
use super::door::Door;
use super::turn::{TurnContext, TurnEnd, note_durations};
use crate::dispatch::{Frame, Group, Output};
use crate::limits::{GATHERED_READ_BYTES, GROUP_LOOKUPS_MAX, HELD_ANSWER_BYTES_MAX, IDLE_BUFFER_BYTES_MAX};

/// From one connection's part of the buffer to the next one's. A cache line more than a part, so that the first lines of
/// all parts do not fall on the same places of the cache.
const STRIDE: usize = GATHERED_READ_BYTES + 64;

/// What a frame's place holds before there is one.
const NO_FRAME: Frame<'static> = Frame {
    header: Header { version: 0, code: 0, flags: 0, request_id: RequestId(0), epoch: Epoch(0) },
    body: &[],
};

/// Connections that are ready, and what serving them together takes. Between two gatherings only buffers are kept.
#[derive(Debug)]
pub(super) struct Gathering {
    ready: Vec<Token>,
    /// A part for each, [`STRIDE`] apart.
    buffer: Vec<u8>,
    /// What has been read, one for each that it was read from.
    came: Vec<Came>,
    /// The answers of the group.
    outputs: [Output; GROUP_LOOKUPS_MAX],
    /// How turns have ended, those aside after which there is nothing to do.
    ends: Vec<(Token, TurnEnd)>,
}

/// What one read has brought.
#[derive(Clone, Copy, Debug)]
struct Came {
    token: Token,
    /// Where it lies in the buffer.
    start: usize,
    end: usize,
}

/// Requests of different connections.
struct Requests<'a> {
    frames: [Frame<'a>; GROUP_LOOKUPS_MAX],
    /// Whose they are.
    tokens: [Token; GROUP_LOOKUPS_MAX],
    count: usize,
}

impl Gathering {
    pub(super) fn new() -> Gathering {
        Gathering {
            ready: Vec::with_capacity(GROUP_LOOKUPS_MAX),
            buffer: vec![0; STRIDE * GROUP_LOOKUPS_MAX],
            came: Vec::with_capacity(GROUP_LOOKUPS_MAX),
            outputs: std::array::from_fn(|_| Output::default()),
            ends: Vec::new(),
        }
    }

    /// Adds a connection that an event has named; `true`: there is no room for another one before these are served.
    pub(super) fn add(&mut self, token: Token) -> bool {
        self.ready.push(token);
        self.ready.len() == GROUP_LOOKUPS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Takes the connection out that is alone: it has a turn of its own.
    pub(super) fn take_single(&mut self) -> Option<Token> {
        if self.ready.len() == 1 { self.ready.pop() } else { None }
    }

    /// A turn's end that the worker has to act upon.
    pub(super) fn poll_end(&mut self) -> Option<(Token, TurnEnd)> {
        self.ends.pop()
    }

    /// Gives each connection its turn, together as far as that goes.
    pub(super) fn serve(
        &mut self,
        connections: &mut ConnectionTable<Connection>,
        context: &mut TurnContext<'_>,
    ) {
        let begun = Instant::now();
        *context.now = begun;
        self.read(connections, context);
        let Gathering { buffer, came, outputs, ends, .. } = self;
        // Where requests are timed one by one, each is to be answered in a turn of its own.
        let is_timed = context.dispatcher.tuning().slow_ns().is_some();
        let mut requests = Requests::none();
        let mut others = 0;
        for at in 0..came.len() {
            let Came { token, start, end } = came[at];
            let is_of_group = !is_timed
                && end - start < GATHERED_READ_BYTES
                && connections.get_mut(token).is_some_and(|connection| connection.door == Door::Binary)
                && requests.take_in(token, &buffer[start..end]);
            if !is_of_group {
                came[others] = came[at];
                others += 1;
            }
        }
        requests.answer(begun, connections, outputs, context);
        requests.write(connections, outputs, ends, context);
        for &Came { token, start, end } in &came[..others] {
            let Some(connection) = connections.get_mut(token) else { continue };
            context.token = token;
            let ahead = Ahead { bytes: &buffer[start..end], is_drained: end - start < GATHERED_READ_BYTES };
            note(ends, token, connection.turn(context, Some(ahead)));
        }
        came.clear();
    }

    /// Reads once from each connection that waits for its peer's next request; the others have an ordinary turn.
    fn read(&mut self, connections: &mut ConnectionTable<Connection>, context: &mut TurnContext<'_>) {
        for (place, token) in self.ready.drain(..).enumerate() {
            let Some(connection) = connections.get_mut(token) else {
                context.metrics.stale_events.add(1);
                continue;
            };
            context.token = token;
            if !connection.is_at_rest() {
                note(&mut self.ends, token, connection.turn(context, None));
                continue;
            }
            let start = place * STRIDE;
            match connection.read_ahead(&mut self.buffer[start..start + GATHERED_READ_BYTES], context) {
                Ok(0) => {
                    connection.begin_close("end of stream");
                    note(&mut self.ends, token, connection.turn(context, None));
                }
                Ok(count) => self.came.push(Came { token, start, end: start + count }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => connection.caught_up = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    note(&mut self.ends, token, connection.turn(context, None));
                }
                Err(error) => note(&mut self.ends, token, TurnEnd::Close(why_of(&error))),
            }
        }
    }
}

impl<'a> Requests<'a> {
    fn none() -> Requests<'a> {
        Requests { frames: [NO_FRAME; GROUP_LOOKUPS_MAX], tokens: [Token(0); GROUP_LOOKUPS_MAX], count: 0 }
    }

    /// Takes in what a connection has sent, if it is one request for the group.
    fn take_in(&mut self, token: Token, bytes: &'a [u8]) -> bool {
        let Cut::Frame { header, body, frame_bytes } = cut(bytes, BODY_BYTES_MAX) else { return false };
        let frame = Frame { header, body };
        if frame_bytes != bytes.len() || !frame.is_of_one_key() {
            return false;
        }
        self.frames[self.count] = frame;
        self.tokens[self.count] = token;
        self.count += 1;
        true
    }

    /// Answers all, each into the output in its place.
    fn answer(
        &self,
        begun: Instant,
        connections: &mut ConnectionTable<Connection>,
        outputs: &mut [Output; GROUP_LOOKUPS_MAX],
        context: &TurnContext<'_>,
    ) {
        if self.count == 0 {
            return;
        }
        let mut group = Group::new(context.dispatcher, &self.frames[..self.count]);
        let mut answer_bytes = 0;
        for (number, output) in outputs.iter_mut().enumerate().take(self.count) {
            let Some(connection) = connections.get_mut(self.tokens[number]) else { continue };
            let answered = group.answer(number, &mut connection.session, output, context.metrics);
            if answered.is_refused {
                connection.note_refusal(answered.status.name(), context);
            }
            answer_bytes += output.bytes();
            if answer_bytes > HELD_ANSWER_BYTES_MAX {
                group.let_go();
            }
        }
        note_durations(begun, self.count, context.metrics);
    }

    /// Writes all answers.
    fn write(
        &self,
        connections: &mut ConnectionTable<Connection>,
        outputs: &mut [Output; GROUP_LOOKUPS_MAX],
        ends: &mut Vec<(Token, TurnEnd)>,
        context: &mut TurnContext<'_>,
    ) {
        for (&token, output) in self.tokens[..self.count].iter().zip(outputs) {
            let Some(connection) = connections.get_mut(token) else { continue };
            context.token = token;
            match connection.write_answer(output, context) {
                Ok(true) => {}
                Ok(false) => {
                    connection.output = std::mem::take(output);
                    note(ends, token, connection.turn(context, None));
                }
                Err(error) => {
                    *output = Output::default();
                    note(ends, token, TurnEnd::Close(why_of(&error)));
                }
            }
            output.shrink(IDLE_BUFFER_BYTES_MAX);
        }
    }
}

impl Connection {
    /// Whether all that it waits for is its peer's next request.
    fn is_at_rest(&self) -> bool {
        // A head of HTTP is never short work.
        self.door != Door::Http
            && self.closing.is_none()
            && !self.is_read_closed
            && !self.has_output()
            && !self.inbox.is_started()
            && !self.is_held()
    }

    /// Reads once. What came is to be answered, in a group or in an ordinary turn, before anything else is done.
    fn read_ahead(&mut self, room: &mut [u8], context: &TurnContext<'_>) -> io::Result<usize> {
        let count = self.stream.read(room)?;
        context.metrics.bytes_in.add(count as u64);
        if count > 0 {
            self.on_bytes(context);
            self.caught_up = count < room.len();
        }
        Ok(count)
    }

    /// Writes an answer of the group; `false`: some of it is left.
    fn write_answer(&mut self, output: &mut Output, context: &TurnContext<'_>) -> io::Result<bool> {
        self.write(output, context)?;
        if output.is_empty() {
            self.activity.on_taken(context.round);
        }
        Ok(output.is_empty())
    }
}

/// Keeps the end of a turn for the worker, unless there is nothing to do.
fn note(ends: &mut Vec<(Token, TurnEnd)>, token: Token, end: TurnEnd) {
    if end != TurnEnd::Wait {
        ends.push((token, end));
    }
}
