//! One worker's link to one other node: requests of the binary protocol go out one behind the other, and each answer
//! finds the connection that waits for it. Opened when it is first needed, on the worker's own poll; nothing in here
//! waits.
//!
//! 1. Whatever becomes of the link, each request ends exactly once: with its response, as *not done* (it was never
//!    handed to the system, or it only reads), or as *unknown*. None is sent again.
//! 2. A link that connects, or a request that is under way, has a time by which it ends (`due`).

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dht_protocol::frame::{Cut, cut};
use dht_protocol::header::Header;
use dht_protocol::ids::{ClientId, ClusterId, Epoch, RequestId};
use dht_protocol::limits::BODY_BYTES_MAX;
use dht_protocol::op::Op;
use dht_protocol::request::{Hello, Request};
use dht_protocol::response::Response;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::door::Door;
use super::inbox::Inbox;
use super::keep_alive;
use crate::dispatch::Output;
use crate::limits::{
    IDLE_BUFFER_BYTES_MAX, OUTPUT_BYTES_MAX, PEER_ANSWER_TIMEOUT_MS, PEER_CONNECT_TIMEOUT_MS,
    PEER_REQUESTS_MAX, PEER_RETRY_MS, READ_TURN_BYTES_MAX, WRITE_PIECES_MAX,
};
use crate::memory::{Charge, MemoryAccount, MemoryKind};
use crate::resp::{Answer, SlotId};

/// Who is told of an answer: the connection's token, its slot, and the answer.
pub(super) type Deliver<'d> = dyn FnMut(Token, SlotId, &Answer<'_>) + 'd;

/// What every link of a worker needs to know.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) memory: Arc<MemoryAccount>,
    pub(super) epoch: Epoch,
    pub(super) cluster_id: ClusterId,
}

/// The link to one node.
#[derive(Debug)]
pub(super) struct PeerLink {
    state: State,
    stream: Option<TcpStream>,
    inbox: Inbox,
    output: Output,
    /// Covers the buffers of `output`.
    output_charge: Charge,
    /// Bytes put into `output` since the link was opened, and how many of them the system has taken.
    queued_bytes: u64,
    written_bytes: u64,
    /// Oldest first. Numbered without gaps from `first_id`.
    under_way: VecDeque<UnderWay>,
    first_id: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not opened; after a failure not before that time.
    Down(Option<Instant>),
    /// Its address is being looked up, or the system connects it; until then.
    Connecting(Instant),
    Up,
}

/// A request.
#[derive(Debug)]
struct UnderWay {
    /// `None`: the greeting, which is the link's own.
    asker: Option<(Token, SlotId)>,
    op: Op,
    /// Place of its first byte among those queued.
    starts_at: u64,
    due: Instant,
    is_done: bool,
}

/// Whether a request was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// There is too much under way.
    Full,
    /// The node could not be reached a moment ago: it ends as not done.
    Failed,
}

impl PeerLink {
    pub(super) fn new(common: &Common) -> PeerLink {
        PeerLink {
            state: State::Down(None),
            stream: None,
            inbox: Inbox::new(Door::Binary, &common.memory),
            output: Output::default(),
            output_charge: Charge::empty(Arc::clone(&common.memory), MemoryKind::Connections),
            queued_bytes: 0,
            written_bytes: 0,
            under_way: VecDeque::new(),
            first_id: 0,
        }
    }

    /// Whether the link must be connected for what waits in it.
    pub(super) fn wants_stream(&self) -> bool {
        self.stream.is_none() && matches!(self.state, State::Connecting(_))
    }

    /// Whether another request would be taken.
    pub(super) fn has_room(&self) -> bool {
        self.under_way.len() < PEER_REQUESTS_MAX && self.output.bytes() < OUTPUT_BYTES_MAX
    }

    /// When something ends unless it happens before; `None`: nothing is under way.
    pub(super) fn due(&self) -> Option<Instant> {
        let request = self.under_way.front().map(|request| request.due);
        match self.state {
            State::Connecting(due) => Some(request.map_or(due, |request| request.min(due))),
            State::Down(_) | State::Up => request,
        }
    }

    /// Takes a request for a connection. It goes out with [`PeerLink::write`].
    pub(super) fn take(
        &mut self,
        request: &Request<'_>,
        asker: (Token, SlotId),
        now: Instant,
        common: &Common,
    ) -> Taken {
        if !self.has_room() {
            return Taken::Full;
        }
        if let State::Down(retry_at) = self.state {
            if retry_at.is_some_and(|retry_at| now < retry_at) {
                return Taken::Failed;
            }
            self.state = State::Connecting(now + Duration::from_millis(PEER_CONNECT_TIMEOUT_MS));
            let hello = Hello {
                version_min: dht_protocol::header::PROTOCOL_VERSION,
                version_max: dht_protocol::header::PROTOCOL_VERSION,
                features: 0,
                // Without a name writes carry no number, and none is sent twice.
                client_id: ClientId(0),
                cluster_id: common.cluster_id,
            };
            self.queue(&Request::Hello(hello), None, now, common);
        }
        self.queue(request, Some(asker), now, common);
        Taken::Yes
    }

    fn queue(
        &mut self,
        request: &Request<'_>,
        asker: Option<(Token, SlotId)>,
        now: Instant,
        common: &Common,
    ) {
        let id = RequestId(self.first_id.wrapping_add(self.under_way.len() as u32));
        let before = self.output.bytes();
        self.output.append(|out| request.encode(id, common.epoch, out));
        let due = now + Duration::from_millis(PEER_ANSWER_TIMEOUT_MS);
        let (op, starts_at) = (request.op(), self.queued_bytes);
        self.under_way.push_back(UnderWay { asker, op, starts_at, due, is_done: false });
        self.queued_bytes += (self.output.bytes() - before) as u64;
        self.charge_output();
    }

    /// Takes over a stream, connected or not.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn adopt(
        &mut self,
        mut stream: TcpStream,
        token: Token,
        registry: &Registry,
    ) -> io::Result<()> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Writes until nothing waits or the system takes no more. No effect before the link is connected.
    ///
    /// # Errors
    /// The link must be broken.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if matches!(self.state, State::Connecting(_)) {
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            match stream.peer_addr() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(error),
            }
            keep_alive::set_options(stream, 0)?;
            self.state = State::Up;
        }
        while !self.output.is_empty() {
            let mut pieces = [IoSlice::new(&[]); WRITE_PIECES_MAX];
            let mut pieces_count = 0;
            for (slot, bytes) in pieces.iter_mut().zip(self.output.front(WRITE_PIECES_MAX)) {
                *slot = IoSlice::new(bytes);
                pieces_count += 1;
            }
            match stream.write_vectored(&pieces[..pieces_count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written_bytes += count as u64;
                    self.output.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.shrink(IDLE_BUFFER_BYTES_MAX);
        self.charge_output();
        Ok(())
    }

    /// Reads and delivers what has come; `true`: there may be more.
    ///
    /// # Errors
    /// The link must be broken.
    pub(super) fn read(&mut self, buffer: &mut [u8], deliver: &mut Deliver<'_>) -> io::Result<bool> {
        let mut bytes_read = 0;
        while bytes_read < READ_TURN_BYTES_MAX {
            if self.state != State::Up {
                return Ok(false);
            }
            match self.read_once(buffer, deliver) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => bytes_read += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn read_once(&mut self, buffer: &mut [u8], deliver: &mut Deliver<'_>) -> io::Result<usize> {
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::WouldBlock.into()) };
        if let Some(missing) = self.inbox.missing_bytes() {
            let length = missing.min(buffer.len());
            let count = stream.read(&mut buffer[..length])?;
            self.inbox.append(&buffer[..count]);
            if let (_, Some(passed)) = self.inbox.swallow(&[]) {
                self.on_passed(&passed, deliver)?;
            } else if self.inbox.missing_bytes().is_none() {
                let bytes = self.inbox.take();
                let used = self.on_bytes(&bytes, deliver)?;
                self.inbox.put_back(bytes, used);
            }
            return Ok(count);
        }
        let kept_bytes = self.inbox.kept().len();
        buffer[..kept_bytes].copy_from_slice(self.inbox.kept());
        let count = stream.read(&mut buffer[kept_bytes..])?;
        let bytes = &buffer[..kept_bytes + count];
        let (passed_bytes, passed) = self.inbox.swallow(bytes);
        if let Some(passed) = passed {
            self.on_passed(&passed, deliver)?;
        }
        let bytes = &bytes[passed_bytes..];
        let used = self.on_bytes(bytes, deliver)?;
        self.inbox.keep(&bytes[used..]);
        Ok(count)
    }

    /// Delivers the whole frames at the front; how many bytes they take.
    fn on_bytes(&mut self, bytes: &[u8], deliver: &mut Deliver<'_>) -> io::Result<usize> {
        let mut used = 0;
        loop {
            match cut(&bytes[used..], BODY_BYTES_MAX) {
                Cut::Frame { header, body, frame_bytes } => {
                    self.on_frame(&header, body, deliver)?;
                    used += frame_bytes;
                }
                Cut::NeedMore { .. } => return Ok(used),
                Cut::Refused { .. } => return Err(bad_answer()),
            }
        }
    }

    fn on_frame(&mut self, header: &Header, body: &[u8], deliver: &mut Deliver<'_>) -> io::Result<()> {
        let request = self.request_of(header)?;
        let response = Response::decode(request.op, header, body).map_err(|_| bad_answer())?;
        request.is_done = true;
        match request.asker {
            Some((token, slot)) => deliver(token, slot, &Answer::Response(response)),
            // Another cluster, or another protocol: whatever else was asked there is refused too.
            None if !matches!(response, Response::Hello(_)) => return Err(bad_answer()),
            None => {}
        }
        self.forget_done();
        Ok(())
    }

    /// An answer has passed by unread for lack of memory. Only those that carry values are so long.
    fn on_passed(&mut self, header: &Header, deliver: &mut Deliver<'_>) -> io::Result<()> {
        let request = self.request_of(header)?;
        request.is_done = true;
        if let Some((token, slot)) = request.asker {
            deliver(token, slot, &Answer::NotDone("there is no memory here for what another node answered"));
        }
        self.forget_done();
        Ok(())
    }

    fn request_of(&mut self, header: &Header) -> io::Result<&mut UnderWay> {
        let at = header.request_id.0.wrapping_sub(self.first_id) as usize;
        self.under_way.get_mut(at).filter(|request| !request.is_done).ok_or_else(bad_answer)
    }

    fn forget_done(&mut self) {
        while self.under_way.front().is_some_and(|request| request.is_done) {
            self.under_way.pop_front();
            self.first_id = self.first_id.wrapping_add(1);
        }
    }

    /// Closes the link and ends what is under way; it may be opened again a little later.
    pub(super) fn break_off(
        &mut self,
        why: &str,
        now: Instant,
        registry: &Registry,
        common: &Common,
        deliver: &mut Deliver<'_>,
    ) {
        if let Some(mut stream) = self.stream.take() {
            let _ = registry.deregister(&mut stream);
            let _ = stream.shutdown(Shutdown::Both);
        }
        let broken = std::mem::replace(self, PeerLink::new(common));
        // One that ends while nobody asks (it was idle for too long, the node starts anew) is opened again at once.
        let has_failed = broken.asked_count() > 0;
        self.state = State::Down(has_failed.then(|| now + Duration::from_millis(PEER_RETRY_MS)));
        for request in broken.under_way.iter().filter(|request| !request.is_done) {
            let Some((token, slot)) = request.asker else { continue };
            let may_be_done = request.starts_at < broken.written_bytes && is_write(request.op);
            let answer = if may_be_done { Answer::Unknown(why) } else { Answer::NotDone(why) };
            deliver(token, slot, &answer);
        }
    }

    /// How many requests wait for an answer.
    pub(super) fn asked_count(&self) -> usize {
        self.under_way.iter().filter(|request| !request.is_done && request.asker.is_some()).count()
    }

    fn charge_output(&mut self) {
        let bytes = self.output.buffer_bytes() as u64;
        if bytes > self.output_charge.bytes() {
            // They exist already, and their number is bounded.
            self.output_charge.grow_over_limit(bytes - self.output_charge.bytes());
        } else {
            self.output_charge.shrink_to(bytes);
        }
    }
}

fn is_write(op: Op) -> bool {
    match op {
        Op::Put | Op::Delete | Op::Add | Op::Append => true,
        Op::Hello | Op::Map | Op::Ping | Op::Stats | Op::Get | Op::Exists | Op::Scan | Op::PeerHello => false,
    }
}

fn bad_answer() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its answer cannot be read")
}
