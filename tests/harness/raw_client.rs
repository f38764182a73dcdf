//! A client that speaks frames and nothing more: it does what a test says, right or wrong, and shows what came
//! back. Every read and write has a time-out, so that a daemon that does not answer fails the test.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use dht_protocol::frame::{Cut, cut};
use dht_protocol::header::Header;
use dht_protocol::ids::{ClientId, ClusterId, Epoch, RequestId};
use dht_protocol::limits::BODY_BYTES_MAX;
use dht_protocol::op::Op;
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::request::{Hello, Request};
use dht_protocol::response::{HelloAnswer, Refusal, Response};
use dht_protocol::status::Status;
use dht_protocol::value::ValueType;

use crate::wait::PATIENCE;

/// Bytes taken from the socket at a time.
const READ_BYTES: usize = 256 << 10;

/// One connection.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    /// Read, and not yet cut into frames.
    received: Vec<u8>,
    /// Frames cut off and not yet taken.
    answers: VecDeque<Answer>,
    next_id: u32,
    /// The epoch under which requests go out: that of the map, once there is one.
    pub epoch: Epoch,
}

/// One frame from a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its header.
    pub header: Header,
    /// Its body.
    pub body: Vec<u8>,
}

impl RawClient {
    /// Connects and says nothing.
    ///
    /// # Panics
    /// When nobody listens there.
    #[must_use]
    #[track_caller]
    pub fn connect(address: &str) -> RawClient {
        let stream = match TcpStream::connect(address) {
            Ok(stream) => stream,
            Err(error) => panic!("cannot connect to {address}: {error}"),
        };
        let set = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        set.expect("a socket takes its options");
        RawClient {
            stream,
            received: Vec::new(),
            answers: VecDeque::new(),
            next_id: 1,
            epoch: Epoch::default(),
        }
    }

    /// Connects, greets as client `client_id` (0: anonymous), and takes the epoch of the map.
    ///
    /// # Panics
    /// When the daemon refuses.
    #[must_use]
    #[track_caller]
    pub fn greeted(address: &str, client_id: u128) -> RawClient {
        let mut client = RawClient::connect(address);
        let _ = client.hello(client_id);
        let _ = client.map();
        client
    }

    /// The address by which the daemon knows this connection.
    ///
    /// # Panics
    /// When the system does not tell.
    #[must_use]
    pub fn local_address(&self) -> String {
        self.stream.local_addr().expect("a connected socket has an address").to_string()
    }

    /// Says `HELLO`.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn hello(&mut self, client_id: u128) -> HelloAnswer {
        let answer = self.call(&hello_request(client_id, 0));
        match answer.decode(Op::Hello) {
            Response::Hello(hello) => hello,
            other => panic!("HELLO was answered {other:?}"),
        }
    }

    /// Fetches the map, and sends later requests under its epoch.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn map(&mut self) -> ClusterMap {
        let answer = self.call(&Request::Map);
        match answer.decode(Op::Map) {
            Response::Map(map) => {
                self.epoch = map.epoch();
                *map
            }
            other => panic!("MAP was answered {other:?}"),
        }
    }

    /// The counter of that name.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn stat(&mut self, name: &str) -> u64 {
        let answer = self.call(&Request::Stats);
        let Response::Stats(stats) = answer.decode(Op::Stats) else { panic!("{answer:?}") };
        match stats.iter().find(|(known, _)| known == name) {
            Some((_, number)) => *number,
            None => panic!("no counter {name} in {stats:?}"),
        }
    }

    /// Sends one request and waits for its answer.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn call(&mut self, request: &Request<'_>) -> Answer {
        let id = self.send(request);
        let answer = self.answer();
        assert_eq!(answer.header.request_id, id, "an answer to something else: {answer:?}");
        answer
    }

    /// Sends one request; says under which id.
    ///
    /// # Panics
    /// When the daemon does not read.
    #[track_caller]
    pub fn send(&mut self, request: &Request<'_>) -> RequestId {
        let (bytes, ids) = self.encode([*request]);
        self.write(&bytes);
        ids[0]
    }

    /// The frames of `requests` under fresh ids, not yet sent.
    pub fn encode<'a>(
        &mut self,
        requests: impl IntoIterator<Item = Request<'a>>,
    ) -> (Vec<u8>, Vec<RequestId>) {
        let (mut bytes, mut ids) = (Vec::new(), Vec::new());
        for request in requests {
            let id = RequestId(self.next_id);
            self.next_id += 1;
            request.encode(id, self.epoch, &mut bytes);
            ids.push(id);
        }
        (bytes, ids)
    }

    /// Sends all `requests` in one write while it reads the answers, and gives these in the order of the requests.
    ///
    /// # Panics
    /// When an answer does not come, comes twice, or is to none of them.
    #[must_use]
    #[track_caller]
    pub fn pipeline<'a>(&mut self, requests: impl IntoIterator<Item = Request<'a>>) -> Vec<Answer> {
        let (bytes, ids) = self.encode(requests);
        let writer = self.write_aside(bytes);
        let answers = self.answers_to(&ids);
        writer.join().expect("the writer ends when all has been read");
        answers
    }

    /// Writes `bytes` from a thread of its own, so that this one can read meanwhile.
    ///
    /// # Panics
    /// In that thread, when the daemon does not read.
    #[must_use]
    pub fn write_aside(&self, bytes: Vec<u8>) -> thread::JoinHandle<()> {
        let mut stream = self.stream.try_clone().expect("a socket can be shared");
        thread::spawn(move || {
            if let Err(error) = stream.write_all(&bytes) {
                panic!("cannot write {} bytes: {error}", bytes.len());
            }
        })
    }

    /// Writes bytes as they are.
    ///
    /// # Panics
    /// When the daemon does not read.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            panic!("cannot write {} bytes: {error}", bytes.len());
        }
    }

    /// Writes bytes as they are, to a daemon that may have gone.
    ///
    /// # Errors
    /// What the system says.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be sent.
    ///
    /// # Panics
    /// When the connection is gone already.
    #[track_caller]
    pub fn finish_writing(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is still there");
    }

    /// The next frame.
    ///
    /// # Panics
    /// When the connection ends, nothing comes in time, or what comes is no frame.
    #[must_use]
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        match self.answer_or_end() {
            Some(answer) => answer,
            None => panic!("the daemon closed the connection instead of answering"),
        }
    }

    /// The next frame; `None` when the daemon has closed the connection.
    ///
    /// # Panics
    /// When nothing comes in time, or what comes is no whole frame.
    #[track_caller]
    pub fn answer_or_end(&mut self) -> Option<Answer> {
        self.try_answer().unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// The next frame; `None` when the daemon has closed the connection.
    ///
    /// # Errors
    /// When nothing comes in time, or the connection is reset.
    ///
    /// # Panics
    /// When what comes is no whole frame.
    #[track_caller]
    pub fn try_answer(&mut self) -> io::Result<Option<Answer>> {
        while self.answers.is_empty() {
            let mut chunk = vec![0; READ_BYTES];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    assert!(self.received.is_empty(), "the stream ends within a frame: {:?}", self.received);
                    return Ok(None);
                }
                Ok(count) => self.take_in(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.answers.pop_front())
    }

    /// The answers to `ids`, in that order, whatever order they come in.
    ///
    /// # Panics
    /// When one does not come, comes twice, or is to none of them.
    #[must_use]
    #[track_caller]
    pub fn answers_to(&mut self, ids: &[RequestId]) -> Vec<Answer> {
        let mut by_id = BTreeMap::new();
        for _ in ids {
            let answer = self.answer();
            let id = answer.header.request_id;
            assert!(by_id.insert(id, answer).is_none(), "two answers to {id:?}");
        }
        let take = |id| by_id.remove(id).unwrap_or_else(|| panic!("no answer to {id:?}"));
        ids.iter().map(take).collect()
    }

    /// Waits until the daemon closes the connection.
    ///
    /// # Panics
    /// When it does not, or sends something more.
    #[track_caller]
    pub fn wait_for_end(&mut self) {
        if let Some(answer) = self.answer_or_end() {
            panic!("the daemon goes on: {answer:?}");
        }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        let mut used = 0;
        loop {
            match cut(&self.received[used..], BODY_BYTES_MAX) {
                Cut::Frame { header, body, frame_bytes } => {
                    self.answers.push_back(Answer { header, body: body.to_vec() });
                    used += frame_bytes;
                }
                Cut::NeedMore { .. } => break,
                Cut::Refused { error, .. } => panic!("the daemon sent no frame: {error:?}"),
            }
        }
        self.received.drain(..used);
    }
}

/// `HELLO` of a client that speaks version 1 and was told to find cluster `cluster_id` (0: any).
#[must_use]
pub fn hello_request(client_id: u128, cluster_id: u128) -> Request<'static> {
    Request::Hello(Hello {
        version_min: 1,
        version_max: 1,
        features: 0,
        client_id: ClientId(client_id),
        cluster_id: ClusterId(cluster_id),
    })
}

impl Answer {
    /// Its status.
    ///
    /// # Panics
    /// When there is none of that number.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> Status {
        Status::from_number(self.header.code).unwrap_or_else(|| panic!("no such status: {:?}", self.header))
    }

    /// The answer as one to `op`.
    ///
    /// # Panics
    /// When it does not follow PROTOCOL.md.
    #[must_use]
    #[track_caller]
    pub fn decode(&self, op: Op) -> Response<'_> {
        match Response::decode(op, &self.header, &self.body) {
            Ok(response) => response,
            Err(error) => panic!("{error} in {:?}", self.header),
        }
    }

    /// The version that `PUT`, `DELETE` or `EXISTS` was answered with.
    ///
    /// # Panics
    /// When it was refused.
    #[must_use]
    #[track_caller]
    pub fn version(&self) -> u64 {
        match self.decode(Op::Put) {
            Response::Version(version) => version.0,
            other => panic!("expected a version: {other:?}"),
        }
    }

    /// Version, type and bytes that `GET` was answered with.
    ///
    /// # Panics
    /// When it was refused.
    #[must_use]
    #[track_caller]
    pub fn found(&self) -> (u64, ValueType, &[u8]) {
        match self.decode(Op::Get) {
            Response::Found { version, value } => (version.0, value.value_type, value.bytes),
            other => panic!("expected a value: {other:?}"),
        }
    }

    /// Version and counter that `ADD` was answered with.
    ///
    /// # Panics
    /// When it was refused.
    #[must_use]
    #[track_caller]
    pub fn counted(&self) -> (u64, i64) {
        match self.decode(Op::Add) {
            Response::Counted { version, value } => (version.0, value),
            other => panic!("expected a counter: {other:?}"),
        }
    }

    /// Version and length that `APPEND` was answered with.
    ///
    /// # Panics
    /// When it was refused.
    #[must_use]
    #[track_caller]
    pub fn appended(&self) -> (u64, u32) {
        match self.decode(Op::Append) {
            Response::Appended { version, value_bytes } => (version.0, value_bytes),
            other => panic!("expected a length: {other:?}"),
        }
    }

    /// The entry's version in a `CONDITION_FAILED`.
    ///
    /// # Panics
    /// When it is another answer.
    #[must_use]
    #[track_caller]
    pub fn failed_condition(&self) -> u64 {
        match self.decode(Op::Put) {
            Response::Refused(Refusal::ConditionFailed(version)) => version.0,
            other => panic!("expected CONDITION_FAILED: {other:?}"),
        }
    }
}
