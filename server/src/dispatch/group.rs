//! A group of requests, of one connection or of several: read and hashed together, what they will look up asked for
//! together, then answered one after the other. The waits for memory of different requests overlap, and the partitions
//! that were taken to look ahead are held while reads are answered.

use std::array;

use dht_protocol::error::RequestError;
use dht_protocol::header::PROTOCOL_VERSION;
use dht_protocol::ids::PartitionId;
use dht_protocol::op::Op;
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::request::Request;
use dht_protocol::response::Refusal;
use dht_protocol::status::Status;

use super::Dispatcher;
use super::ahead::Access;
use super::batch::Frame;
use super::held::Held;
use super::hosted::Hosted;
use super::output::Output;
use super::session::Session;
use crate::limits::GROUP_LOOKUPS_MAX;
use crate::metrics::WorkerMetrics;

/// A frame after the first pass.
type Decoded<'a> = Result<Request<'a>, RequestError>;

/// Requests between the second pass and the third.
pub(crate) struct Group<'a> {
    dispatcher: &'a Dispatcher,
    frames: &'a [Frame<'a>],
    decoded: [Option<Decoded<'a>>; GROUP_LOOKUPS_MAX],
    accesses: [Option<Access>; GROUP_LOOKUPS_MAX],
    held: Option<Held<'a, Hosted>>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) status: Status,
    /// Whether its frame was refused as not following PROTOCOL.md.
    pub(crate) is_refused: bool,
}

impl Frame<'_> {
    /// Whether it asks for one entry alone and is answered in one short step, if it is sound.
    #[inline]
    pub(crate) fn is_of_one_key(&self) -> bool {
        const SHORT: [u8; 5] =
            [Op::Get as u8, Op::Exists as u8, Op::Put as u8, Op::Delete as u8, Op::Add as u8];
        self.header.version == PROTOCOL_VERSION && SHORT.contains(&self.header.code)
    }
}

impl<'a> Group<'a> {
    /// Reads and hashes the requests of `frames`, at most `GROUP_LOOKUPS_MAX`, and asks for the memory that they will touch.
    pub(crate) fn new(dispatcher: &'a Dispatcher, frames: &'a [Frame<'a>]) -> Group<'a> {
        debug_assert!(frames.len() <= GROUP_LOOKUPS_MAX);
        let decoded: [Option<Decoded<'a>>; GROUP_LOOKUPS_MAX] = array::from_fn(|number| {
            frames.get(number).map(|frame| Request::decode(&frame.header, frame.body))
        });
        let accesses: [Option<Access>; GROUP_LOOKUPS_MAX] =
            array::from_fn(|number| dispatcher.access(decoded[number].as_ref()?.as_ref().ok()?));
        let mut held = None;
        // A single look-up has nothing to overlap with.
        if frames.len() > 1 {
            held = Some(dispatcher.hold(&accesses)).filter(|_| dispatcher.may_hold_on());
        }
        Group { dispatcher, frames, decoded, accesses, held }
    }

    /// Answers request `number`. Requests of one connection are to be answered in order.
    #[inline]
    pub(crate) fn answer(
        &mut self,
        number: usize,
        session: &mut Session,
        output: &mut Output,
        metrics: &WorkerMetrics,
    ) -> Answered {
        let frame = &self.frames[number];
        let answered = match &self.decoded[number] {
            Some(Ok(request)) => {
                metrics.count_request(request.op());
                let hash = self.hash(number);
                let status = match self.answer_held(number, request, hash, session, output) {
                    Some(status) => status,
                    None => {
                        // Whatever it is may take a lock.
                        self.held = None;
                        self.dispatcher.answer_one(session, frame, request, hash, output)
                    }
                };
                Answered { status, is_refused: false }
            }
            Some(Err(error)) => {
                let refusal = Refusal::Other(error.status, error.text.into());
                Answered { status: self.dispatcher.refuse(frame, refusal, output), is_refused: true }
            }
            None => unreachable!("each frame has been read"),
        };
        metrics.count_answer(answered.status);
        answered
    }

    /// Lets go of the partitions that are held.
    pub(crate) fn let_go(&mut self) {
        self.held = None;
    }

    /// Whether answering request `number` may touch thousands of entries or copy megabytes.
    pub(super) fn may_take_long(&self, number: usize) -> bool {
        matches!(self.decoded[number], Some(Ok(Request::Scan(_) | Request::Append { .. } | Request::Stats)))
    }

    /// The partition of request `number`, if it is about one key.
    pub(super) fn partition(&self, number: usize) -> Option<PartitionId> {
        self.hash(number).map(|hash| self.dispatcher.map().owners(hash).partition)
    }

    #[inline]
    fn hash(&self, number: usize) -> Option<KeyHash> {
        self.accesses[number].map(|access| access.hash)
    }

    /// Answers a `GET` whose partition is held; `None`: this is none.
    #[inline]
    fn answer_held(
        &self,
        number: usize,
        request: &Request<'_>,
        hash: Option<KeyHash>,
        session: &Session,
        output: &mut Output,
    ) -> Option<Status> {
        let (Request::Get { key }, Some(hash)) = (request, hash) else { return None };
        let inner = self.held.as_ref()?.get(number)?;
        let frame = &self.frames[number];
        let is_ours = session.allows(request.op()) && self.dispatcher.route(hash, frame.header.epoch).is_ok();
        is_ours.then(|| self.dispatcher.answer_get(frame, hash, *key, &inner.store, output))
    }
}
