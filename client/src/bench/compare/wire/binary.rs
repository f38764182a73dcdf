//! Our protocol. An `MGET` is what a client of ours makes of it: a `GET` for each key, in one go.
//!
//! A connection is a client of its own and names its writes, as every client of ours does: numbered from 1, and the
//! floor is the lowest number that may be unanswered.

use dht_protocol::frame::{Cut, cut};
use dht_protocol::ids::{Epoch, RequestId};
use dht_protocol::limits::BODY_BYTES_MAX;
use dht_protocol::op::Op as Opcode;
use dht_protocol::request::{Condition, Key, Request, WriteToken};
use dht_protocol::response::{Refusal, Response};
use dht_protocol::status::Status;
use dht_protocol::value::{ValueRef, ValueType};

use super::any::{Expected, Op, Taken};

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Binary {
    epoch: Epoch,
    /// Id of the next request.
    next_id: u32,
    /// Requests without an answer.
    open_count: u32,
    /// All ids without an answer, by exclusive or: 0 when there is none.
    open_ids: u32,
    /// Number of the next write.
    seq: u64,
    /// Every write below this number is answered.
    floor: u64,
}

impl Binary {
    pub(crate) fn new(epoch: Epoch) -> Binary {
        Binary { epoch, next_id: 0, open_count: 0, open_ids: 0, seq: 1, floor: 1 }
    }

    pub(crate) fn get(&mut self, keys: &[u8], key_bytes: usize, out: &mut Vec<u8>) -> u32 {
        let first = self.next_id;
        for key in keys.chunks_exact(key_bytes) {
            let request_id = self.take_id();
            Request::Get { key: as_key(key) }.encode(request_id, self.epoch, out);
        }
        first
    }

    pub(crate) fn set(&mut self, key: &[u8], value: &[u8], out: &mut Vec<u8>) -> u32 {
        if self.open_count == 0 {
            self.floor = self.seq;
        }
        let token = WriteToken { seq: self.seq, floor: self.floor, retry: false };
        self.seq += 1;
        let request_id = self.take_id();
        let value = ValueRef { value_type: ValueType::BYTES, bytes: value };
        let put = Request::Put { key: as_key(key), value, condition: Condition::Always, token: Some(token) };
        put.encode(request_id, self.epoch, out);
        request_id.0
    }

    fn take_id(&mut self) -> RequestId {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.open_count += 1;
        self.open_ids ^= id;
        RequestId(id)
    }

    pub(crate) fn take(
        &mut self,
        received: &[u8],
        expected: &Expected,
        mut on_key: impl FnMut(u32),
    ) -> Result<Taken, String> {
        let mut taken = Taken::default();
        loop {
            let (header, body, frame_bytes) = match cut(&received[taken.bytes..], BODY_BYTES_MAX) {
                Cut::NeedMore { .. } => return Ok(taken),
                Cut::Refused { .. } => return Err("answers what is no frame".to_owned()),
                Cut::Frame { header, body, frame_bytes } => (header, body, frame_bytes),
            };
            let id = header.request_id.0;
            self.on_answered(id)?;
            let opcode = if expected.op == Op::Set { Opcode::Put } else { Opcode::Get };
            match Response::decode(opcode, &header, body).map_err(|error| error.to_string())? {
                Response::Found { value, .. } => expected.check_value(value.bytes.len())?,
                Response::Version(_) if expected.op == Op::Set => {}
                Response::Refused(refusal) if refusal.status() == Status::NotFound => taken.misses += 1,
                Response::Refused(refusal) => return Err(format!("refuses: {}", refusal_text(&refusal))),
                _ => return Err("answers another question".to_owned()),
            }
            on_key(id);
            taken.keys += 1;
            taken.bytes += frame_bytes;
        }
    }

    /// Holds an answer's id against what was asked.
    fn on_answered(&mut self, id: u32) -> Result<(), String> {
        let age = self.next_id.wrapping_sub(id);
        let not_asked = || Err(format!("answers request {id}, which was not asked or has its answer"));
        // Answers may overtake each other. That one came twice is told once all have come.
        if age == 0 || age > u32::MAX / 2 || self.open_count == 0 {
            return not_asked();
        }
        self.open_count -= 1;
        self.open_ids ^= id;
        if self.open_count == 0 && self.open_ids != 0 { not_asked() } else { Ok(()) }
    }
}

fn as_key(bytes: &[u8]) -> Key<'_> {
    Key::new(bytes).expect("keys are 1 to 250 digits and letters")
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

    use super::super::any::testing::{cut_everywhere, expected};
    use super::super::any::{Protocol, Wire};
    use super::*;

    fn found(id: u32, value: &[u8], out: &mut Vec<u8>) {
        let value = ValueRef { value_type: ValueType::BYTES, bytes: value };
        Response::Found { version: Version(1), value }.encode(RequestId(id), Epoch(1), out);
    }

    fn missing(id: u32, out: &mut Vec<u8>) {
        Response::Refused(Refusal::Other(Status::NotFound, "".into())).encode(RequestId(id), Epoch(1), out);
    }

    fn asked(keys: &[u8]) -> Wire {
        let mut wire = Wire::new(Protocol::Binary, Epoch(1));
        wire.get(keys, 1, &mut vec![]);
        wire
    }

    #[test]
    fn requests_are_frames_of_the_protocol() {
        let (mut wire, mut out) = (Binary::new(Epoch(7)), vec![]);
        assert_eq!(wire.get(b"aabb", 2, &mut out), 0);
        assert_eq!(wire.set(b"k", b"value", &mut out), 2);
        let mut seen = vec![];
        while let Cut::Frame { header, body, frame_bytes } = cut(&out.clone(), 100) {
            assert_eq!(header.epoch, Epoch(7));
            seen.push((header.request_id.0, format!("{:?}", Request::decode(&header, body).unwrap())));
            out.drain(..frame_bytes);
        }
        assert!(out.is_empty());
        assert_eq!(seen.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(seen[0].1.starts_with("Get") && seen[2].1.contains("seq: 1, floor: 1"), "{seen:?}");
    }

    #[test]
    fn answers_are_read_however_they_are_cut_and_in_any_order() {
        let mut reply = vec![];
        found(2, b"abc", &mut reply);
        missing(0, &mut reply);
        found(1, b"abc", &mut reply);
        let outcome = cut_everywhere(|| asked(b"123"), &expected(Op::Mget, 3), &reply);
        assert_eq!(outcome, (3, 1, vec![2, 0, 1]));
    }

    #[test]
    fn the_floor_follows_the_answers() {
        let (mut wire, mut out) = (Binary::new(Epoch(1)), vec![]);
        wire.set(b"a", b"1", &mut out);
        wire.set(b"a", b"1", &mut out);
        assert_eq!((wire.seq, wire.floor), (3, 1));
        let mut reply = vec![];
        for id in [0, 1] {
            Response::Version(Version(5)).encode(RequestId(id), Epoch(1), &mut reply);
        }
        let taken = wire.take(&reply, &expected(Op::Set, 1), |_| {}).unwrap();
        assert_eq!((taken.keys, taken.misses), (2, 0));
        wire.set(b"a", b"1", &mut out);
        assert_eq!((wire.seq, wire.floor), (4, 3));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let error = |reply: &[u8]| asked(b"12").take(reply, &expected(Op::Get, 1), |_| {}).unwrap_err();
        let mut reply = vec![];
        found(0, b"four", &mut reply);
        assert!(error(&reply).contains("4 bytes where 3"), "{}", error(&reply));
        let mut twice = vec![];
        found(1, b"abc", &mut twice);
        found(1, b"abc", &mut twice);
        assert!(error(&twice).contains("has its answer"), "{}", error(&twice));
        let mut refused = vec![];
        Response::Refused(Refusal::Other(Status::Busy, "later".into())).encode(
            RequestId(0),
            Epoch(1),
            &mut refused,
        );
        assert!(error(&refused).contains("BUSY: later"), "{}", error(&refused));
        assert!(error(&[0; 16]).contains("no frame"));
        let mut unasked = vec![];
        found(2, b"abc", &mut unasked);
        assert!(error(&unasked).contains("not asked"), "{}", error(&unasked));
    }
}
