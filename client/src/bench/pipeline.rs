//! What is under way on one connection: requests as bytes to send, answers out of bytes received. No socket and
//! no clock.
//!
//! A request's id holds its slot in the low 16 bits and the slot's generation in the high 16, so that an answer
//! that nobody waits for is never taken for another's. A connection is a client of its own: its writes are
//! numbered from 1, and their floor is the lowest unanswered number.
//!
//! A read-modify-write is a `GET` and then a `PUT` of the same key, in one slot: the slot's generation tells their
//! answers apart, and its latency runs from the first to the last.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dht_protocol::cursor::Cursor;
use dht_protocol::error::Malformed;
use dht_protocol::frame::{Cut, cut};
use dht_protocol::header::Header;
use dht_protocol::ids::{Epoch, RequestId};
use dht_protocol::limits::BODY_BYTES_MAX;
use dht_protocol::op::Op;
use dht_protocol::request::{Condition, Key, PartitionList, Request, Scan, WriteToken};
use dht_protocol::response::{Refusal, Response};
use dht_protocol::status::Status;
use dht_protocol::value::{ValueRef, ValueType};

use crate::bench::source::{Kind, Operation};

/// An operation with all that its requests say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job<'a> {
    /// What to do.
    pub(crate) operation: Operation,
    /// The key.
    pub(crate) key: Key<'a>,
    /// What a write stores.
    pub(crate) value: &'a [u8],
    /// Where a scan begins, in the first of `partitions`.
    pub(crate) cursor: Cursor,
    /// What a scan goes through, as in a frame; nothing for other operations.
    pub(crate) partitions: &'a [[u8; 4]],
}

/// What became of an operation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its key and kind, and whether it counts.
    pub(crate) operation: Operation,
    /// From the moment that [`Pipeline::push`] was told.
    pub(crate) latency: Duration,
    /// What was answered.
    pub(crate) outcome: Outcome,
}

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A read found its key, or a scan an entry.
    Hit,
    /// A read or a scan found none.
    Miss,
    /// A write was done, or both halves of a read-modify-write.
    Written,
    /// A refusal, and why.
    Refused(String),
}

#[derive(Clone, Debug)]
struct Slot {
    generation: u16,
    /// The request that waits; `None`: the slot is free.
    waiting: Option<Waiting>,
    /// Key and then value of a read-modify-write that has yet to write; the memory stays for the next one.
    to_write: Vec<u8>,
    /// Bytes of the key in `to_write`.
    key_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    operation: Operation,
    /// What was sent last for it.
    op: Op,
    since: Instant,
    /// Number of a write.
    seq: u64,
}

/// The state of one connection above its socket.
#[derive(Debug)]
pub(crate) struct Pipeline {
    epoch: Epoch,
    slots: Vec<Slot>,
    free: Vec<u16>,
    out: Vec<u8>,
    /// Bytes of `out` that are sent.
    out_sent: usize,
    /// Lowest write number that may be unanswered.
    floor: u64,
    /// For the write numbers from `floor`: whether they are answered.
    writes: VecDeque<bool>,
}

impl Pipeline {
    /// A pipeline of at most `depth` requests, 1 to 2^16.
    pub(crate) fn new(depth: usize, epoch: Epoch) -> Pipeline {
        Pipeline {
            epoch,
            slots: vec![Slot { generation: 0, waiting: None, to_write: Vec::new(), key_bytes: 0 }; depth],
            free: (0..depth).rev().map(|at| at as u16).collect(),
            out: Vec::new(),
            out_sent: 0,
            floor: 1,
            writes: VecDeque::new(),
        }
    }

    /// Whether another request may be pushed.
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Requests without an answer.
    pub(crate) fn unanswered_count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Appends a request to what is to be sent; its latency counts from `since`. Does nothing when there is no
    /// room.
    pub(crate) fn push(&mut self, job: &Job<'_>, since: Instant) {
        let Some(at) = self.free.pop() else { return };
        let slot = &mut self.slots[usize::from(at)];
        let request_id = slot.request_id(at);
        let waiting = |op, seq| Some(Waiting { operation: job.operation, op, since, seq });
        match job.operation.kind {
            Kind::Read | Kind::ReadModifyWrite => {
                slot.waiting = waiting(Op::Get, 0);
                if job.operation.kind == Kind::ReadModifyWrite {
                    slot.to_write.clear();
                    slot.to_write.extend_from_slice(job.key.as_bytes());
                    slot.to_write.extend_from_slice(job.value);
                    slot.key_bytes = job.key.as_bytes().len();
                }
                Request::Get { key: job.key }.encode(request_id, self.epoch, &mut self.out);
            }
            Kind::Update | Kind::Insert => {
                let token = next_token(&mut self.writes, self.floor);
                slot.waiting = waiting(Op::Put, token.seq);
                put(job.key, job.value, token).encode(request_id, self.epoch, &mut self.out);
            }
            Kind::Scan { entries } => {
                slot.waiting = waiting(Op::Scan, 0);
                let partitions = PartitionList::from_wire(job.partitions);
                let scan = Scan { cursor: job.cursor, entries_max: entries, prefix: b"", partitions };
                Request::Scan(scan).encode(request_id, self.epoch, &mut self.out);
            }
        }
    }

    /// The bytes to send next.
    pub(crate) fn to_send(&self) -> &[u8] {
        &self.out[self.out_sent..]
    }

    /// So many bytes of [`Pipeline::to_send`] are sent.
    pub(crate) fn on_sent(&mut self, bytes: usize) {
        self.out_sent += bytes;
        if self.out_sent == self.out.len() {
            self.out.clear();
            self.out_sent = 0;
        }
    }

    /// Takes every whole answer from the front of `received`, and answers how many bytes that were.
    ///
    /// # Errors
    /// The node does not keep to the protocol; the connection is of no more use.
    pub(crate) fn on_received(
        &mut self,
        received: &[u8],
        now: Instant,
        mut on_answer: impl FnMut(Answer),
    ) -> Result<usize, Malformed> {
        let mut taken = 0;
        loop {
            match cut(&received[taken..], BODY_BYTES_MAX) {
                Cut::NeedMore { .. } => return Ok(taken),
                Cut::Refused { .. } => return Err(Malformed("length of a frame")),
                Cut::Frame { header, body, frame_bytes } => {
                    if let Some(answer) = self.on_frame(&header, body, now)? {
                        on_answer(answer);
                    }
                    taken += frame_bytes;
                }
            }
        }
    }

    /// The answer that a frame is; `None` when it is one half of an operation, whose other half is then to be
    /// sent.
    fn on_frame(&mut self, header: &Header, body: &[u8], now: Instant) -> Result<Option<Answer>, Malformed> {
        let id = header.request_id.0;
        let (at, generation) = (id as u16, (id >> 16) as u16);
        let slot = self.slots.get_mut(usize::from(at)).filter(|slot| slot.generation == generation);
        let slot = slot.ok_or(Malformed("id of a request that was not made"))?;
        let waiting = slot.waiting.take().ok_or(Malformed("second answer to a request"))?;
        slot.generation = slot.generation.wrapping_add(1);
        let outcome = match Response::decode(waiting.op, header, body)? {
            Response::Found { .. } => Outcome::Hit,
            Response::Page(page) if page.is_empty() => Outcome::Miss,
            Response::Page(_) => Outcome::Hit,
            Response::Version(_) => Outcome::Written,
            Response::Refused(refusal) if refusal.status() == Status::NotFound => Outcome::Miss,
            Response::Refused(refusal) => Outcome::Refused(refusal_text(&refusal)),
            _ => return Err(Malformed("answer of another operation")),
        };
        let has_read = waiting.op == Op::Get && matches!(outcome, Outcome::Hit | Outcome::Miss);
        if has_read && waiting.operation.kind == Kind::ReadModifyWrite {
            self.push_second_half(at, waiting);
            return Ok(None);
        }
        self.free.push(at);
        if waiting.op == Op::Put {
            self.on_write_answered(waiting.seq);
        }
        let latency = now.saturating_duration_since(waiting.since);
        Ok(Some(Answer { operation: waiting.operation, latency, outcome }))
    }

    fn push_second_half(&mut self, at: u16, waiting: Waiting) {
        let token = next_token(&mut self.writes, self.floor);
        let slot = &mut self.slots[usize::from(at)];
        slot.waiting = Some(Waiting { op: Op::Put, seq: token.seq, ..waiting });
        let (key, value) = slot.to_write.split_at(slot.key_bytes);
        let key = Key::new(key).expect("the bytes are those of a key: `push` was given it as one");
        put(key, value, token).encode(slot.request_id(at), self.epoch, &mut self.out);
    }

    fn on_write_answered(&mut self, seq: u64) {
        self.writes[(seq - self.floor) as usize] = true;
        while self.writes.front() == Some(&true) {
            self.writes.pop_front();
            self.floor += 1;
        }
    }
}

impl Slot {
    fn request_id(&self, at: u16) -> RequestId {
        RequestId(u32::from(self.generation) << 16 | u32::from(at))
    }
}

/// The name of the write after those in `writes`, the first of which is number `floor`.
fn next_token(writes: &mut VecDeque<bool>, floor: u64) -> WriteToken {
    let seq = floor + writes.len() as u64;
    writes.push_back(false);
    WriteToken { seq, floor, retry: false }
}

fn put<'a>(key: Key<'a>, value: &'a [u8], token: WriteToken) -> Request<'a> {
    Request::Put {
        key,
        value: ValueRef { value_type: ValueType::BYTES, bytes: value },
        condition: Condition::Always,
        token: Some(token),
    }
}

fn refusal_text(refusal: &Refusal<'_>) -> String {
    let status = refusal.status();
    match refusal {
        Refusal::Other(_, text) => format!("{}: {text}", status.name()),
        Refusal::ConditionFailed(_) | Refusal::NotOwner(_) => format!("{}: {}", status.name(), status.text()),
    }
}

#[cfg(test)]
mod tests {
    use dht_protocol::ids::Version;
    use dht_protocol::response::PageWriter;

    use super::*;

    const READ: Operation = Operation { key: 0, kind: Kind::Read, counted: true };
    const WRITE: Operation = Operation { key: 0, kind: Kind::Update, counted: true };

    /// Takes what the pipeline wants to send, and reads it as a server would: ids and requests.
    fn sent(pipeline: &mut Pipeline) -> Vec<(RequestId, Option<WriteToken>)> {
        let bytes = pipeline.to_send().to_vec();
        pipeline.on_sent(bytes.len());
        let mut rest = &bytes[..];
        let mut requests = vec![];
        while let Cut::Frame { header, body, frame_bytes } = cut(rest, BODY_BYTES_MAX) {
            assert_eq!(header.epoch, Epoch(3));
            requests.push(match Request::decode(&header, body).unwrap() {
                Request::Get { key } => {
                    assert_eq!(key.as_bytes(), b"k");
                    (header.request_id, None)
                }
                Request::Put { key, value, condition: Condition::Always, token } => {
                    assert_eq!((key.as_bytes(), value.bytes), (&b"k"[..], &b"v"[..]));
                    (header.request_id, token)
                }
                Request::Scan(scan) => {
                    assert_eq!((scan.cursor, scan.entries_max, scan.prefix), (Cursor::START, 5, &b""[..]));
                    assert_eq!(scan.partitions.iter().map(|id| id.0).collect::<Vec<_>>(), [7, 9]);
                    (header.request_id, None)
                }
                other => panic!("{other:?}"),
            });
            rest = &rest[frame_bytes..];
        }
        assert!(rest.is_empty());
        requests
    }

    fn push(pipeline: &mut Pipeline, operation: Operation, now: Instant) {
        let partitions = &[[0, 0, 0, 7], [0, 0, 0, 9]];
        let key = Key::new(b"k").unwrap();
        pipeline.push(&Job { operation, key, value: b"v", cursor: Cursor::START, partitions }, now);
    }

    fn answer(id: RequestId, response: &Response<'_>) -> Vec<u8> {
        let mut out = vec![];
        response.encode(id, Epoch(3), &mut out);
        out
    }

    fn received(
        pipeline: &mut Pipeline,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(usize, Vec<Answer>), Malformed> {
        let mut answers = vec![];
        let taken = pipeline.on_received(bytes, now, |answer| answers.push(answer))?;
        Ok((taken, answers))
    }

    #[test]
    fn a_scripted_conversation() {
        let start = Instant::now();
        let later = start + Duration::from_micros(250);
        let mut pipeline = Pipeline::new(3, Epoch(3));
        for operation in [READ, WRITE, Operation { counted: false, ..READ }] {
            push(&mut pipeline, operation, start);
        }
        assert!(!pipeline.has_room());
        assert_eq!(pipeline.unanswered_count(), 3);
        let requests = sent(&mut pipeline);
        assert_eq!(requests[1].1, Some(WriteToken { seq: 1, floor: 1, retry: false }));

        // Out of order, in two pieces that cut an answer in the middle.
        let value = ValueRef { value_type: ValueType::BYTES, bytes: b"v" };
        let mut bytes = answer(requests[2].0, &Response::Refused(Refusal::of(Status::NotFound)));
        bytes.extend(answer(requests[0].0, &Response::Found { version: Version(1), value }));
        bytes.extend(answer(requests[1].0, &Response::Version(Version(2))));
        let middle = bytes.len() - 5;
        let (taken, answers) = received(&mut pipeline, &bytes[..middle], later).unwrap();
        let latency = Duration::from_micros(250);
        assert_eq!(
            answers,
            [
                Answer { operation: Operation { counted: false, ..READ }, latency, outcome: Outcome::Miss },
                Answer { operation: READ, latency, outcome: Outcome::Hit }
            ]
        );
        let (_, answers) = received(&mut pipeline, &bytes[taken..], later).unwrap();
        assert_eq!(answers, [Answer { operation: WRITE, latency, outcome: Outcome::Written }]);
        assert_eq!(pipeline.unanswered_count(), 0);
    }

    #[test]
    fn a_read_modify_write_is_one_operation_of_two_requests() {
        let operation = Operation { key: 4, kind: Kind::ReadModifyWrite, counted: true };
        let start = Instant::now();
        let after = |micros| start + Duration::from_micros(micros);
        let mut pipeline = Pipeline::new(1, Epoch(3));
        push(&mut pipeline, operation, start);
        let get = sent(&mut pipeline)[0];
        assert_eq!(get.1, None);
        // That there is no such key changes nothing.
        let miss = answer(get.0, &Response::Refused(Refusal::of(Status::NotFound)));
        let (_, answers) = received(&mut pipeline, &miss, after(100)).unwrap();
        assert_eq!((answers, pipeline.has_room(), pipeline.unanswered_count()), (vec![], false, 1));
        let put = sent(&mut pipeline)[0];
        assert_eq!(put.1, Some(WriteToken { seq: 1, floor: 1, retry: false }));
        assert_ne!(put.0, get.0);
        let done = answer(put.0, &Response::Version(Version(1)));
        let (_, answers) = received(&mut pipeline, &done, after(300)).unwrap();
        let latency = Duration::from_micros(300);
        assert_eq!(answers, [Answer { operation, latency, outcome: Outcome::Written }]);
        assert_eq!(pipeline.unanswered_count(), 0);

        // A refusal of the first half ends it.
        push(&mut pipeline, operation, start);
        let busy = answer(sent(&mut pipeline)[0].0, &Response::Refused(Refusal::of(Status::Busy)));
        let (_, answers) = received(&mut pipeline, &busy, start).unwrap();
        assert!(matches!(answers[..], [Answer { outcome: Outcome::Refused(_), .. }]), "{answers:?}");
        assert!(pipeline.has_room() && pipeline.to_send().is_empty());
    }

    #[test]
    fn a_scan_asks_for_one_page() {
        let operation = Operation { key: 4, kind: Kind::Scan { entries: 5 }, counted: true };
        let mut pipeline = Pipeline::new(1, Epoch(3));
        push(&mut pipeline, operation, Instant::now());
        let id = sent(&mut pipeline)[0].0;
        let mut bytes = vec![];
        PageWriter::begin(id, Epoch(3), &mut bytes).finish(2, Cursor::END, &mut bytes);
        let (_, answers) = received(&mut pipeline, &bytes, Instant::now()).unwrap();
        assert_eq!(answers[0].outcome, Outcome::Miss, "an empty page");
    }

    #[test]
    fn the_floor_is_the_lowest_unanswered_write() {
        let now = Instant::now();
        let mut pipeline = Pipeline::new(4, Epoch(3));
        (0..3).for_each(|_| push(&mut pipeline, WRITE, now));
        let requests = sent(&mut pipeline);
        let done = |at: usize| answer(requests[at].0, &Response::Version(Version(1)));
        let mut floor_after = |bytes: Vec<u8>| {
            received(&mut pipeline, &bytes, now).unwrap();
            push(&mut pipeline, WRITE, now);
            let token = sent(&mut pipeline)[0].1.unwrap();
            (token.seq, token.floor)
        };
        assert_eq!(floor_after(done(1)), (4, 1));
        assert_eq!(floor_after(done(0)), (5, 3));
    }

    #[test]
    fn refusals_say_why() {
        let mut pipeline = Pipeline::new(1, Epoch(3));
        push(&mut pipeline, WRITE, Instant::now());
        let id = sent(&mut pipeline)[0].0;
        let bytes = answer(id, &Response::Refused(Refusal::of(Status::OutOfMemory)));
        let (_, answers) = received(&mut pipeline, &bytes, Instant::now()).unwrap();
        assert_eq!(
            answers[0].outcome,
            Outcome::Refused("OUT_OF_MEMORY: the memory limit is reached".to_owned())
        );
    }

    #[test]
    fn an_answer_that_nobody_waits_for_breaks_the_connection() {
        let mut pipeline = Pipeline::new(2, Epoch(3));
        push(&mut pipeline, READ, Instant::now());
        let id = sent(&mut pipeline)[0].0;
        let miss = |id| answer(id, &Response::Refused(Refusal::of(Status::NotFound)));
        assert!(received(&mut pipeline, &miss(RequestId(id.0 + 1)), Instant::now()).is_err());
        assert!(received(&mut pipeline, &miss(RequestId(id.0 + 7)), Instant::now()).is_err());
        assert!(received(&mut pipeline, &miss(RequestId(id.0 | 1 << 16)), Instant::now()).is_err());
        assert!(received(&mut pipeline, &miss(id), Instant::now()).is_ok());
        assert!(received(&mut pipeline, &miss(id), Instant::now()).is_err(), "a second time");
        assert!(received(&mut pipeline, &[0, 0, 0, 1], Instant::now()).is_err(), "no frame");
    }
}
