//! One answer against what the model expects.

use dht_protocol::header::{Header, PROTOCOL_VERSION};
use dht_protocol::ids::{ClientId, ClusterId};
use dht_protocol::limits::{BODY_BYTES_MAX, VALUE_BYTES_MAX, WRITE_SPAN_MAX};
use dht_protocol::op::Op;
use dht_protocol::request::{Hello, Key, Request, Scan, WriteToken};
use dht_protocol::response::{HelloAnswer, Refusal, Response};
use dht_protocol::status::Status;
use dht_protocol::value::ValueRef;

use super::model::{Change, Greeting, Model, change_of};
use super::pages::check_page;
use super::writers::{Admission, Outcome};

/// A request as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) header: Header,
    pub(super) body: Vec<u8>,
}

/// An answer as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came<'a> {
    pub(super) header: Header,
    pub(super) body: &'a [u8],
}

/// Memory at the time of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes under the limit before its first request, less what its writes may have taken since.
    pub(super) left_bytes: u64,
}

/// What any write may take besides its key and value, bytes: a segment, two leaves, outcomes.
const WRITE_BYTES: u64 = 128 << 10;

impl Sent {
    /// The operation; what is no request of any is refused, which reads the same whatever was asked.
    pub(super) fn op(&self) -> Op {
        Op::from_number(self.header.code).unwrap_or(Op::Ping)
    }
}

impl Room {
    /// Whether a write of so many bytes may be refused memory, and takes it out of the room.
    fn is_short_of(&mut self, bytes: usize) -> bool {
        let needed = bytes as u64 + WRITE_BYTES;
        let short = self.left_bytes < needed;
        self.left_bytes = self.left_bytes.saturating_sub(needed);
        short
    }
}

impl Model {
    /// Holds one answer against the model and lets the request take its effect there.
    pub(super) fn check_answer(
        &mut self,
        greeting: &mut Greeting,
        sent: &Sent,
        came: Came<'_>,
        room: &mut Room,
    ) -> Result<(), String> {
        let expected = Header {
            version: PROTOCOL_VERSION,
            code: came.header.code,
            flags: 0,
            request_id: sent.header.request_id,
            epoch: self.map.epoch(),
        };
        if came.header != expected {
            return Err(format!("answered under {:?} where {expected:?} is expected", came.header));
        }
        let response =
            Response::decode(sent.op(), &came.header, came.body).map_err(|error| error.to_string())?;
        let request = match Request::decode(&sent.header, &sent.body) {
            Ok(request) => request,
            Err(error) => return expect_refusal(&response, error.status),
        };
        self.check_response(greeting, sent, &request, &response, room)
    }

    fn check_response(
        &mut self,
        greeting: &mut Greeting,
        sent: &Sent,
        request: &Request<'_>,
        response: &Response<'_>,
        room: &mut Room,
    ) -> Result<(), String> {
        let is_current = sent.header.epoch >= self.map.epoch();
        match request {
            Request::Hello(hello) => return self.check_hello(greeting, hello, response),
            Request::Ping => return expect(response, &Response::Pong),
            Request::PeerHello(_) => return self.check_peer_hello(response),
            _ if !greeting.greeted => return expect_refusal(response, Status::HelloRequired),
            Request::Map => return expect(response, &Response::Map(Box::new((*self.map).clone()))),
            Request::Stats => return self.check_stats(response),
            Request::Scan(scan) => return self.check_scan(scan, is_current, response),
            Request::Get { .. }
            | Request::Exists { .. }
            | Request::Put { .. }
            | Request::Delete { .. }
            | Request::Add { .. }
            | Request::Append { .. } => {}
        }
        let (Request::Get { key }
        | Request::Exists { key }
        | Request::Put { key, .. }
        | Request::Delete { key, .. }
        | Request::Add { key, .. }
        | Request::Append { key, .. }) = *request
        else {
            return Err("the model has no answer to this".into());
        };
        let partition = self.partition_of(key.as_bytes());
        if !is_current || !self.serves(partition) {
            return self.expect_not_owner(partition.0, response);
        }
        match change_of(request) {
            Some((key, change, token)) => self.check_write(*greeting, key, change, token, response, room),
            None => self.check_read(key, request.op(), response),
        }
    }

    fn expect_not_owner(&self, partition: u32, response: &Response<'_>) -> Result<(), String> {
        match response {
            Response::Refused(Refusal::NotOwner(not_owner))
                if not_owner.partition.0 == partition
                    && self.map.partition(not_owner.partition) == Some(not_owner.config) =>
            {
                Ok(())
            }
            other => Err(format!("{other:?} where partition {partition} belongs to another node")),
        }
    }

    fn check_hello(
        &mut self,
        greeting: &mut Greeting,
        hello: &Hello,
        response: &Response<'_>,
    ) -> Result<(), String> {
        if greeting.greeted {
            return expect_refusal(response, Status::Malformed);
        }
        if !(hello.version_min..=hello.version_max).contains(&PROTOCOL_VERSION) {
            return expect_refusal(response, Status::UnknownVersion);
        }
        if hello.cluster_id != ClusterId(0) && hello.cluster_id != self.map.cluster_id() {
            return expect_refusal(response, Status::WrongCluster);
        }
        greeting.greeted = true;
        if hello.client_id != ClientId(0) {
            greeting.client = Some(hello.client_id);
            self.writers.connected(hello.client_id);
        }
        let answer = HelloAnswer {
            version: PROTOCOL_VERSION,
            features: 0,
            cluster_id: self.map.cluster_id(),
            incarnation: self.identity.incarnation,
            node: self.identity.node,
            value_bytes_max: VALUE_BYTES_MAX as u32,
            body_bytes_max: BODY_BYTES_MAX as u32,
            write_span_max: WRITE_SPAN_MAX as u32,
        };
        expect(response, &Response::Hello(answer))
    }

    fn check_peer_hello(&self, response: &Response<'_>) -> Result<(), String> {
        match response {
            Response::PeerHello(hello)
                if hello.cluster_id == self.map.cluster_id()
                    && hello.node == self.identity.node
                    && hello.incarnation == self.identity.incarnation =>
            {
                Ok(())
            }
            other => Err(format!("{other:?} where the node says who it is")),
        }
    }

    fn check_stats(&self, response: &Response<'_>) -> Result<(), String> {
        let Response::Stats(stats) = response else { return Err(format!("{response:?} to STATS")) };
        let keys = self.entries.keys().map(Vec::len).sum::<usize>();
        let values = self.entries.values().map(|entry| entry.bytes.len()).sum::<usize>();
        for (name, expected) in
            [("entries", self.entries.len()), ("key_bytes", keys), ("value_bytes", values)]
        {
            let found: Vec<u64> =
                stats.iter().filter(|(stat, _)| stat == name).map(|(_, number)| *number).collect();
            if found != [expected as u64] {
                return Err(format!("{name} is {found:?}, the model has {expected}"));
            }
        }
        Ok(())
    }

    fn check_scan(&self, scan: &Scan<'_>, is_current: bool, response: &Response<'_>) -> Result<(), String> {
        let unknown = scan.partitions.iter().any(|partition| self.primary_of(partition).is_none());
        let first = scan.partitions.iter().next().ok_or("a scan of nothing was accepted")?;
        let first_is_ours = is_current && self.serves(first);
        match response {
            Response::Page(page) if !unknown && first_is_ours => check_page(self, scan, page),
            Response::Refused(Refusal::NotOwner(_)) if self.primary_of(first).is_some() && !first_is_ours => {
                self.expect_not_owner(first.0, response)
            }
            Response::Refused(_) if unknown => expect_refusal(response, Status::Malformed),
            other => Err(format!("{other:?} to {scan:?}")),
        }
    }

    fn check_read(&self, key: Key<'_>, op: Op, response: &Response<'_>) -> Result<(), String> {
        match (self.entries.get(key.as_bytes()), op) {
            (None, _) => expect_refusal(response, Status::NotFound),
            (Some(entry), Op::Get) => {
                let value = ValueRef { value_type: entry.value_type, bytes: &entry.bytes };
                expect(response, &Response::Found { version: entry.version, value })
            }
            (Some(entry), _) => expect(response, &Response::Version(entry.version)),
        }
    }

    fn check_write(
        &mut self,
        greeting: Greeting,
        key: Key<'_>,
        change: Change<'_>,
        token: Option<WriteToken>,
        response: &Response<'_>,
        room: &mut Room,
    ) -> Result<(), String> {
        let key = key.as_bytes();
        let (writer, admissions) = match (greeting.client, token) {
            (None, Some(_)) => return expect_refusal(response, Status::Malformed),
            (_, None) => (None, vec![Admission::New]),
            (Some(_), Some(token)) if token.seq - token.floor >= WRITE_SPAN_MAX => {
                return expect_refusal(response, Status::SpanTooWide);
            }
            (Some(id), Some(token)) => {
                let partition = self.partition_of(key);
                (Some((id, partition, token)), self.writers.admissions(id, partition, token))
            }
        };
        let evaluated = self.evaluate(key, change);
        let is_short = self.is_short(key, change, room);
        for admission in &admissions {
            let outcome = match *admission {
                Admission::Unknown if response.status() == Status::OutcomeUnknown => return Ok(()),
                Admission::Unknown => continue,
                Admission::Replay(outcome) if is_said_by(response, change, outcome) => return Ok(()),
                Admission::Replay(_) => continue,
                Admission::New if is_said_by(response, change, evaluated.0) => {
                    let outcome = evaluated.0;
                    self.apply(key, evaluated);
                    outcome
                }
                Admission::New if is_short && response.status() == Status::OutOfMemory => {
                    Outcome { status: Status::OutOfMemory, version: evaluated.0.version, number: 0 }
                }
                Admission::New => continue,
            };
            if let Some((id, partition, token)) = writer {
                self.writers.record(id, partition, token, outcome);
            }
            return Ok(());
        }
        let shown = &key[..key.len().min(40)];
        Err(format!(
            "{} to a write of {shown:?} under {token:?}; {admissions:?} and then {:?} is expected",
            Shown(response),
            evaluated.0
        ))
    }

    /// Whether memory may be refused to a write. Never to a delete.
    fn is_short(&self, key: &[u8], change: Change<'_>, room: &mut Room) -> bool {
        let bytes = match change {
            Change::Put(value, _) => value.bytes.len(),
            Change::Delete(_) => return false,
            Change::Add(_) => 0,
            Change::Append(suffix) => {
                suffix.bytes.len() + self.entries.get(key).map_or(0, |entry| entry.bytes.len())
            }
        };
        room.is_short_of(key.len() + bytes)
    }
}

/// A response in a few words.
struct Shown<'a>(&'a Response<'a>);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Response::Found { version, value } => {
                write!(f, "version {version}, {} bytes of {}", value.bytes.len(), value.value_type)
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// Whether a response says that a write came to this.
fn is_said_by(response: &Response<'_>, change: Change<'_>, outcome: Outcome) -> bool {
    match (change, response) {
        (_, Response::Refused(Refusal::ConditionFailed(version))) => {
            outcome.status == Status::ConditionFailed && outcome.version == *version
        }
        (_, Response::Refused(refusal)) => refusal.status() == outcome.status,
        (Change::Put(..) | Change::Delete(_), Response::Version(version)) => {
            outcome.status == Status::Ok && outcome.version == *version
        }
        (Change::Add(_), Response::Counted { version, value }) => {
            outcome.status == Status::Ok && (outcome.version, outcome.number) == (*version, *value)
        }
        (Change::Append(_), Response::Appended { version, value_bytes }) => {
            outcome.status == Status::Ok
                && (outcome.version, outcome.number as u32) == (*version, *value_bytes)
        }
        _ => false,
    }
}

fn expect(response: &Response<'_>, expected: &Response<'_>) -> Result<(), String> {
    if response == expected {
        Ok(())
    } else {
        Err(format!("{} where {} is expected", Shown(response), Shown(expected)))
    }
}

fn expect_refusal(response: &Response<'_>, status: Status) -> Result<(), String> {
    match response {
        Response::Refused(Refusal::Other(refused, _)) if *refused == status => Ok(()),
        other => Err(format!("{} where {} is expected", Shown(other), status.name())),
    }
}
