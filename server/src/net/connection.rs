//! One client's connection: bytes in, requests to the dispatcher, answers out. Which door it came through decides
//! how requests are cut and answered; reading, writing and whose turn it is are the same for all.
//!
//! A turn reads until the socket has no more (or its share of the worker's time is used up), answers what is
//! whole, and writes. It stops reading while too many answers wait: the peer that does not take its answers is
//! held up, nobody else. No readiness is trusted: only `WouldBlock` ends reading and writing.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::activity::{Activity, Overdue, UnderWay};
use super::door::Door;
use super::inbox::Inbox;
use super::keep_alive;
use super::seats::Seat;
use super::turn::{Round, TurnContext, TurnEnd, output_bytes_max, read_bytes_max};
use super::worker::Newcomer;
use crate::dispatch::{AnswerBounds, Dispatcher, Output, Session};
use crate::http::{self, HeadError};
use crate::limits::{
    IDLE_BUFFER_BYTES_MAX, READ_TURN_BYTES_MAX, REFUSALS_LOGGED_PER_CONNECTION_MAX, TURN_MS, WRITE_PIECES_MAX,
};
use crate::memory::{Charge, MemoryKind};
use crate::resp::RespState;
use crate::tuning::SilenceLimits;

/// Bytes that have been read from a connection's socket, for its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead<'a> {
    pub(super) bytes: &'a [u8],
    /// The read brought less than it could have: the socket holds no more.
    pub(super) is_drained: bool,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) door: Door,
    /// What has been agreed on at the binary door; as new at any other.
    pub(super) session: Session,
    /// What a RESP connection keeps; `None` at any other door.
    pub(super) resp: Option<Box<RespState>>,
    pub(super) inbox: Inbox,
    pub(super) output: Output,
    /// Covers the buffers of `output`.
    output_charge: Charge,
    /// Set once nothing more is to be read: close when the answers are out.
    pub(super) closing: Option<&'static str>,
    /// Whether the last turn took all that the socket had.
    pub(super) caught_up: bool,
    /// The last read of this turn brought less than it could have: the socket holds no more.
    is_drained: bool,
    /// The peer sends no more. That is no byte, and a read that brings the last bytes does not tell it.
    pub(super) is_read_closed: bool,
    /// Whether bytes have come since the last [`Connection::on_stop_tick`].
    heard: bool,
    refusals: u32,
    pub(super) activity: Activity,
    /// Counts this connection among those of the daemon until it is dropped.
    _seat: Seat,
    /// Whether it stands in its worker's queue for another turn. The worker's to change.
    pub(crate) is_queued: bool,
}

impl Connection {
    /// Takes over a stream: sets its options and registers it under `token`.
    ///
    /// # Errors
    /// What the system says to either.
    pub(crate) fn open(
        newcomer: Newcomer,
        token: Token,
        registry: &Registry,
        dispatcher: &Dispatcher,
    ) -> io::Result<Connection> {
        let Newcomer { mut stream, peer, door, seat } = newcomer;
        keep_alive::set_options(&stream, dispatcher.tuning().silence_limits().stall_s)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let memory = dispatcher.memory();
        Ok(Connection {
            stream,
            peer,
            door,
            session: Session::default(),
            resp: (door == Door::Resp).then(|| Box::new(RespState::new(dispatcher.number_resp_connection()))),
            inbox: Inbox::new(door, memory),
            output: Output::default(),
            output_charge: Charge::empty(memory.clone(), MemoryKind::Connections),
            closing: None,
            caught_up: false,
            is_drained: false,
            is_read_closed: false,
            heard: false,
            refusals: 0,
            activity: Activity::default(),
            _seat: seat,
            is_queued: false,
        })
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether answers wait for the peer to take them.
    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty() || self.is_waiting_for_nodes()
    }

    /// Ends the registration before the stream is dropped.
    pub(crate) fn deregister(&mut self, registry: &Registry) {
        if let Err(error) = registry.deregister(&mut self.stream) {
            log::debug!(peer:% = self.peer, error:% = error; "cannot deregister a connection");
        }
    }

    /// Whether it has been silent for longer than `limits` allow.
    pub(crate) fn overdue(&self, round: u32, limits: SilenceLimits) -> Option<Overdue> {
        if self.output.is_empty() && self.is_waiting_for_nodes() {
            // Not the peer's silence; the links to other nodes have time-outs of their own.
            return None;
        }
        let under_way = UnderWay { answers: self.has_output(), request: self.inbox.is_started() };
        self.activity.overdue(round, under_way, limits)
    }

    /// Told now and then while the daemon stops: ends the connection, once its answers are out, if the peer has
    /// sent nothing since the last time, or if `reading_is_over`. Never before all has been answered that the
    /// socket holds.
    pub(crate) fn on_stop_tick(&mut self, why: &'static str, reading_is_over: bool) {
        if self.caught_up && (reading_is_over || !self.heard) {
            self.begin_close(why);
        }
        self.heard = false;
    }

    /// Nothing more is read; answers still go out.
    pub(super) fn begin_close(&mut self, why: &'static str) {
        self.closing.get_or_insert(why);
    }

    /// An event said that the peer sends no more.
    pub(crate) fn on_read_closed(&mut self) {
        self.is_read_closed = true;
    }

    /// Does what can be done now, first of all with what has been read `ahead`. Call it after any event of the socket, and
    /// again after [`TurnEnd::Again`].
    pub(super) fn turn(&mut self, context: &mut TurnContext<'_>, ahead: Option<Ahead<'_>>) -> TurnEnd {
        let end = self.turn_inner(context, ahead).unwrap_or_else(|error| TurnEnd::Close(why_of(&error)));
        if self.output.is_empty() {
            self.activity.on_taken(context.round);
        }
        self.output.shrink(IDLE_BUFFER_BYTES_MAX);
        self.charge_output();
        end
    }

    fn turn_inner(&mut self, context: &mut TurnContext<'_>, ahead: Option<Ahead<'_>>) -> io::Result<TurnEnd> {
        let mut bytes_read = 0;
        let mut begun = Instant::now();
        *context.now = begun;
        let slow_ns = context.dispatcher.tuning().slow_ns();
        let turn_ends = begun + Duration::from_millis(TURN_MS);
        let mut is_first_round = true;
        self.caught_up = false;
        self.is_drained = false;
        if let Some(ahead) = ahead {
            let bounds = AnswerBounds { output_bytes_max: output_bytes_max(context), turn_ends, slow_ns };
            self.take_in(ahead.bytes, Round { bounds, begun }, context);
            bytes_read = ahead.bytes.len();
            self.is_drained = ahead.is_drained;
        }
        loop {
            let goes_on = self.go_on_with_nodes(turn_ends, context);
            self.write_output(context)?;
            // Looked up once a round: whoever else reaches the memory limit in between must not make this round
            // stop half-way.
            let bounds = AnswerBounds { output_bytes_max: output_bytes_max(context), turn_ends, slow_ns };
            if self.output.bytes() + self.waiting_bytes() >= bounds.output_bytes_max {
                if self.output.is_empty() {
                    return Ok(if goes_on { TurnEnd::Again } else { TurnEnd::Wait });
                }
                context.metrics.output_stalls.add(1);
                return Ok(TurnEnd::Wait);
            }
            if !std::mem::take(&mut is_first_round) {
                begun = Instant::now();
            }
            if bytes_read >= READ_TURN_BYTES_MAX || begun >= turn_ends {
                return Ok(TurnEnd::Again);
            }
            if self.is_held() {
                return Ok(if goes_on { TurnEnd::Again } else { TurnEnd::Wait });
            }
            let round = Round { bounds, begun };
            if self.answer_kept(round, context) {
                continue;
            }
            if let Some(why) = self.closing {
                if self.has_output() {
                    return Ok(TurnEnd::Wait);
                }
                self.finish_stream(turn_ends, context)?;
                return Ok(TurnEnd::Close(why));
            }
            if self.is_drained && !self.is_read_closed {
                // What comes from now on is an event of its own.
                self.caught_up = true;
                return Ok(TurnEnd::Wait);
            }
            match self.read(round, context) {
                Ok(0) => self.begin_close("end of stream"),
                Ok(count) => {
                    self.on_bytes(context);
                    bytes_read += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.caught_up = true;
                    return Ok(TurnEnd::Wait);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the stream behind the answers, and throws away what has come and will not be answered: a socket that
    /// is closed with unread bytes resets the connection, and the peer loses answers that are still under way. No more
    /// than a turn's share of bytes and of time goes into that.
    fn finish_stream(&mut self, turn_ends: Instant, context: &mut TurnContext<'_>) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        let mut left_bytes = READ_TURN_BYTES_MAX;
        while left_bytes > 0 && Instant::now() < turn_ends {
            match self.stream.read(context.read_buffer) {
                Ok(0) => break,
                Ok(count) => left_bytes = left_bytes.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing more, or the peer has gone: either way this is the end.
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Bytes have come.
    pub(super) fn on_bytes(&mut self, context: &TurnContext<'_>) {
        self.heard = true;
        self.activity.on_heard(context.round);
    }

    /// Reads once, answers what is whole and keeps the rest.
    fn read(&mut self, round: Round, context: &mut TurnContext<'_>) -> io::Result<usize> {
        if let Some(missing) = self.inbox.missing_bytes() {
            let length = missing.min(context.read_buffer.len());
            let count = self.stream.read(&mut context.read_buffer[..length])?;
            self.is_drained = count < length;
            context.metrics.bytes_in.add(count as u64);
            self.inbox.append(&context.read_buffer[..count]);
            if let (_, Some(passed)) = self.inbox.swallow(&[]) {
                self.refuse_passed(&passed, context);
            }
            if self.inbox.is_refused() {
                self.refuse_unkept(context);
            }
            return Ok(count);
        }
        // Whole frames have been answered before; where no frame is gathered, what is kept is the start of a short one.
        let kept_bytes = self.inbox.kept().len();
        assert!(kept_bytes < self.inbox.start_bytes_max(), "whole frames are answered before more is read");
        context.read_buffer[..kept_bytes].copy_from_slice(self.inbox.kept());
        let end = context.read_buffer.len().min(kept_bytes + read_bytes_max(context));
        let count = self.stream.read(&mut context.read_buffer[kept_bytes..end])?;
        self.is_drained = count < end - kept_bytes;
        context.metrics.bytes_in.add(count as u64);
        let buffer = std::mem::take(&mut context.read_buffer);
        self.take_in(&buffer[..kept_bytes + count], round, context);
        context.read_buffer = buffer;
        Ok(count)
    }

    fn take_in(&mut self, bytes: &[u8], round: Round, context: &mut TurnContext<'_>) {
        let (passed, refused) = self.inbox.swallow(bytes);
        if let Some(passed) = refused {
            self.refuse_passed(&passed, context);
        }
        let bytes = &bytes[passed..];
        let used = self.answer(bytes, round, context);
        if self.closing.is_none() {
            self.inbox.keep(&bytes[used..]);
            if self.inbox.is_refused() {
                self.refuse_unkept(context);
            }
        }
    }

    /// Answers whole frames that were kept; `true` when there were any.
    fn answer_kept(&mut self, round: Round, context: &mut TurnContext<'_>) -> bool {
        if self.inbox.kept().is_empty() || (self.door == Door::Resp && !self.inbox.has_whole_command()) {
            return false;
        }
        let bytes = self.inbox.take();
        let used = self.answer(&bytes, round, context);
        self.inbox.put_back(bytes, used);
        // A command with many keys may be answered in part.
        used > 0 || self.door == Door::Resp
    }

    /// Answers the whole requests at the front of `bytes`, at least one, until a bound is reached; says how many
    /// bytes they took.
    fn answer(&mut self, bytes: &[u8], round: Round, context: &mut TurnContext<'_>) -> usize {
        match self.door {
            Door::Binary => self.answer_frames(bytes, round, context),
            Door::Http => self.answer_heads(bytes, round.bounds, context),
            Door::Resp => self.answer_commands(bytes, round, context),
        }
    }

    fn answer_heads(&mut self, bytes: &[u8], bounds: AnswerBounds, context: &TurnContext<'_>) -> usize {
        let mut used = 0;
        while self.output.bytes() < bounds.output_bytes_max {
            match http::cut(&bytes[used..]) {
                http::Cut::NeedMore => return used,
                http::Cut::Head(head, head_bytes) => {
                    used += head_bytes;
                    context.metrics.http_requests.add(1);
                    http::answer(&head, context.dispatcher, &mut self.output);
                    if !head.keep_alive {
                        self.begin_close("last request");
                        return bytes.len();
                    }
                }
                http::Cut::Refused(error) => {
                    self.refuse_head(error, context);
                    return bytes.len();
                }
            }
            if Instant::now() >= bounds.turn_ends {
                return used;
            }
        }
        used
    }

    fn refuse_head(&mut self, error: HeadError, context: &TurnContext<'_>) {
        let (_, text) = error.status_and_text();
        self.note_refusal(text, context);
        http::refuse(error, &mut self.output);
        self.begin_close(text);
    }

    pub(super) fn note_refusal(&mut self, what: &str, context: &TurnContext<'_>) {
        context.metrics.frames_refused.add(1);
        self.refusals += 1;
        if self.refusals <= REFUSALS_LOGGED_PER_CONNECTION_MAX {
            let Some(suppressed) = context.refused_lines.admit(Instant::now()) else { return };
            log::warn!(peer:% = self.peer, reason = what, suppressed; "frame refused");
        }
    }

    /// Writes until nothing waits or the socket takes no more.
    fn write_output(&mut self, context: &TurnContext<'_>) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let mut output = std::mem::take(&mut self.output);
        let written = self.write(&mut output, context);
        self.output = output;
        written
    }

    /// Writes of `output` until nothing is left or the socket takes no more.
    pub(super) fn write(&mut self, output: &mut Output, context: &TurnContext<'_>) -> io::Result<()> {
        while !output.is_empty() {
            match write_front(&mut self.stream, output) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    context.metrics.bytes_out.add(count as u64);
                    self.activity.on_taken(context.round);
                    output.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn charge_output(&mut self) {
        let waiting = self.resp.as_ref().map_or(0, |resp| resp.buffer_bytes());
        let bytes = (self.output.buffer_bytes() + waiting) as u64;
        if bytes > self.output_charge.bytes() {
            // The answers exist already; what they take is bounded by the limits of one connection's output.
            self.output_charge.grow_over_limit(bytes - self.output_charge.bytes());
        } else {
            self.output_charge.shrink_to(bytes);
        }
    }
}

/// Writes once, what stands first.
fn write_front(stream: &mut TcpStream, output: &Output) -> io::Result<usize> {
    if let Some(bytes) = output.single() {
        // Cheaper than gathering one piece.
        return stream.write(bytes);
    }
    let mut pieces = [IoSlice::new(&[]); WRITE_PIECES_MAX];
    let mut pieces_count = 0;
    for (slot, bytes) in pieces.iter_mut().zip(output.front(WRITE_PIECES_MAX)) {
        *slot = IoSlice::new(bytes);
        pieces_count += 1;
    }
    stream.write_vectored(&pieces[..pieces_count])
}

pub(super) fn why_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "reset by peer",
        io::ErrorKind::BrokenPipe => "peer has gone",
        _ => "socket error",
    }
}
