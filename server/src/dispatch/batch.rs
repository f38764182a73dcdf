//! A batch of frames and its answers, in order.
//!
//! A batch goes through three passes, some requests at a time (read and hash all, ask for the memory of all, look up and
//! answer all), so that the waits for memory of different requests overlap. Answers come in the order of requests, so two
//! requests on one key are never swapped.

use std::ops::ControlFlow;
use std::time::Instant;

use dht_protocol::frame;
use dht_protocol::header::Header;
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::request::Request;
use dht_protocol::response::{Refusal, Response, response_header};
use dht_protocol::status::Status;

use super::Dispatcher;
use super::ahead::Access;
use super::group::{Answered, Group};
use super::output::Output;
use super::session::Session;
use super::slow::{SlowRequest, SlowWatch};
use crate::limits::{BATCH_REQUESTS_MAX, GROUP_LOOKUPS_MAX, HELD_ANSWER_BYTES_MAX};
use crate::metrics::WorkerMetrics;

/// A request's frame in a read buffer.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its header.
    pub header: Header,
    /// Its body.
    pub body: &'a [u8],
}

/// Where answering a batch stops; what is left waits.
#[derive(Clone, Copy, Debug)]
pub struct AnswerBounds {
    /// Once so many bytes of answers wait.
    pub output_bytes_max: usize,
    /// Once it is so late, looked at after each request that may take long.
    pub turn_ends: Instant,
    /// Requests that take so long, nanoseconds, are told of; `None`: none is timed.
    pub slow_ns: Option<u64>,
}

/// How far a batch came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchEnd {
    /// Frames answered; the others wait until the peer has taken some answers.
    pub frames_done: usize,
    /// Those that took as long as was asked for.
    pub slow: Vec<SlowRequest>,
    /// Statuses of the frames that were refused as not following PROTOCOL.md.
    refused: Vec<Status>,
    /// Whether the connection must be closed once its answers are out.
    pub close: bool,
}

impl BatchEnd {
    /// Statuses of the frames that were refused as not following PROTOCOL.md.
    pub fn refused(&self) -> impl Iterator<Item = Status> {
        self.refused.iter().copied()
    }
}

/// A batch while it is being answered.
struct Batch<'a> {
    dispatcher: &'a Dispatcher,
    session: &'a mut Session,
    output: &'a mut Output,
    bounds: AnswerBounds,
    metrics: &'a WorkerMetrics,
    watch: Option<SlowWatch>,
    end: BatchEnd,
}

impl Batch<'_> {
    /// Answers a group; breaks where the batch is to end.
    fn answer_group(&mut self, frames: &[Frame<'_>]) -> ControlFlow<()> {
        let mut group = Group::new(self.dispatcher, frames);
        let bytes_before = self.output.bytes();
        self.watch = self.bounds.slow_ns.map(SlowWatch::start);
        for (number, frame) in frames.iter().enumerate() {
            if self.output.bytes() >= self.bounds.output_bytes_max {
                return ControlFlow::Break(());
            }
            self.answer_one(&mut group, number, frame)?;
            if self.output.bytes() > bytes_before + HELD_ANSWER_BYTES_MAX {
                group.let_go();
            }
        }
        ControlFlow::Continue(())
    }

    fn answer_one(&mut self, group: &mut Group<'_>, number: usize, frame: &Frame<'_>) -> ControlFlow<()> {
        let bytes_before = self.output.bytes();
        let Answered { status, is_refused } = group.answer(number, self.session, self.output, self.metrics);
        if is_refused {
            self.end.refused.push(status);
        }
        self.end.frames_done += 1;
        if let Some(watch) = &mut self.watch {
            let answer_bytes = self.output.bytes() - bytes_before;
            self.end.slow.extend(watch.lap(frame, answer_bytes, group.partition(number)));
        }
        self.end.close = status == Status::UnknownVersion;
        let is_late = || group.may_take_long(number) && Instant::now() >= self.bounds.turn_ends;
        if self.end.close || is_late() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Dispatcher {
    /// Answers `frames`, at most `BATCH_REQUESTS_MAX` of them, until all are done or a bound is reached.
    pub fn answer(
        &self,
        session: &mut Session,
        frames: &[Frame<'_>],
        output: &mut Output,
        bounds: AnswerBounds,
        metrics: &WorkerMetrics,
    ) -> BatchEnd {
        let frames = &frames[..frames.len().min(BATCH_REQUESTS_MAX)];
        let mut batch = Batch {
            dispatcher: self,
            session,
            output,
            bounds,
            metrics,
            watch: None,
            end: BatchEnd { frames_done: 0, slow: Vec::new(), refused: Vec::new(), close: false },
        };
        for group in frames.chunks(GROUP_LOOKUPS_MAX) {
            if batch.answer_group(group).is_break() {
                break;
            }
        }
        batch.end
    }

    /// First pass: what a request will look up, if it has a key.
    #[inline]
    pub(super) fn access(&self, request: &Request<'_>) -> Option<Access> {
        let (key, writes) = match request {
            Request::Get { key } | Request::Exists { key } => (key, false),
            Request::Put { key, .. }
            | Request::Delete { key, .. }
            | Request::Add { key, .. }
            | Request::Append { key, .. } => (key, true),
            Request::Hello(_)
            | Request::Map
            | Request::Ping
            | Request::Stats
            | Request::Scan(_)
            | Request::PeerHello(_) => return None,
        };
        Some(Access { hash: self.hash_of(*key), writes })
    }

    /// Third pass: look up and answer.
    pub(super) fn answer_one(
        &self,
        session: &mut Session,
        frame: &Frame<'_>,
        request: &Request<'_>,
        hash: Option<KeyHash>,
        output: &mut Output,
    ) -> Status {
        if !session.allows(request.op()) {
            return self.refuse(frame, Refusal::of(Status::HelloRequired), output);
        }
        if let Some(hash) = hash {
            return match self.route(hash, frame.header.epoch) {
                Ok(hosted) => self.answer_key(session, frame, request, hash, hosted, output),
                Err(not_owner) => self.refuse(frame, Refusal::NotOwner(not_owner), output),
            };
        }
        let response = match request {
            Request::Scan(scan) => return self.answer_scan(frame, scan, output),
            Request::Hello(hello) => match session.greet(hello, self) {
                Ok(answer) => Response::Hello(answer),
                Err(refusal) => Response::Refused(refusal),
            },
            Request::Map => {
                return self.answer_map(frame, output);
            }
            Request::Ping => Response::Pong,
            Request::Stats => Response::Stats(self.stats()),
            Request::PeerHello(theirs) => {
                let ours = self.greeting();
                self.judge_peer(&ours, theirs);
                Response::PeerHello(ours)
            }
            Request::Get { .. }
            | Request::Exists { .. }
            | Request::Put { .. }
            | Request::Delete { .. }
            | Request::Add { .. }
            | Request::Append { .. } => {
                unreachable!("requests with a key have a hash and are answered above")
            }
        };
        self.respond(frame, &response, output)
    }

    fn answer_map(&self, frame: &Frame<'_>, output: &mut Output) -> Status {
        let header = response_header(Status::Ok, frame.header.request_id, self.map().epoch());
        output.append(|out| {
            let start = frame::begin(out, &header);
            self.map().encode(out);
            frame::finish(out, start);
        });
        Status::Ok
    }

    #[inline]
    pub(crate) fn respond(&self, frame: &Frame<'_>, response: &Response<'_>, output: &mut Output) -> Status {
        output.append(|out| response.encode(frame.header.request_id, self.map().epoch(), out));
        response.status()
    }

    pub(crate) fn refuse(&self, frame: &Frame<'_>, refusal: Refusal<'_>, output: &mut Output) -> Status {
        self.respond(frame, &Response::Refused(refusal), output)
    }
}
